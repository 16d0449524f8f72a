/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between two policies, as sets in words with an example each: flows
 * (diff_blocks.c finds them), names asked of the resolver, and how denied packets end.
 */
#include "policy/diff.h"

struct diff {
	struct space *s;
	const struct policy *p[2];
};

/* ---- into words -------------------------------------------------------------------- */

static int change_add(struct policy_changes *c, struct policy_change **ret)
{
	if (c->n == c->size) {
		size_t size = c->size ? c->size * 2 : 8;
		struct policy_change *v = realloc(c->v, size * sizeof(*v));

		if (!v)
			return -ENOMEM;
		c->v = v;
		c->size = size;
	}
	*ret = &c->v[c->n++];
	**ret = (struct policy_change){ 0 };
	return 0;
}

/* The member that says most: a name that is proven, a public IPv4 address. */
static size_t best_addr(const struct space *s, const struct block *b)
{
	size_t best = 0;
	int best_score = -1;

	for (size_t i = 0; i < b->n_addrs; i++) {
		const struct addr_region *a = &s->addrs[b->addrs[i]];
		int score = (a->sample.family == 4 ? 2 : 0) + (a->group == POLICY_GROUP_PUBLIC) -
			    2 * a->gateway +
			    ((a->sample.b[0] == 93 && a->sample.b[1] == 184) ||
			     (a->sample.b[0] == 10 && a->sample.b[3] == 1));

		if (score > best_score) {
			best = i;
			best_score = score;
		}
	}
	return best;
}

static size_t best_name(const struct block *b)
{
	static const int order[NAME_STATES] = {
		[NAME_PROVEN] = 3, [NAME_NONE] = 2, [NAME_ANSWERED] = 1, [NAME_CLAIMED] = 0
	};
	size_t best = 0;

	for (size_t i = 0; i < b->n_names; i++) {
		int gain = order[b->names[i].state] - order[b->names[best].state];

		/* The root, "any other name", only where nothing else is. */
		if (gain > 0 || (gain == 0 && !b->names[best].region && b->names[i].region))
			best = i;
	}
	return best;
}

/* HTTPS where it is part of it, else the web, else the first. */
static const struct extent *best_extent(const struct block *b)
{
	static const uint16_t ports[] = { 443, 80 };

	for (size_t k = 0; k < ARRAY_SIZE(ports); k++)
		for (size_t i = 0; i < b->n_extents; i++)
			if (b->extents[i].proto == POLICY_TCP &&
			    b->extents[i].ports.lo <= ports[k] && b->extents[i].ports.hi >= ports[k])
				return &b->extents[i];
	return &b->extents[0];
}

static int example_of(const struct diff *d, const struct block *b, struct policy_change *c)
{
	const struct name_class *n = &b->names[best_name(b)];
	struct buf text = BUF_INIT((size_t)1 << 16);
	struct policy_facts f;
	struct name name;
	int r;

	f = space_facts(d->s, best_extent(b), n->state, n->region, b->addrs[best_addr(d->s, b)],
			&name);
	c->before = policy_decide_own(d->p[0], &f);
	c->after = policy_decide_own(d->p[1], &f);
	r = space_facts_format(&f, &text);
	if (r == 0) {
		c->example = buf_str(&text) ? strdup(buf_str(&text)) : NULL;
		r = c->example ? 0 : -ENOMEM;
	}
	buf_fini(&text);
	return r;
}

static int say_block(struct diff *d, struct block *b, struct policy_changes *ret)
{
	struct policy_change *c;
	int r = change_add(ret, &c);

	if (r < 0)
		return r;
	c->kind = POLICY_CHANGE_FLOWS;
	c->now = b->now;
	r = example_of(d, b, c);
	if (r == 0)
		r = diff_names_text(d->s, b, b->extents[0].dir == POLICY_INGRESS, &c->names);
	if (r == 0)
		r = diff_addrs_text(d->s, b, &c->addresses);
	if (r == 0)
		r = diff_services_text(d->s, b, &c->services);
	return r;
}

/* ---- names asked of the resolver ------------------------------------------------------- */

/* Allowed, with which types; one number per name. */
static unsigned query_outcome(const struct diff *d, size_t list, uint32_t region)
{
	struct firsts f = firsts_merge(space_name_firsts(d->s, list, NAME_PROVEN, region),
				       d->s->list[list].any);
	const struct policy *p = d->p[list];

	if (f.a >= p->n_rules)
		return p->egress == POLICY_ALLOW;
	if (p->rules[f.a].action == POLICY_DENY)
		return 0;
	return 1u | (unsigned)p->rules[f.a].qtypes << 1;
}

/* Names whose outcome went from one to another, as one change; bits are what it is about. */
static int say_queries(struct diff *d, const unsigned *was, const unsigned *is, uint32_t from,
		       unsigned bits, bool *done, bool *in, struct policy_changes *ret)
{
	struct policy_change *c;
	struct policy own;
	struct name n;
	int r = change_add(ret, &c);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < d->s->n_names; i++) {
		in[i] = i >= from && d->s->names[i].exists && was[i] == was[from] &&
			is[i] == is[from];
		done[i] |= in[i];
	}
	c->kind = bits & 1 ? POLICY_CHANGE_QUERIES : POLICY_CHANGE_QTYPES;
	c->now = bits & is[from] ? POLICY_ALLOW : POLICY_DENY;
	c->qtypes = (uint8_t)(bits >> 1);
	if (space_name_sample(d->s, from, &n)) {
		own = *d->p[0];
		own.floor = NULL;
		c->before = policy_decide_query(&own, &n);
		own = *d->p[1];
		own.floor = NULL;
		c->after = policy_decide_query(&own, &n);
		c->example = strdup(n.s);
		if (!c->example)
			return -ENOMEM;
	}
	return diff_name_set_text(d->s, in, "", &c->names);
}

/* Whether it may be asked at all, or else types that came and types that went. */
static int say_query_changes(struct diff *d, const unsigned *was, const unsigned *is, uint32_t from,
			     bool *done, bool *in, struct policy_changes *ret)
{
	unsigned came = is[from] & ~was[from], gone = was[from] & ~is[from];
	int r = 0;

	if ((came | gone) & 1)
		return say_queries(d, was, is, from, came | gone, done, in, ret);
	if (came)
		r = say_queries(d, was, is, from, came, done, in, ret);
	if (r == 0 && gone)
		r = say_queries(d, was, is, from, gone, done, in, ret);
	return r;
}

static int compare_queries(struct diff *d, struct policy_changes *ret)
{
	size_t n = d->s->n_names;
	unsigned *was = calloc(n, sizeof(*was)), *is = calloc(n, sizeof(*is));
	bool *done = calloc(n, sizeof(*done)), *in = calloc(n, sizeof(*in));
	int r = was && is && done && in ? space_solve_queries(d->s) : -ENOMEM;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		was[i] = query_outcome(d, 0, i);
		is[i] = query_outcome(d, 1, i);
	}
	for (uint32_t i = 0; i < n && r == 0; i++)
		if (d->s->names[i].exists && !done[i] && was[i] != is[i])
			r = say_query_changes(d, was, is, i, done, in, ret);
	free(was);
	free(is);
	free(done);
	free(in);
	return r;
}

/* ---- limits -------------------------------------------------------------------------------- */

struct limited {
	char *text; /* what it matches */
	const struct policy_limit *limit[2];
	size_t nth; /* of the rules with this text */
};

static int limited_compare(const void *a, const void *b)
{
	const struct limited *x = a, *y = b;
	int c = strcmp(x->text, y->text);

	return c ? c : (x->nth > y->nth) - (x->nth < y->nth);
}

/* The limited rules of one list; rules that match alike are told apart by their order. */
static int limited_rules(const struct policy *p, size_t list, struct limited *v, size_t *n)
{
	size_t from = *n;

	for (size_t i = 0; i < p->n_rules; i++) {
		struct limited *l = &v[*n];

		if (!p->rules[i].limit)
			continue;
		*l = (struct limited){ .text = policy_rule_plain(&p->rules[i]) };
		if (!l->text)
			return -ENOMEM;
		l->limit[list] = p->rules[i].limit;
		l->nth = *n;
		(*n)++;
	}
	qsort(v + from, *n - from, sizeof(*v), limited_compare);
	for (size_t i = from; i < *n; i++)
		v[i].nth = i > from && str_eq(v[i].text, v[i - 1].text) ? v[i - 1].nth + 1 : 0;
	return 0;
}

static int say_limit(const struct limited *l, struct policy_change *c)
{
	char was[POLICY_LIMIT_STRLEN], is[POLICY_LIMIT_STRLEN];

	return diff_text_add(&c->services, "%s: %s, now %s", l->text,
			     policy_limit_format(l->limit[0], was),
			     policy_limit_format(l->limit[1], is));
}

static int compare_limited(struct limited *v, size_t n, struct policy_changes *ret)
{
	struct policy_change *c = NULL;
	int r = 0;

	qsort(v, n, sizeof(*v), limited_compare);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct limited l = v[i];

		/* The same rule of the other list stands beside it. */
		if (i + 1 < n && limited_compare(&v[i], &v[i + 1]) == 0) {
			i++;
			l.limit[0] = l.limit[0] ? l.limit[0] : v[i].limit[0];
			l.limit[1] = l.limit[1] ? l.limit[1] : v[i].limit[1];
		}
		if (policy_limit_equal(l.limit[0], l.limit[1]))
			continue;
		if (!c)
			r = change_add(ret, &c);
		if (r == 0)
			c->kind = POLICY_CHANGE_LIMITS;
		if (r == 0)
			r = say_limit(&l, c);
	}
	return r;
}

static int compare_limits(const struct diff *d, struct policy_changes *ret)
{
	size_t n = 0, most = 0;
	struct limited *v;
	int r = 0;

	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < d->p[k]->n_rules; i++)
			most += d->p[k]->rules[i].limit != NULL;
	v = calloc(most + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t k = 0; k < 2 && r == 0; k++)
		r = limited_rules(d->p[k], k, v, &n);
	if (r == 0)
		r = compare_limited(v, n, ret);
	for (size_t i = 0; i < n; i++)
		free(v[i].text);
	free(v);
	return r;
}

/* ---- whole ------------------------------------------------------------------------------- */

static int compare(struct diff *d, struct policy_changes *ret)
{
	struct blocks b = { 0 };
	int r = diff_find_blocks(d->s, d->p[0], d->p[1], &b);

	for (size_t i = 0; i < b.n && r == 0; i++)
		r = say_block(d, &b.v[i], ret);
	ret->cut = b.cut;
	diff_blocks_fini(&b);
	if (r == 0)
		r = compare_queries(d, ret);
	if (r == 0 && d->p[0]->drop != d->p[1]->drop) {
		struct policy_change *c;

		r = change_add(ret, &c);
		if (r == 0) {
			c->kind = POLICY_CHANGE_ON_DENY;
			c->now = d->p[1]->drop ? POLICY_DENY : POLICY_ALLOW;
		}
	}
	return r < 0 ? r : compare_limits(d, ret);
}

int policy_diff(const struct policy *before, const struct policy *after,
		const struct policy_gateways *gw, struct policy_changes *ret, struct conf_error *err)
{
	struct diff d = { .p = { before, after } };
	struct policy_changes c = { 0 };
	struct why why = { "too many rules with different ports, requests or turns to compare" };
	int r = space_new(before, after, gw, &d.s, &why);

	if (r == 0)
		r = compare(&d, &c);
	space_free(d.s);
	if (r < 0) {
		policy_changes_fini(&c);
		conf_error_set(err, "%s", r == -ENOMEM ? "out of memory" : why.text);
		return r;
	}
	*ret = c;
	return 0;
}

static void texts_fini(struct policy_texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
}

void policy_changes_fini(struct policy_changes *c)
{
	for (size_t i = 0; i < c->n; i++) {
		texts_fini(&c->v[i].services);
		texts_fini(&c->v[i].names);
		texts_fini(&c->v[i].addresses);
		free(c->v[i].example);
	}
	free(c->v);
	*c = (struct policy_changes){ 0 };
}
