/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the first byte of a TLS flow to the moment both legs are up.
 *
 *   HELLO     read the guest's ClientHello, answer nothing. The name in it is
 *             held against the flow's, then policy is asked.
 *   UPSTREAM  handshake with the world, the certificate verified for exactly
 *             that name or address.
 *   GUEST     handshake with the guest, with our leaf for the same.
 *
 * A flow whose TLS ends here (tlsproxy_flow.terminate) has no upstream and no
 * name that could be wrong: whatever resolver the guest asked for, ours answers.
 * A server name that is none (some clients put the address there) counts as not sent.
 *
 * The order matters: the guest's handshake ends only when it is known how the
 * flow will go on, and every refusal (name denied, names that disagree, an
 * upstream that cannot be verified) still ends in a TLS session in which the
 * first request is answered with the reason. Where that cannot be (no name,
 * nothing like a ClientHello, a name that our CA may not sign for), a TLS
 * alert says it.
 *
 * Encrypted ClientHello: we hold no ECH key, so the extension is ignored, as RFC
 * 9849 has it for such servers; the outer name is what is judged and shown, and a
 * client that meant another name finds a certificate that does not match.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>

enum { ALERT_DECODE_ERROR = 50, ALERT_ACCESS_DENIED = 49, ALERT_UNRECOGNIZED_NAME = 112 };

/* ---- refusals before TLS began ------------------------------------------------------ */

/* alert 0: what the guest speaks is not TLS, so it gets none. */
static void refuse_hello(struct session *s, uint8_t alert, const char *detail)
{
	uint8_t record[] = { 21, 3, 3, 0, 2, 2, alert };

	session_event(s, false, detail);
	/* Seven bytes into an empty buffer: if even that fails, a bare close does. */
	if (alert && buf_append(&s->guest.out, record, sizeof(record)) < 0)
		s->guest.out.len = 0;
	session_set_state(s, SESSION_CLOSING);
}

/* ---- HELLO ---------------------------------------------------------------------------- */

static bool start_guest(struct session *s)
{
	X509 *leaf;
	SSL *ssl;

	if (leaf_get(&s->tp->leaves, &s->key.id, time(NULL), s->upstream_expires, &leaf) < 0 ||
	    tls_guest_new(s, leaf, &ssl) < 0 || leg_start_tls(&s->guest, ssl) < 0) {
		session_event(s, false, "cannot make a certificate for the name");
		session_end(s, true);
		return true;
	}
	session_set_state(s, SESSION_GUEST);
	return true;
}

/* Without an upstream to choose: what is simplest of what the guest can read an answer in. */
static void speak_alone(struct session *s)
{
	s->alpn = s->offer & ALPN_HTTP1 ? ALPN_HTTP1 : s->offer & ALPN_H2 ? ALPN_H2 : ALPN_NONE;
}

/* The flow ends here, but the guest shall read why. */
static bool start_refusal(struct session *s, const char *detail)
{
	s->refused = true;
	speak_alone(s);
	leg_close(&s->upstream, false);
	if (!ca_covers(&s->tp->ca, &s->key.id)) {
		refuse_hello(s, ALERT_ACCESS_DENIED, detail);
		return true;
	}
	session_event(s, false, detail);
	return start_guest(s);
}

/* It is up already, and shakes hands with nobody any more. */
static bool start_reused(struct session *s)
{
	s->alpn = s->upstream_alpn;
	return start_guest(s);
}

bool handshake_upstream(struct session *s)
{
	SSL *ssl;

	if (tls_upstream_new(s, &ssl) < 0 || leg_start_tls(&s->upstream, ssl) < 0) {
		session_event(s, false, "out of memory");
		session_end(s, true);
		return true;
	}
	session_set_state(s, SESSION_UPSTREAM);
	return true;
}

/* Nothing was dialled for it, as one was parked; which is gone, or another's. */
static bool ask_for_upstream(struct session *s)
{
	struct tlsproxy *tp = s->tp;

	list_add_tail(&tp->dialling, &s->dialling);
	session_set_state(s, SESSION_UPSTREAM);
	tp->ops.dial(tp->ctx, s->flow.id);
	return true;
}

static bool start_upstream(struct session *s)
{
	/* An alert is all that can be said to a client that speaks nothing of ours. */
	if (s->no_protocol) {
		s->refused = true;
		leg_close(&s->upstream, false);
		return start_guest(s);
	}
	if (upstream_pool_take(s))
		return start_reused(s);
	return s->upstream.fd < 0 ? ask_for_upstream(s) : handshake_upstream(s);
}

/* Whose certificate is shown and demanded: the name the guest asked for. */
static void choose_identity(struct session *s)
{
	struct identity *id = &s->key.id;

	if (s->has_sni)
		identity_from_name(id, &s->sni);
	else if (s->flow.has_name)
		identity_from_name(id, &s->flow.name);
	else
		identity_from_addr(id, &s->flow.remote.addr);
	s->key.to = s->flow.upstream;
	s->key.generation = s->tp->generation;
	s->terms = upstream_terms_of(&s->tp->trust, id);
	s->key.cert = s->terms.cert;
}

static void note_offer(struct session *s, const struct tlsproxy_sniff *sniff)
{
	s->offers_alpn = sniff->has_alpn;
	s->offer = (sniff->offers_http1 ? ALPN_HTTP1 : 0u) |
		   (sniff->offers_h2 && s->tp->offer_h2 ? ALPN_H2 : 0u);
	s->no_protocol = s->offers_alpn && !s->offer;
}

static bool start_terminate(struct session *s)
{
	if (ca_covers(&s->tp->ca, &s->key.id))
		return start_guest(s);
	refuse_hello(s, ALERT_ACCESS_DENIED, "the sandbox CA may not sign for this name");
	return true;
}

bool handshake_hello(struct session *s, const struct tlsproxy_sniff *sniff)
{
	const struct tlsproxy_flow *f = &s->flow;

	if (sniff->sni_invalid && !f->terminate) {
		refuse_hello(s, ALERT_UNRECOGNIZED_NAME, "SNI is not a host name");
		return true;
	}
	s->has_sni = sniff->has_sni;
	s->sni = sniff->sni;
	choose_identity(s);
	note_offer(s, sniff);
	if (f->terminate)
		return start_terminate(s);
	if (f->has_name && s->has_sni && !name_equal(&f->name, &s->sni)) {
		s->mismatch = true;
		snprintf(s->detail, sizeof(s->detail),
			 "SNI %.100s does not agree with the flow's name %.100s", s->sni.s,
			 f->name.s);
		return start_refusal(s, s->detail);
	}
	s->tp->ops.judge_tls(s->tp->ctx, f, s->has_sni, &s->sni, &s->verdict);
	s->judged = true;
	if (!s->verdict.allow && !s->verdict.need_http)
		return start_refusal(s, "denied by policy");
	/* The guest would not believe it: it is told so, and not by a certificate. */
	if (!ca_covers(&s->tp->ca, &s->key.id)) {
		snprintf(s->detail, sizeof(s->detail),
			 "the sandbox CA may not sign for %.100s: it was made for other names "
			 "(--tls-name-constraints)",
			 s->key.id.text);
		return start_refusal(s, s->detail);
	}
	return start_upstream(s);
}

static bool step_hello(struct session *s)
{
	struct leg *g = &s->guest;
	struct tlsproxy_sniff sniff;
	size_t room = g->head.cap - g->head.len;
	uint8_t *p;
	ssize_t n;

	if (room == 0 || buf_reserve(&g->head, MIN(room, (size_t)4096), &p) < 0) {
		refuse_hello(s, ALERT_DECODE_ERROR, "ClientHello too long");
		return true;
	}
	n = leg_recv(g, p, MIN(room, (size_t)4096));
	if (n == -EAGAIN)
		return false;
	if (n < 0) {
		session_event(s, false, "client reset the connection before its ClientHello");
		session_end(s, true);
		return true;
	}
	buf_commit(&g->head, (size_t)n);
	tlsproxy_sniff(buf_at(&g->head), g->head.len, n == 0, &sniff);
	switch (sniff.kind) {
	case TLSPROXY_SNIFF_MORE:
		return true;
	case TLSPROXY_SNIFF_TLS:
		return handshake_hello(s, &sniff);
	case TLSPROXY_SNIFF_BAD_TLS:
		refuse_hello(s, ALERT_DECODE_ERROR, "ClientHello cannot be read");
		return true;
	default:
		refuse_hello(s, 0,
			     g->head.len ? "client does not speak TLS"
					 : "client closed before its ClientHello");
		return true;
	}
}

/* ---- UPSTREAM ----------------------------------------------------------------------------- */

/* Proxy-Status error tokens are those of RFC 9209 2.3. */
static bool upstream_failed(struct session *s, unsigned status, const char *token)
{
	s->fail_status = status;
	s->fail_token = token;
	s->refused = true;
	if (s->no_protocol)
		s->alpn = ALPN_NONE;
	else
		speak_alone(s);
	ERR_clear_error();
	resume_drop(&s->tp->resume, &s->key);
	leg_close(&s->upstream, false);
	session_event(s, false, s->detail);
	return start_guest(s);
}

bool handshake_no_upstream(struct session *s, unsigned status, const char *token, const char *detail)
{
	snprintf(s->detail, sizeof(s->detail), "%s", detail);
	return upstream_failed(s, status, token);
}

static bool explain_upstream(struct session *s)
{
	struct leg *u = &s->upstream;
	long verify = SSL_get_verify_result(u->ssl);
	char text[128];

	if (verify != X509_V_OK && s->terms.verify) {
		snprintf(s->detail, sizeof(s->detail), "upstream certificate: %s",
			 X509_verify_cert_error_string(verify));
		return upstream_failed(s, 502, "tls_certificate_error");
	}
	/* The guest is told as without us: nothing it offers is spoken there. */
	if (u->tls_reason == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL &&
	    !(s->offer & ALPN_HTTP1)) {
		s->no_protocol = true;
		snprintf(s->detail, sizeof(s->detail),
			 "upstream speaks none of the protocols that the client offers (%s)",
			 alpn_names(s->offer));
		return upstream_failed(s, 502, "tls_alert_received");
	}
	if (u->tls_reason >= SSL_AD_REASON_OFFSET) {
		snprintf(s->detail, sizeof(s->detail), "upstream sent the TLS alert: %s",
			 tls_alert_text(u->tls_reason - SSL_AD_REASON_OFFSET));
		return upstream_failed(s, 502, "tls_alert_received");
	}
	if (u->fd_eof || u->wr_dead) {
		snprintf(s->detail, sizeof(s->detail),
			 "upstream closed the connection during the TLS handshake");
		return upstream_failed(s, 502, "connection_terminated");
	}
	snprintf(s->detail, sizeof(s->detail), "upstream TLS: %s",
		 tls_error_text(text, sizeof(text)));
	return upstream_failed(s, 502, "tls_protocol_error");
}

/* Both legs are to be alike: the protocol, and how long the certificate is good for. */
static void mirror_upstream(struct session *s)
{
	const X509 *cert = SSL_get0_peer_certificate(s->upstream.ssl);
	struct tm tm;

	s->alpn = s->upstream_alpn;
	/* What is not believed says nothing of how long. */
	if (s->terms.verify && cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		s->upstream_expires = timegm(&tm);
}

static bool step_upstream(struct session *s)
{
	int r = s->upstream.ssl ? leg_handshake(&s->upstream) : -EAGAIN;
	const char *why, *token;

	if (r == -EAGAIN && s->guest.gone) {
		session_event(s, false, "client went away during the upstream handshake");
		session_end(s, true);
		return true;
	}
	if (r == -EAGAIN)
		return false;
	if (r < 0)
		return explain_upstream(s);
	why = tls_upstream_refused(s, s->upstream.ssl, &s->upstream_alpn, &token);
	if (why) {
		snprintf(s->detail, sizeof(s->detail), "%s", why);
		return upstream_failed(s, 502, token);
	}
	mirror_upstream(s);
	return start_guest(s);
}

/* ---- GUEST -------------------------------------------------------------------------------- */

/* Alerts with which a client says that it does not believe our certificate. */
static bool is_distrust(const struct leg *guest)
{
	switch (guest->tls_reason - SSL_AD_REASON_OFFSET) {
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
		return true;
	default:
		return false;
	}
}

/* No host's DNS is left alone, so there is nothing to advise. */
static void advise_bypass(const struct session *s, char *out, size_t size)
{
	if (s->flow.terminate)
		out[0] = 0;
	else
		snprintf(out, size, " (--tls-bypass %.100s leaves the host alone)", s->key.id.text);
}

static const char *distrust_text(struct session *s)
{
	char advice[160];

	advise_bypass(s, advice, sizeof(advice));
	snprintf(s->detail, sizeof(s->detail),
		 "client does not trust the sandbox CA (TLS alert: %s); point it at the CA file%s",
		 tls_alert_text(s->guest.tls_reason - SSL_AD_REASON_OFFSET), advice);
	return s->detail;
}

const char *handshake_silence_text(struct session *s)
{
	char advice[160];

	if (is_distrust(&s->guest))
		return distrust_text(s);
	advise_bypass(s, advice, sizeof(advice));
	snprintf(s->detail, sizeof(s->detail),
		 "client closed after the TLS handshake without a request; it may not trust the "
		 "sandbox CA%s",
		 advice);
	return s->detail;
}

static void explain_guest(struct session *s)
{
	struct leg *g = &s->guest;
	char text[160];

	if (is_distrust(g)) {
		distrust_text(s);
	} else if (g->fd_eof) {
		advise_bypass(s, text, sizeof(text));
		snprintf(s->detail, sizeof(s->detail),
			 "client closed the connection during the TLS handshake; it may not trust "
			 "the sandbox CA%s",
			 text);
	} else if (g->tls_reason == SSL_R_NO_APPLICATION_PROTOCOL) {
		snprintf(s->detail, sizeof(s->detail),
			 "client offers no protocol that is read here (ALPN without %s)",
			 s->flow.terminate ? "dot"
			 : s->tp->offer_h2 ? "h2 or http/1.1"
					   : "http/1.1");
	} else {
		snprintf(s->detail, sizeof(s->detail), "TLS with the client: %s",
			 tls_error_text(text, sizeof(text)));
	}
	session_event(s, false, s->detail);
}

static bool step_guest(struct session *s)
{
	int r = leg_handshake(&s->guest);

	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		explain_guest(s);
		ERR_clear_error();
		/* In order, so that the alert OpenSSL wrote arrives. */
		session_set_state(s, SESSION_CLOSING);
		return true;
	}
	s->guest.owes_ticket = !s->refused;
	/* Without requests the directions do not touch. */
	s->tunnel = s->flow.terminate;
	if (!s->flow.terminate && session_start_filter(s) < 0) {
		session_event(s, false, "out of memory");
		session_end(s, true);
		return true;
	}
	session_event(s, true, NULL);
	session_set_state(s, SESSION_RELAY);
	return true;
}

bool handshake_step(struct session *s)
{
	switch (s->state) {
	case SESSION_HELLO:
		return step_hello(s);
	case SESSION_UPSTREAM:
		return step_upstream(s);
	default:
		return step_guest(s);
	}
}

void handshake_timeout(struct session *s)
{
	switch (s->state) {
	case SESSION_HELLO:
		refuse_hello(s, 0, "no ClientHello in time");
		break;
	case SESSION_UPSTREAM:
		list_del(&s->dialling);
		list_init(&s->dialling);
		snprintf(s->detail, sizeof(s->detail), "upstream did not %s within %u s",
			 s->upstream.ssl ? "finish the TLS handshake" : "answer",
			 (unsigned)(s->tp->handshake_ns / NS_PER_S));
		upstream_failed(s, 504, "connection_timeout");
		break;
	default:
		session_event(s, false, "client did not finish the TLS handshake in time");
		session_end(s, true);
	}
}
