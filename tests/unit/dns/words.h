/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a scenario to values and back; a word that means nothing fails the test at its line. */
#ifndef WEIR_TEST_DNS_WORDS_H
#define WEIR_TEST_DNS_WORDS_H

#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static const char *at_file;
static int at_line;

#define die(...)                                                                                   \
	do {                                                                                       \
		print_error("%s:%d: ", at_file, at_line);                                          \
		print_error(__VA_ARGS__);                                                          \
		print_error("\n");                                                                 \
		fail();                                                                            \
	} while (0)

static const struct {
	const char *s;
	uint16_t v;
} types[] = { { "A", 1 },	   { "CNAME", 5 }, { "SOA", 6 },    { "NULL", 10 },
	      { "PTR", 12 },	   { "MX", 15 },   { "TXT", 16 },   { "AAAA", 28 },
	      { "SRV", 33 },	   { "OPT", 41 },  { "SVCB", 64 },  { "HTTPS", 65 },
	      { "AXFR", 252 },	   { "ANY", 255 }, { "HINFO", 13 }, { "DNSKEY", 48 },
	      { "TYPE1000", 1000 } },
  rcodes[] = { { "NOERROR", 0 }, { "FORMERR", 1 }, { "SERVFAIL", 2 }, { "NXDOMAIN", 3 },
	       { "NOTIMP", 4 },	 { "REFUSED", 5 }, { "BADVERS", 16 } };

static inline uint16_t type_of(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(types[i].s, s))
			return types[i].v;
	die("unknown type %s", s);
	return 0;
}

static inline const char *type_text(uint16_t v)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].v == v)
			return types[i].s;
	return "?";
}

static inline uint16_t rcode_of(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(rcodes); i++)
		if (str_eq(rcodes[i].s, s))
			return rcodes[i].v;
	die("unknown rcode %s", s);
	return 0;
}

static inline const char *rcode_text(unsigned v)
{
	for (size_t i = 0; i < ARRAY_SIZE(rcodes); i++)
		if (rcodes[i].v == v)
			return rcodes[i].s;
	return "?";
}

static inline struct name name_of(const char *s)
{
	struct name n;
	const char *why;

	if (name_parse(s, strlen(s), &n, &why) < 0)
		die("%s: %s", s, why);
	return n;
}

static inline struct ip_addr addr_of(const char *s)
{
	struct ip_addr a;
	const char *why;

	if (ip_parse(s, strlen(s), &a, &why) < 0)
		die("%s: %s", s, why);
	return a;
}

static inline struct ip_prefix prefix_of(const char *s)
{
	struct ip_prefix p = { 0 };
	const char *why;

	if (!str_eq(s, "none") && ip_prefix_parse(s, strlen(s), &p, &why) < 0)
		die("%s: %s", s, why);
	return p;
}

static inline unsigned long number_of(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 0);

	if (end == s)
		die("not a number: %s", s);
	return v;
}

static inline size_t hex_of(const char *s, uint8_t *out, size_t size)
{
	size_t n = 0;

	for (; s[0] && s[1]; s += 2) {
		char b[3] = { s[0], s[1], 0 }, *end;

		if (n == size)
			die("too much hex");
		out[n++] = (uint8_t)strtoul(b, &end, 16);
		if (*end)
			die("not hex: %s", b);
	}
	return n;
}

/* NAME with \DDD escapes to wire form. */
static inline void put_name(struct dns_out *o, const char *s)
{
	uint8_t label[64];
	uint8_t n = 0;

	if (str_eq(s, "."))
		s = "";
	for (; *s; s++) {
		if (*s == '.') {
			dns_put_u8(o, n);
			dns_put(o, label, n);
			n = 0;
			continue;
		}
		if (*s == '\\') {
			char b[4] = { s[1], s[2], s[3], 0 };

			label[n++] = (uint8_t)strtoul(b, NULL, 10);
			s += 3;
		} else {
			label[n++] = (uint8_t)*s;
		}
	}
	if (n) {
		dns_put_u8(o, n);
		dns_put(o, label, n);
	}
	dns_put_u8(o, 0);
}

/* "A+B+C" one part at a time; NULL at the end. */
static inline char *next_part(char **at, const char *seps)
{
	char *p = *at;

	if (!p)
		return NULL;
	*at = p + strcspn(p, seps);
	if (**at)
		*(*at)++ = '\0';
	else
		*at = NULL;
	return p;
}

/* ---- records that are not addresses: FIELD/FIELD/... ------------------------ */

/*
 * A parameter of a service record: alpn=ID+ID port=N v4=A+A v6=A+A ech=HEX
 * mandatory=N+N no-default-alpn keyN=HEX, or any of them as hexN=HEX for a value as it is.
 */
static inline void put_param(struct dns_out *o, char *p)
{
	char *value = strchr(p, '='), *part;
	uint8_t b[1024];
	struct dns_out v = { .p = b, .cap = sizeof(b) };
	unsigned long key = 0;

	if (value)
		*value++ = '\0';
	if (str_eq(p, "mandatory")) {
		while ((part = next_part(&value, "+")))
			dns_put_be16(&v, (uint16_t)number_of(part));
	} else if (str_eq(p, "alpn")) {
		key = 1;
		while ((part = next_part(&value, "+"))) {
			dns_put_u8(&v, (uint8_t)strlen(part));
			dns_put(&v, part, strlen(part));
		}
	} else if (str_eq(p, "no-default-alpn")) {
		key = 2;
	} else if (str_eq(p, "port")) {
		key = 3;
		dns_put_be16(&v, (uint16_t)number_of(value));
	} else if (str_eq(p, "v4") || str_eq(p, "v6")) {
		key = p[1] == '4' ? 4 : 6;
		while ((part = next_part(&value, "+"))) {
			struct ip_addr a = addr_of(part);

			dns_put(&v, a.b, ip_size(&a));
		}
	} else if (str_eq(p, "ech") || str_starts(p, "key")) {
		key = str_eq(p, "ech") ? 5 : number_of(p + 3);
		v.len = hex_of(value, b, sizeof(b));
	} else {
		die("unknown parameter %s", p);
	}
	dns_put_be16(o, (uint16_t)key);
	dns_put_be16(o, (uint16_t)v.len);
	dns_put(o, b, v.len);
}

/* The rdata of "10/mail.example", "0/5/443/h.example", "one/two" or "1/./alpn=h2/port=8443". */
static inline void put_data(struct dns_out *o, uint16_t type, const char *word)
{
	char copy[4096], *at = copy, *part;
	unsigned numbers = type == DNS_TYPE_MX ? 1 : type == DNS_TYPE_SRV ? 3 : 1;

	snprintf(copy, sizeof(copy), "%s", word);
	if (type == DNS_TYPE_TXT) {
		while ((part = next_part(&at, "/"))) {
			dns_put_u8(o, (uint8_t)strlen(part));
			dns_put(o, part, strlen(part));
		}
		return;
	}
	while (numbers-- && (part = next_part(&at, "/")))
		dns_put_be16(o, (uint16_t)number_of(part));
	part = next_part(&at, "/");
	put_name(o, part ? part : ".");
	while ((part = next_part(&at, "/")))
		put_param(o, part);
}

static inline void param_text(uint16_t key, const uint8_t *p, size_t len, char *out, size_t size)
{
	static const char *const names[] = { "mandatory", "alpn", "no-default-alpn", "port", "v4",
					     "ech",	  "v6" };
	size_t n = strlen(out), step = key == 4 ? 4 : key == 6 ? 16 : 2;
	char s[IP_STRLEN];

	if (key >= ARRAY_SIZE(names))
		die("parameter %u in a reply", key);
	n += (size_t)snprintf(out + n, size - n, "/%s%s", names[key], len ? "=" : "");
	for (size_t at = 0; at < len; at += step) {
		const char *sep = at ? "+" : "";

		if (key == 1) {
			step = 1u + p[at];
			n += (size_t)snprintf(out + n, size - n, "%s%.*s", sep, p[at], p + at + 1);
		} else if (key == 4 || key == 6) {
			struct ip_addr a = ip_from_be(key == 4 ? 4 : 6, p + at);

			n += (size_t)snprintf(out + n, size - n, "%s%s", sep, ip_format(&a, s));
		} else {
			n += (size_t)snprintf(out + n, size - n, "%s%u", sep, get_be16(p + at));
		}
	}
}

/* The same words back, read by a reader of its own. */
static inline void data_text(const uint8_t *msg, const struct dns_rr *rr, char *out, size_t size)
{
	struct dns_msg m = { .p = msg, .len = rr->rdata + rr->rdlen, .at = rr->rdata };
	unsigned numbers = rr->type == DNS_TYPE_MX	   ? 1
			   : rr->type == DNS_TYPE_SRV	   ? 3
			   : dns_type_is_service(rr->type) ? 1
							   : 0;
	struct dns_wname w;
	size_t n = 0;

	if (rr->type == DNS_TYPE_TXT || rr->type == DNS_TYPE_HINFO) {
		for (; m.at < m.len; m.at += 1u + msg[m.at])
			n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? "/" : "", msg[m.at],
					      msg + m.at + 1);
		return;
	}
	for (; numbers--; m.at += 2)
		n += (size_t)snprintf(out + n, size - n, "%u/", get_be16(msg + m.at));
	if (!dns_name_read(&m, false, &w))
		die("a compressed or malformed name in a reply");
	if (w.len == 1)
		n += (size_t)snprintf(out + n, size - n, ".");
	for (size_t at = 0; w.b[at]; at += 1u + w.b[at])
		n += (size_t)snprintf(out + n, size - n, "%s%.*s", at ? "." : "", w.b[at],
				      w.b + at + 1);
	while (dns_type_is_service(rr->type) && m.at < m.len) {
		param_text(get_be16(msg + m.at), msg + m.at + 4, get_be16(msg + m.at + 2), out, size);
		m.at += 4u + get_be16(msg + m.at + 2);
	}
	if (m.at != m.len)
		die("bytes behind the rdata of a reply");
}

#endif
