/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy as a whole: made once, before the process gives up its rights, and
 * from then on without files, sockets of its own or further keys. One thread;
 * it must not be freed from inside one of its callbacks.
 */
#include "tlsproxy/tlsproxy_int.h"
#include "tlsproxy/token.h"

#include <stdio.h>
#include <openssl/err.h>

static int fail(char *err, size_t err_size, int r, const char *what)
{
	snprintf(err, err_size, "%s: %s", what, strerror(-r));
	return r;
}

static int make_ca(struct tlsproxy *tp, const struct tlsproxy_config *cfg, char *err, size_t err_size)
{
	int r;

	if (cfg->ca_cert_file && !cfg->ca_pem)
		return ca_load(&tp->ca, cfg->ca_cert_file, cfg->ca_key_file, time(NULL), err,
			       err_size);
	if (cfg->ca_pem)
		r = ca_restore(&tp->ca, cfg->ca_pem, cfg->ca_key, cfg->ca_key_len);
	else
		r = ca_init(&tp->ca, cfg->permitted, cfg->n_permitted, cfg->ca_hours, time(NULL));
	return r < 0 ? fail(err, err_size, r, "cannot make the sandbox CA") : 0;
}

static int make_tls(struct tlsproxy *tp, const struct tlsproxy_config *cfg, char *err, size_t err_size)
{
	int r = make_ca(tp, cfg, err, err_size);

	if (r < 0)
		return r;
	r = leaf_cache_init(&tp->leaves, &tp->ca);
	if (r < 0)
		return fail(err, err_size, r, "cannot make the leaf key");
	r = upstream_pool_init(&tp->pool, tp->loop);
	if (tp->ops.parked && tp->ops.dial) {
		tp->pool.max = TLSPROXY_POOL;
		tp->pool.tell = tp->ops.parked;
		tp->pool.ctx = tp->ctx;
	}
	if (r == 0)
		r = resume_cache_init(&tp->resume);
	if (r < 0)
		return fail(err, err_size, r, "cannot make the session cache");
	r = tls_guest_ctx_new(tp, &tp->guest_ctx);
	if (r < 0)
		return fail(err, err_size, r, "cannot set up TLS towards the sandbox");
	r = upstream_trust_init(&tp->trust, cfg, err, err_size);
	if (r < 0)
		return r;
	r = tls_upstream_ctx_new(tp, &tp->upstream_ctx);
	return r < 0 ? fail(err, err_size, r, "cannot set up TLS towards the network") : 0;
}

/*
 * OpenSSL loads parts of itself when they are first used. A handshake's worth
 * is used here, while files can still be opened.
 */
static int warm_up(struct tlsproxy *tp)
{
	struct session s = { .tp = tp, .key = { .id = { .text = "weir.invalid" } } };
	SSL *guest = NULL, *upstream = NULL;
	X509 *leaf;
	int r;

	s.key.to = (struct endpoint){ ip4(192, 0, 2, 1), 443 };
	r = leaf_get(&tp->leaves, &s.key.id, time(NULL), 0, &leaf);
	if (r == 0)
		r = tls_guest_new(&s, leaf, &guest);
	if (r == 0)
		r = tls_upstream_new(&s, &upstream);
	SSL_free(guest);
	SSL_free(upstream);
	ERR_clear_error();
	return r;
}

int tlsproxy_new(struct loop *loop, const struct tlsproxy_config *cfg, const struct tlsproxy_ops *ops,
		 void *ctx, struct tlsproxy **ret, char *err, size_t err_size)
{
	struct tlsproxy *tp = calloc(1, sizeof(*tp));
	int r;

	if (!tp)
		return fail(err, err_size, -ENOMEM, "cannot start the TLS proxy");
	tp->loop = loop;
	tp->ops = *ops;
	tp->ctx = ctx;
	tp->max_flows = cfg->max_flows ? cfg->max_flows : TLSPROXY_MAX_FLOWS;
	tp->idle_ns = (cfg->idle_s ? cfg->idle_s : TLSPROXY_IDLE_S) * NS_PER_S;
	tp->handshake_ns = TLSPROXY_HANDSHAKE_S * NS_PER_S;
	tp->offer_h2 = TLSPROXY_OFFER_H2 && !cfg->no_http2;
	token_wipe_json();
	list_init(&tp->sessions);
	list_init(&tp->dialling);
	tp->scratch = malloc(TLSPROXY_READ);
	if (!tp->scratch) {
		r = fail(err, err_size, -ENOMEM, "cannot start the TLS proxy");
		goto out;
	}
	r = secret_set_new(cfg->secrets, cfg->n_secrets, &tp->secrets, err, err_size);
	if (r < 0)
		goto out;
	r = make_tls(tp, cfg, err, err_size);
	if (r < 0)
		goto out;
	r = warm_up(tp);
	if (r < 0) {
		fail(err, err_size, r, "OpenSSL does not work");
		goto out;
	}
	*ret = tp;
	return 0;
out:
	tlsproxy_free(tp);
	return r;
}

void tlsproxy_free(struct tlsproxy *tp)
{
	if (!tp)
		return;
	list_for_each_safe (it, tmp, &tp->sessions) {
		struct session *s = container_of(it, struct session, node);

		session_end(s, true);
		session_run(s);
	}
	upstream_pool_fini(&tp->pool);
	SSL_CTX_free(tp->guest_ctx);
	SSL_CTX_free(tp->upstream_ctx);
	resume_cache_fini(&tp->resume);
	upstream_trust_fini(&tp->trust);
	leaf_cache_fini(&tp->leaves);
	ca_fini(&tp->ca);
	secret_set_free(tp->secrets);
	if (tp->scratch)
		explicit_bzero(tp->scratch, TLSPROXY_READ);
	free(tp->scratch);
	explicit_bzero(tp, sizeof(*tp));
	free(tp);
}

const char *tlsproxy_ca_pem(const struct tlsproxy *tp)
{
	return tp->ca.pem;
}

const char *tlsproxy_placeholder(const struct tlsproxy *tp, size_t i)
{
	return secret_set_placeholder(tp->secrets, i);
}

void tlsproxy_wake(struct tlsproxy *tp)
{
	list_for_each_safe (it, next, &tp->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->state == SESSION_RELAY && s->filter && http_filter_awaits(s->filter))
			session_run(s);
	}
}
