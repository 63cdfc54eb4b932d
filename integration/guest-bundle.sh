#!/bin/bash
# guest-bundle.sh DIR: a bundle whose root file system holds the guest program and nothing else, with the default configuration.
set -euo pipefail
top=$(dirname "$(readlink -f "$0")")/..
rm -rf "$1"
mkdir -p "$1"/rootfs/{dev,proc,sys,etc}
cp "$top/bin/guest" "$1/rootfs/guest"
"$top/bin/rrun" spec --bundle "$1"
# What it is told to differ in: no terminal (so that the output can be piped), our program, some limits to be seen.
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/^\(\s*\)"sh"$/\1"\/guest"/' \
	-e 's/^\(\s*\)"resources": {$/&\n\1\t"memory": { "limit": 134217728 },\n\1\t"pids": { "limit": 64 },\n\1\t"cpu": { "quota": 50000, "period": 100000 },/' "$1/config.json"
grep -q '"/guest"' "$1/config.json" && grep -q 134217728 "$1/config.json" || { echo "guest-bundle: the default configuration of rrun spec has changed its layout" >&2; exit 1; }
