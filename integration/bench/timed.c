/* timed FILE COMMAND [ARGUMENT...]: runs the command and appends "NANOSECONDS KILOBYTES" to FILE: the time from before its start to after its
 * end, and the largest resident set of the command and what it waited for. Its exit code is the command's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv) {
	struct timespec from, to;
	struct rusage usage;
	pid_t pid;
	int status;
	FILE *out;
	if (argc < 3)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0 || wait4(pid, &status, 0, &usage) != pid) {
		perror(argv[2]);
		return 125;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	out = fopen(argv[1], "a");
	if (!out) {
		perror(argv[1]);
		return 125;
	}
	fprintf(out, "%lld %ld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec), usage.ru_maxrss);
	fclose(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
