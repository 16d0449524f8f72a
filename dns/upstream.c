/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge to the network: whom a question is put to, and when to another.
 *
 *	ask -> the first server by health (health.c)
 *	    -> answered: that is it
 *	    -> silent for a sixth of the time-out: the next is asked beside it,
 *	       and the first answer wins
 *	    -> SERVFAIL, REFUSED, NOTIMP, cannot be reached, timed out: the next at once
 *	    -> every server was asked once: what the first said, or why none could
 *
 * A server's own failure is not final, as in glibc and dnsmasq: a forwarder whose
 * uplink is gone says SERVFAIL to everything, and one that does not serve us says
 * REFUSED. "No such name" is an answer and final. A name is therefore only as
 * validated as the least of the configured servers makes it.
 *
 * Replacing the servers (ups_set): those in both lists keep their health and what
 * they were asked, the others end what they were asked while the new ones are
 * asked the same, so that no question waits for a network that is gone.
 *
 * Limits: DNS_MAX_ASKS questions (cache.c), DNS_MAX_TRIES of them at servers; a
 * question that was answered by one server may still be under way at another, for
 * at most the time-out.
 */
#include "dns/upstream.h"

/* The share of the time-out after which another server is asked as well. */
#define PATIENCE_SHARE 6

struct ups {
	struct dns *d;
	struct loop *loop;
	uint64_t patience_ns;
	struct ups_server servers[DNS_MAX_UPSTREAMS];
	struct ups_server *order[DNS_MAX_UPSTREAMS]; /* as configured */
	size_t n_order;
	size_t n_tries;
	struct loop_timer wake;
	struct loop_task task; /* decides what follows, outside of c-ares' callbacks */
	struct list ready;     /* struct ups_ask: something ended */
	struct list waiting;   /* struct ups_ask: the others */
};

/* One question, from ask to done. */
struct ups_ask {
	struct list link; /* in ups.ready or ups.waiting */
	struct list tries;
	struct ups *u;
	struct dns_ask *a;
	struct loop_timer patience;
	uint32_t tried;		    /* by place in ups.servers */
	struct ups_server *no_edns; /* took our OPT for an error: ask again without */
	bool final;		    /* msg is the answer */
	bool timed_out;
	uint8_t *msg; /* the answer, or the first failure that a server answered with */
	size_t len;
};

/* ---- whom to ask ---------------------------------------------------------------- */

static uint32_t bit_of(const struct ups *u, const struct ups_server *s)
{
	return UINT32_C(1) << (s - u->servers);
}

static size_t healths(const struct ups *u, const struct dns_health *ret[static DNS_MAX_UPSTREAMS])
{
	for (size_t i = 0; i < u->n_order; i++)
		ret[i] = &u->order[i]->health;
	return u->n_order;
}

/* The next server for this question, NULL when all were asked. */
static struct ups_server *next_server(const struct ups_ask *q)
{
	const struct dns_health *h[DNS_MAX_UPSTREAMS];
	const struct ups *u = q->u;
	size_t n = healths(u, h);
	uint32_t tried = 0;
	int i;

	for (size_t k = 0; k < n; k++)
		if (q->tried & bit_of(u, u->order[k]))
			tried |= UINT32_C(1) << k;
	i = dns_health_next(h, n, tried);
	return i < 0 ? NULL : u->order[i];
}

/* False: too many are under way. */
static bool try_server(struct ups *u, struct ups_ask *q, const struct dns_ask *a,
		       struct ups_server *s, bool edns)
{
	struct ups_try *t = u->n_tries < DNS_MAX_TRIES ? calloc(1, sizeof(*t)) : NULL;

	if (q)
		q->tried |= bit_of(u, s);
	if (!t)
		return false;
	u->n_tries++;
	t->q = q;
	t->server = s;
	t->edns = edns;
	t->sent = loop_now_update(u->loop);
	list_init(&t->link);
	if (q)
		list_add_tail(&q->tries, &t->link);
	dns_server_ask(t, &a->name, a->type);
	return true;
}

static void be_patient(struct ups_ask *q)
{
	if (next_server(q))
		loop_timer_set(q->u->loop, &q->patience, time_mono_ns() + q->u->patience_ns);
	else
		loop_timer_del(q->u->loop, &q->patience);
}

/* Asks whoever was not asked yet; false: nobody is left. */
static bool try_next(struct ups_ask *q)
{
	struct ups_server *s;

	while ((s = next_server(q))) {
		if (!try_server(q->u, q, q->a, s, true))
			continue;
		be_patient(q);
		return true;
	}
	return false;
}

static void on_patience(struct loop_timer *t)
{
	struct ups_ask *q = container_of(t, struct ups_ask, patience);

	/* Nobody left: those that were asked will answer or time out. */
	(void)try_next(q);
}

/* A server that failed is tried again beside a question for which others do the work. */
static void probe(struct ups *u, const struct dns_ask *a, uint32_t tried)
{
	const struct dns_health *h[DNS_MAX_UPSTREAMS];
	size_t n = healths(u, h);
	int i = dns_health_probe(h, n, loop_now(u->loop));

	if (i < 0 || tried & bit_of(u, u->order[i]))
		return;
	if (try_server(u, NULL, a, u->order[i], true))
		u->order[i]->health.probing = true;
}

/* ---- what came of it -------------------------------------------------------------- */

/* Silence is a server's fault unless it has answered others since. */
static void silent(const struct ups_try *t, uint64_t now)
{
	if (t->server->answered_at <= t->sent)
		dns_health_failed(&t->server->health, t->sent, now);
}

static void ask_free(struct ups_ask *q)
{
	/*
	 * Nobody waits for those that were asked as well. One that another has overtaken
	 * by that much comes after it from now on, not only when its time is up.
	 */
	list_for_each_safe (it, next, &q->tries) {
		struct ups_try *t = container_of(it, struct ups_try, link);
		uint64_t now = loop_now(q->u->loop);

		list_del(&t->link);
		t->q = NULL;
		if (q->final && now >= t->sent + q->u->patience_ns)
			silent(t, now);
	}
	loop_timer_del(q->u->loop, &q->patience);
	list_del(&q->link);
	free(q->msg);
	free(q);
}

static void finish(struct ups_ask *q)
{
	int error = q->msg ? 0 : q->timed_out ? -ETIMEDOUT : -EIO;
	struct dns *d = q->u->d;
	struct dns_ask *a = q->a;
	uint8_t *msg = q->msg;
	size_t len = q->len;

	q->msg = NULL;
	ask_free(q);
	dns_upstream_done(d, a, error, msg, len);
	free(msg);
}

static void proceed(struct ups_ask *q)
{
	struct ups_server *again = q->no_edns;

	q->no_edns = NULL;
	if (q->final) {
		finish(q);
	} else if (again && again->current && try_server(q->u, q, q->a, again, false)) {
		be_patient(q);
	} else if (!try_next(q) && list_empty(&q->tries)) {
		finish(q);
	}
}

static void decide(struct loop_task *t)
{
	struct ups *u = container_of(t, struct ups, task);

	while (!list_empty(&u->ready)) {
		struct ups_ask *q = container_of(u->ready.next, struct ups_ask, link);

		list_del(&q->link);
		list_add_tail(&u->waiting, &q->link);
		proceed(q);
	}
}

static void judge_health(const struct ups_try *t, int status)
{
	struct ups_server *s = t->server;
	uint64_t now = loop_now_update(s->loop);

	if (status == ARES_SUCCESS) {
		s->answered_at = now;
		dns_health_answered(&s->health);
	} else if (status == ARES_ECANCELLED || status == ARES_EDESTRUCTION) {
		s->health.probing = false;
	} else {
		s->health.probing = false;
		silent(t, now);
	}
}

static void keep(struct ups_ask *q, const uint8_t *msg, size_t len)
{
	uint8_t *copy = malloc(len);

	if (!copy)
		return;
	memcpy(copy, msg, len);
	free(q->msg);
	q->msg = copy;
	q->len = len;
}

static void answered(struct ups_ask *q, const struct ups_try *t, const uint8_t *msg, size_t len)
{
	unsigned rcode = len >= DNS_HEADER_LEN ? msg[3] & DNS_FLAG_RCODE : DNS_RCODE_SERVFAIL;

	if (rcode == DNS_RCODE_NOERROR || rcode == DNS_RCODE_NXDOMAIN) {
		keep(q, msg, len);
		q->final = true;
	} else if (rcode == DNS_RCODE_FORMERR && t->edns) {
		/* A server from before 1999. */
		q->no_edns = t->server;
	} else if (!q->msg && len) {
		keep(q, msg, len);
	}
}

/* c-ares calls this while it walks its own tables: only note it, decide in a task. */
void dns_try_ended(struct ups_try *t, int status, const uint8_t *msg, size_t len)
{
	struct ups_server *s = t->server;
	struct ups *u = s->u;
	struct ups_ask *q = t->q;

	u->n_tries--;
	if (!s->closing)
		judge_health(t, status);
	list_del(&t->link);
	if (q && !q->final && !s->closing) {
		if (status == ARES_SUCCESS)
			answered(q, t, msg, len);
		q->timed_out |= status == ARES_ETIMEOUT;
		list_del(&q->link);
		list_add_tail(&u->ready, &q->link);
		loop_task_queue(u->loop, &u->task);
	}
	free(t);
}

/* ---- struct dns_upstream ------------------------------------------------------------ */

static int ups_ask(void *up, struct dns_ask *a)
{
	struct ups *u = up;
	struct ups_ask *q;

	if (!u->n_order)
		return -EIO;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOBUFS;
	list_init(&q->link);
	list_init(&q->tries);
	list_add_tail(&u->waiting, &q->link);
	q->u = u;
	q->a = a;
	q->patience.cb = on_patience;
	if (!try_next(q)) {
		ask_free(q);
		return -ENOBUFS;
	}
	probe(u, a, q->tried);
	return 0;
}

static uint64_t ups_now(void *up)
{
	return loop_now(((struct ups *)up)->loop);
}

static void on_wake(struct loop_timer *t)
{
	dns_tick(container_of(t, struct ups, wake)->d);
}

static void ups_wake(void *up, uint64_t when)
{
	struct ups *u = up;

	if (when)
		loop_timer_set(u->loop, &u->wake, when);
	else
		loop_timer_del(u->loop, &u->wake);
}

static void asks_free(struct list *l)
{
	list_for_each_safe (it, next, l)
		ask_free(container_of(it, struct ups_ask, link));
}

static void ups_free(void *up)
{
	struct ups *u = up;

	for (size_t i = 0; i < ARRAY_SIZE(u->servers); i++)
		dns_server_fini(&u->servers[i]);
	asks_free(&u->ready);
	asks_free(&u->waiting);
	loop_task_cancel(u->loop, &u->task);
	loop_timer_del(u->loop, &u->wake);
	ares_library_cleanup();
	free(u);
}

/* ---- the list of servers -------------------------------------------------------------- */

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && ip_equal(&a->addr, &b->addr);
}

static struct ups_server *server_of(struct ups *u, const struct endpoint *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(u->servers); i++)
		if (endpoint_equal(&u->servers[i].addr, e))
			return &u->servers[i];
	return NULL;
}

/* A channel that is free, else the one of those no longer wanted with the least to end. */
static struct ups_server *spare_server(struct ups *u)
{
	struct ups_server *best = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(u->servers); i++) {
		struct ups_server *s = &u->servers[i];

		if (!s->current && (!best || s->in_flight < best->in_flight))
			best = s;
	}
	return best;
}

/* NULL: out of memory. */
static struct ups_server *server_new(struct ups *u, const struct endpoint *e)
{
	struct ups_server *s = spare_server(u);
	uint32_t bit = bit_of(u, s);

	if (dns_server_assign(s, e) < 0)
		return NULL;
	/* Nobody has asked this one. */
	list_for_each (it, &u->ready)
		container_of(it, struct ups_ask, link)->tried &= ~bit;
	list_for_each (it, &u->waiting)
		container_of(it, struct ups_ask, link)->tried &= ~bit;
	s->current = true;
	return s;
}

static bool in_order(const struct ups *u, const struct ups_server *s)
{
	for (size_t i = 0; i < u->n_order; i++)
		if (u->order[i] == s)
			return true;
	return false;
}

static bool asked_current(const struct ups_ask *q)
{
	list_for_each (it, &q->tries)
		if (container_of(it, struct ups_try, link)->server->current)
			return true;
	return false;
}

static int ups_set(void *up, const struct endpoint *e, size_t n)
{
	struct ups *u = up;
	int r = 0;

	/* First those that stay, or a new one could take the channel of one of them. */
	for (size_t i = 0; i < ARRAY_SIZE(u->servers); i++)
		u->servers[i].current = false;
	for (size_t i = 0; i < n; i++) {
		struct ups_server *s = server_of(u, &e[i]);

		if (s)
			s->current = true;
	}
	u->n_order = 0;
	for (size_t i = 0; i < n; i++) {
		struct ups_server *s = server_of(u, &e[i]);

		if (!s)
			s = server_new(u, &e[i]);
		if (!s)
			r = -ENOMEM;
		else if (!in_order(u, s)) /* one may be named twice */
			u->order[u->n_order++] = s;
	}
	list_for_each (it, &u->waiting) {
		struct ups_ask *q = container_of(it, struct ups_ask, link);

		if (!asked_current(q))
			(void)try_next(q);
	}
	return r;
}

const struct dns_upstream dns_cares = {
	.ask = ups_ask,
	.now = ups_now,
	.wake = ups_wake,
	.free = ups_free,
	.set = ups_set,
};

int dns_cares_new(struct loop *loop, struct dns *d, const struct dns_config *cfg, void **ret_up)
{
	struct ups *u;
	int r = 0;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	u = calloc(1, sizeof(*u));
	if (!u) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	u->d = d;
	u->loop = loop;
	u->patience_ns = cfg->timeout_ms * NS_PER_MS / PATIENCE_SHARE;
	u->wake.cb = on_wake;
	u->task.cb = decide;
	list_init(&u->ready);
	list_init(&u->waiting);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(u->servers); i++)
		r = dns_server_init(&u->servers[i], u, loop, cfg->timeout_ms);
	if (r == 0)
		r = ups_set(u, cfg->upstreams, cfg->n_upstreams);
	if (r < 0) {
		ups_free(u);
		return r;
	}
	*ret_up = u;
	return 0;
}
