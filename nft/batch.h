/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch of netlink messages being put together, and the expressions that a rule
 * is made of. The first failure stays in err; what follows it does nothing.
 */
#ifndef WEIR_NFT_BATCH_H
#define WEIR_NFT_BATCH_H

#include "nft/ruleset.h"

/* Before the kernel's own headers, which leave out what these have. */
#include <net/if.h>
#include <netinet/in.h>

#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

/* A message with a list of set elements may be as long as an attribute: 64 KiB. */
#define NFT_MESSAGE_MAX ((size_t)128 * 1024)

struct batch {
	const struct nft_ruleset *rs;
	struct buf out;
	uint8_t *message; /* NFT_MESSAGE_MAX, scratch */
	uint32_t seq;
	int err;
};

/* A rule being put together. */
struct draft {
	struct batch *b;
	struct nftnl_rule *r;
};

struct nlmsghdr *nft_message_begin(struct batch *b, uint16_t type, uint16_t flags);
void nft_message_end(struct batch *b, const struct nlmsghdr *h);
/* An allocation of libnftnl's; what it could not give ends the batch. */
bool nft_have(struct batch *b, const void *p);

struct draft nft_rule_begin(struct batch *b, const char *chain);
void nft_rule_end(struct draft *d, const char *comment);

/* Each adds one expression (or a load and a comparison), in the order of evaluation. */
struct nftnl_expr *nft_add_expr(struct draft *d, const char *name);
void nft_load_meta(struct draft *d, uint32_t key);
void nft_load_payload(struct draft *d, uint32_t base, uint32_t offset, uint32_t len);
void nft_compare(struct draft *d, uint32_t op, const void *data, uint32_t len);
void nft_compare_range(struct draft *d, const void *from, const void *to, uint32_t len);
void nft_mask(struct draft *d, const void *bits, uint32_t len);
void nft_look_up(struct draft *d, int set);
void nft_is_family(struct draft *d, int family);
void nft_is_l4proto(struct draft *d, uint8_t proto);
void nft_count(struct draft *d);
/* verdict: NF_ACCEPT, NF_DROP, or NFT_GOTO with a chain. */
void nft_decide(struct draft *d, int verdict, const char *chain);
/* Counted, and on to chain refuse. */
void nft_refuse(struct draft *d);
void nft_reject(struct draft *d, uint32_t type, uint8_t code);

#endif
