/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's rules:
 *
 *   rules     := token ("," token)*
 *   token     := action [":" direction] "@" target [":" proto [":" ports]]
 *   action    := allow | deny
 *   direction := egress (default) | ingress | any
 *   target    := any | "*" | dns | local | a group | IPv4 | "[" IPv6 "]" | IPv4/len
 *              | "[" IPv6/len "]" | name | ".suffix" | "*.suffix"
 *              | "domain=" name | "suffix=" name
 *   proto     := any | tcp | udp | icmpv4 | icmpv6
 *   ports     := any | N | LO-HI
 *
 * "dns" stands for the gateway's resolver, UDP and TCP 53, egress; "local" for the
 * groups loopback, link_local and host, one rule each (metadata is not among them).
 */
#include "base/base.h"
#include "policy/policy_internal.h"

/* Longest of any part; a name has 253, "domain=" before it. */
#define PART_MAX 320

struct parts {
	char action[PART_MAX], dir[PART_MAX];	/* before "@" */
	char target[PART_MAX], proto[PART_MAX]; /* behind it */
	char ports[PART_MAX];
	bool has_dir, has_proto, has_ports;
};

static int copy_part(const char *s, size_t n, char out[static PART_MAX], struct why *why)
{
	if (n >= PART_MAX)
		return why_set(why, "longer than any name or word");
	memcpy(out, s, n);
	out[n] = 0;
	return 0;
}

/* Up to the next ':' or the end; *ret_more: there was one, *s is behind it. */
static int take_part(const char **s, const char *end, char out[static PART_MAX], bool *ret_more,
		     struct why *why)
{
	const char *colon = memchr(*s, ':', (size_t)(end - *s));
	size_t n = (size_t)((colon ? colon : end) - *s);

	if (copy_part(*s, n, out, why) < 0)
		return -EINVAL;
	*ret_more = colon != NULL;
	*s += n + (colon != NULL);
	return 0;
}

/* What is not a colon-separated target, told before it is taken apart. */
static int check_target_form(const char *s, const char *end, struct why *why)
{
	size_t n = (size_t)(end - s), colons = 0;

	for (size_t i = 0; i < n; i++)
		colons += s[i] == ':';
	if (memmem(s, n, "://", 3))
		return why_set(why, "a target is no URL: give the host name alone, as in "
				    "\"allow@example.com:tcp:443\"");
	if (memchr(s, '%', n))
		return why_set(why, "zone ids are not accepted in an address");
	if (colons >= 2 && s[0] != '[' &&
	    (s[strspn(s, "0123456789abcdefABCDEF")] == ':' || memmem(s, n, "::", 2)) &&
	    strspn(s, "0123456789abcdefABCDEF:./") >= n)
		return why_set(why, "write an IPv6 address in brackets: \"[%.*s]\"",
			       (int)MIN(n, (size_t)64), s);
	return 0;
}

/* "[...]" without its brackets, or up to the colon. */
static int take_target(const char **s, const char *end, struct parts *t, struct why *why)
{
	const char *close;

	if (*s == end || **s != '[')
		return take_part(s, end, t->target, &t->has_proto, why);
	close = memchr(*s, ']', (size_t)(end - *s));
	if (!close)
		return why_set(why, "\"[\" without \"]\"");
	if (copy_part(*s + 1, (size_t)(close - *s - 1), t->target, why) < 0)
		return -EINVAL;
	if (!strchr(t->target, ':'))
		return why_set(why, "only IPv6 addresses stand in brackets");
	if (close + 1 < end && close[1] != ':')
		return why_set(why, close[1] == '/'
					    ? "the prefix length stands inside the brackets: "
					      "\"[2001:db8::/32]\""
					    : "text after \"]\"");
	t->has_proto = close + 1 < end;
	*s = close + 1 + t->has_proto;
	return 0;
}

static int take_apart(const char *s, const char *end, struct parts *t, struct why *why)
{
	const char *at = memchr(s, '@', (size_t)(end - s));
	bool more = false;

	if (!at)
		return why_set(why, "no \"@\": a rule is ACTION@TARGET[:PROTOCOL[:PORTS]], as in "
				    "\"allow@example.com:tcp:443\"");
	if (take_part(&s, at, t->action, &t->has_dir, why) < 0)
		return -EINVAL;
	if (t->has_dir && take_part(&s, at, t->dir, &more, why) < 0)
		return -EINVAL;
	if (more)
		return why_set(why, "too many \":\" before \"@\"");
	s = at + 1;
	if (s == end)
		return why_set(why, "no target after \"@\"");
	if (check_target_form(s, end, why) < 0 || take_target(&s, end, t, why) < 0)
		return -EINVAL;
	if (t->has_proto && take_part(&s, end, t->proto, &t->has_ports, why) < 0)
		return -EINVAL;
	if (t->has_ports && take_part(&s, end, t->ports, &more, why) < 0)
		return -EINVAL;
	if (more)
		return why_set(why, "text after the ports");
	return 0;
}

static int add_dns(struct policy *p, const struct parts *t, enum policy_action action,
		   enum policy_dir dir, struct why *why)
{
	uint8_t protos = POLICY_TCP | POLICY_UDP;

	if (dir != POLICY_EGRESS)
		return why_set(why, "\"dns\" is the gateway's resolver: egress only");
	if (t->has_ports)
		return why_set(why, "\"dns\" means port 53: give no ports");
	if (t->has_proto && str_eq(t->proto, "udp"))
		protos = POLICY_UDP;
	else if (t->has_proto && str_eq(t->proto, "tcp"))
		protos = POLICY_TCP;
	else if (t->has_proto)
		return why_set(why,
			       "\"dns\" takes udp or tcp, not \"%.64s\"; a name that may be "
			       "asked is allowed by its own rule",
			       t->proto);
	return policy_add_dns(p, action, protos, why);
}

static int parse_proto(const struct parts *t, struct policy_rule *r, struct why *why)
{
	if (!t->has_proto || str_eq(t->proto, "any"))
		return 0;
	if (t->proto[0] && strspn(t->proto, "0123456789-") == strlen(t->proto))
		return why_set(why, "ports come after a protocol: \"%.64s:tcp:%.16s\"", t->target,
			       t->proto);
	return policy_rule_add_proto(r, t->proto, why);
}

static int parse_ports(const struct parts *t, struct policy_rule *r, struct why *why)
{
	const char *reason = NULL;
	struct port_range range;

	if (!t->has_ports || str_eq(t->ports, "any"))
		return 0;
	if (port_range_parse(t->ports, strlen(t->ports), &range, &reason) < 0)
		return why_set(why, "ports \"%.32s\": %s", t->ports, reason);
	return policy_rule_add_port(r, range, why);
}

static int add_local(struct policy *p, const struct parts *t, enum policy_action action,
		     enum policy_dir dir, struct why *why)
{
	static const enum policy_group groups[] = { POLICY_GROUP_LOOPBACK, POLICY_GROUP_LINK_LOCAL,
						    POLICY_GROUP_HOST };
	int err = 0;

	if (dir != POLICY_EGRESS)
		return why_set(why, "\"local\" holds the gateway: egress only");
	for (size_t i = 0; i < ARRAY_SIZE(groups) && err == 0; i++) {
		struct policy_rule r = RULE_INIT;

		r.action = action;
		r.dest = POLICY_DEST_GROUP;
		r.group = groups[i];
		err = parse_proto(t, &r, why);
		if (err == 0)
			err = parse_ports(t, &r, why);
		if (err == 0)
			err = policy_add(p, &r, why);
		policy_rule_fini(&r);
	}
	return err;
}

static int parse_target(const char *s, struct policy_rule *r, struct why *why)
{
	static const char *const words[] = { "any", "dns", "local" };

	if (str_starts(s, "domain="))
		return policy_dest_parse(s + strlen("domain="), DEST_HINT_DOMAIN, r, why);
	if (str_starts(s, "suffix="))
		return policy_dest_parse(s + strlen("suffix="), DEST_HINT_SUFFIX, r, why);
	if (!str_eq(s, "any") && !policy_group_suggest(s) && str_suggest(s, words, 3))
		return policy_unknown(why, "target", s, words, 3);
	if (strchr(s, '='))
		return why_set(why,
			       "unknown target \"%.64s\": before \"=\" stands domain or suffix", s);
	return policy_dest_parse(s, DEST_HINT_GUESS, r, why);
}

static int add_token(struct policy *p, const char *s, const char *end, struct why *why)
{
	struct policy_rule r = RULE_INIT;
	struct parts t = { 0 };
	int err;

	if (s == end)
		return why_set(why, "empty rule");
	err = take_apart(s, end, &t, why);
	if (err == 0)
		err = policy_action_parse(t.action, &r.action, why);
	if (err == 0 && t.has_dir)
		err = policy_dir_parse(t.dir, &r.dirs, why);
	if (err == 0 && str_eq(t.target, "dns"))
		return add_dns(p, &t, r.action, r.dirs, why);
	if (err == 0 && str_eq(t.target, "local"))
		return add_local(p, &t, r.action, r.dirs, why);
	if (err == 0)
		err = parse_target(t.target, &r, why);
	if (err == 0)
		err = parse_proto(&t, &r, why);
	if (err == 0)
		err = parse_ports(&t, &r, why);
	if (err == 0)
		err = policy_add(p, &r, why);
	policy_rule_fini(&r);
	return err;
}

int policy_add_tokens(struct policy *p, const char *text, struct why *why)
{
	size_t len = strlen(text);

	if (len > POLICY_TOKENS_MAX)
		return why_set(why, "longer than %d bytes", POLICY_TOKENS_MAX);
	for (const char *s = text;;) {
		const char *comma = s + strcspn(s, ","), *end = comma;
		struct why inner;
		int err;

		while (s < end && *s == ' ')
			s++;
		while (end > s && end[-1] == ' ')
			end--;
		err = add_token(p, s, end, &inner);
		if (err < 0) {
			why_set(why, "\"%.*s\": %s", (int)MIN((size_t)(end - s), (size_t)100), s,
				inner.text);
			return err;
		}
		if (!*comma)
			return 0;
		s = comma + 1;
	}
}
