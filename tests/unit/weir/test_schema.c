/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published schema of a configuration against the reader: same keys, same
 * words, and its examples are taken. Runs in the source directory.
 */
#include "weir/config.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static json_t *schema;
static char dir[] = "/tmp/weir-schema-XXXXXX", file[64], key[64], refused[64];

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/c.json", dir);
	snprintf(key, sizeof(key), "%s/api.key", dir);
	snprintf(refused, sizeof(refused), "%s/refused.json", dir);
	put(key, "abcdefgh\n");
	setenv("K", "abcdefgh", 1);
	setenv("PROXY_PASSWORD", "abcdefgh", 1);
	schema = json_load_file("weir/config.schema.json", JSON_REJECT_DUPLICATES, NULL);
	return schema ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(schema);
	unlink(file);
	unlink(key);
	unlink(refused);
	rmdir(dir);
	return 0;
}

/* What the reader says of a file with this text; "" when it is taken. */
static const char *complaint(const char *text)
{
	char flag[] = "--config", command[] = "true";
	char *argv[] = { flag, file, command, NULL };
	static struct conf_error err;
	struct weir_config *c = NULL;

	put(file, text);
	err.text[0] = 0;
	if (weir_config_load(CONFIG_RUN, 3, argv, &c, &err) == 0) {
		weir_config_free(c);
		return "";
	}
	return err.text;
}

static json_t *def(const char *name)
{
	json_t *d = name ? json_object_get(json_object_get(schema, "$defs"), name) : schema;

	assert_non_null(d);
	return d;
}

static bool knows(const char *before, const char *name, const char *after)
{
	char text[512];

	snprintf(text, sizeof(text), "%s\"%s\": null%s", before, name, after);
	return !strstr(complaint(text), "unknown key");
}

/* Every property is known to the reader, and the reader's number of keys is the schema's. */
static void check_keys(const char *name, const char *before, const char *after, size_t n)
{
	json_t *props = json_object_get(def(name), "properties"), *v;
	const char *prop;

	json_object_foreach(props, prop, v)
	{
		if (!knows(before, prop, after))
			fail_msg("%s: the reader does not know \"%s\"", name, prop);
	}
	assert_int_equal(json_object_size(props), n);
	assert_false(knows(before, "surely_not", after));
}

static void test_keys(void **state)
{
	(void)state;
	check_keys(NULL, "{", "}", 13);
	check_keys("machine", "{\"machine\": {", "}}", 16);
	check_keys("proxy", "{\"proxy\": {", "}}", 5);
	check_keys("network", "{\"network\": {", "}}", 7);
	check_keys("gateway", "{\"gateway\": {", "}}", 3);
	check_keys("dns", "{\"dns\": {", "}}", 7);
	check_keys("http", "{\"http\": {", "}}", 1);
	check_keys("tls", "{\"tls\": {", "}}", 11);
	check_keys("secret", "{\"secrets\": [{", "}]}", 14);
	check_keys("token", "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"token\": {\"url\": \"https://a.b/c\",",
		   "}}]}", 7);
	check_keys("mask_tokens",
		   "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"mask_tokens\": {",
		   "}}]}", 4);
	check_keys("sign_aws", "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"sign\": {\"type\": \"aws_sigv4\",",
		   "}}]}", 3);
	check_keys("sign_hmac", "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"sign\": {\"type\": \"hmac\",",
		   "}}]}", 6);
	check_keys("limits", "{\"limits\": {", "}}", 8);
	check_keys("rate", "{\"limits\": {\"egress\": {", "}}}", 3);
	check_keys("audit", "{\"audit\": {", "}}", 2);
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
		assert_string_equal(complaint(text), "");
	}
}

static void test_words(void **state)
{
	(void)state;
	check_words("answers", "{\"dns\": {\"answers\": ", "}}");
	check_words("doh", "{\"dns\": {\"doh\": ", "}}");
	check_words("place", "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"at\": [",
		    "]}]}");
	check_words(
		"on_violation",
		"{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"on_violation\": ", "}]}");
}

static void test_examples(void **state)
{
	json_t *examples = json_object_get(schema, "examples"), *e;
	size_t i;

	(void)state;
	assert_true(json_array_size(examples) > 1);
	json_array_foreach(examples, i, e)
	{
		char *text = json_dumps(e, 0);

		assert_non_null(text);
		assert_string_equal(complaint(text), "");
		free(text);
	}
}

/* The schema is one, its examples fit it, and it refuses what the reader refuses. */
static void test_validator(void **state)
{
	pid_t pid = fork();
	json_t *bad, *doc;
	size_t i;
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		execlp("/usr/bin/python3", "python3", "-Wignore", "tests/unit/weir/check_schema.py",
		       refused, (char *)NULL);
		_exit(77);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("SKIPPED: python3-jsonschema is not installed; the schemas of "
			      "configuration and policy are not run\n");
		skip();
	}
	assert_int_equal(status, 0);
	bad = json_load_file(refused, 0, NULL);
	assert_true(json_array_size(bad) > 30);
	json_array_foreach(bad, i, doc)
	{
		char *text = json_dumps(doc, JSON_ENCODE_ANY);

		assert_non_null(text);
		if (str_eq(complaint(text), ""))
			fail_msg("the schema refuses what the reader takes: %s", text);
		free(text);
	}
	json_decref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_validator),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
