/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several local clients on one connection to the agent.
 *
 *   client 1 ─ id 5 ─┐
 *   client 2 ─ id 5 ─┴─ relay ─ ids of ours ─ agent
 *
 * Clients are programs of the same user; the guest behind is hostile, and its messages have
 * been checked (client_stream.c) before they come here. Credit is between a client and the
 * guest: the relay passes it on and counts, so what waits here for a client that does not
 * read is bounded by the windows of its streams.
 */
#include "agent/client_int.h"
#include "agent/serve.h"

struct relay_stream {
	struct relay_client *c;
	uint32_t id; /* the client's */
	struct agent_stream *s;
};

struct relay_client {
	struct served conn;
	struct agent_relay *relay;
	struct relay_stream streams[CLIENT_STREAMS_MAX]; /* free where s is NULL */
};

struct agent_relay {
	struct loop *loop;
	struct agent *agent;
	struct relay_client *clients[AGENT_RELAY_CLIENTS_MAX];
	size_t n_clients;
};

static struct relay_client *client_of(struct served *s)
{
	return container_of(s, struct relay_client, conn);
}

/* An agent that is slow to take slows its clients. */
static bool may_read(const struct served *s)
{
	const struct relay_client *c = (const struct relay_client *)(const void *)s;

	return c->relay->agent->out.len < CLIENT_OUT_FULL;
}

/* ---- a client goes ------------------------------------------------------------------ */

static void client_free(struct relay_client *c)
{
	struct agent_relay *r = c->relay;

	for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++)
		if (c->streams[i].s)
			agent_stream_close(c->streams[i].s);
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i] == c)
			r->clients[i] = NULL;
	r->n_clients--;
	served_stop(&c->conn);
	free(c);
}

static void on_gone(struct served *s)
{
	client_free(client_of(s));
}

/* ---- towards the client ------------------------------------------------------------- */

/* A message of the guest's, checked; NULL: the agent is lost, and the relay with it soon. */
static void on_guest(struct agent_stream *s, const struct agent_message *m, void *arg)
{
	struct relay_stream *rs = arg;
	struct relay_client *c = rs->c;

	(void)s;
	if (!m) {
		rs->s = NULL;
		return;
	}
	served_queue(&c->conn, frames_write(&c->conn.out, rs->id, m->type, m->body, m->len));
	if (m->type >= AGENT_DONE)
		rs->s = NULL;
}

/* ---- from the client ---------------------------------------------------------------- */

static struct relay_stream *find(struct relay_client *c, uint32_t id)
{
	for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++)
		if (c->streams[i].s && c->streams[i].id == id)
			return &c->streams[i];
	return NULL;
}

static void begin(struct relay_client *c, const struct agent_message *m, const union agent_body *b)
{
	struct relay_stream *rs = c->streams;
	int r;

	while (rs < c->streams + CLIENT_STREAMS_MAX && rs->s)
		rs++;
	if (rs == c->streams + CLIENT_STREAMS_MAX) {
		served_refuse(&c->conn, m->id, AGENT_STAGE_LIMIT, EAGAIN,
			      "too many requests at a time");
		return;
	}
	*rs = (struct relay_stream){ .c = c, .id = m->id };
	r = client_stream_begin(c->relay->agent, m->type, m->body, m->len, b, 0, NULL, on_guest, rs,
				&rs->s);
	if (r < 0)
		served_refuse(&c->conn, m->id, r == -EAGAIN ? AGENT_STAGE_LIMIT : AGENT_STAGE_LOST,
			      -r, "the agent cannot be asked now");
}

/* Negative: this client breaks the rules. */
static int on_message(struct served *s, const struct agent_message *m)
{
	struct relay_client *c = client_of(s);
	struct relay_stream *rs = find(c, m->id);
	struct scratch lists = { 0 };
	union agent_body b;
	int r = message_read(m, &b, &lists);

	if (r == 0 && (!m->id || (rs && rules_is_request(m->type))))
		r = -EPROTO;
	else if (r == 0 && m->type == AGENT_SHUTDOWN)
		served_refuse(&c->conn, m->id, AGENT_STAGE_REQUEST, EPERM,
			      "the machine is not a client's to end");
	else if (r == 0 && rules_is_request(m->type))
		begin(c, m, &b);
	else if (r == 0 && rs)
		r = client_stream_pass(rs->s, m, &b);
	/* Else it is for what has ended meanwhile. */
	scratch_fini(&lists);
	return r;
}

static const struct served_ops ops = {
	.message = on_message,
	.gone = on_gone,
	.may_read = may_read,
};

/* ---- life --------------------------------------------------------------------------- */

static void on_drained(struct agent *a, void *arg)
{
	struct agent_relay *r = arg;

	(void)a;
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i])
			served_read_on(&r->clients[i]->conn);
}

int agent_relay_new(struct loop *l, struct agent *a, struct agent_relay **ret)
{
	struct agent_relay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->loop = l;
	r->agent = a;
	a->drained = on_drained;
	a->drained_arg = r;
	*ret = r;
	return 0;
}

void agent_relay_free(struct agent_relay *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i])
			client_free(r->clients[i]);
	r->agent->drained = NULL;
	free(r);
}

int agent_relay_add(struct agent_relay *r, int fd)
{
	const struct agent_hello *hello = agent_hello(r->agent);
	struct relay_client *c;
	size_t place = 0;
	int rc;

	if (!hello)
		return -ENOTCONN;
	while (place < AGENT_RELAY_CLIENTS_MAX && r->clients[place])
		place++;
	if (place == AGENT_RELAY_CLIENTS_MAX)
		return -EAGAIN;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->relay = r;
	rc = served_start(&c->conn, r->loop, fd, RELAY_OUT_MAX, hello, &ops);
	if (rc < 0) {
		free(c);
		return rc;
	}
	r->clients[place] = c;
	r->n_clients++;
	return 0;
}

size_t agent_relay_clients(const struct agent_relay *r)
{
	return r->n_clients;
}
