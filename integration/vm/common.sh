# Shared by setup.sh and vmrun (bash).
vm_dir=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)

# choose_kernel PACKAGE: each kernel has a directory of its own in the cache.
choose_kernel() {
	kernel_package=$1
	cache=${RRUN_VM_CACHE:-$vm_dir/cache}/$kernel_package
}
choose_kernel "${RRUN_VM_KERNEL:-linux-image-6.12-amd64}"

say() { echo "vm: $*" >&2; }
fail() {
	say "$*"
	exit 125
}

apt_updated=
apt_update_once() {
	[ -n "$apt_updated" ] && return
	command -v apt-get >/dev/null || fail "no apt-get: the virtual machine is set up on Debian"
	apt-get -qq update >&2 || say "apt-get update failed; going on with the lists that are here"
	apt_updated=1
}

# install_missing PROGRAM:PACKAGE...
install_missing() {
	local pair packages=()
	for pair; do command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}"); done
	[ ${#packages[@]} -eq 0 ] && return
	apt_update_once
	say "installing ${packages[*]}"
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null ||
		fail "apt-get install ${packages[*]} failed"
}

# archive DIR: a newc cpio archive of the directory on stdout, which is what the kernel reads as an initramfs
archive() { (cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null); }

# number FILE OFFSET BYTES: a little-endian number in a file
number_at() { od -A n -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# unpack_kernel BZIMAGE OUT: the ELF kernel in a bzImage. Booting it spares the emulated CPU the decompression (about 2 s).
# Offsets: Documentation/arch/x86/boot.rst, setup_sects, payload_offset and payload_length.
unpack_kernel() {
	local sectors start length
	sectors=$(number_at "$1" $((0x1f1)) 1)
	[ "$sectors" = 0 ] && sectors=4
	start=$(((sectors + 1) * 512 + $(number_at "$1" $((0x248)) 4)))
	length=$(number_at "$1" $((0x24c)) 4)
	head -c $((start + length)) "$1" | tail -c "$length" >"$2.packed"
	case $(od -A n -t x1 -N 4 "$2.packed" | tr -d ' ') in
	28b52ffd) head -c -4 "$2.packed" | zstd -dcq >"$2" ;; # the last four bytes are the length, not zstd
	fd377a58) head -c -4 "$2.packed" | xz -dc --single-stream >"$2" 2>/dev/null || true ;;
	1f8b*) gzip -dcq <"$2.packed" >"$2" || true ;;
	*) fail "$1: the kernel is packed in a format that I do not know" ;;
	esac
	rm -f "$2.packed"
	[ "$(od -A n -t x1 -N 4 "$2" | tr -d ' ')" = 7f454c46 ] || fail "$1: no ELF kernel inside"
}
