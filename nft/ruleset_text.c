/* SPDX-License-Identifier: Apache-2.0 */
/* The table as `nft -f` reads it, replacing one of the same name in the same transaction. */
#include "nft/ruleset.h"

#include <stdio.h>

/* Ten to a line, which a person can still read and a diff still shows. */
#define ELEMENTS_PER_LINE 10

static void print_element_separator(FILE *out, size_t i)
{
	fputs(i == 0 ? "" : i % ELEMENTS_PER_LINE ? ", " : ",\n\t\t\t", out);
}

static void print_set(const struct nft_set *s, FILE *out)
{
	char a[IP_STRLEN], b[IP_STRLEN];

	fprintf(out, "\tset %s {\n\t\ttype %s\n\t\tflags %s\n", s->name,
		s->family == 4 ? "ipv4_addr" : "ipv6_addr", s->by_name ? "timeout" : "interval");
	if (s->comment[0])
		fprintf(out, "\t\tcomment \"%s\"\n", s->comment);
	if (s->n_ranges || s->n_addrs)
		fputs("\t\telements = { ", out);
	for (size_t i = 0; i < s->n_ranges; i++) {
		const struct addr_range *r = &s->ranges[i];

		print_element_separator(out, i);
		fputs(ip_format(&r->first, a), out);
		if (!ip_equal(&r->first, &r->last))
			fprintf(out, "-%s", ip_format(&r->last, b));
	}
	for (size_t i = 0; i < s->n_addrs; i++) {
		print_element_separator(out, i);
		fputs(ip_format(&s->addrs[i].addr, a), out);
		if (s->addrs[i].seconds)
			fprintf(out, " timeout %us", s->addrs[i].seconds);
	}
	if (s->n_ranges || s->n_addrs)
		fputs(" }\n", out);
	fputs("\t}\n", out);
}

static void print_proto(const struct nft_rule *r, FILE *out)
{
	switch (r->proto) {
	case POLICY_TCP:
		fputs("meta l4proto tcp ", out);
		break;
	case POLICY_UDP:
		fputs("meta l4proto udp ", out);
		break;
	case POLICY_ICMPV4:
		fputs("meta l4proto icmp ", out);
		break;
	case POLICY_ICMPV6:
		fputs("meta l4proto ipv6-icmp ", out);
		break;
	default:
		break;
	}
}

static void print_rule(const struct nft_ruleset *rs, const struct nft_rule *r, FILE *out)
{
	char comment[128];

	fputs("\t\t", out);
	if (r->set >= 0)
		fprintf(out, "%s %s @%s ", r->family == 4 ? "ip" : "ip6",
			r->dir == POLICY_EGRESS ? "daddr" : "saddr", rs->sets[r->set].name);
	print_proto(r, out);
	if (r->ports.lo && r->ports.lo == r->ports.hi)
		fprintf(out, "th dport %u ", r->ports.lo);
	else if (r->ports.lo)
		fprintf(out, "th dport %u-%u ", r->ports.lo, r->ports.hi);
	fprintf(out, "counter %s comment \"%s\"\n",
		r->verdict == NFT_RULE_ACCEPT ? "accept" : "goto refuse",
		nft_rule_comment(r, comment, sizeof(comment)));
}

/* What begins no flow, what no range can tell apart, and what weir does not carry. */
static void print_head(const struct nft_ruleset *rs, enum policy_dir dir, FILE *out)
{
	const char *addr = dir == POLICY_EGRESS ? "daddr" : "saddr";
	const char *rules = dir == POLICY_EGRESS ? "egress_rules" : "ingress_rules";

	fputs("\t\tct state established,related accept\n", out);
	if (!rs->iface[0])
		fprintf(out, "\t\t%s \"lo\" accept\n", dir == POLICY_EGRESS ? "oif" : "iif");
	fputs("\t\ticmpv6 type 133-136 accept\n", out);
	fprintf(out, "\t\tip6 %s 2001::/32 counter goto refuse comment \"weir Teredo\"\n", addr);
	fprintf(out,
		"\t\tip6 %s & ::fdff:ffff:0:0 == ::5efe:0:0 counter goto refuse comment "
		"\"weir ISATAP\"\n",
		addr);
	fprintf(out, "\t\tmeta l4proto tcp goto %s\n\t\tmeta l4proto udp goto %s\n", rules, rules);
	fprintf(out, "\t\ticmp type echo-request goto %s\n", rules);
	fprintf(out, "\t\ticmpv6 type echo-request goto %s\n", rules);
	fputs("\t\tcounter goto refuse comment \"weir not carried\"\n", out);
}

static void print_chains(const struct nft_ruleset *rs, enum policy_dir dir, FILE *out)
{
	const char *name = dir == POLICY_EGRESS ? "egress" : "ingress";

	fprintf(out, "\tchain %s_rules {\n", name);
	for (size_t i = 0; i < rs->n_rules; i++)
		if (rs->rules[i].dir == dir)
			print_rule(rs, &rs->rules[i], out);
	fprintf(out, "\t}\n\tchain %s {\n", name);
	if (!rs->iface[0])
		fprintf(out, "\t\ttype filter hook %s priority filter; policy drop;\n",
			dir == POLICY_EGRESS ? "output" : "input");
	print_head(rs, dir, out);
	fputs("\t}\n", out);
}

int nft_print(const struct nft_ruleset *rs, FILE *out)
{
	fprintf(out, "table inet %s\ndelete table inet %s\ntable inet %s {\n", rs->table, rs->table,
		rs->table);
	for (size_t i = 0; i < rs->n_sets; i++)
		print_set(&rs->sets[i], out);
	fputs("\tchain refuse {\n", out);
	if (!rs->drop) {
		fputs("\t\tmeta l4proto tcp reject with tcp reset\n", out);
		fputs("\t\treject with icmpx admin-prohibited\n", out);
	} else {
		fputs("\t\tdrop\n", out);
	}
	fputs("\t}\n", out);
	print_chains(rs, POLICY_EGRESS, out);
	print_chains(rs, POLICY_INGRESS, out);
	if (rs->iface[0])
		fprintf(out,
			"\tchain forward {\n"
			"\t\ttype filter hook forward priority filter; policy accept;\n"
			"\t\tiifname \"%s\" goto egress\n"
			"\t\toifname \"%s\" goto ingress\n"
			"\t}\n",
			rs->iface, rs->iface);
	fputs("}\n", out);
	return ferror(out) ? -EIO : 0;
}
