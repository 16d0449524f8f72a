/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client's first bytes are. Every byte here is hostile.
 *
 * A pure function, strictly sequential: a decision taken after k bytes rests on
 * those k bytes alone, so the answer does not depend on how the bytes were cut
 * into segments, and a decision once given never changes as more arrive.
 *
 *   0x16 0x03 ..   TLS: handshake records are put together until one whole
 *                  ClientHello is there (RFC 8446 4.1.2, RFC 5246 7.4.1.2). It
 *                  has to end with its record, as the protocol demands.
 *                  Another kind of record before it is bad.
 *   [CRLF] token SP target   HTTP/1: decided as soon as the target begins the
 *                  way one begins (RFC 9112 3.2). A banner like
 *                  "SSH-2.0-x Debian" is a token and a space too, and is not HTTP.
 *   "PRI * HTTP/2.0..."      HTTP/2 without TLS (RFC 9113 3.4)
 *   anything else  neither; an SSLv2 hello (high bit set) is among it.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <strings.h>

enum {
	TLS_CHANGE_CIPHER_SPEC = 20,
	TLS_HANDSHAKE = 22,
	TLS_HEARTBEAT = 24,
	TLS_CLIENT_HELLO = 1,
	TLS_RECORD_HEADER = 5,
	TLS_RECORD_MAX = 16384,
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_ECH = 0xfe0d,
};

/* ---- ClientHello ------------------------------------------------------- */

/* A vector with a 16-bit length, as a cursor of its own. */
must_check static bool rd_vec16(struct rd *r, struct rd *ret)
{
	const uint8_t *p;
	uint16_t len;

	if (!rd_be16(r, &len) || !rd_bytes(r, len, &p))
		return false;
	*ret = rd_init(p, len);
	return true;
}

must_check static bool rd_vec8(struct rd *r, struct rd *ret)
{
	const uint8_t *p;
	uint8_t len;

	if (!rd_u8(r, &len) || !rd_bytes(r, len, &p))
		return false;
	*ret = rd_init(p, len);
	return true;
}

/*
 * RFC 6066 3. Lengths that contradict each other are no ClientHello; a list
 * that is not exactly one canonical host name is one, with sni_invalid.
 */
static bool read_server_name(struct rd ext, struct tlsproxy_sniff *s)
{
	struct rd list, name;
	size_t entries = 0;
	uint8_t type;

	if (!rd_vec16(&ext, &list) || rd_left(&ext) || !rd_left(&list))
		return false;
	while (rd_left(&list)) {
		if (!rd_u8(&list, &type) || !rd_vec16(&list, &name))
			return false;
		if (++entries > 1 || type != 0 ||
		    name_parse((const char *)name.p, rd_left(&name), &s->sni, NULL) < 0)
			s->sni_invalid = true;
	}
	s->has_sni = !s->sni_invalid;
	if (s->sni_invalid)
		s->sni = (struct name){ 0 };
	return true;
}

static bool rd_is(struct rd r, const char *text)
{
	return rd_left(&r) == strlen(text) && memcmp(r.p, text, strlen(text)) == 0;
}

/* RFC 7301 3.1, kept as text for the record: "h2,http/1.1". */
static bool read_alpn(struct rd ext, struct tlsproxy_sniff *s)
{
	size_t at = 0, max = sizeof(s->alpn) - 1;
	struct rd list, proto;
	uint8_t c;

	if (!rd_vec16(&ext, &list) || rd_left(&ext) || !rd_left(&list))
		return false;
	s->has_alpn = true;
	while (rd_left(&list)) {
		if (!rd_vec8(&list, &proto) || !rd_left(&proto))
			return false;
		s->offers_h2 |= rd_is(proto, "h2");
		s->offers_http1 |= rd_is(proto, "http/1.1");
		if (at && at < max)
			s->alpn[at++] = ',';
		while (rd_u8(&proto, &c))
			if (at < max)
				s->alpn[at++] = c > ' ' && c < 0x7f && c != ',' ? (char)c : '?';
	}
	s->alpn[at] = 0;
	return true;
}

static bool read_extensions(struct rd all, struct tlsproxy_sniff *s)
{
	uint8_t seen[65536 / 8] = { 0 };
	struct rd ext;
	uint16_t type;

	while (rd_left(&all)) {
		if (!rd_be16(&all, &type) || !rd_vec16(&all, &ext))
			return false;
		/* RFC 8446 4.2: at most once; of two, readers could take either. */
		if (seen[type / 8] & (1u << type % 8))
			return false;
		seen[type / 8] |= (uint8_t)(1u << type % 8);
		if (type == EXT_SERVER_NAME && !read_server_name(ext, s))
			return false;
		if (type == EXT_ALPN && !read_alpn(ext, s))
			return false;
		if (type == EXT_ECH)
			s->has_ech = true;
	}
	return true;
}

bool sniff_hello(const uint8_t *p, size_t len, struct tlsproxy_sniff *s)
{
	struct rd r = rd_init(p, len), session, ciphers, compressions, extensions;
	uint16_t version;

	if (!rd_be16(&r, &version) || version >> 8 != 3 || !rd_skip(&r, 32))
		return false;
	if (!rd_vec8(&r, &session) || rd_left(&session) > 32)
		return false;
	if (!rd_vec16(&r, &ciphers) || rd_left(&ciphers) < 2 || rd_left(&ciphers) % 2)
		return false;
	if (!rd_vec8(&r, &compressions) || !rd_left(&compressions))
		return false;
	/* TLS 1.0 to 1.2 may end here. */
	if (!rd_left(&r))
		return true;
	return rd_vec16(&r, &extensions) && !rd_left(&r) && read_extensions(extensions, s);
}

static void set_kind(struct tlsproxy_sniff *s, enum tlsproxy_sniff_kind kind)
{
	*s = (struct tlsproxy_sniff){ .kind = kind };
}

/* p[0] is a record's type, p[1] is 3; what is not a handshake is bad below. */
static void sniff_tls(const uint8_t *p, size_t len, struct tlsproxy_sniff *s)
{
	uint8_t msg[4 + TLSPROXY_HELLO_MAX];
	struct rd r = rd_init(p, len);
	size_t have = 0, want = 4;
	const uint8_t *head;

	for (size_t raw = 0; raw < TLSPROXY_HELLO_RAW_MAX;) {
		size_t n, take;

		if (rd_left(&r) && r.p[0] != TLS_HANDSHAKE)
			goto bad;
		if (rd_left(&r) > 1 && r.p[1] != 3)
			goto bad;
		if (!rd_bytes(&r, TLS_RECORD_HEADER, &head))
			return set_kind(s, TLSPROXY_SNIFF_MORE);
		n = get_be16(head + 3);
		if (n == 0 || n > TLS_RECORD_MAX)
			goto bad;
		raw += TLS_RECORD_HEADER + n;
		/* The message's own header first: it tells how much is wanted. */
		while (n && have < 4) {
			if (!rd_u8(&r, &msg[have]))
				return set_kind(s, TLSPROXY_SNIFF_MORE);
			have++;
			n--;
			if (have == 1 && msg[0] != TLS_CLIENT_HELLO)
				goto bad;
			if (have == 4)
				want = 4 + ((size_t)msg[1] << 16 | (size_t)msg[2] << 8 | msg[3]);
		}
		if (have < 4)
			continue;
		if (want > sizeof(msg) || n > want - have)
			goto bad;
		take = MIN(n, rd_left(&r));
		if (!rd_copy(&r, msg + have, take))
			goto bad;
		have += take;
		if (take < n)
			return set_kind(s, TLSPROXY_SNIFF_MORE);
		if (have == want) {
			set_kind(s, TLSPROXY_SNIFF_TLS);
			if (!sniff_hello(msg + 4, want - 4, s))
				goto bad;
			return;
		}
	}
bad:
	set_kind(s, TLSPROXY_SNIFF_BAD_TLS);
}

/* ---- HTTP ---------------------------------------------------------------- */

/* RFC 9110 5.6.2 */
static bool is_tchar(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* How far text is a beginning of what stands at p: the whole, or all that is there. */
static enum tlsproxy_sniff_kind match_text(struct rd r, const char *text,
					   enum tlsproxy_sniff_kind kind)
{
	size_t n = strlen(text), have = MIN(n, rd_left(&r));

	if (have && strncasecmp((const char *)r.p, text, have) != 0)
		return TLSPROXY_SNIFF_OTHER;
	return have == n ? kind : TLSPROXY_SNIFF_MORE;
}

/* RFC 9112 3.2: origin, asterisk, absolute, and for CONNECT authority form. */
static enum tlsproxy_sniff_kind sniff_target(struct rd r, bool connect)
{
	enum tlsproxy_sniff_kind kind;

	if (!rd_left(&r))
		return TLSPROXY_SNIFF_MORE;
	if (*r.p == '/' || *r.p == '*')
		return TLSPROXY_SNIFF_HTTP;
	if (connect)
		return *r.p > ' ' && *r.p < 0x7f ? TLSPROXY_SNIFF_HTTP : TLSPROXY_SNIFF_OTHER;
	kind = match_text(r, "http://", TLSPROXY_SNIFF_HTTP);
	return kind != TLSPROXY_SNIFF_OTHER ? kind : match_text(r, "https://", TLSPROXY_SNIFF_HTTP);
}

static enum tlsproxy_sniff_kind sniff_http(const uint8_t *p, size_t len)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct rd r = rd_init(p, len);
	const uint8_t *method;
	size_t n, same = 0;
	bool capital = true;
	uint8_t c;

	while (same < len && same < sizeof(preface) - 1 && p[same] == (uint8_t)preface[same])
		same++;
	if (same == sizeof(preface) - 1)
		return TLSPROXY_SNIFF_H2C;
	if (same == len)
		return TLSPROXY_SNIFF_MORE;
	/* Looser than any server: what one of them takes for a request goes to the filter. */
	for (n = 0; rd_left(&r) && (*r.p == '\r' || *r.p == '\n'); n++)
		if (n == TLSPROXY_SNIFF_EMPTY_LINES || !rd_skip(&r, 1))
			return TLSPROXY_SNIFF_HTTP;
	method = r.p;
	for (n = 0;; n++) {
		if (!rd_u8(&r, &c))
			return TLSPROXY_SNIFF_MORE;
		if (n && (c == ' ' || c == '\t'))
			break;
		if (!is_tchar(c))
			return TLSPROXY_SNIFF_OTHER;
		capital &= (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
		/* Servers read on for as long as it looks like a method; nobody's token does. */
		if (n == TLSPROXY_SNIFF_METHOD_MAX)
			return capital ? TLSPROXY_SNIFF_HTTP : TLSPROXY_SNIFF_OTHER;
	}
	while (rd_left(&r) && (*r.p == ' ' || *r.p == '\t'))
		r.p++;
	return sniff_target(r, n == 7 && memcmp(method, "CONNECT", 7) == 0);
}

/* Any record at all: some servers skip a warning alert and then take a hello. */
static bool is_tls_record(uint8_t type)
{
	return type >= TLS_CHANGE_CIPHER_SPEC && type <= TLS_HEARTBEAT;
}

void tlsproxy_sniff(const uint8_t *p, size_t len, bool eof, struct tlsproxy_sniff *ret)
{
	struct tlsproxy_sniff s = { 0 };

	if (len == 0 || (len == 1 && is_tls_record(p[0])))
		s.kind = TLSPROXY_SNIFF_MORE;
	else if (is_tls_record(p[0]) && p[1] == 3)
		sniff_tls(p, len, &s);
	else
		s.kind = sniff_http(p, len);
	if (eof && s.kind == TLSPROXY_SNIFF_MORE)
		s.kind = len > 1 && p[0] == TLS_HANDSHAKE ? TLSPROXY_SNIFF_BAD_TLS
							  : TLSPROXY_SNIFF_OTHER;
	*ret = s;
}
