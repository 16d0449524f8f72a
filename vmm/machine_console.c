/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the serial port's ring to the descriptor that takes the console. The
 * descriptor may be shared with other processes, so its flags are not ours to
 * change: before each write it is asked whether it has room, and no write is
 * larger than what a pipe with room takes at once.
 */
#include "vmm/machine_int.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CHUNK 512
#define FLUSH_MS 1000

static bool has_room(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, timeout_ms) > 0;
}

/* One piece; false: there is none, or it is not taken now. */
static bool move_piece(struct machine *m, int timeout_ms)
{
	uint8_t piece[CHUNK];
	const uint8_t *p;
	size_t n;
	ssize_t sent;

	pthread_mutex_lock(&m->serial_lock);
	n = MIN(serial_pending(&m->serial, &p), sizeof(piece));
	memcpy(piece, p, n);
	pthread_mutex_unlock(&m->serial_lock);
	if (n == 0 || (m->console.fd >= 0 && !has_room(m->console.fd, timeout_ms)))
		return false;
	sent = m->console.fd < 0 ? (ssize_t)n : write(m->console.fd, piece, n);
	if (sent < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (sent < 0) {
		/* Nobody reads any more: from now on it goes nowhere. */
		loop_io_del(&m->console.io);
		m->console.fd = -1;
		m->console.polled = false;
		sent = (ssize_t)n;
	}
	pthread_mutex_lock(&m->serial_lock);
	serial_taken(&m->serial, (size_t)sent);
	pthread_mutex_unlock(&m->serial_lock);
	return true;
}

void machine_console_pump(struct machine *m)
{
	bool left;

	while (move_piece(m, 0))
		;
	pthread_mutex_lock(&m->serial_lock);
	left = m->serial.len;
	pthread_mutex_unlock(&m->serial_lock);
	if (m->console.polled)
		loop_io_set(&m->console.io, left ? EPOLLOUT : 0);
}

static void on_room(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	machine_console_pump(container_of(io, struct machine, console.io));
}

int machine_console_open(struct machine *m, int fd)
{
	int r;

	m->console.fd = fd;
	if (fd < 0)
		return 0;
	r = loop_io_add(m->loop, &m->console.io, fd, 0, on_room);
	m->console.polled = r == 0;
	return r == -EPERM ? 0 : r; /* a file always has room */
}

void machine_console_flush(struct machine *m)
{
	uint64_t end = time_mono_ns() + FLUSH_MS * NS_PER_MS;

	while (time_mono_ns() < end && move_piece(m, 100))
		;
}
