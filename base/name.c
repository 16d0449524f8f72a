/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host names and URL authorities in one canonical form. Length-counted from
 * the first byte to the last decision: no embedded NUL can make two readers
 * see two names.
 */
#include "base/base.h"

static int fail(const char **ret_why, const char *why)
{
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A last label like "1", "017" or "0x7f" is an address to some parser. */
static bool looks_numeric(const char *label, size_t len)
{
	size_t i = 0;

	if (len >= 2 && label[0] == '0' && label[1] == 'x')
		return true;
	while (i < len && is_digit(label[i]))
		i++;
	return i == len;
}

int name_parse(const char *s, size_t len, struct name *ret, const char **ret_why)
{
	struct name n = { 0 };
	size_t label = 0;

	if (len && s[len - 1] == '.')
		len--;
	if (len == 0)
		return fail(ret_why, "a host name is missing");
	if (len > NAME_MAX_LEN)
		return fail(ret_why, "host name longer than 253 bytes");
	for (size_t i = 0; i <= len; i++) {
		char c = i < len ? s[i] : '.';

		if (c == '.') {
			size_t n_label = i - label;

			if (n_label == 0)
				return fail(ret_why, "empty label in a host name");
			if (n_label > 63)
				return fail(ret_why, "label longer than 63 bytes in a host name");
			if (s[label] == '-' || s[i - 1] == '-')
				return fail(ret_why, "label begins or ends with a hyphen");
			if (i < len)
				label = i + 1;
		} else if (c >= 'A' && c <= 'Z') {
			c = (char)(c - 'A' + 'a');
		} else if ((unsigned char)c >= 0x80) {
			return fail(ret_why, "non-ASCII host name: write it as A-labels (xn--...)");
		} else if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_') {
			return fail(
				ret_why,
				"host names have letters, digits, hyphens and underscores only");
		}
		if (i < len)
			n.s[i] = c;
	}
	if (looks_numeric(n.s + label, len - label))
		return fail(
			ret_why,
			"last label reads as a number: not a name, and not a canonical address");
	n.len = (uint8_t)len;
	*ret = n;
	return 0;
}

bool name_ends_with(const struct name *n, const char *suffix, size_t len, bool include_apex)
{
	size_t at;

	if (n->len == len)
		return include_apex && memcmp(n->s, suffix, len) == 0;
	if (n->len < len)
		return false;
	at = (size_t)n->len - len;
	return n->s[at - 1] == '.' && memcmp(n->s + at, suffix, len) == 0;
}

bool name_in_suffix(const struct name *n, const struct name *suffix, bool include_apex)
{
	return name_ends_with(n, suffix->s, suffix->len, include_apex);
}

unsigned name_labels(const struct name *n)
{
	unsigned labels = n->len ? 1 : 0;

	for (size_t i = 0; i < n->len; i++)
		labels += n->s[i] == '.';
	return labels;
}

int authority_parse(const char *s, size_t len, struct authority *ret, const char **ret_why)
{
	struct authority a = { 0 };
	const char *host = s, *port = NULL, *end = s + len;
	size_t host_len = len;

	if (len && s[0] == '[') {
		const char *close = memchr(s, ']', len);

		if (!close)
			return fail(ret_why, "\"[\" without \"]\"");
		host = s + 1;
		host_len = (size_t)(close - host);
		if (!memchr(host, ':', host_len))
			return fail(ret_why, "only IPv6 addresses stand in brackets");
		if (close + 1 < end) {
			if (close[1] != ':')
				return fail(ret_why, "text after \"]\"");
			port = close + 2;
		}
		a.is_addr = true;
	} else {
		const char *colon = memchr(s, ':', len);

		if (colon) {
			host_len = (size_t)(colon - s);
			port = colon + 1;
		}
		/* All digits and dots: an address or nothing, never a name. */
		a.is_addr = host_len > 0;
		for (size_t i = 0; i < host_len; i++)
			if (!is_digit(host[i]) && host[i] != '.')
				a.is_addr = false;
	}
	if (a.is_addr ? ip_parse(host, host_len, &a.addr, ret_why) < 0
		      : name_parse(host, host_len, &a.name, ret_why) < 0)
		return -EINVAL;
	if (port && port_parse(port, (size_t)(end - port), &a.port, ret_why) < 0)
		return -EINVAL;
	*ret = a;
	return 0;
}
