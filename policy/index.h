/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled form of a rule list. The list stays the definition (linear.c); the
 * index answers the same from few look-ups, whatever the number of rules.
 *
 * A decision needs no order but the least rule that matches, and the least ones
 * that may match (match.c). Least is a minimum, and a minimum may be taken over
 * parts: so rules are kept by destination, each destination with what its rules
 * ask beside it, and a decision visits the destinations that speak of its flow:
 *
 *	any ──────────────── bucket ──┐
 *	group ────────────── bucket   │  entries in order of their rules
 *	address ─ intervals ─ prefix ─┼─ bucket, then the prefix around it, ...
 *	name ──── hash ────── name ───┼─ bucket, for each suffix of the name
 *	doh ──────────────── bucket ──┘  or, where they are many, a port map
 *
 * The names and prefixes of group doh stand among those of the rules, with a mark that
 * leads to the one bucket of the rules on it.
 *
 * Internal to policy/. Built once, then only read.
 */
#ifndef WEIR_POLICY_INDEX_H
#define WEIR_POLICY_INDEX_H

#include "policy/policy_internal.h"

#define NONE UINT32_MAX

/* ---- entries, buckets (bucket.c) --------------------------------------------- */

/* Egress and ingress, times four protocols. */
#define SLOTS 8
#define SLOT_PROTOS 4

enum entry_flag {
	ENTRY_ALLOW = 1,
	ENTRY_HTTP = 2,	 /* has HTTP conditions: they are judged by the rule itself */
	ENTRY_QUERY = 4, /* speaks of DNS queries for its name */
	ENTRY_APEX = 8,	 /* by name: of the name itself; else both are set */
	ENTRY_BELOW = 16 /* by name: of what is below it */
};

/* One port range of a rule, with all that decides whether it speaks of a flow to its destination. */
struct entry {
	uint32_t rule;
	uint32_t next; /* entry of the same destination and the same or a later rule, or NONE */
	uint16_t lo, hi;
	uint8_t slots; /* a bit for each direction and protocol */
	uint8_t flags;
};

/*
 * The rules of one destination. Most destinations have one rule, so that its entry
 * lies in the bucket itself: a decision touches little memory.
 */
struct bucket {
	struct entry first; /* rule is NONE: empty */
	uint32_t more;	    /* while building: the last entry; then: its port map; or NONE */
};
#define BUCKET_EMPTY ((struct bucket){ .first = { .rule = NONE, .next = NONE }, .more = NONE })
/* A longer list than this becomes a port map. */
#define BUCKET_LIST_MAX 16

/* Piecewise constant over ports: the least rule, or NONE. A slice of struct pieces. */
struct least {
	uint32_t at, n; /* n is 0: NONE everywhere */
};

/* What a list of entries says, for look-up by port. By [slot][allow][http]. */
struct port_map {
	struct least least[SLOTS][2][2];
	uint32_t http_at, n_http; /* entries with HTTP conditions, in order */
	uint32_t query;		  /* least entry with ENTRY_QUERY, or NONE */
};

/* Growable arrays of the index. */
struct vec {
	void *p;
	size_t n, size;
};
/* Room for one more of so many bytes each; NULL when out of memory. */
void *vec_add(struct vec *v, size_t each);
/* Gives back what was not used. */
void vec_trim(struct vec *v, size_t each);
void vec_fini(struct vec *v);

struct bucket_store {
	struct vec entries; /* struct entry, of the buckets */
	struct vec maps;    /* struct port_map */
	struct vec starts;  /* uint16_t: where a piece begins */
	struct vec rules;   /* uint32_t: its least rule */
	struct vec http;    /* struct entry, of the maps */
};
/* Appends the rule's entries. Rules come in order. */
must_check int bucket_add(struct bucket_store *s, struct bucket *b, const struct policy_rule *r,
			  uint32_t rule);
/* After the last rule; a bucket by name takes two maps: of the apex, then of what is below. */
must_check int bucket_seal(struct bucket_store *s, struct bucket *b, bool by_name);
/* A map of every rule for which `pick` holds. */
must_check int bucket_map_rules(struct bucket_store *s, const struct policy *p,
				bool (*pick)(const struct policy_rule *r), uint32_t *ret_map);
void bucket_store_trim(struct bucket_store *s);
void bucket_store_fini(struct bucket_store *s);

static inline const struct entry *store_entry(const struct bucket_store *s, uint32_t i)
{
	return (const struct entry *)s->entries.p + i;
}

static inline const struct entry *store_next(const struct bucket_store *s, const struct entry *e)
{
	return e->next == NONE ? NULL : store_entry(s, e->next);
}

static inline const struct port_map *store_map(const struct bucket_store *s, uint32_t i)
{
	return (const struct port_map *)s->maps.p + i;
}

uint32_t store_least(const struct bucket_store *s, struct least l, uint16_t port);

/* ---- addresses (address_index.c) --------------------------------------------- */

/* A prefix that rules are about. */
struct prefix_node {
	struct bucket rules;
	uint32_t around; /* the next wider prefix, or NONE */
	uint32_t least;	 /* rule of it and of all around it */
	uint8_t len;
	bool doh; /* one of group doh */
};

struct address_index {
	struct vec nodes; /* struct prefix_node */
	/*
	 * Where the narrowest prefix changes: from keys[i] on it is node spans[i]. Keys
	 * are IPv4 addresses or upper halves of IPv6 ones. An upper half with
	 * boundaries inside has SPAN_SLICE | a slice of lower halves.
	 */
	struct vec keys, spans;		/* uint64_t, uint32_t */
	struct vec slices;		/* struct address_slice */
	struct vec low_keys, low_spans; /* uint64_t, uint32_t */
	uint32_t *tops; /* by the upper bits of a key: the first key with them, or behind them */
	uint8_t shift;	/* to get them */
};

struct address_slice {
	uint32_t at, n;
};
#define SPAN_SLICE (UINT32_C(1) << 31)

/* doh: the first rule on group doh, or NONE. */
must_check int address_index_build(struct address_index *x, struct bucket_store *s,
				   const struct policy *p, uint8_t family, uint32_t doh);
void address_index_fini(struct address_index *x);
/* The narrowest prefix around a, or NONE. a is of the index's family. */
uint32_t address_index_find(const struct address_index *x, const struct ip_addr *a);

static inline const struct prefix_node *address_node(const struct address_index *x, uint32_t i)
{
	return (const struct prefix_node *)x->nodes.p + i;
}

/* ---- names (name_index.c) ------------------------------------------------------ */

/* A name that rules are about; they lie one behind the other in one block. */
struct name_node {
	struct bucket rules;
	uint8_t len;
	uint8_t doh; /* ENTRY_APEX, ENTRY_BELOW: what of it is in group doh */
	char s[];
};

struct name_slot {
	uint32_t tag;
	uint32_t at; /* of its node in the block, in units of four bytes; 0: free */
};

struct name_index {
	struct name_slot *slots;
	size_t mask;
	uint8_t *block;
	size_t used;	    /* bytes */
	uint64_t depths[2]; /* a bit for each number of labels that some name has */
	struct hash_key key;
};

/* doh: there are rules on group doh. */
must_check int name_index_build(struct name_index *x, struct bucket_store *s,
				const struct policy *p, bool doh);
void name_index_fini(struct name_index *x);

/* The walk over the suffixes of a name that rules are about, the shortest first. */
struct name_walk {
	const struct name *name;
	size_t end; /* what is from here on has been looked up */
	uint64_t hash;
	unsigned depth;
	bool apex; /* what was found last is the whole name */
};
void name_walk_init(struct name_walk *w, const struct name_index *x, const struct name *n);
/* NULL: no more. */
const struct name_node *name_walk_next(struct name_walk *w, const struct name_index *x);

/* ---- the whole (index.c) --------------------------------------------------------- */

struct policy_index {
	struct bucket_store store;
	struct bucket any, doh, groups[POLICY_GROUPS];
	struct address_index v4, v6;
	struct name_index names;
	bool has_groups, has_names;
	/* Maps: what a fact that is missing for good, or that is missing yet, never escapes. */
	uint32_t deny_names, deny_prefixes, deny_groups;
	uint64_t *texts; /* a bit for each rule that has an id or a reason */
	uint32_t query;	 /* least rule of "any" or "host" that covers DNS, or NONE */
	/* Ports at which some rule by address begins or ceases to hold; the first is 1. */
	struct vec ports; /* uint16_t */
};

#endif
