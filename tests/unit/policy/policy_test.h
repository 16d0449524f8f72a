/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy tests share: a policy from text, and numbers that look random but repeat. */
#ifndef POLICY_TEST_H
#define POLICY_TEST_H

#include "policy/policy.h"

#include <setjmp.h>
#include <cmocka.h>

static inline int load_text(const char *text, struct policy **ret, struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct conf root;
	int r = conf_doc_parse(text, strlen(text), "f", CONF_JSON, &doc, err);

	if (r < 0)
		return r;
	root = conf_root(doc);
	r = policy_load_conf(&root, ret, err);
	conf_doc_free(doc);
	return r;
}

static inline struct policy *must_load(const char *text)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };

	if (load_text(text, &p, &err) < 0)
		fail_msg("%s\nrefused: %s", text, err.text);
	return p;
}

/* The caller frees it. */
static inline char *printed(const struct policy *p)
{
	char *text = NULL, *copy;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	assert_non_null(f);
	assert_int_equal(policy_print(p, f), 0);
	fclose(f);
	copy = strdup(text);
	free(text);
	assert_non_null(copy);
	return copy;
}

static inline struct name must_name(const char *s)
{
	struct name n;

	if (name_parse(s, strlen(s), &n, NULL) < 0)
		fail_msg("%s is no name", s);
	return n;
}

static inline struct ip_addr must_ip(const char *s)
{
	struct ip_addr a;

	if (ip_parse(s, strlen(s), &a, NULL) < 0)
		fail_msg("%s is no address", s);
	return a;
}

/* xorshift64*: the same sequence on every machine. */
static inline unsigned rnd(unsigned n)
{
	static uint64_t s = UINT64_C(0x9e3779b97f4a7c15);

	s ^= s >> 12;
	s ^= s << 25;
	s ^= s >> 27;
	return (unsigned)((s * UINT64_C(2685821657736338717)) >> 33) % n;
}

#endif
