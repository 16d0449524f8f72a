/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CA and leaves, judged by OpenSSL's own verifier as a guest would: names,
 * addresses, constraints, validity; then the cache, the trust store and the
 * upstream session cache.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <cmocka.h>

static struct name mk_name(const char *s)
{
	struct name n;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	return n;
}

static struct identity mk_id(const char *s)
{
	struct identity id;
	struct ip_addr a;
	struct name n;

	if (ip_parse(s, strlen(s), &a, NULL) == 0) {
		identity_from_addr(&id, &a);
	} else {
		n = mk_name(s);
		identity_from_name(&id, &n);
	}
	return id;
}

/* X509_V_ code of verifying leaf for host as a TLS client at that time. */
static int verify(const struct ca *ca, X509 *leaf, const char *host, time_t when)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	struct identity id = mk_id(host);
	X509_VERIFY_PARAM *param;
	int r;

	X509_STORE_add_cert(store, ca->cert);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, NULL), 1);
	X509_STORE_CTX_set_default(ctx, "ssl_server");
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	if (id.is_addr)
		X509_VERIFY_PARAM_set1_ip(param, id.addr.b, ip_size(&id.addr));
	else
		X509_VERIFY_PARAM_set1_host(param, host, 0);
	X509_VERIFY_PARAM_set_time(param, when);
	r = X509_verify_cert(ctx);
	r = r == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return r;
}

static X509 *leaf(struct leaf_cache *lc, const char *host, time_t now)
{
	struct identity id = mk_id(host);
	X509 *cert;

	assert_int_equal(leaf_get(lc, &id, now, 0, &cert), 0);
	return cert;
}

static void test_ca(void **state)
{
	time_t now = time(NULL);
	struct ca a, b;

	(void)state;
	assert_int_equal(ca_init(&a, NULL, 0, 0, now), 0);
	assert_int_equal(ca_init(&b, NULL, 0, 0, now), 0);
	assert_non_null(strstr(a.pem, "BEGIN CERTIFICATE"));
	assert_null(strstr(a.pem, "PRIVATE"));
	assert_string_not_equal(a.pem, b.pem);
	assert_int_equal(X509_check_ca(a.cert), 1);
	assert_int_equal(X509_get_pathlen(a.cert), 0);
	assert_int_equal(X509_get_key_usage(a.cert), KU_KEY_CERT_SIGN);
	assert_int_equal(X509_check_issued(a.cert, a.cert), X509_V_OK);
	assert_non_null(X509_get0_subject_key_id(a.cert));
	assert_int_equal(ca_init(&b, NULL, 0, TLSPROXY_CA_HOURS_MAX + 1, now), -EINVAL);
	ca_fini(&a);
	ca_fini(&b);
}

/* Parity: lesson-31, T07. */
static void test_leaves(void **state)
{
	static const char *const long_name =
		"a2345678901234567890123456789012345678901234567890.example.example.example";
	time_t now = time(NULL);
	struct leaf_cache lc;
	struct ca ca, other;
	X509 *cert;

	(void)state;
	assert_int_equal(ca_init(&ca, NULL, 0, 0, now), 0);
	assert_int_equal(ca_init(&other, NULL, 0, 0, now), 0);
	assert_int_equal(leaf_cache_init(&lc, &ca), 0);
	cert = leaf(&lc, "api.example.com", now);
	assert_int_equal(verify(&ca, cert, "api.example.com", now), X509_V_OK);
	/* A guest whose clock is off. */
	assert_int_equal(verify(&ca, cert, "api.example.com", now - 14 * 3600), X509_V_OK);
	assert_int_equal(verify(&ca, cert, "api.example.com", now + 23 * 3600), X509_V_OK);
	assert_int_equal(verify(&ca, cert, "api.example.com", now + 26 * 3600),
			 X509_V_ERR_CERT_HAS_EXPIRED);
	assert_int_equal(verify(&ca, cert, "example.com", now), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(&ca, cert, "x.api.example.com", now), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_not_equal(verify(&other, cert, "api.example.com", now), X509_V_OK);
	assert_int_equal(X509_check_ca(cert), 0);
	assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);

	cert = leaf(&lc, "192.0.2.1", now);
	assert_int_equal(verify(&ca, cert, "192.0.2.1", now), X509_V_OK);
	assert_int_equal(verify(&ca, cert, "192.0.2.2", now), X509_V_ERR_IP_ADDRESS_MISMATCH);
	assert_int_equal(verify(&ca, leaf(&lc, "2001:db8::1", now), "2001:db8::1", now), X509_V_OK);
	assert_int_equal(verify(&ca, leaf(&lc, long_name, now), long_name, now), X509_V_OK);
	assert_int_equal(verify(&ca, leaf(&lc, "under_score.a.b", now), "under_score.a.b", now),
			 X509_V_OK);
	leaf_cache_fini(&lc);
	ca_fini(&ca);
	ca_fini(&other);
}

static void test_name_constraints(void **state)
{
	struct name permitted[] = { mk_name("api.example.com"), mk_name("pypi.org") };
	time_t now = time(NULL);
	struct leaf_cache lc;
	struct identity id;
	struct ca ca;

	(void)state;
	assert_int_equal(ca_init(&ca, permitted, ARRAY_SIZE(permitted), 0, now), 0);
	assert_int_equal(leaf_cache_init(&lc, &ca), 0);
	static const struct {
		const char *host;
		int code;
	} t[] = {
		{ "api.example.com", X509_V_OK },
		{ "v2.api.example.com", X509_V_OK },
		{ "pypi.org", X509_V_OK },
		{ "files.pypi.org", X509_V_OK },
		{ "example.com", X509_V_ERR_PERMITTED_VIOLATION },
		{ "notpypi.org", X509_V_ERR_PERMITTED_VIOLATION },
		{ "bank.example", X509_V_ERR_PERMITTED_VIOLATION },
		{ "192.0.2.1", X509_V_OK },
	};
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		id = mk_id(t[i].host);
		assert_int_equal(verify(&ca, leaf(&lc, t[i].host, now), t[i].host, now), t[i].code);
		assert_int_equal(ca_covers(&ca, &id), t[i].code == X509_V_OK);
	}
	leaf_cache_fini(&lc);
	ca_fini(&ca);
}

/* Parity: lesson-32, T07. */
static void test_leaf_cache(void **state)
{
	time_t now = time(NULL), later;
	struct leaf_cache lc;
	X509 *cert, *again;
	struct ca ca;
	char host[64];

	(void)state;
	assert_int_equal(ca_init(&ca, NULL, 0, 72, now), 0);
	assert_int_equal(leaf_cache_init(&lc, &ca), 0);
	cert = leaf(&lc, "a.b", now);
	assert_ptr_equal(leaf(&lc, "a.b", now + 3600), cert);
	X509_up_ref(cert);
	later = now + TLSPROXY_LEAF_S - TLSPROXY_LEAF_RENEW_S;
	again = leaf(&lc, "a.b", later);
	assert_ptr_not_equal(again, cert);
	X509_free(cert);
	assert_int_equal(verify(&ca, again, "a.b", later + TLSPROXY_LEAF_S - 60), X509_V_OK);
	/* Never beyond the CA's own end. */
	cert = leaf(&lc, "c.d", now + 71 * 3600);
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(cert), &(time_t){ ca.not_after + 1 }), -1);

	for (int i = 0; i < TLSPROXY_LEAVES + 50; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		leaf(&lc, host, now);
		/* In use all the time: it stays. */
		if (i == 0)
			cert = leaf(&lc, "a.b", now);
		else
			assert_ptr_equal(leaf(&lc, "a.b", now), cert);
	}
	assert_int_equal(lc.count, TLSPROXY_LEAVES);
	leaf_cache_fini(&lc);
	ca_fini(&ca);
}

/* ---- trust ----------------------------------------------------------------------- */

static const char *write_file(char path[32], const char *text)
{
	int fd;

	memcpy(path, "/tmp/weir-trust-XXXXXX", sizeof("/tmp/weir-trust-XXXXXX"));
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	return path;
}

static void test_trust(void **state)
{
	char good_path[32], bad_path[32], empty_path[32], err[256];
	const char *good, *bad, *empty, *none = "/nonexistent/ca.pem";
	X509_STORE *store;
	struct buf bad_pem = BUF_INIT(65536);
	struct ca ca;

	(void)state;
	assert_int_equal(ca_init(&ca, NULL, 0, 0, time(NULL)), 0);
	good = write_file(good_path, ca.pem);
	empty = write_file(empty_path, "no certificate here\n");
	/* The second certificate is damaged: the file is refused as a whole. */
	assert_int_equal(buf_printf(&bad_pem, "%s%.100s!!!!\n%s", ca.pem, ca.pem, ca.pem + 100), 0);
	bad = write_file(bad_path, buf_str(&bad_pem));
	setenv("SSL_CERT_FILE", good, 1);
	assert_int_equal(upstream_roots_load(&good, 1, &store, err, sizeof(err)), 0);
	X509_STORE_free(store);
	assert_int_equal(upstream_roots_load(&empty, 1, &store, err, sizeof(err)), -ENODATA);
	assert_non_null(strstr(err, empty));
	assert_int_equal(upstream_roots_load(&bad, 1, &store, err, sizeof(err)), -EBADMSG);
	assert_non_null(strstr(err, bad));
	assert_int_equal(upstream_roots_load(&none, 1, &store, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/ca.pem"));
	setenv("SSL_CERT_FILE", none, 1);
	assert_int_equal(upstream_roots_load(&good, 1, &store, err, sizeof(err)), -ENOENT);
	unsetenv("SSL_CERT_FILE");
	unlink(good);
	unlink(bad);
	unlink(empty);
	buf_fini(&bad_pem);
	ca_fini(&ca);
}

/* ---- resumption ---------------------------------------------------------------------- */

static void test_resume_cache(void **state)
{
	struct upstream_key a = { .id = mk_id("a.b"), .to = { ip4(192, 0, 2, 1), 443 } };
	struct upstream_key other[5] = { a, a, a, a, a }, k = a;
	struct resume_cache rc;
	time_t now = 1000000;
	char host[64];

	(void)state;
	other[0].id = mk_id("c.d");
	other[1].to.port = 8443;
	other[2].to.addr = ip4(192, 0, 2, 2);
	other[3].generation = 1;
	other[4].cert = &rc;
	assert_int_equal(resume_cache_init(&rc), 0);
	assert_null(resume_get(&rc, &a, now));
	resume_put(&rc, &a, false, now, SSL_SESSION_new());
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		resume_drop(&rc, &other[i]);
		assert_int_equal(rc.count, 1);
		assert_null(resume_get(&rc, &other[i], now));
		assert_int_equal(rc.count, 1);
	}
	/* A session without ticket cannot be resumed: it is kept from use. */
	assert_null(resume_get(&rc, &a, now));
	assert_int_equal(rc.count, 0);
	for (int i = 0; i < TLSPROXY_RESUME + 20; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		k.id = mk_id(host);
		resume_put(&rc, &k, false, now, SSL_SESSION_new());
	}
	assert_int_equal(rc.count, TLSPROXY_RESUME);
	resume_drop(&rc, &k);
	assert_int_equal(rc.count, TLSPROXY_RESUME - 1);
	resume_drop_all(&rc);
	assert_int_equal(rc.count, 0);
	resume_cache_fini(&rc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ca),
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_name_constraints),
		cmocka_unit_test(test_leaf_cache),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_resume_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
