/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of policy/ share. The loaders (load.c, token.c, preset.c) only
 * build struct policy_rule and hand it to policy_add(), which holds the one
 * validator; the evaluator (decide.c) only reads them.
 */
#ifndef WEIR_POLICY_INTERNAL_H
#define WEIR_POLICY_INTERNAL_H

#include "policy/policy.h"
#include "policy/policy_limits.h"

/* A name that takes no more room than it needs: there may be a million. */
struct rule_name {
	uint8_t len;
	char s[]; /* NUL-terminated */
};

struct policy_rule {
	enum policy_action action;
	enum policy_dir dirs;
	uint8_t protos; /* enum policy_proto bits; 0: any */
	enum policy_dest dest;
	enum policy_group group; /* POLICY_DEST_GROUP */
	struct ip_prefix prefix; /* POLICY_DEST_PREFIX; never an IPv4-mapped one */
	struct rule_name *name; /* POLICY_DEST_NAME, POLICY_DEST_SUFFIX, POLICY_DEST_BELOW; owned */
	struct port_range *ports;
	size_t n_ports; /* sorted and disjoint; 0: any */
	char **methods;
	size_t n_methods; /* 0: any */
	char **paths;	  /* patterns, normalised */
	size_t n_paths;	  /* 0: any */
	uint8_t qtypes;	  /* enum policy_qtype bits: may be asked beyond A, AAAA, HTTPS, SVCB */
	struct policy_limit *limit; /* owned; NULL: none */
	char *id;
	char *reason;
};

#define RULE_INIT ((struct policy_rule){ .dirs = POLICY_EGRESS })

struct policy {
	enum policy_action egress, ingress; /* defaults */
	bool drop;
	bool strict_names;
	bool has_http, has_names; /* of the rules here, the floor's left out */
	struct policy *floor;	  /* owned; NULL: none. A floor has no floor. */
	struct policy_rule *rules;
	size_t n_rules, rules_size;
	struct policy_index *index; /* of these rules; NULL: none yet, the list is walked */
};

static inline bool rule_by_name(const struct policy_rule *r)
{
	return r->dest >= POLICY_DEST_NAME;
}

static inline bool rule_has_http(const struct policy_rule *r)
{
	return r->n_methods || r->n_paths;
}

/* strict_names: a name that the connection did not prove is no name at all. */
static inline bool policy_is_nameless(const struct policy *p, const struct policy_facts *f)
{
	return p->strict_names && f->name == POLICY_KNOWN && (f->name_unproven || f->name_answered);
}

/* A reason for a refusal, without a place: the caller knows where it stood. */
struct why {
	char text[384];
};
int why_set(struct why *w, const char *fmt, ...) printf_like(2, 3); /* returns -EINVAL */

/* ---- group.c --------------------------------------------------------------- */

/* Every IPv4 address inside an IPv6 one: 6to4 and Teredo may hold an ISATAP form too. */
size_t policy_embedded_all(const struct ip_addr *a, struct ip_addr ret[static 2]);
/* Where the i-th run of addresses of one group begins, in order; false behind the last. */
bool policy_group_run(int family, size_t i, struct ip_addr *ret_first);
bool policy_group_parse(const char *s, enum policy_group *ret);
const char *policy_group_suggest(const char *s);

/* ---- dest.c ---------------------------------------------------------------- */

/* How a text says what it is; DEST_HINT_GUESS: by its form alone. */
enum dest_hint {
	DEST_HINT_GUESS = 0,
	DEST_HINT_ANY = 1,
	DEST_HINT_IP = 2,
	DEST_HINT_CIDR = 3,
	DEST_HINT_DOMAIN = 4,
	DEST_HINT_SUFFIX = 5,
	DEST_HINT_GROUP = 6,
};
must_check int policy_dest_parse(const char *s, enum dest_hint hint, struct policy_rule *r,
				 struct why *why);
/* As the shorthand a person would write. */
const char *policy_dest_format(const struct policy_rule *r, char *out, size_t size);

/* ---- rule.c ---------------------------------------------------------------- */

must_check int policy_new(enum policy_action egress, enum policy_action ingress, struct policy **ret);
void policy_rule_fini(struct policy_rule *r);
/* Moves *r into the list, or leaves it to the caller on failure. */
must_check int policy_add(struct policy *p, struct policy_rule *r, struct why *why);
/* Moves every rule of `from` behind those of p. */
must_check int policy_add_all(struct policy *p, struct policy *from, struct why *why);
/* After the last rule. *ret_rule: the second rule of two with one id. */
must_check int policy_check_ids(const struct policy *p, size_t *ret_rule);
must_check int policy_rule_add_port(struct policy_rule *r, struct port_range range, struct why *why);
must_check int policy_rule_add_method(struct policy_rule *r, const char *s, struct why *why);
must_check int policy_rule_add_path(struct policy_rule *r, const char *s, struct why *why);
must_check int policy_rule_add_proto(struct policy_rule *r, const char *s, struct why *why);
must_check int policy_rule_set_name(struct policy_rule *r, const struct name *n);
/* Of a rule by name, group doh aside. */
struct name policy_rule_name(const struct policy_rule *r);
/* Does this name match a rule by name, group doh aside? */
bool policy_rule_names(const struct policy_rule *r, const struct name *n);
must_check int policy_rule_set_id(struct policy_rule *r, const char *s, struct why *why);
must_check int policy_rule_set_reason(struct policy_rule *r, const char *s, struct why *why);
must_check int policy_action_parse(const char *s, enum policy_action *ret, struct why *why);
must_check int policy_dir_parse(const char *s, enum policy_dir *ret, struct why *why);
const char *policy_action_name(enum policy_action a);
const char *policy_dir_name(enum policy_dir d);
/* Sets "what \"word\"; did you mean ...". Returns -EINVAL. */
int policy_unknown(struct why *why, const char *what, const char *word,
		   const char *const *candidates, size_t n);

/* ---- qtype.c --------------------------------------------------------------- */

must_check int policy_rule_add_qtype(struct policy_rule *r, const char *s, struct why *why);
/* The word of bit number `bit` of policy_rule.qtypes; NULL behind the last. */
const char *policy_qtype_word(unsigned bit);
/* Part of the validator: qtypes only where they have an effect. */
must_check int policy_rule_check_qtypes(const struct policy_rule *r, struct why *why);

/* ---- limit.c --------------------------------------------------------------- */

must_check int policy_load_limit(const struct conf *c, struct policy_rule *r, struct conf_error *err);
/* Part of the validator: only where flows pass by the rule. */
must_check int policy_rule_check_limit(const struct policy_rule *r, struct why *why);
/* NULL: out of memory. */
json_t *policy_limit_json(const struct policy_limit *l);
/* Either may be NULL: no limit. */
bool policy_limit_equal(const struct policy_limit *a, const struct policy_limit *b);

/* ---- load_rule.c ------------------------------------------------------------ */

/* Puts why at the place of c; returns code. */
int policy_conf_why(const struct conf *c, const struct why *why, int code, struct conf_error *ret);
/* A string that must be there. */
must_check int policy_conf_need_str(const struct conf *c, const char **ret, struct conf_error *err);
must_check int policy_load_dest(const struct conf *c, enum dest_hint hint, struct policy_rule *r,
				struct conf_error *err);
/* Adds the rule at c. */
must_check int policy_load_rule(struct policy *p, const struct conf *c, struct conf_error *err);

/* ---- path.c ---------------------------------------------------------------- */

must_check int policy_pattern_normalise(const char *s, size_t len, struct buf *ret, struct why *why);

/* ---- preset.c, token.c ----------------------------------------------------- */

const char *policy_preset_suggest(const char *word);
/* Egress to the gateway, TCP and UDP 53 (or the given protocols). */
must_check int policy_add_dns(struct policy *p, enum policy_action action, uint8_t protos,
			      struct why *why);
/* Adds the rules of one --net-rule argument. */
must_check int policy_add_tokens(struct policy *p, const char *text, struct why *why);

/* ---- doh.c ----------------------------------------------------------------- */

/* Of two addresses inside one, an allow must hold for both and a deny for either. */
bool policy_doh_address(const struct ip_addr *a, enum policy_action action);
/* The i-th name of the group, and whether what is below it belongs to it too; NULL behind the last. */
const char *policy_doh_nth_name(size_t i, bool *ret_below);

/* ---- print.c ---------------------------------------------------------------- */

/* The rule without its id, reason and limit, as one line of JSON, the caller's; NULL: out of memory. */
char *policy_rule_plain(const struct policy_rule *r);

/* ---- linear.c -------------------------------------------------------------- */

enum tri { TRI_NO = 0, TRI_YES = 1, TRI_UNKNOWN = 2 };
/* The condition that settled a rule, for explain. */
enum rule_cond {
	COND_NONE = 0, /* all of them held */
	COND_DIR = 1,
	COND_PROTO = 2,
	COND_PORT = 3,
	COND_DEST = 4,
	COND_HTTP = 5,
};
enum tri policy_rule_judge(const struct policy_rule *r, const struct policy_facts *f,
			   enum rule_cond *ret_cond);
/* Of its parts: the destination; the HTTP conditions, when it has some. */
enum tri policy_rule_judge_dest(const struct policy_rule *r, const struct policy_facts *f);
enum tri policy_rule_judge_http(const struct policy_rule *r, const struct policy_facts *f);
/* Does it speak of DNS queries (a rule by name: of those for names it matches)? */
bool policy_rule_covers_query(const struct policy_rule *r);
/* rule is beyond the list's end for the default. */
struct policy_verdict policy_verdict_of(const struct policy *p, enum policy_answer answer,
					size_t rule);
static inline enum policy_answer policy_answer_of(enum policy_action a)
{
	return a == POLICY_ALLOW ? POLICY_ANSWER_ALLOW : POLICY_ANSWER_DENY;
}

/* The list's own word, without floor and strict_names: the definition. */
struct policy_verdict policy_linear_decide(const struct policy *p, const struct policy_facts *f);
struct policy_verdict policy_linear_query(const struct policy *p, const struct name *n);
struct policy_verdict policy_linear_alias(const struct policy *p, const struct name *asked,
					  const struct name *alias);
/* For an address that is not public. */
bool policy_linear_answer(const struct policy *p, const struct ip_addr *a);
/* For rules by address or group, and the addresses of group doh. */
bool policy_rule_covers_address(const struct policy_rule *r, const struct policy_facts *f);

/* ---- index.c, match.c ------------------------------------------------------- */

/*
 * Compiles the list: the last step of everything that makes a policy. Adding a rule
 * undoes it. -ENOMEM with why set.
 */
must_check int policy_finish(struct policy *p, struct why *why);
void policy_index_free(struct policy_index *x);
/* The same as policy_linear_*, whatever the number of rules. */
struct policy_verdict policy_match_decide(const struct policy *p, const struct policy_facts *f);
struct policy_verdict policy_match_query(const struct policy *p, const struct name *n);
struct policy_verdict policy_match_alias(const struct policy *p, const struct name *asked,
					 const struct name *alias);
bool policy_match_answer(const struct policy *p, const struct ip_addr *a);
/* How many prefixes that rules are about are around this address. */
size_t policy_match_prefixes(const struct policy *p, const struct ip_addr *a);

#endif
