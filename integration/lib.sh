# Shared by the scripts that run other people's programs against ours (bash): counting, expectations with a bounded wait.
top=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..
runtime=${RRUN_BIN:-$top/bin/rrun}
runtime=$(readlink -f "$runtime")
passed=0 failed=0 subject=$(basename "$0" .sh)

pass() { passed=$((passed + 1)); }
bad() {
	failed=$((failed + 1))
	echo "$subject: FAILED: $*"
}

# check WHAT EXPECTED COMMAND...: the command's standard output (without the last line feed) must be exactly this
check() {
	local what=$1 expected=$2 got
	shift 2
	if got=$(timeout 60 "$@" 2>"$work/err") && [ "$got" = "$expected" ]; then pass; else bad "$what: got '$got', expected '$expected' $(tail -n 3 "$work/err")"; fi
}

# holds WHAT TEXT COMMAND...: the command succeeds and its output (both streams) holds this text
holds() {
	local what=$1 text=$2 got
	shift 2
	if got=$(timeout 60 "$@" 2>&1) && [[ $got == *"$text"* ]]; then pass; else bad "$what: no '$text' in '$(tail -n 5 <<<"$got")'"; fi
}

# exits WHAT CODE COMMAND...: the command ends with this code
exits() {
	local what=$1 code=$2 got=0
	shift 2
	timeout 60 "$@" >"$work/out" 2>"$work/err" || got=$?
	if [ "$got" = "$code" ]; then pass; else bad "$what: exit code $got, expected $code $(tail -n 3 "$work/err")"; fi
}

# soon WHAT COMMAND...: the command succeeds within 20 s
soon() {
	local what=$1 i
	shift
	for ((i = 0; i < 200; i++)); do
		if timeout 20 "$@" >/dev/null 2>&1; then
			pass
			return
		fi
		sleep 0.1
	done
	bad "$what: did not happen within 20 s"
}

# busybox_rootfs DIR: a root file system from Debian's static busybox
busybox_rootfs() {
	local applet
	mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,var}
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in $("$1/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$1/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\n' >"$1/etc/group"
}

finish() {
	echo "$subject: $passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
