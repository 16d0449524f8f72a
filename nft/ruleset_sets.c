/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sets of a policy's rules: ranges of addresses that never change, IPv6 forms of
 * IPv4 included, and names' addresses, which come and go.
 */
#include "nft/ruleset_internal.h"

#include <stdlib.h>

int nft_grow(void **list, size_t n, size_t *size, size_t each)
{
	size_t want = *size ? *size * 2 : 8;
	void *p;

	if (n < *size)
		return 0;
	p = realloc(*list, want * each);
	if (!p)
		return -ENOMEM;
	*list = p;
	*size = want;
	return 0;
}

static int compare_addr(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->b, b->b, ip_size(a));
}

static int compare_range(const void *a, const void *b)
{
	const struct addr_range *x = a, *y = b;

	return compare_addr(&x->first, &y->first);
}

bool nft_next_address(const struct ip_addr *a, struct ip_addr *ret)
{
	*ret = *a;
	for (size_t i = ip_size(a); i-- > 0;)
		if (++ret->b[i])
			return true;
	return false;
}

/* Ranges that overlap or touch become one: the kernel takes no other interval sets. */
static void merge_ranges(struct nft_set *s)
{
	struct ip_addr behind;
	size_t n = 0;

	if (s->n_ranges == 0)
		return;
	qsort(s->ranges, s->n_ranges, sizeof(*s->ranges), compare_range);
	for (size_t i = 1; i < s->n_ranges; i++) {
		struct addr_range *at = &s->ranges[n];

		if (!nft_next_address(&at->last, &behind) ||
		    compare_addr(&s->ranges[i].first, &behind) <= 0) {
			if (compare_addr(&s->ranges[i].last, &at->last) > 0)
				at->last = s->ranges[i].last;
			continue;
		}
		s->ranges[++n] = s->ranges[i];
	}
	s->n_ranges = n + 1;
}

static int compare_address(const void *a, const void *b)
{
	const struct set_address *x = a, *y = b;
	int c = compare_addr(&x->addr, &y->addr);

	/* Of one address twice, the longest life first. */
	return c ? c : (x->seconds - 1 < y->seconds - 1) - (x->seconds - 1 > y->seconds - 1);
}

static void unique_addresses(struct nft_set *s)
{
	size_t n = 0;

	if (s->n_addrs == 0)
		return;
	qsort(s->addrs, s->n_addrs, sizeof(*s->addrs), compare_address);
	for (size_t i = 1; i < s->n_addrs; i++)
		if (!ip_equal(&s->addrs[i].addr, &s->addrs[n].addr))
			s->addrs[++n] = s->addrs[i];
	s->n_addrs = n + 1;
}

/* A pair of sets being filled, IPv4 and IPv6. */
struct filling {
	struct nft_set *set[2];
	size_t size[2];
	int err;
};

static void add_range(void *user, const struct ip_addr *first, const struct ip_addr *last)
{
	struct filling *f = user;
	unsigned at = first->family == 6;
	struct nft_set *s = f->set[at];
	void *ranges = s->ranges;

	if (f->err == 0)
		f->err = nft_grow(&ranges, s->n_ranges, &f->size[at], sizeof(*s->ranges));
	s->ranges = ranges;
	if (f->err == 0)
		s->ranges[s->n_ranges++] = (struct addr_range){ *first, *last };
}

static bool in_range(const struct ip_addr *a, const struct addr_range *r)
{
	return a->family == r->first.family && compare_addr(a, &r->first) >= 0 &&
	       compare_addr(a, &r->last) <= 0;
}

/* The gateway is of group host and of no other. */
static void cut_out(struct filling *f, const struct ip_addr *a)
{
	struct nft_set *s = f->set[a->family == 6];
	struct ip_addr behind = *a;

	for (size_t i = 0; i < s->n_ranges; i++) {
		struct addr_range *r = &s->ranges[i], old = *r;
		bool more = nft_next_address(a, &behind) && compare_addr(&behind, &old.last) <= 0;

		if (!in_range(a, &old))
			continue;
		if (ip_equal(a, &old.first) && !more) {
			*r = s->ranges[--s->n_ranges];
		} else if (ip_equal(a, &old.first)) {
			r->first = behind;
		} else {
			r->last = *a;
			for (size_t k = ip_size(a); k-- > 0 && r->last.b[k]-- == 0;)
				;
			if (more)
				add_range(f, &behind, &old.last);
		}
		return;
	}
}

static void add_prefix(struct filling *f, const struct ip_prefix *p)
{
	struct ip_addr last = p->addr;

	for (unsigned bit = p->len; bit < ip_size(&last) * 8; bit++)
		last.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	add_range(f, &p->addr, &last);
	/* Forms that wrap an IPv4 address are judged as the address inside. */
	if (last.family == 4)
		policy_wrapped_ranges(&p->addr, &last, add_range, f);
}

static bool name_matches(const struct policy_rule_view *r, const struct name *n)
{
	switch (r->dest) {
	case POLICY_DEST_NAME:
		return name_equal(n, &r->name);
	case POLICY_DEST_SUFFIX:
		return name_in_suffix(n, &r->name, true);
	case POLICY_DEST_BELOW:
		return name_in_suffix(n, &r->name, false);
	case POLICY_DEST_DOH:
		return policy_doh_name(n);
	default:
		return false;
	}
}

static void add_addresses(struct filling *f, const struct policy_rule_view *r,
			  const struct nft_facts *facts)
{
	for (size_t i = 0; i < facts->n_names && f->err == 0; i++) {
		const struct nft_name *n = &facts->names[i];
		unsigned at = n->addr.addr.family == 6;
		struct nft_set *s = f->set[at];
		void *addrs = s->addrs;

		if (!name_matches(r, &n->name))
			continue;
		f->err = nft_grow(&addrs, s->n_addrs, &f->size[at], sizeof(*s->addrs));
		s->addrs = addrs;
		if (f->err == 0)
			s->addrs[s->n_addrs++] = n->addr;
	}
}

static const char *dest_text(const struct policy_rule_view *r, char *out, size_t size)
{
	const char *mark = r->dest == POLICY_DEST_SUFFIX  ? "."
			   : r->dest == POLICY_DEST_BELOW ? "*."
							  : "";

	snprintf(out, size, "%s%s", mark, r->name.s);
	return out;
}

/* Two empty sets at the end of the list; *ret is the index of the IPv4 one. */
static int new_pair(struct nft_ruleset *rs, const char *name, const char *comment, bool by_name,
		    int *ret)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		void *sets = rs->sets;
		int r = nft_grow(&sets, rs->n_sets, &rs->sets_size, sizeof(*rs->sets));
		struct nft_set *s;

		rs->sets = sets;
		if (r < 0)
			return r;
		s = &rs->sets[rs->n_sets++];
		*s = (struct nft_set){ .family = v6 ? 6 : 4, .by_name = by_name };
		snprintf(s->name, sizeof(s->name), "%s_%s", name, v6 ? "v6" : "v4");
		snprintf(s->comment, sizeof(s->comment), "%s", comment);
	}
	*ret = (int)rs->n_sets - 2;
	return 0;
}

static void add_prefixes(struct filling *f, const struct policy *p, struct run run)
{
	struct policy_rule_view r;

	for (size_t i = run.first; i <= run.last && f->err == 0; i++) {
		policy_rule_view(p, i, &r);
		add_prefix(f, &r.prefix);
	}
}

/* r is the first rule of the run. */
static int fill(struct nft_ruleset *rs, const struct policy *p, const struct policy_rule_view *r,
		struct run run, const struct nft_facts *facts, int at)
{
	struct filling f = { .set = { &rs->sets[at], &rs->sets[at + 1] } };
	const struct ip_prefix *doh;
	size_t n;

	if (rs->sets[at].by_name)
		add_addresses(&f, r, facts);
	else if (r->dest == POLICY_DEST_PREFIX)
		add_prefixes(&f, p, run);
	else if (r->dest == POLICY_DEST_DOH)
		for (n = policy_doh_prefixes(&doh); n-- > 0;)
			add_prefix(&f, &doh[n]);
	else if (r->group == POLICY_GROUP_HOST)
		for (n = 0; n < facts->n_gateways; n++)
			add_range(&f, &facts->gateways[n], &facts->gateways[n]);
	else {
		policy_group_ranges(r->group, add_range, &f);
		for (n = 0; n < facts->n_gateways; n++)
			cut_out(&f, &facts->gateways[n]);
	}
	for (unsigned v6 = 0; v6 < 2; v6++) {
		merge_ranges(f.set[v6]);
		unique_addresses(f.set[v6]);
	}
	return f.err;
}

int nft_address_sets(struct nft_ruleset *rs, const struct policy *p, const struct policy_rule_view *r,
		     struct run run, const struct nft_facts *facts, int *ret)
{
	char name[16], comment[NAME_MAX_LEN + 8] = "";
	int err;

	*ret = -1;
	if (r->dest == POLICY_DEST_ANY)
		return 0;
	if (r->dest == POLICY_DEST_GROUP)
		snprintf(name, sizeof(name), "%s", policy_group_name(r->group));
	else
		snprintf(name, sizeof(name), "%s%zu", r->dest == POLICY_DEST_DOH ? "doh" : "rule",
			 run.first);
	for (size_t i = 0; r->dest == POLICY_DEST_GROUP && i < rs->n_sets; i++)
		if (str_starts(rs->sets[i].name, name) && rs->sets[i].name[strlen(name)] == '_') {
			*ret = (int)i;
			return 0;
		}
	err = new_pair(rs, name, comment, false, ret);
	return err < 0 ? err : fill(rs, p, r, run, facts, *ret);
}

int nft_name_sets(struct nft_ruleset *rs, const struct policy *p, const struct policy_rule_view *r,
		  struct run run, const struct nft_facts *facts, int *ret)
{
	char name[16], comment[NAME_MAX_LEN + 8];
	int err;

	snprintf(name, sizeof(name), "name%zu", run.first);
	err = new_pair(rs, name,
		       r->dest == POLICY_DEST_DOH ? "doh" : dest_text(r, comment, sizeof(comment)),
		       true, ret);
	return err < 0 ? err : fill(rs, p, r, run, facts, *ret);
}
