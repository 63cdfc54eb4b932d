#!/bin/bash
# Debian's containerd and ctr with bin/rrun behind their shim, in directories of their own that are removed afterwards.
set -u
. "$(dirname "$(readlink -f "$0")")/lib.sh"
work=$(mktemp -d /tmp/rrun-containerd.XXXXXX)
socket=$work/containerd.sock

cat >"$work/config.toml" <<END
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$socket"
END
containerd --config "$work/config.toml" >"$work/log" 2>&1 &
daemon=$!
ctr=(ctr --address "$socket" --namespace rrun)

cleanup() {
	local id
	for id in $(timeout 20 "${ctr[@]}" tasks list --quiet 2>/dev/null); do timeout 20 "${ctr[@]}" tasks delete --force "$id" >/dev/null 2>&1; done
	for id in $(timeout 20 "${ctr[@]}" containers list --quiet 2>/dev/null); do timeout 20 "${ctr[@]}" containers delete "$id" >/dev/null 2>&1; done
	kill "$daemon" 2>/dev/null
	wait "$daemon" 2>/dev/null
	grep " $work/" /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -r umount -l 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
for ((i = 0; i < 100; i++)); do timeout 5 "${ctr[@]}" version >/dev/null 2>&1 && break; sleep 0.1; done
timeout 5 "${ctr[@]}" version >/dev/null 2>&1 || {
	bad "containerd does not start: $(tail -n 3 "$work/log")"
	finish
	exit 1
}

busybox_rootfs "$work/rootfs"
run=("${ctr[@]}" run --runc-binary "$runtime" --rootfs --rm)

check "output of run" hello "${run[@]}" "$work/rootfs" "a-$$" /bin/echo hello
exits "exit code of run" 7 "${run[@]}" "$work/rootfs" "b-$$" /bin/sh -c 'exit 7'
check "the environment" x "${run[@]}" --env A=x "$work/rootfs" "c-$$" /bin/sh -c 'echo $A'
check "working directory" /tmp "${run[@]}" --cwd /tmp "$work/rootfs" "d-$$" /bin/pwd
check "a bind mount" content bash -c "echo content >$work/file; ${run[*]} --mount type=bind,src=$work/file,dst=/mounted,options=bind:ro $work/rootfs f-$$ /bin/cat /mounted"
check "the seccomp profile" 2 "${run[@]}" --seccomp "$work/rootfs" "g-$$" /bin/sh -c 'grep ^Seccomp: /proc/self/status | cut -f2'
holds "a terminal" /dev/pts/0 script -qec "${run[*]} --tty $work/rootfs h-$$ /bin/tty" /dev/null

one=one-$$
exits "run in the background" 0 "${ctr[@]}" run --runc-binary "$runtime" --rootfs --detach --memory-limit 67108864 "$work/rootfs" "$one" /bin/sh -c 'trap "exit 3" TERM; while :; do sleep 0.2; done'
holds "tasks" RUNNING "${ctr[@]}" tasks list
pid=$(timeout 20 "${ctr[@]}" tasks list | awk -v id="$one" '$1 == id { print $2 }')
path=$(awk -F: '$2 == "memory" || $2 == "" { print $3; exit }' "/proc/$pid/cgroup")
check "a memory limit" 67108864 bash -c "cat /sys/fs/cgroup/memory$path/memory.limit_in_bytes /sys/fs/cgroup$path/memory.max 2>/dev/null; true"
check "exec" inside "${ctr[@]}" tasks exec --exec-id e1 "$one" /bin/echo inside
exits "exit code of exec" 9 "${ctr[@]}" tasks exec --exec-id e2 "$one" /bin/sh -c 'exit 9'
holds "ps" PID "${ctr[@]}" tasks ps "$one"
exits "metrics" 0 "${ctr[@]}" tasks metrics "$one"
exits "pause" 0 "${ctr[@]}" tasks pause "$one"
holds "paused" PAUSED "${ctr[@]}" tasks list
exits "resume" 0 "${ctr[@]}" tasks resume "$one"
exits "kill" 0 "${ctr[@]}" tasks kill --signal TERM "$one"
soon "stopped" bash -c "${ctr[*]} tasks list | grep -q STOPPED"
holds "delete gives the exit code" "exit code 3" "${ctr[@]}" tasks delete "$one"
exits "delete the container" 0 "${ctr[@]}" containers delete "$one"
check "nothing is left" "" "${ctr[@]}" tasks list --quiet
finish
