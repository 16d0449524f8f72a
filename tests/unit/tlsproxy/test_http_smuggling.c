/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that two readers read in two ways, and their neighbours that are
 * fine. Each is fed whole, byte by byte and in random pieces: the status is
 * exactly this one, and of a refused request nothing reaches the upstream.
 */
#include "http_rig.h"

#include <setjmp.h>
#include <cmocka.h>

#define H "Host: api.example.com\r\n"
#define OK_BODY "hello"

/* status 0: forwarded, `up` is what the upstream must get (NULL: not compared). */
static const struct {
	const char *name;
	unsigned status;
	const char *in;
	size_t len;
	const char *up;
} cases[] = {
#define C(name, status, in, up)                                                                    \
	{                                                                                          \
		name, status, in, sizeof(in) - 1, up                                               \
	}
	/* fine */
	C("plain", 0, "GET / HTTP/1.1\r\n" H "\r\n", "GET / HTTP/1.1\r\n" H "\r\n"),
	C("leading CRLF", 0, "\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET / HTTP/1.1\r\n" H "\r\n"),
	C("absolute form", 0, "GET https://api.example.com/a?b HTTP/1.1\r\n" H "\r\n",
	  "GET /a?b HTTP/1.1\r\n" H "\r\n"),
	C("absolute form, port", 0, "GET https://API.example.com:443 HTTP/1.1\r\n" H "\r\n",
	  "GET / HTTP/1.1\r\n" H "\r\n"),
	C("asterisk", 0, "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * HTTP/1.1\r\n" H "\r\n"),
	C("absolute OPTIONS", 0, "OPTIONS https://api.example.com HTTP/1.1\r\n" H "\r\n",
	  "OPTIONS * HTTP/1.1\r\n" H "\r\n"),
	C("host spelled oddly", 0, "GET / HTTP/1.1\r\nhOsT:API.Example.COM.:443\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n"),
	C("content-length", 0, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello",
	  "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello"),
	C("content-length 0", 0, "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
	  "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"),
	C("chunked", 0,
	  "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk extension dropped", 0,
	  "POST / HTTP/1.1\r\n" H "transfer-encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
	  NULL),
	C("1.0 without host", 0, "GET / HTTP/1.0\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n"),
	C("hop by hop", 0,
	  "GET / HTTP/1.1\r\n" H "Connection: x-a, keep-alive\r\nX-A: 1\r\nKeep-Alive: 5\r\n"
	  "Proxy-Authorization: x\r\nX-B: 2\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "X-B: 2\r\n\r\n"),
	C("h2c upgrade stripped", 0,
	  "GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	  "HTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "\r\n"),
	C("white space around a value", 0, "GET / HTTP/1.1\r\n" H "X: \t a b \t\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "X: a b\r\n\r\n"),
	C("empty value", 0, "GET / HTTP/1.1\r\n" H "X:\r\n\r\n", "GET / HTTP/1.1\r\n" H "X: \r\n\r\n"),
	C("obs-text in a value", 0, "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\r\n\r\n"),
	C("TE trailers", 0, "GET / HTTP/1.1\r\n" H "TE: gzip, trailers\r\nConnection: TE\r\n\r\n",
	  "GET / HTTP/1.1\r\n" H "TE: trailers\r\nConnection: TE\r\n\r\n"),

	/* framing */
	C("CL and TE", 400,
	  "POST / HTTP/1.1\r\n" H
	  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	  ""),
	C("TE and CL", 400,
	  "POST / HTTP/1.1\r\n" H
	  "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
	  ""),
	C("two CL", 400,
	  "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", ""),
	C("two equal CL", 400,
	  "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", ""),
	C("CL list", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", ""),
	C("CL plus", 400, "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", ""),
	C("CL minus", 400, "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello", ""),
	C("CL hex", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", ""),
	C("CL octal", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 05\r\n\r\nhello", ""),
	C("CL empty", 400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", ""),
	C("CL space", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\nhello", ""),
	C("CL float", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5.0\r\n\r\nhello", ""),
	C("CL huge", 400,
	  "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\nhello", ""),
	C("CL with obs-text", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\xa0\r\n\r\nhello", ""),
	C("CL underscore", 400,
	  "POST / HTTP/1.1\r\n" H "Content_Length: 50\r\nContent-Length: 5\r\n\r\nhello", ""),
	C("TE underscore", 400, "POST / HTTP/1.1\r\n" H "Transfer_Encoding: chunked\r\n\r\n", ""),
	C("TE identity", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", ""),
	C("TE gzip, chunked", 400,
	  "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ""),
	C("TE chunked twice", 400,
	  "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", ""),
	C("two TE", 400,
	  "POST / HTTP/1.1\r\n" H
	  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	  ""),
	C("TE and TE identity", 400,
	  "POST / HTTP/1.1\r\n" H
	  "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	  ""),
	C("TE quoted", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n", ""),
	C("TE xchunked", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", ""),
	C("TE with tab inside", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chun\tked\r\n\r\n",
	  ""),
	C("TE vertical tab", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \vchunked\r\n\r\n", ""),
	C("TE parameter", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;a=b\r\n\r\n", ""),
	C("TE trailing comma", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked,\r\n\r\n", ""),
	C("TE empty", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", ""),
	C("TE in 1.0", 400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
	C("space before colon, TE", 400,
	  "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", ""),
	C("space before colon, CL", 400, "POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello",
	  ""),
	C("tab before colon", 400, "POST / HTTP/1.1\r\n" H "Content-Length\t: 5\r\n\r\nhello", ""),
	C("Connection names CL", 400,
	  "POST / HTTP/1.1\r\n" H "Connection: content-length\r\nContent-Length: 5\r\n\r\nhello", ""),
	C("Connection names TE", 400,
	  "POST / HTTP/1.1\r\n" H
	  "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	  ""),
	C("Connection names Host", 400, "GET / HTTP/1.1\r\n" H "Connection: host\r\n\r\n", ""),
	C("TRACE with body", 400, "TRACE / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", ""),

	/* lines */
	C("obs-fold", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", ""),
	C("obs-fold tab", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", ""),
	C("fold as first field", 400, "GET / HTTP/1.1\r\n Host: api.example.com\r\n\r\n", ""),
	C("folded TE", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n", ""),
	C("bare LF end of head", 400, "GET / HTTP/1.1\r\n" H "\n", ""),
	C("bare LF lines", 400, "GET / HTTP/1.1\nHost: api.example.com\n\n", ""),
	C("bare LF in a value", 400, "GET / HTTP/1.1\r\n" H "X: a\nY: b\r\n\r\n", ""),
	C("bare CR in a value", 400, "GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n\r\n", ""),
	C("bare CR in the request line", 400, "GET /\r HTTP/1.1\r\n" H "\r\n", ""),
	C("CR CR LF", 400, "GET / HTTP/1.1\r\r\n" H "\r\n", ""),
	C("LF CR", 400, "GET / HTTP/1.1\n\r" H "\r\n", ""),
	C("NUL in a value", 400, "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n", ""),
	C("NUL in a name", 400, "GET / HTTP/1.1\r\n" H "X\0: a\r\n\r\n", ""),
	C("NUL in the target", 400, "GET /\0 HTTP/1.1\r\n" H "\r\n", ""),
	C("control in a value", 400, "GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", ""),
	C("DEL in a value", 400, "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", ""),
	C("two empty lines in front", 400, "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", ""),
	C("LF in front", 400, "\nGET / HTTP/1.1\r\n" H "\r\n", ""),
	C("no colon", 400, "GET / HTTP/1.1\r\n" H "Xa\r\n\r\n", ""),
	C("empty name", 400, "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", ""),
	C("name with space", 400, "GET / HTTP/1.1\r\n" H "X Y: a\r\n\r\n", ""),
	C("name with parenthesis", 400, "GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", ""),
	C("name with obs-text", 400, "GET / HTTP/1.1\r\n" H "X\xe4: a\r\n\r\n", ""),
	C("name with slash", 400, "GET / HTTP/1.1\r\n" H "X/Y: a\r\n\r\n", ""),

	/* request line */
	C("two spaces", 400, "GET  / HTTP/1.1\r\n" H "\r\n", ""),
	C("two spaces before version", 400, "GET /  HTTP/1.1\r\n" H "\r\n", ""),
	C("tab in request line", 400, "GET\t/ HTTP/1.1\r\n" H "\r\n", ""),
	C("trailing space", 400, "GET / HTTP/1.1 \r\n" H "\r\n", ""),
	C("leading space", 400, " GET / HTTP/1.1\r\n" H "\r\n", ""),
	C("space in target", 400, "GET /a b HTTP/1.1\r\n" H "\r\n", ""),
	C("no version", 400, "GET /\r\n" H "\r\n", ""),
	C("HTTP/0.9", 400, "GET /\r\n\r\n", ""),
	C("lower case version", 400, "GET / http/1.1\r\n" H "\r\n", ""),
	C("version 1.2", 505, "GET / HTTP/1.2\r\n" H "\r\n", ""),
	C("version 2.0", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
	C("version 1.10", 400, "GET / HTTP/1.10\r\n" H "\r\n", ""),
	C("version 01.1", 400, "GET / HTTP/01.1\r\n" H "\r\n", ""),
	C("method not a token", 400, "G(T / HTTP/1.1\r\n" H "\r\n", ""),
	C("method too long", 501, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" H "\r\n", ""),
	C("empty method", 400, " / HTTP/1.1\r\n" H "\r\n", ""),
	C("CONNECT", 405, "CONNECT api.example.com:443 HTTP/1.1\r\n" H "\r\n", ""),
	C("fragment", 400, "GET /a#b HTTP/1.1\r\n" H "\r\n", ""),
	C("obs-text in target", 400, "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", ""),
	C("target without slash", 400, "GET a HTTP/1.1\r\n" H "\r\n", ""),
	C("authority form", 400, "GET api.example.com:443 HTTP/1.1\r\n" H "\r\n", ""),
	C("asterisk GET", 400, "GET * HTTP/1.1\r\n" H "\r\n", ""),
	C("other scheme", 400, "GET ftp://api.example.com/ HTTP/1.1\r\n" H "\r\n", ""),
	C("userinfo", 400, "GET https://u@api.example.com/ HTTP/1.1\r\n" H "\r\n", ""),
	C("userinfo trick", 400, "GET https://api.example.com@evil.com/ HTTP/1.1\r\n" H "\r\n", ""),
	C("absolute, other host", 400, "GET https://evil.com/ HTTP/1.1\r\n" H "\r\n", ""),
	C("absolute, other port", 400, "GET https://api.example.com:444/ HTTP/1.1\r\n" H "\r\n", ""),
	C("absolute, http over TLS", 421,
	  "GET http://api.example.com/ HTTP/1.1\r\nHost: "
	  "api.example.com:80\r\n\r\n",
	  ""),
	C("absolute, empty authority", 400, "GET https:///a HTTP/1.1\r\n" H "\r\n", ""),
	C("backslash", 400, "GET /a\\..\\b HTTP/1.1\r\n" H "\r\n", ""),
	C("broken escape", 400, "GET /%zz HTTP/1.1\r\n" H "\r\n", ""),
	C("cut escape", 400, "GET /%2 HTTP/1.1\r\n" H "\r\n", ""),
	C("escaped NUL", 400, "GET /a%00b HTTP/1.1\r\n" H "\r\n", ""),

	/* host */
	C("no Host", 400, "GET / HTTP/1.1\r\nX: a\r\n\r\n", ""),
	C("two Host", 400, "GET / HTTP/1.1\r\n" H H "\r\n", ""),
	C("two Host, one evil", 400, "GET / HTTP/1.1\r\n" H "Host: evil.com\r\n\r\n", ""),
	C("empty Host", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n", ""),
	C("Host list", 400, "GET / HTTP/1.1\r\nHost: api.example.com, evil.com\r\n\r\n", ""),
	C("Host with userinfo", 400, "GET / HTTP/1.1\r\nHost: u@api.example.com\r\n\r\n", ""),
	C("Host with path", 400, "GET / HTTP/1.1\r\nHost: api.example.com/a\r\n\r\n", ""),
	C("Host with empty port", 400, "GET / HTTP/1.1\r\nHost: api.example.com:\r\n\r\n", ""),
	C("Host with bad port", 400, "GET / HTTP/1.1\r\nHost: api.example.com:99999\r\n\r\n", ""),
	C("Host with two ports", 400, "GET / HTTP/1.1\r\nHost: api.example.com:443:80\r\n\r\n", ""),
	C("Host odd address", 400, "GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n", ""),
	C("Host hex address", 400, "GET / HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n", ""),
	C("Host obs-text", 400, "GET / HTTP/1.1\r\nHost: api.example.com\xa0\r\n\r\n", ""),
	C("space before Host colon", 400, "GET / HTTP/1.1\r\nHost : api.example.com\r\n\r\n", ""),
	C("other Host", 421, "GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n", ""),
	C("Host below", 421, "GET / HTTP/1.1\r\nHost: x.api.example.com\r\n\r\n", ""),
	C("Host is an address", 421, "GET / HTTP/1.1\r\nHost: 198.18.0.5\r\n\r\n", ""),
	C("Host with other port", 421, "GET / HTTP/1.1\r\nHost: api.example.com:80\r\n\r\n", ""),
	C("1.0 other Host", 421, "GET / HTTP/1.0\r\nHost: evil.com\r\n\r\n", ""),

/* chunks: the head is out, the body is not finished and the guest is told */
#define T "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
	C("chunk size sign", 400, T "+5\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size 0x", 400, T "0x5\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size space in front", 400, T " 5\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size space behind", 400, T "5 \r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size empty", 400, T "\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size overflow", 400, T "10000000000000005\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size zeros", 400, T "0000000000000000000000000005\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size bare LF", 400, T "5\nhello\r\n0\r\n\r\n", NULL),
	C("chunk extension bare LF", 400, T "5;a\nhello\r\n0\r\n\r\n", NULL),
	C("chunk extension bare CR", 400, T "5;a\rb\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk extension NUL", 400, T "5;a\0\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk too long", 400, T "5\r\nhelloX\r\n0\r\n\r\n", NULL),
	C("chunk too short", 400, T "5\r\nhell\r\n0\r\n\r\n", NULL),
	C("chunk data bare LF", 400, T "5\r\nhello\n0\r\n\r\n", NULL),
	C("chunk data bare CR", 400, T "5\r\nhello\r0\r\n\r\n", NULL),
	C("chunk size comma", 400, T "5,a\r\nhello\r\n0\r\n\r\n", NULL),
	C("chunk size underscore", 400, T "5_0\r\nhello\r\n0\r\n\r\n", NULL),
	C("trailer CL", 400, T "0\r\nContent-Length: 5\r\n\r\n", NULL),
	C("trailer TE", 400, T "0\r\nTransfer-Encoding: chunked\r\n\r\n", NULL),
	C("trailer Host", 400, T "0\r\nHost: evil.com\r\n\r\n", NULL),
	C("trailer fold", 400, T "0\r\nX: a\r\n b\r\n\r\n", NULL),
	C("trailer bare LF", 400, T "0\r\nX: a\n\r\n", NULL),
	C("trailer NUL", 400, T "0\r\nX: a\0\r\n\r\n", NULL),
	C("trailer no colon", 400, T "0\r\nX\r\n\r\n", NULL),
	C("expectation", 417, "GET / HTTP/1.1\r\n" H "Expect: tea\r\n\r\n", ""),
};

static void run_case(size_t i, uint32_t cut)
{
	struct rig g;

	rig_prepare(&g, true, NULL);
	g.cut = cut;
	rig_start(&g);
	if (!rig_feed(&g, true, cases[i].in, cases[i].len))
		fail_msg("%s (cut %u): stuck", cases[i].name, cut);
	if (rig_status(&g.guest) != cases[i].status)
		fail_msg("%s (cut %u): status %u, not %u\n%s%s", cases[i].name, cut,
			 rig_status(&g.guest), cases[i].status, rig_text(&g.guest), rig_text(&g.log));
	if ((g.state == HTTP_CLOSE) != (cases[i].status != 0))
		fail_msg("%s (cut %u): state %d", cases[i].name, cut, g.state);
	if (cases[i].up && strcmp(rig_text(&g.up), cases[i].up) != 0)
		fail_msg("%s (cut %u): upstream got\n%s", cases[i].name, cut, rig_text(&g.up));
	/* An unfinished chunked body never gets its end. */
	if (cases[i].status && strstr(rig_text(&g.up), "0\r\n\r\n"))
		fail_msg("%s (cut %u): upstream thinks it is whole", cases[i].name, cut);
	rig_free(&g);
}

static void test_corpus(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (uint32_t cut = 0; cut < 8; cut++)
			run_case(i, cut < 2 ? cut : cut * 7919);
}

static void expect_status(const struct buf *in, unsigned status)
{
	for (uint32_t cut = 0; cut < 3; cut++) {
		struct rig g;

		rig_prepare(&g, true, NULL);
		g.cut = cut < 2 ? cut : 77;
		rig_start(&g);
		rig_feed(&g, true, buf_at(in), in->len);
		assert_int_equal(rig_status(&g.guest), status);
		rig_free(&g);
	}
}

static void test_limits(void **state)
{
	struct buf b = BUF_INIT(1 << 20);

	(void)state;
	/* 128 fields pass, 129 do not. */
	for (unsigned n = 128; n <= 129; n++) {
		buf_reset(&b);
		rig_must(buf_append_str(&b, "GET / HTTP/1.1\r\n" H));
		for (unsigned i = 1; i < n; i++)
			rig_must(buf_printf(&b, "X-%u: 1\r\n", i));
		rig_must(buf_append_str(&b, "\r\n"));
		expect_status(&b, n == 128 ? 0 : 431);
	}
	/* A head beyond 64 KiB, also as one line that never ends. */
	buf_reset(&b);
	rig_must(buf_append_str(&b, "GET /"));
	while (b.len < 66000)
		rig_must(buf_append_str(&b, "aaaaaaaaaaaaaaaa"));
	expect_status(&b, 431);
	/* Extensions without end. */
	buf_reset(&b);
	rig_must(buf_append_str(&b, T "1;"));
	while (b.len < 500)
		rig_must(buf_append_str(&b, "aaaaaaaaaaaaaaaa"));
	expect_status(&b, 400);
	buf_reset(&b);
	rig_must(buf_append_str(&b, T));
	for (unsigned i = 0; i < 100; i++) {
		rig_must(buf_append_str(&b, "1;"));
		for (unsigned j = 0; j < 200; j++)
			rig_must(buf_append_str(&b, "a"));
		rig_must(buf_append_str(&b, "\r\nx\r\n"));
	}
	expect_status(&b, 400);
	/* Trailers without end. */
	buf_reset(&b);
	rig_must(buf_append_str(&b, T "0\r\n"));
	for (unsigned i = 0; i < 40; i++)
		rig_must(buf_printf(&b, "X-%u: 1\r\n", i));
	expect_status(&b, 400);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
