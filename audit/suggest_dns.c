/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would change the answer to a query: a name can be refused for itself,
 * for what its answer is (an internal address, an alias of a denied name), for
 * how many names were asked, and for not being one; and a type may not be served.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

/* Types that are asked of a name only where a rule's "qtypes" says so. */
static const char *rule_type(const json_t *event)
{
	static const char *const types[] = { "MX", "SRV", "TXT" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(audit_get(event, "qtype"), types[i]))
			return types[i];
	return NULL;
}

/* A rule for the name that was asked; a query needs no port, so some usual one stands there. */
static bool name_rule(const json_t *event, struct audit_advice *ret)
{
	struct audit_target t = { .proto = "tcp", .port = 443 };
	const char *type = rule_type(event);

	if (!audit_target_dest(audit_get(event, "name"), &t))
		return false;
	audit_make_rule(&t, ret);
	if (type) {
		json_object_set_new(ret->rule, "qtypes", json_pack("[s]", type));
		ret->token[0] = 0; /* which has no word for types */
	}
	return true;
}

static void advise_denied(const json_t *event, struct audit_advice *ret)
{
	char text[160];

	if (!name_rule(event, ret)) {
		audit_advise_no_rule(event, ret);
		return;
	}
	snprintf(ret->text, sizeof(ret->text), "%s, with the ports you need",
		 audit_where(event, text, sizeof(text)));
}

static void advise_alias(const json_t *event, struct audit_advice *ret)
{
	if (!name_rule(event, ret)) {
		audit_advise_no_rule(event, ret);
		return;
	}
	audit_say(ret,
		  "The name itself may be asked, but its answer goes by way of another name (an "
		  "alias) "
		  "that the policy denies. To allow it all the same, put this rule for the name in "
		  "front of that deny, with the ports you need");
}

static void advise_rebind(const json_t *event, struct audit_advice *ret)
{
	const char *addr = json_string_value(json_array_get(json_object_get(event, "answers"), 0));
	struct audit_target t = { .proto = "tcp", .port = 443 };

	if (addr && audit_target_dest(addr, &t)) {
		audit_say(ret, "The name's address is not public. To allow it, add a rule for "
			       "the address, with the ports you need");
		audit_make_rule(&t, ret);
	} else {
		audit_say(ret, "The name's addresses are not public. To allow it, add a rule for "
			       "the address itself");
	}
}

static void advise_budget(const json_t *event, struct audit_advice *ret)
{
	if (!name_rule(event, ret)) {
		audit_advise_no_rule(event, ret);
		return;
	}
	audit_say(ret,
		  "A rule allows the name by its suffix, but too much was asked below its domain: "
		  "names can carry data out. A name that is spelled out needs no budget: put this "
		  "rule "
		  "in front of the one for the suffix, with the ports you need, or wait for the "
		  "budget "
		  "to fill up again");
}

static void advise_refused(const json_t *event, struct audit_advice *ret)
{
	if (audit_get(event, "name")[0])
		audit_advise_no_rule(event, ret);
	else
		audit_say(ret,
			  "No rule would change this: what was asked for is no host name (letters, "
			  "digits, hyphens and underscores, in labels of at most 63), or the "
			  "message could not be read");
}

/* Allowed, and still without an answer: the detail says that nobody was asked. */
static void advise_empty(const json_t *event, struct audit_advice *ret)
{
	const char *type = audit_get(event, "qtype");

	if (!audit_get(event, "detail")[0] || str_eq(type, "A") || str_eq(type, "AAAA"))
		audit_say(ret, AUDIT_SAY_NOTHING);
	else if (rule_type(event) && name_rule(event, ret))
		audit_say(ret,
			  "The name may be asked, but not for this type, so the answer was empty. "
			  "To allow it, give the first rule for the name these \"qtypes\"");
	else
		audit_say(ret,
			  "The name may be asked, but this type is never asked for: the answer was "
			  "empty, and no rule would change it");
}

void audit_advise_dns(const json_t *event, struct audit_advice *ret)
{
	const char *result = audit_get(event, "result");
	enum audit_verdict v = audit_verdict_of(event);

	if (str_eq(result, "empty"))
		advise_empty(event, ret);
	else if (v == AUDIT_V_FAIL)
		audit_say(ret, AUDIT_SAY_FAILED);
	else if (v != AUDIT_V_DENY && v != AUDIT_V_OBSERVED)
		audit_say(ret, AUDIT_SAY_NOTHING);
	else if (str_eq(result, "rebind"))
		advise_rebind(event, ret);
	else if (str_eq(result, "budget"))
		advise_budget(event, ret);
	else if (str_eq(result, "refused"))
		advise_refused(event, ret);
	else if (audit_has_rule(event))
		advise_denied(event, ret);
	else
		advise_alias(event, ret);
}
