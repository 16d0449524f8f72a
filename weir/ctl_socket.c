/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of running sandboxes. Their directory may be as long as it likes:
 * a socket is bound and reached by /proc/self/fd/N/FILE, which always fits.
 */
#include "weir/ctl_socket.h"

#include "weir/ctl_tidy.h"
#include "weir/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Entries of the directory that are looked at: a full one must not stall a start. */
#define CTL_FILES_MAX 1024
#define CTL_BACKLOG 16
/* A run that does not answer within this is told to be stuck. */
#define CTL_TIMEOUT_S 60

static const char suffix[] = ".sock";

/* ---- names -------------------------------------------------------------------- */

size_t ctl_dirs(char *ret[static CTL_DIRS])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	size_t n = 0;
	int r = 0;

	if (geteuid() == 0 && (ret[n] = strdup("/run/weir")))
		n++;
	if (runtime && runtime[0] == '/')
		n += asprintf(&ret[n], "%s/weir", runtime) >= 0;
	if (state && state[0] == '/')
		r = asprintf(&ret[n], "%s/weir/run", state);
	else if (home && home[0] == '/' && home[1])
		r = asprintf(&ret[n], "%s/.local/state/weir/run", home);
	return r > 0 ? n + 1 : n;
}

bool ctl_file_parse(const char *file, struct ctl_run *ret)
{
	const char *at = strchr(file, '@');
	size_t len = strlen(file), n;

	if (!at || (size_t)(at - file) != RUN_ID_LEN || len < sizeof(suffix) ||
	    !str_eq(file + len - (sizeof(suffix) - 1), suffix))
		return false;
	n = len - (sizeof(suffix) - 1) - RUN_ID_LEN - 1;
	if (n == 0 || n > CTL_NAME_MAX)
		return false;
	memcpy(ret->id, file, RUN_ID_LEN);
	ret->id[RUN_ID_LEN] = 0;
	memcpy(ret->name, at + 1, n);
	ret->name[n] = 0;
	return true;
}

static void address_of(int dir, const char *file, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, file);
}

static int connect_to(int dir, const char *file, int flags)
{
	struct timeval patience = { .tv_sec = CTL_TIMEOUT_S };
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	struct sockaddr_un sa;

	address_of(dir, file, &sa);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* ---- listing ------------------------------------------------------------------- */

/* Nobody listens: its run is dead, and what is left of it goes. */
static bool is_alive(int dir, const char *file)
{
	int fd = connect_to(dir, file, SOCK_NONBLOCK);

	if (fd >= 0)
		fd_close(fd);
	if (fd == -ECONNREFUSED)
		unlinkat(dir, file, 0);
	return fd >= 0 || fd == -EAGAIN;
}

/* Appends the live ones of a directory; without ret they are only tidied. */
static int scan(const char *path, int dir, struct ctl_run **ret, size_t *ret_n)
{
	int own = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	struct ctl_run run, *more;
	struct dirent *de;
	size_t seen = 0;
	int r = 0;

	if (!d) {
		fd_close(own);
		return -errno;
	}
	rewinddir(d);
	while (r == 0 && seen < CTL_FILES_MAX && (de = readdir(d))) {
		seen++;
		if (!ctl_file_parse(de->d_name, &run) || !is_alive(dir, de->d_name) || !ret)
			continue;
		if ((size_t)snprintf(run.dir, sizeof(run.dir), "%s", path) >= sizeof(run.dir))
			continue;
		more = reallocarray(*ret, *ret_n + 1, sizeof(*more));
		if (!more) {
			r = -ENOMEM;
			break;
		}
		more[(*ret_n)++] = run;
		*ret = more;
	}
	closedir(d);
	ctl_tidy(dir);
	return r;
}

int ctl_list(struct ctl_run **ret, size_t *ret_n)
{
	struct ctl_run *runs = NULL;
	char *dirs[CTL_DIRS];
	size_t n_dirs = ctl_dirs(dirs), n = 0;
	int r = 0;

	for (size_t i = 0; i < n_dirs; i++) {
		cleanup_close int dir = -1;

		if (r == 0 && state_own_dir(dirs[i], false, &dir) == 0)
			r = scan(dirs[i], dir, &runs, &n);
		free(dirs[i]);
	}
	if (r < 0) {
		free(runs);
		return r;
	}
	*ret = runs;
	*ret_n = n;
	return 0;
}

int ctl_connect(const struct ctl_run *run, int *ret_fd)
{
	char file[sizeof(((struct ctl_listener *)0)->file)];
	cleanup_close int dir = -1;
	int r = state_own_dir(run->dir, false, &dir), fd;

	if (r < 0)
		return r;
	snprintf(file, sizeof(file), "%s@%s%s", run->id, run->name, suffix);
	fd = connect_to(dir, file, 0);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

/* ---- listening ------------------------------------------------------------------ */

int ctl_dir_open(int *ret, char **ret_path)
{
	char *dirs[CTL_DIRS];
	size_t n = ctl_dirs(dirs);
	int r = -ENOENT;

	for (size_t i = 0; i < n; i++) {
		if (r < 0)
			r = state_own_dir(dirs[i], true, ret);
		if (r == 0 && ret_path) {
			*ret_path = dirs[i];
			ret_path = NULL;
		} else {
			free(dirs[i]);
		}
	}
	return r;
}

static int listen_as(int dir, const char *file)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char hidden[sizeof(((struct ctl_listener *)0)->file) + 2];
	struct sockaddr_un sa;
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	snprintf(hidden, sizeof(hidden), ".%s", file);
	address_of(dir, hidden, &sa);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && (listen(fd, CTL_BACKLOG) < 0 || renameat(dir, hidden, dir, file) < 0)) {
		r = -errno;
		unlinkat(dir, hidden, 0);
	}
	return r < 0 ? r : steal_fd(&fd);
}

int ctl_listen(const char *id, const char *name, struct ctl_listener *ret)
{
	struct ctl_listener l = { .fd = -1, .dir = -1 };
	cleanup_free char *path = NULL;
	int r = ctl_dir_open(&l.dir, &path);

	if (r < 0)
		return r;
	if (scan(path, l.dir, NULL, NULL) < 0)
		log_debug("%s: sockets of dead runs may be left", path);
	snprintf(l.file, sizeof(l.file), "%s@%s%s", id, name, suffix);
	ctl_hold(l.dir, false);
	l.fd = listen_as(l.dir, l.file);
	ctl_release(l.dir);
	if (l.fd < 0) {
		fd_close(l.dir);
		return l.fd;
	}
	*ret = l;
	return 0;
}

void ctl_unlisten(struct ctl_listener *l)
{
	if (l->fd < 0)
		return;
	unlinkat(l->dir, l->file, 0);
	fd_close(l->fd);
	fd_close(l->dir);
	l->fd = l->dir = -1;
}

bool ctl_runs(const char *name, struct ctl_run *ret)
{
	struct ctl_run *runs = NULL;
	bool found = false;
	size_t n = 0;

	if (ctl_list(&runs, &n) < 0)
		return false;
	for (size_t i = 0; i < n && !found; i++) {
		found = str_eq(runs[i].name, name) || str_eq(runs[i].id, name);
		if (found && ret)
			*ret = runs[i];
	}
	free(runs);
	return found;
}
