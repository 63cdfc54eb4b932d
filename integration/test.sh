#!/bin/bash
# Everything that `make test` runs, stage by stage, with one summary at the end. Stages can be chosen: test.sh [lint] [host] [vm].
#
#   lint   cargo fmt --check, clippy with warnings as errors
#   host   unit tests and black-box tests on this machine
#   vm     the same on the cgroup hierarchy that this machine lacks, and the systemd driver on a real systemd, in virtual machines
#
# TESTS in the environment is a filter for test names. The virtual machine runs beside the host's tests.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
stages=${*:-lint host vm}
out=target/test-results
rm -rf $out
mkdir -p $out
failed=0 passed_stages=0 leaks=0
wants() { [[ " $stages " == *" $1 "* ]]; }

# stage NAME COMMAND...: a stage without tests of its own passes or fails as a whole
stage() {
	local name=$1 began=$SECONDS
	shift
	if "$@"; then
		echo "$name: ok ($((SECONDS - began)) s)"
		passed_stages=$((passed_stages + 1))
	else
		echo "$name: FAILED ($((SECONDS - began)) s)"
		failed=$((failed + 1))
		echo "$name: failed: $*" >>$out/stages
	fi
}

export RUST_BACKTRACE=0
if wants lint; then
	stage fmt cargo fmt --all --check
	stage clippy cargo clippy --quiet --workspace --all-targets -- -D warnings
fi

executables=() outside=()
if wants host || wants vm; then
	# The tests are built once and run in both places.
	if ! cargo test --quiet --workspace --no-run --message-format=json >$out/build.json || ! cargo build --quiet -p rrun-tests; then
		echo "the tests do not build" >&2
		failed=$((failed + 1))
	fi
	mapfile -t executables < <(sed -n 's/.*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1/p' $out/build.json)
	if [ ${#executables[@]} -eq 0 ]; then
		echo "no test executables were built" >&2
		failed=$((failed + 1))
	fi
	# The systemd driver has a machine of its own; where systemd runs, it is tested here as well.
	for executable in "${executables[@]}"; do
		case ${executable##*/} in systemd-*) systemd=$executable ;; *) outside+=("$executable") ;; esac
	done
	[ -d /run/systemd/system ] && [ -n "${systemd:-}" ] && here=("${outside[@]}" "$systemd") || here=("${outside[@]}")
fi
suite=$(ls -t target/*/debug/suite 2>/dev/null | head -1)

if wants vm && [ ${#outside[@]} -gt 0 ]; then
	hierarchy=$(integration/needs-vm.sh)
	[ "$hierarchy" = v1 ] && flags=-1 || flags=
	(
		# shellcheck disable=SC2086
		integration/vm/vmrun $flags -d -t 3600 "$PWD/$suite" "vm-$hierarchy" - "${outside[@]}" >$out/vm.log 2>&1
		echo "exit $?" >>$out/vm.log
		[ -n "${systemd:-}" ] && { integration/vm/vmrun -s -d -t 1200 "$PWD/$suite" vm-systemd - "$systemd" >$out/vm-systemd.log 2>&1; echo "exit $?" >>$out/vm-systemd.log; }
	) &
	machine=$!
fi
if wants host && [ ${#here[@]} -gt 0 ]; then
	"$suite" host $out/host "${here[@]}"
fi
if [ -n "${machine:-}" ]; then
	echo "waiting for the virtual machine"
	wait "$machine"
	for name in vm vm-systemd; do
		[ -f $out/$name.log ] || continue
		cat $out/$name.log
		grep -E "^vm-[a-z0-9]*: .*(passed|limit tests|skipped:|failed:|left behind:)" $out/$name.log >$out/$name
		# A machine that did not boot or did not finish has no summary.
		if ! grep -q " passed, " $out/$name; then
			echo "$name: failed: the virtual machine gave no result: $(tail -n 1 $out/$name.log)" >>$out/$name
			failed=$((failed + 1))
		fi
	done
fi

# --- summary
echo
echo "=== summary"
cat $out/stages $out/host $out/vm $out/vm-systemd 2>/dev/null
sum() { cat $out/host $out/vm $out/vm-systemd 2>/dev/null | sed -n "s/.*[ :]\([0-9]*\) $1.*/\1/p" | awk '{ n += $1 } END { print n + 0 }'; }
limits() { cat $out/host $out/vm $out/vm-systemd 2>/dev/null | sed -n "s/.*limit tests on .*$1: \([0-9]*\).*/\1/p" | awk '{ n += $1 } END { print n + 0 }'; }
passed=$(($(sum passed) + passed_stages)) failed=$(($(sum "failed,") + failed)) skipped=$(sum skipped,) leaks=$(sum leaked)
if wants host && wants vm && [ -z "${TESTS:-}" ]; then
	v1=$(limits v1) v2=$(limits v2)
	echo "limit tests: $v1 on v1/hybrid, $v2 on v2"
	for side in v1 v2; do
		[ "${!side}" -gt 0 ] || { echo "no limit test ran on $side: that is a failure"; failed=$((failed + 1)); }
	done
fi
if [ "$leaks" -gt 0 ]; then
	echo "leak check: $leaks left behind"
	failed=$((failed + 1))
elif wants host || wants vm; then
	echo "leak check: nothing left behind"
fi
[ "$skipped" -gt 0 ] && echo "$skipped skipped, with the reason above"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
