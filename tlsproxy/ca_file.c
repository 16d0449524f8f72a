/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An authority of the user's own, from files: for guests that trust it already. The
 * first certificate of the file signs; what follows it are the authorities above, up
 * to where the guest's trust begins, and goes into each handshake.
 *
 * Everything a client will hold against it is looked at before the sandbox starts:
 * that it may sign at all, for servers, now, below those above it; and that the key is its
 * own. What it may sign for (name constraints, its own and those above) is asked for every
 * name, so that a name it cannot sign is refused as such and not as a bad certificate.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

/* A certificate or key file; the largest chain has some 20 KiB. Stops reading a device. */
#define CA_FILE_MAX ((size_t)1 << 20)

/* With all above it: it goes to each guest, and to the sandbox as one message. */
#define CA_PEM_MAX ((size_t)8000)

struct loading {
	const char *cert_file, *key_file;
	time_t now;
	char *err;
	size_t err_size;
};

static int complain(const struct loading *l, const char *file, const char *fmt, ...)
	printf_like(3, 4);
static int complain(const struct loading *l, const char *file, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	ERR_clear_error();
	snprintf(l->err, l->err_size, "%s: %s", file, why);
	return -EINVAL;
}

/* ---- files ------------------------------------------------------------------- */

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *user)
{
	bool *asked = user;

	(void)buf;
	(void)size;
	(void)writing;
	*asked = true;
	return -1;
}

int pem_key(const char *path, EVP_PKEY **ret, char *err, size_t err_size)
{
	struct loading l = { .err = err, .err_size = err_size };
	struct buf text = BUF_INIT(CA_FILE_MAX);
	EVP_PKEY *key = NULL;
	bool asked = false;
	BIO *bio;
	int r = file_read(path, CA_FILE_MAX, &text);

	if (r == 0 && text.len) {
		bio = BIO_new_mem_buf(buf_at(&text), (int)text.len);
		key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked) : NULL;
		BIO_free(bio);
	}
	buf_fini_wiped(&text);
	if (r < 0)
		return complain(&l, path, "cannot be read: %s", strerror(-r));
	if (asked)
		return complain(&l, path, "the key is encrypted; weir asks for no passphrase");
	if (!key)
		return complain(&l, path, "holds no private key in PEM form");
	ERR_clear_error();
	*ret = key;
	return 0;
}

int pem_certs_of(const void *text, size_t len, X509 **ret_first, STACK_OF(X509) * *ret_rest)
{
	BIO *bio = BIO_new_mem_buf(len ? text : "", (int)len);
	STACK_OF(X509) *all = sk_X509_new_null();
	X509 *cert = NULL;
	unsigned long e;
	int r = bio && all ? 0 : -ENOMEM;

	while (r == 0 && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (!sk_X509_push(all, cert)) {
			X509_free(cert);
			r = -ENOMEM;
		}
	e = ERR_peek_last_error();
	if (r == 0 && !(ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE))
		r = -EBADMSG;
	if (r == 0 && sk_X509_num(all) == 0)
		r = -ENODATA;
	ERR_clear_error();
	BIO_free(bio);
	if (r < 0) {
		sk_X509_pop_free(all, X509_free);
		return r;
	}
	*ret_first = sk_X509_shift(all);
	*ret_rest = all;
	return 0;
}

int pem_certs(const char *path, X509 **ret_first, STACK_OF(X509) * *ret_rest, char *err,
	      size_t err_size)
{
	struct loading l = { .err = err, .err_size = err_size };
	struct buf text = BUF_INIT(CA_FILE_MAX);
	int r = file_read(path, CA_FILE_MAX, &text);

	if (r < 0) {
		buf_fini(&text);
		return complain(&l, path, "cannot be read: %s", strerror(-r));
	}
	r = pem_certs_of(text.len ? buf_at(&text) : NULL, text.len, ret_first, ret_rest);
	buf_fini(&text);
	if (r == -ENODATA)
		return complain(&l, path, "holds no certificate in PEM form");
	if (r == -EBADMSG)
		return complain(&l, path, "a certificate in it cannot be read");
	return r;
}

/* ---- what a client will hold against it --------------------------------------------- */

static time_t unix_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static int check_key(const struct loading *l, const struct ca *ca)
{
	int type = EVP_PKEY_get_base_id(ca->key), bits = EVP_PKEY_get_bits(ca->key);

	if (!X509_check_private_key(ca->cert, ca->key))
		return complain(l, l->key_file, "is not the key of the certificate in %s",
				l->cert_file);
	if (type != EVP_PKEY_EC && type != EVP_PKEY_RSA)
		return complain(l, l->key_file, "the authority's key must be EC or RSA");
	if (bits < (type == EVP_PKEY_EC ? 256 : 2048))
		return complain(l, l->key_file, "a key of %d bits is too short", bits);
	return 0;
}

/* depth: how many authorities are below it. */
static int check_authority(const struct loading *l, X509 *cert, int depth)
{
	uint32_t flags = X509_get_extension_flags(cert), eku = X509_get_extended_key_usage(cert);
	long below = X509_get_pathlen(cert);

	if (flags & EXFLAG_INVALID)
		return complain(l, l->cert_file, "an extension of the certificate is not valid");
	if (!(flags & EXFLAG_BCONS) || !(flags & EXFLAG_CA))
		return complain(l, l->cert_file,
				"the certificate is not an authority's (basicConstraints CA:TRUE)");
	if (!(X509_get_key_usage(cert) & KU_KEY_CERT_SIGN))
		return complain(l, l->cert_file,
				"its key usage does not let the authority sign certificates "
				"(keyCertSign)");
	if (!(eku & (XKU_SSL_SERVER | XKU_ANYEKU)))
		return complain(l, l->cert_file,
				"its extended key usage leaves out servers (serverAuth)");
	if (flags & EXFLAG_CRITICAL)
		return complain(l, l->cert_file,
				"it has a critical extension that clients cannot know");
	if (below >= 0 && below < depth)
		return complain(l, l->cert_file,
				"path length %ld does not allow the %d authorities below it", below,
				depth);
	return 0;
}

static int check_validity(const struct loading *l, const struct ca *ca)
{
	if (ca->not_before > l->now)
		return complain(l, l->cert_file, "the certificate is not valid yet");
	if (ca->not_after <= l->now)
		return complain(l, l->cert_file, "the certificate has expired");
	return 0;
}

static int check_chain(const struct loading *l, struct ca *ca)
{
	X509 *below = ca->cert;
	int r = 0;

	for (int i = -1; r == 0 && i < sk_X509_num(ca->chain); i++) {
		X509 *cert = i < 0 ? ca->cert : sk_X509_value(ca->chain, i);

		if (i >= 0 && X509_check_issued(cert, below) != X509_V_OK)
			return complain(l, l->cert_file,
					"certificate %d did not issue the one before it", i + 2);
		r = check_authority(l, cert, i + 1);
		below = cert;
	}
	return r;
}

/* ---- what is known of it from then on ------------------------------------------------- */

static int keep_constraints(struct ca *ca, X509 *cert)
{
	int critical = -1;
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(cert, NID_name_constraints, &critical, NULL);

	if (!nc)
		return critical == -1 ? 0 : -EINVAL;
	if (ca->constraints || (ca->constraints = sk_NC_new_null()))
		if (sk_NC_push(ca->constraints, nc))
			return 0;
	NAME_CONSTRAINTS_free(nc);
	return -ENOMEM;
}

/* A root is in the guest's store; anything else has to come with each leaf. */
static int present_chain(struct ca *ca)
{
	if (X509_get_extension_flags(ca->cert) & EXFLAG_SS)
		return 0;
	ca->presented = X509_chain_up_ref(ca->chain);
	if (!ca->presented || !X509_up_ref(ca->cert))
		return -ENOMEM;
	if (sk_X509_unshift(ca->presented, ca->cert))
		return 0;
	X509_free(ca->cert);
	return -ENOMEM;
}

int ca_learn(struct ca *ca)
{
	int r = 0;

	for (int i = -1; r == 0 && i < sk_X509_num(ca->chain); i++) {
		X509 *cert = i < 0 ? ca->cert : sk_X509_value(ca->chain, i);
		time_t from = unix_time(X509_get0_notBefore(cert));
		time_t to = unix_time(X509_get0_notAfter(cert));

		ca->not_before = MAX(ca->not_before, from);
		ca->not_after = i < 0 ? to : MIN(ca->not_after, to);
		r = keep_constraints(ca, cert);
	}
	if (r == 0)
		r = present_chain(ca);
	if (r == 0)
		r = ca_write_pem(ca);
	return r;
}

int ca_load(struct ca *ret, const char *cert_file, const char *key_file, time_t now, char *err,
	    size_t err_size)
{
	struct loading l = { cert_file, key_file, now, err, err_size };
	struct ca ca = { 0 };
	int r = pem_certs(cert_file, &ca.cert, &ca.chain, err, err_size);

	if (r == 0)
		r = pem_key(key_file, &ca.key, err, err_size);
	if (r == 0)
		r = check_key(&l, &ca);
	if (r == 0)
		r = check_chain(&l, &ca);
	if (r == 0 && ca_learn(&ca) < 0)
		r = complain(&l, cert_file, "its name constraints cannot be read");
	if (r == 0)
		r = check_validity(&l, &ca);
	if (r == 0 && strlen(ca.pem) > CA_PEM_MAX)
		r = complain(&l, cert_file, "more than %zu bytes of certificates", CA_PEM_MAX);
	if (r < 0) {
		if (r == -ENOMEM)
			snprintf(err, err_size, "out of memory");
		ca_fini(&ca);
		return r;
	}
	*ret = ca;
	return 0;
}
