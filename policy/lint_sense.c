/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that are right rule by rule, and do not do what they seem to. */
#include "base/base.h"
#include "policy/lint.h"

static bool is_allow(const struct policy_rule *r)
{
	return r->action == POLICY_ALLOW && (r->dirs & POLICY_EGRESS);
}

/* The first deny of all questions; what is allowed by name in front of it is asked. */
static size_t first_dns_deny(const struct policy *p)
{
	const struct name any = { 11, "example.com" };
	size_t i;

	for (i = 0; i < p->n_rules; i++) {
		const struct policy one = { .egress = POLICY_ALLOW,
					    .rules = &p->rules[i],
					    .n_rules = 1 };

		if (!rule_by_name(&p->rules[i]) &&
		    policy_linear_query(&one, &any).answer == POLICY_ANSWER_DENY)
			break;
	}
	return i;
}

/*
 * An allow by name whose name is never asked: without an address nothing gets there.
 * Each is a walk over the rules, so a long list is not looked at to its end.
 */
#define ASKED_MAX 1000

static int check_asked(const struct policy *p, struct policy_findings *ret)
{
	char rule[LINT_RULE_TEXT], by[LINT_RULE_TEXT], first[LINT_RULE_TEXT];
	size_t looked = 0;
	int r = 0;

	for (size_t i = first_dns_deny(p); i < p->n_rules && r == 0 && looked < ASKED_MAX; i++) {
		const struct policy_rule *x = &p->rules[i];
		struct policy_verdict v;
		struct name n;
		char *example;

		if (!is_allow(x) || !x->name)
			continue;
		looked++;
		n = policy_rule_name(x);
		if (x->dest == POLICY_DEST_BELOW && n.len + 4 <= NAME_MAX_LEN) {
			snprintf(n.s, sizeof(n.s), "www.%.*s", NAME_MAX_LEN - 4, x->name->s);
			n.len = (uint8_t)(x->name->len + 4);
		}
		v = policy_linear_query(p, &n);
		/* A deny by name in front is a carve-out that its author meant. */
		if (v.answer == POLICY_ANSWER_ALLOW || v.rule < 0 || rule_by_name(&p->rules[v.rule]))
			continue;
		if (asprintf(&example, "a question for %s", n.s) < 0)
			return -ENOMEM;
		r = lint_add(
			ret, p, POLICY_WARNING, "never-resolves", (int)i, v.rule, example,
			"%s allows %s, but %s denies asking for it, so no flow gets its address. "
			"Move it in front of %s.",
			lint_rule_text(p, (int)i, rule), x->name->s, lint_rule_text(p, v.rule, by),
			lint_rule_text(p, v.rule, first));
	}
	return r;
}

static bool covers(const struct policy_rule *r, uint16_t port)
{
	for (size_t i = 0; i < r->n_ports; i++)
		if (port >= r->ports[i].lo && port <= r->ports[i].hi)
			return true;
	return r->n_ports == 0;
}

/* The world is open by address, and no name of it can be resolved. */
static int check_dns(const struct policy *p, struct policy_findings *ret)
{
	static const char probe[] = "example.com";
	char rule[LINT_RULE_TEXT];
	struct name n;
	char *example;

	if (name_parse(probe, strlen(probe), &n, NULL) < 0 ||
	    policy_linear_query(p, &n).answer == POLICY_ANSWER_ALLOW)
		return 0;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (!is_allow(r) || !(covers(r, 443) || covers(r, 80)) ||
		    (r->protos && !(r->protos & POLICY_TCP)))
			continue;
		if (r->dest != POLICY_DEST_ANY &&
		    !(r->dest == POLICY_DEST_GROUP && r->group == POLICY_GROUP_PUBLIC))
			continue;
		if (asprintf(&example, "a question for %s", probe) < 0)
			return -ENOMEM;
		return lint_add(
			ret, p, POLICY_WARNING, "no-dns", (int)i, -1, example,
			"%s allows addresses of the whole world, but no name can be resolved. "
			"Add { \"action\": \"allow\", \"destination\": \"host\", \"protocols\": "
			"[\"tcp\", \"udp\"], \"port\": 53 }.",
			lint_rule_text(p, (int)i, rule));
	}
	return 0;
}

/* Credentials of the machine, opened by a rule that was about something else. */
static int check_metadata(const struct policy *p, struct policy_findings *ret)
{
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = ip4(169, 254, 169, 254),
				  .port = 80,
				  .name = POLICY_NONE,
				  .http = POLICY_NONE };
	struct policy_verdict v = policy_linear_decide(p, &f);
	char rule[LINT_RULE_TEXT], first[LINT_RULE_TEXT];
	const struct policy_rule *r = v.rule < 0 ? NULL : &p->rules[v.rule];
	char *example;

	if (!r || v.answer != POLICY_ANSWER_ALLOW || r->dest == POLICY_DEST_GROUP ||
	    (r->dest == POLICY_DEST_PREFIX && r->prefix.len > 24))
		return 0;
	example = lint_example(&f);
	if (!example)
		return -ENOMEM;
	return lint_add(ret, p, POLICY_WARNING, "opens-metadata", v.rule, -1, example,
			"%s opens the services that hand out this machine's cloud credentials. Put "
			"{ \"action\": \"deny\", \"destination\": \"metadata\" } in front of %s.",
			lint_rule_text(p, v.rule, rule), lint_rule_text(p, v.rule, first));
}

/* A deny by name takes nothing from who dials the address and shows another name. */
static int check_evasion(const struct policy *p, struct policy_findings *ret)
{
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = policy_public_sample(p),
				  .port = 443,
				  .name = POLICY_KNOWN,
				  .name_unproven = true,
				  .n_names = 1,
				  .http = POLICY_NONE };
	struct name other;
	char rule[LINT_RULE_TEXT];

	if (p->strict_names || name_parse("other.example", 13, &other, NULL) < 0)
		return 0;
	f.names = &other;
	if (policy_linear_decide(p, &f).answer != POLICY_ANSWER_ALLOW)
		return 0;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		char *example;

		if (r->action != POLICY_DENY || !(r->dirs & POLICY_EGRESS) || !r->name)
			continue;
		example = lint_example(&f);
		if (!example)
			return -ENOMEM;
		return lint_add(
			ret, p, POLICY_NOTE, "evadable-deny", (int)i, -1, example,
			"%s, and any other deny by name here, does not stop who dials the bare "
			"address and shows another name: what is not named is allowed. "
			"\"strict_names\": true, or a default of deny, does.",
			lint_rule_text(p, (int)i, rule));
	}
	return 0;
}

int lint_sense(const struct policy *p, struct policy_findings *ret)
{
	int r = check_asked(p, ret);

	if (r == 0)
		r = check_dns(p, ret);
	if (r == 0)
		r = check_metadata(p, ret);
	return r < 0 ? r : check_evasion(p, ret);
}
