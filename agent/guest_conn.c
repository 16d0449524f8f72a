/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of the conversation: the port, id 0, and the table of requests.
 *
 * The host is trusted, so a message that makes no sense is answered or passed over and logged,
 * never fatal; bounds hold nevertheless, because a mistake of the host should not cost the
 * guest its memory. When the port ends, so does the machine: nobody could reach it any more.
 *
 * What is to be sent waits in one buffer. Above OUT_FULL those who make bytes stop, and are
 * pumped once it has drained; only ends and answers are added beyond.
 */
#include "agent/guest.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUT_FULL (256 << 10)
#define OUT_MAX (8 << 20)
#define READS_MAX 8
#define CREDIT_PORTION (AGENT_WINDOW / 4)

/* ---- sending ------------------------------------------------------------------------ */

static void lost(struct guest *g, const char *why)
{
	if (!g->io.loop)
		return;
	loop_io_del(&g->io);
	loop_task_cancel(g->loop, &g->flush);
	buf_reset(&g->out);
	log_info("%s: the machine ends", why);
	end_begin(g, &(struct agent_shutdown){ .grace_ms = 500 });
}

static void pump_all(struct guest *g)
{
	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++) {
		struct guest_stream *s = g->streams[i];

		if (s && s->ops->pump && !s->ended)
			s->ops->pump(s);
	}
}

static void flush(struct guest *g)
{
	bool was_full = guest_is_full(g);

	while (g->out.len) {
		ssize_t n = write(g->port, buf_at(&g->out), g->out.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			lost(g, "the port cannot be written");
			return;
		}
		buf_consume(&g->out, (size_t)n);
	}
	if (!g->out.len)
		buf_reset(&g->out);
	loop_io_set(&g->io, EPOLLIN | (g->out.len ? EPOLLOUT : 0));
	if (was_full && !guest_is_full(g))
		pump_all(g);
}

static void flush_task(struct loop_task *t)
{
	struct guest *g = container_of(t, struct guest, flush);

	flush(g);
}

bool guest_is_full(const struct guest *g)
{
	return g->out.len >= OUT_FULL;
}

static void queue(struct guest *g, int r)
{
	if (!g->io.loop)
		return;
	if (r < 0)
		lost(g, "too much waits for the host");
	else
		loop_task_queue(g->loop, &g->flush);
}

void guest_send(struct guest *g, uint32_t id, uint16_t type, const void *from)
{
	if (g->io.loop)
		queue(g, frames_write_message(&g->out, id, type, from));
}

void guest_send_bytes(struct guest *g, uint32_t id, uint16_t type, const void *p, size_t n)
{
	if (g->io.loop)
		queue(g, frames_write(&g->out, id, type, p, n));
}

void guest_log(struct guest *g, enum agent_log_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_line((enum log_level)level, "%s", text);
	guest_send(g, 0, AGENT_LOG, &(struct agent_log){ level, text });
}

int fail(struct failure *f, enum agent_stage stage, int err, const char *fmt, ...)
{
	va_list ap;

	f->stage = stage;
	f->err = err;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return err ? -err : -EINVAL;
}

/* ---- streams ------------------------------------------------------------------------ */

static struct guest_stream **place_of(struct guest *g, uint32_t id)
{
	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++)
		if (g->streams[i] && g->streams[i]->id == id)
			return &g->streams[i];
	return NULL;
}

static void refuse(struct guest *g, uint32_t id, enum agent_stage stage, int err, const char *text)
{
	guest_send(g, id, AGENT_FAILED, &(struct agent_failed){ stage, (uint32_t)err, text });
}

static void stream_reap(struct loop_task *t)
{
	struct guest_stream *s = container_of(t, struct guest_stream, reap);

	if (s->ops->free)
		s->ops->free(s);
	free(s);
}

void *stream_new(struct guest *g, const struct agent_message *m, const struct rules *rules,
		 size_t size, const struct guest_stream_ops *ops)
{
	struct guest_stream *s = calloc(1, size);
	size_t i = 0;

	while (i < AGENT_STREAMS_MAX && g->streams[i])
		i++;
	if (!s || i == AGENT_STREAMS_MAX) {
		free(s);
		refuse(g, m->id, s ? AGENT_STAGE_LIMIT : AGENT_STAGE_MEMORY, s ? EAGAIN : ENOMEM,
		       s ? "too many requests at a time" : "no memory");
		return NULL;
	}
	*s = (struct guest_stream){
		.g = g,
		.id = m->id,
		.rules = *rules,
		.ops = ops,
		.reap = { .cb = stream_reap },
	};
	g->streams[i] = s;
	return s;
}

size_t stream_room(const struct guest_stream *s)
{
	if (s->ended || guest_is_full(s->g))
		return 0;
	return MIN((size_t)s->rules.guest_may, (size_t)AGENT_BODY_MAX);
}

void stream_bytes(struct guest_stream *s, uint16_t type, const void *p, size_t n)
{
	assert(n && n <= s->rules.guest_may);
	s->rules.guest_may -= (uint32_t)n;
	guest_send_bytes(s->g, s->id, type, p, n);
}

bool stream_message(struct guest_stream *s, uint16_t type, const void *from)
{
	struct buf body = BUF_INIT(AGENT_BODY_MAX);
	bool fits = false;

	if (message_write(type, from, &body) == 0 &&
	    (type == AGENT_STARTED || body.len <= stream_room(s))) {
		if (type != AGENT_STARTED)
			s->rules.guest_may -= (uint32_t)body.len;
		guest_send_bytes(s->g, s->id, type, buf_at(&body), body.len);
		fits = true;
	}
	buf_fini(&body);
	return fits;
}

void stream_consumed(struct guest_stream *s, size_t n)
{
	s->consumed += n;
	if (s->consumed < CREDIT_PORTION || s->ended)
		return;
	s->rules.host_may += (uint32_t)s->consumed;
	guest_send(s->g, s->id, AGENT_CREDIT, &(struct agent_credit){ (uint32_t)s->consumed });
	s->consumed = 0;
}

static void end(struct guest_stream *s, uint16_t type, const void *from)
{
	if (s->ended)
		return;
	s->ended = true;
	guest_send(s->g, s->id, type, from);
	*place_of(s->g, s->id) = NULL;
	loop_task_queue(s->g->loop, &s->reap);
}

void stream_done(struct guest_stream *s)
{
	end(s, AGENT_DONE, NULL);
}

void stream_failed(struct guest_stream *s, const struct failure *f)
{
	end(s, AGENT_FAILED, &(struct agent_failed){ f->stage, (uint32_t)f->err, f->text });
}

void stream_exited(struct guest_stream *s, const struct agent_exited *x)
{
	end(s, AGENT_EXITED, x);
}

/* ---- messages ----------------------------------------------------------------------- */

static void on_init(struct guest *g, const struct agent_message *m)
{
	struct agent_message kept = *m;
	union agent_body b;
	struct failure f;
	int r;

	if (g->inited) {
		guest_log(g, AGENT_LOG_WARN, "a second INIT is passed over");
		return;
	}
	g->inited = true;
	g->init_body = malloc(m->len ? m->len : 1);
	if (!g->init_body)
		abort();
	memcpy(g->init_body, m->body, m->len);
	kept.body = g->init_body;
	r = message_read(&kept, &b, &g->init_lists);
	if (r < 0) {
		fail(&f, AGENT_STAGE_REQUEST, EPROTO, "INIT cannot be read");
	} else {
		g->config = b.init;
		r = guest_init(g, &g->config, &f);
	}
	if (r < 0) {
		log_error("%s: %s", f.text, strerror(f.err));
		refuse(g, 0, (enum agent_stage)f.stage, f.err, f.text);
		return;
	}
	g->ready = true;
	guest_send(g, 0, AGENT_READY, NULL);
}

static void on_request(struct guest *g, const struct agent_message *m, const union agent_body *b)
{
	struct rules rules;

	if (rules_begin(&rules, m->type, b) < 0 || m->type == AGENT_ATTACH)
		refuse(g, m->id, AGENT_STAGE_UNKNOWN, ENOSYS, "this agent has no such request");
	else if (place_of(g, m->id))
		guest_log(g, AGENT_LOG_WARN, "an id that is in use begins anew: passed over");
	else if (m->type == AGENT_PING)
		guest_send(g, m->id, AGENT_DONE, NULL);
	else if (m->type == AGENT_SHUTDOWN) {
		guest_send(g, m->id, AGENT_DONE, NULL);
		end_begin(g, &b->shutdown);
	} else if (!g->ready || g->ending)
		refuse(g, m->id, AGENT_STAGE_REQUEST, ENOTCONN, "the machine is not ready");
	else if (m->type == AGENT_EXEC)
		exec_begin(g, m, &rules, &b->exec);
	else if (m->type == AGENT_PUT)
		put_begin(g, m, &rules, &b->file);
	else if (m->type == AGENT_GET)
		get_begin(g, m, &rules, &b->file);
	else if (m->type == AGENT_LIST)
		list_begin(g, m, &rules, &b->file);
	else if (m->type == AGENT_METRICS)
		metrics_begin(g, m, &rules, &b->every);
	else if (m->type == AGENT_CONNECT)
		connect_begin(g, m, &rules, &b->connect);
	else if (m->type == AGENT_CLOCK) {
		clock_set(g, b->clock.realtime_ns);
		guest_send(g, m->id, AGENT_DONE, NULL);
	} else
		file_begin(g, m, &rules, &b->file);
}

static void in_stream(struct guest_stream *s, const struct agent_message *m,
		      const union agent_body *b)
{
	if (rules_from_host(&s->rules, m, b) < 0) {
		guest_log(s->g, AGENT_LOG_WARN, "message %u of id %u may not come now: passed over",
			  m->type, m->id);
		return;
	}
	if (m->type == AGENT_INPUT && s->ops->input)
		s->ops->input(s, m->body, m->len);
	else if (m->type == AGENT_EOF && s->ops->eof)
		s->ops->eof(s);
	else if (m->type == AGENT_RESIZE && s->ops->resize)
		s->ops->resize(s, &b->resize);
	else if (m->type == AGENT_SIGNAL && s->ops->signal)
		s->ops->signal(s, (int)b->signal.number);
	else if (m->type == AGENT_CLOSE && s->ops->close)
		s->ops->close(s);
	else if (m->type == AGENT_CREDIT && s->ops->pump)
		s->ops->pump(s);
}

static bool is_in_stream(uint16_t type)
{
	return type >= AGENT_INPUT && type <= AGENT_CREDIT;
}

static void on_message(struct guest *g, const struct agent_message *m)
{
	struct guest_stream **place = place_of(g, m->id);
	struct scratch lists = { 0 };
	union agent_body b;

	if (m->id == 0 && m->type == AGENT_INIT) {
		on_init(g, m);
		return;
	}
	if (message_read(m, &b, &lists) < 0) {
		if (m->id && !is_in_stream(m->type))
			refuse(g, m->id, AGENT_STAGE_REQUEST, EPROTO,
			       "this agent cannot read the request");
		else
			guest_log(g, AGENT_LOG_WARN, "message %u of id %u makes no sense", m->type,
				  m->id);
	} else if (m->id && !is_in_stream(m->type)) {
		on_request(g, m, &b);
	} else if (place) {
		in_stream(*place, m, &b);
	}
	/* Else it is for what has ended meanwhile, which the host knows by now. */
	scratch_fini(&lists);
}

static void receive(struct guest *g)
{
	struct agent_message m;

	for (int i = 0; i < READS_MAX && g->io.loop; i++) {
		uint8_t *p;
		size_t room;
		ssize_t n;
		int r = frames_room(&g->in, &p, &room);

		if (r < 0)
			abort();
		n = read(g->port, p, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			lost(g, "the host has left");
			return;
		}
		frames_filled(&g->in, (size_t)n);
		while (g->io.loop && (r = frames_next(&g->in, &m)) > 0)
			on_message(g, &m);
		if (r < 0) {
			lost(g, "the host sent what is no frame");
			return;
		}
	}
}

static void on_port(struct loop_io *io, uint32_t events)
{
	struct guest *g = container_of(io, struct guest, io);

	if (events & EPOLLOUT)
		flush(g);
	if (g->io.loop && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(g);
}

/* ---- children ----------------------------------------------------------------------- */

static void on_signal(struct loop_io *io, uint32_t events)
{
	struct guest *g = container_of(io, struct guest, signals_io);
	struct signalfd_siginfo info;
	struct rusage usage;
	int status;
	pid_t pid;

	(void)events;
	while (read(g->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			end_begin(g,
				  &(struct agent_shutdown){ .how = info.ssi_signo == SIGINT
									   ? AGENT_SHUTDOWN_REBOOT
									   : AGENT_SHUTDOWN_POWER_OFF,
							    .grace_ms = 2000 });
	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
		exec_reaped(g, pid, status, &usage);
	if (g->ending)
		end_check(g);
}

int guest_watch_signals(struct guest *g)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	g->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->signals < 0)
		return -errno;
	return loop_io_add(g->loop, &g->signals_io, g->signals, EPOLLIN, on_signal);
}

static void hello(struct guest *g)
{
	struct buf boot_id = BUF_INIT(64);
	struct utsname name;
	struct timespec up;
	struct agent_hello h = { .protocol = AGENT_PROTOCOL, .version = WEIR_VERSION };

	if (file_read("/proc/sys/kernel/random/boot_id", 64, &boot_id) == 0 && buf_str(&boot_id)) {
		h.boot_id = (const char *)buf_at(&boot_id);
		buf_at(&boot_id)[strcspn(h.boot_id, "\n")] = 0;
	}
	if (uname(&name) == 0)
		h.kernel = name.release;
	clock_gettime(CLOCK_BOOTTIME, &up);
	h.uptime_ns = (uint64_t)up.tv_sec * NS_PER_S + (uint64_t)up.tv_nsec;
	guest_send(g, 0, AGENT_HELLO, &h);
	buf_fini(&boot_id);
}

int guest_start(struct guest *g)
{
	int r;

	g->out = BUF_INIT(OUT_MAX);
	g->flush.cb = flush_task;
	frames_init(&g->in, AGENT_MESSAGE_MAX);
	r = loop_new(&g->loop);
	if (r == 0)
		r = guest_watch_signals(g);
	if (r == 0)
		r = fd_set_nonblock(g->port, true);
	if (r == 0)
		r = loop_io_add(g->loop, &g->io, g->port, EPOLLIN, on_port);
	if (r == 0)
		hello(g);
	return r;
}
