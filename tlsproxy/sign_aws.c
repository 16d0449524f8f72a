/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4: verified with the placeholder, made with the key.
 * Steps and texts are those of the AWS reference "Create a signed request".
 *
 * The key of a day, region and service is derived for every request: five hashes
 * of a few bytes each, and nothing more that would have to be kept secret.
 */
#include "tlsproxy/sign.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TERMINATOR "aws4_request"
/* Method, escaped target and fields of a head that was within its own limits. */
#define CANONICAL_MAX (8 * HTTP_HEAD_MAX)

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static struct http_text bytes(const void *p, size_t n)
{
	return (struct http_text){ p, n };
}

static int derive_key(const struct sign_aws *a, const void *key, size_t key_len,
		      uint8_t ret[static SIGN_HASH_MAX])
{
	const struct http_text steps[] = { a->region, a->service, text(TERMINATOR) };
	size_t n = sign_hash_size(SIGN_SHA256);
	struct buf first = BUF_INIT(key_len + 4);
	uint8_t next[SIGN_HASH_MAX], *p;
	int r = buf_reserve(&first, key_len + 4, &p);

	if (r == 0)
		r = buf_append(&first, "AWS4", 4);
	if (r == 0)
		r = buf_append(&first, key, key_len);
	if (r == 0)
		r = sign_mac(SIGN_SHA256, buf_at(&first), first.len, &a->day, 1, ret);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++) {
		r = sign_mac(SIGN_SHA256, ret, n, &steps[i], 1, next);
		memcpy(ret, next, n);
	}
	explicit_bzero(next, sizeof(next));
	buf_fini_wiped(&first);
	return r;
}

/* HMAC(derived key, algorithm, date, scope, hash of the canonical request). */
static int sign_canonical(const struct sign_aws *a, struct http_text request, const void *derived,
			  char ret[static SIGN_HEX_LEN])
{
	size_t n = sign_hash_size(SIGN_SHA256);
	uint8_t hash[SIGN_HASH_MAX];
	char hex[SIGN_HEX_LEN];
	int r = sign_digest(SIGN_SHA256, request, hash);

	if (r < 0)
		return r;
	sign_hex(hash, n, hex);
	{
		const struct http_text parts[] = {
			text(ALGORITHM "\n"),
			a->date,
			text("\n"),
			a->day,
			text("/"),
			a->region,
			text("/"),
			a->service,
			text("/" TERMINATOR "\n"),
			bytes(hex, sizeof(hex)),
		};

		r = sign_mac(SIGN_SHA256, derived, n, parts, ARRAY_SIZE(parts), hash);
	}
	if (r == 0)
		sign_hex(hash, n, ret);
	explicit_bzero(hash, sizeof(hash));
	return r;
}

static int sign_with(const struct sign_message *m, const struct sign_aws *a,
		     const struct sign_aws_style *style, struct http_text payload, bool lenient,
		     const void *derived, char ret[static SIGN_HEX_LEN])
{
	struct buf request = BUF_INIT(CANONICAL_MAX);
	int r = sign_aws_canonical(m, a, style, payload, lenient, &request);

	if (r == 0)
		r = sign_canonical(a, bytes(buf_at(&request), request.len), derived, ret);
	buf_fini_wiped(&request);
	return r;
}

int sign_aws_sign(const struct sign_message *m, const struct sign_aws *a,
		  const struct sign_aws_style *style, struct http_text payload, const void *key,
		  size_t key_len, char ret[static SIGN_HEX_LEN])
{
	uint8_t derived[SIGN_HASH_MAX];
	int r = derive_key(a, key, key_len, derived);

	if (r == 0)
		r = sign_with(m, a, style, payload, true, derived, ret);
	explicit_bzero(derived, sizeof(derived));
	return r;
}

static bool same_hex(struct http_text given, const char made[static SIGN_HEX_LEN])
{
	unsigned differ = given.len != SIGN_HEX_LEN;

	for (size_t i = 0; i < SIGN_HEX_LEN && !differ; i++)
		differ |= str_hex_digit((uint8_t)given.s[i]) != str_hex_digit((uint8_t)made[i]);
	return !differ;
}

int sign_aws_verify(const struct sign_message *m, const struct sign_aws *a, struct http_text payload,
		    const void *key, size_t key_len, struct sign_aws_style *ret)
{
	/* S3 does not escape again; to try its form first saves a hash or two. */
	static const enum sign_aws_path s3_first[SIGN_AWS_PATHS] = {
		SIGN_AWS_PATH_SENT, SIGN_AWS_PATH_PLAIN, SIGN_AWS_PATH_NORMAL, SIGN_AWS_PATH_AGAIN
	};
	uint8_t derived[SIGN_HASH_MAX];
	char made[SIGN_HEX_LEN];
	int r = derive_key(a, key, key_len, derived);

	for (size_t i = 0; r == 0 && i < 2 * SIGN_AWS_PATHS; i++) {
		struct sign_aws_style style = { .path = s3_first[i % SIGN_AWS_PATHS],
						.query_sent = i >= SIGN_AWS_PATHS };

		r = sign_with(m, a, &style, payload, false, derived, made);
		if (r < 0 || !same_hex(a->signature, made))
			continue;
		explicit_bzero(derived, sizeof(derived));
		*ret = style;
		return 0;
	}
	explicit_bzero(derived, sizeof(derived));
	return r == 0 || r == -EBADMSG ? -EKEYREJECTED : r;
}

int sign_aws_write(const struct sign_message *m, const struct sign_aws *a,
		   struct http_text credential, struct buf *out)
{
	static const char zeros[] =
		"0000000000000000000000000000000000000000000000000000000000000000";
	struct http_text rest = a->names, name;
	int r = buf_append_str(out, ALGORITHM " Credential=");

	if (r == 0)
		r = buf_append(out, credential.s, credential.len);
	if (r == 0)
		r = buf_append_str(out, ", SignedHeaders=");
	for (size_t n = 0; r == 0 && sign_aws_next_name(&rest, &name);) {
		if (!sign_aws_has(m, name))
			continue;
		r = n++ ? buf_append(out, ";", 1) : 0;
		if (r == 0)
			r = buf_append(out, name.s, name.len);
	}
	if (r == 0)
		r = buf_append_str(out, ", Signature=");
	return r < 0 ? r : buf_append(out, zeros, SIGN_HEX_LEN);
}
