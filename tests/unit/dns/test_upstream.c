/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The c-ares edge against a real server on loopback (a forked child): UDP,
 * fallback to TCP on truncation, failover, a server that is not there, one that
 * is silent, one that does not know EDNS, and an answer with the wrong question.
 */
#include "dns/dns_int.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define ADDRS_BIG 30

/* ---- the server ---------------------------------------------------------- */

static void answer_a(struct dns_out *o, unsigned n, uint8_t last)
{
	for (unsigned i = 0; i < n; i++) {
		dns_put_be16(o, 0xc00c);
		dns_put_be16(o, DNS_TYPE_A);
		dns_put_be16(o, DNS_CLASS_IN);
		dns_put_be32(o, 60);
		dns_put_be16(o, 4);
		dns_put(o, (uint8_t[]){ 203, 0, 113, (uint8_t)(last + i) }, 4);
	}
	put_be16(o->p + 6, (uint16_t)n);
}

/* What each name does is in its name. Returns 0 for silence. */
static size_t serve(const uint8_t *msg, size_t len, bool tcp, uint8_t *out, size_t size)
{
	struct dns_out o = { .p = out, .cap = size };
	struct dns_request rq;
	struct name n;
	const char *why;
	unsigned rcode = 0;

	if (dns_request_read(msg, len, &rq, &why) != 0 || dns_wname_to(&rq.qname, &n) < 0)
		return 0;
	if (str_starts(n.s, "silent.") || (str_starts(n.s, "half.") && rq.qtype != DNS_TYPE_A))
		return 0;
	/* Lower case, nothing in the OPT: the question is ours, not the guest's. */
	if (memcmp(rq.qname.b, rq.question, rq.qname.len) != 0 || (rq.edns && msg[len - 1]))
		return 0;
	if (str_starts(n.s, "nx."))
		rcode = DNS_RCODE_NXDOMAIN;
	if (str_starts(n.s, "servfail."))
		rcode = DNS_RCODE_SERVFAIL;
	if (str_starts(n.s, "refused."))
		rcode = DNS_RCODE_REFUSED;
	if (str_starts(n.s, "old.") && rq.edns)
		rcode = DNS_RCODE_FORMERR;
	dns_put_be16(&o, rq.id);
	dns_put_be16(&o, (uint16_t)(0x8180 | rcode));
	dns_put_be16(&o, 1);
	dns_put_be32(&o, 0);
	dns_put_be16(&o, 0);
	dns_put(&o, rq.question, rq.question_len);
	if (str_starts(n.s, "liar."))
		o.p[13] ^= 1;
	if (str_starts(n.s, "tc.") && !tcp)
		o.p[2] |= DNS_FLAG_TC >> 8;
	else if (!rcode && rq.qtype == DNS_TYPE_A)
		answer_a(&o, str_starts(n.s, "big.") ? ADDRS_BIG : 1, tcp ? 100 : 1);
	return o.len;
}

static void serve_tcp(int listener)
{
	cleanup_close int c = accept(listener, NULL, NULL);
	uint8_t in[2048], out[4096];

	for (;;) {
		size_t len, n;

		if (recv(c, in, 2, MSG_WAITALL) != 2)
			return;
		len = get_be16(in);
		if (len > sizeof(in) || recv(c, in, len, MSG_WAITALL) != (ssize_t)len)
			return;
		n = serve(in, len, true, out + 2, sizeof(out) - 2);
		put_be16(out, (uint16_t)n);
		if (fd_write_all(c, out, n + 2) < 0)
			return;
	}
}

static void child(int udp, int listener)
{
	struct pollfd p[] = { { udp, POLLIN, 0 }, { listener, POLLIN, 0 } };
	uint8_t in[2048], out[4096];

	alarm(60);
	for (;;) {
		struct sockaddr_storage from;
		socklen_t from_len = sizeof(from);
		ssize_t n;
		size_t len;

		if (poll(p, 2, -1) < 0)
			_exit(1);
		if (p[1].revents)
			serve_tcp(listener);
		if (!p[0].revents)
			continue;
		n = recvfrom(udp, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len);
		len = n > 0 ? serve(in, (size_t)n, false, out, sizeof(out)) : 0;
		if (len && sendto(udp, out, len, 0, (struct sockaddr *)&from, from_len) < 0)
			_exit(1);
	}
}

static struct {
	struct endpoint server, dead;
	pid_t pid;
	struct loop *loop;
	struct dns *d;
	int results, error;
	enum dns_result result;
	const char *detail;
	size_t n;
	struct ip_addr first;
} T;

static int bound(int type, struct endpoint *e)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(e, &ss);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0) {
		fd_close(fd);
		return -1;
	}
	len = sizeof(ss);
	getsockname(fd, (struct sockaddr *)&ss, &len);
	assert_int_equal(endpoint_from_sockaddr(&ss, e), 0);
	return fd;
}

static int group_setup(void **state)
{
	int udp = -1, tcp = -1, dead;

	(void)state;
	/* The same port number for both transports: try until one is free for both. */
	for (int i = 0; i < 50 && tcp < 0; i++) {
		fd_close(udp);
		T.server = (struct endpoint){ ip4(127, 0, 0, 1), 0 };
		udp = bound(SOCK_DGRAM, &T.server);
		tcp = bound(SOCK_STREAM, &T.server);
	}
	assert_true(udp >= 0 && tcp >= 0 && listen(tcp, 8) == 0);
	/* A port that nobody listens on. */
	T.dead = (struct endpoint){ ip4(127, 0, 0, 1), 0 };
	dead = bound(SOCK_DGRAM, &T.dead);
	fd_close(dead);
	T.pid = fork();
	if (T.pid == 0)
		child(udp, tcp);
	fd_close(udp);
	fd_close(tcp);
	return T.pid > 0 ? 0 : -1;
}

static int group_teardown(void **state)
{
	(void)state;
	kill(T.pid, SIGKILL);
	waitpid(T.pid, NULL, 0);
	return 0;
}

/* ---- the client -------------------------------------------------------------- */

static bool yes_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	*ret_exact = true;
	(void)ctx, (void)q, (void)ret;
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
	(void)ctx;
	T.result = e->result;
	T.detail = e->detail;
}

static void setup(const struct endpoint *servers, size_t n)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = no_event };
	struct dns_config cfg = {
		.mode = DNS_REAL,
		.upstreams = servers,
		.n_upstreams = n,
		.timeout_ms = 200,
	};

	assert_int_equal(loop_new(&T.loop), 0);
	assert_int_equal(dns_new(T.loop, &cfg, &ops, NULL, &T.d), 0);
}

static void teardown(void)
{
	dns_free(T.d);
	loop_free(T.loop);
}

static void on_addrs(void *user, int error, const struct ip_addr *a, size_t n)
{
	(void)user;
	T.results++;
	T.error = error;
	T.n = n;
	if (n)
		T.first = a[0];
}

static void resolve(const char *s)
{
	struct name n;
	int before = T.results;
	uint64_t give_up = time_mono_ns() + 20 * NS_PER_S;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	(void)dns_resolve(T.d, &n, on_addrs, NULL);
	while (T.results == before && time_mono_ns() < give_up)
		assert_int_equal(loop_step(T.loop, 100), 0);
	assert_int_equal(T.results, before + 1);
}

static void test_udp(void **state)
{
	(void)state;
	setup(&T.server, 1);
	resolve("a.example");
	assert_int_equal(T.error, 0);
	assert_int_equal(T.n, 1);
	assert_int_equal(T.first.b[3], 1);
	resolve("nx.example");
	assert_int_equal(T.error, -ENOENT);
	resolve("servfail.example");
	assert_int_equal(T.error, -EIO);
	teardown();
}

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	(void)user;
	T.results++;
	T.error = len > 3 ? msg[3] & 15 : -1;
}

/* The server fails, the other is not there: the guest is told of the failure. */
static void test_server_fails(void **state)
{
	static const char *const names[] = { "servfail.example", "refused.example" };
	struct endpoint both[] = { T.server, T.dead };
	uint8_t msg[DNS_REPLY_MAX];

	(void)state;
	setup(both, 2);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int before = T.results;
		struct name n;

		assert_int_equal(name_parse(names[i], strlen(names[i]), &n, NULL), 0);
		assert_non_null(dns_query(T.d, msg, dns_ask_build(1, &n, 1, false, msg), DNS_UDP,
					  &T.server, &T.server, on_reply, NULL));
		while (T.results == before)
			assert_int_equal(loop_step(T.loop, 100), 0);
		assert_int_equal(T.error, DNS_RCODE_SERVFAIL);
		assert_int_equal(T.result, DNS_FAILED);
		assert_string_equal(T.detail, "upstream answered with a failure");
	}
	teardown();
}

/* AAAA is never answered: the addresses that are there are not held up by it. */
static void test_one_family(void **state)
{
	uint64_t start = time_mono_ns();

	(void)state;
	setup(&T.server, 1);
	resolve("half.example");
	assert_int_equal(T.n, 1);
	assert_in_range((time_mono_ns() - start) / NS_PER_MS, 45, 590);
	teardown();
}

static void test_edns_sizes(void **state)
{
	(void)state;
	setup(&T.server, 1);
	/* More than 512 bytes, over UDP because of our OPT. */
	resolve("big.example");
	assert_int_equal(T.n, ADDRS_BIG);
	assert_int_equal(T.first.b[3], 1);
	/* A server without EDNS: asked again without. Twice: c-ares helps only once. */
	resolve("old.example");
	assert_int_equal(T.n, 1);
	resolve("old.two.example");
	assert_int_equal(T.n, 1);
	resolve("old.three.example");
	assert_int_equal(T.n, 1);
	teardown();
}

static void test_tcp_fallback(void **state)
{
	(void)state;
	setup(&T.server, 1);
	resolve("tc.example");
	assert_int_equal(T.error, 0);
	assert_int_equal(T.first.b[3], 100);
	teardown();
}

static void test_silent(void **state)
{
	(void)state;
	setup(&T.server, 1);
	resolve("silent.example");
	assert_int_equal(T.error, -ETIMEDOUT);
	resolve("liar.example");
	assert_int_equal(T.error, -ETIMEDOUT);
	teardown();
}

static void test_failover(void **state)
{
	struct endpoint both[] = { T.dead, T.server };

	(void)state;
	setup(both, 2);
	resolve("a.example");
	assert_int_equal(T.error, 0);
	teardown();
	setup(&T.dead, 1);
	resolve("a.example");
	assert_int_equal(T.error, -EIO);
	teardown();
	setup(NULL, 0);
	resolve("a.example");
	assert_int_equal(T.error, -EIO);
	teardown();
}

/* Freed with questions under way: nobody is called, nothing leaks. */
static void test_free_early(void **state)
{
	struct name n;
	int before = T.results;

	(void)state;
	setup(&T.server, 1);
	assert_int_equal(name_parse("silent.example", 14, &n, NULL), 0);
	assert_non_null(dns_resolve(T.d, &n, on_addrs, NULL));
	assert_int_equal(loop_step(T.loop, 10), 0);
	teardown();
	assert_int_equal(T.results, before);
}

static void test_cancel(void **state)
{
	struct dns_lookup *l;
	struct name n;
	int before = T.results;

	(void)state;
	setup(&T.server, 1);
	assert_int_equal(name_parse("b.example", 9, &n, NULL), 0);
	l = dns_resolve(T.d, &n, on_addrs, NULL);
	assert_non_null(l);
	dns_resolve_cancel(l);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_step(T.loop, 10), 0);
	assert_int_equal(T.results, before);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),	     cmocka_unit_test(test_server_fails),
		cmocka_unit_test(test_one_family),   cmocka_unit_test(test_edns_sizes),
		cmocka_unit_test(test_tcp_fallback), cmocka_unit_test(test_silent),
		cmocka_unit_test(test_failover),     cmocka_unit_test(test_free_early),
		cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
