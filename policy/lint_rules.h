/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of each rule: lint_rules.c finds it, lint_rules_text.c says it. Internal to policy/. */
#ifndef WEIR_POLICY_LINT_RULES_H
#define WEIR_POLICY_LINT_RULES_H

#include "policy/lint.h"
#include "policy/space.h"

/* One class of one side. */
struct class
{
	struct firsts f;
	enum name_state state;
	uint32_t region;
};

/* What one side's classes say, by index. n stands for the default. */
struct side {
	struct class *v;
	size_t n;
	uint32_t *at;	      /* a class whose least this index is; SPACE_NONE: none */
	uint32_t *near;	      /* the least index from here on that some class has */
	uint32_t *near_other; /* the same, with another outcome than near's */
	uint32_t max;
};

struct mark {
	bool lives;	  /* decides some flow */
	bool named;	  /* a rule by name: for a flow that proves a name of its own */
	bool matters;	  /* without it some decision is another */
	bool query;	  /* seen is a question to the resolver */
	struct extent at; /* what was seen when lives was set */
	struct class name, addr;
};

struct lint {
	const struct policy *p;
	struct space *s;
	struct policy_findings *out;
	struct side names, addrs;
	struct mark *marks;
	bool queries;
	enum policy_dir dir;
	uint32_t public; /* a region of public addresses */
};

/* Appends the findings. */
must_check int lint_say_rules(struct lint *l);

#endif
