/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: (name, address, expiry), one for each real address that this sandbox
 * was given for a name. A flow to the address may be that name's until the TTL
 * plus a grace have gone by, because clients keep addresses longer than they
 * should. Only answers that passed the judge become pins, and only from our own
 * upstreams: a resolver that the guest picks cannot make any.
 *
 * While a flow to the address lives (dns_hold) its pins do not expire; when the last
 * one ends, a grace begins anew. A hold revives nothing: what had expired before the
 * flow began is dropped. Addresses without a pin are held as well, so that holds and
 * releases stay balanced when a pin comes later; over the limit a hold is not counted,
 * and names then expire early.
 *
 * Found from either side. Bounded per name, per address and in total; when one
 * has to go it is the one given longest ago (in total: of the
 * DNS_EVICT_SCAN given longest ago, the one that no flow holds and that expires first).
 */
#include "dns/dns_int.h"

struct pin_name {
	struct hmap_node node;
	struct name name;
	struct list pins; /* least recently given first */
	size_t n_pins;
};

struct pin_addr {
	struct hmap_node node;
	struct ip_addr addr;
	struct list pins; /* least recently given first */
	size_t n_pins;
	size_t held; /* flows that live */
};

struct pin {
	struct list all;       /* in dns_pins.all */
	struct list same_name; /* in pin_name.pins */
	struct list same_addr; /* in pin_addr.pins */
	struct pin_name *name;
	struct pin_addr *addr;
	uint64_t expires;
};

int dns_pins_init(struct dns *d, size_t limit)
{
	int r = hmap_init(&d->pins.names, 64);

	list_init(&d->pins.all);
	d->pins.limit = limit;
	return r < 0 ? r : hmap_init(&d->pins.addrs, 64);
}

static uint64_t addr_key(const struct dns *d, const struct ip_addr *a)
{
	return hash_bytes(&d->key, a->b, ip_size(a)) ^ a->family;
}

static void addr_release(struct dns_pins *t, struct pin_addr *pa)
{
	if (pa->n_pins || pa->held)
		return;
	hmap_remove(&t->addrs, &pa->node);
	free(pa);
}

static void pin_drop(struct dns_pins *t, struct pin *p)
{
	struct pin_name *pn = p->name;
	struct pin_addr *pa = p->addr;

	list_del(&p->all);
	list_del(&p->same_name);
	list_del(&p->same_addr);
	t->count--;
	free(p);
	if (--pn->n_pins == 0) {
		hmap_remove(&t->names, &pn->node);
		free(pn);
	}
	pa->n_pins--;
	addr_release(t, pa);
}

void dns_pins_fini(struct dns *d)
{
	struct hmap *addrs = &d->pins.addrs;

	while (d->pins.count)
		pin_drop(&d->pins, container_of(d->pins.all.next, struct pin, all));
	/* Those that are only held. */
	for (size_t i = 0; addrs->buckets && i <= addrs->mask; i++) {
		while (addrs->buckets[i]) {
			struct pin_addr *pa = container_of(addrs->buckets[i], struct pin_addr, node);

			pa->held = 0;
			addr_release(&d->pins, pa);
		}
	}
	hmap_fini(&d->pins.names);
	hmap_fini(&d->pins.addrs);
}

/* Would a rather go than b? */
static bool goes_before(const struct pin *a, const struct pin *b)
{
	if (!a->addr->held != !b->addr->held)
		return !a->addr->held;
	return a->expires < b->expires;
}

static void pin_evict(struct dns_pins *t)
{
	struct pin *first = NULL;
	unsigned scanned = 0;

	list_for_each (it, &t->all) {
		struct pin *p = container_of(it, struct pin, all);

		if (!first || goes_before(p, first))
			first = p;
		if (++scanned == DNS_EVICT_SCAN)
			break;
	}
	if (first)
		pin_drop(t, first);
}

static struct pin_name *name_find(const struct dns *d, const struct name *n, uint64_t hash)
{
	hmap_for_hash (it, &d->pins.names, hash) {
		struct pin_name *pn = container_of(it, struct pin_name, node);

		if (name_equal(&pn->name, n))
			return pn;
	}
	return NULL;
}

static struct pin_addr *addr_find(const struct dns *d, const struct ip_addr *a, uint64_t hash)
{
	hmap_for_hash (it, &d->pins.addrs, hash) {
		struct pin_addr *pa = container_of(it, struct pin_addr, node);

		if (ip_equal(&pa->addr, a))
			return pa;
	}
	return NULL;
}

/* The address, made when there is none. NULL: out of memory. */
static struct pin_addr *addr_get(struct dns *d, const struct ip_addr *a)
{
	uint64_t hash = addr_key(d, a);
	struct pin_addr *pa = addr_find(d, a, hash);

	if (pa)
		return pa;
	pa = calloc(1, sizeof(*pa));
	if (!pa)
		return NULL;
	pa->addr = *a;
	list_init(&pa->pins);
	hmap_insert(&d->pins.addrs, &pa->node, hash);
	return pa;
}

/* A pin in no list yet but with its name and address; NULL: out of memory. */
static struct pin *pin_new(struct dns *d, const struct name *n, const struct ip_addr *a)
{
	uint64_t hash = hash_bytes(&d->key, n->s, n->len);
	struct pin_name *pn = name_find(d, n, hash), *new_pn = NULL;
	struct pin_addr *pa = addr_get(d, a);
	struct pin *p = calloc(1, sizeof(*p));

	if (!pn)
		pn = new_pn = calloc(1, sizeof(*pn));
	if (!p || !pn || !pa) {
		free(p);
		free(new_pn);
		if (pa)
			addr_release(&d->pins, pa);
		return NULL;
	}
	if (new_pn) {
		pn->name = *n;
		list_init(&pn->pins);
		hmap_insert(&d->pins.names, &pn->node, hash);
	}
	p->name = pn;
	p->addr = pa;
	return p;
}

/* Failing for want of memory fails closed: the flow then has no name. */
static void pin_add(struct dns *d, const struct name *n, const struct ip_addr *a, uint64_t expires)
{
	struct dns_pins *t = &d->pins;
	struct pin *p;

	if (t->count >= t->limit)
		pin_evict(t);
	p = pin_new(d, n, a);
	if (!p)
		return;
	p->expires = expires;
	list_add_tail(&t->all, &p->all);
	list_add_tail(&p->name->pins, &p->same_name);
	list_add_tail(&p->addr->pins, &p->same_addr);
	t->count++;
	p->name->n_pins++;
	p->addr->n_pins++;
	/* The oldest goes; never p itself, which is the newest of several. */
	if (p->name->n_pins > DNS_PINS_PER_NAME)
		pin_drop(t, container_of(p->name->pins.next, struct pin, same_name));
	if (p->addr->n_pins > DNS_PINS_PER_ADDR)
		pin_drop(t, container_of(p->addr->pins.next, struct pin, same_addr));
}

static void move_to_tail(struct list *l, struct list *head)
{
	list_del(l);
	list_add_tail(head, l);
}

void dns_pin(struct dns *d, const struct name *n, const struct ip_addr *a, uint32_t ttl)
{
	uint64_t life = (uint64_t)MAX(ttl, (uint32_t)DNS_TTL_MIN_S) + d->pin_grace_s;
	uint64_t expires = dns_now(d) + life * NS_PER_S;
	struct pin_name *pn = name_find(d, n, hash_bytes(&d->key, n->s, n->len));

	if (pn) {
		list_for_each (it, &pn->pins) {
			struct pin *p = container_of(it, struct pin, same_name);

			if (!ip_equal(&p->addr->addr, a))
				continue;
			move_to_tail(&p->all, &d->pins.all);
			move_to_tail(&p->same_name, &pn->pins);
			move_to_tail(&p->same_addr, &p->addr->pins);
			p->expires = MAX(p->expires, expires);
			return;
		}
	}
	pin_add(d, n, a, expires);
}

size_t dns_names_of(struct dns *d, const struct ip_addr *a, struct name *ret, size_t max)
{
	struct pin_addr *pa = addr_find(d, a, addr_key(d, a));
	uint64_t now = dns_now(d);
	bool last = !pa || list_empty(&pa->pins), held = pa && pa->held;
	size_t n = 0;

	/* Newest first. Dropping its last pin frees pa, and there the walk ends. */
	for (struct list *it = pa ? pa->pins.prev : NULL, *prev; !last; it = prev) {
		struct pin *p = container_of(it, struct pin, same_addr);

		prev = it->prev;
		last = prev == &pa->pins;
		if (now >= p->expires && !held)
			pin_drop(&d->pins, p);
		else if (n < max)
			ret[n++] = p->name->name;
	}
	return n;
}

void dns_hold(struct dns *d, const struct ip_addr *a)
{
	struct pin_addr *pa;

	/* Drops what has expired: the flow does not revive it. */
	(void)dns_names_of(d, a, NULL, 0);
	pa = addr_find(d, a, addr_key(d, a));
	if (!pa && d->pins.addrs.count < 2 * d->pins.limit)
		pa = addr_get(d, a);
	if (pa)
		pa->held++;
}

void dns_release(struct dns *d, const struct ip_addr *a)
{
	struct pin_addr *pa = addr_find(d, a, addr_key(d, a));
	uint64_t until = dns_now(d) + d->pin_grace_s * NS_PER_S;

	if (!pa || !pa->held || --pa->held)
		return;
	list_for_each (it, &pa->pins) {
		struct pin *p = container_of(it, struct pin, same_addr);

		p->expires = MAX(p->expires, until);
	}
	addr_release(&d->pins, pa);
}
