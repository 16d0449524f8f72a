/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Suffixes below which anyone can have a name: public ones (publicsuffix.org, the
 * list that Debian keeps up to date), and those of services that many share. And
 * hosts that serve anyone's files by path.
 */
#include "base/base.h"
#include "policy/lint.h"

#include <libpsl.h>

struct shared_name {
	const char *name;
	bool host; /* told apart by path; else a suffix with a tenant per name */
	const char *what;
};

#include "multitenant_table.h"

static const struct shared_name *shared_suffix(const struct name *n)
{
	const struct shared_name *inside = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(shared_names); i++) {
		const struct shared_name *s = &shared_names[i];
		size_t len = strlen(s->name);

		if (s->host)
			continue;
		if (str_eq(s->name, n->s))
			return s;
		/* The rule's suffix is wider still. */
		if (len > n->len && s->name[len - n->len - 1] == '.' &&
		    str_eq(s->name + len - n->len, n->s))
			inside = inside ? inside : s;
	}
	return inside;
}

/* Whoever it is, as a flow that the rule is about. */
static char *example(const struct ip_addr *addr, const struct policy_rule *r, const char *suffix)
{
	char text[NAME_MAX_LEN + 16];
	struct name n;
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = *addr,
				  .port = r->n_ports ? r->ports[0].lo : 443,
				  .name = POLICY_KNOWN,
				  .names = &n,
				  .n_names = 1,
				  .http = POLICY_NONE };
	int len = snprintf(text, sizeof(text), "anyone.%.*s", NAME_MAX_LEN, suffix);

	if (r->protos && !(r->protos & POLICY_TCP)) {
		f.proto = r->protos & POLICY_UDP ? POLICY_UDP : POLICY_ICMPV4;
		f.port = f.proto == POLICY_UDP ? f.port : 0;
	}
	/* A suffix that leaves no room for a label is its own example. */
	if (name_parse(text, (size_t)len, &n, NULL) < 0)
		n = policy_rule_name(r);
	return lint_example(&f);
}

static int wide(const struct policy *p, int i, const char *suffix, const char *who,
		struct policy_findings *ret)
{
	/* Of whatever address: none is known of a name that only its owner knows. */
	const struct ip_addr addr = ip4(93, 184, 215, 14);
	char rule[LINT_RULE_TEXT];
	char *text = example(&addr, &p->rules[i], suffix);

	if (!text)
		return -ENOMEM;
	return lint_add(ret, p, POLICY_WARNING, "wide-suffix", i, -1, text,
			"%s allows all below %s: %s. Name the hosts that are meant.",
			lint_rule_text(p, i, rule), p->rules[i].name->s, who);
}

static int check_suffix(const struct policy *p, int i, const psl_ctx_t *psl,
			struct policy_findings *ret)
{
	const char *s = p->rules[i].name->s;
	const struct name name = policy_rule_name(&p->rules[i]);
	const struct shared_name *shared = shared_suffix(&name);
	char who[300];

	if (shared) {
		snprintf(who, sizeof(who), "a name below %s may be %s", shared->name, shared->what);
		return wide(p, i, shared->name, who, ret);
	}
	if (psl && psl_is_public_suffix2(psl, s, PSL_TYPE_ICANN | PSL_TYPE_NO_STAR_RULE))
		return wide(p, i, s, "anyone can register a name there", ret);
	if (psl && psl_is_public_suffix2(psl, s, PSL_TYPE_PRIVATE | PSL_TYPE_NO_STAR_RULE))
		return wide(p, i, s,
			    "names there belong to different customers (public suffix list)", ret);
	return 0;
}

static int check_host(const struct policy *p, int i, struct policy_findings *ret)
{
	const struct policy_rule *r = &p->rules[i];
	char rule[LINT_RULE_TEXT];

	/* Conditions on paths say which tenant is meant. */
	if (r->n_paths || r->dest == POLICY_DEST_BELOW)
		return 0;
	for (size_t k = 0; k < ARRAY_SIZE(shared_names); k++) {
		char *text;

		if (!shared_names[k].host || !str_eq(shared_names[k].name, r->name->s))
			continue;
		if (asprintf(&text, "https://%s/anyone", r->name->s) < 0)
			return -ENOMEM;
		return lint_add(ret, p, POLICY_NOTE, "shared-host", i, -1, text,
				"%s allows %s, which serves %s, told apart by path only. Say which "
				"with http.paths.",
				lint_rule_text(p, i, rule), r->name->s, shared_names[k].what);
	}
	return 0;
}

int lint_suffixes(const struct policy *p, struct policy_findings *ret)
{
	psl_ctx_t *psl = psl_latest(NULL);
	int r = 0;

	for (size_t i = 0; i < p->n_rules && r == 0; i++) {
		const struct policy_rule *rule = &p->rules[i];

		if (rule->action != POLICY_ALLOW || !(rule->dirs & POLICY_EGRESS))
			continue;
		if (rule->dest == POLICY_DEST_SUFFIX || rule->dest == POLICY_DEST_BELOW)
			r = check_suffix(p, (int)i, psl, ret);
		if (r == 0 && (rule->dest == POLICY_DEST_NAME || rule->dest == POLICY_DEST_SUFFIX))
			r = check_host(p, (int)i, ret);
	}
	psl_free(psl);
	return r;
}
