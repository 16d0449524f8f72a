/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens that the sandbox asks for itself, with a secret (OAuth 2, RFC 6749): the key
 * "mask_tokens" of a secret, which is true, or an object:
 *
 *     "paths"   token endpoints that it asks without the secret, patterns as in rules
 *     "hosts"   where the tokens may go besides the secret's hosts, but for refresh tokens
 *     "at"      where in a request, as of a secret
 *     "fields"  keys of the reply that hold one
 */
#include "weir/config_internal.h"

#include <stdio.h>

/* Bearer tokens go in a header (RFC 6750), or are the password of Basic (git). */
#define PLACES_DEFAULT (TLSPROXY_IN_HEADER | TLSPROXY_IN_BASIC | TLSPROXY_IN_BODY)
/* What is asked of the endpoint with them: RFC 6749 6, 7009, 7521, 7662, 8693, OpenID logout. */
static const char *const body_names[] = {
	"refresh_token", "access_token", "id_token",	  "token",
	"subject_token", "actor_token",	 "id_token_hint", "assertion",
};
static const char *const fields_default[] = { "access_token", "refresh_token", "id_token" };

static void names_free(struct tlsproxy_place_name *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)(uintptr_t)names[i].name);
	free(names);
}

void mask_config_free(struct mask_config *m)
{
	if (!m)
		return;
	config_texts_free(m->paths, m->n_paths);
	config_texts_free(m->fields, m->n_fields);
	names_free(m->names, m->n_names);
	free(m->hosts);
	free(m);
}

/* ---- lists ------------------------------------------------------------------------------ */

static int add_field(struct mask_config *m, const char *text)
{
	char **slot = config_push(&m->fields, &m->n_fields, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

static bool is_key(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f || strchr("=\"\\", text[i]))
			return false;
	return n && n <= CONFIG_MASK_FIELD_MAX;
}

static int read_fields(struct config_builder *b, const struct conf *c, struct mask_config *m)
{
	struct conf list = conf_member(c, "fields");
	size_t n = list.v && json_is_array(list.v) ? json_array_size(list.v) : 0;
	int r = 0;

	if (list.v && (n == 0 || n > TLSPROXY_MASK_FIELDS_MAX))
		return conf_fail(&list, b->err, "expected a list of 1 to %d keys",
				 TLSPROXY_MASK_FIELDS_MAX);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct conf e = conf_element(&list, i);
		const char *text = "";

		r = conf_str(&e, &text, b->err);
		if (r == 0 && !is_key(text))
			return conf_fail(&e, b->err, "a key of the reply, 1 to %d visible characters",
					 CONFIG_MASK_FIELD_MAX);
		if (r == 0)
			r = add_field(m, text);
	}
	for (size_t i = 0; r == 0 && !list.v && i < ARRAY_SIZE(fields_default); i++)
		r = add_field(m, fields_default[i]);
	return r;
}

static int default_places(struct mask_config *m)
{
	m->places = PLACES_DEFAULT;
	for (size_t i = 0; i < ARRAY_SIZE(body_names); i++) {
		struct tlsproxy_place_name *slot = config_push(&m->names, &m->n_names, sizeof(*slot));

		if (!slot)
			return -ENOMEM;
		slot->place = TLSPROXY_IN_BODY;
		slot->name = strdup(body_names[i]);
		if (!slot->name)
			return -ENOMEM;
	}
	return 0;
}

static int read_places(struct config_builder *b, const struct conf *c, struct mask_config *m)
{
	struct conf list = conf_member(c, "at");
	struct secret_draft d = { 0 };
	int r = 0;

	if (!list.v)
		return default_places(m);
	if (!json_is_array(list.v) || !json_array_size(list.v))
		return conf_fail(&list, b->err, "expected a list of places");
	for (size_t i = 0; r == 0 && i < json_array_size(list.v); i++) {
		struct conf e = conf_element(&list, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = conf_str(&e, &text, b->err);
		if (r == 0)
			r = secret_draft_place(b, &w, text, strlen(text), &d);
	}
	m->places = d.places;
	m->names = d.terms.names;
	m->n_names = d.terms.n_names;
	return r;
}

/* ---- the member --------------------------------------------------------------------------- */

static int read_all(struct config_builder *b, const struct conf *c, struct mask_config *m)
{
	static const char *const keys[] = { "paths", "hosts", "at", "fields" };
	int r = json_is_object(c->v) ? conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err) : 0;

	if (r == 0)
		r = config_read_paths(b, c, &m->paths, &m->n_paths);
	if (r == 0)
		r = config_read_hosts(b, c, "hosts", &m->hosts, &m->n_hosts);
	if (r == 0)
		r = read_places(b, c, m);
	return r == 0 ? read_fields(b, c, m) : r;
}

int config_read_mask(struct config_builder *b, const struct conf *c, struct mask_config **ret)
{
	struct mask_config *m;
	int r;

	if (!c->v || json_is_false(c->v))
		return 0;
	if (!json_is_object(c->v) && !json_is_true(c->v))
		return conf_fail(c, b->err, "expected true, or an object: {\"paths\": [...], ...}");
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = read_all(b, c, m);
	if (r < 0) {
		mask_config_free(m);
		return r;
	}
	*ret = m;
	return 0;
}
