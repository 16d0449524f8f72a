/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that look like another one: skeletons as of UTS #39, coarser by what a
 * person overlooks in lower-case ASCII (1 l i, 0 o, rn m, vv w). Compared are the
 * registrable domains, with those of the policy's other rules and with a few that
 * everybody knows; and whole names of one domain with one another.
 */
#include "base/base.h"
#include "policy/lint.h"

#include <idn2.h>
#include <libpsl.h>

struct confusable {
	uint32_t code;
	const char *skeleton;
};

struct script_run {
	uint32_t first, last;
	uint8_t script;
};

#include "confusables_table.h"

/* Whose names are worth imitating to something that runs code. */
static const char *const well_known[] = {
	"amazonaws.com", "anthropic.com",  "apple.com",	       "cloudflare.com",
	"crates.io",	 "debian.org",	   "docker.com",       "docker.io",
	"example.com",	 "github.com",	   "gitlab.com",       "golang.org",
	"google.com",	 "googleapis.com", "huggingface.co",   "microsoft.com",
	"mozilla.org",	 "npmjs.org",	   "openai.com",       "paypal.com",
	"pypi.org",	 "python.org",	   "pythonhosted.org", "rubygems.org",
	"slack.com",	 "stripe.com",	   "ubuntu.com",       "githubusercontent.com",
};

#define SKELETON_MAX 1024

struct look {
	char *skeleton;	  /* of domain, or of the whole name */
	const char *name; /* domain, or the whole name; the rule's or a table's */
	int rule;	  /* -1: well known */
};

static void append(char *out, const char *s)
{
	size_t n = strlen(out);

	snprintf(out + n, SKELETON_MAX - n, "%s", s);
}

static const char *ascii_skeleton(uint32_t c, char one[2])
{
	switch (c) {
	case '0':
		return "o";
	case '1':
	case 'i':
		return "l";
	case 'm':
		return "rn";
	case 'w':
		return "vv";
	}
	one[0] = (char)c;
	one[1] = 0;
	return one;
}

static void append_skeleton(char *out, uint32_t c)
{
	size_t lo = 0, hi = ARRAY_SIZE(confusables);
	char one[2], other[16];

	if (c < 0x80) {
		append(out, ascii_skeleton(c, one));
		return;
	}
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (confusables[mid].code == c) {
			for (const char *s = confusables[mid].skeleton; *s; s++)
				append(out, ascii_skeleton((uint32_t)*s, one));
			return;
		}
		if (confusables[mid].code < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	snprintf(other, sizeof(other), "<%x>", c);
	append(out, other);
}

/* A name's characters, A-labels decoded; NULL: one does not decode. */
static uint32_t *characters(const char *name)
{
	uint32_t *u = NULL;

	return idn2_to_unicode_8z4z(name, &u, 0) == IDN2_OK ? u : NULL;
}

/* Behind a text that only equal ones share: names of one domain are to be compared. */
static char *skeleton_of(const char *within, const char *name)
{
	char out[SKELETON_MAX] = "";
	uint32_t *u = strstr(name, "xn--") ? characters(name) : NULL;

	append(out, within);
	append(out, " ");
	for (size_t i = 0; u && u[i]; i++)
		append_skeleton(out, u[i]);
	for (size_t i = 0; !u && name[i]; i++)
		append_skeleton(out, (unsigned char)name[i]);
	idn2_free(u);
	return strdup(out);
}

static int compare(const void *a, const void *b)
{
	const struct look *x = a, *y = b;
	int c = strcmp(x->skeleton, y->skeleton);

	if (c == 0)
		c = (x->rule > y->rule) - (x->rule < y->rule);
	return c;
}

struct looks {
	struct look *v;
	size_t n;
};

static int add(struct looks *l, const char *within, const char *name, int rule)
{
	l->v[l->n].skeleton = skeleton_of(within, name);
	l->v[l->n].name = name;
	l->v[l->n].rule = rule;
	return l->v[l->n++].skeleton ? 0 : -ENOMEM;
}

static void looks_fini(struct looks *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].skeleton);
	free(l->v);
}

static int say(const struct policy *p, const struct look *x, const struct look *like,
	       struct policy_findings *ret)
{
	char rule[LINT_RULE_TEXT], other[LINT_RULE_TEXT];
	char *example = strdup(p->rules[x->rule].name->s);

	if (!example)
		return -ENOMEM;
	if (like->rule < 0)
		return lint_add(
			ret, p, POLICY_WARNING, "lookalike", x->rule, -1, example,
			"%s is about %s, which looks like the well-known %s. Check which is "
			"meant.",
			lint_rule_text(p, x->rule, rule), x->name, like->name);
	return lint_add(ret, p, POLICY_WARNING, "lookalike", x->rule, like->rule, example,
			"%s is about %s, which looks like %s of %s. Check which is meant.",
			lint_rule_text(p, x->rule, rule), x->name, like->name,
			lint_rule_text(p, like->rule, other));
}

/* Each name that is another than the first of its look. */
static int say_all(const struct policy *p, struct looks *l, struct policy_findings *ret)
{
	size_t first = 0;
	int r = 0;

	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), compare);
	for (size_t i = 1; i < l->n && r == 0; i++) {
		if (!str_eq(l->v[i].skeleton, l->v[first].skeleton)) {
			first = i;
			continue;
		}
		if (!str_eq(l->v[i].name, l->v[first].name) && !str_eq(l->v[i].name, l->v[i - 1].name))
			r = say(p, &l->v[i], &l->v[first], ret);
	}
	return r;
}

/* ---- scripts -------------------------------------------------------------------------- */

static unsigned script_bit(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_SIZE(script_runs); i++)
		if (c >= script_runs[i].first && c <= script_runs[i].last)
			return 1u << script_runs[i].script;
	return 0;
}

static int check_scripts(const struct policy *p, int i, struct policy_findings *ret)
{
	char rule[LINT_RULE_TEXT];
	const char *name = p->rules[i].name->s;
	unsigned bits = 0, all = 0;
	uint32_t *u;
	char *example;

	if (!strstr(name, "xn--"))
		return 0;
	u = characters(name);
	for (size_t k = 0; u && u[k]; k++) {
		bits = u[k] == '.' ? 0 : bits | script_bit(u[k]);
		if (bits & (bits - 1))
			all = bits;
	}
	idn2_free(u);
	if (!u || !all)
		return 0;
	example = strdup(name);
	if (!example)
		return -ENOMEM;
	return lint_add(ret, p, POLICY_NOTE, "mixed-scripts", i, -1, example,
			"%s: a label of %s mixes %s with another script. Check that it is the name "
			"that is meant.",
			lint_rule_text(p, i, rule), name, script_names[__builtin_ctz(all)]);
}

int lint_lookalikes(const struct policy *p, struct policy_findings *ret)
{
	psl_ctx_t *psl = psl_latest(NULL);
	struct looks domains = { 0 }, names = { 0 };
	int r = -ENOMEM;

	domains.v = calloc(p->n_rules + ARRAY_SIZE(well_known), sizeof(*domains.v));
	names.v = calloc(p->n_rules + 1, sizeof(*names.v));
	if (domains.v && names.v)
		r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(well_known) && r == 0; i++)
		r = add(&domains, "", well_known[i], -1);
	for (size_t i = 0; i < p->n_rules && r == 0; i++) {
		const struct policy_rule *rule = &p->rules[i];
		const char *domain;

		if (!rule->name)
			continue;
		domain = psl ? psl_registrable_domain(psl, rule->name->s) : NULL;
		r = add(&domains, "", domain ? domain : rule->name->s, (int)i);
		/* Within one domain; of different ones the domains are looked at. */
		if (r == 0 && domain && domain != rule->name->s && rule->action == POLICY_ALLOW)
			r = add(&names, domain, rule->name->s, (int)i);
		if (r == 0)
			r = check_scripts(p, (int)i, ret);
	}
	if (r == 0)
		r = say_all(p, &domains, ret);
	if (r == 0)
		r = say_all(p, &names, ret);
	looks_fini(&domains);
	looks_fini(&names);
	psl_free(psl);
	return r;
}
