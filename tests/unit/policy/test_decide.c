/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The evaluator: tables for what is easy to say, and for the rest an oracle
 * that judges with every fact settled, over every way an unknown could turn out.
 */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

/* ---- one flow, one answer ------------------------------------------------------- */

static struct policy_facts tcp_to(const char *ip, uint16_t port)
{
	return (struct policy_facts){ .dir = POLICY_EGRESS,
				      .proto = POLICY_TCP,
				      .addr = must_ip(ip),
				      .port = port,
				      .name = POLICY_NONE,
				      .http = POLICY_NONE };
}

static void test_first_match(void **state)
{
	struct policy *p = must_load(
		"{\"rules\": ["
		"{\"id\":\"no\",\"action\":\"deny\",\"destination\":\"10.1.0.0/"
		"16\",\"reason\":\"why\"},"
		"{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\",\"port\":80},"
		"{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\",\"protocol\":\"icmpv4\"}]}");
	struct policy_facts f = tcp_to("10.1.2.3", 80);
	struct policy_verdict v = policy_decide(p, &f);

	(void)state;
	assert_int_equal(v.answer, POLICY_ANSWER_DENY);
	assert_int_equal(v.rule, 0);
	assert_string_equal(v.rule_id, "no");
	assert_string_equal(v.reason, "why");
	f = tcp_to("10.2.2.3", 80);
	v = policy_decide(p, &f);
	assert_int_equal(v.answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(v.rule, 1);
	assert_null(v.rule_id);
	f.port = 81;
	v = policy_decide(p, &f);
	assert_int_equal(v.answer, POLICY_ANSWER_DENY);
	assert_int_equal(v.rule, -1);
	f.proto = POLICY_ICMPV4;
	f.port = 0;
	assert_int_equal(policy_decide(p, &f).rule, 2);
	/* A port where ICMP has none is not looked at. */
	f = tcp_to("10.2.2.3", 80);
	f.proto = POLICY_ICMPV6;
	assert_int_equal(policy_decide(p, &f).rule, -1);
	/* Every wrapping of a denied address is denied by the same rule. */
	static const char *const wrapped[] = { "::ffff:10.1.2.3",
					       "64:ff9b::10.1.2.3",
					       "2002:a01:203::",
					       "::10.1.2.3",
					       "::ffff:0:10.1.2.3",
					       "2600::5efe:10.1.2.3",
					       "2001:0:4136:e378:8000:63bf:f5fe:fdfc" };

	for (size_t i = 0; i < ARRAY_SIZE(wrapped); i++) {
		f = tcp_to(wrapped[i], 80);
		assert_int_equal(policy_decide(p, &f).rule, 0);
	}
	/* Two inside: an allow needs both, a deny one. */
	f = tcp_to("2002:808:808::5efe:10.1.0.1", 80);
	assert_int_equal(policy_decide(p, &f).rule, 0);
	f = tcp_to("2002:808:808::5efe:10.2.0.1", 80);
	assert_int_equal(policy_decide(p, &f).rule, -1);
	f = tcp_to("2002:a02:1::5efe:10.2.0.1", 80);
	assert_int_equal(policy_decide(p, &f).rule, 1);
	/* No address: never satisfies an allow, never escapes a deny. */
	f.addr.family = 0;
	assert_int_equal(policy_decide(p, &f).rule, 0);
	policy_free(p);
}

static void test_directions_and_host(void **state)
{
	struct policy *p = must_load(
		"{\"default_egress\":\"allow\",\"default_ingress\":\"deny\",\"rules\":["
		"{\"action\":\"deny\",\"destination\":\"private\"},"
		"{\"action\":\"allow\",\"direction\":\"ingress\",\"destination\":\"192.0.2.0/"
		"24\",\"ports\":[\"8000-8099\"]},"
		"{\"action\":\"deny\",\"direction\":\"any\",\"destination\":\"203.0.113.7\"}]}");
	struct policy_facts f = tcp_to("10.0.2.2", 53);

	(void)state;
	assert_int_equal(policy_decide(p, &f).rule, 0);
	f.is_host = true; /* then it is in group host, not private */
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_ALLOW);
	f = tcp_to("192.0.2.9", 8050);
	assert_int_equal(policy_decide(p, &f).rule, -1);
	f.dir = POLICY_INGRESS;
	assert_int_equal(policy_decide(p, &f).rule, 1);
	f.port = 9000;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f = tcp_to("203.0.113.7", 1);
	assert_int_equal(policy_decide(p, &f).rule, 2);
	f.dir = POLICY_INGRESS;
	assert_int_equal(policy_decide(p, &f).rule, 2);
	policy_free(p);
}

static void test_names(void **state)
{
	struct policy *p = must_load("{\"rules\":["
				     "{\"action\":\"deny\",\"destination\":\"bad.example.com\"},"
				     "{\"action\":\"allow\",\"destination\":\".example.com\"},"
				     "{\"action\":\"allow\",\"destination\":\"*.example.org\"}]}");
	struct name names[2] = { must_name("www.example.com"), must_name("bad.example.com") };
	struct name apex = must_name("example.org"), below = must_name("a.b.example.org");
	struct name near = must_name("evilexample.com");
	struct policy_facts f = tcp_to("192.0.2.1", 443);

	(void)state;
	f.name = POLICY_KNOWN;
	f.names = names;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).rule, 1);
	f.n_names = 2;
	assert_int_equal(policy_decide(p, &f).rule, 0);
	f.names = &apex;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).rule, -1);
	f.names = &below;
	assert_int_equal(policy_decide(p, &f).rule, 2);
	f.names = &near;
	assert_int_equal(policy_decide(p, &f).rule, -1);
	/* Unknown: evidence for an allow makes the name worth asking for, else not. */
	f.name = POLICY_UNKNOWN;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.names = names;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_NAME);
	f.name = POLICY_NONE;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	policy_free(p);
	/* A deny by name under an allowing default is asked without any evidence. */
	p = must_load("{\"deny_domains\":[\"evil.com\"]}");
	f = tcp_to("192.0.2.1", 443);
	f.name = POLICY_UNKNOWN;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_NAME);
	f.name = POLICY_NONE;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.name = POLICY_KNOWN;
	f.names = names;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_ALLOW);
	policy_free(p);
}

static void test_http(void **state)
{
	struct policy *p = must_load(
		"{\"rules\":["
		"{\"action\":\"deny\",\"destination\":\"*\",\"http\":{\"methods\":[\"DELETE\"]}},"
		"{\"action\":\"allow\",\"destination\":\"api.x.com\",\"port\":443,\"protocol\":"
		"\"tcp\","
		"\"http\":{\"methods\":[\"GET\"],\"paths\":[\"/a/**\"]}}]}");
	struct name n = must_name("api.x.com");
	struct policy_facts f = tcp_to("192.0.2.1", 443);
	struct {
		const char *method, *path;
		int rule;
	} table[] = {
		{ "GET", "/a/b", 1 }, { "get", "/a/b", -1 },   { "GET", "/b", -1 },
		{ "POST", "/a", -1 }, { "DELETE", "/a/b", 0 }, { "delete", "/a", 0 },
	};

	(void)state;
	assert_true(policy_has_http(p));
	assert_true(policy_has_names(p));
	f.name = POLICY_UNKNOWN;
	f.http = POLICY_UNKNOWN;
	f.names = &n;
	f.n_names = 1;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_NAME);
	assert_int_equal(policy_decide(p, &f).rule, 1);
	f.name = POLICY_KNOWN;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_HTTP);
	f.port = 80; /* only the deny is left: nothing a request could change */
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.port = 443;
	f.http = POLICY_NONE;
	assert_int_equal(policy_decide(p, &f).rule, 0);
	f.http = POLICY_KNOWN;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		f.method = table[i].method;
		f.path = table[i].path;
		assert_int_equal(policy_decide(p, &f).rule, table[i].rule);
	}
	f.method = NULL; /* known, but not given: as none */
	assert_int_equal(policy_decide(p, &f).rule, 0);
	f.proto = POLICY_ICMPV4;
	f.port = 0;
	assert_int_equal(policy_decide(p, &f).rule, -1);
	policy_free(p);
}

/* ---- names asked of the resolver --------------------------------------------------- */

static void test_query(void **state)
{
	static const struct {
		const char *rule; /* before a default of deny, or of allow when it denies */
		bool counts;	  /* for the name api.x.com */
	} table[] = {
		{ "\"action\":\"allow\",\"destination\":\"api.x.com\"", true },
		{ "\"action\":\"allow\",\"destination\":\"api.x.com\",\"port\":443", true },
		{ "\"action\":\"allow\",\"destination\":\"api.x.com\",\"protocol\":\"tcp\","
		  "\"http\":{\"methods\":[\"GET\"]}",
		  true },
		{ "\"action\":\"allow\",\"destination\":\".x.com\"", true },
		{ "\"action\":\"allow\",\"destination\":\"*.x.com\"", true },
		{ "\"action\":\"allow\",\"destination\":\"*.api.x.com\"", false },
		{ "\"action\":\"allow\",\"destination\":\".y.com\"", false },
		{ "\"action\":\"allow\",\"direction\":\"any\",\"destination\":\".x.com\"", true },
		{ "\"action\":\"allow\",\"direction\":\"ingress\",\"destination\":\".x.com\"", false },
		{ "\"action\":\"allow\",\"destination\":\"host\"", true },
		{ "\"action\":\"allow\",\"destination\":\"host\",\"port\":53", true },
		{ "\"action\":\"allow\",\"destination\":\"host\",\"port\":53,\"protocol\":\"udp\"",
		  true },
		{ "\"action\":\"allow\",\"destination\":\"host\",\"port\":53,\"protocol\":\"tcp\"",
		  true },
		{ "\"action\":\"allow\",\"destination\":\"host\",\"port\":853", false },
		{ "\"action\":\"allow\",\"destination\":\"host\",\"protocol\":\"icmpv4\"", false },
		{ "\"action\":\"allow\",\"destination\":\"*\"", true },
		{ "\"action\":\"allow\",\"destination\":\"*\",\"port\":443", false },
		{ "\"action\":\"allow\",\"destination\":\"*\",\"ports\":[\"1-100\"]", true },
		{ "\"action\":\"allow\",\"destination\":\"*\",\"http\":{\"methods\":[\"GET\"]}",
		  false },
		{ "\"action\":\"allow\",\"destination\":\"public\"", false },
		{ "\"action\":\"allow\",\"destination\":\"0.0.0.0/0\"", false },
		{ "\"action\":\"deny\",\"destination\":\"api.x.com\"", true },
		{ "\"action\":\"deny\",\"destination\":\".x.com\"", true },
		{ "\"action\":\"deny\",\"destination\":\"api.x.com\",\"port\":443", false },
		{ "\"action\":\"deny\",\"destination\":\"api.x.com\",\"protocol\":\"tcp\"", false },
		{ "\"action\":\"deny\",\"destination\":\"api.x.com\",\"http\":{\"methods\":["
		  "\"PUT\"]}",
		  false },
		{ "\"action\":\"deny\",\"destination\":\"host\"", true },
		{ "\"action\":\"deny\",\"destination\":\"host\",\"protocol\":\"udp\"", true },
		{ "\"action\":\"deny\",\"destination\":\"host\",\"protocol\":\"tcp\"", false },
		{ "\"action\":\"deny\",\"destination\":\"*\",\"ports\":[53]", true },
		{ "\"action\":\"deny\",\"destination\":\"*\",\"ports\":[443]", false },
		{ "\"action\":\"deny\",\"destination\":\"public\"", false },
		{ "\"action\":\"deny\",\"destination\":\"8.8.8.8\"", false },
	};
	struct name n = must_name("api.x.com");
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		bool allow = strstr(table[i].rule, "\"allow\"") != NULL;
		struct policy_verdict v;
		struct policy *p;

		snprintf(text, sizeof(text), "{\"default_egress\":\"%s\",\"rules\":[{%s}]}",
			 allow ? "deny" : "allow", table[i].rule);
		p = must_load(text);
		v = policy_decide_query(p, &n);
		if ((v.rule == 0) != table[i].counts ||
		    (v.answer == POLICY_ANSWER_ALLOW) != (allow == table[i].counts))
			fail_msg("%s: rule %d, answer %d", table[i].rule, v.rule, v.answer);
		policy_free(p);
	}
}

#define R(action, dest) "{\"action\":\"" action "\",\"destination\":\"" dest "\"}"

/* The first rule that matches the asked name, or by name its alias. */
static void test_aliases(void **state)
{
	static const struct {
		const char *egress, *rules;
		int rule;
		bool allow;
	} table[] = {
		{ "allow", "", -1, true },
		{ "allow", R("deny", ".tracker.example"), 0, false },
		{ "allow", R("allow", "www.example.com") "," R("deny", ".tracker.example"), 0, true },
		{ "allow", R("allow", "x.tracker.example") "," R("deny", ".tracker.example"), 0,
		  true },
		{ "deny", R("deny", ".tracker.example") "," R("allow", "www.example.com"), 0, false },
		{ "deny", R("allow", "www.example.com"), 0, true },
		/* Rules that are not by name are for the name that was asked. */
		{ "deny", R("allow", "*") "," R("deny", ".tracker.example"), 0, true },
		{ "allow", R("deny", "10.0.0.0/8"), -1, true },
	};
	struct name asked = must_name("www.example.com"), alias = must_name("x.tracker.example");
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy_verdict v;
		struct policy *p;

		snprintf(text, sizeof(text), "{\"default_egress\":\"%s\",\"rules\":[%s]}",
			 table[i].egress, table[i].rules);
		p = must_load(text);
		v = policy_decide_alias(p, &asked, &alias);
		if (v.rule != table[i].rule || (v.answer == POLICY_ANSWER_ALLOW) != table[i].allow)
			fail_msg("%s: rule %d, answer %d", text, v.rule, v.answer);
		policy_free(p);
	}
}

#undef R

/* ---- answers ------------------------------------------------------------------------- */

/* By asking the evaluator for every port of every protocol. */
static bool answer_oracle(const struct policy *p, const struct ip_addr *a)
{
	static const enum policy_proto protos[] = { POLICY_TCP, POLICY_UDP, POLICY_ICMPV4,
						    POLICY_ICMPV6 };
	struct policy_facts f = { .dir = POLICY_EGRESS, .addr = *a, .name = POLICY_NONE };

	if (policy_group_of(a) == POLICY_GROUP_PUBLIC)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
		bool icmp = protos[i] >= POLICY_ICMPV4;

		f.proto = protos[i];
		for (uint32_t port = icmp ? 0 : 1; port <= (icmp ? 0 : 1100); port++) {
			f.port = (uint16_t)port;
			if (policy_decide(p, &f).answer == POLICY_ANSWER_ALLOW)
				return true;
		}
	}
	return false;
}

static void test_answer(void **state)
{
	static const char *const dests[] = { "*",	 "private",  "10.0.0.0/8",
					     "10.0.0.1", "loopback", "public" };
	static const char *const protos[] = { "", ",\"protocol\":\"tcp\"", ",\"protocol\":\"udp\"",
					      ",\"protocols\":[\"tcp\",\"udp\"]" };
	static const char *const ports[] = { "", ",\"port\":80", ",\"port\":\"1-1023\"",
					     ",\"port\":\"1024-65535\"",
					     ",\"ports\":[\"1-79\",\"81-65535\"]" };
	struct ip_addr addrs[] = { must_ip("10.0.0.1"), must_ip("10.0.0.2"), must_ip("127.0.0.1"),
				   must_ip("::ffff:10.0.0.1"), must_ip("8.8.8.8") };
	int yes = 0;

	(void)state;
	for (int i = 0; i < 1500; i++) {
		char text[2048];
		int n = snprintf(text, sizeof(text), "{\"default_egress\":\"%s\",\"rules\":[",
				 rnd(3) ? "deny" : "allow");
		unsigned rules = 1 + rnd(5);
		struct policy *p;

		for (unsigned r = 0; r < rules; r++)
			n += snprintf(text + n, sizeof(text) - (size_t)n,
				      "%s{\"action\":\"%s\",\"destination\":\"%s\"%s%s}",
				      r ? "," : "", rnd(2) ? "allow" : "deny",
				      dests[rnd(ARRAY_SIZE(dests))], protos[rnd(4)], ports[rnd(5)]);
		snprintf(text + n, sizeof(text) - (size_t)n, "]}");
		p = must_load(text);
		for (size_t a = 0; a < ARRAY_SIZE(addrs); a++) {
			bool want = answer_oracle(p, &addrs[a]);

			yes += want;
			if (policy_answer_ok(p, &addrs[a]) != want)
				fail_msg("%s\naddress %zu: not %d", text, a, want);
		}
		policy_free(p);
	}
	assert_true(yes > 1600);
	/* A request may still pass a deny with http; one with http says nothing of ICMP. */
	static const struct {
		const char *rules;
		bool ok;
	} https[] = {
		{ "{\"action\":\"deny\",\"destination\":\"*\",\"http\":{\"methods\":[\"PUT\"]}},"
		  "{\"action\":\"allow\",\"destination\":\"private\",\"protocol\":\"tcp\"}",
		  true },
		{ "{\"action\":\"allow\",\"destination\":\"private\",\"http\":{\"methods\":["
		  "\"PUT\"]}}",
		  true },
		{ "{\"action\":\"deny\",\"destination\":\"*\",\"protocols\":[\"tcp\",\"udp\"]},"
		  "{\"action\":\"allow\",\"destination\":\"private\",\"http\":{\"methods\":["
		  "\"PUT\"]}}",
		  false },
		{ "{\"action\":\"deny\",\"destination\":\"*\",\"protocols\":[\"tcp\",\"udp\"]},"
		  "{\"action\":\"allow\",\"destination\":\"private\"}",
		  true },
		{ "{\"action\":\"allow\",\"direction\":\"ingress\",\"destination\":\"private\"}",
		  false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(https); i++) {
		char text[512];
		struct policy *q;

		snprintf(text, sizeof(text), "{\"rules\":[%s]}", https[i].rules);
		q = must_load(text);
		assert_int_equal(policy_answer_ok(q, &addrs[0]), https[i].ok);
		policy_free(q);
	}
	/* Names say nothing of an address. */
	struct policy *p = must_load("{\"allow_domains\":[\"x.com\"]}");

	assert_false(policy_answer_ok(p, &addrs[0]));
	policy_free(p);
	p = must_load("{\"deny_domains\":[\"x.com\"]}");
	assert_true(policy_answer_ok(p, &addrs[0]));
	policy_free(p);
}

/* ---- three values against two ---------------------------------------------------------- */

static const char *const name_texts[] = { "a.com", "b.a.com", "c.org", "d.c.org" };
static struct name names[ARRAY_SIZE(name_texts)];
static struct name stranger;

static int fill_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		names[i] = must_name(name_texts[i]);
	stranger = must_name("stranger.net");
	return 0;
}

static const char *const methods[] = { "GET", "PUT", "PATCH" };
static const char *const paths[] = { "/a", "/a/b", "/c" };

static struct policy *random_policy(char *text, size_t size)
{
	static const char *const dests[] = { "*",	  "a.com",   ".a.com", "*.a.com",
					     "c.org",	  ".c.org",  "public", "private",
					     "8.0.0.0/8", "b.a.com", "host" };
	static const char *const https[] = {
		"",
		"",
		"",
		",\"http\":{\"methods\":[\"GET\"]}",
		",\"http\":{\"paths\":[\"/a/**\"]}",
		",\"http\":{\"methods\":[\"PUT\",\"GET\"],\"paths\":[\"/c\",\"/a\"]}",
	};
	static const char *const ports[] = { "", "", ",\"port\":443", ",\"port\":80" };
	unsigned rules = 1 + rnd(6);
	int n = snprintf(text, size, "{\"default_egress\":\"%s\",\"rules\":[",
			 rnd(2) ? "deny" : "allow");

	for (unsigned r = 0; r < rules; r++)
		n += snprintf(text + n, size - (size_t)n,
			      "%s{\"action\":\"%s\",\"destination\":\"%s\"%s%s}", r ? "," : "",
			      rnd(2) ? "allow" : "deny", dests[rnd(ARRAY_SIZE(dests))],
			      ports[rnd(4)], https[rnd(6)]);
	snprintf(text + n, size - (size_t)n, "]}");
	return must_load(text);
}

/* Which actions can come out once everything is known. */
struct outcomes {
	bool action[2];
	unsigned n;
};

static void settle_http(const struct policy *p, struct policy_facts f, struct outcomes *o)
{
	struct policy_verdict v;

	if (f.http == POLICY_UNKNOWN) {
		f.http = POLICY_NONE;
		settle_http(p, f, o);
		f.http = POLICY_KNOWN;
		for (size_t m = 0; m < ARRAY_SIZE(methods); m++)
			for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
				f.method = methods[m];
				f.path = paths[i];
				settle_http(p, f, o);
			}
		return;
	}
	v = policy_decide(p, &f);
	if (v.answer > POLICY_ANSWER_ALLOW)
		fail_msg("undecided with everything known");
	o->action[v.answer == POLICY_ANSWER_ALLOW] = true;
	o->n++;
}

/* An unknown name may turn out to be none, a stranger, or one of the candidates. */
static void settle(const struct policy *p, struct policy_facts f, struct outcomes *o)
{
	const struct name *candidates = f.names;
	size_t n = f.n_names;

	if (f.name != POLICY_UNKNOWN) {
		settle_http(p, f, o);
		return;
	}
	f.name = POLICY_NONE;
	settle_http(p, f, o);
	f.name = POLICY_KNOWN;
	f.n_names = 1;
	f.names = &stranger;
	settle_http(p, f, o);
	for (size_t i = 0; i < n; i++) {
		f.names = &candidates[i];
		settle_http(p, f, o);
	}
}

static bool plain_below(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && name[n - m - 1] == '.' && str_eq(name + n - m, suffix);
}

/* The definition, restated: what a rule says when all is known. */
static bool plain_match(const struct policy_rule *r, const struct policy_facts *f)
{
	bool dest = r->dest == POLICY_DEST_ANY;

	if (r->n_ports && r->ports[0].lo != f->port)
		return false;
	if (r->dest == POLICY_DEST_GROUP)
		dest = f->is_host ? r->group == POLICY_GROUP_HOST
				  : policy_group_of(&f->addr) == r->group;
	else if (r->dest == POLICY_DEST_PREFIX)
		dest = ip_in_prefix(&f->addr, &r->prefix);
	else if (r->dest != POLICY_DEST_ANY && f->name == POLICY_NONE)
		dest = r->action == POLICY_DENY;
	else if (r->dest == POLICY_DEST_NAME)
		dest = str_eq(f->names->s, r->name->s);
	else if (r->dest != POLICY_DEST_ANY)
		dest = plain_below(f->names->s, r->name->s) ||
		       (r->dest == POLICY_DEST_SUFFIX && str_eq(f->names->s, r->name->s));
	if (!dest || (!r->n_methods && !r->n_paths))
		return dest;
	if (f->http == POLICY_NONE)
		return r->action == POLICY_DENY;
	dest = r->n_methods == 0;
	for (size_t i = 0; i < r->n_methods; i++)
		dest |= str_eq(r->methods[i], f->method);
	if (!dest || r->n_paths == 0)
		return dest;
	for (size_t i = 0; i < r->n_paths; i++)
		if (policy_path_match(r->paths[i], f->path))
			return true;
	return false;
}

static void check_two_valued(const struct policy *p, const struct policy_facts *f)
{
	int want = -1;

	for (size_t i = 0; i < p->n_rules && want < 0; i++)
		if (plain_match(&p->rules[i], f))
			want = (int)i;
	assert_int_equal(policy_decide(p, f).rule, want);
}

static void test_three_valued(void **state)
{
	static const char *const ips[] = { "8.8.8.8", "1.1.1.1", "10.0.0.1" };
	unsigned answers[4] = { 0 }, idle = 0;
	char text[2048];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct policy *p = random_policy(text, sizeof(text));

		for (int k = 0; k < 8; k++) {
			struct policy_facts f = tcp_to(ips[rnd(3)], rnd(2) ? 443 : 80);
			struct outcomes o = { 0 };
			struct policy_verdict v;
			size_t from = rnd(4);

			f.is_host = rnd(8) == 0;
			f.name = rnd(4) ? POLICY_UNKNOWN : rnd(2) ? POLICY_NONE : POLICY_KNOWN;
			f.names = &names[from];
			f.n_names = f.name == POLICY_KNOWN ? 1 : rnd(5 - (unsigned)from);
			f.http = rnd(3) ? POLICY_UNKNOWN : rnd(2) ? POLICY_NONE : POLICY_KNOWN;
			f.method = methods[rnd(3)];
			f.path = paths[rnd(3)];
			if (f.name != POLICY_UNKNOWN && f.http != POLICY_UNKNOWN)
				check_two_valued(p, &f);
			v = policy_decide(p, &f);
			settle(p, f, &o);
			answers[v.answer]++;
			/* Sound: decided means decided whatever comes. */
			if (v.answer == POLICY_ANSWER_ALLOW && o.action[POLICY_DENY])
				fail_msg("%s\nallowed too early", text);
			if (v.answer == POLICY_ANSWER_DENY && o.action[POLICY_ALLOW])
				fail_msg("%s\ndenied too early", text);
			/* Complete but for rules that shadow each other: counted below. */
			if (v.answer > POLICY_ANSWER_ALLOW)
				idle += o.action[POLICY_ALLOW] != o.action[POLICY_DENY];
			/* Asks only for what is unknown, and the name first. */
			if (v.answer == POLICY_ANSWER_NEED_NAME)
				assert_int_equal(f.name, POLICY_UNKNOWN);
			if (v.answer == POLICY_ANSWER_NEED_HTTP)
				assert_int_equal(f.http, POLICY_UNKNOWN);
		}
		policy_free(p);
	}
	for (int i = 0; i < 4; i++)
		assert_true(answers[i] > 5000);
	/* Questions that a cleverer evaluator would not have asked: one in ten at most. */
	assert_true(idle * 10 < answers[POLICY_ANSWER_NEED_NAME] + answers[POLICY_ANSWER_NEED_HTTP]);
}

/* ---- explain ---------------------------------------------------------------------------- */

static void test_explain(void **state)
{
	char text[2048];
	struct policy_step steps[8];
	size_t n;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		struct policy *p = random_policy(text, sizeof(text));
		struct policy_facts f = tcp_to("8.8.8.8", rnd(2) ? 443 : 80);
		struct policy_verdict v, e;

		f.name = (enum policy_fact)rnd(3);
		f.http = (enum policy_fact)rnd(3);
		f.names = &names[rnd(4)];
		f.n_names = 1;
		f.method = methods[rnd(3)];
		f.path = paths[rnd(3)];
		v = policy_decide(p, &f);
		e = policy_explain(p, &f, steps, ARRAY_SIZE(steps), &n);
		assert_int_equal(v.answer, e.answer);
		assert_int_equal(v.rule, e.rule);
		assert_true(n <= p->n_rules);
		for (size_t s = 0; s < n; s++) {
			assert_int_equal(steps[s].rule, s);
			assert_true(strlen(steps[s].why) > 5);
			assert_int_equal(str_eq(steps[s].outcome, "match"),
					 s + 1 == n && s + 1 <= p->n_rules &&
						 str_eq(steps[n - 1].outcome, "match"));
		}
		policy_free(p);
	}
	struct policy *p =
		must_load("{\"rules\":[{\"action\":\"allow\",\"destination\":\"*\",\"port\":443},"
			  "{\"action\":\"deny\",\"destination\":\"metadata\",\"protocol\":\"udp\"},"
			  "{\"action\":\"deny\",\"destination\":\"x.com\"},"
			  "{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\"}]}");
	struct policy_facts f = tcp_to("192.0.2.1", 80);

	f.name = POLICY_UNKNOWN;
	policy_explain(p, &f, steps, ARRAY_SIZE(steps), &n);
	assert_int_equal(n, 4);
	assert_string_equal(steps[0].why, "port 80 is not in 443");
	assert_string_equal(steps[1].why, "protocol tcp is not udp");
	assert_string_equal(steps[2].why, "the name is not known yet: a deny needs no evidence");
	assert_string_equal(steps[3].why, "192.0.2.1 is not in 10.0.0.0/8");
	policy_explain(p, &f, steps, 2, &n);
	assert_int_equal(n, 2);
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_match), cmocka_unit_test(test_directions_and_host),
		cmocka_unit_test(test_names),	    cmocka_unit_test(test_http),
		cmocka_unit_test(test_query),	    cmocka_unit_test(test_answer),
		cmocka_unit_test(test_aliases),	    cmocka_unit_test(test_three_valued),
		cmocka_unit_test(test_explain),
	};

	return cmocka_run_group_tests(tests, fill_names, NULL);
}
