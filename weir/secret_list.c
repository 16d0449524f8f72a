/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets as the proxy takes them: what the configuration says of each, with its value and
 * placeholder, and behind them the tokens that came for one (mask_tokens), which have its
 * hosts and its say on violations.
 */
#include "weir/proxy_secrets.h"
#include "weir/proxy_tokens.h"

/* Of a placeholder that is still to be made: a token's letters and digits. */
static const char token_shape[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const struct kept_secret *kept_find(const struct kept *k, const char *env)
{
	for (size_t i = 0; i < k->n; i++)
		if (str_eq(k->secrets[i].env, env))
			return &k->secrets[i];
	return NULL;
}

/* ---- values that nobody knows ----------------------------------------------------------- */

/* Letters and digits like those of the placeholder, drawn anew. */
static void make_unknown(const char *placeholder, uint8_t *out)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz012345";

	for (size_t i = 0; placeholder[i]; i++) {
		uint8_t b;

		random_bytes(&b, 1);
		out[i] = strchr(alphabet, placeholder[i] | 0x20) ||
					 (placeholder[i] >= '0' && placeholder[i] <= '9')
				 ? (uint8_t)alphabet[b % 32]
				 : (uint8_t)placeholder[i];
	}
}

static void set_unknown(struct tlsproxy_secret *s, const char *shape, uint8_t **at)
{
	make_unknown(shape, *at);
	s->value = (const char *)*at;
	s->value_len = strlen(shape);
	*at += s->value_len;
}

/* ---- secrets -------------------------------------------------------------------------------- */

/* What goes out for it: its value, or the token that this buys. NULL: there is none now. */
static const uint8_t *value_of(const struct secret_config *c, const struct kept_secret *k,
			       size_t *ret_len)
{
	*ret_len = k->len;
	return c->token ? proxy_token_value(c->env, ret_len) : k->value;
}

static struct tlsproxy_secret secret_of(const struct secret_config *c, const struct kept_secret *k,
					uint8_t **unknown)
{
	struct tlsproxy_secret s = {
		.env = c->env,
		.hosts = c->hosts,
		.n_hosts = k->value ? c->n_hosts : 0,
		.places = c->places,
		.placeholder = *k->placeholder ? k->placeholder : NULL,
		.on_violation = c->on_violation,
		.sign = c->sign ? &c->sign->made : NULL,
		.uses = k->uses,
	};

	secret_config_terms(c, &s);
	s.value = (const char *)value_of(c, k, &s.value_len);
	if (s.value)
		return s;
	set_unknown(&s, *k->placeholder ? k->placeholder : token_shape, unknown);
	s.awaited = c->token != NULL;
	return s;
}

static struct tlsproxy_mask mask_of(const struct secret_config *c)
{
	const struct mask_config *m = c->mask;

	return (struct tlsproxy_mask){
		.at = c->hosts,
		.n_at = c->n_hosts,
		.paths = (const char *const *)m->paths,
		.n_paths = m->n_paths,
		.fields = (const char *const *)m->fields,
		.n_fields = m->n_fields,
		.hosts = m->hosts,
		.n_hosts = m->n_hosts,
	};
}

/* ---- tokens ------------------------------------------------------------------------------------ */

/* A text that clients look into, as they would into a JWT (RFC 7519). */
static bool is_jwt(const char *p, size_t n)
{
	size_t dots = 0;

	for (size_t i = 0; i < n; i++)
		dots += p[i] == '.';
	return dots == 2 && n > 3 && memcmp(p, "eyJ", 3) == 0;
}

/*
 * Of c, whose hosts, then those of its tokens alone, stand at `hosts`. Whose time is over
 * goes out as the placeholder: the server says so, and the client asks for another.
 */
static struct tlsproxy_secret token_of(const struct secret_config *c, const struct kept_token *t,
				       const struct tlsproxy_host_pattern *hosts, uint8_t **unknown)
{
	const struct mask_config *m = c->mask;
	size_t n_hosts = c->n_hosts + (t->renews ? 0 : m->n_hosts);
	struct tlsproxy_secret s = {
		.env = t->env,
		.of = t->of,
		.renews = t->renews,
		.value = (const char *)t->value,
		.value_len = t->len,
		.hosts = hosts,
		.n_hosts = t->value ? n_hosts : 0,
		.passthrough = hosts,
		.n_passthrough = t->value ? 0 : n_hosts,
		.places = m->places,
		.names = m->names,
		.n_names = m->n_names,
		.placeholder = *t->placeholder ? t->placeholder : NULL,
		.plain_http = c->terms.plain_http,
		.on_violation = c->on_violation,
	};

	if (!t->value)
		set_unknown(&s, t->placeholder, unknown);
	else if (is_jwt(s.value, s.value_len))
		s.shape = "jwt";
	return s;
}

/* Side by side, as the tokens of c take them. */
static void copy_hosts(const struct secret_config *c, struct tlsproxy_host_pattern *to)
{
	memcpy(to, c->hosts, c->n_hosts * sizeof(*to));
	if (c->mask->n_hosts)
		memcpy(to + c->n_hosts, c->mask->hosts, c->mask->n_hosts * sizeof(*to));
}

static void add_tokens(const struct secret_config *c, const struct kept *kept,
		       const struct tlsproxy_host_pattern *hosts, uint8_t **unknown,
		       struct secret_list *l, size_t first)
{
	for (size_t i = 0; i < kept->n_tokens; i++)
		if (str_eq(kept->tokens[i].of, c->env))
			l->v[first + i] = token_of(c, &kept->tokens[i], hosts, unknown);
}

/* ---- the list ------------------------------------------------------------------------------------ */

static size_t count_hosts(const struct secret_config *defs, size_t n)
{
	size_t hosts = 0;

	for (size_t i = 0; i < n; i++)
		hosts += defs[i].mask ? defs[i].n_hosts + defs[i].mask->n_hosts : 0;
	return hosts;
}

static size_t count_unknown(const struct kept *kept, size_t n)
{
	size_t expired = 0;

	for (size_t i = 0; i < kept->n_tokens; i++)
		expired += !kept->tokens[i].value;
	return (n + expired) * TLSPROXY_SECRET_MAX;
}

static int fill(const struct secret_config *defs, size_t n, const struct kept *kept,
		struct secret_list *l)
{
	struct tlsproxy_host_pattern *hosts = l->hosts;
	uint8_t *unknown = l->unknown.p;

	for (size_t i = 0; i < n; i++) {
		const struct kept_secret *k = kept_find(kept, defs[i].env);

		if (!k)
			return -ENOENT;
		l->v[i] = secret_of(&defs[i], k, &unknown);
		if (!defs[i].mask)
			continue;
		l->masks[i] = mask_of(&defs[i]);
		l->v[i].mask = &l->masks[i];
		copy_hosts(&defs[i], hosts);
		add_tokens(&defs[i], kept, hosts, &unknown, l, n);
		hosts += defs[i].n_hosts + defs[i].mask->n_hosts;
	}
	for (l->n = 0; l->n < n + kept->n_tokens; l->n++)
		if (!l->v[l->n].env)
			return -ENOENT;
	return 0;
}

int secret_list_new(const struct secret_config *defs, size_t n, const struct kept *kept,
		    struct secret_list *ret)
{
	struct secret_list l = {
		.v = calloc(n + kept->n_tokens + 1, sizeof(*l.v)),
		.masks = calloc(n + 1, sizeof(*l.masks)),
		.hosts = calloc(count_hosts(defs, n) + 1, sizeof(*l.hosts)),
	};
	int r = l.v && l.masks && l.hosts ? locked_new(count_unknown(kept, n), &l.unknown) : -ENOMEM;

	if (r == 0)
		r = fill(defs, n, kept, &l);
	if (r < 0) {
		secret_list_free(&l);
		return r;
	}
	*ret = l;
	return 0;
}

void secret_list_free(struct secret_list *l)
{
	free(l->v);
	free(l->masks);
	free(l->hosts);
	locked_free(&l->unknown);
	*l = (struct secret_list){ 0 };
}
