/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parity S09, lesson 35: a guest with an explicit proxy of its own. The target of CONNECT
 * is judged, and what follows is read as if it had been dialled.
 */
#include "tests/unit/tlsproxy/session_rig.h"

#define PROXY_PORT 3128
#define SECRET_VALUE "sk-live-0123456789abcdef"

static const char *placeholder;
static const char *ca_pem;
static char seen[8192]; /* by the proxy, and behind it */

/* ---- the proxy of the world ------------------------------------------------------------- */

static bool answer_connect(struct end *e, const char *answer)
{
	char head[2048];

	if (!end_head(e, head, sizeof(head)))
		return false;
	snprintf(seen, sizeof(seen), "%s", head);
	return end_puts(e, answer);
}

static void echo_head(struct end *e)
{
	char head[4096], reply[8192];

	if (!end_head(e, head, sizeof(head)))
		return;
	strncat(seen, head, sizeof(seen) - strlen(seen) - 1);
	snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(head), head);
	end_puts(e, reply);
}

static void proxy_tls(struct flow_case *c, struct end *e)
{
	SSL_CTX *ctx;

	if (!answer_connect(e, "HTTP/1.0 200 Connection established\r\nX-Proxy: 1\r\n\r\n"))
		return;
	ctx = server_ctx(c);
	e->ssl = SSL_new(ctx);
	SSL_set_fd(e->ssl, e->fd);
	c->server_tls_up = SSL_accept(e->ssl) == 1;
	if (c->server_tls_up)
		echo_head(e);
	SSL_shutdown(e->ssl);
	SSL_CTX_free(ctx);
}

static void proxy_plain(struct flow_case *c, struct end *e)
{
	(void)c;
	if (answer_connect(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
		echo_head(e);
}

static void proxy_banner(struct flow_case *c, struct end *e)
{
	char line[64];
	int r;

	(void)c;
	if (!answer_connect(e, "HTTP/1.1 200 OK\r\n\r\n"))
		return;
	end_puts(e, "SSH-2.0-world\r\n");
	r = end_read(e, line, sizeof(line));
	if (r > 0)
		end_write(e, line, (size_t)r);
	shutdown(e->fd, SHUT_WR);
}

static void proxy_refuses(struct flow_case *c, struct end *e)
{
	(void)c;
	answer_connect(e, "HTTP/1.1 407 Proxy Authentication Required\r\n"
			  "Proxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n");
}

static void proxy_forward(struct flow_case *c, struct end *e)
{
	(void)c;
	seen[0] = 0;
	echo_head(e);
}

static void proxy_unused(struct flow_case *c, struct end *e)
{
	char b;

	(void)c;
	seen[0] = 0;
	if (end_read(e, &b, 1) > 0)
		snprintf(seen, sizeof(seen), "bytes");
}

/* ---- the guest ------------------------------------------------------------------------------- */

static bool connect_to(struct flow_case *c, struct end *e, const char *target)
{
	char head[1024];

	snprintf(head, sizeof(head),
		 "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
		 target, target);
	end_puts(e, head);
	if (!end_head(e, c->reply, sizeof(c->reply)))
		return false;
	c->n_reply = strlen(c->reply);
	return strstr(c->reply, " 200 ") != NULL;
}

static void client_tls(struct flow_case *c, struct end *e)
{
	char head[512];
	SSL_CTX *ctx;

	if (!connect_to(c, e, HOST ":443"))
		return;
	ctx = client_ctx(c, ca_pem);
	e->ssl = SSL_new(ctx);
	SSL_set_fd(e->ssl, e->fd);
	SSL_ctrl(e->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		 (void *)(uintptr_t)c->sni);
	c->client_tls_up = SSL_connect(e->ssl) == 1;
	if (c->client_tls_up) {
		snprintf(head, sizeof(head),
			 "GET /in HTTP/1.1\r\nHost: " HOST "\r\nAuthorization: Bearer %s\r\n"
			 "Connection: close\r\n\r\n",
			 placeholder);
		end_puts(e, head);
		client_read_all(c, e);
	}
	SSL_CTX_free(ctx);
}

static void client_plain(struct flow_case *c, struct end *e)
{
	if (!connect_to(c, e, HOST ":8080"))
		return;
	end_puts(e, "GET /in HTTP/1.1\r\nHost: " HOST ":8080\r\nConnection: close\r\n\r\n");
	client_read_all(c, e);
}

static void client_fronts(struct flow_case *c, struct end *e)
{
	if (!connect_to(c, e, HOST ":8080"))
		return;
	end_puts(e, "GET /in HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n");
	client_read_all(c, e);
}

static void client_ssh(struct flow_case *c, struct end *e)
{
	if (!connect_to(c, e, HOST ":22"))
		return;
	while (c->n_reply < sizeof(c->reply) - 1 && !strstr(c->reply, "world\r\n")) {
		if (end_read(e, c->reply + c->n_reply, 1) != 1)
			return;
		c->reply[++c->n_reply] = 0;
	}
	end_puts(e, "SSH-2.0-guest\r\n");
	client_read_all(c, e);
}

static void client_connect_only(struct flow_case *c, struct end *e)
{
	if (connect_to(c, e, HOST ":443"))
		return;
	shutdown(e->fd, SHUT_WR);
	client_read_all(c, e);
}

static void client_absolute(struct flow_case *c, struct end *e)
{
	end_puts(e, "GET http://" HOST "/a?b HTTP/1.1\r\nHost: " HOST
		    "\r\nProxy-Authorization: Basic eDp5\r\nConnection: close\r\n\r\n");
	client_read_all(c, e);
}

/* ---- cases ------------------------------------------------------------------------------------- */

static void run_case(struct flow_case *c)
{
	struct tlsproxy_host_pattern host;
	struct tlsproxy_secret secret = { .env = "KEY",
					  .value = SECRET_VALUE,
					  .value_len = strlen(SECRET_VALUE),
					  .hosts = &host,
					  .n_hosts = 1,
					  .places = TLSPROXY_PLACES_DEFAULT,
					  .on_violation = TLSPROXY_BLOCK_AND_LOG };
	struct tlsproxy_config cfg = { .secrets = &secret, .n_secrets = 1 };
	struct rig rig;

	assert_int_equal(tlsproxy_host_pattern_parse(HOST, strlen(HOST), &host, NULL), 0);
	c->plain = true;
	c->port = PROXY_PORT;
	rig_up(&rig, &cfg);
	placeholder = tlsproxy_placeholder(rig.tp, 0);
	ca_pem = tlsproxy_ca_pem(rig.tp);
	run_on(&rig, c);
	rig_down(&rig);
}

static void test_S09_lesson_35_secret_inside(void **state)
{
	struct flow_case c = { .client = client_tls, .server = proxy_tls, .sni = HOST };

	(void)state;
	run_case(&c);
	assert_string_equal(c.target, HOST ":443");
	assert_true(c.client_tls_up);
	assert_true(c.tls_ok);
	/* The proxy is asked for the target with the guest's own credentials for it. */
	assert_memory_equal(seen, "CONNECT " HOST ":443 HTTP/1.1\r\nHost: " HOST ":443\r\n", 41);
	assert_non_null(strstr(seen, "Proxy-Authorization: Basic eDp5\r\n"));
	/* And behind it the value is put in, and comes back as the placeholder. */
	assert_non_null(strstr(seen, "Authorization: Bearer " SECRET_VALUE));
	assert_null(strstr(c.reply, SECRET_VALUE));
	expect_reply(&c, "Authorization: Bearer ");
	assert_int_equal(c.n_http_events, 2);
	assert_int_equal(c.n_judged, 1);
}

static void test_denied(void **state)
{
	struct flow_case c = { .client = client_connect_only,
			       .server = proxy_unused,
			       .deny_connect = true };

	(void)state;
	run_case(&c);
	expect_reply(&c, "HTTP/1.1 403");
	expect_reply(&c, "d-3");
	assert_string_equal(seen, "");
	assert_int_equal(c.n_http_events, 1);
}

/* The flow's own rules hold for CONNECT as for any request. */
static void test_method_denied(void **state)
{
	struct flow_case c = { .client = client_connect_only,
			       .server = proxy_unused,
			       .deny_method = "CONNECT" };

	(void)state;
	run_case(&c);
	expect_reply(&c, "HTTP/1.1 403");
	assert_string_equal(c.target, "");
	assert_string_equal(seen, "");
}

static void test_lesson_35_fronted_sni(void **state)
{
	struct flow_case c = { .client = client_tls, .server = proxy_tls, .sni = "other.example.com" };

	(void)state;
	run_case(&c);
	expect_detail(&c, "does not agree");
	assert_null(strstr(seen, SECRET_VALUE));
}

static void test_fronted_host(void **state)
{
	struct flow_case c = { .client = client_fronts, .server = proxy_plain };

	(void)state;
	run_case(&c);
	expect_reply(&c, "HTTP/1.1 421");
	assert_null(strstr(seen, "/in"));
}

static void test_n28_plain_inside(void **state)
{
	struct flow_case c = { .client = client_plain, .server = proxy_plain };

	(void)state;
	run_case(&c);
	assert_string_equal(c.target, HOST ":8080");
	expect_reply(&c, "GET /in HTTP/1.1\r\nHost: " HOST ":8080\r\n");
	/* CONNECT, then the request inside; both judged. */
	assert_int_equal(c.n_http_events, 2);
	assert_int_equal(c.n_http_judged, 2);
}

static void test_server_first(void **state)
{
	struct flow_case c = { .client = client_ssh, .server = proxy_banner };

	(void)state;
	run_case(&c);
	expect_reply(&c, "SSH-2.0-world\r\nSSH-2.0-guest\r\n");
	assert_false(c.reset);
}

/* Where the rules need a request, nothing passes unread. */
static void test_weak_3_unreadable(void **state)
{
	struct flow_case c = { .client = client_ssh, .server = proxy_banner, .need_http = true };

	(void)state;
	run_case(&c);
	assert_null(strstr(c.reply, "world"));
	expect_detail(&c, "cannot be read");
	assert_true(c.reset);
}

static void test_not_intercepted(void **state)
{
	struct flow_case c = { .client = client_tls,
			       .server = proxy_tls,
			       .sni = HOST,
			       .connect_unread = true,
			       .client_distrusts = true };

	(void)state;
	run_case(&c);
	/* The client sees the world's own certificate, which it does not know here. */
	assert_false(c.client_tls_up);
	assert_int_equal(c.n_judged, 0);
	assert_int_equal(c.n_http_events, 1);
	c = (struct flow_case){ .client = client_tls,
				.server = proxy_tls,
				.sni = "other.example.com",
				.connect_unread = true };
	run_case(&c);
	expect_detail(&c, "not the target of CONNECT");
}

static void test_proxy_refuses(void **state)
{
	struct flow_case c = { .client = client_connect_only, .server = proxy_refuses };

	(void)state;
	run_case(&c);
	expect_reply(&c, "HTTP/1.1 407");
	expect_reply(&c, "Proxy-Authenticate: Basic realm=x");
	assert_int_equal(c.http.status, 407);
}

static void test_absolute(void **state)
{
	struct flow_case c = { .client = client_absolute, .server = proxy_forward };

	(void)state;
	run_case(&c);
	assert_string_equal(c.target, HOST ":80");
	expect_reply(&c, "GET http://" HOST "/a?b HTTP/1.1\r\nHost: " HOST "\r\n");
	expect_reply(&c, "Proxy-Authorization: Basic eDp5");
	c = (struct flow_case){ .client = client_absolute,
				.server = proxy_unused,
				.deny_connect = true };
	run_case(&c);
	expect_reply(&c, "HTTP/1.1 403");
	assert_string_equal(seen, "");
}

static void client_odd(struct flow_case *c, struct end *e)
{
	static const char *const odd[] = {
		"CONNECT / HTTP/1.1\r\nHost: " HOST "\r\n\r\n",
		"CONNECT " HOST " HTTP/1.1\r\nHost: " HOST "\r\n\r\n",
		"CONNECT http://" HOST ":443/ HTTP/1.1\r\nHost: " HOST "\r\n\r\n",
		"CONNECT x@" HOST ":443 HTTP/1.1\r\nHost: " HOST ":443\r\n\r\n",
		"CONNECT " HOST ":443 HTTP/1.1\r\nHost: other.example.com:443\r\n\r\n",
		"CONNECT " HOST ":443 HTTP/1.1\r\nHost: " HOST ":80\r\n\r\n",
		"CONNECT " HOST ":443 HTTP/1.1\r\nHost: " HOST ":443\r\nContent-Length: 1\r\n\r\nx",
		"CONNECT " HOST ":0 HTTP/1.1\r\nHost: " HOST ":0\r\n\r\n",
	};

	end_puts(e, odd[c->phase]);
	client_read_all(c, e);
}

static void test_odd_targets(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct flow_case c = { .client = client_odd, .server = proxy_unused };

		c.phase = i;
		run_case(&c);
		if (!strstr(c.reply, "HTTP/1.1 400"))
			fail_msg("case %d: %s", i, c.reply);
		assert_string_equal(c.target, "");
		assert_string_equal(seen, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_S09_lesson_35_secret_inside),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_method_denied),
		cmocka_unit_test(test_lesson_35_fronted_sni),
		cmocka_unit_test(test_fronted_host),
		cmocka_unit_test(test_n28_plain_inside),
		cmocka_unit_test(test_server_first),
		cmocka_unit_test(test_weak_3_unreadable),
		cmocka_unit_test(test_not_intercepted),
		cmocka_unit_test(test_proxy_refuses),
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_odd_targets),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
