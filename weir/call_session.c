/* SPDX-License-Identifier: Apache-2.0 */
/* See call_session.h. */
#include "weir/call_session.h"

#include "weir/cmd_ctl.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void on_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	struct call_session *x = arg;

	(void)pid;
	vm_stdio_attach(&x->stdio, s);
}

static void on_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		    void *arg)
{
	(void)s;
	vm_stdio_data(&((struct call_session *)arg)->stdio, type, p, n);
}

static void on_room(struct agent_stream *s, void *arg)
{
	(void)s;
	vm_stdio_room(&((struct call_session *)arg)->stdio);
}

static void tell_failure(int status, const struct agent_failed *f)
{
	/* Their texts say it all; an errno of the search would only repeat it. */
	bool plain = f->stage == AGENT_STAGE_LOOKUP || f->stage == AGENT_STAGE_USER || !f->err;
	char text[256];

	log_quote(f->text, strlen(f->text), text, sizeof(text));
	ctl_complain(status, "%s: %s%s%s", agent_stage_text(f->stage), text, plain ? "" : ": ",
		     plain ? "" : strerror((int)MIN(f->err, 4095u)));
}

static void on_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct call_session *x = arg;

	(void)s;
	x->stream = NULL;
	x->ended = true;
	x->failed = e->kind == AGENT_ENDED_FAILED;
	x->status = agent_end_status(e);
	if (e->kind == AGENT_ENDED_FAILED)
		tell_failure(x->status, &e->failed);
	vm_stdio_ended(&x->stdio);
}

const struct agent_stream_events call_session_events = {
	.started = on_started,
	.data = on_data,
	.room = on_room,
	.ended = on_ended,
};

static void on_drained(struct vm_stdio *s)
{
	container_of(s, struct call_session, stdio)->over = true;
}

/* What the user typed, without the keys that mean us. */
static size_t on_typed(struct vm_stdio *s, const uint8_t *in, size_t n, uint8_t *out)
{
	struct call_session *x = container_of(s, struct call_session, stdio);
	size_t kept = detach_keys_filter(&x->keys, in, n, out, &x->detached);

	x->over |= x->detached;
	return kept;
}

static void interrupted(struct call_session *x, int sig)
{
	x->over = true;
	x->status = 128 + sig;
}

/* Ours go to the command; a terminal's keys go there as bytes. */
static void on_signal(struct loop_io *io, uint32_t revents)
{
	struct call_session *x = container_of(io, struct call_session, signals);
	struct signalfd_siginfo si;

	(void)revents;
	if (read(io->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCONT)
		vm_stdio_continued(&x->stdio);
	else if (!x->keep_signals && x->stream &&
		 agent_stream_signal(x->stream, (int)si.ssi_signo) == 0)
		return;
	else
		interrupted(x, (int)si.ssi_signo);
}

static int watch_signals(struct call_session *x)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		sigaddset(&set, ours[i]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	return loop_io_add(x->call.loop, &x->signals, fd, EPOLLIN, on_signal);
}

static void on_unread(struct vm_stdio *s)
{
	interrupted(container_of(s, struct call_session, stdio), SIGPIPE);
}

int call_session_run(struct call_session *x, int (*begin)(struct call_session *x, void *arg),
		     void *arg)
{
	int r;

	x->stdio.loop = x->call.loop;
	x->stdio.drained = on_drained;
	if (x->keep_signals)
		x->stdio.unread = on_unread;
	if (x->stdio.tty && x->keys.n)
		x->stdio.filter = on_typed;
	r = vm_stdio_start(&x->stdio);
	if (r == 0)
		r = watch_signals(x);
	if (r == 0)
		r = begin(x, arg);
	while (r >= 0 && !x->over)
		r = loop_step(x->call.loop, -1);
	vm_stdio_stop(&x->stdio);
	if (r < 0)
		ctl_complain(SESSION_FAILED, "%s: %s", x->call.name, strerror(-r));
	loop_io_del(&x->signals);
	return r < 0 ? r : 0;
}
