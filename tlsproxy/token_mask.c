/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens in what a token endpoint answers (RFC 6749 5.1), found and exchanged for
 * placeholders. The reply is written anew from what was read, so that no reader of it can
 * see in it what this one did not: keys that occur twice, texts that are not UTF-8 and what
 * stands behind the end make it unreadable. Whoever asked refuses it then.
 */
#include "tlsproxy/token.h"

#include <jansson.h>
#include <stdio.h>

struct token_reply {
	json_t *root;
	const char *const *fields;
	size_t n_fields;
	json_t *tokens[HTTP_MASK_TOKENS_MAX]; /* texts in root */
	struct tlsproxy_fresh list[HTTP_MASK_TOKENS_MAX];
	size_t n;
};

static bool is_field(const struct token_reply *t, const char *key)
{
	for (size_t i = 0; i < t->n_fields; i++)
		if (str_eq(t->fields[i], key))
			return true;
	return false;
}

/* ---- lifetimes --------------------------------------------------------------------------- */

/* A number of seconds, also one that is written as a text; 0: none. */
static uint64_t seconds(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	uint64_t n = 0;

	if (json_is_integer(v) && json_integer_value(v) > 0)
		n = (uint64_t)json_integer_value(v);
	else if (json_is_string(v) && uint_parse(json_string_value(v), json_string_length(v), 1,
						 UINT32_MAX, &n, NULL) < 0)
		n = 0;
	return MIN(n, (uint64_t)TLSPROXY_TOKEN_LIFE_MAX_S);
}

static void note_life(const json_t *o, struct tlsproxy_fresh *f)
{
	const json_t *at = json_object_get(o, "expires_at");

	/* Not in RFC 6749, which says nothing of it; these are what servers say. */
	if (f->renews) {
		f->life_s = seconds(o, "refresh_token_expires_in");
		if (!f->life_s)
			f->life_s = seconds(o, "refresh_expires_in");
		return;
	}
	f->life_s = seconds(o, "expires_in");
	if (!f->life_s && json_is_string(at))
		f->until_s = token_time(json_string_value(at));
}

/* ---- reading --------------------------------------------------------------------------------- */

static int unreadable(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

static int note_token(struct token_reply *t, const json_t *o, const char *key, json_t *v,
		      const char **ret_why)
{
	struct tlsproxy_fresh *f = &t->list[t->n];
	const char *why;

	if (t->n == ARRAY_SIZE(t->list))
		return unreadable(ret_why, "more tokens than a reply may have");
	*f = (struct tlsproxy_fresh){ .field = key,
				      .value = json_string_value(v),
				      .len = json_string_length(v),
				      .renews = str_eq(key, "refresh_token") };
	if (tlsproxy_secret_check(f->value, f->len, &why) < 0)
		return unreadable(ret_why, "a token that cannot be kept: not 8 to 4096 visible "
					   "characters");
	note_life(o, f);
	t->tokens[t->n++] = v;
	return 0;
}

/* Its depth is TOKEN_JSON_DEPTH at most, which was seen before it was parsed. */
static int look(struct token_reply *t, json_t *v, const char **ret_why)
{
	const char *key;
	json_t *m;
	size_t i;
	int r = 0;

	json_array_foreach(v, i, m)
	{
		r = look(t, m, ret_why);
		if (r < 0)
			return r;
	}
	json_object_foreach(v, key, m)
	{
		bool token = is_field(t, key);

		if (json_is_object(m) || json_is_array(m))
			r = look(t, m, ret_why);
		else if (token && json_is_string(m) && json_string_length(m))
			r = note_token(t, v, key, m, ret_why);
		else if (token && json_is_number(m))
			r = unreadable(ret_why, "a token that is no text");
		if (r < 0)
			return r;
	}
	return 0;
}

int token_reply_read(const void *p, size_t n, const char *const *fields, size_t n_fields,
		     struct token_reply **ret, const char **ret_why)
{
	struct token_reply *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->fields = fields;
	t->n_fields = n_fields;
	t->root = token_load_json(p, n);
	r = t->root ? look(t, t->root, ret_why)
		    : unreadable(ret_why, "it is not JSON that has one meaning");
	if (r < 0) {
		token_reply_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void token_reply_free(struct token_reply *t)
{
	if (!t)
		return;
	json_decref(t->root);
	free(t);
}

const struct tlsproxy_fresh *token_reply_list(const struct token_reply *t, size_t *ret_n)
{
	*ret_n = t->n;
	return t->list;
}

/* ---- writing --------------------------------------------------------------------------------- */

int token_reply_put(struct token_reply *t, size_t i, const char *placeholder)
{
	/* The text that was there is overwritten before it is freed. */
	return json_string_set(t->tokens[i], placeholder) < 0 ? -ENOMEM : 0;
}

int token_reply_write(const struct token_reply *t, struct buf *out)
{
	size_t n = json_dumpb(t->root, NULL, 0, JSON_COMPACT);
	uint8_t *to;
	int r = n ? buf_reserve(out, n, &to) : -EBADMSG;

	if (r < 0)
		return r;
	if (json_dumpb(t->root, (char *)to, n, JSON_COMPACT) != n)
		return -EBADMSG;
	buf_commit(out, n);
	return 0;
}
