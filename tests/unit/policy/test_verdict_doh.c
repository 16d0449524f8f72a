/* SPDX-License-Identifier: Apache-2.0 */
/* Did a rule on group doh decide, in the policy or in the floor below it? */
#include "policy_test.h"

#define DOH "{\"action\": \"allow\", \"destination\": {\"group\": \"doh\"}}"
#define NAME "{\"action\": \"allow\", \"destination\": \"dns.google\"}"
#define ANY "{\"action\": \"allow\", \"destination\": \"*\"}"
#define OTHER "{\"action\": \"allow\", \"destination\": \"a.example\"}"

static void check(const char *rules, const char *floor, const char *host, bool want)
{
	struct name n = must_name(host);
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = must_ip("203.0.114.1"),
				  .port = 443,
				  .name = POLICY_KNOWN,
				  .names = &n,
				  .n_names = 1,
				  .http = POLICY_NONE };
	struct policy_verdict v;
	struct policy *p;
	char text[512];

	snprintf(text, sizeof(text), "{\"default_egress\": \"deny\", \"rules\": [%s]}", rules);
	p = must_load(text);
	if (floor) {
		snprintf(text, sizeof(text), "{\"default_egress\": \"deny\", \"rules\": [%s]}",
			 floor);
		policy_set_floor(p, must_load(text));
	}
	v = policy_decide(p, &f);
	if (policy_verdict_is_doh(p, &v) != want)
		fail_msg("%s over %s, %s: not %d (rule %d, floor %d)", rules,
			 floor ? floor : "nothing", host, want, v.rule, v.floor);
	policy_free(p);
}

static void test_policy(void **state)
{
	(void)state;
	check(DOH, NULL, "dns.google", true);
	check(OTHER "," DOH, NULL, "dns.google", true);
	/* The host is allowed, and nothing is said of DNS over HTTPS. */
	check(NAME "," DOH, NULL, "dns.google", false);
	check(ANY, NULL, "dns.google", false);
	check(DOH "," OTHER, NULL, "a.example", false);
	check(OTHER, NULL, "dns.google", false); /* the default: no rule */
}

static void test_floor(void **state)
{
	(void)state;
	check(DOH, ANY, "dns.google", true);
	check(DOH, OTHER, "dns.google", false);
	check(ANY, DOH, "dns.google", false);
	/* The floor denies with its first rule; the policy's own first one is on the group. */
	check(DOH, "{\"action\": \"deny\", \"destination\": \"dns.google\"}", "dns.google", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_floor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
