/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions of addresses: the prefixes that rules, groups and group doh mention,
 * nested. IPv4 is repeated inside those IPv6 forms of it that an IPv6 prefix
 * rule speaks of; the other forms say nothing that IPv4 does not say.
 */
#include "base/base.h"
#include "policy/space.h"
#include "policy/space_prefix.h"

#include "doh_table.h"

/* Where IPv4 stands inside IPv6: behind `at` bits of base, inverted or not. */
static const struct form {
	uint8_t base[16];
	uint8_t at;
	uint8_t covers; /* length of the prefix that is all of this form */
	bool inverted;
} forms[] = {
	{ { [10] = 0xff, [11] = 0xff }, 96, 96, false }, /* mapped */
	{ { [8] = 0xff, [9] = 0xff }, 96, 96, false },	 /* translated */
	{ { 0x00, 0x64, 0xff, 0x9b }, 96, 96, false },	 /* NAT64 */
	{ { 0x20, 0x02 }, 16, 16, false },		 /* 6to4 */
	/* Teredo, by way of one server that is public. */
	{ { 0x20, 0x01, 0, 0, 0x41, 0x36, 0xe3, 0x78, 0x80, 0, 0x63, 0xbf }, 96, 32, true },
};
#define TEREDO 4

struct key {
	uint8_t family, len;
	u128 lo;
};

struct keys {
	struct key *v;
	size_t n, size;
};

static u128 last(const struct key *k)
{
	return prefix_last(k->family, k->lo, k->len);
}

static struct key key_of(const struct ip_prefix *p)
{
	return (struct key){ p->addr.family, p->len, ip_value(&p->addr) };
}

static struct key form_key(const struct form *f)
{
	struct ip_addr a = ip_from_be(6, f->base);
	u128 v = ip_value(&a);

	return (struct key){ 6, f->covers, v >> (128 - f->covers) << (128 - f->covers) };
}

/* An IPv4 prefix as it stands in that form. */
static struct key in_form(const struct form *f, const struct key *k)
{
	struct ip_addr base = ip_from_be(6, f->base);
	u128 v = k->lo;

	if (f->inverted)
		v = ~v >> (32 - k->len) << (32 - k->len) & 0xffffffff;
	return (struct key){ 6, (uint8_t)(f->at + k->len), ip_value(&base) | v << (96 - f->at) };
}

static int compare(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->lo != y->lo)
		return x->lo < y->lo ? -1 : 1;
	return (x->len > y->len) - (x->len < y->len);
}

static bool within(const struct key *in, const struct key *out)
{
	return in->family == out->family && in->len >= out->len && in->lo >= out->lo &&
	       in->lo <= last(out);
}

static int push(struct keys *k, struct key key)
{
	if (k->n == k->size) {
		size_t size = k->size ? k->size * 2 : 256;
		struct key *v = realloc(k->v, size * sizeof(*v));

		if (!v)
			return -ENOMEM;
		k->v = v;
		k->size = size;
	}
	k->v[k->n++] = key;
	return 0;
}

/* lo..hi as prefixes. */
static int push_range(struct keys *k, unsigned family, u128 lo, u128 hi)
{
	for (;;) {
		unsigned host = 0;
		struct key key;

		while (host < family_bits(family) && !(lo >> host & 1)) {
			key = (struct key){ (uint8_t)family,
					    (uint8_t)(family_bits(family) - host - 1), lo };
			if (last(&key) > hi)
				break;
			host++;
		}
		key = (struct key){ (uint8_t)family, (uint8_t)(family_bits(family) - host), lo };
		if (push(k, key) < 0)
			return -ENOMEM;
		if (last(&key) >= hi)
			return 0;
		lo = last(&key) + 1;
	}
}

static int push_groups(struct keys *k, unsigned family)
{
	struct ip_addr first, next;

	for (size_t i = 0; policy_group_run((int)family, i, &first); i++) {
		u128 hi = family == 4 ? 0xffffffff : ~(u128)0;

		if (policy_group_run((int)family, i + 1, &next))
			hi = ip_value(&next) - 1;
		if (push_range(k, family, ip_value(&first), hi) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int push_rules(const struct space *s, struct keys *k, unsigned family)
{
	for (size_t l = 0; l < s->n_lists; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++) {
			const struct policy_rule *r = &s->list[l].p->rules[i];

			if (r->dest == POLICY_DEST_PREFIX && r->prefix.addr.family == family &&
			    push(k, key_of(&r->prefix)) < 0)
				return -ENOMEM;
		}
	for (size_t i = 0; i < s->gw->n; i++)
		if (s->gw->v[i].family == family &&
		    push(k, (struct key){ (uint8_t)family, (uint8_t)family_bits(family),
					  ip_value(&s->gw->v[i]) }) < 0)
			return -ENOMEM;
	for (size_t i = 0; s->has_doh && i < ARRAY_SIZE(doh_prefixes); i++)
		if (doh_prefixes[i].addr.family == family && push(k, key_of(&doh_prefixes[i])) < 0)
			return -ENOMEM;
	return 0;
}

/* Does an IPv6 prefix of a rule overlap this form? */
static bool is_touched(const struct keys *rules6, const struct key *form)
{
	for (size_t i = 0; i < rules6->n; i++)
		if (within(&rules6->v[i], form) || within(form, &rules6->v[i]))
			return true;
	return false;
}

static void sort_unique(struct keys *k)
{
	size_t n = 0;

	qsort(k->v, k->n, sizeof(*k->v), compare);
	for (size_t i = 0; i < k->n; i++)
		if (!n || compare(&k->v[n - 1], &k->v[i]) != 0)
			k->v[n++] = k->v[i];
	k->n = n;
}

/* All regions; those of IPv4 come first. */
static int collect(const struct space *s, struct keys *k, bool touched[ARRAY_SIZE(forms)])
{
	struct keys rules6 = { 0 };
	size_t n4;
	int r = push_rules(s, &rules6, 6);

	if (r == 0)
		r = push(k, (struct key){ 4, 0, 0 });
	if (r == 0)
		r = push_groups(k, 4);
	if (r == 0)
		r = push_rules(s, k, 4);
	sort_unique(k);
	n4 = k->n;
	if (r == 0)
		r = push(k, (struct key){ 6, 0, 0 });
	if (r == 0)
		r = push(k, (struct key){ 6, 96, 0 });
	if (r == 0)
		r = push_groups(k, 6);
	if (r == 0)
		r = push_rules(s, k, 6);
	for (size_t f = 0; f < ARRAY_SIZE(forms) && r == 0; f++) {
		struct key form = form_key(&forms[f]);

		touched[f] = is_touched(&rules6, &form);
		r = push(k, form);
		for (size_t i = 0; touched[f] && i < n4 && r == 0; i++)
			r = push(k, in_form(&forms[f], &k->v[i]));
	}
	free(rules6.v);
	return r;
}

/* ---- what is in a region ----------------------------------------------------- */

/* Addresses that are read as one only: nothing inside, or one where a form has it. */
static bool is_plain(const struct ip_addr *a)
{
	struct ip_addr in[2];
	static const uint8_t zero[12];

	if (a->family == 4)
		return true;
	if (memcmp(a->b, zero, 12) == 0)
		return policy_embedded_all(a, in) == 0;
	if ((a->b[8] & 0xfd) == 0 && a->b[9] == 0 && a->b[10] == 0x5e && a->b[11] == 0xfe)
		return false;
	return true;
}

/* Well-known addresses say more in an example than the first of a region. */
static const struct ip_prefix nice[] = {
	{ { 4, { 93, 184, 215, 14 } }, 32 },
	{ { 4, { 10, 0, 0, 1 } }, 32 },
	{ { 4, { 169, 254, 169, 254 } }, 32 },
	{ { 6,
	    { 0x26, 0x06, 0x28, 0x00, 0x02, 0x1f, 0xcb, 0x07, 0x68, 0x20, 0x80, 0xda, 0xaf, 0x6b,
	      0x8b, 0x2c } },
	  128 },
};

/* An address of lo..hi. False: none but those that the space leaves out. */
static bool sample_of(unsigned family, u128 lo, u128 hi, struct ip_addr *ret)
{
	const u128 tries[] = { lo + (lo < hi), lo, hi, lo + (hi - lo) / 2 };

	for (size_t i = 0; i < ARRAY_SIZE(nice); i++) {
		u128 v = ip_value(&nice[i].addr);

		if (nice[i].addr.family == family && v >= lo && v <= hi) {
			*ret = nice[i].addr;
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		*ret = ip_of_value(family, tries[i]);
		if (is_plain(ret))
			return true;
	}
	return false;
}

/* What a region's own rest begins and ends with: its widest gap between children. */
struct gap {
	u128 next, lo, hi; /* next: where the rest that is not looked at yet begins */
	bool found, full;  /* full: a child ends with the region */
};

static void gap_note(struct gap *g, u128 lo, u128 hi)
{
	if (g->found && hi - lo <= g->hi - g->lo)
		return;
	g->found = true;
	g->lo = lo;
	g->hi = hi;
}

static void gap_child(struct gap *g, const struct key *up, const struct key *child)
{
	if (child->lo > g->next)
		gap_note(g, g->next, child->lo - 1);
	g->full = last(child) == last(up);
	g->next = last(child) + 1;
}

static bool left_out(const struct key *k)
{
	static const struct key compatible = { 6, 96, 0 };
	struct key teredo = form_key(&forms[TEREDO]);

	return within(k, &compatible) || within(k, &teredo);
}

/* A prefix of a rule of which the space has no address, or not all kinds. */
static bool is_odd(const struct key *k)
{
	static const struct key compatible = { 6, 96, 0 };
	struct key teredo = form_key(&forms[TEREDO]);
	struct ip_addr a = ip_of_value(k->family, k->lo);

	if (k->family == 4)
		return false;
	if (within(k, &teredo) && k->len > teredo.len)
		return true;
	if (within(k, &compatible) && !(k->len == 128 && k->lo <= 1))
		return true;
	return k->len >= 96 && !is_plain(&a);
}

static void finish(struct space *s, const struct key *k, struct gap *g, uint32_t at,
		   const bool touched[ARRAY_SIZE(forms)])
{
	struct addr_region *r = &s->addrs[at];
	bool form = false;

	if (!g->full)
		gap_note(g, g->next, last(k));
	r->exists = g->found && sample_of(k->family, g->lo, g->hi, &r->sample);
	for (size_t f = 0; f < ARRAY_SIZE(forms); f++) {
		struct key whole = form_key(&forms[f]);

		if (k->family != 6 || !within(k, &whole))
			continue;
		form = true;
		if (!touched[f])
			r->exists = false;
	}
	/* Of Teredo only what stands behind the one server is looked at. */
	if (form && left_out(k)) {
		struct key none = { 4, 0, 0 }, server = in_form(&forms[TEREDO], &none);

		r->exists = r->exists && within(k, &server);
	} else if (left_out(k)) {
		r->exists = k->len == 128 && k->lo <= 1;
	}
	if (!r->exists)
		return;
	for (size_t i = 0; i < s->gw->n; i++)
		if (k->len == family_bits(k->family) && ip_equal(&s->gw->v[i], &r->sample))
			r->gateway = true;
	r->group = policy_group_of(&r->sample);
	r->doh = s->has_doh && policy_doh_address(&r->sample, POLICY_DENY);
}

static int build(struct space *s, const struct keys *k, const bool touched[ARRAY_SIZE(forms)])
{
	struct gap gaps[2 + 32 + 128 + 1] = { 0 };
	uint32_t stack[ARRAY_SIZE(gaps)];
	size_t depth = 0;

	s->addrs = calloc(k->n + 1, sizeof(*s->addrs));
	if (!s->addrs)
		return -ENOMEM;
	s->n_addrs = k->n + 1;
	s->addrs[0] = (struct addr_region){ .parent = SPACE_NONE };
	for (uint32_t i = 0; i <= k->n; i++) {
		while (depth && (i == k->n || !within(&k->v[i], &k->v[stack[depth - 1]]))) {
			depth--;
			finish(s, &k->v[stack[depth]], &gaps[depth], stack[depth] + 1, touched);
		}
		if (i == k->n)
			break;
		if (depth)
			gap_child(&gaps[depth - 1], &k->v[stack[depth - 1]], &k->v[i]);
		s->addrs[i + 1] = (struct addr_region){
			.parent = depth ? stack[depth - 1] + 1 : 0,
			.prefix = { ip_of_value(k->v[i].family, k->v[i].lo), k->v[i].len },
			.odd = is_odd(&k->v[i]),
		};
		gaps[depth] = (struct gap){ .next = k->v[i].lo };
		stack[depth++] = i;
	}
	return 0;
}

static uint32_t find(const struct keys *k, struct key key)
{
	const struct key *x = bsearch(&key, k->v, k->n, sizeof(key), compare);

	return x ? (uint32_t)(x - k->v) + 1 : SPACE_NONE;
}

static void place(const struct keys *k, const bool touched[ARRAY_SIZE(forms)],
		  const struct policy_rule *r, struct rule_place *ret)
{
	struct key key;

	if (r->dest != POLICY_DEST_PREFIX)
		return;
	key = key_of(&r->prefix);
	ret->odd = is_odd(&key);
	ret->addrs[ret->n_addrs++] = find(k, key);
	for (size_t f = 0; f < ARRAY_SIZE(forms) && key.family == 4; f++)
		if (touched[f])
			ret->addrs[ret->n_addrs++] = find(k, in_form(&forms[f], &key));
}

int space_addrs_build(struct space *s)
{
	bool touched[ARRAY_SIZE(forms)] = { false };
	struct keys k = { 0 };
	int r = collect(s, &k, touched);

	if (r == 0) {
		sort_unique(&k);
		r = build(s, &k, touched);
	}
	for (size_t l = 0; l < s->n_lists && r == 0; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++)
			place(&k, touched, &s->list[l].p->rules[i], &s->list[l].places[i]);
	free(k.v);
	return r;
}
