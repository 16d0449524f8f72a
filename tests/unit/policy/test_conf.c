/* SPDX-License-Identifier: Apache-2.0 */
/* JSON with positions: what is refused, and that every complaint names the right place. */
#include "policy/policy.h"

#include <setjmp.h>
#include <cmocka.h>

static struct conf_doc *must(const char *text)
{
	struct conf_doc *d = NULL;
	struct conf_error err = { "" };

	if (conf_doc_parse(text, strlen(text), "f", CONF_JSON, &d, &err) < 0)
		fail_msg("refused: %s", err.text);
	return d;
}

static void test_syntax(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *says;
	} bad[] = {
		{ "", "f:1:1: ", "the file is empty" },
		{ "{\"_schema\":\"weir.audit/v1\",\"seq\":1}\n", "f:1:1: ", "the record of a run" },
		{ "\x0a\x0d\x0d\x0a and more", "f:1:1: ", "a packet capture" },
		{ "{", "f:1:2: ", "ends in the middle" },
		{ "{\"a\": 1,\n \"b\": 2,\n  \"a\": 3}", "f:3:3: ", "the same key twice" },
		{ "{\"a\": 1} x", "f:1:10: ", "text after" },
		{ "{\"a\": 1,}", "f:1:9: ", "not valid JSON" },
		{ "{\"a\" 1}", "f:1:6: ", "not valid JSON" },
		{ "{\n\t\"a\": tru\n}", "f:2:7: ", "not valid JSON" },
		{ "[1, 01]", "f:1:", "not valid JSON" },
		{ "{'a': 1}", "f:1:2: ", "not valid JSON" },
		{ "{\"a\": \"\\u0000\"}", "f:1:7: ", "NUL" },
		{ "{\"\\u0000a\": 1}", "f:1:2: ", "NUL" },
		{ "{\"a\": \"\xff\"}", "f:1:", "not valid JSON" },
		{ "// comment\n{}", "f:1:1: ", "not valid JSON" },
	};
	char deep[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct conf_doc *d = NULL;
		struct conf_error err = { "" };

		if (conf_doc_parse(bad[i].text, strlen(bad[i].text), "f", CONF_JSON, &d, &err) == 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_null(d);
		if (!str_starts(err.text, bad[i].place) || !strstr(err.text, bad[i].says))
			fail_msg("%s: got \"%s\", want \"%s...%s\"", bad[i].text, err.text,
				 bad[i].place, bad[i].says);
	}
	for (int depth = 64; depth <= 65; depth++) {
		struct conf_doc *d = NULL;
		struct conf_error err = { "" };
		size_t n = (size_t)depth;

		memset(deep, '[', n);
		memset(deep + n, ']', n);
		assert_int_equal(conf_doc_parse(deep, 2 * n, "f", CONF_JSON, &d, &err),
				 depth > 64 ? -EINVAL : 0);
		if (depth > 64)
			assert_string_equal(err.text, "f:1:65: nested deeper than 64 levels");
		conf_doc_free(d);
	}
	struct conf_doc *d = NULL;
	struct conf_error err;

	assert_int_equal(conf_doc_parse("{}\0{}", 5, "f", CONF_JSON, &d, &err), -EINVAL);
	assert_string_equal(err.text, "f:1:3: a NUL byte in the file");
	assert_int_equal(conf_doc_load("/nonexistent/x", &d, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/x: cannot be read"));
}

static void test_places(void **state)
{
	struct conf_doc *d = must("{ \"skip\": {\"rules\": [\"}\", \"\\\"]\"]},\n"
				  "  \"b\\u00e4h\": [ 1, [2, 3],\n"
				  "\t{\"x\": \"\xc3\xa4\xc3\xa4\", \"y\": true} ] ,\"z\":null}");
	struct conf root = conf_root(d), list = conf_member(&root, "b\xc3\xa4h");
	struct conf e1 = conf_element(&list, 1), e11 = conf_element(&e1, 1);
	struct conf e2 = conf_element(&list, 2), y = conf_member(&e2, "y");
	struct conf z = conf_member(&root, "z"), none = conf_member(&e2, "none");
	struct conf below = conf_element(&none, 4);
	struct conf_error err;
	static const char *const keys[] = { "skip", "zz", "b\xc3\xa4h" };
	static const char *const x_only[] = { "xx" };

	(void)state;
	assert_int_equal(conf_fail(&root, &err, "%s", "!"), -EINVAL);
	assert_string_equal(err.text, "f:1:1: !");
	conf_fail(&list, &err, "!");
	assert_string_equal(err.text, "f:2:15: !");
	conf_fail(&e1, &err, "!");
	assert_string_equal(err.text, "f:2:20: !");
	conf_fail(&e11, &err, "!");
	assert_string_equal(err.text, "f:2:24: !");
	conf_fail(&y, &err, "!");
	assert_string_equal(err.text, "f:3:19: !");
	conf_fail(&z, &err, "!");
	assert_string_equal(err.text, "f:3:32: !");
	conf_fail(&none, &err, "!");
	assert_string_equal(err.text, "f:3:2: !");
	conf_fail(&below, &err, "!");
	assert_string_equal(err.text, "f:3:2: !");
	assert_int_equal(conf_only_keys(&root, keys, ARRAY_SIZE(keys), &err), -EINVAL);
	assert_string_equal(err.text, "f:3:28: unknown key \"z\"; known are skip, zz, b\xc3\xa4h");
	assert_int_equal(conf_only_keys(&e2, x_only, 1, &err), -EINVAL);
	assert_string_equal(err.text, "f:3:3: unknown key \"x\"; known are xx");
	assert_int_equal(conf_only_keys(&list, keys, 1, &err), -EINVAL);
	assert_string_equal(err.text, "f:2:15: expected an object, not a list");
	conf_doc_free(d);
}

static void test_typed(void **state)
{
	struct conf_doc *d = must("{\"s\": \"x\", \"n\": 7, \"big\": 70000, \"neg\": -1,\n"
				  " \"f\": 1.5, \"b\": true, \"intercpt\": 1}");
	struct conf root = conf_root(d), s = conf_member(&root, "s"), n = conf_member(&root, "n");
	struct conf big = conf_member(&root, "big"), neg = conf_member(&root, "neg");
	struct conf f = conf_member(&root, "f"), b = conf_member(&root, "b");
	struct conf absent = conf_member(&root, "absent");
	static const char *const keys[] = { "s", "n", "big", "neg", "f", "b", "intercept" };
	struct conf_error err;
	const char *text = "old";
	uint64_t v = 99;
	bool flag = false;

	(void)state;
	assert_int_equal(conf_str(&absent, &text, &err), 0);
	assert_string_equal(text, "old");
	assert_int_equal(conf_str(&s, &text, &err), 0);
	assert_string_equal(text, "x");
	assert_int_equal(conf_str(&n, &text, &err), -EINVAL);
	assert_string_equal(err.text, "f:1:17: expected a string, not a number");
	assert_int_equal(conf_uint(&n, 1, 65535, &v, &err), 0);
	assert_int_equal(v, 7);
	assert_int_equal(conf_uint(&big, 1, 65535, &v, &err), -EINVAL);
	assert_string_equal(err.text, "f:1:27: 70000 is not from 1 to 65535");
	assert_int_equal(conf_uint(&neg, 0, 10, &v, &err), -EINVAL);
	assert_int_equal(conf_uint(&f, 0, 10, &v, &err), -EINVAL);
	assert_string_equal(err.text, "f:2:7: expected a whole number, not a fraction");
	assert_int_equal(v, 7);
	assert_int_equal(conf_bool(&b, &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(conf_bool(&s, &flag, &err), -EINVAL);
	assert_int_equal(conf_only_keys(&root, keys, ARRAY_SIZE(keys), &err), -EINVAL);
	assert_string_equal(err.text,
			    "f:2:23: unknown key \"intercpt\"; did you mean \"intercept\"?");
	conf_doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syntax),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_typed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
