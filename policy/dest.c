/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a rule is about, as a person writes it: "*", a group, an address, a
 * CIDR, a name, ".suffix" (apex and below) or "*.suffix" (below only). The
 * strict parsers of base decide; this file only tells the forms apart and,
 * when none fits, says what was probably meant.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

static int parse_name(const char *s, enum policy_dest kind, struct policy_rule *r, struct why *why)
{
	const char *reason = NULL;
	struct name n;

	if (strchr(s, '*'))
		return why_set(
			why,
			"\"%.100s\": a wildcard stands alone at the front: \"*.example.com\" "
			"(below) or \".example.com\" (the name and below)",
			s);
	if (name_parse(s, strlen(s), &n, &reason) < 0)
		return why_set(why, "\"%.100s\": %s", s, reason);
	r->dest = kind;
	return policy_rule_set_name(r, &n);
}

static int parse_prefix(const char *s, bool cidr, struct policy_rule *r, struct why *why)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip_prefix p = { 0 };
	const char *reason = NULL;
	int err;

	if (cidr) {
		err = ip_prefix_parse(s, strlen(s), &p, &reason);
	} else {
		err = ip_parse(s, strlen(s), &p.addr, &reason);
		p.len = (uint8_t)(ip_size(&p.addr) * 8);
	}
	if (err < 0)
		return why_set(why, "\"%.100s\": %s", s, reason);
	/* ::ffff:10.0.0.0/104 is 10.0.0.0/8, and both spellings must catch it. */
	if (p.addr.family == 6 && p.len >= 96 && memcmp(p.addr.b, mapped, 12) == 0)
		p = (struct ip_prefix){ ip_from_be(4, p.addr.b + 12), (uint8_t)(p.len - 96) };
	r->prefix = p;
	r->dest = POLICY_DEST_PREFIX;
	return 0;
}

static int parse_group(const char *s, struct policy_rule *r, struct why *why)
{
	if (str_eq(s, "doh")) {
		r->dest = POLICY_DEST_DOH;
		return 0;
	}
	if (policy_group_parse(s, &r->group)) {
		r->dest = POLICY_DEST_GROUP;
		return 0;
	}
	if (policy_group_suggest(s))
		return why_set(why, "unknown group \"%.64s\"; did you mean \"%s\"?", s,
			       policy_group_suggest(s));
	return why_set(why,
		       "unknown group \"%.64s\": it is host, metadata, loopback, private, "
		       "link_local, multicast, reserved, public or doh",
		       s);
}

static int parse_suffix(const char *s, struct policy_rule *r, struct why *why)
{
	if (s[0] == '*' && s[1] == '.')
		return why_set(why,
			       "\"%.100s\": \"*.\" means only what is below; write the suffix "
			       "without it, or use \"*.name\" as a plain destination",
			       s);
	return parse_name(s[0] == '.' ? s + 1 : s, POLICY_DEST_SUFFIX, r, why);
}

/* Is this an attempt at an address? Names have no colon, and a letter somewhere. */
static bool like_address(const char *s)
{
	return strchr(s, ':') || strspn(s, "0123456789.") == strlen(s);
}

/* Forms that people paste and that are no destination. 0: none of them. */
static int check_pasted(const char *s, struct why *why)
{
	const char *colon = strchr(s, ':');

	if (strstr(s, "://"))
		return why_set(why,
			       "\"%.100s\" is a URL: give the host name alone, ports in the "
			       "rule's ports, paths in its http.paths",
			       s);
	if (colon && !strchr(colon + 1, ':') && colon[1] &&
	    strspn(colon + 1, "0123456789") == strlen(colon + 1))
		return why_set(why, "\"%.100s\" has a port: ports do not belong to the destination",
			       s);
	if (s[0] == '[')
		return why_set(why, "\"%.100s\": write the address without brackets", s);
	return 0;
}

static int parse_guess(const char *s, struct policy_rule *r, struct why *why)
{
	int err;

	if (str_eq(s, "*") || str_eq(s, "any")) {
		r->dest = POLICY_DEST_ANY;
		return 0;
	}
	if (policy_group_parse(s, &r->group)) {
		r->dest = POLICY_DEST_GROUP;
		return 0;
	}
	if (str_eq(s, "doh")) {
		r->dest = POLICY_DEST_DOH;
		return 0;
	}
	err = check_pasted(s, why);
	if (err < 0)
		return err;
	if (strchr(s, '/')) {
		if (like_address(s) || strspn(s, "0123456789./") == strlen(s))
			return parse_prefix(s, true, r, why);
		return why_set(why,
			       "\"%.100s\": paths do not belong to the destination, they go "
			       "in the rule's http.paths",
			       s);
	}
	if (s[0] && like_address(s) && !str_eq(s, "."))
		return parse_prefix(s, false, r, why);
	if (s[0] == '*' && s[1] == '.')
		return parse_name(s + 2, POLICY_DEST_BELOW, r, why);
	if (s[0] == '.')
		return parse_name(s + 1, POLICY_DEST_SUFFIX, r, why);
	if (s[0] && !strchr(s, '.') && !strchr(s, '*')) {
		if (policy_group_suggest(s))
			return why_set(why, "unknown destination \"%.64s\"; did you mean \"%s\"?",
				       s, policy_group_suggest(s));
		if (str_eq(s, "localhost"))
			return why_set(why, "\"localhost\": the sandbox's own loopback never gets "
					    "here; the group is \"loopback\", the gateway is "
					    "\"host\"");
		err = parse_name(s, POLICY_DEST_NAME, r, why);
		if (err < 0)
			return err;
		return why_set(why,
			       "unknown destination \"%.64s\": no group; a name of one label is "
			       "written {\"domain\": \"%.64s\"} or domain=%.64s",
			       s, s, s);
	}
	return parse_name(s, POLICY_DEST_NAME, r, why);
}

int policy_dest_parse(const char *s, enum dest_hint hint, struct policy_rule *r, struct why *why)
{
	int err = -EINVAL;

	switch (hint) {
	case DEST_HINT_GUESS:
		err = parse_guess(s, r, why);
		break;
	case DEST_HINT_ANY:
		if (!str_eq(s, "*") && !str_eq(s, "any"))
			return why_set(why, "\"%.100s\" is not \"any\", as destination_kind says", s);
		r->dest = POLICY_DEST_ANY;
		return 0;
	case DEST_HINT_IP:
		err = parse_prefix(s, false, r, why);
		break;
	case DEST_HINT_CIDR:
		err = parse_prefix(s, true, r, why);
		break;
	case DEST_HINT_DOMAIN:
		err = parse_name(s, POLICY_DEST_NAME, r, why);
		break;
	case DEST_HINT_SUFFIX:
		err = parse_suffix(s, r, why);
		break;
	case DEST_HINT_GROUP:
		err = parse_group(s, r, why);
		break;
	}
	if (err == -ENOMEM)
		why_set(why, "out of memory");
	return err;
}

const char *policy_dest_format(const struct policy_rule *r, char *out, size_t size)
{
	char ip[IP_STRLEN];

	switch (r->dest) {
	case POLICY_DEST_ANY:
		snprintf(out, size, "*");
		break;
	case POLICY_DEST_GROUP:
		snprintf(out, size, "%s", policy_group_name(r->group));
		break;
	case POLICY_DEST_PREFIX:
		ip_format(&r->prefix.addr, ip);
		if (r->prefix.len == ip_size(&r->prefix.addr) * 8)
			snprintf(out, size, "%s", ip);
		else
			snprintf(out, size, "%s/%u", ip, r->prefix.len);
		break;
	case POLICY_DEST_NAME:
		snprintf(out, size, "%s", r->name->s);
		break;
	case POLICY_DEST_SUFFIX:
		snprintf(out, size, ".%s", r->name->s);
		break;
	case POLICY_DEST_BELOW:
		snprintf(out, size, "*.%s", r->name->s);
		break;
	case POLICY_DEST_DOH:
		snprintf(out, size, "doh");
		break;
	}
	return out;
}
