/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and folders between here and a machine that runs.
 *
 * What comes from the machine is hostile: names are single components (the protocol's reader has
 * seen to it), each is made below a folder that is open already, links are made and never
 * followed, set-user-id bits are dropped, devices and sockets are left out. How deep
 * and how many its folders are is bounded here.
 */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/machine_call.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 128
/* Of one folder in the machine: a listing is kept while it is worked through. */
#define ENTRIES_MAX (1 << 20)
#define CHUNK 65536

static const char cp_help[] =
	"Usage: weir cp FROM TO\n"
	"\n"
	"Copies a file, or a folder with all that is in it, between here and a microVM\n"
	"that runs: one of FROM and TO is NAME:/PATH or ID:/PATH, the other a path here.\n"
	"Where TO is a folder, the copy goes into it under its own name. Modes, times and\n"
	"links are kept; owners are root there and ours here. A file takes its name in\n"
	"the machine once it is whole.\n"
	"\n"
	"Exit status: 0; 1 something could not be copied; 2 usage.\n";

struct copy {
	struct machine_call call;
	int status;
};

static void complain(struct copy *c, const char *path, const char *why)
{
	char quoted[300];

	log_quote(path, strlen(path), quoted, sizeof(quoted));
	/* What the machine says may name it already. */
	if (str_starts(why, quoted))
		c->status = ctl_complain(CTL_REFUSED, "%s", why);
	else
		c->status = ctl_complain(CTL_REFUSED, "%s: %s", quoted, why);
}

static const char *reason(const struct machine_wait *w, int r)
{
	return *w->why ? w->why : strerror(-r);
}

static char *below(const char *folder, const char *name)
{
	char *path = NULL;
	size_t n = strlen(folder);

	while (n > 1 && folder[n - 1] == '/')
		n--;
	if (n == 1 && *folder == '/')
		n = 0;
	return asprintf(&path, "%.*s/%s", (int)n, folder, name) < 0 ? NULL : path;
}

static uint64_t mtime_of(const struct stat *st)
{
	return st->st_mtim.tv_sec < 0
		       ? 0
		       : (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
}

/* ---- to the machine ---------------------------------------------------------------- */

/* Waits for room; 0: the stream is over. */
static size_t await_room(struct copy *c, struct machine_wait *w)
{
	while (w->s && !agent_stream_room(w->s))
		if (loop_step(c->call.loop, -1) < 0)
			return 0;
	return w->s ? agent_stream_room(w->s) : 0;
}

static int send_bytes(struct copy *c, struct machine_wait *w, int fd)
{
	static uint8_t chunk[CHUNK];
	size_t room;
	ssize_t n = 0;

	while ((room = await_room(c, w))) {
		n = read(fd, chunk, MIN(room, sizeof(chunk)));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (agent_stream_write(w->s, chunk, (size_t)n) < 0)
			return -EPIPE;
	}
	if (n < 0) {
		/* Half a file must not take the name of a whole one. */
		n = -errno;
		agent_stream_close(w->s);
		return (int)n;
	}
	return !w->s || agent_stream_eof(w->s) == 0 ? 0 : -EPIPE;
}

static void send_file(struct copy *c, int fd, const struct stat *st, const char *to)
{
	struct agent_file f = { .path = to,
				.flags = AGENT_FILE_MODE | AGENT_FILE_TIME,
				.mode = st->st_mode & 07777,
				.mtime_ns = mtime_of(st) };
	struct machine_wait w = { 0 };
	int r = agent_file(c->call.agent, AGENT_PUT, &f, 0, &machine_wait_events, &w, &w.s);

	if (r == 0)
		r = send_bytes(c, &w, fd);
	if (r == 0)
		r = machine_wait_end(&c->call, &w);
	if (r < 0)
		complain(c, to, reason(&w, r));
}

static void send_link(struct copy *c, int dir, const char *name, const char *to)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	struct agent_file f = { .path = to, .to = target };
	struct machine_wait w = { 0 }, removed = { 0 };
	int r;

	if (n < 0) {
		complain(c, name, strerror(errno));
		return;
	}
	target[n] = 0;
	r = machine_file(&c->call, AGENT_SYMLINK, &f, &w);
	if (r == -EEXIST && machine_file(&c->call, AGENT_REMOVE, &f, &removed) == 0) {
		w = (struct machine_wait){ 0 };
		r = machine_file(&c->call, AGENT_SYMLINK, &f, &w);
	}
	if (r < 0)
		complain(c, to, reason(&w, r));
}

static void send_any(struct copy *c, int dir, const char *name, const char *to, unsigned depth);

static void send_folder(struct copy *c, int fd, const struct stat *st, const char *to, unsigned depth)
{
	struct agent_file f = { .path = to,
				.flags = AGENT_FILE_PARENTS | AGENT_FILE_MODE,
				.mode = st->st_mode & 07777 };
	struct machine_wait w = { 0 };
	int r = machine_file(&c->call, AGENT_MKDIR, &f, &w), own;
	struct dirent *e;
	DIR *d;

	if (r < 0) {
		complain(c, to, reason(&w, r));
		return;
	}
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	d = own < 0 ? NULL : fdopendir(own);
	if (!d) {
		complain(c, to, strerror(errno));
		fd_close(own);
		return;
	}
	while (!c->call.lost && (e = readdir(d))) {
		cleanup_free char *path = NULL;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		path = below(to, e->d_name);
		if (path)
			send_any(c, fd, e->d_name, path, depth + 1);
	}
	closedir(d);
}

static void send_any(struct copy *c, int dir, const char *name, const char *to, unsigned depth)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (fstatat(dir, name, &st, depth ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
		complain(c, name, strerror(errno));
	} else if (depth > DEPTH_MAX) {
		complain(c, to, "too deep");
	} else if (S_ISLNK(st.st_mode)) {
		send_link(c, dir, name, to);
	} else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		fd = openat(dir, name, O_RDONLY | O_CLOEXEC | (depth ? O_NOFOLLOW : 0));
		if (fd < 0 || fstat(fd, &st) < 0)
			complain(c, name, strerror(errno));
		else if (S_ISDIR(st.st_mode))
			send_folder(c, fd, &st, to, depth);
		else
			send_file(c, fd, &st, to);
	} else {
		complain(c, name, "is neither file, folder nor link: left out");
	}
}

/* ---- from the machine -------------------------------------------------------------- */

struct kept_entry {
	char *name, *target;
	uint32_t mode;
	uint64_t mtime_ns;
};

struct listing {
	struct kept_entry *v;
	size_t n, size;
};

static int keep_entry(struct machine_wait *w, const struct agent_entry *e)
{
	struct listing *l = w->arg;

	if (l->n == ENTRIES_MAX)
		return -E2BIG;
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct kept_entry *v = reallocarray(l->v, size, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->size = size;
	}
	l->v[l->n] = (struct kept_entry){ strdup(e->name), e->target ? strdup(e->target) : NULL,
					  e->mode, e->mtime_ns };
	return l->v[l->n++].name ? 0 : -ENOMEM;
}

static void listing_fini(struct listing *l)
{
	while (l->n) {
		l->n--;
		free(l->v[l->n].name);
		free(l->v[l->n].target);
	}
	free(l->v);
}

static int write_bytes(struct machine_wait *w, const uint8_t *p, size_t n)
{
	return fd_write_all(*(int *)w->arg, p, n);
}

/* Permissions as there, but what a program of the guest's would gain here. */
static void finish(int fd, const struct kept_entry *e)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = (time_t)(e->mtime_ns / NS_PER_S),
				       .tv_nsec = (long)(e->mtime_ns % NS_PER_S) } };

	if (fchmod(fd, e->mode & 0777) < 0 || futimens(fd, times) < 0)
		log_debug("a copy's mode or time: %s", strerror(errno));
}

static void fetch_file(struct copy *c, const char *from, int dir, const struct kept_entry *e)
{
	struct agent_file f = { .path = from };
	char temp[32];
	cleanup_close int fd = -1;
	struct machine_wait w = { .data = write_bytes, .arg = &fd };
	uint64_t random;
	int r;

	random_bytes(&random, sizeof(random));
	snprintf(temp, sizeof(temp), ".weir-%016llx", (unsigned long long)random);
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		complain(c, e->name, strerror(errno));
		return;
	}
	r = machine_file(&c->call, AGENT_GET, &f, &w);
	if (r == 0) {
		finish(fd, e);
		r = renameat(dir, temp, dir, e->name) < 0 ? -errno : 0;
	}
	if (r < 0) {
		unlinkat(dir, temp, 0);
		complain(c, from, reason(&w, r));
	}
}

static void fetch_link(struct copy *c, const char *from, int dir, const struct kept_entry *e)
{
	int r = symlinkat(e->target ? e->target : "", dir, e->name);

	if (r < 0 && errno == EEXIST && unlinkat(dir, e->name, 0) == 0)
		r = symlinkat(e->target ? e->target : "", dir, e->name);
	if (r < 0)
		complain(c, from, strerror(errno));
}

static void fetch_any(struct copy *c, const char *from, int dir, const struct kept_entry *e,
		      unsigned depth);

static void fetch_folder(struct copy *c, const char *from, int dir, const struct kept_entry *e,
			 unsigned depth)
{
	struct agent_file f = { .path = from, .flags = depth ? 0 : AGENT_FILE_FOLLOW };
	struct listing l = { 0 };
	struct machine_wait w = { .entry = keep_entry, .arg = &l };
	cleanup_close int own = -1;
	int r;

	if (mkdirat(dir, e->name, 0700) < 0 && errno != EEXIST) {
		complain(c, from, strerror(errno));
		return;
	}
	own = openat(dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = own < 0 ? -errno : machine_file(&c->call, AGENT_LIST, &f, &w);
	if (r < 0)
		complain(c, from, reason(&w, r));
	for (size_t i = 0; r == 0 && i < l.n && !c->call.lost; i++) {
		cleanup_free char *path = below(from, l.v[i].name);

		if (path)
			fetch_any(c, path, own, &l.v[i], depth + 1);
	}
	if (own >= 0)
		finish(own, e);
	listing_fini(&l);
}

static void fetch_any(struct copy *c, const char *from, int dir, const struct kept_entry *e,
		      unsigned depth)
{
	if (depth > DEPTH_MAX)
		complain(c, from, "too deep");
	else if (S_ISREG(e->mode))
		fetch_file(c, from, dir, e);
	else if (S_ISDIR(e->mode))
		fetch_folder(c, from, dir, e, depth);
	else if (S_ISLNK(e->mode))
		fetch_link(c, from, dir, e);
	else
		complain(c, from, "is neither file, folder nor link: left out");
}

/* ---- where to ------------------------------------------------------------------------ */

/* The last component of a path; "" for what has none. */
static const char *last_of(const char *path, char out[static NAME_MAX + 1])
{
	size_t end = strlen(path), from;

	while (end && path[end - 1] == '/')
		end--;
	from = end;
	while (from && path[from - 1] != '/')
		from--;
	snprintf(out, NAME_MAX + 1, "%.*s", (int)MIN(end - from, (size_t)NAME_MAX), path + from);
	return out;
}

static int stat_there(struct copy *c, const char *path, struct listing *l, struct machine_wait *w)
{
	struct agent_file f = { .path = path, .flags = AGENT_FILE_FOLLOW };

	*w = (struct machine_wait){ .entry = keep_entry, .arg = l };
	return machine_file(&c->call, AGENT_STAT, &f, w);
}

static void copy_in(struct copy *c, const char *from, const char *to)
{
	char name[NAME_MAX + 1];
	struct listing l = { 0 };
	struct machine_wait w;
	cleanup_free char *inside = NULL;

	if (stat_there(c, to, &l, &w) == 0 && l.n && S_ISDIR(l.v[0].mode) &&
	    agent_name_ok(last_of(from, name))) {
		inside = below(to, name);
		to = inside;
	}
	if (to)
		send_any(c, AT_FDCWD, from, to, 0);
	listing_fini(&l);
}

static void copy_out(struct copy *c, const char *from, const char *to)
{
	char name[NAME_MAX + 1], folder[PATH_MAX];
	struct listing l = { 0 };
	struct machine_wait w;
	cleanup_close int dir = -1;
	int r = stat_there(c, from, &l, &w);
	struct kept_entry e;

	if (r < 0 || !l.n) {
		complain(c, from, reason(&w, r));
		listing_fini(&l);
		return;
	}
	e = l.v[0];
	dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		last_of(from, name);
	} else {
		size_t n;

		last_of(to, name);
		n = (size_t)(strlen(to) - strlen(name));
		snprintf(folder, sizeof(folder), "%.*s", n ? (int)n : 1, n ? to : ".");
		dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (dir < 0)
		complain(c, to, strerror(errno));
	else if (!agent_name_ok(name))
		complain(c, to, "is no name for a copy");
	else {
		e.name = name;
		fetch_any(c, from, dir, &e, 0);
	}
	listing_fini(&l);
}

/* "NAME:/PATH"; the path, and NAME cut off. */
static char *there(char *word)
{
	char *colon = strchr(word, ':');

	if (!colon || colon == word || colon[1] != '/' ||
	    (strchr(word, '/') && strchr(word, '/') < colon))
		return NULL;
	*colon = 0;
	return colon + 1;
}

int cmd_cp(int argc, char **argv)
{
	struct copy c = { 0 };
	char *from, *to;
	int r;

	ctl_speak_as(argv[0]);
	for (int i = 1; i < argc; i++)
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			fputs(cp_help, stdout);
			return CTL_DONE;
		}
	if (argc != 3)
		return ctl_complain(CTL_USAGE, "FROM and TO, please; see: weir cp --help");
	from = there(argv[1]);
	to = there(argv[2]);
	if (!from == !to)
		return ctl_complain(CTL_USAGE,
				    "one of FROM and TO is NAME:/PATH, the other a path here");
	r = machine_call_open(&c.call, from ? argv[1] : argv[2]);
	if (r)
		return r;
	if (from)
		copy_out(&c, from, argv[2]);
	else
		copy_in(&c, argv[1], to);
	machine_call_close(&c.call);
	return c.status;
}
