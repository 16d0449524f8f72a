/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom we believe upstream: the system's bundle and the files the user names,
 * read once into memory, because later this process can open no file.
 *
 * A file in which no certificate is found is an error, not an empty set:
 * a typing error must not show up as "every host is untrusted".
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

static const char *const system_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian, Ubuntu, Arch, Alpine */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
	"/etc/ssl/ca-bundle.pem",	      /* openSUSE */
	"/etc/ssl/cert.pem",		      /* others, OpenSSL's own default */
};

/* Adds every certificate of a PEM text; the number, or negative errno. */
static int add_bundle(X509_STORE *store, const struct buf *text)
{
	BIO *bio = BIO_new_mem_buf(buf_at(text), (int)text->len);
	X509 *cert;
	unsigned long e;
	int n = 0;

	if (!bio)
		return -ENOMEM;
	while ((cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL))) {
		if (!X509_STORE_add_cert(store, cert))
			n = -ENOMEM;
		X509_free(cert);
		if (n < 0)
			break;
		n++;
	}
	e = ERR_peek_last_error();
	/* Anything but "no further PEM block" is a damaged certificate. */
	if (n >= 0 && !(ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE))
		n = -EBADMSG;
	ERR_clear_error();
	BIO_free(bio);
	return n;
}

int upstream_roots_add(X509_STORE *store, const char *path, char *err, size_t err_size)
{
	struct buf text = BUF_INIT(TLSPROXY_BUNDLE_MAX);
	int r = file_read(path, TLSPROXY_BUNDLE_MAX, &text);

	if (r < 0) {
		snprintf(err, err_size, "cannot read the CA file %s: %s", path, strerror(-r));
	} else {
		r = text.len ? add_bundle(store, &text) : 0;
		if (r == 0)
			r = -ENODATA;
		if (r == -ENODATA)
			snprintf(err, err_size, "no PEM certificate in %s", path);
		else if (r < 0)
			snprintf(err, err_size, "certificate in %s cannot be read", path);
	}
	buf_fini(&text);
	return r < 0 ? r : 0;
}

/* SSL_CERT_FILE as everywhere else, else the first bundle that exists. */
static int load_system(X509_STORE *store, bool *ret_found, char *err, size_t err_size)
{
	const char *path = secure_getenv("SSL_CERT_FILE");
	int r;

	*ret_found = true;
	if (path && *path)
		return upstream_roots_add(store, path, err, err_size);
	for (size_t i = 0; i < ARRAY_SIZE(system_bundles); i++) {
		r = upstream_roots_add(store, system_bundles[i], err, err_size);
		if (r != -ENOENT)
			return r;
	}
	*ret_found = false;
	return 0;
}

int upstream_roots_load(const char *const *files, size_t n, X509_STORE **ret_store, char *err,
			size_t err_size)
{
	X509_STORE *store = X509_STORE_new();
	bool found;
	int r;

	if (!store) {
		snprintf(err, err_size, "out of memory");
		return -ENOMEM;
	}
	r = load_system(store, &found, err, err_size);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = upstream_roots_add(store, files[i], err, err_size);
	if (r == 0 && !found && n == 0) {
		snprintf(err, err_size,
			 "no system trust store found: install ca-certificates, set SSL_CERT_FILE, "
			 "or give --upstream-ca FILE");
		r = -ENOENT;
	}
	/* A given file may hold an intermediate or the server's own certificate. */
	if (r == 0 && !X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN))
		r = -ENOMEM;
	if (r < 0) {
		X509_STORE_free(store);
		return r;
	}
	*ret_store = store;
	return 0;
}
