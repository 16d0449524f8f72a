/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several servers: health by itself, then the real edge with scripted servers on
 * the test's own loop: one that is silent, one that fails, one that is late, one
 * that forges, and servers that are replaced while they are asked.
 */
#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

#define TIMEOUT_MS 1200u
#define PATIENCE_MS (TIMEOUT_MS / 6)

/* ---- health alone ------------------------------------------------------------------- */

static void test_order(void **state)
{
	struct dns_health h[3] = { 0 };
	const struct dns_health *p[] = { &h[0], &h[1], &h[2] };

	(void)state;
	assert_int_equal(dns_health_next(p, 3, 0), 0);
	assert_int_equal(dns_health_next(p, 3, 1), 1);
	assert_int_equal(dns_health_next(p, 3, 7), -1);
	assert_int_equal(dns_health_next(p, 0, 0), -1);
	/* Who failed comes last; of several, the one that failed longest ago first. */
	dns_health_failed(&h[0], 5, 10);
	assert_int_equal(dns_health_next(p, 3, 0), 1);
	dns_health_failed(&h[1], 15, 20);
	assert_int_equal(dns_health_next(p, 3, 0), 2);
	assert_int_equal(dns_health_next(p, 3, 4), 0);
	assert_int_equal(dns_health_next(p, 3, 5), 1);
	dns_health_answered(&h[0]);
	assert_int_equal(dns_health_next(p, 3, 0), 0);
}

static void test_probe_times(void **state)
{
	struct dns_health h = { 0 };
	const struct dns_health *p[] = { &h };
	uint64_t now = 1000 * NS_PER_S;
	static const unsigned pauses[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };

	(void)state;
	assert_int_equal(dns_health_probe(p, 1, now), -1);
	for (size_t i = 0; i < ARRAY_SIZE(pauses); i++) {
		dns_health_failed(&h, now, now);
		/* Those that were asked before it failed do not count again. */
		dns_health_failed(&h, now - 1, now + 1);
		assert_int_equal(dns_health_probe(p, 1, now + pauses[i] * NS_PER_S - 1), -1);
		now += pauses[i] * NS_PER_S;
		assert_int_equal(dns_health_probe(p, 1, now), 0);
		h.probing = true;
		assert_int_equal(dns_health_probe(p, 1, now), -1);
	}
	dns_health_answered(&h);
	assert_int_equal(dns_health_probe(p, 1, now + 3600 * NS_PER_S), -1);
}

/* ---- scripted servers ------------------------------------------------------------------ */

enum manner { MUTE, GOOD, SERVFAIL, REFUSED, LATE, FORGER };

struct server {
	struct loop_io io;
	struct endpoint e;
	enum manner manner;
	uint8_t last; /* of its answers' address */
	unsigned asked;
	/* LATE: what will be answered. */
	uint8_t msg[512];
	size_t len;
	struct sockaddr_storage from;
	socklen_t from_len;
};

static struct {
	struct loop *loop;
	struct dns *d;
	struct server s[3];
	int results, error;
	struct ip_addr first;
} T;

static void send_from(int fd, const struct server *s, const uint8_t *msg, size_t len)
{
	ssize_t r = sendto(fd, msg, len, 0, (const struct sockaddr *)&s->from, s->from_len);

	assert_int_equal(r, len);
}

static size_t reply_to(const struct server *s, unsigned rcode, uint8_t last, uint8_t *out)
{
	struct dns_out o = { .p = out, .cap = 512 };
	struct dns_request rq;
	const char *why;

	assert_int_equal(dns_request_read(s->msg, s->len, &rq, &why), 0);
	dns_put_be16(&o, rq.id);
	dns_put_be16(&o, (uint16_t)(0x8180 | rcode));
	dns_put_be16(&o, 1);
	dns_put_be16(&o, rcode || rq.qtype != DNS_TYPE_A ? 0 : 1);
	dns_put_be32(&o, 0);
	dns_put(&o, rq.question, rq.question_len);
	if (!rcode && rq.qtype == DNS_TYPE_A)
		dns_put(&o, (uint8_t[]){ 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, last },
			16);
	return o.len;
}

/* An attacker who sees nothing, and one who sees all but cannot send from the port. */
static void forge(const struct server *s)
{
	uint8_t out[512];
	size_t len = reply_to(s, 0, 66, out);
	int other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	send_from(other, s, out, len);
	close(other);
	out[1] ^= 1;
	send_from(s->io.fd, s, out, len);
	out[1] ^= 1;
	out[13] ^= 1; /* another name */
	send_from(s->io.fd, s, out, len);
	out[13] ^= 1;
	send_from(s->io.fd, s, out, 5);
}

static void on_question(struct loop_io *io, uint32_t revents)
{
	struct server *s = container_of(io, struct server, io);
	uint8_t out[512];
	ssize_t n;

	(void)revents;
	s->from_len = sizeof(s->from);
	n = recvfrom(io->fd, s->msg, sizeof(s->msg), 0, (struct sockaddr *)&s->from, &s->from_len);
	assert_true(n > 0);
	s->len = (size_t)n;
	s->asked++;
	if (s->manner == MUTE || s->manner == LATE)
		return;
	if (s->manner == FORGER)
		forge(s);
	send_from(io->fd, s, out,
		  reply_to(s,
			   s->manner == SERVFAIL  ? DNS_RCODE_SERVFAIL
			   : s->manner == REFUSED ? DNS_RCODE_REFUSED
						  : 0,
			   s->last, out));
}

static bool yes_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)ret;
	*ret_exact = true;
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

/* Servers in these manners, all in the configuration when n says so. */
static void start(size_t n, enum manner a, enum manner b, enum manner c)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = no_event };
	const enum manner manners[] = { a, b, c };
	struct endpoint e[3];
	struct dns_config cfg = {
		.mode = DNS_REAL,
		.upstreams = e,
		.n_upstreams = n,
		.timeout_ms = TIMEOUT_MS,
	};

	memset(&T, 0, sizeof(T));
	assert_int_equal(loop_new(&T.loop), 0);
	for (size_t i = 0; i < ARRAY_SIZE(T.s); i++) {
		struct sockaddr_storage ss;
		socklen_t len;
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		T.s[i].e = (struct endpoint){ ip4(127, 0, 0, 1), 0 };
		len = endpoint_to_sockaddr(&T.s[i].e, &ss);
		assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
		len = sizeof(ss);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
		assert_int_equal(endpoint_from_sockaddr(&ss, &T.s[i].e), 0);
		T.s[i].manner = manners[i];
		T.s[i].last = (uint8_t)(i + 1);
		assert_int_equal(loop_io_add(T.loop, &T.s[i].io, fd, EPOLLIN, on_question), 0);
		e[i] = T.s[i].e;
	}
	assert_int_equal(dns_new(T.loop, &cfg, &ops, NULL, &T.d), 0);
}

static void stop(void)
{
	dns_free(T.d);
	for (size_t i = 0; i < ARRAY_SIZE(T.s); i++) {
		loop_io_del(&T.s[i].io);
		close(T.s[i].io.fd);
	}
	loop_free(T.loop);
}

static void on_addrs(void *user, int error, const struct ip_addr *a, size_t n)
{
	(void)user;
	T.results++;
	T.error = error;
	T.first = n ? a[0] : (struct ip_addr){ 0 };
}

static void begin(const char *s)
{
	struct name n;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	(void)dns_resolve(T.d, &n, on_addrs, NULL);
}

static void run_for(unsigned ms)
{
	uint64_t end = time_mono_ns() + ms * NS_PER_MS;

	while (time_mono_ns() < end)
		assert_int_equal(loop_step(T.loop, 10), 0);
}

/* How many milliseconds until the name was answered. */
static unsigned resolve(const char *s)
{
	uint64_t from = time_mono_ns();
	int before = T.results;

	begin(s);
	while (T.results == before && time_mono_ns() < from + 20 * NS_PER_S)
		assert_int_equal(loop_step(T.loop, 50), 0);
	assert_int_equal(T.results, before + 1);
	return (unsigned)((time_mono_ns() - from) / NS_PER_MS);
}

static void assert_from(unsigned server)
{
	assert_int_equal(T.error, 0);
	assert_int_equal(T.first.b[3], server + 1);
}

/* The first server is silent: one question waits a little, the next ones not at all. */
static void test_silent_first(void **state)
{
	unsigned asked;

	(void)state;
	start(2, MUTE, GOOD, MUTE);
	assert_in_range(resolve("a.example"), PATIENCE_MS - 20, TIMEOUT_MS - 100);
	assert_from(1);
	asked = T.s[0].asked;
	assert_int_equal(asked, 2); /* A and AAAA, once each */
	for (int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "n%d.example", i);
		assert_in_range(resolve(name), 0, PATIENCE_MS - 50);
		assert_from(1);
	}
	/* It is sent what it did not answer once more, and nothing new. */
	assert_in_range(T.s[0].asked, asked, asked + 2);
	/* A second later it is tried beside a question, which does not wait for it. */
	run_for(1100);
	asked = T.s[0].asked;
	T.s[0].manner = GOOD;
	assert_in_range(resolve("b.example"), 0, PATIENCE_MS - 50);
	run_for(50);
	assert_true(T.s[0].asked > asked);
	/* It answered that: first again. */
	resolve("c.example");
	assert_from(0);
	stop();
}

/*
 * What a server cannot answer is put to the next; all of them failing is a failure.
 * Parity: d3.3-failover.
 */
static void test_failing_first(void **state)
{
	(void)state;
	start(3, SERVFAIL, REFUSED, GOOD);
	assert_in_range(resolve("a.example"), 0, PATIENCE_MS - 50);
	assert_from(2);
	/* That is about names: it is asked first again. */
	assert_in_range(resolve("b.example"), 0, PATIENCE_MS - 50);
	assert_int_equal(T.s[0].asked, 4);
	T.s[2].manner = SERVFAIL;
	assert_in_range(resolve("c.example"), 0, PATIENCE_MS - 50);
	assert_int_equal(T.error, -EIO);
	stop();
}

/* Nobody answers: the time-out, once, and the failure is remembered. */
static void test_all_silent(void **state)
{
	unsigned asked;

	(void)state;
	start(2, MUTE, MUTE, MUTE);
	assert_in_range(resolve("a.example"), TIMEOUT_MS - 50, 2 * TIMEOUT_MS);
	assert_int_equal(T.error, -ETIMEDOUT);
	asked = T.s[0].asked + T.s[1].asked;
	assert_int_equal(asked, 2 * 2 * 2); /* servers, families, sendings */
	assert_in_range(resolve("a.example"), 0, 50);
	assert_int_equal(T.s[0].asked + T.s[1].asked, asked);
	/* One is back: found, although it had failed. */
	T.s[1].manner = GOOD;
	resolve("b.example");
	assert_from(1);
	stop();
}

/* Wrong port, wrong id, wrong question, a stump: none of them is an answer. */
static void test_forged(void **state)
{
	(void)state;
	start(1, FORGER, MUTE, MUTE);
	for (int i = 0; i < 50; i++) {
		char name[32];

		snprintf(name, sizeof(name), "n%d.example", i);
		resolve(name);
		assert_from(0);
	}
	stop();
}

/* ---- servers are replaced --------------------------------------------------------------- */

/* The old server never answers: the question goes to the new one at once. */
static void test_replaced_silent(void **state)
{
	uint64_t from;

	(void)state;
	start(1, MUTE, GOOD, GOOD);
	begin("a.example");
	run_for(30);
	assert_int_equal(T.results, 0);
	from = time_mono_ns();
	assert_int_equal(dns_set_upstreams(T.d, &T.s[1].e, 1), 0);
	while (!T.results)
		assert_int_equal(loop_step(T.loop, 50), 0);
	assert_in_range((time_mono_ns() - from) / NS_PER_MS, 0, PATIENCE_MS);
	assert_from(1);
	assert_int_equal(T.s[0].asked, 2);
	/* And nothing more to the old one. */
	resolve("b.example");
	assert_from(1);
	assert_int_equal(T.s[2].asked, 0);
	run_for(TIMEOUT_MS);
	assert_int_equal(T.results, 2);
	stop();
}

/* The old server answers after all, the new one never: nothing is lost. */
static void test_replaced_late(void **state)
{
	uint8_t out[512];

	(void)state;
	start(1, LATE, MUTE, MUTE);
	begin("a.example");
	run_for(30);
	assert_int_equal(dns_set_upstreams(T.d, &T.s[1].e, 1), 0);
	run_for(30);
	assert_int_equal(T.s[1].asked, 2);
	send_from(T.s[0].io.fd, &T.s[0], out, reply_to(&T.s[0], 0, 1, out));
	/* AAAA or A, whichever was last: the other family times out. */
	while (!T.results)
		assert_int_equal(loop_step(T.loop, 50), 0);
	assert_true(T.error == 0 || T.error == -ETIMEDOUT);
	stop();
}

/* A failure is not held against the new servers. */
static void test_replaced_forgives(void **state)
{
	(void)state;
	start(1, SERVFAIL, GOOD, MUTE);
	resolve("a.example");
	assert_int_equal(T.error, -EIO);
	assert_int_equal(dns_set_upstreams(T.d, &T.s[1].e, 1), 0);
	resolve("a.example");
	assert_from(1);
	/* None at all: that is said at once. */
	assert_int_equal(dns_set_upstreams(T.d, NULL, 0), 0);
	assert_in_range(resolve("b.example"), 0, 50);
	assert_int_equal(T.error, -EIO);
	stop();
}

/* Sixteen others, again and again, with questions under way: bounded, nothing lost. */
static void test_replaced_often(void **state)
{
	struct endpoint e[DNS_MAX_UPSTREAMS + 1];
	int asked = 0;

	(void)state;
	start(1, MUTE, GOOD, MUTE);
	for (unsigned round = 0; round < 50; round++) {
		char name[32];

		for (size_t i = 0; i < ARRAY_SIZE(e); i++)
			e[i] = (struct endpoint){ ip4(127, 0, (uint8_t)(round + 1), (uint8_t)(i + 1)),
						  9 };
		snprintf(name, sizeof(name), "n%u.example", round);
		begin(name);
		asked++;
		assert_int_equal(dns_set_upstreams(T.d, e, DNS_MAX_UPSTREAMS), 0);
		assert_int_equal(loop_step(T.loop, 0), 0);
	}
	/* The same ones in another order, and one twice. */
	e[0] = e[5];
	e[7] = T.s[1].e;
	assert_int_equal(dns_set_upstreams(T.d, e, DNS_MAX_UPSTREAMS), 0);
	while (T.results < asked)
		assert_int_equal(loop_step(T.loop, 50), 0);
	resolve("last.example");
	assert_from(1);
	assert_int_equal(T.results, asked + 1);

	assert_int_equal(dns_set_upstreams(T.d, e, DNS_MAX_UPSTREAMS + 1), -EINVAL);
	e[0].port = 0;
	assert_int_equal(dns_set_upstreams(T.d, e, 1), -EINVAL);
	e[0] = (struct endpoint){ { 0 }, 53 };
	assert_int_equal(dns_set_upstreams(T.d, e, 1), -EINVAL);
	resolve("still.example");
	assert_from(1);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_probe_times),
		cmocka_unit_test(test_silent_first),
		cmocka_unit_test(test_failing_first),
		cmocka_unit_test(test_all_silent),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_replaced_silent),
		cmocka_unit_test(test_replaced_late),
		cmocka_unit_test(test_replaced_forgives),
		cmocka_unit_test(test_replaced_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
