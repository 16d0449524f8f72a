/* SPDX-License-Identifier: Apache-2.0 */
/* Queries for a service's name: judged by the host where no rule is about the name itself. */
#include "policy_test.h"

#include <stdio.h>

enum { SRV = 33, TXT = 16, A = 1, SVCB = 64, HTTPS = 65 };

#define ALLOW(dest) "{\"action\":\"allow\",\"destination\":\"" dest "\"}"
#define DENY(dest) "{\"action\":\"deny\",\"destination\":\"" dest "\"}"
#define API ALLOW("api.x.com")

static const struct {
	const char *rules, *floor; /* before a default of deny; floor NULL: none */
	const char *name;
	uint16_t type;
	const char *subject; /* NULL: the name */
} table[] = {
	/* The forms, under a rule for the host alone. */
	{ API, NULL, "_8443._https.api.x.com", HTTPS, "api.x.com" },
	{ API, NULL, "_65535._https.api.x.com", HTTPS, "api.x.com" },
	{ API, NULL, "_65536._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_0._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_08443._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_secret._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_https.api.x.com", HTTPS, NULL },
	{ API, NULL, "8443._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_1._8443._https.api.x.com", HTTPS, NULL },
	{ API, NULL, "_8443._https._x.api.x.com", HTTPS, NULL },
	{ API, NULL, "_8443._https.api.x.com", SVCB, NULL },
	{ API, NULL, "_8443._https.api.x.com", A, NULL },
	{ API, NULL, "_8443._https.api.x.com", SRV, NULL },
	{ API, NULL, "_web._tcp.api.x.com", SRV, "api.x.com" },
	{ API, NULL, "_sip._udp.api.x.com", SRV, "api.x.com" },
	{ API, NULL, "_sip._tls.api.x.com", SRV, "api.x.com" },
	{ API, NULL, "_123456789012345._tcp.api.x.com", SRV, "api.x.com" },
	{ API, NULL, "_1234567890123456._tcp.api.x.com", SRV, NULL },
	{ API, NULL, "_._tcp.api.x.com", SRV, NULL },
	{ API, NULL, "_a_b._tcp.api.x.com", SRV, NULL },
	{ API, NULL, "_web._evil.api.x.com", SRV, NULL },
	{ API, NULL, "_web._tcp.api.x.com", TXT, NULL },
	{ API, NULL, "_web._tcp.api.x.com", HTTPS, NULL },
	{ API, NULL, "_8443._https", HTTPS, NULL },
	{ API, NULL, "api.x.com", HTTPS, NULL },
	/* A rule for the name decides itself. */
	{ ALLOW(".x.com"), NULL, "_8443._https.api.x.com", HTTPS, NULL },
	{ DENY("_8443._https.api.x.com") "," API, NULL, "_8443._https.api.x.com", HTTPS, NULL },
	{ API "," DENY(".x.com"), NULL, "_8443._https.api.x.com", HTTPS, NULL },
	/* Of the floor as well; its default says nothing of the name. */
	{ ALLOW(".x.com"), API, "_8443._https.api.x.com", HTTPS, "api.x.com" },
	{ API, ALLOW(".x.com"), "_8443._https.api.x.com", HTTPS, "api.x.com" },
	{ API, DENY("_8443._https.api.x.com") "," ALLOW("*"), "_8443._https.api.x.com", HTTPS, NULL },
};

static struct policy *load(const char *rules)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"default_egress\":\"deny\",\"rules\":[%s]}", rules);
	return must_load(text);
}

static void test_subject(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *want = table[i].subject ? table[i].subject : table[i].name;
		struct policy *p = load(table[i].rules);
		struct name n = must_name(table[i].name), s;
		bool by_host;

		if (table[i].floor)
			policy_set_floor(p, load(table[i].floor));
		by_host = policy_query_subject(p, &n, table[i].type, &s);
		if (by_host != (table[i].subject != NULL) || strcmp(s.s, want) != 0)
			fail_msg("%zu: %s type %u: %s, not %s", i, n.s, table[i].type, s.s, want);
		policy_free(p);
	}
}

/* What the host's own verdict is stays policy_decide_query()'s business. */
static void test_host_denied(void **state)
{
	struct policy *p = load(API);
	struct name n = must_name("_8443._https.other.x.com"), s;

	(void)state;
	assert_true(policy_query_subject(p, &n, HTTPS, &s));
	assert_int_equal(policy_decide_query(p, &s).answer, POLICY_ANSWER_DENY);
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subject),
		cmocka_unit_test(test_host_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
