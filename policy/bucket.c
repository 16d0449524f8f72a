/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rules of one destination ask beside it: direction, protocol, port.
 *
 * Few rules are a list in their order, read until the first that fits. Many are
 * a port map: for each direction, protocol, action and kind the ports are cut
 * where a range begins or ends, and each piece knows its least rule. A look-up is
 * then a search among at most 65536 pieces, whatever the number of rules.
 *
 * Rules with HTTP conditions have pieces of their own (the least rule is what
 * counts while the request is unknown or missing) and are also kept as a list,
 * to be walked with a request in hand: those of one destination, or of one
 * deny that no fact answers.
 */
#include "base/base.h"
#include "policy/index.h"

#define PORTS 65536

void *vec_add(struct vec *v, size_t each)
{
	if (v->n == v->size) {
		size_t size = v->size ? v->size + v->size / 2 : 8;
		void *p = reallocarray(v->p, size, each);

		if (!p)
			return NULL;
		v->p = p;
		v->size = size;
	}
	return (uint8_t *)v->p + v->n++ * each;
}

void vec_trim(struct vec *v, size_t each)
{
	void *p = v->n ? reallocarray(v->p, v->n, each) : NULL;

	if (!p)
		return;
	v->p = p;
	v->size = v->n;
}

void vec_fini(struct vec *v)
{
	free(v->p);
	*v = (struct vec){ 0 };
}

/* ---- entries ------------------------------------------------------------------- */

static uint8_t rule_slots(const struct policy_rule *r)
{
	uint8_t protos = r->protos ? r->protos : (1u << SLOT_PROTOS) - 1;

	/* ICMP has neither ports nor requests. */
	if (r->n_ports || rule_has_http(r))
		protos &= POLICY_TCP | POLICY_UDP;
	return (uint8_t)((r->dirs & POLICY_EGRESS ? protos : 0) |
			 (r->dirs & POLICY_INGRESS ? protos << SLOT_PROTOS : 0));
}

static uint8_t rule_flags(const struct policy_rule *r)
{
	uint8_t flags = 0;

	if (r->action == POLICY_ALLOW)
		flags |= ENTRY_ALLOW;
	if (rule_has_http(r))
		flags |= ENTRY_HTTP;
	if (policy_rule_covers_query(r))
		flags |= ENTRY_QUERY;
	if (r->dest != POLICY_DEST_BELOW)
		flags |= ENTRY_APEX;
	if (r->dest != POLICY_DEST_NAME)
		flags |= ENTRY_BELOW;
	return flags;
}

static struct entry entry_of(const struct policy_rule *r, uint32_t rule, size_t i)
{
	struct port_range ports = r->n_ports ? r->ports[i] : (struct port_range){ 0, PORTS - 1 };

	return (struct entry){ .rule = rule,
			       .next = NONE,
			       .lo = ports.lo,
			       .hi = ports.hi,
			       .slots = rule_slots(r),
			       .flags = rule_flags(r) };
}

static int append(struct bucket_store *s, struct bucket *b, struct entry entry)
{
	struct entry *e, *before;

	if (b->first.rule == NONE) {
		b->first = entry;
		return 0;
	}
	if (s->entries.n == NONE)
		return -E2BIG;
	e = vec_add(&s->entries, sizeof(*e));
	if (!e)
		return -ENOMEM;
	*e = entry;
	before = b->more == NONE ? &b->first : (struct entry *)s->entries.p + b->more;
	before->next = b->more = (uint32_t)s->entries.n - 1;
	return 0;
}

int bucket_add(struct bucket_store *s, struct bucket *b, const struct policy_rule *r, uint32_t rule)
{
	int err = 0;

	for (size_t i = 0; i < MAX(r->n_ports, (size_t)1) && err == 0; i++)
		err = append(s, b, entry_of(r, rule, i));
	return err;
}

/* ---- port maps ------------------------------------------------------------------ */

/* Workspace of one map, and the entries that go into it. */
struct paint {
	uint64_t cuts[PORTS / 64 + 1]; /* a bit for each port at which a piece begins */
	uint16_t starts[PORTS];
	uint32_t rules[PORTS];	  /* by piece */
	uint32_t next[PORTS + 1]; /* by piece: the first from here on without a rule */
	size_t n;		  /* pieces */
};

static void cut(struct paint *w, uint32_t port)
{
	if (port < PORTS)
		w->cuts[port / 64] |= UINT64_C(1) << (port % 64);
}

static void cuts_to_pieces(struct paint *w)
{
	w->n = 0;
	for (size_t i = 0; i < PORTS / 64; i++)
		for (uint64_t bits = w->cuts[i]; bits; bits &= bits - 1) {
			w->starts[w->n] = (uint16_t)(i * 64 + (size_t)__builtin_ctzll(bits));
			w->rules[w->n] = NONE;
			w->next[w->n] = (uint32_t)w->n;
			w->n++;
		}
	w->next[w->n] = (uint32_t)w->n;
}

/* The last start at or before port; starts[0] is 0. */
static size_t piece_of(const uint16_t *starts, size_t n, uint16_t port)
{
	size_t lo = 0;

	while (n > 1) {
		size_t half = n / 2;

		if (starts[lo + half] <= port)
			lo += half;
		n -= half;
	}
	return lo;
}

/* Finds the next piece without a rule, and shortens the way there for the next search. */
static uint32_t next_bare(struct paint *w, uint32_t i)
{
	while (w->next[i] != i) {
		w->next[i] = w->next[w->next[i]];
		i = w->next[i];
	}
	return i;
}

static void paint_range(struct paint *w, const struct entry *e)
{
	size_t from = piece_of(w->starts, w->n, e->lo), to = piece_of(w->starts, w->n, e->hi);

	for (uint32_t i = next_bare(w, (uint32_t)from); i <= to; i = next_bare(w, i)) {
		w->rules[i] = e->rule;
		w->next[i] = i + 1;
	}
}

/* Pieces as a slice of the store; neighbours with the same rule are one. */
static int keep_pieces(struct bucket_store *s, const struct paint *w, struct least *ret)
{
	struct least l = { (uint32_t)s->starts.n, 0 };

	for (size_t i = 0; i < w->n; i++) {
		uint16_t *start;
		uint32_t *rule;

		if (i && w->rules[i] == w->rules[i - 1])
			continue;
		start = vec_add(&s->starts, sizeof(*start));
		if (!start)
			return -ENOMEM;
		rule = vec_add(&s->rules, sizeof(*rule));
		if (!rule)
			return -ENOMEM;
		*start = w->starts[i];
		*rule = w->rules[i];
		l.n++;
	}
	*ret = l;
	return 0;
}

struct choice {
	uint8_t slot, kind, mask; /* flags & mask is kind */
};

static bool chosen(const struct entry *e, struct choice c)
{
	return (e->slots >> c.slot & 1) && (e->flags & c.mask) == c.kind;
}

static int map_least(struct bucket_store *s, struct paint *w, const struct vec *entries,
		     struct choice c, struct least *ret)
{
	const struct entry *e = entries->p;
	size_t end = 0, hits = 0;

	/* What stands behind a rule for every port can never be the least. */
	for (bool all = false; end < entries->n && !all; end++) {
		if (!chosen(&e[end], c))
			continue;
		if (hits++ == 0) {
			memset(w->cuts, 0, sizeof(w->cuts));
			cut(w, 0);
		}
		cut(w, e[end].lo);
		cut(w, (uint32_t)e[end].hi + 1);
		all = e[end].lo == 0 && e[end].hi == PORTS - 1;
	}
	if (!hits)
		return 0;
	cuts_to_pieces(w);
	for (size_t i = 0; i < end; i++)
		if (chosen(&e[i], c))
			paint_range(w, &e[i]);
	return keep_pieces(s, w, ret);
}

static int map_http(struct bucket_store *s, const struct vec *entries, struct port_map *m)
{
	const struct entry *e = entries->p;

	m->http_at = (uint32_t)s->http.n;
	for (size_t i = 0; i < entries->n; i++) {
		struct entry *copy;

		if (!(e[i].flags & ENTRY_HTTP))
			continue;
		copy = vec_add(&s->http, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		*copy = e[i];
		m->n_http++;
	}
	return 0;
}

static int map_build(struct bucket_store *s, const struct vec *entries, struct port_map *ret)
{
	struct paint *w = malloc(sizeof(*w));
	const struct entry *e = entries->p;
	struct port_map m = { .query = NONE };
	int err = w ? map_http(s, entries, &m) : -ENOMEM;

	for (uint8_t i = 0; i < SLOTS * 4 && err == 0; i++) {
		struct choice c = { .slot = i / 4, .mask = ENTRY_ALLOW | ENTRY_HTTP };
		bool allow = i & 1, http = i & 2;

		c.kind = (uint8_t)((allow ? ENTRY_ALLOW : 0) | (http ? ENTRY_HTTP : 0));
		err = map_least(s, w, entries, c, &m.least[c.slot][allow][http]);
	}
	for (size_t i = 0; i < entries->n && m.query == NONE; i++)
		if (e[i].flags & ENTRY_QUERY)
			m.query = e[i].rule;
	free(w);
	*ret = m;
	return err;
}

static int map_add(struct bucket_store *s, const struct vec *entries, uint32_t *ret)
{
	struct port_map m, *place;
	int err = map_build(s, entries, &m);

	if (err < 0)
		return err;
	place = vec_add(&s->maps, sizeof(*place));
	if (!place)
		return -ENOMEM;
	*place = m;
	*ret = (uint32_t)s->maps.n - 1;
	return 0;
}

static int map_bucket(struct bucket_store *s, const struct bucket *b, uint8_t flag, uint32_t *ret)
{
	struct vec entries = { 0 };
	int err = 0;

	for (const struct entry *i = &b->first; i && err == 0; i = store_next(s, i)) {
		struct entry *e;

		if (!(i->flags & flag))
			continue;
		e = vec_add(&entries, sizeof(*e));
		if (e)
			*e = *i;
		else
			err = -ENOMEM;
	}
	if (err == 0)
		err = map_add(s, &entries, ret);
	vec_fini(&entries);
	return err;
}

int bucket_seal(struct bucket_store *s, struct bucket *b, bool by_name)
{
	uint32_t n = 0, below;
	int err;

	b->more = NONE;
	for (const struct entry *e = &b->first; e && n <= BUCKET_LIST_MAX; e = store_next(s, e))
		n++;
	if (n <= BUCKET_LIST_MAX)
		return 0;
	err = map_bucket(s, b, ENTRY_APEX, &b->more);
	if (err == 0 && by_name)
		err = map_bucket(s, b, ENTRY_BELOW, &below);
	return err;
}

int bucket_map_rules(struct bucket_store *s, const struct policy *p,
		     bool (*pick)(const struct policy_rule *r), uint32_t *ret_map)
{
	struct vec entries = { 0 };
	int err = 0;

	for (size_t i = 0; i < p->n_rules && err == 0; i++) {
		const struct policy_rule *r = &p->rules[i];

		for (size_t k = 0; k < MAX(r->n_ports, (size_t)1) && pick(r); k++) {
			struct entry *e = vec_add(&entries, sizeof(*e));

			if (!e) {
				err = -ENOMEM;
				break;
			}
			*e = entry_of(r, (uint32_t)i, k);
		}
	}
	if (err == 0)
		err = map_add(s, &entries, ret_map);
	vec_fini(&entries);
	return err;
}

uint32_t store_least(const struct bucket_store *s, struct least l, uint16_t port)
{
	if (l.n == 0)
		return NONE;
	return ((const uint32_t *)s->rules.p +
		l.at)[piece_of((const uint16_t *)s->starts.p + l.at, l.n, port)];
}

void bucket_store_trim(struct bucket_store *s)
{
	vec_trim(&s->entries, sizeof(struct entry));
	vec_trim(&s->maps, sizeof(struct port_map));
	vec_trim(&s->starts, sizeof(uint16_t));
	vec_trim(&s->rules, sizeof(uint32_t));
	vec_trim(&s->http, sizeof(struct entry));
}

void bucket_store_fini(struct bucket_store *s)
{
	vec_fini(&s->entries);
	vec_fini(&s->maps);
	vec_fini(&s->starts);
	vec_fini(&s->rules);
	vec_fini(&s->http);
}
