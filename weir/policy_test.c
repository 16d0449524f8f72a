/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir policy test: a table of expectations beside a policy, one per line, so
 * that a change of the policy that nobody meant fails a build.
 *
 *   allow  api.github.com:443   GET /repos/acme/x   rule=gh-read
 *
 * A line is judged exactly as `weir policy explain` would judge it. A line that
 * cannot be read is an error of the table, never a case that passes.
 */
#include "weir/policy_cmd.h"

#include "weir/policy_ask.h"

#include <stdio.h>

/* A table is written by people: a file beyond this was named by mistake. */
#define CASES_FILE_MAX ((size_t)16 << 20)
#define CASE_WORDS_MAX 16

const char policy_help_test[] =
	"Usage: weir policy test FILE|PRESET CASES [OPTIONS]\n"
	"\n"
	"Judges each line of the table CASES and compares it with what the line expects.\n"
	"\n"
	"  --floor FILE   an operator's floor: what passes must pass both\n"
	"  --json         one JSON object\n"
	"\n"
	"A line, words apart by blanks, # begins a comment:\n"
	"  allow|deny HOST:PORT[/tcp|udp] [METHOD PATH] [OPTIONS]   a flow, or one request\n"
	"  allow|deny HOST/icmp                                     an echo request\n"
	"  allow|deny ingress ADDR:PORT[/udp]       from this peer to this port of the sandbox\n"
	"  allow|deny dns NAME [TYPE]                               a query\n"
	"options of a line:\n"
	"  rule=ID|N|default  this rule decides, too\n"
	"  ip=ADDR            the address of the name (else: some public one)\n"
	"  name=NAME          the flow to an address proved this name\n"
	"  gateway            the address is the sandbox's gateway (group host)\n"
	"\n"
	"Exit status: 0 all as expected, 1 some not, 2 error.\n"
	"\n"
	"Example\n"
	"  allow  api.github.com:443  GET /repos/acme/x   rule=gh-read\n"
	"  deny   169.254.169.254:80                      rule=metadata\n"
	"  allow  dns registry.npmjs.org AAAA\n";

struct words {
	char *w[CASE_WORDS_MAX];
	unsigned column[CASE_WORDS_MAX];
	size_t n, at;
};

/* One line of the table; texts point into it. */
struct test_case {
	bool allow;
	const char *rule; /* NULL: any */
	struct policy_ask q;
};

struct table {
	const char *path;
	unsigned line;
	bool json;
	const struct policy *p;
	size_t n, failed;
	json_t *failures;
};

/* ---- reading a line ------------------------------------------------------------------ */

static int bad_line(const struct table *t, unsigned column, const char *fmt, ...) printf_like(3, 4);

static int bad_line(const struct table *t, unsigned column, const char *fmt, ...)
{
	char text[400], quoted[800];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return policy_cmd_complain("test", "%s:%u:%u: %s", t->path, t->line, column,
				   log_quote(text, strlen(text), quoted, sizeof(quoted)));
}

/* Cuts the line into words in place; what stands behind # is not said. */
static int split(const struct table *t, char *line, struct words *ret)
{
	char *s = line;

	*ret = (struct words){ 0 };
	for (;;) {
		s += strspn(s, " \t\r");
		if (!*s || *s == '#')
			return 0;
		if (ret->n >= CASE_WORDS_MAX)
			return bad_line(t, (unsigned)(s - line) + 1, "more words than a case has");
		ret->column[ret->n] = (unsigned)(s - line) + 1;
		ret->w[ret->n++] = s;
		s += strcspn(s, " \t\r");
		if (*s)
			*s++ = 0;
	}
}

static bool is_method(const char *w)
{
	return *w && strspn(w, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == strlen(w);
}

static int read_option(const struct table *t, const struct words *w, struct test_case *c)
{
	const struct {
		const char *key;
		const char **value;
	} options[] = { { "rule=", &c->rule }, { "ip=", &c->q.ip }, { "name=", &c->q.name } };
	char *word = w->w[w->at];

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!str_starts(word, options[i].key))
			continue;
		if (*options[i].value)
			return bad_line(t, w->column[w->at], "%s twice", options[i].key);
		*options[i].value = word + strlen(options[i].key);
		if (!**options[i].value)
			return bad_line(t, w->column[w->at], "%s has no value", word);
		return 0;
	}
	if (str_eq(word, "gateway")) {
		c->q.gateway = true;
		return 0;
	}
	return bad_line(t, w->column[w->at],
			"\"%.60s\" is neither METHOD PATH nor rule=, ip=, name= or gateway", word);
}

/* "allow|deny [ingress|dns] TO [TYPE | METHOD PATH] [OPTIONS]" */
static int read_case(const struct table *t, struct words *w, struct test_case *c)
{
	if (!str_eq(w->w[0], "allow") && !str_eq(w->w[0], "deny"))
		return bad_line(t, w->column[0], "\"%.60s\": a case begins with allow or deny",
				w->w[0]);
	c->allow = str_eq(w->w[0], "allow");
	w->at = 1;
	if (w->n > 1) {
		c->q.ingress = str_eq(w->w[1], "ingress");
		c->q.query = str_eq(w->w[1], "dns");
		w->at += c->q.ingress || c->q.query;
	}
	if (w->at >= w->n)
		return bad_line(t, w->column[w->n - 1], "%s of what? a destination is missing",
				w->w[w->n - 1]);
	c->q.to = w->w[w->at++];
	if (c->q.query && w->at < w->n && policy_ask_is_type(w->w[w->at])) {
		c->q.type = w->w[w->at++];
	} else if (!c->q.query && w->at < w->n && is_method(w->w[w->at])) {
		c->q.method = w->w[w->at++];
		if (w->at >= w->n || w->w[w->at][0] != '/')
			return bad_line(t, w->column[w->at - 1], "%s of which path? METHOD /PATH",
					c->q.method);
		c->q.path = w->w[w->at++];
	}
	for (; w->at < w->n; w->at++)
		if (read_option(t, w, c))
			return EXIT_ERROR;
	return 0;
}

/* Where a text of the question stands in the line. */
static unsigned column_of(const struct words *w, const struct test_case *c, const char *field)
{
	const struct {
		const char *name, *text;
	} fields[] = {
		{ "to", c->q.to },     { "ip", c->q.ip },     { "name", c->q.name },
		{ "path", c->q.path }, { "type", c->q.type }, { "method", c->q.method },
	};

	for (size_t i = 0; field && i < ARRAY_SIZE(fields); i++) {
		if (!str_eq(field, fields[i].name) || !fields[i].text)
			continue;
		for (size_t k = 0; k < w->n; k++)
			if (fields[i].text >= w->w[k] && fields[i].text <= w->w[k] + strlen(w->w[k]))
				return w->column[k] + (unsigned)(fields[i].text - w->w[k]);
	}
	return w->column[0];
}

/* ---- judging one --------------------------------------------------------------------- */

static bool is_rule(const struct policy_verdict *v, const char *want)
{
	char number[16];

	if (v->rule < 0)
		return str_eq(want, "default");
	snprintf(number, sizeof(number), "%d", v->rule);
	return str_eq(want, number) || (v->rule_id && str_eq(want, v->rule_id));
}

static void report(struct table *t, const struct test_case *c, const struct policy_reply *r)
{
	char why[400], rule[160], got[1200], quoted[2400];
	const char *want = c->rule ? c->rule : "";

	policy_reply_why(&c->q, r, why, sizeof(why));
	policy_rule_text(r->v.floor, r->v.rule, r->v.rule_id, rule, sizeof(rule));
	t->failed++;
	if (t->json) {
		json_array_append_new(t->failures,
				      json_pack("{s:i, s:s, s:s, s:s?, s:s, s:s, s:s}", "line",
						t->line, "to", c->q.to, "expected",
						c->allow ? "allow" : "deny", "expected_rule",
						c->rule, "got", r->allow ? "allow" : "deny", "rule",
						rule, "why", why));
		return;
	}
	snprintf(got, sizeof(got), "%.300s: expected %s%s%.64s, got %s by rule %s%s%s", c->q.to,
		 c->allow ? "allow" : "deny", *want ? " by rule " : "", want,
		 r->allow ? "allow" : "deny", rule, why[0] ? ": " : "", why);
	printf("%s:%u: %s\n", t->path, t->line, log_quote(got, strlen(got), quoted, sizeof(quoted)));
}

static int judge(struct table *t, const struct words *w, struct test_case *c)
{
	struct policy_ask_error err;
	struct policy_reply r = { 0 };

	if (policy_ask_read(&c->q, t->p, &err) < 0)
		return bad_line(t, column_of(w, c, err.field), "%s", err.text);
	if (policy_ask_answer(&c->q, t->p, &r) < 0)
		return policy_cmd_complain("test", "out of memory");
	t->n++;
	if (r.allow != c->allow || (c->rule && !is_rule(&r.v, c->rule)))
		report(t, c, &r);
	policy_reply_fini(&r);
	return 0;
}

static int take_line(struct table *t, char *line)
{
	struct test_case c = { .q = POLICY_ASK_INIT };
	struct words w;
	int e = split(t, line, &w);

	if (e == 0 && w.n)
		e = read_case(t, &w, &c);
	if (e == 0 && w.n)
		e = judge(t, &w, &c);
	policy_ask_fini(&c.q);
	return e;
}

/* ---- the table -------------------------------------------------------------------------- */

/* `text` is taken apart in place. */
static int take_lines(struct table *t, char *text, size_t len)
{
	char *end = text + len;

	for (char *nl; text < end; text = nl + 1) {
		nl = memchr(text, '\n', (size_t)(end - text));
		if (!nl)
			nl = end;
		*nl = 0;
		t->line++;
		if (strlen(text) != (size_t)(nl - text))
			return bad_line(t, (unsigned)strlen(text) + 1, "a NUL byte");
		if (take_line(t, text))
			return EXIT_ERROR;
	}
	if (t->n == 0)
		return policy_cmd_complain(
			"test", "%s: no case in it; a line is: allow|deny HOST:PORT, see --help",
			t->path);
	return 0;
}

static int show(const struct table *t)
{
	json_t *o;
	int e = 0;

	if (t->json) {
		o = json_pack("{s:s, s:I, s:I, s:O}", "cases", t->path, "passed",
			      (json_int_t)(t->n - t->failed), "failed", (json_int_t)t->failed,
			      "failures", t->failures);
		e = policy_cmd_json("test", o);
		json_decref(o);
	} else {
		printf("%s: %zu case%s, %zu as expected, %zu not\n", t->path, t->n,
		       t->n == 1 ? "" : "s", t->n - t->failed, t->failed);
	}
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("test", "cannot write: %s", strerror(errno));
	return e ? e : t->failed ? EXIT_DENY : EXIT_ALLOW;
}

static int run_table(struct table *t)
{
	struct buf text = BUF_INIT(CASES_FILE_MAX + 1);
	int e = file_read(t->path, CASES_FILE_MAX, &text);

	if (e < 0)
		e = policy_cmd_complain("test", "%s: %s", t->path, strerror(-e));
	else if (!buf_str(&text))
		e = policy_cmd_complain("test", "out of memory");
	else
		e = take_lines(t, (char *)buf_at(&text), text.len);
	buf_fini(&text);
	return e ? e : show(t);
}

int policy_cmd_test(int argc, char **argv)
{
	struct policy_cmd_args a = { 0 };
	struct policy *p = NULL;
	struct table t = { 0 };
	int e = policy_cmd_two(argc, argv, "FILE or PRESET", "CASES", &a);

	if (e == 0)
		e = policy_cmd_load("test", a.first, a.floor, &p);
	if (e)
		return e;
	t = (struct table){ .path = a.second, .json = a.json, .p = p, .failures = json_array() };
	e = t.failures ? run_table(&t) : policy_cmd_complain("test", "out of memory");
	json_decref(t.failures);
	policy_free(p);
	return e;
}
