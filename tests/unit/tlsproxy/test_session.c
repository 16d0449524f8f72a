/* SPDX-License-Identifier: Apache-2.0 */
/* Flows that go through: requests, secrets, bodies, tunnels, every way to end, resumption. */
#include "tests/unit/tlsproxy/session_rig.h"

/* Parity: lesson-30: what came with the end of the handshake goes on. */
static void test_get(void **state)
{
	static const char *const alpns[] = { NULL, "\x08http/1.1", "\x02h2\x08http/1.1" };

	(void)state;
	for (int i = 0; i < 12; i++) {
		struct flow_case c = { .client = client_get,
				       .server = server_hello,
				       .sni = HOST,
				       .alpn = alpns[i % 3],
				       .flow_name = i & 1 ? HOST : NULL,
				       .client_tls12 = i & 2,
				       .server_tls12 = i & 4 };

		run(&c);
		expect_reply(&c, "HTTP/1.1 200");
		expect_reply(&c, "hello");
		assert_false(c.reply_cut);
		assert_false(c.reset);
		assert_true(c.tls_ok);
		assert_int_equal(c.n_tls_events, 1);
		assert_int_equal(c.n_judged, 1);
		assert_true(c.n_keylog > 0);
	}
}

static void test_plain(void **state)
{
	struct flow_case c = {
		.client = client_get, .server = server_hello, .plain = true, .flow_name = HOST
	};

	(void)state;
	run(&c);
	expect_reply(&c, "hello");
	assert_int_equal(c.n_http_judged, 1);
	assert_int_equal(c.n_tls_events, 0);
	assert_false(c.reset);
}

static void test_need_http(void **state)
{
	struct flow_case c = {
		.client = client_get, .server = server_hello, .sni = HOST, .need_http = true
	};

	(void)state;
	run(&c);
	expect_reply(&c, "hello");
	assert_int_equal(c.n_http_judged, 1);
}

/* ---- a secret, end to end ------------------------------------------------------------------------------ */

#define SECRET_VALUE "sk-live-0123456789abcdef"
static const char *secret_placeholder;
static char secret_seen[4096];

static void client_with_secret(struct flow_case *c, struct end *e)
{
	char head[1024];

	snprintf(head, sizeof(head),
		 "GET /a HTTP/1.1\r\nHost: " HOST
		 "\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n",
		 secret_placeholder);
	end_puts(e, head);
	client_read_all(c, e);
}

/* Gives back what it got, as careless servers do. */
static void server_echo(struct flow_case *c, struct end *e)
{
	char head[5000];

	(void)c;
	if (!end_head(e, secret_seen, sizeof(secret_seen)))
		return;
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(secret_seen), secret_seen);
	end_puts(e, head);
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

static void test_secret(void **state)
{
	struct flow_case good = { .client = client_with_secret, .server = server_echo, .sni = HOST };
	struct flow_case plain = {
		.client = client_with_secret, .server = server_echo, .plain = true, .flow_name = HOST
	};
	struct flow_case unverified = { .client = client_with_secret,
					.server = server_echo,
					.sni = HOST,
					.server_untrusted = true };
	struct tlsproxy_host_pattern host = { 0 };
	struct tlsproxy_secret secret = { .env = "KEY",
					  .value = SECRET_VALUE,
					  .value_len = strlen(SECRET_VALUE),
					  .hosts = &host,
					  .n_hosts = 1,
					  .places = TLSPROXY_PLACES_DEFAULT,
					  .on_violation = TLSPROXY_BLOCK_AND_LOG };
	struct tlsproxy_config cfg = { .secrets = &secret, .n_secrets = 1 };
	const char *why;
	struct rig rig;

	(void)state;
	assert_int_equal(tlsproxy_host_pattern_parse(HOST, strlen(HOST), &host, &why), 0);
	rig_up(&rig, &cfg);
	secret_placeholder = tlsproxy_placeholder(rig.tp, 0);
	assert_int_equal(strlen(secret_placeholder), strlen(SECRET_VALUE));
	assert_null(strstr(secret_placeholder, SECRET_VALUE));
	run_on(&rig, &good);
	assert_non_null(strstr(secret_seen, "Bearer " SECRET_VALUE));
	expect_reply(&good, secret_placeholder);
	assert_null(strstr(good.reply, SECRET_VALUE));
	secret_seen[0] = 0;
	run_on(&rig, &plain);
	expect_reply(&plain, "HTTP/1.1 403");
	run_on(&rig, &unverified);
	expect_reply(&unverified, "HTTP/1.1 502");
	assert_string_equal(secret_seen, "");
	rig_down(&rig);
}

/* The hello in single bytes, as a segmenting client or a hostile one sends it. */
static void *dribble(void *p)
{
	int *fd = p; /* [0] from the client, [1] to the proxy */
	char b[4096];
	ssize_t n;

	while ((n = recv(fd[0], b, sizeof(b), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (send(fd[1], b + i, 1, MSG_NOSIGNAL) != 1)
				break;
	shutdown(fd[1], SHUT_WR);
	return NULL;
}

static void *copy_back(void *p)
{
	int *fd = p;
	char b[4096];
	ssize_t n;

	while ((n = recv(fd[1], b, sizeof(b), 0)) > 0)
		if (send(fd[0], b, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	shutdown(fd[0], SHUT_WR);
	return NULL;
}

static void test_dribbled(void **state)
{
	struct flow_case c = { .client = client_get, .server = server_hello, .sni = HOST };
	struct thread_arg client = { .c = &c }, server = { .c = &c };
	struct tlsproxy_flow f = make_flow(&c);
	struct tlsproxy_config cfg = { 0 };
	int a[2], g[2], u[2], relay[2];
	pthread_t t[4];
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, u), 0);
	relay[0] = a[0];
	relay[1] = g[1];
	client.end.fd = a[1];
	server.end.fd = u[1];
	client.end.ctx = client_ctx(&c, tlsproxy_ca_pem(rig.tp));
	server.end.ctx = server_ctx(&c);
	now_running = &c;
	c.threads_left = 2;
	pthread_create(&t[0], NULL, client_thread, &client);
	pthread_create(&t[1], NULL, server_thread, &server);
	pthread_create(&t[2], NULL, dribble, relay);
	pthread_create(&t[3], NULL, copy_back, relay);
	assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], u[0]), 0);
	while (!c.done || c.threads_left)
		assert_int_equal(loop_step(rig.loop, 20), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	close(a[0]);
	close(g[1]);
	expect_reply(&c, "hello");
	SSL_CTX_free(client.end.ctx);
	SSL_CTX_free(server.end.ctx);
	rig_down(&rig);
}

/* ---- bodies ------------------------------------------------------------------------------------------------ */

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 11));
}

static bool write_pattern(struct end *e, size_t n)
{
	uint8_t b[20000];
	size_t at = 0;

	while (at < n) {
		size_t k = MIN(sizeof(b), n - at);

		for (size_t i = 0; i < k; i++)
			b[i] = pattern(at + i);
		if (!end_write(e, b, k))
			return false;
		at += k;
	}
	return true;
}

/* Slowly at first, so that everything in between fills up. Bytes that were right. */
static size_t read_pattern(struct end *e, size_t n)
{
	uint8_t b[20000];
	size_t at = 0;
	int r;

	usleep(100 * 1000);
	while (at < n) {
		r = end_read(e, b, MIN(sizeof(b), n - at));
		if (r <= 0)
			break;
		for (int i = 0; i < r; i++)
			if (b[i] != pattern(at + (size_t)i))
				return at + (size_t)i;
		at += (size_t)r;
		if (at < 400000)
			usleep(1000);
	}
	return at;
}

static void client_download(struct flow_case *c, struct end *e)
{
	end_puts(e, "GET /big HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	if (end_head(e, c->reply, sizeof(c->reply)))
		c->received = read_pattern(e, c->body);
}

static void server_download(struct flow_case *c, struct end *e)
{
	char head[4096];

	if (!end_head(e, head, sizeof(head)))
		return;
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", c->body);
	end_puts(e, head);
	write_pattern(e, c->body);
	end_head(e, head, sizeof(head));
}

static void client_upload(struct flow_case *c, struct end *e)
{
	char head[256];

	snprintf(head, sizeof(head),
		 "PUT /big HTTP/1.1\r\nHost: " HOST
		 "\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
		 c->body);
	end_puts(e, head);
	write_pattern(e, c->body);
	client_read_all(c, e);
}

static void server_upload(struct flow_case *c, struct end *e)
{
	char head[4096];

	if (!end_head(e, head, sizeof(head)))
		return;
	c->received = read_pattern(e, c->body);
	end_puts(e, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

/* Parity: lesson-30: large bodies to their last byte. */
static void test_bodies(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct flow_case c = { .sni = HOST, .body = 24 << 20, .plain = i & 1 };

		if (c.plain) {
			c.flow_name = HOST;
			c.sni = NULL;
		}
		c.client = i & 2 ? client_upload : client_download;
		c.server = i & 2 ? server_upload : server_download;
		run(&c);
		assert_int_equal(c.received, c.body);
		expect_reply(&c, "HTTP/1.1 200");
	}
}

/* ---- ends ------------------------------------------------------------------------------------------------------ */

static void client_half_close(struct flow_case *c, struct end *e)
{
	end_puts(e, "GET /a HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	if (e->ssl)
		SSL_shutdown(e->ssl);
	shutdown(e->fd, SHUT_WR);
	client_read_all(c, e);
}

/* Answers only after it has seen the client's end. */
static void server_after_end(struct flow_case *c, struct end *e)
{
	char head[4096];

	c->received = 1;
	if (!end_head(e, head, sizeof(head)) || end_read(e, head, 1) != 0)
		return;
	c->received = 2;
	end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

static void test_half_close(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct flow_case c = { .client = client_half_close,
				       .server = server_after_end,
				       .plain = i == 1,
				       .sni = i ? NULL : HOST,
				       .flow_name = HOST };

		run(&c);
		assert_int_equal(c.received, 2);
		expect_reply(&c, "hello");
		assert_false(c.reset);
		assert_false(c.reply_cut);
	}
}

static const char *cut_text;
static bool cut_cleanly;

static void server_cut(struct flow_case *c, struct end *e)
{
	char head[4096];

	(void)c;
	end_head(e, head, sizeof(head));
	end_puts(e, cut_text);
	if (e->ssl && cut_cleanly)
		SSL_shutdown(e->ssl);
}

static void test_truncation(void **state)
{
	static const struct {
		const char *text;
		bool clean, tls;
		bool cut; /* what the client is to see */
		const char *status;
	} t[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", true, true, true, "200" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false, true, true, "200" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, true, false, "200" },
		{ "HTTP/1.1 200 OK\r\n\r\nhello", true, true, false, "200" },
		{ "HTTP/1.1 200 OK\r\n\r\nhello", false, true, true, "200" },
		{ "HTTP/1.1 200 OK\r\n\r\nhello", true, false, false, "200" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true,
		  false, true, "200" },
		{ "", true, true, false, "502" },
		{ "", false, true, false, "502" },
		{ "", true, false, false, "502" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct flow_case c = { .client = client_get,
				       .server = server_cut,
				       .plain = !t[i].tls,
				       .sni = t[i].tls ? HOST : NULL,
				       .flow_name = HOST };

		cut_text = t[i].text;
		cut_cleanly = t[i].clean;
		run(&c);
		/* On a plain pair a reset cannot be shown to the client: flow_done tells. */
		if (c.reset != t[i].cut || (t[i].tls && c.reply_cut != t[i].cut))
			fail_msg("%zu: reset %d, cut %d, reply \"%s\"", i, c.reset, c.reply_cut,
				 c.reply);
		if (!t[i].cut)
			expect_reply(&c, t[i].status);
	}
}

/* Two requests on one connection, the second one after the first answer. */
static void client_twice(struct flow_case *c, struct end *e)
{
	char b[5];

	end_puts(e, "GET /1 HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	if (!end_head(e, c->reply, sizeof(c->reply)) || end_read(e, b, 5) != 5)
		return;
	end_puts(e, "GET /2 HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	client_read_all(c, e);
}

static void server_once(struct flow_case *c, struct end *e)
{
	char head[4096];

	if (!end_head(e, head, sizeof(head)))
		return;
	end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	c->received += end_head(e, head, sizeof(head));
}

/* The race of every kept connection: no answer, and nothing that looks like one. */
static void test_stale_connection(void **state)
{
	struct flow_case c = { .client = client_twice, .server = server_once, .sni = HOST };

	(void)state;
	run(&c);
	assert_int_equal(c.received, 1);
	assert_int_equal(c.n_reply, 0);
	assert_false(c.reply_cut);
	assert_false(c.reset);
}

static void client_vanish(struct flow_case *c, struct end *e)
{
	(void)c;
	end_puts(e, "GET /a HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	usleep(20 * 1000);
}

/* Sends without end; only the client's going away can stop it. */
static void server_endless(struct flow_case *c, struct end *e)
{
	char head[4096];

	(void)c;
	if (!end_head(e, head, sizeof(head)))
		return;
	end_puts(e, "HTTP/1.1 200 OK\r\n\r\n");
	while (write_pattern(e, 100000))
		;
}

static void test_client_gone(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct flow_case c = { .client = client_vanish,
				       .server = server_endless,
				       .plain = i == 1,
				       .sni = i ? NULL : HOST,
				       .flow_name = HOST };

		run(&c);
		assert_true(c.reset);
	}
}

static void client_stalls(struct flow_case *c, struct end *e)
{
	(void)c;
	end_puts(e, "GET /a HTTP/1.1\r\nHost: " HOST "\r\n\r\n");
	usleep(400 * 1000);
}

/* More than all buffers take, then gone: HUP stands while nothing can be read. */
static void server_fills_and_goes(struct flow_case *c, struct end *e)
{
	char head[4096];
	struct timeval wait = { .tv_usec = 100 * 1000 };

	(void)c;
	setsockopt(e->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (!end_head(e, head, sizeof(head)))
		return;
	end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
	write_pattern(e, 10 << 20);
}

static void test_no_spinning(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct flow_case c = { .client = client_stalls,
				       .server = server_fills_and_goes,
				       .plain = i == 1,
				       .sni = i ? NULL : HOST,
				       .flow_name = HOST };

		run(&c);
		assert_true(c.reset);
		if (c.steps > 300)
			fail_msg("%ld turns of the loop", c.steps);
	}
}

/* ---- after 101 ------------------------------------------------------------------------------------------- */

static void client_websocket(struct flow_case *c, struct end *e)
{
	char b[4];

	end_puts(e, "GET /ws HTTP/1.1\r\nHost: " HOST "\r\nConnection: Upgrade\r\n"
		    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
		    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
	if (!end_head(e, c->reply, sizeof(c->reply)))
		return;
	for (int i = 0; i < 100; i++) {
		end_write(e, "\x81\x82\0\0\0\0hi", 8);
		if (end_read(e, b, 4) != 4 || memcmp(b, "\x81\x02hi", 4) != 0)
			return;
	}
	/* This end is done; the other still says goodbye. */
	if (e->ssl)
		SSL_shutdown(e->ssl);
	shutdown(e->fd, SHUT_WR);
	client_read_all(c, e);
}

static void server_websocket(struct flow_case *c, struct end *e)
{
	char head[4096], b[8];

	if (!end_head(e, head, sizeof(head)))
		return;
	end_puts(e, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
		    "websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
	while (end_read(e, b, 8) == 8) {
		c->received++;
		end_write(e, "\x81\x02hi", 4);
	}
	end_write(e, "\x88\x02\x03\xe8", 4);
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

static void test_tunnel(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct flow_case c = { .client = client_websocket,
				       .server = server_websocket,
				       .plain = i == 1,
				       .sni = i ? NULL : HOST,
				       .flow_name = HOST };

		run(&c);
		assert_int_equal(c.received, 100);
		assert_int_equal(c.n_reply, 4);
		assert_memory_equal(c.reply, "\x88\x02\x03\xe8", 4);
		assert_false(c.reply_cut);
		assert_false(c.reset);
	}
}

/* A verified session is resumed for the same name, and never offered for another. */
static void test_resumption(void **state)
{
	static const struct {
		const char *host;
		bool resumed;
	} t[] = {
		{ HOST, false },
		{ HOST, true },
		{ "v2.example.com", false },
		{ HOST, true },
		{ "v2.example.com", true },
	};
	struct tlsproxy_config cfg = { 0 };

	(void)state;
	for (int v = 0; v < 2; v++) {
		SSL_CTX *ctx[2] = { NULL, NULL };
		struct rig rig;

		rig_up(&rig, &cfg);
		for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
			struct flow_case c = { .client = client_get,
					       .server = server_hello,
					       .sni = t[i].host,
					       .server_tls12 = v,
					       .server_cert = t[i].host };
			SSL_CTX **own = &ctx[t[i].host[0] == 'v'];

			if (!*own)
				*own = server_ctx(&c);
			SSL_CTX_set_session_id_context(*own, (const uint8_t *)"t", 1);
			c.server_ctx = *own;
			run_on(&rig, &c);
			expect_reply(&c, "hello");
			assert_int_equal(c.resumed, t[i].resumed);
		}
		assert_int_equal(rig.tp->resume.count, 2);
		rig_down(&rig);
		SSL_CTX_free(ctx[0]);
		SSL_CTX_free(ctx[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_need_http),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_dribbled),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_stale_connection),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_no_spinning),
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_resumption),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
