/* SPDX-License-Identifier: Apache-2.0 */
/* "limit" of a rule: what it takes, how it prints, and what lint and diff make of it. */
#include "tests/unit/policy/policy_test.h"

#define RULE(limit)                                                                                \
	"{\"rules\": [{\"action\": \"allow\", \"destination\": \"a.example.com\", "                \
	"\"limit\": " limit "}]}"

static const struct ip_addr gw_addr = { 4, { 100, 64, 0, 1 } };
static const struct policy_gateways gateways = { &gw_addr, 1 };

static void test_read_and_printed(void **state)
{
	struct policy *p = must_load(
			      RULE("{\"connections\": 5, \"bandwidth\": \"1250kB\", \"burst\": "
				   "\"65536B\", \"packets\": 100}")),
		      *q;
	const struct policy_limit *l = policy_rule_limit(p, 0);
	char out[POLICY_LIMIT_STRLEN], *text = printed(p), *again;
	struct policy_rule_view v;

	(void)state;
	assert_non_null(l);
	assert_int_equal(l->bandwidth, 1250000);
	assert_int_equal(l->burst, 65536);
	assert_int_equal(l->packets, 100);
	assert_int_equal(l->connections, 5);
	policy_rule_view(p, 0, &v);
	assert_ptr_equal(v.limit, l);
	assert_true(policy_has_limits(p));
	assert_null(policy_rule_limit(p, -1));
	assert_null(policy_rule_limit(p, 1));
	assert_non_null(strstr(text, "\"limit\": {\"bandwidth\": \"10mbit\", \"burst\": \"64KiB\", "
				     "\"packets\": 100, \"connections\": 5}"));
	q = must_load(text);
	again = printed(q);
	assert_string_equal(text, again);
	assert_string_equal(policy_limit_format(l, out),
			    "10mbit/s (burst 64KiB), 100 packets/s, 5 connections");
	assert_string_equal(policy_limit_format(NULL, out), "no limit");
	free(text);
	free(again);
	policy_free(p);
	policy_free(q);
}

static void test_refused(void **state)
{
	static const char *const v[][2] = {
		{ RULE("{}"), "needs \"bandwidth\", \"packets\" or \"connections\"" },
		{ RULE("5"), "expected an object" },
		{ RULE("{\"bandwidth\": 10}"), "expected a string" },
		{ RULE("{\"bandwidth\": \"10\"}"), "needs a unit" },
		{ RULE("{\"bandwidth\": \"1bit\"}"), "less than a byte" },
		{ RULE("{\"bandwidth\": \"1kbit\"}"), "\"1kbit\" is not from 8kbit to 128gbit" },
		{ RULE("{\"bandwidth\": \"1gbit\", \"burst\": \"5B\"}"), "not from 2KiB to 4GiB" },
		{ RULE("{\"burst\": \"64KiB\"}"), "a burst needs a \"bandwidth\"" },
		{ RULE("{\"burst\": \"64KiB\", \"packets\": 5}"), "a burst needs a \"bandwidth\"" },
		{ RULE("{\"packets\": 0}"), "0 is not from 1" },
		{ RULE("{\"connections\": 1000001}"), "is not from 1 to 1000000" },
		{ RULE("{\"conections\": 1}"), "did you mean \"connections\"" },
		{ "{\"rules\": [{\"action\": \"deny\", \"destination\": \"*\", \"limit\": "
		  "{\"packets\": 1}}]}",
		  "nothing passes by a deny rule" },
		{ "{\"rules\": [{\"action\": \"allow\", \"destination\": \"*\", \"http\": "
		  "{\"methods\": "
		  "[\"GET\"]}, \"limit\": {\"packets\": 1}}]}",
		  "put the limit on a rule without \"http\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct conf_error err = { "" };
		struct policy *p = NULL;

		if (load_text(v[i][0], &p, &err) == 0)
			fail_msg("taken: %s", v[i][0]);
		if (!strstr(err.text, v[i][1]))
			fail_msg("no \"%s\" in \"%s\"", v[i][1], err.text);
	}
}

static struct policy_changes diff(const char *a, const char *b)
{
	struct policy *p = must_load(a), *q = must_load(b);
	struct policy_changes c = { 0 };
	struct conf_error err;

	assert_int_equal(policy_diff(p, q, &gateways, &c, &err), 0);
	policy_free(p);
	policy_free(q);
	return c;
}

static void says(const char *a, const char *b, size_t n, const char *text)
{
	struct policy_changes c = diff(a, b);

	if (c.n != (n ? 1 : 0))
		fail_msg("%zu changes", c.n);
	if (n) {
		assert_int_equal(c.v[0].kind, POLICY_CHANGE_LIMITS);
		assert_int_equal(c.v[0].services.n, n);
		if (!strstr(c.v[0].services.v[0], text))
			fail_msg("no \"%s\" in \"%s\"", text, c.v[0].services.v[0]);
	}
	policy_changes_fini(&c);
}

static void test_diff(void **state)
{
	(void)state;
	says(RULE("{\"packets\": 5}"), RULE("{\"packets\": 5}"), 0, "");
	says(RULE("{\"bandwidth\": \"1MB\"}"), RULE("{\"bandwidth\": \"8mbit\"}"), 0, "");
	says(RULE("{\"packets\": 5}"), RULE("{\"packets\": 6}"), 1, ": 5 packets/s, now 6 packets/s");
	says("{\"rules\": [{\"action\": \"allow\", \"destination\": \"a.example.com\"}]}",
	     RULE("{\"packets\": 6}"), 1, ": no limit, now 6 packets/s");
	says(RULE("{\"packets\": 6}"),
	     "{\"rules\": [{\"action\": \"allow\", \"destination\": \"a.example.com\"}]}", 1,
	     ": 6 packets/s, now no limit");
	/* What a rule is called does not matter; two that match alike are told apart. */
	says("{\"rules\": [{\"id\": \"x\", \"action\": \"allow\", \"destination\": "
	     "\"b.example.com\", "
	     "\"limit\": {\"packets\": 1}}]}",
	     "{\"rules\": [{\"action\": \"allow\", \"destination\": \"b.example.com\", \"reason\": "
	     "\"r\", \"limit\": {\"packets\": 1}}]}",
	     0, "");
}

/* A rule whose only difference is its limit is none too many, and one that is shadowed still is. */
static void test_lint(void **state)
{
	struct policy *p = must_load("{\"rules\": ["
				     "{\"action\": \"allow\", \"destination\": \"a.example.com\", "
				     "\"limit\": {\"packets\": 1}},"
				     "{\"action\": \"allow\", \"destination\": \".example.com\"},"
				     "{\"action\": \"allow\", \"destination\": \"b.example.com\", "
				     "\"limit\": {\"packets\": 1}}"
				     "]}");
	struct policy_findings f = { 0 };
	struct conf_error err;
	bool shadowed = false;

	(void)state;
	assert_int_equal(policy_lint(p, &gateways, &f, &err), 0);
	for (size_t i = 0; i < f.n; i++) {
		if (f.v[i].rule == 0)
			fail_msg("%s: %s", f.v[i].check, f.v[i].text);
		shadowed |= f.v[i].rule == 2 && strcmp(f.v[i].check, "never-matches") == 0;
	}
	assert_true(shadowed);
	policy_findings_fini(&f);
	policy_free(p);
}

static void test_without_floor(void **state)
{
	struct policy *p = must_load(RULE("{\"packets\": 5}"));
	struct policy *floor = must_load("{\"default_egress\": \"deny\"}");
	struct name n = must_name("a.example.com");
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = must_ip("93.184.215.14"),
				  .port = 443,
				  .name = POLICY_KNOWN,
				  .names = &n,
				  .n_names = 1,
				  .http = POLICY_NONE };

	(void)state;
	policy_set_floor(p, floor);
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	assert_int_equal(policy_decide_own(p, &f).answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(policy_decide_own(p, &f).rule, 0);
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_printed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_lint),
		cmocka_unit_test(test_without_floor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
