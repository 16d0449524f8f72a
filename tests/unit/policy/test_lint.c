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
	for (unsigned i = 0; i < 200; i++)
		check_one(&g, i);
	grid_fini(&g);
}

static void test_requests(void **state)
{
	struct grid g;

	(void)state;
	grid_init(&g, true);
	for (unsigned i = 0; i < 12; i++)
		check_one(&g, i);
	grid_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
