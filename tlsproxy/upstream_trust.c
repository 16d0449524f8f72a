/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom we believe upstream and as whom we come, host by host: the rules of
 * tlsproxy_config.upstreams, with all they name read once into memory.
 *
 * A host's terms are put together field by field, each from the most specific rule that
 * says it: the name itself, then the longest suffix, of two alike the one that leaves out
 * the apex. So a rule for a pin does not undo a wider one for an authority.
 *
 * Client keys are in this process and no other.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <openssl/err.h>

static int fail(char *err, size_t err_size, int r)
{
	if (r == -ENOMEM)
		snprintf(err, err_size, "out of memory");
	return r;
}

/* ---- rules ------------------------------------------------------------------- */

static size_t specificity(const struct trust_rule *r)
{
	if (r->is_addr || !r->host.is_suffix)
		return SIZE_MAX;
	return 2 * name_labels(&r->host.name) + !r->host.apex;
}

static int by_specificity(const void *a, const void *b)
{
	size_t x = specificity(a), y = specificity(b);

	return x < y ? 1 : x > y ? -1 : 0;
}

static bool rule_matches(const struct trust_rule *r, const struct identity *id)
{
	struct name n = { 0 };

	if (r->is_addr || id->is_addr)
		return r->is_addr && id->is_addr && ip_equal(&r->addr, &id->addr);
	n.len = (uint8_t)strlen(id->text);
	memcpy(n.s, id->text, n.len);
	return tlsproxy_host_matches(&r->host, &n);
}

struct upstream_terms upstream_terms_of(const struct upstream_trust *t, const struct identity *id)
{
	struct upstream_terms terms = { .verify = !t->no_verify };
	bool said = false;

	for (size_t i = 0; i < t->n; i++) {
		const struct trust_rule *r = &t->rules[i];

		if (!rule_matches(r, id))
			continue;
		if (r->verify != TLSPROXY_VERIFY_DEFAULT && !said) {
			said = true;
			terms.verify = r->verify == TLSPROXY_VERIFY;
		}
		terms.store = terms.store ? terms.store : r->store;
		if (!terms.cert && r->cert.key)
			terms.cert = &r->cert;
		if (!terms.n_pins) {
			terms.pins = r->pins;
			terms.n_pins = r->n_pins;
		}
	}
	return terms;
}

/* ---- reading ------------------------------------------------------------------ */

/* The authorities that everybody is held against, and one file more. */
static int extend_store(const X509_STORE *base, const char *file, X509_STORE **ret, char *err,
			size_t err_size)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(base);
	X509_STORE *store = X509_STORE_new();
	int r = store && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) ? 0 : -ENOMEM;

	for (int i = 0; r == 0 && i < sk_X509_OBJECT_num(all); i++) {
		X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));

		if (cert && !X509_STORE_add_cert(store, cert))
			r = -ENOMEM;
	}
	if (r == 0)
		r = upstream_roots_add(store, file, err, err_size);
	if (r < 0) {
		X509_STORE_free(store);
		return fail(err, err_size, r);
	}
	*ret = store;
	return 0;
}

static int load_cert(struct client_cert *c, const struct tlsproxy_upstream *u, char *err,
		     size_t err_size)
{
	const char *key_file = u->key_file ? u->key_file : u->cert_file;
	int r = pem_certs(u->cert_file, &c->cert, &c->chain, err, err_size);

	if (r == 0)
		r = pem_key(key_file, &c->key, err, err_size);
	if (r == 0 && !X509_check_private_key(c->cert, c->key)) {
		snprintf(err, err_size, "%s: is not the key of the certificate in %s", key_file,
			 u->cert_file);
		r = -EINVAL;
	}
	ERR_clear_error();
	return fail(err, err_size, r);
}

static int load_rule(struct upstream_trust *t, struct trust_rule *r,
		     const struct tlsproxy_upstream *u, char *err, size_t err_size)
{
	int rc = 0;

	*r = (struct trust_rule){
		.is_addr = u->is_addr,
		.addr = u->addr,
		.host = u->host,
		.verify = u->verify,
	};
	if (u->n_pins) {
		r->pins = reallocarray(NULL, u->n_pins, sizeof(*r->pins));
		if (!r->pins)
			return fail(err, err_size, -ENOMEM);
		memcpy(r->pins, u->pins, u->n_pins * sizeof(*r->pins));
		r->n_pins = u->n_pins;
	}
	if (u->ca_file)
		rc = extend_store(t->store, u->ca_file, &r->store, err, err_size);
	if (rc == 0 && u->cert_file)
		rc = load_cert(&r->cert, u, err, err_size);
	return rc;
}

int upstream_trust_init(struct upstream_trust *t, const struct tlsproxy_config *cfg, char *err,
			size_t err_size)
{
	int r;

	*t = (struct upstream_trust){ .no_verify = cfg->no_verify };
	r = upstream_roots_load(cfg->upstream_ca_files, cfg->n_upstream_ca_files, &t->store, err,
				err_size);
	if (r < 0 || cfg->n_upstreams == 0)
		return r;
	t->rules = calloc(cfg->n_upstreams, sizeof(*t->rules));
	if (!t->rules)
		return fail(err, err_size, -ENOMEM);
	for (size_t i = 0; r == 0 && i < cfg->n_upstreams; i++) {
		t->n++;
		r = load_rule(t, &t->rules[i], &cfg->upstreams[i], err, err_size);
	}
	if (r == 0)
		qsort(t->rules, t->n, sizeof(*t->rules), by_specificity);
	return r;
}

void upstream_trust_fini(struct upstream_trust *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct trust_rule *r = &t->rules[i];

		X509_STORE_free(r->store);
		X509_free(r->cert.cert);
		sk_X509_pop_free(r->cert.chain, X509_free);
		EVP_PKEY_free(r->cert.key); /* wiped */
		free(r->pins);
	}
	free(t->rules);
	X509_STORE_free(t->store);
	*t = (struct upstream_trust){ 0 };
}
