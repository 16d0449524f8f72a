/* SPDX-License-Identifier: Apache-2.0 */
/* The decision on each special-use name, under a policy that allows every name. */
#include "fake.h"

enum decision {
	FORWARDED = 1,
	LOOPBACK = 2,
	NXDOMAIN = 3,
	EMPTY = 4,
};

static const struct {
	const char *name;
	uint16_t type;
	enum decision decision;
	enum decision spelt_out; /* by the policy */
} cases[] = {
	/* RFC 6761 6.3: the guest itself, and what such a name does not have. */
	{ "localhost", DNS_TYPE_A, LOOPBACK, LOOPBACK },
	{ "db.localhost", DNS_TYPE_AAAA, LOOPBACK, LOOPBACK },
	{ "localhost", DNS_TYPE_HTTPS, EMPTY, EMPTY },
	{ "notlocalhost", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "localhost.example", DNS_TYPE_A, FORWARDED, FORWARDED },
	/* Nothing that DNS has: RFC 6761 6.4, RFC 7686, RFC 9476. */
	{ "invalid", DNS_TYPE_A, NXDOMAIN, NXDOMAIN },
	{ "a.invalid", DNS_TYPE_HTTPS, NXDOMAIN, NXDOMAIN },
	{ "abcdefghij234567.onion", DNS_TYPE_A, NXDOMAIN, NXDOMAIN },
	{ "name.gns.alt", DNS_TYPE_AAAA, NXDOMAIN, NXDOMAIN },
	{ "cobalt", DNS_TYPE_A, FORWARDED, FORWARDED },
	/* Browsers ask whether they may leave for DNS over HTTPS. */
	{ "use-application-dns.net", DNS_TYPE_A, NXDOMAIN, NXDOMAIN },
	/* Discovery of another resolver, RFC 9462. */
	{ "_dns.resolver.arpa", DNS_TYPE_SVCB, EMPTY, EMPTY },
	{ "resolver.arpa", DNS_TYPE_A, EMPTY, EMPTY },
	{ "_dns.dns.example", DNS_TYPE_SVCB, EMPTY, EMPTY },
	{ "_853._dns.dns.example", DNS_TYPE_SVCB, EMPTY, EMPTY },
	{ "_dnsx.dns.example", DNS_TYPE_SVCB, FORWARDED, FORWARDED },
	{ "dns._dns.example", DNS_TYPE_SVCB, FORWARDED, FORWARDED },
	/* RFC 7050: no NAT64 here, and no virtual address that looks like one. */
	{ "ipv4only.arpa", DNS_TYPE_AAAA, EMPTY, EMPTY },
	/* The network at hand: RFC 6762, RFC 8375, RFC 9665. */
	{ "printer.local", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "_http._tcp.local", DNS_TYPE_HTTPS, NXDOMAIN, FORWARDED },
	{ "nas.home.arpa", DNS_TYPE_AAAA, NXDOMAIN, FORWARDED },
	{ "default.service.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "vocal", DNS_TYPE_A, FORWARDED, FORWARDED },
	/* Reverse names of local networks: RFC 6303, RFC 7793. Both sides of each border. */
	{ "1.0.0.10.in-addr.arpa", DNS_TYPE_PTR, NXDOMAIN, EMPTY },
	{ "10.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "b._dns-sd._udp.0.0.10.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "9.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "11.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "010.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "172.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "15.172.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "16.172.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "31.172.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "32.172.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "1.1.168.192.in-addr.arpa", DNS_TYPE_PTR, NXDOMAIN, EMPTY },
	{ "169.192.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "63.100.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "64.100.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "127.100.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "128.100.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "1.0.0.127.in-addr.arpa", DNS_TYPE_PTR, NXDOMAIN, EMPTY },
	{ "254.169.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "255.255.255.255.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "254.255.255.255.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "2.0.192.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "3.0.192.in-addr.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "100.51.198.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "113.0.203.in-addr.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", DNS_TYPE_PTR,
	  NXDOMAIN, EMPTY },
	{ "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", DNS_TYPE_A,
	  FORWARDED, FORWARDED },
	{ "d.f.ip6.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "c.f.ip6.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "8.e.f.ip6.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "b.e.f.ip6.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "c.e.f.ip6.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "8.b.d.0.1.0.0.2.ip6.arpa", DNS_TYPE_A, NXDOMAIN, FORWARDED },
	{ "9.b.d.0.1.0.0.2.ip6.arpa", DNS_TYPE_A, FORWARDED, FORWARDED },
	/* Left to the operator (6.2), and said not to be special (6.5). */
	{ "www.test", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "www.example", DNS_TYPE_A, FORWARDED, FORWARDED },
	{ "www.example.com", DNS_TYPE_A, FORWARDED, FORWARDED },
};

static bool spelt_out;

static bool yes_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)ret;
	*ret_exact = spelt_out;
	return true;
}

static bool yes_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
		       struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return true;
}

static enum decision seen(void)
{
	struct fake_seen s;

	if (F.n_asks)
		return FORWARDED;
	s = fake_seen();
	if (s.rcode == DNS_RCODE_NXDOMAIN)
		return NXDOMAIN;
	assert_int_equal(s.rcode, DNS_RCODE_NOERROR);
	return s.h.an ? LOOPBACK : EMPTY;
}

static void decide(const char *name, uint16_t type, enum decision want)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = fake_event };
	struct dns_config cfg = { .mode = DNS_VIRTUAL, .virtual4 = { ip4(198, 18, 0, 0), 15 } };
	struct name n;

	assert_int_equal(name_parse(name, strlen(name), &n, NULL), 0);
	fake_new(&cfg, &ops);
	fake_query(&n, type);
	if (seen() != want)
		fail_msg("%s: %d, not %d", name, seen(), want);
	dns_free(F.d);
}

static void every_name_has_its_decision(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		spelt_out = false;
		decide(cases[i].name, cases[i].type, cases[i].decision);
		spelt_out = true;
		decide(cases[i].name, cases[i].type, cases[i].spelt_out);
	}
}

static void the_operators_record_comes_first(void **state)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = fake_event };
	struct dns_record rec = { { 13, "printer.local" }, ip4(192, 168, 1, 9) };
	struct dns_config cfg = { .mode = DNS_REAL, .records = &rec, .n_records = 1 };
	struct fake_seen s;

	(void)state;
	spelt_out = false;
	fake_new(&cfg, &ops);
	fake_query(&rec.name, DNS_TYPE_A);
	s = fake_seen();
	assert_int_equal(s.h.an, 1);
	assert_memory_equal(F.reply + s.first.rdata, rec.addr.b, 4);
	dns_free(F.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_has_its_decision),
		cmocka_unit_test(the_operators_record_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
