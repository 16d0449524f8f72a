/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JKS: "FEEDFEED", a version, a count, that many entries, and a SHA-1 over a
 * password, a fixed phrase and all of it. Only the count and the sum change when an
 * entry is put in front of the others, so those are not looked at.
 */
#include "weir/java_store.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define HEADER 12 /* magic, version, count */
#define SUM 20
#define TRUSTED 2

/* "changeit" in UTF-16, as in every distribution's file, and the format's phrase. */
static const char salt[] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int put(struct buf *b, uint64_t v, unsigned bytes)
{
	uint8_t be[8];

	for (unsigned i = 0; i < bytes; i++)
		be[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	return buf_append(b, be, bytes);
}

static int put_text(struct buf *b, const char *s)
{
	int r = put(b, strlen(s), 2);

	return r < 0 ? r : buf_append_str(b, s);
}

static int put_entry(struct buf *b, const uint8_t *der, size_t len)
{
	int r = put(b, TRUSTED, 4);

	if (r == 0)
		r = put_text(b, "weir-sandbox-ca");
	if (r == 0)
		r = put(b, 0, 8); /* when it was made: nobody asks */
	if (r == 0)
		r = put_text(b, "X.509");
	if (r == 0)
		r = put(b, len, 4);
	return r < 0 ? r : buf_append(b, der, len);
}

static int put_sum(struct buf *b)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t sum[SUM];
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) == 1 &&
		  EVP_DigestUpdate(md, salt, sizeof(salt) - 1) == 1 &&
		  EVP_DigestUpdate(md, buf_at(b), b->len) == 1 &&
		  EVP_DigestFinal_ex(md, sum, NULL) == 1;

	EVP_MD_CTX_free(md);
	return ok ? buf_append(b, sum, SUM) : -EIO;
}

static int to_der(const char *pem, uint8_t **ret, size_t *ret_len)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int n = cert ? i2d_X509(cert, ret) : -1;

	X509_free(cert);
	BIO_free(bio);
	if (n <= 0)
		return -EINVAL;
	*ret_len = (size_t)n;
	return 0;
}

int java_store_add(const uint8_t *store, size_t len, const char *pem, struct buf *ret)
{
	uint8_t *der = NULL;
	size_t der_len = 0;
	uint32_t version;
	int r;

	if (len < HEADER + SUM || get32(store) != 0xfeedfeed)
		return -EINVAL;
	version = get32(store + 4);
	/* Version 1 has entries of another form. */
	if (version != 2 || get32(store + 8) >= INT32_MAX)
		return -EINVAL;
	r = to_der(pem, &der, &der_len);
	if (r < 0)
		return r;
	r = buf_append(ret, store, 8);
	if (r == 0)
		r = put(ret, (uint64_t)get32(store + 8) + 1, 4);
	if (r == 0)
		r = put_entry(ret, der, der_len);
	if (r == 0)
		r = buf_append(ret, store + HEADER, len - HEADER - SUM);
	if (r == 0)
		r = put_sum(ret);
	OPENSSL_free(der);
	return r;
}
