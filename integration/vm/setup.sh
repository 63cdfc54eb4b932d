#!/bin/bash
# Makes the virtual machine that `vmrun` starts: installs what is missing with apt, then puts a Debian kernel, its modules and an initramfs
# into the cache. Running it again does nothing.
#
#   setup.sh [--systemd]     --systemd: also what `vmrun -s` needs (systemd and dbus)
#
# RRUN_VM_CACHE    where kernels are kept, a directory each (default: cache/ beside this file)
# RRUN_VM_KERNEL   the kernel's package (default linux-image-6.12-amd64; linux-image-amd64 is Debian 12's own 6.1)
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"

[ "$(id -u)" = 0 ] || fail "run me as root: packages are installed and a mount namespace is made"
[ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m); the virtual machine is built for x86_64"

# name of a program -> Debian package that brings it
need=(qemu-system-x86_64:qemu-system-x86 busybox:busybox-static zstd:zstd xz:xz-utils depmod:kmod mkfs.ext4:e2fsprogs ip:iproute2)
[ "${1:-}" = --systemd ] && need+=(/lib/systemd/systemd:systemd dbus-daemon:dbus-daemon busctl:systemd)
install_missing "${need[@]}"
file -b "$(command -v busybox)" 2>/dev/null | grep -q dynamically && fail "busybox is not static: apt-get install busybox-static"

initrd_is_current() {
	[ -s "$cache/vmlinux" ] && [ -s "$cache/initrd" ] && [ "$(cat "$cache/package" 2>/dev/null)" = "$kernel_package" ] &&
		[ "$cache/initrd" -nt "$vm_dir/guest-initramfs.sh" ] && [ "$cache/initrd" -nt "$vm_dir/guest-main.sh" ] && [ "$cache/initrd" -nt "$vm_dir/setup.sh" ]
}
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 600 9 || fail "another setup holds $cache/lock for ten minutes"
initrd_is_current && exit 0

work=$(mktemp -d "$cache/setup.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ "$(cat "$cache/package" 2>/dev/null)" != "$kernel_package" ] || [ ! -s "$cache/vmlinux" ]; then
	apt_update_once
	real=$(apt-cache depends "$kernel_package" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$real" ] || fail "apt knows no package $kernel_package: are Debian 12's main and security archives in /etc/apt/sources.list? RRUN_VM_KERNEL chooses another kernel"
	say "downloading $real"
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$real") || fail "apt-get download $real failed"
	dpkg -x "$work"/*.deb "$work/root"
	version=${real#linux-image-}
	version=${version%-unsigned}
	unpack_kernel "$work/root/boot/vmlinuz-$version" "$work/vmlinux"
	depmod -b "$work/root" "$version"
	rm -rf "$cache/modules" "$cache/package"
	mv "$work/root/lib/modules" "$cache/modules"
	mv "$work/vmlinux" "$cache/vmlinux"
	echo "$version" >"$cache/version"
fi

# Stage one of the guest needs the drivers of its devices and the file systems of its root; the rest is loaded from the cache on demand.
version=$(cat "$cache/version")
modules="$cache/modules/$version"
tree="$work/initramfs"
mkdir -p "$tree"/{bin,dev,proc,sys,host,upper,root,modules}
mknod -m 600 "$tree/dev/console" c 5 1
mknod -m 666 "$tree/dev/null" c 1 3
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$vm_dir/guest-initramfs.sh" "$tree/init"
cp "$vm_dir/guest-main.sh" "$tree/main"
chmod 755 "$tree/init" "$tree/main"
number=10
for module in virtio_pci virtio_console 9p 9pnet_virtio overlay virtio_blk ext4; do
	# `name.ko: dependency.ko ...`: what it depends on is loaded first, last in the list first
	line=$(grep -E "/$module\.ko(\.xz)?:" "$modules/modules.dep") || continue # built in
	for path in $(printf '%s\n' "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
		[ -n "$path" ] || continue
		name=$(basename "${path%.xz}")
		compgen -G "$tree/modules/*-$name" >/dev/null && continue
		case $path in
		*.xz) xz -dc "$modules/$path" >"$tree/modules/$number-$name" ;;
		*) cp "$modules/$path" "$tree/modules/$number-$name" ;;
		esac
		number=$((number + 1))
	done
done
archive "$tree" >"$work/initrd"
mv "$work/initrd" "$cache/initrd"
echo "$kernel_package" >"$cache/package"
say "kernel $version is ready in $cache"
