/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table as netlink messages: one batch, which the kernel takes whole or not at
 * all. A table of the same name goes in the same batch.
 */
#include "nft/batch.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

/* Everything at once: about 300 bytes for a rule. */
#define BATCH_MAX ((size_t)1 << 30)
/* nft's own numbers for its types, by which it prints what is in a set. */
enum { TYPE_IPV4_ADDR = 7, TYPE_IPV6_ADDR = 8 };
enum { IPV4_SADDR = 12, IPV4_DADDR = 16, IPV6_SADDR = 8, IPV6_DADDR = 24, PORT_DESTINATION = 2 };

/* ---- tables, chains ------------------------------------------------------------------- */

static void put_table(struct batch *b, uint16_t type)
{
	struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *h;

	if (nft_have(b, t)) {
		nftnl_table_set_str(t, NFTNL_TABLE_NAME, b->rs->table);
		h = nft_message_begin(b, type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
		nftnl_table_nlmsg_build_payload(h, t);
		nft_message_end(b, h);
	}
	if (t)
		nftnl_table_free(t);
}

static void put_chain(struct batch *b, const char *name, int hook, uint32_t policy)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *h;

	if (nft_have(b, c)) {
		nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, b->rs->table);
		nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
		if (hook >= 0) {
			nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
			nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, (uint32_t)hook);
			nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
			nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, policy);
		}
		h = nft_message_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
		nftnl_chain_nlmsg_build_payload(h, c);
		nft_message_end(b, h);
	}
	if (c)
		nftnl_chain_free(c);
}

/* ---- sets --------------------------------------------------------------------------- */

static struct nftnl_set *set_alloc(struct batch *b, const struct nft_set *s)
{
	struct nftnl_set *set = nftnl_set_alloc();

	if (!nft_have(b, set))
		return set;
	nftnl_set_set_str(set, NFTNL_SET_TABLE, b->rs->table);
	nftnl_set_set_str(set, NFTNL_SET_NAME, s->name);
	nftnl_set_set_u32(set, NFTNL_SET_FAMILY, NFPROTO_INET);
	return set;
}

static void put_set_comment(struct batch *b, struct nftnl_set *set, const char *comment)
{
	struct nftnl_udata_buf *u;

	if (!comment[0])
		return;
	u = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	if (nft_have(b, u) && nftnl_udata_put_strz(u, NFTNL_UDATA_SET_COMMENT, comment))
		nftnl_set_set_data(set, NFTNL_SET_USERDATA, nftnl_udata_buf_data(u),
				   nftnl_udata_buf_len(u));
	if (u)
		nftnl_udata_buf_free(u);
}

static void put_set(struct batch *b, const struct nft_set *s, uint32_t id)
{
	struct nftnl_set *set = set_alloc(b, s);
	struct nlmsghdr *h;

	if (set && b->err == 0) {
		nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE,
				  s->family == 4 ? TYPE_IPV4_ADDR : TYPE_IPV6_ADDR);
		nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, s->family == 4 ? 4 : 16);
		nftnl_set_set_u32(set, NFTNL_SET_FLAGS,
				  s->by_name ? NFT_SET_TIMEOUT : NFT_SET_INTERVAL);
		nftnl_set_set_u32(set, NFTNL_SET_ID, id);
		put_set_comment(b, set, s->comment);
		h = nft_message_begin(b, NFT_MSG_NEWSET, NLM_F_CREATE);
		nftnl_set_nlmsg_build_payload(h, set);
		nft_message_end(b, h);
	}
	if (set)
		nftnl_set_free(set);
}

static void add_element(struct batch *b, struct nftnl_set *set, const struct ip_addr *a, bool end,
			uint32_t seconds)
{
	struct nftnl_set_elem *e = nftnl_set_elem_alloc();

	if (!nft_have(b, e)) {
		if (e)
			nftnl_set_elem_free(e);
		return;
	}
	if (nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, a->b, (uint32_t)ip_size(a)) < 0)
		b->err = -ENOMEM;
	if (end)
		nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	if (seconds)
		nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT, (uint64_t)seconds * 1000);
	nftnl_set_elem_add(set, e);
}

static void add_elements(struct batch *b, struct nftnl_set *set, const struct nft_set *s)
{
	struct ip_addr end = { .family = (uint8_t)s->family };

	/* An interval set says where each stretch begins, those outside included. */
	if (s->n_ranges && !ip_equal(&s->ranges[0].first, &end))
		add_element(b, set, &end, true, 0);
	for (size_t i = 0; i < s->n_ranges && b->err == 0; i++) {
		add_element(b, set, &s->ranges[i].first, false, 0);
		if (nft_next_address(&s->ranges[i].last, &end))
			add_element(b, set, &end, true, 0);
	}
	for (size_t i = 0; i < s->n_addrs && b->err == 0; i++)
		add_element(b, set, &s->addrs[i].addr, false, s->addrs[i].seconds);
}

static void put_elements(struct batch *b, const struct nft_set *s)
{
	struct nftnl_set_elems_iter *it = NULL;
	struct nftnl_set *set;
	int more = 1;

	if (!s->n_ranges && !s->n_addrs)
		return;
	set = set_alloc(b, s);
	if (set && b->err == 0) {
		add_elements(b, set, s);
		it = nftnl_set_elems_iter_create(set);
	}
	while (nft_have(b, it) && more > 0) {
		struct nlmsghdr *h = nft_message_begin(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);

		more = nftnl_set_elems_nlmsg_build_payload_iter(h, it);
		nft_message_end(b, h);
	}
	if (it)
		nftnl_set_elems_iter_destroy(it);
	if (set)
		nftnl_set_free(set);
}

/* ---- rules ------------------------------------------------------------------------------ */

static uint32_t address_offset(int family, enum policy_dir dir)
{
	if (dir == POLICY_EGRESS)
		return family == 4 ? IPV4_DADDR : IPV6_DADDR;
	return family == 4 ? IPV4_SADDR : IPV6_SADDR;
}

static uint8_t l4proto_of(uint8_t proto)
{
	switch (proto) {
	case POLICY_TCP:
		return IPPROTO_TCP;
	case POLICY_UDP:
		return IPPROTO_UDP;
	case POLICY_ICMPV4:
		return IPPROTO_ICMP;
	default:
		return IPPROTO_ICMPV6;
	}
}

static void put_rule(struct batch *b, const struct nft_rule *r)
{
	struct draft d =
		nft_rule_begin(b, r->dir == POLICY_EGRESS ? "egress_rules" : "ingress_rules");
	uint8_t lo[2], hi[2];
	char comment[128];

	if (r->set >= 0) {
		nft_is_family(&d, r->family);
		nft_load_payload(&d, NFT_PAYLOAD_NETWORK_HEADER, address_offset(r->family, r->dir),
				 r->family == 4 ? 4 : 16);
		nft_look_up(&d, r->set);
	}
	if (r->proto)
		nft_is_l4proto(&d, l4proto_of(r->proto));
	if (r->ports.lo) {
		put_be16(lo, r->ports.lo);
		put_be16(hi, r->ports.hi);
		nft_load_payload(&d, NFT_PAYLOAD_TRANSPORT_HEADER, PORT_DESTINATION, 2);
		if (r->ports.lo == r->ports.hi)
			nft_compare(&d, NFT_CMP_EQ, lo, 2);
		else
			nft_compare_range(&d, lo, hi, 2);
	}
	nft_count(&d);
	if (r->verdict == NFT_RULE_ACCEPT)
		nft_decide(&d, NF_ACCEPT, NULL);
	else
		nft_decide(&d, NFT_GOTO, "refuse");
	nft_rule_end(&d, nft_rule_comment(r, comment, sizeof(comment)));
}

static void put_established(struct batch *b, const char *chain)
{
	uint32_t bits = NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED), no = 0;
	struct draft d = nft_rule_begin(b, chain);
	struct nftnl_expr *e = nft_add_expr(&d, "ct");

	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
		nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	}
	nft_mask(&d, &bits, 4);
	nft_compare(&d, NFT_CMP_NEQ, &no, 4);
	nft_decide(&d, NF_ACCEPT, NULL);
	nft_rule_end(&d, NULL);
}

static void put_loopback(struct batch *b, const char *chain, bool egress)
{
	struct draft d = nft_rule_begin(b, chain);
	uint32_t lo = 1; /* in every network namespace */

	nft_load_meta(&d, egress ? NFT_META_OIF : NFT_META_IIF);
	nft_compare(&d, NFT_CMP_EQ, &lo, 4);
	nft_decide(&d, NF_ACCEPT, NULL);
	nft_rule_end(&d, NULL);
}

static void put_icmp(struct batch *b, const char *chain, int family, uint8_t from, uint8_t to,
		     const char *go)
{
	struct draft d = nft_rule_begin(b, chain);

	nft_is_family(&d, family);
	nft_is_l4proto(&d, family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	nft_load_payload(&d, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
	if (from == to)
		nft_compare(&d, NFT_CMP_EQ, &from, 1);
	else
		nft_compare_range(&d, &from, &to, 1);
	nft_decide(&d, go ? NFT_GOTO : NF_ACCEPT, go);
	nft_rule_end(&d, NULL);
}

static void put_unclear(struct batch *b, const char *chain, enum policy_dir dir)
{
	static const uint8_t teredo[4] = { 0x20, 0x01 };
	static const uint8_t isatap_mask[16] = { [8] = 0xfd, 0xff, 0xff, 0xff };
	static const uint8_t isatap[16] = { [10] = 0x5e, 0xfe };
	struct draft d = nft_rule_begin(b, chain);

	nft_is_family(&d, 6);
	nft_load_payload(&d, NFT_PAYLOAD_NETWORK_HEADER, address_offset(6, dir), 4);
	nft_compare(&d, NFT_CMP_EQ, teredo, 4);
	nft_refuse(&d);
	nft_rule_end(&d, "weir Teredo");
	d = nft_rule_begin(b, chain);
	nft_is_family(&d, 6);
	nft_load_payload(&d, NFT_PAYLOAD_NETWORK_HEADER, address_offset(6, dir), 16);
	nft_mask(&d, isatap_mask, 16);
	nft_compare(&d, NFT_CMP_EQ, isatap, 16);
	nft_refuse(&d);
	nft_rule_end(&d, "weir ISATAP");
}

static void put_go(struct batch *b, const char *chain, uint8_t l4proto, const char *go)
{
	struct draft d = nft_rule_begin(b, chain);

	nft_is_l4proto(&d, l4proto);
	nft_decide(&d, NFT_GOTO, go);
	nft_rule_end(&d, NULL);
}

static void put_head(struct batch *b, enum policy_dir dir)
{
	bool egress = dir == POLICY_EGRESS;
	const char *chain = egress ? "egress" : "ingress";
	const char *rules = egress ? "egress_rules" : "ingress_rules";
	struct draft d;

	put_established(b, chain);
	if (!b->rs->iface[0])
		put_loopback(b, chain, egress);
	put_icmp(b, chain, 6, ND_ROUTER_SOLICIT, ND_NEIGHBOR_ADVERT, NULL);
	put_unclear(b, chain, dir);
	put_go(b, chain, IPPROTO_TCP, rules);
	put_go(b, chain, IPPROTO_UDP, rules);
	put_icmp(b, chain, 4, ICMP_ECHO, ICMP_ECHO, rules);
	put_icmp(b, chain, 6, ICMP6_ECHO_REQUEST, ICMP6_ECHO_REQUEST, rules);
	d = nft_rule_begin(b, chain);
	nft_refuse(&d);
	nft_rule_end(&d, "weir not carried");
}

static void put_refuse(struct batch *b)
{
	struct draft d = nft_rule_begin(b, "refuse");

	if (b->rs->drop) {
		nft_decide(&d, NF_DROP, NULL);
		nft_rule_end(&d, NULL);
		return;
	}
	nft_is_l4proto(&d, IPPROTO_TCP);
	nft_reject(&d, NFT_REJECT_TCP_RST, 0);
	nft_rule_end(&d, NULL);
	d = nft_rule_begin(b, "refuse");
	nft_reject(&d, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
	nft_rule_end(&d, NULL);
}

static void put_forward(struct batch *b)
{
	char name[IFNAMSIZ] = "";

	snprintf(name, sizeof(name), "%s", b->rs->iface);
	for (unsigned in = 0; in < 2; in++) {
		struct draft d = nft_rule_begin(b, "forward");

		nft_load_meta(&d, in ? NFT_META_OIFNAME : NFT_META_IIFNAME);
		nft_compare(&d, NFT_CMP_EQ, name, sizeof(name));
		nft_decide(&d, NFT_GOTO, in ? "ingress" : "egress");
		nft_rule_end(&d, NULL);
	}
}

static void put_everything(struct batch *b)
{
	const struct nft_ruleset *rs = b->rs;
	bool own = !rs->iface[0];

	put_table(b, NFT_MSG_NEWTABLE);
	put_table(b, NFT_MSG_DELTABLE);
	put_table(b, NFT_MSG_NEWTABLE);
	for (size_t i = 0; i < rs->n_sets && b->err == 0; i++) {
		put_set(b, &rs->sets[i], (uint32_t)i + 1);
		put_elements(b, &rs->sets[i]);
	}
	put_chain(b, "refuse", -1, 0);
	put_chain(b, "egress_rules", -1, 0);
	put_chain(b, "egress", own ? NF_INET_LOCAL_OUT : -1, NF_DROP);
	put_chain(b, "ingress_rules", -1, 0);
	put_chain(b, "ingress", own ? NF_INET_LOCAL_IN : -1, NF_DROP);
	put_refuse(b);
	for (size_t i = 0; i < rs->n_rules && b->err == 0; i++)
		put_rule(b, &rs->rules[i]);
	put_head(b, POLICY_EGRESS);
	put_head(b, POLICY_INGRESS);
	if (!own) {
		put_chain(b, "forward", NF_INET_FORWARD, NF_ACCEPT);
		put_forward(b);
	}
}

/* ---- to the kernel ------------------------------------------------------------------------ */

static void put_frame(struct batch *b, uint16_t type)
{
	struct nlmsghdr *h = type == NFNL_MSG_BATCH_BEGIN
				     ? nftnl_batch_begin((char *)b->message, ++b->seq)
				     : nftnl_batch_end((char *)b->message, ++b->seq);

	nft_message_end(b, h);
}

/* The message before the batch's end asks for an acknowledgement: then all of it was taken. */
static void put_batch(struct batch *b, size_t *ret_last)
{
	put_frame(b, NFNL_MSG_BATCH_BEGIN);
	put_everything(b);
	*ret_last = b->out.len;
	put_table(b, NFT_MSG_NEWTABLE); /* there already: changes nothing */
	put_frame(b, NFNL_MSG_BATCH_END);
}

static int refused(int error, struct conf_error *err)
{
	conf_error_set(err, "the kernel refuses the table: %s%s", strerror(error),
		       error == EPERM	     ? "; this needs root (CAP_NET_ADMIN)"
		       : error == EOPNOTSUPP ? "; is nf_tables with inet, ct and reject there?"
					     : "");
	return -error;
}

static int exchange(struct mnl_socket *nl, struct batch *b, uint32_t ack_seq, struct conf_error *err)
{
	int size = (int)MIN(b->out.len * 2, (size_t)INT32_MAX);
	uint8_t reply[8192];

	(void)setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (mnl_socket_sendto(nl, buf_at(&b->out), b->out.len) < 0)
		return refused(errno, err);
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl, reply, sizeof(reply));
		int len = (int)n;

		if (n < 0)
			return refused(errno, err);
		for (const struct nlmsghdr *h = (const void *)reply; mnl_nlmsg_ok(h, len);
		     h = mnl_nlmsg_next(h, &len)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*e))
				continue;
			if (e->error)
				return refused(-e->error, err);
			if (h->nlmsg_seq == ack_seq)
				return 0;
		}
	}
}

static int send_batch(struct batch *b, uint32_t ack_seq, struct conf_error *err)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int r;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = refused(errno, err);
	else
		r = exchange(nl, b, ack_seq, err);
	if (nl)
		mnl_socket_close(nl);
	return r;
}

int nft_apply(const struct nft_ruleset *rs, struct conf_error *err)
{
	struct batch b = { .rs = rs, .out = BUF_INIT(BATCH_MAX), .message = malloc(NFT_MESSAGE_MAX) };
	struct nlmsghdr last;
	size_t at = 0;
	int r;

	if (!b.message)
		b.err = -ENOMEM;
	else
		put_batch(&b, &at);
	r = b.err;
	if (r < 0) {
		conf_error_set(err, "%s", strerror(-r));
	} else {
		memcpy(&last, buf_at(&b.out) + at, sizeof(last));
		last.nlmsg_flags |= NLM_F_ACK;
		memcpy(buf_at(&b.out) + at, &last, sizeof(last));
		r = send_batch(&b, last.nlmsg_seq, err);
	}
	buf_fini(&b.out);
	free(b.message);
	return r;
}
