/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The init of a guest that says what it is, and ends as its command line has it: how=off,
 * how=reset, how=panic (its init ends). Static: there is nothing else in its root.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int is_told(const char *word)
{
	char text[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	close(fd);
	return strstr(text, word) != NULL;
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
		dprintf(console, "init: %ld cpus, year %ld\n", cpus, 1970 + time(NULL) / 31556952);
	/* What is in the port's buffer is not waited for when a machine ends. */
	sleep(1);
	if (is_told("how=panic"))
		return 1;
	return reboot(is_told("how=reset") ? RB_AUTOBOOT : RB_POWER_OFF);
}
