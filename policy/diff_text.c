/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and services in words a person would use: "*.example.com" before the names
 * below it, "except" where little is missing.
 */
#include "policy/diff.h"

int diff_text_add(struct policy_texts *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->n == t->size) {
		size_t size = t->size ? t->size * 2 : 4;
		char **v = realloc(t->v, size * sizeof(*v));

		if (!v)
			return -ENOMEM;
		t->v = v;
		t->size = size;
	}
	va_start(ap, fmt);
	n = vasprintf(&t->v[t->n], fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	t->n++;
	return 0;
}

/* ---- names ------------------------------------------------------------------------ */

struct name_set {
	const struct space *s;
	const bool *in;
	bool *full, *some;	/* of a region with all inside it */
	uint32_t *first, *next; /* of a region's rest: children that are not full */
};

static const char *region_text(const struct name_region *r, char out[static NAME_MAX_LEN + 8])
{
	snprintf(out, NAME_MAX_LEN + 8, "%s%.*s",
		 r->kind == NAME_BELOW	  ? "*."
		 : r->kind == NAME_SUFFIX ? "."
					  : "",
		 NAME_MAX_LEN, r->base ? r->base : "any name");
	return out;
}

static int say_rest(const struct name_set *x, uint32_t i, const char *before, struct policy_texts *ret)
{
	char text[NAME_MAX_LEN + 8];
	struct buf b = BUF_INIT(8192);
	size_t n = 0;
	int r;

	for (uint32_t c = x->first[i]; c != SPACE_NONE; c = x->next[c])
		n++;
	if (i == 0 && n > EXCEPT_MAX)
		return diff_text_add(ret, "%sany other name", before);
	r = buf_printf(&b, "%s%s except", before, region_text(&x->s->names[i], text));
	for (uint32_t c = x->first[i], k = 0; c != SPACE_NONE && k < EXCEPT_MAX && r == 0;
	     c = x->next[c], k++)
		r = buf_printf(&b, "%s %s", k ? " and" : "", region_text(&x->s->names[c], text));
	if (r == 0 && n > EXCEPT_MAX)
		r = buf_printf(&b, " and %zu more", n - EXCEPT_MAX);
	if (r == 0)
		r = buf_str(&b) ? diff_text_add(ret, "%s", buf_str(&b)) : -ENOMEM;
	buf_fini(&b);
	return r;
}

static int say_names(const struct name_set *x, const char *before, struct policy_texts *ret)
{
	char text[NAME_MAX_LEN + 8];
	int r = 0;

	for (uint32_t i = 0; i < x->s->n_names && r == 0; i++) {
		const struct name_region *n = &x->s->names[i];

		if (i && x->full[n->parent])
			continue;
		if (x->full[i] && x->some[i])
			r = diff_text_add(ret, "%s%s", before, region_text(n, text));
		else if (n->exists && x->in[i])
			r = say_rest(x, i, before, ret);
	}
	return r;
}

int diff_name_set_text(const struct space *s, const bool *in, const char *before,
		       struct policy_texts *ret)
{
	struct name_set x = { .s = s, .in = in };
	size_t n = s->n_names;
	int r = -ENOMEM;

	x.full = calloc(n, sizeof(*x.full));
	x.some = calloc(n, sizeof(*x.some));
	x.first = malloc(n * sizeof(*x.first));
	x.next = malloc(n * sizeof(*x.next));
	if (x.full && x.some && x.first && x.next) {
		for (size_t i = 0; i < n; i++) {
			x.some[i] = s->names[i].exists && in[i];
			x.full[i] = !s->names[i].exists || in[i];
			x.first[i] = SPACE_NONE;
		}
		/* Parents stand in front of their children. */
		for (uint32_t i = (uint32_t)n; --i > 0;) {
			uint32_t up = s->names[i].parent;

			x.full[up] &= x.full[i];
			x.some[up] |= x.some[i];
			if (x.full[i])
				continue;
			x.next[i] = x.first[up];
			x.first[up] = i;
		}
		r = say_names(&x, before, ret);
	}
	free(x.full);
	free(x.some);
	free(x.first);
	free(x.next);
	return r;
}

int diff_names_text(const struct space *s, const struct block *b, bool ingress,
		    struct policy_texts *ret)
{
	static const char *const before[] = {
		[NAME_PROVEN] = "", [NAME_CLAIMED] = "only claimed: ", [NAME_ANSWERED] = "only given out: "
	};
	bool *in[NAME_STATES] = { NULL }, nameless = false;
	size_t counts[NAME_STATES] = { 0 }, all = 0;
	int r = 0;

	if (ingress)
		return 0;
	for (size_t st = 0; st < NAME_STATES; st++) {
		in[st] = calloc(s->n_names, sizeof(bool));
		if (!in[st])
			r = -ENOMEM;
	}
	for (size_t i = 0; i < b->n_names && r == 0; i++) {
		nameless |= b->names[i].state == NAME_NONE;
		in[b->names[i].state][b->names[i].region] = true;
		counts[b->names[i].state]++;
	}
	for (size_t i = 0; i < s->n_names; i++)
		all += s->names[i].exists;
	if (r == 0 && nameless && counts[NAME_PROVEN] == all && counts[NAME_CLAIMED] == all) {
		r = diff_text_add(ret, "any name or none");
		nameless = false;
	} else if (r == 0) {
		for (size_t st = 0; st < NAME_STATES && r == 0; st++) {
			/* Claimed or not makes no difference most of the time. */
			bool same = st != NAME_PROVEN &&
				    memcmp(in[st], in[NAME_PROVEN], s->n_names) == 0;

			if (st != NAME_NONE && counts[st] && !same)
				r = diff_name_set_text(s, in[st], before[st], ret);
		}
	}
	if (r == 0 && nameless)
		r = diff_text_add(ret, "no name");
	for (size_t st = 0; st < NAME_STATES; st++)
		free(in[st]);
	return r;
}

/* ---- services ----------------------------------------------------------------------------- */

static int by_extent(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	if (x->ports.lo != y->ports.lo)
		return x->ports.lo < y->ports.lo ? -1 : 1;
	return (x->request > y->request) - (x->request < y->request);
}

/* The requests of e[0..n), all of one port range. Nothing when it is every request. */
static int add_requests(const struct space *s, const struct extent *e, size_t n, struct buf *b)
{
	size_t said = 0;
	int r = 0;

	if (e->proto != POLICY_TCP || e->dir != POLICY_EGRESS || n == s->n_requests)
		return 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct space_request *q = &s->requests[e[i].request];

		if (!q->method)
			continue;
		if (said == EXCEPT_MAX)
			r = buf_append_str(b, " and others");
		if (said++ >= EXCEPT_MAX)
			break;
		r = buf_printf(b, "%s%s %s", said == 1 ? ", requests like " : ", ", q->method,
			       q->path);
	}
	if (r == 0 && !e->request)
		r = buf_printf(b, ", %swhat is no readable request", said ? "and " : "");
	return r;
}

static bool same_requests(const struct extent *a, size_t n, const struct extent *b, size_t m)
{
	for (size_t i = 0; i < n && n == m; i++)
		if (a[i].request != b[i].request)
			return false;
	return n == m;
}

/* Extents of one direction and protocol whose ports begin at the same place. */
static size_t same_ports(const struct block *b, size_t at)
{
	size_t end = at;

	while (end < b->n_extents && b->extents[end].dir == b->extents[at].dir &&
	       b->extents[end].proto == b->extents[at].proto &&
	       b->extents[end].ports.lo == b->extents[at].ports.lo)
		end++;
	return end - at;
}

int diff_services_text(const struct space *s, struct block *b, struct policy_texts *ret)
{
	int r = 0;

	qsort(b->extents, b->n_extents, sizeof(*b->extents), by_extent);
	for (size_t i = 0; i < b->n_extents && r == 0;) {
		const struct extent *e = &b->extents[i];
		size_t n = same_ports(b, i), next = i + n;
		uint16_t hi = e->ports.hi;
		struct buf text = BUF_INIT((size_t)1 << 20);

		while (next < b->n_extents) {
			const struct extent *f = &b->extents[next];
			size_t m = same_ports(b, next);

			if (f->dir != e->dir || f->proto != e->proto || f->ports.lo != hi + 1 ||
			    !same_requests(e, n, f, m))
				break;
			hi = f->ports.hi;
			next += m;
		}
		r = buf_printf(&text, "%s%s", e->dir == POLICY_INGRESS ? "ingress " : "",
			       policy_proto_name(e->proto));
		if (r == 0 && e->ports.lo && !(e->ports.lo == 1 && hi == 65535))
			r = e->ports.lo == hi ? buf_printf(&text, " %u", hi)
					      : buf_printf(&text, " %u-%u", e->ports.lo, hi);
		if (r == 0)
			r = add_requests(s, e, n, &text);
		if (r == 0)
			r = buf_str(&text) ? diff_text_add(ret, "%s", buf_str(&text)) : -ENOMEM;
		buf_fini(&text);
		i = next;
	}
	return r;
}
