/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file, in JSON, YAML or TOML: the sections policy, dns, tls,
 * secrets, limits, publish, network, machine, proxy and audit. Every key is known or refused, every
 * complaint names file, line and column. What a flag already said is not
 * overwritten; lists are added to. Relative paths start at the file's folder.
 */
#include "weir/config_internal.h"

#include <stdio.h>

static int expect_object(const struct conf *c, struct conf_error *err)
{
	return json_is_object(c->v) ? 0 : conf_fail(c, err, "expected an object");
}

/* A list that is there must be a list; *ret_n 0 when it is absent. */
static int list_size(const struct conf *c, size_t *ret_n, struct conf_error *err)
{
	if (c->v && !json_is_array(c->v))
		return conf_fail(c, err, "expected a list: [...]");
	*ret_n = json_array_size(c->v);
	return 0;
}

static int element_str(const struct conf *c, const char **ret, struct conf_error *err)
{
	int r = conf_str(c, ret, err);

	if (r == 0 && !(*ret)[0])
		return conf_fail(c, err, "an empty text");
	return r;
}

/* One add function for each list of texts. */
int config_add_each(struct config_builder *b, const struct conf *list,
		    int (*fn)(struct config_builder *b, const struct where *w, const char *text))
{
	size_t n = 0;
	int r = list_size(list, &n, b->err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct conf e = conf_element(list, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = element_str(&e, &text, b->err);
		if (r == 0)
			r = fn(b, &w, text);
	}
	return r;
}

/* Paths in the file are meant from where the file is. */
int config_from_dir(const struct config_builder *b, const char *path, char **ret)
{
	return asprintf(ret, "%s%s", path[0] == '/' ? "" : b->dir, path) < 0 ? -ENOMEM : 0;
}

int config_read_path(struct config_builder *b, const struct conf *c, char **ret)
{
	const char *text = NULL;
	int r = conf_str(c, &text, b->err);

	if (r < 0 || !text)
		return r;
	if (!text[0])
		return conf_fail(c, b->err, "an empty path");
	return config_from_dir(b, text, ret);
}

/* ---- dns ------------------------------------------------------------------------------ */

static int read_record(struct config_builder *b, const struct conf *c, const char *name)
{
	struct where w = { .conf = c };
	const char *addr = "";
	size_t n = 0;
	int r;

	if (json_is_string(c->v)) {
		r = conf_str(c, &addr, b->err);
		return r < 0 ? r : config_add_dns_record(b, &w, name, strlen(name), addr);
	}
	r = list_size(c, &n, b->err);
	if (r == 0 && n == 0)
		return conf_fail(c, b->err, "a record without an address");
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct conf e = conf_element(c, i);

		w.conf = &e;
		r = element_str(&e, &addr, b->err);
		if (r == 0)
			r = config_add_dns_record(b, &w, name, strlen(name), addr);
	}
	return r;
}

/* false, or the sizes that differ from the usual ones. */
static int read_budget(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "names", "bytes", "queries", "refill_s" };
	struct dns_budget budget = { 0 };
	uint32_t *const to[] = { &budget.names, &budget.bytes, &budget.queries, &budget.refill_s };
	int r = 0;

	if (!c->v)
		return 0;
	if (json_is_false(c->v))
		budget.off = true;
	else if (!json_is_object(c->v))
		return conf_fail(c, b->err, "expected false or an object: {\"names\": 256}");
	else
		r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++) {
		struct conf m = conf_member(c, keys[i]);
		uint64_t n = 0;

		r = conf_uint(&m, 1, i == 3 ? CONFIG_DNS_REFILL_MAX_S : CONFIG_DNS_BUDGET_MAX, &n,
			      b->err);
		*to[i] = (uint32_t)n;
	}
	if (r == 0 && !option_value(&b->o, OPTION_DNS_BUDGET))
		b->c->dns_budget = budget;
	return r;
}

static int read_stale(struct config_builder *b, const struct conf *c)
{
	uint64_t s = b->c->dns_stale_s;
	int r = conf_uint(c, 0, CONFIG_DNS_STALE_MAX_S, &s, b->err);

	if (r == 0 && !option_value(&b->o, OPTION_DNS_SERVE_STALE))
		b->c->dns_stale_s = (uint32_t)s;
	return r;
}

static int read_dns(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "servers", "records",     "answers", "timeout_ms",
					    "doh",     "serve_stale", "budget" };
	struct conf stale = conf_member(c, "serve_stale"), budget = conf_member(c, "budget");
	struct conf servers = conf_member(c, "servers"), records = conf_member(c, "records");
	struct conf answers = conf_member(c, "answers"), timeout = conf_member(c, "timeout_ms");
	struct conf doh = conf_member(c, "doh");
	struct where w = { .conf = &answers }, w_doh = { .conf = &doh };
	const char *text = NULL, *doh_text = NULL, *name;
	uint64_t ms = b->c->dns_timeout_ms;
	json_t *v;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = config_add_each(b, &servers, config_add_dns_server);
	if (r == 0 && records.v)
		r = expect_object(&records, b->err);
	if (r < 0)
		return r;
	json_object_foreach(records.v, name, v)
	{
		struct conf rec = conf_member(&records, name);

		r = read_record(b, &rec, name);
		if (r < 0)
			return r;
	}
	r = conf_str(&answers, &text, b->err);
	/* Checked even when a flag wins, so that a wrong file does not lie in wait. */
	if (r == 0 && text) {
		enum dns_mode flag = b->c->dns_mode;

		r = config_set_answers(b, &w, text);
		if (option_value(&b->o, OPTION_DNS_ANSWERS))
			b->c->dns_mode = flag;
	}
	if (r == 0)
		r = conf_str(&doh, &doh_text, b->err);
	if (r == 0 && doh_text) {
		bool flag = b->c->dns_doh;

		r = config_set_doh(b, &w_doh, doh_text);
		if (option_value(&b->o, OPTION_DNS_DOH))
			b->c->dns_doh = flag;
	}
	if (r == 0)
		r = conf_uint(&timeout, CONFIG_DNS_TIMEOUT_MIN_MS, CONFIG_DNS_TIMEOUT_MAX_MS, &ms,
			      b->err);
	if (r == 0)
		b->c->dns_timeout_ms = (uint32_t)ms;
	if (r == 0)
		r = read_stale(b, &stale);
	return r < 0 ? r : read_budget(b, &budget);
}

/* ---- secrets ---------------------------------------------------------------------------- */

static int read_secret_lists(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	struct conf hosts = conf_member(c, "hosts"), at = conf_member(c, "at");
	size_t n = 0;
	int r;

	if (!hosts.v)
		return conf_fail(c, b->err,
				 "\"hosts\" is missing: a secret needs to know where it may go");
	r = list_size(&hosts, &n, b->err);
	if (r == 0 && n == 0)
		return conf_fail(&hosts, b->err, "no hosts: a secret needs to know where it may go");
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct conf e = conf_element(&hosts, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = element_str(&e, &text, b->err);
		if (r == 0)
			r = secret_draft_host(b, &w, text, strlen(text), d);
	}
	if (r == 0)
		r = list_size(&at, &n, b->err);
	if (r == 0 && at.v && n == 0)
		return conf_fail(
			&at,
			b->err, "no places: the secret could never be used; leave \"at\" out for header and basic");
	for (size_t i = 0; r == 0 && at.v && i < n; i++) {
		struct conf e = conf_element(&at, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = element_str(&e, &text, b->err);
		if (r == 0)
			r = secret_draft_place(b, &w, text, strlen(text), d);
	}
	return r;
}

int config_read_secret(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "env",	   "from",	   "hosts",
					    "at",	   "methods",	   "paths",
					    "max_uses",	   "placeholder",  "require_tls",
					    "passthrough", "on_violation", "sign",
					    "token",	   "mask_tokens" };
	struct conf mask = conf_member(c, "mask_tokens");
	struct conf sign = conf_member(c, "sign"), token = conf_member(c, "token");
	struct conf env = conf_member(c, "env"), from = conf_member(c, "from");
	struct conf violation = conf_member(c, "on_violation");
	struct where w = { .conf = c }, w_env = { .conf = &env }, w_from = { .conf = &from };
	struct where w_violation = { .conf = &violation };
	struct secret_draft d = { 0 };
	const char *name = NULL, *action = NULL;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0 && !env.v)
		return conf_fail(c, b->err, "\"env\" is missing: the variable the sandbox sees");
	if (r == 0)
		r = conf_str(&env, &name, b->err);
	if (r == 0)
		r = config_check_env_name(b, &w_env, name, strlen(name));
	if (r < 0)
		return r;
	d.env = name;
	d.env_len = strlen(name);
	r = conf_str(&violation, &action, b->err);
	if (r == 0 && action) {
		d.has_violation = true;
		r = config_parse_violation(b, &w_violation, action, &d.on_violation);
	}
	if (r == 0)
		r = read_secret_lists(b, c, &d);
	if (r == 0)
		r = config_read_terms(b, c, &d);
	if (r == 0)
		r = config_read_sign(b, &sign, &d.sign);
	if (r == 0)
		r = config_read_token(b, &token, &d.token);
	if (r == 0)
		r = config_read_mask(b, &mask, &d.mask);
	if (r == 0)
		r = config_read_source(b, &from, &d);
	if (r == 0)
		r = config_add_secret(b, from.v ? &w_from : &w, &d);
	secret_draft_fini(&d);
	return r;
}

static int read_secrets(struct config_builder *b, const struct conf *list)
{
	size_t n = 0;
	int r = list_size(list, &n, b->err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct conf e = conf_element(list, i);

		r = config_read_secret(b, &e);
	}
	return r;
}

/* ---- the rest ----------------------------------------------------------------------------- */

/* Of a file that is written; the flag wins. */
static int read_output(struct config_builder *b, const struct conf *c, enum option flag, char **path)
{
	cleanup_free char *full = NULL;
	struct where w = { .conf = c };
	int r = config_read_path(b, c, &full);

	if (r < 0 || !full || option_value(&b->o, flag))
		return r;
	return config_set_path(b, &w, path, full);
}

static int read_audit(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "file", "capture" };
	struct conf file = conf_member(c, "file"), capture = conf_member(c, "capture");
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = read_output(b, &file, OPTION_AUDIT, &b->c->audit_path);
	if (r == 0)
		r = read_output(b, &capture, OPTION_CAPTURE, &b->c->capture_path);
	return r;
}

static int read_publish(struct config_builder *b, const struct conf *c)
{
	return config_add_each(b, c, config_add_publish);
}

static int read_policy(struct config_builder *b, const struct conf *c)
{
	return policy_load_conf(c, &b->policy, b->err);
}

/* A file, as flags name it too: read once the policy is there. */
static int read_floor(struct config_builder *b, const struct conf *c)
{
	return config_read_path(b, c, &b->floor);
}

/* What only a gateway has: whoever runs a command with such a file means another one. */
static int read_gateway(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "link", "ca_out", "env_out" };
	struct conf link = conf_member(c, "link"), ca = conf_member(c, "ca_out");
	struct conf env = conf_member(c, "env_out");
	struct where w = { .conf = &link };
	const char *text = NULL;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0 && b->command != CONFIG_GATEWAY)
		return conf_fail(c, b->err, "a section of weir gateway, not of weir run");
	if (r == 0)
		r = conf_str(&link, &text, b->err);
	if (r == 0 && text && !option_value(&b->o, OPTION_LINK))
		r = config_set_link(b, &w, text);
	if (r == 0)
		r = read_output(b, &ca, OPTION_CA_OUT, &b->c->ca_out);
	if (r == 0)
		r = read_output(b, &env, OPTION_ENV_OUT, &b->c->env_out);
	return r;
}

int config_read_file(struct config_builder *b)
{
	static const struct {
		const char *name;
		int (*read)(struct config_builder *b, const struct conf *c);
	} sections[] = {
		{ "policy", read_policy },
		{ "policy_floor", read_floor },
		{ "dns", read_dns },
		{ "tls", config_read_tls },
		{ "http", config_read_http },
		{ "secrets", read_secrets },
		{ "limits", config_read_limits },
		{ "publish", read_publish },
		{ "audit", read_audit },
		{ "proxy", config_read_proxy },
		{ "gateway", read_gateway },
		{ "network", config_read_network },
		{ "machine", config_read_machine },
	};
	const char *path = option_value(&b->o, OPTION_CONFIG), *slash = strrchr(path, '/');
	const char *keys[ARRAY_SIZE(sections)];
	struct conf root;
	int r = conf_doc_load(path, &b->doc, b->err);

	if (r < 0)
		return r;
	b->dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("");
	if (!b->dir)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		keys[i] = sections[i].name;
	root = conf_root(b->doc);
	r = conf_only_keys(&root, keys, ARRAY_SIZE(keys), b->err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sections); i++) {
		struct conf c = conf_member(&root, sections[i].name);

		if (c.v)
			r = sections[i].read(b, &c);
	}
	return r;
}
