/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy diff: what one policy allows and another does not, as sets with an example each. */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "policy/policy.h"
#include "weir/addresses.h"
#include "weir/wrap.h"

#include <stdio.h>

const char policy_help_diff[] =
	"Usage: weir policy diff OLD NEW [OPTIONS]\n"
	"\n"
	"Says exactly what becomes allowed and what becomes denied from OLD to NEW (files\n"
	"or presets): sets of flows and of names that may be asked, each with an example\n"
	"and the rules that decide it. Policies that are written differently and decide\n"
	"alike are equivalent.\n"
	"\n"
	"  --json  one JSON object\n"
	"\n"
	"Exit status: 0 equivalent, 1 different, 2 error.\n";

struct options {
	const char *old, *new;
	bool json;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const char *const names[] = { "--json" };
	bool rest = false;

	for (int i = 1; i < argc; i++) {
		if (!rest && str_eq(argv[i], "--"))
			rest = true;
		else if (!rest && str_eq(argv[i], "--json"))
			o->json = true;
		else if (!rest && argv[i][0] == '-' && argv[i][1])
			return policy_cmd_unknown("diff", argv[i], names, ARRAY_SIZE(names));
		else if (!o->old)
			o->old = argv[i];
		else if (!o->new)
			o->new = argv[i];
		else
			return policy_cmd_complain("diff", "one argument too many: %s", argv[i]);
	}
	if (!o->new)
		return policy_cmd_complain("diff",
					   "expected two policies: OLD and NEW, see --help");
	return 0;
}

/* ---- text ------------------------------------------------------------------------ */

#define TEXTS_SHOWN 12

static void put_texts(FILE *f, const char *label, const struct policy_texts *t)
{
	fprintf(f, "    %-9s ", label);
	for (size_t i = 0; i < t->n && i < TEXTS_SHOWN; i++)
		fprintf(f, "%s%s", i ? "; " : "", t->v[i]);
	if (t->n > TEXTS_SHOWN)
		fprintf(f, "; and %zu more (--json lists all)", t->n - TEXTS_SHOWN);
}

static const char *word(const struct policy_verdict *v)
{
	return v->answer == POLICY_ANSWER_ALLOW ? "allowed" : "denied";
}

static void put_rule(FILE *f, const struct policy_verdict *v)
{
	if (v->rule < 0)
		fputs("the default", f);
	else if (v->rule_id)
		fprintf(f, "rule %d (%s)", v->rule, v->rule_id);
	else
		fprintf(f, "rule %d", v->rule);
}

static void put_example(FILE *f, const struct policy_change *c)
{
	fprintf(f, "    %-9s %s: %s by ", "example", c->example, word(&c->before));
	put_rule(f, &c->before);
	fprintf(f, ", then %s by ", word(&c->after));
	put_rule(f, &c->after);
}

/* One line of what put_texts() or, without a label, put_example() writes. */
static void print_line(const char *label, const struct policy_texts *t, const struct policy_change *c)
{
	char *line = NULL;
	size_t len;
	FILE *f;

	if (label ? !t->n : !c->example)
		return;
	f = open_memstream(&line, &len);
	if (!f)
		return;
	if (label)
		put_texts(f, label, t);
	else
		put_example(f, c);
	if (fclose(f) == 0)
		wrap_put(stdout, wrap_columns(stdout), 14, line);
	free(line);
}

static const char *qtype_text(uint8_t qtypes)
{
	static const char *const texts[] = { "",    "MX",	  "SRV",	 "MX and SRV",
					     "TXT", "MX and TXT", "SRV and TXT", "MX, SRV and TXT" };

	return texts[qtypes % ARRAY_SIZE(texts)];
}

static void print_change(const struct policy_change *c)
{
	bool allow = c->now == POLICY_ALLOW;

	switch (c->kind) {
	case POLICY_CHANGE_FLOWS:
		printf("now %s:\n", allow ? "allowed" : "denied");
		break;
	case POLICY_CHANGE_QUERIES:
		printf("%s be asked of the resolver:\n", allow ? "may now" : "may no longer");
		break;
	case POLICY_CHANGE_QTYPES:
		printf("%s be asked for %s too:\n", allow ? "may now" : "may no longer",
		       qtype_text(c->qtypes));
		break;
	case POLICY_CHANGE_ON_DENY:
		printf("what is denied is now %s, not %s\n", allow ? "refused" : "dropped silently",
		       allow ? "dropped silently" : "refused");
		return;
	case POLICY_CHANGE_LIMITS:
		puts("limits that changed:");
		print_line("rules", &c->services, NULL);
		return;
	}
	print_line("services", &c->services, NULL);
	print_line("to", &c->addresses, NULL);
	print_line(c->kind == POLICY_CHANGE_FLOWS ? "named" : "names", &c->names, NULL);
	print_line(NULL, NULL, c);
}

/* ---- JSON ------------------------------------------------------------------------- */

static json_t *texts_json(const struct policy_texts *t)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < t->n; i++)
		if (json_array_append_new(list, json_string(t->v[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *verdict_json(const struct policy_change *c, const struct policy_verdict *v)
{
	json_t *rule = v->rule < 0 ? json_null() : json_integer(v->rule);

	if (!c->example) {
		json_decref(rule);
		return json_null();
	}
	return json_pack("{s:s, s:o, s:s?}", "verdict",
			 v->answer == POLICY_ANSWER_ALLOW ? "allow" : "deny", "index", rule, "rule",
			 v->rule_id);
}

static json_t *change_json(const struct policy_change *c)
{
	static const char *const kinds[] = { "flows", "queries", "query_types", "on_deny", "limits" };

	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s?, s:o, s:o}", "kind", kinds[c->kind],
			 "now", c->now == POLICY_ALLOW ? "allow" : "deny", "types",
			 c->kind == POLICY_CHANGE_QTYPES ? qtype_text(c->qtypes) : "", "services",
			 texts_json(&c->services), "addresses", texts_json(&c->addresses), "names",
			 texts_json(&c->names), "example", c->example, "before",
			 verdict_json(c, &c->before), "after", verdict_json(c, &c->after));
}

static int print_json(const struct options *o, const struct policy_changes *c)
{
	json_t *list = json_array(), *j;
	int err = list ? 0 : -1;

	for (size_t i = 0; i < c->n && err == 0; i++)
		err = json_array_append_new(list, change_json(&c->v[i]));
	j = json_pack("{s:s, s:s, s:b, s:b, s:o}", "old", o->old, "new", o->new, "equivalent",
		      c->n == 0, "complete", !c->cut, "changes", list);
	if (err == 0)
		err = j ? json_dumpf(j, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2)) : -1;
	json_decref(j);
	if (err < 0)
		return policy_cmd_complain("diff", "cannot write the changes as JSON");
	putchar('\n');
	return 0;
}

/* ---- the command --------------------------------------------------------------------- */

static int print(const struct options *o, const struct policy_changes *c)
{
	if (o->json)
		return print_json(o, c);
	if (c->n == 0)
		puts("equivalent");
	for (size_t i = 0; i < c->n; i++)
		print_change(&c->v[i]);
	if (c->cut)
		puts("and more changes than are worth listing");
	return 0;
}

int policy_cmd_diff(int argc, char **argv)
{
	const struct ip_addr gateways[] = { sandbox_net_default.gateway4,
					    sandbox_net_default.gateway6 };
	const struct policy_gateways gw = { gateways, ARRAY_SIZE(gateways) };
	struct options o = { 0 };
	struct policy *old = NULL, *new = NULL;
	struct policy_changes c = { 0 };
	struct conf_error err = { "" };
	int r = parse(argc, argv, &o);

	if (r)
		return r;
	if (policy_load_file_or_preset(o.old, &old, &err) < 0 ||
	    policy_load_file_or_preset(o.new, &new, &err) < 0 ||
	    policy_diff(old, new, &gw, &c, &err) < 0)
		r = policy_cmd_complain("diff", "%s", err.text);
	else
		r = print(&o, &c);
	if (r == 0 && fflush(stdout) != 0)
		r = policy_cmd_complain("diff", "cannot write: %s", strerror(errno));
	if (r == 0 && c.n)
		r = EXIT_DENY;
	policy_changes_fini(&c);
	policy_free(old);
	policy_free(new);
	return r;
}
