/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock files of slots. Who is done removes the file while it still has the lock;
 * who gets the lock of a file that is no longer there under its name tries again.
 */
#include "weir/slot_lock.h"

#include "weir/ctl_socket.h"
#include "weir/ctl_tidy.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 8

static void file_name(const struct ip_prefix *slot, char *out, size_t size)
{
	char addr[IP_STRLEN];

	snprintf(out, size, "slot-%s_%u", ip_format(&slot->addr, addr), slot->len);
}

/* 0, -EBUSY, or -EAGAIN: the file was removed meanwhile. */
static int try_take(int dir, const char *name, int *ret_fd)
{
	cleanup_close int fd =
		openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat mine, there;

	if (fd < 0)
		return -errno == -EAGAIN ? -EIO : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(fd, &mine) < 0)
		return -errno;
	if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || mine.st_ino != there.st_ino ||
	    mine.st_dev != there.st_dev)
		return -EAGAIN;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int slot_lock_take(const struct ip_prefix *slot, struct slot_lock *ret)
{
	cleanup_close int dir = -1;
	char name[80];
	int fd = -1, r = ctl_dir_open(&dir, NULL);

	if (r < 0) {
		log_debug("no place for the locks of slots: %s", strerror(-r));
		return r;
	}
	file_name(slot, name, sizeof(name));
	r = -EAGAIN;
	/* Who tidies takes a file's lock as well, if only for a moment. */
	ctl_hold(dir, false);
	for (unsigned i = 0; i < TRIES && r == -EAGAIN; i++)
		r = try_take(dir, name, &fd);
	ctl_release(dir);
	/* Whoever removes it all the time is using it. */
	if (r == -EAGAIN)
		r = -EBUSY;
	if (r == 0)
		*ret = (struct slot_lock){ .fd = fd, .dir = steal_fd(&dir), .slot = *slot };
	return r;
}

void slot_lock_release(struct slot_lock *l)
{
	char name[80];

	if (l->fd <= 0)
		return;
	file_name(&l->slot, name, sizeof(name));
	unlinkat(l->dir, name, 0);
	fd_close(l->fd);
	fd_close(l->dir);
	*l = (struct slot_lock){ 0 };
}
