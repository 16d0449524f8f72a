/* SPDX-License-Identifier: Apache-2.0 */
/* The published schema against the loader: same keys, same words. */
#include "tests/unit/policy/policy_test.h"

static json_t *schema;

static int load_schema(void **state)
{
	(void)state;
	schema = json_load_file("policy/policy.schema.json", JSON_REJECT_DUPLICATES, NULL);
	return schema ? 0 : -1;
}

static int drop_schema(void **state)
{
	(void)state;
	json_decref(schema);
	return 0;
}

static json_t *def(const char *name)
{
	json_t *d = json_object_get(json_object_get(schema, "$defs"), name);

	assert_non_null(d);
	return d;
}

/* Loads FORMAT with the key in place of %s; true when the key is known. */
static bool knows(const char *before, const char *key, const char *after)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	char text[512];

	snprintf(text, sizeof(text), "%s\"%s\": null%s", before, key, after);
	if (load_text(text, &p, &err) == 0) {
		policy_free(p);
		return true;
	}
	return !strstr(err.text, "unknown key");
}

/* Every property is known to the loader, and the loader's number of keys is the schema's. */
static void check_keys(const char *name, const char *before, const char *after, size_t n)
{
	json_t *props = json_object_get(def(name), "properties"), *v;
	const char *key;

	json_object_foreach(props, key, v)
	{
		if (!knows(before, key, after))
			fail_msg("%s: the loader does not know \"%s\"", name, key);
	}
	assert_int_equal(json_object_size(props), n);
	assert_false(knows(before, "surely_not", after));
}

static void test_keys(void **state)
{
	(void)state;
	check_keys("with_rules", "{", "}", 9);
	check_keys("with_preset", "{", "}", 5);
	check_keys("rule", "{\"rules\": [{", "}]}", 12);
	check_keys("http", "{\"rules\": [{\"action\": \"deny\", \"destination\": \"*\", \"http\": {",
		   "}}]}", 2);
}

static void check_words(const char *name, const char *before, const char *after)
{
	json_t *words = json_object_get(def(name), "enum"), *w;
	char text[256];
	size_t i;

	assert_true(json_array_size(words) > 1);
	json_array_foreach(words, i, w)
	{
		snprintf(text, sizeof(text), "%s\"%s\"%s", before, json_string_value(w), after);
		policy_free(must_load(text));
	}
}

static void test_words(void **state)
{
	(void)state;
	check_words("preset", "", "");
	check_words("action", "{\"default_egress\": ", "}");
	check_words("on_deny", "{\"on_deny\": ", "}");
	check_words("group", "{\"rules\": [{\"action\": \"deny\", \"destination\": ", "}]}");
	check_words(
		"protocol",
		"{\"rules\": [{\"action\": \"deny\", \"destination\": \"*\", \"protocol\": ", "}]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, load_schema, drop_schema);
}
