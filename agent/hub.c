/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several local clients at one command.
 *
 *   command ─► output ─┬─ late ─► client 1        client 1 ─► typed ─┬─► input ─► command
 *                      └─ late ─► client 2        client 2 ─► typed ─┘
 *
 * Output goes to a client as far as its credit reaches; the rest waits in `late`. More than
 * LATE_FULL there, and the hub is full: its user stops reading the command. Then that client has
 * AGENT_HUB_PATIENCE to come below half of it, or it is dropped: nobody who went away from
 * a terminal holds the command up for longer.
 *
 * Input costs credit, which comes back when the command took it, so of each
 * client a window waits at most.
 */
#include "agent/serve.h"

#include <signal.h>

/* What a client may be behind before the command waits; above it, what is on its way already. */
#define LATE_FULL ((size_t)512 << 10)
#define LATE_MAX (2 * LATE_FULL)
/* Of one message: a window always has room for some. */
#define PIECE_MAX 16384
/* A window, the end, and answers to what it may not ask. */
#define OUT_MAX (AGENT_WINDOW + (64 << 10))
#define CREDIT_PORTION (AGENT_WINDOW / 4)

/* In front of each piece that waits. */
struct late_head {
	uint32_t len;
	uint16_t type;
};

struct hub_client {
	struct served conn;
	struct agent_hub *hub;
	struct rules rules;
	uint32_t id; /* of its ATTACH; 0: none yet */
	struct buf late, typed;
	size_t taken; /* of typed, not yet told as credit */
	bool over;    /* it has been, or will be, told the end */
	struct loop_timer patience;
};

struct agent_hub {
	struct loop *loop;
	struct agent_hub_events ev;
	void *arg;
	struct hub_client *clients[AGENT_HUB_CLIENTS_MAX];
	size_t n_clients;
	bool full;  /* room() is owed */
	bool ended; /* nobody comes any more */
	struct agent_exited end;
	struct loop_task tell_room, tell_drained;
};

static struct hub_client *client_of(struct served *s)
{
	return container_of(s, struct hub_client, conn);
}

static void client_free(struct hub_client *c)
{
	struct agent_hub *h = c->hub;

	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i] == c)
			h->clients[i] = NULL;
	h->n_clients--;
	loop_timer_del(h->loop, &c->patience);
	served_stop(&c->conn);
	buf_fini(&c->late);
	buf_fini_wiped(&c->typed);
	free(c);
	if (h->full)
		loop_task_queue(h->loop, &h->tell_room);
	if (h->ended && !h->n_clients)
		loop_task_queue(h->loop, &h->tell_drained);
}

static void on_gone(struct served *s)
{
	client_free(client_of(s));
}

/* ---- output ------------------------------------------------------------------------- */

/* Accounts for a message to it and appends it. */
static void tell(struct hub_client *c, uint16_t type, const void *from)
{
	union agent_body b = { 0 };
	struct agent_message m = { .id = c->id, .type = type };
	int r;

	if (type == AGENT_CREDIT)
		b.credit = *(const struct agent_credit *)from;
	r = rules_from_guest(&c->rules, &m, &b);
	if (r == 0)
		r = frames_write_message(&c->conn.out, c->id, type, from);
	served_queue(&c->conn, r);
}

/* As much of what waits as its credit allows; then, perhaps, the end. */
static void send_late(struct hub_client *c)
{
	int r = 0;

	while (r == 0 && c->late.len) {
		struct agent_message m = { .id = c->id };
		struct late_head head;

		memcpy(&head, buf_at(&c->late), sizeof(head));
		if (head.len > c->rules.guest_may)
			break;
		m.type = head.type;
		m.body = buf_at(&c->late) + sizeof(head);
		m.len = head.len;
		r = rules_from_guest(&c->rules, &m, NULL);
		if (r == 0)
			r = frames_write(&c->conn.out, c->id, m.type, m.body, m.len);
		buf_consume(&c->late, sizeof(head) + head.len);
	}
	served_queue(&c->conn, r);
	if (c->late.len <= LATE_FULL / 2 && !c->hub->ended && !c->over)
		loop_timer_del(c->hub->loop, &c->patience);
	if (c->hub->full)
		loop_task_queue(c->hub->loop, &c->hub->tell_room);
	if (c->hub->ended && !c->late.len && !c->over) {
		c->over = true;
		tell(c, AGENT_EXITED, &c->hub->end);
	}
}

static void await(struct hub_client *c)
{
	if (!loop_timer_armed(&c->patience))
		loop_timer_set(c->hub->loop, &c->patience,
			       loop_now_update(c->hub->loop) + AGENT_HUB_PATIENCE);
}

/* Told so; its socket takes that in when it reads again. */
static void drop(struct hub_client *c)
{
	struct agent_failed f = { AGENT_STAGE_LIMIT, 0,
				  "too slow for what the command writes: dropped" };

	c->over = true;
	buf_reset(&c->late);
	tell(c, AGENT_FAILED, &f);
	await(c);
	if (c->hub->full)
		loop_task_queue(c->hub->loop, &c->hub->tell_room);
}

static void on_patience(struct loop_timer *t)
{
	struct hub_client *c = container_of(t, struct hub_client, patience);

	if (c->over || c->hub->ended || !c->id)
		client_free(c);
	else
		drop(c);
}

static void put(struct hub_client *c, enum agent_type type, const uint8_t *p, size_t n)
{
	while (n && !c->over) {
		struct late_head head = { (uint32_t)MIN(n, (size_t)PIECE_MAX), (uint16_t)type };

		if (c->late.len + sizeof(head) + head.len > LATE_MAX ||
		    buf_append(&c->late, &head, sizeof(head)) < 0 ||
		    buf_append(&c->late, p, head.len) < 0) {
			drop(c);
			return;
		}
		p += head.len;
		n -= head.len;
	}
	if (!c->over)
		send_late(c);
	if (!c->over && c->late.len > LATE_FULL) {
		c->hub->full = true;
		await(c);
	}
}

void agent_hub_output(struct agent_hub *h, enum agent_type type, const uint8_t *p, size_t n)
{
	assert(type == AGENT_OUTPUT || type == AGENT_ERRORS);
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i] && h->clients[i]->id)
			put(h->clients[i], type, p, n);
}

bool agent_hub_full(const struct agent_hub *h)
{
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i] && h->clients[i]->late.len > LATE_FULL / 2)
			return h->full;
	return false;
}

static void on_room(struct loop_task *t)
{
	struct agent_hub *h = container_of(t, struct agent_hub, tell_room);

	if (!h->full || agent_hub_full(h))
		return;
	h->full = false;
	if (h->ev.room)
		h->ev.room(h->arg);
}

/* ---- input -------------------------------------------------------------------------- */

static void pump(struct hub_client *c)
{
	struct agent_hub *h = c->hub;
	size_t n = c->typed.len && h->ev.input ? h->ev.input(buf_at(&c->typed), c->typed.len, h->arg)
					       : c->typed.len;
	struct agent_credit credit;

	buf_consume(&c->typed, n);
	c->taken += n;
	if (c->taken < CREDIT_PORTION || c->over)
		return;
	credit.bytes = (uint32_t)c->taken;
	c->taken = 0;
	tell(c, AGENT_CREDIT, &credit);
}

void agent_hub_pump(struct agent_hub *h)
{
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i] && h->clients[i]->typed.len)
			pump(h->clients[i]);
}

/* ---- what clients say --------------------------------------------------------------- */

static bool is_size(uint32_t rows, uint32_t cols)
{
	return rows <= UINT16_MAX && cols <= UINT16_MAX;
}

static void attach(struct hub_client *c, const struct agent_message *m, const union agent_body *b)
{
	struct agent_hub *h = c->hub;
	struct agent_started started = { 0 };

	if (m->type != AGENT_ATTACH || c->id) {
		served_refuse(&c->conn, m->id, AGENT_STAGE_UNKNOWN, ENOSYS,
			      "nothing but to attach, once");
		return;
	}
	if (!is_size(b->attach.rows, b->attach.cols)) {
		served_refuse(&c->conn, m->id, AGENT_STAGE_REQUEST, EINVAL,
			      "no terminal is as large as that");
		return;
	}
	if (b->attach.flags & AGENT_ATTACH_INPUT && !h->ev.input) {
		served_refuse(&c->conn, m->id, AGENT_STAGE_REQUEST, EPIPE,
			      "the command has no input that is open");
		return;
	}
	/* Who comes at the end has as long to leave as those who were there. */
	if (!h->ended)
		loop_timer_del(h->loop, &c->patience);
	c->id = m->id;
	served_queue(&c->conn, rules_begin(&c->rules, m->type, b));
	tell(c, AGENT_STARTED, &started);
	/* Twice, so that there is a change: what drew a screen before draws it again. */
	if (b->attach.rows && b->attach.cols && h->ev.resize) {
		h->ev.resize(b->attach.rows, b->attach.cols == 1 ? 2 : b->attach.cols - 1, h->arg);
		h->ev.resize(b->attach.rows, b->attach.cols, h->arg);
	}
	if (h->ended)
		send_late(c);
}

/* Whether the kernel knows such a size, or signal. */
static bool is_known(const struct agent_message *m, const union agent_body *b)
{
	if (m->type == AGENT_RESIZE)
		return is_size(b->resize.rows, b->resize.cols);
	return m->type != AGENT_SIGNAL || (b->signal.number >= 1 && b->signal.number < _NSIG);
}

static int in_stream(struct hub_client *c, const struct agent_message *m, const union agent_body *b)
{
	struct agent_hub *h = c->hub;
	int r = c->over ? 0 : rules_from_host(&c->rules, m, b);

	if (r < 0 || c->over)
		return r;
	if (!is_known(m, b))
		return -EPROTO;
	if (m->type == AGENT_INPUT) {
		r = buf_append(&c->typed, m->body, m->len);
		pump(c);
	} else if (m->type == AGENT_CREDIT) {
		send_late(c);
	} else if (m->type == AGENT_RESIZE && h->ev.resize) {
		h->ev.resize(b->resize.rows, b->resize.cols, h->arg);
	} else if (m->type == AGENT_SIGNAL && h->ev.signal) {
		h->ev.signal((int)b->signal.number, h->arg);
	} else if (m->type == AGENT_CLOSE) {
		r = -ECONNRESET;
	}
	return r;
}

static int on_message(struct served *s, const struct agent_message *m)
{
	struct hub_client *c = client_of(s);
	struct scratch lists = { 0 };
	union agent_body b;
	int r = message_read(m, &b, &lists);

	if (r == 0 && !m->id)
		r = -EPROTO;
	else if (r == 0 && rules_is_request(m->type))
		attach(c, m, &b);
	else if (r == 0 && m->id == c->id)
		r = in_stream(c, m, &b);
	scratch_fini(&lists);
	return r;
}

static const struct served_ops ops = { .message = on_message, .gone = on_gone };

/* ---- life --------------------------------------------------------------------------- */

static void on_drained(struct loop_task *t)
{
	struct agent_hub *h = container_of(t, struct agent_hub, tell_drained);

	if (h->ev.drained)
		h->ev.drained(h->arg);
}

int agent_hub_new(struct loop *l, const struct agent_hub_events *ev, void *arg, struct agent_hub **ret)
{
	struct agent_hub *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->loop = l;
	h->ev = *ev;
	h->arg = arg;
	h->tell_room.cb = on_room;
	h->tell_drained.cb = on_drained;
	*ret = h;
	return 0;
}

void agent_hub_free(struct agent_hub *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i])
			client_free(h->clients[i]);
	loop_task_cancel(h->loop, &h->tell_room);
	loop_task_cancel(h->loop, &h->tell_drained);
	free(h);
}

int agent_hub_add(struct agent_hub *h, int fd)
{
	static const struct agent_hello hello = { .protocol = AGENT_PROTOCOL };
	struct hub_client *c;
	size_t place = 0;
	int r;

	if (h->ended)
		return -EPIPE;
	while (place < AGENT_HUB_CLIENTS_MAX && h->clients[place])
		place++;
	if (place == AGENT_HUB_CLIENTS_MAX)
		return -EAGAIN;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->hub = h;
	c->late = BUF_INIT(LATE_MAX);
	c->typed = BUF_INIT(AGENT_WINDOW);
	c->patience.cb = on_patience;
	r = served_start(&c->conn, h->loop, fd, OUT_MAX, &hello, &ops);
	if (r < 0) {
		free(c);
		return r;
	}
	h->clients[place] = c;
	h->n_clients++;
	/* Who connects and says nothing is not kept. */
	await(c);
	return 0;
}

void agent_hub_end(struct agent_hub *h, const struct agent_exited *e)
{
	if (h->ended)
		return;
	h->ended = true;
	h->end = *e;
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		if (h->clients[i]) {
			if (h->clients[i]->id && !h->clients[i]->over)
				send_late(h->clients[i]);
			loop_timer_del(h->loop, &h->clients[i]->patience);
			await(h->clients[i]);
		}
	if (!h->n_clients)
		loop_task_queue(h->loop, &h->tell_drained);
}

size_t agent_hub_clients(const struct agent_hub *h)
{
	size_t n = 0;

	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++)
		n += h->clients[i] && h->clients[i]->id;
	return n;
}
