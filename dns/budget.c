/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets: how much may leave the machine in names. Below a suffix that a policy
 * allows, each label is a message to whoever runs its name server, so questions
 * are counted per registrable domain (public suffix list, private section
 * included: user.github.io is one) and over all domains together.
 *
 * Three things are counted, when a question goes upstream and never for what the
 * cache answers: names that were not asked before, the bytes of their labels
 * above the registrable domain (over all domains: the whole names, because there
 * the domain itself may be the message), and questions, repeated ones too: the
 * order in which known names are asked is a message as well.
 *
 * A bucket is one number, the time at which it will be full again (GCRA): a charge
 * of n moves it n/size of the refill time ahead, and it may not come to lie further
 * than the refill time in the future. A full bucket therefore lets through its
 * size at once, and twice its size within the first refill time.
 *
 * Hostile input: any number of names of any number of domains. The table of domains
 * is bounded, and a domain is forgotten only when its buckets are full again, so
 * that a flood of domains resets nobody's budget; when none can be forgotten, the
 * new one is refused. Known names are bounded per domain and in all; forgetting one
 * only makes it cost its budget again. Domains and names are known by a keyed hash
 * of 64 bits.
 */
#include "dns/dns_int.h"

#include <libpsl.h>
#include <stdio.h>

struct domain {
	struct hmap_node node;
	struct list lru;   /* in dns_budgets.lru, least recently charged first */
	struct list known; /* struct known, least recently asked first */
	size_t n_known;
	struct dns_buckets used;
};

struct known {
	struct hmap_node node;
	struct list link;
	struct domain *domain;
};

static void defaults(struct dns_budget *c)
{
	if (!c->names)
		c->names = 256;
	if (!c->bytes)
		c->bytes = 6144;
	if (!c->queries)
		c->queries = 2048;
	if (!c->refill_s)
		c->refill_s = 600;
	c->refill_s = MIN(c->refill_s, (uint32_t)DNS_BUDGET_REFILL_MAX_S);
}

int dns_budget_init(struct dns *d, const struct dns_budget *cfg)
{
	struct dns_budgets *b = &d->budgets;
	int r;

	b->cfg = *cfg;
	list_init(&b->lru);
	if (cfg->off)
		return 0;
	defaults(&b->cfg);
	/* The distribution's list when it is newer than the library's own. */
	b->psl = psl_latest(NULL);
	if (!b->psl)
		return -ENOMEM;
	pool_init(&b->domain_pool, sizeof(struct domain), DNS_BUDGET_DOMAINS);
	pool_init(&b->known_pool, sizeof(struct known), DNS_BUDGET_KNOWN);
	r = hmap_init(&b->domains, 64);
	return r < 0 ? r : hmap_init(&b->known, 64);
}

void dns_budget_fini(struct dns *d)
{
	struct dns_budgets *b = &d->budgets;

	psl_free(b->psl);
	hmap_fini(&b->domains);
	hmap_fini(&b->known);
	pool_fini(&b->domain_pool);
	pool_fini(&b->known_pool);
}

/* Where the registrable domain begins in a name. */
static size_t registrable_at(const struct dns_budgets *b, const struct name *n)
{
	const char *r = psl_registrable_domain(b->psl, n->s);
	unsigned dots = 0;

	if (r)
		return (size_t)(r - n->s);
	/* A public suffix itself: its last two labels. */
	for (size_t i = n->len; i-- > 0;)
		if (n->s[i] == '.' && ++dots == 2)
			return i + 1;
	return 0;
}

/* ---- buckets ------------------------------------------------------------------ */

static uint64_t refill_ns(const struct dns_budgets *b)
{
	return b->cfg.refill_s * NS_PER_S;
}

/* Where a bucket would stand after n more of its size; false: there is no room. */
static bool bucket_room(const struct dns_budgets *b, uint64_t full_at, uint64_t now, uint64_t n,
			uint64_t size, uint64_t *ret)
{
	uint64_t each = MAX(refill_ns(b) / size, (uint64_t)1);
	uint64_t at = MAX(full_at, now) + n * each;

	if (n && at - now > refill_ns(b))
		return false;
	*ret = at;
	return true;
}

enum part { PART_NONE, PART_NAMES, PART_BYTES, PART_QUERIES };

struct cost {
	uint64_t names, bytes, queries;
};

/* What does not fit, or PART_NONE and *ret as it is after the charge. */
static enum part charged(const struct dns_budgets *b, const struct dns_buckets *k, uint64_t now,
			 const struct cost *c, uint64_t factor, struct dns_buckets *ret)
{
	if (!bucket_room(b, k->names, now, c->names, b->cfg.names * factor, &ret->names))
		return PART_NAMES;
	if (!bucket_room(b, k->bytes, now, c->bytes, b->cfg.bytes * factor, &ret->bytes))
		return PART_BYTES;
	if (!bucket_room(b, k->queries, now, c->queries, b->cfg.queries * factor, &ret->queries))
		return PART_QUERIES;
	return PART_NONE;
}

/* ---- the tables ---------------------------------------------------------------- */

static void move_to_tail(struct list *l, struct list *head)
{
	list_del(l);
	list_add_tail(head, l);
}

static struct domain *domain_find(const struct dns_budgets *b, uint64_t hash)
{
	struct hmap_node *it = hmap_first(&b->domains, hash);

	return it ? container_of(it, struct domain, node) : NULL;
}

static struct known *known_find(const struct dns_budgets *b, uint64_t hash)
{
	struct hmap_node *it = hmap_first(&b->known, hash);

	return it ? container_of(it, struct known, node) : NULL;
}

static void known_drop(struct dns_budgets *b, struct known *k)
{
	hmap_remove(&b->known, &k->node);
	list_del(&k->link);
	k->domain->n_known--;
	pool_put(&b->known_pool, k);
}

static void known_drop_all(struct dns_budgets *b, struct domain *m)
{
	while (!list_empty(&m->known))
		known_drop(b, container_of(m->known.next, struct known, link));
}

static bool refilled(const struct domain *m, uint64_t now)
{
	return m->used.names <= now && m->used.bytes <= now && m->used.queries <= now;
}

/* NULL: the table is full of domains whose budgets are in use. */
static struct domain *domain_new(struct dns_budgets *b, uint64_t hash, uint64_t now)
{
	struct domain *m;

	if (b->domain_pool.used >= DNS_BUDGET_DOMAINS) {
		m = container_of(b->lru.next, struct domain, lru);
		if (!refilled(m, now))
			return NULL;
		known_drop_all(b, m);
		hmap_remove(&b->domains, &m->node);
		list_del(&m->lru);
		pool_put(&b->domain_pool, m);
	}
	m = pool_get(&b->domain_pool);
	if (!m)
		return NULL;
	list_init(&m->lru);
	list_init(&m->known);
	hmap_insert(&b->domains, &m->node, hash);
	return m;
}

/* Forgets the names of a domain that was not asked of for long. */
static void known_make_room(struct dns_budgets *b)
{
	unsigned scanned = 0;

	list_for_each (it, &b->lru) {
		struct domain *m = container_of(it, struct domain, lru);

		if (!list_empty(&m->known)) {
			known_drop_all(b, m);
			return;
		}
		if (++scanned == DNS_EVICT_SCAN)
			return;
	}
}

static void remember(struct dns_budgets *b, struct domain *m, uint64_t hash)
{
	size_t limit = (size_t)b->cfg.names * DNS_BUDGET_KNOWN_FACTOR;
	struct known *k;

	if (m->n_known >= limit)
		known_drop(b, container_of(m->known.next, struct known, link));
	if (b->known_pool.used >= DNS_BUDGET_KNOWN)
		known_make_room(b);
	k = pool_get(&b->known_pool);
	if (!k)
		return;
	k->domain = m;
	list_init(&k->link);
	list_add_tail(&m->known, &k->link);
	m->n_known++;
	hmap_insert(&b->known, &k->node, hash);
}

/* ---- the verdict ----------------------------------------------------------------- */

/* The end of a name that is too long to be shown whole. */
static const char *shown(const struct name *n, size_t at, const char **ret_dots)
{
	size_t len = n->len - at;

	*ret_dots = len > DNS_BUDGET_SHOWN ? "..." : "";
	return n->s + n->len - MIN(len, (size_t)DNS_BUDGET_SHOWN);
}

static void explain(const struct dns_budgets *b, enum part part, uint64_t factor,
		    const struct name *n, size_t at, struct dns_denial *ret)
{
	static const char *const what[] = {
		[PART_NAMES] = "different names",
		[PART_BYTES] = "bytes of names",
		[PART_QUERIES] = "questions",
	};
	uint64_t sizes[] = {
		[PART_NAMES] = b->cfg.names,
		[PART_BYTES] = b->cfg.bytes,
		[PART_QUERIES] = b->cfg.queries,
	};
	const char *dots = "", *where = "all domains", *below = factor > 1 ? "in" : "below";

	if (factor == 1)
		where = shown(n, at, &dots);
	if (part == PART_NONE) {
		snprintf(ret->text, sizeof(ret->text),
			 "%u domains within %u s: looks like a tunnel; allow the names you "
			 "need in full, or set dns.budget",
			 DNS_BUDGET_DOMAINS, b->cfg.refill_s);
		return;
	}
	snprintf(ret->text, sizeof(ret->text),
		 "over %llu %s %s %s%s within %u s: looks like a tunnel; allow the names you need "
		 "in full, or set dns.budget",
		 (unsigned long long)(sizes[part] * factor), what[part], below, dots, where,
		 b->cfg.refill_s);
}

bool dns_budget_take(struct dns *d, const struct name *n, bool given, struct dns_denial *ret_denial)
{
	struct dns_budgets *b = &d->budgets;
	struct cost cost = { .queries = 1 };
	struct dns_buckets one, all, none = { 0 };
	uint64_t now = dns_now(d), domain_hash, name_hash;
	struct domain *m;
	struct known *k;
	enum part part;
	size_t at;

	if (b->cfg.off)
		return true;
	at = registrable_at(b, n);
	domain_hash = hash_bytes(&d->key, n->s + at, n->len - at);
	name_hash = hash_bytes(&d->key, n->s, n->len);
	m = domain_find(b, domain_hash);
	k = known_find(b, name_hash);
	if (!k && !given)
		cost = (struct cost){ .names = 1, .bytes = at, .queries = 1 };
	part = charged(b, m ? &m->used : &none, now, &cost, 1, &one);
	if (part) {
		explain(b, part, 1, n, at, ret_denial);
		return false;
	}
	if (cost.names)
		cost.bytes = n->len;
	part = charged(b, &b->all, now, &cost, DNS_BUDGET_ALL_FACTOR, &all);
	if (part) {
		explain(b, part, DNS_BUDGET_ALL_FACTOR, n, at, ret_denial);
		return false;
	}
	if (!m)
		m = domain_new(b, domain_hash, now);
	if (!m) {
		explain(b, PART_NONE, 1, n, at, ret_denial);
		return false;
	}
	m->used = one;
	b->all = all;
	move_to_tail(&m->lru, &b->lru);
	if (k)
		move_to_tail(&k->link, &k->domain->known);
	else if (cost.names)
		remember(b, m, name_hash);
	return true;
}
