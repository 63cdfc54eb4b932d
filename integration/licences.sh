#!/bin/bash
# Every dependency must be under one of the licences that deny.toml allows. With cargo-deny installed it decides; otherwise the list in deny.toml is
# compared with what `cargo metadata` says: of alternatives ("A OR B") one must be on the list, of sums ("A AND B") all.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
if cargo deny --version >/dev/null 2>&1; then
	exec cargo deny --offline check licenses bans sources
fi
allowed=$(sed -n '/^allow = \[/,/^\]/s/^[[:space:]]*"\(.*\)",\{0,1\}$/\1/p' deny.toml)
on_list() { grep -qxF -- "$1" <<<"$allowed"; }
bad=0 count=0
while IFS=$'\t' read -r name licence; do
	count=$((count + 1))
	plain=$(tr -d '()' <<<"$licence" | sed 's,/, OR ,g')
	ok=
	while read -r alternative; do
		all=1
		while read -r part; do on_list "$part" || all=; done < <(sed 's/ AND /\n/g' <<<"$alternative")
		[ -n "$all" ] && ok=1
	done < <(sed 's/ OR /\n/g' <<<"$plain")
	[ -n "$ok" ] || { echo "$name: $licence is not on the list in deny.toml"; bad=$((bad + 1)); }
done < <(cargo metadata --format-version 1 --locked | grep -o '"name":"[^"]*","version":"[^"]*","id":"[^"]*","license":"[^"]*"\|"name":"[^"]*","version":"[^"]*","id":"[^"]*","license":null' |
	sed 's/"name":"\([^"]*\)".*"license":"\{0,1\}\([^"]*\)"\{0,1\}$/\1\t\2/')
echo "licences: $count packages, $bad not allowed"
[ "$bad" -eq 0 ] && [ "$count" -gt 0 ]
