/* SPDX-License-Identifier: Apache-2.0 */
/* The names that a sandbox's CA may sign for, and this machine's authorities. */
#include "weir/tls_setup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static struct policy *policy_of(const char *rules)
{
	struct conf_error err = { "" };
	struct conf_doc *doc = NULL;
	struct policy *p = NULL;
	struct conf root;
	char text[4096];

	snprintf(text, sizeof(text), "{\"default_egress\": \"deny\", %s}", rules);
	if (conf_doc_parse(text, strlen(text), "p", CONF_JSON, &doc, &err) < 0)
		fail_msg("%s", err.text);
	root = conf_root(doc);
	if (policy_load_conf(&root, &p, &err) < 0)
		fail_msg("%s", err.text);
	conf_doc_free(doc);
	return p;
}

#define RULE(action, to, more) "{\"action\": \"" action "\", \"destination\": \"" to "\"" more "}"

static void test_names(void **state)
{
	static const struct {
		const char *rules;
		const char *names; /* with a space behind each; "": cannot be listed */
	} t[] = {
		{ "\"rules\": [" RULE("allow", "a.com", "") "]", "a.com " },
		{ "\"rules\": [" RULE("allow", "a.com", "") "," RULE("allow", ".b.com", "") "," RULE(
			  "allow", "*.c.com", "") "," RULE("allow", "A.com", "") "]",
		  "a.com b.com c.com " },
		/* Denials only narrow; what carries no TCP carries no TLS. */
		{ "\"rules\": [" RULE("deny", "10.0.0.0/8", "") "," RULE("allow", "a.com", "") "," RULE(
			  "allow", "any",
			  ", \"protocols\": [\"udp\"]") "," RULE("allow", "any",
								 ", \"direction\": \"ingress\"") "]",
		  "a.com " },
		/* By address, TLS may be for any name. */
		{ "\"rules\": [" RULE("allow", "a.com", "") "," RULE("allow", "10.0.0.0/8", "") "]",
		  "" },
		{ "\"rules\": [" RULE("allow", "private", "") "]", "" },
		{ "\"rules\": [" RULE("allow", "any", ", \"direction\": \"any\"") "]", "" },
		{ "\"rules\": []", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy *p = policy_of(t[i].rules);
		struct name *names = NULL;
		char got[512] = "";
		size_t n = 99;

		assert_int_equal(tls_names_of(p, &names, &n), 0);
		for (size_t k = 0; k < n; k++)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ", names[k].s);
		if (strcmp(got, t[i].names) != 0)
			fail_msg("%s: \"%s\"", t[i].rules, got);
		free(names);
		policy_free(p);
	}
}

static void test_default_of_allow(void **state)
{
	struct policy *p = NULL;
	struct name *names = NULL;
	size_t n = 99;

	(void)state;
	assert_int_equal(policy_preset("allow_all", &p), 0);
	assert_int_equal(tls_names_of(p, &names, &n), 0);
	assert_int_equal(n, 0);
	policy_free(p);
}

/* A certificate has room for so many; more are none, not the first of them. */
static void test_too_many_names(void **state)
{
	char *rules = NULL;
	size_t size = 0, n = 99;
	FILE *f = open_memstream(&rules, &size);
	struct conf_error err = { "" };
	struct name *names = NULL;
	struct conf_doc *doc = NULL;
	struct policy *p = NULL;
	struct conf root;

	(void)state;
	fputs("{\"default_egress\": \"deny\", \"rules\": [", f);
	for (int i = 0; i < 300; i++)
		fprintf(f, "%s{\"action\": \"allow\", \"destination\": \"h%d.com\"}", i ? "," : "",
			i);
	fputs("]}", f);
	fclose(f);
	assert_int_equal(conf_doc_parse(rules, size, "p", CONF_JSON, &doc, &err), 0);
	root = conf_root(doc);
	assert_int_equal(policy_load_conf(&root, &p, &err), 0);
	assert_int_equal(tls_names_of(p, &names, &n), 0);
	assert_int_equal(n, 0);
	policy_free(p);
	conf_doc_free(doc);
	free(rules);
}

/* Parity: T09. */
static void test_host_cas(void **state)
{
	char path[] = "/tmp/weir-cas-XXXXXX";
	struct buf text = BUF_INIT(TLS_HOST_CAS_MAX + 2);
	struct conf_error err = { "" };
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "-----BEGIN CERTIFICATE-----\nmine", 32), 0);
	close(fd);
	setenv("SSL_CERT_FILE", path, 1);
	assert_int_equal(tls_host_cas(&text, &err), 0);
	assert_non_null(strstr(buf_str(&text), "mine"));
	buf_reset(&text);
	unlink(path);
	/* What the user named is not replaced by something else. */
	assert_int_equal(tls_host_cas(&text, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	unsetenv("SSL_CERT_FILE");
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_default_of_allow),
		cmocka_unit_test(test_too_many_names),
		cmocka_unit_test(test_host_cas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
