/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolvers of /etc/resolv.conf, followed while the sandbox runs.
 *
 * The file may be written in place, replaced by renaming, or be a link to one
 * that a daemon replaces (systemd-resolved), over several links; a container
 * engine binds it over another file, whose directory tells nothing. So watched
 * are the file, and the directory of each link on the way to it; whatever
 * happens there, the file is read again a moment later, and only another list
 * of servers counts.
 */
#include "weir/run_internal.h"

#include "weir/message.h"
#include "weir/run_setup.h"

#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

/* A daemon writes a file in several steps, and several files. */
#define SETTLE (NS_PER_S / 5)
#define LINKS_MAX 8
#define FILE_EVENTS (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define DIR_EVENTS (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM)

static const char resolv_conf[] = "/etc/resolv.conf";

static void watch(int fd, const char *path, uint32_t events)
{
	/* What is not there now is told by a directory above, or never mattered. */
	if (inotify_add_watch(fd, path, events) < 0)
		log_debug("%s is not watched: %s", path, strerror(errno));
}

/* The directory of path; path is changed and changed back. */
static void watch_dir(int fd, char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return;
	*slash = 0;
	watch(fd, path, DIR_EVENTS);
	*slash = '/';
}

/* Adding a watch that is there already changes nothing. */
static void watch_all(int fd)
{
	char path[PATH_MAX], target[PATH_MAX], next[2 * PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "%s", resolv_conf);
	for (int i = 0; i < LINKS_MAX; i++) {
		watch_dir(fd, path);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			break;
		target[n] = 0;
		if (target[0] == '/')
			snprintf(next, sizeof(next), "%s", target);
		else
			snprintf(next, sizeof(next), "%.*s/%s", (int)(strrchr(path, '/') - path),
				 path, target);
		if (strlen(next) >= sizeof(path))
			break;
		memcpy(path, next, strlen(next) + 1);
	}
	watch(fd, resolv_conf, FILE_EVENTS);
}

static bool same(const struct run *r, const struct endpoint *list, size_t n)
{
	if (n != r->n_resolvers)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!ip_equal(&list[i].addr, &r->resolvers[i].addr) ||
		    list[i].port != r->resolvers[i].port)
			return false;
	return true;
}

static void record(struct run *r)
{
	char server[ENDPOINT_STRLEN];
	struct audit_event e;
	const char *text;
	size_t len;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", "resolvers");
	audit_array_begin(&e, "servers");
	for (size_t i = 0; i < r->n_resolvers; i++)
		audit_str(&e, NULL, endpoint_format(&r->resolvers[i], server));
	audit_array_end(&e);
	text = audit_event_end(&e, &len);
	run_record_append(r, "weir", text, len);
}

static void on_settled(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, resolvers_settle);
	struct endpoint list[RUN_MAX_RESOLVERS];
	size_t n = run_resolvers(r->cfg, list);

	watch_all(r->resolvers_io.fd);
	/* None: being written, or the network is down. The old ones are better than nothing. */
	if (n == 0 || same(r, list, n) || r->ending)
		return;
	memcpy(r->resolvers, list, n * sizeof(*list));
	r->n_resolvers = n;
	if (msg_send(r->gateway.sock, MSG_RESOLVERS, 0, list, n * sizeof(*list), NULL, 0) == 0)
		record(r);
}

static void on_change(struct loop_io *io, uint32_t revents)
{
	struct run *r = container_of(io, struct run, resolvers_io);
	char events[4096];

	(void)revents;
	while (read(io->fd, events, sizeof(events)) > 0)
		;
	/* Not put off again: a file that never rests is read all the same. */
	if (!loop_timer_armed(&r->resolvers_settle))
		loop_timer_set(r->loop, &r->resolvers_settle, loop_now(r->loop) + SETTLE);
}

int run_resolvers_follow(struct run *r)
{
	int fd, rc;

	if (r->cfg->n_dns_servers)
		return 0;
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0) {
		log_info("%s is not followed: %s", resolv_conf, strerror(errno));
		return 0;
	}
	r->resolvers_settle.cb = on_settled;
	rc = loop_io_add(r->loop, &r->resolvers_io, fd, EPOLLIN, on_change);
	if (rc < 0) {
		fd_close(fd);
		return rc;
	}
	watch_all(fd);
	return 0;
}

void run_resolvers_end(struct run *r)
{
	if (!r->resolvers_io.loop)
		return;
	loop_timer_del(r->loop, &r->resolvers_settle);
	loop_io_del(&r->resolvers_io);
	fd_close(r->resolvers_io.fd);
}
