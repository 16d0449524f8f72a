/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said of single hosts of TLS (tls.upstream, --tls-...-for): whether they are verified
 * and by whom, as whom weir comes there, which keys they must have. Collected by pattern: each
 * pattern has each field once, from a flag or else from the file.
 */
#include "weir/config_internal.h"

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
	if (!u.is_addr && config_tls_pattern(b, w, text, len, &u.host) < 0)
		return -EINVAL;
	for (size_t i = 0; i < c->n_tls_upstreams; i++)
		if (same_hosts(&c->tls_upstreams[i], &u)) {
			*ret = &c->tls_upstreams[i];
			return 0;
		}
	if (c->n_tls_upstreams >= CONFIG_TLS_UPSTREAMS_MAX)
		return config_too_many(b, w, CONFIG_TLS_UPSTREAMS_MAX);
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
	r = config_check_cert(b, w, path);
	return r < 0 ? r : config_replace_text(&u->ca, path);
}

/* key NULL: in the same file. */
static int say_cert(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		    const char *cert, const char *key)
{
	int r = claim(b, w, u, SAYS_CERT);

	if (r)
		return r < 0 ? r : 0;
	r = config_check_cert(b, w, cert);
	if (r == 0)
		r = config_check_key(b, w, key ? key : cert);
	if (r == 0)
		r = config_replace_text(&u->cert, cert);
	return r == 0 && key ? config_replace_text(&u->key, key) : r;
}

static int say_pin(struct config_builder *b, const struct where *w, struct tls_upstream_config *u,
		   const char *text)
{
	struct tlsproxy_pin pin, *slot;
	const char *why;

	if (tlsproxy_pin_parse(text, &pin, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (u->n_pins >= CONFIG_PINS_MAX)
		return config_too_many(b, w, CONFIG_PINS_MAX);
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

static int read_cert(struct config_builder *b, const struct conf *c, struct tls_upstream_config *u)
{
	struct conf cert = conf_member(c, "client_cert"), key = conf_member(c, "client_key");
	cleanup_free char *cert_path = NULL, *key_path = NULL;
	struct where w = { .conf = &cert };
	int r = config_read_path(b, &cert, &cert_path);

	if (r == 0)
		r = config_read_path(b, &key, &key_path);
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
		r = config_read_path(b, &ca, &ca_path);
	if (r == 0 && ca_path)
		r = say_ca(b, &w_ca, u, ca_path);
	if (r == 0)
		r = read_cert(b, c, u);
	return r < 0 ? r : read_pins(b, &pins, u);
}

int config_read_tls_hosts(struct config_builder *b, const struct conf *list)
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
