/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream proxy as it is configured: --proxy and its companions, and the
 * section "proxy" of the file. A password stands in neither, only where it is.
 */
#include "weir/config_internal.h"

static int set_proxy(struct config_builder *b, const struct where *w, const char *text)
{
	struct upstream_config *c = &b->c->upstream, parsed;
	const char *why = "";

	if (upstream_parse(text, &parsed, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	c->kind = parsed.kind;
	c->names = c->names || parsed.names;
	c->host = parsed.host;
	c->addr = parsed.addr;
	c->port = parsed.port;
	memcpy(c->user, parsed.user, sizeof(c->user));
	return 0;
}

int config_set_proxy(struct config_builder *b, const struct where *w, const char *text)
{
	/* What was typed may hold a password: it is not repeated. */
	struct where quiet = { .flag = w->flag, .conf = w->conf };

	return set_proxy(b, strchr(text, '@') ? &quiet : w, text);
}

int config_set_proxy_auth(struct config_builder *b, const struct where *w, const char *text)
{
	struct where quiet = { .flag = w->flag, .conf = w->conf };
	struct upstream_config *c = &b->c->upstream;
	enum secret_source source;
	const char *arg;
	char *copy = NULL;
	int r;

	if (config_parse_source(text, &source, &arg) < 0)
		return where_fail(&quiet, b->err,
				  "says where user and password are: env:VAR, file:PATH, fd:N or "
				  "command:CMD; they do not stand here");
	if (!w->flag && source == SECRET_FROM_FILE)
		r = config_from_dir(b, arg, &copy);
	else
		r = (copy = strdup(arg)) ? 0 : -ENOMEM;
	if (r == 0)
		r = config_check_source(b, w, source, copy);
	if (r < 0) {
		free(copy);
		return r;
	}
	free(c->auth_arg);
	c->auth_source = (int)source;
	c->auth_arg = copy;
	return 0;
}

int config_add_proxy_bypass(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why = "out of memory";
	int r = upstream_add_bypass(&b->c->upstream, text, &why);

	return r < 0 && r != -ENOMEM
		       ? where_fail(w, b->err, "%s; an address, a CIDR, NAME, .SUFFIX or *.SUFFIX",
				    why)
		       : r;
}

int config_set_proxy_udp(struct config_builder *b, const struct where *w, const char *text)
{
	if (!str_eq(text, "direct") && !str_eq(text, "deny"))
		return where_fail(w, b->err,
				  "UDP, which no proxy carries here, is \"deny\" or \"direct\"");
	b->c->upstream.direct_udp = str_eq(text, "direct");
	return 0;
}

/* One text, unless a flag said it already. */
static int read_text(struct config_builder *b, const struct conf *c, const char *key,
		     enum option flag,
		     int (*fn)(struct config_builder *b, const struct where *w, const char *text))
{
	struct conf m = conf_member(c, key);
	struct where w = { .conf = &m };
	const char *text = NULL;
	int r = conf_str(&m, &text, b->err);

	return r < 0 || !text || option_value(&b->o, flag) ? r : fn(b, &w, text);
}

int config_read_proxy(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "url", "auth", "bypass", "names", "udp" };
	struct conf bypass = conf_member(c, "bypass"), names = conf_member(c, "names");
	bool on = false;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = read_text(b, c, "url", OPTION_PROXY, config_set_proxy);
	if (r == 0)
		r = read_text(b, c, "auth", OPTION_PROXY_AUTH, config_set_proxy_auth);
	if (r == 0)
		r = read_text(b, c, "udp", OPTION_PROXY_UDP, config_set_proxy_udp);
	if (r == 0)
		r = config_add_each(b, &bypass, config_add_proxy_bypass);
	if (r == 0)
		r = conf_bool(&names, &on, b->err);
	if (r == 0 && on)
		b->c->upstream.names = true;
	return r;
}

int config_check_proxy(struct config_builder *b)
{
	const struct upstream_config *c = &b->c->upstream;
	const char *what = NULL;

	if (c->kind == UPSTREAM_NONE) {
		if (c->auth_source || c->n_bypass_nets || c->n_bypass_names || c->names ||
		    c->direct_udp)
			what = "there is no upstream proxy that its options could be for: add "
			       "--proxy";
	} else if (c->kind == UPSTREAM_SOCKS4 && c->auth_source) {
		what = "SOCKS 4 knows a user (socks4://USER@HOST:PORT) and no password";
	} else if (c->kind != UPSTREAM_SOCKS4 && c->user[0] && !c->auth_source) {
		what = "a user needs a password: say where it is with --proxy-auth";
	}
	if (!what)
		return 0;
	conf_error_set(b->err, "--proxy: %s", what);
	return -EINVAL;
}
