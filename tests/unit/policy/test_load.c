/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON form: what every spelling expands to, and where every mistake is found. */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

#include <sys/stat.h>
#include <unistd.h>

/* One rule, alone in a list: the rule starts at column 12. */
#define RULE(r) "{\"rules\": [" r "]}"

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *says;
	} bad[] = {
		/* the policy */
		{ "[]", "f:1:1: ", "a policy is an object or the name of a preset" },
		{ "7", "f:1:1: ", "a policy is an object" },
		{ "null", "f:1:1: ", "a policy is an object" },
		{ "\"publik\"", "f:1:1: ", "did you mean \"public\"?" },
		{ "\"zzz\"", "f:1:1: ", "it is none, public_only, non_local or allow_all" },
		{ "{\"rulse\": []}", "f:1:2: ", "unknown key \"rulse\"; did you mean \"rules\"?" },
		{ "{\n  \"default_egres\": \"deny\"}", "f:2:3: ", "did you mean \"default_egress\"?" },
		{ "{\"allow\": []}", "f:1:2: ", "unknown key \"allow\"" },
		{ "{\"policy\": {}}", "f:1:2: ", "unknown key \"policy\"" },
		{ "{\"default_egress\": \"alow\"}", "f:1:20: ", "did you mean \"allow\"?" },
		{ "{\"default_egress\": \"block\"}", "f:1:20: ", "it is allow or deny" },
		{ "{\"default_egress\": true}", "f:1:20: ", "expected a string, not true" },
		{ "{\"default_ingress\": \"none\"}", "f:1:21: ", "unknown action" },
		{ "{\"on_deny\": \"drp\"}", "f:1:13: ", "did you mean \"drop\"?" },
		{ "{\"on_deny\": 1}", "f:1:13: ", "expected a string" },
		{ "{\"rules\": {}}", "f:1:11: ", "expected a list of rules" },
		{ "{\"rules\": [\"allow\"]}", "f:1:12: ", "expected an object, not a string" },
		{ "{\"rules\": [], \"rules\": []}", "f:1:15: ", "the same key twice" },
		{ "{\"rules\": [}", "f:1:12: ", "not valid JSON" },
		/* presets */
		{ "{\"preset\": \"publc_only\"}", "f:1:12: ", "did you mean \"public_only\"?" },
		{ "{\"preset\": 1}", "f:1:12: ", "expected a string" },
		{ "{\"preset\": \"none\", \"rules\": []}", "f:1:29: ", "takes deny lists only" },
		{ "{\"preset\": \"none\", \"default_egress\": \"allow\"}",
		  "f:1:38: ", "\"default_egress\" beside \"preset\"" },
		{ "{\"preset\": \"none\", \"allow_domains\": [\"a.b\"]}",
		  "f:1:37: ", "takes deny lists only" },
		/* lists */
		{ "{\"deny_domains\": \"a.b\"}", "f:1:18: ", "expected a list of names" },
		{ "{\"deny_domains\": [7]}", "f:1:19: ", "expected a string, not a number" },
		{ "{\"deny_domains\": [\"a.b\",\n \"*.evil.com\"]}",
		  "f:2:2: ", "a wildcard stands alone at the front" },
		{ "{\"deny_domains\": [\"evil..com\"]}", "f:1:19: ", "empty label" },
		{ "{\"deny_domains\": [\"1.2.3.4\"]}", "f:1:19: ", "last label reads as a number" },
		{ "{\"deny_domains\": [\"b\xc3\xbc.com\"]}", "f:1:19: ", "write it as A-labels" },
		{ "{\"deny_domain_suffixes\": [\"com\"]}", "f:1:27: ", "at least two labels" },
		{ "{\"deny_domain_suffixes\": [\".com\"]}", "f:1:27: ", "at least two labels" },
		{ "{\"deny_domain_suffixes\": [\"*.x.com\"]}",
		  "f:1:27: ", "means only what is below" },
		{ "{\"allow_domains\": [\"a b.com\"]}", "f:1:20: ", "host names have" },
		{ "{\"allow_domains\": [\"\"]}", "f:1:20: ", "a host name is missing" },
		/* a rule's head */
		{ RULE("{}"), "f:1:12: ", "needs an \"action\"" },
		{ RULE("{\"action\": \"allow\"}"), "f:1:12: ", "needs a \"destination\"" },
		{ RULE("{\"acton\": \"allow\"}"), "f:1:13: ", "did you mean \"action\"?" },
		{ RULE("{\"action\": \"alow\", \"destination\": \"*\"}"),
		  "f:1:23: ", "did you mean \"allow\"?" },
		{ RULE("{\"action\": null, \"destination\": \"*\"}"),
		  "f:1:23: ", "expected a string, not null" },
		{ RULE("{\"action\": \"deny\", \"destinaton\": \"*\"}"),
		  "f:1:31: ", "did you mean \"destination\"?" },
		{ RULE("{\"action\": \"deny\", \"direction\": \"egres\"}"),
		  "f:1:44: ", "did you mean \"egress\"?" },
		{ RULE("{\"action\": \"deny\", \"direction\": \"out\"}"),
		  "f:1:44: ", "egress, ingress or any" },
		{ RULE("{\"id\": \"7\", \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:1:19: ", "reads as a rule's index" },
		{ RULE("{\"id\": \"\", \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:1:19: ", "1 to 64 characters" },
		{ RULE("{\"id\": \"a b\", \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:1:19: ", "letters, digits" },
		{ RULE("{\"id\": 5, \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:1:19: ", "expected a string" },
		{ RULE("{\"id\": \"a\", \"action\": \"deny\", \"destination\": \"*\"},\n{\"id\": "
		       "\"a\", \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:2:8: ", "id \"a\" is taken" },
		{ "{\"deny_domains\": [\"x.y\", \"y.z\"], \"rules\": [\n{\"id\": \"b\", "
		  "\"action\": \"deny\", \"destination\": \"*\"},\n{\"id\": \"b\", \"action\": "
		  "\"deny\", \"destination\": \"*\"}]}",
		  "f:3:8: ", "id \"b\" is taken" },
		{ RULE("{\"reason\": \"a\\nb\", \"action\": \"deny\", \"destination\": \"*\"}"),
		  "f:1:23: ", "control character" },
		/* destinations */
		{ RULE("{\"action\": \"deny\", \"destination\": \"publc\"}"),
		  "f:1:46: ", "did you mean \"public\"?" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"\"}"),
		  "f:1:46: ", "a host name is missing" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"server\"}"),
		  "f:1:46: ", "{\"domain\": \"server\"}" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"localhost\"}"),
		  "f:1:46: ", "the group is \"loopback\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*.com\"}"),
		  "f:1:12: ", "at least two labels" },
		{ RULE("{\"action\": \"deny\", \"destination\": \".com\"}"),
		  "f:1:12: ", "at least two labels" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*example.com\"}"),
		  "f:1:46: ", "\"*.example.com\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"a.*.com\"}"),
		  "f:1:46: ", "a wildcard stands alone" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"10.0.0.1/8\"}"),
		  "f:1:46: ", "bits set beyond" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"10.0.0.0/33\"}"),
		  "f:1:46: ", "not 0 to 32" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"10.0.0\"}"),
		  "f:1:46: ", "four decimal numbers" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"010.0.0.1\"}"),
		  "f:1:46: ", "leading zero" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"0x7f.1\"}"),
		  "f:1:46: ", "reads as a number" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"fe80::1%eth0\"}"),
		  "f:1:46: ", "zone ids" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"[::1]\"}"),
		  "f:1:46: ", "without brackets" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"https://x.com/\"}"),
		  "f:1:46: ", "is a URL" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"x.com:443\"}"),
		  "f:1:46: ", "has a port" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"x.com/path\"}"),
		  "f:1:46: ", "http.paths" },
		{ RULE("{\"action\": \"deny\", \"destination\": [\"x.com\"]}"),
		  "f:1:46: ", "expected a string, not a list" },
		{ RULE("{\"action\": \"deny\", \"destination\": {}}"),
		  "f:1:46: ", "a destination object has one of" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"cidrs\": \"::/0\"}}"),
		  "f:1:47: ", "did you mean \"cidr\"?" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"cidr\": \"::/0\", \"group\": "
		       "\"host\"}}"),
		  "f:1:46: ", "has one of" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"cidr\": \"10.0.0.1\"}}"),
		  "f:1:55: ", "ADDRESS/LENGTH" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"group\": \"privat\"}}"),
		  "f:1:56: ", "did you mean \"private\"?" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"group\": \"x.com\"}}"),
		  "f:1:56: ", "unknown group" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"domain\": \".x.com\"}}"),
		  "f:1:57: ", "empty label" },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"domain_suffix\": \"com\"}}"),
		  "f:1:12: ", "at least two labels" },
		{ RULE("{\"action\": \"deny\", \"destination_kind\": \"domian\", \"destination\": "
		       "\"x.com\"}"),
		  "f:1:51: ", "did you mean \"domain\"?" },
		{ RULE("{\"action\": \"deny\", \"destination_kind\": \"ip\", \"destination\": "
		       "\"x.com\"}"),
		  "f:1:72: ", "four decimal numbers" },
		{ RULE("{\"action\": \"deny\", \"destination_kind\": \"any\", \"destination\": "
		       "\"x.com\"}"),
		  "f:1:73: ", "is not \"any\"" },
		{ RULE("{\"action\": \"deny\", \"destination_kind\": \"ip\"}"),
		  "f:1:12: ", "needs a \"destination\"" },
		{ RULE("{\"action\": \"deny\", \"destination_kind\": \"ip\", \"destination\": "
		       "{\"ip\": \"::1\"}}"),
		  "f:1:51: ", "leave \"destination_kind\" out" },
		/* protocols and ports */
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocols\": []}"),
		  "f:1:64: ", "an empty list matches nothing" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": []}"),
		  "f:1:60: ", "an empty list matches nothing" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocols\": [\"tcp\", "
		       "\"icmp\"]}"),
		  "f:1:72: ", "did you mean \"icmpv4\"?" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocol\": \"any\"}"),
		  "f:1:63: ", "leave the protocol out" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocol\": 6}"),
		  "f:1:63: ", "expected a string" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocol\": \"tcp\", "
		       "\"protocols\": []}"),
		  "f:1:83: ", "an empty list matches nothing" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"port\": 1, \"ports\": "
		       "[0]}"),
		  "f:1:72: ", "0 is not from 1" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [443, 0]}"),
		  "f:1:66: ", "0 is not from 1 to 65535" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [65536]}"),
		  "f:1:61: ", "65536 is not from 1" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [-1]}"),
		  "f:1:61: ", "-1 is not from 1" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [\"80 \"]}"),
		  "f:1:61: ", "port \"80 \"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [\"90-80\"]}"),
		  "f:1:61: ", "port \"90-80\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [\"https\"]}"),
		  "f:1:61: ", "port \"https\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [true]}"),
		  "f:1:61: ", "a port is 443" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [44.3]}"),
		  "f:1:61: ", "a port is 443" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [{\"start\": "
		       "1}]}"),
		  "f:1:61: ", "needs \"start\" and \"end\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [{\"start\": 9, "
		       "\"end\": 8}]}"),
		  "f:1:61: ", "ends before it starts" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"ports\": [{\"form\": 9, "
		       "\"end\": 8}]}"),
		  "f:1:62: ", "unknown key \"form\"" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocol\": \"icmpv4\", "
		       "\"port\": 80}"),
		  "f:1:12: ", "ICMP has no ports" },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*\", \"protocols\": [\"tcp\", "
		       "\"icmpv6\"], \"port\": 80}"),
		  "f:1:12: ", "ICMP has no ports" },
		{ RULE("{\"action\": \"allow\", \"direction\": \"ingress\", \"destination\": "
		       "\"*\", \"protocol\": \"icmpv4\"}"),
		  "f:1:12: ", "ICMP never arrives from outside" },
		{ RULE("{\"action\": \"allow\", \"direction\": \"any\", \"destination\": \"*\", "
		       "\"protocol\": \"icmpv6\"}"),
		  "f:1:12: ", "ICMP never arrives from outside" },
		{ RULE("{\"action\": \"allow\", \"direction\": \"ingress\", \"destination\": "
		       "\"host\"}"),
		  "f:1:12: ", "the sandbox's gateway" },
		/* http */
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {}}"),
		  "f:1:60: ", "needs \"methods\" or \"paths\"" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": true}"),
		  "f:1:60: ", "expected an object" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"method\": "
		       "[\"GET\"]}}"),
		  "f:1:61: ", "did you mean \"methods\"?" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"methods\": "
		       "[]}}"),
		  "f:1:72: ", "an empty list" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"methods\": "
		       "\"GET\"}}"),
		  "f:1:72: ", "expected a list" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"methods\": "
		       "[\"get\"]}}"),
		  "f:1:73: ", "write capitals" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"methods\": "
		       "[\"G T\"]}}"),
		  "f:1:73: ", "not an HTTP method" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"a\"]}}"),
		  "f:1:71: ", "does not begin with \"/\"" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"/a?b\"]}}"),
		  "f:1:71: ", "query and fragment" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"/a**\"]}}"),
		  "f:1:71: ", "\"**\" is a whole segment" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"/***\"]}}"),
		  "f:1:71: ", "\"**\" is a whole segment" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"/a/../b\"]}}"),
		  "f:1:71: ", "can be read in two ways" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"http\": {\"paths\": "
		       "[\"/a%2f\"]}}"),
		  "f:1:71: ", "can be read in two ways" },
		{ RULE("{\"action\": \"allow\", \"destination\": \"*\", \"protocol\": \"udp\", "
		       "\"http\": {\"paths\": [\"/\"]}}"),
		  "f:1:12: ", "need protocol tcp" },
		{ RULE("{\"action\": \"allow\", \"direction\": \"any\", \"destination\": \"*\", "
		       "\"http\": {\"paths\": [\"/\"]}}"),
		  "f:1:12: ", "read on egress only" },
	};

	(void)state;
	assert_true(ARRAY_SIZE(bad) >= 100);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct policy *p = NULL;
		struct conf_error err = { "" };

		if (load_text(bad[i].text, &p, &err) == 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_null(p);
		if (!str_starts(err.text, bad[i].place) || !strstr(err.text, bad[i].says))
			fail_msg("%s\n got  %s\n want %s... %s", bad[i].text, err.text,
				 bad[i].place, bad[i].says);
	}
}

/* ---- what is accepted ------------------------------------------------------------ */

#define HEAD(egress, ingress)                                                                      \
	"{\n  \"default_egress\": \"" egress "\",\n  \"default_ingress\": \"" ingress              \
	"\",\n  \"on_deny\": \"refuse\",\n  \"rules\": ["
#define R(action, rest)                                                                            \
	"    {\"action\": \"" action "\", \"direction\": \"egress\", \"destination\": " rest "}"
#define DNS R("allow", "\"host\", \"protocols\": [\"tcp\", \"udp\"], \"ports\": [\"53\"]")
#define TAIL "\n  ]\n}\n"

static void check_print(const struct policy *p, const char *want, const char *what)
{
	char *text = printed(p), *again;
	struct policy *q;

	if (want && !str_eq(text, want))
		fail_msg("%s prints\n%s\nnot\n%s", what, text, want);
	q = must_load(text);
	again = printed(q);
	assert_string_equal(text, again);
	policy_free(q);
	free(again);
	free(text);
}

static void test_presets(void **state)
{
	static const struct {
		const char *names[6];
		const char *text;
	} presets[] = {
		{ { "none", "disabled", "airgapped" }, HEAD("deny", "deny") "]\n}\n" },
		{ { "allow_all", "allow-all", "all" }, HEAD("allow", "allow") "]\n}\n" },
		{ { "public_only", "public-only", "public", "default" },
		  HEAD("deny", "allow") "\n" DNS ",\n" R("allow", "\"public\"") TAIL },
		{ { "non_local", "non-local" },
		  HEAD("deny", "allow") "\n" DNS ",\n" R("allow", "\"public\"") ",\n" R(
			  "allow", "\"private\"") TAIL },
	};
	struct policy *p = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
		for (size_t k = 0; k < 6 && presets[i].names[k]; k++) {
			assert_int_equal(policy_preset(presets[i].names[k], &p), 0);
			check_print(p, presets[i].text, presets[i].names[k]);
			policy_free(p);
		}
	p = NULL;
	assert_int_equal(policy_preset("open", &p), -ENOENT);
	assert_null(p);
}

/* Parity: p1.1-destinations. */
static void test_spellings(void **state)
{
	static const struct {
		const char *text, *want;
	} table[] = {
		{ "\"none\"", HEAD("deny", "deny") "]\n}\n" },
		{ "{}", HEAD("deny", "allow") "]\n}\n" },
		{ "{\"rules\": []}", HEAD("deny", "allow") "]\n}\n" },
		{ "{\"deny_domains\": []}", HEAD("deny", "allow") "]\n}\n" },
		{ "{\"deny_domains\": [\"Evil.COM.\"]}",
		  HEAD("allow", "allow") "\n" R("deny", "\"evil.com\"") TAIL },
		{ "{\"deny_domains\": [\"evil.com\"], \"rules\": []}",
		  HEAD("deny", "allow") "\n" R("deny", "\"evil.com\"") TAIL },
		{ "{\"allow_domains\": [\"a.com\"]}",
		  HEAD("deny", "allow") "\n" R("allow", "\"a.com\"") TAIL },
		{ "{\"preset\": \"public\", \"deny_domain_suffixes\": [\".evil.com\"]}",
		  HEAD("deny", "allow") "\n" R("deny", "\".evil.com\"") ",\n" DNS ",\n" R(
			  "allow", "\"public\"") TAIL },
		{ "{\"rules\": [{\"action\": \"deny\", \"destination\": \"any\"}], "
		  "\"allow_domain_suffixes\": [\"d.com\"],"
		  "\"allow_domains\": [\"c.com\", \"db\"], \"deny_domain_suffixes\": [\"b.com\"], "
		  "\"deny_domains\": [\"a.com\"]}",
		  HEAD("deny", "allow") "\n" R("deny", "\"a.com\"") ",\n" R("deny", "\".b.com\"") ",\n" R(
			  "allow",
			  "\"c.com\"") ",\n" R("allow",
					       "{\"domain\": \"db\"}") ",\n" R("allow",
									       "\".d.com\"") ","
											     "\n" R("deny",
												    "\"*\"")
												     TAIL },
		{ RULE("{\"action\": \"allow\", \"destination_kind\": \"any\", \"ports\": [443, "
		       "\"80\", \"81-90\", {\"start\": 85, \"end\": 99}, 444]}"),
		  HEAD("deny", "allow") "\n" R("allow",
					       "\"*\", \"ports\": [\"80-99\", \"443-444\"]") TAIL },
		{ RULE("{\"action\": \"allow\", \"destination\": \"link-local\", \"protocols\": "
		       "[\"udp\", \"tcp\"]}"),
		  HEAD("deny", "allow") "\n" R(
			  "allow", "\"link_local\", \"protocols\": [\"tcp\", \"udp\"]") TAIL },
		{ RULE("{\"action\": \"allow\", \"destination\": {\"group\": \"meta\"}, "
		       "\"protocol\": [\"udp\"], \"port\": \"1-2\"}"),
		  HEAD("deny", "allow") "\n" R(
			  "allow", "\"metadata\", \"protocols\": [\"udp\"], \"ports\": [\"1-2\"]")
			  TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": \"::ffff:10.0.0.0/104\"}"),
		  HEAD("deny", "allow") "\n" R("deny", "\"10.0.0.0/8\"") TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": \"::ffff:0.0.0.0/96\"}"),
		  HEAD("deny", "allow") "\n" R("deny", "\"0.0.0.0/0\"") TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": {\"ip\": \"2001:DB8::0\"}}"),
		  HEAD("deny", "allow") "\n" R("deny", "\"2001:db8::\"") TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": \"x.com\", \"destination_kind\": "
		       "\"domain_suffix\"}"),
		  HEAD("deny", "allow") "\n" R("deny", "\".x.com\"") TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": \"*.x.com\", \"http\": {\"paths\": "
		       "[\"/%61/*\"], \"methods\": [\"PUT\"]}}"),
		  HEAD("deny", "allow") "\n" R(
			  "deny",
			  "\"*.x.com\", \"http\": {\"methods\": [\"PUT\"], \"paths\": [\"/a/*\"]}")
			  TAIL },
		{ RULE("{\"action\": \"deny\", \"destination\": \"127.0.0.1\", "
		       "\"destination_kind\": \"ip\", \"direction\": \"egress\"}"),
		  HEAD("deny", "allow") "\n" R("deny", "\"127.0.0.1\"") TAIL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy *p = must_load(table[i].text);

		check_print(p, table[i].want, table[i].text);
		policy_free(p);
	}
	struct policy *p = must_load(
		"{\"on_deny\": \"drop\", \"rules\": [{\"id\": \"a.B_-9\", \"direction\": \"any\","
		"\"action\": \"deny\", \"destination\": \"*\", \"reason\": \"\xc3\xa4 \\\"\"}]}");

	assert_true(policy_drops_denied(p));
	assert_false(policy_has_http(p));
	assert_false(policy_has_names(p));
	assert_int_equal(policy_rule_count(p), 1);
	check_print(p, NULL, "id and reason");
	policy_free(p);
}

/* Every cap, one below and one above. */
static void check_cap(const char *before, const char *unit, size_t n, const char *after, bool ok)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	struct buf b = BUF_INIT(CONF_FILE_MAX + (1 << 20));

	assert_int_equal(buf_append_str(&b, before), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf_append_str(&b, unit), 0);
	assert_int_equal(buf_append_str(&b, after), 0);
	if ((load_text(buf_str(&b), &p, &err) == 0) != ok)
		fail_msg("%s %zu times: not %d: %s", unit, n, ok, err.text);
	if (ok)
		check_print(p, NULL, unit);
	policy_free(p);
	buf_fini(&b);
}

/* Without a million rules to fill it. */
static void rules_cap(void)
{
	struct policy *p = must_load("{}");
	struct policy_rule r = RULE_INIT;
	struct why why = { "" };

	p->n_rules = POLICY_RULES_MAX;
	assert_int_equal(policy_add(p, &r, &why), -EINVAL);
	assert_string_equal(why.text, "more than 1048576 rules");
	p->n_rules = 0;
	policy_free(p);
}

static void test_caps(void **state)
{
#define PATHS "{\"rules\":[{\"action\":\"deny\",\"destination\":\"*\",\"http\":{\"paths\":[\"/"
#define PORTS "{\"rules\":[{\"action\":\"deny\",\"destination\":\"*\",\"ports\":[9"
	(void)state;
	check_cap(PATHS, "a", 2047, "\"]}}]}", true);
	check_cap(PATHS, "a", 2048, "\"]}}]}", false);
	/* What grows when it is escaped: the grown form counts. */
	check_cap(PATHS, "\xc3\xa4", 341, "\"]}}]}", true);
	check_cap(PATHS, "\xc3\xa4", 342, "\"]}}]}", false);
	check_cap(PATHS, "a", 100000, "\"]}}]}", false);
	check_cap(PATHS "\"", ",\"/\"", 1023, "]}}]}", true);
	check_cap(PATHS "\"", ",\"/\"", 1024, "]}}]}", false);
	check_cap(PORTS, ",80", 5000, "]}]}", true);
	check_cap("{\"deny_domains\":[\"a.b\"", ",\"a.b\"", 99999, "]}", true);
	check_cap("{\"rules\":[[]", ",[]", CONF_LISTS_MAX, "]}", false);
	check_cap("{\"rules\":[1", ",1", CONF_VALUES_MAX + 1, "]}", false);
	check_cap("{\"rules\":[{\"action\":\"deny\",\"destination\":\"*\",\"id\":\"", "x", 64,
		  "\"}]}", true);
	check_cap("{\"rules\":[{\"action\":\"deny\",\"destination\":\"*\",\"id\":\"", "x", 65,
		  "\"}]}", false);
	check_cap("{\"rules\":[{\"action\":\"deny\",\"destination\":\"*\",\"reason\":\"", "x", 513,
		  "\"}]}", false);
	check_cap("{\"deny_domains\":[\"", "x", CONF_FILE_MAX, "\"]}", false);
	rules_cap();
}

/* ---- files ------------------------------------------------------------------------- */

static int load_as_file(const char *text, struct policy **ret, struct conf_error *err)
{
	char path[] = "/tmp/weir-test-policy-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	r = policy_load_file_or_preset(path, ret, err);
	unlink(path);
	return r;
}

static void test_files(void **state)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };

	(void)state;
	assert_int_equal(load_as_file("{\"dns\": {}, \"policy\": \"none\"}", &p, &err), 0);
	policy_free(p);
	assert_int_equal(load_as_file("{\"default_egress\": \"allow\"}", &p, &err), 0);
	policy_free(p);
	assert_int_equal(load_as_file("\"all\"", &p, &err), 0);
	policy_free(p);
	p = NULL;
	assert_int_equal(load_as_file("{\"polcy\": {}}", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, ":1:2: unknown key \"polcy\"; did you mean \"policy\"?"));
	assert_int_equal(load_as_file("{\"policy\": {}, \"rules\": []}", &p, &err), -EINVAL);
	assert_non_null(
		strstr(err.text, ":1:25: \"rules\" stands beside \"policy\": move it inside"));
	assert_int_equal(load_as_file("{\"policy\": {\n\"x\": 1}}", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, ":2:1: unknown key \"x\""));
	assert_int_equal(policy_load_file_or_preset("./none", &p, &err), -ENOENT);
	assert_non_null(strstr(err.text, "./none: cannot be read"));
	assert_int_equal(policy_load_file_or_preset("pubic", &p, &err), -ENOENT);
	assert_non_null(strstr(err.text, "did you mean \"public\"?"));
	assert_int_equal(policy_load_file_or_preset("/", &p, &err), -EISDIR);
	assert_null(p);
	assert_int_equal(policy_load_file_or_preset("airgapped", &p, &err), 0);
	policy_free(p);
}

/* In a folder that holds a folder "public" and a file "none". */
static void test_file_or_preset(void **state)
{
	char dir[] = "/tmp/weir-test-policy-XXXXXX", back[4096];
	struct policy *p = NULL;
	struct conf_error err = { "" };
	FILE *f;

	(void)state;
	assert_non_null(getcwd(back, sizeof(back)));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("public", 0700), 0);
	f = fopen("none", "w");
	assert_non_null(f);
	fputs("{\"default_egress\": \"allow\"}", f);
	fclose(f);
	assert_int_equal(policy_load_file_or_preset("public", &p, &err), 0);
	assert_int_equal(policy_rule_count(p), 2);
	policy_free(p);
	assert_int_equal(policy_load_file_or_preset("none", &p, &err), 0);
	check_print(p, HEAD("allow", "allow") "]\n}\n", "file none");
	policy_free(p);
	assert_int_equal(unlink("none") + rmdir("public"), 0);
	assert_int_equal(chdir(back), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),	  cmocka_unit_test(test_presets),
		cmocka_unit_test(test_spellings), cmocka_unit_test(test_caps),
		cmocka_unit_test(test_files),	  cmocka_unit_test(test_file_or_preset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
