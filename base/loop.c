/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: level-triggered epoll, a binary heap of deadlines, and a
 * list of tasks run before sleeping.
 *
 * The hazard of every such loop is the stale event: a callback removes a
 * source whose event was fetched in the same batch, and frees it. Here removal
 * also clears the source from the rest of the current batch, so a removed
 * source is never called.
 */
#include "base/base.h"

#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LOOP_BATCH 256

struct loop {
	int ep;
	bool stopped;
	int code;
	uint64_t now;
	struct loop_timer **heap;
	size_t heap_n, heap_size;
	struct loop_task *tasks, **tasks_tail;
	struct busy busy;
	struct epoll_event batch[LOOP_BATCH];
	int batch_at, batch_n;
};

int loop_new(struct loop **ret_loop)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	if (l->ep < 0) {
		free(l);
		return -errno;
	}
	l->tasks_tail = &l->tasks;
	l->now = time_mono_ns();
	*ret_loop = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	fd_close(l->ep);
	free(l->heap);
	free(l);
}

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

uint64_t loop_now_update(struct loop *l)
{
	return l->now = time_mono_ns();
}

void loop_give_way(struct loop *l)
{
	busy_begin(&l->busy, l->now);
}

int loop_io_add(struct loop *l, struct loop_io *io, int fd, uint32_t events,
		void (*cb)(struct loop_io *io, uint32_t revents))
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	*io = (struct loop_io){ .fd = fd, .events = events, .cb = cb };
	if (epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	io->loop = l;
	return 0;
}

void loop_io_set(struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	assert(io->loop);
	if (io->events == events)
		return;
	io->events = events;
	/* Can only fail for a descriptor that was closed behind our back. */
	if (epoll_ctl(io->loop->ep, EPOLL_CTL_MOD, io->fd, &ev) < 0)
		abort();
}

void loop_io_closing(struct loop_io *io)
{
	struct loop *l = io->loop;

	if (!l)
		return;
	for (int i = l->batch_at; i < l->batch_n; i++)
		if (l->batch[i].data.ptr == io)
			l->batch[i].data.ptr = NULL;
	io->loop = NULL;
}

void loop_io_move(struct loop_io *from, struct loop_io *to,
		  void (*cb)(struct loop_io *io, uint32_t revents))
{
	struct epoll_event ev = { .events = from->events, .data.ptr = to };

	assert(from->loop);
	*to = (struct loop_io){ .fd = from->fd, .events = from->events, .cb = cb, .loop = from->loop };
	/* What was fetched for the old address comes again for the new one. */
	loop_io_closing(from);
	if (epoll_ctl(to->loop->ep, EPOLL_CTL_MOD, to->fd, &ev) < 0)
		abort();
}

void loop_io_del(struct loop_io *io)
{
	if (!io->loop)
		return;
	epoll_ctl(io->loop->ep, EPOLL_CTL_DEL, io->fd, NULL);
	loop_io_closing(io);
}

static void heap_place(struct loop *l, size_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->pos = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t)
{
	while (i && l->heap[(i - 1) / 2]->when > t->when) {
		heap_place(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_place(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t)
{
	size_t child;

	while ((child = 2 * i + 1) < l->heap_n) {
		if (child + 1 < l->heap_n && l->heap[child + 1]->when < l->heap[child]->when)
			child++;
		if (l->heap[child]->when >= t->when)
			break;
		heap_place(l, i, l->heap[child]);
		i = child;
	}
	heap_place(l, i, t);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t when)
{
	uint64_t old = t->when;

	t->when = when;
	if (t->pos) {
		if (when < old)
			heap_up(l, t->pos - 1, t);
		else
			heap_down(l, t->pos - 1, t);
		return;
	}
	if (l->heap_n == l->heap_size) {
		size_t size = l->heap_size ? l->heap_size * 2 : 64;
		struct loop_timer **h = reallocarray(l->heap, size, sizeof(*h));

		/* A lost timer would be a lost retransmission: give up loudly. */
		if (!h)
			abort();
		l->heap = h;
		l->heap_size = size;
	}
	heap_up(l, l->heap_n++, t);
}

void loop_timer_del(struct loop *l, struct loop_timer *t)
{
	struct loop_timer *last;
	size_t i;

	if (!t->pos)
		return;
	i = t->pos - 1;
	t->pos = 0;
	last = l->heap[--l->heap_n];
	if (last == t)
		return;
	if (i && l->heap[(i - 1) / 2]->when > last->when)
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

void loop_task_queue(struct loop *l, struct loop_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->tasks_tail = t;
	l->tasks_tail = &t->next;
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
	struct loop_task **p = &l->tasks;

	if (!t->queued)
		return;
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	if (l->tasks_tail == &t->next)
		l->tasks_tail = p;
	t->queued = false;
}

static void run_tasks(struct loop *l)
{
	struct loop_task *t;

	while ((t = l->tasks)) {
		loop_task_cancel(l, t);
		t->cb(t);
	}
}

static void run_timers(struct loop *l)
{
	/*
	 * A callback may free its timer, so it is not looked at again. At most as many
	 * as were armed: timers that re-arm for now do not keep the loop here.
	 */
	size_t most = l->heap_n;
	uint64_t now = l->now;

	while (most-- && l->heap_n && l->heap[0]->when <= now) {
		struct loop_timer *t = l->heap[0];

		loop_timer_del(l, t);
		t->cb(t);
	}
}

/*
 * Waits of less than a millisecond for a timer that is near: epoll_wait() would
 * round it up to one. Kernels before 5.11 have nothing finer.
 */
static int wait_ns(struct loop *l, uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };
	int n = epoll_pwait2(l->ep, l->batch, LOOP_BATCH, &ts, NULL);

	return n < 0 && errno == ENOSYS ? epoll_wait(l->ep, l->batch, LOOP_BATCH, 1) : n;
}

static int wait_ms(const struct loop *l, int timeout_ms)
{
	uint64_t now, ms;

	if (l->tasks)
		return 0;
	if (!l->heap_n)
		return timeout_ms;
	now = time_mono_ns();
	if (l->heap[0]->when <= now)
		return 0;
	ms = (l->heap[0]->when - now + NS_PER_MS - 1) / NS_PER_MS;
	if (timeout_ms >= 0 && (uint64_t)timeout_ms < ms)
		return timeout_ms;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int wait_for_events(struct loop *l, int ms)
{
	uint64_t now;

	if (ms == 1 && l->heap_n) {
		now = time_mono_ns();
		if (l->heap[0]->when > now && l->heap[0]->when - now < NS_PER_MS)
			return wait_ns(l, l->heap[0]->when - now);
	}
	return epoll_wait(l->ep, l->batch, LOOP_BATCH, ms);
}

int loop_step(struct loop *l, int timeout_ms)
{
	int n;

	run_tasks(l);
	n = wait_for_events(l, wait_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	loop_now_update(l);
	busy_look(&l->busy, l->now);
	l->batch_n = MAX(n, 0);
	for (l->batch_at = 0; l->batch_at < l->batch_n;) {
		struct epoll_event *ev = &l->batch[l->batch_at++];
		struct loop_io *io = ev->data.ptr;

		if (io)
			io->cb(io, ev->events);
	}
	l->batch_n = 0;
	run_timers(l);
	run_tasks(l);
	return 0;
}

int loop_run(struct loop *l)
{
	int r;

	l->stopped = false;
	while (!l->stopped) {
		r = loop_step(l, -1);
		if (r < 0)
			return r;
	}
	return l->code;
}

void loop_stop(struct loop *l, int code)
{
	l->stopped = true;
	l->code = code;
}
