/* SPDX-License-Identifier: Apache-2.0 */
/* Why a name may be asked, or not: rule by rule, the floor's behind the policy's own. */
#include "tests/unit/policy/policy_test.h"

static const char rules[] =
	"{\"default_egress\": \"deny\", \"rules\": ["
	"{\"id\": \"in\", \"action\": \"deny\", \"direction\": \"ingress\", \"destination\": "
	"\"*\"},"
	"{\"id\": \"addr\", \"action\": \"allow\", \"destination\": \"10.0.0.0/8\"},"
	"{\"id\": \"ports\", \"action\": \"deny\", \"destination\": \"api.example.com\", \"port\": "
	"22},"
	"{\"id\": \"http\", \"action\": \"deny\", \"destination\": \"api.example.com\", "
	"\"http\": {\"methods\": [\"PUT\"]}},"
	"{\"id\": \"web\", \"action\": \"allow\", \"destination\": \"*\", \"port\": 443},"
	"{\"id\": \"doh\", \"action\": \"deny\", \"destination\": \"doh\"},"
	"{\"id\": \"api\", \"action\": \"allow\", \"destination\": \".example.com\"},"
	"{\"id\": \"rest\", \"action\": \"allow\", \"destination\": \"host\", \"port\": 53}]}";

static void check(const struct policy_step *s, const char *id, const char *outcome, const char *why)
{
	if (!str_eq(s->rule_id, id) || !str_eq(s->outcome, outcome) || !str_eq(s->why, why))
		fail_msg("got %s %s \"%s\", want %s %s \"%s\"", s->rule_id, s->outcome, s->why, id,
			 outcome, why);
}

static void test_words(void **state)
{
	struct policy *p = must_load(rules);
	struct name n = must_name("api.example.com");
	struct policy_step s[16];
	struct policy_verdict v;
	size_t k;

	(void)state;
	v = policy_explain_query(p, &n, s, 16, &k);
	assert_int_equal(v.answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(v.rule, 6);
	assert_int_equal(k, 7);
	check(&s[0], "in", "no match", "the rule is for ingress, a query is egress");
	check(&s[1], "addr", "no match", "a rule by address says nothing of a query");
	check(&s[2], "ports", "no match",
	      "the deny is limited to ports: the name itself may be asked");
	check(&s[3], "http", "no match",
	      "the deny is limited to requests: the name itself may be asked");
	check(&s[4], "web", "no match",
	      "the rule does not cover queries: port 53 of the gateway, udp");
	check(&s[5], "doh", "no match",
	      "name api.example.com is not a known DNS-over-HTTPS resolver");
	check(&s[6], "api", "match", "name api.example.com is .example.com");
	n = must_name("dns.google");
	v = policy_explain_query(p, &n, s, 16, &k);
	assert_int_equal(v.answer, POLICY_ANSWER_DENY);
	assert_int_equal(k, 6);
	check(&s[5], "doh", "match", "name dns.google is a known DNS-over-HTTPS resolver");
	n = must_name("other.org");
	v = policy_explain_query(p, &n, s, 16, &k);
	assert_int_equal(v.rule, 7);
	assert_int_equal(k, 8);
	check(&s[6], "api", "no match", "name other.org is not .example.com");
	check(&s[7], "rest", "match", "the gateway's resolver: every query");
	/* No room is no harm. */
	v = policy_explain_query(p, &n, s, 3, &k);
	assert_int_equal(v.rule, 7);
	assert_int_equal(k, 3);
	policy_free(p);
}

static void test_floor(void **state)
{
	struct policy *p = must_load(rules);
	struct name n = must_name("api.example.com");
	struct policy_step s[16];
	struct policy_verdict v;
	size_t k;

	(void)state;
	policy_set_floor(
		p, must_load("{\"default_egress\": \"allow\", \"rules\": [{\"id\": \"ops\", "
			     "\"action\": \"deny\", \"destination\": \"api.example.com\"}]}"));
	v = policy_explain_query(p, &n, s, 16, &k);
	assert_int_equal(v.answer, POLICY_ANSWER_DENY);
	assert_true(v.floor);
	assert_string_equal(v.rule_id, "ops");
	assert_int_equal(k, 8);
	for (size_t i = 0; i < 7; i++)
		assert_false(s[i].floor);
	assert_true(s[7].floor);
	assert_int_equal(s[7].rule, 0);
	check(&s[7], "ops", "match", "name api.example.com is api.example.com");
	/* The same for a flow. */
	v = policy_explain(p,
			   &(struct policy_facts){ .dir = POLICY_EGRESS,
						   .proto = POLICY_TCP,
						   .addr = must_ip("93.184.215.14"),
						   .port = 8080,
						   .name = POLICY_KNOWN,
						   .names = &n,
						   .n_names = 1,
						   .http = POLICY_KNOWN,
						   .method = "GET",
						   .path = "/" },
			   s, 16, &k);
	assert_true(v.floor);
	assert_true(s[k - 1].floor);
	assert_string_equal(s[k - 1].outcome, "match");
	assert_false(s[k - 2].floor);
	/* With room for fewer, what the floor decided is told of all the same. */
	(void)policy_explain_query(p, &n, s, 7, &k);
	assert_int_equal(k, 7);
	assert_false(s[5].floor);
	check(&s[6], "ops", "match", "name api.example.com is api.example.com");
	assert_true(s[6].floor);
	policy_free(p);
}

/* The last step of the list that decided is what the decider says, for many policies. */
static void test_agrees(void **state)
{
	static const char *const dests[] = { "*",	   "host",   "public",
					     "a.com",	   ".a.com", "*.a.com",
					     "10.0.0.0/8", "doh",    "dns.google" };
	static const char *const asked[] = { "a.com", "b.a.com", "dns.google", "c.org" };

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		char text[1024];
		size_t at = (size_t)snprintf(text, sizeof(text), "{\"rules\": [");
		struct policy_step s[8];
		struct policy_verdict v, w;
		struct policy *p;
		struct name n = must_name(asked[rnd(4)]);
		size_t k;

		for (unsigned i = 0, rules_n = 1 + rnd(4); i < rules_n; i++)
			at += (size_t)snprintf(
				text + at, sizeof(text) - at,
				"%s{\"action\": \"%s\", \"destination\": \"%s\"%s%s}", i ? "," : "",
				rnd(2) ? "allow" : "deny", dests[rnd(ARRAY_SIZE(dests))],
				rnd(3) ? "" : ", \"protocol\": \"udp\"",
				rnd(3)	 ? ""
				: rnd(2) ? ", \"port\": 53"
					 : ", \"port\": 80");
		snprintf(text + at, sizeof(text) - at, "]}");
		p = must_load(text);
		v = policy_explain_query(p, &n, s, 8, &k);
		w = policy_decide_query(p, &n);
		assert_int_equal(v.answer, w.answer);
		assert_int_equal(v.rule, w.rule);
		for (size_t i = 0; i < k; i++)
			if (str_eq(s[i].outcome, "match") != ((int)i == w.rule))
				fail_msg("%s\n%s: step %zu says %s, rule %d decided", text, n.s, i,
					 s[i].outcome, w.rule);
		assert_int_equal(k, w.rule < 0 ? policy_rule_count(p) : (size_t)w.rule + 1);
		policy_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
