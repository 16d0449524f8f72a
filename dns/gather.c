/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waits for cache entries.
 *
 * A gather collects one or two entries of a name. It ends when all are there, or
 * DNS_FAMILY_WAIT_NS after the first addresses: servers that never answer AAAA
 * are common. Servers that say "no such name" to AAAA only are as well (RFC 4074
 * 4.2), so that word of one family does not end the wait for the other.
 *
 * Those who wait are called one at a time and may do anything: ask, cancel, end
 * others. Whatever is walked meanwhile is held.
 */
#include "dns/dns_int.h"

void dns_set_wake(struct dns *d)
{
	uint64_t when = 0;

	if (!list_empty(&d->grace))
		when = container_of(d->grace.next, struct dns_gather, grace)->grace_at;
	if (!list_empty(&d->cache.slow)) {
		uint64_t at = container_of(d->cache.slow.next, struct dns_entry, slow)->slow_at;

		when = when ? MIN(when, at) : at;
	}
	d->up_ops->wake(d->up, when);
}

static void gather_stop_waiting(struct dns_gather *g)
{
	for (unsigned i = 0; i < g->n_wait; i++)
		list_del(&g->wait[i].link);
	g->pending = 0;
	if (!list_empty(&g->grace)) {
		list_del(&g->grace);
		dns_set_wake(g->d);
	}
}

static void gather_finish(struct dns_gather *g)
{
	gather_stop_waiting(g);
	g->done(g);
}

/* Done, or something worth waiting a little longer for. */
static void gather_check(struct dns_gather *g)
{
	bool addrs = false;

	for (unsigned i = 0; i < g->n_wait; i++) {
		const struct dns_entry *e = g->wait[i].entry;

		if (!e || e->pending)
			continue;
		addrs |= e->rr.found == DNS_FOUND_ADDRS;
	}
	if (g->pending == 0) {
		gather_finish(g);
	} else if (addrs && list_empty(&g->grace)) {
		g->grace_at = dns_now(g->d) + DNS_FAMILY_WAIT_NS;
		list_add_tail(&g->d->grace, &g->grace);
		dns_set_wake(g->d);
	}
}

void dns_gather_start(struct dns *d, struct dns_gather *g, const struct name *n,
		      const uint16_t *types, unsigned n_types, void (*done)(struct dns_gather *g))
{
	bool exact = g->exact;

	assert(n_types <= ARRAY_SIZE(g->wait));
	*g = (struct dns_gather){ .d = d, .n_wait = n_types, .exact = exact, .done = done };
	list_init(&g->grace);
	for (unsigned i = 0; i < n_types; i++) {
		struct dns_wait *w = &g->wait[i];

		list_init(&w->link);
		w->gather = g;
		w->entry = dns_entry_get(d, n, types[i], exact);
		if (!w->entry)
			continue;
		/* Upstream has been slow with this one already. */
		if (w->entry->pending && w->entry->old && list_empty(&w->entry->slow)) {
			w->entry = w->entry->old;
			w->entry->stale = true;
		}
		w->entry->refs++;
		if (w->entry->pending) {
			list_add_tail(&w->entry->waiters, &w->link);
			g->pending++;
		}
	}
	gather_check(g);
}

void dns_gather_end(struct dns_gather *g)
{
	gather_stop_waiting(g);
	for (unsigned i = 0; i < g->n_wait; i++) {
		struct dns_entry *e = g->wait[i].entry;

		if (!e)
			continue;
		g->wait[i].entry = NULL;
		e->refs--;
		dns_entry_release(g->d, e);
	}
}

/* Upstream takes too long: all who wait for this entry get what it replaces. */
static void serve_old(struct dns *d, struct dns_entry *e)
{
	struct dns_entry *old = e->old;

	list_del(&e->slow);
	old->stale = true;
	/* The waiters' callbacks may do anything: hold both. */
	e->refs++;
	old->refs++;
	while (!list_empty(&e->waiters)) {
		struct dns_wait *w = container_of(e->waiters.next, struct dns_wait, link);

		list_del(&w->link);
		w->entry = old;
		e->refs--;
		old->refs++;
		w->gather->pending--;
		gather_check(w->gather);
	}
	e->refs--;
	old->refs--;
	dns_entry_release(d, e);
	dns_entry_release(d, old);
}

void dns_tick(struct dns *d)
{
	uint64_t now = dns_now(d);

	while (!list_empty(&d->grace)) {
		struct dns_gather *g = container_of(d->grace.next, struct dns_gather, grace);

		if (g->grace_at > now)
			break;
		gather_finish(g);
	}
	while (!list_empty(&d->cache.slow)) {
		struct dns_entry *e = container_of(d->cache.slow.next, struct dns_entry, slow);

		if (e->slow_at > now)
			break;
		serve_old(d, e);
	}
	dns_set_wake(d);
}

bool dns_gather_stale(const struct dns_gather *g)
{
	for (unsigned i = 0; i < g->n_wait; i++) {
		const struct dns_entry *e = g->wait[i].entry;

		if (e && !e->pending && e->stale)
			return true;
	}
	return false;
}

void dns_upstream_done(struct dns *d, struct dns_ask *a, int error, const uint8_t *msg, size_t len)
{
	struct dns_entry *e = container_of(a, struct dns_entry, ask);

	assert(e->pending && d->cache.asks);
	d->cache.asks--;
	if (error)
		e->rr = (struct dns_rrset){ .found = DNS_FOUND_FAILED, .error = error };
	else
		dns_answer_read(msg, len, &a->name, a->type, &e->rr);
	dns_entry_answered(d, e);
	/* The waiters' callbacks may ask, cancel and evict: hold this one, take one at a time. */
	e->refs++;
	dns_cache_trim(d);
	while (!list_empty(&e->waiters)) {
		struct dns_wait *w = container_of(e->waiters.next, struct dns_wait, link);

		list_del(&w->link);
		w->gather->pending--;
		gather_check(w->gather);
	}
	e->refs--;
	dns_entry_release(d, e);
	dns_set_wake(d);
}
