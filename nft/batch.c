/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and expressions in libnftnl's words, each said once. */
#include "nft/batch.h"

#include <libnftnl/common.h>
#include <libnftnl/udata.h>

/* ---- messages ---------------------------------------------------------------------- */

struct nlmsghdr *nft_message_begin(struct batch *b, uint16_t type, uint16_t flags)
{
	return nftnl_nlmsg_build_hdr((char *)b->message, type, NFPROTO_INET, flags, ++b->seq);
}

void nft_message_end(struct batch *b, const struct nlmsghdr *h)
{
	if (b->err == 0)
		b->err = buf_append(&b->out, h, h->nlmsg_len);
}

bool nft_have(struct batch *b, const void *p)
{
	if (!p && b->err == 0)
		b->err = -ENOMEM;
	return p && b->err == 0;
}

/* ---- expressions ---------------------------------------------------------------------- */

struct nftnl_expr *nft_add_expr(struct draft *d, const char *name)
{
	struct nftnl_expr *e = d->b->err == 0 ? nftnl_expr_alloc(name) : NULL;

	if (nft_have(d->b, e))
		nftnl_rule_add_expr(d->r, e);
	return e;
}

void nft_load_meta(struct draft *d, uint32_t key)
{
	struct nftnl_expr *e = nft_add_expr(d, "meta");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

void nft_load_payload(struct draft *d, uint32_t base, uint32_t offset, uint32_t len)
{
	struct nftnl_expr *e = nft_add_expr(d, "payload");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
}

void nft_compare(struct draft *d, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *e = nft_add_expr(d, "cmp");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

void nft_compare_range(struct draft *d, const void *from, const void *to, uint32_t len)
{
	nft_compare(d, NFT_CMP_GTE, from, len);
	nft_compare(d, NFT_CMP_LTE, to, len);
}

void nft_mask(struct draft *d, const void *bits, uint32_t len)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e = nft_add_expr(d, "bitwise");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, bits, len);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, len);
}

void nft_look_up(struct draft *d, int set)
{
	struct nftnl_expr *e = nft_add_expr(d, "lookup");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, d->b->rs->sets[set].name);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SET_ID, (uint32_t)set + 1);
}

void nft_is_family(struct draft *d, int family)
{
	uint8_t proto = family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;

	nft_load_meta(d, NFT_META_NFPROTO);
	nft_compare(d, NFT_CMP_EQ, &proto, 1);
}

void nft_is_l4proto(struct draft *d, uint8_t proto)
{
	nft_load_meta(d, NFT_META_L4PROTO);
	nft_compare(d, NFT_CMP_EQ, &proto, 1);
}

void nft_count(struct draft *d)
{
	struct nftnl_expr *e = nft_add_expr(d, "counter");

	if (!e)
		return;
	nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_PACKETS, 0);
	nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_BYTES, 0);
}

void nft_decide(struct draft *d, int verdict, const char *chain)
{
	struct nftnl_expr *e = nft_add_expr(d, "immediate");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
	if (chain)
		nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain);
}

void nft_refuse(struct draft *d)
{
	nft_count(d);
	nft_decide(d, NFT_GOTO, "refuse");
}

void nft_reject(struct draft *d, uint32_t type, uint8_t code)
{
	struct nftnl_expr *e = nft_add_expr(d, "reject");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, type);
	nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, code);
}

struct draft nft_rule_begin(struct batch *b, const char *chain)
{
	struct draft d = { b, nftnl_rule_alloc() };

	if (nft_have(b, d.r)) {
		nftnl_rule_set_str(d.r, NFTNL_RULE_TABLE, b->rs->table);
		nftnl_rule_set_str(d.r, NFTNL_RULE_CHAIN, chain);
		nftnl_rule_set_u32(d.r, NFTNL_RULE_FAMILY, NFPROTO_INET);
	}
	return d;
}

void nft_rule_end(struct draft *d, const char *comment)
{
	struct batch *b = d->b;
	struct nftnl_udata_buf *u = comment ? nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN) : NULL;
	struct nlmsghdr *h;

	if (comment && nft_have(b, u) && nftnl_udata_put_strz(u, NFTNL_UDATA_RULE_COMMENT, comment))
		nftnl_rule_set_data(d->r, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(u),
				    nftnl_udata_buf_len(u));
	if (b->err == 0) {
		h = nft_message_begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
		nftnl_rule_nlmsg_build_payload(h, d->r);
		nft_message_end(b, h);
	}
	if (u)
		nftnl_udata_buf_free(u);
	if (d->r)
		nftnl_rule_free(d->r);
}
