#!/bin/bash
# Other people's programs against bin/rrun, one after the other, with one summary. conformance.sh [podman] [containerd]
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
passed=0 failed=0
for name in ${*:-podman containerd}; do
	output=$("$here/$name.sh" 2>&1)
	status=$?
	echo "$output"
	last=$(tail -n 1 <<<"$output")
	if [[ $last =~ ([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
		[ $status -eq 0 ] || [ "${BASH_REMATCH[2]}" -gt 0 ] || failed=$((failed + 1))
	else
		echo "$name: ended early"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
