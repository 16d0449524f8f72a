/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another policy while flows live: between requests, within a request, within a
 * response, in a WebSocket, in every handshake, and where TLS only ends here.
 * The scripts of both ends come to a point (phase 1), there the policy changes, and
 * from there they go on (phase 2) to see what became of the flow.
 */
#include "session_rig.h"

static size_t n_reset; /* of the last tlsproxy_rejudge() */

static void pause_at(struct flow_case *c)
{
	c->phase = 1;
	while (c->phase == 1)
		usleep(1000);
}

/* Once the scripts have come to their point and the proxy has nothing to do. */
static bool at_point(struct flow_case *c)
{
	static long since;

	if (c->phase != 1)
		return false;
	if (!since)
		since = c->steps;
	if (c->steps < since + 3)
		return false;
	since = 0;
	return true;
}

static void change(struct rig *rig, struct flow_case *c)
{
	note_order('|');
	n_reset = tlsproxy_rejudge(rig->tp);
	c->phase = 2;
}

static void deny_name(struct rig *rig, struct flow_case *c)
{
	if (!at_point(c))
		return;
	c->deny = true;
	change(rig, c);
}

static void deny_requests(struct rig *rig, struct flow_case *c)
{
	if (!at_point(c))
		return;
	c->deny_method = "";
	change(rig, c);
}

static void deny_deletes(struct rig *rig, struct flow_case *c)
{
	if (!at_point(c))
		return;
	c->deny_method = "DELETE";
	change(rig, c);
}

static void deny_nothing(struct rig *rig, struct flow_case *c)
{
	if (at_point(c))
		change(rig, c);
}

static void check(struct flow_case *c, size_t reset, const char *order)
{
	n_reset = 99;
	c->sni = HOST;
	run(c);
	assert_int_equal(n_reset, reset);
	/* The proxy's word; a client that only reads cannot tell a close from a cut. */
	if (reset)
		assert_true(c->reset);
	if (order)
		assert_string_equal(c->order, order);
}

/* ---- scripts -------------------------------------------------------------------------- */

#define GET "GET /a HTTP/1.1\r\nHost: " HOST "\r\n\r\n"

static void client_two_requests(struct flow_case *c, struct end *e)
{
	char head[512], body[5];

	end_puts(e, GET);
	end_head(e, head, sizeof(head));
	for (size_t n = 0; n < 5; n++)
		end_read(e, body + n, 1);
	pause_at(c);
	client_get(c, e);
}

static void server_patient(struct flow_case *c, struct end *e)
{
	char head[4096];

	while (end_head(e, head, sizeof(head))) {
		c->received++;
		end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	}
}

static void client_half_upload(struct flow_case *c, struct end *e)
{
	end_puts(e, "POST /a HTTP/1.1\r\nHost: " HOST "\r\nContent-Length: 8\r\n"
		    "X-HTTP-Method-Override: delete\r\n\r\nhalf");
	while (!c->phase)
		usleep(1000);
	while (c->phase == 1)
		usleep(1000);
	end_puts(e, "rest");
	client_read_all(c, e);
}

static void server_upload(struct flow_case *c, struct end *e)
{
	char head[4096], b;

	if (!end_head(e, head, sizeof(head)))
		return;
	while (c->received < 8 && end_read(e, &b, 1) == 1)
		if (++c->received == 4)
			c->phase = 1;
	if (c->received == 8)
		end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}

static void client_half_download(struct flow_case *c, struct end *e)
{
	char head[512], b[4];

	end_puts(e, GET);
	end_head(e, head, sizeof(head));
	for (size_t n = 0; n < 4; n++)
		end_read(e, b + n, 1);
	pause_at(c);
	client_read_all(c, e);
}

static void server_half_download(struct flow_case *c, struct end *e)
{
	char head[4096];

	end_head(e, head, sizeof(head));
	end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhalf");
	while (c->phase < 2)
		usleep(1000);
	end_puts(e, "rest");
}

static void client_websocket(struct flow_case *c, struct end *e)
{
	char head[512], b[4];

	end_puts(e, "GET /chat HTTP/1.1\r\nHost: " HOST "\r\nConnection: Upgrade\r\n"
		    "Upgrade: websocket\r\n\r\n");
	end_head(e, head, sizeof(head));
	end_write(e,
		  "\x82\x02"
		  "hi",
		  4);
	for (size_t n = 0; n < 4; n++)
		end_read(e, b + n, 1);
	pause_at(c);
	end_write(e, "\x88\x00", 2);
	client_read_all(c, e);
}

static void server_websocket(struct flow_case *c, struct end *e)
{
	char head[4096], b[4];

	end_head(e, head, sizeof(head));
	end_puts(e, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		    "Upgrade: websocket\r\n\r\n");
	for (size_t n = 0; n < 4; n++)
		end_read(e, b + n, 1);
	end_write(e, b, 4);
	for (size_t n = 0; n < 2; n++)
		if (end_read(e, b + n, 1) == 1)
			c->received++;
	end_puts(e, "\x88\x01x");
}

/* ---- between requests ------------------------------------------------------------------- */

static void idle_stays_and_the_next_request_is_judged(void **state)
{
	struct flow_case c = { .client = client_two_requests,
			       .server = server_patient,
			       .tick = deny_requests };

	(void)state;
	check(&c, 0, "JTjh|JjhD");
	assert_int_equal(c.received, 1);
	expect_reply(&c, "403 Forbidden");
	assert_int_equal(c.http.outcome, TLSPROXY_HTTP_DENIED);
}

static void idle_and_still_allowed(void **state)
{
	struct flow_case c = { .client = client_two_requests,
			       .server = server_patient,
			       .tick = deny_nothing };
	struct flow_case plain = c;

	(void)state;
	check(&c, 0, "JTjh|JjhD");
	assert_int_equal(c.received, 2);
	expect_reply(&c, "200 OK");
	plain.plain = true;
	check(&plain, 0, "jh|jhD");
	assert_int_equal(plain.received, 2);
}

static void idle_by_a_name_that_is_denied(void **state)
{
	struct flow_case c = { .client = client_two_requests,
			       .server = server_patient,
			       .tick = deny_name };

	(void)state;
	check(&c, 1, "JTjh|JTD");
	assert_int_equal(c.received, 1);
	assert_false(c.tls_ok);
	expect_detail(&c, "the policy has changed");
}

/* ---- within ---------------------------------------------------------------------------------- */

static void check_cut(struct flow_case *c, unsigned status, const char *order)
{
	check(c, 1, order);
	assert_int_equal(c->n_http_events, 1);
	assert_int_equal(c->http.outcome, TLSPROXY_HTTP_DENIED);
	assert_int_equal(c->http.status, status);
	assert_string_equal(c->http.detail, HTTP_NOW_DENIED);
	assert_true(c->tls_ok || c->plain);
	assert_null(strstr(c->reply, "403"));
}

static void within_a_request(void **state)
{
	struct flow_case cases[] = {
		{ .tick = deny_requests },
		{ .tick = deny_requests, .plain = true },
		/* The method it may be taken for counts again, too. */
		{ .tick = deny_deletes },
	};
	struct flow_case allowed = { .client = client_half_upload,
				     .server = server_upload,
				     .tick = deny_nothing };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cases[i].client = client_half_upload;
		cases[i].server = server_upload;
		check_cut(&cases[i], 0, NULL);
		assert_int_equal(cases[i].received, 4);
	}
	assert_string_equal(cases[0].order, "JTjj|JjhD");
	assert_string_equal(cases[2].order, "JTjj|JjjhD");
	check(&allowed, 0, "JTjj|JjjhD");
	assert_int_equal(allowed.received, 8);
	expect_reply(&allowed, "200 OK");
}

static void within_a_response(void **state)
{
	struct flow_case c = { .client = client_half_download,
			       .server = server_half_download,
			       .tick = deny_requests };
	struct flow_case name = { .client = client_half_download,
				  .server = server_half_download,
				  .tick = deny_name };
	struct flow_case allowed = { .client = client_half_download,
				     .server = server_half_download,
				     .tick = deny_nothing };

	(void)state;
	check_cut(&c, 200, "JTj|JjhD");
	assert_int_equal(c.n_reply, 0);
	check(&name, 1, "JTj|JThD");
	assert_false(name.tls_ok);
	assert_int_equal(name.http.outcome, TLSPROXY_HTTP_FORWARDED);
	check(&allowed, 0, "JTj|JjhD");
	expect_reply(&allowed, "rest");
}

static void within_a_websocket(void **state)
{
	struct flow_case c = { .client = client_websocket,
			       .server = server_websocket,
			       .tick = deny_requests };
	struct flow_case allowed = { .client = client_websocket,
				     .server = server_websocket,
				     .tick = deny_nothing };

	(void)state;
	check_cut(&c, 101, "JTj|JjhD");
	assert_int_equal(c.received, 0);
	check(&allowed, 0, "JTj|JjhD");
	assert_int_equal(allowed.received, 2);
}

/* ---- handshakes ------------------------------------------------------------------------------- */

static void client_nothing(struct flow_case *c, struct end *e)
{
	client_read_all(c, e);
}

/* Takes the upstream's hello and answers nothing until the policy has changed. */
static void server_silent(struct flow_case *c, struct end *e)
{
	char b;

	end_read(e, &b, 1);
	pause_at(c);
	while (end_read(e, &b, 1) == 1)
		;
}

static void while_the_upstream_shakes_hands(void **state)
{
	struct flow_case c = { .client = client_nothing,
			       .server = server_silent,
			       .server_no_tls = true,
			       .tick = deny_name };

	(void)state;
	check(&c, 1, "J|JTD");
	expect_detail(&c, "the policy has changed");
	assert_false(c.client_tls_up);
}

/* A ClientHello, and nothing after the answer to it. */
static void client_hello_only(struct flow_case *c, struct end *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char *p, b;
	long n;

	SSL_set_bio(ssl, in, out);
	SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		 (void *)(uintptr_t)HOST);
	(void)SSL_connect(ssl);
	n = BIO_get_mem_data(out, &p);
	end_write(e, p, (size_t)n);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	end_read(e, &b, 1); /* our ServerHello has begun */
	pause_at(c);
	client_read_all(c, e);
}

static void while_the_guest_shakes_hands(void **state)
{
	struct flow_case c = { .client = client_hello_only,
			       .client_no_tls = true,
			       .server = server_patient,
			       .tick = deny_name };

	(void)state;
	check(&c, 1, "J|JTD");
	expect_detail(&c, "the policy has changed");
}

static void client_late_hello(struct flow_case *c, struct end *e)
{
	struct end tls = { .fd = e->fd, .ctx = SSL_CTX_new(TLS_client_method()) };

	pause_at(c);
	tls.ssl = SSL_new(tls.ctx);
	SSL_set_fd(tls.ssl, tls.fd);
	SSL_ctrl(tls.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		 (void *)(uintptr_t)HOST);
	if (SSL_connect(tls.ssl) == 1)
		client_get(c, &tls);
	SSL_free(tls.ssl);
	SSL_CTX_free(tls.ctx);
}

static void before_the_hello_there_is_nothing_to_judge(void **state)
{
	struct flow_case c = { .client = client_late_hello, .client_no_tls = true, .tick = deny_name };

	(void)state;
	check(&c, 0, "|JThD");
	expect_reply(&c, "403 Forbidden"); /* an answer, as to any denied name */
}

/* ---- not the policy's --------------------------------------------------------------------------- */

static void client_refused(struct flow_case *c, struct end *e)
{
	pause_at(c);
	client_get(c, e);
}

static void a_refusal_goes_on_to_say_why(void **state)
{
	struct flow_case c = { .client = client_refused, .deny = true, .tick = deny_name };

	(void)state;
	check(&c, 0, "JT|hD");
	expect_reply(&c, "403 Forbidden");
}

static void client_asks_twice(struct flow_case *c, struct end *e)
{
	end_puts(e, "one");
	pause_at(c);
	end_puts(e, "two");
	SSL_shutdown(e->ssl);
	client_read_all(c, e);
}

static void server_counts(struct flow_case *c, struct end *e)
{
	char b;

	while (end_read(e, &b, 1) == 1)
		c->received++;
	end_puts(e, "done");
}

static void where_tls_only_ends_here(void **state)
{
	struct flow_case c = { .terminate = true,
			       .client = client_asks_twice,
			       .server = server_counts,
			       .tick = deny_name };

	(void)state;
	check(&c, 0, "T|D");
	assert_int_equal(c.received, 6);
	expect_reply(&c, "done");
}

/* ---- several ------------------------------------------------------------------------------------- */

enum { FLOWS = 5 };

static void judge_by_method(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	const bool *changed = ctx;

	*ret = (struct tlsproxy_verdict){ .allow = !*changed || !str_eq(r->method, "PUT") };
}

static int ended[FLOWS];

static void count_done(void *ctx, uint64_t id, bool reset)
{
	(void)ctx;
	ended[id] += reset ? 100 : 1;
}

/* Every second one is denied, the first and the last among them. */
static void only_the_denied_among_several(void **state)
{
	struct tlsproxy_config cfg = { 0 };
	bool changed = false;
	struct rig rig;
	int g[FLOWS][2], u[FLOWS][2];

	(void)state;
	rig_up(&rig, &cfg);
	now_running = &(struct flow_case){ 0 };
	rig.tp->ctx = &changed;
	rig.tp->ops.judge_http = judge_by_method;
	rig.tp->ops.flow_done = count_done;
	for (int i = 0; i < FLOWS; i++) {
		struct tlsproxy_flow f = { .id = (uint64_t)i };
		const char *put = "PUT /a HTTP/1.1\r\nHost: a.b\r\nContent-Length: 9\r\n\r\nxx";
		const char *get = "GET /a HTTP/1.1\r\nHost: a.b\r\n\r\n", *text = i % 2 ? get : put;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, g[i]), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, u[i]), 0);
		f.remote = f.upstream = (struct endpoint){ ip4(192, 0, 2, 1), 80 };
		assert_int_equal(send(g[i][1], text, strlen(text), 0), strlen(text));
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[i][0], u[i][0]), 0);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(rig.loop, 0), 0);
	assert_int_equal(tlsproxy_rejudge(rig.tp), 0);
	changed = true;
	assert_int_equal(tlsproxy_rejudge(rig.tp), (FLOWS + 1) / 2);
	assert_int_equal(tlsproxy_rejudge(rig.tp), 0);
	for (int i = 0; i < FLOWS; i++)
		assert_int_equal(ended[i], i % 2 ? 0 : 100);
	assert_int_equal(rig.tp->n_sessions, FLOWS / 2);
	rig_down(&rig);
	for (int i = 0; i < FLOWS; i++) {
		assert_int_equal(ended[i], 100);
		close(g[i][1]);
		close(u[i][1]);
	}
}

/* Is there a RST_STREAM among the frames that wait at fd? */
static bool is_reset(int fd, size_t skip)
{
	uint8_t p[4096];
	ssize_t n = recv(fd, p, sizeof(p), 0);

	for (ssize_t at = (ssize_t)skip; n > 0 && at + 9 <= n;
	     at += 9 + (p[at] << 16 | p[at + 1] << 8 | p[at + 2]))
		if (p[at + 3] == 3)
			return true;
	return false;
}

/* HTTP/2: the stream that is denied ends at once on both sides, though nobody says a word. */
static void a_silent_stream(void **state)
{
	static const char put[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				  "\0\0\0\4\0\0\0\0\0"
				  "\0\0\x0f\1\5\0\0\0\1\2\3PUT\x86\4\2/a\1\3a.b";
	struct tlsproxy_flow f = { .id = 0 };
	struct tlsproxy_config cfg = { 0 };
	bool changed = false;
	struct rig rig;
	int g[2], u[2];

	(void)state;
	rig_up(&rig, &cfg);
	now_running = &(struct flow_case){ 0 };
	rig.tp->ctx = &changed;
	rig.tp->ops.judge_http = judge_by_method;
	rig.tp->ops.flow_done = count_done;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, g), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, u), 0);
	f.remote = f.upstream = (struct endpoint){ ip4(192, 0, 2, 1), 80 };
	assert_int_equal(send(g[1], put, sizeof(put) - 1, 0), sizeof(put) - 1);
	assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], u[0]), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(rig.loop, 0), 0);
	assert_false(is_reset(g[1], 0));
	assert_false(is_reset(u[1], 24));
	changed = true;
	assert_int_equal(tlsproxy_rejudge(rig.tp), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(rig.loop, 5), 0);
	assert_true(is_reset(g[1], 0));
	assert_true(is_reset(u[1], 0));
	assert_int_equal(rig.tp->n_sessions, 1);
	rig_down(&rig);
	close(g[1]);
	close(u[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_stays_and_the_next_request_is_judged),
		cmocka_unit_test(idle_and_still_allowed),
		cmocka_unit_test(idle_by_a_name_that_is_denied),
		cmocka_unit_test(within_a_request),
		cmocka_unit_test(within_a_response),
		cmocka_unit_test(within_a_websocket),
		cmocka_unit_test(while_the_upstream_shakes_hands),
		cmocka_unit_test(while_the_guest_shakes_hands),
		cmocka_unit_test(before_the_hello_there_is_nothing_to_judge),
		cmocka_unit_test(a_refusal_goes_on_to_say_why),
		cmocka_unit_test(where_tls_only_ends_here),
		cmocka_unit_test(only_the_denied_among_several),
		cmocka_unit_test(a_silent_stream),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
