/* SPDX-License-Identifier: Apache-2.0 */
/* Breadth first, so that each set of patterns is shown by a shortest word. */
#include "policy/space_walk.h"

struct state {
	struct hmap_node node;
	uint32_t *live; /* sorted positions */
	uint32_t n_live, memo, letter, depth;
	struct state *from, *next;
};

struct walk {
	const struct walk_patterns *p;
	const struct walk_ops *ops;
	void *ctx;
	struct hmap seen;
	struct hash_key key;
	struct state *head, *tail, *at;
	size_t n_states, max_states, work;
	uint32_t *scratch;
	bool *marked;
	struct walk_classes *out;
};

static int grow(void **v, size_t *size, size_t n, size_t each)
{
	size_t more = *size ? *size * 2 : 16;
	void *p;

	if (n < *size)
		return 0;
	p = realloc(*v, more * each);
	if (!p)
		return -ENOMEM;
	*v = p;
	*size = more;
	return 0;
}

int walk_pattern_begin(struct walk_patterns *p)
{
	int r = grow((void **)&p->starts, &p->starts_size, p->n_patterns, sizeof(*p->starts));

	if (r == 0)
		p->starts[p->n_patterns++] = (uint32_t)p->n;
	return r;
}

int walk_pattern_add(struct walk_patterns *p, uint32_t sym)
{
	size_t size = p->size;
	int r = grow((void **)&p->sym, &size, p->n, sizeof(*p->sym));

	if (r == 0)
		r = grow((void **)&p->pattern_of, &p->size, p->n, sizeof(*p->pattern_of));
	if (r == 0) {
		p->sym[p->n] = sym;
		p->pattern_of[p->n++] = (uint32_t)p->n_patterns - 1;
	}
	return r;
}

void walk_patterns_fini(struct walk_patterns *p)
{
	free(p->sym);
	free(p->pattern_of);
	free(p->starts);
	*p = (struct walk_patterns){ 0 };
}

void walk_classes_fini(struct walk_classes *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].letters);
		free(c->v[i].matches);
	}
	free(c->v);
	*c = (struct walk_classes){ 0 };
}

/* A position is alive, and what a loop may skip to. */
static void mark(struct walk *w, uint32_t pos, size_t *n)
{
	for (;; pos++) {
		if (!w->marked[pos]) {
			w->marked[pos] = true;
			w->scratch[(*n)++] = pos;
		}
		if (w->p->sym[pos] != WALK_LOOP)
			return;
	}
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool is_seen(struct walk *w, uint64_t hash, size_t n, uint32_t memo)
{
	hmap_for_hash (it, &w->seen, hash) {
		const struct state *s = container_of(it, struct state, node);

		if (s->memo == memo && s->n_live == n &&
		    memcmp(s->live, w->scratch, n * sizeof(*s->live)) == 0)
			return true;
	}
	return false;
}

/* Of two words with the same future only the first is followed. */
static int enter(struct walk *w, size_t n, uint32_t memo, uint32_t letter)
{
	uint64_t hash;
	struct state *s;

	for (size_t i = 0; i < n; i++)
		w->marked[w->scratch[i]] = false;
	qsort(w->scratch, n, sizeof(*w->scratch), compare_u32);
	hash = hash_bytes(&w->key, w->scratch, n * sizeof(*w->scratch)) ^ memo;
	if (is_seen(w, hash, n, memo))
		return 0;
	w->work += n + 1;
	if (++w->n_states > w->max_states || w->work > w->max_states * 64)
		return -E2BIG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->live = malloc((n + 1) * sizeof(*s->live));
	if (!s->live) {
		free(s);
		return -ENOMEM;
	}
	memcpy(s->live, w->scratch, n * sizeof(*s->live));
	s->n_live = (uint32_t)n;
	s->memo = memo;
	s->letter = letter;
	s->from = w->at;
	s->depth = w->at ? w->at->depth + 1 : 0;
	hmap_insert(&w->seen, &s->node, hash);
	if (w->tail)
		w->tail->next = s;
	else
		w->head = s;
	w->tail = s;
	return 0;
}

static int try(void *arg, uint32_t letter)
{
	struct walk *w = arg;
	const struct state *s = w->at;
	uint32_t memo = w->ops->form(w->ctx, s->memo, letter);
	size_t n = 0;

	if (memo == WALK_REFUSED)
		return 0;
	for (uint32_t i = 0; i < s->n_live; i++) {
		uint32_t pos = s->live[i], sym = w->p->sym[pos];

		if (sym == WALK_LOOP)
			mark(w, pos, &n);
		else if (sym != WALK_END && w->ops->fits(w->ctx, sym, letter))
			mark(w, pos + 1, &n);
	}
	return enter(w, n, memo, letter);
}

static bool same_matches(const struct walk_class *a, const uint32_t *m, size_t n)
{
	return a->n_matches == n && (n == 0 || memcmp(a->matches, m, n * sizeof(*m)) == 0);
}

/* The word that led to this state, as a class of its own if its set is new. */
static int keep(struct walk *w, const struct state *s)
{
	struct walk_classes *c = w->out;
	struct walk_class k = { 0 };
	size_t n = 0;

	for (uint32_t i = 0; i < s->n_live; i++)
		if (w->p->sym[s->live[i]] == WALK_END)
			w->scratch[n++] = w->p->pattern_of[s->live[i]];
	for (size_t i = 0; i < c->n; i++)
		if (same_matches(&c->v[i], w->scratch, n))
			return 0;
	w->work += c->n / 8;
	if (grow((void **)&c->v, &c->size, c->n, sizeof(*c->v)) < 0)
		return -ENOMEM;
	k.letters = malloc((s->depth + 1) * sizeof(*k.letters));
	k.matches = malloc((n + 1) * sizeof(*k.matches));
	if (!k.letters || !k.matches) {
		free(k.letters);
		free(k.matches);
		return -ENOMEM;
	}
	memcpy(k.matches, w->scratch, n * sizeof(*k.matches));
	k.n_matches = n;
	k.n_letters = s->depth;
	for (const struct state *up = s; up->from; up = up->from)
		k.letters[up->depth - 1] = up->letter;
	c->v[c->n++] = k;
	return 0;
}

int walk_run(const struct walk_patterns *p, const struct walk_ops *ops, void *ctx,
	     size_t max_states, struct walk_classes *ret)
{
	struct walk w = { .p = p, .ops = ops, .ctx = ctx, .max_states = max_states, .out = ret };
	size_t n = 0;
	int r = hmap_init(&w.seen, 1024);

	if (r < 0)
		return r;
	hash_key_random(&w.key);
	w.scratch = calloc(p->n + 1, sizeof(*w.scratch));
	w.marked = calloc(p->n + 1, sizeof(*w.marked));
	if (!w.scratch || !w.marked)
		r = -ENOMEM;
	for (size_t i = 0; i < p->n_patterns && r == 0; i++)
		mark(&w, p->starts[i], &n);
	if (r == 0)
		r = enter(&w, n, 0, 0);
	for (w.at = w.head; w.at && r == 0; w.at = w.at->next) {
		if (ops->whole(ctx, w.at->memo))
			r = keep(&w, w.at);
		if (r == 0)
			r = ops->letters(ctx, w.at->live, w.at->n_live, w.at->memo, try, &w);
	}
	while (w.head) {
		struct state *next = w.head->next;

		free(w.head->live);
		free(w.head);
		w.head = next;
	}
	free(w.scratch);
	free(w.marked);
	hmap_fini(&w.seen);
	return r;
}
