/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rig of the session tests: whole flows through the proxy, with OpenSSL's
 * own client on one end and its server on the other, each in a thread with
 * blocking descriptors, the proxy's loop in between. The server's CA is a
 * second, private one; a third is trusted by nobody.
 */
#ifndef WEIR_TESTS_TLSPROXY_SESSION_RIG_H
#define WEIR_TESTS_TLSPROXY_SESSION_RIG_H

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

struct rig {
	struct loop *loop;
	struct tlsproxy *tp;
};

struct flow_case {
	/* What the flow is. */
	bool plain;
	bool terminate;	       /* TLS ends in the proxy; the server's end is plain */
	const char *flow_name; /* NULL: none */
	struct ip_addr remote;
	/* The two ends; each closes what it opened by returning. */
	void (*client)(struct flow_case *c, struct end *e);
	void (*server)(struct flow_case *c, struct end *e);
	const char *sni;	 /* NULL: none */
	const char *alpn;	 /* wire form, NULL: none */
	const char *server_alpn; /* what it speaks; NULL: it knows no ALPN */
	uint16_t port;		 /* 0: 443, or 80 */
	SSL_SESSION *ticket;	 /* the client comes back with it */
	bool keep;		 /* session: what it got this time, the case's to free */
	SSL_SESSION *session;
	const char *server_cert; /* host; NULL: HOST */
	bool server_wants_cert;	 /* of the client, which has none */
	bool server_untrusted, client_distrusts, server_no_tls, server_tls12, client_tls12;
	bool client_no_tls;
	size_t body;
	/* What the policy says. */
	bool deny, need_http;
	const char *deny_method;	   /* of requests; "": all */
	bool deny_connect, connect_unread; /* targets of explicit proxies; TLS there is not read */
	char target[300];		   /* that was asked for: host:port */
	/* With every turn of the loop, between its callbacks. */
	void (*tick)(struct rig *rig, struct flow_case *c);
	atomic_int phase;    /* of the scripts, for the case's own use */
	SSL_CTX *server_ctx; /* NULL: one for this flow */
	bool server_stays;   /* its thread outlives the flow, until server_gone() */
	pthread_t server_thread;
	struct thread_arg *server_arg;
	/* What came of it. */
	bool client_tls_up, server_tls_up, resumed, client_resumed;
	char client_alpn[16];	 /* what it was given */
	char server_offered[64]; /* what the server was offered, wire form */
	time_t leaf_expires;
	int client_alert;
	bool done, reset;
	int n_done, n_tls_events, n_judged, n_http_judged, n_http_events, n_keylog;
	char order[256]; /* callbacks as they came: Judge, judge request, Tls, http, Done */
	struct tlsproxy_http_event http; /* the last, without its pointers */
	bool tls_ok, unverified;
	char detail[256];
	char reply[8192];
	size_t n_reply;
	bool reply_cut;	 /* ended by an error rather than an end */
	size_t received; /* by the server, of the body */
	atomic_int threads_left;
	int client_fd, server_fd;
	bool undialled;	  /* the proxy is given the guest's end alone */
	int undialled_fd; /* the other one is here, for the case to give or close */
	long steps;	  /* of the loop */
};

struct thread_arg;
static struct flow_case *now_running;

static inline int on_server_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
				 const unsigned char *in, unsigned in_len, void *arg)
{
	struct flow_case *c = arg;
	unsigned char *chosen;

	(void)ssl;
	if (in_len < sizeof(c->server_offered))
		memcpy(c->server_offered, in, in_len);
	if (!c->server_alpn)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_len, (const unsigned char *)c->server_alpn,
				  (unsigned)strlen(c->server_alpn), in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static inline SSL_CTX *server_ctx(const struct flow_case *c)
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
	assert_int_equal(leaf_get(leaves, &id, time(NULL), 0, &cert), 0);
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, leaves->key);
	if (c->server_tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_alpn_select_cb(ctx, on_server_alpn, (void *)(uintptr_t)c);
	if (c->server_wants_cert)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return ctx;
}

static inline SSL_CTX *client_ctx(const struct flow_case *c, const char *ca_pem)
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

static inline int end_read(struct end *e, void *p, size_t n)
{
	return e->ssl ? SSL_read(e->ssl, p, (int)n) : (int)recv(e->fd, p, n, 0);
}

static inline bool end_write(struct end *e, const void *p, size_t n)
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

static inline bool end_puts(struct end *e, const char *s)
{
	return end_write(e, s, strlen(s));
}

/* Read a head up to its empty line, byte by byte; false when it did not come. */
static inline bool end_head(struct end *e, char *out, size_t size)
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
static inline void client_read_all(struct flow_case *c, struct end *e)
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

static inline void client_note(struct flow_case *c, SSL *ssl)
{
	const X509 *leaf = SSL_get0_peer_certificate(ssl);
	const unsigned char *p;
	struct tm tm;
	unsigned n;

	c->client_resumed = SSL_session_reused(ssl);
	SSL_get0_alpn_selected(ssl, &p, &n);
	snprintf(c->client_alpn, sizeof(c->client_alpn), "%.*s", (int)n, n ? (const char *)p : "");
	if (leaf && ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm))
		c->leaf_expires = timegm(&tm);
}

static inline void *client_thread(void *p)
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
		if (c->ticket)
			SSL_set_session(e->ssl, c->ticket);
		r = SSL_connect(e->ssl);
		c->client_tls_up = r == 1;
		if (r == 1)
			client_note(c, e->ssl);
		if (r != 1)
			c->client_alert = ERR_GET_REASON(ERR_peek_error());
	}
	if (!e->ssl || c->client_tls_up)
		c->client(c, e);
	if (c->keep && c->client_tls_up)
		c->session = SSL_get1_session(e->ssl);
	SSL_free(e->ssl);
	close(e->fd);
	ERR_clear_error();
	c->threads_left--;
	return NULL;
}

static inline void *server_thread(void *p)
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
	if (!c->server_stays)
		c->threads_left--;
	return NULL;
}

/* ---- the proxy's callbacks ---------------------------------------------------------------- */

static inline void note_order(char what)
{
	size_t n = strlen(now_running->order);

	if (n + 1 < sizeof(now_running->order))
		now_running->order[n] = what;
}

static inline void on_judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni,
				const struct name *sni, struct tlsproxy_verdict *ret)
{
	struct flow_case *c = now_running;

	(void)ctx;
	(void)f;
	assert_int_equal(has_sni, c->sni != NULL);
	if (has_sni)
		assert_string_equal(sni->s, c->sni);
	c->n_judged++;
	note_order('J');
	*ret = (struct tlsproxy_verdict){ .allow = !c->deny, .need_http = c->need_http };
	snprintf(ret->rule, sizeof(ret->rule), "r1");
	snprintf(ret->reason, sizeof(ret->reason), "not for agents");
	snprintf(ret->denial_id, sizeof(ret->denial_id), "d-1");
}

static inline void on_judge_http(void *ctx, const struct tlsproxy_request *r,
				 struct tlsproxy_verdict *ret)
{
	const char *deny = now_running->deny_method;

	(void)ctx;
	now_running->n_http_judged++;
	note_order('j');
	*ret = (struct tlsproxy_verdict){ .allow = !deny || (*deny && !str_eq(deny, r->method)) };
	if (!ret->allow)
		snprintf(ret->denial_id, sizeof(ret->denial_id), "d-2");
}

static inline void on_judge_connect(void *ctx, const struct tlsproxy_flow *f,
				    struct tlsproxy_verdict *ret)
{
	struct flow_case *c = now_running;
	char addr[IP_STRLEN];

	(void)ctx;
	note_order('C');
	assert_true(f->connect);
	snprintf(c->target, sizeof(c->target), "%s:%u",
		 f->has_name ? f->name.s : ip_format(&f->remote.addr, addr), f->remote.port);
	*ret = (struct tlsproxy_verdict){ .allow = !c->deny_connect,
					  .need_http = c->need_http,
					  .intercept = !c->connect_unread };
	if (!ret->allow)
		snprintf(ret->denial_id, sizeof(ret->denial_id), "d-3");
}

static inline void on_denial_id(void *ctx, char ret[static 40])
{
	(void)ctx;
	snprintf(ret, 40, "d-own");
}

static inline void on_tls_event(void *ctx, const struct tlsproxy_tls_event *e)
{
	struct flow_case *c = now_running;

	(void)ctx;
	note_order('T');
	c->n_tls_events++;
	c->tls_ok = e->ok;
	c->unverified = e->unverified;
	snprintf(c->detail, sizeof(c->detail), "%s", e->detail ? e->detail : "");
}

static inline void on_http_event(void *ctx, const struct tlsproxy_http_event *e)
{
	struct flow_case *c = now_running;

	(void)ctx;
	note_order('h');
	c->n_http_events++;
	c->http = *e;
	c->http.req = NULL;
	c->http.verdict = NULL;
}

static inline void on_secret_event(void *ctx, const struct tlsproxy_secret_event *e)
{
	(void)ctx;
	(void)e;
}

static inline void on_flow_done(void *ctx, uint64_t id, bool reset)
{
	(void)ctx;
	assert_int_equal(id, 7);
	note_order('D');
	now_running->done = true;
	now_running->n_done++;
	now_running->reset = reset;
}

static inline void on_terminate(void *ctx, const char *env)
{
	(void)ctx;
	(void)env;
}

static inline void on_keylog(void *ctx, const char *line)
{
	(void)ctx;
	assert_non_null(strchr(line, ' '));
	now_running->n_keylog++;
}

static const struct tlsproxy_ops ops = {
	.judge_tls = on_judge_tls,
	.judge_http = on_judge_http,
	.judge_connect = on_judge_connect,
	.new_denial_id = on_denial_id,
	.tls_event = on_tls_event,
	.http_event = on_http_event,
	.secret_event = on_secret_event,
	.flow_done = on_flow_done,
	.terminate = on_terminate,
	.keylog = on_keylog,
};

/* ---- running a case -------------------------------------------------------------------------- */

static inline void rig_up(struct rig *rig, const struct tlsproxy_config *cfg)
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

static inline void rig_down(struct rig *rig)
{
	tlsproxy_free(rig->tp);
	loop_free(rig->loop);
}

static inline struct tlsproxy_flow make_flow(const struct flow_case *c)
{
	struct tlsproxy_flow f = { .id = 7, .tls = !c->plain, .terminate = c->terminate };

	f.remote = (struct endpoint){ c->remote.family ? c->remote : ip4(198, 18, 0, 1),
				      c->port	 ? c->port
				      : c->plain ? 80
						 : 443 };
	f.upstream = f.remote;
	f.has_name = c->flow_name != NULL;
	if (c->flow_name)
		assert_int_equal(name_parse(c->flow_name, strlen(c->flow_name), &f.name, NULL), 0);
	return f;
}

/* Its thread is over, or will be. */
static inline void server_gone(struct flow_case *c)
{
	pthread_join(c->server_thread, NULL);
	if (!c->server_ctx)
		SSL_CTX_free(c->server_arg->end.ctx);
	free(c->server_arg);
}

static inline void run_on(struct rig *rig, struct flow_case *c)
{
	struct thread_arg client = { .c = c }, *server = calloc(1, sizeof(*server));
	struct tlsproxy_flow f = make_flow(c);
	uint64_t end = time_mono_ns() + 60 * NS_PER_S;
	pthread_t ct;
	int g[2], u[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, g), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, u), 0);
	assert_int_equal(fd_set_nonblock(g[0], true), 0);
	assert_int_equal(fd_set_nonblock(u[0], true), 0);
	server->c = c;
	c->server_arg = server;
	client.end.fd = c->client_fd = g[1];
	server->end.fd = c->server_fd = u[1];
	if (!c->plain) {
		if (!c->client_no_tls)
			client.end.ctx = client_ctx(c, tlsproxy_ca_pem(rig->tp));
		if (!c->terminate)
			server->end.ctx = c->server_ctx ? c->server_ctx : server_ctx(c);
	}
	now_running = c;
	c->threads_left = c->server_stays ? 1 : 2;
	assert_int_equal(pthread_create(&ct, NULL, client_thread, &client), 0);
	assert_int_equal(pthread_create(&c->server_thread, NULL, server_thread, server), 0);
	c->undialled_fd = c->undialled ? u[0] : -1;
	assert_int_equal(tlsproxy_flow_start(rig->tp, &f, g[0], c->undialled ? -1 : u[0]), 0);
	while (!c->done || c->threads_left) {
		assert_int_equal(loop_step(rig->loop, 20), 0);
		if (c->tick && !c->done)
			c->tick(rig, c);
		c->steps++;
		if (time_mono_ns() > end)
			fail_msg("no end in 60 s: done %d, threads %d, detail \"%s\"", c->done,
				 c->threads_left, c->detail);
	}
	pthread_join(ct, NULL);
	SSL_CTX_free(client.end.ctx);
	if (!c->server_stays)
		server_gone(c);
	assert_int_equal(c->n_done, 1);
	assert_int_equal(rig->tp->n_sessions, 0);
}

static inline void run(struct flow_case *c)
{
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;

	rig_up(&rig, &cfg);
	run_on(&rig, c);
	rig_down(&rig);
}

static inline void expect_reply(const struct flow_case *c, const char *what)
{
	if (!strstr(c->reply, what))
		fail_msg("no \"%s\" in \"%s\" (event: %s)", what, c->reply, c->detail);
}

static inline void expect_detail(const struct flow_case *c, const char *what)
{
	if (!strstr(c->detail, what))
		fail_msg("no \"%s\" in the event \"%s\"", what, c->detail);
}

/* ---- scripts of the two ends -------------------------------------------------------------------- */

static inline void client_get(struct flow_case *c, struct end *e)
{
	char head[512];

	snprintf(head, sizeof(head), "GET /a HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		 c->sni ? c->sni : HOST);
	end_puts(e, head);
	client_read_all(c, e);
	if (e->ssl)
		SSL_shutdown(e->ssl);
}

static inline void client_get_ip(struct flow_case *c, struct end *e)
{
	end_puts(e, "GET /a HTTP/1.1\r\nHost: 203.0.113.5\r\nConnection: close\r\n\r\n");
	client_read_all(c, e);
}

static inline void server_hello(struct flow_case *c, struct end *e)
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

static inline int group_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* the test's own ends write through OpenSSL */
	if (ca_init(&world_ca, NULL, 0, 0, time(NULL)) < 0 ||
	    ca_init(&stranger_ca, NULL, 0, 0, time(NULL)) < 0 ||
	    leaf_cache_init(&world_leaves, &world_ca) < 0)
		return -1;
	return leaf_cache_init(&stranger_leaves, &stranger_ca);
}

static inline int group_down(void **state)
{
	(void)state;
	leaf_cache_fini(&world_leaves);
	leaf_cache_fini(&stranger_leaves);
	ca_fini(&world_ca);
	ca_fini(&stranger_ca);
	return 0;
}

#endif
