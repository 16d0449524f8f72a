/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an upstream's certificate is held against once its chain is verified:
 *
 *   pins       of the host, if it has any: one of them must be the key of a certificate of
 *              the verified chain (RFC 7469 2.6), or the server's own certificate
 *   staples    an OCSP response that comes with the handshake (RFC 6066 8, RFC 6960) must
 *              be good: signed for the issuer, of now, about this certificate, and say
 *              "good". None is fine, unless the certificate promises one (RFC 7633).
 *
 * Nobody is asked over the network: this process has none. Both are looked at when a
 * certificate is shown; a resumed session rests on the one it was made with.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>

enum { STATUS_REQUEST = 5 }; /* RFC 7633: the extension of a hello that is meant */

/* ---- pins -------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *s, uint8_t out[static 32])
{
	for (size_t i = 0; i < 32; i++) {
		int hi = hex_digit(s[2 * i]), lo = hi < 0 ? -1 : hex_digit(s[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return !s[64];
}

static bool read_base64(const char *s, uint8_t out[static 32])
{
	unsigned char raw[33];

	/* 32 bytes are 43 digits and one "=". */
	if (strlen(s) != 44 || s[43] != '=' || s[42] == '=')
		return false;
	if (EVP_DecodeBlock(raw, (const unsigned char *)s, 44) != 33) {
		ERR_clear_error();
		return false;
	}
	memcpy(out, raw, 32);
	return true;
}

int tlsproxy_pin_parse(const char *s, struct tlsproxy_pin *ret, const char **ret_why)
{
	struct tlsproxy_pin pin = { 0 };
	bool ok = false;

	if (str_starts(s, "sha256/")) {
		ok = read_base64(s + strlen("sha256/"), pin.sha256);
	} else if (str_starts(s, "cert-sha256/")) {
		pin.whole = true;
		ok = read_hex(s + strlen("cert-sha256/"), pin.sha256);
	}
	if (!ok) {
		*ret_why = "a pin is sha256/BASE64, of a public key, or cert-sha256/HEX, of a "
			   "certificate";
		return -EINVAL;
	}
	*ret = pin;
	return 0;
}

static bool key_digest(const X509 *cert, unsigned char md[static EVP_MAX_MD_SIZE])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return ok;
}

static bool is_pinned(const struct tlsproxy_pin *pin, SSL *ssl, X509 *own,
		      const STACK_OF(X509) * chain)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len;

	if (pin->whole)
		return X509_digest(own, EVP_sha256(), md, &len) &&
		       memcmp(md, pin->sha256, sizeof(pin->sha256)) == 0;
	/* What is not verified may name any certificate above its own. */
	if (SSL_get_verify_result(ssl) != X509_V_OK || !chain)
		return key_digest(own, md) && memcmp(md, pin->sha256, sizeof(pin->sha256)) == 0;
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (key_digest(sk_X509_value(chain, i), md) &&
		    memcmp(md, pin->sha256, sizeof(pin->sha256)) == 0)
			return true;
	return false;
}

static bool pins_hold(const struct upstream_terms *t, SSL *ssl, X509 *own,
		      const STACK_OF(X509) * chain)
{
	for (size_t i = 0; i < t->n_pins; i++)
		if (is_pinned(&t->pins[i], ssl, own, chain))
			return true;
	return t->n_pins == 0;
}

/* ---- staples ------------------------------------------------------------------- */

static bool promises_staple(const X509 *cert)
{
	TLS_FEATURE *features = X509_get_ext_d2i(cert, NID_tlsfeature, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST;
	sk_ASN1_INTEGER_pop_free(features, ASN1_INTEGER_free);
	return found;
}

/* Is this answer about that certificate? Responders choose the digest of the id. */
static bool is_about(const OCSP_SINGLERESP *single, const X509 *own, const X509 *issuer)
{
	OCSP_CERTID *theirs = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single), *ours;
	ASN1_OBJECT *alg = NULL;
	bool same;

	if (!OCSP_id_get0_info(NULL, &alg, NULL, NULL, theirs) || !EVP_get_digestbyobj(alg))
		return false;
	ours = OCSP_cert_to_id(EVP_get_digestbyobj(alg), own, issuer);
	same = ours && OCSP_id_cmp(ours, theirs) == 0;
	OCSP_CERTID_free(ours);
	return same;
}

static const char *judge_single(OCSP_SINGLERESP *single)
{
	ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *to = NULL;
	int reason = 0, status = OCSP_single_get0_status(single, &reason, &revoked, &from, &to);

	if (!OCSP_check_validity(from, to, TLSPROXY_STAPLE_SKEW_S, to ? -1 : TLSPROXY_STAPLE_AGE_S))
		return "upstream certificate: its stapled OCSP response is not of now";
	if (status == V_OCSP_CERTSTATUS_REVOKED)
		return "upstream certificate: revoked, says its stapled OCSP response";
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return "upstream certificate: unknown to its authority, says its stapled OCSP "
		       "response";
	return NULL;
}

static const char *judge_basic(OCSP_BASICRESP *basic, X509 *own, STACK_OF(X509) * chain,
			       X509_STORE *store)
{
	X509 *issuer = sk_X509_num(chain) > 1 ? sk_X509_value(chain, 1) : own;

	if (OCSP_basic_verify(basic, chain, store, 0) != 1)
		return "upstream certificate: its stapled OCSP response is not signed by its "
		       "authority";
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);

		if (is_about(single, own, issuer))
			return judge_single(single);
	}
	return "upstream certificate: its stapled OCSP response is about another one";
}

static const char *judge_staple(const unsigned char *der, long len, X509 *own,
				STACK_OF(X509) * chain, X509_STORE *store)
{
	const char *why = "upstream certificate: its stapled OCSP response cannot be read";
	OCSP_RESPONSE *response;
	OCSP_BASICRESP *basic = NULL;

	if (len > TLSPROXY_STAPLE_MAX)
		return "upstream certificate: its stapled OCSP response is too long";
	response = d2i_OCSP_RESPONSE(NULL, &der, len);
	if (response && OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		why = "upstream certificate: its stapled OCSP response is an error";
	else if (response)
		basic = OCSP_response_get1_basic(response);
	if (basic)
		why = judge_basic(basic, own, chain, store);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return why;
}

static const char *staple_refused(SSL *ssl, X509 *own, STACK_OF(X509) * chain, X509_STORE *store)
{
	const unsigned char *der = NULL;
	long len = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
	const char *why = NULL;

	if (der && len > 0)
		why = judge_staple(der, len, own, chain, store);
	else if (promises_staple(own))
		why = "upstream certificate: it promises a stapled OCSP response (RFC 7633), and "
		      "none came";
	ERR_clear_error();
	return why;
}

const char *upstream_certificate_refused(const struct session *s, SSL *ssl)
{
	const struct upstream_terms *t = &s->terms;
	X509 *own = SSL_get0_peer_certificate(ssl);
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);

	if (t->verify && SSL_get_verify_result(ssl) != X509_V_OK)
		return "upstream certificate: not what was asked for";
	if (SSL_session_reused(ssl))
		return NULL;
	if (!own)
		return "upstream certificate: none was shown";
	if (!pins_hold(t, ssl, own, chain))
		return "upstream certificate: none of the keys pinned for this host is in it";
	if (!t->verify || !chain)
		return NULL;
	return staple_refused(ssl, own, chain, t->store ? t->store : s->tp->trust.store);
}
