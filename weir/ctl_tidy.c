/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs that were killed left in the folder of control sockets. A run removes what it
 * made; what one could not, the next command that looks into the folder does:
 *
 *   ID@NAME.sock                 nobody listens; ctl_socket.c, when it asks who does
 *   .ID@NAME.sock, .NAME.ended   on their way to their names
 *   slot-ADDRESS_LEN             a lock that nobody has
 *
 * NAME.log and NAME.ended are people's: weir rm.
 *
 * What is being made looks like what was left, so both take a lock on the folder: shared
 * for who makes something, exclusive for who tidies.
 */
#include "weir/ctl_tidy.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define HOLD_TRIES 100
#define HOLD_PAUSE (10 * NS_PER_MS)
/* A full folder must not stall a command. */
#define TIDY_FILES_MAX 1024

void ctl_hold(int fd, bool alone)
{
	const struct timespec pause = { .tv_nsec = (long)HOLD_PAUSE };

	for (unsigned i = 0; i < HOLD_TRIES; i++) {
		if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
			return;
		nanosleep(&pause, NULL);
	}
	log_debug("somebody keeps a lock beside the control sockets");
}

void ctl_release(int fd)
{
	(void)flock(fd, LOCK_UN);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), len = strlen(end);

	return n > len && str_eq(name + n - len, end);
}

static bool is_unfinished(const char *name)
{
	return name[0] == '.' && (ends_in(name, ".sock") || ends_in(name, ".ended"));
}

/* Its owner has it open and locked for as long as it lives. */
static bool is_unlocked(int dir, const char *name)
{
	cleanup_close int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

void ctl_tidy(int dir)
{
	/* An opening of its own: locks belong to those. */
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *de;

	if (!d) {
		fd_close(own);
		return;
	}
	if (flock(own, LOCK_EX | LOCK_NB) == 0)
		for (size_t i = 0; i < TIDY_FILES_MAX && (de = readdir(d)); i++)
			if (is_unfinished(de->d_name) ||
			    (str_starts(de->d_name, "slot-") && is_unlocked(dir, de->d_name)))
				unlinkat(dir, de->d_name, 0);
	closedir(d);
}
