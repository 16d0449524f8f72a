/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there a DNS query in this request? DNS over HTTPS would go around the
 * resolver that judges every name.
 *
 *   media types   application/dns-message (RFC 8484), its oblivious form (RFC 9230),
 *                 the JSON ones and the drafts', as Content-Type or in Accept
 *   ?dns=         base64url of what is a DNS query down to its question
 *   POST          to /dns-query (RFC 8484 4.1.1), whatever the body is said to be
 *   JSON          /resolve?name=N&type=T, /dns-query?name=N (Google, Cloudflare)
 *
 * A client and a server of one mind can hide a query in any request whatever; this
 * finds those of clients as they are. What is found is refused, so it must not
 * be found where it is not: ?dns=1.1.1.1 and /resolve?name=x are anybody's.
 * All text is the guest's; nothing is kept beyond the fixed buffers here.
 */
#include "tlsproxy/http_internal.h"

enum {
	/* Header, the longest name, type and class: more of a message is not looked at. */
	MESSAGE_MAX = 12 + 255 + 4,
	BASE64_MAX = (MESSAGE_MAX + 2) / 3 * 4,
	KEY_MAX = 8,
	SEGMENT_MAX = 16,
	TYPE_MAX = 12,
	DNS_QR_AND_OPCODE = 0xf800,
	DNS_LABEL_MAX = 63,
	DNS_NAME_MAX = 255,
	DNS_ADDITIONAL_MAX = 2, /* OPT, and a signature */
};

/* ---- media types ------------------------------------------------------------------ */

static bool is_doh_type(struct http_text t)
{
	static const char *const types[] = {
		"application/dns-message",
		"application/dns-json",
		"application/dns+json",
		"application/dns-udpwireformat",
		"application/oblivious-dns-message",
	};
	const char *semicolon = memchr(t.s, ';', t.len);

	if (semicolon)
		t.len = (size_t)(semicolon - t.s);
	while (t.len && (t.s[0] == ' ' || t.s[0] == '\t')) {
		t.s++;
		t.len--;
	}
	while (t.len && (t.s[t.len - 1] == ' ' || t.s[t.len - 1] == '\t'))
		t.len--;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (http_text_ieq(t, types[i]))
			return true;
	return false;
}

/* Cuts off what stands before the next separator. */
static struct http_text next_of(struct http_text *rest, const char *separators)
{
	struct http_text t = { rest->s, 0 };

	while (t.len < rest->len && !strchr(separators, rest->s[t.len]))
		t.len++;
	rest->s += MIN(t.len + 1, rest->len);
	rest->len -= MIN(t.len + 1, rest->len);
	return t;
}

/* In any field of that name, lists or not: a server may read either. */
static bool names_doh_type(const struct http_head *h, const char *field)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		struct http_text list = h->fields[i].value;

		if (!http_text_ieq(h->fields[i].name, field))
			continue;
		while (list.len)
			if (is_doh_type(next_of(&list, ",")))
				return true;
	}
	return false;
}

/* ---- text of a target --------------------------------------------------------------- */

/* Percent-decoded, as a string; what does not fit is cut off. */
static void decode(struct http_text t, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len && n + 1 < size; i++) {
		int hi = -1, lo = -1;

		if (t.s[i] == '%' && t.len - i > 2) {
			hi = str_hex_digit(t.s[i + 1]);
			lo = str_hex_digit(t.s[i + 2]);
		}
		if (hi >= 0 && lo >= 0) {
			out[n++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			out[n++] = t.s[i];
		}
	}
	out[n] = 0;
}

/* Servers hand out matrix parameters and the rest of the path apart. */
static bool has_segment(struct http_text path, const char *name)
{
	char text[SEGMENT_MAX];

	while (path.len) {
		struct http_text segment = next_of(&path, "/");

		decode(next_of(&segment, ";"), text, sizeof(text));
		if (str_eq(text, name))
			return true;
	}
	return false;
}

/* ---- a message in the query ------------------------------------------------------------ */

/* Both alphabets, with or without padding, as lenient servers take them. */
static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

/* How many bytes; 0 when it is no base64. */
static size_t unbase64(const char *s, uint8_t out[static MESSAGE_MAX + 3])
{
	uint32_t bits = 0;
	size_t n = 0, digits = 0;

	for (; *s && *s != '=' && n < MESSAGE_MAX; s++) {
		int d = base64_digit(*s);

		if (d < 0)
			return 0;
		bits = bits << 6 | (uint32_t)d;
		if (++digits % 4 != 1)
			out[n++] = (uint8_t)(bits >> (6 - 2 * ((digits - 1) % 4)));
	}
	return n;
}

/* A query as a server would take it, down to the class of its one question. */
static bool is_query(const uint8_t *p, size_t len)
{
	uint16_t id, flags, n_questions, n_answers, n_authority, n_additional, qtype, qclass;
	struct rd r = rd_init(p, len);
	size_t name = 0;
	uint8_t label;

	if (!rd_be16(&r, &id) || !rd_be16(&r, &flags) || !rd_be16(&r, &n_questions) ||
	    !rd_be16(&r, &n_answers) || !rd_be16(&r, &n_authority) || !rd_be16(&r, &n_additional))
		return false;
	if ((flags & DNS_QR_AND_OPCODE) || n_questions != 1 || n_answers || n_authority ||
	    n_additional > DNS_ADDITIONAL_MAX)
		return false;
	do {
		if (!rd_u8(&r, &label) || label > DNS_LABEL_MAX || !rd_skip(&r, label))
			return false;
		name += 1u + label;
	} while (label && name < DNS_NAME_MAX);
	if (label || !rd_be16(&r, &qtype) || !rd_be16(&r, &qclass))
		return false;
	/* IN, CH, HS, ANY; the high bit is mDNS's. */
	qclass &= 0x7fff;
	return qtype && (qclass == 1 || qclass == 3 || qclass == 4 || qclass == 255);
}

static bool is_message(struct http_text value)
{
	uint8_t bytes[MESSAGE_MAX + 3];
	char text[BASE64_MAX + 1];

	decode(value, text, sizeof(text));
	return is_query(bytes, unbase64(text, bytes));
}

/* ---- the JSON form ---------------------------------------------------------------------- */

/* A number, or a mnemonic that people ask for; type=file is something else. */
static bool is_record_type(struct http_text value)
{
	static const char *const types[] = {
		"A",   "AAAA",	"ANY",	"CAA",	"CNAME", "DNSKEY", "DS",  "HTTPS",
		"MX",  "NAPTR", "NS",	"NULL", "PTR",	 "RRSIG",  "SOA", "SPF",
		"SRV", "SSHFP", "SVCB", "TLSA", "TXT",	 "URI",
	};
	char t[TYPE_MAX];
	size_t n;

	decode(value, t, sizeof(t));
	n = strspn(t, "0123456789");
	if (n)
		return n <= 5 && !t[n];
	/* RFC 3597 */
	if (str_ieq(t, MIN(strlen(t), (size_t)4), "type") && t[4])
		return strspn(t + 4, "0123456789") == strlen(t + 4);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_ieq(t, strlen(t), types[i]))
			return true;
	return false;
}

struct query {
	bool message, name, type;
};

static struct query read_query(struct http_text rest)
{
	struct query q = { 0 };
	char key[KEY_MAX];

	/* Some servers split at semicolons as well. */
	while (rest.len) {
		struct http_text value = next_of(&rest, "&;"), k = next_of(&value, "=");

		decode(k, key, sizeof(key));
		if (str_ieq(key, strlen(key), "dns"))
			q.message |= is_message(value);
		else if (str_ieq(key, strlen(key), "name"))
			q.name |= value.len > 0;
		else if (str_ieq(key, strlen(key), "type"))
			q.type |= is_record_type(value);
	}
	return q;
}

/* ---- answers ------------------------------------------------------------------------------ */

bool http_doh_request(const struct http_head *h)
{
	struct http_text query = h->target, path;
	struct query q;

	if (names_doh_type(h, "Content-Type") || names_doh_type(h, "Accept"))
		return true;
	path = next_of(&query, "?");
	q = read_query(query);
	/* Whatever type it is said to have: servers there take it for a message. */
	if (http_text_ieq(h->method, "POST") && has_segment(path, "dns-query"))
		return true;
	return q.message || (q.name && has_segment(path, "dns-query")) ||
	       (q.name && q.type && has_segment(path, "resolve"));
}

bool http_doh_response(const struct http_head *h)
{
	return names_doh_type(h, "Content-Type");
}
