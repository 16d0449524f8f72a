/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random small policies, and a grid of flows that holds at least one of every
 * kind that their rules can tell apart: what lint and diff are checked against.
 */
#ifndef POLICY_SPACE_TEST_H
#define POLICY_SPACE_TEST_H

#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

/* Sanitizers take four times as long, and what they look for shows in the first rounds. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#define ROUNDS(n) ((n) / 4u)
#else
#define ROUNDS(n) ((unsigned)(n))
#endif

static const struct ip_addr test_gateway = { 4, { 192, 0, 0, 1 } };
static const struct policy_gateways test_gateways = { &test_gateway, 1 };

static const char *const grid_v4[] = { "10.0.0.1",	  "10.1.2.3",	     "10.200.0.1",
				       "8.8.8.8",	  "1.1.1.1",	     "93.184.215.14",
				       "200.1.2.3",	  "149.112.112.112", "127.0.0.1",
				       "169.254.169.254", "224.0.0.1",	     "192.0.2.1",
				       "169.254.1.1",	  "192.168.1.1" };
static const char *const grid_v6[] = { "2606:4700::1",
				       "2606:2800::1",
				       "2606:4700:4700::1111",
				       "2001:db8::1",
				       "fc00::1",
				       "fe80::1",
				       "ff02::1",
				       "::1",
				       "4000::1",
				       "fd00:ec2::254",
				       "fe80::a9fe:a9fe" };
static const char *const grid_names[] = { "a.com",
					  "www.a.com",
					  "b.a.com",
					  "x.b.a.com",
					  "c.com",
					  "other.net",
					  "www.c.com",
					  "y.b.a.com",
					  "y.x.b.a.com",
					  "y.dns.google",
					  "dns.google",
					  "cloudflare-dns.com",
					  "q.cloudflare-dns.com" };
static const uint16_t grid_ports[] = { 1, 53, 80, 100, 443, 500, 600, 9000 };
static const char *const grid_methods[] = { "GET", "get", "POST", "post", "PUT" };

#define PICK(a) (a)[rnd(ARRAY_SIZE(a))]

struct grid {
	struct ip_addr addrs[128];
	size_t n_addrs;
	struct name names[ARRAY_SIZE(grid_names)];
	char *paths[512];
	size_t n_paths;
	bool http; /* requests beside flows; no IPv6 forms of IPv4, or it takes too long */
};

/* The IPv6 forms of an IPv4 address that the space knows of. */
static inline size_t forms_of(const struct ip_addr *a, struct ip_addr ret[5])
{
	static const uint8_t base[5][12] = {
		{ [10] = 0xff, [11] = 0xff },
		{ [8] = 0xff, [9] = 0xff },
		{ 0x00, 0x64, 0xff, 0x9b },
		{ 0x20, 0x01, 0, 0, 0x41, 0x36, 0xe3, 0x78, 0x80, 0, 0x63, 0xbf },
		{ 0x20, 0x02 },
	};

	for (size_t i = 0; i < 5; i++) {
		uint8_t b[16] = { 0 };

		memcpy(b, base[i], 12);
		if (i == 4) {
			memcpy(b + 2, a->b, 4);
			b[15] = 1;
		} else {
			for (size_t k = 0; k < 4; k++)
				b[12 + k] = i == 3 ? (uint8_t)~a->b[k] : a->b[k];
		}
		ret[i] = ip_from_be(6, b);
	}
	return 5;
}

static inline void grid_paths(struct grid *g, char *at, size_t len, unsigned depth)
{
	static const char *const segs[] = { "a", "b", "c", "v1", "v2x", "x", "" };

	for (size_t i = 0; i < ARRAY_SIZE(segs); i++) {
		size_t n = len + (size_t)snprintf(at + len, 32, "/%s", segs[i]);

		assert_true(g->n_paths < ARRAY_SIZE(g->paths));
		g->paths[g->n_paths++] = strdup(at);
		if (segs[i][0] && depth < 3)
			grid_paths(g, at, n, depth + 1);
		at[len] = 0;
	}
}

static inline void grid_init(struct grid *g, bool http)
{
	char path[128] = "";

	*g = (struct grid){ .http = http };
	for (size_t i = 0; i < ARRAY_SIZE(grid_names); i++)
		g->names[i] = must_name(grid_names[i]);
	g->addrs[g->n_addrs++] = test_gateway;
	for (size_t i = 0; i < ARRAY_SIZE(grid_v4); i++) {
		g->addrs[g->n_addrs++] = must_ip(grid_v4[i]);
		if (!http)
			g->n_addrs += forms_of(&g->addrs[g->n_addrs - 1], &g->addrs[g->n_addrs]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(grid_v6); i++)
		g->addrs[g->n_addrs++] = must_ip(grid_v6[i]);
	if (http) {
		grid_paths(g, path, 0, 1);
		g->paths[g->n_paths++] = strdup("*");
	}
}

static inline void grid_fini(struct grid *g)
{
	for (size_t i = 0; i < g->n_paths; i++)
		free(g->paths[i]);
}

/* Calls fn for every flow; false from it ends the walk. */
static inline bool grid_each_name(const struct grid *g, struct policy_facts f,
				  bool (*fn)(void *arg, const struct policy_facts *f), void *arg)
{
	f.name = POLICY_NONE;
	if (!fn(arg, &f))
		return false;
	f.name = POLICY_KNOWN;
	f.n_names = 1;
	for (size_t i = 0; i < ARRAY_SIZE(grid_names) && f.dir == POLICY_EGRESS; i++)
		for (int claimed = 0; claimed < 2; claimed++) {
			f.names = &g->names[i];
			f.name_unproven = claimed;
			if (!fn(arg, &f))
				return false;
		}
	return true;
}

static inline bool grid_each_request(const struct grid *g, struct policy_facts f,
				     bool (*fn)(void *arg, const struct policy_facts *f), void *arg)
{
	f.http = POLICY_NONE;
	if (!grid_each_name(g, f, fn, arg))
		return false;
	if (!g->http || f.proto != POLICY_TCP || f.dir != POLICY_EGRESS)
		return true;
	f.http = POLICY_KNOWN;
	for (size_t i = 0; i < g->n_paths; i++)
		for (size_t k = 0; k < ARRAY_SIZE(grid_methods); k++) {
			f.path = g->paths[i];
			f.method = grid_methods[k];
			if (!grid_each_name(g, f, fn, arg))
				return false;
		}
	return true;
}

static inline bool grid_each(const struct grid *g,
			     bool (*fn)(void *arg, const struct policy_facts *f), void *arg)
{
	for (unsigned kind = 0; kind < 6; kind++)
		for (size_t p = 0; p < ARRAY_SIZE(grid_ports); p++)
			for (size_t a = 0; a < g->n_addrs; a++) {
				struct policy_facts f = {
					.dir = kind < 4 ? POLICY_EGRESS : POLICY_INGRESS,
					.proto = (enum policy_proto)(
						1u << (kind < 4 ? kind : kind - 4)),
					.addr = g->addrs[a],
					.is_host = a == 0,
					.port = kind == 2 || kind == 3 ? 0 : grid_ports[p],
				};

				if ((f.port == 0 && p) || (f.is_host && f.dir == POLICY_INGRESS))
					continue;
				if (!grid_each_request(g, f, fn, arg))
					return false;
			}
	return true;
}

/* ---- random rules ---------------------------------------------------------------- */

static inline void name_it(struct policy_rule *r, const char *text)
{
	const struct name n = must_name(text);

	assert_int_equal(policy_rule_set_name(r, &n), 0);
}

static inline void random_dest(struct policy_rule *r, bool http)
{
	static const char *const prefixes[] = { "10.0.0.0/8",  "10.0.0.0/9",	 "10.128.0.0/9",
						"10.1.0.0/16", "8.8.8.8/32",	 "0.0.0.0/0",
						"0.0.0.0/1",   "128.0.0.0/1",	 "::/0",
						"2000::/3",    "2606:4700::/32", "64:ff9b::/96",
						"2002::/16",   "2002:a00::/24",	 "2001::/32",
						"fc00::/7" };
	static const char *const names[] = { "a.com", "b.a.com", "x.b.a.com", "c.com", "dns.google" };
	static const enum policy_dest by_name[] = { POLICY_DEST_NAME, POLICY_DEST_SUFFIX,
						    POLICY_DEST_BELOW };
	const char *s;

	switch (rnd(http ? 7 : 8)) {
	case 0:
		r->dest = POLICY_DEST_ANY;
		break;
	case 1:
		r->dest = POLICY_DEST_GROUP;
		r->group = (enum policy_group)rnd(POLICY_GROUPS);
		break;
	case 2:
	case 3:
		s = prefixes[rnd(http ? 8 : ARRAY_SIZE(prefixes))];
		r->dest = POLICY_DEST_PREFIX;
		assert_int_equal(ip_prefix_parse(s, strlen(s), &r->prefix, NULL), 0);
		break;
	case 7:
		r->dest = POLICY_DEST_DOH;
		break;
	default:
		r->dest = PICK(by_name);
		name_it(r, PICK(names));
		break;
	}
}

static inline void random_rule(struct policy *p, bool http)
{
	static const char *const patterns[] = { "/**",	 "/a", "/a/*",	"/a/**", "/v*",
						"/v*/a", "/*", "/**/c", "/a/b",	 "/a/" };
	static const char *const methods[] = { "GET", "POST" };
	static const struct port_range ranges[] = { { 53, 53 }, { 80, 80 },  { 443, 443 },
						    { 1, 442 }, { 80, 600 }, { 600, 65535 } };
	struct policy_rule r = RULE_INIT;
	struct why why;

	r.action = rnd(2) ? POLICY_ALLOW : POLICY_DENY;
	if (rnd(6) == 0)
		r.dirs = rnd(2) ? POLICY_ANY_DIR : POLICY_INGRESS;
	random_dest(&r, http);
	if (http && rnd(3) && r.dirs == POLICY_EGRESS) {
		if (rnd(2) == 0)
			assert_int_equal(policy_rule_add_method(&r, PICK(methods), &why), 0);
		if (rnd(3) || !r.n_methods)
			assert_int_equal(policy_rule_add_path(&r, PICK(patterns), &why), 0);
		if (rnd(3) == 0)
			assert_int_equal(policy_rule_add_path(&r, PICK(patterns), &why), 0);
	} else if (rnd(3) == 0) {
		r.protos = rnd(4) ? POLICY_TCP : POLICY_UDP;
		if (rnd(4) == 0 && r.dirs == POLICY_EGRESS)
			r.protos |= POLICY_ICMPV4;
	}
	if (rnd(3) == 0 && !(r.protos & POLICY_ICMPV4))
		for (unsigned k = rnd(2) + 1; k--;)
			assert_int_equal(policy_rule_add_port(&r, PICK(ranges), &why), 0);
	if (r.action == POLICY_ALLOW && r.name && rnd(8) == 0)
		r.qtypes = POLICY_QTYPE_MX;
	if (policy_add(p, &r, &why) < 0)
		policy_rule_fini(&r);
}

static inline struct policy *random_policy(unsigned max_rules, bool http)
{
	struct policy *p = NULL;

	assert_int_equal(policy_new(rnd(3) ? POLICY_DENY : POLICY_ALLOW,
				    rnd(2) ? POLICY_DENY : POLICY_ALLOW, &p),
			 0);
	for (unsigned n = rnd(max_rules) + 1; n--;)
		random_rule(p, http);
	return p;
}

#endif
