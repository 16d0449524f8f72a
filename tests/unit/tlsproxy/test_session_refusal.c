/* SPDX-License-Identifier: Apache-2.0 */
/* Flows that are refused, and how: certificates, names, policy, no TLS at all, limits, deadlines. */
#include "tests/unit/tlsproxy/session_rig.h"

/* ---- refusals ------------------------------------------------------------------------------------- */

static void test_upstream_certificate(void **state)
{
	struct flow_case wrong_name = { .client = client_get,
					.server = server_hello,
					.sni = HOST,
					.server_cert = "other.example.com" };
	struct flow_case untrusted = {
		.client = client_get, .server = server_hello, .sni = HOST, .server_untrusted = true
	};

	(void)state;
	run(&wrong_name);
	expect_reply(&wrong_name, "HTTP/1.1 502");
	expect_reply(&wrong_name, "tls_certificate_error");
	expect_detail(&wrong_name, "upstream certificate: hostname mismatch");
	assert_false(wrong_name.tls_ok);
	assert_int_equal(wrong_name.n_tls_events, 1);
	assert_false(wrong_name.server_tls_up && wrong_name.received);

	run(&untrusted);
	expect_reply(&untrusted, "HTTP/1.1 502");
	expect_detail(&untrusted, "upstream certificate: unable to get local issuer");
}

static void server_hang_up(struct flow_case *c, struct end *e)
{
	char b[64];

	(void)c;
	end_read(e, b, sizeof(b));
}

static void server_not_tls(struct flow_case *c, struct end *e)
{
	(void)c;
	end_puts(e, "SSH-2.0-OpenSSH_9.2p1\r\n");
	server_hang_up(c, e);
}

static void test_upstream_handshake(void **state)
{
	struct flow_case gone = {
		.client = client_get, .server = server_hang_up, .sni = HOST, .server_no_tls = true
	};
	struct flow_case ssh = {
		.client = client_get, .server = server_not_tls, .sni = HOST, .server_no_tls = true
	};

	(void)state;
	run(&gone);
	expect_reply(&gone, "HTTP/1.1 502");
	expect_reply(&gone, "connection_terminated");
	run(&ssh);
	expect_reply(&ssh, "HTTP/1.1 502");
	expect_reply(&ssh, "tls_protocol_error");
	expect_detail(&ssh, "wrong version number");
}

/* Parity: weak-16. */
static void test_name_disagrees(void **state)
{
	struct flow_case c = { .client = client_get, .sni = HOST, .flow_name = "other.example.com" };

	(void)state;
	run(&c);
	expect_reply(&c, "HTTP/1.1 421");
	expect_detail(&c, "SNI api.example.com does not agree with the flow's name other");
	assert_false(c.tls_ok);
	assert_false(c.server_tls_up);
	assert_int_equal(c.n_judged, 0);
}

static void test_denied(void **state)
{
	struct flow_case c = { .client = client_get, .sni = HOST, .deny = true };
	struct flow_case outside = { .client = client_get, .sni = HOST, .deny = true };
	struct name permitted;
	struct tlsproxy_config cfg = { .permitted = &permitted, .n_permitted = 1 };
	struct rig rig;

	(void)state;
	run(&c);
	expect_reply(&c, "HTTP/1.1 403");
	expect_reply(&c, "not for agents");
	expect_detail(&c, "denied by policy");
	assert_int_equal(c.n_tls_events, 1);
	/* A name the CA may not sign for: an alert says it. */
	assert_int_equal(name_parse("else.example", 12, &permitted, NULL), 0);
	rig_up(&rig, &cfg);
	run_on(&rig, &outside);
	rig_down(&rig);
	assert_false(outside.client_tls_up);
	assert_int_equal(outside.client_alert, SSL_R_TLSV1_ALERT_ACCESS_DENIED);
}

static void client_silent(struct flow_case *c, struct end *e)
{
	(void)c;
	SSL_shutdown(e->ssl);
}

static void test_distrust(void **state)
{
	struct flow_case silent = { .client = client_silent, .server = server_hello, .sni = HOST };
	struct flow_case c = {
		.client = client_get, .server = server_hello, .sni = HOST, .client_distrusts = true
	};
	struct flow_case h2 = { .client = client_get,
				.server = server_hello,
				.sni = HOST,
				.alpn = "\x02h2",
				.server_alpn = "\x08http/1.1" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		c.client_tls12 = i == 1;
		c.done = false;
		c.n_done = 0;
		run(&c);
		expect_detail(&c, "does not trust the sandbox CA");
		expect_detail(&c, "--tls-bypass " HOST);
		assert_false(c.tls_ok);
	}
	run(&silent);
	expect_detail(&silent, "without a request");
	assert_int_equal(silent.n_tls_events, 2);
	run(&h2);
	assert_int_equal(h2.client_alert, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	expect_detail(&h2, "none of the protocols that the client offers (h2)");
}

/* ---- a server that wants a client certificate ---------------------------------------------------------- */

static void test_client_certificate(void **state)
{
	struct flow_case c = {
		.client = client_get, .server = server_hello, .sni = HOST, .server_wants_cert = true
	};

	(void)state;
	for (int i = 0; i < 2; i++) {
		c.server_tls12 = i == 1;
		c.done = false;
		c.n_done = 0;
		c.n_reply = 0;
		run(&c);
		expect_reply(&c, "HTTP/1.1 502");
		expect_detail(&c, "upstream sent the TLS alert");
		if (!c.server_tls12)
			expect_detail(&c, "--tls-client-cert " HOST);
		assert_false(c.tls_ok);
	}
}

/* ---- without SNI -------------------------------------------------------------------------------------- */

/* Parity: weak-11. */
static void test_no_sni(void **state)
{
	struct flow_case named = { .client = client_get, .server = server_hello, .flow_name = HOST };
	struct flow_case ip = { .client = client_get_ip,
				.server = server_hello,
				.remote = ip4(203, 0, 113, 5),
				.server_cert = "203.0.113.5" };
	struct flow_case wrong_ip = { .client = client_get_ip,
				      .server = server_hello,
				      .remote = ip4(203, 0, 113, 5),
				      .server_cert = "203.0.113.6" };

	(void)state;
	run(&named);
	expect_reply(&named, "hello");
	run(&ip);
	expect_reply(&ip, "hello");
	run(&wrong_ip);
	expect_reply(&wrong_ip, "HTTP/1.1 502");
	expect_detail(&wrong_ip, "IP address mismatch");
}

/* ---- not TLS at all --------------------------------------------------------------------------------------- */

struct raw_case {
	const char *what, *bytes;
	size_t len;
	const char *detail;
	int alert; /* -1: none */
};

static const struct raw_case *raw_now;
static uint8_t raw_answer[16];
static ssize_t raw_answer_len;

static void raw_client(struct flow_case *c, struct end *e)
{
	(void)c;
	end_write(e, raw_now->bytes, raw_now->len);
	shutdown(e->fd, SHUT_WR);
	raw_answer_len = recv(e->fd, raw_answer, sizeof(raw_answer), MSG_WAITALL);
}

static void test_not_tls(void **state)
{
	static const struct raw_case t[] = {
		{ "nothing", "", 0, "closed before", -1 },
		{ "http", "GET / HTTP/1.1\r\n\r\n", 18, "does not speak TLS", -1 },
		{ "cut hello", "\x16\x03\x01\x02\x00\x01", 6, "cannot be read", 50 },
		{ "server hello", "\x16\x03\x01\x00\x04\x02\0\0\0", 9, "cannot be read", 50 },
	};
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct flow_case c = { 0 };
		struct thread_arg client = { .c = &c };
		struct tlsproxy_flow f = make_flow(&c);
		pthread_t th;
		int g[2], u[2];

		raw_now = &t[i];
		now_running = &c;
		c.client = raw_client;
		c.threads_left = 1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, u), 0);
		client.end.fd = g[1];
		assert_int_equal(pthread_create(&th, NULL, client_thread, &client), 0);
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], u[0]), 0);
		while (!c.done || c.threads_left)
			assert_int_equal(loop_step(rig.loop, 20), 0);
		pthread_join(th, NULL);
		close(u[1]);
		expect_detail(&c, t[i].detail);
		assert_int_equal(raw_answer_len, t[i].alert < 0 ? 0 : 7);
		if (t[i].alert >= 0)
			assert_int_equal(raw_answer[6], t[i].alert);
	}
	rig_down(&rig);
}

/* ---- limits ----------------------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
	struct tlsproxy_config cfg = { .max_flows = 1, .idle_s = 1 };
	struct flow_case c = { .plain = true, .flow_name = HOST };
	struct tlsproxy_flow f = make_flow(&c);
	int g[2][2], u[2][2];
	struct rig rig;
	char b;

	(void)state;
	now_running = &c;
	rig_up(&rig, &cfg);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g[i]), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, u[i]), 0);
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[i][0], u[i][0]), 0);
	}
	assert_int_equal(c.n_done, 1);
	assert_true(c.reset);
	expect_detail(&c, "too many flows");
	assert_int_equal(recv(g[1][1], &b, 1, 0), 0);
	/* The first is idle, and ends in order. */
	close(u[0][1]);
	for (int i = 0; i < 200 && c.n_done < 2; i++) {
		if (i == 100)
			close(g[0][1]);
		assert_int_equal(loop_step(rig.loop, 20), 0);
	}
	assert_int_equal(c.n_done, 2);
	assert_false(c.reset);
	close(g[1][1]);
	close(u[1][1]);
	rig_down(&rig);
}

static void server_mute(struct flow_case *c, struct end *e)
{
	char b[4096];

	(void)c;
	while (recv(e->fd, b, sizeof(b), 0) > 0)
		;
}

/* Waits for the whole handshake time before it says its hello, or half of it. */
static void client_mute(struct flow_case *c, struct end *e)
{
	char b[16];

	end_write(e, "\x16\x03\x01", c->body);
	c->n_reply = (size_t)MAX(recv(e->fd, b, sizeof(b), 0), 0);
}

static void test_deadlines(void **state)
{
	struct flow_case upstream = {
		.client = client_get, .server = server_mute, .sni = HOST, .server_no_tls = true
	};
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	rig.tp->handshake_ns = 300 * NS_PER_MS;
	run_on(&rig, &upstream);
	expect_reply(&upstream, "HTTP/1.1 504");
	expect_reply(&upstream, "connection_timeout");
	for (size_t i = 0; i < 4; i++) {
		struct flow_case c = { .body = i, .plain = true, .client = client_mute };
		struct thread_arg client = { .c = &c };
		struct tlsproxy_flow f = make_flow(&c);
		int g[2], u[2];
		pthread_t th;

		f.tls = true;
		now_running = &c;
		c.threads_left = 1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, u), 0);
		client.end.fd = g[1];
		assert_int_equal(pthread_create(&th, NULL, client_thread, &client), 0);
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], u[0]), 0);
		while (!c.done || c.threads_left)
			assert_int_equal(loop_step(rig.loop, 20), 0);
		pthread_join(th, NULL);
		close(u[1]);
		expect_detail(&c, "no ClientHello in time");
		assert_int_equal(c.n_reply, 0);
	}
	rig_down(&rig);
}

static void test_free_with_flows(void **state)
{
	struct tlsproxy_config cfg = { 0 };
	struct flow_case c = { .plain = true, .flow_name = HOST };
	struct rig rig;
	int g[2], u[2];

	(void)state;
	now_running = &c;
	rig_up(&rig, &cfg);
	for (int i = 0; i < 4; i++) {
		struct tlsproxy_flow f = make_flow(&c);

		f.tls = i & 1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, u), 0);
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], u[0]), 0);
		if (i < 2)
			assert_int_equal(loop_step(rig.loop, 0), 0);
		close(g[1]);
		close(u[1]);
	}
	rig_down(&rig);
	assert_int_equal(c.n_done, 4);
	assert_true(c.reset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upstream_certificate),
		cmocka_unit_test(test_upstream_handshake),
		cmocka_unit_test(test_name_disagrees),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_distrust),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_no_sni),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_free_with_flows),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
