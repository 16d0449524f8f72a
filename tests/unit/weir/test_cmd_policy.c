/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy check, show, explain: exit status and output, as a script sees them. */
#include "tests/unit/weir/cmd_run.h"

static const char policy_text[] =
	"{\"policy\": {\"rules\": [\n"
	" {\"id\": \"gh\", \"action\": \"allow\", \"destination\": \"api.github.com\", "
	"\"protocol\": \"tcp\",\n"
	"  \"port\": 443, \"http\": {\"methods\": [\"GET\"], \"paths\": [\"/repos/**\"]}, "
	"\"reason\": \"read only\"},\n"
	" {\"action\": \"deny\", \"destination\": \"metadata\"},\n"
	" {\"action\": \"allow\", \"destination\": \"10.0.0.0/8\", \"ports\": [\"1-1023\"]},\n"
	" {\"id\": \"intra\", \"action\": \"allow\", \"destination\": \".corp.example\"}],\n"
	" \"deny_domains\": [\"evil.corp.example\"]}}\n";

static int make_file(void **state)
{
	(void)state;
	return put_file(file, policy_text, strlen(policy_text));
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(file);
}

static void test_explain_table(void **state)
{
	static const struct {
		const char *args;
		int status;
		const char *says;
	} table[] = {
		{ "FILE --to api.github.com:443", 0, "depends on the HTTP request" },
		{ "FILE --to api.github.com:443/tcp --method GET --path /repos/a", 0,
		  "1 (gh): read only" },
		{ "FILE --to api.github.com:443 --method POST --path /repos/a", 1,
		  "rule     default" },
		{ "FILE --to api.github.com:443 --method GET --path /x", 1, "not among the rule's" },
		{ "FILE --to api.github.com:80", 1, "port 80 is not in 443" },
		{ "FILE --to api.github.com:443/udp", 1, "protocol udp is not tcp" },
		{ "FILE --to other.com:443", 1, "may not be asked" },
		{ "FILE --to evil.corp.example:443", 1, "rule     0" },
		{ "FILE --to a.corp.example:22", 0, "4 (intra)" },
		{ "FILE --to=a.corp.example:22 --ip=10.1.1.1", 0, "address  10.1.1.1, group private" },
		{ "FILE --to a.corp.example:22 --ip 192.168.1.1", 1, "rebinding" },
		{ "FILE --to a.corp.example:80 --ip 169.254.169.254", 1, "metadata" },
		{ "FILE --to a.corp.example/icmp", 0, "4 (intra)" },
		{ "FILE --to 10.0.0.1:80", 1, "never escapes a deny by name" },
		{ "FILE --to [::ffff:169.254.169.254]:80", 1, "group metadata" },
		{ "public --to 1.1.1.1:443", 0, "destination is public" },
		{ "public --to [2606:4700::1111]:443/udp", 0, "destination is public" },
		{ "public --to 2606:4700::1111/icmp", 0, "destination is public" },
		{ "public --to 10.0.0.1:443", 1, "10.0.0.1 is in group private, not public" },
		{ "public --to 10.0.2.1:53/udp --gateway", 0, "group host" },
		{ "public --to 10.0.2.1:80 --gateway", 1, "the address is the gateway" },
		{ "none --to x.com:1", 1, "rule     default" },
		{ "allow_all --to x.com:1", 0, "rule     default" },
		{ "allow_all --to 127.0.0.1:1", 0, "rule     default" },
	};
	char line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int status;

		snprintf(line, sizeof(line), "policy explain %s", table[i].args);
		status = run(line);
		if (status != table[i].status || !strstr(out, table[i].says) ||
		    !str_starts(out, status ? "deny  " : "allow  "))
			fail_msg("%s: %d\n%s%s", line, status, out, err_out);
		snprintf(line, sizeof(line), "policy explain %s --json", table[i].args);
		assert_int_equal(run(line), table[i].status);
		json_t *o = json_loads(out, 0, NULL);

		assert_non_null(o);
		assert_string_equal(json_string_value(json_object_get(o, "verdict")),
				    status ? "deny" : "allow");
		assert_int_equal(json_integer_value(json_object_get(o, "generation")), 1);
		assert_non_null(json_object_get(o, "rule"));
		assert_true(json_is_array(json_object_get(o, "trace")));
		json_decref(o);
	}
}

static void test_json(void **state)
{
	json_t *o;

	(void)state;
	run("policy explain --json --to api.github.com:443 FILE");
	o = json_loads(out, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(o, "rule")), "gh");
	assert_true(json_is_true(json_object_get(o, "conditional")));
	json_decref(o);
	run("policy explain FILE --json --to evil.corp.example:443");
	o = json_loads(out, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(o, "rule")), 0);
	assert_true(json_is_integer(json_object_get(o, "rule")));
	json_decref(o);
	run("policy explain none --json --to x.com:443");
	o = json_loads(out, 0, NULL);
	assert_true(json_is_null(json_object_get(o, "rule")));
	assert_int_equal(json_array_size(json_object_get(o, "trace")), 0);
	json_decref(o);
}

static void test_errors(void **state)
{
	static const struct {
		const char *line, *says;
	} table[] = {
		{ "policy", "Usage: weir policy" },
		{ "policy chck FILE", "did you mean check?" },
		{ "policy frob", "unknown command frob; see: weir policy --help" },
		{ "policy check", "expected one FILE" },
		{ "policy check FILE FILE", "one argument too many: " },
		{ "policy check --jsno FILE", "unknown option --jsno; did you mean --json?" },
		{ "policy check /nonexistent.json", "cannot be read" },
		{ "policy diff FILE", "expected two policies" },
		{ "policy diff FILE FILE FILE", "one argument too many: " },
		{ "policy diff FILE publik", "did you mean \"public\"?" },
		{ "policy diff --jsno FILE FILE", "unknown option --jsno; did you mean --json?" },
		{ "policy show publik", "did you mean \"public\"?" },
		{ "policy explain", "which policy?" },
		{ "policy explain FILE", "--to HOST:PORT is missing" },
		{ "policy explain FILE --to", "--to needs a value" },
		{ "policy explain FILE public --to a.b:1", "one argument too many: public" },
		{ "policy explain FILE --too a.b:1", "unknown option --too; did you mean --to?" },
		{ "policy explain FILE --to a.b", "a port is missing" },
		{ "policy explain FILE --to a.b:0", "--to a.b:0" },
		{ "policy explain FILE --to a.b:http", "--to a.b:http" },
		{ "policy explain FILE --to a.b:80/sctp", "HOST:PORT[/tcp|udp]" },
		{ "policy explain FILE --to https://a.b/", "HOST:PORT[/tcp|udp]" },
		{ "policy explain FILE --to a.b:80/icmp", "ICMP has no port" },
		{ "policy explain FILE --to 1.2.3:80", "four decimal numbers" },
		{ "policy explain FILE --to ::1", "[ADDR]:PORT" },
		{ "policy explain FILE --to a_b..c:80", "empty label" },
		{ "policy explain FILE --to a.b:80 --ip 1.2.3", "--ip 1.2.3" },
		{ "policy explain FILE --to a.b:80 --gateway", "--gateway: needs an address" },
		{ "policy explain FILE --to 1.2.3.4:80 --ip 1.2.3.4", "give one of them" },
		{ "policy explain FILE --to a.b:80/udp --method GET", "needs tcp" },
		{ "policy explain FILE --to a.b:80 --path /a/../..", "two ways" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int status = run(table[i].line);

		if (status != 2 || !strstr(err_out, table[i].says) || out[0])
			fail_msg("%s: %d\n%s%s", table[i].line, status, out, err_out);
	}
}

/* Checks this policy with these options; the output is in `out`. */
static int check_text(const char *text, const char *options)
{
	char path[] = "/tmp/weir-test-check-XXXXXX", line[256];
	int fd = mkstemp(path), status;

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	snprintf(line, sizeof(line), "policy check %s%s", path, options);
	status = run(line);
	unlink(path);
	return status;
}

/* Findings are told, and are an error only where one asks for it; notes never are. */
static void test_findings(void **state)
{
	static const char idle[] = "{\"rules\": [{\"action\": \"deny\", \"destination\": \"*\"}]}";
	static const char dead[] = "{\"rules\": [{\"id\": \"net\", \"action\": \"allow\", "
				   "\"destination\": \"10.0.0.0/8\"},"
				   "{\"action\": \"deny\", \"destination\": \"10.1.0.0/16\"}]}";
	json_t *o, *v;

	(void)state;
	assert_int_equal(check_text(idle, " --strict"), 0);
	assert_non_null(strstr(out, "note: rule 0 changes nothing"));
	assert_int_equal(check_text(dead, ""), 0);
	assert_non_null(strstr(out, "valid, 2 rules, 1 finding\n"));
	assert_non_null(strstr(out, "warning: rule 1 can never match: rule 0 (net) decides"));
	assert_non_null(strstr(out, "for example tcp 10.1.0.1:443 without a name\n"));
	assert_int_equal(check_text(dead, " --strict --json"), 1);
	o = json_loads(out, 0, NULL);
	assert_non_null(o);
	assert_true(json_is_true(json_object_get(o, "valid")));
	v = json_array_get(json_object_get(o, "findings"), 0);
	assert_string_equal(json_string_value(json_object_get(v, "severity")), "warning");
	assert_string_equal(json_string_value(json_object_get(v, "other")), "net");
	assert_int_equal(json_integer_value(json_object_get(v, "index")), 1);
	json_decref(o);
}

static void test_diff(void **state)
{
	json_t *o, *v;

	(void)state;
	assert_int_equal(run("policy diff public default"), 0);
	assert_string_equal(out, "equivalent\n");
	assert_int_equal(run("policy diff public non_local"), 1);
	assert_non_null(strstr(out, "now allowed:"));
	assert_non_null(strstr(out, "to        private\n"));
	assert_non_null(strstr(out, "denied by the default, then allowed by rule 2"));
	assert_int_equal(run("policy diff --json FILE none"), 1);
	o = json_loads(out, 0, NULL);
	assert_non_null(o);
	assert_true(json_is_false(json_object_get(o, "equivalent")));
	v = json_array_get(json_object_get(o, "changes"), 0);
	assert_string_equal(json_string_value(json_object_get(v, "now")), "deny");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(v, "after"), "verdict")), "deny");
	json_decref(o);
}

static void test_check_show_help(void **state)
{
	struct policy *p;
	char *text;

	(void)state;
	assert_int_equal(run("policy check FILE"), 0);
	assert_non_null(strstr(out, "valid, 5 rules"));
	assert_int_equal(run("policy show FILE"), 0);
	p = must_load(out);
	text = printed(p);
	assert_string_equal(text, out);
	free(text);
	policy_free(p);
	assert_int_equal(run("policy show non_local"), 0);
	for (size_t i = 0; i < 4; i++) {
		static const char *const lines[] = { "policy --help", "policy check --help",
						     "policy show -h", "policy explain --help" };

		assert_int_equal(run(lines[i]), 0);
		assert_true(str_starts(out, "Usage: weir policy"));
		assert_string_equal(err_out, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explain_table), cmocka_unit_test(test_json),
		cmocka_unit_test(test_errors),	      cmocka_unit_test(test_findings),
		cmocka_unit_test(test_diff),	      cmocka_unit_test(test_check_show_help),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
