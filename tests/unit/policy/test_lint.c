/* SPDX-License-Identifier: Apache-2.0 */
/* Findings: a table of policies, and random ones against brute force over a grid of flows. */
#include "tests/unit/policy/space_test.h"

/* ---- against brute force --------------------------------------------------------- */

struct brute {
	const struct policy *p;
	const struct grid *g;
	bool lives[16], matters[16];
};

/* The same policy without one rule; shares everything. */
static struct policy without(const struct policy *p, size_t rule, struct policy_rule *room)
{
	struct policy q = *p;

	memcpy(room, p->rules, rule * sizeof(*room));
	memcpy(room + rule, p->rules + rule + 1, (p->n_rules - rule - 1) * sizeof(*room));
	q.rules = room;
	q.n_rules--;
	return q;
}

static bool try_flow(void *arg, const struct policy_facts *f)
{
	struct brute *b = arg;
	struct policy_verdict v = policy_linear_decide(b->p, f);
	struct policy_rule room[16];
	struct policy q;

	assert_true(v.answer <= POLICY_ANSWER_ALLOW);
	if (v.rule < 0)
		return true;
	b->lives[v.rule] = true;
	if (b->matters[v.rule])
		return true;
	q = without(b->p, (size_t)v.rule, room);
	b->matters[v.rule] = policy_linear_decide(&q, f).answer != v.answer;
	return true;
}

static unsigned query_outcome(const struct policy *p, struct policy_verdict v)
{
	if (v.answer != POLICY_ANSWER_ALLOW)
		return 0;
	return 1u | (v.rule < 0 ? 0 : (unsigned)p->rules[v.rule].qtypes << 1);
}

static void try_queries(struct brute *b)
{
	struct policy_rule room[16];

	for (size_t i = 0; i < ARRAY_SIZE(grid_names); i++)
		for (size_t k = 0; k < ARRAY_SIZE(grid_names); k++) {
			const struct name *asked = &b->g->names[i], *alias = &b->g->names[k];
			struct policy_verdict v = policy_linear_alias(b->p, asked, alias);
			struct policy q;

			if (i == k)
				assert_int_equal(v.rule, policy_linear_query(b->p, asked).rule);
			if (v.rule < 0)
				continue;
			b->lives[v.rule] = true;
			q = without(b->p, (size_t)v.rule, room);
			b->matters[v.rule] |=
				query_outcome(b->p, v) !=
				query_outcome(&q, policy_linear_alias(&q, asked, alias));
		}
}

static bool reported(const struct policy_findings *f, int rule, const char *check)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].rule == rule && str_eq(f->v[i].check, check))
			return true;
	return false;
}

static void check_one(const struct grid *g, unsigned round)
{
	struct policy *p = random_policy(7, g->http);
	struct brute b = { .p = p, .g = g };
	struct policy_findings f = { 0 };
	struct conf_error err = { "" };

	assert_int_equal(policy_lint(p, &test_gateways, &f, &err), 0);
	assert_string_equal(f.incomplete, "");
	grid_each(g, try_flow, &b);
	try_queries(&b);
	for (int i = 0; i < (int)p->n_rules; i++) {
		bool dead = reported(&f, i, "never-matches"),
		     idle = reported(&f, i, "changes-nothing");

		if (dead != !b.lives[i] || idle != (b.lives[i] && !b.matters[i])) {
			assert_int_equal(policy_print(p, stderr), 0);
			fail_msg("round %u, rule %d: brute force says %s, %s; reported %s", round,
				 i, b.lives[i] ? "lives" : "dead", b.matters[i] ? "matters" : "idle",
				 dead	? "dead"
				 : idle ? "idle"
					: "nothing");
		}
	}
	policy_findings_fini(&f);
	policy_free(p);
}

static void test_flows(void **state)
{
	struct grid g;

	(void)state;
	grid_init(&g, false);
	for (unsigned i = 0; i < ROUNDS(200); i++)
		check_one(&g, i);
	grid_fini(&g);
}

static void test_requests(void **state)
{
	struct grid g;

	(void)state;
	grid_init(&g, true);
	for (unsigned i = 0; i < ROUNDS(12); i++)
		check_one(&g, i);
	grid_fini(&g);
}

/* ---- tables ------------------------------------------------------------------------ */

/* "check@rule/other ..." in order. */
static void in_words(const struct policy *p, char *out, size_t size)
{
	struct policy_findings f = { 0 };
	struct conf_error err = { "" };
	size_t at = 0;

	out[0] = 0;
	assert_int_equal(policy_lint(p, &test_gateways, &f, &err), 0);
	assert_string_equal(f.incomplete, "");
	for (size_t i = 0; i < f.n && at < size; i++) {
		assert_non_null(f.v[i].text);
		at += (size_t)snprintf(out + at, size - at, "%s%s@%d", i ? " " : "", f.v[i].check,
				       f.v[i].rule);
		if (f.v[i].other >= 0 && at < size)
			at += (size_t)snprintf(out + at, size - at, "/%d", f.v[i].other);
	}
	policy_findings_fini(&f);
}

#define A(d, more) "{\"action\":\"allow\",\"destination\":\"" d "\"" more "}"
#define D(d, more) "{\"action\":\"deny\",\"destination\":\"" d "\"" more "}"
#define TCP(port) ",\"protocol\":\"tcp\",\"port\":\"" port "\""
#define HTTP(what) TCP("443") ",\"http\":{" what "}"
#define DNS                                                                                        \
	"{\"action\":\"allow\",\"destination\":\"host\",\"protocols\":[\"tcp\",\"udp\"],\"port\":" \
	"53},"

/* Parity: p1.4-6. */
static void test_table(void **state)
{
	static const struct {
		const char *rules, *words;
	} table[] = {
		/* Several rules together, over addresses, ports and protocols. */
		{ A("10.0.0.0/9", "") "," A("10.128.0.0/9", "") "," D("10.0.0.0/8", ""),
		  "never-matches@2/0" },
		{ A("10.0.0.0/9", "") "," A("10.128.0.0/10", "") "," D(
			  "10.0.0.0/8", TCP("80")) "," A("10.192.0.0/10", ""),
		  "" },
		{ A("10.0.0.0/8", TCP("1-99")) "," A("10.0.0.0/8", TCP("100-200")) "," D(
			  "10.1.0.0/16", TCP("50-150")),
		  "never-matches@2/0" },
		{ DNS A("public", "") "," D("8.8.8.8", ""), "never-matches@2/1" },
		{ DNS A("public", "") "," D("2001:4860::/32", ""), "never-matches@2/1" },
		{ A(".a.example.com", "") "," A("www.a.example.com", ""), "never-matches@1/0" },
		{ A("a.example.com", "") "," A("*.a.example.com", "") "," A(".a.example.com", ""),
		  "changes-nothing@0/2 changes-nothing@1/2 never-matches@2/1" },
		/* Paths: contained for certain, or left alone. */
		{ A("a.example.com", HTTP("\"paths\":[\"/v1/**\"]")) "," D(
			  "a.example.com", HTTP("\"paths\":[\"/v1/*\",\"/v1/x/**\"]")),
		  "changes-nothing@1" },
		{ A("a.example.com", HTTP("\"paths\":[\"/v1/*\"]")) "," A(
			  "a.example.com", HTTP("\"paths\":[\"/v1/**\"]")),
		  "changes-nothing@0/1" },
		{ A("a.example.com", HTTP("\"methods\":[\"GET\"]")) "," A(
			  "a.example.com", HTTP("\"methods\":[\"GET\"],\"paths\":[\"/*.git/**\"]")),
		  "never-matches@1/0" },
		/* No difference. */
		{ D("10.1.0.0/16", ""), "changes-nothing@0" },
		/* Names that are only claimed are of group doh too. */
		{ A("10.0.0.1", "") "," D("doh", TCP("443")) "," D("doh", "") "," A("*", ""),
		  "changes-nothing@1/2" },
		{ D("10.1.0.0/16", "") "," A("10.0.0.0/8", ""), "" },
		{ A("10.1.0.0/16", "") "," A("10.0.0.0/8", ""), "changes-nothing@0/1" },
		/* Denied for the nameless only. */
		{ A(".example.com", "") "," D("bad.example.com", "") "," A("10.0.0.0/8", ""),
		  "name-decided-before@1/0" },
		/* Where the default denies the nameless too, it is idle, and rule 0 is why. */
		{ A(".example.com", TCP("443")) "," D("bad.example.com", TCP("443")),
		  "changes-nothing@1/0" },
		/* Wide suffixes, shared hosts. */
		{ A(".github.io", ""), "wide-suffix@0" },
		{ A("*.co.uk", ""), "wide-suffix@0" },
		{ A(".amazonaws.com", ""), "wide-suffix@0" },
		{ A(".windows.net", ""), "wide-suffix@0" },
		{ A(".acme.github.io", ""), "" },
		{ D(".github.io", "") "," A("public", ""), "evadable-deny@0 no-dns@1" },
		/* The bare address, by a rule on addresses as well; not where names come first. */
		{ D("a.example", "") "," A("93.184.216.0/24", ""), "evadable-deny@0" },
		{ D("a.example", "") "," A("93.184.216.0/24", ",\"protocol\":\"udp\""), "" },
		{ D("a.example", "") "," A("10.0.0.0/8", ""), "" },
		{ D("a.example", "") "," A(".example.org", ""), "" },
		{ A("gist.github.com", ""), "shared-host@0" },
		{ A("raw.githubusercontent.com", HTTP("\"paths\":[\"/acme/**\"]")), "" },
		/* Names that look alike. */
		{ A("api.examp1e.org", "") "," A("api.example.org", ""), "lookalike@1/0" },
		{ A("rnail.example.org", "") "," A("mail.example.org", ""), "lookalike@1/0" },
		{ A("g00gle.com", ""), "lookalike@0" },
		{ A("xn--80ak6aa92e.com", ""), "lookalike@0" },
		{ A("xn--pypl-53dc.com", ""), "lookalike@0 mixed-scripts@0" },
		{ A("xn--bcher-kva.example.org", ""), "" },
		{ A("api.example.org", "") "," A("api.example.net", ""), "" },
		/* Names that are never resolved. */
		{ D("*", ",\"protocol\":\"udp\",\"port\":53") "," A("a.example.com", TCP("443")),
		  "never-resolves@1/0" },
		{ D("x.a.example.com", "") "," A("*.a.example.com", TCP("443")), "" },
		{ A("public", TCP("443")), "no-dns@0" },
		{ DNS A("public", TCP("443")), "" },
		{ A("203.0.113.9", TCP("443")), "" },
		/* Credentials. */
		{ DNS A("*", TCP("80")), "opens-metadata@1" },
		{ DNS D("metadata", "") "," A("*", TCP("80")), "" },
	};

	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char text[4096], words[4096];
		struct policy *p;

		snprintf(text, sizeof(text), "{\"rules\":[%s]}", table[i].rules);
		p = must_load(text);
		in_words(p, words, sizeof(words));
		if (!str_eq(words, table[i].words))
			print_error("%s\nis    %s\nnot   %s\n", text, words, table[i].words);
		wrong += !str_eq(words, table[i].words);
		policy_free(p);
	}
	assert_int_equal(wrong, 0);
}

static void no_findings(struct policy *p, const char *what)
{
	char words[4096];

	in_words(p, words, sizeof(words));
	if (words[0])
		fail_msg("%s: %s", what, words);
	policy_free(p);
}

/* What we ship and show has nothing to complain about. */
static void test_quiet(void **state)
{
	static const char *const ours[] = { "none", "public_only", "non_local", "allow_all",
					    "demo/policy.json" };
	struct buf text = BUF_INIT((size_t)1 << 20);
	unsigned found = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		struct policy *p = NULL;
		struct conf_error err = { "" };

		if (policy_load_file_or_preset(ours[i], &p, &err) < 0)
			fail_msg("%s", err.text);
		no_findings(p, ours[i]);
	}
	assert_int_equal(file_read("README.md", text.cap, &text), 0);
	for (const char *s = buf_str(&text); (s = strstr(s, "{ \"policy\":")); s++) {
		json_t *o = json_loads(s, JSON_DISABLE_EOF_CHECK, NULL);
		char *one = o ? json_dumps(json_object_get(o, "policy"), 0) : NULL;

		if (one) {
			no_findings(must_load(one), one);
			found++;
		}
		free(one);
		json_decref(o);
	}
	assert_true(found > 0);
	buf_fini(&text);
}

/* Long lists take a moment, not a coffee: names, addresses and both by turns. */
static void test_long(void **state)
{
	struct policy *p = NULL, *q = NULL;
	struct policy_findings f = { 0 };
	struct policy_changes c = { 0 };
	struct conf_error err = { "" };
	struct why why;

	(void)state;
	assert_int_equal(policy_new(POLICY_DENY, POLICY_DENY, &p), 0);
	assert_int_equal(policy_new(POLICY_DENY, POLICY_DENY, &q), 0);
	for (unsigned i = 0; i < 40000; i++) {
		struct policy *to[] = { p, q };

		for (size_t k = 0; k < 2; k++) {
			struct policy_rule r = RULE_INIT;
			char name[64];

			/* q is p from its end, and one rule is missing. */
			unsigned j = k ? 39999 - i : i;

			if (k && j == 12344)
				continue;
			r.action = POLICY_ALLOW;
			if (j % 2) {
				snprintf(name, sizeof(name), "h%u.d%u.example.com", j, j % 999);
				r.dest = POLICY_DEST_NAME;
				name_it(&r, name);
			} else {
				r.dest = POLICY_DEST_PREFIX;
				r.prefix = (struct ip_prefix){ ip4(10, (uint8_t)(j >> 12),
								   (uint8_t)(j >> 4),
								   (uint8_t)(j << 4)),
							       29 };
			}
			assert_int_equal(policy_add(to[k], &r, &why), 0);
		}
	}
	assert_int_equal(policy_lint(p, &test_gateways, &f, &err), 0);
	assert_string_equal(f.incomplete, "");
	assert_int_equal(f.n, 0);
	assert_int_equal(policy_diff(p, q, &test_gateways, &c, &err), 0);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.v[0].addresses.n, 1);
	assert_string_equal(c.v[0].addresses.v[0], "10.3.3.128/29");
	policy_changes_fini(&c);
	policy_findings_fini(&f);
	policy_free(p);
	policy_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	 cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_long),	 cmocka_unit_test(test_flows),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
