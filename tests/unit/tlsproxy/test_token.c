/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens: the requests of RFC 6749's examples, replies in one piece and in
 * single bytes, and everything that a server can answer wrongly.
 */
#include "tlsproxy/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW UINT64_C(1700000000)

/* ---- requests ----------------------------------------------------------------------------- */

static void expect_request(const struct tlsproxy_token_request *q, const char *fields,
			   const char *body)
{
	struct buf out = BUF_INIT(TOKEN_REQUEST_MAX);
	char want[2048];

	snprintf(want, sizeof(want),
		 "POST %s HTTP/1.1\r\nHost: %s%s\r\nAccept: application/json\r\n"
		 "Accept-Encoding: identity\r\nUser-Agent: weir\r\n"
		 "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n"
		 "Connection: close\r\n%s\r\n%s",
		 q->path, q->host, q->port == 443 ? "" : ":8443", strlen(body), fields, body);
	assert_int_equal(token_request_write(q, &out), 0);
	assert_string_equal(buf_str(&out), want);
	buf_fini_wiped(&out);
}

static void requests(void **state)
{
	/* RFC 6749 2.3.1 and 4.4.2. */
	struct tlsproxy_token_request q = { .host = "server.example.com",
					    .path = "/token",
					    .port = 443,
					    .client_id = "s6BhdRkqt3",
					    .secret = "gX1fBat3bV",
					    .secret_len = 10 };

	(void)state;
	expect_request(&q, "Authorization: Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW\r\n",
		       "grant_type=client_credentials");
	q.auth = TLSPROXY_CLIENT_POST;
	q.scope = "a b+c";
	q.audience = "https://x/";
	q.port = 8443;
	expect_request(&q, "",
		       "grant_type=client_credentials&scope=a+b%2Bc&audience=https%3A%2F%2Fx%2F&"
		       "client_id=s6BhdRkqt3&client_secret=gX1fBat3bV");
	/* Section 6, of a public client. */
	q = (struct tlsproxy_token_request){ .grant = TLSPROXY_REFRESH_TOKEN,
					     .host = "server.example.com",
					     .path = "/token",
					     .port = 443,
					     .client_id = "app",
					     .refresh = "tGzv3JOkF0XG5Qx2TlKWIA",
					     .refresh_len = 22 };
	expect_request(
		&q, "",
		"grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&client_id=app");
	/* Form-encoded before they are joined. */
	q = (struct tlsproxy_token_request){ .host = "h.example",
					     .path = "/t",
					     .port = 443,
					     .client_id = "a:b",
					     .secret = "c d%",
					     .secret_len = 4 };
	expect_request(&q, "Authorization: Basic YSUzQWI6YytkJTI1\r\n",
		       "grant_type=client_credentials");
}

/* ---- replies ---------------------------------------------------------------------------------- */

static int read_reply(const char *reply, size_t piece, struct tlsproxy_token *ret, char why[96])
{
	struct token_reader r;
	size_t n = strlen(reply);
	int e = 0;

	assert_int_equal(token_reader_init(&r), 0);
	for (size_t i = 0; i < n && e == 0; i += piece)
		e = token_reader_feed(&r, (const uint8_t *)reply + i, MIN(piece, n - i), false, NOW,
				      ret);
	if (e == 0)
		e = token_reader_feed(&r, NULL, 0, true, NOW, ret);
	memcpy(why, r.why, sizeof(r.why));
	token_reader_fini(&r);
	return e;
}

#define JSON                                                                                       \
	"{\"access_token\":\"2YotnFZFEjr1zCsicMWpAA\",\"token_type\":\"Bearer\",\"expires_in\":"   \
	"3600}"
#define OK(headers, body) "HTTP/1.1 200 OK\r\n" headers "\r\n" body

static void replies(void **state)
{
	static const char *const good[] = {
		OK("Content-Length: 81\r\n", JSON),
		OK("", JSON),
		OK("Transfer-Encoding: chunked\r\n",
		   "4f\r\n{\"access_token\":\"2YotnFZFEjr1zCsicMWpAA\",\"token_type\":\"Bearer\","
		   "\"expires_in\":360\r\n"
		   "3\r\n0} \r\n0\r\nX: y\r\n\r\n"),
		"HTTP/1.1 100 Continue\r\n\r\n" OK("Content-Length: 81\r\n",
						   JSON) "garbage behind it",
		"HTTP/1.1 201 Created\r\n\r\n{\"token\": \"2YotnFZFEjr1zCsicMWpAA\", "
		"\"expires_at\": "
		"\"2023-11-14T23:13:20Z\"}",
		OK("", "{\"token_type\": \"bearer\", \"access_token\": \"2YotnFZFEjr1zCsicMWpAA\", "
		       "\"expires_in\": \"3600\", \"refresh_token\": null, \"x\": [{}]}"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		for (size_t piece = 1; piece <= 4096; piece *= 16) {
			struct tlsproxy_token t = { 0 };
			char why[96];

			if (read_reply(good[i], piece, &t, why) != 1)
				fail_msg("reply %zu in pieces of %zu: %s", i, piece, why);
			assert_string_equal(t.access, "2YotnFZFEjr1zCsicMWpAA");
			assert_int_equal(t.access_len, 22);
			assert_int_equal(t.refresh_len, 0);
			assert_int_equal(t.life_s, 3600);
		}
}

static void bad_replies(void **state)
{
	static const struct {
		const char *reply, *why;
	} bad[] = {
		{ "", "closed the connection" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n" JSON, "closed the connection" },
		{ "HTTP/2 200\r\n\r\n", "status line" },
		{ OK("Content-Length: 81\r\nContent-Length: 82\r\n", JSON), "" },
		{ OK("Content-Encoding: gzip\r\n", JSON), "compressed" },
		{ "HTTP/1.1 101 Switching\r\n\r\n", "upgrade" },
		{ "HTTP/1.1 400 Bad "
		  "Request\r\n\r\n{\"error\":\"invalid_grant\",\"error_description\":\"s3cret\"}",
		  "answered 400 invalid_grant" },
		{ "HTTP/1.1 401 No\r\n\r\n{\"error\":\"s3cret\"}", "answered 401" },
		{ "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n", "answered 302" },
		{ "HTTP/1.1 500 No\r\n\r\n<html>", "answered 500" },
		{ OK("", "<html>"), "not a JSON object" },
		{ OK("", "[]"), "not a JSON object" },
		{ OK("", "{}"), "no access_token" },
		{ OK("", "{\"access_token\": 5}"), "can stand in a header" },
		{ OK("", "{\"access_token\": \"a\\r\\nHost: evil\"}"), "can stand in a header" },
		{ OK("", "{\"access_token\": \"short\"}"), "can stand in a header" },
		{ OK("", "{\"access_token\": \"2YotnFZFEjr1z\", \"access_token\": \"x\"}"),
		  "not a JSON object" },
		{ OK("", "{\"access_token\": \"2YotnFZFEjr1z\", \"token_type\": \"mac\"}"),
		  "bearer" },
		{ OK("", "{\"access_token\": \"2YotnFZFEjr1z\", \"expires_in\": []}"), "lifetime" },
		{ OK("", "{\"access_token\": \"2YotnFZFEjr1z\", \"expires_at\": "
			 "\"2001-01-01T00:00:00Z\"}"),
		  "lifetime" },
		{ OK("", "{\"access_token\": \"2YotnFZFEjr1z\", \"refresh_token\": \"x\"}"),
		  "refresh token" },
		{ OK("", "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}"), "not a JSON object" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct tlsproxy_token t = { 0 };
		char why[96];

		if (read_reply(bad[i].reply, 4096, &t, why) != -EBADMSG || !strstr(why, bad[i].why))
			fail_msg("reply %zu: \"%s\", expected \"%s\"", i, why, bad[i].why);
		assert_null(strstr(why, "s3cret"));
		assert_int_equal(t.access_len, 0);
	}
}

static void endless_reply(void **state)
{
	struct token_reader r;
	struct tlsproxy_token t;
	uint8_t junk[4096];
	int e = 0;

	(void)state;
	memset(junk, ' ', sizeof(junk));
	assert_int_equal(token_reader_init(&r), 0);
	assert_int_equal(token_reader_feed(&r, (const uint8_t *)"HTTP/1.1 200 OK\r\n\r\n", 19,
					   false, NOW, &t),
			 0);
	for (unsigned i = 0; i < 20 && e == 0; i++)
		e = token_reader_feed(&r, junk, sizeof(junk), false, NOW, &t);
	assert_int_equal(e, -EBADMSG);
	assert_non_null(strstr(r.why, "too long"));
	token_reader_fini(&r);
}

static void output_of_a_command(void **state)
{
	const char *why = NULL;
	struct tlsproxy_token t;

	(void)state;
	assert_int_equal(tlsproxy_token_read("abcdefgh12\n", 11, NOW, &t, &why), 0);
	assert_string_equal(t.access, "abcdefgh12");
	assert_int_equal(t.life_s, TOKEN_LIFE_DEFAULT_S);
	assert_int_equal(tlsproxy_token_read("{\"token\": \"abcdefgh12\", \"expires_in\": 7}\n", 41,
					     NOW, &t, &why),
			 0);
	assert_int_equal(t.life_s, 7);
	assert_int_equal(tlsproxy_token_read("a b", 3, NOW, &t, &why), -EBADMSG);
	assert_int_equal(tlsproxy_token_read("", 0, NOW, &t, &why), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(replies),
		cmocka_unit_test(bad_replies),
		cmocka_unit_test(endless_reply),
		cmocka_unit_test(output_of_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
