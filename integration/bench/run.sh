#!/bin/bash
# make bench: what a container costs, against Debian's crun and runc and against the bare system calls. run.sh [ROW]
#
# Within a row all programs take turns in one run (A B C A B C ...) and the medians are compared: the machine is noisy, ratios are not. Rows 1 to 4
# run in a private view with cgroup v2 at /sys/fs/cgroup; the machine's own mounts stay as they are. A bench is not a test: it passes whatever it
# measures, and says what falls short of its budget.
#
# BENCH_RUNS: turns per row (30). BENCH_YOUKI: a youki binary to compare with.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/../lib.sh"
runs=${BENCH_RUNS:-30}

if [ "${RRUN_BENCH_VIEW:-}" != 1 ]; then
	export RRUN_BENCH_VIEW=1
	BENCH_HOST_CGROUP=$([ -e /sys/fs/cgroup/cgroup.controllers ] && echo v2 || echo hybrid)
	export BENCH_HOST_CGROUP
	work=$(mktemp -d /tmp/rrun-bench.XXXXXX)
	export work
	status=0
	# Row 5 needs the memory controller, wherever it is mounted: that is done first, in the machine's own view.
	# shellcheck disable=SC2016
	{ [ $# -gt 0 ] && [ "$1" != 5 ]; } || BENCH_ROW5=1 "$0" 5 || status=1
	if [ $# -eq 0 ] || [ "$1" != 5 ]; then
		unshare -m --propagation private bash -c 'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' bash "$0" "$@" || status=1
	fi
	rm -rf "$work"
	exit $status
fi

row=${1:-all}
[ -n "${BENCH_ROW5:-}" ] || [ "$row" != 5 ] || exit 0
wants() { [ "$row" = all ] && [ "$1" != 5 ] || [ "$row" = "$1" ]; }
mkdir -p "$work/bin"
cc -O2 -static -o "$work/bin/floor" "$here/floor.c" && cc -O2 -o "$work/bin/timed" "$here/timed.c" && cc -O2 -shared -fPIC -w -o "$work/nolimit.so" "$here/nolimit.c" || exit 1

# --- the bundle: runc's default configuration, without a terminal
rootfs=$work/bundle/rootfs
[ -d "$rootfs" ] || {
	mkdir -p "$work/bundle"
	busybox_rootfs "$rootfs"
	runc spec --bundle "$work/bundle"
	sed -i 's/"terminal": true/"terminal": false/' "$work/bundle/config.json"
	cp "$work/bundle/config.json" "$work/config.default"
}
program() { sed "s#^\(\s*\)\"sh\"\$#\1$1#" "$work/config.default" >"$work/bundle/config.json"; }

ours=$runtime
runtimes=(rrun crun runc)
declare -A command=([rrun]="$ours" [crun]="$(command -v crun)" [runc]="$(command -v runc)")
if [ -n "${BENCH_YOUKI:-}" ]; then
	runtimes+=(youki)
	command[youki]=$BENCH_YOUKI
else
	absent="youki: not compared (BENCH_YOUKI=binary; cargo install youki --features v1,v2,systemd,cgroupsv2_devices,seccomp builds one)"
fi

# preload NAME: what crun needs on a machine without CAP_SYS_RESOURCE. It is in the environment, not in the command, so that it costs no time.
preload() { [ "$1" != crun ] || echo "LD_PRELOAD=$work/nolimit.so"; }
# measure NAME SAMPLES COMMAND...: one sample; a command that fails is noted once and has no figure
measure() {
	local name=$1 file=$2
	shift 2
	[ -e "$file.failed" ] && return
	if ! timeout 60 env $(preload "$name") "$work/bin/timed" "$file" "$@" >"$work/out" 2>&1 </dev/null; then
		echo "$name failed: $*: $(tail -n 2 "$work/out")" >&2
		touch "$file.failed"
		rm -f "$file"
	fi
}
# median FILE COLUMN
median() { [ -s "$1" ] && sort -n -k"$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
ms() { [ -n "$1" ] && awk -v n="$1" 'BEGIN { printf "%.2f ms", n / 1e6 }' || echo "-"; }
ratio() { [ -n "$1" ] && [ -n "$2" ] && awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }' || echo "-"; }
# verdict RATIO LIMIT
verdict() { [ "$1" = - ] && echo "not measured" || awk -v r="$1" -v l="$2" 'BEGIN { print (r <= l) ? "reached" : "SHORT" }'; }
samples() { echo "$work/samples.$1.$2"; }

# report ROW TITLE: medians of all programs, then one line per budget
figures() {
	local n=$1 name
	shift
	for name; do printf '  %-10s %s\n' "$name" "$(ms "$(median "$(samples "$n" "$name")" 1)")"; done
}
# budget ROW AGAINST LIMIT TEXT
budget() {
	local r
	r=$(ratio "$(median "$(samples "$1" rrun)" 1)" "$(median "$(samples "$1" "$2")" 1)")
	printf '  rrun / %-8s %-6s budget %-8s %s\n' "$2" "$r" "<= $4" "$(verdict "$r" "$3")"
}

if wants 1; then
	program '"\/bin\/true"'
	for ((i = 0; i < runs; i++)); do
		measure floor "$(samples 1 floor)" "$work/bin/floor" "/sys/fs/cgroup/floor-$$" "$rootfs" /bin/true
		# shellcheck disable=SC2086
		for name in "${runtimes[@]}"; do measure "$name" "$(samples 1 "$name")" ${command[$name]} --root "$work/state-$name" run --bundle "$work/bundle" "b-$$"; done
	done
	echo "1. run of true, runc's default configuration (cgroup v2 view)"
	figures 1 floor "${runtimes[@]}"
	budget 1 floor 1.5 "1.5 x floor"
	budget 1 crun 0.5 "0.5 x crun"
	budget 1 runc 0.1667 "1/6 runc"
fi

if wants 2; then
	program '"\/bin\/sleep", "1000"'
	cat >"$work/cycle" <<'END'
#!/bin/sh
# cycle ROOT BUNDLE ID COMMAND...
root=$1 bundle=$2 id=$3
shift 3
"$@" --root "$root" create --bundle "$bundle" "$id" && "$@" --root "$root" start "$id" && "$@" --root "$root" kill "$id" KILL && "$@" --root "$root" delete --force "$id"
END
	chmod +x "$work/cycle"
	for ((i = 0; i < runs; i++)); do
		# shellcheck disable=SC2086
		for name in "${runtimes[@]}"; do measure "$name" "$(samples 2 "$name")" "$work/cycle" "$work/state-$name" "$work/bundle" "c-$$" ${command[$name]}; done
	done
	echo "2. create, start, kill, delete from a shell script"
	figures 2 "${runtimes[@]}"
	budget 2 crun 0.5 "0.5 x crun"
	budget 2 runc 0.25 "1/4 runc"
fi

if wants 3; then
	program '"\/bin\/sleep", "1000"'
	# shellcheck disable=SC2086
	for name in "${runtimes[@]}"; do env $(preload "$name") ${command[$name]} --root "$work/state-$name" run --detach --bundle "$work/bundle" "e-$name-$$" >/dev/null 2>&1 </dev/null || echo "$name: no container for exec" >&2; done
	pid=$("$ours" --root "$work/state-rrun" state "e-rrun-$$" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
	for ((i = 0; i < runs; i++)); do
		measure nsenter "$(samples 3 nsenter)" nsenter -t "$pid" -a /bin/true
		# shellcheck disable=SC2086
		for name in "${runtimes[@]}"; do measure "$name" "$(samples 3 "$name")" ${command[$name]} --root "$work/state-$name" exec "e-$name-$$" /bin/true; done
	done
	# shellcheck disable=SC2086
	for name in "${runtimes[@]}"; do ${command[$name]} --root "$work/state-$name" delete --force "e-$name-$$" >/dev/null 2>&1; done
	echo "3. exec of true"
	figures 3 nsenter "${runtimes[@]}"
	budget 3 nsenter 1.5 "1.5 x nsenter"
	budget 3 crun 0.5 "0.5 x crun"
fi

if wants 4; then
	program '"\/bin\/true"'
	for ((i = 0; i < 5; i++)); do
		# shellcheck disable=SC2086
		for name in "${runtimes[@]}"; do measure "$name" "$(samples 4 "$name")" ${command[$name]} --root "$work/state-$name" run --bundle "$work/bundle" "m-$$"; done
	done
	echo "4. largest resident set of run"
	for name in "${runtimes[@]}"; do printf '  %-10s %s kB\n' "$name" "$(median "$(samples 4 "$name")" 2 || echo -)"; done
	kb=$(median "$(samples 4 rrun)" 2)
	printf '  rrun %27s %s\n' "budget <= 2048 kB" "$(verdict "${kb:--}" 2048)"
fi

if wants 5; then
	program '"\/bin\/true"'
	# starts NAME KIB: whether `true` runs to its end under this limit
	starts() {
		sed "s#\"resources\": {#&\n\"memory\": { \"limit\": $(($2 * 1024)), \"swap\": $(($2 * 1024)) },#" "$work/bundle/config.json" >"$work/limited/config.json"
		# shellcheck disable=SC2086
		timeout 20 env $(preload "$1") ${command[$1]} --root "$work/state-$1" run --bundle "$work/limited" "l-$$" >/dev/null 2>&1 </dev/null
		local status=$?
		# shellcheck disable=SC2086
		[ $status -eq 0 ] || ${command[$1]} --root "$work/state-$1" delete --force "l-$$" >/dev/null 2>&1
		return $status
	}
	mkdir -p "$work/limited"
	ln -sfn "$rootfs" "$work/limited/rootfs"
	# A link would be refused as a root: the directory itself is bound.
	rm "$work/limited/rootfs" && mkdir "$work/limited/rootfs" && mount --bind "$rootfs" "$work/limited/rootfs"
	echo "5. least memory limit under which true starts ($BENCH_HOST_CGROUP cgroups)"
	for name in "${runtimes[@]}"; do
		low=0 high=65536 least=-
		if starts "$name" $high; then
			# Three successes in a row: near the edge it is a matter of luck.
			while [ $((high - low)) -gt 16 ]; do
				middle=$(((low + high) / 2))
				if starts "$name" $middle && starts "$name" $middle && starts "$name" $middle; then high=$middle; else low=$middle; fi
			done
			least=$high
		fi
		printf '  %-10s %s KiB\n' "$name" "$least"
		[ "$name" = rrun ] && printf '  rrun %27s %s\n' "budget <= 512 KiB" "$(verdict "$least" 512)"
	done
	umount "$work/limited/rootfs"
fi

if wants 6; then
	echo "6. docker's default seccomp profile"
	if [ -x "$here/seccomp.sh" ]; then "$here/seccomp.sh"; else echo "  not measured: integration/bench/seccomp.sh is missing"; fi
fi
[ -n "${absent:-}" ] && wants 1 && echo "$absent"
exit 0
