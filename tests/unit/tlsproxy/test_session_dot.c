/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows whose TLS ends in the proxy (DNS over TLS): which certificate, which
 * protocols, bytes both ways as they are, every order of ends, and the deadline
 * of a handshake. Parity D02 and lesson 9: port 853 is no way past the resolver.
 */
#include "session_rig.h"

#include <openssl/x509v3.h>

static const char alpn_dot[] = "\x03"
			       "dot";
static const char alpn_h2[] = "\x02h2";
static const char alpn_both[] = "\x02h2\x03"
				"dot";

/* What the client saw of our side. */
static char seen_alpn[16];
static X509 *seen_cert;

static void look(struct end *e)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(e->ssl, &p, &n);
	snprintf(seen_alpn, sizeof(seen_alpn), "%.*s", (int)n, n ? (const char *)p : "");
	seen_cert = SSL_get1_peer_certificate(e->ssl);
}

/* ---- scripts -------------------------------------------------------------------- */

static void client_ask(struct flow_case *c, struct end *e)
{
	look(e);
	end_puts(e, "question ");
	end_puts(e, "and another");
	SSL_shutdown(e->ssl);
	client_read_all(c, e);
}

/* Answers only when the question is known to be over. */
static void server_echo_at_end(struct flow_case *c, struct end *e)
{
	char text[256];
	size_t n = 0;
	int r;

	(void)c;
	while (n < sizeof(text) && (r = end_read(e, text + n, sizeof(text) - n)) > 0)
		n += (size_t)r;
	end_puts(e, "answer to ");
	end_write(e, text, n);
}

static void server_closes(struct flow_case *c, struct end *e)
{
	(void)c;
	end_puts(e, "bye");
}

static void client_waits(struct flow_case *c, struct end *e)
{
	end_puts(e, "?");
	client_read_all(c, e);
}

static void check(struct flow_case *c)
{
	run(c);
	assert_int_equal(c->n_judged, 0);
	assert_int_equal(c->n_http_judged, 0);
}

/* ---- what the guest is shown ------------------------------------------------------- */

static void D02_lesson9_certificate_for_the_server_name(void **state)
{
	struct flow_case c = { .terminate = true,
			       .sni = "dns.google",
			       .alpn = alpn_dot,
			       .flow_name = "other.example.com",
			       .client = client_ask,
			       .server = server_echo_at_end };

	(void)state;
	check(&c);
	assert_string_equal(c.reply, "answer to question and another");
	assert_false(c.reply_cut || c.reset);
	assert_string_equal(seen_alpn, "dot");
	assert_true(c.tls_ok);
	assert_int_equal(c.n_tls_events, 1);
	X509_free(seen_cert);
}

static void certificate_for_the_address(void **state)
{
	struct flow_case cases[] = {
		{ .remote = ip4(9, 9, 9, 9) },
		{ .remote = { 6, { 0x26, 0x20, [15] = 0xfe } } },
		{ .remote = ip4(9, 9, 9, 9), .client_tls12 = true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct flow_case *c = &cases[i];

		c->terminate = true;
		c->client = client_ask;
		c->server = server_echo_at_end;
		check(c);
		assert_string_equal(c->reply, "answer to question and another");
		assert_string_equal(seen_alpn, "");
		assert_int_equal(X509_check_ip(seen_cert, c->remote.b, ip_size(&c->remote), 0), 1);
		X509_free(seen_cert);
	}
}

/* Some clients put the address into the server name, which RFC 6066 forbids. */
static void client_hello_with_address(struct flow_case *c, struct end *e)
{
	struct end tls = { .fd = e->fd, .ctx = SSL_CTX_new(TLS_client_method()) };

	tls.ssl = SSL_new(tls.ctx);
	SSL_set_fd(tls.ssl, tls.fd);
	SSL_ctrl(tls.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		 (void *)(uintptr_t) "9.9.9.9");
	if (SSL_connect(tls.ssl) == 1)
		client_ask(c, &tls);
	SSL_free(tls.ssl);
	SSL_CTX_free(tls.ctx);
}

static void server_name_that_is_an_address(void **state)
{
	struct flow_case c = { .terminate = true,
			       .remote = ip4(9, 9, 9, 9),
			       .client_no_tls = true,
			       .client = client_hello_with_address,
			       .server = server_echo_at_end };

	(void)state;
	check(&c);
	assert_string_equal(c.reply, "answer to question and another");
	assert_int_equal(X509_check_ip(seen_cert, c.remote.b, 4, 0), 1);
	X509_free(seen_cert);
}

static void protocols(void **state)
{
	struct flow_case both = { .terminate = true,
				  .sni = HOST,
				  .alpn = alpn_both,
				  .client = client_ask,
				  .server = server_echo_at_end };
	struct flow_case wrong = { .terminate = true,
				   .sni = HOST,
				   .alpn = alpn_h2,
				   .client = client_ask,
				   .server = server_echo_at_end };

	(void)state;
	check(&both);
	assert_string_equal(seen_alpn, "dot");
	X509_free(seen_cert);
	check(&wrong);
	assert_false(wrong.client_tls_up);
	assert_int_equal(wrong.client_alert - SSL_AD_REASON_OFFSET, SSL_AD_NO_APPLICATION_PROTOCOL);
	expect_detail(&wrong, "ALPN without dot");
}

static void distrust_is_told_without_a_bypass(void **state)
{
	struct flow_case c = {
		.terminate = true, .sni = HOST, .client_distrusts = true, .client = client_ask
	};

	(void)state;
	check(&c);
	assert_false(c.tls_ok);
	expect_detail(&c, "does not trust the sandbox CA");
	assert_null(strstr(c.detail, "--tls-bypass"));
}

/* ---- bytes ---------------------------------------------------------------------------- */

static char the_placeholder[64];

static void client_placeholder(struct flow_case *c, struct end *e)
{
	end_puts(e, the_placeholder);
	SSL_shutdown(e->ssl);
	client_read_all(c, e);
}

static void nothing_is_put_in(void **state)
{
	static const char value[] = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
	struct tlsproxy_host_pattern host = { .is_suffix = true };
	struct tlsproxy_secret s = { .env = "T",
				     .value = value,
				     .value_len = sizeof(value) - 1,
				     .hosts = &host,
				     .n_hosts = 1,
				     .places = 31,
				     .on_violation = TLSPROXY_BLOCK_AND_TERMINATE };
	struct tlsproxy_config cfg = { .secrets = &s, .n_secrets = 1 };
	struct flow_case c = { .terminate = true,
			       .sni = HOST,
			       .client = client_placeholder,
			       .server = server_echo_at_end };
	char want[96];
	struct rig rig;

	(void)state;
	assert_int_equal(name_parse("example.com", 11, &host.name, NULL), 0);
	rig_up(&rig, &cfg);
	snprintf(the_placeholder, sizeof(the_placeholder), "%s", tlsproxy_placeholder(rig.tp, 0));
	run_on(&rig, &c);
	snprintf(want, sizeof(want), "answer to %s", the_placeholder);
	assert_string_equal(c.reply, want);
	rig_down(&rig);
}

/* Written without reading until all is out, so that both directions fill up. */
static void client_bulk(struct flow_case *c, struct end *e)
{
	uint8_t block[4096];
	size_t left = c->body, got = 0;
	int r;

	memset(block, 'q', sizeof(block));
	while (left && end_write(e, block, MIN(left, sizeof(block))))
		left -= MIN(left, sizeof(block));
	SSL_shutdown(e->ssl);
	while ((r = end_read(e, block, sizeof(block))) > 0)
		got += (size_t)r;
	c->n_reply = got;
}

static void server_bulk(struct flow_case *c, struct end *e)
{
	uint8_t block[4096];
	int r;

	while ((r = end_read(e, block, sizeof(block))) > 0)
		c->received += (size_t)r;
	for (size_t left = c->received; left; left -= MIN(left, sizeof(block)))
		if (!end_write(e, block, MIN(left, sizeof(block))))
			return;
}

static void bulk_with_back_pressure(void **state)
{
	struct flow_case c = { .terminate = true,
			       .sni = HOST,
			       .body = 4 << 20,
			       .client = client_bulk,
			       .server = server_bulk };

	(void)state;
	check(&c);
	assert_int_equal(c.received, c.body);
	assert_int_equal(c.n_reply, c.body);
}

/* ---- ends ------------------------------------------------------------------------------ */

static void resolver_closes_first(void **state)
{
	struct flow_case c = {
		.terminate = true, .sni = HOST, .client = client_waits, .server = server_closes
	};

	(void)state;
	check(&c);
	assert_string_equal(c.reply, "bye");
	assert_false(c.reply_cut);
}

static void client_goes(struct flow_case *c, struct end *e)
{
	(void)c;
	end_puts(e, "?");
}

static void server_reads_to_end(struct flow_case *c, struct end *e)
{
	char b[64];
	int r;

	while ((r = end_read(e, b, sizeof(b))) > 0)
		c->received += (size_t)r;
}

static void client_goes_without_close_notify(void **state)
{
	struct flow_case c = {
		.terminate = true, .sni = HOST, .client = client_goes, .server = server_reads_to_end
	};

	(void)state;
	check(&c);
	assert_int_equal(c.received, 1);
}

static void client_plain_bytes(struct flow_case *c, struct end *e)
{
	end_write(e, "\0\x1d", 2);
	end_puts(e, "plain DNS on the wrong port..");
	client_read_all(c, e);
}

static void not_tls(void **state)
{
	struct flow_case c = { .terminate = true,
			       .client_no_tls = true,
			       .client = client_plain_bytes,
			       .server = server_reads_to_end };

	(void)state;
	check(&c);
	assert_int_equal(c.received, 0);
	assert_int_equal(c.n_reply, 0);
	expect_detail(&c, "does not speak TLS");
}

/* ---- half-open handshakes ------------------------------------------------------------------ */

static void client_silent(struct flow_case *c, struct end *e)
{
	client_read_all(c, e);
}

/* A ClientHello and nothing after it. */
static void client_hello_only(struct flow_case *c, struct end *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char *p;
	long n;

	SSL_set_bio(ssl, in, out);
	(void)SSL_connect(ssl);
	n = BIO_get_mem_data(out, &p);
	end_write(e, p, (size_t)n);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	client_read_all(c, e);
}

static void half_open_is_bounded(void **state)
{
	static const struct {
		void (*client)(struct flow_case *c, struct end *e);
		const char *detail;
	} cases[] = {
		{ client_silent, "no ClientHello in time" },
		{ client_hello_only, "did not finish the TLS handshake in time" },
	};
	struct tlsproxy_config cfg = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct flow_case c = { .terminate = true,
				       .client_no_tls = true,
				       .client = cases[i].client,
				       .server = server_reads_to_end };
		struct rig rig;

		rig_up(&rig, &cfg);
		assert_int_equal(rig.tp->handshake_ns, 10 * NS_PER_S);
		rig.tp->handshake_ns = NS_PER_S / 5;
		run_on(&rig, &c);
		rig_down(&rig);
		expect_detail(&c, cases[i].detail);
		assert_int_equal(c.received, 0);
	}
}

static void only_with_tls(void **state)
{
	struct tlsproxy_flow f = { .id = 7, .terminate = true };
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;
	int a[2], b[2];

	(void)state;
	rig_up(&rig, &cfg);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	assert_int_equal(tlsproxy_flow_start(rig.tp, &f, a[0], b[0]), -EINVAL);
	/* Taken over also on failure: the other ends see it. */
	assert_int_equal(read(a[1], &f, 1), 0);
	assert_int_equal(read(b[1], &f, 1), 0);
	close(a[1]);
	close(b[1]);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(D02_lesson9_certificate_for_the_server_name),
		cmocka_unit_test(certificate_for_the_address),
		cmocka_unit_test(server_name_that_is_an_address),
		cmocka_unit_test(protocols),
		cmocka_unit_test(distrust_is_told_without_a_bypass),
		cmocka_unit_test(nothing_is_put_in),
		cmocka_unit_test(bulk_with_back_pressure),
		cmocka_unit_test(resolver_closes_first),
		cmocka_unit_test(client_goes_without_close_notify),
		cmocka_unit_test(not_tls),
		cmocka_unit_test(half_open_is_bounded),
		cmocka_unit_test(only_with_tls),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
