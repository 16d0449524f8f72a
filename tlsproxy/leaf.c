/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves: the certificate the guest is shown for one name or one address,
 * minted when it is first asked for and kept, least recently used out first.
 *
 * None lives longer than the upstream's certificate that it stands for. Each carries
 * exactly one name, so that no client reuses a connection for another (RFC 9113 9.1.1). All share one P-256 key: they live in the same process
 * as the CA key, so a key each would keep nothing from whoever gets one, and
 * would cost a key generation per name.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

struct leaf {
	struct hmap_node node;
	struct list lru;
	X509 *cert;
	time_t not_after;
	char text[NAME_MAX_LEN + 1];
};

int leaf_cache_init(struct leaf_cache *lc, const struct ca *ca)
{
	int r;

	*lc = (struct leaf_cache){ .ca = ca };
	list_init(&lc->lru);
	hash_key_random(&lc->hash);
	r = hmap_init(&lc->map, 64);
	if (r < 0)
		return r;
	lc->key = cert_new_key();
	if (!lc->key) {
		leaf_cache_fini(lc);
		return -ENOMEM;
	}
	return 0;
}

static void leaf_drop(struct leaf_cache *lc, struct leaf *leaf)
{
	hmap_remove(&lc->map, &leaf->node);
	list_del(&leaf->lru);
	lc->count--;
	X509_free(leaf->cert);
	free(leaf);
}

void leaf_cache_fini(struct leaf_cache *lc)
{
	if (lc->lru.next)
		list_for_each_safe (it, tmp, &lc->lru)
			leaf_drop(lc, container_of(it, struct leaf, lru));
	hmap_fini(&lc->map);
	EVP_PKEY_free(lc->key);
	*lc = (struct leaf_cache){ 0 };
}

/* ---- minting ------------------------------------------------------------- */

static int add_alt_name(X509 *cert, const struct identity *id)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *gn = GENERAL_NAME_new();
	ASN1_STRING *s = id->is_addr ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	const void *p = id->is_addr ? (const void *)id->addr.b : id->text;
	size_t len = id->is_addr ? ip_size(&id->addr) : strlen(id->text);
	int r = -ENOMEM;

	if (names && gn && s && ASN1_STRING_set(s, p, (int)len)) {
		GENERAL_NAME_set0_value(gn, id->is_addr ? GEN_IPADD : GEN_DNS, s);
		s = NULL;
		if (sk_GENERAL_NAME_push(names, gn)) {
			gn = NULL;
			r = cert_add(cert, NID_subject_alt_name, names, false);
		}
	}
	ASN1_STRING_free(s);
	GENERAL_NAME_free(gn);
	GENERAL_NAMES_free(names);
	return r;
}

static int add_server_auth(X509 *cert)
{
	EXTENDED_KEY_USAGE *eku = EXTENDED_KEY_USAGE_new();
	int r = -ENOMEM;

	/* Built-in objects are static: pushing and freeing them is safe. */
	if (eku && sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_server_auth)))
		r = cert_add(cert, NID_ext_key_usage, eku, false);
	EXTENDED_KEY_USAGE_free(eku);
	return r;
}

static int add_not_a_ca(X509 *cert)
{
	BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
	int r = -ENOMEM;

	if (bc)
		r = cert_add(cert, NID_basic_constraints, bc, true);
	BASIC_CONSTRAINTS_free(bc);
	return r;
}

static int add_authority_key_id(X509 *cert, const X509 *issuer)
{
	AUTHORITY_KEYID *akid = AUTHORITY_KEYID_new();
	const ASN1_OCTET_STRING *skid = X509_get0_subject_key_id((X509 *)(uintptr_t)issuer);
	int r = -ENOMEM;

	if (akid && skid) {
		akid->keyid = ASN1_OCTET_STRING_dup(skid);
		if (akid->keyid)
			r = cert_add(cert, NID_authority_key_identifier, akid, false);
	}
	AUTHORITY_KEYID_free(akid);
	return r;
}

/*
 * A common name has at most 64 bytes; clients read the alternative name. An
 * address there would be held against the dNSName constraints.
 */
static const char *common_name(const struct identity *id)
{
	return !id->is_addr && strlen(id->text) <= 64 ? id->text : "weir sandbox";
}

bool leaf_satisfies(const struct identity *id, NAME_CONSTRAINTS *nc)
{
	X509 *cert = X509_new();
	bool ok = cert &&
		  X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName,
					     MBSTRING_ASC, (const unsigned char *)common_name(id),
					     -1, -1, 0) &&
		  add_alt_name(cert, id) == 0;

	/* Makes OpenSSL read the names; it is no whole certificate, and need not be. */
	if (ok)
		(void)X509_get_extension_flags(cert);
	ok = ok && NAME_CONSTRAINTS_check(cert, nc) == X509_V_OK;
	X509_free(cert);
	ERR_clear_error();
	return ok;
}

static X509 *leaf_mint(struct leaf_cache *lc, const struct identity *id, time_t now, time_t not_after)
{
	const struct ca *ca = lc->ca;
	time_t not_before = MAX(ca->not_before, now - TLSPROXY_BACKDATE_S);
	X509 *cert = X509_new();

	if (cert && cert_start(cert, lc->key, common_name(id), not_before, not_after) == 0 &&
	    X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) &&
	    add_not_a_ca(cert) == 0 && cert_add_key_usage(cert, 0) == 0 &&
	    add_server_auth(cert) == 0 && add_alt_name(cert, id) == 0 &&
	    add_authority_key_id(cert, ca->cert) == 0 && X509_sign(cert, ca->key, EVP_sha256()))
		return cert;
	X509_free(cert);
	ERR_clear_error();
	return NULL;
}

/* ---- the cache --------------------------------------------------------------- */

static struct leaf *leaf_find(struct leaf_cache *lc, const struct identity *id, uint64_t hash)
{
	hmap_for_hash (it, &lc->map, hash) {
		struct leaf *leaf = container_of(it, struct leaf, node);

		if (str_eq(leaf->text, id->text))
			return leaf;
	}
	return NULL;
}

/* Does the cached one still do? It must not outlive the CA, nor what it stands for. */
static bool is_good(const struct leaf *leaf, time_t now, time_t not_after)
{
	if (leaf->not_after > not_after)
		return false;
	/* Anew when that wins time: what ends with its upstream is kept to the last. */
	return now < leaf->not_after - TLSPROXY_LEAF_RENEW_S || leaf->not_after == not_after;
}

static struct leaf *leaf_new(struct leaf_cache *lc, const struct identity *id, time_t now,
			     time_t not_after)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	leaf->cert = leaf_mint(lc, id, now, not_after);
	if (!leaf->cert) {
		free(leaf);
		return NULL;
	}
	leaf->not_after = not_after;
	memcpy(leaf->text, id->text, sizeof(leaf->text));
	list_init(&leaf->lru);
	return leaf;
}

int leaf_get(struct leaf_cache *lc, const struct identity *id, time_t now, time_t not_after,
	     X509 **ret_cert)
{
	uint64_t hash = hash_bytes(&lc->hash, id->text, strlen(id->text));
	time_t longest = MIN(now + TLSPROXY_LEAF_S, lc->ca->not_after);
	struct leaf *leaf = leaf_find(lc, id, hash);

	if (not_after)
		longest = MIN(longest, not_after);
	if (leaf && !is_good(leaf, now, longest)) {
		leaf_drop(lc, leaf);
		leaf = NULL;
	}
	if (!leaf) {
		leaf = leaf_new(lc, id, now, longest);
		if (!leaf)
			return -ENOMEM;
		hmap_insert(&lc->map, &leaf->node, hash);
		lc->count++;
	}
	list_del(&leaf->lru);
	list_add_tail(&lc->lru, &leaf->lru);
	while (lc->count > TLSPROXY_LEAVES)
		leaf_drop(lc, container_of(lc->lru.next, struct leaf, lru));
	*ret_cert = leaf->cert;
	return 0;
}
