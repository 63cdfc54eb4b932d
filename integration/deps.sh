#!/bin/bash
# Checks that this machine has what a make target needs, and installs Debian packages that are missing. A Rust toolchain is not installed.
#
#   deps.sh build|run|test|conformance|bench
#
# RRUN_NO_APT=1: install nothing, only say what is missing.
set -euo pipefail

missing=()
say() { echo "make: $*" >&2; }

for tool in cargo rustc; do
	command -v $tool >/dev/null || { say "$tool is missing: install Rust with https://rustup.rs and open a new shell"; missing+=("$tool"); }
done
if [ ${#missing[@]} -eq 0 ]; then
	have=$(rustc --version | awk '{ print $2 }')
	want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
	[ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -1)" = "$want" ] || { say "rustc $have is too old, $want is needed: rustup update"; missing+=(rustc); }
	if [ "$1" = test ]; then
		for tool in fmt clippy; do
			cargo $tool --version >/dev/null 2>&1 || { say "cargo $tool is missing: rustup component add clippy rustfmt"; missing+=("$tool"); }
		done
	fi
fi

# what is looked for (a program, or a file with a leading /) : its Debian package
need=(cc:gcc /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev)
case $1 in
run) need+=(ip:iproute2) ;;
test)
	need+=(busybox:busybox-static ps:procps ip:iproute2 unshare:util-linux setpriv:util-linux taskset:util-linux nsenter:util-linux)
	"$(dirname "$0")/needs-vm.sh" >/dev/null && need+=(qemu-system-x86_64:qemu-system-x86 zstd:zstd xz:xz-utils depmod:kmod mkfs.ext4:e2fsprogs)
	need+=(pkg-config:pkg-config /usr/include/seccomp.h:libseccomp-dev)
	;;
conformance) need+=(busybox:busybox-static podman:podman conmon:conmon crun:crun ctr:containerd jq:jq) ;;
bench) need+=(busybox:busybox-static runc:runc crun:crun nsenter:util-linux strace:strace) ;;
esac

packages=()
for pair in "${need[@]}"; do
	what=${pair%%:*}
	case $what in
	/*) [ -e "$what" ] && continue ;;
	*) command -v "$what" >/dev/null && continue ;;
	esac
	packages+=("${pair##*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
	list=$(printf '%s\n' "${packages[@]}" | sort -u | tr '\n' ' ')
	if [ -n "${RRUN_NO_APT:-}" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "missing: apt-get install $list"
		missing+=("$list")
	else
		say "installing $list"
		apt-get -qq update >&2 || say "apt-get update failed; going on with the lists that are here"
		# shellcheck disable=SC2086
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $list >/dev/null || { say "apt-get install $list failed"; exit 1; }
	fi
fi
[ ${#missing[@]} -eq 0 ] || exit 1
case $1 in
run | test | conformance | bench) [ "$(id -u)" = 0 ] || { say "make $1 makes namespaces and cgroups: run it as root"; exit 1; } ;;
esac
