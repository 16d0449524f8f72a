/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries that repeat one on the record: found, counted, written.
 *
 *	own line written ──► quiet ──repeated──► counted ──due──► written, quiet
 *
 * Hostile: the guest chooses name, type, server and rate, its own name servers
 * the answers. All are in the keyed hash, so no chain grows long.
 *
 * A denial id names one refusal to the guest. Those that are counted together
 * have one together, so that what the guest was told is on the record.
 */
#include "weir/gateway_int.h"

struct repeat {
	struct hmap_node node;
	struct list in; /* quiet or counted */
	struct dns_said said;
	uint64_t count;
	uint64_t written_ns, due_ns;
	struct dns_question q;
	char denial[DENIAL_ID_LEN];
	char detail[DNS_REPEAT_DETAIL];
	struct ip_addr answers[DNS_REPEAT_ANSWERS], given;
};

static uint64_t hash_said(const struct dns_repeats *all, const struct dns_said *s)
{
	struct {
		uint16_t type;
		uint8_t transport, result, family, n_answers, name_len;
		uint8_t server[16];
		uint8_t rest[DNS_REPEAT_ANSWERS * 16 + NAME_MAX_LEN];
	} k = {
		.type = s->q->type,
		.transport = (uint8_t)s->q->transport,
		.result = (uint8_t)s->result,
		.family = s->q->server.addr.family,
		.n_answers = (uint8_t)s->n_answers,
		.name_len = s->q->name.len,
	};
	uint8_t *at = k.rest;

	memcpy(k.server, s->q->server.addr.b, sizeof(k.server));
	memcpy(at, s->q->name.s, s->q->name.len);
	at += s->q->name.len;
	for (size_t i = 0; i < s->n_answers; i++, at += 16)
		memcpy(at, s->answers[i].b, 16);
	return hash_bytes(&all->key, &k, (size_t)(at - (uint8_t *)&k));
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && str_eq(a, b));
}

static bool same_addresses(const struct ip_addr *a, const struct ip_addr *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!ip_equal(&a[i], &b[i]))
			return false;
	return true;
}

static bool same_ruling(const struct ruling *a, const struct ruling *b)
{
	return a->by.rule == b->by.rule && a->by.floor == b->by.floor && a->ruled == b->ruled &&
	       a->observed == b->observed && a->generation == b->generation;
}

/* Would the lines be the same, but for a denial id? */
static bool same(const struct dns_said *a, const struct dns_said *b)
{
	return a->q->type == b->q->type && a->q->transport == b->q->transport &&
	       a->result == b->result && a->denied == b->denied && a->own_denial == b->own_denial &&
	       a->n_answers == b->n_answers && !a->given == !b->given &&
	       name_equal(&a->q->name, &b->q->name) &&
	       ip_equal(&a->q->server.addr, &b->q->server.addr) &&
	       same_ruling(&a->ruling, &b->ruling) && same_text(a->detail, b->detail) &&
	       same_addresses(a->answers, b->answers, a->n_answers) &&
	       (!a->given || ip_equal(a->given, b->given));
}

/* Refusals for what was behind a name or for a budget each have an id that was told already. */
static bool may_repeat(const struct dns_said *s)
{
	return s->n_answers <= DNS_REPEAT_ANSWERS &&
	       (!s->detail || strlen(s->detail) < DNS_REPEAT_DETAIL) &&
	       (!s->denial || (s->result == DNS_DENIED && !s->detail));
}

static struct repeat *find(const struct dns_repeats *all, const struct dns_said *s, uint64_t hash)
{
	hmap_for_hash (it, &all->by_said, hash) {
		struct repeat *r = container_of(it, struct repeat, node);

		if (same(&r->said, s))
			return r;
	}
	return NULL;
}

/* That the query will be counted with, now that the second's lines are used up. */
static struct repeat *find_fresh(struct gateway *gw, const struct dns_said *s)
{
	struct dns_repeats *all = &gw->repeats;
	uint64_t now = loop_now(gw->loop);
	struct repeat *r;

	if (!may_repeat(s) || !line_allowance_used(&all->lines, now, DNS_EVENTS_PER_S))
		return NULL;
	r = find(all, s, hash_said(all, s));
	return r && now - r->written_ns <= DNS_REPEAT_FRESH ? r : NULL;
}

/* ---- writing ------------------------------------------------------------------- */

static void move(struct repeat *r, struct list *to)
{
	list_del(&r->in);
	list_add_tail(to, &r->in);
}

static void write_count(struct gateway *gw, struct repeat *r)
{
	gateway_dns_line(gw, &r->said, r->denial, r->count);
	r->count = 0;
	r->written_ns = loop_now(gw->loop);
	move(r, &gw->repeats.quiet);
}

static struct repeat *first_of(const struct list *l)
{
	return list_empty(l) ? NULL : container_of(l->next, struct repeat, in);
}

static void on_timer(struct loop_timer *t)
{
	struct gateway *gw = container_of(t, struct gateway, repeats.timer);
	uint64_t now = loop_now(gw->loop);
	struct repeat *r;

	for (unsigned i = 0; i < DNS_REPEAT_BATCH; i++) {
		r = first_of(&gw->repeats.counted);
		if (!r || r->due_ns > now)
			break;
		write_count(gw, r);
	}
	r = first_of(&gw->repeats.counted);
	/* Those that are overdue wait until the loop has looked at the link. */
	if (r)
		loop_timer_set(gw->loop, t, MAX(r->due_ns, now + 1));
}

void gateway_dns_repeats_flush(struct gateway *gw)
{
	struct repeat *r;

	while ((r = first_of(&gw->repeats.counted)))
		write_count(gw, r);
	loop_timer_del(gw->loop, &gw->repeats.timer);
}

/* ---- remembering --------------------------------------------------------------- */

static void drop(struct gateway *gw, struct repeat *r)
{
	if (r->count)
		write_count(gw, r);
	hmap_remove(&gw->repeats.by_said, &r->node);
	list_del(&r->in);
	pool_put(&gw->repeats.pool, r);
}

void gateway_dns_repeats_forget(struct gateway *gw)
{
	struct repeat *r;

	gateway_dns_repeats_flush(gw);
	while ((r = first_of(&gw->repeats.quiet)))
		drop(gw, r);
}

static struct repeat *get(struct gateway *gw)
{
	struct dns_repeats *all = &gw->repeats;
	struct repeat *r = pool_get(&all->pool), *old;

	if (r)
		return r;
	old = first_of(&all->quiet);
	if (!old)
		old = first_of(&all->counted);
	if (!old)
		return NULL; /* out of memory: every query gets its line */
	drop(gw, old);
	return pool_get(&all->pool);
}

static struct repeat *keep(struct gateway *gw, const struct dns_said *s, uint64_t hash)
{
	struct repeat *r = get(gw);

	if (!r)
		return NULL;
	r->said = *s;
	r->q = *s->q;
	r->said.q = &r->q;
	if (s->detail) {
		snprintf(r->detail, sizeof(r->detail), "%s", s->detail);
		r->said.detail = r->detail;
	}
	for (size_t i = 0; i < s->n_answers; i++)
		r->answers[i] = s->answers[i];
	r->said.answers = r->answers;
	if (s->given) {
		r->given = *s->given;
		r->said.given = &r->given;
	}
	hmap_insert(&gw->repeats.by_said, &r->node, hash);
	list_init(&r->in);
	return r;
}

void gateway_dns_remember(struct gateway *gw, const struct dns_said *s, const char *denial)
{
	struct repeat *r;
	uint64_t hash;

	if (!may_repeat(s))
		return;
	hash = hash_said(&gw->repeats, s);
	r = find(&gw->repeats, s, hash);
	/* What was counted until now was told the old id. */
	if (r && r->count)
		write_count(gw, r);
	if (!r)
		r = keep(gw, s, hash);
	if (!r)
		return;
	snprintf(r->denial, sizeof(r->denial), "%s", denial ? denial : "");
	r->written_ns = loop_now(gw->loop);
	move(r, &gw->repeats.quiet);
}

bool gateway_dns_counted(struct gateway *gw, const struct dns_said *s)
{
	struct dns_repeats *all = &gw->repeats;
	struct repeat *r = find_fresh(gw, s);

	if (!r || (s->denial && !str_eq(s->denial, r->denial))) {
		line_allowance_take(&all->lines);
		return false;
	}
	if (r->count++ == 0) {
		r->due_ns = loop_now(gw->loop) + DNS_REPEAT_WAIT;
		move(r, &all->counted);
		if (!loop_timer_armed(&all->timer))
			loop_timer_set(gw->loop, &all->timer, r->due_ns);
	}
	return true;
}

const char *gateway_dns_denial_again(struct gateway *gw, const struct dns_said *s)
{
	struct repeat *r = find_fresh(gw, s);

	return r ? r->denial : NULL;
}

int gateway_dns_repeats_start(struct gateway *gw)
{
	struct dns_repeats *all = &gw->repeats;

	hash_key_random(&all->key);
	pool_init(&all->pool, sizeof(struct repeat), DNS_REPEAT_KINDS);
	list_init(&all->quiet);
	list_init(&all->counted);
	all->timer.cb = on_timer;
	return hmap_init(&all->by_said, DNS_REPEAT_KINDS);
}
