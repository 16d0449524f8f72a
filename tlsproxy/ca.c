/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's certificate authority (RFC 5280), unless the user has one (ca_file.c).
 * Made in memory, one per sandbox, and gone with the process: whoever copies its certificate out has
 * nothing, and no other sandbox believes it.
 *
 * Where the policy is known by names, the CA is constrained to them (critical
 * nameConstraints): a tool on the guest's side then refuses our certificate for
 * anything else, whatever this process might be talked into signing. A
 * dNSName constraint always includes the names below it (4.2.1.10), so it
 * can be wider than an exact rule, never narrower.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

void identity_from_name(struct identity *id, const struct name *n)
{
	*id = (struct identity){ 0 };
	memcpy(id->text, n->s, sizeof(id->text));
}

void identity_from_addr(struct identity *id, const struct ip_addr *a)
{
	char text[IP_STRLEN];

	*id = (struct identity){ .is_addr = true, .addr = *a };
	snprintf(id->text, sizeof(id->text), "%s", ip_format(a, text));
}

EVP_PKEY *cert_new_key(void)
{
	return EVP_EC_gen("P-256");
}

static bool set_serial(X509 *cert)
{
	uint8_t b[16];
	BIGNUM *bn;
	bool ok;

	/* 4.1.2.2: positive, at most 20 bytes; 126 random bits. */
	random_bytes(b, sizeof(b));
	b[0] = (uint8_t)((b[0] & 0x7f) | 0x40);
	bn = BN_bin2bn(b, sizeof(b), NULL);
	ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
	BN_free(bn);
	return ok;
}

int cert_start(X509 *cert, EVP_PKEY *key, const char *cn, time_t not_before, time_t not_after)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	/* X509_time_adj_ex counts from *in_tm: no clock is read here. */
	if (!X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
	    !X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &not_before) ||
	    !X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &not_after) ||
	    !X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC,
					(const unsigned char *)cn, -1, -1, 0) ||
	    !X509_set_pubkey(cert, key))
		return -ENOMEM;
	return 0;
}

int cert_add(X509 *cert, int nid, void *ext, bool critical)
{
	return X509_add1_ext_i2d(cert, nid, ext, critical, X509V3_ADD_APPEND) == 1 ? 0 : -ENOMEM;
}

int cert_add_key_usage(X509 *cert, int bit)
{
	ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
	int r = -ENOMEM;

	if (usage && ASN1_BIT_STRING_set_bit(usage, bit, 1))
		r = cert_add(cert, NID_key_usage, usage, true);
	ASN1_BIT_STRING_free(usage);
	return r;
}

static int add_basic_constraints(X509 *cert)
{
	BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
	int r = -ENOMEM;

	if (bc) {
		bc->ca = 0xff;
		bc->pathlen = ASN1_INTEGER_new();
		if (bc->pathlen && ASN1_INTEGER_set(bc->pathlen, 0))
			r = cert_add(cert, NID_basic_constraints, bc, true);
	}
	BASIC_CONSTRAINTS_free(bc);
	return r;
}

static int add_subject_key_id(X509 *cert)
{
	ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	int r = -ENOMEM;

	if (id && X509_pubkey_digest(cert, EVP_sha1(), digest, &len) &&
	    ASN1_OCTET_STRING_set(id, digest, (int)len))
		r = cert_add(cert, NID_subject_key_identifier, id, false);
	ASN1_OCTET_STRING_free(id);
	return r;
}

static bool push_dns_subtree(STACK_OF(GENERAL_SUBTREE) * trees, const struct name *n)
{
	GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
	ASN1_IA5STRING *s = ASN1_IA5STRING_new();

	if (tree && s && ASN1_STRING_set(s, n->s, n->len)) {
		GENERAL_NAME_set0_value(tree->base, GEN_DNS, s);
		s = NULL;
		if (sk_GENERAL_SUBTREE_push(trees, tree))
			return true;
	}
	ASN1_IA5STRING_free(s);
	GENERAL_SUBTREE_free(tree);
	return false;
}

static int add_name_constraints(X509 *cert, const struct name *names, size_t n)
{
	NAME_CONSTRAINTS *nc;
	int r = -ENOMEM;

	if (n == 0)
		return 0;
	nc = NAME_CONSTRAINTS_new();
	if (!nc)
		return -ENOMEM;
	nc->permittedSubtrees = sk_GENERAL_SUBTREE_new_null();
	if (!nc->permittedSubtrees)
		goto out;
	for (size_t i = 0; i < n; i++)
		if (!push_dns_subtree(nc->permittedSubtrees, &names[i]))
			goto out;
	r = cert_add(cert, NID_name_constraints, nc, true);
out:
	NAME_CONSTRAINTS_free(nc);
	return r;
}

int ca_write_pem(struct ca *ca)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = bio && PEM_write_bio_X509(bio, ca->cert);
	char *text;
	long len;

	for (int i = 0; ok && i < sk_X509_num(ca->chain); i++)
		ok = PEM_write_bio_X509(bio, sk_X509_value(ca->chain, i));
	if (ok) {
		len = BIO_get_mem_data(bio, &text);
		ca->pem = strndup(text, (size_t)len);
	}
	BIO_free(bio);
	return ca->pem ? 0 : -ENOMEM;
}

static int ca_make(struct ca *ca)
{
	char cn[64];
	uint8_t id[6];

	random_bytes(id, sizeof(id));
	snprintf(cn, sizeof(cn), "weir sandbox CA %02x%02x%02x%02x%02x%02x", id[0], id[1], id[2],
		 id[3], id[4], id[5]);
	ca->key = cert_new_key();
	ca->cert = X509_new();
	if (!ca->key || !ca->cert ||
	    cert_start(ca->cert, ca->key, cn, ca->not_before, ca->not_after) < 0 ||
	    !X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert)) ||
	    add_basic_constraints(ca->cert) < 0 || cert_add_key_usage(ca->cert, 5) < 0 ||
	    add_subject_key_id(ca->cert) < 0 ||
	    add_name_constraints(ca->cert, ca->permitted, ca->n_permitted) < 0 ||
	    !X509_sign(ca->cert, ca->key, EVP_sha256()))
		return -ENOMEM;
	return ca_write_pem(ca);
}

int ca_init(struct ca *ret, const struct name *permitted, size_t n, uint32_t hours, time_t now)
{
	struct ca ca = { .n_permitted = n };
	int r;

	if (hours > TLSPROXY_CA_HOURS_MAX)
		return -EINVAL;
	if (hours == 0)
		hours = TLSPROXY_CA_HOURS;
	ca.not_before = now - TLSPROXY_BACKDATE_S;
	ca.not_after = now + (time_t)hours * 3600;
	if (n) {
		ca.permitted = reallocarray(NULL, n, sizeof(*permitted));
		if (!ca.permitted)
			return -ENOMEM;
		memcpy(ca.permitted, permitted, n * sizeof(*permitted));
	}
	r = ca_make(&ca);
	if (r < 0) {
		ca_fini(&ca);
		ERR_clear_error();
		return r;
	}
	*ret = ca;
	return 0;
}

void ca_fini(struct ca *ca)
{
	EVP_PKEY_free(ca->key); /* OpenSSL wipes private keys */
	X509_free(ca->cert);
	sk_X509_pop_free(ca->chain, X509_free);
	sk_X509_pop_free(ca->presented, X509_free);
	sk_NC_pop_free(ca->constraints, NAME_CONSTRAINTS_free);
	free(ca->pem);
	free(ca->permitted);
	*ca = (struct ca){ 0 };
}

bool ca_covers(const struct ca *ca, const struct identity *id)
{
	struct name n = { 0 };

	for (int i = 0; i < sk_NC_num(ca->constraints); i++)
		if (!leaf_satisfies(id, sk_NC_value(ca->constraints, i)))
			return false;
	/* Constraints on dNSName say nothing of addresses. */
	if (ca->n_permitted == 0 || id->is_addr)
		return true;
	n.len = (uint8_t)strlen(id->text);
	memcpy(n.s, id->text, n.len);
	for (size_t i = 0; i < ca->n_permitted; i++)
		if (name_in_suffix(&n, &ca->permitted[i], true))
			return true;
	return false;
}
