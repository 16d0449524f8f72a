/* SPDX-License-Identifier: Apache-2.0 */
/* strict_names and qtypes: what they take, print and mean. */
#include "tests/unit/policy/policy_test.h"

static struct name api;

static struct policy_facts to_api(enum policy_proto proto)
{
	api = must_name("api.example.com");
	return (struct policy_facts){ .dir = POLICY_EGRESS,
				      .proto = proto,
				      .addr = must_ip("93.184.215.14"),
				      .port = 443,
				      .name = POLICY_KNOWN,
				      .names = &api,
				      .n_names = 1,
				      .http = POLICY_NONE };
}

#define ALLOW_API "\"rules\": [{\"action\": \"allow\", \"destination\": \"api.example.com\"}]"
#define DENY_API                                                                                   \
	"\"default_egress\": \"allow\", "                                                          \
	"\"rules\": [{\"action\": \"deny\", \"destination\": \"evil.example.com\"}]"

/* Parity: n14. */
static void test_strict_allow(void **state)
{
	struct policy *lax = must_load("{" ALLOW_API "}");
	struct policy *strict = must_load("{\"strict_names\": true, " ALLOW_API "}");
	struct policy_facts f = to_api(POLICY_UDP);
	struct policy_step step[2];
	size_t n;

	(void)state;
	/* Proven: no difference. */
	assert_int_equal(policy_decide(lax, &f).answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_ALLOW);
	/* Known only because the address was handed out for it. */
	f.name_answered = true;
	assert_int_equal(policy_decide(lax, &f).answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_DENY);
	policy_explain(strict, &f, step, 2, &n);
	assert_string_equal(step[0].outcome, "no match");
	assert_string_equal(step[0].why, "strict_names: the connection proves no name, an allow by "
					 "name needs that");
	/* Claimed only: never an allow. */
	f = to_api(POLICY_TCP);
	f.name_unproven = true;
	assert_int_equal(policy_decide(lax, &f).answer, POLICY_ANSWER_DENY);
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_DENY);
	policy_explain(lax, &f, step, 2, &n);
	assert_string_equal(step[0].why, "name api.example.com is only claimed: this address was "
					 "not handed out for it");
	/* Still to be learned: ask first. */
	f.name_unproven = false;
	f.name = POLICY_UNKNOWN;
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_NEED_NAME);
	policy_free(lax);
	policy_free(strict);
}

/* Parity: n14. */
static void test_strict_deny(void **state)
{
	struct policy *lax = must_load("{" DENY_API "}");
	struct policy *strict = must_load("{\"strict_names\": true, " DENY_API "}");
	struct policy_facts f = to_api(POLICY_TCP);

	(void)state;
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_ALLOW);
	/* No name never escapes a deny by name. */
	f.name_unproven = true;
	assert_int_equal(policy_decide(lax, &f).answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_DENY);
	f.name_unproven = false;
	f.name_answered = true;
	assert_int_equal(policy_decide(lax, &f).answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(policy_decide(strict, &f).answer, POLICY_ANSWER_DENY);
	policy_free(lax);
	policy_free(strict);
}

/* The floor's own word holds for the floor alone. */
static void test_strict_floor(void **state)
{
	struct policy *p = must_load("{" ALLOW_API "}");
	struct policy_facts f = to_api(POLICY_UDP);
	struct policy_step step[4];
	struct policy_verdict v;
	size_t n;

	(void)state;
	policy_set_floor(p, must_load("{\"strict_names\": true, " ALLOW_API "}"));
	assert_true(policy_decide(p, &f).answer == POLICY_ANSWER_ALLOW);
	f.name_answered = true;
	v = policy_explain(p, &f, step, 4, &n);
	assert_int_equal(v.answer, POLICY_ANSWER_DENY);
	assert_true(v.floor);
	assert_int_equal(n, 2);
	assert_string_equal(step[0].outcome, "match");
	assert_false(step[0].floor);
	assert_string_equal(step[1].outcome, "no match");
	assert_true(step[1].floor);
	policy_free(p);
}

static void check_round(const char *text, const char *has)
{
	struct policy *p = must_load(text), *q;
	char *once = printed(p), *twice;

	if (!strstr(once, has))
		fail_msg("%s\nprints no %s but\n%s", text, has, once);
	q = must_load(once);
	twice = printed(q);
	assert_string_equal(once, twice);
	free(once);
	free(twice);
	policy_free(p);
	policy_free(q);
}

static void test_printed(void **state)
{
	struct policy *p = must_load("{\"strict_names\": false}");
	char *text = printed(p);

	(void)state;
	assert_null(strstr(text, "strict_names"));
	free(text);
	policy_free(p);
	check_round("{\"strict_names\": true}", "\"strict_names\": true");
	check_round("{\"preset\": \"public_only\", \"strict_names\": true}",
		    "\"strict_names\": true");
	/* Deny lists are still all there is. */
	check_round("{\"strict_names\": true, \"deny_domains\": [\"a.b\"]}",
		    "\"default_egress\": \"allow\"");
	check_round("{\"rules\": [{\"action\": \"allow\", \"destination\": \"example.com\", "
		    "\"qtypes\": [\"TXT\", \"MX\", \"TXT\"]}]}",
		    "\"qtypes\": [\"MX\", \"TXT\"]");
}

/* Flags on top of a policy leave it as strict as it was. */
static void test_composed(void **state)
{
	const char *token = "allow@example.com";
	const struct policy_flags flags[] = {
		{ .net_rules = &token, .n_net_rules = 1 },
		{ .net = "private" },
		{ .no_net = true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct policy *p = must_load("{\"strict_names\": true, \"on_deny\": \"drop\"}");
		struct policy *floor = must_load("\"none\"");
		struct conf_error err;
		char *text;

		policy_set_floor(p, floor);
		assert_int_equal(policy_compose(p, &flags[i], &p, &err), 0);
		text = printed(p);
		assert_non_null(strstr(text, "\"strict_names\": true"));
		assert_true(policy_drops_denied(p));
		assert_ptr_equal(policy_floor(p), floor);
		free(text);
		policy_free(p);
	}
}

#define RULE(r) "{\"rules\": [" r "]}"
#define ALLOW "{\"action\": \"allow\", \"qtypes\": "

static void test_qtypes_refused(void **state)
{
	static const struct {
		const char *text, *place, *says;
	} bad[] = {
		{ RULE(ALLOW "[], \"destination\": \"a.b\"}"),
		  "f:1:42: ", "an empty list opens nothing" },
		{ RULE(ALLOW "\"MX\", \"destination\": \"a.b\"}"), "f:1:42: ", "expected a list" },
		{ RULE(ALLOW "[1], \"destination\": \"a.b\"}"), "f:1:43: ", "expected a string" },
		{ RULE(ALLOW "[\"mx\"], \"destination\": \"a.b\"}"), "f:1:43: ", "write it \"MX\"" },
		{ RULE(ALLOW "[\"ANY\"], \"destination\": \"a.b\"}"),
		  "f:1:43: ", "it is MX, SRV or TXT" },
		{ RULE(ALLOW "[\"MX\", \"NULL\"], \"destination\": \"a.b\"}"),
		  "f:1:49: ", "it is MX, SRV or TXT" },
		{ RULE("{\"action\": \"deny\", \"qtypes\": [\"MX\"], \"destination\": \"a.b\"}"),
		  "f:1:12: ", "belongs in an allow rule" },
		{ RULE(ALLOW "[\"MX\"], \"direction\": \"ingress\", \"destination\": \"a.b\"}"),
		  "f:1:12: ", "queries are egress" },
		{ RULE(ALLOW "[\"MX\"], \"destination\": \"public\"}"),
		  "f:1:12: ", "never decides a query" },
		{ RULE(ALLOW "[\"MX\"], \"destination\": \"8.8.8.8\"}"),
		  "f:1:12: ", "never decides a query" },
		{ RULE(ALLOW "[\"MX\"], \"destination\": \"*\", \"port\": 443}"),
		  "f:1:12: ", "with port 53" },
		{ RULE(ALLOW "[\"MX\"], \"destination\": \"host\", \"protocol\": \"icmpv4\"}"),
		  "f:1:12: ", "with port 53" },
		{ "{\"strict_names\": \"yes\"}", "f:1:18: ", "expected true or false" },
		{ "{\"strict_name\": true}", "f:1:2: ", "did you mean \"strict_names\"?" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct policy *p = NULL;
		struct conf_error err = { "" };

		if (load_text(bad[i].text, &p, &err) == 0)
			fail_msg("accepted: %s", bad[i].text);
		if (!str_starts(err.text, bad[i].place) || !strstr(err.text, bad[i].says))
			fail_msg("%s: got \"%s\", want \"%s...%s\"", bad[i].text, err.text,
				 bad[i].place, bad[i].says);
	}
}

static bool may_ask(const char *rules, const char *name, enum policy_qtype type)
{
	char text[512];
	struct name n = must_name(name);
	struct policy *p;
	bool yes;

	snprintf(text, sizeof(text), "{\"rules\": [%s]}", rules);
	p = must_load(text);
	yes = policy_query_type(p, &n, type);
	policy_free(p);
	return yes;
}

static void test_qtypes_asked(void **state)
{
	static const char mail[] = ALLOW "[\"MX\", \"SRV\"], \"destination\": \".example.com\", "
					 "\"ports\": [25]}";

	(void)state;
	assert_true(may_ask(mail, "example.com", POLICY_QTYPE_MX));
	assert_true(may_ask(mail, "_sip._tcp.example.com", POLICY_QTYPE_SRV));
	assert_false(may_ask(mail, "example.com", POLICY_QTYPE_TXT));
	assert_false(may_ask(mail, "example.org", POLICY_QTYPE_MX));
	assert_true(may_ask(ALLOW "[\"TXT\"], \"destination\": \"host\", \"port\": 53}", "a.b",
			    POLICY_QTYPE_TXT));
	assert_true(may_ask(ALLOW "[\"TXT\"], \"destination\": \"*\"}", "a.b", POLICY_QTYPE_TXT));
	assert_true(may_ask(ALLOW "[\"TXT\"], \"destination\": \"doh\"}", "dns.google",
			    POLICY_QTYPE_TXT));
	/* The rule that decides the query is the one that counts. */
	assert_false(may_ask("{\"action\": \"allow\", \"destination\": \"example.com\"}, "
			     "{\"action\": \"allow\", \"destination\": \".example.com\", "
			     "\"qtypes\": [\"MX\"]}",
			     "example.com", POLICY_QTYPE_MX));
	assert_false(may_ask("{\"action\": \"deny\", \"destination\": \"example.com\"}, "
			     "{\"action\": \"allow\", \"destination\": \".example.com\", "
			     "\"qtypes\": [\"MX\"]}",
			     "example.com", POLICY_QTYPE_MX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strict_allow), cmocka_unit_test(test_strict_deny),
		cmocka_unit_test(test_strict_floor), cmocka_unit_test(test_printed),
		cmocka_unit_test(test_composed),     cmocka_unit_test(test_qtypes_refused),
		cmocka_unit_test(test_qtypes_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
