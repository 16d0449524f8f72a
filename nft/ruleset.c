/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy to table. First match stays first match: each rule of the policy
 * becomes consecutive rules of a chain. Where the kernel knows less than the
 * policy asks (requests, names that nobody told), an allow allows nothing and a
 * deny denies all that it might mean.
 */
#include "nft/ruleset.h"

#include <stdlib.h>

/* ---- runs ------------------------------------------------------------------------ */

/* Rules of the policy that share their sets: each with its own costs the kernel too much. */
struct run {
	size_t first, last;
};
/* Shorter runs keep a counter for each rule. */
#define RUN_MIN 64

/* Alike but for their prefixes, so that it makes no difference which of them decides. */
static bool alike(const struct policy_rule_view *a, const struct policy_rule_view *b)
{
	return b->dest == POLICY_DEST_PREFIX && !b->http && !b->id && a->action == b->action &&
	       a->dirs == b->dirs && a->protos == b->protos && a->n_ports == b->n_ports &&
	       (!a->n_ports || memcmp(a->ports, b->ports, a->n_ports * sizeof(*a->ports)) == 0);
}

static struct run run_from(const struct policy *p, size_t i)
{
	struct policy_rule_view first, next;
	struct run run = { i, i };

	policy_rule_view(p, i, &first);
	if (!alike(&first, &first))
		return run;
	while (run.last + 1 < policy_rule_count(p)) {
		policy_rule_view(p, run.last + 1, &next);
		if (!alike(&first, &next))
			break;
		run.last++;
	}
	return run.last - i + 1 < RUN_MIN ? (struct run){ i, i } : run;
}

/* ---- sets ------------------------------------------------------------------------ */

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

/* Makes room for one more of what a list holds; doubles. */
static int grow(void **list, size_t n, size_t *size, size_t each)
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
		f->err = grow(&ranges, s->n_ranges, &f->size[at], sizeof(*s->ranges));
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
		f->err = grow(&addrs, s->n_addrs, &f->size[at], sizeof(*s->addrs));
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
		int r = grow(&sets, rs->n_sets, &rs->sets_size, sizeof(*rs->sets));
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

/* The sets of a rule by address; groups share theirs. -1: any address. */
static int address_sets(struct nft_ruleset *rs, const struct policy *p,
			const struct policy_rule_view *r, struct run run,
			const struct nft_facts *facts, int *ret)
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

static int name_sets(struct nft_ruleset *rs, const struct policy *p, const struct policy_rule_view *r,
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

/* ---- rules ----------------------------------------------------------------------- */

static int add_rule(struct nft_ruleset *rs, const struct nft_rule *rule)
{
	void *rules = rs->rules;
	int r = grow(&rules, rs->n_rules, &rs->rules_size, sizeof(*rs->rules));

	rs->rules = rules;
	if (r == 0)
		rs->rules[rs->n_rules++] = *rule;
	return r;
}

/* One rule for each protocol and port range that the policy's rule names. */
static int add_conditions(struct nft_ruleset *rs, const struct policy_rule_view *v, struct nft_rule r)
{
	uint8_t protos = v->protos;
	int err = 0;

	if (v->n_ports && !protos)
		protos = POLICY_TCP | POLICY_UDP;
	if (!protos)
		return add_rule(rs, &r);
	for (unsigned bit = POLICY_TCP; bit <= POLICY_ICMPV6 && err == 0; bit <<= 1) {
		if (!(protos & bit))
			continue;
		if ((bit == POLICY_ICMPV4 && r.family == 6) ||
		    (bit == POLICY_ICMPV6 && r.family == 4))
			continue;
		r.proto = (uint8_t)bit;
		r.ports = (struct port_range){ 0, 0 };
		if (!v->n_ports)
			err = add_rule(rs, &r);
		for (size_t i = 0; i < v->n_ports && err == 0; i++) {
			r.ports = v->ports[i];
			err = add_rule(rs, &r);
		}
	}
	return err;
}

static int add_for_sets(struct nft_ruleset *rs, const struct policy_rule_view *v, struct nft_rule r,
			int at)
{
	int err = 0;

	r.set = at;
	if (at < 0)
		return add_conditions(rs, v, r);
	for (unsigned v6 = 0; v6 < 2 && err == 0; v6++) {
		const struct nft_set *s = &rs->sets[at + (int)v6];

		/* A set of names may be filled later; a fixed one that is empty matches nothing. */
		if (!s->by_name && !s->n_ranges)
			continue;
		r.family = s->family;
		r.set = at + (int)v6;
		err = add_conditions(rs, v, r);
	}
	return err;
}

static int add_run(struct nft_ruleset *rs, const struct policy *p, struct run run,
		   const struct nft_facts *facts, nft_note_fn *note, void *user)
{
	const size_t i = run.first;
	struct policy_rule_view v;
	struct nft_rule r = { .rule = (int)i, .last = (int)run.last };
	int by_addr = -1, by_name = -1, err = 0;

	policy_rule_view(p, i, &v);
	r.id = v.id;
	r.verdict = v.action == POLICY_ALLOW ? NFT_RULE_ACCEPT : NFT_RULE_REFUSE;
	if (v.http && v.action == POLICY_ALLOW) {
		note(user, (int)i, v.id,
		     "allows some requests only: the kernel reads none, left out");
		return 0;
	}
	if (v.http)
		note(user, (int)i, v.id,
		     "denies some requests: the kernel reads none, all are denied");
	if (v.dest == POLICY_DEST_GROUP && v.group == POLICY_GROUP_HOST && !facts->n_gateways)
		note(user, (int)i, v.id,
		     "is on group host: tell the gateway's address with --gateway");
	if (v.dest >= POLICY_DEST_NAME && v.action == POLICY_DENY)
		note(user, (int)i, v.id,
		     "denies by name: only addresses that are put into its set are refused");
	if (v.dest < POLICY_DEST_NAME || v.dest == POLICY_DEST_DOH)
		err = address_sets(rs, p, &v, run, facts, &by_addr);
	if (err == 0 && v.dest >= POLICY_DEST_NAME)
		err = name_sets(rs, p, &v, run, facts, &by_name);
	for (unsigned dir = POLICY_EGRESS; dir <= POLICY_INGRESS && err == 0; dir <<= 1) {
		if (!(v.dirs & dir))
			continue;
		r.dir = (enum policy_dir)dir;
		if (by_addr >= 0 || v.dest == POLICY_DEST_ANY)
			err = add_for_sets(rs, &v, r, by_addr);
		if (by_name >= 0 && err == 0)
			err = add_for_sets(rs, &v, r, by_name);
	}
	return err;
}

int nft_ruleset_make(const struct policy *p, const struct nft_facts *facts, nft_note_fn *note,
		     void *user, struct nft_ruleset *rs)
{
	int err = 0;

	rs->drop = policy_drops_denied(p);
	for (size_t i = 0; i < policy_rule_count(p) && err == 0;) {
		struct run run = run_from(p, i);

		err = add_run(rs, p, run, facts, note, user);
		i = run.last + 1;
	}
	for (unsigned dir = POLICY_EGRESS; dir <= POLICY_INGRESS && err == 0; dir <<= 1) {
		struct nft_rule last = { .dir = (enum policy_dir)dir, .set = -1, .rule = -1 };

		last.verdict = policy_default(p, last.dir) == POLICY_ALLOW ? NFT_RULE_ACCEPT
									   : NFT_RULE_REFUSE;
		err = add_rule(rs, &last);
	}
	return err;
}

const char *nft_rule_comment(const struct nft_rule *r, char *out, size_t size)
{
	if (r->rule < 0)
		snprintf(out, size, "weir default");
	else if (r->last > r->rule)
		snprintf(out, size, "weir %d-%d", r->rule, r->last);
	else
		snprintf(out, size, "weir %d%s%s", r->rule, r->id ? " " : "", r->id ? r->id : "");
	return out;
}

void nft_ruleset_fini(struct nft_ruleset *rs)
{
	for (size_t i = 0; i < rs->n_sets; i++) {
		free(rs->sets[i].ranges);
		free(rs->sets[i].addrs);
	}
	free(rs->sets);
	free(rs->rules);
	*rs = (struct nft_ruleset){ 0 };
}
