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

int ca_restore(struct ca *ret, const char *pem, const uint8_t *key, size_t key_len)
{
	struct ca ca = { 0 };
	const uint8_t *p = key;
	int r = pem_certs_of(pem, strlen(pem), &ca.cert, &ca.chain);

	if (r < 0)
		return -EINVAL;
	ca.key = d2i_AutoPrivateKey(NULL, &p, (long)key_len);
	r = ca.key && X509_check_private_key(ca.cert, ca.key) == 1 ? ca_learn(&ca) : -EINVAL;
	ERR_clear_error();
	if (r < 0) {
		ca_fini(&ca);
		return r;
	}
	*ret = ca;
	return 0;
}
