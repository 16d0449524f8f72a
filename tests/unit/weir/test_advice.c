/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir why` suggests is a rule that policy takes, and that allows what was refused. */
#include "audit/audit.h"
#include "policy/policy.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

static const struct {
	const char *event; /* with denial "d" */
	enum policy_dir dir;
	enum policy_proto proto;
	const char *addr, *name;
	uint16_t port;
	const char *method, *path;
} cases[] = {
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"tcp\",\"dst\":\"169.254.169.254\","
	  "\"port\":80",
	  POLICY_EGRESS, POLICY_TCP, "169.254.169.254", NULL, 80, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"udp\",\"dst\":\"2001:db8::7\",\"port\":"
	  "443",
	  POLICY_EGRESS, POLICY_UDP, "2001:db8::7", NULL, 443, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"icmpv4\",\"dst\":\"10.0.0.1\"",
	  POLICY_EGRESS, POLICY_ICMPV4, "10.0.0.1", NULL, 0, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"icmpv6\",\"dst\":\"fd00::1\"",
	  POLICY_EGRESS, POLICY_ICMPV6, "fd00::1", NULL, 0, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"ingress\",\"proto\":\"tcp\",\"dst\":\"192.0.2.9\",\"port\":"
	  "8080",
	  POLICY_INGRESS, POLICY_TCP, "192.0.2.9", NULL, 8080, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"tcp\",\"dst\":\"198.18.0.1\",\"port\":"
	  "22,"
	  "\"name\":\"git.example.com\"",
	  POLICY_EGRESS, POLICY_TCP, "93.184.216.34", "git.example.com", 22, NULL, NULL },
	{ "\"kind\":\"tls\",\"id\":\"f1\",\"sni\":\"a.example.com\"", POLICY_EGRESS, POLICY_TCP,
	  "93.184.216.34", "a.example.com", 443, NULL, NULL },
	{ "\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"tcp\",\"dst\":\"198.18.0.1\",\"port\":"
	  "5432,"
	  "\"name\":\"any\"",
	  POLICY_EGRESS, POLICY_TCP, "10.0.0.5", "any", 5432, NULL, NULL },
	{ "\"kind\":\"dns\",\"name\":\"a.example.com\",\"result\":\"denied\"", POLICY_EGRESS,
	  POLICY_TCP, "93.184.216.34", "a.example.com", 443, NULL, NULL },
	{ "\"kind\":\"dns\",\"name\":\"a.example.com\",\"result\":\"rebind\",\"answers\":[\"10.1.2."
	  "3\"]",
	  POLICY_EGRESS, POLICY_TCP, "10.1.2.3", NULL, 443, NULL, NULL },
	{ "\"kind\":\"http\",\"method\":\"POST\",\"host\":\"a.example.com\",\"path\":\"/v1/x?y=z\","
	  "\"outcome\":\"denied\"",
	  POLICY_EGRESS, POLICY_TCP, "93.184.216.34", "a.example.com", 443, "POST", "/v1/x" },
	{ "\"kind\":\"http\",\"method\":\"GET\",\"host\":\"a.example.com:8443\",\"path\":\"/\","
	  "\"outcome\":\"denied\"",
	  POLICY_EGRESS, POLICY_TCP, "93.184.216.34", "a.example.com", 8443, "GET", "/" },
};

static json_t *ask(const char *event)
{
	char path[] = "/tmp/weir-advice-XXXXXX", text[1024], err[256] = "", *out = NULL;
	struct audit_view v = { .json = true };
	struct audit_log *l = NULL;
	int fd = mkstemp(path);
	json_t *top;
	size_t n;
	FILE *f;

	assert_true(fd >= 0);
	assert_int_equal(audit_log_open(NULL, fd, "r", NULL, &l), 0);
	snprintf(text, sizeof(text),
		 "{%s,\"verdict\":\"deny\",\"rule\":\"default\",\"denial\":\"d\"}", event);
	if (audit_log_append(l, "gateway", text, strlen(text)) < 0)
		fail_msg("refused: %s", text);
	audit_log_close(l);
	f = open_memstream(&out, &n);
	if (audit_why(path, "d", &v, f, err, sizeof(err)) != 0)
		fail_msg("%s: %s", text, err);
	fclose(f);
	unlink(path);
	top = json_loads(out, JSON_ALLOW_NUL, NULL);
	assert_non_null(top);
	free(out);
	return top;
}

static void check_allows(const struct policy *p, size_t i, bool http)
{
	struct policy_facts f = {
		.dir = cases[i].dir,
		.proto = cases[i].proto,
		.port = cases[i].port,
		.name = cases[i].name ? POLICY_KNOWN : POLICY_NONE,
		.http = http && cases[i].method ? POLICY_KNOWN : POLICY_NONE,
		.method = cases[i].method,
		.path = cases[i].path,
	};
	struct name n;

	assert_int_equal(ip_parse(cases[i].addr, strlen(cases[i].addr), &f.addr, NULL), 0);
	if (cases[i].name) {
		assert_int_equal(name_parse(cases[i].name, strlen(cases[i].name), &n, NULL), 0);
		f.names = &n;
		f.n_names = 1;
	}
	if (policy_decide(p, &f).answer != POLICY_ANSWER_ALLOW)
		fail_msg("not allowed by the advice: %s", cases[i].event);
	/* And nothing beside it: another name, another port. */
	if (cases[i].name) {
		struct name other;
		struct policy_facts g = f;

		assert_int_equal(name_parse("other.example", 13, &other, NULL), 0);
		g.names = &other;
		if (policy_decide(p, &g).answer != POLICY_ANSWER_DENY)
			fail_msg("the advice is for any name: %s", cases[i].event);
	}
	f.port = (uint16_t)(f.port + 1);
	if (cases[i].port && policy_decide(p, &f).answer != POLICY_ANSWER_DENY)
		fail_msg("the advice is too wide: %s", cases[i].event);
}

static void test_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *top = ask(cases[i].event);
		json_t *rule = json_object_get(json_object_get(top, "advice"), "rule");
		char *rule_text = json_dumps(rule, JSON_COMPACT), text[1024];
		struct conf_error err = { "" };
		struct conf_doc *doc = NULL;
		struct policy *p = NULL;
		struct conf root;

		assert_non_null(rule_text);
		snprintf(
			text, sizeof(text),
			"{\"default_egress\":\"deny\",\"default_ingress\":\"deny\",\"rules\":[%s]}",
			rule_text);
		assert_int_equal(conf_doc_parse(text, strlen(text), "advice", CONF_JSON, &doc, &err),
				 0);
		root = conf_root(doc);
		if (policy_load_conf(&root, &p, &err) != 0)
			fail_msg("%s: %s", rule_text, err.text);
		check_allows(p, i, true);
		policy_free(p);
		conf_doc_free(doc);
		free(rule_text);
		json_decref(top);
	}
}

static void test_token(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *top = ask(cases[i].event);
		const char *token = json_string_value(
			json_object_get(json_object_get(top, "advice"), "net_rule"));
		struct policy_flags flags = { .net_rules = &token, .n_net_rules = 1, .no_net = true };
		struct conf_error err = { "" };
		struct policy *p = NULL;

		assert_non_null(token);
		if (policy_compose(NULL, &flags, &p, &err) != 0)
			fail_msg("%s: %s", token, err.text);
		check_allows(p, i, false);
		policy_free(p);
		json_decref(top);
	}
}

/* What has no canonical form, or would mean more than itself, is not suggested. */
static void test_nothing_hostile_is_suggested(void **state)
{
	static const char *const hostile[] = {
		"\"kind\":\"flow\",\"proto\":\"tcp\",\"dst\":\"1.2.3.4; rm -rf /\",\"port\":1",
		"\"kind\":\"flow\",\"proto\":\"tcp\",\"dst\":\"$(id)\",\"port\":1",
		"\"kind\":\"flow\",\"proto\":\"tcp\",\"name\":\"*\",\"port\":1",
		"\"kind\":\"tls\",\"sni\":\"any\\u0000x\"",
		"\"kind\":\"http\",\"host\":\"a.com\",\"method\":\"GET\",\"path\":\"/"
		"**\",\"outcome\":\"denied\"",
		"\"kind\":\"http\",\"host\":\"a.com\",\"method\":\"*\",\"path\":\"/"
		"\",\"outcome\":\"denied\"",
		"\"kind\":\"http\",\"host\":\"a.com\",\"method\":\"GET\",\"path\":\"/"
		"`id`\",\"outcome\":\"denied\"",
		"\"kind\":\"http\",\"host\":\"a.com\",\"method\":\"GET\",\"path\":\"/"
		"\",\"outcome\":\"misdirected\"",
		"\"kind\":\"secret\",\"event\":\"violation\",\"secret\":\"A;id\",\"host\":\"a."
		"com\",\"place\":\"body\"",
		"\"kind\":\"secret\",\"event\":\"violation\",\"secret\":\"A\",\"host\":\"a "
		"com\",\"place\":\"body\"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		json_t *top = ask(hostile[i]), *advice = json_object_get(top, "advice");

		if (json_object_get(advice, "rule") || json_object_get(advice, "net_rule") ||
		    json_object_get(advice, "flag"))
			fail_msg("suggested for %s", hostile[i]);
		json_decref(top);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_nothing_hostile_is_suggested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
