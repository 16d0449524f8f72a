/* SPDX-License-Identifier: Apache-2.0 */
/* Findings: all checks one after the other, and what they share. */
#include "base/base.h"
#include "policy/lint.h"
#include "policy/space.h"

const char *lint_rule_text(const struct policy *p, int rule, char out[static LINT_RULE_TEXT])
{
	if (rule < 0 || (size_t)rule >= p->n_rules)
		snprintf(out, LINT_RULE_TEXT, "the default");
	else if (p->rules[rule].id)
		snprintf(out, LINT_RULE_TEXT, "rule %d (%s)", rule, p->rules[rule].id);
	else
		snprintf(out, LINT_RULE_TEXT, "rule %d", rule);
	return out;
}

char *lint_example(const struct policy_facts *f)
{
	struct buf b = BUF_INIT(65536);
	const char *s = space_facts_format(f, &b) == 0 ? buf_str(&b) : NULL;
	char *copy = s ? strdup(s) : NULL;

	buf_fini(&b);
	return copy;
}

int lint_add(struct policy_findings *f, const struct policy *p, enum policy_severity severity,
	     const char *check, int rule, int other, char *example, const char *fmt, ...)
{
	struct policy_finding *v;
	va_list ap;

	if (f->n == LINT_FINDINGS_MAX) {
		free(example);
		return 0;
	}
	if (f->n == f->size) {
		size_t size = f->size ? f->size * 2 : 16;

		v = realloc(f->v, size * sizeof(*v));
		if (!v) {
			free(example);
			return -ENOMEM;
		}
		f->v = v;
		f->size = size;
	}
	v = &f->v[f->n];
	*v = (struct policy_finding){ .severity = severity,
				      .check = check,
				      .rule = rule,
				      .other = other,
				      .rule_id = rule >= 0 ? p->rules[rule].id : NULL,
				      .other_id = other >= 0 ? p->rules[other].id : NULL,
				      .example = example };
	va_start(ap, fmt);
	if (vasprintf(&v->text, fmt, ap) < 0)
		v->text = NULL;
	va_end(ap);
	if (!v->text) {
		free(example);
		return -ENOMEM;
	}
	f->n++;
	return 0;
}

void policy_findings_fini(struct policy_findings *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->v[i].text);
		free(f->v[i].example);
	}
	free(f->v);
	*f = (struct policy_findings){ 0 };
}

static int by_rule(const void *a, const void *b)
{
	const struct policy_finding *x = a, *y = b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	if (x->other != y->other)
		return x->other < y->other ? -1 : 1;
	return strcmp(x->check, y->check);
}

int policy_lint(const struct policy *p, const struct policy_gateways *gw,
		struct policy_findings *ret, struct conf_error *err)
{
	struct policy_findings f = { 0 };
	int r = lint_rules(p, gw, &f);

	if (r == 0)
		r = lint_suffixes(p, &f);
	if (r == 0)
		r = lint_lookalikes(p, &f);
	if (r == 0)
		r = lint_sense(p, &f);
	if (r < 0) {
		policy_findings_fini(&f);
		conf_error_set(err, "out of memory");
		return r;
	}
	if (f.n)
		qsort(f.v, f.n, sizeof(*f.v), by_rule);
	*ret = f;
	return 0;
}
