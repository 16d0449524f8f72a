/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing addresses. A pool is walked once, in the order of addresses, beside
 * the sorted list of what is in the way, so that a host with a full table of
 * routes costs a sort and not a square.
 */
#include "weir/address_pick.h"

#include "weir/slot_lock.h"

/* Slots that others hold and that are tried before a pool counts as used up. */
#define TAKEN_MAX 4096

/* ---- one pool --------------------------------------------------------------------- */

/* A range of slots' numbers: the address, or of IPv6 its upper half. */
struct span {
	uint64_t first, last;
};

static struct span span_of(const struct ip_prefix *p)
{
	const uint8_t *b = p->addr.b;
	uint64_t first = get_be32(b), hosts;
	unsigned bits = 32;

	if (p->addr.family == 6) {
		first = first << 32 | get_be32(b + 4);
		bits = 64;
	}
	hosts = p->len >= bits	      ? 0
		: bits - p->len == 64 ? UINT64_MAX
				      : (UINT64_C(1) << (bits - p->len)) - 1;
	return (struct span){ first, first | hosts };
}

static struct ip_prefix slot_at(int family, uint64_t number, uint8_t len)
{
	struct ip_prefix s = { { (uint8_t)family, { 0 } }, len };

	if (family == 4) {
		put_be32(s.addr.b, (uint32_t)number);
	} else {
		put_be32(s.addr.b, (uint32_t)(number >> 32));
		put_be32(s.addr.b + 4, (uint32_t)number);
	}
	return s;
}

static int by_first(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* What of avoid lies in the pool, sorted. */
static size_t spans_in(const struct ip_prefix *pool, const struct ip_prefix *avoid, size_t n,
		       struct span *ret)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (prefixes_overlap(&avoid[i], pool))
			ret[k++] = span_of(&avoid[i]);
	qsort(ret, k, sizeof(*ret), by_first);
	return k;
}

int slot_pick(const struct ip_prefix *pool, uint8_t slot_len, const struct ip_prefix *avoid,
	      size_t n_avoid, slot_take_fn *take, void *ctx, struct ip_prefix *ret)
{
	cleanup_free struct span *bad = calloc(n_avoid + 1, sizeof(*bad));
	struct span all = span_of(pool);
	uint64_t size = UINT64_C(1) << ((pool->addr.family == 4 ? 32 : 64) - slot_len);
	uint64_t at = all.first;
	size_t n, i = 0;
	unsigned taken = 0;

	if (!bad)
		return -ENOMEM;
	n = spans_in(pool, avoid, n_avoid, bad);
	while (at <= all.last && all.last - at >= size - 1) {
		struct ip_prefix slot;
		uint64_t last = at + size - 1;

		while (i < n && bad[i].last < at)
			i++;
		if (i < n && bad[i].first <= last) {
			if (bad[i].last >= all.last)
				break;
			at = (bad[i].last / size + 1) * size;
			continue;
		}
		slot = slot_at(pool->addr.family, at, slot_len);
		if (!take || take(ctx, &slot)) {
			*ret = slot;
			return 0;
		}
		if (++taken >= TAKEN_MAX || last >= all.last)
			break;
		at = last + 1;
	}
	return taken ? -EBUSY : -ENOSPC;
}

/* ---- a family --------------------------------------------------------------------- */

/* Where nothing was asked for, and the default is in the way: what hosts rarely route, in order. */
static const struct ip_prefix more4[] = {
	{ { 4, { 172, 16 } }, 12 },
	{ { 4, { 10 } }, 8 },
	{ { 4, { 192, 168 } }, 16 },
	{ { 4, { 100, 64 } }, 10 },
};
static const struct ip_prefix more6[] = {
	{ { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72 } }, 48 },
	{ { 6, { 0xfd, 0x77, 0x65, 0x69 } }, 32 },
};

struct picking {
	const struct host_routes *routes;
	struct ip_prefix *avoid; /* routes, ranges of names */
	size_t n_avoid;
	enum slots_how how;
	struct slot_lock *lock; /* of the family at hand */
};

static bool take(void *ctx, const struct ip_prefix *slot)
{
	struct picking *k = ctx;

	return slot_lock_take(slot, k->lock) != -EBUSY;
}

static int pick(struct picking *k, const struct ip_prefix *pool, uint8_t len, struct ip_prefix *ret)
{
	bool hold = k->how != SLOTS_LOOK;
	int r = slot_pick(pool, len, k->avoid, k->n_avoid, hold ? take : NULL, k, ret);

	/* In a namespace of its own a sandbox can share a slot, if it must. */
	if (r == -EBUSY && k->how == SLOTS_ALONE)
		r = slot_pick(pool, len, k->avoid, k->n_avoid, NULL, NULL, ret);
	return r;
}

static int none_free(const struct picking *k, const struct ip_prefix *pool, int why,
		     struct conf_error *err)
{
	bool four = pool->addr.family == 4;
	const struct host_route *route = host_routes_overlap(k->routes, pool);
	char text[PREFIX_STRLEN], to[HOST_ROUTE_STRLEN];
	const char *flag = four ? "--ipv4-pool" : "--ipv6-pool";

	prefix_text(pool, text);
	if (why == -EBUSY)
		conf_error_set(err,
			       "%s %s: every /%d in it that the host has no route to is used by "
			       "another sandbox; give a larger pool",
			       flag, text, four ? SLOT_LEN4 : SLOT_LEN6);
	else if (route)
		conf_error_set(err,
			       "%s %s: the host has a route to %s, and no /%d of the pool is free "
			       "of it; give another pool",
			       flag, text, host_route_text(route, to), four ? SLOT_LEN4 : SLOT_LEN6);
	else
		conf_error_set(err,
			       "%s %s: lies in the range of addresses that stand for names; give "
			       "another pool, or another range with --dns-pool",
			       flag, text);
	return why;
}

/* The default slot, or one of those that come after it. */
static int pick_default(struct picking *k, const struct ip_prefix *first,
			const struct ip_prefix *more, size_t n_more, uint8_t len,
			struct ip_prefix *ret)
{
	int r;

	/* Alone, everybody has the same, as long as nothing is in the way. */
	if (k->how == SLOTS_APART)
		r = pick(k, first, first->len, ret);
	else
		r = slot_pick(first, first->len, k->avoid, k->n_avoid, NULL, NULL, ret);
	for (size_t i = 0; i < n_more && (r == -ENOSPC || r == -EBUSY); i++)
		r = pick(k, &more[i], len, ret);
	return r;
}

static int settle4(struct picking *k, const struct net_wish *wish, struct sandbox_net *net,
		   struct conf_error *err)
{
	struct ip_prefix slot;
	int r;

	if (wish->pool4.addr.family) {
		r = pick(k, &wish->pool4, SLOT_LEN4, &slot);
		if (r == -ENOSPC || r == -EBUSY)
			return none_free(k, &wish->pool4, r, err);
	} else {
		r = pick_default(k, &sandbox_net_default.slot4, more4, ARRAY_SIZE(more4), SLOT_LEN4,
				 &slot);
		if (r == -ENOSPC || r == -EBUSY)
			conf_error_set(err, "the host has routes to all private IPv4 networks; "
					    "give --ipv4-pool one that sandboxes may use");
	}
	if (r == 0)
		sandbox_net_set4(net, &slot);
	return r;
}

static int settle6(struct picking *k, const struct net_wish *wish, struct sandbox_net *net,
		   struct conf_error *err)
{
	struct ip_prefix slot;
	int r;

	if (wish->pool6.addr.family) {
		r = pick(k, &wish->pool6, SLOT_LEN6, &slot);
		if (r == -ENOSPC || r == -EBUSY)
			return none_free(k, &wish->pool6, r, err);
	} else {
		r = pick_default(k, &sandbox_net_default.slot6, more6, ARRAY_SIZE(more6), SLOT_LEN6,
				 &slot);
		if (r == -ENOSPC || r == -EBUSY)
			conf_error_set(err, "the host has routes to all of fd77:6569::/32; give "
					    "--ipv6-pool a network that sandboxes may use");
	}
	if (r == 0)
		sandbox_net_set6(net, &slot);
	return r;
}

/* ---- both ------------------------------------------------------------------------- */

int addresses_settle(const struct net_wish *wish, const struct host_routes *routes,
		     enum slots_how how, struct sandbox_net *ret_net, struct slots_held *held,
		     struct conf_error *err)
{
	cleanup_free struct ip_prefix *avoid = calloc(routes->n + 2, sizeof(*avoid));
	struct picking k = { .routes = routes, .avoid = avoid, .how = how };
	struct sandbox_net net = sandbox_net_default;
	int r;

	if (!avoid)
		return -ENOMEM;
	if (wish->mtu)
		net.mtu = wish->mtu;
	if (wish->has_mac)
		memcpy(net.guest_mac, wish->mac, sizeof(net.guest_mac));
	if (wish->virtual4.addr.family)
		net.virtual4 = wish->virtual4;
	if (wish->virtual6.addr.family)
		net.virtual6 = wish->virtual6;
	for (size_t i = 0; i < routes->n; i++)
		avoid[k.n_avoid++] = routes->v[i].to;
	avoid[k.n_avoid++] = net.virtual4;
	avoid[k.n_avoid++] = net.virtual6;
	k.lock = held ? &held->lock4 : NULL;
	r = settle4(&k, wish, &net, err);
	k.lock = held ? &held->lock6 : NULL;
	if (r == 0)
		r = settle6(&k, wish, &net, err);
	if (r < 0) {
		if (r == -ENOMEM)
			conf_error_set(err, "out of memory");
		if (held)
			slots_release(held);
		return r;
	}
	*ret_net = net;
	return 0;
}

void slots_release(struct slots_held *held)
{
	slot_lock_release(&held->lock4);
	slot_lock_release(&held->lock6);
}
