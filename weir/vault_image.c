/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vault holds, as bytes: texts and lengths one behind the other. It is
 * authentic when it is read, and still every length is checked.
 *
 *     u32 n │ ca_pem │ ca_key │ n × ( env │ placeholder │ u8 has a value │ u64 uses │ value )
 *     texts and values: u32 length, bytes, and a NUL that is not counted
 */
#include "weir/config_internal.h"
#include "weir/vault.h"

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
		put_be32(out, (uint32_t)(s->uses >> 32));
		put_be32(out + 4, (uint32_t)s->uses);
		out += 8;
		out = put_field(out, s->value, s->value ? s->len : 0);
	}
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

static bool get_secret(struct rd *rd, struct kept_secret *s)
{
	uint32_t high, low;
	uint8_t has_value;

	if (!get_text(rd, &s->env) || !get_text(rd, &s->placeholder) || !rd_u8(rd, &has_value) ||
	    !rd_be32(rd, &high) || !rd_be32(rd, &low) || !get_field(rd, &s->value, &s->len))
		return false;
	s->uses = (uint64_t)high << 32 | low;
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
	return rd_left(&rd) ? -EBADMSG : 0;
}
