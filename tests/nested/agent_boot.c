/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_boot COMMAND [ARGUMENT...]: starts a monitor, waits until the agent in its guest says
 * hello, says what that took, and ends the monitor. "@" in an argument becomes the
 * number of the descriptor behind which the agent is. One line:
 *
 *   hello MS busy US user MS guest MS system MS
 *
 * MS since the start; then the time of the monitor's threads on processors: all of it, and what ticks
 * of the clock say it was spent on; the guest's is a part of the user's. Where an emulated processor
 * counts its instructions, busy is their number in thousands.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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

/* ---- what the monitor has used ------------------------------------------- */

struct used {
	unsigned long long ns;		   /* on a processor */
	unsigned long user, guest, system; /* ticks; user with guest */
};

static int read_text(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(out, 1, size - 1, f) : 0;

	if (f)
		fclose(f);
	out[n] = 0;
	return n > 0;
}

/* Field n of proc(5)'s stat, the state being 3: behind a name of any content. */
static unsigned long field(const char *stat, int n)
{
	const char *at = strrchr(stat, ')');

	for (n -= 2; at && n > 0; n--)
		at = strchr(at + 1, ' ');
	return at ? strtoul(at + 1, NULL, 10) : 0;
}

static void add_thread(const char *folder, const char *tid, struct used *sum)
{
	char path[1024], text[1024];

	snprintf(path, sizeof(path), "%s/%s/schedstat", folder, tid);
	if (read_text(path, text, sizeof(text)))
		sum->ns += strtoull(text, NULL, 10);
	snprintf(path, sizeof(path), "%s/%s/stat", folder, tid);
	if (!read_text(path, text, sizeof(text)))
		return;
	sum->user += field(text, 14);
	sum->guest += field(text, 43);
	sum->system += field(text, 15);
}

/* Calls each(folder, name, sum) for what has a number for its name. */
static void for_numbers(const char *folder,
			void (*each)(const char *folder, const char *name, struct used *sum),
			struct used *sum)
{
	DIR *d = opendir(folder);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			each(folder, e->d_name, sum);
	if (d)
		closedir(d);
}

/* Whatever runs since us: the monitor's processes. The kernel's own threads have no memory. */
static void add_process(const char *folder, const char *pid, struct used *sum)
{
	char path[600], stat[1024];

	snprintf(path, sizeof(path), "%s/%s/stat", folder, pid);
	if (strtol(pid, NULL, 10) <= getpid() || !read_text(path, stat, sizeof(stat)) ||
	    !field(stat, 23))
		return;
	snprintf(path, sizeof(path), "%s/%s/task", folder, pid);
	for_numbers(path, add_thread, sum);
}

static long ms_of(unsigned long ticks)
{
	return (long)ticks * 1000 / sysconf(_SC_CLK_TCK);
}

int main(int argc, char **argv)
{
	struct used u = { 0 };
	int pair[2], ok;
	long began, took;
	pid_t pid;

	if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 2;
	/* The monitor's own children are ours when it is gone, and are waited for as well. */
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
	for_numbers("/proc", add_process, &u);
	if (pid > 0)
		kill(pid, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	printf("%s %ld busy %llu user %ld guest %ld system %ld\n", ok ? "hello" : "nothing", took,
	       u.ns / 1000, ms_of(u.user), ms_of(u.guest), ms_of(u.system));
	return ok ? 0 : 1;
}
