/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section "tls" of a configuration, and its flags: which TLS is read, with which
 * authority, and whom it trusts upstream. Single hosts are config_tls_host.c's.
 */
#include "weir/config_internal.h"

/* ---- lists -------------------------------------------------------------------- */

static int add_port(struct config_builder *b, const struct where *w, uint16_t port)
{
	struct weir_config *c = b->c;
	uint16_t *slot;

	for (size_t i = 0; i < c->n_tls_ports; i++)
		if (c->tls_ports[i] == port)
			return where_fail(w, b->err, "the same port twice");
	if (c->tls_any_port)
		return where_fail(w, b->err, "any port is read already");
	if (port == 53)
		return where_fail(w, b->err, "port 53 is always DNS");
	if (port == 853)
		return where_fail(w, b->err, "port 853 is always DNS over TLS");
	if (c->n_tls_ports >= CONFIG_TLS_PORTS_MAX)
		return config_too_many(b, w, CONFIG_TLS_PORTS_MAX);
	slot = config_push(&c->tls_ports, &c->n_tls_ports, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = port;
	return 0;
}

static int set_any_port(struct config_builder *b, const struct where *w)
{
	if (b->c->n_tls_ports)
		return where_fail(w, b->err, "any port is more than the ports beside it; give one");
	b->c->tls_any_port = true;
	return 0;
}

int config_add_tls_ports(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint16_t port;

	if (str_eq(text, "any"))
		return set_any_port(b, w);
	if (port_parse(text, strlen(text), &port, &why) < 0)
		return where_fail(w, b->err, "%s, or any", why);
	return add_port(b, w, port);
}

int config_tls_pattern(struct config_builder *b, const struct where *w, const char *text,
		       size_t len, struct tlsproxy_host_pattern *ret)
{
	const char *why = "not a host pattern";

	if (tlsproxy_host_pattern_parse(text, len, ret, &why) < 0)
		return where_fail(w, b->err, "%s; a pattern is NAME, .SUFFIX or *.SUFFIX", why);
	return 0;
}

int config_add_bypass(struct config_builder *b, const struct where *w, const char *text)
{
	struct weir_config *c = b->c;
	struct tlsproxy_host_pattern p, *slot;

	if (config_tls_pattern(b, w, text, strlen(text), &p) < 0)
		return -EINVAL;
	if (c->n_tls_bypass >= CONFIG_BYPASS_MAX)
		return config_too_many(b, w, CONFIG_BYPASS_MAX);
	slot = config_push(&c->tls_bypass, &c->n_tls_bypass, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = p;
	return 0;
}

/* ---- files --------------------------------------------------------------------- */

int config_add_upstream_ca(struct config_builder *b, const struct where *w, const char *path)
{
	struct weir_config *c = b->c;
	char *copy, **slot;

	if (c->n_upstream_cas >= CONFIG_CAS_MAX)
		return config_too_many(b, w, CONFIG_CAS_MAX);
	if (config_check_cert(b, w, path) < 0)
		return -EINVAL;
	copy = strdup(path);
	slot = copy ? config_push(&c->upstream_cas, &c->n_upstream_cas, sizeof(*slot)) : NULL;
	if (!slot) {
		free(copy);
		return -ENOMEM;
	}
	*slot = copy;
	return 0;
}

int config_set_tls_ca_cert(struct config_builder *b, const struct where *w, const char *text)
{
	int r = config_check_cert(b, w, text);

	return r < 0 ? r : config_replace_text(&b->c->tls_ca_cert, text);
}

int config_set_tls_ca_key(struct config_builder *b, const struct where *w, const char *text)
{
	int r = config_check_key(b, w, text);

	return r < 0 ? r : config_replace_text(&b->c->tls_ca_key, text);
}

/* ---- single values -------------------------------------------------------------- */

int config_set_tls_ca_hours(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint64_t n;

	if (uint_parse(text, strlen(text), 1, CONFIG_CA_HOURS_MAX, &n, &why) < 0)
		return where_fail(w, b->err, "%s; hours, up to %d", why, CONFIG_CA_HOURS_MAX);
	b->c->tls_ca_hours = (uint32_t)n;
	return 0;
}

int config_set_constraints(struct config_builder *b, const struct where *w, const char *text)
{
	static const char *const words[] = {
		[TLS_CONSTRAIN_AUTO] = "auto",
		[TLS_CONSTRAIN_POLICY] = "policy",
		[TLS_CONSTRAIN_OFF] = "off",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(text, words[i])) {
			b->c->tls_constrain = (enum tls_constrain)i;
			return 0;
		}
	return where_fail(w, b->err,
			  "the CA's names are \"auto\" (those of the operator's floor), \"policy\" "
			  "(those of the policy at the start) or \"off\"");
}

/* ---- the file ------------------------------------------------------------------------ */

static int add_ca(struct config_builder *b, const struct where *w, const char *path)
{
	cleanup_free char *full = NULL;
	int r = config_from_dir(b, path, &full);

	return r < 0 ? r : config_add_upstream_ca(b, w, full);
}

static int read_ports(struct config_builder *b, const struct conf *c)
{
	struct where w_any = { .conf = c };
	int r = 0;

	if (!c->v)
		return 0;
	if (json_is_string(c->v) && str_eq(json_string_value(c->v), "any"))
		return b->o.of[OPTION_TLS_INTERCEPT_PORT].n ? 0 : set_any_port(b, &w_any);
	if (!json_is_array(c->v))
		return conf_fail(c, b->err, "expected a list: [...], or \"any\"");
	if (b->c->tls_any_port) /* says the flag */
		return 0;
	for (size_t i = 0; r == 0 && i < json_array_size(c->v); i++) {
		struct conf e = conf_element(c, i);
		struct where w = { .conf = &e };
		uint64_t port = 0;

		r = conf_uint(&e, 1, 65535, &port, b->err);
		if (r == 0)
			r = add_port(b, &w, (uint16_t)port);
	}
	return r;
}

/* Both or neither; flags win as one. */
static int read_own_ca(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "cert", "key" };
	struct conf cert = conf_member(c, "cert"), key = conf_member(c, "key");
	struct where w_cert = { .conf = &cert }, w_key = { .conf = &key };
	cleanup_free char *cert_path = NULL, *key_path = NULL;
	int r;

	if (!c->v)
		return 0;
	if (!json_is_object(c->v))
		return conf_fail(c, b->err, "expected an object: {\"cert\": FILE, \"key\": FILE}");
	r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);
	if (r == 0)
		r = config_read_path(b, &cert, &cert_path);
	if (r == 0)
		r = config_read_path(b, &key, &key_path);
	if (r == 0 && (!cert_path || !key_path))
		return conf_fail(c, b->err, "an authority needs both \"cert\" and \"key\"");
	if (r < 0 || option_value(&b->o, OPTION_TLS_CA_CERT))
		return r;
	r = config_set_tls_ca_cert(b, &w_cert, cert_path);
	return r < 0 ? r : config_set_tls_ca_key(b, &w_key, key_path);
}

static int read_switches(struct config_builder *b, const struct conf *c)
{
	struct conf intercept = conf_member(c, "intercept"), http2 = conf_member(c, "http2");
	struct conf verify = conf_member(c, "verify_upstream"),
		    host = conf_member(c, "trust_host_cas");
	bool on = false, h2 = true, verified = true, host_cas = false;
	int r = conf_bool(&intercept, &on, b->err);

	if (r == 0)
		r = conf_bool(&http2, &h2, b->err);
	if (r == 0)
		r = conf_bool(&verify, &verified, b->err);
	if (r == 0)
		r = conf_bool(&host, &host_cas, b->err);
	if (r < 0)
		return r;
	b->c->tls_intercept |= on;
	b->c->tls_no_http2 |= !h2;
	b->c->tls_no_verify |= !verified;
	b->c->trust_host_cas |= host_cas;
	return 0;
}

static int read_values(struct config_builder *b, const struct conf *c)
{
	struct conf names = conf_member(c, "name_constraints"), hours = conf_member(c, "ca_hours");
	struct where w = { .conf = &names };
	enum tls_constrain flag = b->c->tls_constrain;
	const char *text = NULL;
	uint64_t n = 0;
	int r = conf_str(&names, &text, b->err);

	if (r == 0 && text)
		r = config_set_constraints(b, &w, text);
	if (option_value(&b->o, OPTION_TLS_NAME_CONSTRAINTS))
		b->c->tls_constrain = flag;
	if (r == 0)
		r = conf_uint(&hours, 1, CONFIG_CA_HOURS_MAX, &n, b->err);
	if (r == 0 && n && !b->c->tls_ca_hours)
		b->c->tls_ca_hours = (uint32_t)n;
	return r;
}

int config_read_tls(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = {
		"intercept",	   "ports",    "bypass",	 "upstream_ca",
		"http2",	   "ca",       "ca_hours",	 "name_constraints",
		"verify_upstream", "upstream", "trust_host_cas",
	};
	struct conf ports = conf_member(c, "ports"), bypass = conf_member(c, "bypass");
	struct conf roots = conf_member(c, "upstream_ca"), ca = conf_member(c, "ca");
	struct conf upstream = conf_member(c, "upstream");
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = read_switches(b, c);
	if (r == 0)
		r = read_ports(b, &ports);
	if (r == 0)
		r = config_add_each(b, &bypass, config_add_bypass);
	if (r == 0)
		r = config_add_each(b, &roots, add_ca);
	if (r == 0)
		r = read_own_ca(b, &ca);
	if (r == 0)
		r = config_read_tls_hosts(b, &upstream);
	return r < 0 ? r : read_values(b, c);
}

/* ---- the whole ------------------------------------------------------------------------ */

int config_check_tls(struct config_builder *b)
{
	const struct weir_config *c = b->c;

	if (!c->tls_ca_cert != !c->tls_ca_key) {
		conf_error_set(b->err, "%s: an authority needs both --tls-ca-cert and --tls-ca-key",
			       c->tls_ca_cert ? "--tls-ca-cert" : "--tls-ca-key");
		return -EINVAL;
	}
	if (c->tls_ca_cert && (c->tls_ca_hours || c->tls_constrain == TLS_CONSTRAIN_POLICY)) {
		conf_error_set(b->err,
			       "%s: the authority of %s has its own; this is for the one that weir "
			       "makes",
			       c->tls_ca_hours ? "--tls-ca-hours (tls.ca_hours)"
					       : "--tls-name-constraints (tls.name_constraints)",
			       c->tls_ca_cert);
		return -EINVAL;
	}
	return 0;
}

void config_tls_fini(struct weir_config *c)
{
	for (size_t i = 0; i < c->n_upstream_cas; i++)
		free(c->upstream_cas[i]);
	for (size_t i = 0; i < c->n_tls_upstreams; i++) {
		struct tls_upstream_config *u = &c->tls_upstreams[i];

		free(u->ca);
		free(u->cert);
		free(u->key);
		free(u->pins);
	}
	free(c->tls_upstreams);
	free(c->upstream_cas);
	free(c->tls_bypass);
	free(c->tls_ports);
	free(c->tls_ca_cert);
	free(c->tls_ca_key);
}

/* Ports 53 and 853 are the resolver's, whatever comes there. */
bool weir_config_reads_port(const struct weir_config *c, uint16_t port)
{
	if (!c->tls_intercept)
		return false;
	if (c->tls_any_port)
		return port != 53 && port != 853;
	for (size_t i = 0; i < c->n_tls_ports; i++)
		if (c->tls_ports[i] == port)
			return true;
	return false;
}
