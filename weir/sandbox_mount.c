/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's view of the file system: the host's, with some places covered.
 *
 * Covered are the places that reach around the network: /run (sockets of
 * daemons), every listening or bound Unix socket with a path, /dev (devices
 * other than the harmless ones), writable kernel knobs under /proc and /sys,
 * and the record itself. After this the command loses the right to mount, so
 * the covers stay. Device nodes that lie elsewhere (a chroot's /dev) are dead.
 *
 * A working directory holds on to what was there before it was covered, so it
 * is entered anew by its path at the end.
 *
 * Not covered: a Unix socket that a host process creates after the start
 * outside /run. The microVM backends do not share a file system and have no
 * such gap.
 */
#include "weir/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QUIET_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static int failed(struct conf_error *err, const char *what)
{
	int r = -errno;

	conf_error_set(err, "cannot set up the sandbox's file system: %s: %s", what, strerror(errno));
	return r;
}

static int bind_over(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int set_attr(const char *path, unsigned flags, uint64_t attrs)
{
	struct mount_attr attr = { .attr_set = attrs };

	return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof(attr)) < 0 ? -errno
											  : 0;
}

/* Recursively read-only, whatever is mounted below. */
static int make_read_only(const char *path)
{
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	return set_attr(path, AT_RECURSIVE, MOUNT_ATTR_RDONLY);
}

/*
 * Root in here is root's id to /proc: what is not about processes is read-only,
 * whichever directories and files this kernel has.
 */
static int lock_proc(struct conf_error *err)
{
	DIR *d = opendir("/proc");
	struct dirent *de;
	struct stat st;
	int r = 0;

	if (!d)
		return failed(err, "/proc");
	while (r == 0 && (de = readdir(d))) {
		char path[NAME_MAX + 8];

		if (de->d_name[0] == '.' || (de->d_name[0] >= '0' && de->d_name[0] <= '9'))
			continue;
		if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISDIR(st.st_mode) && !(S_ISREG(st.st_mode) && st.st_mode & 0222))
			continue;
		snprintf(path, sizeof(path), "/proc/%s", de->d_name);
		errno = -make_read_only(path);
		if (errno)
			r = failed(err, path);
	}
	closedir(d);
	return r;
}

static int mount_proc(struct conf_error *err)
{
	if (mount("proc", "/proc", "proc", QUIET_FLAGS, NULL) < 0)
		return failed(err, "a /proc of its own (is /proc masked by a container?)");
	return lock_proc(err);
}

/* One device of the host, bound where a plain file of that name waits. */
static int bind_device(const char *staging, const char *from, const char *name)
{
	char to[128];
	int fd;

	snprintf(to, sizeof(to), "%s/%s", staging, name);
	if (access(from, F_OK) < 0)
		return 0;
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	fd_close(fd);
	return bind_over(from, to);
}

static int mount_pts(const char *staging)
{
	char path[128], link_path[128];

	snprintf(path, sizeof(path), "%s/pts", staging);
	if (mkdir(path, 0755) < 0 || mount("devpts", path, "devpts", MS_NOSUID | MS_NOEXEC,
					   "newinstance,ptmxmode=0666,mode=620") < 0)
		return -errno;
	snprintf(link_path, sizeof(link_path), "%s/ptmx", staging);
	return symlink("pts/ptmx", link_path) < 0 ? -errno : 0;
}

static int mount_shm(const char *staging, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", staging, name);
	if (mkdir(path, 01777) < 0 || chmod(path, 01777) < 0 ||
	    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") < 0)
		return -errno;
	return 0;
}

/*
 * Built aside, on /run, and taken off again as a tree of its own: *ret_fd is
 * laid over /dev when every other device has been made useless.
 */
static int build_dev(int *ret_fd, struct conf_error *err)
{
	static const char *const devices[] = { "null", "zero", "full", "random", "urandom", "tty" };
	static const char *const links[][2] = { { "/proc/self/fd", "fd" },
						{ "/proc/self/fd/0", "stdin" },
						{ "/proc/self/fd/1", "stdout" },
						{ "/proc/self/fd/2", "stderr" } };
	static const char staging[] = "/run/weir-dev";
	char path[128];

	if (mkdir(staging, 0755) < 0 ||
	    mount("tmpfs", staging, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m") < 0)
		return failed(err, "/dev");
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		snprintf(path, sizeof(path), "/dev/%s", devices[i]);
		errno = -bind_device(staging, path, devices[i]);
		if (errno)
			return failed(err, devices[i]);
	}
	/* Our own terminal keeps a name; the host's other ones have none in here. */
	if (ttyname_r(STDIN_FILENO, path, sizeof(path)) == 0 &&
	    bind_device(staging, path, "console") < 0)
		return failed(err, path);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(path, sizeof(path), "%s/%s", staging, links[i][1]);
		if (symlink(links[i][0], path) < 0)
			return failed(err, path);
	}
	errno = -mount_pts(staging);
	if (errno)
		return failed(err, "/dev/pts");
	errno = -mount_shm(staging, "shm");
	if (errno)
		return failed(err, "/dev/shm");
	*ret_fd = (int)syscall(SYS_open_tree, AT_FDCWD, staging,
			       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (*ret_fd < 0 || umount2(staging, MNT_DETACH) < 0)
		return failed(err, "/dev");
	rmdir(staging);
	return 0;
}

/* An empty /run, with the one directory that programs expect to own. */
static int mount_run(struct conf_error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
		return failed(err, "/run");
	if (mkdir("/run/lock", 01777) < 0 || mkdir("/run/user", 0755) < 0 ||
	    mkdir(SANDBOX_DIR, 0755) < 0)
		return failed(err, SANDBOX_DIR);
	if (runtime && str_starts(runtime, "/run/user/") && mkdir(runtime, 0700) < 0 &&
	    errno != EEXIST)
		return failed(err, runtime);
	return 0;
}

/* What hidden files look like: empty, and no right of root's can write to it. */
static int make_blank(const char *dir, const char *file)
{
	int fd;

	if (mkdir(dir, 0700) < 0 ||
	    mount("tmpfs", dir, "tmpfs", QUIET_FLAGS, "size=4k,nr_inodes=2") < 0)
		return -errno;
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return -errno;
	fd_close(fd);
	return set_attr(dir, 0, MOUNT_ATTR_RDONLY);
}

/* hidden_paths may have gone by now; what is there gets an empty file or directory on top. */
static int hide_paths(char *const *paths, struct conf_error *err)
{
	static const char dir[] = "/run/weir-blank", blank[] = "/run/weir-blank/blank";
	struct stat st;

	errno = -make_blank(dir, blank);
	if (errno)
		return failed(err, dir);
	for (; paths && *paths; paths++) {
		if (lstat(*paths, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode)
			    ? mount("tmpfs", *paths, "tmpfs", MS_RDONLY | QUIET_FLAGS, "size=4k") < 0
			    : bind_over(blank, *paths) < 0)
			return failed(err, *paths);
	}
	if (umount2(dir, MNT_DETACH) < 0)
		return failed(err, dir);
	rmdir(dir);
	return 0;
}

/* The same path, as it is now. */
static int enter_again(const char *cwd)
{
	if (cwd && cwd[0] == '/' && chdir(cwd) == 0)
		return 0;
	log_warn("the working directory %s is not there in the sandbox; the command starts in /",
		 cwd ? cwd : "(deleted)");
	return chdir("/") < 0 ? -errno : 0;
}

static int cover(const struct sandbox_spec *spec, struct conf_error *err)
{
	cleanup_close int dev = -1;
	int r = mount_run(err);

	if (r == 0)
		r = build_dev(&dev, err);
	if (r < 0)
		return r;
	errno = -set_attr("/", AT_RECURSIVE, MOUNT_ATTR_NODEV);
	if (errno)
		return failed(err, "no devices");
	r = hide_paths(spec->hidden_paths, err);
	if (r < 0)
		return r;
	if (syscall(SYS_move_mount, dev, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return failed(err, "/dev");
	r = mount_proc(err);
	if (r < 0)
		return r;
	errno = -make_read_only("/sys");
	return errno ? failed(err, "/sys") : 0;
}

int sandbox_mounts(const struct sandbox_spec *spec, struct conf_error *err)
{
	cleanup_free char *cwd = getcwd(NULL, 0);
	int r;

	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return failed(err, "private mounts");
	r = cover(spec, err);
	if (r < 0)
		return r;
	errno = -enter_again(cwd);
	return errno ? failed(err, "/") : 0;
}
