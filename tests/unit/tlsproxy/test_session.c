/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole flows through the proxy, with OpenSSL's own client on one end and its
 * server on the other, each in a thread with blocking descriptors, the proxy's
 * loop in between. The server's CA is a second, private one.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <setjmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <cmocka.h>

#define HOST "api.example.com"

/* ---- the world ---------------------------------------------------------------------- */

static struct ca world_ca, stranger_ca;
static struct leaf_cache world_leaves, stranger_leaves;

struct end {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl; /* NULL: plain */
};

struct flow_case {
	/* What the flow is. */
	bool plain;
	const char *flow_name; /* NULL: none */
	struct ip_addr remote;
	/* The two ends; each closes what it opened by returning. */
	void (*client)(struct flow_case *c, struct end *e);
	void (*server)(struct flow_case *c, struct end *e);
	const char *sni;	 /* NULL: none */
	const char *alpn;	 /* wire form, NULL: none */
	const char *server_cert; /* host; NULL: HOST */
	bool server_untrusted, client_distrusts, server_no_tls, server_tls12, client_tls12;
	size_t body;
	/* What the policy says. */
	bool deny, need_http;
	SSL_CTX *server_ctx; /* NULL: one for this flow */
	/* What came of it. */
	bool client_tls_up, server_tls_up, resumed;
	int client_alert;
	bool done, reset;
	int n_done, n_tls_events, n_judged, n_http_judged, n_keylog;
	bool tls_ok;
	char detail[256];
	char reply[8192];
	size_t n_reply;
	bool reply_cut;	 /* ended by an error rather than an end */
	size_t received; /* by the server, of the body */
	atomic_int threads_left;
	int client_fd, server_fd;
	long steps; /* of the loop */
};

static struct flow_case *now_running;

static SSL_CTX *server_ctx(const struct flow_case *c)
{
	struct identity id = { 0 };
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	const char *host = c->server_cert ? c->server_cert : HOST;
	struct leaf_cache *leaves;
	X509 *cert;

	if (ip_parse(host, strlen(host), &id.addr, NULL) == 0)
		identity_from_addr(&id, &(struct ip_addr){ id.addr.family,
							   { id.addr.b[0], id.addr.b[1],
							     id.addr.b[2], id.addr.b[3] } });
	else
		snprintf(id.text, sizeof(id.text), "%s", host);
	leaves = c->server_untrusted ? &stranger_leaves : &world_leaves;
	assert_int_equal(leaf_get(leaves, &id, time(NULL), &cert), 0);
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, leaves->key);
	if (c->server_tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	return ctx;
}

static SSL_CTX *client_ctx(const struct flow_case *c, const char *ca_pem)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *bio = BIO_new_mem_buf(ca_pem, -1);
	X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	if (!c->client_distrusts)
		X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (c->client_tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	X509_free(ca);
	BIO_free(bio);
	return ctx;
}

static int end_read(struct end *e, void *p, size_t n)
{
	return e->ssl ? SSL_read(e->ssl, p, (int)n) : (int)recv(e->fd, p, n, 0);
}

static bool end_write(struct end *e, const void *p, size_t n)
{
	const uint8_t *b = p;
	ssize_t r;

	for (; n; b += r, n -= (size_t)r) {
		r = e->ssl ? SSL_write(e->ssl, b, (int)n) : send(e->fd, b, n, MSG_NOSIGNAL);
		if (r <= 0)
			return false;
	}
	return true;
}

static bool end_puts(struct end *e, const char *s)
{
	return end_write(e, s, strlen(s));
}

/* Read a head up to its empty line, byte by byte; false when it did not come. */
static bool end_head(struct end *e, char *out, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && end_read(e, out + n, 1) == 1) {
		out[++n] = 0;
		if (n >= 4 && memcmp(out + n - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	out[n] = 0;
	return false;
}

/* Everything until the end, into the case. */
static void client_read_all(struct flow_case *c, struct end *e)
{
	int r;

	while (c->n_reply < sizeof(c->reply) - 1) {
		r = end_read(e, c->reply + c->n_reply, sizeof(c->reply) - 1 - c->n_reply);
		if (r <= 0) {
			c->reply_cut =
				e->ssl ? SSL_get_error(e->ssl, r) != SSL_ERROR_ZERO_RETURN : r < 0;
			break;
		}
		c->n_reply += (size_t)r;
	}
	c->reply[c->n_reply] = 0;
}

struct thread_arg {
	struct flow_case *c;
	struct end end;
};

static void *client_thread(void *p)
{
	struct thread_arg *a = p;
	struct flow_case *c = a->c;
	struct end *e = &a->end;
	int r;

	if (e->ctx) {
		e->ssl = SSL_new(e->ctx);
		SSL_set_fd(e->ssl, e->fd);
		if (c->sni)
			SSL_ctrl(e->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
				 (void *)(uintptr_t)c->sni);
		if (c->sni)
			SSL_set1_host(e->ssl, c->sni);
		if (c->alpn)
			SSL_set_alpn_protos(e->ssl, (const unsigned char *)c->alpn,
					    (unsigned)strlen(c->alpn));
		r = SSL_connect(e->ssl);
		c->client_tls_up = r == 1;
		if (r != 1)
			c->client_alert = ERR_GET_REASON(ERR_peek_error());
	}
	if (!e->ssl || c->client_tls_up)
		c->client(c, e);
	SSL_free(e->ssl);
	close(e->fd);
	ERR_clear_error();
	c->threads_left--;
	return NULL;
}

static void *server_thread(void *p)
{
	struct thread_arg *a = p;
	struct flow_case *c = a->c;
	struct end *e = &a->end;

	if (e->ctx && !c->server_no_tls) {
		e->ssl = SSL_new(e->ctx);
		SSL_set_fd(e->ssl, e->fd);
		c->server_tls_up = SSL_accept(e->ssl) == 1;
		c->resumed = c->server_tls_up && SSL_session_reused(e->ssl);
	}
	if (c->server && (!e->ctx || c->server_no_tls || c->server_tls_up))
		c->server(c, e);
	SSL_free(e->ssl);
	close(e->fd);
	ERR_clear_error();
	c->threads_left--;
	return NULL;
}

/* ---- the proxy's callbacks ---------------------------------------------------------------- */

static void on_judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni,
			 const struct name *sni, struct tlsproxy_verdict *ret)
{
	struct flow_case *c = now_running;

	(void)ctx;
	(void)f;
	assert_int_equal(has_sni, c->sni != NULL);
	if (has_sni)
		assert_string_equal(sni->s, c->sni);
	c->n_judged++;
	*ret = (struct tlsproxy_verdict){ .allow = !c->deny, .need_http = c->need_http };
	snprintf(ret->rule, sizeof(ret->rule), "r1");
	snprintf(ret->reason, sizeof(ret->reason), "not for agents");
	snprintf(ret->denial_id, sizeof(ret->denial_id), "d-1");
}

static void on_judge_http(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	(void)ctx;
	(void)r;
	now_running->n_http_judged++;
	*ret = (struct tlsproxy_verdict){ .allow = true };
}

static void on_denial_id(void *ctx, char ret[static 40])
{
	(void)ctx;
	snprintf(ret, 40, "d-own");
}

static void on_tls_event(void *ctx, const struct tlsproxy_tls_event *e)
{
	struct flow_case *c = now_running;

	(void)ctx;
	c->n_tls_events++;
	c->tls_ok = e->ok;
	snprintf(c->detail, sizeof(c->detail), "%s", e->detail ? e->detail : "");
}

static void on_http_event(void *ctx, const struct tlsproxy_http_event *e)
{
	(void)ctx;
	(void)e;
}

static void on_secret_event(void *ctx, const struct tlsproxy_secret_event *e)
{
	(void)ctx;
	(void)e;
}

static void on_flow_done(void *ctx, uint64_t id, bool reset)
{
	(void)ctx;
	assert_int_equal(id, 7);
	now_running->done = true;
	now_running->n_done++;
	now_running->reset = reset;
}

static void on_terminate(void *ctx, const char *env)
{
	(void)ctx;
	(void)env;
}

static void on_keylog(void *ctx, const char *line)
{
	(void)ctx;
	assert_non_null(strchr(line, ' '));
	now_running->n_keylog++;
}

static const struct tlsproxy_ops ops = {
	.judge_tls = on_judge_tls,
	.judge_http = on_judge_http,
	.new_denial_id = on_denial_id,
	.tls_event = on_tls_event,
	.http_event = on_http_event,
	.secret_event = on_secret_event,
	.flow_done = on_flow_done,
	.terminate = on_terminate,
	.keylog = on_keylog,
};

/* ---- running a case -------------------------------------------------------------------------- */

struct rig {
	struct loop *loop;
	struct tlsproxy *tp;
};

static void rig_up(struct rig *rig, const struct tlsproxy_config *cfg)
{
	char path[] = "/tmp/weir-world-XXXXXX", err[256] = "";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, world_ca.pem, strlen(world_ca.pem)), 0);
	close(fd);
	setenv("SSL_CERT_FILE", path, 1);
	assert_int_equal(loop_new(&rig->loop), 0);
	if (tlsproxy_new(rig->loop, cfg, &ops, NULL, &rig->tp, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	unlink(path);
	unsetenv("SSL_CERT_FILE");
}

static void rig_down(struct rig *rig)
{
	tlsproxy_free(rig->tp);
	loop_free(rig->loop);
}

static struct tlsproxy_flow make_flow(const struct flow_case *c)
{
	struct tlsproxy_flow f = { .id = 7, .tls = !c->plain };

	f.remote = (struct endpoint){ c->remote.family ? c->remote : ip4(198, 18, 0, 1),
				      c->plain ? 80 : 443 };
	f.upstream = f.remote;
	f.has_name = c->flow_name != NULL;
	if (c->flow_name)
		assert_int_equal(name_parse(c->flow_name, strlen(c->flow_name), &f.name, NULL), 0);
	return f;
}

static void run_on(struct rig *rig, struct flow_case *c)
{
	struct thread_arg client = { .c = c }, server = { .c = c };
	struct tlsproxy_flow f = make_flow(c);
	uint64_t end = time_mono_ns() + 60 * NS_PER_S;
	pthread_t ct, st;
	int g[2], u[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, g), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, u), 0);
	assert_int_equal(fd_set_nonblock(g[0], true), 0);
	assert_int_equal(fd_set_nonblock(u[0], true), 0);
	client.end.fd = c->client_fd = g[1];
	server.end.fd = c->server_fd = u[1];
	if (!c->plain) {
		client.end.ctx = client_ctx(c, tlsproxy_ca_pem(rig->tp));
		server.end.ctx = c->server_ctx ? c->server_ctx : server_ctx(c);
	}
	now_running = c;
	c->threads_left = 2;
	assert_int_equal(pthread_create(&ct, NULL, client_thread, &client), 0);
	assert_int_equal(pthread_create(&st, NULL, server_thread, &server), 0);
	assert_int_equal(tlsproxy_flow_start(rig->tp, &f, g[0], u[0]), 0);
	while (!c->done || c->threads_left) {
		assert_int_equal(loop_step(rig->loop, 20), 0);
		c->steps++;
		if (time_mono_ns() > end)
			fail_msg("no end in 60 s: done %d, threads %d, detail \"%s\"", c->done,
				 c->threads_left, c->detail);
	}
	pthread_join(ct, NULL);
	pthread_join(st, NULL);
	SSL_CTX_free(client.end.ctx);
	if (!c->server_ctx)
		SSL_CTX_free(server.end.ctx);
	assert_int_equal(c->n_done, 1);
	assert_int_equal(rig->tp->n_sessions, 0);
}

static void run(struct flow_case *c)
{
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;

	rig_up(&rig, &cfg);
	run_on(&rig, c);
	rig_down(&rig);
}

static void expect_reply(const struct flow_case *c, const char *what)
{
	if (!strstr(c->reply, what))
		fail_msg("no \"%s\" in \"%s\" (event: %s)", what, c->reply, c->detail);
}

static void expect_detail(const struct flow_case *c, const char *what)
{
	if (!strstr(c->detail, what))
		fail_msg("no \"%s\" in the event \"%s\"", what, c->detail);
}

/* ---- scripts of the two ends -------------------------------------------------------------------- */

static void client_get(struct flow_case *c, struct end *e)
{
	char head[512];

	snprintf(head, sizeof(head), "GET /a HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		 c->sni ? c->sni : HOST);
	end_puts(e, head);
	client_read_all(c, e);
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

static void client_get_ip(struct flow_case *c, struct end *e)
{
	end_puts(e, "GET /a HTTP/1.1\r\nHost: 203.0.113.5\r\nConnection: close\r\n\r\n");
	client_read_all(c, e);
}

static void server_hello(struct flow_case *c, struct end *e)
{
	char head[4096];

	(void)c;
	while (end_head(e, head, sizeof(head))) {
		end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
		if (strstr(head, "lose\r\n"))
			break;
	}
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

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
	struct flow_case h2 = {
		.client = client_get, .server = server_hello, .sni = HOST, .alpn = "\x02h2"
	};

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
	expect_detail(&h2, "ALPN");
}

/* ---- without SNI -------------------------------------------------------------------------------------- */

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

static int group_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* the test's own ends write through OpenSSL */
	if (ca_init(&world_ca, NULL, 0, 0, time(NULL)) < 0 ||
	    ca_init(&stranger_ca, NULL, 0, 0, time(NULL)) < 0 ||
	    leaf_cache_init(&world_leaves, &world_ca) < 0)
		return -1;
	return leaf_cache_init(&stranger_leaves, &stranger_ca);
}

static int group_down(void **state)
{
	(void)state;
	leaf_cache_fini(&world_leaves);
	leaf_cache_fini(&stranger_leaves);
	ca_fini(&world_ca);
	ca_fini(&stranger_ca);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_need_http),
		cmocka_unit_test(test_upstream_certificate),
		cmocka_unit_test(test_upstream_handshake),
		cmocka_unit_test(test_name_disagrees),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_distrust),
		cmocka_unit_test(test_no_sni),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_dribbled),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_stale_connection),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_no_spinning),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_free_with_flows),
		cmocka_unit_test(test_resumption),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
