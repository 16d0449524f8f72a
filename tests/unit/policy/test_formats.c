/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML and TOML: the same policy in three spellings, every value's place, and
 * all that is refused because it could be meant in two ways.
 */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_limits.h"

static int load_as(enum conf_format format, const char *text, size_t len, struct policy **ret,
		   struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct conf root;
	int r = conf_doc_parse(text, len, "f", format, &doc, err);

	if (r < 0)
		return r;
	root = conf_root(doc);
	r = policy_load_conf(&root, ret, err);
	conf_doc_free(doc);
	return r;
}

static char *printed_as(enum conf_format format, const char *text)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	char *out;

	if (load_as(format, text, strlen(text), &p, &err) < 0)
		fail_msg("%s\nrefused: %s", text, err.text);
	out = printed(p);
	policy_free(p);
	return out;
}

static const char in_json[] =
	"{\"default_egress\": \"deny\", \"default_ingress\": \"allow\", \"on_deny\": \"drop\",\n"
	" \"strict_names\": true, \"deny_domains\": [\"evil.example.com\"],\n"
	" \"allow_domain_suffixes\": [\".pythonhosted.org\"],\n"
	" \"rules\": [\n"
	"  {\"id\": \"gh\", \"action\": \"allow\", \"destination\": \"api.github.com\", "
	"\"protocols\": [\"tcp\"], \"ports\": [443, \"8000-8099\"],\n"
	"   \"http\": {\"methods\": [\"GET\", \"HEAD\"], \"paths\": [\"/repos/acme/**\"]},\n"
	"   \"reason\": \"read-only; writes go through review\"},\n"
	"  {\"action\": \"allow\", \"destination\": \"*.example.org\", \"port\": 443},\n"
	"  {\"action\": \"allow\", \"destination\": {\"domain_suffix\": \"mail.example.com\"}, "
	"\"qtypes\": [\"MX\"]},\n"
	"  {\"action\": \"allow\", \"destination\": \"10.0.0.0/8\", \"ports\": [\"1-2\", "
	"{\"start\": 5, \"end\": 9}]},\n"
	"  {\"action\": \"allow\", \"destination\": \"2001:db8::5\", \"protocol\": \"udp\"},\n"
	"  {\"action\": \"deny\", \"destination\": \"doh\"},\n"
	"  {\"action\": \"deny\", \"destination\": \"*\"}]}\n";

static const char in_yaml[] = "# what the agent may reach\n"
			      "---\n"
			      "default_egress: deny\n"
			      "default_ingress: allow\n"
			      "on_deny: drop\n"
			      "strict_names: true\n"
			      "deny_domains: [evil.example.com]\n"
			      "allow_domain_suffixes:\n"
			      "- .pythonhosted.org   # wheels\n"
			      "rules:\n"
			      "  - id: gh\n"
			      "    action: allow\n"
			      "    destination: api.github.com\n"
			      "    protocols: [tcp]\n"
			      "    ports: [443, 8000-8099]\n"
			      "    http:\n"
			      "      methods: [GET, HEAD]\n"
			      "      paths: [/repos/acme/**]\n"
			      "    reason: read-only;\n"
			      "      writes go through review\n"
			      "  - {action: allow, destination: '*.example.org', port: 443}\n"
			      "  - action: allow\n"
			      "    destination: {domain_suffix: mail.example.com}\n"
			      "    qtypes: [MX]\n"
			      "  - action: allow\n"
			      "    destination: 10.0.0.0/8\n"
			      "    ports: [1-2, {start: 5, end: 9}]\n"
			      "  - action: allow\n"
			      "    destination: 2001:db8::5\n"
			      "    protocol: \"udp\"\n"
			      "  - action: deny\n"
			      "    destination: doh\n"
			      "  - action: deny\n"
			      "    destination: \"*\"\n"
			      "...\n";

static const char in_toml[] = "# what the agent may reach\n"
			      "default_egress = \"deny\"\n"
			      "default_ingress = \"allow\"\n"
			      "on_deny = 'drop'\n"
			      "strict_names = true\n"
			      "deny_domains = [\"evil.example.com\"]\n"
			      "allow_domain_suffixes = [\n"
			      "  \".pythonhosted.org\", # wheels\n"
			      "]\n"
			      "[[rules]]\n"
			      "id = \"gh\"\n"
			      "action = \"allow\"\n"
			      "destination = \"api.github.com\"\n"
			      "protocols = [\"tcp\"]\n"
			      "ports = [443, \"8000-8099\"]\n"
			      "http.methods = [\"GET\", \"HEAD\"]\n"
			      "http.paths = [\"/repos/acme/**\"]\n"
			      "reason = \"\"\"read-only; \\\n"
			      "   writes go through review\"\"\"\n"
			      "[[rules]]\n"
			      "action = \"allow\"\n"
			      "destination = '*.example.org'\n"
			      "port = 443\n"
			      "[[rules]]\n"
			      "action = \"allow\"\n"
			      "qtypes = [\"MX\"]\n"
			      "[rules.destination]\n"
			      "domain_suffix = \"mail.example.com\"\n"
			      "[[rules]]\n"
			      "action = \"allow\"\n"
			      "destination = \"10.0.0.0/8\"\n"
			      "ports = [\"1-2\", { start = 5, end = 9 }]\n"
			      "[[rules]]\n"
			      "action = \"allow\"\n"
			      "destination = \"2001:db8::5\"\n"
			      "protocol = \"udp\"\n"
			      "[[rules]]\n"
			      "action = \"deny\"\n"
			      "destination = \"doh\"\n"
			      "[[rules]]\n"
			      "action = \"deny\"\n"
			      "destination = \"*\"\n";

/* Parity: p1.9-file. */
static void test_three_spellings(void **state)
{
	char *json = printed_as(CONF_JSON, in_json), *yaml = printed_as(CONF_YAML, in_yaml);
	char *toml = printed_as(CONF_TOML, in_toml), *json_as_yaml = printed_as(CONF_YAML, in_json);

	(void)state;
	assert_string_equal(json, yaml);
	assert_string_equal(json, toml);
	/* JSON is YAML. */
	assert_string_equal(json, json_as_yaml);
	assert_non_null(strstr(json, "\"reason\": \"read-only; writes go through review\""));
	free(json);
	free(yaml);
	free(toml);
	free(json_as_yaml);
}

static void test_by_name(void **state)
{
	static const struct {
		const char *path;
		enum conf_format format;
	} table[] = {
		{ "a.yaml", CONF_YAML },     { "a.yml", CONF_YAML },	  { "a.YAML", CONF_YAML },
		{ "a.toml", CONF_TOML },     { "dir.toml/a", CONF_JSON }, { "a.json", CONF_JSON },
		{ "a", CONF_JSON },	     { "yaml", CONF_JSON },	  { ".yaml", CONF_YAML },
		{ "a.yaml.txt", CONF_JSON }, { "/dev/stdin", CONF_JSON }, { "", CONF_JSON },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (conf_format_of(table[i].path) != table[i].format)
			fail_msg("%s: %d", table[i].path, conf_format_of(table[i].path));
}

struct bad {
	const char *text, *place, *says;
};

static void check_bad(enum conf_format format, const struct bad *bad, size_t n)
{
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++) {
		struct policy *p = NULL;
		struct conf_error err = { "" };

		if (load_as(format, bad[i].text, strlen(bad[i].text), &p, &err) == 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_null(p);
		if (!str_starts(err.text, bad[i].place) || !strstr(err.text, bad[i].says)) {
			wrong++;
			print_message("%s\ngot  \"%s\"\nwant \"%s...%s\"\n", bad[i].text, err.text,
				      bad[i].place, bad[i].says);
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_bad_yaml(void **state)
{
	static const struct bad bad[] = {
		/* the loader's complaints, at the right place */
		{ "publik\n", "f:1:1: ", "did you mean \"public\"?" },
		{ "# x\n\nrulse: []\n", "f:3:1: ", "did you mean \"rules\"?" },
		{ "rules:\n  - action: alow\n    destination: doh\n", "f:2:13: ", "\"allow\"?" },
		{ "rules:\n- action: deny\n  destinaton: doh\n", "f:3:3: ", "\"destination\"?" },
		{ "rules:\n- {action: deny, destination: publc}\n", "f:2:31: ", "\"public\"?" },
		{ "rules:\n- action: deny\n", "f:2:3: ", "needs a \"destination\"" },
		{ "rules:\n- action: deny\n  destination: doh\n  ports: [443, 0]\n",
		  "f:4:16: ", "0 is not from 1 to 65535" },
		{ "rules: [{action: deny, destination: a.b}, {action: deny, ports: [x]}]\n",
		  "f:1:43: ", "needs a \"destination\"" },
		{ "rules:\n", "f:1:7: ", "expected a list of rules" },
		{ "deny_domains:\n- a.example\n- evil..com\n", "f:3:3: ", "empty label" },
		{ "deny_domains: [\xc3\xa4.example, \xc3\xa4\xc3\xa4..x]\n", "f:1:16: ", "A-labels" },
		{ "strict_names: 'true'\n", "f:1:15: ", "expected true or false, not a string" },
		{ "default_egress: true\n", "f:1:17: ", "expected a string, not true" },
		/* two readings */
		{ "rules:\n- {action: deny, destination: no}\n",
		  "f:2:31: ", "no without quotes may be read as false: quote it (\"no\")" },
		{ "strict_names: yes\n", "f:1:15: ", "may be read as true" },
		{ "strict_names: True\n", "f:1:15: ", "may be read as true" },
		{ "strict_names: ON\n", "f:1:15: ", "may be read as true" },
		{ "strict_names: n\n", "f:1:15: ", "may be read as false" },
		{ "on_deny: ~\n", "f:1:10: ", "may be read as null" },
		{ "on_deny: NULL\n", "f:1:10: ", "may be read as null" },
		{ "on_deny: 010\n", "f:1:10: ", "a number in base 8" },
		{ "on_deny: 0o17\n", "f:1:10: ", "a number in another base" },
		{ "on_deny: 0x1F\n", "f:1:10: ", "a number in another base" },
		{ "on_deny: 0b11\n", "f:1:10: ", "a number in another base" },
		{ "on_deny: 8080:22\n", "f:1:10: ", "a number in base 60" },
		{ "on_deny: 1:2:3:4:5:6:7:8\n", "f:1:10: ", "a number in base 60" },
		{ "on_deny: 190:20:30.15\n", "f:1:10: ", "a number in base 60" },
		{ "on_deny: 1_000\n", "f:1:10: ", "may be read as a number" },
		{ "on_deny: +5\n", "f:1:10: ", "may be read as a number" },
		{ "on_deny: 9223372036854775808\n", "f:1:10: ", "may be read as a number" },
		{ "on_deny: 1.5\n", "f:1:10: ", "a fraction" },
		{ "on_deny: .5\n", "f:1:10: ", "a fraction" },
		{ "on_deny: 5.\n", "f:1:10: ", "a fraction" },
		{ "on_deny: 1e3\n", "f:1:10: ", "a fraction" },
		{ "on_deny: -1.5e-3\n", "f:1:10: ", "a fraction" },
		{ "on_deny: .inf\n", "f:1:10: ", "a number" },
		{ "on_deny: .NaN\n", "f:1:10: ", "a number" },
		{ "on_deny: 2024-01-31\n", "f:1:10: ", "a date" },
		{ "on_deny: 2024-01-31T10:00:00Z\n", "f:1:10: ", "a date" },
		{ "no: 1\n", "f:1:1: ", "no without quotes may be read as false" },
		{ "1: 1\n", "f:1:1: ", "1 without quotes may be read as" },
		{ "null: 1\n", "f:1:1: ", "null without quotes" },
		/* what YAML has beyond the model */
		{ "a: &x 1\n", "f:1:4: ", "an anchor" },
		{ "rules: &x []\n", "f:1:8: ", "an anchor" },
		{ "rules: &x\n- a\n", "f:1:8: ", "an anchor" },
		{ "&x a: 1\n", "f:1:1: ", "an anchor" },
		{ "on_deny: *x\n", "f:1:10: ", "an alias" },
		{ "rules:\n- *x\n", "f:2:3: ", "an alias" },
		{ "rules:\n- {action: deny, destination: *.example.com}\n",
		  "f:2:31: ", "starts with \"*\" or \"&\" is written in quotes" },
		{ "rules:\n- action: deny\n  destination: *\n", "f:3:16: ", "is written in quotes" },
		{ "on_deny: !!str drop\n", "f:1:10: ", "a tag" },
		{ "on_deny: ! drop\n", "f:1:10: ", "a tag" },
		{ "on_deny: !x 'drop'\n", "f:1:10: ", "a tag" },
		{ "rules: !!seq []\n", "f:1:8: ", "a tag" },
		{ "!!map {}\n", "f:1:1: ", "a tag" },
		{ "<<: {}\n", "f:1:1: ", "a merge key" },
		{ "%YAML 1.1\n---\n{}\n", "f:1:1: ", "a directive" },
		{ "%TAG ! tag:x:\n---\n{}\n", "f:1:1: ", "a directive" },
		{ "--- {}\n--- {}\n", "f:2:1: ", "a second document" },
		{ "public\n---\n", "f:2:1: ", "a second document" },
		{ "[a]: 1\n", "f:1:1: ", "a key is a text, not a list" },
		{ "? {a: b}\n: 1\n", "f:1:3: ", "a key is a text, not a mapping" },
		{ "?\n: 1\n", "f:1:2: ", "a key is missing" },
		{ ": 1\n", "f:1:1: ", "not valid YAML" },
		/* duplicates, also under another spelling */
		{ "on_deny: drop\nrules: []\non_deny: drop\n", "f:3:1: ", "the same key twice" },
		{ "on_deny: drop\n\"on\\x5fdeny\": drop\n", "f:2:1: ", "the same key twice" },
		{ "rules: [{id: a, action: deny, 'id': b}]\n", "f:1:31: ", "the same key twice" },
		/* no YAML at all */
		{ "", "f:1:1: ", "the file is empty" },
		{ "# nothing\n", "f:2:1: ", "the file is empty" },
		{ "rules: [\n", "f:2:1: ", "not valid YAML" },
		{ "rules: {a: b\n", "f:2:1: ", "not valid YAML" },
		{ "a: b: c\n", "f:1:5: ", "not valid YAML" },
		{ "rules:\n\t- a\n", "f:2:1: ", "indent with spaces" },
		{ "on_deny: @x\n", "f:1:10: ", "put a text with this character in quotes" },
		{ "on_deny: \"drop\n", "f:2:1: ", "not valid YAML" },
		{ "on_deny: \"\\q\"\n", "f:1:1", "not valid YAML" },
		{ "on_deny: \"a\\0b\"\n", "f:1:10: ", "a NUL character" },
		{ "\"a\\0b\": 1\n", "f:1:1: ", "a NUL character" },
		{ "a: \xff\n", "f:1:4: ", "not valid YAML" },
		{ "a: \"\x07\"\n", "f:1:5: ", "not valid YAML" },
		{ "\xef\xbb\xbf{}\n", "f:1:1: ", "byte order mark" },
	};

	(void)state;
	check_bad(CONF_YAML, bad, ARRAY_SIZE(bad));
}

static void test_bad_toml(void **state)
{
	static const struct bad bad[] = {
		/* the loader's complaints */
		{ "rulse = []\n", "f:1:1: ", "did you mean \"rules\"?" },
		{ "\n  default_egress = \"alow\"\n", "f:2:20: ", "\"allow\"?" },
		{ "[[rules]]\naction = \"deny\"\ndestinaton = \"doh\"\n",
		  "f:3:1: ", "\"destination\"?" },
		{ "[[rules]]\naction = \"deny\"\ndestination = \"publc\"\n",
		  "f:3:15: ", "\"public\"?" },
		{ "[[rules]]\naction = \"deny\"\ndestination = \"*\"\n\n  [[rules]]\naction = "
		  "\"deny\"\n",
		  "f:5:3: ", "needs a \"destination\"" },
		{ "rules = [{action = \"deny\", destination = \"doh\", ports = [443, 0]}]\n",
		  "f:1:63: ", "0 is not from 1" },
		{ "[rules]\n", "f:1:1: ", "expected a list of rules" },
		{ "deny_domains = [\n \"a.example\",\n \"evil..com\"]\n", "f:3:2: ", "empty label" },
		{ "deny_domains = [\"\xc3\xa4\xc3\xa4\", \"evil..com\"]\n", "f:1:17: ", "A-labels" },
		{ "on_deny = \"refuse\"\nstrict_names = \"yes\"\n",
		  "f:2:16: ", "expected true or false" },
		/* what TOML has beyond the model */
		{ "on_deny = 1.5\n", "f:1:11: ", "a fraction" },
		{ "on_deny = inf\n", "f:1:11: ", "a fraction" },
		{ "on_deny = 1979-05-27\n", "f:1:11: ", "a date or time" },
		{ "on_deny = 07:32:00\n", "f:1:11: ", "a date or time" },
		{ "on_deny = 1979-05-27T07:32:00Z\n", "f:1:11: ", "a date or time" },
		{ "rules = [\n 1979-05-27 ]\n", "f:2:2: ", "a date or time" },
		/* twice */
		{ "on_deny = \"drop\"\non_deny = \"drop\"\n", "f:2:", "not valid TOML" },
		{ "on_deny = \"drop\"\n\"on_deny\" = \"drop\"\n", "f:2:", "not valid TOML" },
		{ "[policy]\n[policy]\n", "f:2:", "not valid TOML" },
		{ "rules = []\n[[rules]]\n", "f:2:", "not valid TOML" },
		{ "a.b = 1\na.b.c = 2\n", "f:2:", "not valid TOML" },
		/* no TOML at all */
		{ "{}\n", "f:1:1: ", "not valid TOML" },
		{ "a = 1\n[:a]\n", "f:2:2: ", "a table's name is expected" },
		{ "a = 1\n[[ =a]]\n", "f:2:4: ", "a table's name is expected" },
		{ "[]\n", "f:1:2: ", "not valid TOML" },
		{ "a = \xef\xbf\xbe\n", "f:1:5: ", "put quotes around it" },
		{ "# \xc3\xa4\n\xc3\xa4 = 1\n", "f:2:1: ", "put quotes around it" },
		{ "[a.\xc3\xa4]\n", "f:1:4: ", "put quotes around it" },
		{ "on_deny: drop\n", "f:1:8: ", "not valid TOML" },
		{ "on_deny = drop\n", "f:1:11: ", "not valid TOML" },
		{ "on_deny = \"drop\n", "f:1:16: ", "not valid TOML" },
		{ "on_deny = 010\n", "f:1:14: ", "not valid TOML" },
		{ "on_deny = [1\n", "f:1:14: ", "not valid TOML" },
		{ "on_deny = \"\\u0000\"\n", "f:1:11: ", "a NUL character" },
		{ "\"\\u0000\" = 1\n", "f:1:1: ", "a NUL character" },
		{ "on_deny = \"\\ud800\"\n", "f:1:", "not valid TOML" },
		{ "on_deny = \"\xff\"\n", "f:1:", "not valid TOML" },
		{ "on_deny = \"\x07\"\n", "f:1:", "not valid TOML" },
		{ "\xef\xbb\xbf\n", "f:1:1: ", "byte order mark" },
	};

	(void)state;
	check_bad(CONF_TOML, bad, ARRAY_SIZE(bad));
}

/* Plain texts that stay texts, and those that are more. */
static void test_plain_yaml(void **state)
{
	static const char *const texts[] = {
		"10.0.0.0/8", "10.0.0.1",   ".example.com", "443-445",
		"8000-8099",  "fd00::5",    "::1",	    "2001:db8::/32",
		"1.2.3.4:53", "80:80/tcp",  "a.b",	    "example.com",
		"none",	      "yesterday",  "nope",	    "1.2.3",
		"1e",	      "e3",	    "0x",	    "0xfg",
		"2024-01",    "link_local", "env:KEY",	    "/a/**",
		"-x",	      "1-2-3",	    "12345-01-02",  ".",
		"file:a b",   "true_",	    "_1",	    "1st",
	};
	static const struct {
		const char *text, *json;
	} others[] = {
		{ "true", "true" },
		{ "false", "false" },
		{ "null", "null" },
		{ "", "null" },
		{ "0", "0" },
		{ "443", "443" },
		{ "-7", "-7" },
		{ "9223372036854775807", "9223372036854775807" },
		{ "'no'", "\"no\"" },
		{ "-9223372036854775808", "-9223372036854775808" },
		{ "\"443\"", "\"443\"" },
		{ "'*.x.y'", "\"*.x.y\"" },
		{ "|\n  a\n  b\n", "\"a\\nb\\n\"" },
		{ ">-\n  a\n  b\n", "\"a b\"" },
		{ "[]", "[]" },
		{ "{a: [1, {b: c}]}", "{\"a\": [1, {\"b\": \"c\"}]}" },
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct conf_doc *d = NULL;
		struct conf_error err = { "" };
		const char *got = "";
		struct conf root, v;

		snprintf(text, sizeof(text), "v: %s\n", texts[i]);
		if (conf_doc_parse(text, strlen(text), "f", CONF_YAML, &d, &err) < 0)
			fail_msg("%s: %s", texts[i], err.text);
		root = conf_root(d);
		v = conf_member(&root, "v");
		if (conf_str(&v, &got, &err) < 0)
			fail_msg("%s: %s", texts[i], err.text);
		assert_string_equal(got, texts[i]);
		conf_doc_free(d);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct conf_doc *d = NULL;
		struct conf_error err = { "" };
		struct conf root, v;
		char *got;

		snprintf(text, sizeof(text), "v: %s\n", others[i].text);
		if (conf_doc_parse(text, strlen(text), "f", CONF_YAML, &d, &err) < 0)
			fail_msg("%s: %s", others[i].text, err.text);
		root = conf_root(d);
		v = conf_member(&root, "v");
		got = json_dumps(v.v, JSON_ENCODE_ANY);
		assert_string_equal(got, others[i].json);
		free(got);
		conf_doc_free(d);
	}
}

/* Letters beyond ASCII wherever TOML lets them be. */
static void test_toml_letters(void **state)
{
	static const char text[] = "# \xc3\xa4\n"
				   "\"\xc3\xa4\" = '''\xce\xb1''' # \xc2\xa0\xe1\x9a\x80\n"
				   "b = \"\"\"\\\n   \xc3\xa4 \\\n\n \xd1\x8f\"\"\"\n";
	struct conf_doc *d = NULL;
	struct conf_error err = { "" };
	struct conf root, a, b;

	(void)state;
	if (conf_doc_parse(text, strlen(text), "f", CONF_TOML, &d, &err) < 0)
		fail_msg("%s", err.text);
	root = conf_root(d);
	a = conf_member(&root, "\xc3\xa4");
	b = conf_member(&root, "b");
	assert_string_equal(json_string_value(a.v), "\xce\xb1");
	assert_string_equal(json_string_value(b.v), "\xc3\xa4 \xd1\x8f");
	conf_doc_free(d);
}

static int parse(enum conf_format format, const char *text, struct conf_error *err)
{
	struct conf_doc *d = NULL;
	int r = conf_doc_parse(text, strlen(text), "f", format, &d, err);

	conf_doc_free(d);
	return r;
}

/* Appends the piece n times. */
static void repeat(struct buf *b, const char *piece, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(buf_append_str(b, piece), 0);
}

/* Before its parser walks a list of them for each of them. One [[ ]] again and again is none. */
static void test_toml_tables(void **state)
{
	static const struct {
		const char *before, *after; /* a number of its own */
		const char *error;
	} texts[] = {
		{ "[a", ".b]\n", "f:65537:11: too many tables with dots" },
		{ "x", ".y = 1\n", "f:65537:11: too many tables with dots" },
		{ "[[a", "]]\n", "f:92683:11: too many tables with dots" },
		{ "[[p.q]]\nx = ", "\n[p.q.r]\n", NULL },
		{ "[[p.q]]\n[p.q.r]\n[[p.q.s]]\nx = ", "\n", "too many tables with dots" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct buf b = BUF_INIT((size_t)16 << 20);
		struct conf_error err = { "" };
		int r;

		for (unsigned k = 0; k < 100000; k++)
			assert_int_equal(
				buf_printf(&b, "%s%u%s", texts[i].before, k, texts[i].after), 0);
		assert_int_equal(buf_append(&b, "", 1), 0);
		r = parse(CONF_TOML, (const char *)buf_at(&b), &err);
		assert_int_equal(r, texts[i].error ? -EINVAL : 0);
		if (texts[i].error && !strstr(err.text, texts[i].error))
			fail_msg("%s: %s", texts[i].before, err.text);
		buf_fini(&b);
	}
}

struct nest {
	const char *start, *in, *middle, *out, *end;
	unsigned at, step; /* levels without any, and of one */
};

static void check_depth(enum conf_format format, const struct nest *shapes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct nest *s = &shapes[i];
		unsigned most = (CONF_DEPTH_MAX - s->at) / s->step;

		for (unsigned times = most; times <= 100000;
		     times = times == most ? most + 1 : times * 7) {
			struct buf b = BUF_INIT((size_t)8 << 20);
			struct conf_error err = { "" };
			int r;

			repeat(&b, s->start, 1);
			repeat(&b, s->in, times);
			repeat(&b, s->middle, 1);
			repeat(&b, s->out, times);
			repeat(&b, s->end, 1);
			r = parse(format, buf_str(&b), &err);
			if (times == most && r < 0)
				fail_msg("%s%s... %u times: %s", s->start, s->in, times, err.text);
			if (times > most && (r == 0 || !strstr(err.text, "nested deeper than 64")))
				fail_msg("%s%s... %u times: %s", s->start, s->in, times,
					 r ? err.text : "taken");
			buf_fini(&b);
		}
	}
}

static void test_depth(void **state)
{
	static const struct nest yaml[] = {
		{ "", "[", "", "]", "", 0, 1 },
		{ "", "{a: ", "1", "}", "", 0, 1 },
		{ "", "- ", "1", "", "", 0, 1 },
		{ "a: ", "[", "", "]", "", 1, 1 },
	};
	static const struct nest toml[] = {
		{ "a = ", "[", "", "]", "", 1, 1 },
		{ "a = ", "{b = ", "1", "}", "", 1, 1 },
		{ "a = ", "{b.c = ", "1", "}", "", 1, 2 },
		{ "a = ", "[{b.c = ", "1", "}]", "", 1, 3 },
		{ "", "a.", "b = 1", "", "", 1, 1 },
		{ "", "\"a\" . ", "b = 1", "", "", 1, 1 },
		{ "[a", ".a", "]", "", "", 2, 1 },
		{ "[[a", ".a", "]]", "", "\nb = 1", 3, 1 },
		{ "[a.b]\nc", ".a", " = 1", "", "", 3, 1 },
		{ "[a.b]\nc.d = {e", ".a", " = 1", "", "}", 5, 1 },
		{ "x = \"[[[\"\ny = '''{\n[a.b.c.d]'''''\n# [[[[ {{{{\nz = [ # ]\n1]\n[a", ".a",
		  "]", "", "", 2, 1 },
	};

	(void)state;
	check_depth(CONF_YAML, yaml, ARRAY_SIZE(yaml));
	check_depth(CONF_TOML, toml, ARRAY_SIZE(toml));
}

static void test_size(void **state)
{
	char *big = malloc(CONF_FILE_MAX + 2);
	struct conf_error err;

	(void)state;
	assert_non_null(big);
	memset(big, ' ', CONF_FILE_MAX + 1);
	big[CONF_FILE_MAX + 1] = 0;
	for (int f = CONF_JSON; f <= CONF_TOML; f++) {
		assert_int_equal(parse((enum conf_format)f, big, &err), -EFBIG);
		assert_string_equal(err.text, "f: larger than 128 MiB");
	}
	free(big);
}

/* Every value's place, told by a path through the tree. */
static void check_places(enum conf_format format, const char *text, const char *const want[5])
{
	struct conf_doc *d = NULL;
	struct conf_error err = { "" };
	struct conf root, b, b1, x, z, none;
	static const char *const keys[] = { "a", "b" };

	if (conf_doc_parse(text, strlen(text), "f", format, &d, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	root = conf_root(d);
	b = conf_member(&root, "b");
	b1 = conf_element(&b, 1);
	x = conf_member(&b1, "x");
	z = conf_member(&root, "z");
	none = conf_member(&b1, "none");
	conf_fail(&b, &err, "b");
	assert_string_equal(err.text, want[0]);
	conf_fail(&b1, &err, "b1");
	assert_string_equal(err.text, want[1]);
	conf_fail(&x, &err, "x");
	assert_string_equal(err.text, want[2]);
	conf_fail(&z, &err, "z");
	assert_string_equal(err.text, want[3]);
	/* Absent: where it should be. */
	conf_fail(&none, &err, "b1");
	assert_string_equal(err.text, want[1]);
	assert_int_equal(conf_only_keys(&root, keys, 2, &err), -EINVAL);
	assert_string_equal(err.text, want[4]);
	conf_doc_free(d);
}

static void test_places(void **state)
{
	(void)state;
	check_places(CONF_YAML,
		     "a: [1, [2, {c: d}]]\n"
		     "b:\n"
		     "- {q: [], r: {s: t}}\n"
		     "- \xc3\xa4: w\n"
		     "  x: true\n"
		     "z: true\n",
		     (const char *const[]){ "f:3:1: b", "f:4:3: b1", "f:5:6: x", "f:6:4: z",
					    "f:6:1: unknown key \"z\"; known are a, b" });
	check_places(CONF_TOML,
		     "z = true\n"
		     "a = [1, [2, {c = 'd'}]]\n"
		     "b = [{q = [], r = {s = 't'}},\n"
		     "  {\"\xc3\xa4\" = 'y', x = true}]\n",
		     (const char *const[]){ "f:3:5: b", "f:4:3: b1", "f:4:19: x", "f:1:5: z",
					    "f:1:1: unknown key \"z\"; known are a, b" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_spellings),
		cmocka_unit_test(test_by_name),
		cmocka_unit_test(test_bad_yaml),
		cmocka_unit_test(test_bad_toml),
		cmocka_unit_test(test_plain_yaml),
		cmocka_unit_test(test_toml_letters),
		cmocka_unit_test(test_toml_tables),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
