/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the configuration to the tlsproxy's: paths and patterns are handed on, and the names
 * that the sandbox's CA may sign for are worked out.
 *
 * A constraint stands in the CA's certificate, which the sandbox trusts from its first
 * moment; a policy may be followed by a wider one. So unless told otherwise only the
 * operator's floor constrains, which no policy ever widens. The names of the policy itself
 * do when asked for, at the price that names of a later one are refused.
 */
#include "weir/tls_setup.h"

#include <stdio.h>

/* Intercepted TLS ends with the CA: a week is longer than a sandbox should live. */
#define CA_HOURS (7 * 24)
/* More make a certificate that clients take long to hold names against, and one that is
 * too long a message (MSG_CA). */
#define NAMES_MAX 256
#define NAMES_BYTES_MAX 4096

static const char *const host_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt",		     /* Debian, Alpine, Arch */
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
	"/etc/pki/tls/certs/ca-bundle.crt",		     /* older RHEL */
	"/etc/ssl/ca-bundle.pem",			     /* SUSE */
	"/etc/ssl/cert.pem",				     /* Alpine, BSD style */
};

/* ---- names --------------------------------------------------------------------- */

/* By address, group or anything: TLS for any name may go there. */
static bool by_name(const struct policy_rule_view *v)
{
	return v->dest == POLICY_DEST_NAME || v->dest == POLICY_DEST_SUFFIX ||
	       v->dest == POLICY_DEST_BELOW;
}

static bool opens_tcp(const struct policy_rule_view *v)
{
	return v->action == POLICY_ALLOW && v->dirs & POLICY_EGRESS &&
	       (!v->protos || v->protos & POLICY_TCP);
}

static bool has_name(const struct name *names, size_t n, const struct name *name)
{
	for (size_t i = 0; i < n; i++)
		if (name_equal(&names[i], name))
			return true;
	return false;
}

int tls_names_of(const struct policy *p, struct name **ret, size_t *ret_n)
{
	size_t rules = policy_rule_count(p), n = 0, bytes = 0;
	struct name *names;

	*ret_n = 0;
	if (policy_default(p, POLICY_EGRESS) != POLICY_DENY)
		return 0;
	names = reallocarray(NULL, MIN(rules, (size_t)NAMES_MAX) + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < rules; i++) {
		struct policy_rule_view v;

		policy_rule_view(p, i, &v);
		if (!opens_tcp(&v))
			continue;
		if (!by_name(&v) || n == NAMES_MAX || bytes > NAMES_BYTES_MAX) {
			free(names);
			return 0;
		}
		if (!has_name(names, n, &v.name)) {
			names[n++] = v.name;
			bytes += v.name.len + 6u;
		}
	}
	*ret = names;
	*ret_n = n;
	if (n == 0) {
		free(names);
		*ret = NULL;
	}
	return 0;
}

static int choose_names(const struct weir_config *cfg, struct tlsproxy_config *tc,
			struct tls_setup *s)
{
	const struct policy *floor = policy_floor(cfg->policy);
	int r = 0;

	if (cfg->tls_constrain == TLS_CONSTRAIN_OFF)
		return 0;
	/* While only observing, the policy's denials are let through; the floor's are not. */
	if (cfg->tls_constrain == TLS_CONSTRAIN_POLICY && !cfg->observe)
		r = tls_names_of(cfg->policy, &s->permitted, &tc->n_permitted);
	if (r == 0 && tc->n_permitted == 0 && floor)
		r = tls_names_of(floor, &s->permitted, &tc->n_permitted);
	tc->permitted = s->permitted;
	if (r == 0 && cfg->tls_constrain == TLS_CONSTRAIN_POLICY && tc->n_permitted == 0)
		log_warn("--tls-name-constraints: the CA can sign for any name: not all that the "
			 "policy allows can be listed by name");
	return r;
}

/* ---- the whole --------------------------------------------------------------------- */

int tls_setup(const struct weir_config *cfg, struct tlsproxy_config *tc, struct tls_setup *s)
{
	*s = (struct tls_setup){ 0 };
	s->upstreams = calloc(cfg->n_tls_upstreams + 1, sizeof(*s->upstreams));
	if (!s->upstreams)
		return -ENOMEM;
	for (size_t i = 0; i < cfg->n_tls_upstreams; i++) {
		const struct tls_upstream_config *u = &cfg->tls_upstreams[i];

		s->upstreams[i] = (struct tlsproxy_upstream){
			.is_addr = u->is_addr,
			.addr = u->addr,
			.host = u->host,
			.verify = u->verify,
			.ca_file = u->ca,
			.cert_file = u->cert,
			.key_file = u->key,
			.pins = u->pins,
			.n_pins = u->n_pins,
		};
	}
	tc->upstream_ca_files = (const char *const *)cfg->upstream_cas;
	tc->n_upstream_ca_files = cfg->n_upstream_cas;
	tc->upstreams = s->upstreams;
	tc->n_upstreams = cfg->n_tls_upstreams;
	tc->no_verify = cfg->tls_no_verify;
	tc->no_http2 = cfg->tls_no_http2;
	/* Without interception nobody trusts it, and it signs nothing. */
	if (cfg->tls_intercept) {
		tc->ca_cert_file = cfg->tls_ca_cert;
		tc->ca_key_file = cfg->tls_ca_key;
	}
	if (cfg->tls_intercept && cfg->tls_no_verify)
		log_warn("--tls-no-verify-upstream: nobody knows who answers; no secret is put in");
	tc->ca_hours = cfg->tls_ca_hours ? cfg->tls_ca_hours : CA_HOURS;
	return choose_names(cfg, tc, s);
}

void tls_setup_fini(struct tls_setup *s)
{
	free(s->upstreams);
	free(s->permitted);
	*s = (struct tls_setup){ 0 };
}

/* ---- this machine's trust ------------------------------------------------------------ */

int tls_host_cas(struct buf *ret, struct conf_error *err)
{
	static const char mark[] = "BEGIN CERTIFICATE";
	const char *own = secure_getenv("SSL_CERT_FILE");

	for (size_t i = 0; i <= ARRAY_SIZE(host_bundles); i++) {
		const char *path = i ? host_bundles[i - 1] : own;
		int r;

		if (!path || !*path)
			continue;
		r = file_read(path, TLS_HOST_CAS_MAX, ret);
		/* What the user named is not passed over. */
		if (r < 0 && (i == 0 || r != -ENOENT)) {
			conf_error_set(err, "--trust-host-cas: %s cannot be read: %s", path,
				       strerror(-r));
			return r;
		}
		if (r == 0 && ret->len && memmem(buf_at(ret), ret->len, mark, sizeof(mark) - 1))
			return buf_append_str(ret, "\n");
		buf_reset(ret);
	}
	conf_error_set(err, "--trust-host-cas: this machine has no bundle of authorities "
			    "(ca-certificates, SSL_CERT_FILE)");
	return -ENOENT;
}
