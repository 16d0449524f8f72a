/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of every shape for tests, as files and as objects. */
#ifndef WEIR_TESTS_TLSPROXY_PKI_RIG_H
#define WEIR_TESTS_TLSPROXY_PKI_RIG_H

#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <unistd.h>
#include <openssl/conf.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct pki_ext {
	int nid;
	const char *value; /* as in openssl.cnf; NULL ends a list */
};

struct pki {
	X509 *cert;
	EVP_PKEY *key;
};

/* issuer NULL: self-signed. from, to: seconds from now. */
static inline struct pki pki_new(EVP_PKEY *key, const char *cn, const struct pki *issuer,
				 const struct pki_ext *ext, long from, long to)
{
	struct pki p = { X509_new(), key };
	X509 *by = issuer ? issuer->cert : p.cert;
	time_t now = time(NULL);
	X509V3_CTX ctx;

	if (cert_start(p.cert, key, cn, now + from, now + to) < 0)
		abort();
	X509_set_issuer_name(p.cert, X509_get_subject_name(by));
	X509V3_set_ctx(&ctx, by, p.cert, NULL, NULL, 0);
	for (; ext && ext->value; ext++) {
		X509_EXTENSION *x =
			X509V3_EXT_conf_nid(NULL, &ctx, ext->nid, (char *)(uintptr_t)ext->value);

		if (!x)
			abort();
		X509_add_ext(p.cert, x, -1);
		X509_EXTENSION_free(x);
	}
	if (!X509_sign(p.cert, issuer ? issuer->key : key,
		       EVP_PKEY_get_base_id(issuer ? issuer->key : key) == EVP_PKEY_ED25519
			       ? NULL
			       : EVP_sha256()))
		abort();
	return p;
}

static inline void pki_free(struct pki *p)
{
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
}

static char pki_paths[32][40];

/* A new file with these, in order; each may be NULL. Good until the next 32 calls. */
static inline const char *pki_file(const X509 *a, const X509 *b, EVP_PKEY *key, const char *passphrase)
{
	static unsigned at;
	char *path = pki_paths[at++ % ARRAY_SIZE(pki_paths)];
	FILE *f;

	unlink(path);
	snprintf(path, sizeof(pki_paths[0]), "/tmp/weir-pki-XXXXXX");
	f = fdopen(mkstemp(path), "w");
	if (a)
		PEM_write_X509(f, a);
	if (b)
		PEM_write_X509(f, b);
	if (key)
		PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL,
				     (const unsigned char *)passphrase,
				     passphrase ? (int)strlen(passphrase) : 0, NULL, NULL);
	fclose(f);
	return path;
}

static inline void pki_files_gone(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(pki_paths); i++)
		unlink(pki_paths[i]);
}

#endif
