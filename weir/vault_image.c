/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vault holds, as bytes: texts and lengths one behind the other. It is
 * authentic when it is read, and still every length is checked.
 *
 *     u32 n │ ca_pem │ ca_key │ n × ( env │ placeholder │ u8 has a value │ u64 uses │ value )
 *     u32 n │ n × ( env │ of │ placeholder │ u8 has a value, renews │ u64 until │ value )
 *     texts and values: u32 length, bytes, and a NUL that is not counted
 */
#include "weir/config_internal.h"
#include "weir/vault.h"

enum { HAS_VALUE = 1, RENEWS = 2 };

static size_t field_size(size_t len)
{
	return 4 + len + 1;
}

size_t image_size(const struct kept *k)
{
	size_t size = 4 + field_size(strlen(k->ca_pem)) + field_size(k->ca_key_len);

	for (size_t i = 0; i < k->n; i++)
		size += field_size(strlen(k->secrets[i].env)) +
			field_size(strlen(k->secrets[i].placeholder)) + 1 + 8 +
			field_size(k->secrets[i].value ? k->secrets[i].len : 0);
	size += 4;
	for (size_t i = 0; i < k->n_tokens; i++)
		size += field_size(strlen(k->tokens[i].env)) + field_size(strlen(k->tokens[i].of)) +
			field_size(strlen(k->tokens[i].placeholder)) + 1 + 8 +
			field_size(k->tokens[i].value ? k->tokens[i].len : 0);
	return size;
}

static uint8_t *put_field(uint8_t *out, const void *p, size_t len)
{
	put_be32(out, (uint32_t)len);
	if (len)
		memcpy(out + 4, p, len);
	out[4 + len] = 0;
	return out + field_size(len);
}

static uint8_t *put_u64(uint8_t *out, uint64_t v)
{
	put_be32(out, (uint32_t)(v >> 32));
	put_be32(out + 4, (uint32_t)v);
	return out + 8;
}

static uint8_t *put_token(uint8_t *out, const struct kept_token *t)
{
	out = put_field(out, t->env, strlen(t->env));
	out = put_field(out, t->of, strlen(t->of));
	out = put_field(out, t->placeholder, strlen(t->placeholder));
	*out++ = (uint8_t)((t->value ? HAS_VALUE : 0) | (t->renews ? RENEWS : 0));
	out = put_u64(out, t->until);
	return put_field(out, t->value, t->value ? t->len : 0);
}

void image_put(const struct kept *k, uint8_t *out)
{
	put_be32(out, (uint32_t)k->n);
	out = put_field(out + 4, k->ca_pem, strlen(k->ca_pem));
	out = put_field(out, k->ca_key, k->ca_key_len);
	for (size_t i = 0; i < k->n; i++) {
		const struct kept_secret *s = &k->secrets[i];

		out = put_field(out, s->env, strlen(s->env));
		out = put_field(out, s->placeholder, strlen(s->placeholder));
		*out++ = s->value != NULL;
		out = put_u64(out, s->uses);
		out = put_field(out, s->value, s->value ? s->len : 0);
	}
	put_be32(out, (uint32_t)k->n_tokens);
	out += 4;
	for (size_t i = 0; i < k->n_tokens; i++)
		out = put_token(out, &k->tokens[i]);
}

static bool get_field(struct rd *rd, const uint8_t **ret, size_t *ret_len)
{
	const uint8_t *p;
	uint32_t len;
	uint8_t nul;

	if (!rd_be32(rd, &len) || !rd_bytes(rd, len, &p) || !rd_u8(rd, &nul) || nul)
		return false;
	*ret = p;
	*ret_len = len;
	return true;
}

static bool get_text(struct rd *rd, const char **ret)
{
	const uint8_t *p;
	size_t len;

	if (!get_field(rd, &p, &len) || memchr(p, 0, len))
		return false;
	*ret = (const char *)p;
	return true;
}

static bool get_u64(struct rd *rd, uint64_t *ret)
{
	uint32_t high, low;

	if (!rd_be32(rd, &high) || !rd_be32(rd, &low))
		return false;
	*ret = (uint64_t)high << 32 | low;
	return true;
}

static bool get_token(struct rd *rd, struct kept_token *t)
{
	uint8_t flags;

	if (!get_text(rd, &t->env) || !get_text(rd, &t->of) || !get_text(rd, &t->placeholder) ||
	    !rd_u8(rd, &flags) || !get_u64(rd, &t->until) || !get_field(rd, &t->value, &t->len))
		return false;
	t->renews = flags & RENEWS;
	if (!(flags & HAS_VALUE)) {
		t->value = NULL;
		t->len = 0;
	}
	return true;
}

static bool get_secret(struct rd *rd, struct kept_secret *s)
{
	uint8_t has_value;

	if (!get_text(rd, &s->env) || !get_text(rd, &s->placeholder) || !rd_u8(rd, &has_value) ||
	    !get_u64(rd, &s->uses) || !get_field(rd, &s->value, &s->len))
		return false;
	if (!has_value) {
		s->value = NULL;
		s->len = 0;
	}
	return true;
}

int image_get(const uint8_t *p, size_t len, struct kept *ret)
{
	struct rd rd = rd_init(p, len);
	uint32_t n;

	if (!rd_be32(&rd, &n) || n > CONFIG_SECRETS_MAX || !get_text(&rd, &ret->ca_pem) ||
	    !get_field(&rd, &ret->ca_key, &ret->ca_key_len))
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (!get_secret(&rd, &ret->secrets[i]))
			return -EBADMSG;
	ret->n = n;
	if (!rd_be32(&rd, &n) || n > KEPT_TOKENS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (!get_token(&rd, &ret->tokens[i]))
			return -EBADMSG;
	ret->n_tokens = n;
	return rd_left(&rd) ? -EBADMSG : 0;
}
