/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy check: is it valid, and does it say what its author seems to mean? */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "policy/policy.h"
#include "weir/addresses.h"
#include "weir/wrap.h"

#include <stdio.h>

const char policy_help_check[] =
	"Usage: weir policy check FILE|PRESET [OPTIONS]\n"
	"\n"
	"Says whether the policy is valid, and what in it cannot be meant so: rules that\n"
	"never match or change nothing, suffixes that anyone can have a name under, names\n"
	"that look alike or cannot be resolved. Each finding names its rules and\n"
	"shows a flow.\n"
	"\n"
	"  --strict  warnings make the exit status 1 (notes do not)\n"
	"  --json    one JSON object\n"
	"\n"
	"Exit status: 0 valid, 1 valid with warnings and --strict, 2 not valid.\n"
	"\n"
	"Example\n"
	"  weir policy check --strict agent.json\n";

struct options {
	const char *file;
	bool strict, json;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const char *const names[] = { "--strict", "--json" };
	bool rest = false;

	for (int i = 1; i < argc; i++) {
		if (!rest && str_eq(argv[i], "--")) {
			rest = true;
		} else if (!rest && str_eq(argv[i], "--strict")) {
			o->strict = true;
		} else if (!rest && str_eq(argv[i], "--json")) {
			o->json = true;
		} else if (!rest && argv[i][0] == '-' && argv[i][1]) {
			return policy_cmd_unknown("check", argv[i], names, ARRAY_SIZE(names));
		} else if (o->file) {
			return policy_cmd_complain("check", "one argument too many: %s", argv[i]);
		} else {
			o->file = argv[i];
		}
	}
	return o->file ? 0 : policy_cmd_complain("check", "expected one FILE or PRESET, see --help");
}

static const char *severity(const struct policy_finding *f)
{
	return f->severity == POLICY_WARNING ? "warning" : "note";
}

static size_t warnings(const struct policy_findings *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += f->v[i].severity == POLICY_WARNING;
	return n;
}

static void print_text(const struct options *o, const struct policy *p,
		       const struct policy_findings *f)
{
	size_t n = policy_rule_count(p);

	printf("%s: valid, %zu rule%s", o->file, n, n == 1 ? "" : "s");
	if (f->n)
		printf(", %zu finding%s", f->n, f->n == 1 ? "" : "s");
	putchar('\n');
	for (size_t i = 0; i < f->n; i++) {
		wrap_printf(stdout, 4, "%s: %s [%s]", severity(&f->v[i]), f->v[i].text,
			    f->v[i].check);
		if (f->v[i].example)
			wrap_printf(stdout, 8, "    for example %s", f->v[i].example);
	}
	if (f->incomplete[0])
		wrap_printf(stdout, 4,
			    "note: not looked for rules that never match or change nothing: %s",
			    f->incomplete);
}

static json_t *rule_json(int rule, const char *id)
{
	return rule < 0 ? json_null() : id ? json_string(id) : json_integer(rule);
}

static json_t *findings_json(const struct policy_findings *f)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < f->n; i++) {
		const struct policy_finding *v = &f->v[i];
		json_t *index = v->rule < 0 ? json_null() : json_integer(v->rule);
		json_t *other = v->other < 0 ? json_null() : json_integer(v->other);

		if (json_array_append_new(
			    list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s?}", "severity",
					    severity(v), "check", v->check, "rule",
					    rule_json(v->rule, v->rule_id), "index", index, "other",
					    rule_json(v->other, v->other_id), "other_index", other,
					    "text", v->text, "example", v->example)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int print_json(const struct options *o, const struct policy *p,
		      const struct policy_findings *f)
{
	json_t *j = json_pack("{s:s, s:b, s:I, s:o, s:s?}", "file", o->file, "valid", true, "rules",
			      (json_int_t)policy_rule_count(p), "findings", findings_json(f),
			      "incomplete", f->incomplete[0] ? f->incomplete : NULL);
	int err = j ? json_dumpf(j, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2)) : -1;

	json_decref(j);
	if (err < 0)
		return policy_cmd_complain("check", "cannot write the findings as JSON");
	putchar('\n');
	return 0;
}

int policy_cmd_check(int argc, char **argv)
{
	struct options o = { 0 };
	struct policy *p = NULL;
	struct policy_findings f = { 0 };
	struct conf_error err = { "" };
	const struct ip_addr gateways[] = { sandbox_net_default.gateway4,
					    sandbox_net_default.gateway6 };
	int r = parse(argc, argv, &o);

	if (r)
		return r;
	if (policy_load_file_or_preset(o.file, &p, &err) < 0)
		return policy_cmd_complain("check", "%s", err.text);
	if (policy_lint(p, &(struct policy_gateways){ gateways, ARRAY_SIZE(gateways) }, &f, &err) < 0)
		r = policy_cmd_complain("check", "%s", err.text);
	else if (o.json)
		r = print_json(&o, p, &f);
	else
		print_text(&o, p, &f);
	if (r == 0 && fflush(stdout) != 0)
		r = policy_cmd_complain("check", "cannot write: %s", strerror(errno));
	if (r == 0 && o.strict && warnings(&f))
		r = EXIT_DENY;
	policy_findings_fini(&f);
	policy_free(p);
	return r;
}
