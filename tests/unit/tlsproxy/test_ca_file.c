/* SPDX-License-Identifier: Apache-2.0 */
/* T06: an authority of the user's own: what is taken, what is refused, what it signs. */
#include "tests/unit/tlsproxy/pki_rig.h"

#include <setjmp.h>
#include <cmocka.h>

#define DAY (24L * 3600)
#define CA_TRUE                                                                                    \
	{                                                                                          \
		NID_basic_constraints, "critical,CA:TRUE"                                          \
	}
#define SIGNS                                                                                      \
	{                                                                                          \
		NID_key_usage, "critical,keyCertSign,cRLSign"                                      \
	}
#define SKID                                                                                       \
	{                                                                                          \
		NID_subject_key_identifier, "hash"                                                 \
	}

static struct identity mk_id(const char *s)
{
	struct identity id = { 0 };

	if (ip_parse(s, strlen(s), &id.addr, NULL) == 0) {
		struct ip_addr a = id.addr;

		identity_from_addr(&id, &a);
	} else {
		snprintf(id.text, sizeof(id.text), "%s", s);
	}
	return id;
}

static void expect_refusal(const char *cert, const char *key, const char *why)
{
	struct ca ca = { 0 };
	char err[512] = "";

	assert_int_equal(ca_load(&ca, cert, key, time(NULL), err, sizeof(err)), -EINVAL);
	if (!strstr(err, why))
		fail_msg("no \"%s\" in \"%s\"", why, err);
	assert_null(ca.cert);
}

/* Parity: T06. */
static void test_refused(void **state)
{
	static const struct {
		struct pki_ext ext[5];
		long from, to;
		const char *why;
	} t[] = {
		{ { { 0 } }, -DAY, DAY, "CA:TRUE" },
		{ { { NID_basic_constraints, "CA:FALSE" }, SIGNS }, -DAY, DAY, "CA:TRUE" },
		{ { CA_TRUE, { NID_key_usage, "digitalSignature" } }, -DAY, DAY, "keyCertSign" },
		{ { CA_TRUE, SIGNS, { NID_ext_key_usage, "clientAuth" } }, -DAY, DAY, "serverAuth" },
		{ { CA_TRUE, SIGNS }, DAY, 2 * DAY, "not valid yet" },
		{ { CA_TRUE, SIGNS }, -2 * DAY, -DAY, "expired" },
	};
	const struct pki_ext good[] = { CA_TRUE, SIGNS, SKID, { 0 } };
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY *rsa = EVP_RSA_gen(1024);
	struct pki a = pki_new(cert_new_key(), "A", NULL, good, -DAY, DAY), b;
	const char *cert = pki_file(a.cert, NULL, NULL, NULL),
		   *key = pki_file(NULL, NULL, a.key, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		b = pki_new(cert_new_key(), "B", NULL, t[i].ext, t[i].from, t[i].to);
		expect_refusal(pki_file(b.cert, NULL, NULL, NULL),
			       pki_file(NULL, NULL, b.key, NULL), t[i].why);
		pki_free(&b);
	}
	b = pki_new(cert_new_key(), "B", NULL, good, -DAY, DAY);
	expect_refusal(cert, pki_file(NULL, NULL, b.key, NULL), "is not the key of");
	expect_refusal(cert, cert, "holds no private key");
	expect_refusal(key, key, "holds no certificate");
	expect_refusal("/nonexistent.pem", key, "cannot be read: No such file");
	expect_refusal(cert, "/nonexistent.pem", "cannot be read: No such file");
	expect_refusal(cert, pki_file(NULL, NULL, a.key, "word"), "encrypted");
	expect_refusal("/dev/null", key, "holds no certificate");
	expect_refusal(pki_file(a.cert, b.cert, NULL, NULL), key, "did not issue");
	pki_free(&b);
	b = pki_new(ed, "B", NULL, good, -DAY, DAY);
	expect_refusal(pki_file(b.cert, NULL, NULL, NULL), pki_file(NULL, NULL, ed, NULL),
		       "EC or RSA");
	pki_free(&b);
	b = pki_new(rsa, "B", NULL, good, -DAY, DAY);
	expect_refusal(pki_file(b.cert, NULL, NULL, NULL), pki_file(NULL, NULL, rsa, NULL),
		       "too short");
	pki_free(&b);
	pki_free(&a);
}

/* As a client with only the root. */
static int verify(X509 *root, const struct ca *ca, X509 *leaf, const char *host)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int r;

	X509_STORE_add_cert(store, root);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, ca->presented), 1);
	X509_STORE_CTX_set_default(ctx, "ssl_server");
	X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), host, 0);
	r = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return r;
}

/* Parity: T06: a root of an RSA key, and an authority below it, constrained, of an EC key. */
static void test_taken(void **state)
{
	const struct pki_ext root_ext[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:1" }, SIGNS, SKID, { 0 }
	};
	const struct pki_ext tight_ext[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" }, SIGNS, SKID, { 0 }
	};
	const struct pki_ext ext[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
		SIGNS,
		SKID,
		{ NID_name_constraints,
		  "critical,permitted;DNS:example.com,excluded;DNS:no.example.com,"
		  "permitted;IP:192.0.2.0/255.255.255.0" },
		{ 0 }
	};
	struct pki root = pki_new(EVP_RSA_gen(2048), "Root", NULL, root_ext, -DAY, 10 * DAY);
	struct pki tight = pki_new(EVP_RSA_gen(2048), "Tight", NULL, tight_ext, -DAY, 10 * DAY);
	struct pki sub = pki_new(cert_new_key(), "Sub", &root, ext, -2 * 3600, 5 * DAY);
	struct pki low = pki_new(cert_new_key(), "Low", &tight, ext, -2 * 3600, 5 * DAY);
	static const struct {
		const char *id;
		bool covered;
	} t[] = {
		{ "example.com", true },     { "api.example.com", true },
		{ "no.example.com", false }, { "x.no.example.com", false },
		{ "example.org", false },    { "192.0.2.7", true },
		{ "192.0.3.7", false },
	};
	struct identity id = mk_id("api.example.com");
	time_t now = time(NULL);
	char err[512] = "";
	struct leaf_cache lc;
	struct ca ca;
	X509 *cert;

	(void)state;
	expect_refusal(pki_file(low.cert, tight.cert, NULL, NULL),
		       pki_file(NULL, NULL, low.key, NULL), "path length 0");
	/* Certificate and key in one file. */
	assert_int_equal(ca_load(&ca, pki_file(root.cert, NULL, root.key, NULL),
				 pki_file(NULL, NULL, root.key, NULL), now, err, sizeof(err)),
			 0);
	assert_null(ca.presented);
	assert_int_equal(leaf_cache_init(&lc, &ca), 0);
	assert_int_equal(leaf_get(&lc, &id, now, 0, &cert), 0);
	assert_int_equal(verify(root.cert, &ca, cert, "api.example.com"), X509_V_OK);
	leaf_cache_fini(&lc);
	ca_fini(&ca);

	assert_int_equal(ca_load(&ca, pki_file(sub.cert, root.cert, NULL, NULL),
				 pki_file(NULL, NULL, sub.key, NULL), now, err, sizeof(err)),
			 0);
	assert_int_equal(ca.not_after, now + 5 * DAY);
	assert_non_null(strstr(strstr(ca.pem, "BEGIN CERTIFICATE") + 1, "BEGIN CERTIFICATE"));
	assert_null(strstr(ca.pem, "PRIVATE"));
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		id = mk_id(t[i].id);
		if (ca_covers(&ca, &id) != t[i].covered)
			fail_msg("%s", t[i].id);
	}
	id = mk_id("api.example.com");
	assert_int_equal(leaf_cache_init(&lc, &ca), 0);
	assert_int_equal(leaf_get(&lc, &id, now, 0, &cert), 0);
	assert_int_equal(verify(root.cert, &ca, cert, "api.example.com"), X509_V_OK);
	/* No leaf is older than its authority. */
	assert_true(ASN1_TIME_compare(X509_get0_notBefore(cert), X509_get0_notBefore(sub.cert)) >= 0);
	id = mk_id("example.org");
	assert_int_equal(leaf_get(&lc, &id, now, 0, &cert), 0);
	assert_int_equal(verify(root.cert, &ca, cert, "example.org"), X509_V_ERR_PERMITTED_VIOLATION);
	leaf_cache_fini(&lc);
	ca_fini(&ca);
	pki_free(&root);
	pki_free(&tight);
	pki_free(&sub);
	pki_free(&low);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	pki_files_gone();
	return r;
}
