/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over a guest's connection: pipelining, answers out of order, messages in
 * pieces, half close, more than may be outstanding, guests that do not read.
 */
#include "dns/dns_int.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#define MAX_ASKS 1024

static struct {
	struct loop *loop;
	struct dns *d;
	struct dns_ask *asks[MAX_ASKS];
	size_t n_asks;
	unsigned events;
	enum dns_transport transport;
	uint16_t type; /* of the questions; 0: A */
	int guest;
	uint8_t in[65536];
	size_t n_in;
} T;

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	*ret_exact = false;
	(void)ctx;
	assert_int_equal(q->transport, T.transport);
	snprintf(ret->id, sizeof(ret->id), "d1");
	snprintf(ret->text, sizeof(ret->text), "denied");
	return q->name.s[0] != 'd';
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return true;
}

static bool judge_type(void *ctx, const struct dns_question *q)
{
	(void)ctx, (void)q;
	return true;
}

static void on_event(void *ctx, const struct dns_event *e)
{
	(void)ctx;
	/* Stubs and responses are on the record too, and over what they came. */
	assert_int_equal(e->q->transport, T.transport);
	T.events++;
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up;
	assert_true(T.n_asks < MAX_ASKS);
	T.asks[T.n_asks++] = a;
	return 0;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return NS_PER_S;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void up_free(void *up)
{
	(void)up;
}

static int setup_transport(enum dns_transport transport)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .judge_type = judge_type,
					    .event = on_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};
	struct dns_config cfg = { .mode = DNS_REAL };
	struct endpoint guest = { ip4(10, 0, 0, 2), 40000 }, server = { ip4(10, 0, 0, 1), 53 };
	int sv[2], size = 4096;

	memset(&T, 0, sizeof(T));
	T.transport = transport;
	assert_int_equal(loop_new(&T.loop), 0);
	assert_int_equal(dns_new_with(T.loop, &cfg, &ops, NULL, &up, NULL, &T.d), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	/* A small window, so that writes are partial. */
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(fd_set_nonblock(sv[0], true), 0);
	assert_int_equal(fd_set_nonblock(sv[1], true), 0);
	assert_int_equal(dns_serve_tcp(T.d, sv[0], transport, &guest, &server), 0);
	T.guest = sv[1];
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_transport(DNS_TCP);
}

static int setup_tls(void **state)
{
	(void)state;
	return setup_transport(DNS_TLS);
}

static int teardown(void **state)
{
	(void)state;
	dns_free(T.d);
	loop_free(T.loop);
	fd_close(T.guest);
	return 0;
}

static void run(void)
{
	for (int i = 0; i < 200; i++)
		assert_int_equal(loop_step(T.loop, 0), 0);
}

static size_t frame(uint16_t id, const char *s, uint8_t *out)
{
	uint8_t msg[DNS_ASK_MAX];
	struct name n;
	size_t len;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	len = dns_ask_build(id, &n, T.type ? T.type : DNS_TYPE_A, false, msg);
	put_be16(out, (uint16_t)len);
	memcpy(out + 2, msg, len);
	return len + 2;
}

static void say(uint16_t id, const char *s)
{
	uint8_t b[512];
	size_t n = frame(id, s, b);

	assert_int_equal(write(T.guest, b, n), (ssize_t)n);
}

/* The next reply's id, 0 at the end, -1 when there is no whole one yet. */
static int hear(void)
{
	ssize_t n = recv(T.guest, T.in + T.n_in, sizeof(T.in) - T.n_in, 0);
	size_t len;
	int id;

	if (n > 0)
		T.n_in += (size_t)n;
	len = T.n_in >= 2 ? 2u + get_be16(T.in) : SIZE_MAX;
	if (T.n_in < len)
		return n > 0 || (n < 0 && errno == EAGAIN) ? -1 : 0;
	id = get_be16(T.in + 2);
	T.n_in -= len;
	memmove(T.in, T.in + len, T.n_in);
	return id;
}

/* The same, while the other side goes on writing what did not fit in the socket. */
static int hear_soon(void)
{
	int id = -1;

	for (int i = 0; i < 100 && id < 0; i++) {
		assert_int_equal(loop_step(T.loop, 0), 0);
		id = hear();
	}
	return id;
}

static void answer(size_t i)
{
	uint8_t msg[DNS_REPLY_MAX];
	struct dns_ask *a = T.asks[i];
	size_t len = dns_ask_build(1, &a->name, a->type, false, msg);

	msg[2] |= 0x80;
	dns_upstream_done(T.d, a, 0, msg, len);
}

/* Parity: d3.2-tcp. */
static void test_pipelined(void **state)
{
	(void)state;
	say(1, "a.example");
	say(2, "b.example");
	say(3, "denied.example");
	run();
	assert_int_equal(T.n_asks, 2);
	assert_int_equal(hear(), 3);
	answer(1);
	run();
	assert_int_equal(hear(), 2);
	answer(0);
	run();
	assert_int_equal(hear(), 1);
	assert_int_equal(hear(), -1);
}

static void test_in_pieces(void **state)
{
	uint8_t b[512];
	size_t n = frame(7, "denied.example", b);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(hear(), -1);
		assert_int_equal(write(T.guest, b + i, 1), 1);
		assert_int_equal(loop_step(T.loop, 0), 0);
	}
	run();
	assert_int_equal(hear(), 7);
}

/* FIN after the question: the answer still comes, then the end. */
static void test_half_close(void **state)
{
	(void)state;
	say(1, "a.example");
	assert_int_equal(shutdown(T.guest, SHUT_WR), 0);
	run();
	assert_int_equal(hear(), -1);
	answer(0);
	run();
	assert_int_equal(hear(), 1);
	assert_int_equal(hear(), 0);
	assert_int_equal(T.d->n_conns, 0);
}

/* Gone altogether: the query is cancelled, and on the record. */
static void test_gone(void **state)
{
	(void)state;
	say(1, "a.example");
	run();
	fd_close(T.guest);
	T.guest = -1;
	run();
	assert_int_equal(T.d->n_conns, 0);
	assert_int_equal(T.events, 1);
	answer(0);
	assert_int_equal(T.events, 1);
}

/* More questions than may be under way: the rest waits in the socket. */
static void test_outstanding(void **state)
{
	char s[32];
	size_t answered = 0;

	(void)state;
	for (uint16_t i = 1; i <= 100; i++) {
		snprintf(s, sizeof(s), "n%u.example", i);
		say(i, s);
	}
	run();
	assert_int_equal(T.n_asks, DNS_TCP_OUTSTANDING);
	while (answered < T.n_asks) {
		while (answered < T.n_asks)
			answer(answered++);
		run();
		assert_true(T.n_asks - answered <= DNS_TCP_OUTSTANDING);
	}
	assert_int_equal(answered, 100);
	for (int i = 1; i <= 100; i++)
		assert_int_equal(hear_soon(), i);
}

/* As much text as an answer may have, to every question under way, and nobody reads: all is kept. */
static void test_full_replies(void **state)
{
	static uint8_t msg[DNS_REPLY_MAX];
	char s[32];

	(void)state;
	T.type = DNS_TYPE_TXT;
	for (uint16_t i = 1; i <= DNS_TCP_OUTSTANDING; i++) {
		snprintf(s, sizeof(s), "n%u.example", i);
		say(i, s);
	}
	run();
	assert_int_equal(T.n_asks, DNS_TCP_OUTSTANDING);
	for (size_t i = 0; i < T.n_asks; i++) {
		struct dns_ask *a = T.asks[i];
		struct dns_out o = { .p = msg, .cap = sizeof(msg) };

		o.len = dns_ask_build(1, &a->name, a->type, false, msg);
		msg[2] |= 0x80;
		for (uint8_t k = 0; k < 60; k++) {
			uint8_t text[230] = { 229, k };

			dns_put(&o, "\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\xe6", 12);
			dns_put(&o, text, sizeof(text));
		}
		msg[7] = 60;
		assert_false(o.full);
		dns_upstream_done(T.d, a, 0, msg, o.len);
	}
	run();
	assert_int_equal(T.d->n_conns, 1);
	for (int i = 1; i <= DNS_TCP_OUTSTANDING; i++)
		assert_int_equal(hear_soon(), i);
}

/* A guest that writes and never reads: reading stops, memory stays bounded. */
static void test_deaf(void **state)
{
	uint8_t b[512];
	size_t n = frame(1, "denied.example", b), sent = 0, heard = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		if (write(T.guest, b, n) != (ssize_t)n)
			break;
		sent++;
		assert_int_equal(loop_step(T.loop, 0), 0);
	}
	assert_true(sent < 20000);
	assert_true(T.events * 60 < 3 * DNS_TCP_OUT_PAUSE);
	/* It reads again: every whole question has its answer. */
	shutdown(T.guest, SHUT_WR);
	for (int i = 0; i < 20000 && T.d->n_conns; i++) {
		assert_int_equal(loop_step(T.loop, 0), 0);
		while (hear() == 1)
			heard++;
	}
	while (hear() == 1)
		heard++;
	assert_int_equal(heard, sent);
}

/* What may not be answered ends the connection; so does more than all connections. */
static void test_bad(void **state)
{
	(void)state;
	assert_int_equal(write(T.guest, "\0\1x", 3), 3);
	run();
	assert_int_equal(hear(), 0);
	assert_int_equal(T.d->n_conns, 0);
}

/*
 * Silence ends a connection, and so does one byte at a time; a slow upstream does not.
 * Parity: d3.2-tcp.
 */
static void test_idle(void **state)
{
	uint64_t end;

	(void)state;
	T.d->tcp_idle_ns = 60 * NS_PER_MS;
	say(1, "denied.example");
	run();
	assert_int_equal(hear(), 1);
	say(2, "a.example");
	run();
	end = time_mono_ns() + 150 * NS_PER_MS;
	while (time_mono_ns() < end)
		assert_int_equal(loop_step(T.loop, 10), 0);
	assert_int_equal(T.d->n_conns, 1);
	answer(0);
	run();
	assert_int_equal(hear(), 2);
	end = time_mono_ns() + 2 * NS_PER_S;
	while (T.d->n_conns && time_mono_ns() < end) {
		assert_int_equal(loop_step(T.loop, 10), 0);
		(void)!send(T.guest, "\xff", 1, MSG_NOSIGNAL);
	}
	assert_int_equal(T.d->n_conns, 0);
	/* It was the time, not a whole message. */
	assert_int_equal(T.events, 2);
}

/* Parity: d3.2-tcp. */
static void test_too_many(void **state)
{
	struct endpoint e = { ip4(10, 0, 0, 2), 1 };
	int sv[DNS_TCP_CONNS][2];

	(void)state;
	for (int i = 0; i < DNS_TCP_CONNS; i++) {
		int r;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv[i]), 0);
		r = dns_serve_tcp(T.d, sv[i][0], DNS_TCP, &e, &e);
		assert_int_equal(r, i < DNS_TCP_CONNS - 1 ? 0 : -EMFILE);
	}
	/* Refused, and closed. */
	assert_int_equal(fcntl(sv[DNS_TCP_CONNS - 1][0], F_GETFD), -1);
	for (int i = 0; i < DNS_TCP_CONNS; i++)
		fd_close(sv[i][1]);
	run();
	assert_int_equal(T.d->n_conns, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_pipelined),
		T(test_in_pieces),
		T(test_half_close),
		T(test_gone),
		T(test_outstanding),
		T(test_deaf),
		T(test_bad),
		T(test_idle),
		T(test_too_many),
		T(test_full_replies),
		cmocka_unit_test_setup_teardown(test_pipelined, setup_tls, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup_tls, teardown),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
