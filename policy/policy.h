/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy: one ordered list of rules, judged three-valued over what is known of
 * a flow. The first rule that matches wins, per direction; else the default.
 *
 * Names of DNS-over-HTTPS resolvers and their addresses are a group of their
 * own, "doh", which overlaps with the others: a rule on it is the union of rules
 * by those names and by those addresses.
 *
 * A policy is immutable once loaded and may be read by several processes. It
 * does no I/O but reading its file. Strings in verdicts belong to the policy.
 *
 * In this order: reading files, groups of addresses, what is asked and answered,
 * loading, reading the rules, explaining, comparing. Functions that can fail return
 * 0 or a negative errno and leave *ret as it was; what they put there is the
 * caller's. With a struct conf_error they say what is wrong, where and what to do.
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include "base/base.h"

#include <jansson.h>
#include <stdio.h>

/* ---- configuration files with positions -------------------------------- */

/*
 * Reading a configuration so that every complaint names file, line and column.
 * JSON, YAML and TOML are spellings of one model: objects, lists, texts, whole
 * numbers, true, false and null, no key twice, depth bounded. What YAML could mean
 * in two ways (plain `no`, 010, 8080:80), and anchors, aliases, tags and several
 * documents, is refused; so are TOML's dates and fractions. weir/'s configuration
 * reader uses the same.
 */
enum conf_format { CONF_JSON = 0, CONF_YAML = 1, CONF_TOML = 2 };
/* By the name's ending: .yaml, .yml, .toml; anything else is JSON. */
enum conf_format conf_format_of(const char *path);

struct conf_error {
	char text[768]; /* "FILE:LINE:COL: what is wrong; what to do", or without place */
};
void conf_error_set(struct conf_error *e, const char *fmt, ...) printf_like(2, 3);

/*
 * A file that was read: -EINVAL when it is not valid, -EFBIG when it is too large,
 * -ENOMEM, or why it cannot be read. `file` is what complaints call the text.
 */
struct conf_doc;
must_check int conf_doc_load(const char *path, struct conf_doc **ret, struct conf_error *err);
must_check int conf_doc_parse(const char *text, size_t len, const char *file,
			      enum conf_format format, struct conf_doc **ret, struct conf_error *err);
/* With all values in it. NULL is fine. */
void conf_doc_free(struct conf_doc *d);

/* A value and how we came to it; lives on the caller's stack, up-linked. */
struct conf {
	const struct conf_doc *doc;
	const struct conf *up; /* NULL at the top */
	const char *key;       /* member name, or NULL in an array */
	size_t index;	       /* position in an array */
	json_t *v;
};
struct conf conf_root(const struct conf_doc *d);
/* Member / element; v is NULL when absent. */
struct conf conf_member(const struct conf *up, const char *key);
struct conf conf_element(const struct conf *up, size_t index);
/* Sets err to "FILE:LINE:COL: <text>" for this value; returns -EINVAL. */
int conf_fail(const struct conf *c, struct conf_error *err, const char *fmt, ...) printf_like(3, 4);
/* -EINVAL with place and suggestion when an object has a key not in the list. */
must_check int conf_only_keys(const struct conf *c, const char *const *keys, size_t n,
			      struct conf_error *err);
/* Typed reads. Absent: 0, *ret untouched. Wrong type or range: -EINVAL, err set. */
must_check int conf_str(const struct conf *c, const char **ret, struct conf_error *err);
must_check int conf_bool(const struct conf *c, bool *ret, struct conf_error *err);
must_check int conf_uint(const struct conf *c, uint64_t min, uint64_t max, uint64_t *ret,
			 struct conf_error *err);

/* ---- groups ------------------------------------------------------------ */

/*
 * Disjoint and complete, from one generated table (policy/groups.tsv). IPv6
 * that wraps IPv4 is judged as the address inside. `host` is the sandbox's
 * gateway and is told by the caller, since only it knows the address.
 */
enum policy_group {
	POLICY_GROUP_HOST = 0,
	POLICY_GROUP_METADATA = 1,
	POLICY_GROUP_LOOPBACK = 2,
	POLICY_GROUP_PRIVATE = 3,
	POLICY_GROUP_LINK_LOCAL = 4,
	POLICY_GROUP_MULTICAST = 5,
	POLICY_GROUP_RESERVED = 6,
	POLICY_GROUP_PUBLIC = 7,
};
#define POLICY_GROUPS 8
const char *policy_group_name(enum policy_group g);
/* Never POLICY_GROUP_HOST. */
enum policy_group policy_group_of(const struct ip_addr *a);
/*
 * The IPv4 address inside mapped, compatible, translated, NAT64 (64:ff9b::/96),
 * 6to4, Teredo (client) and ISATAP forms. False: nothing inside.
 */
bool policy_embedded_v4(const struct ip_addr *a, struct ip_addr *ret);

/* ---- facts and verdicts ------------------------------------------------ */

enum policy_action { POLICY_DENY = 0, POLICY_ALLOW = 1 };
enum policy_dir { POLICY_EGRESS = 1, POLICY_INGRESS = 2, POLICY_ANY_DIR = 3 };
enum policy_proto {
	POLICY_TCP = 1,
	POLICY_UDP = 2,
	POLICY_ICMPV4 = 4,
	POLICY_ICMPV6 = 8,
};
/* "tcp", "udp", "icmpv4", "icmpv6": of one bit. */
const char *policy_proto_name(enum policy_proto p);

enum policy_fact {
	POLICY_UNKNOWN = 0, /* could still be learned from the flow */
	POLICY_NONE = 1,    /* there is none, or it will never be known */
	POLICY_KNOWN = 2,
};

/*
 * What is known of a flow.
 *
 * name UNKNOWN: `names` are the candidates this sandbox was given the address
 *   for. An allow by name is unknown when a candidate matches and no match
 *   otherwise (it needs evidence); a deny by name is always unknown.
 * name KNOWN: the flow's names are `names` (one for a TLS name, HTTP authority
 *   or virtual address; several for UDP or ICMP to a real address). A rule by
 *   name matches when any of them does.
 * name NONE: never satisfies an allow by name, never escapes a deny by name.
 *
 * addr of family 0: never satisfies an allow by address or group, never escapes
 * a deny by one (is_host still decides group host).
 *
 * strict_names (of the policy): a name that is unproven or answered only is no
 *   name: as NONE.
 *
 * http likewise, for method and path of one request: NONE never satisfies an
 * allow with HTTP conditions and never escapes a deny with them.
 */
struct policy_facts {
	enum policy_dir dir;
	enum policy_proto proto;
	struct ip_addr addr; /* real destination (peer for ingress); family 0: unknown */
	bool is_host;	     /* addr is the sandbox's gateway */
	uint16_t port;	     /* service port; 0: none (ICMP) */
	enum policy_fact name;
	const struct name *names;
	size_t n_names;
	/* KNOWN, but the guest only claims it (an SNI or Host for an address that this
	 * sandbox was never given for it): matches a deny by name, never an allow. */
	bool name_unproven;
	/* KNOWN, but only because the address was handed out for it (UDP and ICMP to a
	 * real address): a name like any other, unless the policy is strict_names. */
	bool name_answered;
	enum policy_fact http;
	const char *method; /* as sent */
	const char *path;   /* normalised (policy_path_normalise), no query */
};

enum policy_answer {
	POLICY_ANSWER_DENY = 0,
	POLICY_ANSWER_ALLOW = 1,
	POLICY_ANSWER_NEED_NAME = 2,
	POLICY_ANSWER_NEED_HTTP = 3,
};

struct policy_verdict {
	enum policy_answer answer;
	int rule;	     /* index in the list; -1 = the direction's default */
	const char *rule_id; /* the rule's id, or NULL */
	const char *reason;  /* the rule's reason, or NULL */
	bool floor;	     /* the operator's floor decided: rule is one of its own */
};

struct policy;
/* With its floor. NULL is fine. */
void policy_free(struct policy *p);
/* May this flow be? By what is known of it; never fails, never allocates. */
struct policy_verdict policy_decide(const struct policy *p, const struct policy_facts *f);
/* The same, the floor left out. */
struct policy_verdict policy_decide_own(const struct policy *p, const struct policy_facts *f);
/* The rule that decided is on group doh: it means DNS over HTTPS, not just the host. */
bool policy_verdict_is_doh(const struct policy *p, const struct policy_verdict *v);

/*
 * A DNS query for this name, before any packet leaves. Rules by name match by
 * the name alone: a deny counts when it is not limited to ports, protocols or
 * HTTP; an allow always. "any" and "group host" rules match when they cover
 * port 53; addresses and other groups never. Then the egress default.
 */
struct policy_verdict policy_decide_query(const struct policy *p, const struct name *n);
/*
 * The name by which a query of this type (its number) is judged. A service's name is about
 * its host: "_8443._https.HOST" asked for HTTPS (RFC 9460 9.1), "_web._tcp.HOST" for SRV
 * (RFC 2782). Where the name itself is denied by the default only, no rule speaks of it, and
 * the host's verdict is its own; a rule that denies the name stands. True: *ret is the host,
 * else the name.
 */
bool policy_query_subject(const struct policy *p, const struct name *n, uint16_t type,
			  struct name *ret);
/* The rule that decides for this name is for this one name: asking tells nobody anything new. */
bool policy_query_exact(const struct policy *p, const struct name *n);
/* May this type be asked as well, of a name that may be asked? A rule's "qtypes" says so. */
enum policy_qtype { POLICY_QTYPE_MX = 1, POLICY_QTYPE_SRV = 2, POLICY_QTYPE_TXT = 4 };
bool policy_query_type(const struct policy *p, const struct name *n, enum policy_qtype type);
/*
 * The answer for `asked` (an allowed query) goes by way of `alias` (a CNAME's
 * target): the first rule that matches either decides, of the alias only rules
 * by name. A deny by name thus reaches behind an alias, unless an earlier rule
 * allows the name that was asked; an alias needs no allow of its own.
 */
struct policy_verdict policy_decide_alias(const struct policy *p, const struct name *asked,
					  const struct name *alias);

/*
 * Rebinding filter: may this address be an answer for a name? Public addresses
 * always; any other only when some rule or default would allow a connection
 * to the bare address (any port, no name). Denies by name or with HTTP
 * conditions say nothing of the address and are left out.
 */
bool policy_answer_ok(const struct policy *p, const struct ip_addr *a);

/* True when some rule (the floor's too) has HTTP conditions / is by name (flows may need reading). */
bool policy_has_http(const struct policy *p);
bool policy_has_names(const struct policy *p);
/* Refuse denied packets (RST, ICMP) or drop them silently: "on_deny". */
bool policy_drops_denied(const struct policy *p);

/*
 * Path of a request target in one form before it is matched: percent-decoded
 * unreserved characters, upper-case escapes, dot segments removed, query and
 * fragment cut. -EINVAL for a path two servers could read differently (encoded
 * slash, backslash or NUL, malformed escape, empty segment, dot segment above
 * the root): then judge the request with http NONE, which fails closed.
 */
must_check int policy_path_normalise(const char *s, size_t len, struct buf *ret);
/*
 * Path patterns of rules, for others than rules: in their normal form, appended to
 * ret (-EINVAL with a sentence in why); and whether a normalised path matches one.
 */
must_check int policy_path_pattern(const char *s, struct buf *ret, char *why, size_t why_size);
bool policy_path_match(const char *pattern, const char *path);

/* ---- loading and composing ---------------------------------------------- */

/*
 * The file's top is {"policy": {...}} (other configuration sections may stand beside it) or the policy
 * itself. Errors as conf_doc_load()'s. policy_load_conf() takes the policy itself; c may go afterwards.
 */
must_check int policy_load_file(const char *path, struct policy **ret, struct conf_error *err);
must_check int policy_load_conf(const struct conf *c, struct policy **ret, struct conf_error *err);
/* none, public_only, non_local, allow_all and their aliases; -ENOENT when unknown. */
must_check int policy_preset(const char *name, struct policy **ret);
/* File when it names one that exists or contains '/' or '.', else preset; error suggests. */
must_check int policy_load_file_or_preset(const char *arg, struct policy **ret,
					  struct conf_error *err);

/* What the command line adds; NULL members are absent. Texts are as the user typed them. */
struct policy_flags {
	const char *net;	      /* "public,private" | "all" | "none" */
	const char *const *net_rules; /* rule tokens, each maybe comma-separated */
	size_t n_net_rules;
	const char *default_egress; /* "allow" | "deny" */
	const char *default_ingress;
	bool no_net;
	bool strict_names; /* whatever the base says */
};
/*
 * base (may be NULL: then profile public, the default) with the flags on
 * top: token rules come first, then the profiles of `net` or else base's rules;
 * defaults replaced; no_net: both defaults deny and only token rules remain.
 * Takes over base, frees it on failure too.
 */
must_check int policy_compose(struct policy *base, const struct policy_flags *flags,
			      struct policy **ret, struct conf_error *err);

/*
 * The operator's floor: what passes must pass both. Takes over floor (whose own
 * floor must be NULL); a floor that is there already is replaced. Verdicts say
 * which of the two decided. policy_print() leaves the floor out.
 */
void policy_set_floor(struct policy *p, struct policy *floor);
const struct policy *policy_floor(const struct policy *p);
/* The floor is the caller's again, for the policy that comes after p; NULL: there was none. */
struct policy *policy_take_floor(struct policy *p);

/* ---- reading the rules ---------------------------------------------------- */

enum policy_dest {
	POLICY_DEST_ANY = 0,
	POLICY_DEST_GROUP = 1,
	POLICY_DEST_PREFIX = 2,
	POLICY_DEST_NAME = 3,
	POLICY_DEST_SUFFIX = 4, /* the name and what is below it */
	POLICY_DEST_BELOW = 5,	/* only what is below it */
	POLICY_DEST_DOH = 6,	/* known DNS-over-HTTPS resolvers, by name or address */
};

/*
 * "limit" of a rule: what the flows that it allows share, each way; what is 0 has
 * no limit. A floor may have none (policy_has_limits).
 */
struct policy_limit {
	uint64_t bandwidth;   /* payload bytes per second */
	uint64_t burst;	      /* bytes at once; 0: 20 ms' worth */
	uint64_t packets;     /* per second */
	uint64_t connections; /* flows at a time */
};
/* Of a verdict's rule; NULL: none. */
const struct policy_limit *policy_rule_limit(const struct policy *p, int rule);
bool policy_has_limits(const struct policy *p);
/* "10mbit/s (burst 64KiB), 5 connections"; NULL is "no limit". */
#define POLICY_LIMIT_STRLEN 160
const char *policy_limit_format(const struct policy_limit *l, char out[static POLICY_LIMIT_STRLEN]);

/* One rule as it stands in the list; texts and ports belong to the policy. */
struct policy_rule_view {
	enum policy_action action;
	enum policy_dir dirs;
	uint8_t protos; /* enum policy_proto bits; 0: any */
	enum policy_dest dest;
	enum policy_group group;	/* POLICY_DEST_GROUP */
	struct ip_prefix prefix;	/* POLICY_DEST_PREFIX */
	struct name name;		/* POLICY_DEST_NAME, SUFFIX, BELOW */
	const struct port_range *ports; /* sorted and disjoint; n_ports 0: any */
	size_t n_ports;
	bool http;			  /* it has conditions on the request */
	const struct policy_limit *limit; /* NULL: none */
	const char *id, *reason;
};
size_t policy_rule_count(const struct policy *p);
/* i < policy_rule_count(). */
void policy_rule_view(const struct policy *p, size_t i, struct policy_rule_view *ret);
enum policy_action policy_default(const struct policy *p, enum policy_dir dir);

/*
 * The addresses of a group as ranges that do not overlap, in no order, those that
 * wrap an IPv4 address of it included. Left out are the forms that no range can
 * tell: Teredo (2001::/32); and ISATAP interface identifiers are not looked at.
 */
typedef void policy_range_fn(void *user, const struct ip_addr *first, const struct ip_addr *last);
void policy_group_ranges(enum policy_group g, policy_range_fn *fn, void *user);
/* The IPv6 ranges that wrap this IPv4 range: compatible, mapped, translated, NAT64, 6to4. */
void policy_wrapped_ranges(const struct ip_addr *first, const struct ip_addr *last,
			   policy_range_fn *fn, void *user);
/* The prefixes of group doh. */
size_t policy_doh_prefixes(const struct ip_prefix **ret);
/* Is the name one of group doh? */
bool policy_doh_name(const struct name *n);

/* ---- showing and explaining --------------------------------------------- */

/* Expanded to plain rules, as JSON that loads to the same policy. -ENOMEM, -EIO. */
must_check int policy_print(const struct policy *p, FILE *out);

struct policy_step {
	int rule;
	const char *rule_id;
	enum policy_action action;
	bool floor;	     /* a rule of the floor */
	const char *outcome; /* "match", "no match", "unknown" */
	char why[160];	     /* "port 80 is not in 443", "name is not known yet" */
};
/*
 * Why: every rule up to the one that decided, each with its outcome. steps has
 * room for max; *ret_n is how many were written. Same verdict as policy_decide.
 *
 * Of a list longer than POLICY_EXPLAIN_ALL rules only those whose destination is
 * the flow's are told of. What does not fit is left out, but for the rule that
 * decided: it is the last step of its list. POLICY_EXPLAIN_ENOUGH is room for what
 * somebody would read, whatever the number of rules.
 */
#define POLICY_EXPLAIN_ALL 256
#define POLICY_EXPLAIN_ENOUGH 1024
struct policy_verdict policy_explain(const struct policy *p, const struct policy_facts *f,
				     struct policy_step *steps, size_t max, size_t *ret_n);
/* The same for a query: as policy_decide_query(). */
struct policy_verdict policy_explain_query(const struct policy *p, const struct name *n,
					   struct policy_step *steps, size_t max, size_t *ret_n);
/*
 * A public address that as few address rules as possible speak of: stands for
 * "some public address" when one explains a flow whose address is not known.
 */
struct ip_addr policy_public_sample(const struct policy *p);

/* ---- comparing ---------------------------------------------------------- */

/*
 * Two questions: what in one policy its author cannot have meant (lint), and what two
 * policies decide otherwise (diff).
 *
 * What they say is exact over flows whose facts are all known: every
 * direction, protocol, port, address (the gateway's or not), one name or none
 * (proven, only claimed, answered), every request; and every name asked of the
 * resolver. A finding is never wrong; what would take too long to know is said to
 * be unknown. Left out: IPv6 addresses that carry two IPv4 addresses (ISATAP among
 * them), Teredo over a server that is not public, IPv4-compatible IPv6, flows with
 * several names at once. Floors are not looked at: compare them on their own.
 */

/* The gateway's addresses: group host, and no part of the rest. At least one. */
struct policy_gateways {
	const struct ip_addr *v;
	size_t n;
};

enum policy_severity { POLICY_NOTE = 0, POLICY_WARNING = 1 };

struct policy_finding {
	enum policy_severity severity;
	const char *check;		/* a stable word: "never-matches", "wide-suffix", ... */
	int rule;			/* index; -1: the policy as a whole */
	int other;			/* the rule it is about as well; -1: none, or the default */
	const char *rule_id, *other_id; /* the policy's; may be NULL */
	char *text;			/* what is wrong and what to do */
	char *example; /* a flow that shows it, "tcp 192.0.2.1:443 named x.example"; or NULL */
};
struct policy_findings {
	struct policy_finding *v; /* by rule */
	size_t n, size;
	char incomplete[256]; /* not empty: rules were not compared, and why */
};
/*
 * Looks for what its author cannot have meant. Reads the public suffix list of the system.
 * -ENOMEM, err set; too much to compare is no error: see incomplete.
 */
must_check int policy_lint(const struct policy *p, const struct policy_gateways *gw,
			   struct policy_findings *ret, struct conf_error *err);
void policy_findings_fini(struct policy_findings *f);

enum policy_change_kind {
	POLICY_CHANGE_FLOWS = 0,   /* decided otherwise */
	POLICY_CHANGE_QUERIES = 1, /* names that may be asked, or no longer */
	POLICY_CHANGE_QTYPES = 2,  /* further types of a name that may be asked */
	POLICY_CHANGE_ON_DENY = 3, /* refused, or dropped silently */
	/* Limits of rules that match alike. Texts in services: "RULE: LIMIT, now LIMIT". Which
	 * flows come as far as a limited rule is not compared. */
	POLICY_CHANGE_LIMITS = 4,
};

/* Texts of one part of a set: "10.0.0.0/8", "*.example.com", "tcp 443". */
struct policy_texts {
	char **v;
	size_t n, size;
};

/* A set of flows, or of names: services times names times addresses. */
struct policy_change {
	enum policy_change_kind kind;
	enum policy_action now; /* what becomes of all of it; before it was the other */
	uint8_t qtypes;		/* QTYPES: enum policy_qtype bits */
	struct policy_texts services, names, addresses; /* QUERIES, QTYPES: names only */
	char *example;					/* a flow, or a name */
	struct policy_verdict before, after;		/* of the example */
};
struct policy_changes {
	struct policy_change *v;
	size_t n, size;
	bool cut; /* there are more than were worth listing */
};
/*
 * What differs between two policies: n 0 when they are equivalent, however they
 * are written. -E2BIG: too much to compare, err says what. Of CNAME chains only the
 * name that is asked is compared.
 */
must_check int policy_diff(const struct policy *before, const struct policy *after,
			   const struct policy_gateways *gw, struct policy_changes *ret,
			   struct conf_error *err);
void policy_changes_fini(struct policy_changes *c);

#endif
