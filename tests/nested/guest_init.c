/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The init of a guest that says what it is, and ends as its command line has it: how=off,
 * how=reset, how=panic (its init ends), how=work (all processors work together, then off).
 * Static: there is nothing else in its root.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CPUS_MAX 64
#define TURNS 100
#define NAP_NS 2000000

static int is_told(const char *word)
{
	char text[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	close(fd);
	return strstr(text, word) != NULL;
}

/* A thread for each processor, in a ring of pipes. */
struct worker {
	pthread_t thread;
	int cpu, from, to;
	int turns, early;
};

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Woken by the one before (an interrupt of that processor's), asleep (one of its own timer's). */
static void *work(void *p)
{
	const struct timespec nap = { 0, NAP_NS };
	struct worker *w = p;
	cpu_set_t only;
	char token;

	CPU_ZERO(&only);
	CPU_SET(w->cpu, &only);
	if (sched_setaffinity(0, sizeof(only), &only) < 0)
		return NULL;
	while (w->turns < TURNS && read(w->from, &token, 1) == 1) {
		long long before = now_ns();

		if (w->turns % 10 == 0) {
			nanosleep(&nap, NULL);
			w->early += now_ns() - before < NAP_NS;
		}
		w->turns++;
		if (write(w->to, &token, 1) != 1)
			break;
	}
	return NULL;
}

static void work_together(int console, int cpus)
{
	struct worker w[CPUS_MAX] = { 0 };
	int turns = 0, early = 0;

	cpus = cpus < CPUS_MAX ? cpus : CPUS_MAX;
	for (int i = 0; i < cpus; i++) {
		int pipes[2];

		if (pipe(pipes) < 0)
			return;
		w[i].cpu = i;
		w[i].from = pipes[0];
		w[(i + cpus - 1) % cpus].to = pipes[1];
	}
	for (int i = 0; i < cpus; i++)
		if (pthread_create(&w[i].thread, NULL, work, &w[i]) != 0)
			return;
	if (write(w[cpus - 1].to, "", 1) != 1)
		return;
	for (int i = 0; i < cpus; i++) {
		pthread_join(w[i].thread, NULL);
		turns += w[i].turns;
		early += w[i].early;
	}
	dprintf(console, "work: %d threads, %d turns, %s\n", cpus, turns,
		early ? "timers too early" : "no timer early");
}

int main(void)
{
	int console = open("/dev/console", O_RDWR);
	long cpus;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) < 0 || mount("sys", "/sys", "sysfs", 0, NULL) < 0)
		return 1;
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (console >= 0)
		dprintf(console, "init: %ld cpus, year %ld, %ld MiB\n", cpus,
			1970 + time(NULL) / 31556952,
			sysconf(_SC_PHYS_PAGES) / (1048576 / sysconf(_SC_PAGESIZE)));
	if (is_told("how=work"))
		work_together(console, (int)cpus);
	/* What is in the port's buffer is not waited for when a machine ends. */
	sleep(1);
	if (is_told("how=panic"))
		return 1;
	return reboot(is_told("how=reset") ? RB_AUTOBOOT : RB_POWER_OFF);
}
