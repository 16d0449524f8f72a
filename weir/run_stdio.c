/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command in the background writes to us and not to a file: the log has a bound, and others can
 * attach. A terminal is made by pid 1 in the sandbox, in whose /dev/pts it then has a name.
 *
 * What it writes is hostile bytes, read in bounded turns. While somebody who is attached is
 * behind (agent/hub.c) nothing is read, and the command waits.
 */
#include "weir/run_stdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK 16384
/* In one turn, so that others have theirs; and at the end, when pipes hold a megabyte at most. */
#define TURN_CHUNKS 8
#define LAST_CHUNKS 128

static int open_pipe(int *ret_read, int *ret_write)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fd[0];
	*ret_write = fd[1];
	return 0;
}

int run_stdio_open(struct run_stdio *s, const struct life_config *l)
{
	int r;

	if (l->tty)
		return 0;
	r = l->input ? open_pipe(&s->child[0], &s->in) : 0;
	if (r == 0 && !l->input && (s->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < 2; i++)
		r = open_pipe(&s->out[i], &s->child[1 + i]);
	return r;
}

int run_stdio_given(struct run_stdio *s, int terminal)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->child); i++)
		fd_close(steal_fd(&s->child[i]));
	if (terminal < 0)
		return 0;
	s->out[0] = terminal;
	s->in = fcntl(terminal, F_DUPFD_CLOEXEC, 3);
	return s->in < 0 ? -errno : 0;
}

/* ---- output ------------------------------------------------------------------------- */

static void stop_reading(struct run_stdio *s, size_t which)
{
	loop_io_del(&s->out_io[which]);
	fd_close(steal_fd(&s->out[which]));
}

/* False: nothing more for now. */
static bool read_some(struct run_stdio *s, size_t which, bool *ret_room)
{
	uint8_t chunk[CHUNK];
	ssize_t n = s->out[which] < 0 ? -1 : read(s->out[which], chunk, sizeof(chunk));

	if (s->out[which] < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return false;
	/* A terminal that nobody has open any more says so with an error. */
	if (n <= 0) {
		stop_reading(s, which);
		return false;
	}
	*ret_room = run_attach_output(s->run, which ? AGENT_ERRORS : AGENT_OUTPUT, chunk, (size_t)n);
	return true;
}

static void on_output(struct run_stdio *s, size_t which)
{
	bool room = true;

	for (int i = 0; i < TURN_CHUNKS && room; i++)
		if (!read_some(s, which, &room))
			return;
	/* Not only not listened for: its end would be told again and again. */
	if (!room)
		for (size_t i = 0; i < ARRAY_SIZE(s->out_io); i++)
			loop_io_del(&s->out_io[i]);
}

static void on_stdout(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	on_output(container_of(io, struct run_stdio, out_io[0]), 0);
}

static void on_stderr(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	on_output(container_of(io, struct run_stdio, out_io[1]), 1);
}

static int listen_to(struct run_stdio *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(s->out); i++)
		if (s->out[i] >= 0 && !s->out_io[i].loop)
			r = loop_io_add(s->run->loop, &s->out_io[i], s->out[i], EPOLLIN,
					i ? on_stderr : on_stdout);
	return r;
}

void run_stdio_drain(struct run_stdio *s)
{
	bool room;

	for (size_t i = 0; i < ARRAY_SIZE(s->out); i++)
		for (int k = 0; k < LAST_CHUNKS && read_some(s, i, &room); k++)
			;
}

/* ---- what the attached want --------------------------------------------------------- */

static struct run_stdio *stdio_of(struct run *r)
{
	return r->attach.stdio;
}

static void on_room(void *arg)
{
	struct run *r = arg;

	if (!r->ending && listen_to(stdio_of(r)) < 0)
		run_fail(r, "what the command writes cannot be read: out of memory");
}

static void on_takes(struct loop_io *io, uint32_t revents)
{
	struct run_stdio *s = container_of(io, struct run_stdio, in_io);

	(void)revents;
	loop_io_del(io);
	run_attach_pump(s->run);
}

/* Less than all: a pipe that has room again says so only to who listens. */
static size_t on_typed(const uint8_t *p, size_t n, void *arg)
{
	struct run_stdio *s = stdio_of(arg);
	size_t done = 0;

	while (done < n && s->in >= 0 && !s->in_io.loop) {
		ssize_t k = write(s->in, p + done, n - done);

		if (k >= 0)
			done += (size_t)k;
		else if (errno != EINTR &&
			 (errno != EAGAIN ||
			  loop_io_add(s->run->loop, &s->in_io, s->in, EPOLLOUT, on_takes) < 0))
			fd_close(steal_fd(&s->in));
	}
	/* The command has closed its input: what comes finds nobody. */
	return s->in < 0 ? n : done;
}

static void on_resize(uint32_t rows, uint32_t cols, void *arg)
{
	struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };
	struct run_stdio *s = stdio_of(arg);

	if (s->run->cfg->life.tty && s->out[0] >= 0 && ioctl(s->out[0], TIOCSWINSZ, &size) < 0)
		log_debug("the terminal's size: %s", strerror(errno));
}

int run_stdio_listen(struct run_stdio *s, struct run *r)
{
	struct agent_hub_events ev = {
		.input = r->cfg->life.input ? on_typed : NULL,
		.resize = on_resize,
		.room = on_room,
	};
	const int ours[] = { s->in, s->out[0], s->out[1] };
	int rc = run_attach_start(r, &ev, r);

	s->run = r;
	r->attach.stdio = s;
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(ours); i++)
		if (ours[i] >= 0)
			rc = fd_set_nonblock(ours[i], true);
	return rc < 0 ? rc : listen_to(s);
}

void run_stdio_fini(struct run_stdio *s)
{
	loop_io_del(&s->in_io);
	for (size_t i = 0; i < ARRAY_SIZE(s->out); i++)
		stop_reading(s, i);
	for (size_t i = 0; i < ARRAY_SIZE(s->child); i++)
		fd_close(steal_fd(&s->child[i]));
	fd_close(steal_fd(&s->in));
}
