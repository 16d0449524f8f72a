/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets that sign requests instead of standing in them: the key "sign" of a
 * secret. What a definition means is tlsproxy's to check; here are its keys,
 * their places in the file, and that the secrets it names are there.
 */
#include "weir/config_internal.h"

#include <stdio.h>

static const struct {
	const char *name;
	enum tlsproxy_sign_kind kind;
} types[] = {
	{ "aws_sigv4", TLSPROXY_SIGN_AWS },
	{ "hmac", TLSPROXY_SIGN_HMAC },
};

void sign_config_free(struct sign_config *s)
{
	if (!s)
		return;
	free(s->key_id);
	free(s->session_token);
	free(s->algorithm);
	free(s->header);
	free(s->timestamp_header);
	free(s->signs);
	free(s->format);
	free(s);
}

static void fill(struct sign_config *s)
{
	s->made = (struct tlsproxy_sign){
		.kind = s->kind,
		.key_id = s->key_id,
		.algorithm = s->algorithm,
		.header = s->header,
		.timestamp_header = s->timestamp_header,
		.signs = s->signs,
		.format = s->format,
	};
}

static int read_type(struct config_builder *b, const struct conf *c, enum tlsproxy_sign_kind *ret)
{
	struct conf type = conf_member(c, "type");
	const char *names[ARRAY_SIZE(types)], *text = NULL, *near;
	int r;

	if (!type.v)
		return conf_fail(c, b->err, "\"type\" is missing: aws_sigv4 or hmac");
	r = conf_str(&type, &text, b->err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(types); i++) {
		names[i] = types[i].name;
		if (str_eq(text, names[i])) {
			*ret = types[i].kind;
			return 0;
		}
	}
	if (r < 0)
		return r;
	near = str_suggest(text, names, ARRAY_SIZE(names));
	if (near)
		return conf_fail(&type, b->err, "unknown type; did you mean \"%s\"?", near);
	return conf_fail(&type, b->err, "a type is aws_sigv4 or hmac");
}

static int read_aws(struct config_builder *b, const struct conf *c, struct sign_config *s)
{
	static const char *const keys[] = { "type", "access_key_id", "session_token" };
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = config_read_text(b, c, "access_key_id", &s->key_id);
	if (r == 0)
		r = config_read_text(b, c, "session_token", &s->session_token);
	if (r == 0 && !s->key_id)
		return conf_fail(
			c, b->err,
			"\"access_key_id\" is missing: the secret (its \"env\") that holds the "
			"id of this key");
	return r;
}

static int read_hmac(struct config_builder *b, const struct conf *c, struct sign_config *s)
{
	static const char *const keys[] = { "type",  "algorithm", "header", "timestamp_header",
					    "signs", "format" };
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r == 0)
		r = config_read_text(b, c, "algorithm", &s->algorithm);
	if (r == 0)
		r = config_read_text(b, c, "header", &s->header);
	if (r == 0)
		r = config_read_text(b, c, "timestamp_header", &s->timestamp_header);
	if (r == 0)
		r = config_read_text(b, c, "signs", &s->signs);
	if (r == 0)
		r = config_read_text(b, c, "format", &s->format);
	if (r == 0 && !s->header)
		return conf_fail(c, b->err,
				 "\"header\" is missing: the field that carries the signature");
	return r;
}

int config_read_sign(struct config_builder *b, const struct conf *c, struct sign_config **ret)
{
	struct sign_config *s;
	char why[192] = "";
	int r;

	if (!c->v)
		return 0;
	if (!json_is_object(c->v))
		return conf_fail(c, b->err, "expected an object: {\"type\": \"hmac\", ...}");
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = read_type(b, c, &s->kind);
	if (r == 0)
		r = s->kind == TLSPROXY_SIGN_AWS ? read_aws(b, c, s) : read_hmac(b, c, s);
	if (r == 0) {
		fill(s);
		r = tlsproxy_sign_check(&s->made, why, sizeof(why));
		if (r == -EINVAL)
			r = conf_fail(c, b->err, "%s", why);
	}
	if (r < 0) {
		sign_config_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/*
 * The secret that a signature names stands in requests beside it: in the header,
 * or in the query of a presigned URL.
 */
static int check_companion(struct config_builder *b, size_t i, const char *key, const char *env)
{
	struct weir_config *c = b->c;

	if (!env)
		return 0;
	for (size_t j = 0; j < c->n_secrets; j++) {
		struct secret_config *s = &c->secrets[j];

		if (j == i || s->sign || !str_eq(s->env, env))
			continue;
		if (s->places == TLSPROXY_PLACES_DEFAULT)
			s->places = TLSPROXY_IN_HEADER | TLSPROXY_IN_QUERY;
		return 0;
	}
	conf_error_set(b->err, "%s: \"%s\": \"%.64s\" is not the \"env\" of another secret",
		       b->secret_places[i], key, env);
	return -EINVAL;
}

int config_check_sign(struct config_builder *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->c->n_secrets; i++) {
		const struct sign_config *s = b->c->secrets[i].sign;

		if (!s)
			continue;
		r = check_companion(b, i, "access_key_id", s->key_id);
		if (r == 0)
			r = check_companion(b, i, "session_token", s->session_token);
	}
	return r;
}
