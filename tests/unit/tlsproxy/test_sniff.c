/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First bytes: hellos made by OpenSSL and by hand, cut at every byte and across
 * records, and everything that only looks like one. Whatever the input, the
 * first decision over growing prefixes is the decision over the whole.
 */
#include "tlsproxy/tlsproxy.h"

#include <setjmp.h>
#include <stdio.h>
#include <openssl/ssl.h>
#include <cmocka.h>

static struct tlsproxy_sniff sniff(const void *p, size_t n, bool eof)
{
	struct tlsproxy_sniff s;

	memset(&s, 0xa5, sizeof(s));
	tlsproxy_sniff(p, n, eof, &s);
	return s;
}

/* Feed one byte more each time; returns the first decision and where it fell. */
static struct tlsproxy_sniff sniff_slowly(const uint8_t *p, size_t n, size_t *ret_at)
{
	struct tlsproxy_sniff s = { 0 }, whole = sniff(p, n, false);
	size_t i;

	for (i = 0; i <= n; i++) {
		s = sniff(p, i, false);
		if (s.kind != TLSPROXY_SNIFF_MORE)
			break;
	}
	assert_int_equal(s.kind, whole.kind);
	assert_int_equal(s.has_sni, whole.has_sni);
	assert_string_equal(s.sni.s, whole.sni.s);
	assert_string_equal(s.alpn, whole.alpn);
	*ret_at = i;
	return s;
}

#define LONG_ALPN                                                                                  \
	"\x46"                                                                                     \
	"0123456789012345678901234567890123456789012345678901234567890123456789"

static size_t make_hello(const char *sni, const char *alpn, size_t alpn_len, int max_version,
			 uint8_t *out, size_t size)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *wire = BIO_new(BIO_s_mem());
	int n;

	SSL_set_bio(ssl, in, wire);
	SSL_set_connect_state(ssl);
	SSL_set_max_proto_version(ssl, max_version);
	if (sni)
		SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
			 (void *)(uintptr_t)sni);
	if (alpn)
		SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)alpn_len);
	assert_int_equal(SSL_do_handshake(ssl), -1);
	n = BIO_read(wire, out, (int)size);
	assert_true(n > 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return (size_t)n;
}

/* Cut the one record in p into records of at most step payload bytes. */
static size_t recut(const uint8_t *p, size_t n, size_t step, uint8_t *out)
{
	size_t at = 0;

	for (size_t i = 5; i < n; i += step) {
		size_t take = MIN(step, n - i);

		memcpy(out + at, (const uint8_t[]){ 22, 3, 1 }, 3);
		put_be16(out + at + 3, (uint16_t)take);
		memcpy(out + at + 5, p + i, take);
		at += 5 + take;
	}
	return at;
}

static void test_openssl_hellos(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	static uint8_t hello[4096], cut[4096 * 6];
	struct tlsproxy_sniff s;
	size_t n, m, at;

	(void)state;
	for (size_t v = 0; v < ARRAY_SIZE(versions); v++) {
		n = make_hello("Api.Example.COM", "\x02h2\x08http/1.1", 12, versions[v], hello,
			       sizeof(hello));
		s = sniff_slowly(hello, n, &at);
		assert_int_equal(at, n);
		assert_int_equal(s.kind, TLSPROXY_SNIFF_TLS);
		assert_true(s.has_sni);
		assert_string_equal(s.sni.s, "api.example.com");
		assert_string_equal(s.alpn, "h2,http/1.1");
		assert_true(s.has_alpn && s.offers_h2 && s.offers_http1);
		assert_false(s.has_ech);
		assert_false(s.sni_invalid);
		for (size_t step = 1; step < n; step += step < 8 ? 1 : 31) {
			m = recut(hello, n, step, cut);
			s = sniff_slowly(cut, m, &at);
			assert_int_equal(at, m);
			assert_int_equal(s.kind, TLSPROXY_SNIFF_TLS);
			assert_string_equal(s.sni.s, "api.example.com");
		}
		/* What follows the hello (early data) is not looked at. */
		memcpy(cut, hello, n);
		memset(cut + n, 0x17, 50);
		assert_int_equal(sniff(cut, n + 50, false).kind, TLSPROXY_SNIFF_TLS);
		/* Cut off anywhere, it is no ClientHello. */
		for (size_t i = 2; i < n; i++)
			assert_int_equal(sniff(hello, i, true).kind, TLSPROXY_SNIFF_BAD_TLS);
		n = make_hello(NULL, NULL, 0, versions[v], hello, sizeof(hello));
		s = sniff(hello, n, false);
		assert_int_equal(s.kind, TLSPROXY_SNIFF_TLS);
		assert_false(s.has_sni || s.sni_invalid);
		assert_string_equal(s.alpn, "");
		assert_false(s.has_alpn || s.offers_h2 || s.offers_http1);
		/* Behind more than the text has room for; and what only looks alike. */
		n = make_hello(NULL, LONG_ALPN "\x02h2", sizeof(LONG_ALPN) + 2, versions[v], hello,
			       sizeof(hello));
		s = sniff(hello, n, false);
		assert_true(s.has_alpn && s.offers_h2 && !s.offers_http1);
		n = make_hello(NULL, "\x03h2c\x02H2", 7, versions[v], hello, sizeof(hello));
		s = sniff(hello, n, false);
		assert_true(s.has_alpn && !s.offers_h2 && !s.offers_http1);
	}
	assert_int_equal(sniff("\x16", 1, true).kind, TLSPROXY_SNIFF_OTHER);
}

/* ---- hand-made hellos ----------------------------------------------------- */

/* A minimal hello around the given extension block (NULL: none at all). */
static size_t wrap_hello(const char *ext, size_t ext_len, uint8_t *out)
{
	size_t body = 2 + 32 + 1 + 2 + 2 + 2 + (ext ? 2 + ext_len : 0), at;

	memset(out, 0, 9 + body);
	memcpy(out, "\x16\x03\x01", 3);
	put_be16(out + 3, (uint16_t)(4 + body));
	out[5] = 1;
	put_be16(out + 7, (uint16_t)body);
	memcpy(out + 9, "\x03\x03", 2);
	at = 9 + 2 + 32 + 1;
	memcpy(out + at, "\x00\x02\x13\x01\x01\x00", 6);
	at += 6;
	if (ext) {
		put_be16(out + at, (uint16_t)ext_len);
		memcpy(out + at + 2, ext, ext_len);
	}
	return 9 + body;
}

struct ext_case {
	const char *what, *ext;
	size_t len;
	enum tlsproxy_sniff_kind kind;
	bool has_sni, sni_invalid, has_ech;
	const char *alpn;
};
#define EXT(s) s, sizeof(s) - 1

static const struct ext_case ext_cases[] = {
	{ "empty block", EXT(""), TLSPROXY_SNIFF_TLS, 0, 0, 0, "" },
	{ "a name",
	  EXT("\0\0\0\x08\0\x06\0\0\x03"
	      "a.b"),
	  TLSPROXY_SNIFF_TLS, 1, 0, 0, "" },
	{ "name with NUL",
	  EXT("\0\0\0\x08\0\x06\0\0\x03"
	      "a\0b"),
	  TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "an address",
	  EXT("\0\0\0\x0c\0\x0a\0\0\x07"
	      "1.2.3.4"),
	  TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "an IPv6 address",
	  EXT("\0\0\0\x08\0\x06\0\0\x03"
	      "::1"),
	  TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "empty name", EXT("\0\0\0\x05\0\x03\0\0\0"), TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "two names",
	  EXT("\0\0\0\x0e\0\x0c\0\0\x03"
	      "a.b\0\0\x03"
	      "c.d"),
	  TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "other name type",
	  EXT("\0\0\0\x08\0\x06\x01\0\x03"
	      "a.b"),
	  TLSPROXY_SNIFF_TLS, 0, 1, 0, "" },
	{ "empty SNI extension", EXT("\0\0\0\0"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "empty SNI list", EXT("\0\0\0\x02\0\0"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "SNI list too short",
	  EXT("\0\0\0\x08\0\x05\0\0\x03"
	      "a.b"),
	  TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "SNI name too long",
	  EXT("\0\0\0\x08\0\x06\0\0\x04"
	      "a.b"),
	  TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "SNI twice",
	  EXT("\0\0\0\x08\0\x06\0\0\x03"
	      "a.b\0\0\0\x08\0\x06\0\0\x03"
	      "c.d"),
	  TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "unknown extension twice", EXT("\x12\x34\0\0\x12\x34\0\0"), TLSPROXY_SNIFF_BAD_TLS, 0, 0,
	  0, "" },
	{ "extension beyond the block", EXT("\x12\x34\0\x01"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "half an extension header", EXT("\x12\x34\0"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "ECH", EXT("\xfe\x0d\0\x01\x01"), TLSPROXY_SNIFF_TLS, 0, 0, 1, "" },
	{ "ALPN", EXT("\0\x10\0\x08\0\x06\x02h2\x02\x0a,"), TLSPROXY_SNIFF_TLS, 0, 0, 0, "h2,??" },
	{ "ALPN empty protocol", EXT("\0\x10\0\x03\0\x01\0"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0, "" },
	{ "ALPN trailing byte", EXT("\0\x10\0\x06\0\x03\x02h2x"), TLSPROXY_SNIFF_BAD_TLS, 0, 0, 0,
	  "" },
};

static void test_extensions(void **state)
{
	uint8_t hello[512];
	size_t at;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ext_cases); i++) {
		const struct ext_case *c = &ext_cases[i];
		size_t n = wrap_hello(c->ext, c->len, hello);
		struct tlsproxy_sniff s = sniff_slowly(hello, n, &at);

		if (s.kind != c->kind || s.has_sni != c->has_sni || s.sni_invalid != c->sni_invalid ||
		    s.has_ech != c->has_ech || strcmp(s.alpn, c->alpn) != 0)
			fail_msg("%s: kind %d sni %d invalid %d ech %d alpn \"%s\"", c->what,
				 s.kind, s.has_sni, s.sni_invalid, s.has_ech, s.alpn);
	}
	assert_int_equal(sniff(hello, wrap_hello(NULL, 0, hello), false).kind, TLSPROXY_SNIFF_TLS);
}

/* One byte of a good hello changed at a time. */
static void test_hello_fields(void **state)
{
	static const struct {
		const char *what;
		size_t at;
		uint8_t value;
		enum tlsproxy_sniff_kind kind;
	} t[] = {
		{ "record version 3.x", 2, 0x7f, TLSPROXY_SNIFF_TLS },
		{ "record version 2", 1, 2, TLSPROXY_SNIFF_OTHER },
		{ "application data first", 0, 23, TLSPROXY_SNIFF_BAD_TLS },
		{ "record type", 0, 19, TLSPROXY_SNIFF_OTHER },
		{ "SSLv2", 0, 0x80, TLSPROXY_SNIFF_OTHER },
		{ "ServerHello", 5, 2, TLSPROXY_SNIFF_BAD_TLS },
		{ "message of 8 MiB", 6, 0x80, TLSPROXY_SNIFF_BAD_TLS },
		{ "message shorter than its record", 8, 40, TLSPROXY_SNIFF_BAD_TLS },
		{ "record of 64 KiB", 3, 0xff, TLSPROXY_SNIFF_BAD_TLS },
		{ "client version 2", 9, 2, TLSPROXY_SNIFF_BAD_TLS },
		{ "session id of 33", 43, 33, TLSPROXY_SNIFF_BAD_TLS },
		{ "odd cipher list", 45, 3, TLSPROXY_SNIFF_BAD_TLS },
		{ "no ciphers", 45, 0, TLSPROXY_SNIFF_BAD_TLS },
		{ "no compression methods", 48, 0, TLSPROXY_SNIFF_BAD_TLS },
		{ "bytes after the extensions", 51, 0, TLSPROXY_SNIFF_BAD_TLS },
	};
	uint8_t hello[512];
	size_t n, at;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		n = wrap_hello(EXT("\x12\x34\0\0"), hello);
		assert_int_equal(sniff(hello, n, false).kind, TLSPROXY_SNIFF_TLS);
		hello[t[i].at] = t[i].value;
		if (sniff_slowly(hello, n, &at).kind != t[i].kind)
			fail_msg("%s: %d", t[i].what, sniff(hello, n, false).kind);
	}
	/* An empty record, and another record type in the middle. */
	assert_int_equal(sniff("\x16\x03\x01\0\0", 5, false).kind, TLSPROXY_SNIFF_BAD_TLS);
	assert_int_equal(sniff("\x16\x03\x01\0\x01\x01\x17", 7, false).kind, TLSPROXY_SNIFF_BAD_TLS);
	/* A warning that a server may skip: what follows it would go unread. */
	assert_int_equal(sniff("\x15", 1, false).kind, TLSPROXY_SNIFF_MORE);
	assert_int_equal(sniff("\x15\x03\x01\0\x02\x01\x64\x16", 8, false).kind,
			 TLSPROXY_SNIFF_BAD_TLS);
}

/* A hello that never ends is given up, however thinly it is spread. (weak-1) */
static void test_bounds(void **state)
{
	static uint8_t p[200000];
	size_t at = 0, decided;

	(void)state;
	for (size_t i = 0; at + 6 < sizeof(p); i++) {
		memcpy(p + at, "\x16\x03\x01\0\x01", 5);
		p[at + 5] = i == 0 ? 1 : i == 2 ? 0x3f : 0;
		at += 6;
	}
	for (decided = 0; decided < at; decided += 997)
		if (sniff(p, decided, false).kind != TLSPROXY_SNIFF_MORE)
			break;
	assert_in_range(decided, 30000, 40000);
	assert_int_equal(sniff(p, at, false).kind, TLSPROXY_SNIFF_BAD_TLS);
}

static void test_text(void **state)
{
	static const struct {
		const char *text;
		enum tlsproxy_sniff_kind kind;
	} t[] = {
		{ "GET / HTTP/1.1\r\n", TLSPROXY_SNIFF_HTTP },
		{ "\r\n\r\nGET /", TLSPROXY_SNIFF_HTTP },
		{ "\r\n\r\n\r\n\r\n\r\nGET /", TLSPROXY_SNIFF_HTTP },
		{ "\rGET /", TLSPROXY_SNIFF_HTTP },
		{ "\nGET /", TLSPROXY_SNIFF_HTTP },
		{ "\n", TLSPROXY_SNIFF_MORE },
		{ "OPTIONS * HTTP/1.1", TLSPROXY_SNIFF_HTTP },
		{ "M-SEARCH * HTTP/1.1", TLSPROXY_SNIFF_HTTP },
		{ "GET http://a.b/ HTTP/1.1", TLSPROXY_SNIFF_HTTP },
		{ "GET HTTPS://a.b/ HTTP/1.1", TLSPROXY_SNIFF_HTTP },
		{ "CONNECT a.b:443 HTTP/1.1", TLSPROXY_SNIFF_HTTP },
		{ "CONNECT \x01", TLSPROXY_SNIFF_OTHER },
		{ "GET", TLSPROXY_SNIFF_MORE },
		{ "GET ", TLSPROXY_SNIFF_MORE },
		{ "GET htt", TLSPROXY_SNIFF_MORE },
		{ "GET httq", TLSPROXY_SNIFF_OTHER },
		{ "GET  /", TLSPROXY_SNIFF_HTTP },
		{ " GET /", TLSPROXY_SNIFF_OTHER },
		{ "GET\t/", TLSPROXY_SNIFF_HTTP },
		{ "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", TLSPROXY_SNIFF_OTHER },
		{ "EHLO there", TLSPROXY_SNIFF_OTHER },
		{ "REGISTER sip:a.b SIP/2.0", TLSPROXY_SNIFF_OTHER },
		{ "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /", TLSPROXY_SNIFF_HTTP },
		{ "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /", TLSPROXY_SNIFF_HTTP },
		/* The cookie that iperf3 begins with. */
		{ "xj3k5odq2n6v7w4yab2c3d4e5f6g7h2i3j4k", TLSPROXY_SNIFF_OTHER },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", TLSPROXY_SNIFF_H2C },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", TLSPROXY_SNIFF_H2C },
		{ "PRI * HTTP/2.0\r\n\r\nSM", TLSPROXY_SNIFF_MORE },
		{ "PRI * HTTP/1.1\r\n", TLSPROXY_SNIFF_HTTP },
		{ "\x80\x2e\x01\x03\x01", TLSPROXY_SNIFF_OTHER },
		{ "", TLSPROXY_SNIFF_MORE },
	};
	size_t at;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct tlsproxy_sniff s =
			sniff_slowly((const uint8_t *)t[i].text, strlen(t[i].text), &at);

		if (s.kind != t[i].kind)
			fail_msg("\"%s\": %d, not %d", t[i].text, s.kind, t[i].kind);
		if (s.kind == TLSPROXY_SNIFF_MORE)
			assert_int_equal(sniff(t[i].text, strlen(t[i].text), true).kind,
					 TLSPROXY_SNIFF_OTHER);
	}
	assert_int_equal(sniff("GET\0/", 5, false).kind, TLSPROXY_SNIFF_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openssl_hellos), cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_hello_fields),   cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
