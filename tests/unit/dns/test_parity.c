/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people coming from elsewhere rely on, by the id it has in the study of
 * section 3: the answers made here (3.4), D07, D12, D13, D14, and the lessons
 * 7, 8 and 41. With policy: tests/unit/weir/test_dns_parity.c; end to end:
 * tests/e2e/test_dns_parity.py.
 */
#include "fake.h"
#include "words.h"

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	(void)ctx;
	*ret_exact = true;
	snprintf(ret->text, sizeof(ret->text), "denied");
	return !str_starts(q->name.s, "denied.");
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q;
	snprintf(ret->text, sizeof(ret->text), "filtered");
	return a->b[0] != 10;
}

static const struct dns_ops ops = {
	.judge_query = judge_query,
	.judge_answer = judge_answer,
	.event = fake_event,
};

static int teardown(void **state)
{
	(void)state;
	dns_free(F.d);
	return 0;
}

/* n addresses to the oldest question. */
static void answer_a(unsigned n, uint8_t first)
{
	static uint8_t msg[4096];
	struct dns_ask *a = F.asks[0];
	struct dns_out o = fake_answer_begin(a, msg, sizeof(msg));

	for (unsigned i = 0; i < n && a->type == DNS_TYPE_A; i++) {
		uint8_t addr[4] = { first, 0, 113, (uint8_t)i };

		fake_put_rr(&o, DNS_TYPE_A, addr, 4);
	}
	memmove(F.asks, F.asks + 1, --F.n_asks * sizeof(F.asks[0]));
	dns_upstream_done(F.d, a, 0, msg, o.len);
}

static void query(const char *name, const char *type)
{
	struct name n = name_of(name);

	fake_query(&n, type_of(type));
}

/*
 * 3.4, lesson 7: denied is NXDOMAIN, at once; REFUSED made libc wait and try again.
 * Parity: d3.4-denied, lesson-07.
 */
static void test_3_4_denied_is_nxdomain(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	static const char *const asked[] = { "A", "AAAA", "HTTPS", "MX", "TXT", "ANY", "NULL" };

	(void)state;
	fake_new(&cfg, &ops);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		query("denied.example", asked[i]);
		assert_int_equal(fake_seen().rcode, DNS_RCODE_NXDOMAIN);
		assert_int_equal(fake_seen().ede, DNS_EDE_BLOCKED);
		assert_int_equal(F.n_asks, 0);
	}
}

/*
 * 3.4, lesson 41: more than one question is malformed, and none of them is asked or remembered.
 * Parity: d3.4-questions.
 */
static void test_3_4_many_questions(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	uint8_t msg[512];
	struct dns_out o = { .p = msg, .cap = sizeof(msg) };

	(void)state;
	fake_new(&cfg, &ops);
	dns_put(&o, "\0\7\1\0\0\2\0\0\0\0\0\0", 12);
	for (int i = 0; i < 2; i++) {
		put_name(&o, i ? "denied.example" : "fine.example");
		dns_put_be16(&o, DNS_TYPE_A);
		dns_put_be16(&o, DNS_CLASS_IN);
	}
	fake_send(msg, o.len, DNS_UDP);
	assert_int_equal(fake_seen().rcode, DNS_RCODE_FORMERR);
	assert_int_equal(F.n_asks, 0);
}

/*
 * 3.4, D13, lesson 8: a family that the sandbox does not have is "no data", no failure.
 * Parity: d3.4-family, lesson-08.
 */
static void test_D13_family_off_is_nodata(void **state)
{
	struct dns_config cfg = { .mode = DNS_VIRTUAL, .virtual4 = prefix_of("198.18.0.0/15") };

	(void)state;
	fake_new(&cfg, &ops);
	query("host.example", "AAAA");
	while (F.n_asks)
		answer_a(1, 203);
	assert_int_equal(fake_seen().rcode, DNS_RCODE_NOERROR);
	assert_int_equal(fake_seen().h.an, 0);
	assert_int_equal(fake_seen().h.ns, 1); /* a SOA: the client may remember it */
	query("host.example", "A");
	assert_int_equal(fake_seen().h.an, 1);
}

/* 3.4, D12: an alias of the host is a static record, both families, TTL 60. (d3.4-alias) */
static void test_D12_host_alias(void **state)
{
	struct dns_record rec[] = { { name_of("host.internal"), addr_of("192.0.2.1") },
				    { name_of("host.internal"), addr_of("fd00::1") } };
	struct dns_config cfg = { .mode = DNS_REAL, .records = rec, .n_records = 2 };

	(void)state;
	fake_new(&cfg, &ops);
	for (int i = 0; i < 2; i++) {
		query("host.internal", i ? "AAAA" : "A");
		assert_int_equal(fake_seen().h.an, 1);
		assert_int_equal(fake_seen().first.ttl, 60);
		assert_memory_equal(F.reply + fake_seen().first.rdata, rec[i].addr.b,
				    ip_size(&rec[i].addr));
	}
	assert_int_equal(F.n_asks, 0);
}

/*
 * 3.4: upstream fails in any way: SERVFAIL. D07: five seconds unless said otherwise.
 * Parity: d3.1-timeout, d3.4-failed.
 */
static void test_3_4_upstream_failures(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	static const int errors[] = { -ETIMEDOUT, -EIO, -EREMOTEIO };

	(void)state;
	fake_new(&cfg, &ops);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%zu.example", i);
		query(name, "A");
		assert_int_equal(F.n_asks, 1);
		dns_upstream_done(F.d, F.asks[--F.n_asks], errors[i], NULL, 0);
		assert_int_equal(fake_seen().rcode, DNS_RCODE_SERVFAIL);
		assert_int_equal(F.result, DNS_FAILED);
	}
	assert_int_equal(DNS_DEFAULT_TIMEOUT_MS, 5000);
}

/* 3.4: every address filtered: the whole answer is NXDOMAIN. (d3.4-rebind) */
static void test_3_4_rebind_is_nxdomain(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };

	(void)state;
	fake_new(&cfg, &ops);
	query("inward.example", "A");
	answer_a(3, 10);
	assert_int_equal(fake_seen().rcode, DNS_RCODE_NXDOMAIN);
	assert_int_equal(fake_seen().ede, DNS_EDE_FILTERED);
	assert_int_equal(F.result, DNS_REBIND);
}

/*
 * 3.4, D14: over UDP more than the client takes is TC and nothing; over TCP all of it.
 * Parity: d3.4-truncated.
 */
static void test_D14_truncation(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	struct name n = name_of("big.example");
	uint8_t msg[DNS_ASK_MAX];
	size_t len = dns_ask_build(7, &n, DNS_TYPE_A, false, msg);

	(void)state;
	fake_new(&cfg, &ops);
	fake_send(msg, len, DNS_UDP);
	answer_a(32, 203);
	assert_true(fake_seen().h.flags & DNS_FLAG_TC);
	assert_int_equal(fake_seen().h.an, 0);
	assert_int_equal(F.len, len);
	fake_send(msg, len, DNS_TCP);
	assert_false(fake_seen().h.flags & DNS_FLAG_TC);
	assert_int_equal(fake_seen().h.an, 32);
	query("big.example", "A"); /* its OPT says 1232 */
	assert_int_equal(fake_seen().h.an, 32);
}

/*
 * Lesson 41: records of other names in an answer feed no pin, be they answers or additional.
 * Parity: d3.6-chain.
 */
static void test_lesson_41_strangers_feed_no_pin(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	struct ip_addr ours = addr_of("203.0.113.1"), theirs = addr_of("203.0.113.66");
	uint8_t msg[1024];
	struct dns_out o;
	struct name n;

	(void)state;
	fake_new(&cfg, &ops);
	query("site.example", "A");
	o = fake_answer_begin(F.asks[0], msg, sizeof(msg));
	fake_put_rr(&o, DNS_TYPE_A, ours.b, 4);
	for (int section = 6; section <= 10; section += 2) {
		put_name(&o, "bank.example");
		dns_put(&o, "\0\1\0\1\0\0\0\74\0\4", 10);
		dns_put(&o, theirs.b, 4);
		put_be16(msg + section, (uint16_t)(get_be16(msg + section) + 1));
	}
	dns_upstream_done(F.d, F.asks[--F.n_asks], 0, msg, o.len);
	assert_int_equal(fake_seen().h.an, 1);
	assert_int_equal(dns_names_of(F.d, &ours, &n, 1), 1);
	assert_string_equal(n.s, "site.example");
	assert_int_equal(dns_names_of(F.d, &theirs, &n, 1), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_teardown(t, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_3_4_denied_is_nxdomain),   TEST(test_3_4_many_questions),
		TEST(test_D13_family_off_is_nodata), TEST(test_D12_host_alias),
		TEST(test_3_4_upstream_failures),    TEST(test_3_4_rebind_is_nxdomain),
		TEST(test_D14_truncation),	     TEST(test_lesson_41_strangers_feed_no_pin),
	};

	at_file = "test_parity.c";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
