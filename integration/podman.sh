#!/bin/bash
# Debian's podman and conmon with bin/rrun as their runtime, in a store of their own that is removed afterwards.
set -u
. "$(dirname "$(readlink -f "$0")")/lib.sh"
work=$(mktemp -d /tmp/rrun-podman.XXXXXX)

cat >"$work/containers.conf" <<END
# podman's own defaults are above what a machine without CAP_SYS_RESOURCE can give.
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "rrun"
[engine.runtimes]
rrun = ["$runtime"]
END
cat >"$work/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$work/root"
runroot = "$work/run"
END
mkdir -p "$work/tmp"
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf TMPDIR=$work/tmp
# A program, because `check` and the others start it below `timeout`.
cat >"$work/podman" <<END
#!/bin/sh
exec $(command -v podman) --tmpdir $work/libpod "\$@"
END
chmod +x "$work/podman"
p=$work/podman

# podman leaves the parent of its containers' cgroups behind: it goes again when it was not there before.
mapfile -t parents < <(compgen -G '/sys/fs/cgroup/libpod_parent'; compgen -G '/sys/fs/cgroup/*/libpod_parent')
cleanup() {
	local dir
	timeout 60 "$p" rm --all --force --time 0 >/dev/null 2>&1
	grep " $work/" /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -r umount -l 2>/dev/null
	for dir in /sys/fs/cgroup/libpod_parent /sys/fs/cgroup/*/libpod_parent; do
		[[ " ${parents[*]} " == *" $dir "* ]] || find "$dir" -depth -type d -exec rmdir {} \; 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT

busybox_rootfs "$work/rootfs"
tar -C "$work/rootfs" -c . | timeout 60 "$p" import --change 'CMD ["sh"]' - busybox >/dev/null 2>"$work/err" || {
	bad "import: $(cat "$work/err")"
	finish
	exit 1
}
r="run --rm --network none"

check "the runtime is ours" rrun "$p" info --format '{{.Host.OCIRuntime.Name}}'
# shellcheck disable=SC2086
{
	check "output of run" hello "$p" $r busybox echo hello
	exits "exit code of run" 7 "$p" $r busybox sh -c 'exit 7'
	exits "a program that does not exist" 127 "$p" $r busybox /nothing-here
	exits "a program that is not executable" 126 "$p" $r busybox /etc/passwd
	check "standard input" typed bash -c "echo typed | '$p' $r -i busybox cat"
	check "user and groups" "1000 5" "$p" $r --user 1000:5 busybox sh -c 'echo $(id -u) $(id -g)'
	check "working directory and environment" "/tmp x" "$p" $r -w /tmp -e A=x busybox sh -c 'echo $PWD $A'
	check "host name" named "$p" $r --hostname named busybox hostname
	check "a read-only root" refused "$p" $r --read-only busybox sh -c 'touch /x 2>/dev/null || echo refused'
	check "capabilities dropped" 0000000000000000 "$p" $r --cap-drop all busybox sh -c 'grep CapEff /proc/self/status | cut -f2'
	check "no new privileges" 1 "$p" $r --security-opt no-new-privileges busybox sh -c 'grep NoNewPrivs /proc/self/status | cut -f2'
	check "the default seccomp profile" 2 "$p" $r busybox sh -c 'grep ^Seccomp: /proc/self/status | cut -f2'
	check "a memory limit" 67108864 "$p" $r --memory 64m busybox sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true'
	check "a pids limit" 55 "$p" $r --pids-limit 55 busybox sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true'
	check "a bind mount" content bash -c "echo content >$work/file && '$p' $r -v $work/file:/mounted:ro busybox cat /mounted"
	check "a volume" kept bash -c "'$p' $r -v vol:/data busybox sh -c 'echo kept > /data/f' && '$p' $r -v vol:/data busybox cat /data/f"
	check "a tmpfs" tmpfs "$p" $r --tmpfs /scratch busybox sh -c 'grep " /scratch " /proc/mounts | cut -d" " -f3'
	check "a device" "character special file" "$p" $r --device /dev/zero:/dev/nought busybox stat -c %F /dev/nought
	check "a sysctl" 44 "$p" $r --sysctl net.ipv4.ip_default_ttl=44 busybox cat /proc/sys/net/ipv4/ip_default_ttl
	check "an ulimit" 99 "$p" $r --ulimit nofile=99:99 --ulimit nproc=4096:4096 busybox sh -c 'ulimit -n'
	check "the host's network" "$(ls /sys/class/net | wc -l)" "$p" run --rm --network host busybox sh -c 'ls /sys/class/net | wc -l'
	check "a user namespace" "0 100000" "$p" $r --uidmap 0:100000:65536 busybox sh -c 'echo $(id -u) $(awk "{print \$2}" /proc/self/uid_map)'
	exits "an out-of-memory kill" 137 "$p" $r --memory 16m --memory-swap 16m busybox sh -c 'x=0123456789abcdef; while :; do x=$x$x; done'
	holds "a terminal" /dev/pts/0 script -qec "'$p' $r -t busybox tty" /dev/null
}

# shellcheck disable=SC2016
loop='trap "echo ended; exit 3" TERM; echo started; while :; do sleep 0.2; done'
exits "run in the background" 0 "$p" run -d --name one --network none busybox sh -c "$loop"
soon "its log" bash -c "'$p' logs one | grep -q started"
check "ps" "one" "$p" ps --format "{{.Names}}"
check "exec" "inside 1000" "$p" exec --user 1000 -e V=inside one sh -c 'echo $V $(id -u)'
exits "exit code of exec" 9 "$p" exec one sh -c 'exit 9'
check "standard input of exec" typed bash -c "echo typed | '$p' exec -i one cat"
holds "exec with a terminal" /dev/pts/ script -qec "'$p' exec -t one tty" /dev/null
holds "top" "sleep 0.2" "$p" top one
exits "stats" 0 "$p" stats --no-stream one
exits "pause" 0 "$p" pause one
check "paused" paused "$p" inspect --format '{{.State.Status}}' one
exits "unpause" 0 "$p" unpause one
exits "update" 0 "$p" update --memory 100m one
check "update is in the cgroup" 104857600 "$p" exec one sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true'
exits "stop" 0 "$p" stop --time 10 one
check "its exit code" "exited 3" "$p" inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
holds "the handler ran" ended "$p" logs one
exits "start again" 0 "$p" start one
soon "it runs again" bash -c "[ \"\$('$p' inspect --format '{{.State.Status}}' one)\" = running ]"
exits "restart" 0 "$p" restart --time 1 one
exits "kill" 0 "$p" kill --signal KILL one
soon "killed" bash -c "[ \"\$('$p' inspect --format '{{.State.ExitCode}}' one)\" = 137 ]"
exits "rm" 0 "$p" rm one

exits "a health check" 0 "$p" run -d --name healthy --network none --health-cmd 'test -e /tmp/fine' --health-interval disable busybox sh -c 'sleep 1000'
exits "not healthy yet" 1 "$p" healthcheck run healthy
exits "make it healthy" 0 "$p" exec healthy touch /tmp/fine
exits "healthy" 0 "$p" healthcheck run healthy
exits "rm by force" 0 "$p" rm --force --time 0 healthy

exits "create" 0 "$p" create --name two --network none busybox sh -c 'echo from two'
check "start attached" "from two" "$p" start --attach two
check "wait" 0 "$p" wait two
exits "cp out" 0 "$p" cp two:/etc/passwd "$work/copied"
exits "rm" 0 "$p" rm two

exits "a pod with a shared namespace" 0 "$p" run -d --name base --network none --ipc shareable busybox sleep 1000
check "which is joined" same bash -c "a=\$('$p' exec base readlink /proc/self/ns/ipc); b=\$('$p' run --rm --network container:base --ipc container:base --pid container:base busybox readlink /proc/self/ns/ipc); [ \"\$a\" = \"\$b\" ] && echo same"
exits "rm all" 0 "$p" rm --all --force --time 0
check "nothing is left" "" "$p" ps --all --quiet
soon "no cgroup is left" bash -c '! find /sys/fs/cgroup -type d -name "libpod-*" 2>/dev/null | grep -q "libpod-[0-9a-f]\{64\}$"'
finish
