/* SPDX-License-Identifier: Apache-2.0 */
/* Event texts: always one valid ASCII JSON object, whatever a guest put into the strings. */
#include "audit/audit.h"

#include <jansson.h>
#include <setjmp.h>
#include <cmocka.h>

static json_t *parse(const char *text, size_t len)
{
	json_error_t e;
	json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);

	if (!v)
		fail_msg("%s at %d in %.*s", e.text, e.position, (int)len, text);
	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			fail_msg("byte %zu is 0x%02x", i, text[i] & 0xff);
	assert_int_equal(text[len], 0);
	return v;
}

static const char *one(struct audit_event *e, const char *value, size_t len)
{
	size_t n;

	audit_event_begin(e, "flow");
	audit_strn(e, "s", value, len);
	return audit_event_end(e, &n);
}

static void test_escape(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} cases[] = {
#define C(in, out) { in, sizeof(in) - 1, "{\"kind\":\"flow\",\"s\":\"" out "\"}" }
		C("plain", "plain"),
		C("a\"b\\c/", "a\\\"b\\\\c/"),
		C("\n\r\t\b\f", "\\n\\r\\t\\u0008\\u000c"),
		C("nul\0here", "nul\\u0000here"),
		C("\x1b[31m\x7f", "\\u001b[31m\\u007f"),
		C("\xc3\xbc", "\\u00fc"),
		C("\xe2\x82\xac", "\\u20ac"),
		C("\xf0\x9f\x98\x80", "\\ud83d\\ude00"),
		C("\xf4\x8f\xbf\xbf", "\\udbff\\udfff"),
		C("\xff\xfe", "\\u00ff\\u00fe"),	    /* never in UTF-8 */
		C("\xc0\x80", "\\u00c0\\u0080"),	    /* overlong NUL */
		C("\xe0\x80\xaf", "\\u00e0\\u0080\\u00af"), /* overlong slash */
		C("\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"), /* surrogate */
		C("\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080"),
		C("\xe2\x82", "\\u00e2\\u0082"), /* cut */
		C("\xc2", "\\u00c2"),
		C("\xe2\x80\xae", "\\u202e"), /* right-to-left override */
	};
	struct audit_event e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text = one(&e, cases[i].in, cases[i].len);

		assert_string_equal(text, cases[i].out);
		json_decref(parse(text, strlen(text)));
	}
}

static void test_members(void **state)
{
	struct ip_addr a = ip4(192, 0, 2, 1), none = { 0 };
	struct audit_event e;
	const char *text;
	size_t n;

	(void)state;
	audit_event_begin(&e, "dns");
	audit_str(&e, "absent", NULL);
	audit_str(&e, "empty", "");
	audit_u64(&e, "n", 0);
	audit_u64(&e, "big", UINT64_MAX);
	audit_bool(&e, "yes", true);
	audit_ip(&e, "ip", &a);
	audit_ip(&e, "noip", &none);
	audit_ip(&e, "nullip", NULL);
	audit_array_begin(&e, "none");
	audit_array_end(&e);
	audit_array_begin(&e, "answers");
	audit_str(&e, NULL, "192.0.2.1");
	audit_str(&e, NULL, "");
	audit_str(&e, NULL, "2001:db8::1");
	audit_array_end(&e);
	audit_str(&e, "last", "x");
	text = audit_event_end(&e, &n);
	assert_string_equal(text, "{\"kind\":\"dns\",\"n\":0,\"big\":\"18446744073709551615\","
				  "\"yes\":true,\"ip\":\"192.0.2.1\","
				  "\"answers\":[\"192.0.2.1\",\"2001:db8::1\"],\"last\":\"x\"}");
	assert_int_equal(n, strlen(text));
	json_decref(parse(text, n));
}

static void test_open_array_is_closed(void **state)
{
	struct audit_event e;
	size_t n;

	(void)state;
	audit_event_begin(&e, "dns");
	audit_array_begin(&e, "answers");
	audit_str(&e, NULL, "x");
	assert_string_equal(audit_event_end(&e, &n), "{\"kind\":\"dns\",\"answers\":[\"x\"]}");
}

/* Long hostile strings are cut between characters; what says the verdict stays. */
static void test_truncation(void **state)
{
	static const char *const fills[] = { "a", "\"", "\x01", "\xf0\x9f\x98\x80", "\xff" };
	static char big[20000];
	struct audit_event e;

	(void)state;
	for (size_t f = 0; f < ARRAY_SIZE(fills); f++) {
		size_t flen = strlen(fills[f]), n;
		json_t *v;

		for (size_t i = 0; i + flen <= sizeof(big); i += flen)
			memcpy(big + i, fills[f], flen);
		audit_event_begin(&e, "http");
		for (int i = 0; i < 10; i++) {
			char key[8] = { 'k', (char)('0' + i), 0 };

			audit_strn(&e, key, big, sizeof(big) - sizeof(big) % flen);
		}
		audit_array_begin(&e, "list");
		for (int i = 0; i < 1000; i++)
			audit_str(&e, NULL, "198.51.100.200");
		audit_array_end(&e);
		audit_str(&e, "verdict", "deny");
		audit_str(&e, "denial", "0123456789abcdef0123456789abcdef");
		audit_u64(&e, "status", 403);
		audit_event_end(&e, &n);
		assert_true(n < AUDIT_EVENT_MAX);
		v = parse(e.text, n);
		assert_true(json_is_true(json_object_get(v, "truncated")));
		assert_string_equal(json_string_value(json_object_get(v, "verdict")), "deny");
		assert_int_equal(json_integer_value(json_object_get(v, "status")), 403);
		assert_non_null(json_object_get(v, "denial"));
		assert_non_null(json_object_get(v, "k0"));
		json_decref(v);
	}
}

/* Every length around the limits. */
static void test_every_length(void **state)
{
	static char big[AUDIT_EVENT_MAX];
	struct audit_event e;

	(void)state;
	memset(big, 'x', sizeof(big));
	for (size_t len = 0; len<sizeof(big); len += len> 1900 && len < 2100 ? 1 : 37) {
		size_t n;

		audit_event_begin(&e, "flow");
		for (int i = 0; i < 6; i++) {
			char key[8] = { 'k', (char)('0' + i), 0 };

			audit_strn(&e, key, big, len);
		}
		for (int i = 0; i < 100; i++) {
			char key[8] = { 'n', (char)('0' + i / 10), (char)('0' + i % 10), 0 };

			audit_u64(&e, key, UINT64_MAX);
		}
		audit_event_end(&e, &n);
		json_decref(parse(e.text, n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),	     cmocka_unit_test(test_members),
		cmocka_unit_test(test_truncation),   cmocka_unit_test(test_open_array_is_closed),
		cmocka_unit_test(test_every_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
