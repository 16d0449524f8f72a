/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section "tls" of a configuration, and its flags: which TLS is read, with which
 * authority, whom it trusts upstream and as whom it comes.
 *
 * What is said of single hosts (tls.upstream, --tls-...-for) is collected by pattern: each
 * pattern has each field once, from a flag or else from the file. That a certificate is an
 * authority's, or a key its own, the tlsproxy finds out, which alone reads keys; here it is
 * that the files are there and of the right kind.
 */
#include "weir/config_internal.h"

#include <stdio.h>
#include <sys/stat.h>

/* ---- lists -------------------------------------------------------------------- */

static int too_many(const struct config_builder *b, const struct where *w, size_t max)
{
	return where_fail(w, b->err, "more than %zu of them", max);
}

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
		return too_many(b, w, CONFIG_TLS_PORTS_MAX);
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

static int parse_pattern(struct config_builder *b, const struct where *w, const char *text,
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

	if (parse_pattern(b, w, text, strlen(text), &p) < 0)
		return -EINVAL;
	if (c->n_tls_bypass >= CONFIG_BYPASS_MAX)
		return too_many(b, w, CONFIG_BYPASS_MAX);
	slot = config_push(&c->tls_bypass, &c->n_tls_bypass, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = p;
	return 0;
}

/* ---- files --------------------------------------------------------------------- */

/* The file, where neither the flag's value nor the place in the configuration is just that. */
static const char *which(const struct where *w, const char *path, char out[static 160])
{
	out[0] = 0;
	if (w->flag && w->value && !str_eq(w->value, path))
		snprintf(out, 160, "%.150s ", path);
	return out;
}

/* A file that holds none would leave every server unverifiable: say it now. */
static int check_pem(struct config_builder *b, const struct where *w, const char *path,
		     const char *mark, const char *what)
{
	struct buf text = BUF_INIT(CONFIG_CA_FILE_MAX);
	char file[160];
	bool found = false;
	int r = file_read(path, CONFIG_CA_FILE_MAX, &text);

	if (r == 0)
		found = text.len && memmem(buf_at(&text), text.len, mark, strlen(mark));
	buf_fini_wiped(&text);
	if (r == -EFBIG || r == -ENOBUFS)
		return where_fail(w, b->err, "%slarger than %zu MiB", which(w, path, file),
				  CONFIG_CA_FILE_MAX >> 20);
	if (r < 0)
		return where_fail(w, b->err, "%scannot be read: %s", which(w, path, file),
				  strerror(-r));
	if (!found)
		return where_fail(w, b->err, "%sholds no %s in PEM form (\"%s\")",
				  which(w, path, file), what, mark);
	return 0;
}

static int check_cert(struct config_builder *b, const struct where *w, const char *path)
{
	return check_pem(b, w, path, "BEGIN CERTIFICATE", "certificate");
}

/* PKCS #8, encrypted or not, and the older forms. */
static int check_key(struct config_builder *b, const struct where *w, const char *path)
{
	struct stat st;
	char file[160];

	/* Anybody on the machine could sign as it. */
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & S_IROTH)
		return where_fail(w, b->err,
				  "%scan be read by everybody on this machine: chmod o-r it",
				  which(w, path, file));
	return check_pem(b, w, path, "PRIVATE KEY-----", "private key");
}

int config_add_upstream_ca(struct config_builder *b, const struct where *w, const char *path)
{
	struct weir_config *c = b->c;
	char *copy, **slot;

	if (c->n_upstream_cas >= CONFIG_CAS_MAX)
		return too_many(b, w, CONFIG_CAS_MAX);
	if (check_cert(b, w, path) < 0)
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

static int set_file(char **to, const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

int config_set_tls_ca_cert(struct config_builder *b, const struct where *w, const char *text)
{
	int r = check_cert(b, w, text);

	return r < 0 ? r : set_file(&b->c->tls_ca_cert, text);
}

int config_set_tls_ca_key(struct config_builder *b, const struct where *w, const char *text)
{
	int r = check_key(b, w, text);

	return r < 0 ? r : set_file(&b->c->tls_ca_key, text);
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

/* ---- single hosts ----------------------------------------------------------------- */

enum { SAYS_VERIFY = 1, SAYS_CA = 2, SAYS_CERT = 4 };

static bool same_hosts(const struct tls_upstream_config *a, const struct tls_upstream_config *b)
{
	if (a->is_addr || b->is_addr)
		return a->is_addr && b->is_addr && ip_equal(&a->addr, &b->addr);
	return a->host.is_suffix == b->host.is_suffix && a->host.apex == b->host.apex &&
	       name_equal(&a->host.name, &b->host.name);
}

static int find_upstream(struct config_builder *b, const struct where *w, const char *text,
			 size_t len, struct tls_upstream_config **ret)
{
	struct tls_upstream_config u = { 0 }, *slot;
	struct weir_config *c = b->c;

	u.is_addr = ip_parse(text, len, &u.addr, NULL) == 0;
	if (!u.is_addr && parse_pattern(b, w, text, len, &u.host) < 0)
		return -EINVAL;
	for (size_t i = 0; i < c->n_tls_upstreams; i++)
		if (same_hosts(&c->tls_upstreams[i], &u)) {
			*ret = &c->tls_upstreams[i];
			return 0;
		}
	if (c->n_tls_upstreams >= CONFIG_TLS_UPSTREAMS_MAX)
		return too_many(b, w, CONFIG_TLS_UPSTREAMS_MAX);
	slot = config_push(&c->tls_upstreams, &c->n_tls_upstreams, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = u;
	*ret = slot;
	return 0;
}

/* 0: said here; 1: a flag has said it, which wins; negative: said twice in one place. */
static int claim(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		 unsigned what)
{
	if (u->says & what) {
		if (!w->flag && u->by_flag & what)
			return 1;
		return where_fail(w, b->err, "said twice for the same hosts");
	}
	u->says |= what;
	if (w->flag)
		u->by_flag |= what;
	return 0;
}

static int say_verify(struct config_builder *b, const struct where *w,
		      struct tls_upstream_config *u, bool verify)
{
	int r = claim(b, w, u, SAYS_VERIFY);

	if (r == 0)
		u->verify = verify ? TLSPROXY_VERIFY : TLSPROXY_NO_VERIFY;
	return r < 0 ? r : 0;
}

static int say_ca(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		  const char *path)
{
	int r = claim(b, w, u, SAYS_CA);

	if (r)
		return r < 0 ? r : 0;
	r = check_cert(b, w, path);
	return r < 0 ? r : set_file(&u->ca, path);
}

/* key NULL: in the same file. */
static int say_cert(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		    const char *cert, const char *key)
{
	int r = claim(b, w, u, SAYS_CERT);

	if (r)
		return r < 0 ? r : 0;
	r = check_cert(b, w, cert);
	if (r == 0)
		r = check_key(b, w, key ? key : cert);
	if (r == 0)
		r = set_file(&u->cert, cert);
	return r == 0 && key ? set_file(&u->key, key) : r;
}

static int say_pin(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		   const char *text)
{
	struct tlsproxy_pin pin, *slot;
	const char *why;

	if (tlsproxy_pin_parse(text, &pin, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (u->n_pins >= CONFIG_PINS_MAX)
		return too_many(b, w, CONFIG_PINS_MAX);
	slot = config_push(&u->pins, &u->n_pins, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = pin;
	return 0;
}

int config_no_verify_for(struct config_builder *b, const struct where *w, const char *text)
{
	struct tls_upstream_config *u;
	int r = find_upstream(b, w, text, strlen(text), &u);

	return r < 0 ? r : say_verify(b, w, u, false);
}

/* PATTERN=VALUE; patterns have no '='. */
static int split(struct config_builder *b, const struct where *w, const char *text,
		 const char *value_is, struct tls_upstream_config **ret, const char **ret_value)
{
	const char *eq = strchr(text, '=');

	if (!eq || !eq[1])
		return where_fail(w, b->err, "write PATTERN=%s", value_is);
	*ret_value = eq + 1;
	return find_upstream(b, w, text, (size_t)(eq - text), ret);
}

int config_upstream_ca_for(struct config_builder *b, const struct where *w, const char *text)
{
	struct tls_upstream_config *u;
	const char *path;
	int r = split(b, w, text, "FILE", &u, &path);

	return r < 0 ? r : say_ca(b, w, u, path);
}

int config_client_cert(struct config_builder *b, const struct where *w, const char *text)
{
	struct tls_upstream_config *u;
	cleanup_free char *cert = NULL;
	const char *value, *comma;
	int r = split(b, w, text, "CERT[,KEY]", &u, &value);

	if (r < 0)
		return r;
	comma = strchr(value, ',');
	if (!comma)
		return say_cert(b, w, u, value, NULL);
	cert = strndup(value, (size_t)(comma - value));
	return cert ? say_cert(b, w, u, cert, comma + 1) : -ENOMEM;
}

int config_pin(struct config_builder *b, const struct where *w, const char *text)
{
	struct tls_upstream_config *u;
	const char *pin;
	int r = split(b, w, text, "sha256/BASE64", &u, &pin);

	return r < 0 ? r : say_pin(b, w, u, pin);
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

/* A path of the file, from its folder; *ret NULL: absent. */
static int read_file(struct config_builder *b, const struct conf *c, char **ret)
{
	const char *text = NULL;
	int r = conf_str(c, &text, b->err);

	if (r < 0 || !text)
		return r;
	if (!text[0])
		return conf_fail(c, b->err, "an empty path");
	return config_from_dir(b, text, ret);
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
		r = read_file(b, &cert, &cert_path);
	if (r == 0)
		r = read_file(b, &key, &key_path);
	if (r == 0 && (!cert_path || !key_path))
		return conf_fail(c, b->err, "an authority needs both \"cert\" and \"key\"");
	if (r < 0 || option_value(&b->o, OPTION_TLS_CA_CERT))
		return r;
	r = config_set_tls_ca_cert(b, &w_cert, cert_path);
	return r < 0 ? r : config_set_tls_ca_key(b, &w_key, key_path);
}

static int read_cert(struct config_builder *b, const struct conf *c, struct tls_upstream_config *u)
{
	struct conf cert = conf_member(c, "client_cert"), key = conf_member(c, "client_key");
	cleanup_free char *cert_path = NULL, *key_path = NULL;
	struct where w = { .conf = &cert };
	int r = read_file(b, &cert, &cert_path);

	if (r == 0)
		r = read_file(b, &key, &key_path);
	if (r == 0 && key_path && !cert_path)
		return conf_fail(&key, b->err, "a \"client_key\" without \"client_cert\"");
	return r < 0 || !cert_path ? r : say_cert(b, &w, u, cert_path, key_path);
}

static int read_pins(struct config_builder *b, const struct conf *list, struct tls_upstream_config *u)
{
	int r = 0;

	if (list->v && (!json_is_array(list->v) || !json_array_size(list->v)))
		return conf_fail(list, b->err, "expected a list of pins: [\"sha256/BASE64\"]");
	for (size_t i = 0; r == 0 && i < json_array_size(list->v); i++) {
		struct conf e = conf_element(list, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = conf_str(&e, &text, b->err);
		if (r == 0)
			r = say_pin(b, &w, u, text);
	}
	return r;
}

static int read_upstream(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "host",	   "verify",	 "ca",
					    "client_cert", "client_key", "pins" };
	struct conf host = conf_member(c, "host"), verify = conf_member(c, "verify");
	struct conf ca = conf_member(c, "ca"), pins = conf_member(c, "pins");
	struct where w_host = { .conf = &host }, w = { .conf = &verify }, w_ca = { .conf = &ca };
	cleanup_free char *ca_path = NULL;
	struct tls_upstream_config *u;
	const char *text = NULL;
	bool on = true;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = conf_str(&host, &text, b->err);
	if (r == 0 && !text)
		return conf_fail(c, b->err, "\"host\" is missing: whom it is about");
	if (r == 0)
		r = find_upstream(b, &w_host, text, strlen(text), &u);
	if (r == 0)
		r = conf_bool(&verify, &on, b->err);
	if (r == 0 && verify.v)
		r = say_verify(b, &w, u, on);
	if (r == 0)
		r = read_file(b, &ca, &ca_path);
	if (r == 0 && ca_path)
		r = say_ca(b, &w_ca, u, ca_path);
	if (r == 0)
		r = read_cert(b, c, u);
	return r < 0 ? r : read_pins(b, &pins, u);
}

static int read_upstreams(struct config_builder *b, const struct conf *list)
{
	int r = 0;

	if (list->v && !json_is_array(list->v))
		return conf_fail(list, b->err, "expected a list: [{\"host\": PATTERN, ...}]");
	for (size_t i = 0; r == 0 && i < json_array_size(list->v); i++) {
		struct conf e = conf_element(list, i);

		r = read_upstream(b, &e);
	}
	return r;
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
		r = read_upstreams(b, &upstream);
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
