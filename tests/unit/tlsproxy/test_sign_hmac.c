/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC: the hashes against RFC 2202 and RFC 4231, headers against examples that
 * services publish, and templates that are none.
 */
#include "tlsproxy/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static void rfc_vectors(void **state)
{
	static const struct {
		enum sign_hash hash;
		const char *key, *data, *hex;
	} v[] = {
		{ SIGN_SHA1, "Jefe", "what do ya want for nothing?",
		  "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79" },
		{ SIGN_SHA256, "Jefe", "what do ya want for nothing?",
		  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
		{ SIGN_SHA512, "Jefe", "what do ya want for nothing?",
		  "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
		  "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct http_text parts[] = { { v[i].data, 5 }, text(v[i].data + 5) };
		char hex[2 * SIGN_HASH_MAX + 1] = "";
		uint8_t mac[SIGN_HASH_MAX];

		assert_int_equal(sign_mac(v[i].hash, v[i].key, 4, parts, 2, mac), 0);
		sign_hex(mac, sign_hash_size(v[i].hash), hex);
		assert_string_equal(hex, v[i].hex);
	}
}

static const struct http_field fields[] = {
	{ .name = { "X-Slack-Request-Timestamp", 25 }, .value = { "1531420618", 10 } },
	{ .name = { "X-Kind", 6 }, .value = { "k", 1 } },
};

static struct sign_message message(void)
{
	return (struct sign_message){ .method = text("POST"),
				      .target = text("/a/b?c=d"),
				      .host = text("api.example.com"),
				      .fields = fields,
				      .n_fields = 2 };
}

static void check_header(const struct tlsproxy_sign *cfg, const char *key, const char *body,
			 const char *want)
{
	struct sign_message m = message();
	struct buf out = BUF_INIT(1024);
	struct sign_hmac h;
	char err[256] = "";

	if (sign_hmac_init(&h, cfg, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	assert_int_equal(sign_hmac_value(&h, &m, text("42"), text(body), key, strlen(key), &out), 0);
	assert_string_equal(buf_str(&out), want);
	sign_hmac_fini(&h);
	buf_fini(&out);
}

static void published_headers(void **state)
{
	/* GitHub, "Validating webhook deliveries". */
	struct tlsproxy_sign github = { .header = "X-Hub-Signature-256", .format = "sha256={hex}" };
	/* Slack, "Verifying requests from Slack". */
	struct tlsproxy_sign slack = { .header = "X-Slack-Signature",
				       .timestamp_header = "X-Slack-Request-Timestamp",
				       .signs = "v0:{timestamp}:{body}",
				       .format = "v0={hex}" };

	(void)state;
	check_header(&github, "It's a Secret to Everybody", "Hello, World!",
		     "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
	check_header(
		&slack, "8f742231b10e8888abcd99yyyzzz85a5",
		"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&"
		"channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&"
		"command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2F"
		"commands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
		"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
		"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
}

/* Each part stands for what it says: compared with the text written out. */
static void parts_of_a_template(void **state)
{
	static const struct {
		const char *signs, *same;
	} v[] = {
		{ "{method} {target}", "POST /a/b?c=d" },
		{ "{path}?{query}", "/a/b?c=d" },
		{ "{host}|{header:x-kind}|{header:x-none}", "api.example.com|k|" },
		{ "{timestamp}{{{body}}}", "42{body text}" },
		{ "{body_sha256}",
		  "d9fbbc91492fbb3ba8e57ca15b039134e7098030a89578315a4c354f9117ccf2" },
	};
	struct sign_message m = message();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct tlsproxy_sign cfg = { .header = "X-Sig",
					     .timestamp_header = "X-Time",
					     .signs = v[i].signs,
					     .format = "{base64}" };
		struct buf out = BUF_INIT(1024), want = BUF_INIT(1024);
		struct sign_hmac h;
		char err[256] = "";

		assert_int_equal(sign_hmac_init(&h, &cfg, err, sizeof(err)), 0);
		assert_int_equal(
			sign_hmac_value(&h, &m, text("42"), text("body text"), "kkkkkkkk", 8, &out),
			0);
		sign_hmac_fini(&h);
		cfg.signs = "{body}";
		assert_int_equal(sign_hmac_init(&h, &cfg, err, sizeof(err)), 0);
		assert_int_equal(
			sign_hmac_value(&h, &m, text("42"), text(v[i].same), "kkkkkkkk", 8, &want),
			0);
		sign_hmac_fini(&h);
		if (strcmp(buf_str(&out), buf_str(&want)) != 0)
			fail_msg("%s is not \"%s\"", v[i].signs, v[i].same);
		buf_fini(&out);
		buf_fini(&want);
	}
}

static void refused_definitions(void **state)
{
	static const struct {
		struct tlsproxy_sign cfg;
		const char *why;
	} v[] = {
		{ { .header = NULL }, "\"header\" is not" },
		{ { .header = "X Sig" }, "\"header\" is not" },
		{ { .header = "Host" }, "\"header\" is not" },
		{ { .header = "X-S", .algorithm = "md5" }, "sha256, sha1 or sha512" },
		{ { .header = "X-S", .signs = "" }, "\"signs\" is empty" },
		{ { .header = "X-S", .signs = "{bod}" }, "no part of a request" },
		{ { .header = "X-S", .signs = "{hex}" }, "no part of a request" },
		{ { .header = "X-S", .signs = "{header:a b}" }, "no part of a request" },
		{ { .header = "X-S", .signs = "{body" }, "not closed" },
		{ { .header = "X-S", .signs = "body}" }, "not closed" },
		{ { .header = "X-S", .signs = "{timestamp}" }, "timestamp_header" },
		{ { .header = "X-S", .format = "sig" }, "neither" },
		{ { .header = "X-S", .format = "{body}" }, "no part of a format" },
		{ { .header = "X-S", .format = "a\n{hex}" }, "no field can have" },
		{ { .header = "X-S",
		    .signs = "{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}"
			     "{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}"
			     "{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}{path}" },
		  "more than 32 parts" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct sign_hmac h;
		char err[256] = "";

		if (sign_hmac_init(&h, &v[i].cfg, err, sizeof(err)) != -EINVAL ||
		    !strstr(err, v[i].why))
			fail_msg("case %zu: \"%s\", expected \"%s\"", i, err, v[i].why);
	}
}

static int setup(void **state)
{
	(void)state;
	return sign_hash_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_vectors),
		cmocka_unit_test(published_headers),
		cmocka_unit_test(parts_of_a_template),
		cmocka_unit_test(refused_definitions),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
