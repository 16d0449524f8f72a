/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What upstream said, one entry per (name, type), and who waits for it.
 *
 * An entry is pending (one question is upstream, however many wait for it),
 * then answered until it expires: addresses for the TTL between
 * DNS_TTL_MIN_S and DNS_TTL_MAX_S, "no" for the SOA's time (RFC 2308), failures
 * for a second, two, four, eight while they last (RFC 9520). Entries keep the addresses as upstream gave them;
 * they are judged whenever they are used, so a changed policy counts at once.
 *
 * A gather collects one or two entries of a name. It ends when all are there, or
 * DNS_FAMILY_WAIT_NS after the first addresses: servers that never answer AAAA
 * are common. Servers that say "no such name" to AAAA only are as well (RFC 4074
 * 4.2), so that word of one family does not end the wait for the other.
 *
 * Serve-stale (RFC 8767, when configured): an expired answer is kept beside the
 * question that is to replace it. Upstream fails: the old answer is good for
 * another DNS_STALE_RETRY_S. Upstream takes longer than DNS_STALE_WAIT_NS: whoever
 * waits gets the old answer, and the new one is cached when it comes.
 *
 * An entry lives while it is in the table, pending, or referenced by a gather or
 * by the entry that replaces it.
 */
#include "dns/dns_int.h"

int dns_cache_init(struct dns *d)
{
	pool_init(&d->cache.pool, sizeof(struct dns_entry), DNS_CACHE_ENTRIES);
	return hmap_init(&d->cache.table, 64);
}

void dns_cache_fini(struct dns *d)
{
	list_for_each (it, &d->cache.lru)
		dns_rrset_fini(&container_of(it, struct dns_entry, lru)->rr);
	list_for_each (it, &d->cache.replaced)
		dns_rrset_fini(&container_of(it, struct dns_entry, lru)->rr);
	hmap_fini(&d->cache.table);
	pool_fini(&d->cache.pool);
}

static uint64_t name_hash(const struct dns *d, const struct name *n)
{
	return hash_bytes(&d->key, n->s, n->len);
}

/* Of one type of a name with this hash. */
static uint64_t key_of(uint64_t hash, uint16_t type)
{
	return hash ^ type * UINT64_C(0x9e3779b97f4a7c15);
}

static void entry_release(struct dns *d, struct dns_entry *e)
{
	if (e->in_table || e->pending || e->refs)
		return;
	assert(list_empty(&e->waiters) && !e->old);
	list_del(&e->lru);
	d->cache.data -= e->rr.data.len;
	dns_rrset_fini(&e->rr);
	pool_put(&d->cache.pool, e);
}

static void old_release(struct dns *d, struct dns_entry *e)
{
	struct dns_entry *old = e->old;

	if (!old)
		return;
	list_del(&e->slow);
	e->old = NULL;
	old->refs--;
	entry_release(d, old);
}

static void entry_forget(struct dns *d, struct dns_entry *e)
{
	hmap_remove(&d->cache.table, &e->node);
	list_del(&e->lru);
	e->in_table = false;
	entry_release(d, e);
}

/* Makes room by the least recently used entry that nobody is reading. False: none was found. */
static bool evict(struct dns *d)
{
	for (unsigned i = 0; i < DNS_EVICT_SCAN && !list_empty(&d->cache.lru); i++) {
		struct dns_entry *e = container_of(d->cache.lru.next, struct dns_entry, lru);

		if (!e->refs) {
			entry_forget(d, e);
			return true;
		}
		/* In use, hence not the least recently used. */
		list_del(&e->lru);
		list_add_tail(&d->cache.lru, &e->lru);
	}
	return false;
}

static bool is_negative(enum dns_found f)
{
	return f == DNS_FOUND_NODATA || f == DNS_FOUND_NXDOMAIN;
}

static bool stale_ok(const struct dns *d, const struct dns_entry *e)
{
	return d->stale_s && e->rr.found != DNS_FOUND_FAILED && dns_now(d) < e->stale_until;
}

static void entry_fresh(struct dns *d, struct dns_entry *e)
{
	uint32_t ttl = MIN(e->rr.ttl, (uint32_t)DNS_TTL_MAX_S);

	if (e->rr.found == DNS_FOUND_FAILED)
		ttl = DNS_FAILURE_S << e->fails;
	else if (is_negative(e->rr.found))
		ttl = MIN(e->rr.ttl, (uint32_t)DNS_NEGATIVE_MAX_S);
	e->rr.ttl = ttl;
	e->expires = dns_now(d) + MAX(ttl, (uint32_t)DNS_TTL_MIN_S) * NS_PER_S;
	if (e->rr.found != DNS_FOUND_FAILED)
		e->stale_until = e->expires + d->stale_s * NS_PER_S;
}

/* Upstream failed: what it said before stands for a while. */
static void entry_stays(struct dns *d, struct dns_entry *e)
{
	struct dns_rrset rr;

	if (dns_rrset_copy(&e->old->rr, &rr) < 0) {
		entry_fresh(d, e);
		return;
	}
	e->rr = rr;
	e->stale = true;
	e->stale_until = e->old->stale_until;
	e->expires = dns_now(d) + DNS_STALE_RETRY_S * NS_PER_S;
}

static void entry_answered(struct dns *d, struct dns_entry *e)
{
	e->asked = dns_now(d);
	if (e->rr.found == DNS_FOUND_FAILED && e->old && stale_ok(d, e->old))
		entry_stays(d, e);
	else
		entry_fresh(d, e);
	old_release(d, e);
	d->cache.data += e->rr.data.len;
	e->pending = false;
	list_add_tail(&d->cache.lru, &e->lru);
}

void dns_cache_forget_failures(struct dns *d)
{
	list_for_each_safe (it, next, &d->cache.lru) {
		struct dns_entry *e = container_of(it, struct dns_entry, lru);

		if (e->rr.found == DNS_FOUND_FAILED)
			entry_forget(d, e);
		else if (e->stale)
			e->expires = dns_now(d);
	}
}

uint32_t dns_entry_ttl(const struct dns *d, const struct dns_entry *e)
{
	uint64_t age = (dns_now(d) - e->asked) / NS_PER_S;

	if (e->stale)
		return DNS_STALE_TTL_S;
	return age < e->rr.ttl ? (uint32_t)(e->rr.ttl - age) : 0;
}

/* hash: the name's. */
static struct dns_entry *entry_find(struct dns *d, const struct name *n, uint16_t type, uint64_t hash)
{
	hmap_for_hash (it, &d->cache.table, key_of(hash, type)) {
		struct dns_entry *e = container_of(it, struct dns_entry, node);

		if (e->ask.type == type && name_equal(&e->ask.name, n))
			return e;
	}
	return NULL;
}

/* What an expired entry has to say to the one that takes its place. */
static void entry_inherit(struct dns *d, struct dns_entry *e, struct dns_entry *old)
{
	uint64_t now = dns_now(d);

	if (old->rr.found == DNS_FOUND_FAILED) {
		if (now < old->expires + DNS_FAILURE_MEMORY_NS)
			e->fails = (uint8_t)MIN(old->fails + 1u, DNS_FAILURE_DOUBLINGS);
	} else if (stale_ok(d, old)) {
		e->old = old;
		old->refs++;
		e->slow_at = now + DNS_STALE_WAIT_NS;
		list_add_tail(&d->cache.slow, &e->slow);
	}
}

/* NULL: over a limit. */
static struct dns_entry *entry_new(struct dns *d, const struct name *n, uint16_t type)
{
	struct dns_entry *e;

	if (d->cache.asks >= DNS_MAX_ASKS)
		return NULL;
	if (d->cache.pool.used >= DNS_CACHE_ENTRIES)
		(void)evict(d); /* without room pool_get() says so */
	e = pool_get(&d->cache.pool);
	if (!e)
		return NULL;
	e->ask.name = *n;
	e->ask.type = type;
	e->pending = e->in_table = true;
	list_init(&e->lru);
	list_init(&e->slow);
	list_init(&e->waiters);
	return e;
}

static void entry_ask(struct dns *d, struct dns_entry *e)
{
	int r = d->up_ops->ask(d->up, &e->ask);

	if (r < 0) {
		e->rr = (struct dns_rrset){ .found = DNS_FOUND_FAILED, .error = r };
		entry_answered(d, e);
	} else {
		d->cache.asks++;
	}
}

static void set_wake(struct dns *d)
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

/* The current entry, asked for when there is none. NULL: over a limit. */
static struct dns_entry *entry_get(struct dns *d, const struct name *n, uint16_t type,
				   uint64_t hash, bool exact)
{
	struct dns_entry *have = entry_find(d, n, type, hash), *e;

	if (have && (have->pending || dns_now(d) < have->expires)) {
		if (!have->pending) {
			list_del(&have->lru);
			list_add_tail(&d->cache.lru, &have->lru);
		}
		have->exact = exact;
		return have;
	}
	/* Held, so that making room does not take it. */
	if (have)
		have->refs++;
	e = entry_new(d, n, type);
	if (have)
		have->refs--;
	if (!e && have && stale_ok(d, have)) {
		have->stale = true;
		return have;
	}
	if (e && have)
		entry_inherit(d, e, have);
	if (have)
		entry_forget(d, have);
	if (e && e->old)
		list_add_tail(&d->cache.replaced, &e->old->lru);
	if (!e)
		return NULL;
	e->exact = exact;
	hmap_insert(&d->cache.table, &e->node, key_of(hash, type));
	entry_ask(d, e);
	set_wake(d);
	return e;
}

enum dns_need dns_gather_needs(struct dns *d, const struct name *n, const uint16_t *types,
			       unsigned n_types)
{
	enum dns_need need = DNS_NEED_NOTHING;
	uint64_t hash = name_hash(d, n);

	for (unsigned i = 0; i < n_types; i++) {
		const struct dns_entry *e = entry_find(d, n, types[i], hash);

		if (!e || (!e->pending && dns_now(d) >= e->expires))
			return DNS_NEED_ASK;
		if (e->pending)
			need = DNS_NEED_WAIT;
	}
	return need;
}

bool dns_cache_exact(struct dns *d, const struct name *n, const uint16_t *types, unsigned n_types)
{
	uint64_t hash = name_hash(d, n);

	for (unsigned i = 0; i < n_types; i++) {
		const struct dns_entry *e = entry_find(d, n, types[i], hash);

		if (e && e->exact)
			return true;
	}
	return false;
}

/* ---- gathers ---------------------------------------------------------------- */

static void gather_stop_waiting(struct dns_gather *g)
{
	for (unsigned i = 0; i < g->n_wait; i++)
		list_del(&g->wait[i].link);
	g->pending = 0;
	if (!list_empty(&g->grace)) {
		list_del(&g->grace);
		set_wake(g->d);
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
		set_wake(g->d);
	}
}

void dns_gather_start(struct dns *d, struct dns_gather *g, const struct name *n,
		      const uint16_t *types, unsigned n_types, void (*done)(struct dns_gather *g))
{
	uint64_t hash = name_hash(d, n);
	bool exact = g->exact;

	assert(n_types <= ARRAY_SIZE(g->wait));
	*g = (struct dns_gather){ .d = d, .n_wait = n_types, .exact = exact, .done = done };
	list_init(&g->grace);
	for (unsigned i = 0; i < n_types; i++) {
		struct dns_wait *w = &g->wait[i];

		list_init(&w->link);
		w->gather = g;
		w->entry = entry_get(d, n, types[i], hash, exact);
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
		entry_release(g->d, e);
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
	entry_release(d, e);
	entry_release(d, old);
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
	set_wake(d);
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
	entry_answered(d, e);
	/* The waiters' callbacks may ask, cancel and evict: hold this one, take one at a time. */
	e->refs++;
	while (d->cache.data > DNS_CACHE_DATA && evict(d))
		;
	while (!list_empty(&e->waiters)) {
		struct dns_wait *w = container_of(e->waiters.next, struct dns_wait, link);

		list_del(&w->link);
		w->gather->pending--;
		gather_check(w->gather);
	}
	e->refs--;
	entry_release(d, e);
	set_wake(d);
}
