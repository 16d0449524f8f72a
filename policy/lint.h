/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks of policy_lint() share. Internal to policy/. */
#ifndef WEIR_POLICY_LINT_H
#define WEIR_POLICY_LINT_H

#include "policy/policy_internal.h"

/* One finding too many says no more than the thousand before it. */
#define LINT_FINDINGS_MAX 100000u

/* Appends; rule and other are indices or -1. example: taken over, may be NULL. */
must_check int lint_add(struct policy_findings *f, const struct policy *p,
			enum policy_severity severity, const char *check, int rule, int other,
			char *example, const char *fmt, ...) printf_like(8, 9);
/* "rule 3 (gh-read)", "the default". Returns out. */
#define LINT_RULE_TEXT (POLICY_ID_MAX + 32)
const char *lint_rule_text(const struct policy *p, int rule, char out[static LINT_RULE_TEXT]);
/* A flow as text, on the heap; NULL when out of memory. */
char *lint_example(const struct policy_facts *f);

/* Each appends its findings. */
must_check int lint_rules(const struct policy *p, const struct policy_gateways *gw,
			  struct policy_findings *ret);
must_check int lint_suffixes(const struct policy *p, struct policy_findings *ret);
must_check int lint_lookalikes(const struct policy *p, struct policy_findings *ret);
must_check int lint_sense(const struct policy *p, struct policy_findings *ret);

#endif
