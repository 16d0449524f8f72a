/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_boot COMMAND [ARGUMENT...]: starts a monitor, waits until the agent in its guest says
 * hello, says how long that took, and ends the monitor. "@" in an argument becomes the
 * number of the descriptor behind which the agent is. One line:
 *
 *   hello MS user MS system MS
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HELLO 1
#define PATIENCE_MS 120000

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long ms_of(struct timeval t)
{
	return t.tv_sec * 1000 + t.tv_usec / 1000;
}

static void put_number(char *word, int fd, char *out, size_t size)
{
	char *at = strchr(word, '@');

	snprintf(out, size, "%.*s%d%s", (int)(at - word), word, fd, at + 1);
}

static void start(char **argv, int fd)
{
	static char words[64][256];

	for (int i = 0; argv[i] && i < 64; i++)
		if (strchr(argv[i], '@')) {
			put_number(argv[i], fd, words[i], sizeof(words[i]));
			argv[i] = words[i];
		}
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

/* The header of the first frame: length, id, type, flags. */
static int wait_for_hello(int fd)
{
	uint8_t header[12];
	size_t n = 0;

	while (n < sizeof(header)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r =
			poll(&p, 1, PATIENCE_MS) > 0 ? read(fd, header + n, sizeof(header) - n) : 0;

		if (r <= 0)
			return 0;
		n += (size_t)r;
	}
	return header[8] == HELLO && header[9] == 0;
}

int main(int argc, char **argv)
{
	struct rusage u;
	int pair[2], ok;
	long began, took;
	pid_t pid;

	if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 2;
	/* The monitor's own children are ours when it is gone: their time counts as well. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	began = now_ms();
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		start(argv + 1, pair[1]);
	}
	close(pair[1]);
	ok = pid > 0 && wait_for_hello(pair[0]);
	took = now_ms() - began;
	if (pid > 0)
		kill(pid, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	getrusage(RUSAGE_CHILDREN, &u);
	printf("%s %ld user %ld system %ld\n", ok ? "hello" : "nothing", took, ms_of(u.ru_utime),
	       ms_of(u.ru_stime));
	return ok ? 0 : 1;
}
