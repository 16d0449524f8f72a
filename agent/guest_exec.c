/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command as a stream.
 *
 *   running ──process ends──► draining ──nothing left to send──► EXITED
 *
 * What the process wrote before it ended is all sent before EXITED: how much lies in its pipes
 * is asked when it ends, and that much is read, under credit like everything. What children
 * that it left behind write later is nobody's. A terminal hangs up when its session's leader ends, and
 * is read until it says so.
 *
 * A descriptor that may not be read now (no credit, the port is full) leaves the loop: a closed
 * pipe would be reported for ever.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_MAX 32768
/* A terminal that somebody else keeps open is not waited for longer after its leader's end. */
#define TTY_LINGER (200 * NS_PER_MS)

struct source {
	struct loop_io io;
	int fd; /* -1: read to its end */
	uint16_t type;
	struct exec *x;
	bool counted; /* `left` is all that is still to come */
	size_t left;
};

struct exec {
	struct guest_stream s;
	pid_t pid;
	bool tty, exited, eof;
	struct source out, err;
	int in;
	struct loop_io in_io;
	struct buf input;
	struct loop_timer timeout, linger;
	struct agent_exited result;
};

static struct exec *exec_of(struct guest_stream *s)
{
	return container_of(s, struct exec, s);
}

/* ---- output ------------------------------------------------------------------------- */

static void finish(struct exec *x)
{
	if (x->exited && x->out.fd < 0 && x->err.fd < 0)
		stream_exited(&x->s, &x->result);
}

static void source_end(struct source *src)
{
	loop_io_del(&src->io);
	fd_close(steal_fd(&src->fd));
}

/* One read; false: nothing more now. */
static bool source_read(struct source *src)
{
	static uint8_t chunk[READ_MAX];
	size_t room = MIN(stream_room(&src->x->s), sizeof(chunk));
	ssize_t n;

	if (src->counted)
		room = MIN(room, src->left);
	if (!room)
		return false;
	n = read(src->fd, chunk, room);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		if (src->counted)
			source_end(src);
		return false;
	}
	if (n <= 0) {
		source_end(src);
		return false;
	}
	stream_bytes(&src->x->s, src->type, chunk, (size_t)n);
	if (src->counted)
		src->left -= (size_t)n;
	return true;
}

static void on_source(struct loop_io *io, uint32_t events);

static void source_pump(struct source *src)
{
	/* A few, so that one loud command leaves others their turn. */
	for (int i = 0; i < 4 && src->fd >= 0 && source_read(src); i++)
		;
	if (src->fd >= 0 && src->counted && !src->left)
		source_end(src);
	if (src->fd < 0)
		return;
	if (!stream_room(&src->x->s))
		loop_io_del(&src->io);
	else if (!src->io.loop &&
		 loop_io_add(src->x->s.g->loop, &src->io, src->fd, EPOLLIN, on_source) < 0)
		source_end(src);
}

static void on_source(struct loop_io *io, uint32_t events)
{
	struct source *src = container_of(io, struct source, io);

	(void)events;
	source_pump(src);
	finish(src->x);
}

static void exec_pump(struct guest_stream *s)
{
	struct exec *x = exec_of(s);

	if (x->out.fd >= 0)
		source_pump(&x->out);
	if (x->err.fd >= 0)
		source_pump(&x->err);
	finish(x);
}

/* The process is gone: only what it left in the pipe is still its. */
static void source_count(struct source *src)
{
	int n = 0;

	if (src->fd < 0 || src->x->tty)
		return;
	if (ioctl(src->fd, FIONREAD, &n) < 0)
		n = 0;
	src->counted = true;
	src->left = (size_t)n;
}

/* ---- input -------------------------------------------------------------------------- */

static void on_input(struct loop_io *io, uint32_t events);

static void input_end(struct exec *x)
{
	loop_io_del(&x->in_io);
	fd_close(steal_fd(&x->in));
	/* What nobody reads is taken nevertheless: the host need not know why. */
	stream_consumed(&x->s, x->input.len);
	buf_reset(&x->input);
}

static void input_write(struct exec *x)
{
	while (x->in >= 0 && x->input.len) {
		ssize_t n = write(x->in, buf_at(&x->input), x->input.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			input_end(x);
			return;
		}
		buf_consume(&x->input, (size_t)n);
		stream_consumed(&x->s, (size_t)n);
	}
	if (x->input.len && !x->in_io.loop) {
		if (loop_io_add(x->s.g->loop, &x->in_io, x->in, EPOLLOUT, on_input) < 0)
			input_end(x);
	} else if (!x->input.len) {
		loop_io_del(&x->in_io);
		if (x->eof)
			input_end(x);
	}
}

static void on_input(struct loop_io *io, uint32_t events)
{
	(void)events;
	input_write(container_of(io, struct exec, in_io));
}

static void exec_input(struct guest_stream *s, const uint8_t *p, size_t n)
{
	struct exec *x = exec_of(s);

	if (x->in < 0)
		stream_consumed(s, n);
	else if (buf_append(&x->input, p, n) < 0)
		input_end(x);
	else
		input_write(x);
}

static void exec_eof(struct guest_stream *s)
{
	static const uint8_t end_of_file = 4; /* ^D */
	struct exec *x = exec_of(s);

	x->eof = true;
	if (x->tty && x->in >= 0 && buf_append(&x->input, &end_of_file, 1) < 0)
		input_end(x);
	input_write(x);
}

/* ---- control ------------------------------------------------------------------------ */

/* A terminal's foreground group, as its keys would; else the command's own. */
static void exec_signal(struct guest_stream *s, int number)
{
	struct exec *x = exec_of(s);
	pid_t group = x->pid;

	if (x->exited)
		return;
	if (x->tty && x->out.fd >= 0 && number != SIGKILL) {
		pid_t front = tcgetpgrp(x->out.fd);

		if (front > 1)
			group = front;
	}
	kill(-group, number);
}

static void exec_resize(struct guest_stream *s, const struct agent_resize *r)
{
	struct winsize size = { .ws_row = (unsigned short)r->rows, .ws_col = (unsigned short)r->cols };
	struct exec *x = exec_of(s);

	if (x->tty && x->out.fd >= 0)
		ioctl(x->out.fd, TIOCSWINSZ, &size);
}

static void drop_output(struct exec *x)
{
	if (x->out.fd >= 0)
		source_end(&x->out);
	if (x->err.fd >= 0)
		source_end(&x->err);
}

static void exec_close(struct guest_stream *s)
{
	struct exec *x = exec_of(s);

	/* The group has the pid's number as long as the leader is not waited for. */
	if (!x->exited)
		kill(-x->pid, SIGKILL);
	drop_output(x);
	finish(x);
}

static void on_timeout(struct loop_timer *t)
{
	struct exec *x = container_of(t, struct exec, timeout);

	x->result.flags |= AGENT_EXITED_TIMEOUT;
	kill(-x->pid, SIGKILL);
}

static void on_linger(struct loop_timer *t)
{
	struct exec *x = container_of(t, struct exec, linger);

	/* What waits for credit is not what we are tired of waiting for. */
	if (!stream_room(&x->s)) {
		loop_timer_set(x->s.g->loop, t, loop_now_update(x->s.g->loop) + TTY_LINGER);
		return;
	}
	drop_output(x);
	finish(x);
}

static void exec_free(struct guest_stream *s)
{
	struct exec *x = exec_of(s);

	drop_output(x);
	input_end(x);
	buf_fini(&x->input);
	loop_timer_del(s->g->loop, &x->timeout);
	loop_timer_del(s->g->loop, &x->linger);
}

static const struct guest_stream_ops exec_ops = {
	.input = exec_input,
	.eof = exec_eof,
	.resize = exec_resize,
	.signal = exec_signal,
	.close = exec_close,
	.pump = exec_pump,
	.free = exec_free,
};

/* ---- birth and death ---------------------------------------------------------------- */

static uint64_t timeval_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_usec * 1000;
}

bool exec_reaped(struct guest *g, pid_t pid, int status, const struct rusage *usage)
{
	struct exec *x = NULL;

	for (size_t i = 0; i < AGENT_STREAMS_MAX && !x; i++) {
		struct guest_stream *s = g->streams[i];

		if (s && s->ops == &exec_ops && exec_of(s)->pid == pid && !exec_of(s)->exited)
			x = exec_of(s);
	}
	if (!x)
		return false;
	x->exited = true;
	x->result.code = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 0;
	x->result.signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
	if (WIFSIGNALED(status) && WCOREDUMP(status))
		x->result.flags |= AGENT_EXITED_CORE;
	x->result.user_ns = timeval_ns(&usage->ru_utime);
	x->result.system_ns = timeval_ns(&usage->ru_stime);
	x->result.max_rss = (uint64_t)usage->ru_maxrss * 1024;
	loop_timer_del(g->loop, &x->timeout);
	if (x->tty)
		loop_timer_set(g->loop, &x->linger, loop_now_update(g->loop) + TTY_LINGER);
	source_count(&x->out);
	source_count(&x->err);
	exec_pump(&x->s);
	return true;
}

void exec_kill_all(struct guest *g, int number)
{
	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++) {
		struct guest_stream *s = g->streams[i];

		if (s && s->ops == &exec_ops && !exec_of(s)->exited)
			kill(-exec_of(s)->pid, number);
	}
}

static void adopt(struct exec *x, const struct spawn *s)
{
	x->pid = s->pid;
	x->in = s->in;
	x->out = (struct source){ .fd = x->tty ? s->in : s->out, .type = AGENT_OUTPUT, .x = x };
	x->err = (struct source){ .fd = s->err, .type = AGENT_ERRORS, .x = x };
	x->input = BUF_INIT(AGENT_WINDOW + 1);
	/* The loop takes a descriptor once: a terminal's second direction has its own. */
	if (x->tty)
		x->in = x->s.rules.takes_input ? fcntl(s->in, F_DUPFD_CLOEXEC, 3) : -1;
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? x->in : i == 1 ? x->out.fd : x->err.fd;

		/* Ours and open: only a mistake could make this fail. */
		if (fd >= 0 && fd_set_nonblock(fd, true) < 0)
			abort();
	}
}

void exec_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_exec *e)
{
	struct spawn s = {
		.x = e,
		.config = &g->config,
		.user = e->user ? e->user : g->config.user,
		.cwd = e->cwd ? e->cwd : g->config.cwd,
		.in = -1,
		.out = -1,
		.err = -1,
	};
	struct exec *x = stream_new(g, m, rules, sizeof(*x), &exec_ops);
	struct failure f;

	if (!x)
		return;
	x->in = x->out.fd = x->err.fd = -1;
	x->out.x = x->err.x = x;
	x->timeout.cb = on_timeout;
	x->linger.cb = on_linger;
	if (spawn_command(&s, &f) < 0) {
		stream_failed(&x->s, &f);
		return;
	}
	x->tty = e->flags & AGENT_EXEC_TTY;
	adopt(x, &s);
	if (e->timeout_ms)
		loop_timer_set(g->loop, &x->timeout,
			       loop_now_update(g->loop) +
				       MIN(e->timeout_ms, UINT64_MAX / 4 / NS_PER_MS) * NS_PER_MS);
	if (!stream_message(&x->s, AGENT_STARTED, &(struct agent_started){ (uint32_t)s.pid }))
		abort();
	exec_pump(&x->s);
}
