/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a console's bytes go. A kernel that writes to its console waits with
 * interrupts off until the device has taken the bytes, so the device takes them, always:
 * a reader that stands still costs the guest nothing and us a bounded buffer.
 *
 * The descriptor may be shared with other processes, so it is not made non-blocking.
 * Instead it is asked first, and gets no more than a pipe that says yes is sure to take.
 */
#include "vmm/virtio_port.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SINK_KEPT (256u << 10)
/* In the end, for a reader that is only slow. */
#define LAST_WORDS_NS (500 * NS_PER_MS)

static void on_writable(struct loop_io *io, uint32_t revents);

static void wait_for_reader(struct virtio_sink *s, bool wait)
{
	if (!wait) {
		loop_io_del(&s->io);
		return;
	}
	/* Nothing to wait with: the next bytes of the guest are the next try. */
	if (!s->io.loop && loop_io_add(s->loop, &s->io, s->fd, EPOLLOUT, on_writable) < 0)
		s->io.loop = NULL;
}

static void give_up(struct virtio_sink *s)
{
	loop_io_del(&s->io);
	fd_close(steal_fd(&s->fd));
	s->dropped += s->kept.len;
	buf_fini(&s->kept);
}

/* Bytes it took of p[0..n), 0: not now, negative: never again. */
static ssize_t offer(const struct virtio_sink *s, const void *p, size_t n)
{
	struct pollfd ask = { .fd = s->fd, .events = POLLOUT };
	ssize_t k;

	if (!s->file) {
		if (poll(&ask, 1, 0) <= 0)
			return 0;
		if (ask.revents & (POLLERR | POLLHUP | POLLNVAL))
			return -EPIPE;
		n = MIN(n, PIPE_BUF);
	}
	k = write(s->fd, p, n);
	if (k < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	return k;
}

static void flush(struct virtio_sink *s)
{
	while (s->kept.len) {
		ssize_t k = offer(s, buf_at(&s->kept), s->kept.len);

		if (k < 0) {
			give_up(s);
			return;
		}
		if (k == 0)
			break;
		buf_consume(&s->kept, (size_t)k);
	}
	wait_for_reader(s, s->kept.len);
}

static void on_writable(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	flush(container_of(io, struct virtio_sink, io));
}

void virtio_sink_put(struct virtio_sink *s, const void *p, size_t n)
{
	size_t room = s->fd < 0 ? 0 : MIN(n, SINK_KEPT - s->kept.len);

	if (room && buf_append(&s->kept, p, room) < 0)
		room = 0;
	s->dropped += n - room;
	if (s->fd >= 0)
		flush(s);
}

int virtio_sink_init(struct virtio_sink *s, struct loop *loop, int fd)
{
	struct loop_io probe = { .fd = -1 };
	int r;

	*s = (struct virtio_sink){ .loop = loop, .fd = -1 };
	buf_init(&s->kept, SINK_KEPT);
	if (fd < 0)
		return 0;
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (s->fd < 0)
		return -errno;
	/* epoll knows nothing of files. */
	r = loop_io_add(loop, &probe, s->fd, 0, on_writable);
	s->file = r == -EPERM;
	if (r == 0)
		loop_io_del(&probe);
	return 0;
}

void virtio_sink_fini(struct virtio_sink *s)
{
	uint64_t until = time_mono_ns() + LAST_WORDS_NS, now;

	while (s->fd >= 0 && s->kept.len && (now = time_mono_ns()) < until) {
		struct pollfd p = { .fd = s->fd, .events = POLLOUT };

		(void)poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1);
		flush(s);
	}
	if (s->fd >= 0)
		give_up(s);
	buf_fini(&s->kept);
}
