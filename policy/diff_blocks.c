/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that two policies decide otherwise. Both are laid over one space; within a
 * service a class of names is two numbers (where it stands in the old list and in
 * the new one), and so is a class of addresses.
 *
 * Consecutive rules of one action are one step: which of them decides makes no
 * difference. So the numbers are steps, few for most lists however long. Whether a
 * place of names changes anywhere is told by a few minima and maxima over the
 * places of addresses (struct reach); those that do are paired with each of them.
 * Name classes that change at the same addresses are put together, and services in
 * which the same pairs change.
 */
#include "policy/diff.h"

/* Pairs that were looked at, and blocks in all: beyond the first the answer is not known. */
#define DIFF_PAIRS_MAX UINT64_C(1000000000)
#define DIFF_BLOCKS_MAX 2000u
#define DIFF_CELLS_MAX ((size_t)40 << 20)

struct place {
	uint32_t step[2];
	uint32_t region;
	enum name_state state;
};

struct places {
	struct place *v;
	size_t n;
	uint32_t *starts; /* of each distinct pair of steps; one more behind the last */
	size_t n_distinct;
};

/* A distinct place of names: where it changes, as a sum of its addresses' numbers. */
struct row {
	uint64_t key[2];
	uint32_t distinct;
};

/*
 * Over the places of addresses, by their step in the old list: "before s" are those
 * that decide before a name of old step s does, "from s" the others. Maxima are one
 * more, so that 0 is none.
 */
struct reach {
	uint32_t *changed;  /* before s, decided otherwise by themselves: least new step */
	uint32_t *last;	    /* from s: greatest new step */
	uint32_t *least[2]; /* from s, and the new list denies (0) or allows: least new step */
	uint32_t *most[2];  /* before s, and the old list denies or allows: greatest new step */
};

struct finder {
	struct space *s;
	const struct policy *p[2];
	struct places names, addrs;
	uint32_t *step[2]; /* of each rule, the default last */
	bool *allows[2];   /* of each step */
	uint64_t (*random)[2];
	struct row *rows;
	struct reach reach;
	uint64_t pairs;
	struct blocks out;
	size_t cells;
};

static int by_step(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	for (int i = 0; i < 2; i++)
		if (x->step[i] != y->step[i])
			return x->step[i] < y->step[i] ? -1 : 1;
	if (x->state != y->state)
		return x->state < y->state ? -1 : 1;
	return (x->region > y->region) - (x->region < y->region);
}

/* Runs of one action among the rules in play, and the default. */
static void make_steps(struct finder *d, size_t k, enum policy_dir dir)
{
	const struct policy *p = d->p[k];
	enum policy_action last = dir == POLICY_INGRESS ? p->ingress : p->egress;
	uint32_t step = 0;
	bool first = true;

	for (size_t i = 0; i <= p->n_rules; i++) {
		bool allow = (i < p->n_rules ? p->rules[i].action : last) == POLICY_ALLOW;

		if (i < p->n_rules && !d->s->list[k].active[i])
			continue;
		if (!first && allow != d->allows[k][step])
			step++;
		first = false;
		d->step[k][i] = step;
		d->allows[k][step] = allow;
	}
}

static void add_place(struct finder *d, struct places *to, const struct firsts f[2],
		      uint32_t region, enum name_state state)
{
	to->v[to->n++] = (struct place){ { d->step[0][f[0].a], d->step[1][f[1].a] }, region, state };
}

static void add_name(struct finder *d, enum name_state st, uint32_t region)
{
	const struct firsts f[2] = { space_name_firsts(d->s, 0, st, region),
				     space_name_firsts(d->s, 1, st, region) };

	add_place(d, &d->names, f, region, st);
}

static void distinguish(struct places *x)
{
	qsort(x->v, x->n, sizeof(*x->v), by_step);
	x->n_distinct = 0;
	for (uint32_t i = 0; i < x->n; i++)
		if (i == 0 || x->v[i].step[0] != x->v[i - 1].step[0] ||
		    x->v[i].step[1] != x->v[i - 1].step[1])
			x->starts[x->n_distinct++] = i;
	x->starts[x->n_distinct] = (uint32_t)x->n;
}

static void fill(struct finder *d, enum policy_dir dir)
{
	const struct space *s = d->s;
	bool strict = d->p[0]->strict_names != d->p[1]->strict_names;

	d->names.n = d->addrs.n = 0;
	for (uint32_t i = 0; i < s->n_names && dir != POLICY_INGRESS; i++) {
		if (!s->names[i].exists)
			continue;
		add_name(d, NAME_PROVEN, i);
		add_name(d, NAME_CLAIMED, i);
		if (strict)
			add_name(d, NAME_ANSWERED, i);
	}
	add_name(d, NAME_NONE, 0);
	for (uint32_t i = 0; i < s->n_addrs; i++) {
		const struct firsts f[2] = { space_addr_firsts(s, 0, i), space_addr_firsts(s, 1, i) };

		if (s->addrs[i].exists && (!s->addrs[i].gateway || dir != POLICY_INGRESS))
			add_place(d, &d->addrs, f, i, NAME_NONE);
	}
	distinguish(&d->names);
	distinguish(&d->addrs);
}

/* What becomes of a pair: -1 nothing, else the new action. */
static int change(const struct finder *d, uint32_t name, uint32_t addr)
{
	const struct place *n = &d->names.v[d->names.starts[name]];
	const struct place *a = &d->addrs.v[d->addrs.starts[addr]];
	bool was = d->allows[0][MIN(n->step[0], a->step[0])];
	bool is = d->allows[1][MIN(n->step[1], a->step[1])];

	return was == is ? -1 : is ? POLICY_ALLOW : POLICY_DENY;
}

static void fill_reach(struct finder *d)
{
	const struct reach *x = &d->reach;
	size_t n = d->p[0]->n_rules + 2;

	for (size_t s = 0; s <= n; s++) {
		x->changed[s] = x->least[0][s] = x->least[1][s] = UINT32_MAX;
		x->last[s] = x->most[0][s] = x->most[1][s] = 0;
	}
	for (uint32_t a = 0; a < d->addrs.n_distinct; a++) {
		const struct place *p = &d->addrs.v[d->addrs.starts[a]];
		uint32_t s = p->step[0], t = p->step[1];
		bool was = d->allows[0][s], is = d->allows[1][t];

		if (was != is)
			x->changed[s + 1] = MIN(x->changed[s + 1], t);
		x->most[was][s + 1] = MAX(x->most[was][s + 1], t + 1);
		x->last[s] = MAX(x->last[s], t + 1);
		x->least[is][s] = MIN(x->least[is][s], t);
	}
	for (size_t s = 1; s <= n; s++) {
		x->changed[s] = MIN(x->changed[s], x->changed[s - 1]);
		for (int k = 0; k < 2; k++)
			x->most[k][s] = MAX(x->most[k][s], x->most[k][s - 1]);
	}
	for (size_t s = n; s-- > 0;) {
		x->last[s] = MAX(x->last[s], x->last[s + 1]);
		for (int k = 0; k < 2; k++)
			x->least[k][s] = MIN(x->least[k][s], x->least[k][s + 1]);
	}
}

/* Is there an address at which this place of names changes? By who decides, old and new. */
static bool changes(const struct finder *d, uint32_t name)
{
	const struct place *n = &d->names.v[d->names.starts[name]];
	uint32_t s = n->step[0], t = n->step[1];
	bool was = d->allows[0][s], is = d->allows[1][t];

	return (was != is && d->reach.last[s] > t) || /* the name, the name */
	       d->reach.changed[s] < t ||	      /* the address, the address */
	       d->reach.least[!was][s] < t ||	      /* the name, the address */
	       d->reach.most[!is][s] > t;	      /* the address, the name */
}

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	for (int i = 0; i < 2; i++)
		if (x->key[i] != y->key[i])
			return x->key[i] < y->key[i] ? -1 : 1;
	return (x->distinct > y->distinct) - (x->distinct < y->distinct);
}

static int extent_add(struct block *b, const struct service *v)
{
	for (size_t i = 0; i < v->n_extents; i++) {
		if (b->n_extents == b->extents_size) {
			size_t size = b->extents_size ? b->extents_size * 2 : 4;
			struct extent *e = realloc(b->extents, size * sizeof(*e));

			if (!e)
				return -ENOMEM;
			b->extents = e;
			b->extents_size = size;
		}
		b->extents[b->n_extents++] = v->extents[i];
	}
	return 0;
}

static void block_fini(struct block *b)
{
	free(b->names);
	free(b->addrs);
	free(b->extents);
}

static int class_order(const void *a, const void *b)
{
	const struct name_class *x = a, *y = b;

	if (x->state != y->state)
		return x->state < y->state ? -1 : 1;
	return (x->region > y->region) - (x->region < y->region);
}

static int region_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Rows of one key: their name classes, and the addresses at which they change. */
static int block_make(struct finder *d, const struct row *rows, size_t n, enum policy_action now,
		      struct block *ret)
{
	struct block b = { .now = now };

	for (size_t i = 0; i < n; i++)
		b.n_names +=
			d->names.starts[rows[i].distinct + 1] - d->names.starts[rows[i].distinct];
	b.names = calloc(b.n_names + 1, sizeof(*b.names));
	b.addrs = calloc(d->addrs.n + 1, sizeof(*b.addrs));
	if (!b.names || !b.addrs) {
		block_fini(&b);
		return -ENOMEM;
	}
	b.n_names = 0;
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = d->names.starts[rows[i].distinct];
		     k < d->names.starts[rows[i].distinct + 1]; k++)
			b.names[b.n_names++] =
				(struct name_class){ d->names.v[k].region, d->names.v[k].state };
	for (uint32_t a = 0; a < d->addrs.n_distinct; a++)
		if (change(d, rows[0].distinct, a) == (int)now)
			for (uint32_t k = d->addrs.starts[a]; k < d->addrs.starts[a + 1]; k++)
				b.addrs[b.n_addrs++] = d->addrs.v[k].region;
	qsort(b.names, b.n_names, sizeof(*b.names), class_order);
	qsort(b.addrs, b.n_addrs, sizeof(*b.addrs), region_order);
	*ret = b;
	return 0;
}

static bool same_sets(const struct block *a, const struct block *b)
{
	if (a->now != b->now || a->n_names != b->n_names || a->n_addrs != b->n_addrs)
		return false;
	for (size_t i = 0; i < a->n_names; i++)
		if (class_order(&a->names[i], &b->names[i]) != 0)
			return false;
	return memcmp(a->addrs, b->addrs, a->n_addrs * sizeof(*a->addrs)) == 0;
}

/* Takes over b's sets. */
static int block_add(struct finder *d, struct block *b, const struct service *v)
{
	for (size_t i = 0; i < d->out.n; i++)
		/* Names mean nothing on ingress: the two directions stay apart. */
		if (d->out.v[i].extents[0].dir == v->extents[0].dir && same_sets(&d->out.v[i], b)) {
			block_fini(b);
			return extent_add(&d->out.v[i], v);
		}
	d->cells += b->n_names + b->n_addrs;
	if (d->out.n == DIFF_BLOCKS_MAX || d->cells > DIFF_CELLS_MAX) {
		d->out.cut = true;
		block_fini(b);
		return 0;
	}
	if (d->out.n == d->out.size) {
		size_t size = d->out.size ? d->out.size * 2 : 16;
		struct block *blocks = realloc(d->out.v, size * sizeof(*blocks));

		if (!blocks) {
			block_fini(b);
			return -ENOMEM;
		}
		d->out.v = blocks;
		d->out.size = size;
	}
	d->out.v[d->out.n++] = *b;
	return extent_add(&d->out.v[d->out.n - 1], v);
}

/* All pairs of one service that become `now`, put together by where they do. */
static int find_blocks(struct finder *d, const struct service *v, enum policy_action now)
{
	size_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < d->names.n_distinct; i++) {
		struct row row = { .distinct = i };
		bool any = false;

		if (!changes(d, i))
			continue;
		d->pairs += d->addrs.n_distinct;
		if (d->pairs > DIFF_PAIRS_MAX)
			return -E2BIG;
		for (uint32_t a = 0; a < d->addrs.n_distinct; a++) {
			if (change(d, i, a) != (int)now)
				continue;
			any = true;
			row.key[0] += d->random[a][0];
			row.key[1] += d->random[a][1];
		}
		if (any)
			d->rows[n++] = row;
	}
	qsort(d->rows, n, sizeof(*d->rows), by_key);
	for (size_t i = 0; i < n && r == 0;) {
		struct block b;
		size_t end = i + 1;

		while (end < n && d->rows[end].key[0] == d->rows[i].key[0] &&
		       d->rows[end].key[1] == d->rows[i].key[1])
			end++;
		r = block_make(d, &d->rows[i], end - i, now, &b);
		if (r == 0)
			r = block_add(d, &b, v);
		i = end;
	}
	return r;
}

static int compare_service(struct finder *d, const struct service *v)
{
	enum policy_dir dir = v->extents[0].dir;
	int r = space_solve(d->s, v);

	if (r < 0)
		return r;
	make_steps(d, 0, dir);
	make_steps(d, 1, dir);
	fill(d, dir);
	fill_reach(d);
	r = find_blocks(d, v, POLICY_ALLOW);
	return r < 0 ? r : find_blocks(d, v, POLICY_DENY);
}

/* ---- whole ------------------------------------------------------------------------------- */

static int places_init(struct places *x, size_t n)
{
	x->v = calloc(n + 1, sizeof(*x->v));
	x->starts = calloc(n + 2, sizeof(*x->starts));
	return x->v && x->starts ? 0 : -ENOMEM;
}

static int init(struct finder *d)
{
	uint32_t **reach[] = { &d->reach.changed,  &d->reach.last,    &d->reach.least[0],
			       &d->reach.least[1], &d->reach.most[0], &d->reach.most[1] };
	int r = places_init(&d->names, 3 * d->s->n_names + 1);

	if (r == 0)
		r = places_init(&d->addrs, d->s->n_addrs);
	for (size_t k = 0; k < 2; k++) {
		d->step[k] = calloc(d->p[k]->n_rules + 1, sizeof(*d->step[k]));
		d->allows[k] = calloc(d->p[k]->n_rules + 1, sizeof(*d->allows[k]));
		if (!d->step[k] || !d->allows[k])
			r = -ENOMEM;
	}
	for (size_t k = 0; k < ARRAY_SIZE(reach); k++) {
		*reach[k] = calloc(d->p[0]->n_rules + 3, sizeof(**reach[k]));
		if (!*reach[k])
			r = -ENOMEM;
	}
	d->random = calloc(d->s->n_addrs + 1, sizeof(*d->random));
	d->rows = calloc(3 * d->s->n_names + 2, sizeof(*d->rows));
	if (!d->random || !d->rows)
		return -ENOMEM;
	random_bytes(d->random, (d->s->n_addrs + 1) * sizeof(*d->random));
	return r;
}

static void fini(struct finder *d)
{
	for (size_t k = 0; k < 2; k++) {
		free(d->step[k]);
		free(d->allows[k]);
	}
	free(d->reach.changed);
	free(d->reach.last);
	for (size_t k = 0; k < 2; k++) {
		free(d->reach.least[k]);
		free(d->reach.most[k]);
	}
	free(d->names.v);
	free(d->names.starts);
	free(d->addrs.v);
	free(d->addrs.starts);
	free(d->random);
	free(d->rows);
}

int diff_find_blocks(struct space *s, const struct policy *before, const struct policy *after,
		     struct blocks *ret)
{
	struct finder d = { .s = s, .p = { before, after } };
	int r = init(&d);

	for (size_t i = 0; i < s->n_services && r == 0; i++)
		r = compare_service(&d, &s->services[i]);
	fini(&d);
	if (r < 0)
		diff_blocks_fini(&d.out);
	else
		*ret = d.out;
	return r;
}

void diff_blocks_fini(struct blocks *b)
{
	for (size_t i = 0; i < b->n; i++)
		block_fini(&b->v[i]);
	free(b->v);
}
