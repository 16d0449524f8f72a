/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes and HMAC for signatures. OpenSSL's algorithms are fetched once:
 * looking one up may read files, which the process can no longer do when
 * requests come. HMAC is OpenSSL's own, which wipes its copies of the key.
 */
#include "tlsproxy/sign.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

static struct {
	EVP_MD *md[3];
	EVP_MAC *hmac;
} algorithms;

static const char *const names[] = { "SHA256", "SHA1", "SHA512" };

int sign_hash_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!algorithms.md[i])
			algorithms.md[i] = EVP_MD_fetch(NULL, names[i], NULL);
	if (!algorithms.hmac)
		algorithms.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!algorithms.md[i])
			return -ENOENT;
	return algorithms.hmac ? 0 : -ENOENT;
}

size_t sign_hash_size(enum sign_hash h)
{
	static const size_t sizes[] = { 32, 20, 64 };

	return sizes[h];
}

int sign_digest(enum sign_hash h, struct http_text t, uint8_t ret[static SIGN_HASH_MAX])
{
	unsigned n = 0;

	if (!algorithms.md[h])
		return -ENOENT;
	return EVP_Digest(t.len ? t.s : "", t.len, ret, &n, algorithms.md[h], NULL) == 1 ? 0
											 : -ENOMEM;
}

int sign_mac(enum sign_hash h, const void *key, size_t key_len, const struct http_text *parts,
	     size_t n, uint8_t ret[static SIGN_HASH_MAX])
{
	char digest[8];
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, strlen(names[h])),
		OSSL_PARAM_END,
	};
	EVP_MAC_CTX *ctx;
	size_t len = 0;
	bool ok;

	if (!algorithms.hmac)
		return -ENOENT;
	memcpy(digest, names[h], strlen(names[h]) + 1);
	ctx = EVP_MAC_CTX_new(algorithms.hmac);
	if (!ctx)
		return -ENOMEM;
	ok = EVP_MAC_init(ctx, key, key_len, params) == 1;
	for (size_t i = 0; ok && i < n; i++)
		ok = !parts[i].len ||
		     EVP_MAC_update(ctx, (const uint8_t *)parts[i].s, parts[i].len) == 1;
	ok = ok && EVP_MAC_final(ctx, ret, &len, SIGN_HASH_MAX) == 1;
	EVP_MAC_CTX_free(ctx);
	return ok ? 0 : -ENOMEM;
}

void sign_hex(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
}
