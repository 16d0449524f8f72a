/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets beyond what tests/scenario/dns/budget.txt shows: floods of names and
 * of domains, refilling, what is forgotten and what must not be.
 */
#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static struct {
	struct dns *d;
	uint64_t now;
	char text[160];
} T;

static bool yes_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)ret;
	*ret_exact = false;
	return true;
}

static bool yes_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
		       struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return true;
}

static void no_event(void *ctx, const struct dns_event *e)
{
	(void)ctx, (void)e;
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up, (void)a;
	return -EIO;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return T.now;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void up_free(void *up)
{
	(void)up;
}

static void start(struct dns_budget budget)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = no_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};
	struct dns_config cfg = { .mode = DNS_REAL, .budget = budget };

	T.now = 1000 * NS_PER_S;
	assert_int_equal(dns_new_with(NULL, &cfg, &ops, NULL, &up, NULL, &T.d), 0);
}

static bool take(bool given, const char *fmt, ...) printf_like(2, 3);
static bool take(bool given, const char *fmt, ...)
{
	struct dns_denial denial = { 0 };
	char s[300];
	struct name n;
	va_list ap;
	bool r;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	r = dns_budget_take(T.d, &n, given, &denial);
	assert_int_equal(r, denial.text[0] == '\0');
	assert_null(denial.text[sizeof(denial.text) - 1] ? denial.text : NULL);
	snprintf(T.text, sizeof(T.text), "%s", denial.text);
	return r;
}

/* n names PRE0POST, PRE1POST, ...: how many may go. */
static unsigned flood(const char *pre, const char *post, unsigned from, unsigned n)
{
	unsigned passed = 0;

	for (unsigned i = from; i < from + n; i++)
		passed += take(false, "%s%u%s", pre, i, post);
	return passed;
}

/* 256 names at once, then one each 600/256 s, and never more than full. */
static void test_refill(void **state)
{
	(void)state;
	start((struct dns_budget){ 0 });
	assert_int_equal(flood("n", ".example.com", 0, 1000), 256);
	assert_non_null(strstr(T.text, "over 256 different names below example.com within 600 s"));
	T.now += 60 * NS_PER_S;
	assert_in_range(flood("o", ".example.com", 0, 1000), 25, 26);
	T.now += 3600 * NS_PER_S;
	assert_int_equal(flood("p", ".example.com", 0, 1000), 256);
	dns_free(T.d);
}

/* Over any time, no more than one size and what that time refills: the bound that the README states. */
static void test_bound_of_bytes(void **state)
{
	size_t bytes = 0;
	unsigned n = 0;

	(void)state;
	start((struct dns_budget){ 0 });
	for (unsigned s = 0; s < 600; s++, T.now += NS_PER_S) {
		for (unsigned i = 0; i < 20; i++, n++)
			if (take(false, "%060u.%060u.%060u.example.com", n, n, n))
				bytes += 183;
	}
	assert_in_range(bytes, 6144, 2 * 6144);
	dns_free(T.d);
}

/* Each question of a known name is one; a name that a flow was given needs no other. */
static void test_questions(void **state)
{
	unsigned passed = 0;

	(void)state;
	start((struct dns_budget){ .queries = 100 });
	for (unsigned i = 0; i < 1000; i++)
		passed += take(i % 2, "same.example.com");
	assert_int_equal(passed, 100);
	assert_non_null(strstr(T.text, "over 100 questions below example.com"));
	dns_free(T.d);
	start((struct dns_budget){ .names = 1 });
	assert_true(take(false, "a.example.com"));
	assert_false(take(false, "b.example.com"));
	assert_true(take(true, "b.example.com"));
	/* That did not make it known. */
	assert_false(take(false, "b.example.com"));
	dns_free(T.d);
}

/* Many domains of one owner: they share what all domains together may. */
static void test_all_domains(void **state)
{
	size_t bytes = 0;

	(void)state;
	start((struct dns_budget){ 0 });
	assert_int_equal(flood("d", ".example", 0, 20000), 16 * 256);
	assert_non_null(strstr(T.text, "over 4096 different names in all domains"));
	/* A name that is known goes on, as a question. */
	assert_true(take(false, "d7.example"));
	dns_free(T.d);
	/* The domain itself is the message: its bytes count. */
	start((struct dns_budget){ .names = 100000 });
	for (unsigned i = 0; i < 20000; i++)
		bytes += take(false, "%060u.example", i) ? 68 : 0;
	assert_in_range(bytes, 16 * 6144 - 68, 16 * 6144);
	assert_non_null(strstr(T.text, "over 98304 bytes of names in all domains"));
	dns_free(T.d);
}

/* The table of domains is full of those in use: nobody's budget is reset, the new one waits. */
static void test_domain_table(void **state)
{
	(void)state;
	start((struct dns_budget){ .names = 10000, .bytes = 1000000, .queries = 10000 });
	assert_int_equal(flood("n", ".first.example", 0, 20000), 10000);
	assert_int_equal(flood("x.d", ".example", 0, 20000), DNS_BUDGET_DOMAINS - 1);
	assert_non_null(strstr(T.text, "8192 domains within 600 s"));
	assert_false(take(false, "again.first.example"));
	/* Those that are full again make room, and only they. */
	T.now += 300 * NS_PER_S;
	assert_true(take(false, "half.first.example"));
	T.now += 300 * NS_PER_S;
	assert_int_equal(flood("x.e", ".example", 0, 20000), DNS_BUDGET_DOMAINS - 1);
	assert_int_equal(T.d->budgets.domain_pool.used, DNS_BUDGET_DOMAINS);
	dns_free(T.d);
}

/* What is remembered of names is bounded; what is forgotten costs again. */
static void test_known_names(void **state)
{
	(void)state;
	start((struct dns_budget){ .names = 10 });
	for (unsigned round = 0; round < 10; round++, T.now += 600 * NS_PER_S)
		assert_int_equal(flood("n", ".example.com", round * 10, 10), 10);
	assert_int_equal(T.d->budgets.known_pool.used, 10 * DNS_BUDGET_KNOWN_FACTOR);
	assert_int_equal(T.d->budgets.known.count, 10 * DNS_BUDGET_KNOWN_FACTOR);
	/* The last forty are known, the first are not. */
	assert_int_equal(flood("n", ".example.com", 60, 40), 40);
	assert_int_equal(flood("n", ".example.com", 0, 40), 10);
	dns_free(T.d);
	/* In all: the names of domains that are quiet go first. */
	start((struct dns_budget){ .names = 20000, .bytes = 100000000, .queries = 100000 });
	assert_int_equal(flood("n", ".d1.example", 0, 20000), 20000);
	assert_int_equal(flood("n", ".d2.example", 0, 20000), 20000);
	assert_int_equal(flood("n", ".d3.example", 0, 20000), 20000);
	assert_int_equal(flood("n", ".d4.example", 0, 20000), 20000);
	assert_in_range(T.d->budgets.known_pool.used, 20000, DNS_BUDGET_KNOWN);
	assert_int_equal(T.d->budgets.known_pool.used, T.d->budgets.known.count);
	dns_free(T.d);
}

/* Which domain a name belongs to. */
static void test_registrable(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} pairs[] = {
		{ "a.example.com", "b.example.com", true },
		{ "a.example.com", "example.com", true },
		{ "a.example.com", "b.example.net", false },
		{ "a.one.co.uk", "b.two.co.uk", false },
		{ "x.user.github.io", "x.other.github.io", false },
		{ "x.user.github.io", "y.user.github.io", true },
		{ "x.bucket.s3.amazonaws.com", "x.other.s3.amazonaws.com", false },
		{ "a.corp.internal-tld", "b.corp.internal-tld", true },
		{ "a.corp.internal-tld", "b.other.internal-tld", false },
		/* Public suffixes themselves. */
		{ "co.uk", "example.co.uk", false },
		{ "github.io", "user.github.io", false },
		{ "com", "net", false },
		/* A-labels. */
		{ "a.example.xn--p1ai", "b.other.xn--p1ai", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		start((struct dns_budget){ .names = 1 });
		assert_true(take(false, "%s", pairs[i].a));
		if (take(false, "%s", pairs[i].b) == pairs[i].same)
			fail_msg("%s and %s", pairs[i].a, pairs[i].b);
		dns_free(T.d);
	}
}

static void test_extremes(void **state)
{
	(void)state;
	start((struct dns_budget){ .off = true, .names = 1 });
	assert_int_equal(flood("n", ".example.com", 0, 1000), 1000);
	dns_free(T.d);
	/* No sum overflows, and the text fits. */
	start((struct dns_budget){ false, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX });
	assert_int_equal(flood("n", ".example.com", 0, 1000), 1000);
	dns_free(T.d);
	start((struct dns_budget){ .names = 1, .bytes = 1, .queries = 1, .refill_s = UINT32_MAX });
	assert_false(take(false, "%060u.%063u.%063u.%060u.com", 1u, 1u, 1u, 1u));
	assert_non_null(strstr(T.text, "over 1 bytes of names below ...0000000"));
	assert_true(take(false, "example.com"));
	assert_false(take(false, "example.com"));
	dns_free(T.d);
	start((struct dns_budget){ false, UINT32_MAX, 1, UINT32_MAX, UINT32_MAX });
	assert_false(take(false, "aa.%063u.com", 1u));
	assert_non_null(strstr(T.text, "dns.budget"));
	dns_free(T.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refill),	     cmocka_unit_test(test_bound_of_bytes),
		cmocka_unit_test(test_questions),    cmocka_unit_test(test_all_domains),
		cmocka_unit_test(test_domain_table), cmocka_unit_test(test_known_names),
		cmocka_unit_test(test_registrable),  cmocka_unit_test(test_extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
