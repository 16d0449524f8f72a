/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The space of facts, cut along the lines that the rules of one or two lists
 * draw, and nowhere else. Internal to policy/; what lint and diff stand on.
 *
 * A point of the space is a flow whose facts are all known:
 *
 *   service   direction, protocol, port, request. Which rules are in play rests on
 *             these alone; extents with the same rules in play are one service.
 *   name      a region of names (a name, or what is below a suffix and nowhere
 *             mentioned, or any other name), proven or only claimed; or no name.
 *   address   a region of addresses (a prefix without the prefixes inside it), or the
 *             gateway.
 *
 * Regions are laminar (two of them are nested or disjoint), so the rules that
 * match a region are its own and those of its parents. Of a name region and of
 * an address region only the least matching index counts, and the next: the
 * verdict of a pair is that of the smaller index. Nothing is ever multiplied out.
 *
 * Left out, because rules deliberately read them in the least public way and no
 * two spellings of one policy agree on them: IPv6 addresses that carry two IPv4
 * addresses, ISATAP, Teredo over a server that is not public, and ::/96. IPv6
 * forms of IPv4 that no IPv6 prefix rule speaks of are the IPv4 address itself.
 */
#ifndef WEIR_POLICY_SPACE_H
#define WEIR_POLICY_SPACE_H

#include "policy/policy_internal.h"

/*
 * Rules and regions looked at, all services together: seconds of work. Beyond
 * it the answer is "too much to compare", never a guess.
 */
#define SPACE_WORK_MAX UINT64_C(400000000)
/* States while request classes are sought, and how many classes there may be. */
#define SPACE_STATES_MAX 100000u
#define SPACE_REQUESTS_MAX 20000u

#define SPACE_NONE UINT32_MAX

/* The least two indices of rules that match; the list's length: none. */
struct firsts {
	uint32_t a, b;
};

enum name_region_kind {
	NAME_OTHER = 0,	 /* root: any name that no other region holds */
	NAME_EXACT = 1,	 /* base itself */
	NAME_SUFFIX = 2, /* base and below: always split in the two others */
	NAME_BELOW = 3,	 /* below base, in no region further down */
};

struct name_region {
	uint32_t parent;
	enum name_region_kind kind;
	bool exists;	  /* some name is in it and in none of its children */
	bool doh;	  /* its names are in group doh */
	const char *base; /* of a rule or a table; NULL for the root */
};

struct addr_region {
	uint32_t parent;
	struct ip_prefix prefix;
	bool exists;
	bool gateway; /* the sandbox's gateway, of group host and no other */
	bool odd;     /* only addresses that the space leaves out */
	bool doh;
	enum policy_group group;
	struct ip_addr sample;
};

struct space_request {
	char *method, *path; /* NULL: not a request, or it could not be read */
};

/* Facts of one service: all have the same rules in play. */
struct extent {
	enum policy_dir dir;
	enum policy_proto proto;
	struct port_range ports; /* 0-0 with ICMP */
	uint32_t request;	 /* index in requests; 0: none */
};

struct service {
	uint64_t key[2]; /* of the rules in play */
	struct extent *extents;
	size_t n_extents, extents_size;
};

/* Where a rule stands in the regions; at most one v4 prefix and its IPv6 forms. */
#define RULE_REGIONS 6
struct rule_place {
	uint32_t name;
	uint32_t addrs[RULE_REGIONS];
	uint8_t n_addrs;
	bool odd; /* partly or only on addresses that are left out: nothing is said of it */
};

struct space_list {
	const struct policy *p;
	struct rule_place *places;
	/* Of the service last solved: */
	bool *active;
	struct firsts any, host, doh, claimed_doh, none, group[POLICY_GROUPS];
	struct firsts *names, *claimed, *addrs;
};

struct space {
	struct space_list list[2];
	size_t n_lists;
	const struct policy_gateways *gw; /* while it is built */
	bool has_doh;

	struct name_region *names; /* parents first; [0] is the root */
	size_t n_names;
	struct addr_region *addrs; /* parents first; [0] is the root of both families */
	size_t n_addrs;
	struct space_request *requests;
	size_t n_requests, requests_size;
	struct service *services;
	size_t n_services, services_size;

	struct name_index *index; /* sorted names, for lookups */
	size_t n_index;
	uint64_t work;
};

/*
 * The lists' own rules, floors left out. -E2BIG: beyond a bound above, why says
 * which. The policies must outlive the space.
 */
must_check int space_new(const struct policy *a, const struct policy *b,
			 const struct policy_gateways *gw, struct space **ret, struct why *why);
void space_free(struct space *s);

/* Fills what a list says within one service. -E2BIG when the work is used up. */
must_check int space_solve(struct space *s, const struct service *v);
/* The same for names asked of the resolver: rules as policy_decide_query() takes them. */
must_check int space_solve_queries(struct space *s);

/* Everything but its destination: could this rule match a flow of this extent? */
bool space_in_play(const struct space *s, const struct policy_rule *r, const struct extent *e);

/* Of the service last solved. Which names a region pair's flow shows: */
enum name_state {
	NAME_PROVEN = 0,
	NAME_CLAIMED = 1,
	NAME_NONE = 2,
	NAME_ANSWERED = 3, /* as proven, but not under strict_names */
};
#define NAME_STATES 4
struct firsts space_name_firsts(const struct space *s, size_t list, enum name_state st, uint32_t n);
struct firsts space_addr_firsts(const struct space *s, size_t list, uint32_t a);
struct firsts firsts_merge(struct firsts x, struct firsts y);

/* An address or a name in that region, nice to read; false when there is none. */
bool space_name_sample(const struct space *s, uint32_t region, struct name *ret);
/* The name region that holds n. */
uint32_t space_name_find(const struct space *s, const struct name *n);

/* A flow of this extent at these regions. `name` keeps the text. */
struct policy_facts space_facts(const struct space *s, const struct extent *e, enum name_state st,
				uint32_t name_region, uint32_t addr_region, struct name *name);
/* "tcp 93.184.215.14:443 named api.example.com, GET /v1". */
int space_facts_format(const struct policy_facts *f, struct buf *out);

/* ---- the parts space_new() is made of ---------------------------------------- */

must_check int space_names_build(struct space *s);
must_check int space_addrs_build(struct space *s);
must_check int space_requests_build(struct space *s, struct why *why);
must_check int space_services_build(struct space *s, struct why *why);

#endif
