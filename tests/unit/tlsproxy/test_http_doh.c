/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests are DNS over HTTPS, which only look like it, and what becomes of
 * one that shows itself by its response only.
 */
#include "http_rig.h"

#include <setjmp.h>
#include <cmocka.h>

/* A query for www.example.com A, as in RFC 8484 4.1.1; in both alphabets and padded. */
#define WWW "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB"
/* a.62characterlabel-makes-base64url-distinct-from-standard-base64.example.com (same place) */
#define DISTINCT                                                                                   \
	"AAABAAABAAAAAAAAAWE-NjJjaGFyYWN0ZXJsYWJlbC1tYWtlcy1iYXNlNjR1cmwtZGlzdGluY3Qt"             \
	"ZnJvbS1zdGFuZGFyZC1iYXNlNjQHZXhhbXBsZQNjb20AAAEAAQ"

struct row {
	const char *target, *fields;
};

static struct http_head parse(struct http_collect *c, const char *text, bool response)
{
	struct http_refusal refusal;
	const char *why = NULL;
	struct http_head h;
	bool done = false;
	size_t taken;

	http_collect_init(c, response ? HTTP_COLLECT_RESPONSE : HTTP_COLLECT_REQUEST);
	if (http_collect_feed(c, (const uint8_t *)text, strlen(text), &taken, &done, &why) < 0)
		fail_msg("%s: %s", text, why);
	assert_true(done);
	if (response ? http_head_response(c, &h, &why) < 0 : http_head_request(c, &h, &refusal) < 0)
		fail_msg("%s: %s", text, response ? why : refusal.why);
	return h;
}

static bool is_doh_by(const char *method, const char *target, const char *fields)
{
	struct http_collect c;
	struct http_head h;
	char text[4096];
	bool r;

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: a.b\r\n%s\r\n", method, target, fields);
	h = parse(&c, text, false);
	r = http_doh_request(&h);
	http_collect_fini(&c);
	return r;
}

static bool is_doh(const char *target, const char *fields)
{
	return is_doh_by("GET", target, fields);
}

static void recognised(void **state)
{
	static const struct row rows[] = {
		/* media types */
		{ "/", "Content-Type: application/dns-message\r\n" },
		{ "/q", "content-type:APPLICATION/DNS-Message ; charset=utf-8\r\n" },
		{ "/q", "Accept: application/dns-message\r\n" },
		{ "/q", "Accept: text/html, application/dns-message;q=0.9, */*\r\n" },
		{ "/q", "Accept: */*\r\nAccept:\tapplication/dns-json\r\n" },
		{ "/q", "Content-Type: text/plain\r\nContent-Type: application/dns-message\r\n" },
		{ "/q", "Content-Type: application/oblivious-dns-message\r\n" },
		{ "/q", "Accept: application/dns+json\r\n" },
		{ "/q", "Content-Type: application/dns-udpwireformat\r\n" },
		/* a message in the query */
		{ "/dns-query?dns=" WWW, "" },
		{ "/?dns=" WWW "==", "" },
		{ "/anything/at/all?x=1&dns=" WWW "&y=2", "" },
		{ "/a?x;dns=" WWW, "" },
		{ "/a?%64ns=" WWW, "" },
		{ "/a?dns=%41AABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB%3D", "" },
		{ "/a?dns=" DISTINCT, "" },
		{ "/a?dns=nonsense&dns=" WWW, "" },
		/* EDNS, an ID, RD and CD, another class */
		{ "/a?dns=EjQBEAABAAAAAAABA3d3dwdleGFtcGxlA2NvbQAAHAABAAApEAAAAAAAAAA", "" },
		{ "/a?dns=AAABAAABAAAAAAAAB3ZlcnNpb24EYmluZAAAEAAD", "" },
		{ "/a?dns=AAABAAABAAAAAAAAAAACAAE", "" }, /* the root */
		/* JSON */
		{ "/resolve?name=example.com&type=A", "" },
		{ "/resolve?type=28&name=example.com", "" },
		{ "/resolve?name=example.com&type=TYPE65&do=1", "" },
		{ "/%72esolve?n%61me=example.com&type=txt", "" },
		{ "/v1/resolve;x=y?name=example.com&type=TXT", "" },
		{ "/dns-query?name=example.com", "" },
		{ "/abcdef/dns-query?name=example.com&type=AAAA", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!is_doh(rows[i].target, rows[i].fields))
			fail_msg("not recognised: %s %s", rows[i].target, rows[i].fields);
}

/* Servers read what is posted to the usual path as a message, whatever it is called. */
static void recognised_by_the_path_of_a_post(void **state)
{
	(void)state;
	assert_true(is_doh_by("POST", "/dns-query", ""));
	assert_true(is_doh_by("POST", "/dns-query?x=y", "Content-Type: text/plain\r\n"));
	assert_true(is_doh_by("POST", "/abcdef/%64ns-query;x=y", ""));
	assert_false(is_doh_by("POST", "/dns-queries", ""));
	assert_false(is_doh_by("POST", "/x?dns-query", ""));
	assert_false(is_doh_by("PUT", "/dns-query", ""));
}

static void left_alone(void **state)
{
	static const struct row rows[] = {
		{ "/", "" },
		{ "*", "" },
		{ "/", "Accept: */*\r\n" },
		{ "/", "Accept: application/*\r\n" },
		{ "/", "Accept: application/json, application/dns-messages\r\n" },
		{ "/", "Content-Type: application/json; x=application/dns-message\r\n" },
		{ "/", "X-Accept: application/dns-message\r\n" },
		{ "/", "Content-Type: message/ohttp-req\r\n" },
		/* ?dns= of an API about DNS */
		{ "/zones?dns=foo", "" },
		{ "/zones?dns=1.1.1.1", "" },
		{ "/zones?dns=", "" },
		{ "/zones?dns", "" },
		{ "/zones?dns=true&ip=1", "" },
		{ "/zones?dns=" WWW "!", "" },
		{ "/zones?xdns=" WWW, "" },
		{ "/zones?x=dns=" WWW, "" },
		{ "/dns=" WWW, "" },
		/* base64, but no query: no question, an answer, a response, cut off */
		{ "/a?dns=AAABAAAAAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", "" },
		{ "/a?dns=AAABAAABAAEAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", "" },
		{ "/a?dns=AACBAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", "" },
		{ "/a?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQ", "" },
		{ "/a?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQ", "" },
		{ "/a?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQBj", "" }, /* class 99 */
		{ "/a?dns=AAABAAABAAAAAAAAQGFh", "" },			       /* a label of 64 */
		{ "/a?dns=bG9uZyBlbm91Z2ggdG8gYmUgYSBoZWFkZXIsIGJ1dCB0ZXh0", "" },
		{ "/a?dns=4oCcSGVhZGVy4oCd4oCcSGVhZGVy4oCd4oCcSGVhZGVy4oCd", "" },
		/* names that others resolve */
		{ "/resolve?name=vitalik.eth", "" },
		{ "/resolve?name=left-pad&type=package", "" },
		{ "/resolve?name=example.com&type=file", "" },
		{ "/resolve?name=&type=A", "" },
		{ "/resolver?name=example.com&type=A", "" },
		{ "/xresolve?name=example.com&type=A", "" },
		{ "/resolve?type=A", "" },
		{ "/resolve?username=example.com&type=A", "" },
		{ "/users?name=example.com&type=A", "" },
		{ "/search?q=/dns-query?name=example.com", "" },
		{ "/dns-query", "" },
		{ "/docs/dns-query?lang=en", "" },
		{ "/resolve?name=example.com&type=123456", "" },
		{ "/resolve?name=example.com&type=typeA", "" },
		{ "/resolve?name=example.com&type=AAAAAAAAAAAAAAAAAAAAAAAAA", "" },
		{ "/a?%&%6&dns%&=&;;&?&==", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (is_doh(rows[i].target, rows[i].fields))
			fail_msg("taken for DoH: %s %s", rows[i].target, rows[i].fields);
}

/* As long as a name may be, and longer than is looked at. */
static void long_messages(void **state)
{
	uint8_t m[600] = { 0, 0, 1, 0, 0, 1 };
	char b64[1000], target[1100];
	size_t n = 12;

	(void)state;
	for (int i = 0; i < 3; i++, n += 64) {
		m[n] = 63;
		memset(m + n + 1, 'a', 63);
	}
	m[n] = 61;
	memset(m + n + 1, 'b', 61);
	n += 62;
	assert_int_equal(n + 1 - 12, 255);
	m[n + 2] = m[n + 4] = 1;
	for (size_t len = n + 5; len <= sizeof(m); len += 95) {
		b64[secret_base64_encode(m, len, b64)] = 0;
		snprintf(target, sizeof(target), "/?dns=%s", b64);
		assert_true(is_doh(target, ""));
	}
	m[n] = 1; /* one label more than a name can hold */
	b64[secret_base64_encode(m, sizeof(m), b64)] = 0;
	snprintf(target, sizeof(target), "/?dns=%s", b64);
	assert_false(is_doh(target, ""));
}

/* ---- in the filter --------------------------------------------------------------------- */

static void request_is_refused(void **state)
{
	struct rig g;

	(void)state;
	for (int tls = 0; tls < 2; tls++)
		for (uint32_t cut = 0; cut < 3; cut++) {
			rig_prepare(&g, tls, NULL);
			g.deny_doh = true;
			g.cut = cut;
			rig_start(&g);
			assert_true(rig_guest(
				&g, "POST /dns-query HTTP/1.1\r\nHost: api.example.com\r\n"
				    "Content-Type: application/dns-message\r\n"
				    "Content-Length: 4\r\n\r\nabcd"
				    "GET /next HTTP/1.1\r\nHost: api.example.com\r\n\r\n"));
			assert_int_equal(rig_status(&g.guest), 403);
			/* The connection is good for what is allowed. */
			assert_true(str_starts(rig_text(&g.up), "GET /next "));
			assert_non_null(strstr(rig_text(&g.log), "http denied 403 POST"));
			rig_free(&g);
		}
}

static void exchange(struct rig *g, bool deny, const char *request, const char *response)
{
	rig_prepare(g, true, NULL);
	g->deny_doh = deny;
	rig_start(g);
	assert_true(rig_guest(g, request));
	assert_true(g->up.len > 0);
	rig_upstream(g, response);
}

#define HIDDEN                                                                                     \
	"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: "                              \
	"text/plain\r\nContent-Length: 2"                                                          \
	"\r\n\r\nxx"
#define ANSWER                                                                                     \
	"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: "             \
	"6\r\n\r\nANSWER"

static void response_shows_it(void **state)
{
	struct rig g;

	(void)state;
	exchange(&g, true, HIDDEN, ANSWER);
	assert_int_equal(g.state, HTTP_CLOSE);
	assert_int_equal(rig_status(&g.guest), 403);
	assert_null(strstr(rig_text(&g.guest), "ANSWER"));
	assert_non_null(
		strstr(rig_text(&g.log), "http denied 403 POST the response is a DNS message"));
	rig_free(&g);
	/* Half a request still to come: nothing more of it goes out. */
	exchange(&g, true,
		 "POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 200000\r\n\r\nxx",
		 ANSWER);
	assert_int_equal(rig_status(&g.guest), 403);
	assert_int_equal(g.state, HTTP_CLOSE);
	rig_free(&g);
}

static void response_is_allowed(void **state)
{
	static const char *const others[] = {
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nANSWER",
		"HTTP/1.1 200 \r\nX: application/dns-message\r\nContent-Length: 1\r\n\r\nA",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nANSWER",
	};
	struct rig g;

	(void)state;
	exchange(&g, false, HIDDEN, ANSWER);
	assert_int_equal(rig_status(&g.guest), 200);
	assert_non_null(strstr(rig_text(&g.guest), "ANSWER"));
	rig_free(&g);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		exchange(&g, true, HIDDEN, others[i]);
		assert_int_equal(rig_status(&g.guest), 200);
		rig_free(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recognised),
		cmocka_unit_test(recognised_by_the_path_of_a_post),
		cmocka_unit_test(left_alone),
		cmocka_unit_test(long_messages),
		cmocka_unit_test(request_is_refused),
		cmocka_unit_test(response_shows_it),
		cmocka_unit_test(response_is_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
