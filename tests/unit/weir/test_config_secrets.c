/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets, as flags and as a file name them: where from, where to, under which conditions. */
#include "tests/unit/weir/config_rig.h"

/* Parity: S12. */
static void test_secret_sources(void **state)
{
	static const struct {
		const char *from;
		enum secret_source source;
		const char *arg;
		uint32_t refresh_s, ttl_s;
		const char *why; /* refused */
	} table[] = {
		{ "{\"env\": \"API_KEY\"}", SECRET_FROM_ENV, "API_KEY", 0, 0, NULL },
		{ "{\"file\": \"/etc/hostname\", \"ttl\": 60}", SECRET_FROM_FILE, "/etc/hostname",
		  0, 60, NULL },
		{ "{\"command\": \"x y\", \"refresh\": 60}", SECRET_FROM_COMMAND, "x y", 60, 0, NULL },
		{ "{\"command\": \"x\", \"refresh\": 60, \"ttl\": 61}", SECRET_FROM_COMMAND, "x",
		  60, 61, NULL },
		{ .from = "{}", .why = "a source is" },
		{ .from = "{\"refresh\": 5}", .why = "a source is" },
		{ .from = "{\"env\": \"API_KEY\", \"file\": \"value\"}", .why = "two sources" },
		{ .from = "{\"env\": \"\"}", .why = "nothing in \"env\"" },
		{ .from = "{\"comand\": \"x\"}", .why = "did you mean" },
		{ .from = "{\"env\": \"API_KEY\", \"refresh\": 5}", .why = "only a command" },
		{ .from = "{\"env\": \"API_KEY\", \"ttl\": 5}", .why = "no other value" },
		{ .from = "{\"command\": \"x\", \"ttl\": 5}", .why = "\"refresh\" as well" },
		{ .from = "{\"env\": \"K\", \"output\": \"token\"}", .why = "only what a command" },
		{ .from = "{\"command\": \"x\", \"output\": \"json\"}", .why = "expected \"value\"" },
		{ .from = "{\"command\": \"x\", \"refresh\": 5, \"ttl\": 5}", .why = "longer than" },
		{ .from = "{\"command\": \"x\", \"refresh\": 0}", .why = "not from 1 to" },
		{ .from = "{\"fd\": 1}", .why = "not from 3 to" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *args[] = { "--config", "c.json", "--", "true", NULL };
		struct weir_config *c = NULL;
		struct conf_error err = { "" };
		char text[256];
		int r;

		snprintf(text, sizeof(text),
			 "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"from\": %s}]}",
			 table[i].from);
		put("c.json", text);
		r = load(args, &c, &err);
		if (table[i].why) {
			assert_int_equal(r, -EINVAL);
			if (!strstr(err.text, table[i].why))
				fail_msg("%s: %s", text, err.text);
			continue;
		}
		if (r < 0)
			fail_msg("%s: %s", text, err.text);
		assert_int_equal(c->secrets[0].source, table[i].source);
		assert_string_equal(c->secrets[0].arg, table[i].arg);
		assert_int_equal(c->secrets[0].refresh_s, table[i].refresh_s);
		assert_int_equal(c->secrets[0].ttl_s, table[i].ttl_s);
		weir_config_free(c);
	}
}

static void test_secret_flags(void **state)
{
	static const char *const args[] = { "--secret",
					    "API_KEY:header+query@api.a.com,.b.com,*.c.com",
					    "--secret-file",
					    "FILE_KEY=a@b=c@d.com",
					    "--secret-violation",
					    "block_and_terminate",
					    "--secret",
					    "OTHER@e.com",
					    "true",
					    NULL };
	struct weir_config *c = good(args);

	(void)state;
	assert_true(c->tls_intercept);
	assert_int_equal(c->n_secrets, 3);
	assert_string_equal(c->secrets[0].env, "API_KEY");
	assert_int_equal(c->secrets[0].source, SECRET_FROM_ENV);
	assert_string_equal(c->secrets[0].arg, "API_KEY");
	assert_int_equal(c->secrets[0].places, TLSPROXY_IN_HEADER | TLSPROXY_IN_QUERY);
	assert_int_equal(c->secrets[0].n_hosts, 3);
	assert_string_equal(c->secrets[0].hosts[0].name.s, "api.a.com");
	assert_false(c->secrets[0].hosts[0].is_suffix);
	assert_true(c->secrets[0].hosts[1].is_suffix && c->secrets[0].hosts[1].apex);
	assert_true(c->secrets[0].hosts[2].is_suffix && !c->secrets[0].hosts[2].apex);
	assert_int_equal(c->secrets[0].on_violation, TLSPROXY_BLOCK_AND_TERMINATE);
	assert_string_equal(c->secrets[1].env, "OTHER");
	assert_int_equal(c->secrets[1].places, TLSPROXY_PLACES_DEFAULT);
	assert_string_equal(c->secrets[2].env, "FILE_KEY");
	assert_int_equal(c->secrets[2].source, SECRET_FROM_FILE);
	assert_string_equal(c->secrets[2].arg, "a@b=c");
	weir_config_free(c);
}

static void test_fd_source(void **state)
{
	static const char *const args[] = { "--config", "c.json", "true", NULL };
	char text[160];
	int fd = open("value", O_RDONLY | O_CLOEXEC);
	struct weir_config *c;

	(void)state;
	snprintf(text, sizeof(text),
		 "{\"secrets\": [{\"env\": \"K\", \"from\": \"fd:%d\", \"hosts\": [\"a.com\"]}]}",
		 fd);
	put("c.json", text);
	c = good(args);
	assert_int_equal(c->secrets[0].source, SECRET_FROM_FD);
	/* Not read, not moved. */
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	weir_config_free(c);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secret_sources),
		cmocka_unit_test(test_secret_flags),
		cmocka_unit_test(test_fd_source),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
