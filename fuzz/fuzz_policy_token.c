/* SPDX-License-Identifier: Apache-2.0 */
/* A --net-rule argument: accepted ones must survive being printed and loaded. */
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *arg = strndup((const char *)data, size), *text = NULL;
	const char *args[] = { arg };
	struct policy_flags flags = { .net_rules = args, .n_net_rules = 1, .net = "none" };
	struct policy *p = NULL, *q = NULL;
	struct conf_error err = { "" };
	struct conf_doc *doc = NULL;
	struct conf root;
	size_t n = 0;
	FILE *f;

	if (!arg)
		return 0;
	if (policy_compose(NULL, &flags, &p, &err) < 0) {
		if (p || !err.text[0])
			abort();
		free(arg);
		return 0;
	}
	if (policy_rule_count(p) == 0)
		abort();
	f = open_memstream(&text, &n);
	if (!f || policy_print(p, f) < 0)
		abort();
	fclose(f);
	if (conf_doc_parse(text, n, "f", CONF_JSON, &doc, &err) < 0)
		abort();
	root = conf_root(doc);
	if (policy_load_conf(&root, &q, &err) < 0 || policy_rule_count(p) != policy_rule_count(q))
		abort();
	conf_doc_free(doc);
	policy_free(p);
	policy_free(q);
	free(text);
	free(arg);
	return 0;
}
