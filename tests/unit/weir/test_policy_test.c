/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy test: tables of expectations; and explain's word on queries and floors. */
#include "tests/unit/weir/cmd_run.h"

static const char policy_text[] =
	"{\"policy\": {\"default_ingress\": \"deny\", \"rules\": [\n"
	" {\"id\": \"meta\", \"action\": \"deny\", \"destination\": \"metadata\"},\n"
	" {\"id\": \"gh-read\", \"action\": \"allow\", \"destination\": \"api.github.com\", "
	"\"protocol\": \"tcp\", \"port\": 443,\n"
	"  \"http\": {\"methods\": [\"GET\"], \"paths\": [\"/repos/**\"]}},\n"
	" {\"action\": \"allow\", \"destination\": \"registry.npmjs.org\", \"ports\": [443]},\n"
	" {\"id\": \"gw\", \"action\": \"allow\", \"destination\": \"host\", \"ports\": [8080]},\n"
	" {\"id\": \"in\", \"action\": \"allow\", \"direction\": \"ingress\", "
	"\"destination\": \"203.0.113.0/24\", \"ports\": [80]},\n"
	" {\"id\": \"lan\", \"action\": \"allow\", \"destination\": \"10.0.0.0/8\"}]}}\n";

static int make_files(void **state)
{
	(void)state;
	return put_file(file, policy_text, strlen(policy_text)) || put_file(file2, "", 0);
}

static int remove_files(void **state)
{
	(void)state;
	return unlink(file) || unlink(file2);
}

static int run_table(const char *args, const char *table)
{
	char line[256];

	assert_int_equal(put_file(file2, table, strlen(table)), 0);
	snprintf(line, sizeof(line), "policy test FILE FILE2%s", args);
	return run(line);
}

static void test_as_expected(void **state)
{
	static const char table[] =
		"# comment\n"
		"\n"
		"allow  api.github.com:443            GET /repos/acme/x   rule=gh-read\n"
		"deny   api.github.com:443  POST /repos/acme/x rule=default # behind a case\n"
		"deny   169.254.169.254:80            rule=meta\r\n"
		"deny   169.254.169.254:80            rule=0\n"
		"allow  10.0.0.1/icmp rule=lan\n"
		"allow  dns registry.npmjs.org        AAAA\n"
		"allow  dns registry.npmjs.org\n"
		"deny   dns registry.npmjs.org MX\n"
		"deny   dns other.example\n"
		"deny   ingress 203.0.113.9:8080\n"
		"allow  ingress 203.0.113.9:80 rule=in\n"
		"allow  registry.npmjs.org:443/udp ip=93.184.216.34\n"
		"deny   registry.npmjs.org:443 ip=192.168.0.1\n"
		"allow  93.184.216.34:443 name=registry.npmjs.org\n"
		"deny   93.184.216.34:443\n"
		"allow  192.0.0.1:8080 gateway rule=gw\n"
		"deny   [::ffff:169.254.169.254]:80 rule=meta"; /* no newline at the end */

	(void)state;
	if (run_table("", table) != 0)
		fail_msg("%s%s", out, err_out);
	assert_non_null(strstr(out, "17 cases, 17 as expected, 0 not"));
}

static void test_not_as_expected(void **state)
{
	json_t *o;

	(void)state;
	assert_int_equal(run_table("", "allow 1.2.3.4:5\nallow 10.0.0.1:1\n"
				       "allow 10.0.0.1:1 rule=gw\n"),
			 1);
	assert_non_null(strstr(out, ":1: 1.2.3.4:5: expected allow, got deny by rule default: "
				    "no rule matched"));
	assert_non_null(strstr(out, ":3: 10.0.0.1:1: expected allow by rule gw, got allow by rule "
				    "5 (lan)"));
	assert_non_null(strstr(out, "3 cases, 1 as expected, 2 not"));
	assert_int_equal(run_table(" --json", "allow 1.2.3.4:5\n"), 1);
	o = json_loads(out, 0, NULL);
	assert_non_null(o);
	assert_int_equal(json_integer_value(json_object_get(o, "failed")), 1);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(json_object_get(o, "failures"), 0), "got")),
			    "deny");
	json_decref(o);
}

static void test_bad_tables(void **state)
{
	static const struct {
		const char *table, *says;
	} cases[] = {
		{ "", "no case in it" },
		{ "# only this\n\n", "no case in it" },
		{ "permit 1.2.3.4:5", ":1:1: \"permit\": a case begins with allow or deny" },
		{ "allow 1.2.3.4:5\n  allow", ":2:3: allow of what?" },
		{ "allow dns", ":1:7: dns of what?" },
		{ "allow 1.2.3.4", ":1:7: a port is missing" },
		{ "allow a.b:80 ip=1.2.3", ":1:17: an IPv4 address" },
		{ "allow a.b:80 ip=", ":1:14: ip= has no value" },
		{ "allow a.b:80 ip=1.2.3.4 ip=1.2.3.4", ":1:25: ip= twice" },
		{ "allow a.b:80 name=c.d", ":1:19: beside a name" },
		{ "allow 1.2.3.4:80 ip=1.2.3.4", ":1:21: beside an address" },
		{ "allow a.b:80 GET", ":1:14: GET of which path?" },
		{ "allow a.b:80 GET x", ":1:14: GET of which path?" },
		{ "allow a.b:80 GET /a/../..", ":1:18: can be read in two ways" },
		{ "allow a.b:80 get /x", ":1:14: \"get\" is neither" },
		{ "allow a.b:80/udp GET /x", ":1:18: a request needs tcp" },
		{ "allow dns a.b BOGUS", "\"BOGUS\" is neither" },
		{ "allow dns a.b:53", ":1:11: " },
		{ "allow dns a.b ip=1.2.3.4", "a query has a name and a type" },
		{ "allow ingress a.b:80", ":1:15: the peer of an ingress flow is an address" },
		{ "allow ingress 1.2.3.4:80 GET /", ":1:26: requests into the sandbox" },
		{ "allow a.b:80 gateway", "needs an address" },
		{ "allow \x1b[2J:80", "letters, digits" },
		{ "allow a:1 b c d e f g h i j k l m n o", ":1:11: \"b\" is neither" },
		{ "allow a b c d e f g h i j k l m n o p", "more words" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int status = run_table("", cases[i].table);

		if (status != 2 || !strstr(err_out, cases[i].says) || strchr(err_out, '\x1b'))
			fail_msg("%s: %d\n%s%s", cases[i].table, status, out, err_out);
	}
	assert_int_equal(run("policy test FILE"), 2);
	assert_non_null(strstr(err_out, "expected FILE or PRESET and CASES"));
	assert_int_equal(run("policy test FILE /nonexistent"), 2);
	assert_int_equal(run("policy test FILE FILE2 --jsn"), 2);
	assert_non_null(strstr(err_out, "did you mean --json?"));
}

static void test_nul_in_a_table(void **state)
{
	(void)state;
	assert_int_equal(put_file(file2, "allow 10.0.0.1:1\0x\n", 19), 0);
	assert_int_equal(run("policy test FILE FILE2"), 2);
	assert_non_null(strstr(err_out, ":1:17: a NUL byte"));
}

static void test_floor(void **state)
{
	(void)state;
	assert_int_equal(run_table(" --floor none", "allow 10.0.0.1:1\n"), 1);
	assert_non_null(strstr(out, "the floor's default"));
	assert_int_equal(run_table(" --floor allow_all", "allow 10.0.0.1:1\n"), 0);
	assert_int_equal(run("policy explain FILE --to 10.0.0.1:1 --floor none"), 1);
	assert_non_null(strstr(out, "rule     the floor's default"));
	assert_int_equal(run("policy explain FILE --to 10.0.0.1:1 --floor nosuch"), 2);
	assert_non_null(strstr(err_out, "--floor: "));
}

static void test_explain_queries(void **state)
{
	static const struct {
		const char *args;
		int status;
		const char *says;
	} table[] = {
		{ "--to registry.npmjs.org --dns", 0, "allow  registry.npmjs.org A (query)" },
		{ "--dns AAAA --to registry.npmjs.org", 0, "registry.npmjs.org AAAA" },
		{ "--dns=HTTPS --to registry.npmjs.org", 0, "registry.npmjs.org HTTPS" },
		{ "--to registry.npmjs.org --dns MX", 1, "a rule for the name may open it" },
		{ "--to registry.npmjs.org --dns TYPE99", 1, "weir asks for A, AAAA" },
		{ "--to other.example --dns", 1, "default: no rule matched" },
		{ "--to a.b:53 --dns", 2, "of a query the name alone" },
		{ "--to a.b --dns=XX", 2, "--dns XX: no type" },
		{ "--to 8.8.8.8:53/udp", 1, "port 53 is intercepted" },
		{ "--to registry.npmjs.org --dns --json", 0, "\"type_served\": true" },
	};
	char line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int status;

		snprintf(line, sizeof(line), "policy explain FILE %s", table[i].args);
		status = run(line);
		if (status != table[i].status || !strstr(status == 2 ? err_out : out, table[i].says))
			fail_msg("%s: %d\n%s%s", line, status, out, err_out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_expected), cmocka_unit_test(test_not_as_expected),
		cmocka_unit_test(test_bad_tables),  cmocka_unit_test(test_nul_in_a_table),
		cmocka_unit_test(test_floor),	    cmocka_unit_test(test_explain_queries),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
