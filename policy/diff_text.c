/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets in words a person would use: groups before ranges, "*.example.com" before
 * the names below it, "except" where little is missing.
 */
#include "policy/diff.h"
#include "policy/space_prefix.h"

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

/* What is missing is named up to this many times. */
#define EXCEPT_MAX 4

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

/* ---- addresses -------------------------------------------------------------------------- */

/* A region's own rest, or a part of it, in order of addresses. */
struct piece {
	uint8_t family;
	u128 lo, hi;
	uint32_t region;
	bool in, said;
};

struct pieces {
	const struct space *s;
	struct piece *v;
	size_t n;
	struct policy_texts *ret;
};

static void cut_piece(struct pieces *x, uint32_t region, u128 lo, u128 hi)
{
	x->v[x->n++] = (struct piece){
		.family = x->s->addrs[region].prefix.addr.family, .lo = lo, .hi = hi, .region = region
	};
}

static bool region_holds(const struct space *s, uint32_t out, uint32_t in)
{
	return ip_in_prefix(&s->addrs[in].prefix.addr, &s->addrs[out].prefix) &&
	       s->addrs[in].prefix.len >= s->addrs[out].prefix.len;
}

/* Each child cuts what its parent has left. */
static void cut_pieces(struct pieces *x)
{
	uint32_t stack[2 + 32 + 128];
	u128 next[ARRAY_SIZE(stack)];
	bool over[ARRAY_SIZE(stack)];
	size_t depth = 0;

	for (uint32_t i = 1; i <= x->s->n_addrs; i++) {
		const struct ip_prefix *p;
		u128 lo, hi;

		while (depth && (i == x->s->n_addrs || !region_holds(x->s, stack[depth - 1], i))) {
			const struct ip_prefix *up = &x->s->addrs[stack[--depth]].prefix;

			if (!over[depth])
				cut_piece(x, stack[depth], next[depth],
					  prefix_last(up->addr.family, ip_value(&up->addr), up->len));
		}
		if (i == x->s->n_addrs)
			break;
		p = &x->s->addrs[i].prefix;
		lo = ip_value(&p->addr);
		hi = prefix_last(p->addr.family, lo, p->len);
		if (depth) {
			const struct ip_prefix *up = &x->s->addrs[stack[depth - 1]].prefix;

			if (lo > next[depth - 1])
				cut_piece(x, stack[depth - 1], next[depth - 1], lo - 1);
			next[depth - 1] = hi + 1;
			over[depth - 1] =
				hi == prefix_last(up->addr.family, ip_value(&up->addr), up->len);
		}
		stack[depth] = i;
		next[depth] = lo;
		over[depth++] = false;
	}
}

static int by_address(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static int add_range(struct buf *b, const char *sep, unsigned family, u128 lo, u128 hi)
{
	struct ip_addr first = ip_of_value(family, lo), end = ip_of_value(family, hi);
	char f[IP_STRLEN], e[IP_STRLEN];
	unsigned len = 0;

	while (len < family_bits(family) && prefix_last(family, lo, len) > hi)
		len++;
	/* Only where lo begins a prefix that ends with hi. */
	while (len <= family_bits(family)) {
		u128 mask = prefix_last(family, 0, len);

		if (!(lo & mask) && (lo | mask) == hi)
			break;
		len++;
	}
	if (lo == hi)
		return buf_printf(b, "%s%s", sep, ip_format(&first, f));
	if (len <= family_bits(family))
		return buf_printf(b, "%s%s/%u", sep, ip_format(&first, f), len);
	return buf_printf(b, "%s%s-%s", sep, ip_format(&first, f), ip_format(&end, e));
}

/*
 * Ranges of pieces that satisfy `want` and are not said yet, each a text of its own
 * or, with b, one behind another. Regions that are in no set do not part a range.
 */
static int each_range(struct pieces *x, bool in, int group, struct buf *b, size_t *ret_n)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < x->n && r == 0; i++) {
		struct buf own = BUF_INIT(256);
		size_t end = i, k;

		if (x->v[i].in != in || x->v[i].said ||
		    (group >= 0 && x->s->addrs[x->v[i].region].group != (enum policy_group)group))
			continue;
		for (k = i + 1; k < x->n; k++) {
			if (x->v[k].family != x->v[i].family || x->v[k].in != in || x->v[k].said ||
			    (group >= 0 &&
			     x->s->addrs[x->v[k].region].group != (enum policy_group)group))
				break;
			end = k;
		}
		n++;
		if (b && n <= EXCEPT_MAX) {
			r = add_range(b, n == 1 ? " " : " and ", x->v[i].family, x->v[i].lo,
				      x->v[end].hi);
		} else if (!b && x->ret) {
			r = add_range(&own, "", x->v[i].family, x->v[i].lo, x->v[end].hi);
			if (r == 0)
				r = buf_str(&own) ? diff_text_add(x->ret, "%s", buf_str(&own))
						  : -ENOMEM;
		}
		buf_fini(&own);
		i = end;
	}
	*ret_n = n;
	return r;
}

static size_t count_ranges(struct pieces *x, bool in, int group)
{
	struct policy_texts *ret = x->ret;
	size_t n = 0;

	x->ret = NULL;
	if (each_range(x, in, group, NULL, &n) < 0)
		n = SIZE_MAX;
	x->ret = ret;
	return n;
}

static int say_family(struct pieces *x, unsigned family, const char *text)
{
	bool all = true, some = false;

	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].family == family) {
			all &= x->v[i].in;
			some = true;
		}
	if (!all || !some)
		return 0;
	for (size_t i = 0; i < x->n; i++)
		x->v[i].said |= x->v[i].family == family;
	return diff_text_add(x->ret, "%s", text);
}

/* A group that is all in, or nearly. */
static int say_group(struct pieces *x, int g)
{
	size_t in = count_ranges(x, true, g), out = count_ranges(x, false, g), n;
	struct buf b = BUF_INIT(4096);
	int r = 0;

	if (in == 0 || out > EXCEPT_MAX || (out && out >= in))
		return 0;
	r = buf_printf(&b, "%s%s", policy_group_name((enum policy_group)g), out ? " except" : "");
	if (r == 0 && out)
		r = each_range(x, false, g, &b, &n);
	if (r == 0)
		r = buf_str(&b) ? diff_text_add(x->ret, "%s", buf_str(&b)) : -ENOMEM;
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].in && x->s->addrs[x->v[i].region].group == (enum policy_group)g)
			x->v[i].said = true;
	buf_fini(&b);
	return r;
}

/* Regions that hold nothing, and the gateway, are no pieces. */
static void drop_pieces(struct pieces *x, const uint32_t *addrs, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < x->n; i++) {
		const struct addr_region *r = &x->s->addrs[x->v[i].region];

		if (!r->exists || r->gateway)
			continue;
		for (size_t lo = 0, hi = n; lo < hi;) {
			size_t mid = lo + (hi - lo) / 2;

			if (addrs[mid] == x->v[i].region)
				x->v[i].in = true;
			if (addrs[mid] <= x->v[i].region)
				lo = mid + 1;
			else
				hi = mid;
		}
		x->v[kept++] = x->v[i];
	}
	x->n = kept;
}

static int say_addrs(struct pieces *x, bool gateway, bool all_gateways)
{
	bool all = true;
	size_t n;
	int r = 0;

	for (size_t i = 0; i < x->n; i++)
		all &= x->v[i].in;
	if (all && x->n)
		return diff_text_add(x->ret,
				     all_gateways ? "any address" : "any address but the gateway");
	if (gateway)
		r = diff_text_add(x->ret, "the gateway");
	if (r == 0)
		r = say_family(x, 4, "any IPv4 address");
	if (r == 0)
		r = say_family(x, 6, "any IPv6 address");
	for (int g = 0; g < POLICY_GROUPS && r == 0; g++)
		r = say_group(x, g);
	return r < 0 ? r : each_range(x, true, -1, NULL, &n);
}

static void texts_drop(struct policy_texts *t, size_t from)
{
	while (t->n > from)
		free(t->v[--t->n]);
}

/* "any address except A, B" where that is much shorter. */
static int say_shorter(struct pieces *x, bool gateway, bool all_gateways)
{
	struct policy_texts out = { 0 }, *ret = x->ret;
	struct buf b = BUF_INIT(4096);
	int r;

	for (size_t i = 0; i < x->n; i++) {
		x->v[i].in = !x->v[i].in;
		x->v[i].said = false;
	}
	x->ret = &out;
	r = say_addrs(x, !all_gateways, !gateway);
	if (r == 0 && out.n && out.n * 2 < ret->n && out.n <= EXCEPT_MAX) {
		r = buf_append_str(&b, "any address except ");
		for (size_t i = 0; i < out.n && r == 0; i++)
			r = buf_printf(&b, "%s%s", i ? ", " : "", out.v[i]);
		texts_drop(ret, 0);
		if (r == 0)
			r = buf_str(&b) ? diff_text_add(ret, "%s", buf_str(&b)) : -ENOMEM;
	}
	texts_drop(&out, 0);
	free(out.v);
	buf_fini(&b);
	return r;
}

int diff_addrs_text(const struct space *s, const struct block *b, struct policy_texts *ret)
{
	struct pieces x = { .s = s, .ret = ret };
	bool ingress = b->extents[0].dir == POLICY_INGRESS;
	size_t gateways = 0, in = 0;
	int r;

	/* Every region cuts its parent at most once more, and has one rest at the end. */
	x.v = calloc(2 * s->n_addrs + 1, sizeof(*x.v));
	if (!x.v)
		return -ENOMEM;
	cut_pieces(&x);
	drop_pieces(&x, b->addrs, b->n_addrs);
	qsort(x.v, x.n, sizeof(*x.v), by_address);
	/* No peer of an ingress flow is the gateway. */
	for (size_t i = 0; i < s->n_addrs && !ingress; i++)
		gateways += s->addrs[i].gateway;
	for (size_t i = 0; i < b->n_addrs; i++)
		in += s->addrs[b->addrs[i]].gateway;
	r = say_addrs(&x, in > 0, in == gateways);
	if (r == 0 && ret->n > EXCEPT_MAX)
		r = say_shorter(&x, in > 0, in == gateways);
	free(x.v);
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

static const char *proto_word(enum policy_proto p)
{
	return p == POLICY_TCP	    ? "tcp"
	       : p == POLICY_UDP    ? "udp"
	       : p == POLICY_ICMPV4 ? "icmpv4"
				    : "icmpv6";
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
			       proto_word(e->proto));
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
