/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy's address and port part as an nftables table, before it becomes text
 * or netlink messages: sets, and rules that look into them. Both writers say the
 * same, because there is nothing else for them to say.
 *
 *   chain egress, ingress       what begins no flow (established, loopback,
 *                               neighbours) passes; what no range can tell apart
 *                               and what weir does not carry is refused
 *   chain egress_rules, ...     one rule per policy rule, family, protocol and
 *                               port range, then the default; long runs of policy
 *                               rules that differ by their prefix only are one
 *   chain refuse                TCP reset, ICMP administratively prohibited; or drop
 */
#ifndef WEIR_NFT_RULESET_H
#define WEIR_NFT_RULESET_H

#include "base/base.h"
#include "policy/policy.h"

struct addr_range {
	struct ip_addr first, last;
};

/* What a resolver put in: one address of a name, for a while. */
struct set_address {
	struct ip_addr addr;
	uint32_t seconds; /* 0: until removed */
};

struct nft_set {
	char name[24];
	int family;
	char comment[NAME_MAX_LEN + 16];
	bool by_name;		   /* addresses with timeouts; else ranges, fixed */
	struct addr_range *ranges; /* ascending, disjoint, merged */
	size_t n_ranges;
	struct set_address *addrs;
	size_t n_addrs;
};

enum nft_verdict { NFT_RULE_ACCEPT = 1, NFT_RULE_REFUSE = 2 };

struct nft_rule {
	enum policy_dir dir;	 /* egress or ingress: which chain */
	int family;		 /* 0: both */
	int set;		 /* index, or -1: any address */
	uint8_t proto;		 /* one enum policy_proto bit; 0: any */
	struct port_range ports; /* lo 0: any */
	enum nft_verdict verdict;
	int rule; /* of the policy; -1: its default */
	int last; /* from rule to this one they share the sets; rule itself: it is alone */
	const char *id;
};

struct nft_ruleset {
	char table[32];
	char iface[16]; /* hook forward for this interface; empty: hooks output and input */
	bool drop;	/* refuse silently */
	struct nft_set *sets;
	size_t n_sets, sets_size;
	struct nft_rule *rules;
	size_t n_rules, rules_size;
};

/* What only the caller knows. */
struct nft_facts {
	const struct ip_addr *gateways; /* group host */
	size_t n_gateways;
	const struct nft_name {
		struct name name;
		struct set_address addr;
	} * names; /* elements for the sets of names */
	size_t n_names;
};

/* note is called for each rule that the kernel cannot express in full. */
typedef void nft_note_fn(void *user, int rule, const char *id, const char *text);
must_check int nft_ruleset_make(const struct policy *p, const struct nft_facts *facts,
				nft_note_fn *note, void *user, struct nft_ruleset *rs);
void nft_ruleset_fini(struct nft_ruleset *rs);
/* "weir 3 gh-read", "weir 3-1002", "weir default": the comment of a rule. */
const char *nft_rule_comment(const struct nft_rule *r, char *out, size_t size);

/* The address behind a; false: it is the last of its family. */
bool nft_next_address(const struct ip_addr *a, struct ip_addr *ret);

/* As `nft -f` reads it. */
must_check int nft_print(const struct nft_ruleset *rs, FILE *out);
/* Replaces the table in the current network namespace, whole or not at all. err: what the kernel refused. */
must_check int nft_apply(const struct nft_ruleset *rs, struct conf_error *err);

#endif
