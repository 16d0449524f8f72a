/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy file: what loads must print as text that loads to the same text, and
 * an error must name a place. Decisions on it must not depend on how it is asked.
 */
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load(const char *text, size_t len, struct policy **ret, struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct conf root;
	int r = conf_doc_parse(text, len, "f", &doc, err);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy *p = NULL, *q = NULL;
	struct conf_error err = { "" };
	char *text, *again;
	size_t n, m;

	if (load((const char *)data, size, &p, &err) < 0) {
		if (p || strncmp(err.text, "f:", 2) != 0)
			abort();
		return 0;
	}
	decide(p);
	text = print(p, &n);
	if (load(text, n, &q, &err) < 0)
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
