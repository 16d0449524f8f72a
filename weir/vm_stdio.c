/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir was started with is shared with others (a shell, the next in a
 * pipeline), so its descriptors are not made non-blocking: terminals and pipes are
 * opened once more for that, sockets are asked not to wait each time, files never do.
 *
 * Input is read only as far as the command's credit reaches. Output that nobody
 * takes waits here, at most as much as credit was given for (AGENT_WINDOW).
 */
#include "weir/vm_stdio.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 16384
/* Both outputs at once, and what is read in one turn. */
#define WAITING_MAX (2 * (size_t)AGENT_WINDOW + CHUNK)

/* ---- descriptors ------------------------------------------------------------------------ */

static mode_t kind_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_mode & S_IFMT;
}

/* Non-blocking without changing what others share; -1: only as it is. */
static int open_again(int fd, int how)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, how | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void start_output(struct vm_stdio *s, struct vm_output *o, int fd)
{
	mode_t kind = kind_of(fd);
	int own = kind == S_IFCHR || kind == S_IFIFO ? open_again(fd, O_WRONLY) : -1;

	*o = (struct vm_output){
		.up = s, .fd = own < 0 ? fd : own, .own = own >= 0, .socket = kind == S_IFSOCK
	};
	buf_init(&o->waiting, WAITING_MAX);
}

static void start_input(struct vm_stdio *s)
{
	mode_t kind = kind_of(STDIN_FILENO);
	int own = kind == S_IFCHR || kind == S_IFIFO ? open_again(STDIN_FILENO, O_RDONLY) : -1;

	s->in = own < 0 ? STDIN_FILENO : own;
	s->in_own = own >= 0;
	s->in_socket = kind == S_IFSOCK;
}

/* ---- the terminal --------------------------------------------------------------------------- */

bool vm_stdio_wants_tty(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void vm_stdio_size(uint32_t *ret_rows, uint32_t *ret_cols)
{
	struct winsize w;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col;

	*ret_rows = known ? w.ws_row : 24;
	*ret_cols = known ? w.ws_col : 80;
}

static void make_raw(struct vm_stdio *s)
{
	struct termios t;

	if (!s->tty || tcgetattr(STDIN_FILENO, &t) < 0)
		return;
	if (!s->raw)
		s->saved = t;
	cfmakeraw(&t);
	s->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

static void tell_size(struct vm_stdio *s)
{
	uint32_t rows, cols;

	vm_stdio_size(&rows, &cols);
	if (s->stream && agent_stream_resize(s->stream, rows, cols) < 0)
		log_debug("the machine was not told the terminal's size");
}

static void on_winch(struct loop_io *io, uint32_t revents)
{
	struct vm_stdio *s = container_of(io, struct vm_stdio, winch);
	struct signalfd_siginfo si;

	(void)revents;
	if (read(io->fd, &si, sizeof(si)) == sizeof(si))
		tell_size(s);
}

static int watch_size(struct vm_stdio *s)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	s->winch_open = true;
	s->winch.fd = fd;
	return loop_io_add(s->loop, &s->winch, fd, EPOLLIN, on_winch);
}

void vm_stdio_continued(struct vm_stdio *s)
{
	if (s->raw && tcgetpgrp(STDIN_FILENO) == getpgrp()) {
		make_raw(s);
		tell_size(s);
	}
}

/* ---- input ------------------------------------------------------------------------------------ */

static void input_over(struct vm_stdio *s)
{
	s->in_over = true;
	loop_io_del(&s->in_io);
	if (s->stream && agent_stream_eof(s->stream) < 0)
		log_debug("the machine was not told the end of its input");
}

/* False: nothing more for now. */
static bool read_some(struct vm_stdio *s)
{
	uint8_t chunk[CHUNK], filtered[CHUNK + VM_STDIO_HELD], *typed = chunk;
	size_t room = s->stream ? agent_stream_room(s->stream) : 0;
	ssize_t n;

	if (room <= VM_STDIO_HELD)
		return false;
	room = MIN(room - VM_STDIO_HELD, sizeof(chunk));
	n = s->in_socket ? recv(s->in, chunk, room, MSG_DONTWAIT) : read(s->in, chunk, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_over(s);
		return false;
	}
	if (s->filter) {
		n = (ssize_t)s->filter(s, chunk, (size_t)n, filtered);
		typed = filtered;
	}
	if (agent_stream_write(s->stream, typed, (size_t)n) < 0)
		input_over(s);
	return !s->in_over;
}

static void on_plain_input(struct loop_task *t)
{
	struct vm_stdio *s = container_of(t, struct vm_stdio, in_task);

	if (!s->in_over && read_some(s))
		loop_task_queue(s->loop, &s->in_task);
}

static void on_input(struct loop_io *io, uint32_t revents)
{
	struct vm_stdio *s = container_of(io, struct vm_stdio, in_io);

	(void)revents;
	/* Its end would be told again and again, even when nothing else is asked for. */
	if (s->stream && agent_stream_room(s->stream) <= VM_STDIO_HELD)
		loop_io_del(io);
	else
		(void)read_some(s);
}

static void await_input(struct vm_stdio *s)
{
	int r = s->in_plain || s->in_io.loop
			? 0
			: loop_io_add(s->loop, &s->in_io, s->in, EPOLLIN, on_input);

	/* Files and /dev/null are no matter of waiting. */
	s->in_plain |= r == -EPERM;
	if (s->in_plain)
		loop_task_queue(s->loop, &s->in_task);
	else if (r < 0)
		input_over(s);
}

void vm_stdio_room(struct vm_stdio *s)
{
	if (!s->in_over)
		await_input(s);
}

void vm_stdio_attach(struct vm_stdio *s, struct agent_stream *stream)
{
	s->stream = stream;
	make_raw(s);
	if (s->no_input)
		s->in_over = true;
	else
		await_input(s);
}

/* ---- output ------------------------------------------------------------------------------------ */

static void check_drained(struct vm_stdio *s)
{
	if (s->ended && !s->told && !s->out[0].waiting.len && !s->out[1].waiting.len) {
		s->told = true;
		loop_task_queue(s->loop, &s->drained_task);
	}
}

static void on_drained(struct loop_task *t)
{
	struct vm_stdio *s = container_of(t, struct vm_stdio, drained_task);

	s->drained(s);
}

static void found_place(struct vm_output *o, size_t n)
{
	buf_consume(&o->waiting, n);
	if (o->up->stream)
		agent_stream_taken(o->up->stream, n);
}

/* As a command of this machine's would learn it. */
static void broken(struct vm_output *o)
{
	struct vm_stdio *s = o->up;

	if (!o->broken && s->unread)
		s->unread(s);
	else if (!o->broken && s->stream && agent_stream_signal(s->stream, SIGPIPE) < 0)
		log_debug("the machine was not told that nobody reads");
	o->broken = true;
	loop_io_del(&o->io);
	found_place(o, o->waiting.len);
}

static void on_output(struct loop_io *io, uint32_t revents);

static void flush_output(struct vm_output *o)
{
	while (o->waiting.len && !o->broken) {
		ssize_t n = o->socket ? send(o->fd, buf_at(&o->waiting), o->waiting.len,
					     MSG_DONTWAIT | MSG_NOSIGNAL)
				      : write(o->fd, buf_at(&o->waiting), o->waiting.len);

		if (n >= 0) {
			found_place(o, (size_t)n);
		} else if (errno == EAGAIN) {
			if (o->io.loop)
				return;
			if (loop_io_add(o->up->loop, &o->io, o->fd, EPOLLOUT, on_output) == 0)
				return;
			broken(o);
		} else if (errno != EINTR) {
			broken(o);
		}
	}
	loop_io_del(&o->io);
	check_drained(o->up);
}

static void on_output(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	flush_output(container_of(io, struct vm_output, io));
}

void vm_stdio_data(struct vm_stdio *s, enum agent_type type, const uint8_t *p, size_t n)
{
	struct vm_output *o = &s->out[type == AGENT_ERRORS];

	if (o->broken || buf_append(&o->waiting, p, n) < 0) {
		if (s->stream)
			agent_stream_taken(s->stream, n);
		return;
	}
	flush_output(o);
}

/* ---- all ----------------------------------------------------------------------------------------- */

int vm_stdio_start(struct vm_stdio *s)
{
	start_input(s);
	start_output(s, &s->out[0], STDOUT_FILENO);
	start_output(s, &s->out[1], STDERR_FILENO);
	s->in_task.cb = on_plain_input;
	s->drained_task.cb = on_drained;
	return s->tty ? watch_size(s) : 0;
}

void vm_stdio_ended(struct vm_stdio *s)
{
	s->stream = NULL;
	s->ended = true;
	loop_io_del(&s->in_io);
	check_drained(s);
}

void vm_stdio_stop(struct vm_stdio *s)
{
	if (!s->loop)
		return;
	s->stream = NULL;
	s->in_over = s->told = true;
	loop_io_del(&s->in_io);
	loop_task_cancel(s->loop, &s->in_task);
	loop_task_cancel(s->loop, &s->drained_task);
	if (s->winch_open) {
		loop_io_del(&s->winch);
		fd_close(s->winch.fd);
		s->winch_open = false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(s->out); i++) {
		loop_io_del(&s->out[i].io);
		buf_fini(&s->out[i].waiting);
		if (s->out[i].own)
			fd_close(s->out[i].fd);
		s->out[i].own = false;
	}
	if (s->in_own)
		fd_close(s->in);
	s->in_own = false;
	if (s->raw && tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved) < 0)
		log_debug("the terminal's settings: %s", strerror(errno));
	s->raw = false;
}
