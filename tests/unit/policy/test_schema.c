/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published schema against the loader: same keys, same words, the same verdict
 * on a table of documents. Runs in the source directory.
 */
#include "tests/unit/policy/policy_test.h"

#include <sys/wait.h>
#include <unistd.h>

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

static json_t *properties(json_t *of)
{
	json_t *p = json_object_get(of, "properties");

	assert_non_null(p);
	return p;
}

/* What the loader lists when it is asked for a key that is like no other. */
static json_t *loader_keys(const char *before, const char *after)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	json_t *keys = json_object();
	char text[256], *list, *save = NULL;

	snprintf(text, sizeof(text), "%s\"zzzzzzzzzzzzzzzzzzzzzz\": null%s", before, after);
	assert_int_equal(load_text(text, &p, &err), -EINVAL);
	list = strstr(err.text, "; known are ");
	assert_non_null(list);
	for (char *key = strtok_r(list + strlen("; known are "), ", ", &save); key;
	     key = strtok_r(NULL, ", ", &save))
		assert_int_equal(json_object_set_new(keys, key, json_true()), 0);
	return keys;
}

/* Takes over neither. */
static void check_same_keys(const char *what, json_t *loader, json_t *props)
{
	const char *key;
	json_t *v;

	json_object_foreach(loader, key, v)
	{
		if (!json_object_get(props, key))
			fail_msg("%s: \"%s\" is not in the schema", what, key);
	}
	json_object_foreach(props, key, v)
	{
		if (!json_object_get(loader, key))
			fail_msg("%s: the loader does not know \"%s\"", what, key);
	}
}

static void test_keys(void **state)
{
#define IN_RULE "{\"rules\": [{\"action\": \"deny\", \"destination\": "
	json_t *dest = json_array_get(json_object_get(def("destination"), "oneOf"), 1);
	json_t *range = json_array_get(json_object_get(def("port"), "oneOf"), 2);
	const struct {
		const char *what, *before, *after;
		json_t *props;
	} table[] = {
		{ "rule", "{\"rules\": [{", "}]}", properties(def("rule")) },
		{ "http", IN_RULE "\"*\", \"http\": {", "}}]}", properties(def("http")) },
		{ "destination", IN_RULE "{", "}}]}", properties(dest) },
		{ "port range", IN_RULE "\"*\", \"port\": {", "}}]}", properties(range) },
	};
	json_t *loader = loader_keys("{", "}"), *both = json_object();

	(void)state;
	json_object_update(both, properties(def("with_rules")));
	json_object_update(both, properties(def("with_preset")));
	check_same_keys("policy", loader, both);
	json_decref(both);
	json_decref(loader);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		loader = loader_keys(table[i].before, table[i].after);
		check_same_keys(table[i].what, loader, table[i].props);
		json_decref(loader);
	}
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
	check_words("group", IN_RULE, "}]}");
	check_words("protocol", IN_RULE "\"*\", \"protocol\": ", "}]}");
	check_words("qtype",
		    "{\"rules\": [{\"action\": \"allow\", \"destination\": \"*\", \"qtypes\": [",
		    "]}]}");
}

/* Each document in the three spellings; TOML's top is a table, and it has no null. */
static void check_case(json_t *doc, bool valid)
{
	char *text = json_dumps(doc, JSON_ENCODE_ANY);
	enum conf_format formats[] = { CONF_JSON, CONF_YAML };

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct conf_doc *d = NULL;
		struct policy *p = NULL;
		struct conf_error err = { "" };
		struct conf root;
		int r = conf_doc_parse(text, strlen(text), "f", formats[i], &d, &err);

		if (r == 0) {
			root = conf_root(d);
			r = policy_load_conf(&root, &p, &err);
		}
		if ((r == 0) != valid)
			fail_msg("%s: %s", text, r < 0 ? err.text : "taken");
		policy_free(p);
		conf_doc_free(d);
	}
	free(text);
}

static void test_cases(void **state)
{
	json_t *cases =
		json_load_file("tests/unit/policy/schema_cases.json", JSON_REJECT_DUPLICATES, NULL);
	json_t *valid = json_object_get(cases, "valid"),
	       *invalid = json_object_get(cases, "invalid");
	json_t *doc;
	size_t i;

	(void)state;
	assert_true(json_array_size(valid) >= 20);
	assert_true(json_array_size(invalid) >= 90);
	json_array_foreach(valid, i, doc) check_case(doc, true);
	json_array_foreach(invalid, i, doc) check_case(doc, false);
	json_decref(cases);
}

/* The same table, and the spellings that the manual shows, by the schema itself. */
static void test_validator(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		execlp("/usr/bin/python3", "python3", "-Wignore",
		       "tests/unit/policy/check_schema.py", (char *)NULL);
		_exit(77);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("SKIPPED: python3-jsonschema or python3-yaml is not installed\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_validator),
	};

	return cmocka_run_group_tests(tests, load_schema, drop_schema);
}
