/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver under the real policy, by the ids of the parity study: D08 and
 * 3.5 (the rebinding list, both sides of every range, every form that wraps an
 * IPv4 address, as an address and as a service record's hint), D09 and lesson
 * 3 (asking is an egress action).
 */
#include "policy/policy.h"
#include "tests/unit/dns/fake.h"

static struct policy *pol;

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	(void)ctx, (void)ret;
	*ret_exact = true;
	return policy_decide_query(pol, &q->name).answer == POLICY_ANSWER_ALLOW;
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)ret;
	return policy_answer_ok(pol, a);
}

static void start(enum dns_mode mode)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .event = fake_event };
	struct dns_config cfg = {
		.mode = mode,
		.virtual4 = { ip4(198, 18, 0, 0), 15 },
		.virtual6 = { { 6, { 0xfd, 0x77 } }, 64 },
	};

	fake_new(&cfg, &ops);
}

/* A fresh name whose only address is a, asked for as an address. */
static bool address_passes(const struct ip_addr *a)
{
	static unsigned n;
	char text[32];
	struct name name;
	uint8_t msg[DNS_ASK_MAX];

	assert_int_equal(name_parse(text, (size_t)snprintf(text, sizeof(text), "n%u.example", n++),
				    &name, NULL),
			 0);
	fake_query(&name, a->family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA);
	while (F.n_asks) {
		struct dns_ask *ask = F.asks[--F.n_asks];
		struct dns_out o = fake_answer_begin(ask, msg, sizeof(msg));

		if (ask->type == (a->family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA))
			fake_put_rr(&o, ask->type, a->b, ip_size(a));
		dns_upstream_done(F.d, ask, 0, msg, o.len);
	}
	if (fake_seen().rcode == DNS_RCODE_NXDOMAIN) {
		assert_int_equal(fake_seen().ede, DNS_EDE_FILTERED);
		assert_int_equal(F.result, DNS_REBIND);
		return false;
	}
	assert_int_equal(fake_seen().h.an, 1);
	return true;
}

/* The same, as the hint of an HTTPS record: it comes back with it or without. */
static bool hint_passes(const struct ip_addr *a)
{
	static unsigned n;
	char text[32];
	struct name name;
	uint8_t msg[DNS_ASK_MAX], rdata[64] = { 0, 1, 0, 0, a->family == 4 ? 4 : 6 };
	struct dns_out o;

	assert_int_equal(name_parse(text, (size_t)snprintf(text, sizeof(text), "h%u.example", n++),
				    &name, NULL),
			 0);
	fake_query(&name, DNS_TYPE_HTTPS);
	put_be16(rdata + 5, (uint16_t)ip_size(a));
	memcpy(rdata + 7, a->b, ip_size(a));
	o = fake_answer_begin(F.asks[0], msg, sizeof(msg));
	fake_put_rr(&o, DNS_TYPE_HTTPS, rdata, 7 + ip_size(a));
	dns_upstream_done(F.d, F.asks[--F.n_asks], 0, msg, o.len);
	assert_int_equal(fake_seen().h.an, 1);
	return fake_seen().first.rdlen > 3;
}

static void expect(const struct ip_addr *a, bool ok)
{
	char s[IP_STRLEN];

	if (address_passes(a) != ok)
		fail_msg("%s as an address: expected %s", ip_format(a, s), ok ? "given" : "filtered");
	if (hint_passes(a) != ok)
		fail_msg("%s as a hint: expected %s", ip_format(a, s), ok ? "given" : "filtered");
}

/* 3.5, the IPv4 list. */
static const struct {
	uint32_t first;
	uint8_t len;
} ranges4[] = {
	{ 0x00000000, 8 },  { 0x0a000000, 8 },	{ 0x64400000, 10 }, { 0x7f000000, 8 },
	{ 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0000200, 24 },
	{ 0xc0586300, 24 }, { 0xc0a80000, 16 }, { 0xc6120000, 15 }, { 0xc6336400, 24 },
	{ 0xcb007100, 24 }, { 0xe0000000, 4 },	{ 0xf0000000, 4 },
};

static bool listed(uint32_t a)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges4); i++)
		if ((a ^ ranges4[i].first) >> (32 - ranges4[i].len) == 0)
			return true;
	return false;
}

/* Every form of IPv6 that reaches an IPv4 address somewhere. */
static const struct {
	const char *what;
	uint8_t prefix[12];
	uint8_t at; /* where the address stands */
	bool inverted;
} wraps[] = {
	{ "IPv4-mapped", { [10] = 0xff, [11] = 0xff }, 12, false },
	{ "IPv4-compatible", { 0 }, 12, false },
	{ "IPv4-translated", { [8] = 0xff, [9] = 0xff }, 12, false },
	{ "NAT64", { 0x00, 0x64, 0xff, 0x9b }, 12, false },
	{ "6to4", { 0x20, 0x02 }, 2, false },
	{ "Teredo, its server public", { 0x20, 0x01, 0, 0, 8, 8, 8, 8 }, 12, true },
	{ "ISATAP", { 0x26, 0x06, 0x28, 0, [10] = 0x5e, [11] = 0xfe }, 12, false },
	{ "ISATAP, universal", { 0x26, 0x06, 0x28, 0, [8] = 2, [10] = 0x5e, [11] = 0xfe }, 12, false },
};

static void expect_wrapped(uint32_t v4, bool ok)
{
	for (size_t i = 0; i < ARRAY_SIZE(wraps); i++) {
		struct ip_addr a = { .family = 6 };

		memcpy(a.b, wraps[i].prefix, sizeof(wraps[i].prefix));
		put_be32(a.b + wraps[i].at, wraps[i].inverted ? ~v4 : v4);
		expect(&a, ok);
	}
}

static void ranges(enum dns_mode mode)
{
	start(mode);
	for (size_t i = 0; i < ARRAY_SIZE(ranges4); i++) {
		uint32_t first = ranges4[i].first;
		uint32_t last = first | (uint32_t)((UINT64_C(1) << (32 - ranges4[i].len)) - 1);
		uint32_t edge[] = { first - 1, first, last, last + 1 };

		for (size_t k = 0; k < ARRAY_SIZE(edge); k++) {
			struct ip_addr a = { .family = 4 };

			put_be32(a.b, edge[k]);
			expect(&a, !listed(edge[k]));
			expect_wrapped(edge[k], !listed(edge[k]));
		}
	}
	dns_free(F.d);
}

/* Parity: d3.5-ipv4, d3.5-wrapped, d3.5-one-table, weak-5. */
static void test_D08_ipv4_ranges_and_wrappings(void **state)
{
	(void)state;
	assert_int_equal(policy_preset("public_only", &pol), 0);
	ranges(DNS_REAL);
	ranges(DNS_VIRTUAL);
	policy_free(pol);
}

/* 3.5, the IPv6 list, and what it lacked; each range's edges and its neighbours. (d3.5-ipv6) */
static void test_D08_ipv6_ranges(void **state)
{
	static const struct {
		const char *addr;
		bool ok;
	} t[] = {
		{ "::", false },
		{ "::1", false },
		{ "::ffff:127.0.0.1", false },
		{ "ff00::", false },
		{ "ff02::fb", false },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "fc00::", false },
		{ "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "fe80::", false },
		{ "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "fec0::", false },
		{ "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "100::", false },
		{ "100::ffff:ffff:ffff:ffff", false },
		{ "64:ff9b:1::", false },
		{ "64:ff9b:1:ffff:ffff:ffff:808:808", false },
		{ "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", true },
		{ "2001:db8::", false },
		{ "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "2001:db9::", true },
		{ "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true },
		{ "3fff::", false },
		{ "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "3fff:1000::", true },
		{ "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "2000::", true },
		{ "4000::", false },
		{ "2001:200::", true },
		/* Teredo through a server that is not public is nobody's tunnel. */
		{ "2001:0:a00:1::f7f7:f7f7", false },
		/* Metadata services of IPv6. */
		{ "fd00:ec2::254", false },
		{ "fd20:ce::254", false },
	};

	(void)state;
	assert_int_equal(policy_preset("public_only", &pol), 0);
	start(DNS_REAL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct ip_addr a;

		assert_int_equal(ip_parse(t[i].addr, strlen(t[i].addr), &a, NULL), 0);
		expect(&a, t[i].ok);
	}
	dns_free(F.d);
	policy_free(pol);
}

/*
 * D08, the hole of 3.5: what a rule with a port opens is an address that a name may have.
 * Parity: d3.1-rebind, d3.5-opened.
 */
static void test_D08_what_the_policy_opens_passes(void **state)
{
	static const char *const token = "allow@10.0.0.5:tcp:5432,allow@[fd00::/64]:udp:7";
	struct policy_flags flags = { .net_rules = &token, .n_net_rules = 1 };
	static const struct {
		const char *addr;
		bool ok;
	} t[] = {
		{ "10.0.0.4", false },
		{ "10.0.0.5", true },
		{ "10.0.0.6", false },
		{ "::ffff:10.0.0.5", true },
		{ "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false },
		{ "fd00::", true },
		{ "fd00::ffff:ffff:ffff:ffff", true },
		{ "fd00:0:0:1::", false },
		{ "169.254.169.254", false },
	};
	struct conf_error err = { 0 };
	struct policy *base;

	(void)state;
	assert_int_equal(policy_preset("public_only", &base), 0);
	assert_int_equal(policy_compose(base, &flags, &pol, &err), 0);
	start(DNS_REAL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct ip_addr a;

		assert_int_equal(ip_parse(t[i].addr, strlen(t[i].addr), &a, NULL), 0);
		expect(&a, t[i].ok);
	}
	dns_free(F.d);
	policy_free(pol);
}

/*
 * D09, lesson 3: a question is egress. What no rule could use does not leave, in any type.
 * Parity: lesson-03.
 */
static void test_D09_lesson_3_asking_is_egress(void **state)
{
	static const char *const token = "deny@any,allow@.example.com:tcp:443";
	static const char *const front = "allow@.example.com:tcp:443,deny@any";
	static const uint16_t types[] = { DNS_TYPE_A,	 DNS_TYPE_AAAA, DNS_TYPE_HTTPS,
					  DNS_TYPE_SVCB, DNS_TYPE_MX,	DNS_TYPE_SRV,
					  DNS_TYPE_TXT,	 DNS_TYPE_PTR,	DNS_TYPE_ANY };
	struct conf_error err = { 0 };

	(void)state;
	for (int allowed = 0; allowed < 2; allowed++) {
		struct policy_flags flags = { .net_rules = allowed ? &front : &token,
					      .n_net_rules = 1 };
		struct name n;
		struct policy *base;

		assert_int_equal(policy_preset("none", &base), 0);
		assert_int_equal(policy_compose(base, &flags, &pol, &err), 0);
		start(DNS_REAL);
		for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
			assert_int_equal(name_parse("data.evil.net", 13, &n, NULL), 0);
			fake_query(&n, types[i]);
			assert_int_equal(F.n_asks, 0);
			assert_int_equal(fake_seen().rcode, DNS_RCODE_NXDOMAIN);
			assert_int_equal(F.result, DNS_DENIED);
		}
		assert_int_equal(name_parse("api.example.com", 15, &n, NULL), 0);
		fake_query(&n, DNS_TYPE_A);
		assert_int_equal(F.n_asks, allowed);
		dns_free(F.d);
		policy_free(pol);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D08_ipv4_ranges_and_wrappings),
		cmocka_unit_test(test_D08_ipv6_ranges),
		cmocka_unit_test(test_D08_what_the_policy_opens_passes),
		cmocka_unit_test(test_D09_lesson_3_asking_is_egress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
