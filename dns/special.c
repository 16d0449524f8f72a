/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that must not be asked upstream whatever a policy allows: localhost is
 * the guest itself (RFC 6761 6.3), invalid is nothing (6.4), and onion belongs
 * to Tor, whose users must not be betrayed to a resolver (RFC 7686). Firefox asks for
 * use-application-dns.net before it turns to DNS over HTTPS by itself; that it does
 * not exist is how a network says that its resolver is the one to use. A static record comes first; test, local and home.arpa are left to the operator.
 */
#include "dns/dns_int.h"

enum dns_special dns_special_of(const struct name *n)
{
	static const struct {
		struct name suffix;
		enum dns_special what;
	} t[] = {
		{ { 9, "localhost" }, DNS_SPECIAL_LOOPBACK },
		{ { 7, "invalid" }, DNS_SPECIAL_NXDOMAIN },
		{ { 5, "onion" }, DNS_SPECIAL_NXDOMAIN },
		{ { 23, "use-application-dns.net" }, DNS_SPECIAL_NXDOMAIN },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		if (name_in_suffix(n, &t[i].suffix, true))
			return t[i].what;
	return DNS_SPECIAL_NO;
}
