/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority of a proxy that was, taken up by its successor: the sandbox
 * trusts one certificate for its whole life, whatever becomes of the process
 * that signs with it. The certificate itself tells how long it is good for
 * and which names it may sign.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

int tlsproxy_ca_key(const struct tlsproxy *tp, uint8_t *out, size_t size, size_t *ret_len)
{
	int len = i2d_PrivateKey(tp->ca.key, NULL);
	uint8_t *p = out;

	if (len <= 0)
		return -EIO;
	if ((size_t)len > size)
		return -ENOBUFS;
	if (i2d_PrivateKey(tp->ca.key, &p) != len)
		return -EIO;
	*ret_len = (size_t)len;
	return 0;
}

static int time_of(const ASN1_TIME *t, time_t *ret)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm))
		return -EINVAL;
	*ret = timegm(&tm);
	return 0;
}

static int add_permitted(struct ca *ca, const GENERAL_SUBTREE *tree)
{
	const ASN1_IA5STRING *s = tree->base->d.dNSName;
	struct name *more;
	int r;

	/* Whatever else it is constrained to, no name of ours satisfies. */
	if (tree->base->type != GEN_DNS)
		return 0;
	more = reallocarray(ca->permitted, ca->n_permitted + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	ca->permitted = more;
	r = name_parse((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s),
		       &more[ca->n_permitted], NULL);
	if (r == 0)
		ca->n_permitted++;
	return r;
}

static int read_constraints(struct ca *ca)
{
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(ca->cert, NID_name_constraints, NULL, NULL);
	int r = 0;

	for (int i = 0; nc && r == 0 && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++)
		r = add_permitted(ca, sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i));
	NAME_CONSTRAINTS_free(nc);
	return r;
}

int ca_restore(struct ca *ret, const char *pem, const uint8_t *key, size_t key_len)
{
	struct ca ca = { .pem = strdup(pem) };
	BIO *bio = BIO_new_mem_buf(pem, -1);
	const uint8_t *p = key;
	int r = -EINVAL;

	ca.cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	ca.key = d2i_AutoPrivateKey(NULL, &p, (long)key_len);
	if (ca.pem && ca.cert && ca.key && X509_check_private_key(ca.cert, ca.key) == 1)
		r = time_of(X509_get0_notBefore(ca.cert), &ca.not_before);
	if (r == 0)
		r = time_of(X509_get0_notAfter(ca.cert), &ca.not_after);
	if (r == 0)
		r = read_constraints(&ca);
	BIO_free(bio);
	ERR_clear_error();
	if (r < 0) {
		ca_fini(&ca);
		return r;
	}
	*ret = ca;
	return 0;
}
