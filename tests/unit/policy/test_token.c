/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's rule tokens, and how flags go on top of a policy. */
#include "tests/unit/policy/policy_test.h"

static int compose(const char *base, const struct policy_flags *flags, struct policy **ret,
		   struct conf_error *err)
{
	struct policy *p = NULL;

	if (base && policy_preset(base, &p) < 0)
		fail_msg("no preset %s", base);
	return policy_compose(p, flags, ret, err);
}

/* The rules as printed, without the defaults and the indentation. */
static char *rules_of(const struct policy *p)
{
	char *text = printed(p);
	size_t size = strlen(text) + 1, n = 0;
	char *out = calloc(1, size);

	for (char *line = strstr(text, "\n    {"); line; line = strstr(line + 1, "\n    {"))
		n += (size_t)snprintf(out + n, size - n, "%.*s\n", (int)strcspn(line + 5, "\n"),
				      line + 5);
	free(text);
	return out;
}

/* Parity: p1.9-grammar. */
static void test_accept(void **state)
{
#define E "{\"action\": \"allow\", \"direction\": \"egress\", \"destination\": "
	static const struct {
		const char *token, *rule;
	} table[] = {
		{ "allow@any", E "\"*\"}" },
		{ "allow@*", E "\"*\"}" },
		{ "allow:egress@public", E "\"public\"}" },
		{ " allow@private ", E "\"private\"}" },
		{ "allow@loopback", E "\"loopback\"}" },
		{ "allow@link-local", E "\"link_local\"}" },
		{ "allow@link_local", E "\"link_local\"}" },
		{ "allow@meta", E "\"metadata\"}" },
		{ "allow@metadata", E "\"metadata\"}" },
		{ "allow@multicast", E "\"multicast\"}" },
		{ "allow@reserved", E "\"reserved\"}" },
		{ "allow@host", E "\"host\"}" },
		{ "allow@dns",
		  E "\"host\", \"protocols\": [\"tcp\", \"udp\"], \"ports\": [\"53\"]}" },
		{ "allow:egress@dns:udp",
		  E "\"host\", \"protocols\": [\"udp\"], \"ports\": [\"53\"]}" },
		{ "allow@dns:tcp", E "\"host\", \"protocols\": [\"tcp\"], \"ports\": [\"53\"]}" },
		{ "allow@1.2.3.4", E "\"1.2.3.4\"}" },
		{ "allow@1.2.3.4:tcp:443",
		  E "\"1.2.3.4\", \"protocols\": [\"tcp\"], \"ports\": [\"443\"]}" },
		{ "allow@10.0.0.0/8:any:1-1023", E "\"10.0.0.0/8\", \"ports\": [\"1-1023\"]}" },
		{ "allow@[2001:DB8::1]", E "\"2001:db8::1\"}" },
		{ "allow@[2001:db8::1]:udp:53",
		  E "\"2001:db8::1\", \"protocols\": [\"udp\"], \"ports\": [\"53\"]}" },
		{ "allow@[2001:db8::/32]:tcp:any",
		  E "\"2001:db8::/32\", \"protocols\": [\"tcp\"]}" },
		{ "allow@API.Example.com.", E "\"api.example.com\"}" },
		{ "allow@.example.com:tcp", E "\".example.com\", \"protocols\": [\"tcp\"]}" },
		{ "allow@*.example.com", E "\"*.example.com\"}" },
		{ "allow@domain=db", E "{\"domain\": \"db\"}}" },
		{ "allow@domain=example.com:tcp:5432",
		  E "\"example.com\", \"protocols\": [\"tcp\"], \"ports\": [\"5432\"]}" },
		{ "allow@suffix=example.com", E "\".example.com\"}" },
		{ "allow@any:icmpv4", E "\"*\", \"protocols\": [\"icmpv4\"]}" },
		{ "allow@public,allow@private", E "\"public\"},\n" E "\"private\"}" },
		{ "deny:ingress@203.0.113.0/24:tcp:8080",
		  "{\"action\": \"deny\", \"direction\": \"ingress\", \"destination\": "
		  "\"203.0.113.0/24\", \"protocols\": [\"tcp\"], \"ports\": [\"8080\"]}" },
		{ "deny:any@any",
		  "{\"action\": \"deny\", \"direction\": \"any\", \"destination\": \"*\"}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy_flags flags = { .net_rules = &table[i].token, .n_net_rules = 1 };
		struct policy *p = NULL;
		struct conf_error err = { "" };
		char *rules;

		if (compose("none", &flags, &p, &err) < 0)
			fail_msg("%s: %s", table[i].token, err.text);
		rules = rules_of(p);
		if (strncmp(rules, table[i].rule, strlen(rules) - 1) != 0 ||
		    strlen(rules) != strlen(table[i].rule) + 1)
			fail_msg("%s became\n%swant\n%s", table[i].token, rules, table[i].rule);
		free(rules);
		policy_free(p);
	}
}

/* Parity: p1.9-grammar. */
static void test_refuse(void **state)
{
	static const struct {
		const char *token, *says;
	} table[] = {
		{ "", "empty rule" },
		{ ",", "empty rule" },
		{ "allow@any,", "empty rule" },
		{ "allow@any,,deny@any", "empty rule" },
		{ "allow", "no \"@\"" },
		{ "public", "no \"@\"" },
		{ "allow:public", "no \"@\"" },
		{ "@public", "unknown action" },
		{ "alow@public", "did you mean \"allow\"?" },
		{ "ALLOW@public", "unknown action" },
		{ "permit@public", "it is allow or deny" },
		{ "allow@", "no target" },
		{ "allow:@public", "unknown direction" },
		{ "allow:egres@public", "did you mean \"egress\"?" },
		{ "allow:in@public", "egress, ingress or any" },
		{ "allow:egress:x@public", "too many \":\"" },
		{ "allow@publc", "did you mean \"public\"?" },
		{ "allow@privat", "did you mean \"private\"?" },
		{ "allow@link-locl", "did you mean \"link-local\"?" },
		{ "allow@multicst", "did you mean \"multicast\"?" },
		{ "allow@dnss", "did you mean \"dns\"?" },
		{ "allow@server", "domain=server" },
		{ "allow@localhost", "the group is \"loopback\"" },
		{ "allow@https://x.com/", "a target is no URL" },
		{ "allow@http://1.2.3.4", "a target is no URL" },
		{ "allow@x.com/path", "http.paths" },
		{ "allow@x.com:443", "ports come after a protocol: \"x.com:tcp:443\"" },
		{ "allow@host:443", "\"host:tcp:443\"" },
		{ "allow@1.2.3.4:80-90", "\"1.2.3.4:tcp:80-90\"" },
		{ "allow@2001:db8::1", "in brackets: \"[2001:db8::1]\"" },
		{ "allow@::1", "in brackets: \"[::1]\"" },
		{ "allow@2001:db8::/32", "in brackets" },
		{ "allow@[2001:db8::1", "\"[\" without \"]\"" },
		{ "allow@[2001:db8::]/32", "inside the brackets" },
		{ "allow@[2001:db8::1]443", "text after \"]\"" },
		{ "allow@[1.2.3.4]", "only IPv6" },
		{ "allow@[fe80::1%eth0]", "zone ids" },
		{ "allow@10.0.0.1/8", "bits set beyond" },
		{ "allow@1.2.3", "four decimal numbers" },
		{ "allow@01.2.3.4", "leading zero" },
		{ "allow@*.com", "at least two labels" },
		{ "allow@suffix=com", "at least two labels" },
		{ "allow@suffix=*.x.com", "means only what is below" },
		{ "allow@*x.com", "a wildcard stands alone" },
		{ "allow@name=x.com", "before \"=\" stands domain or suffix" },
		{ "allow@domain=", "a host name is missing" },
		{ "allow@a..b", "empty label" },
		{ "allow@b\xc3\xbc.de", "A-labels" },
		{ "allow@x.com:", "unknown protocol" },
		{ "allow@x.com:http", "unknown protocol" },
		{ "allow@x.com:icmp", "did you mean \"icmpv4\"?" },
		{ "allow@x.com:tcp:", "ports \"\"" },
		{ "allow@x.com:tcp:0", "ports \"0\"" },
		{ "allow@x.com:tcp:65536", "ports \"65536\"" },
		{ "allow@x.com:tcp:90-80", "ports \"90-80\"" },
		{ "allow@x.com:tcp:80:90", "text after the ports" },
		{ "allow@x.com:tcp:+80", "ports \"+80\"" },
		{ "allow@any:icmpv4:80", "ICMP has no ports" },
		{ "allow:ingress@any:icmpv6", "ICMP never arrives" },
		{ "allow:ingress@dns", "egress only" },
		{ "allow:any@dns", "egress only" },
		{ "allow@dns:udp:53", "give no ports" },
		{ "allow@dns:icmpv4", "takes udp or tcp" },
		{ "allow@dns:api.example.com", "takes udp or tcp" },
		{ "allow@any deny@any", "host names have" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy_flags flags = { .net_rules = &table[i].token, .n_net_rules = 1 };
		struct policy *p = NULL;
		struct conf_error err = { "" };

		if (compose(NULL, &flags, &p, &err) == 0)
			fail_msg("accepted: %s", table[i].token);
		assert_null(p);
		if (!str_starts(err.text, "--net-rule: \"") || !strstr(err.text, table[i].says))
			fail_msg("%s: got \"%s\", want \"%s\"", table[i].token, err.text,
				 table[i].says);
	}
}

static void check_compose(const char *base, struct policy_flags flags, const char *token,
			  const char *egress, const char *ingress, const char *dests)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	char *text, found[256] = "", head[128];

	flags.net_rules = &token;
	flags.n_net_rules = token ? 1 : 0;
	if (compose(base, &flags, &p, &err) < 0)
		fail_msg("%s", err.text);
	text = printed(p);
	snprintf(head, sizeof(head),
		 "{\n  \"default_egress\": \"%s\",\n  \"default_ingress\": \"%s\",", egress, ingress);
	if (!str_starts(text, head))
		fail_msg("%s\nwant %s", text, head);
	for (char *d = strstr(text, "destination\": \""); d;
	     d = strstr(d + 1, "destination\": \"")) {
		size_t n = strlen(found);

		snprintf(found + n, sizeof(found) - n, "%.*s ", (int)strcspn(d + 15, "\""), d + 15);
	}
	assert_string_equal(found, dests);
	free(text);
	policy_free(p);
}

static void test_compose(void **state)
{
	struct policy_flags none = { 0 };

	(void)state;
	check_compose(NULL, none, NULL, "deny", "allow", "host public ");
	check_compose("none", none, NULL, "deny", "deny", "");
	check_compose(NULL, none, "deny@a.com,allow@b.com", "deny", "allow",
		      "a.com b.com host public ");
	check_compose("allow_all", none, "deny@a.com", "allow", "allow", "a.com ");
	check_compose(NULL, (struct policy_flags){ .net = "private,public" }, NULL, "deny", "allow",
		      "host public private ");
	check_compose(NULL, (struct policy_flags){ .net = "host" }, "deny@meta", "deny", "allow",
		      "metadata host host ");
	check_compose(NULL, (struct policy_flags){ .net = "all" }, NULL, "allow", "allow", "");
	check_compose(NULL, (struct policy_flags){ .net = "none" }, NULL, "deny", "deny", "");
	check_compose("allow_all", (struct policy_flags){ .net = "public" }, NULL, "deny", "allow",
		      "host public ");
	check_compose(NULL,
		      (struct policy_flags){ .default_egress = "allow", .default_ingress = "deny" },
		      NULL, "allow", "deny", "host public ");
	check_compose("allow_all", (struct policy_flags){ .no_net = true }, NULL, "deny", "deny", "");
	check_compose(NULL, (struct policy_flags){ .no_net = true, .net = "none" }, "allow@a.com",
		      "deny", "deny", "a.com ");
}

/* How denied packets are answered stays the base's choice, whatever replaces its rules. */
static void test_compose_keeps_on_deny(void **state)
{
	static const struct policy_flags flags[] = { { 0 }, { .net = "public" }, { .no_net = true } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct policy *p = must_load("{\"on_deny\": \"drop\"}");
		struct conf_error err = { "" };

		assert_int_equal(policy_compose(p, &flags[i], &p, &err), 0);
		assert_true(policy_drops_denied(p));
		policy_free(p);
	}
}

static void test_compose_refuse(void **state)
{
	static const struct {
		struct policy_flags flags;
		const char *says;
	} table[] = {
		{ { .net = "" }, "--net: unknown profile \"\"" },
		{ { .net = "pubic" }, "--net: unknown profile \"pubic\"; did you mean \"public\"?" },
		{ { .net = "public," }, "--net: unknown profile \"\"" },
		{ { .net = "public,all" }, "--net: \"all\" stands alone" },
		{ { .net = "none,host" }, "--net: \"none\" stands alone" },
		{ { .net = "internet" }, "it is public, private, host, all or none" },
		{ { .default_egress = "alow" }, "--net-default-egress: unknown action" },
		{ { .default_ingress = "" }, "--net-default-ingress: unknown action" },
		{ { .no_net = true, .net = "public" }, "--no-net contradicts --net" },
		{ { .no_net = true, .default_egress = "allow" },
		  "--no-net contradicts --net-default-egress" },
		{ { .no_net = true, .default_ingress = "allow" },
		  "--no-net contradicts --net-default-ingress" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy *p = NULL;
		struct conf_error err = { "" };

		assert_int_equal(compose(i % 2 ? "public" : NULL, &table[i].flags, &p, &err),
				 -EINVAL);
		assert_null(p);
		if (!strstr(err.text, table[i].says))
			fail_msg("got \"%s\", want \"%s\"", err.text, table[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accept),	       cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_compose),	       cmocka_unit_test(test_compose_keeps_on_deny),
		cmocka_unit_test(test_compose_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
