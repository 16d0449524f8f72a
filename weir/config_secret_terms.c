/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What narrows a secret: places and the names in them, methods, paths, a number of
 * uses; and where its placeholder may pass. On the command line these stand behind the
 * variable, with ',' or '+' between:
 *
 *     ENV[:OPTION{,OPTION}]@HOST{,HOST}
 *     OPTION = PLACE[:NAME] | no-PLACE | max-uses:N | plain-http | passthrough:HOST
 *              | placeholder:SHAPE
 *     PLACE  = header | basic | query | path | body | websocket
 *
 * Methods and paths, and names with ',', '+', '@' or '=' in them, stand in the file.
 */
#include "weir/config_internal.h"

#include <stdio.h>

static const struct {
	const char *name;
	unsigned bit;
} places[] = {
	{ "header", TLSPROXY_IN_HEADER }, { "basic", TLSPROXY_IN_BASIC },
	{ "query", TLSPROXY_IN_QUERY },	  { "path", TLSPROXY_IN_PATH },
	{ "body", TLSPROXY_IN_BODY },	  { "websocket", TLSPROXY_IN_WEBSOCKET },
};

#define NAMED_PLACES (TLSPROXY_IN_HEADER | TLSPROXY_IN_QUERY | TLSPROXY_IN_BODY)

void config_texts_free(char **texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
	free(texts);
}

void secret_terms_fini(struct secret_terms *t)
{
	for (size_t i = 0; i < t->n_names; i++)
		free((char *)(uintptr_t)t->names[i].name);
	free(t->names);
	config_texts_free(t->methods, t->n_methods);
	config_texts_free(t->paths, t->n_paths);
	free(t->passthrough);
	free(t->shape);
	*t = (struct secret_terms){ 0 };
}

void secret_config_terms(const struct secret_config *s, struct tlsproxy_secret *ret)
{
	const struct secret_terms *t = &s->terms;

	ret->names = t->names;
	ret->n_names = t->n_names;
	ret->methods = (const char *const *)t->methods;
	ret->n_methods = t->n_methods;
	ret->paths = (const char *const *)t->paths;
	ret->n_paths = t->n_paths;
	ret->max_uses = t->max_uses;
	ret->plain_http = t->plain_http;
	ret->passthrough = t->passthrough;
	ret->n_passthrough = t->n_passthrough;
	ret->shape = t->shape;
}

/* ---- places --------------------------------------------------------------------------- */

static unsigned place_of(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (strlen(places[i].name) == len && memcmp(places[i].name, text, len) == 0)
			return places[i].bit;
	return 0;
}

const char *config_place_name(unsigned bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (places[i].bit == bit)
			return places[i].name;
	return NULL;
}

static int unknown_place(struct config_builder *b, const struct where *w, const char *text, size_t len)
{
	const char *names[ARRAY_SIZE(places)], *near;
	char word[32], quoted[80];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		names[i] = places[i].name;
	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), text);
	near = str_suggest(word, names, ARRAY_SIZE(names));
	log_quote(text, len, quoted, sizeof(quoted));
	if (near)
		return where_fail(w, b->err, "unknown place \"%s\"; did you mean \"%s\"?", quoted,
				  near);
	return where_fail(
		w, b->err,
		"unknown place \"%s\"; a place is header, basic, query, path, body or websocket",
		quoted);
}

static bool has_names(const struct secret_draft *d, unsigned place)
{
	for (size_t i = 0; i < d->terms.n_names; i++)
		if (d->terms.names[i].place == place)
			return true;
	return false;
}

static bool has_name(const struct secret_draft *d, const struct tlsproxy_place_name *n)
{
	for (size_t i = 0; i < d->terms.n_names; i++)
		if (d->terms.names[i].place == n->place && str_eq(d->terms.names[i].name, n->name))
			return true;
	return false;
}

/* Takes over text. */
static int add_name(struct config_builder *b, const struct where *w, unsigned place, char *text,
		    struct secret_draft *d)
{
	struct tlsproxy_place_name n = { .place = place, .name = text }, *slot;
	const char *why = "";
	int r = 0;

	if (!text)
		return -ENOMEM;
	if (!(place & NAMED_PLACES))
		r = where_fail(w, b->err, "only header, query and body take a name");
	else if (tlsproxy_place_name_check(&n, &why) < 0)
		r = where_fail(w, b->err, "name \"%s\": %s", text, why);
	else if (has_name(d, &n))
		r = where_fail(w, b->err, "name \"%s\" twice", text);
	else if ((d->places & place) && !has_names(d, place))
		r = where_fail(w, b->err, "a place stands alone or with names, not both");
	else if (d->terms.n_names >= TLSPROXY_SECRET_NAMES_MAX)
		r = where_fail(w, b->err, "more than %d names", TLSPROXY_SECRET_NAMES_MAX);
	slot = r == 0 ? config_push(&d->terms.names, &d->terms.n_names, sizeof(*slot)) : NULL;
	if (!slot) {
		free(text);
		return r < 0 ? r : -ENOMEM;
	}
	*slot = n;
	d->places |= place;
	return 0;
}

int secret_draft_place(struct config_builder *b, const struct where *w, const char *text,
		       size_t len, struct secret_draft *d)
{
	const char *colon = memchr(text, ':', len);
	size_t n = colon ? (size_t)(colon - text) : len;
	unsigned place = place_of(text, n);

	if (!place)
		return unknown_place(b, w, text, n);
	if (colon)
		return add_name(b, w, place, strndup(colon + 1, len - n - 1), d);
	if (has_names(d, place))
		return where_fail(w, b->err, "a place stands alone or with names, not both");
	if (d->places & place)
		return where_fail(w, b->err, "place \"%.*s\" twice", (int)len, text);
	d->places |= place;
	return 0;
}

/* ---- the other terms -------------------------------------------------------------------- */

static int set_shape(struct config_builder *b, const struct where *w, const char *text, size_t len,
		     struct secret_draft *d)
{
	const char *why = "";

	if (d->terms.shape)
		return where_fail(w, b->err, "a second placeholder");
	d->terms.shape = strndup(text, len);
	if (!d->terms.shape)
		return -ENOMEM;
	if (tlsproxy_shape_check(d->terms.shape, &why) < 0)
		return where_fail(w, b->err, "placeholder: %s", why);
	return 0;
}

static int set_uses(struct config_builder *b, const struct where *w, const char *text, size_t len,
		    struct secret_draft *d)
{
	const char *why = "";

	if (uint_parse(text, len, 1, UINT32_MAX, &d->terms.max_uses, &why) < 0)
		return where_fail(w, b->err, "max-uses: %s; uses are a number, 1 or more", why);
	return 0;
}

static int leave_out(struct config_builder *b, const struct where *w, const char *text, size_t len,
		     struct secret_draft *d)
{
	unsigned place = place_of(text, len);

	if (!place)
		return unknown_place(b, w, text, len);
	d->not_places |= place;
	return 0;
}

/* What stands behind the prefix, or NULL. */
static const char *behind(const char *text, size_t len, const char *prefix)
{
	size_t n = strlen(prefix);

	return len >= n && memcmp(text, prefix, n) == 0 ? text + n : NULL;
}

int secret_draft_option(struct config_builder *b, const struct where *w, const char *text,
			size_t len, struct secret_draft *d)
{
	const char *end = text + len, *rest;
	int r;

	if (len == 10 && memcmp(text, "plain-http", 10) == 0) {
		d->terms.plain_http = true;
		return 0;
	}
	if ((rest = behind(text, len, "max-uses:")))
		return set_uses(b, w, rest, (size_t)(end - rest), d);
	if ((rest = behind(text, len, "passthrough:")))
		return secret_pattern_add(b, w, rest, (size_t)(end - rest), &d->terms.passthrough,
					  &d->terms.n_passthrough);
	if ((rest = behind(text, len, "placeholder:")))
		return set_shape(b, w, rest, (size_t)(end - rest), d);
	if ((rest = behind(text, len, "no-")))
		r = leave_out(b, w, rest, (size_t)(end - rest), d);
	else
		r = secret_draft_place(b, w, text, len, d);
	if (r == 0 && d->places && d->not_places)
		return where_fail(w, b->err,
				  "name the places it may stand in, or those of the default it may "
				  "not (no-PLACE), not both");
	return r;
}

/* ---- the file ----------------------------------------------------------------------------- */

/* Appends each text of the list, checked and brought into its form by `one`. */
typedef int term_fn(struct config_builder *b, const struct where *w, const char *text,
		    struct buf *ret);

static int read_method(struct config_builder *b, const struct where *w, const char *text,
		       struct buf *ret)
{
	for (const char *c = text; *c; c++)
		if (!(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') && *c != '-' && *c != '_')
			return where_fail(
				w, b->err,
				"not a method; methods are case-sensitive, write capitals");
	if (!*text || strlen(text) > 32)
		return where_fail(w, b->err, "a method is 1 to 32 characters");
	return buf_append_str(ret, text);
}

static int read_pattern(struct config_builder *b, const struct where *w, const char *text,
			struct buf *ret)
{
	char why[400];
	int r = policy_path_pattern(text, ret, why, sizeof(why));

	return r == -EINVAL ? where_fail(w, b->err, "%s", why) : r;
}

static int read_terms(struct config_builder *b, const struct conf *c, const char *key, term_fn *one,
		      char ***list, size_t *n)
{
	struct conf m = conf_member(c, key);
	size_t count = m.v && json_is_array(m.v) ? json_array_size(m.v) : 0;

	if (!m.v)
		return 0;
	if (count == 0 || count > CONFIG_SECRET_TERMS_MAX)
		return conf_fail(&m, b->err, "expected a list of 1 to %d texts",
				 CONFIG_SECRET_TERMS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct conf e = conf_element(&m, i);
		struct where w = { .conf = &e };
		struct buf form = BUF_INIT(1 << 16);
		const char *text = "";
		char **slot;
		int r = conf_str(&e, &text, b->err);

		if (r == 0)
			r = one(b, &w, text, &form);
		slot = r == 0 ? config_push(list, n, sizeof(*slot)) : NULL;
		if (slot)
			*slot = strndup((const char *)buf_at(&form), form.len);
		buf_fini(&form);
		if (r < 0 || !slot || !*slot)
			return r < 0 ? r : -ENOMEM;
	}
	return 0;
}

int config_read_paths(struct config_builder *b, const struct conf *c, char ***list, size_t *n)
{
	return read_terms(b, c, "paths", read_pattern, list, n);
}

int config_read_hosts(struct config_builder *b, const struct conf *c, const char *key,
		      struct tlsproxy_host_pattern **list, size_t *n)
{
	struct conf m = conf_member(c, key);
	int r = 0;

	if (m.v && (!json_is_array(m.v) || !json_array_size(m.v)))
		return conf_fail(&m, b->err, "expected a list of hosts");
	for (size_t i = 0; r == 0 && m.v && i < json_array_size(m.v); i++) {
		struct conf e = conf_element(&m, i);
		struct where w = { .conf = &e };
		const char *text = "";

		r = conf_str(&e, &text, b->err);
		if (r == 0)
			r = secret_pattern_add(b, &w, text, strlen(text), list, n);
	}
	return r;
}

int config_read_terms(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	struct conf uses = conf_member(c, "max_uses"), tls = conf_member(c, "require_tls");
	struct conf shape = conf_member(c, "placeholder");
	struct where w = { .conf = &shape };
	struct secret_terms *t = &d->terms;
	const char *text = NULL;
	bool require_tls = true;
	int r = read_terms(b, c, "methods", read_method, &t->methods, &t->n_methods);

	if (r == 0)
		r = config_read_paths(b, c, &t->paths, &t->n_paths);
	if (r == 0)
		r = config_read_hosts(b, c, "passthrough", &t->passthrough, &t->n_passthrough);
	if (r == 0)
		r = conf_uint(&uses, 1, UINT32_MAX, &t->max_uses, b->err);
	if (r == 0)
		r = conf_bool(&tls, &require_tls, b->err);
	t->plain_http = !require_tls;
	if (r == 0)
		r = conf_str(&shape, &text, b->err);
	return r == 0 && text ? set_shape(b, &w, text, strlen(text), d) : r;
}
