/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy file in one of its spellings: what loads must print as JSON that loads
 * to the same text, and an error must name a place. Decisions on it must not
 * depend on how it is asked.
 */
#ifndef WEIR_FUZZ_POLICY_SPELLING_H
#define WEIR_FUZZ_POLICY_SPELLING_H

#include "policy/policy.h"

static int load(const char *text, size_t len, enum conf_format format, struct policy **ret,
		struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct conf root;
	int r = conf_doc_parse(text, len, "f", format, &doc, err);

	if (r < 0)
		return r;
	root = conf_root(doc);
	r = policy_load_conf(&root, ret, err);
	conf_doc_free(doc);
	return r;
}

static char *print(const struct policy *p, size_t *n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, n);

	if (!f || policy_print(p, f) < 0)
		abort();
	fclose(f);
	return text;
}

static void decide(const struct policy *p)
{
	struct policy_step steps[64];
	struct name name;
	size_t n;
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .port = 443,
				  .names = &name,
				  .n_names = 1,
				  .method = "GET",
				  .path = "/a/b" };

	if (name_parse("a.example.com", 13, &name, NULL) < 0)
		abort();
	for (unsigned i = 0; i < 18; i++) {
		struct policy_verdict v, e;

		f.addr = i % 2 ? ip4(8, 8, 8, 8) : ip4(10, 0, 0, 1);
		f.name = (enum policy_fact)(i / 2 % 3);
		f.http = (enum policy_fact)(i / 6);
		v = policy_decide(p, &f);
		e = policy_explain(p, &f, steps, ARRAY_SIZE(steps), &n);
		if (v.answer != e.answer || v.rule != e.rule)
			abort();
		if (v.answer == POLICY_ANSWER_NEED_NAME && f.name != POLICY_UNKNOWN)
			abort();
		if (v.answer == POLICY_ANSWER_NEED_HTTP && f.http != POLICY_UNKNOWN)
			abort();
		(void)policy_answer_ok(p, &f.addr);
	}
	(void)policy_decide_query(p, &name);
}

/* "f:LINE:COL: " and something behind it that a terminal can show. */
static void check_error(const char *text)
{
	unsigned colons = 0;
	const char *s = text;

	for (; *s && colons < 3; s++) {
		if (*s == ':')
			colons++;
		else if (colons ? *s < '0' || *s > '9' : *s != 'f')
			abort();
	}
	if (colons != 3 || s[0] != ' ' || !s[1])
		abort();
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			abort();
}

static int fuzz_policy_spelling(enum conf_format format, const uint8_t *data, size_t size)
{
	struct policy *p = NULL, *q = NULL;
	struct conf_error err = { "" };
	char *text, *again;
	size_t n, m;

	if (load((const char *)data, size, format, &p, &err) < 0) {
		if (p)
			abort();
		check_error(err.text);
		return 0;
	}
	decide(p);
	text = print(p, &n);
	if (load(text, n, CONF_JSON, &q, &err) < 0)
		abort();
	again = print(q, &m);
	if (n != m || memcmp(text, again, n) != 0)
		abort();
	free(text);
	free(again);
	policy_free(p);
	policy_free(q);
	return 0;
}

#endif
