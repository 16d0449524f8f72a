/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the sandbox's own network: answered from here, whatever the policy, and nowhere else. */
#include "fake.h"

static bool no_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	(void)ctx, (void)q;
	*ret_exact = false;
	snprintf(ret->text, sizeof(ret->text), "denied");
	return false;
}

static bool no_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
		      struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return false;
}

static const struct dns_ops ops = { .judge_query = no_query,
				    .judge_answer = no_answer,
				    .event = fake_event };

static struct name name(const char *s)
{
	struct name n;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	return n;
}

static struct dns_config config(const struct dns_record *own, size_t n)
{
	return (struct dns_config){
		.mode = DNS_VIRTUAL,
		.virtual4 = { ip4(198, 18, 0, 0), 15 },
		.own = own,
		.n_own = n,
		.own_nets = { { ip4(10, 77, 0, 0), 30 } },
	};
}

/* Asked with nobody's leave; returns the number of answers, and nothing went upstream. */
static unsigned ask(const struct dns_config *cfg, const char *what, uint16_t type, uint16_t *ret_rcode)
{
	struct name n = name(what);
	struct fake_seen s;

	fake_new(cfg, &ops);
	fake_query(&n, type);
	assert_int_equal(F.n_asks, 0);
	s = fake_seen();
	*ret_rcode = s.rcode;
	dns_free(F.d);
	return s.h.an;
}

/* Parity: n22. */
static void test_own_names(void **state)
{
	const struct dns_record own[] = {
		{ name("host.weir.internal"), ip4(10, 77, 0, 1) },
		{ name("host.weir.internal"), { 6, { 0xfd, [15] = 1 } } },
		{ name("only4.weir.internal"), ip4(10, 77, 0, 2) },
	};
	const struct dns_record mine = { name("host.weir.internal"), ip4(10, 1, 1, 1) };
	struct dns_config cfg = config(own, ARRAY_SIZE(own));
	uint16_t rcode;

	(void)state;
	assert_int_equal(ask(&cfg, "host.weir.internal", DNS_TYPE_A, &rcode), 1);
	assert_int_equal(F.result, DNS_ANSWERED);
	assert_int_equal(ask(&cfg, "host.weir.internal", DNS_TYPE_AAAA, &rcode), 1);
	assert_int_equal(ask(&cfg, "only4.weir.internal", DNS_TYPE_AAAA, &rcode), 0);
	assert_int_equal(rcode, DNS_RCODE_NOERROR);
	assert_int_equal(ask(&cfg, "host.weir.internal", DNS_TYPE_TXT, &rcode), 0);
	assert_int_equal(rcode, DNS_RCODE_NOERROR);
	/* Its neighbours are names as any other, and denied here. */
	assert_int_equal(ask(&cfg, "other.weir.internal", DNS_TYPE_A, &rcode), 0);
	assert_int_equal(F.result, DNS_DENIED);
	assert_int_equal(ask(&cfg, "x.host.weir.internal", DNS_TYPE_A, &rcode), 0);
	assert_int_equal(F.result, DNS_DENIED);
	/* The reverse of the whole network. */
	assert_int_equal(ask(&cfg, "1.0.77.10.in-addr.arpa", DNS_TYPE_PTR, &rcode), 1);
	assert_int_equal(ask(&cfg, "3.0.77.10.in-addr.arpa", DNS_TYPE_PTR, &rcode), 0);
	assert_int_equal(rcode, DNS_RCODE_NXDOMAIN);
	assert_int_equal(F.result, DNS_NXDOMAIN);
	assert_int_equal(ask(&cfg, "5.0.77.10.in-addr.arpa", DNS_TYPE_PTR, &rcode), 0);
	assert_int_equal(F.result, DNS_DENIED);
	/* What the operator says of the name comes first, and is judged as any record. */
	cfg.records = &mine;
	cfg.n_records = 1;
	assert_int_equal(ask(&cfg, "host.weir.internal", DNS_TYPE_A, &rcode), 0);
	assert_int_equal(F.result, DNS_DENIED);
}

static void test_too_many(void **state)
{
	struct dns_record own[DNS_OWN_MAX + 1];
	struct dns_config cfg;
	struct loop *loop;
	struct dns *d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		own[i] = (struct dns_record){ name("a.weir.internal"), ip4(10, 77, 0, 1) };
	cfg = config(own, ARRAY_SIZE(own));
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(dns_new(loop, &cfg, &ops, NULL, &d), -E2BIG);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_own_names),
					    cmocka_unit_test(test_too_many) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
