/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   12 bytes  signature
 *    1 byte   version 2 in the high half, command in the low one: 0 LOCAL, 1 PROXY
 *    1 byte   family in the high half: 1 IPv4, 2 IPv6; transport: 1 stream
 *    2 bytes  length of what follows
 *             source address, destination address, source port, destination port
 */
#include "weir/proxy_header.h"

enum { VERSION_LOCAL = 0x20, VERSION_PROXY = 0x21, TCP_OVER_IPV4 = 0x11, TCP_OVER_IPV6 = 0x21 };

static const uint8_t signature[12] = { '\r', '\n', '\r', '\n', 0,   '\r',
				       '\n', 'Q',  'U',	 'I',  'T', '\n' };

size_t proxy_header_v2(const struct endpoint *src, const struct endpoint *dst,
		       uint8_t out[static PROXY_HEADER_MAX])
{
	bool local = !src || !dst || src->addr.family != dst->addr.family;
	size_t n = local ? 0 : ip_size(&src->addr), at = 16;

	memcpy(out, signature, sizeof(signature));
	out[12] = local ? VERSION_LOCAL : VERSION_PROXY;
	out[13] = local ? 0 : n == 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6;
	put_be16(out + 14, (uint16_t)(local ? 0 : 2 * n + 4));
	if (local)
		return at;
	memcpy(out + at, src->addr.b, n);
	memcpy(out + at + n, dst->addr.b, n);
	put_be16(out + at + 2 * n, src->port);
	put_be16(out + at + 2 * n + 2, dst->port);
	return at + 2 * n + 4;
}
