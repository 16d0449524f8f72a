/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two OpenSSL contexts. Both: TLS 1.2 and 1.3, no renegotiation, no
 * compression, no early data (a replayed request could carry a secret).
 *
 * Which protocol is spoken inside is the upstream's choice: it is offered what the
 * guest offered and we can read, and the guest is given what it chose.
 *
 * Guest side: tickets that are names of sessions kept here, as to seal a session into one and to
 * open it again costs more than to find it. A ticket taken for one name and honoured for another
 * is a known way around name rules (CVE-2025-23419), so what a session is for goes into
 * its session id context, which OpenSSL compares before it resumes any: the leaf it
 * stands for, the name asked for, the protocol, the port and the policy's generation.
 * They are this process's own, hence the sandbox's. Whatever differs is a
 * full handshake. With TLS 1.3 a ticket goes out in front of the first answer (leg.c), not
 * at the handshake's end: a client that leaves without a request is then seen to leave,
 * and not lost to a reset for what it did not read.
 *
 * Upstream side: verified unless the user said otherwise for the host; sessions are kept for what they were verified for (resume.c).
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

static const unsigned char alpn_http1[] = "\x08http/1.1";
static const unsigned char alpn_h2[] = "\x02h2";
static const unsigned char alpn_both[] = "\x02h2\x08http/1.1";
static const unsigned char alpn_dot[] = "\x03"
					"dot"; /* RFC 7858 */

const char *tls_error_text(char *out, size_t size)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	snprintf(out, size, "%s", reason ? reason : "protocol error");
	ERR_clear_error();
	return out;
}

const char *tls_alert_text(int alert)
{
	/* Two that this OpenSSL has no text for. */
	if (alert == SSL_AD_CERTIFICATE_REQUIRED)
		return "certificate required";
	if (alert == SSL_AD_NO_APPLICATION_PROTOCOL)
		return "no application protocol";
	return SSL_alert_desc_string_long(alert);
}

static int ctx_common(SSL_CTX *ctx, struct tlsproxy *tp)
{
	SSL_CTX_set_app_data(ctx, tp);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	/* Partial writes and a moving buffer: out is a struct buf that grows and slides. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
	/* Several records with one system call. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_max_early_data(ctx, 0);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ? 0 : -EPROTO;
}

/* ---- guest side --------------------------------------------------------------- */

const char *alpn_names(unsigned set)
{
	static const char *const names[] = { "none", "http/1.1", "h2", "h2,http/1.1" };

	return names[set & (ALPN_HTTP1 | ALPN_H2)];
}

/* In wire form, without its closing NUL; NULL: none of them. */
static const unsigned char *alpn_wire(unsigned set, size_t *ret_len)
{
	const unsigned char *wire = set == (ALPN_H2 | ALPN_HTTP1) ? alpn_both
				    : set == ALPN_H2		  ? alpn_h2
				    : set == ALPN_HTTP1		  ? alpn_http1
								  : NULL;

	*ret_len = wire ? strlen((const char *)wire) : 0;
	return wire;
}

static int on_guest_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			 const unsigned char *in, unsigned in_len, void *arg)
{
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;
	const unsigned char *ours = alpn_dot;
	size_t len = sizeof(alpn_dot) - 1;
	unsigned char *chosen;

	(void)arg;
	if (!s->flow.terminate)
		ours = alpn_wire(s->alpn, &len);
	/* The upstream chose none, so there is none to give. */
	if (!ours && !s->no_protocol)
		return SSL_TLSEXT_ERR_NOACK;
	/* Without a common protocol, no_application_protocol (RFC 7301 3.2): what we
	 * cannot read we do not speak. */
	if (!ours || SSL_select_next_proto(&chosen, out_len, ours, (unsigned)len, in, in_len) !=
			     OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/*
 * RFC 9113 9.2.2: with TLS 1.2 only ephemeral keys and AEAD. The version is chosen by now and the
 * cipher is not; reading the list costs more than a few of a handshake's parts, so with TLS 1.3, which
 * has no others, it is left alone.
 */
static bool h2_ciphers(const struct session *s, SSL *ssl)
{
	return s->alpn != ALPN_H2 || SSL_version(ssl) > TLS1_2_VERSION ||
	       SSL_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
}

/* The name OpenSSL read must be the one that was judged: two readers, one answer. */
static int on_guest_sni(SSL *ssl, int *alert, void *arg)
{
	const char *text = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;
	struct name n;

	(void)arg;
	if (!h2_ciphers(s, ssl)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
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

/*
 * With TLS 1.3: the one all have to know first (RFC 8446 9.1). It is the fastest of those that are as
 * good as each other on a leg that does not leave the machine: SHA-256 has instructions of
 * its own, of which a handshake's key schedule makes much use.
 */
static const char guest_ciphers[] =
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

int tls_guest_ctx_new(struct tlsproxy *tp, SSL_CTX **ret)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return -ENOMEM;
	if (ctx_common(ctx, tp) < 0 || !SSL_CTX_set_num_tickets(ctx, 0)) {
		SSL_CTX_free(ctx);
		return -EPROTO;
	}
	SSL_CTX_set_options(ctx, SSL_OP_PRIORITIZE_CHACHA | SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (!SSL_CTX_set_ciphersuites(ctx, guest_ciphers)) {
		SSL_CTX_free(ctx);
		return -EPROTO;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
	SSL_CTX_sess_set_cache_size(ctx, TLSPROXY_TICKETS);
	SSL_CTX_set_timeout(ctx, TLSPROXY_TICKET_S);
	SSL_CTX_set_alpn_select_cb(ctx, on_guest_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_guest_sni);
	if (tp->ops.keylog)
		SSL_CTX_set_keylog_callback(ctx, on_keylog);
	*ret = ctx;
	return 0;
}

/* What a ticket of this flow is for, as 32 bytes (SSL_MAX_SID_CTX_LENGTH). */
static bool bind_tickets(const struct session *s, X509 *leaf, SSL *ssl)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
	struct {
		uint64_t generation;
		uint16_t port;
		uint8_t has_sni, alpn, terminate, serial_len;
		uint8_t serial[24];
		char name[NAME_MAX_LEN + 1];
	} what;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memset(&what, 0, sizeof(what)); /* padding is hashed, too */
	what.generation = s->tp->generation;
	what.port = s->flow.remote.port;
	what.has_sni = s->has_sni;
	what.alpn = (uint8_t)s->alpn;
	what.terminate = s->flow.terminate;
	what.serial_len = (uint8_t)MIN((size_t)ASN1_STRING_length(serial), sizeof(what.serial));
	memcpy(what.serial, ASN1_STRING_get0_data(serial), what.serial_len);
	memcpy(what.name, s->key.id.text, sizeof(what.name));
	return EVP_Digest(&what, sizeof(what), md, &len, EVP_sha256(), NULL) == 1 &&
	       SSL_set_session_id_context(ssl, md, len) == 1;
}

/* TLS 1.2, which names its session in the handshake. */
static int never_resumable(SSL *ssl, int forward_secret)
{
	(void)ssl;
	(void)forward_secret;
	return 1;
}

int tls_guest_new(const struct session *s, X509 *leaf, SSL **ret)
{
	SSL *ssl = SSL_new(s->tp->guest_ctx);

	if (!ssl)
		return -ENOMEM;
	if (!SSL_use_certificate(ssl, leaf) || !SSL_use_PrivateKey(ssl, s->tp->leaves.key) ||
	    (s->tp->ca.presented && !SSL_set1_chain(ssl, s->tp->ca.presented)) ||
	    !bind_tickets(s, leaf, ssl)) {
		SSL_free(ssl);
		return -EPROTO;
	}
	/* There is nothing to come back to. */
	if (s->refused)
		SSL_set_not_resumable_session_callback(ssl, never_resumable);
	SSL_set_accept_state(ssl);
	*ret = ssl;
	return 0;
}

/* ---- upstream side -------------------------------------------------------------- */

static int on_new_session(SSL *ssl, SSL_SESSION *sess)
{
	struct tlsproxy *tp = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct session *s = ((struct leg *)SSL_get_app_data(ssl))->session;

	/* Between two flows nobody asks. */
	if (!s)
		return 0;
	/* Not what was refused, nor what a policy of before let through. */
	if (SSL_get_verify_result(ssl) != X509_V_OK || !s->terms.verify ||
	    s->key.generation != tp->generation)
		return 0;
	resume_put(&tp->resume, &s->key, SSL_session_reused(ssl), time(NULL), sess);
	return 1;
}

int tls_upstream_ctx_new(struct tlsproxy *tp, SSL_CTX **ret)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return -ENOMEM;
	if (ctx_common(ctx, tp) < 0) {
		SSL_CTX_free(ctx);
		return -EPROTO;
	}
	/* Replies may hold values: OpenSSL's copy of what was read goes, too. What a guest
	 * sends holds placeholders. */
	if (secret_set_count(tp->secrets))
		SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set1_cert_store(ctx, tp->trust.store);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
	SSL_CTX_sess_set_new_cb(ctx, on_new_session);
	/* What comes, upstream_check.c looks at. */
	SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
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

/* What the guest offered and we can read; without an offer of its own, none. */
static bool offer_protocols(const struct session *s, SSL *ssl)
{
	size_t len;
	const unsigned char *wire = alpn_wire(s->offer, &len);

	/* SSL_set_alpn_protos: 0 is success. */
	return !wire || SSL_set_alpn_protos(ssl, wire, (unsigned)len) == 0;
}

/* As whom we come and whom we believe. */
static bool apply_terms(const struct upstream_terms *t, SSL *ssl)
{
	if (!t->verify)
		SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	if (t->store && !SSL_set1_verify_cert_store(ssl, t->store))
		return false;
	return !t->cert ||
	       SSL_use_cert_and_key(ssl, t->cert->cert, t->cert->key, t->cert->chain, 1) == 1;
}

int tls_upstream_new(const struct session *s, SSL **ret)
{
	SSL_SESSION *sess = resume_get(&s->tp->resume, &s->key, time(NULL));
	SSL *ssl = SSL_new(s->tp->upstream_ctx);

	if (!ssl)
		return -ENOMEM;
	if (!expect_identity(ssl, &s->key.id) || !offer_protocols(s, ssl) ||
	    !apply_terms(&s->terms, ssl)) {
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

/* RFC 9113 9.2.2 and its appendix A, which lists all that is not this. */
static bool fits_h2(const SSL *ssl)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);
	int kx = SSL_CIPHER_get_kx_nid(c);

	return SSL_version(ssl) > TLS1_2_VERSION ||
	       ((kx == NID_kx_ecdhe || kx == NID_kx_dhe) && SSL_CIPHER_is_aead(c));
}

static bool is_proto(const unsigned char *p, unsigned len, const unsigned char *wire)
{
	return len == wire[0] && memcmp(p, wire + 1, len) == 0;
}

const char *tls_upstream_refused(const struct session *s, SSL *ssl, enum alpn *ret_alpn,
				 const char **ret_token)
{
	const char *why = upstream_certificate_refused(s, ssl);
	enum alpn alpn = ALPN_NONE;
	const unsigned char *p;
	unsigned len;

	if (why) {
		*ret_token = "tls_certificate_error";
		return why;
	}
	*ret_token = "tls_protocol_error";
	SSL_get0_alpn_selected(ssl, &p, &len);
	if (len && is_proto(p, len, alpn_h2))
		alpn = ALPN_H2;
	else if (len && is_proto(p, len, alpn_http1))
		alpn = ALPN_HTTP1;
	if (len && !(s->offer & alpn))
		return "upstream TLS: it chose a protocol that was not offered";
	if (alpn == ALPN_H2 && !fits_h2(ssl))
		return "upstream TLS: HTTP/2 with a cipher that it forbids (RFC 9113 9.2.2)";
	*ret_alpn = alpn;
	return NULL;
}
