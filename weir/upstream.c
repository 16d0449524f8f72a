/* SPDX-License-Identifier: Apache-2.0 */
/* The upstream proxy as text, its credentials, and what goes around it. */
#include "weir/upstream.h"

/* ---- URL ----------------------------------------------------------------------- */

static const struct scheme {
	const char *name;
	enum upstream_kind kind;
	bool names;
} schemes[] = {
	{ "socks5://", UPSTREAM_SOCKS5, false }, { "socks5h://", UPSTREAM_SOCKS5, true },
	{ "socks4://", UPSTREAM_SOCKS4, false }, { "socks4a://", UPSTREAM_SOCKS4, true },
	{ "http://", UPSTREAM_HTTP, false },
};

static int parse_user(const char *s, size_t len, struct upstream_config *c, const char **ret_why)
{
	if (memchr(s, ':', len)) {
		*ret_why = "a password does not stand here, where other users can see it: give it "
			   "with --proxy-auth (env:VAR, file:PATH or fd:N)";
		return -EINVAL;
	}
	if (!len || len > UPSTREAM_AUTH_MAX) {
		*ret_why = "a user has 1 to 255 characters";
		return -EINVAL;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] <= 0x20 || s[i] == 0x7f || s[i] == '%') {
			*ret_why = "a user is written as it is, without blanks or %-escapes";
			return -EINVAL;
		}
	memcpy(c->user, s, len);
	return 0;
}

static int parse_host(const char *s, size_t len, struct upstream_config *c, const char **ret_why)
{
	const char *colon = memrchr(s, ':', len);
	struct endpoint e;
	size_t n;
	int r;

	if (len && (s[0] == '[' || (s[0] >= '0' && s[0] <= '9'))) {
		r = endpoint_parse(s, len, 0, &e, ret_why);
		if (r == 0) {
			c->addr = e.addr;
			c->port = e.port;
			colon = e.port ? colon : NULL;
		} else if (s[0] == '[') {
			return r;
		}
		if (r == 0 && e.port)
			return 0;
	}
	if (!colon) {
		*ret_why = "the proxy's port is missing: HOST:PORT";
		return -EINVAL;
	}
	n = (size_t)(colon - s);
	r = port_parse(colon + 1, len - n - 1, &c->port, ret_why);
	return r < 0 ? r : name_parse(s, n, &c->host, ret_why);
}

int upstream_parse(const char *url, struct upstream_config *ret, const char **ret_why)
{
	const struct scheme *k = NULL;
	const char *rest, *at;
	size_t len;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (str_starts(url, schemes[i].name))
			k = &schemes[i];
	if (!k) {
		*ret_why = str_starts(url, "https://")
				   ? "TLS to the proxy is not spoken: http:// or socks5://"
				   : "an upstream proxy is socks5://, socks5h://, socks4://, "
				     "socks4a:// or http:// and [USER@]HOST:PORT";
		return -EINVAL;
	}
	*ret = (struct upstream_config){ .kind = k->kind, .names = k->names };
	rest = url + strlen(k->name);
	len = strlen(rest);
	if (len && rest[len - 1] == '/')
		len--;
	if (memchr(rest, '/', len) || memchr(rest, '?', len) || memchr(rest, '#', len)) {
		*ret_why = "nothing stands behind the proxy's port";
		return -EINVAL;
	}
	at = memrchr(rest, '@', len);
	if (at) {
		r = parse_user(rest, (size_t)(at - rest), ret, ret_why);
		len -= (size_t)(at + 1 - rest);
		rest = at + 1;
	}
	return r < 0 ? r : parse_host(rest, len, ret, ret_why);
}

/* ---- around it -------------------------------------------------------------------- */

static int add_net(struct upstream_config *c, const struct ip_prefix *net)
{
	struct ip_prefix *more;

	more = reallocarray(c->bypass_nets, c->n_bypass_nets + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	c->bypass_nets = more;
	more[c->n_bypass_nets++] = *net;
	return 0;
}

int upstream_add_bypass(struct upstream_config *c, const char *text, const char **ret_why)
{
	size_t len = strlen(text);
	struct tlsproxy_host_pattern p, *more;
	struct ip_prefix net = { .len = 0 };
	int r;

	if (c->n_bypass_nets + c->n_bypass_names >= UPSTREAM_BYPASS_MAX) {
		*ret_why = "more than 1024 of them";
		return -E2BIG;
	}
	if (memchr(text, '/', len)) {
		r = ip_prefix_parse(text, len, &net, ret_why);
		return r < 0 ? r : add_net(c, &net);
	}
	if (ip_parse(text, len, &net.addr, NULL) == 0) {
		net.len = net.addr.family == 4 ? 32 : 128;
		return add_net(c, &net);
	}
	r = tlsproxy_host_pattern_parse(text, len, &p, ret_why);
	if (r < 0)
		return r;
	more = reallocarray(c->bypass_names, c->n_bypass_names + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	c->bypass_names = more;
	more[c->n_bypass_names++] = p;
	return 0;
}

void upstream_config_fini(struct upstream_config *c)
{
	free(c->auth_arg);
	free(c->bypass_nets);
	free(c->bypass_names);
}

bool upstream_bypasses(const struct upstream_config *c, const struct ip_addr *addr)
{
	struct ip_addr inside;
	bool wraps = policy_embedded_v4(addr, &inside);

	switch (policy_group_of(addr)) {
	case POLICY_GROUP_LOOPBACK:
	case POLICY_GROUP_LINK_LOCAL:
	case POLICY_GROUP_METADATA:
		return true;
	default:
		break;
	}
	for (size_t i = 0; i < c->n_bypass_nets; i++)
		if (ip_in_prefix(addr, &c->bypass_nets[i]) ||
		    (wraps && ip_in_prefix(&inside, &c->bypass_nets[i])))
			return true;
	return false;
}

bool upstream_bypasses_name(const struct upstream_config *c, const struct name *name)
{
	return tlsproxy_host_matches_any(c->bypass_names, c->n_bypass_names, name);
}

static bool is_its_address(const struct upstream *u, const struct ip_addr *a, uint16_t port)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->to[i].port == port && ip_equal(&u->to[i].addr, a))
			return true;
	return false;
}

bool upstream_is(const struct upstream *u, const struct endpoint *to)
{
	struct ip_addr inside;

	return is_its_address(u, &to->addr, to->port) ||
	       (policy_embedded_v4(&to->addr, &inside) && is_its_address(u, &inside, to->port));
}

/* ---- credentials ---------------------------------------------------------------------- */

int upstream_set_auth(struct upstream *u, const char *text, size_t len, struct conf_error *err)
{
	const char *colon = len ? memchr(text, ':', len) : NULL, *user = u->cfg->user;
	size_t user_len = strlen(user), at = 0;

	if (!user_len) {
		user = text;
		user_len = colon ? (size_t)(colon - text) : 0;
		at = user_len + 1;
	}
	if (!user_len || at >= len || user_len > UPSTREAM_AUTH_MAX || len - at > UPSTREAM_AUTH_MAX) {
		conf_error_set(err, "--proxy-auth: %s of up to 255 characters each",
			       u->cfg->user[0] ? "holds the password" : "holds USER:PASSWORD,");
		return -EINVAL;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
			conf_error_set(err, "--proxy-auth: holds a control character");
			return -EINVAL;
		}
	memcpy(u->auth.user, user, user_len);
	memcpy(u->auth.password, text + at, len - at);
	u->has_auth = true;
	return 0;
}
