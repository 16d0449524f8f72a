/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways a placeholder gets written on its way through a client: percent
 * escapes (as the common libraries choose them), JSON strings, base64, hex.
 * Used twice: to recognise the placeholder, and to write the value the same way.
 */
#include "tlsproxy/secret_internal.h"

static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What clients leave alone: RFC 3986, encodeURIComponent, URLSearchParams, quote() of Python. */
static const char *const percent_keeps[SECRET_PERCENT_VARIANTS / 2] = {
	"-._~",
	"-._~!'()*",
	"-._*",
	"-._~/",
};

static void put(uint8_t *out, size_t *at, uint8_t c)
{
	if (out)
		out[*at] = c;
	(*at)++;
}

size_t secret_encode_percent(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	const char *keep = percent_keeps[variant / 2];
	const char *hex = variant % 2 ? "0123456789abcdef" : "0123456789ABCDEF";
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		if (is_alnum(p[i]) || (p[i] && strchr(keep, p[i]))) {
			put(out, &at, p[i]);
			continue;
		}
		put(out, &at, '%');
		put(out, &at, (uint8_t)hex[p[i] >> 4]);
		put(out, &at, (uint8_t)hex[p[i] & 15]);
	}
	return at;
}

/* Escaped as \\u00XX by the encoders of Go (HTML-safe) and of Gson. */
static bool json_as_u(unsigned variant, uint8_t c)
{
	return (variant >= 2 && (c == '<' || c == '>' || c == '&')) ||
	       (variant == 3 && (c == '=' || c == '\''));
}

static void put_u(uint8_t *out, size_t *at, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";

	put(out, at, '\\');
	put(out, at, 'u');
	put(out, at, '0');
	put(out, at, '0');
	put(out, at, (uint8_t)hex[c >> 4]);
	put(out, at, (uint8_t)hex[c & 15]);
}

static void put_json(uint8_t *out, size_t *at, uint8_t c)
{
	static const char controls[] = "\bb\ff\nn\rr\tt";

	if (c >= 0x20) {
		if (c == '"' || c == '\\')
			put(out, at, '\\');
		put(out, at, c);
		return;
	}
	for (size_t i = 0; i + 1 < sizeof(controls); i += 2)
		if ((uint8_t)controls[i] == c) {
			put(out, at, '\\');
			put(out, at, (uint8_t)controls[i + 1]);
			return;
		}
	put_u(out, at, c);
}

size_t secret_encode_json(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		if (json_as_u(variant, p[i])) {
			put_u(out, &at, p[i]);
			continue;
		}
		if (variant == 1 && p[i] == '/')
			put(out, &at, '\\');
		put_json(out, &at, p[i]);
	}
	return at;
}

static void put_percent(uint8_t *out, size_t *at, uint8_t c, const char *keep)
{
	static const char hex[] = "0123456789ABCDEF";

	if (is_alnum(c) || (c && strchr(keep, c))) {
		put(out, at, c);
		return;
	}
	put(out, at, '%');
	put(out, at, (uint8_t)hex[c >> 4]);
	put(out, at, (uint8_t)hex[c & 15]);
}

/*
 * In a path and a query that the client did not escape, what may stand there raw
 * (RFC 3986 3.3, 3.4) stays, but for what would divide a query into keys.
 */
size_t secret_escape(enum secret_escape how, const uint8_t *p, size_t n, uint8_t *out)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		switch (how) {
		case SECRET_RAW:
			put(out, &at, p[i]);
			break;
		case SECRET_IN_PATH:
			put_percent(out, &at, p[i], "-._~!$&'()*+,;=:@/");
			break;
		case SECRET_IN_QUERY:
			put_percent(out, &at, p[i], "-._~!$()*,:@/?");
			break;
		case SECRET_ALL_PERCENT:
			put_percent(out, &at, p[i], "-._~");
			break;
		case SECRET_IN_JSON:
			put_json(out, &at, p[i]);
			break;
		}
	}
	return at;
}

size_t secret_utf8(const uint8_t *p, size_t n, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);

	if (len == 0 || len > n || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return len;
}

/* Bit b of p, counted from its first; the caller stays inside. */
static unsigned six_bits(const uint8_t *p, size_t n, size_t bit)
{
	size_t byte = bit / 8, shift = bit % 8;
	unsigned two = (unsigned)p[byte] << 8;

	if (byte + 1 < n)
		two |= p[byte + 1];
	return two >> (10 - shift) & 63;
}

size_t secret_encode_base64(unsigned phase, bool url, const uint8_t *p, size_t n, uint8_t *out)
{
	const char *alphabet = url ? b64_url : b64_std;
	size_t first = (8 * phase + 5) / 6, last = (8 * (phase + n)) / 6, at = 0;

	for (size_t i = first; i < last; i++)
		put(out, &at, (uint8_t)alphabet[six_bits(p, n, 6 * i - 8 * phase)]);
	return at;
}

size_t secret_encode_hex(bool upper, const uint8_t *p, size_t n, uint8_t *out)
{
	const char *hex = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		put(out, &at, (uint8_t)hex[p[i] >> 4]);
		put(out, &at, (uint8_t)hex[p[i] & 15]);
	}
	return at;
}

int secret_base64_bits(uint8_t c)
{
	const char *at = c ? strchr(b64_std, c) : NULL;

	if (at)
		return (int)(at - b64_std);
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

uint8_t secret_base64_char(unsigned bits, bool url)
{
	return (uint8_t)(url ? b64_url : b64_std)[bits & 63];
}

int secret_base64_decode(const char *s, size_t len, uint8_t *out, size_t *ret_len)
{
	size_t n = 0, pad = 0;
	uint32_t acc = 0;

	if (len == 0 || len % 4)
		return -EINVAL;
	while (pad < 2 && s[len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < len; i++) {
		const char *at = NULL;

		if (i < len - pad) {
			at = s[i] ? strchr(b64_std, s[i]) : NULL;
			if (!at)
				return -EINVAL;
		}
		acc = acc << 6 | (at ? (uint32_t)(at - b64_std) : 0);
		if (i % 4 != 3)
			continue;
		out[n++] = (uint8_t)(acc >> 16);
		out[n++] = (uint8_t)(acc >> 8);
		out[n++] = (uint8_t)acc;
		acc = 0;
	}
	/* Bits that no canonical encoder sets would make two texts of one credential. */
	for (size_t i = n - pad; i < n; i++)
		if (out[i])
			return -EINVAL;
	*ret_len = n - pad;
	return 0;
}

size_t secret_base64_encode(const uint8_t *p, size_t n, char *out)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;

		v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
		v |= i + 2 < n ? p[i + 2] : 0;
		out[at++] = b64_std[v >> 18 & 63];
		out[at++] = b64_std[v >> 12 & 63];
		out[at++] = '=';
		out[at++] = '=';
		if (i + 1 < n)
			out[at - 2] = b64_std[v >> 6 & 63];
		if (i + 2 < n)
			out[at - 1] = b64_std[v & 63];
	}
	return at;
}
