/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses, prefixes, endpoints: one strict parser and one formatter.
 *
 * A policy is only as good as the agreement on what a text means. So the odd
 * spellings that libc accepts (0x7f.1, 127.1, 017700000001, zone ids) are
 * refused here, and no text is ever handed to inet_aton or getaddrinfo.
 */
#include "base/base.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

struct ip_addr ip_from_be(int family, const void *bytes)
{
	struct ip_addr a = { .family = (uint8_t)family };

	memcpy(a.b, bytes, ip_size(&a));
	return a;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool ip_in_prefix(const struct ip_addr *a, const struct ip_prefix *p)
{
	size_t whole = p->len / 8;
	unsigned rest = p->len % 8;

	if (a->family != p->addr.family || memcmp(a->b, p->addr.b, whole) != 0)
		return false;
	return !rest || (a->b[whole] ^ p->addr.b[whole]) >> (8 - rest) == 0;
}

static int fail(const char **ret_why, const char *why)
{
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

int uint_parse(const char *s, size_t len, uint64_t min, uint64_t max, uint64_t *ret,
	       const char **ret_why)
{
	uint64_t v = 0;

	if (len == 0)
		return fail(ret_why, "a number is missing");
	if (len > 1 && s[0] == '0')
		return fail(ret_why, "leading zero in a number");
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return fail(ret_why, "not a decimal number");
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return fail(ret_why, "number out of range");
	}
	if (v < min || v > max)
		return fail(ret_why, "number out of range");
	*ret = v;
	return 0;
}

int port_parse(const char *s, size_t len, uint16_t *ret, const char **ret_why)
{
	uint64_t v;

	if (uint_parse(s, len, 1, 65535, &v, NULL) < 0)
		return fail(ret_why, "a port is a decimal number from 1 to 65535");
	*ret = (uint16_t)v;
	return 0;
}

int port_range_parse(const char *s, size_t len, struct port_range *ret, const char **ret_why)
{
	const char *dash = memchr(s, '-', len);
	struct port_range r;

	if (!dash) {
		if (port_parse(s, len, &r.lo, ret_why) < 0)
			return -EINVAL;
		r.hi = r.lo;
	} else {
		if (port_parse(s, (size_t)(dash - s), &r.lo, ret_why) < 0 ||
		    port_parse(dash + 1, len - (size_t)(dash - s) - 1, &r.hi, ret_why) < 0)
			return -EINVAL;
		if (r.lo > r.hi)
			return fail(ret_why, "port range ends before it begins");
	}
	*ret = r;
	return 0;
}

static int ip4_parse(const char *s, size_t len, uint8_t out[static 4], const char **ret_why)
{
	size_t at = 0;

	for (int i = 0; i < 4; i++) {
		unsigned v = 0;
		size_t start = at;

		while (at < len && s[at] >= '0' && s[at] <= '9' && at - start < 4)
			v = v * 10 + (unsigned)(s[at++] - '0');
		if (at == start)
			return fail(ret_why, "an IPv4 address is four decimal numbers");
		if (at - start > 1 && s[start] == '0')
			return fail(ret_why, "leading zero in an IPv4 address");
		if (v > 255)
			return fail(ret_why, "number above 255 in an IPv4 address");
		out[i] = (uint8_t)v;
		if (i < 3) {
			if (at == len || s[at] != '.')
				return fail(ret_why, "an IPv4 address is four decimal numbers");
			at++;
		}
	}
	return at == len ? 0 : fail(ret_why, "text after an IPv4 address");
}

/* RFC 4291 2.2: groups of 1-4 hex digits, one "::", optional dotted-quad tail. */
static int ip6_parse(const char *s, size_t len, uint8_t out[static 16], const char **ret_why)
{
	uint8_t b[16] = { 0 };
	size_t at = 0, n = 0, gap = SIZE_MAX;

	if (memchr(s, '%', len))
		return fail(ret_why, "zone ids are not accepted");
	if (len >= 2 && s[0] == ':' && s[1] == ':') {
		gap = 0;
		at = 2;
	} else if (len && s[0] == ':') {
		return fail(ret_why, "not an IPv6 address");
	}
	while (at < len) {
		size_t start = at;
		unsigned v = 0;

		while (at < len && str_hex_digit(s[at]) >= 0 && at - start < 4)
			v = v << 4 | (unsigned)str_hex_digit(s[at++]);
		if (at < len && s[at] == '.') {
			if (n > 12)
				return fail(ret_why, "IPv6 address too long");
			if (ip4_parse(s + start, len - start, b + n, ret_why) < 0)
				return -EINVAL;
			n += 4;
			at = len;
			break;
		}
		if (at == start)
			return fail(ret_why, "not an IPv6 address");
		if (n > 14)
			return fail(ret_why, "IPv6 address too long");
		put_be16(b + n, (uint16_t)v);
		n += 2;
		if (at == len)
			break;
		if (s[at] != ':' || at + 1 == len)
			return fail(ret_why, "not an IPv6 address");
		at++;
		if (s[at] == ':') {
			if (gap != SIZE_MAX)
				return fail(ret_why, "two \"::\" in an IPv6 address");
			gap = n;
			at++;
		}
	}
	if (gap == SIZE_MAX ? n != 16 : n > 14)
		return fail(ret_why, "an IPv6 address has eight groups");
	if (gap != SIZE_MAX) {
		memmove(b + 16 - (n - gap), b + gap, n - gap);
		memset(b + gap, 0, 16 - n);
	}
	memcpy(out, b, 16);
	return 0;
}

int ip_parse(const char *s, size_t len, struct ip_addr *ret, const char **ret_why)
{
	struct ip_addr a = { 0 };
	int r;

	if (len == 0)
		return fail(ret_why, "an address is missing");
	if (memchr(s, ':', len)) {
		a.family = 6;
		r = ip6_parse(s, len, a.b, ret_why);
	} else {
		a.family = 4;
		r = ip4_parse(s, len, a.b, ret_why);
	}
	if (r == 0)
		*ret = a;
	return r;
}

int ip_prefix_parse(const char *s, size_t len, struct ip_prefix *ret, const char **ret_why)
{
	const char *slash = memchr(s, '/', len);
	struct ip_prefix p;
	uint64_t bits;

	if (!slash)
		return fail(ret_why, "a prefix is ADDRESS/LENGTH");
	if (ip_parse(s, (size_t)(slash - s), &p.addr, ret_why) < 0)
		return -EINVAL;
	if (uint_parse(slash + 1, len - (size_t)(slash - s) - 1, 0, ip_size(&p.addr) * 8, &bits,
		       NULL) < 0)
		return fail(ret_why, p.addr.family == 4 ? "prefix length is not 0 to 32"
							: "prefix length is not 0 to 128");
	p.len = (uint8_t)bits;
	for (size_t i = p.len; i < ip_size(&p.addr) * 8; i++)
		if (p.addr.b[i / 8] >> (7 - i % 8) & 1)
			return fail(ret_why, "address has bits set beyond the prefix length");
	*ret = p;
	return 0;
}

int endpoint_parse(const char *s, size_t len, uint16_t default_port, struct endpoint *ret,
		   const char **ret_why)
{
	struct endpoint e = { .port = default_port };
	const char *addr = s, *port = NULL, *end = s + len;
	size_t addr_len = len;

	if (len && s[0] == '[') {
		const char *close = memchr(s, ']', len);

		if (!close)
			return fail(ret_why, "\"[\" without \"]\"");
		addr = s + 1;
		addr_len = (size_t)(close - addr);
		if (close + 1 < end) {
			if (close[1] != ':')
				return fail(ret_why, "text after \"]\"");
			port = close + 2;
		}
		if (!memchr(addr, ':', addr_len))
			return fail(ret_why, "only IPv6 addresses stand in brackets");
	} else {
		const char *colon = memchr(s, ':', len);

		/* Two colons: a bare IPv6 address, which then has no port. */
		if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
			addr_len = (size_t)(colon - s);
			port = colon + 1;
		}
	}
	if (ip_parse(addr, addr_len, &e.addr, ret_why) < 0)
		return -EINVAL;
	if (port && port_parse(port, (size_t)(end - port), &e.port, ret_why) < 0)
		return -EINVAL;
	*ret = e;
	return 0;
}

/* RFC 5952: lower case, longest run of zero groups (two or more) as "::". */
static void ip6_format(const uint8_t *b, char *out)
{
	int best = -1, best_len = 1, n = 0;
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (memcmp(b, mapped, 12) == 0) {
		snprintf(out, IP_STRLEN, "::ffff:%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
		return;
	}
	for (int i = 0; i < 8;) {
		int j = i;

		while (j < 8 && get_be16(b + 2 * j) == 0)
			j++;
		if (j - i > best_len) {
			best = i;
			best_len = j - i;
		}
		i = j > i ? j : i + 1;
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			n += snprintf(out + n, (size_t)(IP_STRLEN - n), "::");
			i += best_len - 1;
			continue;
		}
		n += snprintf(out + n, (size_t)(IP_STRLEN - n), "%s%x",
			      i && i != best + best_len ? ":" : "", get_be16(b + 2 * i));
	}
}

const char *ip_format(const struct ip_addr *a, char out[IP_STRLEN])
{
	if (a->family == 4)
		snprintf(out, IP_STRLEN, "%u.%u.%u.%u", a->b[0], a->b[1], a->b[2], a->b[3]);
	else if (a->family == 6)
		ip6_format(a->b, out);
	else
		snprintf(out, IP_STRLEN, "-");
	return out;
}

const char *endpoint_format(const struct endpoint *e, char out[ENDPOINT_STRLEN])
{
	char ip[IP_STRLEN];

	snprintf(out, ENDPOINT_STRLEN, e->addr.family == 6 ? "[%s]:%u" : "%s:%u",
		 ip_format(&e->addr, ip), e->port);
	return out;
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->addr.family == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.b, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->addr.b, 16);
	return sizeof(*in6);
}

int endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *ret)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		ret->addr = ip_from_be(4, &in->sin_addr);
		ret->port = ntohs(in->sin_port);
		return 0;
	}
	if (ss->ss_family == AF_INET6) {
		ret->addr = ip_from_be(6, &in6->sin6_addr);
		ret->port = ntohs(in6->sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}
