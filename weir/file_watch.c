/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watched are the folder of every link on the way to a file, that of the file, and
 * the file itself (which may be mounted over another). Whatever happens there, all
 * files are looked at a moment later, and the watches are laid anew: the way may
 * be another one now. Old watches go with their inotify instance.
 */
#include "weir/file_watch.h"

#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

/* As the kernel's own limit. Stops links that lead in a circle. */
#define LINKS_MAX 40
#define FILE_EVENTS (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define DIR_EVENTS                                                                                 \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

static void watch(int fd, const char *path, uint32_t events)
{
	/* What is not there now is told by a folder above. */
	if (inotify_add_watch(fd, path, events) < 0)
		log_debug("%s is not watched: %s", path, strerror(errno));
}

/* done + "/" + the next word of todo, which is taken off. False: there is no more, or no room. */
static bool step(char done[PATH_MAX], char todo[PATH_MAX])
{
	size_t at = strspn(todo, "/"), n = strcspn(todo + at, "/"), len = strlen(done);

	if (!n || len + 1 + n >= PATH_MAX)
		return false;
	done[len] = '/';
	memcpy(done + len + 1, todo + at, n);
	done[len + 1 + n] = 0;
	memmove(todo, todo + at + n, strlen(todo + at + n) + 1);
	return true;
}

/* done is a link: its target comes in front of todo, and done is where that begins. */
static bool follow(char done[PATH_MAX], char todo[PATH_MAX])
{
	char target[PATH_MAX], next[PATH_MAX];
	ssize_t n = readlink(done, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = 0;
	if ((size_t)snprintf(next, sizeof(next), "%s/%s", target, todo) >= sizeof(next))
		return false;
	memcpy(todo, next, sizeof(next));
	*strrchr(done, '/') = 0;
	if (target[0] == '/')
		done[0] = 0;
	return true;
}

static void watch_way(int fd, const char *path)
{
	char done[PATH_MAX] = "", todo[PATH_MAX], folder[PATH_MAX];
	struct stat st;
	int links = 0;

	if (path[0] != '/' && !getcwd(done, sizeof(done)))
		return;
	snprintf(todo, sizeof(todo), "%s", path);
	for (;;) {
		memcpy(folder, *done ? done : "/", strlen(*done ? done : "/") + 1);
		if (!step(done, todo))
			break;
		if (lstat(done, &st) < 0) {
			watch(fd, folder, DIR_EVENTS);
			return;
		}
		if (S_ISLNK(st.st_mode)) {
			watch(fd, folder, DIR_EVENTS);
			if (++links > LINKS_MAX || !follow(done, todo))
				return;
		} else if (!S_ISDIR(st.st_mode)) {
			watch(fd, folder, DIR_EVENTS);
			break;
		}
	}
	watch(fd, path, FILE_EVENTS);
}

static void on_event(struct loop_io *io, uint32_t revents)
{
	struct file_watcher *fw = container_of(io, struct file_watcher, io);
	char events[4096];

	(void)revents;
	while (read(io->fd, events, sizeof(events)) > 0)
		;
	/* Not put off again: a folder that never rests is looked at all the same. */
	if (!loop_timer_armed(&fw->settle))
		loop_timer_set(fw->loop, &fw->settle,
			       loop_now_update(fw->loop) + FILE_WATCH_SETTLE_NS);
}

static void close_inotify(struct file_watcher *fw)
{
	int fd = fw->io.fd;

	if (!fw->io.loop)
		return;
	loop_io_del(&fw->io);
	fd_close(fd);
}

static void watch_all(struct file_watcher *fw)
{
	int fd;

	close_inotify(fw);
	if (list_empty(&fw->files))
		return;
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0 || loop_io_add(fw->loop, &fw->io, fd, EPOLLIN, on_event) < 0) {
		log_debug("files are looked at from time to time: %s", strerror(errno));
		fd_close(fd);
		return;
	}
	list_for_each (it, &fw->files)
		watch_way(fd, container_of(it, struct file_watch, in_watcher)->path);
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* True: it is another one than before, or another state of it. */
static bool look(struct file_watch *w)
{
	struct stat now;
	bool is_there = stat(w->path, &now) == 0, changed = is_there != w->is_there;

	if (is_there && w->is_there)
		changed = !same(&now, &w->last);
	w->is_there = is_there;
	if (is_there)
		w->last = now;
	return changed;
}

static void look_at_all(struct file_watcher *fw)
{
	/* First the watches: what happens behind the look is told. */
	watch_all(fw);
	list_for_each_safe (it, next, &fw->files) {
		struct file_watch *w = container_of(it, struct file_watch, in_watcher);

		if (look(w))
			w->changed(w);
	}
}

static void on_settled(struct loop_timer *t)
{
	look_at_all(container_of(t, struct file_watcher, settle));
}

static void on_poll(struct loop_timer *t)
{
	struct file_watcher *fw = container_of(t, struct file_watcher, poll);

	loop_timer_set(fw->loop, t, loop_now(fw->loop) + FILE_WATCH_POLL_NS);
	list_for_each_safe (it, next, &fw->files) {
		struct file_watch *w = container_of(it, struct file_watch, in_watcher);

		if (look(w))
			w->changed(w);
	}
}

void file_watcher_init(struct file_watcher *fw, struct loop *loop)
{
	*fw = (struct file_watcher){ .loop = loop, .settle.cb = on_settled, .poll.cb = on_poll };
	list_init(&fw->files);
}

void file_watcher_fini(struct file_watcher *fw)
{
	if (!fw->loop)
		return;
	close_inotify(fw);
	loop_timer_del(fw->loop, &fw->settle);
	loop_timer_del(fw->loop, &fw->poll);
}

int file_watch_add(struct file_watcher *fw, struct file_watch *w, const char *path,
		   void (*changed)(struct file_watch *w))
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	*w = (struct file_watch){ .path = copy, .changed = changed };
	list_add_tail(&fw->files, &w->in_watcher);
	watch_all(fw);
	(void)look(w);
	if (!loop_timer_armed(&fw->poll))
		loop_timer_set(fw->loop, &fw->poll, loop_now_update(fw->loop) + FILE_WATCH_POLL_NS);
	return 0;
}

void file_watch_del(struct file_watch *w)
{
	if (!w->path)
		return;
	list_del(&w->in_watcher);
	free(w->path);
	w->path = NULL;
}
