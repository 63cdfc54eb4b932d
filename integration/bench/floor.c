/* The lower bound for `run`: the system calls that a container with the default configuration cannot do without, in the shortest program
 * that makes them. It reads no configuration, checks nothing and explains nothing, so nothing that does can be faster.
 *
 *   floor CGROUP ROOTFS PROGRAM [ARGUMENT...]
 *
 * CGROUP is the directory of a cgroup of version 2; it is made, entered by clone3, and removed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void need(long result, const char *call) {
	if (result >= 0)
		return;
	perror(call);
	_exit(125);
}

static const struct {
	const char *source, *target, *type;
	unsigned long flags;
	const char *data;
} mounts[] = {
	{"proc", "proc", "proc", 0, NULL},
	{"tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
	{"devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
	{"shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"},
	{"mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL},
	{"sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL},
};

static const struct {
	const char *path;
	int major, minor;
} nodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};

static const char *const masked[] = {"proc/kcore", "proc/keys", "proc/timer_list"};

static void inside(const char *rootfs, char **program) {
	unsigned i;
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount /");
	need(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), "bind the root");
	need(chdir(rootfs), "chdir");
	for (i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		if (i >= 2 && i <= 4)
			need(mkdir(mounts[i].target, 0755), "mkdir");
		need(mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].data), mounts[i].target);
	}
	for (i = 0; i < sizeof nodes / sizeof *nodes; i++)
		need(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
	need(symlink("/proc/self/fd", "dev/fd"), "symlink");
	need(symlink("pts/ptmx", "dev/ptmx"), "symlink");
	for (i = 0; i < sizeof masked / sizeof *masked; i++)
		mount("dev/null", masked[i], NULL, MS_BIND, NULL); /* not every kernel has all of them */
	need(sethostname("floor", 5), "sethostname");
	need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	need(umount2(".", MNT_DETACH), "umount the old root");
	need(chdir("/"), "chdir /");
	execv(program[0], program);
	need(-1, program[0]);
}

int main(int argc, char **argv) {
	struct clone_args args = {.exit_signal = SIGCHLD};
	int status = 0, cgroup;
	long pid;
	if (argc < 4) {
		fprintf(stderr, "usage: floor CGROUP ROOTFS PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	need(mkdir(argv[1], 0755), argv[1]);
	need(cgroup = open(argv[1], O_PATH | O_CLOEXEC), argv[1]);
	args.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_INTO_CGROUP;
	args.cgroup = cgroup;
	need(pid = syscall(SYS_clone3, &args, sizeof args), "clone3");
	if (pid == 0)
		inside(argv[2], argv + 3);
	need(waitpid(pid, &status, 0), "waitpid");
	need(rmdir(argv[1]), "rmdir");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
