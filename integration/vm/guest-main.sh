# Stage two in the virtual machine, as process 1 on the final root (busybox sh): pseudo file systems, cgroup v2 alone with every controller,
# then the job; its exit code goes back through a port, and the machine is switched off.
#   (no argument)   process 1        job   run the job (by systemd, as a service)
bb=/.vm/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# word NAME: the value of vm.NAME=... on the kernel's command line
word() { $bb sed -n "s/.*\bvm\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

prepare() {
	$bb mkdir -p /dev/pts /dev/shm /dev/mqueue /dev/hugepages
	$bb mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
	$bb mount -t tmpfs -o mode=1777 shm /dev/shm
	$bb mount -t mqueue mqueue /dev/mqueue
	$bb ln -sf /proc/self/fd /dev/fd
	for n in 0:stdin 1:stdout 2:stderr; do $bb ln -sf "fd/${n%:*}" "/dev/${n#*:}"; done
	$bb mount -t tmpfs -o mode=755 run /run
	mount_cgroups
	$bb mount -t bpf bpf /sys/fs/bpf
	$bb mount -t securityfs securityfs /sys/kernel/security
	# Modules on demand (loop, dummy, veth ...), from the cache on the host.
	$bb mkdir -p /lib/modules
	$bb mount --bind "$(word modules)" /lib/modules
	# A root that is itself an overlay takes neither an upper directory nor an id-mapped mount: /data does.
	$bb mkdir -p /data
	if [ -b /dev/vda ]; then $bb mount -t ext4 /dev/vda /data; else $bb mount -t tmpfs -o mode=755 data /data; fi
	$bb chmod 1777 /data
	$bb mount -t tmpfs -o mode=1777 tmp /tmp
	$bb ip link set lo up
	$bb hostname vm
}

# One tree with every controller, or the hybrid layout: a hierarchy for each controller and an empty unified tree beside them.
mount_cgroups() {
	if [ "$(word cgroup)" != v1 ]; then
		$bb mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
		return
	fi
	$bb mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
	for controller in $($bb awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do
		$bb mkdir "/sys/fs/cgroup/$controller"
		$bb mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
	done
	$bb mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
	$bb mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
	$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
	echo 1 >/sys/fs/cgroup/memory/memory.use_hierarchy
}

start_systemd() {
	units=/run/systemd/system
	$bb mkdir -p $units
	for unit in systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer systemd-sysusers.service systemd-random-seed.service \
		systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journal-flush.service systemd-udevd.service \
		systemd-udev-trigger.service systemd-firstboot.service systemd-update-utmp.service systemd-binfmt.service systemd-modules-load.service \
		systemd-pstore.service systemd-resolved.service systemd-timesyncd.service; do
		$bb ln -s /dev/null $units/$unit
	done
	$bb cat >$units/job.service <<-END
		[Unit]
		DefaultDependencies=no
		Wants=dbus.socket
		After=dbus.socket
		[Service]
		Type=oneshot
		Delegate=yes
		ExecStart=/.vm/busybox sh /.vm/main job
	END
	exec /lib/systemd/systemd --system --unit=job.service --show-status=0
}

run_job() {
	for port in /sys/class/virtio-ports/*; do
		case $($bb cat "$port/name") in
		out) out=/dev/${port##*/} ;;
		err) err=/dev/${port##*/} ;;
		code) code=/dev/${port##*/} ;;
		esac
	done
	# Pipes, because a port can be opened once only and programs reopen /dev/stdout.
	$bb mkfifo /.vm/out /.vm/err
	$bb cat </.vm/out >"$out" &
	copy_out=$!
	$bb cat </.vm/err >"$err" &
	copy_err=$!
	$bb setsid /bin/sh /.vm/job </dev/null >/.vm/out 2>/.vm/err
	status=$?
	# A process that the job left behind may hold the pipes: half a second for what is still in them, no more.
	i=0
	while [ $i -lt 25 ] && { $bb kill -0 $copy_out || $bb kill -0 $copy_err; } 2>/dev/null; do
		$bb usleep 20000
		i=$((i + 1))
	done
	echo $status >"$code"
	$bb grep -q ' /data ext4' /proc/mounts && $bb umount /data
	$bb poweroff -f
}

if [ "$1" != job ]; then
	prepare
	[ "$(word init)" = systemd ] && start_systemd
fi
run_job
