#!/bin/busybox sh
# Stage one in the virtual machine, from the initramfs: loads the drivers, mounts the host's files read-only with a tmpfs above them,
# and goes on with guest-main.sh on that root.
bb=/bin/busybox
give_up() {
	echo "vm: $*" >/dev/kmsg
	$bb poweroff -f
}
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $bb insmod "$module" || give_up "cannot load $module"; done
$bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || give_up "cannot mount the host's files"
$bb mount -t tmpfs -o size=80%,mode=755 upper /upper
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root || give_up "cannot mount the overlay"
$bb mkdir -p /root/.vm
$bb cp /bin/busybox /main /job /root/.vm/
for where in proc sys dev; do $bb mount --move /$where /root/$where; done
exec $bb switch_root /root /.vm/busybox sh /.vm/main
