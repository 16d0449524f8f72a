/* SPDX-License-Identifier: Apache-2.0 */
/* java_store.c: the bytes of a JKS file with one more entry. */
#include "weir/java_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static char *make_pem(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *text, *out;
	long n;

	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 60);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	n = BIO_get_mem_data(bio, &text);
	out = strndup(text, (size_t)n);
	BIO_free(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
	return out;
}

static void test_add(void **state)
{
	/* No entries; then what an entry might be, and a sum that is not looked at. */
	uint8_t old[12 + 3 + 20] = { 0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 7, 'x', 'y', 'z' };
	static const uint8_t entry[] = "\0\0\0\2\0\x0fweir-sandbox-ca\0\0\0\0\0\0\0\0\0\5X.509\0";
	struct buf out = BUF_INIT(65536);
	char *pem = make_pem();
	const uint8_t *p;

	(void)state;
	assert_int_equal(java_store_add(old, sizeof(old), pem, &out), 0);
	p = buf_at(&out);
	assert_memory_equal(p, "\xfe\xed\xfe\xed\0\0\0\2\0\0\0\x08", 12);
	assert_memory_equal(p + 12, entry, sizeof(entry) - 1);
	assert_memory_equal(p + out.len - 23, "xyz", 3);
	buf_fini(&out);
	free(pem);
}

static void test_others_are_refused(void **state)
{
	uint8_t store[64] = { 0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2 };
	struct buf out = BUF_INIT(65536);
	char *pem = make_pem();

	(void)state;
	assert_int_equal(java_store_add(store, 31, pem, &out), -EINVAL);
	assert_int_equal(java_store_add(store, sizeof(store), "no certificate", &out), -EINVAL);
	store[7] = 1;
	assert_int_equal(java_store_add(store, sizeof(store), pem, &out), -EINVAL);
	store[7] = 2;
	store[0] = 0x30; /* PKCS 12 */
	assert_int_equal(java_store_add(store, sizeof(store), pem, &out), -EINVAL);
	assert_int_equal(out.len, 0);
	buf_fini(&out);
	free(pem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
