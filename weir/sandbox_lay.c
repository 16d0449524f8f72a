/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the sandbox's laid over the host's, and kept there.
 *
 * When the host replaces a file (renames another over it, as those who write
 * /etc/resolv.conf and certificate bundles do), the kernel takes away what was
 * mounted on it in every other namespace, and the sandbox would read the host's
 * new one. So the folder of each is watched, and what has gone is laid again.
 *
 * Hostile: a command that is root moves what it likes. What is laid comes from
 * descriptors of plain files, opened before it began, never again by name: laid
 * over the wrong place it hides something of the command's own view, and shows
 * nothing. Folders and links below /run are made with no right the command has not.
 */
#include "weir/sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* resolv.conf, hosts, the places of trust (bundles, folders, a store for each JVM), files of secrets. */
#define LAID_MAX (96 + 256)
#define FOLDER_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

static struct {
	const char *file, *target;
	int fd; /* O_PATH, of file */
} laid[LAID_MAX];
static size_t n_laid;

/* A target that is a link into /run (as resolv.conf often is) points nowhere: the file is made there. */
static int make_behind_link(const char *file, const char *target)
{
	char dest[PATH_MAX], dir[PATH_MAX];
	ssize_t n = readlink(target, dest, sizeof(dest) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	dest[n] = 0;
	/* "../run/x" and "/run/x" both occur. */
	snprintf(dir, sizeof(dir), "%s", strstr(dest, "/run/") ? strstr(dest, "/run/") : "");
	if (!*dir)
		return -ENOENT;
	memcpy(dest, dir, sizeof(dest));
	for (slash = strchr(dest + 5, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(dest, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return symlink(file, dest) < 0 ? -errno : 0;
}

int sandbox_lay(const char *file, const char *target)
{
	int fd, r = 0;

	if (access(target, F_OK) < 0)
		r = make_behind_link(file, target);
	else if (mount(file, target, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	if (r < 0)
		return r;
	fd = open(file, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (n_laid == LAID_MAX) {
		fd_close(fd);
		return -ENOBUFS;
	}
	laid[n_laid].file = file;
	laid[n_laid].target = target;
	laid[n_laid++].fd = fd;
	return 0;
}

static bool is_there(int ours, int now)
{
	struct stat a, b;

	return fstat(ours, &a) == 0 && fstat(now, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static void lay_again(const char *file, int fd, const char *target)
{
	cleanup_close int now = open(target, O_PATH | O_CLOEXEC), tree = -1;

	if (now >= 0 && is_there(fd, now))
		return;
	if (now < 0) {
		/* Neither a file nor a link to where one may be: its coming back will be told. */
		if (make_behind_link(file, target) < 0)
			log_debug("%s is not there any more", target);
		return;
	}
	tree = (int)syscall(SYS_open_tree, fd, "",
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 || syscall(SYS_move_mount, tree, "", now, "",
				MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		log_debug("%s is the host's now: %s", target, strerror(errno));
}

/* The folder of the path, and that of the file behind it when it is a link. */
static void watch(int fd, const char *target)
{
	char path[PATH_MAX], real[PATH_MAX], *slash;

	snprintf(path, sizeof(path), "%s", target);
	for (int i = 0; i < 2; i++) {
		slash = strrchr(path, '/');
		if (slash && slash != path) {
			*slash = 0;
			if (inotify_add_watch(fd, path, FOLDER_EVENTS) < 0)
				log_debug("%s is not watched: %s", path, strerror(errno));
		}
		if (!realpath(target, real))
			return;
		memcpy(path, real, sizeof(path));
	}
}

int sandbox_lay_watch(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0) {
		log_debug("the sandbox's files are not kept in place: %s", strerror(errno));
		return fd;
	}
	for (size_t i = 0; i < n_laid; i++)
		watch(fd, laid[i].target);
	return fd;
}

void sandbox_lay_changed(int fd)
{
	char events[4096];

	while (read(fd, events, sizeof(events)) > 0)
		;
	for (size_t i = 0; i < n_laid; i++) {
		lay_again(laid[i].file, laid[i].fd, laid[i].target);
		watch(fd, laid[i].target);
	}
}
