/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reassembly of what the guest sends in fragments (RFC 791, 815, 8200 4.5),
 * within bounds: sets, bytes, pieces per set, age. A set is a buffer of the
 * payload so far and a sorted list of the ranges that have arrived.
 *
 * Hostile input: all of it. A piece that overlaps another, contradicts the
 * known end or goes past 65,535 poisons its set: the datagram is dropped
 * whole, and so is what still arrives of it until its time is over (RFC 5722).
 * Only an exact copy of a piece is ignored. The first piece must hold the
 * transport header, so that no two readings of the ports are possible (RFC
 * 1858, 7112). When there is no room the oldest set goes.
 */
#include "netstack/netstack_internal.h"

struct range {
	uint32_t lo, hi;
};

struct frag_set {
	struct list node;
	struct ip_addr src, dst;
	uint32_t id;
	uint8_t proto;
	uint64_t since;
	bool poisoned, have_head;
	uint8_t head_len, nh_off, next;
	uint32_t total; /* payload bytes, 0 while unknown */
	uint32_t have;
	unsigned n;
	struct range r[LIMIT_FRAG_PIECES];
	uint8_t head[LIMIT_IP6_CHAIN];
	uint8_t *buf; /* LIMIT_IP6_CHAIN bytes of room for the header, then payload */
	size_t size;
};

static void set_storage_free(struct netstack *ns, struct frag_set *s)
{
	free(s->buf);
	ns->frags.bytes -= s->size;
	limit_mem_give(ns, s->size);
	s->buf = NULL;
	s->size = 0;
}

static void set_free(struct netstack *ns, struct frag_set *s)
{
	set_storage_free(ns, s);
	list_del(&s->node);
	ns->frags.n--;
	free(s);
}

static void set_poison(struct netstack *ns, struct frag_set *s)
{
	ns->stats.fragments_dropped++;
	s->poisoned = true;
	set_storage_free(ns, s);
}

static struct frag_set *oldest(struct netstack *ns)
{
	return container_of(ns->frags.sets.next, struct frag_set, node);
}

static void expire(struct loop_timer *t)
{
	struct netstack *ns = container_of(t, struct netstack, frags.timer);

	while (!list_empty(&ns->frags.sets)) {
		struct frag_set *s = oldest(ns);

		if (s->since + LIMIT_FRAG_NS > ns_now(ns)) {
			loop_timer_set(ns->loop, t, s->since + LIMIT_FRAG_NS);
			return;
		}
		if (!s->poisoned)
			ns->stats.fragments_dropped++;
		set_free(ns, s);
	}
}

void frag_init(struct netstack *ns)
{
	list_init(&ns->frags.sets);
	ns->frags.timer.cb = expire;
}

void frag_fini(struct netstack *ns)
{
	while (!list_empty(&ns->frags.sets))
		set_free(ns, oldest(ns));
	loop_timer_del(ns->loop, &ns->frags.timer);
	free(ns->frags.done);
}

/* IPv4 counts the protocol into the key, IPv6 does not (its later pieces may differ). */
static struct frag_set *set_find(struct netstack *ns, const struct frag_piece *k)
{
	list_for_each (it, &ns->frags.sets) {
		struct frag_set *s = container_of(it, struct frag_set, node);

		if (s->id == k->id && ip_equal(&s->src, &k->src) && ip_equal(&s->dst, &k->dst) &&
		    (k->src.family == 6 || s->proto == k->proto))
			return s;
	}
	return NULL;
}

static struct frag_set *set_new(struct netstack *ns, const struct frag_piece *k)
{
	struct frag_set *s;

	if (ns->frags.n >= LIMIT_FRAG_SETS) {
		ns->stats.fragments_dropped++;
		set_free(ns, oldest(ns));
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->src = k->src;
	s->dst = k->dst;
	s->id = k->id;
	s->proto = k->proto;
	s->since = ns_now(ns);
	list_add_tail(&ns->frags.sets, &s->node);
	ns->frags.n++;
	if (!loop_timer_armed(&ns->frags.timer))
		loop_timer_set(ns->loop, &ns->frags.timer, s->since + LIMIT_FRAG_NS);
	return s;
}

/* Storage for payload bytes up to hi; other sets give way, oldest first. */
static bool set_room(struct netstack *ns, struct frag_set *s, size_t hi)
{
	size_t want = LIMIT_IP6_CHAIN + hi, size = MAX(s->size, (size_t)4096);
	uint8_t *b;

	if (want <= s->size)
		return true;
	while (size < want)
		size *= 2;
	while (ns->frags.bytes - s->size + size > LIMIT_FRAG_BYTES) {
		struct frag_set *o = oldest(ns);

		if (o == s)
			return false;
		ns->stats.fragments_dropped++;
		set_free(ns, o);
	}
	if (!limit_mem_take(ns, size - s->size))
		return false;
	b = realloc(s->buf, size);
	if (!b) {
		limit_mem_give(ns, size - s->size);
		return false;
	}
	ns->frags.bytes += size - s->size;
	s->buf = b;
	s->size = size;
	return true;
}

/* Smallest first piece that holds what we decide on. */
static size_t min_first(uint8_t proto)
{
	return proto == IPPROTO_TCP ? 20 : 8;
}

static bool piece_ok(const struct frag_piece *k)
{
	size_t extra = k->src.family == 4 ? k->head_len : k->head_len - IP6_HEAD;

	if (k->len == 0 || (k->more && k->len % 8) || extra + k->off + k->len > 65535 ||
	    k->head_len > LIMIT_IP6_CHAIN)
		return false;
	/* The second half of a transport header on its own: RFC 1858 3.2.2 */
	if (k->off == 0)
		return k->len >= min_first(k->proto);
	return k->off >= 24 || k->proto != IPPROTO_TCP;
}

/* Sorted insertion. 1: new, 0: exact copy, -1: overlap or too many. */
static int range_add(struct frag_set *s, const struct frag_piece *k)
{
	uint32_t lo = (uint32_t)k->off, hi = (uint32_t)(k->off + k->len);
	unsigned i = 0;

	while (i < s->n && s->r[i].hi <= lo)
		i++;
	if (i < s->n && s->r[i].lo < hi) {
		bool same = s->r[i].lo == lo && s->r[i].hi == hi;

		return same && memcmp(s->buf + LIMIT_IP6_CHAIN + lo, k->p, k->len) == 0 ? 0 : -1;
	}
	if (s->n == LIMIT_FRAG_PIECES)
		return -1;
	memmove(s->r + i + 1, s->r + i, (s->n - i) * sizeof(s->r[0]));
	s->r[i] = (struct range){ lo, hi };
	s->n++;
	s->have += hi - lo;
	return 1;
}

/* Is this piece compatible with the end we know, or with what came before it? */
static bool end_ok(struct frag_set *s, const struct frag_piece *k)
{
	uint32_t hi = (uint32_t)(k->off + k->len);

	if (s->total && (hi > s->total || (!k->more && hi != s->total)))
		return false;
	if (!k->more) {
		if (s->n && s->r[s->n - 1].hi > hi)
			return false;
		s->total = hi;
	}
	return true;
}

static void take_head(struct frag_set *s, const struct frag_piece *k)
{
	memcpy(s->head, k->head, k->head_len);
	s->head_len = (uint8_t)(k->head_len - 1);
	s->nh_off = (uint8_t)k->nh_off;
	s->next = k->proto;
	s->have_head = true;
}

/* Header and payload joined, lengths as if it had come in one piece. */
static const uint8_t *finish(struct netstack *ns, struct frag_set *s, size_t *ret_len)
{
	size_t hl = s->head_len + 1u, len = hl + s->total;
	uint8_t *p = s->buf + LIMIT_IP6_CHAIN - hl;
	struct csum c = { 0 };

	memcpy(p, s->head, hl);
	if (s->src.family == 4) {
		if (len > 65535)
			return NULL;
		put_be16(p + 2, (uint16_t)len);
		put_be16(p + 6, 0);
		put_be16(p + 10, 0);
		csum_feed(&c, p, hl);
		csum_store(&c, p + 10);
	} else {
		if (len - IP6_HEAD > 65535)
			return NULL;
		put_be16(p + 4, (uint16_t)(len - IP6_HEAD));
		p[s->nh_off] = s->next;
	}
	free(ns->frags.done);
	ns->frags.done = s->buf;
	ns->frags.bytes -= s->size;
	limit_mem_give(ns, s->size);
	s->buf = NULL;
	s->size = 0;
	*ret_len = len;
	return p;
}

const uint8_t *frag_input(struct netstack *ns, const struct frag_piece *k, size_t *ret_len)
{
	struct frag_set *s = set_find(ns, k);
	const uint8_t *whole;
	int r;

	if (s && s->poisoned)
		return NULL;
	if (!s)
		s = set_new(ns, k);
	if (!s) {
		ns->stats.fragments_dropped++;
		return NULL;
	}
	if (!piece_ok(k) || !end_ok(s, k) || !set_room(ns, s, k->off + k->len)) {
		set_poison(ns, s);
		return NULL;
	}
	r = range_add(s, k);
	if (r < 0)
		set_poison(ns, s);
	if (r <= 0)
		return NULL;
	memcpy(s->buf + LIMIT_IP6_CHAIN + k->off, k->p, k->len);
	if (k->off == 0)
		take_head(s, k);
	/* Ranges never overlap: as many bytes as the total means all of them. */
	if (!s->total || s->have != s->total || !s->have_head)
		return NULL;
	whole = finish(ns, s, ret_len);
	if (!whole)
		ns->stats.fragments_dropped++;
	set_free(ns, s);
	return whole;
}
