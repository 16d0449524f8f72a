/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T03, T04, T05 and what goes beyond: verification, authorities, client certificates and
 * pins per host; stapled revocation. Whole flows, with servers of every kind.
 */
#include "tests/unit/tlsproxy/session_rig.h"

#include "tests/unit/tlsproxy/pki_rig.h"

#include <openssl/ocsp.h>

#define DAY (24L * 3600)

static struct tlsproxy_host_pattern pattern(const char *s)
{
	struct tlsproxy_host_pattern p = { 0 };
	const char *why;

	assert_int_equal(tlsproxy_host_pattern_parse(s, strlen(s), &p, &why), 0);
	return p;
}

static struct flow_case get_case(void)
{
	return (struct flow_case){ .client = client_get, .server = server_hello, .sni = HOST };
}

/* ---- pins: their form --------------------------------------------------------- */

static void test_pin_forms(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256",
		"sha256/",
		"sha1/AAAA",
		"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
		"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA*A=",
		"cert-sha256/00",
		"cert-sha256/zz00000000000000000000000000000000000000000000000000000000000000",
		"cert-sha256/0000000000000000000000000000000000000000000000000000000000000000a",
	};
	struct tlsproxy_pin pin;
	const char *why = NULL;

	(void)state;
	assert_int_equal(tlsproxy_pin_parse(
				 "sha256/AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=", &pin, &why),
			 0);
	assert_false(pin.whole);
	for (int i = 0; i < 32; i++)
		assert_int_equal(pin.sha256[i], i + 1);
	assert_int_equal(tlsproxy_pin_parse(
				 "cert-sha256/"
				 "0102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
				 &pin, &why),
			 0);
	assert_true(pin.whole);
	for (int i = 0; i < 32; i++)
		assert_int_equal(pin.sha256[i], i + 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (tlsproxy_pin_parse(bad[i], &pin, &why) != -EINVAL || !why)
			fail_msg("%s", bad[i]);
}

/* ---- the most specific wins, field by field ---------------------------------------- */

/* Parity: T04. */
static void test_terms(void **state)
{
	static const struct tlsproxy_pin pins[3];
	const struct tlsproxy_upstream u[] = {
		{ .host = pattern(".example.com"),
		  .verify = TLSPROXY_NO_VERIFY,
		  .pins = pins,
		  .n_pins = 1 },
		{ .host = pattern("*.example.com"), .verify = TLSPROXY_VERIFY },
		{ .host = pattern("*.b.example.com"), .verify = TLSPROXY_NO_VERIFY },
		{ .host = pattern("x.b.example.com"), .pins = pins, .n_pins = 2 },
		{ .is_addr = true, .addr = ip4(192, 0, 2, 1), .verify = TLSPROXY_NO_VERIFY },
	};
	static const struct {
		const char *id;
		bool verify;
		size_t n_pins;
	} t[] = {
		{ "example.com", false, 1 },	 { "a.example.com", true, 1 },
		{ "y.b.example.com", false, 1 }, { "x.b.example.com", false, 2 },
		{ "b.example.com", true, 1 },	 { "example.org", true, 0 },
	};
	struct tlsproxy_config cfg = { .upstreams = u, .n_upstreams = ARRAY_SIZE(u) };
	struct identity addr, other;
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct identity id = { 0 };
		struct upstream_terms terms;

		snprintf(id.text, sizeof(id.text), "%s", t[i].id);
		terms = upstream_terms_of(&rig.tp->trust, &id);
		if (terms.verify != t[i].verify || terms.n_pins != t[i].n_pins)
			fail_msg("%s: %d, %zu", t[i].id, terms.verify, terms.n_pins);
	}
	identity_from_addr(&addr, &(struct ip_addr){ 4, { 192, 0, 2, 1 } });
	identity_from_addr(&other, &(struct ip_addr){ 4, { 192, 0, 2, 2 } });
	assert_false(upstream_terms_of(&rig.tp->trust, &addr).verify);
	assert_true(upstream_terms_of(&rig.tp->trust, &other).verify);
	rig_down(&rig);
}

/* ---- verification and authorities ---------------------------------------------------- */

/* Parity: T03, T04, T05. */
static void test_verify(void **state)
{
	static const struct {
		bool global_off;
		const char *host;
		enum tlsproxy_verify verify;
		bool ca; /* the stranger's, for that host */
		bool up, unverified;
	} t[] = {
		{ false, "else.example", TLSPROXY_NO_VERIFY, false, false, false },
		{ false, HOST, TLSPROXY_NO_VERIFY, false, true, true },
		{ false, "*.example.com", TLSPROXY_NO_VERIFY, false, true, true },
		{ true, "else.example", TLSPROXY_VERIFY, false, true, true },
		{ true, HOST, TLSPROXY_VERIFY, false, false, false },
		{ false, HOST, TLSPROXY_VERIFY_DEFAULT, true, true, false },
		{ false, "else.example", TLSPROXY_VERIFY_DEFAULT, true, false, false },
		{ true, HOST, TLSPROXY_VERIFY, true, true, false },
	};
	const char *file = pki_file(stranger_ca.cert, NULL, NULL, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct tlsproxy_upstream u = { .host = pattern(t[i].host),
					       .verify = t[i].verify,
					       .ca_file = t[i].ca ? file : NULL };
		struct tlsproxy_config cfg = { .upstreams = &u,
					       .n_upstreams = 1,
					       .no_verify = t[i].global_off };
		struct flow_case c = get_case(), known = get_case();
		struct rig rig;

		rig_up(&rig, &cfg);
		c.server_untrusted = true;
		run_on(&rig, &c);
		if (!!strstr(c.reply, "200 OK") != t[i].up || c.unverified != t[i].unverified)
			fail_msg("case %zu: unverified %d, %s", i, c.unverified, c.reply);
		/* Everybody's authorities are believed as before. */
		run_on(&rig, &known);
		expect_reply(&known, "hello");
		rig_down(&rig);
	}
}

#define SECRET_VALUE "sk-live-0123456789abcdef"
static const char *placeholder;
static bool secret_arrived;

static void client_with_secret(struct flow_case *c, struct end *e)
{
	char head[512];

	snprintf(head, sizeof(head),
		 "GET / HTTP/1.1\r\nHost: " HOST
		 "\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n",
		 placeholder);
	end_puts(e, head);
	client_read_all(c, e);
}

static void server_looks(struct flow_case *c, struct end *e)
{
	char head[4096];

	(void)c;
	while (end_head(e, head, sizeof(head))) {
		secret_arrived |= strstr(head, SECRET_VALUE) != NULL;
		end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		break;
	}
}

/* Parity: T03. */
static void test_no_secret_unverified(void **state)
{
	struct tlsproxy_host_pattern host = pattern(HOST);
	struct tlsproxy_secret secret = { .env = "KEY",
					  .value = SECRET_VALUE,
					  .value_len = strlen(SECRET_VALUE),
					  .hosts = &host,
					  .n_hosts = 1,
					  .places = TLSPROXY_PLACES_DEFAULT,
					  .on_violation = TLSPROXY_BLOCK_AND_LOG };

	(void)state;
	for (int off = 0; off < 2; off++) {
		struct tlsproxy_upstream u = { .host = host,
					       .verify = off ? TLSPROXY_NO_VERIFY : TLSPROXY_VERIFY };
		struct tlsproxy_config cfg = {
			.secrets = &secret, .n_secrets = 1, .upstreams = &u, .n_upstreams = 1
		};
		struct flow_case c = get_case();
		struct rig rig;

		c.client = client_with_secret;
		c.server = server_looks;
		secret_arrived = false;
		rig_up(&rig, &cfg);
		placeholder = tlsproxy_placeholder(rig.tp, 0);
		run_on(&rig, &c);
		assert_int_equal(secret_arrived, !off);
		expect_reply(&c, off ? "HTTP/1.1 403" : "HTTP/1.1 200");
		rig_down(&rig);
	}
}

/* ---- client certificates --------------------------------------------------------------- */

static void server_names_client(struct flow_case *c, struct end *e)
{
	X509 *cert = SSL_get0_peer_certificate(e->ssl);
	char cn[64] = "nobody", head[4096], reply[256];

	(void)c;
	if (cert)
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn,
					  sizeof(cn));
	if (!end_head(e, head, sizeof(head)))
		return;
	snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(cn), cn);
	end_puts(e, reply);
	SSL_shutdown(e->ssl);
}

static int any_client(int ok, X509_STORE_CTX *ctx)
{
	(void)ok;
	(void)ctx;
	return 1;
}

/* Parity: weak-15. */
static void test_client_cert(void **state)
{
	struct pki me = pki_new(cert_new_key(), "me", NULL, NULL, -DAY, DAY);
	struct pki us = pki_new(cert_new_key(), "us", NULL, NULL, -DAY, DAY);
	const struct tlsproxy_upstream u[] = {
		{ .host = pattern(".example.com"),
		  .cert_file = pki_file(us.cert, NULL, us.key, NULL) },
		{ .host = pattern(HOST),
		  .cert_file = pki_file(me.cert, NULL, NULL, NULL),
		  .key_file = pki_file(NULL, NULL, me.key, NULL) },
	};
	static const char *const t[][2] = { { HOST, "me" },
					    { "v2.example.com", "us" },
					    { "example.org", "nobody" } };
	struct tlsproxy_config cfg = { .upstreams = u, .n_upstreams = ARRAY_SIZE(u) };
	struct tlsproxy_upstream wrong = { .host = pattern(HOST),
					   .cert_file = pki_file(me.cert, NULL, NULL, NULL),
					   .key_file = pki_file(NULL, NULL, us.key, NULL) };
	struct tlsproxy_config bad = { .upstreams = &wrong, .n_upstreams = 1 };
	struct tlsproxy *tp = NULL;
	char err[512] = "";
	struct loop *loop;
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(t); i++) {
		struct flow_case c = get_case();

		c.server = server_names_client;
		c.sni = c.server_cert = t[i / 2][0];
		c.server_tls12 = i & 1;
		c.server_ctx = server_ctx(&c);
		SSL_CTX_set_verify(c.server_ctx, SSL_VERIFY_PEER, any_client);
		run_on(&rig, &c);
		expect_reply(&c, t[i / 2][1]);
		SSL_CTX_free(c.server_ctx);
	}
	rig_down(&rig);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(tlsproxy_new(loop, &bad, &ops, NULL, &tp, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "is not the key of"));
	loop_free(loop);
	pki_free(&me);
	pki_free(&us);
}

/* ---- pins ----------------------------------------------------------------------------- */

static struct tlsproxy_pin pin_of(X509 *cert, bool whole)
{
	struct tlsproxy_pin pin = { .whole = whole };
	unsigned char *der = NULL;
	unsigned len;
	int n;

	if (whole) {
		X509_digest(cert, EVP_sha256(), pin.sha256, &len);
	} else {
		n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
		EVP_Digest(der, (size_t)n, pin.sha256, &len, EVP_sha256(), NULL);
		OPENSSL_free(der);
	}
	return pin;
}

/* Parity: weak-15. */
static void test_pins(void **state)
{
	struct identity id = { .text = HOST };
	struct tlsproxy_pin pins[2];
	X509 *own, *other;

	(void)state;
	assert_int_equal(leaf_get(&world_leaves, &id, time(NULL), 0, &own), 0);
	other = stranger_ca.cert;
	for (int i = 0; i < 6; i++) {
		struct tlsproxy_upstream u = { .host = pattern(HOST), .pins = pins, .n_pins = 2 };
		struct tlsproxy_config cfg = { .upstreams = &u, .n_upstreams = 1 };
		struct flow_case c = get_case();
		bool up = i < 3;
		struct rig rig;

		pins[0] = pin_of(other, i & 1);
		pins[1] = i == 0   ? pin_of(own, false)
			  : i == 1 ? pin_of(own, true)
			  : i == 2 ? pin_of(world_ca.cert, false) /* a key above it */
			  : i == 3 ? pin_of(world_ca.cert, true)  /* is not the server's own */
				   : pin_of(other, false);
		if (i == 5) /* unverified: the pins still count */
			u.verify = TLSPROXY_NO_VERIFY;
		rig_up(&rig, &cfg);
		run_on(&rig, &c);
		if (!up)
			expect_detail(&c, "pinned");
		expect_reply(&c, up ? "HTTP/1.1 200" : "HTTP/1.1 502");
		rig_down(&rig);
	}
}

/* ---- staples -------------------------------------------------------------------------------- */

enum staple {
	NONE,
	GOOD,
	GOOD_DELEGATED,
	GOOD_SHA256,
	REVOKED,
	UNKNOWN,
	OLD,
	OF_OTHER,
	BY_OTHER,
	ERROR_RESPONSE,
	GARBAGE,
	LONG,
	STAPLES
};

static const unsigned char *staple_der;
static int staple_len;

static int on_status(SSL *ssl, void *arg)
{
	unsigned char *copy;

	(void)arg;
	if (!staple_len)
		return SSL_TLSEXT_ERR_NOACK;
	copy = OPENSSL_memdup(staple_der, (size_t)staple_len);
	SSL_set_tlsext_status_ocsp_resp(ssl, copy, staple_len);
	return SSL_TLSEXT_ERR_OK;
}

static OCSP_BASICRESP *basic_of(enum staple how, X509 *own, const struct pki *ca,
				const struct pki *stranger, const struct pki *delegate)
{
	const struct pki *by = how == BY_OTHER ? stranger : how == GOOD_DELEGATED ? delegate : ca;
	int status = how == REVOKED   ? V_OCSP_CERTSTATUS_REVOKED
		     : how == UNKNOWN ? V_OCSP_CERTSTATUS_UNKNOWN
				      : V_OCSP_CERTSTATUS_GOOD;
	time_t now = time(NULL);
	ASN1_TIME *from = ASN1_GENERALIZEDTIME_set(NULL, now - (how == OLD ? 10 * DAY : 60));
	ASN1_TIME *to = ASN1_GENERALIZEDTIME_set(NULL, now + (how == OLD ? -9 * DAY : DAY));
	OCSP_CERTID *id = OCSP_cert_to_id(how == GOOD_SHA256 ? EVP_sha256() : EVP_sha1(),
					  how == OF_OTHER ? stranger->cert : own, ca->cert);
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();

	OCSP_basic_add1_status(basic, id, status, OCSP_REVOKED_STATUS_KEYCOMPROMISE,
			       status == V_OCSP_CERTSTATUS_REVOKED ? from : NULL, from, to);
	assert_int_equal(OCSP_basic_sign(basic, by->cert, by->key, EVP_sha256(), NULL, 0), 1);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	return basic;
}

static int make_staple(enum staple how, X509 *own, const struct pki *ca, const struct pki *stranger,
		       const struct pki *delegate, unsigned char **ret)
{
	OCSP_BASICRESP *basic;
	OCSP_RESPONSE *r;
	int n;

	*ret = NULL;
	if (how == NONE)
		return 0;
	if (how == GARBAGE || how == LONG) {
		n = how == LONG ? 17000 : 40;
		*ret = OPENSSL_zalloc((size_t)n);
		return n;
	}
	basic = basic_of(how, own, ca, stranger, delegate);
	r = OCSP_response_create(how == ERROR_RESPONSE ? OCSP_RESPONSE_STATUS_TRYLATER
						       : OCSP_RESPONSE_STATUS_SUCCESSFUL,
				 how == ERROR_RESPONSE ? NULL : basic);
	n = i2d_OCSP_RESPONSE(r, ret);
	OCSP_RESPONSE_free(r);
	OCSP_BASICRESP_free(basic);
	return n;
}

static void test_staples(void **state)
{
	static const struct pki_ext ca_ext[] = { { NID_basic_constraints, "critical,CA:TRUE" },
						 { NID_subject_key_identifier, "hash" },
						 { 0 } };
	static const struct pki_ext plain[] = { { NID_subject_alt_name, "DNS:" HOST }, { 0 } };
	static const struct pki_ext must[] = { { NID_subject_alt_name, "DNS:" HOST },
					       { NID_tlsfeature, "status_request" },
					       { 0 } };
	static const struct pki_ext ocsp[] = { { NID_ext_key_usage, "OCSPSigning" }, { 0 } };
	static const struct {
		enum staple how;
		bool must;
		const char *why; /* NULL: fine */
	} t[] = {
		{ NONE, false, NULL },
		{ NONE, true, "promises" },
		{ GOOD, false, NULL },
		{ GOOD, true, NULL },
		{ GOOD_DELEGATED, true, NULL },
		{ GOOD_SHA256, true, NULL },
		{ REVOKED, false, "revoked" },
		{ REVOKED, true, "revoked" },
		{ UNKNOWN, false, "unknown to its authority" },
		{ OLD, false, "not of now" },
		{ OF_OTHER, false, "about another one" },
		{ BY_OTHER, false, "not signed by its authority" },
		{ ERROR_RESPONSE, false, "is an error" },
		{ GARBAGE, false, "cannot be read" },
		{ LONG, false, "upstream" } /* with TLS 1.2 OpenSSL refuses it first */,
	};
	struct pki ca = pki_new(cert_new_key(), "CA", NULL, ca_ext, -DAY, DAY);
	struct pki stranger = pki_new(cert_new_key(), "CA", NULL, ca_ext, -DAY, DAY);
	struct pki delegate = pki_new(cert_new_key(), "Responder", &ca, ocsp, -DAY, DAY);
	const char *file = pki_file(ca.cert, NULL, NULL, NULL);

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(t); i++) {
		struct pki own =
			pki_new(cert_new_key(), HOST, &ca, t[i / 2].must ? must : plain, -DAY, DAY);
		struct tlsproxy_upstream u = { .host = pattern(HOST), .ca_file = file };
		struct tlsproxy_config cfg = { .upstreams = &u, .n_upstreams = 1 };
		struct flow_case c = get_case();
		unsigned char *der;
		struct rig rig;

		staple_len = make_staple(t[i / 2].how, own.cert, &ca, &stranger, &delegate, &der);
		staple_der = der;
		c.server_tls12 = i & 1;
		c.server_ctx = server_ctx(&c);
		SSL_CTX_use_certificate(c.server_ctx, own.cert);
		SSL_CTX_use_PrivateKey(c.server_ctx, own.key);
		SSL_CTX_set_tlsext_status_cb(c.server_ctx, on_status);
		rig_up(&rig, &cfg);
		run_on(&rig, &c);
		if (t[i / 2].why) {
			expect_detail(&c, t[i / 2].why);
			expect_reply(&c, "HTTP/1.1 502");
			assert_int_equal(rig.tp->resume.count, 0);
		} else {
			if (!strstr(c.reply, "200 OK"))
				fail_msg("case %zu: %s", i / 2, c.detail);
		}
		rig_down(&rig);
		SSL_CTX_free(c.server_ctx);
		OPENSSL_free(der);
		pki_free(&own);
	}
	pki_free(&ca);
	pki_free(&stranger);
	pki_free(&delegate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pin_forms),   cmocka_unit_test(test_terms),
		cmocka_unit_test(test_verify),	    cmocka_unit_test(test_no_secret_unverified),
		cmocka_unit_test(test_client_cert), cmocka_unit_test(test_pins),
		cmocka_unit_test(test_staples),
	};
	int r = cmocka_run_group_tests(tests, group_up, group_down);

	pki_files_gone();
	return r;
}
