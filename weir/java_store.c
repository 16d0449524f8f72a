/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JKS: "FEEDFEED", a version, a count, that many entries, and a SHA-1 over a
 * password, a fixed phrase and all of it. Only the count and the sum change when an
 * entry is put in front of the others, so those are not looked at.
 *
 * PKCS 12 (RFC 7292), what JDKs since 18 come with: a list of safes, in clear text or
 * encrypted, and over the list a code under a password, or none. The entry is a safe of
 * its own in clear text behind the others, which stay closed. A certificate counts as
 * trusted there only with an attribute of Java's own.
 */
#include "weir/java_store.h"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#define HEADER 12 /* magic, version, count */
#define SUM 20
#define TRUSTED 2
#define OWN_ALIAS "weir-sandbox-ca"
#define PASSWORD "changeit" /* every distribution's */

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
		r = put_text(b, OWN_ALIAS);
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

static X509 *to_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static int add_jks(const uint8_t *store, size_t len, X509 *cert, struct buf *ret)
{
	uint8_t *der = NULL;
	int n, r;

	/* Version 1 has entries of another form. */
	if (len < HEADER + SUM || get32(store + 4) != 2 || get32(store + 8) >= INT32_MAX)
		return -EINVAL;
	n = i2d_X509(cert, &der);
	if (n <= 0)
		return -EINVAL;
	r = buf_append(ret, store, 8);
	if (r == 0)
		r = put(ret, (uint64_t)get32(store + 8) + 1, 4);
	if (r == 0)
		r = put_entry(ret, der, (size_t)n);
	if (r == 0)
		r = buf_append(ret, store + HEADER, len - HEADER - SUM);
	if (r == 0)
		r = put_sum(ret);
	OPENSSL_free(der);
	return r;
}

/* ---- PKCS 12 --------------------------------------------------------------------- */

/* Java's attribute "trusted for", with "anything" in it. */
static bool mark_trusted(PKCS12_SAFEBAG *bag)
{
	/* There is a list already: the name's. The list of a bag has no other way in before OpenSSL 3.2. */
	STACK_OF(X509_ATTRIBUTE) *attrs =
		(STACK_OF(X509_ATTRIBUTE) *)(uintptr_t)PKCS12_SAFEBAG_get0_attrs(bag);
	ASN1_OBJECT *trusted = OBJ_txt2obj("2.16.840.1.113894.746875.1.1", 1);
	ASN1_OBJECT *any = OBJ_txt2obj("2.5.29.37.0", 1);
	X509_ATTRIBUTE *attr =
		trusted && any ? X509_ATTRIBUTE_create_by_OBJ(NULL, trusted, V_ASN1_OBJECT, any, -1)
			       : NULL;
	bool ok = attrs && attr && sk_X509_ATTRIBUTE_push(attrs, attr) > 0;

	if (!ok)
		X509_ATTRIBUTE_free(attr);
	ASN1_OBJECT_free(trusted);
	ASN1_OBJECT_free(any);
	return ok;
}

static PKCS7 *own_safe(X509 *cert)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	PKCS12_SAFEBAG *bag = bags ? PKCS12_SAFEBAG_create_cert(cert) : NULL;
	PKCS7 *safe = NULL;

	if (bag && PKCS12_add_friendlyname_utf8(bag, OWN_ALIAS, -1) == 1 && mark_trusted(bag) &&
	    sk_PKCS12_SAFEBAG_push(bags, bag) > 0) {
		bag = NULL;
		safe = PKCS12_pack_p7data(bags);
	}
	PKCS12_SAFEBAG_free(bag);
	sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	return safe;
}

static bool add_safe(PKCS12 *p12, X509 *cert)
{
	STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);
	PKCS7 *safe = safes ? own_safe(cert) : NULL;
	bool ok = safe && sk_PKCS7_push(safes, safe) > 0;

	if (!ok)
		PKCS7_free(safe);
	ok = ok && PKCS12_pack_authsafes(p12, safes) == 1;
	sk_PKCS7_pop_free(safes, PKCS7_free);
	return ok;
}

static int add_p12(const uint8_t *store, size_t len, X509 *cert, struct buf *ret)
{
	const uint8_t *p = store;
	PKCS12 *p12 = d2i_PKCS12(NULL, &p, (long)len);
	bool sealed = p12 && PKCS12_mac_present(p12) == 1;
	uint8_t *der = NULL;
	int n = -1, r;

	if (p12 && p == store + len && (!sealed || PKCS12_verify_mac(p12, PASSWORD, -1) == 1) &&
	    add_safe(p12, cert) &&
	    (!sealed || PKCS12_set_mac(p12, PASSWORD, -1, NULL, 0, 0, EVP_sha256()) == 1))
		n = i2d_PKCS12(p12, &der);
	PKCS12_free(p12);
	r = n > 0 ? buf_append(ret, der, (size_t)n) : -EINVAL;
	OPENSSL_free(der);
	return r;
}

int java_store_add(const uint8_t *store, size_t len, const char *pem, struct buf *ret)
{
	X509 *cert;
	int r;

	if (len < 4 || len > INT32_MAX)
		return -EINVAL;
	cert = to_cert(pem);
	if (!cert)
		return -EINVAL;
	if (get32(store) == 0xfeedfeed)
		r = add_jks(store, len, cert, ret);
	else
		r = store[0] == 0x30 ? add_p12(store, len, cert, ret) : -EINVAL;
	X509_free(cert);
	return r;
}
