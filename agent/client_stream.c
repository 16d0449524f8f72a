/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of the host's side. An id is its place in the table and a counter, so
 * finding one is an index, and an id that was used comes again only after 16 million others.
 *
 * A stream whose handle is gone (closed, or past its deadline) keeps its place until the
 * guest has told its end: the guest may still speak of it, within what it had been granted.
 */
#include "agent/client_int.h"

/* Credit is told in portions: a message for each read would double the messages. */
#define CREDIT_PORTION (AGENT_WINDOW / 4)
static_assert(AGENT_STREAMS_MAX == 256, "the place is the low byte of an id");

/* As timeout(1), env(1) and shells have them. */
enum { STATUS_TIMEOUT = 124, STATUS_WEIR = 125, STATUS_EXEC = 126, STATUS_LOOKUP = 127 };

static struct agent_stream *find(struct agent *a, uint32_t id)
{
	struct agent_stream *s = a->streams[id % AGENT_STREAMS_MAX];

	return s && s->id == id ? s : NULL;
}

static void drop(struct agent_stream *s)
{
	loop_timer_del(s->a->loop, &s->deadline);
	s->a->streams[s->id % AGENT_STREAMS_MAX] = NULL;
	free(s);
}

/* ---- beginning ---------------------------------------------------------------------- */

static bool may_begin(const struct agent *a, uint16_t type)
{
	return a->state == CLIENT_READY || (a->state == CLIENT_INIT_FAILED && type == AGENT_SHUTDOWN);
}

static void on_deadline(struct loop_timer *t)
{
	struct agent_stream *s = container_of(t, struct agent_stream, deadline);
	const struct agent_stream_events *ev = s->ev;
	struct agent_end end = {
		.kind = AGENT_ENDED_FAILED,
		.failed = { AGENT_STAGE_DEADLINE, ETIMEDOUT, "no answer in time" },
	};
	struct agent *a = s->a;

	client_enter(a);
	if (ev && ev->ended)
		ev->ended(s, &end, s->arg);
	/* The callback may have closed it itself. */
	if (!a->freed && s->ev == ev)
		agent_stream_close(s);
	client_leave(a);
}

int client_stream_begin(struct agent *a, uint16_t type, const void *body, size_t len,
			const union agent_body *b, uint64_t deadline,
			const struct agent_stream_events *ev,
			void (*raw)(struct agent_stream *s, const struct agent_message *m, void *arg),
			void *arg, struct agent_stream **ret)
{
	struct agent_stream *s;
	size_t place = 0;
	int r;

	if (!may_begin(a, type))
		return -ENOTCONN;
	while (place < AGENT_STREAMS_MAX && a->streams[place])
		place++;
	if (place == AGENT_STREAMS_MAX)
		return -EAGAIN;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct agent_stream){ .a = a, .ev = ev, .raw = raw, .arg = arg };
	s->id = a->counter << 8 | (uint32_t)place;
	s->deadline.cb = on_deadline;
	r = rules_begin(&s->rules, type, b);
	if (r == 0)
		r = client_send(a, s->id, type, body, len);
	if (r < 0) {
		free(s);
		return r;
	}
	a->counter = a->counter == UINT32_MAX >> 8 ? 1 : a->counter + 1;
	a->streams[place] = s;
	if (deadline)
		loop_timer_set(a->loop, &s->deadline, deadline);
	*ret = s;
	return 0;
}

static int begin(struct agent *a, uint16_t type, const union agent_body *b, uint64_t deadline,
		 const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	struct buf body = BUF_INIT(AGENT_MESSAGE_MAX);
	int r = message_write(type, b, &body);

	if (r == 0)
		r = client_stream_begin(a, type, buf_at(&body), body.len, b, deadline, ev, NULL,
					arg, ret);
	buf_fini_wiped(&body);
	return r;
}

int agent_exec(struct agent *a, const struct agent_exec *x, uint64_t deadline,
	       const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .exec = *x };

	return begin(a, AGENT_EXEC, &b, deadline, ev, arg, ret);
}

int agent_attach(struct agent *a, const struct agent_attach *x, uint64_t deadline,
		 const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .attach = *x };

	return begin(a, AGENT_ATTACH, &b, deadline, ev, arg, ret);
}

int agent_file(struct agent *a, enum agent_type type, const struct agent_file *f, uint64_t deadline,
	       const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .file = *f };

	assert(type >= AGENT_PUT && type <= AGENT_COPY);
	return begin(a, (uint16_t)type, &b, deadline, ev, arg, ret);
}

int agent_metrics(struct agent *a, uint32_t interval_ms, uint64_t deadline,
		  const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .every = { interval_ms } };

	return begin(a, AGENT_METRICS, &b, deadline, ev, arg, ret);
}

int agent_ping(struct agent *a, uint64_t deadline, const struct agent_stream_events *ev, void *arg,
	       struct agent_stream **ret)
{
	union agent_body b = { 0 };

	return begin(a, AGENT_PING, &b, deadline, ev, arg, ret);
}

int agent_clock(struct agent *a, uint64_t realtime_ns, uint64_t deadline,
		const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .clock = { realtime_ns } };

	return begin(a, AGENT_CLOCK, &b, deadline, ev, arg, ret);
}

int agent_shutdown(struct agent *a, const struct agent_shutdown *how, uint64_t deadline,
		   const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .shutdown = *how };

	return begin(a, AGENT_SHUTDOWN, &b, deadline, ev, arg, ret);
}

int agent_connect(struct agent *a, uint16_t port, uint64_t deadline,
		  const struct agent_stream_events *ev, void *arg, struct agent_stream **ret)
{
	union agent_body b = { .connect = { port } };

	return begin(a, AGENT_CONNECT, &b, deadline, ev, arg, ret);
}

/* ---- what comes --------------------------------------------------------------------- */

static bool is_end(uint16_t type)
{
	return type == AGENT_DONE || type == AGENT_FAILED || type == AGENT_EXITED;
}

static void tell_end(struct agent_stream *s, uint16_t type, const union agent_body *b)
{
	struct agent_end end = { .kind = AGENT_ENDED_DONE };

	if (type == AGENT_FAILED) {
		end.kind = AGENT_ENDED_FAILED;
		end.failed = b->failed;
	} else if (type == AGENT_EXITED) {
		end.kind = AGENT_ENDED_EXITED;
		end.exited = b->exited;
	}
	if (s->ev->ended)
		s->ev->ended(s, &end, s->arg);
}

static void tell(struct agent_stream *s, const struct agent_message *m, const union agent_body *b)
{
	const struct agent_stream_events *ev = s->ev;
	struct agent *a = s->a;
	uint32_t id = s->id;
	bool given = false;

	switch (m->type) {
	case AGENT_STARTED:
		if (ev->started)
			ev->started(s, b->started.pid, s->arg);
		return;
	case AGENT_CREDIT:
		if (ev->room)
			ev->room(s, s->arg);
		return;
	case AGENT_OUTPUT:
	case AGENT_ERRORS:
		s->held += m->len;
		given = ev->data;
		if (given)
			ev->data(s, (enum agent_type)m->type, m->body, m->len, s->arg);
		break;
	case AGENT_ENTRY:
		s->held += m->len;
		if (ev->entry)
			ev->entry(s, &b->entry, s->arg);
		break;
	case AGENT_SAMPLE:
		s->held += m->len;
		if (ev->sample)
			ev->sample(s, &b->sample, s->arg);
		break;
	default:
		return;
	}
	if (!given && !a->freed && (s = find(a, id)) && s->ev)
		agent_stream_taken(s, m->len);
}

void client_stream_message(struct agent *a, const struct agent_message *m, const union agent_body *b)
{
	struct agent_stream *s = find(a, m->id);

	if (!s || rules_from_guest(&s->rules, m, b) < 0) {
		client_break(a, -EPROTO,
			     s ? "the agent broke the order of a request's answers"
			       : "the agent spoke of what was not asked");
		return;
	}
	if (m->type != AGENT_CREDIT)
		loop_timer_del(a->loop, &s->deadline);
	if (s->raw)
		s->raw(s, m, s->arg);
	else if (s->ev && is_end(m->type))
		tell_end(s, m->type, b);
	else if (s->ev)
		tell(s, m, b);
	/* An event may have freed the agent, and its streams with it. */
	if (is_end(m->type) && !a->freed && (s = find(a, m->id)))
		drop(s);
}

void client_streams_end(struct agent *a, bool silent)
{
	static const union agent_body lost = {
		.failed = { AGENT_STAGE_LOST, ECONNRESET, "the connection to the agent is over" },
	};

	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++) {
		struct agent_stream *s = a->streams[i];

		if (!s)
			continue;
		s->rules.ended = true;
		if (s->raw)
			s->raw(s, NULL, s->arg);
		if (!silent && s->ev)
			tell_end(s, AGENT_FAILED, &lost);
		if (!silent && a->freed)
			return; /* the event freed all of them */
		if (a->streams[i])
			drop(a->streams[i]);
	}
}

void client_streams_room(struct agent *a)
{
	if (a->drained)
		a->drained(a, a->drained_arg);
	for (size_t i = 0; i < AGENT_STREAMS_MAX && !a->freed; i++) {
		struct agent_stream *s = a->streams[i];

		if (s && s->ev && s->ev->room && agent_stream_room(s))
			s->ev->room(s, s->arg);
	}
}

/* ---- what the user says ------------------------------------------------------------- */

size_t agent_stream_room(const struct agent_stream *s)
{
	const struct rules *r = &s->rules;

	if (!r->takes_input || r->eof || r->closed || r->ended ||
	    s->a->out.len >= CLIENT_OUT_FULL || s->a->state == CLIENT_LOST)
		return 0;
	return r->host_may;
}

int client_stream_pass(struct agent_stream *s, const struct agent_message *m,
		       const union agent_body *b)
{
	int r = rules_from_host(&s->rules, m, b);

	return r < 0 ? r : client_send(s->a, s->id, m->type, m->body, m->len);
}

/* Small messages: what is refused is refused before anything is sent. */
static int say(struct agent_stream *s, uint16_t type, const union agent_body *b)
{
	struct buf body = BUF_INIT(256);
	struct agent_message m = { .id = s->id, .type = type };
	int r;

	if (s->rules.ended)
		return -EPIPE;
	r = message_write(type, b, &body);
	if (r == 0) {
		m.body = buf_at(&body);
		m.len = body.len;
		r = client_stream_pass(s, &m, b);
	}
	buf_fini(&body);
	return r == -EPROTO ? -EPIPE : r;
}

int agent_stream_write(struct agent_stream *s, const void *p, size_t n)
{
	const uint8_t *from = p;
	int r = 0;

	if (!s->rules.takes_input || s->rules.eof || s->rules.ended)
		return -EPIPE;
	if (n > agent_stream_room(s))
		return -EAGAIN;
	while (r == 0 && n) {
		struct agent_message m = {
			.id = s->id,
			.type = AGENT_INPUT,
			.body = from,
			.len = MIN(n, (size_t)AGENT_BODY_MAX),
		};

		r = client_stream_pass(s, &m, NULL);
		from += m.len;
		n -= m.len;
	}
	return r;
}

int agent_stream_eof(struct agent_stream *s)
{
	return say(s, AGENT_EOF, NULL);
}

int agent_stream_signal(struct agent_stream *s, int number)
{
	union agent_body b = { .signal = { (uint32_t)number } };

	return number < 1 || number > 64 ? -EINVAL : say(s, AGENT_SIGNAL, &b);
}

int agent_stream_resize(struct agent_stream *s, uint32_t rows, uint32_t cols)
{
	union agent_body b = { .resize = { MIN(rows, 0xffffu), MIN(cols, 0xffffu) } };

	return say(s, AGENT_RESIZE, &b);
}

void agent_stream_taken(struct agent_stream *s, size_t n)
{
	union agent_body b = { 0 };

	assert(n <= s->held);
	s->held -= n;
	s->taken += n;
	if (s->taken < CREDIT_PORTION || s->rules.ended || s->rules.closed)
		return;
	b.credit.bytes = (uint32_t)s->taken;
	/* Without it the stream would stand still for ever. */
	if (say(s, AGENT_CREDIT, &b) < 0)
		client_break(s->a, -ENOBUFS, "too much waits to be sent to the agent");
	s->taken = 0;
}

void agent_stream_close(struct agent_stream *s)
{
	s->ev = NULL;
	s->raw = NULL;
	loop_timer_del(s->a->loop, &s->deadline);
	/* In `ended` of its own: dropped when that returns. */
	if (s->rules.ended)
		return;
	if (!s->rules.closed && s->a->state != CLIENT_LOST && say(s, AGENT_CLOSE, NULL) < 0)
		client_break(s->a, -ENOBUFS, "too much waits to be sent to the agent");
}

/* ---- what an end means --------------------------------------------------------------- */

int agent_end_status(const struct agent_end *e)
{
	switch (e->kind) {
	case AGENT_ENDED_DONE:
		return 0;
	case AGENT_ENDED_EXITED:
		if (e->exited.flags & AGENT_EXITED_TIMEOUT)
			return STATUS_TIMEOUT;
		return e->exited.signal ? 128 + (int)e->exited.signal : (int)e->exited.code;
	case AGENT_ENDED_FAILED:
		break;
	}
	if (e->failed.stage == AGENT_STAGE_LOOKUP)
		return STATUS_LOOKUP;
	return e->failed.stage == AGENT_STAGE_EXEC ? STATUS_EXEC : STATUS_WEIR;
}

const char *agent_stage_text(uint32_t stage)
{
	switch (stage) {
	case AGENT_STAGE_REQUEST:
		return "the request";
	case AGENT_STAGE_UNKNOWN:
		return "the agent does not know this request";
	case AGENT_STAGE_LIMIT:
		return "too many at a time";
	case AGENT_STAGE_CLOSED:
		return "closed";
	case AGENT_STAGE_MEMORY:
		return "the guest's resources";
	case AGENT_STAGE_USER:
		return "no such user";
	case AGENT_STAGE_CWD:
		return "the working directory";
	case AGENT_STAGE_TTY:
		return "the terminal";
	case AGENT_STAGE_RLIMIT:
		return "a resource limit";
	case AGENT_STAGE_PRIVILEGE:
		return "taking on the user";
	case AGENT_STAGE_LOOKUP:
		return "no such program";
	case AGENT_STAGE_EXEC:
		return "running the program";
	case AGENT_STAGE_OPEN:
		return "the path";
	case AGENT_STAGE_READ:
		return "reading";
	case AGENT_STAGE_WRITE:
		return "writing";
	case AGENT_STAGE_COMMIT:
		return "naming the finished file";
	case AGENT_STAGE_CONNECT:
		return "connecting";
	case AGENT_STAGE_ROOT:
		return "the root file system";
	case AGENT_STAGE_MOUNT:
		return "a mount";
	case AGENT_STAGE_NETWORK:
		return "the network";
	case AGENT_STAGE_FILES:
		return "files in /etc";
	case AGENT_STAGE_TRUST:
		return "the certificate authority";
	case AGENT_STAGE_HANDOFF:
		return "the init";
	case AGENT_STAGE_DEADLINE:
		return "no answer in time";
	case AGENT_STAGE_LOST:
		return "the connection to the agent";
	default:
		return "an unknown stage";
	}
}
