/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's link as it is asked for: pools, MTU, MAC, ranges of names. Each
 * item is checked by itself here; whether it goes with the host's routes is found
 * out when a run begins (address_pick.c), because routes change.
 */
#include "weir/config_internal.h"

/* What no machine can have, or what a machine would look for elsewhere. */
static bool may_be_guests(const struct ip_prefix *p)
{
	static const struct ip_prefix never[] = {
		{ { 4, { 0 } }, 8 },	     { { 4, { 127 } }, 8 },
		{ { 4, { 169, 254 } }, 16 }, { { 4, { 224 } }, 3 },
		{ { 6, { 0 } }, 8 },	     { { 6, { 0xfe } }, 8 },
		{ { 6, { 0xff } }, 8 },	     { { 6, { 0, 0x64, 0xff, 0x9b } }, 32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (prefixes_overlap(&never[i], p))
			return false;
	return true;
}

static int parse_prefix(struct config_builder *b, const struct where *w, const char *text,
			struct ip_prefix *ret)
{
	const char *why;

	if (ip_prefix_parse(text, strlen(text), ret, &why) < 0)
		return where_fail(w, b->err, "%s; write ADDRESS/LENGTH, as 10.90.0.0/16", why);
	if (!may_be_guests(ret))
		return where_fail(w, b->err,
				  "not addresses that a machine can have (unspecified, loopback, "
				  "link-local, multicast, translated)");
	return 0;
}

static int pool4(struct config_builder *b, const struct where *w, const char *text,
		 struct net_wish *to)
{
	struct ip_prefix p;
	int r = parse_prefix(b, w, text, &p);

	if (r < 0)
		return r;
	if (p.addr.family != 4)
		return where_fail(w, b->err, "an IPv6 network; that is --ipv6-pool");
	if (p.len < 8 || p.len > SLOT_LEN4)
		return where_fail(
			w, b->err,
			"a pool is from /8 to /%d: a sandbox takes a /%d of it, for itself "
			"and its gateway",
			SLOT_LEN4, SLOT_LEN4);
	to->pool4 = p;
	return 0;
}

static int pool6(struct config_builder *b, const struct where *w, const char *text,
		 struct net_wish *to)
{
	struct ip_prefix p;
	int r = parse_prefix(b, w, text, &p);

	if (r < 0)
		return r;
	if (p.addr.family != 6)
		return where_fail(w, b->err, "an IPv4 network; that is --ipv4-pool");
	if (p.len < 16 || p.len > SLOT_LEN6)
		return where_fail(w, b->err, "a pool is from /16 to /%d: a sandbox takes a /%d of it",
				  SLOT_LEN6, SLOT_LEN6);
	to->pool6 = p;
	return 0;
}

static int dns_pool(struct config_builder *b, const struct where *w, const char *text,
		    struct net_wish *to)
{
	struct ip_prefix p, *slot;
	int r = parse_prefix(b, w, text, &p);

	if (r < 0)
		return r;
	slot = p.addr.family == 4 ? &to->virtual4 : &to->virtual6;
	if (slot->addr.family)
		return where_fail(w, b->err, "the second range of IPv%d; there is one of each",
				  p.addr.family);
	if (p.addr.family == 4 ? p.len < 8 || p.len > 24 : p.len < 32 || p.len > 96)
		return where_fail(
			w, b->err, "a range for names is from /8 to /24, or of IPv6 from /32 to /96");
	*slot = p;
	return 0;
}

static int mac(struct config_builder *b, const struct where *w, const char *text, struct net_wish *to)
{
	static const char hex[] = "0123456789abcdef0123456789ABCDEF";
	static const uint8_t zero[6];
	uint8_t m[6] = { 0 };
	bool ok = strlen(text) == 17;

	for (size_t i = 0; ok && i < 17; i++) {
		const char *at = strchr(hex, text[i]);

		if (i % 3 == 2)
			ok = text[i] == ':';
		else if (at)
			m[i / 3] = (uint8_t)(m[i / 3] << 4 | (at - hex) % 16);
		else
			ok = false;
	}
	if (!ok)
		return where_fail(w, b->err, "a MAC address is six bytes: 02:00:00:00:00:05");
	if (m[0] & 1)
		return where_fail(w, b->err,
				  "a group address (the first byte is odd); a machine's is even");
	if (memcmp(m, zero, 6) == 0)
		return where_fail(w, b->err, "all zero; no machine has that");
	if (memcmp(m, sandbox_net_default.gateway_mac, 6) == 0)
		return where_fail(w, b->err, "the gateway's own; give another one");
	memcpy(to->mac, m, 6);
	to->has_mac = true;
	return 0;
}

static int domain(struct config_builder *b, const struct where *w, const char *text,
		  struct net_wish *to)
{
	struct name n;
	const char *why;

	if (name_parse(text, strlen(text), &n, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	memcpy(to->domain, n.s, n.len);
	to->domain[n.len] = 0;
	return 0;
}

/* ---- flags ------------------------------------------------------------------------- */

int config_set_ipv4_pool(struct config_builder *b, const struct where *w, const char *text)
{
	return pool4(b, w, text, &b->c->wish);
}

int config_set_ipv6_pool(struct config_builder *b, const struct where *w, const char *text)
{
	return pool6(b, w, text, &b->c->wish);
}

int config_add_dns_pool(struct config_builder *b, const struct where *w, const char *text)
{
	return dns_pool(b, w, text, &b->c->wish);
}

int config_set_mac(struct config_builder *b, const struct where *w, const char *text)
{
	return mac(b, w, text, &b->c->wish);
}

int config_set_mtu(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint64_t n;

	if (uint_parse(text, strlen(text), SANDBOX_MTU_MIN, SANDBOX_MTU_MAX, &n, &why) < 0)
		return where_fail(w, b->err, "%s; bytes, from %d to %d", why, SANDBOX_MTU_MIN,
				  SANDBOX_MTU_MAX);
	b->c->wish.mtu = (uint16_t)n;
	return 0;
}

/* ---- the file ----------------------------------------------------------------------- */

static int read_dns_pools(struct config_builder *b, const struct conf *c, struct net_wish *to)
{
	int r = 0;

	if (c->v && !json_is_array(c->v))
		return conf_fail(c, b->err, "expected a list: [\"198.18.0.0/15\"]");
	for (size_t i = 0; r == 0 && i < json_array_size(c->v); i++) {
		struct conf e = conf_element(c, i);
		struct where w = { .conf = &e };
		const char *text = NULL;

		r = conf_str(&e, &text, b->err);
		if (r == 0 && text)
			r = dns_pool(b, &w, text, to);
	}
	return r;
}

/* What a flag says stays. */
static void merge(struct config_builder *b, const struct net_wish *file)
{
	struct net_wish *to = &b->c->wish;

	if (!to->pool4.addr.family)
		to->pool4 = file->pool4;
	if (!to->pool6.addr.family)
		to->pool6 = file->pool6;
	if (!to->virtual4.addr.family && !to->virtual6.addr.family) {
		to->virtual4 = file->virtual4;
		to->virtual6 = file->virtual6;
	}
	if (!to->mtu)
		to->mtu = file->mtu;
	if (!to->has_mac) {
		to->has_mac = file->has_mac;
		memcpy(to->mac, file->mac, 6);
	}
	memcpy(to->domain, file->domain, sizeof(to->domain));
	to->no_dhcp |= file->no_dhcp;
}

int config_read_network(struct config_builder *b, const struct conf *c)
{
	static const struct {
		const char *key;
		int (*set)(struct config_builder *b, const struct where *w, const char *text,
			   struct net_wish *to);
	} texts[] = {
		{ "ipv4_pool", pool4 }, { "ipv6_pool", pool6 }, { "mac", mac }, { "domain", domain }
	};
	static const char *const keys[] = { "ipv4_pool", "ipv6_pool", "mac", "domain",
					    "mtu",	 "dns_pool",  "dhcp" };
	struct conf m = conf_member(c, "mtu"), pools = conf_member(c, "dns_pool");
	struct net_wish file = { .mtu = 0 };
	struct conf told = conf_member(c, "dhcp");
	uint64_t mtu = 0;
	bool dhcp = true;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++) {
		struct conf v = conf_member(c, texts[i].key);
		struct where w = { .conf = &v };
		const char *text = NULL;

		r = conf_str(&v, &text, b->err);
		if (r == 0 && text)
			r = texts[i].set(b, &w, text, &file);
	}
	if (r == 0)
		r = conf_uint(&m, SANDBOX_MTU_MIN, SANDBOX_MTU_MAX, &mtu, b->err);
	if (r == 0)
		r = conf_bool(&told, &dhcp, b->err);
	if (r == 0)
		r = read_dns_pools(b, &pools, &file);
	file.no_dhcp = !dhcp;
	file.mtu = (uint16_t)mtu;
	if (r == 0)
		merge(b, &file);
	return r;
}
