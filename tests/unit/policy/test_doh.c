/* SPDX-License-Identifier: Apache-2.0 */
/* Group doh: known resolvers by name and by address, whatever spelling the rule has. */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

static struct policy_facts tcp443(const char *ip)
{
	return (struct policy_facts){ .dir = POLICY_EGRESS,
				      .proto = POLICY_TCP,
				      .addr = must_ip(ip),
				      .port = 443,
				      .name = POLICY_NONE,
				      .http = POLICY_NONE };
}

static void test_names(void **state)
{
	static const char *const in[] = {
		"dns.google",
		"DNS.Google.",
		"dns64.dns.google",
		"8888.google",
		"cloudflare-dns.com",
		"mozilla.cloudflare-dns.com",
		"chrome.cloudflare-dns.com",
		"family.cloudflare-dns.com",
		"abc123.cloudflare-gateway.com",
		"dns.quad9.net",
		"dns10.quad9.net",
		"doh.opendns.com",
		"doh.familyshield.opendns.com",
		"abcdef.dns.nextdns.io",
		"firefox.dns.nextdns.io",
		"dns.adguard-dns.com",
		"d.adguard-dns.com",
		"doh.cleanbrowsing.org",
		"adblock.dns.mullvad.net",
		"x.dns.controld.com",
		"freedns.controld.com",
		"doh.dns.sb",
		"dns.alidns.com",
		"doh.pub",
		"sm2.doh.pub",
		"doh.360.cn",
		"common.dot.dns.yandex.net",
		"dns.twnic.tw",
		"public.dns.iij.jp",
		"wikimedia-dns.org",
		"doh.libredns.gr",
		"clean.dnsforge.de",
		"doh.applied-privacy.net",
		"dns.switch.ch",
		"family.canadianshield.cira.ca",
		"ordns.he.net",
		"doh.xfinity.com",
	};
	static const char *const out[] = {
		"google",
		"google.com",
		"www.google.com",
		"xdns.google",
		"dns.google.example.com",
		"notcloudflare-dns.com",
		"cloudflare-dns.com.evil.com",
		"cloudflare.com",
		"www.quad9.net",
		"a.dns.quad9.net",
		"dns.nextdns.io.example.com",
		"nextdns.io",
		"my.nextdns.io",
		"controld.com",
		"mullvad.net",
		"adguard.com",
		"pub",
		"one.one.one",
		"use-application-dns.net",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		struct name n = must_name(in[i]);

		if (!policy_doh_name(&n))
			fail_msg("%s is not in the table", in[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(out); i++) {
		struct name n = must_name(out[i]);

		if (policy_doh_name(&n))
			fail_msg("%s is in the table", out[i]);
	}
}

static bool has(const char *ip, enum policy_action action)
{
	struct ip_addr a = must_ip(ip);

	return policy_doh_address(&a, action);
}

static void test_addresses(void **state)
{
	static const char *const in[] = {
		"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.1.1.3", "1.0.0.2", "9.9.9.9", "9.9.9.11",
		"149.112.112.112", "208.67.222.222", "94.140.14.14", "45.90.28.0", "45.90.28.255",
		"45.90.30.77", "76.76.2.0", "76.76.2.255", "76.76.10.11", "101.101.101.101",
		"2001:4860:4860::8888", "2606:4700:4700::1111", "2620:fe::fe",
		"2a07:a8c0::", "2a07:a8c1:ffff:ffff:ffff:ffff:ffff:ffff", "2a11::", "240c::6666",
		/* as the address inside */
		"::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
		"2600::5efe:8.8.8.8", "2600::200:5efe:8.8.8.8", "::ffff:0:8.8.8.8",
		"2001:0:808:808::f7f7:f7f7"
	};
	static const char *const out[] = { "8.8.8.7",
					   "8.8.8.9",
					   "8.8.4.3",
					   "1.1.1.0",
					   "1.1.1.4",
					   "1.0.0.0",
					   "9.9.9.8",
					   "45.90.27.255",
					   "45.90.29.0",
					   "45.90.29.255",
					   "45.90.31.0",
					   "76.76.1.255",
					   "76.76.3.0",
					   "0.0.0.0",
					   "255.255.255.255",
					   "::",
					   "2001:4860:4860::8887",
					   "2001:4860:4860::8889",
					   "2a07:a8bf:ffff:ffff:ffff:ffff:ffff:ffff",
					   "2a07:a8c2::",
					   "2a11::1",
					   "2a10:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
					   "::ffff:8.8.8.9",
					   "2002:808:809::1",
					   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in); i++)
		if (!has(in[i], POLICY_ALLOW) || !has(in[i], POLICY_DENY))
			fail_msg("%s is not in the table", in[i]);
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		if (has(out[i], POLICY_ALLOW) || has(out[i], POLICY_DENY))
			fail_msg("%s is in the table", out[i]);
	/* Two addresses inside: an allow must hold for both, a deny for either. */
	assert_true(has("2002:808:808::5efe:10.0.0.1", POLICY_DENY));
	assert_false(has("2002:808:808::5efe:10.0.0.1", POLICY_ALLOW));
	assert_true(has("2002:808:808::5efe:1.1.1.1", POLICY_ALLOW));
}

/* policy/doh.tsv read again here: every name, and both sides of every prefix. (d3.2-doh) */
static void test_whole_table(void **state)
{
	FILE *f = fopen("policy/doh.tsv", "r");
	char line[256], *tab;
	size_t names = 0, prefixes = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct ip_prefix p;
		struct name n;

		tab = strchr(line, '\t');
		if (line[0] == '#' || !tab)
			continue;
		*tab = 0;
		if (strchr(line, '/')) {
			assert_int_equal(ip_prefix_parse(line, strlen(line), &p, NULL), 0);
			assert_true(policy_doh_address(&p.addr, POLICY_ALLOW));
			assert_int_equal(policy_group_of(&p.addr), POLICY_GROUP_PUBLIC);
			prefixes++;
			continue;
		}
		n = must_name(line[0] == '.' ? line + 1 : line);
		assert_true(policy_doh_name(&n));
		names++;
		if (line[0] == '.') {
			char below[260];

			snprintf(below, sizeof(below), "x%s", line);
			n = must_name(below);
			assert_true(policy_doh_name(&n));
		}
	}
	fclose(f);
	assert_true(names > 100);
	assert_true(prefixes > 180);
}

static void test_spellings(void **state)
{
#define DENY(dest) "{\"rules\": [{\"action\": \"deny\", " dest "}]}"
	static const char *const spellings[] = {
		DENY("\"destination\": \"doh\""),
		DENY("\"destination\": {\"group\": \"doh\"}"),
		DENY("\"destination_kind\": \"group\", \"destination\": \"doh\""),
	};
	const char *token = "deny@doh";
	struct policy_flags flags = { .no_net = true, .net_rules = &token, .n_net_rules = 1 };
	struct policy *p = NULL;
	struct conf_error err = { "" };
	char *first = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
		char *text;

		p = must_load(spellings[i]);
		text = printed(p);
		policy_free(p);
		if (!first)
			first = text;
		assert_string_equal(text, first);
		if (text != first)
			free(text);
	}
	assert_non_null(strstr(first, "\"destination\": \"doh\""));
	assert_int_equal(policy_compose(NULL, &flags, &p, &err), 0);
	free(first);
	first = printed(p);
	assert_non_null(strstr(first, "\"destination\": \"doh\""));
	free(first);
	policy_free(p);
	p = NULL;
	assert_int_equal(load_text("{\"rules\": [{\"action\": \"deny\", \"destination\": "
				   "{\"group\": \"dohh\"}}]}",
				   &p, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "did you mean \"doh\"?"));
}

static void test_deny(void **state)
{
	struct policy *p = must_load("{\"default_egress\": \"allow\", \"rules\": ["
				     "{\"action\": \"deny\", \"destination\": \"doh\"}]}");
	struct name other = must_name("innocent.example.com"), google = must_name("dns.google");
	struct policy_facts f = tcp443("8.8.8.8");
	struct policy_step step[2];
	size_t n;

	(void)state;
	/* TLS to 8.8.8.8 under another name: the address is enough. */
	f.name = POLICY_KNOWN;
	f.names = &other;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	policy_explain(p, &f, step, 2, &n);
	assert_string_equal(step[0].why, "8.8.8.8 is a known DNS-over-HTTPS resolver");
	f.addr = must_ip("::ffff:8.8.8.8");
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	/* Any other address under the resolver's name. */
	f.addr = must_ip("93.184.215.14");
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_ALLOW);
	policy_explain(p, &f, step, 2, &n);
	assert_string_equal(step[0].why, "name innocent.example.com is not a known "
					 "DNS-over-HTTPS resolver");
	f.names = &google;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	policy_explain(p, &f, step, 2, &n);
	assert_string_equal(step[0].why, "destination is a known DNS-over-HTTPS resolver");
	/* A claimed name is enough for a deny. No name at all does not escape it. */
	f.name_unproven = true;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.name = POLICY_NONE;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.name = POLICY_UNKNOWN;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_NAME);
	/* Its name is not even asked for. */
	assert_int_equal(policy_decide_query(p, &google).answer, POLICY_ANSWER_DENY);
	assert_int_equal(policy_decide_query(p, &other).answer, POLICY_ANSWER_ALLOW);
	policy_free(p);
}

static void test_allow(void **state)
{
	struct policy *p = must_load("{\"rules\": [{\"action\": \"allow\", \"destination\": "
				     "\"doh\", \"protocol\": \"tcp\", \"port\": 443}]}");
	struct name google = must_name("dns.google");
	struct policy_facts f = tcp443("8.8.8.8");

	(void)state;
	/* The address itself is allowed, also without a name. */
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_ALLOW);
	f.port = 53;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f = tcp443("93.184.215.14");
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	/* Elsewhere the name must be known, and not only claimed. */
	f.name = POLICY_KNOWN;
	f.names = &google;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_ALLOW);
	f.name_unproven = true;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	/* An internal address as its answer is still refused. */
	assert_false(policy_answer_ok(p, &(struct ip_addr){ 4, { 10, 0, 0, 1 } }));
	assert_int_equal(policy_decide_query(p, &google).answer, POLICY_ANSWER_ALLOW);
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	    cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_whole_table), cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_deny),	    cmocka_unit_test(test_allow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
