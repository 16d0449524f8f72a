/* SPDX-License-Identifier: Apache-2.0 */
/* Differences of two policies: tables in words, and random pairs against brute force. */
#include "tests/unit/policy/space_test.h"

/* ---- against brute force --------------------------------------------------------- */

struct pair {
	const struct policy *p[2];
	bool differ;
};

static bool try_one(struct pair *x, const struct policy_facts *f)
{
	x->differ = policy_decide(x->p[0], f).answer != policy_decide(x->p[1], f).answer;
	return !x->differ;
}

static bool try_flow(void *arg, const struct policy_facts *f)
{
	struct policy_facts answered = *f;

	if (!try_one(arg, f))
		return false;
	if (f->name != POLICY_KNOWN || f->name_unproven)
		return true;
	answered.name_answered = true;
	return try_one(arg, &answered);
}

static unsigned query_outcome(const struct policy *p, const struct name *n)
{
	unsigned types = 0;

	for (unsigned t = POLICY_QTYPE_MX; t <= POLICY_QTYPE_TXT; t <<= 1)
		types |= policy_query_type(p, n, (enum policy_qtype)t) ? t << 1 : 0;
	return types | (policy_decide_query(p, n).answer == POLICY_ANSWER_ALLOW);
}

static bool queries_differ(const struct grid *g, const struct pair *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(grid_names); i++)
		if (query_outcome(x->p[0], &g->names[i]) != query_outcome(x->p[1], &g->names[i]))
			return true;
	return false;
}

/* A copy that decides much the same: a rule gone, two rules swapped, a prefix in halves. */
static struct policy *mutant(const struct policy *p)
{
	struct policy *q = NULL;
	struct why why;
	unsigned at = rnd((unsigned)p->n_rules), how = rnd(4);

	assert_int_equal(policy_new(p->egress, p->ingress, &q), 0);
	q->strict_names = p->strict_names;
	for (size_t i = 0; i < p->n_rules; i++) {
		size_t from = how == 1 && i == at && i + 1 < p->n_rules ? i + 1
			      : how == 1 && at + 1 == i			? i - 1
									: i;
		const struct policy_rule *r = &p->rules[from];
		bool halve = how == 2 && r->dest == POLICY_DEST_PREFIX && r->prefix.len < 32;

		if (how == 0 && i == at)
			continue;
		for (int half = 0; half < (halve ? 2 : 1); half++) {
			struct policy_rule c = *r;

			c.id = c.reason = NULL;
			c.name = NULL;
			c.ports = NULL;
			c.methods = c.paths = NULL;
			c.n_ports = c.n_methods = c.n_paths = 0;
			if (r->name) {
				const struct name n = policy_rule_name(r);

				assert_int_equal(policy_rule_set_name(&c, &n), 0);
			}
			for (size_t k = 0; k < r->n_ports; k++)
				assert_int_equal(policy_rule_add_port(&c, r->ports[k], &why), 0);
			for (size_t k = 0; k < r->n_methods; k++)
				assert_int_equal(policy_rule_add_method(&c, r->methods[k], &why), 0);
			for (size_t k = 0; k < r->n_paths; k++)
				assert_int_equal(policy_rule_add_path(&c, r->paths[k], &why), 0);
			if (halve) {
				if (half)
					c.prefix.addr.b[c.prefix.len / 8] |=
						(uint8_t)(0x80 >> c.prefix.len % 8);
				c.prefix.len++;
			}
			assert_int_equal(policy_add(q, &c, &why), 0);
		}
	}
	return q;
}

static void check_pair(const struct grid *g, unsigned round, unsigned *equal)
{
	struct policy *p = random_policy(6, g->http), *q;
	struct pair x = { .p = { p } };
	struct policy_changes c = { 0 };
	struct conf_error err = { "" };

	p->strict_names = rnd(4) == 0;
	x.p[1] = q = rnd(4) && p->n_rules ? mutant(p) : random_policy(6, g->http);
	if (rnd(8) == 0)
		q->strict_names = !q->strict_names;
	if (policy_diff(p, q, &test_gateways, &c, &err) < 0)
		fail_msg("round %u: %s", round, err.text);
	grid_each(g, try_flow, &x);
	x.differ = x.differ || queries_differ(g, &x);
	*equal += !x.differ;
	if (x.differ != (c.n > 0)) {
		assert_int_equal(policy_print(p, stderr), 0);
		assert_int_equal(policy_print(q, stderr), 0);
		fail_msg("round %u: brute force says %s, diff says %s: %s", round,
			 x.differ ? "different" : "equivalent", c.n ? "different" : "equivalent",
			 c.n && c.v[0].example ? c.v[0].example : "");
	}
	for (size_t i = 0; i < c.n; i++) {
		const struct policy_change *v = &c.v[i];

		if (v->kind == POLICY_CHANGE_QTYPES)
			continue;
		assert_non_null(v->example);
		if (v->before.answer == v->after.answer || (int)v->after.answer != (int)v->now)
			fail_msg("round %u: %s is no example: %d, %d", round, v->example,
				 (int)v->before.answer, (int)v->after.answer);
	}
	policy_changes_fini(&c);
	policy_free(p);
	policy_free(q);
}

static void test_flows(void **state)
{
	struct grid g;
	unsigned equal = 0;

	(void)state;
	grid_init(&g, false);
	for (unsigned i = 0; i < ROUNDS(120); i++)
		check_pair(&g, i, &equal);
	grid_fini(&g);
	/* Both answers were met, or the test says little. */
	assert_in_range(equal, ROUNDS(12), ROUNDS(108));
}

static void test_requests(void **state)
{
	struct grid g;
	unsigned equal = 0;

	(void)state;
	grid_init(&g, true);
	/* Few, because each is slow: that both answers are met, the flows have shown. */
	for (unsigned i = 0; i < ROUNDS(8); i++)
		check_pair(&g, i, &equal);
	grid_fini(&g);
}

/* ---- tables --------------------------------------------------------------------------- */

/* All changes in one line: "+tcp|10.0.0.0/8|any name or none" and so on. */
static char *in_words(const char *before, const char *after)
{
	struct policy *p = must_load(before), *q = must_load(after);
	struct policy_changes c = { 0 };
	struct conf_error err = { "" };
	struct buf b = BUF_INIT(65536);
	char *copy;

	assert_int_equal(policy_diff(p, q, &test_gateways, &c, &err), 0);
	for (size_t i = 0; i < c.n; i++) {
		static const char *const kinds[] = { "", "?", "?type ", "on_deny" };
		const struct policy_texts *parts[] = { &c.v[i].services, &c.v[i].addresses,
						       &c.v[i].names };

		assert_int_equal(buf_printf(&b, "%s%s%s", i ? " " : "",
					    c.v[i].now == POLICY_ALLOW ? "+" : "-",
					    kinds[c.v[i].kind]),
				 0);
		for (size_t k = 0; k < 3; k++)
			for (size_t t = 0; t < parts[k]->n; t++)
				assert_int_equal(buf_printf(&b, "%s%s",
							    t	? ","
							    : k ? "|"
								: "",
							    parts[k]->v[t]),
						 0);
	}
	copy = strdup(buf_str(&b));
	assert_non_null(copy);
	buf_fini(&b);
	policy_changes_fini(&c);
	policy_free(p);
	policy_free(q);
	return copy;
}

#define R(...) "{\"rules\":[" __VA_ARGS__ "]}"
#define ALLOW(d, more) "{\"action\":\"allow\",\"destination\":\"" d "\"" more "}"
#define DENY(d, more) "{\"action\":\"deny\",\"destination\":\"" d "\"" more "}"

static void test_words(void **state)
{
	static const struct {
		const char *before, *after, *words;
	} table[] = {
		/* Written otherwise, and the same. */
		{ R(ALLOW("10.0.0.0/8", "")),
		  R(ALLOW("10.0.0.0/9", "") "," ALLOW("10.128.0.0/9", "")), "" },
		{ R(ALLOW("*", ",\"port\":\"80-90\"")),
		  R(ALLOW("*", ",\"port\":\"85-90\"") "," ALLOW("*", ",\"port\":\"80-84\"")), "" },
		{ R(ALLOW("10.0.0.0/8", "") "," DENY("192.168.0.0/16", "")),
		  R(DENY("192.168.0.0/16", "") "," ALLOW("10.0.0.0/8", "")), "" },
		{ R(ALLOW("a.com", "") "," ALLOW("*.a.com", "")), R(ALLOW(".a.com", "")), "" },
		{ R(DENY("*", "")), R(), "" },
		{ "\"public_only\"",
		  R("{\"action\":\"allow\",\"destination\":\"host\",\"protocols\":["
		    "\"tcp\",\"udp\"],\"port\":53}," ALLOW("public", "")),
		  "" },
		/* Not the same. */
		{ R(), R(ALLOW("10.0.0.0/8", ",\"protocol\":\"tcp\",\"port\":443")),
		  "+tcp 443|10.0.0.0/8|any name or none" },
		{ R(ALLOW("public", "")),
		  R(DENY("8.8.8.8", ",\"protocol\":\"udp\"") "," ALLOW("public", "")),
		  "-udp|8.8.8.8|any name or none" },
		{ R(), R(ALLOW("public", ",\"protocol\":\"icmpv4\"")),
		  "+icmpv4|public|any name or none" },
		{ R(), R(DENY("1.1.1.1", "") "," ALLOW("public", ",\"protocol\":\"icmpv4\"")),
		  "+icmpv4|public except 1.1.1.1|any name or none" },
		{ R(), R(ALLOW("*.a.com", ",\"protocol\":\"tcp\",\"port\":443")),
		  "+tcp 443|any address|*.a.com +?|*.a.com" },
		{ R(), R(DENY("x.a.com", "") "," ALLOW(".a.com", ",\"protocol\":\"udp\",\"port\":9")),
		  "+udp 9|any address|*.a.com except x.a.com,a.com "
		  "+?|*.a.com except x.a.com,a.com" },
		{ R(), R("{\"action\":\"allow\",\"direction\":\"ingress\",\"destination\":\"*\"}"),
		  "" },
		{ "{\"default_ingress\":\"deny\"}",
		  "{\"default_ingress\":\"deny\",\"rules\":[{\"action\":\"allow\",\"direction\":"
		  "\"ingress\",\"destination\":\"10.0.0.0/8\",\"protocol\":\"tcp\",\"port\":22}]}",
		  "+ingress tcp 22|10.0.0.0/8" },
		{ R(), "{\"on_deny\":\"drop\"}", "-on_deny" },
		{ R(), R(ALLOW("host", ",\"protocol\":\"udp\",\"port\":53")),
		  "+udp 53|the gateway|any name or none +?|any name" },
		{ R(ALLOW("10.0.0.1",
			  ",\"protocol\":\"tcp\",\"port\":80,\"http\":{\"methods\":[\"GET\"]}")),
		  R(ALLOW("10.0.0.1",
			  ",\"protocol\":\"tcp\",\"port\":80,\"http\":{\"paths\":[\"/**\"],"
			  "\"methods\":[\"GET\"]}")),
		  "-tcp 80, requests like GET *|10.0.0.1|any name or none" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char *words = in_words(table[i].before, table[i].after);

		if (!str_eq(words, table[i].words))
			fail_msg("%s\n%s\nis    %s\nnot   %s", table[i].before, table[i].after,
				 words, table[i].words);
		free(words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
