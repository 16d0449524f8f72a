/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two OpenSSL contexts. Both: TLS 1.2 and 1.3, no renegotiation, no
 * compression, no early data (a replayed request could carry a secret).
 *
 * Guest side: no tickets and no session cache. A resumed handshake would save
 * one P-256 signature, some 30 microseconds here, and a ticket taken for one name and
 * honoured for another is a known way around name rules (CVE-2025-23419).
 *
 * Upstream side: verification is never optional; sessions are kept per identity
 * and port (resume.c).
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

static const unsigned char alpn_http1[] = "\x08http/1.1";
static const unsigned char alpn_dot[] = "\x03"
					"dot"; /* RFC 7858 */

const char *tls_error_text(char *out, size_t size)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	snprintf(out, size, "%s", reason ? reason : "protocol error");
	ERR_clear_error();
	return out;
}

static int ctx_common(SSL_CTX *ctx, struct tlsproxy *tp)
{
	SSL_CTX_set_app_data(ctx, tp);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	/* Replies may hold values: OpenSSL's copy of what was read goes, too. */
	if (secret_set_count(tp->secrets))
		SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);
	/* Partial writes and a moving buffer: out is a struct buf that grows and slides. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
	/* Several records with one system call. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, TLSPROXY_READ);
	SSL_CTX_set_max_early_data(ctx, 0);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ? 0 : -EPROTO;
}

/* ---- guest side --------------------------------------------------------------- */

static int on_guest_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			 const unsigned char *in, unsigned in_len, void *arg)
{
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;
	const unsigned char *ours = s->flow.terminate ? alpn_dot : alpn_http1;
	unsigned char *chosen;

	(void)arg;
	/* Without a common protocol, no_application_protocol (RFC 7301 3.2): what we
	 * cannot read we do not speak. */
	if (SSL_select_next_proto(&chosen, out_len, ours, 1 + ours[0], in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The name OpenSSL read must be the one that was judged: two readers, one answer. */
static int on_guest_sni(SSL *ssl, int *alert, void *arg)
{
	const char *text = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;
	struct name n;

	(void)arg;
	/* Nothing rests on the name of a resolver, and some clients send its address. */
	if (s->flow.terminate || (!text && !s->has_sni))
		return SSL_TLSEXT_ERR_OK;
	if (text && s->has_sni && name_parse(text, strlen(text), &n, NULL) == 0 &&
	    name_equal(&n, &s->sni))
		return SSL_TLSEXT_ERR_OK;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void on_keylog(const SSL *ssl, const char *line)
{
	struct tlsproxy *tp = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	tp->ops.keylog(tp->ctx, line);
}

int tls_guest_ctx_new(struct tlsproxy *tp, SSL_CTX **ret)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return -ENOMEM;
	if (ctx_common(ctx, tp) < 0 || !SSL_CTX_set_num_tickets(ctx, 0)) {
		SSL_CTX_free(ctx);
		return -EPROTO;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_PRIORITIZE_CHACHA |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(ctx, on_guest_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_guest_sni);
	if (tp->ops.keylog)
		SSL_CTX_set_keylog_callback(ctx, on_keylog);
	*ret = ctx;
	return 0;
}

int tls_guest_new(struct tlsproxy *tp, X509 *leaf, SSL **ret)
{
	SSL *ssl = SSL_new(tp->guest_ctx);

	if (!ssl)
		return -ENOMEM;
	if (!SSL_use_certificate(ssl, leaf) || !SSL_use_PrivateKey(ssl, tp->leaves.key)) {
		SSL_free(ssl);
		return -EPROTO;
	}
	SSL_set_accept_state(ssl);
	*ret = ssl;
	return 0;
}

/* ---- upstream side -------------------------------------------------------------- */

static int on_new_session(SSL *ssl, SSL_SESSION *sess)
{
	struct tlsproxy *tp = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;

	if (SSL_get_verify_result(ssl) != X509_V_OK)
		return 0;
	resume_put(&tp->resume, &s->id, s->flow.upstream.port, SSL_session_reused(ssl), time(NULL),
		   sess);
	return 1;
}

int tls_upstream_ctx_new(struct tlsproxy *tp, X509_STORE *store, SSL_CTX **ret)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return -ENOMEM;
	/* SSL_CTX_set_alpn_protos: 0 is success. */
	if (ctx_common(ctx, tp) < 0 ||
	    SSL_CTX_set_alpn_protos(ctx, alpn_http1, sizeof(alpn_http1) - 1) != 0) {
		SSL_CTX_free(ctx);
		return -EPROTO;
	}
	SSL_CTX_set1_cert_store(ctx, store);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
	SSL_CTX_sess_set_new_cb(ctx, on_new_session);
	*ret = ctx;
	return 0;
}

/* Whom the certificate must be for. RFC 9525: no common name, no partial wildcards. */
static bool expect_identity(SSL *ssl, const struct identity *id)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (id->is_addr)
		return X509_VERIFY_PARAM_set1_ip(param, id->addr.b, ip_size(&id->addr)) == 1;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, id->text, strlen(id->text)) == 1 &&
	       /* The macro for this casts a const away, which clang refuses. */
	       SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
			(void *)(uintptr_t)id->text) == 1;
}

int tls_upstream_new(struct tlsproxy *tp, const struct identity *id, uint16_t port, SSL **ret)
{
	SSL_SESSION *sess = resume_get(&tp->resume, id, port, time(NULL));
	SSL *ssl = SSL_new(tp->upstream_ctx);

	if (!ssl)
		return -ENOMEM;
	if (!expect_identity(ssl, id)) {
		SSL_free(ssl);
		return -EPROTO;
	}
	/* Failing to resume only costs a full handshake. */
	if (sess && !SSL_set_session(ssl, sess))
		ERR_clear_error();
	SSL_set_connect_state(ssl);
	*ret = ssl;
	return 0;
}

bool tls_upstream_acceptable(SSL *ssl)
{
	const unsigned char *alpn;
	unsigned len;

	SSL_get0_alpn_selected(ssl, &alpn, &len);
	if (len && (len != alpn_http1[0] || memcmp(alpn, alpn_http1 + 1, len) != 0))
		return false;
	return SSL_get_verify_result(ssl) == X509_V_OK;
}
