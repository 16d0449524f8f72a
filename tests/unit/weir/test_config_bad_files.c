/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files that `weir run` refuses, each with the words of its error. */
#include "tests/unit/weir/config_rig.h"

static const struct {
	const char *text;
	const char *want;
} bad_files[] = {
	{ "", "c.json:1:1: " },
	{ "{", "c.json:1:2: " },
	{ "[]", "c.json:1:1: expected an object" },
	{ "\xef\xbb\xbf{}", "c.json:1:1: begins with a byte order mark" },
	{ "null", "c.json:1:1: expected an object" },
	{ "{} x", "c.json:1:4: text after the end" },
	{ "{\"dns\": {},\n \"dns\": {}}", "the same key twice" },
	{ "{\"polcy\": {}}", "c.json:1:2: unknown key \"polcy\"; did you mean \"policy\"?" },
	{ "{\n \"limits\": {},\n \"frobnicate\": 1\n}", "c.json:3:2: unknown key \"frobnicate\"" },
	{ "{\"policy\": {\"ruls\": []}}",
	  "c.json:1:13: unknown key \"ruls\"; did you mean \"rules\"?" },
	{ "{\"policy\": 5}", "c.json:1:12: " },
	{ "{\"policy\": \"publc\"}", "c.json:1:12: " },
	/* dns */
	{ "{\"dns\": []}", "c.json:1:9: expected an object" },
	{ "{\"dns\": {\"server\": []}}",
	  "c.json:1:10: unknown key \"server\"; did you mean \"servers\"?" },
	{ "{\"dns\": {\"servers\": \"1.1.1.1\"}}", "c.json:1:21: expected a list" },
	{ "{\"dns\": {\"servers\": [\"nope\"]}}", "c.json:1:22: " },
	{ "{\"dns\": {\"servers\": [1]}}", "c.json:1:22: expected a string, not a number" },
	{ "{\"dns\": {\"servers\": [\"\"]}}", "c.json:1:22: an empty text" },
	{ "{\"dns\": {\"servers\":\n [\"9.9.9.9\",\n \"9.9.9.9:53\"]}}",
	  "c.json:3:2: the same server twice" },
	{ "{\"dns\": {\"records\": []}}", "c.json:1:21: expected an object" },
	{ "{\"dns\": {\"records\": {\"a..b\": [\"1.1.1.1\"]}}}", "c.json:1:31: empty label" },
	{ "{\"dns\": {\"records\": {\"a.b\": [\"1.1.1\"]}}}", "c.json:1:30: " },
	{ "{\"dns\": {\"records\": {\"a.b\": []}}}", "c.json:1:29: a record without an address" },
	{ "{\"dns\": {\"records\": {\"a.b\": 5}}}", "c.json:1:29: expected a list" },
	{ "{\"dns\": {\"answers\": \"magic\"}}",
	  "c.json:1:21: answers are \"virtual\" or \"real\"" },
	{ "{\"dns\": {\"answers\": true}}", "c.json:1:21: expected a string, not true" },
	{ "{\"dns\": {\"doh\": \"Allow\"}}",
	  "c.json:1:17: DNS over HTTPS is \"deny\" or \"allow\"" },
	{ "{\"dns\": {\"doh\": true}}", "c.json:1:17: expected a string, not true" },
	{ "{\"dns\": {\"timeout_ms\": 99}}", "c.json:1:24: 99 is not from 100 to 60000" },
	{ "{\"dns\": {\"timeout_ms\": \"5s\"}}", "c.json:1:24: expected a whole number" },
	{ "{\"dns\": {\"serve_stale\": 604801}}", "c.json:1:25: 604801 is not from 0 to 604800" },
	{ "{\"dns\": {\"serve_stale\": true}}", "c.json:1:25: expected a whole number" },
	{ "{\"dns\": {\"budget\": true}}", "c.json:1:20: expected false or an object" },
	{ "{\"dns\": {\"budget\": {\"names\": 0}}}", "c.json:1:30: 0 is not from 1 to 1000000" },
	{ "{\"dns\": {\"budget\": {\"name\": 9}}}", "did you mean \"names\"" },
	{ "{\"policy_floor\": 5}", "c.json:1:18: expected a string" },
	{ "{\"policy_floor\": \"\"}", "c.json:1:18: an empty path" },
	/* tls */
	{ "{\"tls\": {\"intercept\": \"yes\"}}",
	  "c.json:1:23: expected true or false, not a string" },
	{ "{\"tls\": {\"bypas\": []}}",
	  "c.json:1:10: unknown key \"bypas\"; did you mean \"bypass\"?" },
	{ "{\"tls\": {\"ports\": [\"443\"]}}", "c.json:1:20: expected a whole number" },
	{ "{\"tls\": {\"ports\": [0]}}", "c.json:1:20: 0 is not from 1 to 65535" },
	{ "{\"tls\": {\"ports\": [443, 443]}}", "c.json:1:25: the same port twice" },
	{ "{\"tls\": {\"bypass\": [\"a b\"]}}", "c.json:1:21: " },
	{ "{\"tls\": {\"ports\": \"all\"}}", "c.json:1:19: expected a list: [...], or \"any\"" },
	{ "{\"tls\": {\"http2\": 0}}", "c.json:1:19: " },
	{ "{\"tls\": {\"ca\": \"ca.pem\"}}", "expected an object" },
	{ "{\"tls\": {\"ca\": {\"cert\": \"ca.pem\"}}}", "both \"cert\" and \"key\"" },
	{ "{\"tls\": {\"ca\": {\"cert\": \"ca.pem\", \"key\": \"none.pem\"}}}", "cannot be read" },
	{ "{\"tls\": {\"ca\": {\"cret\": \"ca.pem\"}}}", "\"cert\"" },
	{ "{\"tls\": {\"ca_hours\": 0}}", "c.json:1:22: " },
	{ "{\"tls\": {\"name_constraints\": \"yes\"}}", "c.json:1:30: " },
	{ "{\"tls\": {\"verify_upstream\": \"no\"}}", "c.json:1:29: " },
	{ "{\"tls\": {\"upstream\": {}}}", "expected a list" },
	{ "{\"tls\": {\"upstream\": [{\"verify\": false}]}}", "\"host\" is missing" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a b\"}]}}", "a pattern is" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pin\": []}]}}", "\"pins\"" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pins\": []}]}}",
	  "expected a list of pins" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pins\": [\"sha256/x\"]}]}}",
	  "a pin is" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"ca\": \"none.pem\"}]}}",
	  "cannot be read" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"client_key\": \"key.pem\"}]}}",
	  "without \"client_cert\"" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"verify\": true}, "
	  "{\"host\": \"a.com\", \"verify\": false}]}}",
	  "said twice" },
	{ "{\"tls\": {\"upstream_ca\": \"ca.pem\"}}", "c.json:1:25: expected a list" },
	{ "{\"tls\": {\"upstream_ca\": [\"key.pem\"]}}", "c.json:1:26: holds no certificate" },
	{ "{\"tls\": {\"upstream_ca\": [\"none.pem\"]}}", "c.json:1:26: cannot be read" },
	/* secrets */
	{ "{\"secrets\": {}}", "c.json:1:13: expected a list" },
	{ "{\"secrets\": [1]}", "c.json:1:14: expected an object" },
	{ "{\"secrets\": [{}]}", "c.json:1:14: \"env\" is missing" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\"}]}", "c.json:1:14: \"hosts\" is missing" },
	{ "{\"secrets\": [{\"env\": 5, \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: expected a string" },
	{ "{\"secrets\": [{\"env\": \"\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: the name of a variable" },
	{ "{\"secrets\": [{\"env\": \"A-B\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: the name of a variable" },
	{ "{\"secrets\": [{\"env\": \"PATH\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: PATH is not for secrets" },
	/* tokens */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": 1}]}",
	  "c.json:2:11: expected an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {}}]}",
	  "c.json:2:11: \"url\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"http://a.b/\"}}]}",
	  "c.json:2:19: a token endpoint is https://" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://1.2.3.4/\"}}]}",
	  "c.json:2:19: a token endpoint is https://" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://a.b/t\"}}]}",
	  "c.json:2:11: \"client_id\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://a.b/t\", \"grant\": \"client_credential\"}}]}",
	  "did you mean \"client_credentials\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"from\": "
	  "\"command:true\",\n \"token\": "
	  "{\"url\": \"https://a.b/t\", \"grant\": \"refresh_token\", \"client_id\": \"i\", "
	  "\"client_secret\": \"OTHER\"}}]}",
	  "\"client_secret\": \"OTHER\" is not the \"env\" of another secret" },
	/* tokens that the sandbox asks for */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": 1}]}",
	  "c.json:2:17: expected true, or an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"path\": 1}}]}",
	  "did you mean \"paths\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"paths\": []}}]}",
	  "expected a list of 1 to 64 texts" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"hosts\": [\"1.2.3.4\"]}}]}",
	  "is an address; a secret goes to a name" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": {\"at\": "
	  "[\"haeder\"]}}]}",
	  "did you mean \"header\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"fields\": [\"a b\"]}}]}",
	  "a key of the reply" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"mask_tokens\": true,\n "
	  "\"token\": {\"url\": "
	  "\"https://a.b/t\", \"client_id\": \"i\"}}]}",
	  "not with \"sign\" or \"token\"" },
	{ "{\"tls\": {\"bypass\": [\".b.com\"]}, \"secrets\": [{\"env\": \"HOME2\", \"hosts\": "
	  "[\"a.com\"],\n"
	  "\"from\": \"command:true\", \"mask_tokens\": {\"hosts\": [\"api.b.com\"]}}]}",
	  "could never be used for api.b.com, whose TLS is bypassed" },
	/* secrets that sign */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": 1}]}",
	  "c.json:2:10: expected an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {}}]}",
	  "c.json:2:10: \"type\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"aws_sigv5\"}}]}",
	  "c.json:2:19: unknown type; did you mean \"aws_sigv4\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"aws_sigv4\"}}]}",
	  "c.json:2:10: \"access_key_id\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"from\": "
	  "\"command:true\",\n "
	  "\"sign\": {\"type\": \"aws_sigv4\", \"access_key_id\": \"AWS_ID\"}}]}",
	  "\"access_key_id\": \"AWS_ID\" is not the \"env\" of another secret" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\", "
	  "\"haeder\": \"X\"}}]}",
	  "unknown key \"haeder\"" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\"}}]}",
	  "c.json:2:10: \"header\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\", "
	  "\"header\": \"X-S\", \"signs\": \"{bdoy}\"}}]}",
	  "\"{bdoy}\" is no part of a request" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"at\": [\"header\"], "
	  "\"from\": "
	  "\"command:true\",\n \"sign\": {\"type\": \"hmac\", \"header\": \"X-S\"}}]}",
	  "a secret that signs stands nowhere" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"methods\": "
	  "[\"get\"]}]}",
	  "c.json:2:14: not a method; methods are case-sensitive, write capitals" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"methods\": []}]}",
	  "c.json:2:13: expected a list of 1 to 64 texts" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"paths\": "
	  "[\"/a/../b\"]}]}",
	  "c.json:2:12: path \"/a/../b\" can be read in two ways" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"max_uses\": 0}]}",
	  "c.json:2:14: " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"require_tls\": 1}]}",
	  "c.json:2:17: " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"placeholder\": "
	  "\"short\"}]}",
	  "c.json:2:17: placeholder: fewer than 8 random characters" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"passthrough\": "
	  "[\"*\"]}]}",
	  "c.json:2:18: host \"*\": " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": [\"path:x\"]}]}",
	  "c.json:2:9: only header, query and body take a name" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": []}]}", "c.json:1:42: no hosts" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": \"a.com\"}]}",
	  "c.json:1:42: expected a list" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"*\"]}]}",
	  "c.json:1:43: host \"*\": " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": [\"heder\"]}]}",
	  "c.json:2:9: unknown place \"heder\"; did you mean \"header\"?" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": []}]}",
	  "c.json:2:8: no places" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"never-shown-value\"}]}",
	  "c.json:2:10: a source is \"env:VAR\", \"file:PATH\", \"fd:N\" or \"command:CMD\"; "
	  "values do not stand in this file" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"env:UNSET_KEY\"}]}",
	  "c.json:2:10: variable UNSET_KEY is not set" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"env:\"}]}",
	  "c.json:2:10: nothing behind \"env:\"" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"env:A "
	  "B\"}]}",
	  "c.json:2:10: env:" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"file:none\"}]}",
	  "c.json:2:10: file \"none\" cannot be read" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"fd:1\"}]}",
	  "c.json:2:10: a descriptor is a number from 3 on" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"fd:999\"}]}",
	  "c.json:2:10: descriptor 999 is not open" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"command: "
	  "\"}]}",
	  "c.json:2:10: the command is empty" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"], \"value\": \"x\"}]}",
	  "c.json:1:53: unknown key \"value\"" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"on_violation\": "
	  "\"blok\"}]}",
	  "c.json:2:18: unknown action; did you mean \"block\"?" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]},\n{\"env\": \"API_KEY\", "
	  "\"hosts\": [\"b.com\"]}]}",
	  "c.json:2:1: API_KEY is a secret already" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}],\n\"tls\": {\"bypass\": "
	  "[\"a.com\"]}}",
	  "c.json:1:14: could never be used for a.com, whose TLS is bypassed" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}],\n\"tls\": "
	  "{\"intercept\": false}}",
	  "c.json:2:22: secrets need interception (c.json:1:14)" },
	{ "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": \"a.com\", \"http\": "
	  "{\"methods\": [\"GET\"]}}]},\n\"tls\": {\"intercept\": false}}",
	  "c.json:2:22: rules with \"http\" need interception" },
	/* the rest */
	{ "{\"limits\": {\"max_connections\": 0}}", "c.json:1:32: 0 is not from 1 to 1000000" },
	{ "{\"limits\": {\"max_connection\": 5}}",
	  "c.json:1:13: unknown key \"max_connection\"; did you mean" },
	{ "{\"limits\": {\"max_connections\": 1.5}}",
	  "c.json:1:32: expected a whole number, not a fraction" },
	{ "{\"limits\": {\"memory\": \"1kB\"}}", "c.json:1:23: a size from 8MiB" },
	{ "{\"limits\": {\"memory\": 8000000}}", "c.json:1:23: expected a string" },
	{ "{\"limits\": {\"egress\": {\"burst\": \"64KiB\"}}}", "c.json:1:23: a burst without" },
	{ "{\"limits\": {\"egress\": {}}}", "limits nothing" },
	{ "{\"limits\": {\"egress\": {\"bandwidth\": \"10\"}}}", "c.json:1:37: needs a unit" },
	{ "{\"limits\": {\"ingress\": {\"rate\": \"10\"}}}", "unknown key \"rate\"" },
	{ "{\"publish\": [\"x\"]}", "c.json:1:14: a published port is" },
	{ "{\"publish\": {\"80\": 80}}", "c.json:1:13: expected a list" },
	{ "{\"publish\": [\"80:80\",\n \"127.0.0.1:80:81\"]}",
	  "c.json:2:2: host port 80 is published twice" },
	{ "{\"audit\": 5}", "c.json:1:11: expected an object" },
	{ "{\"audit\": {\"file\": \"\"}}", "c.json:1:20: an empty path" },
	{ "{\"audit\": {\"file\": \"none/x\"}}", "c.json:1:20: its directory: No such file" },
	{ "{\"audit\": {\"capture\": \"d\"}}", "c.json:1:23: is a directory" },
	{ "{\"audit\": {\"captur\": \"x\"}}",
	  "c.json:1:12: unknown key \"captur\"; did you mean \"capture\"?" },
};

static void test_bad_files(void **state)
{
	static const char *const args[] = { "--config", "c.json", "--", "true", NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_files); i++) {
		put("c.json", bad_files[i].text);
		check_bad(args, bad_files[i].want, bad_files[i].text);
	}
	printf("%zu bad files refused\n", ARRAY_SIZE(bad_files));
}

/* A flag against the file. */
static void test_bad_together(void **state)
{
	static const char *const dup[] = { "--config", "c.json", "--secret", "API_KEY@b.com",
					   "--",       "true",	 NULL };
	static const char *const port[] = { "--publish", "80:81", "--config", "c.json",
					    "--",	 "true",  NULL };

	(void)state;
	put("c.json", "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}]}");
	check_bad(dup, "c.json:1:14: API_KEY is a secret already", "flag and file");
	put("c.json", "{\"publish\": [\"80:80\"]}");
	check_bad(port, "c.json:1:14: host port 80 is published twice", "flag and file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_bad_together),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
