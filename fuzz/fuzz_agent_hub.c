/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local clients at one command, each with whatever it likes to say; they come, read or not, and go, while
 * the command writes, takes input or not, and ends. Time is the script's. Beyond not crashing:
 *   - what a client gets are whole messages: a greeting, then those of its stream, in which no byte
 *     of the command's is missing, twice or out of place
 *   - the command is asked for what exists: signals, sizes, input of at most a window
 *   - a full hub is so for a bounded time, and room() is called when it is not any more
 *   - once the command has ended, the hub is drained, once, whoever does not read
 */
#include "agent/agent.h"
#include "agent/agent_int.h"

#include "fuzz_input.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t __wrap_time_mono_ns(void);

#define PEOPLE 20 /* more than a hub takes */
#define STEPS 4
#define OPS_MAX 400

enum op {
	OP_COME,
	OP_SAY,	    /* a message: type, id, length, body */
	OP_SAY_RAW, /* bytes that need not be one */
	OP_READ,
	OP_LEAVE,
	OP_OUTPUT,
	OP_TAKE, /* how much input is taken from now on */
	OP_TIME,
	OP_END,
	OPS
};

struct person {
	int fd; /* -1: gone */
	struct frames in;
	unsigned heard;
	uint32_t id; /* of what was started */
	bool over, some;
	uint8_t at; /* the byte of output that comes next */
};

static struct world {
	struct agent_hub *hub;
	struct loop *loop;
	struct person people[PEOPLE];
	size_t takes;
	uint8_t written; /* counts the bytes of output */
	unsigned drained;
	bool full, end_at_signal;
	uint64_t now;
} w;

uint64_t __wrap_time_mono_ns(void)
{
	return w.now;
}

/* ---- the command ------------------------------------------------------------------------ */

static size_t on_input(const uint8_t *p, size_t n, void *arg)
{
	(void)arg;
	MUST(p && n && n <= AGENT_WINDOW);
	return MIN(n, w.takes);
}

static void on_resize(uint32_t rows, uint32_t cols, void *arg)
{
	(void)arg;
	MUST(rows <= UINT16_MAX && cols <= UINT16_MAX);
}

static void end(void)
{
	agent_hub_end(w.hub, &(struct agent_exited){ .code = 1 });
}

static void on_signal(int number, void *arg)
{
	(void)arg;
	MUST(number >= 1 && number < _NSIG);
	if (w.end_at_signal)
		end();
}

static void on_room(void *arg)
{
	(void)arg;
	MUST(w.full && !agent_hub_full(w.hub));
	w.full = false;
}

static void on_drained(void *arg)
{
	(void)arg;
	w.drained++;
}

static const struct agent_hub_events events = {
	.input = on_input,
	.resize = on_resize,
	.signal = on_signal,
	.room = on_room,
	.drained = on_drained,
};

static void output(void)
{
	uint8_t bytes[65536];
	enum agent_type type = next() % 2 ? AGENT_OUTPUT : AGENT_ERRORS;
	size_t n = 1 + (size_t)next() * 256;

	for (size_t i = 0; i < n; i++)
		bytes[i] = w.written++;
	agent_hub_output(w.hub, type, bytes, n);
	w.full |= agent_hub_full(w.hub);
}

/* ---- people ----------------------------------------------------------------------------- */

static void leave(struct person *p)
{
	if (p->fd < 0)
		return;
	frames_fini(&p->in);
	close(p->fd);
	p->fd = -1;
}

static void come(struct person *p)
{
	int sv[2];

	if (p->fd >= 0)
		return;
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	if (agent_hub_add(w.hub, sv[0]) < 0) {
		close(sv[0]);
		close(sv[1]);
		return;
	}
	MUST(!w.drained);
	*p = (struct person){ .fd = sv[1] };
	frames_init(&p->in, AGENT_MESSAGE_MAX);
}

static void say(const struct person *p, const void *bytes, size_t n)
{
	/* Whoever does not fit has not said it. */
	if (p->fd >= 0)
		(void)!send(p->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_message(const struct person *p)
{
	struct buf b = BUF_INIT(4096);
	uint16_t type = next();
	uint32_t id = next() % 4;
	size_t n;
	const uint8_t *body = some(&n);

	MUST(frames_write(&b, id, type, body, n) == 0);
	say(p, buf_at(&b), b.len);
	buf_fini(&b);
}

static void say_raw(const struct person *p)
{
	size_t n;
	const uint8_t *bytes = some(&n);

	say(p, bytes, n);
}

static void hear_output(struct person *p, const struct agent_message *m)
{
	if (!p->some)
		p->at = m->len ? m->body[0] : 0;
	p->some |= m->len > 0;
	for (size_t i = 0; i < m->len; i++)
		MUST(m->body[i] == p->at++);
}

static void hear(struct person *p, const struct agent_message *m)
{
	struct scratch lists = { 0 };
	union agent_body b;

	MUST(message_is_bytes(m->type) || message_read(m, &b, &lists) == 0);
	scratch_fini(&lists);
	switch (p->heard++) {
	case 0:
		MUST(m->id == 0 && m->type == AGENT_HELLO);
		return;
	case 1:
		MUST(m->id == 0 && m->type == AGENT_READY);
		return;
	}
	if (m->type == AGENT_STARTED) {
		MUST(!p->id && m->id);
		p->id = m->id;
	} else if (m->id != p->id || p->over) {
		/* What was refused. One that asks again with its own id has ended its stream for itself. */
		MUST(p->over || m->type == AGENT_FAILED);
	} else if (m->type == AGENT_OUTPUT || m->type == AGENT_ERRORS) {
		hear_output(p, m);
	} else {
		p->over = m->type == AGENT_EXITED || m->type == AGENT_FAILED;
		MUST(p->over || m->type == AGENT_CREDIT);
	}
}

static void listen_to(struct person *p)
{
	struct agent_message m;
	uint8_t *room;
	size_t n;
	ssize_t got;
	int r = 0;

	while (p->fd >= 0 && r == 0) {
		MUST(frames_room(&p->in, &room, &n) == 0);
		got = recv(p->fd, room, n, MSG_DONTWAIT);
		if (got <= 0)
			return;
		frames_filled(&p->in, (size_t)got);
		while ((r = frames_next(&p->in, &m)) > 0)
			hear(p, &m);
		MUST(r == 0);
	}
}

/* ---- the script -------------------------------------------------------------------------- */

static void turn(void)
{
	for (int i = 0; i < STEPS; i++)
		MUST(loop_step(w.loop, 0) >= 0);
}

static void pass(uint64_t ns)
{
	w.now += ns;
	turn();
}

static void step(void)
{
	enum op op = next() % OPS;
	struct person *p = &w.people[op <= OP_LEAVE ? next() % PEOPLE : 0];

	switch (op) {
	case OP_COME:
		come(p);
		break;
	case OP_SAY:
		say_message(p);
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
	case OP_OUTPUT:
		output();
		break;
	case OP_TAKE:
		w.takes = (size_t)next() * 64;
		agent_hub_pump(w.hub);
		break;
	case OP_TIME:
		pass((uint64_t)next() * 50 * NS_PER_MS);
		break;
	case OP_END:
		end();
		break;
	case OPS:
		break;
	}
	turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_hub_events ev = events;
	uint8_t how;

	w = (struct world){ .now = NS_PER_S };
	input = rd_init(data, size);
	for (size_t i = 0; i < PEOPLE; i++)
		w.people[i].fd = -1;
	how = next();
	if (how & 1)
		ev.input = NULL;
	w.end_at_signal = how & 2;
	MUST(loop_new(&w.loop) == 0 && agent_hub_new(w.loop, &ev, NULL, &w.hub) == 0);
	for (unsigned i = 0; rd_left(&input) && i < OPS_MAX; i++)
		step();
	/* Whoever is slow is dropped, and then nobody holds the command up. */
	pass(AGENT_HUB_PATIENCE + 1);
	MUST(!agent_hub_full(w.hub) && !w.full);
	end();
	turn();
	for (size_t i = 0; i < PEOPLE; i++)
		listen_to(&w.people[i]);
	pass(AGENT_HUB_PATIENCE + 1);
	MUST(w.drained == 1 && agent_hub_clients(w.hub) == 0);
	for (size_t i = 0; i < PEOPLE; i++)
		leave(&w.people[i]);
	agent_hub_free(w.hub);
	loop_free(w.loop);
	return 0;
}
