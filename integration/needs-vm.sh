#!/bin/bash
# Which cgroup hierarchy is missing on this machine for the limit tests, and so has to come from a virtual machine: prints "v2" or "v1".
# Exit status 1 when nothing is missing.
controllers=$(cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null)
if [ -z "$controllers" ]; then
	echo v2
	exit 0
fi
for controller in cpu cpuset io memory pids; do
	case " $controllers " in
	*" $controller "*) ;;
	*)
		echo v2
		exit 0
		;;
	esac
done
# Version 2 with everything: the version 1 side is tested in the machine, on Debian's 6.1 kernel.
echo v1
