/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service records, HTTPS and SVCB (RFC 9460): how to reach what a name offers.
 * Hostile: whoever owns a name writes them.
 *
 * Kept are those that speak of the name itself, or of its host: the record of a port
 * has a name of its own and its host as the target (RFC 9460 2.3, 9.1). The address of
 * another target would not belong to a name that was judged, and clients do without
 * the record. Of the parameters only those that are known here are kept, and of
 * those not `ech`, which would hide the name of the connection from whoever
 * has to judge it. A record that declares a parameter mandatory which is not
 * kept is of no use.
 *
 * Parameters stand in the order of their keys, each once; a mandatory one is
 * there; lists have no rest. Everything else is malformed, and with it the
 * whole answer (RFC 9460 2.2). A record is its keys as bits and their values;
 * taking a parameter out is clearing its bit, and dns_svcb_usable() is asked
 * at the end.
 */
#include "dns/dns_int.h"

#define BIT(key) (1u << (key))
/* In `mandatory`: a key that is not kept whatever else happens. */
#define BIT_LOST BIT(DNS_SVCB_MANDATORY)

static bool is_kept(uint16_t key)
{
	return key <= DNS_SVCB_IPV6HINT && key != DNS_SVCB_ECH;
}

/* RFC 9460 8: keys in order, not itself, each of them there (read_params() looks at the end). */
static bool read_mandatory(struct rd *r, struct dns_svcb *s)
{
	uint16_t key, before = DNS_SVCB_MANDATORY;

	if (!rd_left(r))
		return false;
	while (rd_left(r)) {
		if (!rd_be16(r, &key) || key <= before)
			return false;
		before = key;
		s->mandatory |= (uint8_t)(is_kept(key) ? BIT(key) : BIT_LOST);
	}
	return true;
}

/* RFC 9460 7.1.1: protocol names, none of them empty. */
static bool read_alpn(struct rd *r, struct dns_svcb *s)
{
	const uint8_t *p;
	uint8_t len;

	if (!rd_left(r) || rd_left(r) > sizeof(s->alpn))
		return false;
	while (rd_left(r)) {
		if (!rd_u8(r, &len) || !len || !rd_bytes(r, len, &p))
			return false;
		s->alpn[s->alpn_len++] = len;
		memcpy(s->alpn + s->alpn_len, p, len);
		s->alpn_len = (uint8_t)(s->alpn_len + len);
	}
	return true;
}

static bool read_hints(struct rd *r, int family, struct dns_svcb *s)
{
	size_t size = family == 4 ? 4 : 16;
	const uint8_t *p;
	unsigned n = 0;

	if (!rd_left(r) || rd_left(r) % size)
		return false;
	while (rd_bytes(r, size, &p))
		if (n++ < DNS_MAX_HINTS)
			s->hints[s->n_hints++] = ip_from_be(family, p);
	return true;
}

static bool read_value(uint16_t key, struct rd *r, struct dns_svcb *s)
{
	switch (key) {
	case DNS_SVCB_MANDATORY:
		return read_mandatory(r, s);
	case DNS_SVCB_ALPN:
		return read_alpn(r, s);
	case DNS_SVCB_NO_DEFAULT_ALPN:
		return !rd_left(r);
	case DNS_SVCB_PORT:
		return rd_be16(r, &s->port) && !rd_left(r);
	case DNS_SVCB_IPV4HINT:
		return read_hints(r, 4, s);
	case DNS_SVCB_IPV6HINT:
		return read_hints(r, 6, s);
	default:
		return true;
	}
}

static bool read_params(struct rd *r, struct dns_svcb *s)
{
	uint32_t next = 0;

	while (rd_left(r)) {
		uint16_t key, len;
		const uint8_t *p;
		struct rd value;

		if (!rd_be16(r, &key) || !rd_be16(r, &len) || !rd_bytes(r, len, &p) || key < next)
			return false;
		next = key + 1u;
		value = rd_init(p, len);
		if (!read_value(key, &value, s))
			return false;
		if (is_kept(key))
			s->keys |= (uint8_t)BIT(key);
	}
	if (s->mandatory & ~BIT_LOST & ~s->keys)
		return false;
	/* RFC 9460 7.1.1: without alpn there would be no protocol at all. */
	return !(s->keys & BIT(DNS_SVCB_NO_DEFAULT_ALPN)) || s->keys & BIT(DNS_SVCB_ALPN);
}

int dns_svcb_read(const uint8_t *rdata, size_t len, const struct dns_wname *owner,
		  const struct dns_wname *asked, struct dns_svcb *ret)
{
	struct dns_msg m = { .p = rdata, .len = len, .at = 2 };
	struct dns_wname target, host;
	struct dns_svcb s = { 0 };
	struct rd r;

	/* RFC 9460 2.2: the target is not compressed. */
	if (len < 3 || !dns_name_read(&m, false, &target))
		return -EPROTO;
	s.priority = get_be16(rdata);
	if (s.priority == 0)
		return DNS_RDATA_ALIAS;
	r = rd_init(rdata + m.at, len - m.at);
	if (!read_params(&r, &s))
		return -EPROTO;
	if (target.len > 1 && !dns_wname_equal(&target, owner)) {
		if (!dns_wname_host(asked, &host) || !dns_wname_equal(&target, &host))
			return DNS_RDATA_LEFT_OUT;
		s.of_host = true;
	}
	if (!dns_svcb_usable(&s))
		return DNS_RDATA_LEFT_OUT;
	*ret = s;
	return DNS_RDATA_KEPT;
}

bool dns_svcb_usable(const struct dns_svcb *s)
{
	unsigned there = s->keys & ~BIT_LOST;

	return !(s->mandatory & ~there) &&
	       (there & BIT(DNS_SVCB_ALPN) || !(there & BIT(DNS_SVCB_NO_DEFAULT_ALPN)));
}

static bool is_h3(const uint8_t *id, size_t len)
{
	return len >= 2 && id[0] == 'h' && id[1] == '3' && (len == 2 || id[2] == '-');
}

void dns_svcb_no_quic(struct dns_svcb *s)
{
	uint8_t kept = 0;

	for (size_t at = 0, size; at < s->alpn_len; at += size) {
		size = 1u + s->alpn[at];
		if (is_h3(s->alpn + at + 1, size - 1))
			continue;
		memmove(s->alpn + kept, s->alpn + at, size);
		kept = (uint8_t)(kept + size);
	}
	s->alpn_len = kept;
	if (!kept)
		s->keys &= (uint8_t)~BIT(DNS_SVCB_ALPN);
}

static void put_mandatory(struct dns_out *o, unsigned mandatory)
{
	unsigned n = (unsigned)__builtin_popcount(mandatory);

	if (!n)
		return;
	dns_put_be16(o, DNS_SVCB_MANDATORY);
	dns_put_be16(o, (uint16_t)(2 * n));
	for (uint16_t key = 1; key <= DNS_SVCB_IPV6HINT; key++)
		if (mandatory & BIT(key))
			dns_put_be16(o, key);
}

static void put_hints(struct dns_out *o, const struct dns_svcb *s, int family)
{
	size_t n = 0, size = family == 4 ? 4 : 16;

	for (unsigned i = 0; i < s->n_hints; i++)
		n += s->hints[i].family == family;
	if (!n)
		return;
	dns_put_be16(o, family == 4 ? DNS_SVCB_IPV4HINT : DNS_SVCB_IPV6HINT);
	dns_put_be16(o, (uint16_t)(n * size));
	for (unsigned i = 0; i < s->n_hints; i++)
		if (s->hints[i].family == family)
			dns_put(o, s->hints[i].b, size);
}

void dns_svcb_put(struct dns_out *o, const struct dns_svcb *s, const struct dns_wname *asked)
{
	struct dns_wname target = { .len = 1 }; /* the owner's name */

	if (s->of_host && !dns_wname_host(asked, &target))
		assert(!"read so, with this name");
	dns_put_be16(o, s->priority);
	dns_put(o, target.b, target.len);
	put_mandatory(o, s->mandatory);
	if (s->keys & BIT(DNS_SVCB_ALPN)) {
		dns_put_be16(o, DNS_SVCB_ALPN);
		dns_put_be16(o, s->alpn_len);
		dns_put(o, s->alpn, s->alpn_len);
	}
	if (s->keys & BIT(DNS_SVCB_NO_DEFAULT_ALPN)) {
		dns_put_be16(o, DNS_SVCB_NO_DEFAULT_ALPN);
		dns_put_be16(o, 0);
	}
	if (s->keys & BIT(DNS_SVCB_PORT)) {
		dns_put_be16(o, DNS_SVCB_PORT);
		dns_put_be16(o, 2);
		dns_put_be16(o, s->port);
	}
	put_hints(o, s, 4);
	put_hints(o, s, 6);
}
