/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets whose placeholder stands for an access token, which is bought with the value
 * (OAuth 2, RFC 6749): the key "token" of a secret. The value is the client's secret, or a
 * refresh token; neither ever stands in a request of the sandbox.
 */
#include "weir/config_internal.h"

#include <stdio.h>

void token_config_free(struct token_config *t)
{
	if (!t)
		return;
	free(t->host);
	free(t->path);
	free(t->client_id);
	free(t->scope);
	free(t->audience);
	free(t->client_secret);
	free(t);
}

/* One of two words; absent: the first. */
static int read_word(struct config_builder *b, const struct conf *c, const char *key,
		     const char *const words[2], unsigned *ret)
{
	struct conf m = conf_member(c, key);
	const char *text = NULL, *near;
	int r = conf_str(&m, &text, b->err);

	if (r < 0 || !text)
		return r;
	for (unsigned i = 0; i < 2; i++)
		if (str_eq(text, words[i])) {
			*ret = i;
			return 0;
		}
	near = str_suggest(text, words, 2);
	if (near)
		return conf_fail(&m, b->err, "unknown word; did you mean \"%s\"?", near);
	return conf_fail(&m, b->err, "\"%s\" is %s or %s", key, words[0], words[1]);
}

/* https://NAME[:PORT]/PATH, and nothing that a URL may have besides. */
static int read_url(struct config_builder *b, const struct conf *c, struct token_config *t)
{
	static const char scheme[] = "https://";
	struct conf m = conf_member(c, "url");
	const char *text = NULL, *slash, *why = "";
	struct authority a;
	int r = conf_str(&m, &text, b->err);

	if (r < 0)
		return r;
	if (!text)
		return conf_fail(c, b->err, "\"url\" is missing: the token endpoint, https://...");
	if (!str_starts(text, scheme))
		return conf_fail(&m, b->err, "a token endpoint is https://NAME[:PORT]/PATH");
	text += strlen(scheme);
	slash = strchr(text, '/');
	if (authority_parse(text, slash ? (size_t)(slash - text) : strlen(text), &a, &why) < 0 ||
	    a.is_addr)
		return conf_fail(&m, b->err, "a token endpoint is https://NAME[:PORT]/PATH%s%s",
				 *why ? ": " : "", why);
	for (const char *p = slash; p && *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#')
			return conf_fail(&m, b->err, "a path with a character no URL has");
	t->port = a.port ? a.port : 443;
	t->host = strdup(a.name.s);
	t->path = strdup(slash ? slash : "/");
	return t->host && t->path ? 0 : -ENOMEM;
}

static int read_all(struct config_builder *b, const struct conf *c, struct token_config *t)
{
	static const char *const keys[] = { "url",   "grant",	 "auth",	 "client_id",
					    "scope", "audience", "client_secret" };
	static const char *const grants[] = { "client_credentials", "refresh_token" };
	static const char *const auths[] = { "basic", "post" };
	unsigned grant = 0, auth = 0;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = read_url(b, c, t);
	if (r == 0)
		r = read_word(b, c, "grant", grants, &grant);
	if (r == 0)
		r = read_word(b, c, "auth", auths, &auth);
	if (r == 0)
		r = config_read_text(b, c, "client_id", &t->client_id);
	if (r == 0)
		r = config_read_text(b, c, "scope", &t->scope);
	if (r == 0)
		r = config_read_text(b, c, "audience", &t->audience);
	if (r == 0)
		r = config_read_text(b, c, "client_secret", &t->client_secret);
	if (r < 0)
		return r;
	t->grant = (enum tlsproxy_grant)grant;
	t->auth = (enum tlsproxy_client_auth)auth;
	if (t->grant == TLSPROXY_CLIENT_CREDENTIALS && t->client_secret)
		return conf_fail(c, b->err,
				 "\"client_secret\" goes with a refresh token; with client "
				 "credentials the secret's value is the client's secret");
	if (!t->client_id && (t->grant == TLSPROXY_CLIENT_CREDENTIALS || t->client_secret))
		return conf_fail(c, b->err, "\"client_id\" is missing");
	return 0;
}

int config_read_token(struct config_builder *b, const struct conf *c, struct token_config **ret)
{
	struct token_config *t;
	int r;

	if (!c->v)
		return 0;
	if (!json_is_object(c->v))
		return conf_fail(c, b->err, "expected an object: {\"url\": \"https://...\", ...}");
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	r = read_all(b, c, t);
	if (r < 0) {
		token_config_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

/* The client's secret is another secret, which only the endpoint is to see. */
int config_check_token(struct config_builder *b)
{
	const struct weir_config *c = b->c;

	for (size_t i = 0; i < c->n_secrets; i++) {
		const struct token_config *t = c->secrets[i].token;
		bool found = !t || !t->client_secret;

		for (size_t j = 0; j < c->n_secrets && !found; j++)
			found = j != i && !c->secrets[j].token &&
				str_eq(c->secrets[j].env, t->client_secret);
		if (found)
			continue;
		conf_error_set(
			b->err,
			"%s: \"client_secret\": \"%.64s\" is not the \"env\" of another secret",
			b->secret_places[i], t->client_secret);
		return -EINVAL;
	}
	return 0;
}
