/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses in words a person would use: any before a family, groups before ranges,
 * "except" where little is missing.
 */
#include "policy/diff.h"
#include "policy/space_prefix.h"

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
