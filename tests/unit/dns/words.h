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
} types[] = { { "A", 1 },     { "CNAME", 5 },  { "SOA", 6 },	{ "NULL", 10 }, { "PTR", 12 },
	      { "MX", 15 },   { "TXT", 16 },   { "AAAA", 28 },	{ "SRV", 33 },	{ "OPT", 41 },
	      { "SVCB", 64 }, { "HTTPS", 65 }, { "AXFR", 252 }, { "ANY", 255 } },
  rcodes[] = { { "NOERROR", 0 }, { "FORMERR", 1 }, { "SERVFAIL", 2 }, { "NXDOMAIN", 3 },
	       { "NOTIMP", 4 },	 { "REFUSED", 5 }, { "BADVERS", 16 } };

static uint16_t type_of(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(types[i].s, s))
			return types[i].v;
	die("unknown type %s", s);
	return 0;
}

static const char *type_text(uint16_t v)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].v == v)
			return types[i].s;
	return "?";
}

static uint16_t rcode_of(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(rcodes); i++)
		if (str_eq(rcodes[i].s, s))
			return rcodes[i].v;
	die("unknown rcode %s", s);
	return 0;
}

static const char *rcode_text(unsigned v)
{
	for (size_t i = 0; i < ARRAY_SIZE(rcodes); i++)
		if (rcodes[i].v == v)
			return rcodes[i].s;
	return "?";
}

static struct name name_of(const char *s)
{
	struct name n;
	const char *why;

	if (name_parse(s, strlen(s), &n, &why) < 0)
		die("%s: %s", s, why);
	return n;
}

static struct ip_addr addr_of(const char *s)
{
	struct ip_addr a;
	const char *why;

	if (ip_parse(s, strlen(s), &a, &why) < 0)
		die("%s: %s", s, why);
	return a;
}

static struct ip_prefix prefix_of(const char *s)
{
	struct ip_prefix p = { 0 };
	const char *why;

	if (!str_eq(s, "none") && ip_prefix_parse(s, strlen(s), &p, &why) < 0)
		die("%s: %s", s, why);
	return p;
}

static unsigned long number_of(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 0);

	if (end == s)
		die("not a number: %s", s);
	return v;
}

static size_t hex_of(const char *s, uint8_t *out, size_t size)
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
static void put_name(struct dns_out *o, const char *s)
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

#endif
