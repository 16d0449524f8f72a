/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local clients on one connection to a guest's agent: what each says, whole or in pieces, whether it reads,
 * when it comes and goes; and what the guest answers, within the rules or not. Every message carries a
 * stamp (fuzz_agent_stamp.h): who sent it under which id, and how many went before. Beyond not crashing:
 *   - nobody gets a message for an id that he did not open, or of another's, or misses one of his own
 *   - the guest gets what may be said to it, in order, each client's under ids of its own; never
 *     INIT or SHUTDOWN
 *   - what waits, for a client and for the guest, is bounded; the loop comes to rest, and what was said
 *     has come to a guest that reads
 *   - as long as the guest keeps the rules, the agent is not lost, and nobody is put out who is silent or
 *     only asks, whatever others do
 *   - when all clients are gone, every stream is closed, and none is left once the guest has ended them
 */
#include "agent/client_int.h"
#include "agent/serve.h"

#include "fuzz_agent_stamp.h"
#include "fuzz_input.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __real_epoll_wait(int ep, struct epoll_event *ev, int max, int ms);
int __wrap_epoll_wait(int ep, struct epoll_event *ev, int max, int ms);
int __real_served_start(struct served *s, struct loop *l, int fd, size_t out_max,
			const struct agent_hello *hello, const struct served_ops *ops);
int __wrap_served_start(struct served *s, struct loop *l, int fd, size_t out_max,
			const struct agent_hello *hello, const struct served_ops *ops);
void __real_served_stop(struct served *s);
void __wrap_served_stop(struct served *s);

#define PEOPLE 3
#define CROWD (AGENT_RELAY_CLIENTS_MAX + 1)
#define OPS_MAX 300
#define ASKED_MAX 4096
#define OUTBOX_MAX (8 << 20)
/* More of them than any work of one step takes: it goes round without getting anywhere. */
#define TURNS_MAX 5000
/* Of a client that overflows soon; its greeting fits. */
#define SMALL 4096
/* A frame of the largest message in pieces and one read more may come where there was just room. */
#define AGENT_OUT_MAX (CLIENT_OUT_FULL + AGENT_MESSAGE_MAX + 2 * AGENT_FRAME_MAX)
/* More refusals than this may be too much for who reads none. */
#define SAID_MANY 10000

enum op {
	OP_COME,
	OP_SAY,	     /* type, id, value, length, how much is kept for later */
	OP_SAY_MANY, /* requests: type, how many */
	OP_SAY_RAW,
	OP_READ,
	OP_LEAVE,
	OP_SHUT,
	OP_ANSWER, /* stream, type, value, length, how often */
	OP_ANSWER_RAW,
	OP_GUEST_READS,
	OP_CROWD,
	OP_LOSE,
	OPS
};

static const uint8_t said[] = {
	AGENT_EXEC,    AGENT_PUT,    AGENT_GET,	     AGENT_LIST,    AGENT_STAT,	  AGENT_MKDIR,
	AGENT_METRICS, AGENT_PING,   AGENT_CLOCK,    AGENT_CONNECT, AGENT_ATTACH, AGENT_INPUT,
	AGENT_EOF,     AGENT_RESIZE, AGENT_SIGNAL,   AGENT_CLOSE,   AGENT_CREDIT, AGENT_OUTPUT,
	AGENT_INIT,    AGENT_DONE,   AGENT_SHUTDOWN,
};
static const uint8_t answers[] = {
	AGENT_STARTED, AGENT_OUTPUT, AGENT_ERRORS, AGENT_ENTRY, AGENT_SAMPLE, AGENT_CREDIT,
	AGENT_DONE,    AGENT_FAILED, AGENT_EXITED, AGENT_LOG,	AGENT_EXEC,
};

struct person {
	int fd; /* -1: not there */
	uint32_t who;
	struct served *served;	  /* NULL: the relay put it out */
	struct frames in, parsed; /* what comes, what was sent */
	struct buf out, opened;
	size_t kept; /* at the end of out, for later */
	unsigned heard;
	uint32_t said, next_id;
	uint32_t taken[16]; /* bytes that no credit was given for yet */
	bool broken;	    /* what it sent are no frames */
	bool asks_only;	    /* requests, each with a new id: nothing to put it out for */
};

/* A request as it came to the guest. */
struct asked {
	uint32_t id;
	uint32_t who, whose_id; /* 0: not known yet */
	uint32_t said, heard;
	uint32_t taken;
	struct rules rules;
};

static struct world {
	struct loop *loop;
	struct agent *agent;
	struct agent_relay *relay;
	struct person people[PEOPLE];
	int crowd[CROWD];
	size_t n_crowd;
	uint32_t comers;
	uint32_t last[OPS_MAX + 1]; /* stamp of each client's that came to the guest */
	bool raw[OPS_MAX + 1];	    /* its stamps may be on other messages than its own */
	struct served *served;
	int woken;

	int guest;
	struct frames from_host;
	struct buf to_host;
	struct asked asked[ASKED_MAX];
	size_t n_asked;
	bool ready, reads, lost;
	bool polite;   /* the guest says nothing that may not come */
	bool hostile;  /* it did, or may have */
	bool too_many; /* not all that was asked is in asked[] */
	bool small, free_in_event;
} w;

/* ---- what is replaced ------------------------------------------------------------------- */

int __wrap_epoll_wait(int ep, struct epoll_event *ev, int max, int ms)
{
	w.woken = __real_epoll_wait(ep, ev, max, ms);
	return w.woken;
}

int __wrap_served_start(struct served *s, struct loop *l, int fd, size_t out_max,
			const struct agent_hello *hello, const struct served_ops *ops)
{
	MUST(out_max == RELAY_OUT_MAX);
	w.served = s;
	return __real_served_start(s, l, fd, w.small ? SMALL : out_max, hello, ops);
}

void __wrap_served_stop(struct served *s)
{
	for (size_t i = 0; i < PEOPLE; i++)
		if (w.people[i].served == s)
			w.people[i].served = NULL;
	__real_served_stop(s);
}

/* ---- clients ---------------------------------------------------------------------------- */

static void leave(struct person *p)
{
	if (p->fd < 0)
		return;
	frames_fini(&p->in);
	frames_fini(&p->parsed);
	buf_fini(&p->out);
	buf_fini(&p->opened);
	close(p->fd);
	p->fd = -1;
}

static int connect_one(void)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	if (agent_relay_add(w.relay, sv[0]) == 0)
		return sv[1];
	MUST(agent_relay_clients(w.relay) == AGENT_RELAY_CLIENTS_MAX);
	close(sv[0]);
	close(sv[1]);
	return -1;
}

static void come(struct person *p)
{
	int fd;

	if (p->fd >= 0)
		return;
	fd = connect_one();
	if (fd < 0)
		return;
	*p = (struct person){
		.fd = fd,
		.who = ++w.comers,
		.served = w.served,
		.out = BUF_INIT(OUTBOX_MAX),
		.opened = BUF_INIT(OUTBOX_MAX),
		.next_id = 1000,
		.asks_only = true,
	};
	frames_init(&p->in, 0);
	frames_init(&p->parsed, AGENT_MESSAGE_MAX);
}

/* They say nothing, and nobody puts them out. */
static void crowd(void)
{
	uint8_t sink[4096];
	int fd;

	if (!w.n_crowd) {
		while (w.n_crowd < CROWD && (fd = connect_one()) >= 0)
			w.crowd[w.n_crowd++] = fd;
		return;
	}
	while (w.n_crowd) {
		fd = w.crowd[--w.n_crowd];
		MUST(recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0);
		MUST(w.lost || recv(fd, sink, sizeof(sink), MSG_DONTWAIT) < 0);
		close(fd);
	}
}

static void say_message(struct person *p, uint16_t type, uint32_t id, uint32_t value, size_t pad)
{
	struct buf body = BUF_INIT(2 * AGENT_MESSAGE_MAX);
	struct stamp s = { p->who, id, ++p->said, 0 };

	body_write(&body, type, value, pad, &s);
	/* What does not fit was not said. */
	(void)!frames_write(&p->out, id, type, buf_at(&body), body.len);
	buf_fini(&body);
}

static void say(struct person *p)
{
	uint16_t type = said[next() % ARRAY_SIZE(said)];
	uint32_t id = next() % 16;
	uint32_t value = next();
	size_t len = next();
	size_t kept = next();

	if (p->fd < 0)
		return;
	if (type == AGENT_CREDIT && !value) {
		value = p->taken[id];
		p->taken[id] = 0;
	} else if (type == AGENT_CREDIT) {
		value *= 2048;
	}
	say_message(p, type, id, value, len * len * 16);
	p->kept = MIN(kept, p->out.len);
}

static void say_many(struct person *p)
{
	uint16_t type = said[next() % ARRAY_SIZE(said)];
	unsigned n = next();

	if (p->fd < 0 || !rules_is_request(type))
		return;
	p->kept = 0;
	while (n--)
		say_message(p, type, p->next_id++, 1, 0);
}

static void say_raw(struct person *p)
{
	size_t n;
	const uint8_t *bytes = some(&n);

	if (p->fd < 0 || !n)
		return;
	p->kept = 0;
	w.raw[p->who] = true;
	(void)!buf_append(&p->out, bytes, n);
}

static bool has_opened(const struct person *p, uint32_t id)
{
	uint32_t one;

	for (size_t at = 0; at < p->opened.len; at += sizeof(one)) {
		memcpy(&one, buf_at(&p->opened) + at, sizeof(one));
		if (one == id)
			return true;
	}
	return false;
}

static void note(struct person *p, const struct agent_message *m)
{
	p->asks_only &= rules_is_request(m->type) && m->id && !has_opened(p, m->id) && !w.raw[p->who];
	if (rules_is_request(m->type))
		MUST(buf_append(&p->opened, &m->id, sizeof(m->id)) == 0);
}

/* What it opened, from the bytes that it sent. */
static void account(struct person *p, const uint8_t *bytes, size_t n)
{
	struct agent_message m;

	while (n && !p->broken) {
		uint8_t *room;
		size_t fits;
		int r = frames_room(&p->parsed, &room, &fits);

		MUST(r == 0);
		fits = MIN(fits, n);
		memcpy(room, bytes, fits);
		frames_filled(&p->parsed, fits);
		bytes += fits;
		n -= fits;
		while ((r = frames_next(&p->parsed, &m)) > 0)
			note(p, &m);
		p->broken = r < 0;
	}
}

/* True: something went. */
static bool speak(struct person *p)
{
	ssize_t n;

	if (p->fd < 0 || p->out.len <= p->kept)
		return false;
	n = send(p->fd, buf_at(&p->out), p->out.len - p->kept, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n <= 0)
		return false;
	account(p, buf_at(&p->out), (size_t)n);
	buf_consume(&p->out, (size_t)n);
	return true;
}

static struct asked *find(uint32_t id)
{
	for (size_t i = w.n_asked; i-- > 0;)
		if (w.asked[i].id == id)
			return &w.asked[i];
	return NULL;
}

static bool is_of_guest(uint16_t type)
{
	return type == AGENT_CREDIT || (type >= AGENT_STARTED && type <= AGENT_SAMPLE) ||
	       (type >= AGENT_DONE && type <= AGENT_EXITED);
}

/* One of the guest's is to its id alone, and the next one. */
static void hear_stamp(const struct person *p, const struct agent_message *m)
{
	struct stamp s;
	struct asked *a;

	if (!stamp_read(m, &s)) {
		MUST(m->type == AGENT_FAILED); /* the relay's own */
		return;
	}
	a = find(s.who);
	MUST(a);
	if (!a->who)
		a->who = p->who;
	if (!a->whose_id)
		a->whose_id = m->id;
	MUST(a->who == p->who && a->whose_id == m->id && s.n == a->heard++);
}

static void hear(struct person *p, const struct agent_message *m)
{
	struct scratch lists = { 0 };
	union agent_body b;

	MUST(message_read(m, &b, &lists) == 0);
	scratch_fini(&lists);
	if (p->heard++ < 2) {
		MUST(m->id == 0 && m->type == (p->heard == 1 ? AGENT_HELLO : AGENT_READY));
		return;
	}
	MUST(m->id && has_opened(p, m->id) && is_of_guest(m->type));
	if (m->type >= AGENT_OUTPUT && m->type <= AGENT_SAMPLE)
		p->taken[m->id % ARRAY_SIZE(p->taken)] += (uint32_t)m->len;
	if (!w.hostile)
		hear_stamp(p, m);
}

static void listen_to(struct person *p)
{
	struct agent_message m;
	uint8_t *room;
	ssize_t got;
	size_t n;
	int r;

	while (p->fd >= 0) {
		MUST(frames_room(&p->in, &room, &n) == 0);
		got = recv(p->fd, room, n, MSG_DONTWAIT);
		if (got <= 0) {
			/* Whoever was put out is told so by the end. */
			MUST(p->served || got == 0 || errno == ECONNRESET);
			return;
		}
		frames_filled(&p->in, (size_t)got);
		while ((r = frames_next(&p->in, &m)) > 0)
			hear(p, &m);
		MUST(r == 0);
	}
}

/* ---- the guest -------------------------------------------------------------------------- */

/* Nobody has more than his share, nor one id twice. */
static void check_share(const struct asked *a)
{
	size_t open = 0;

	for (size_t i = 0; i < w.n_asked && !w.hostile; i++) {
		const struct asked *b = &w.asked[i];

		if (b->who != a->who || b->rules.ended)
			continue;
		open++;
		MUST(b == a || !a->whose_id || b->whose_id != a->whose_id);
	}
	MUST(open <= CLIENT_STREAMS_MAX);
}

static void begin(const struct agent_message *m, const union agent_body *b)
{
	struct asked *a = &w.asked[w.n_asked];
	struct stamp s;

	MUST(m->type != AGENT_SHUTDOWN && !find(m->id));
	if (w.n_asked == ASKED_MAX) {
		w.too_many = true;
		return;
	}
	*a = (struct asked){ .id = m->id };
	MUST(rules_begin(&a->rules, m->type, b) == 0);
	w.n_asked++;
	if (!stamp_read(m, &s))
		return;
	MUST(s.who <= w.comers && s.n > w.last[s.who]);
	a->who = s.who;
	if (!w.raw[s.who]) {
		w.last[s.who] = s.n;
		a->whose_id = s.id;
	}
	check_share(a);
}

static void go_on(const struct agent_message *m, const union agent_body *b)
{
	struct asked *a = find(m->id);
	struct stamp s;

	MUST(a || w.too_many);
	if (!a || a->rules.ended || w.hostile)
		return;
	MUST(rules_from_host(&a->rules, m, b) == 0);
	if (m->type == AGENT_INPUT)
		a->taken += (uint32_t)m->len;
	/* The relay's own CLOSE has none. */
	if (!stamp_read(m, &s) || w.raw[s.who])
		return;
	MUST(s.who == a->who && s.id == a->whose_id && s.n > w.last[s.who]);
	w.last[s.who] = s.n;
}

static void on_request(const struct agent_message *m)
{
	struct scratch lists = { 0 };
	union agent_body b;

	MUST(message_read(m, &b, &lists) == 0);
	if (m->id == 0)
		MUST(m->type == AGENT_INIT && !w.ready);
	else if (rules_is_request(m->type))
		begin(m, &b);
	else
		go_on(m, &b);
	scratch_fini(&lists);
}

/* True: something came. */
static bool guest_read(void)
{
	struct agent_message m;
	uint8_t *room;
	ssize_t got;
	size_t n;
	int r;

	if (!w.reads)
		return false;
	MUST(frames_room(&w.from_host, &room, &n) == 0);
	got = recv(w.guest, room, n, MSG_DONTWAIT);
	if (got <= 0)
		return false;
	frames_filled(&w.from_host, (size_t)got);
	while ((r = frames_next(&w.from_host, &m)) > 0)
		on_request(&m);
	MUST(r == 0);
	return true;
}

static bool guest_write(void)
{
	ssize_t n;

	if (!w.to_host.len)
		return false;
	n = send(w.guest, buf_at(&w.to_host), w.to_host.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n <= 0)
		return false;
	buf_consume(&w.to_host, (size_t)n);
	return true;
}

/* False: it may not come now, and a polite guest has not said it. */
static bool answer(struct asked *a, uint16_t type, uint32_t value, size_t pad)
{
	struct buf body = BUF_INIT(AGENT_BODY_MAX);
	struct stamp s = { a->id, a->id, a->said, 0 };
	struct agent_message m = { .id = a->id, .type = type };
	struct rules after = a->rules;
	struct scratch lists = { 0 };
	union agent_body b;
	bool right;

	body_write(&body, type, value, pad, &s);
	m.body = buf_at(&body);
	m.len = body.len;
	right = message_read(&m, &b, &lists) == 0 && rules_from_guest(&after, &m, &b) == 0;
	scratch_fini(&lists);
	if ((right || !w.polite) && frames_write(&w.to_host, m.id, type, m.body, m.len) == 0) {
		a->said++;
		a->rules = right ? after : a->rules;
		w.hostile |= !right;
	} else {
		right = false;
	}
	buf_fini(&body);
	return right;
}

/* The one of those that are open. */
static struct asked *choose(size_t i)
{
	size_t open = 0;

	for (size_t k = 0; k < w.n_asked; k++)
		open += !w.asked[k].rules.ended;
	if (!open)
		return NULL;
	i %= open;
	for (size_t k = 0; k < w.n_asked; k++)
		if (!w.asked[k].rules.ended && i-- == 0)
			return &w.asked[k];
	return NULL;
}

static void answer_some(void)
{
	struct asked *a = choose(next());
	uint16_t type = answers[next() % ARRAY_SIZE(answers)];
	uint32_t value = next();
	size_t pad = (size_t)next() * 256;
	unsigned times = 1 + next();

	if (!a)
		return;
	if (type == AGENT_CREDIT && !value) {
		value = a->taken;
		a->taken = 0;
	} else if (type == AGENT_CREDIT) {
		value *= 2048;
	}
	while (times-- && answer(a, type, value, pad) && !a->rules.ended)
		;
}

static void answer_raw(void)
{
	size_t n;
	const uint8_t *bytes = some(&n);

	w.hostile |= n > 0;
	(void)!buf_append(&w.to_host, bytes, n);
}

/* ---- the relay's owner ------------------------------------------------------------------ */

static void end_relay(void)
{
	agent_relay_free(w.relay);
	w.relay = NULL;
}

static void on_hello(struct agent *a, const struct agent_hello *h, void *arg)
{
	(void)h;
	(void)arg;
	MUST(agent_send_init(a, &(struct agent_init){ .hostname = "x" }) == 0);
}

static void on_ready(struct agent *a, void *arg)
{
	(void)arg;
	w.ready = true;
	MUST(agent_relay_new(w.loop, a, &w.relay) == 0);
}

static void on_lost(struct agent *a, int err, const char *why, void *arg)
{
	(void)a;
	(void)err;
	(void)why;
	(void)arg;
	MUST(!w.lost && w.hostile);
	w.lost = true;
	if (w.free_in_event)
		end_relay();
}

static const struct agent_events events = {
	.hello = on_hello,
	.ready = on_ready,
	.lost = on_lost,
};

/* ---- the script -------------------------------------------------------------------------- */

static void check(void)
{
	size_t here = w.n_crowd;

	MUST(w.agent->out.len <= AGENT_OUT_MAX);
	for (size_t i = 0; i < PEOPLE; i++) {
		const struct person *p = &w.people[i];

		here += p->fd >= 0;
		MUST(p->fd < 0 || p->served || !p->asks_only || p->broken || w.small || w.lost ||
		     p->said > SAID_MANY);
		if (p->fd >= 0 && p->served)
			MUST(p->served->out.len <= p->served->out.cap);
	}
	MUST(!w.relay || agent_relay_clients(w.relay) <= here);
}

/* A guest that takes all gets all: nobody is left unread. */
static void check_all_went(void)
{
	int unread;

	MUST(!w.agent->out.len && !w.to_host.len);
	for (size_t i = 0; i < PEOPLE; i++) {
		const struct person *p = &w.people[i];

		if (p->fd < 0 || !p->served)
			continue;
		MUST(p->out.len <= p->kept && ioctl(p->fd, SIOCOUTQ, &unread) == 0 && !unread);
	}
}

/* Until nothing moves. */
static void turn(void)
{
	bool moved = true;

	for (int i = 0; moved; i++) {
		MUST(i < TURNS_MAX);
		moved = guest_write();
		for (size_t k = 0; k < PEOPLE; k++)
			moved |= speak(&w.people[k]);
		MUST(loop_step(w.loop, 0) >= 0);
		moved |= w.woken > 0;
		moved |= guest_read();
	}
	if (w.lost && w.relay)
		end_relay();
	check();
	if (w.reads && !w.lost)
		check_all_went();
}

static void step(void)
{
	enum op op = next() % OPS;
	struct person *p = &w.people[op <= OP_SHUT ? next() % PEOPLE : 0];

	switch (op) {
	case OP_COME:
		come(p);
		break;
	case OP_SAY:
		say(p);
		break;
	case OP_SAY_MANY:
		say_many(p);
		break;
	case OP_SAY_RAW:
		say_raw(p);
		break;
	case OP_READ:
		listen_to(p);
		break;
	case OP_LEAVE:
		leave(p);
		break;
	case OP_SHUT:
		p->asks_only = false;
		if (p->fd >= 0)
			shutdown(p->fd, SHUT_WR);
		break;
	case OP_ANSWER:
		answer_some();
		break;
	case OP_ANSWER_RAW:
		answer_raw();
		break;
	case OP_GUEST_READS:
		w.reads = next() % 2;
		break;
	case OP_CROWD:
		crowd();
		break;
	case OP_LOSE:
		w.hostile = true;
		shutdown(w.guest, SHUT_RDWR);
		break;
	case OPS:
		break;
	}
	turn();
}

/* A guest that has been asked nothing yet, and a relay in front of it. */
static void start(void)
{
	struct agent_hello hello = { .protocol = AGENT_PROTOCOL, .version = "1" };
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0 && loop_new(&w.loop) == 0);
	MUST(agent_new(w.loop, sv[0], &events, NULL, &w.agent) == 0);
	w.guest = sv[1];
	w.to_host = BUF_INIT(OUTBOX_MAX);
	frames_init(&w.from_host, AGENT_MESSAGE_MAX);
	w.reads = true;
	MUST(frames_write_message(&w.to_host, 0, AGENT_HELLO, &hello) == 0);
	turn();
	MUST(frames_write_message(&w.to_host, 0, AGENT_READY, NULL) == 0);
	turn();
	MUST(w.relay);
}

static void end_asked(struct asked *a)
{
	MUST(a->rules.ended || a->rules.closed);
	w.polite = true;
	MUST(a->rules.ended || answer(a, AGENT_FAILED, 1, 0) || answer(a, AGENT_EXITED, 1, 0));
}

/* All go; what they opened is closed, and the guest ends it. */
static void go(void)
{
	if (w.n_crowd)
		crowd();
	w.reads = true;
	turn();
	for (size_t i = 0; i < PEOPLE; i++) {
		listen_to(&w.people[i]);
		leave(&w.people[i]);
	}
	turn();
	if (w.lost)
		return;
	MUST(agent_relay_clients(w.relay) == 0);
	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++)
		MUST(!w.agent->streams[i] ||
		     (w.agent->streams[i]->rules.closed && !w.agent->streams[i]->raw));
	if (w.hostile || w.too_many)
		return;
	for (size_t i = 0; i < w.n_asked; i++)
		end_asked(&w.asked[i]);
	turn();
	for (size_t i = 0; i < AGENT_STREAMS_MAX; i++)
		MUST(!w.agent->streams[i]);
}

static void end(void)
{
	agent_relay_free(w.relay);
	agent_free(w.agent);
	loop_free(w.loop);
	frames_fini(&w.from_host);
	buf_fini(&w.to_host);
	close(w.guest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how;

	memset(&w, 0, offsetof(struct world, asked));
	memset((uint8_t *)&w + offsetof(struct world, n_asked), 0,
	       sizeof(w) - offsetof(struct world, n_asked));
	input = rd_init(data, size);
	stamp_begin(data, size);
	for (size_t i = 0; i < PEOPLE; i++)
		w.people[i].fd = -1;
	how = next();
	w.polite = !(how & 1);
	w.small = how & 2;
	w.free_in_event = how & 4;
	start();
	for (unsigned i = 0; rd_left(&input) && i < OPS_MAX && !w.lost; i++)
		step();
	go();
	end();
	return 0;
}
