/* SPDX-License-Identifier: Apache-2.0 */
/* --config and --policy in YAML and TOML: the same configuration, the same complaints. */
#include "weir/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-formats-XXXXXX";

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	setenv("API_KEY", "never-shown-value", 1);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = { "c.json", "c.yaml", "c.yml",
					     "c.toml", "p.yaml", "p.toml" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i]);
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
	return 0;
}

static int load(const char *flag, const char *file, struct weir_config **c, struct conf_error *err)
{
	static char *argv[4];
	static char words[3][32];

	snprintf(words[0], sizeof(words[0]), "%s", flag);
	snprintf(words[1], sizeof(words[1]), "%s", file);
	snprintf(words[2], sizeof(words[2]), "true");
	for (size_t i = 0; i < 3; i++)
		argv[i] = words[i];
	err->text[0] = 0;
	return weir_config_load(CONFIG_RUN, 3, argv, c, err);
}

static const char json[] =
	"{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": \"*.a.example\"}]},\n"
	" \"dns\": {\"servers\": [\"9.9.9.9:5353\"], \"records\": {\"x.test\": [\"10.0.0.1\", "
	"\"fd00::1\"]},\n  \"timeout_ms\": 750},\n"
	" \"tls\": {\"intercept\": true, \"ports\": [443, 8443]},\n"
	" \"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.example\"], \"at\": [\"body\"]}],\n"
	" \"limits\": {\"max_connections\": 100}, \"publish\": [\"8080:80\"],\n"
	" \"audit\": {\"file\": \"mine.jsonl\"}}\n";

static const char yaml[] = "policy:\n"
			   "  rules:\n"
			   "  - {action: allow, destination: '*.a.example'}\n"
			   "dns:\n"
			   "  servers: ['9.9.9.9:5353']\n"
			   "  records:\n"
			   "    x.test: [10.0.0.1, 'fd00::1']\n"
			   "  timeout_ms: 750\n"
			   "tls:\n"
			   "  intercept: true\n"
			   "  ports: [443, 8443]\n"
			   "secrets:\n"
			   "- env: API_KEY\n"
			   "  hosts: [a.example]\n"
			   "  at: [body]\n"
			   "limits: {max_connections: 100}\n"
			   "publish: ['8080:80']\n"
			   "audit:\n"
			   "  file: mine.jsonl\n";

static const char toml[] = "publish = [\"8080:80\"]\n"
			   "limits.max_connections = 100\n"
			   "[[policy.rules]]\n"
			   "action = \"allow\"\n"
			   "destination = \"*.a.example\"\n"
			   "[dns]\n"
			   "servers = [\"9.9.9.9:5353\"]\n"
			   "timeout_ms = 750\n"
			   "records.\"x.test\" = [\"10.0.0.1\", \"fd00::1\"]\n"
			   "[tls]\n"
			   "intercept = true\n"
			   "ports = [443, 8443]\n"
			   "[[secrets]]\n"
			   "env = \"API_KEY\"\n"
			   "hosts = [\"a.example\"]\n"
			   "at = [\"body\"]\n"
			   "[audit]\n"
			   "file = \"mine.jsonl\"\n";

/* Parity: p1.9-file, n32. */
static void test_same(void **state)
{
	static const struct {
		const char *file, *text;
	} table[] = { { "c.json", json }, { "c.yaml", yaml }, { "c.yml", yaml }, { "c.toml", toml } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct weir_config *c = NULL;
		struct conf_error err;

		put(table[i].file, table[i].text);
		if (load("--config", table[i].file, &c, &err) < 0)
			fail_msg("%s: %s", table[i].file, err.text);
		assert_int_equal(policy_rule_count(c->policy), 1);
		assert_int_equal(c->n_dns_servers, 1);
		assert_int_equal(c->dns_servers[0].port, 5353);
		assert_int_equal(c->n_dns_records, 2);
		assert_string_equal(c->dns_records[0].name.s, "x.test");
		assert_int_equal(c->dns_records[1].addr.family, 6);
		assert_int_equal(c->dns_timeout_ms, 750);
		assert_true(c->tls_intercept);
		assert_int_equal(c->n_tls_ports, 2);
		assert_int_equal(c->n_secrets, 1);
		assert_int_equal(c->secrets[0].places, TLSPROXY_IN_BODY);
		assert_int_equal(c->max_connections, 100);
		assert_int_equal(c->publish[0].bind.port, 8080);
		assert_string_equal(c->audit_path, "mine.jsonl");
		weir_config_free(c);
	}
}

static void test_complaints(void **state)
{
	static const struct {
		const char *flag, *file, *text, *says;
	} bad[] = {
		{ "--config", "c.yaml", "polcy: {}\n",
		  "c.yaml:1:1: unknown key \"polcy\"; did you mean" },
		{ "--config", "c.yaml", "publish:\n- 80:80\n",
		  "c.yaml:2:3: 80:80 without quotes may be read as a number in base 60: quote it" },
		{ "--config", "c.yaml", "tls: {intercept: on}\n", "c.yaml:1:18: on without quotes" },
		{ "--config", "c.yaml", "secrets:\n- env: API_KEY\n  value: never-shown-value\n",
		  "c.yaml:3:3: unknown key \"value\"" },
		{ "--config", "c.yaml",
		  "secrets:\n- env: API_KEY\n  hosts: [a.b]\n  from: \"never-shown-value\"\n",
		  "c.yaml:4:9: a source is" },
		{ "--config", "c.yml", "tls:\n  ports: [443, '8443']\n",
		  "c.yml:2:16: expected a whole number" },
		{ "--config", "c.toml", "[tsl]\n",
		  "c.toml:1:2: unknown key \"tsl\"; did you mean \"tls\"?" },
		{ "--config", "c.toml", "[limits]\nmax_connections = 1.5\n",
		  "c.toml:2:19: a fraction" },
		{ "--config", "c.toml", "[tls]\nports = [443,\n 70000]\n",
		  "c.toml:3:2: 70000 is not from" },
		{ "--config", "c.toml", "[dns.records]\n\"x.test\" = \"10.0.0.300\"\n",
		  "c.toml:2:12: " },
		{ "--policy", "p.yaml", "policy:\n  rules:\n  - action: alow\n    destination: doh\n",
		  "p.yaml:3:13: unknown action \"alow\"" },
		{ "--policy", "p.toml", "[[rules]]\naction = \"deny\"\ndestination = \"*.com\"\n",
		  "p.toml:1:1: suffix \"com\" covers a whole top-level domain" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weir_config *c = NULL;
		struct conf_error err;

		put(bad[i].file, bad[i].text);
		if (load(bad[i].flag, bad[i].file, &c, &err) >= 0)
			fail_msg("accepted: %s", bad[i].text);
		if (!strstr(err.text, bad[i].says))
			fail_msg("%s\ngot  %s\nwant %s", bad[i].text, err.text, bad[i].says);
		assert_null(strstr(err.text, "never-shown-value"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_complaints),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
