/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that are not asked upstream whatever a policy allows: those of the registry of
 * special-use names (RFC 6761) that a resolver has to keep to itself, and those by
 * which a client looks for another resolver than this one.
 *
 *	localhost		the guest itself (RFC 6761 6.3)
 *	invalid, alt, onion	nothing that DNS has (RFC 6761 6.4, 9476, 7686): Tor's
 *				users must not be betrayed to a resolver
 *	use-application-dns.net	Firefox asks for it before it turns to DNS over HTTPS by
 *				itself; that it does not exist is how a network says no
 *	resolver.arpa, _dns.X	discovery of a resolver that the client would use instead
 *				of this one (RFC 9462 4 and 5): there is none
 *	ipv4only.arpa		how a client learns of NAT64 (RFC 7050): there is none, and
 *				a virtual IPv6 address must not be taken for one
 *	local, home.arpa,	of the network at hand (RFC 6762 22.1, 8375, 9665, 6303); the
 *	service.arpa, reverse	operator's own may be asked for by a rule that spells the
 *	names of local networks	name out
 *
 * test and example are names as any other (RFC 6761 6.2 leaves test to the operator,
 * 6.5 says so of example). A static record comes before all of this.
 */
#include "dns/dns_int.h"

/* A service's labels, and "_dns" among them (RFC 9461 2). */
static bool of_resolver(const struct name *n)
{
	for (size_t at = 0; at < n->len && n->s[at] == '_';) {
		const char *dot = memchr(n->s + at, '.', n->len - at);
		size_t len = dot ? (size_t)(dot - n->s) - at : n->len - at;

		if (len == 4 && memcmp(n->s + at, "_dns", 4) == 0)
			return true;
		at += len + 1;
	}
	return false;
}

enum dns_special dns_special_of(const struct name *n)
{
	static const struct {
		struct name suffix;
		enum dns_special what;
	} t[] = {
		{ { 9, "localhost" }, DNS_SPECIAL_LOOPBACK },
		{ { 7, "invalid" }, DNS_SPECIAL_NXDOMAIN },
		{ { 3, "alt" }, DNS_SPECIAL_NXDOMAIN },
		{ { 5, "onion" }, DNS_SPECIAL_NXDOMAIN },
		{ { 23, "use-application-dns.net" }, DNS_SPECIAL_NXDOMAIN },
		{ { 13, "resolver.arpa" }, DNS_SPECIAL_EMPTY },
		{ { 13, "ipv4only.arpa" }, DNS_SPECIAL_EMPTY },
		{ { 5, "local" }, DNS_SPECIAL_LOCAL },
		{ { 9, "home.arpa" }, DNS_SPECIAL_LOCAL },
		{ { 12, "service.arpa" }, DNS_SPECIAL_LOCAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		if (name_in_suffix(n, &t[i].suffix, true))
			return t[i].what;
	if (of_resolver(n))
		return DNS_SPECIAL_EMPTY;
	return dns_arpa_local(n) ? DNS_SPECIAL_LOCAL : DNS_SPECIAL_NO;
}
