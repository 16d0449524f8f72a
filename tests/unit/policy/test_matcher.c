/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled matcher against the walk that defines it: random policies and
 * random facts from a universe so small that rules collide all the time. The
 * whole verdict must agree: answer, rule, id, reason, and which policy said it.
 *
 *   WEIR_MATCHER_SEED=N    start at policy N (a failure prints its own)
 *   WEIR_MATCHER_COUNT=N   comparisons to make, instead of some seconds' worth
 */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define SECONDS 6
#define FACTS_EACH 40

/* ---- numbers --------------------------------------------------------------------- */

static uint64_t number;

static void seed(uint64_t n)
{
	number = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static unsigned pick(unsigned n)
{
	number ^= number >> 12;
	number ^= number << 25;
	number ^= number >> 27;
	return (unsigned)((number * UINT64_C(2685821657736338717)) >> 33) % n;
}

#define ONE_OF(list) ((list)[pick(ARRAY_SIZE(list))])

/* ---- the universe ------------------------------------------------------------------ */

static const char *const name_texts[] = {
	"a.com",
	"b.a.com",
	"c.b.a.com",
	"xa.com",
	"1.2.3.4.5.6.7.8.9.b.a.com",
	"d.org",
	"e.d.org",
	"db",
	"dns.google",
	"x.cloudflare-dns.com",
	"a-label-longer-than-eight.d.org",
	"a-label-longer-than-nine.d.org",
};

static const char *const dests[] = {
	"*",
	"*",
	"*",
	"host",
	"metadata",
	"loopback",
	"private",
	"link_local",
	"multicast",
	"reserved",
	"public",
	"doh",
	"doh",
	"0.0.0.0/0",
	"128.0.0.0/1",
	"10.0.0.0/8",
	"10.1.0.0/16",
	"10.1.2.0/24",
	"10.1.2.3",
	"10.1.2.2/31",
	"8.8.8.8",
	"8.8.8.0/24",
	"169.254.169.254",
	"255.255.255.255",
	"255.255.255.0/24",
	"0.0.0.0",
	"::/0",
	"8000::/1",
	"2001:db8::/32",
	"2001:db8:0:1::/64",
	"2001:db8:0:1:8000::/65",
	"2001:db8:0:1::1",
	"2001:db8:0:1:ffff:ffff:ffff:ffff",
	"2001:db8:0:2::/64",
	"2001:db8:0:2::7",
	"::/96",
	"64:ff9b::/96",
	"2002::/16",
	"2002:a01:203::/48",
	"::",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"ffff:ffff:ffff:ffff::/64",
	"2600::5efe:10.1.2.3",
	"::fffe:0:0/95",
	"a.com",
	"b.a.com",
	"c.b.a.com",
	"xa.com",
	"d.org",
	"dns.google",
	".a.com",
	".b.a.com",
	".d.org",
	"*.a.com",
	"*.b.a.com",
	"*.d.org",
	".cloudflare-dns.com",
	"a-label-longer-than-eight.d.org",
	".5.6.7.8.9.b.a.com",
};

static const char *const address_texts[] = {
	"10.1.2.3",
	"10.1.2.2",
	"10.1.9.9",
	"10.9.9.9",
	"8.8.8.8",
	"8.8.8.9",
	"1.1.1.1",
	"169.254.169.254",
	"127.0.0.1",
	"192.168.1.1",
	"224.0.0.1",
	"255.255.255.255",
	"0.0.0.0",
	"93.184.216.34",
	"200.1.2.3",
	"2001:db8::1",
	"2001:db8:0:1::1",
	"2001:db8:0:1::2",
	"2001:db8:0:1:8000::5",
	"2001:db8:0:1:ffff:ffff:ffff:ffff",
	"2001:db8:0:2::",
	"2001:db8:0:2::7",
	"2001:db8:0:2::8",
	"::",
	"::1",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"ffff:ffff:ffff:ffff::1",
	"fe80::1",
	"ff02::1",
	"2a00::1",
	"fd00:ec2::254",
	/* IPv4 inside, once and twice. */
	"::ffff:10.1.2.3",
	"::ffff:8.8.8.8",
	"64:ff9b::10.1.2.3",
	"64:ff9b::8.8.8.8",
	"2002:a01:203::",
	"2002:808:808::1",
	"::10.1.2.3",
	"::ffff:0:10.1.9.9",
	"2600::5efe:10.1.2.3",
	"2600::200:5efe:8.8.8.8",
	"2002:808:808::5efe:10.1.2.3",
	"2002:a01:203::5efe:10.1.2.2",
	"2002:a01:203::5efe:10.1.9.9",
	"2002:808:808::5efe:1.1.1.1",
	"2002:a01:203::5efe:1.1.1.1",
	"2001:0:4136:e378:8000:63bf:f5fe:fdfc",
	"2001:0:4136:e378:0:5efe:10.1.2.3",
};

static const struct {
	size_t n;
	struct port_range ranges[3];
} port_sets[] = {
	{ 0, { { 0, 0 } } },
	{ 0, { { 0, 0 } } },
	{ 1, { { 443, 443 } } },
	{ 1, { { 80, 80 } } },
	{ 1, { { 53, 53 } } },
	{ 1, { { 1, 1023 } } },
	{ 1, { { 1024, 65535 } } },
	{ 1, { { 1, 65535 } } },
	{ 1, { { 65535, 65535 } } },
	{ 3, { { 80, 80 }, { 443, 443 }, { 8000, 8099 } } },
	{ 2, { { 1, 52 }, { 54, 65535 } } },
};
static const uint16_t ports[] = { 0, 1, 52, 53, 79, 80, 443, 1023, 1024, 8050, 65534, 65535 };

static const char *const methods[] = { "GET", "PUT", "get", "PATCH" };
static const char *const paths[] = { "/a", "/a/b", "/c" };
static const char *const patterns[] = { "/a/**", "/c", "/a" };

static struct name names[ARRAY_SIZE(name_texts)];
static struct ip_addr addresses[ARRAY_SIZE(address_texts)];

static int fill(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		names[i] = must_name(name_texts[i]);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		addresses[i] = must_ip(address_texts[i]);
	return 0;
}

/* ---- random policies ----------------------------------------------------------------- */

static void random_rule(struct policy_rule *r, const char *dest, size_t i)
{
	const unsigned set = pick(ARRAY_SIZE(port_sets));
	struct why why;
	char text[32];

	*r = RULE_INIT;
	r->action = (enum policy_action)pick(2);
	r->dirs = pick(6) ? POLICY_EGRESS : pick(2) ? POLICY_INGRESS : POLICY_ANY_DIR;
	r->protos = pick(2) ? 0 : (uint8_t)pick(16);
	assert_int_equal(policy_dest_parse(dest, DEST_HINT_GUESS, r, &why), 0);
	for (size_t k = 0; k < port_sets[set].n; k++)
		assert_int_equal(policy_rule_add_port(r, port_sets[set].ranges[k], &why), 0);
	if (pick(4) == 0) {
		if (pick(2))
			assert_int_equal(policy_rule_add_method(r, methods[pick(2)], &why), 0);
		if (pick(2))
			assert_int_equal(policy_rule_add_path(r, ONE_OF(patterns), &why), 0);
	}
	if (pick(2)) {
		snprintf(text, sizeof(text), "r%zu", i);
		assert_int_equal(policy_rule_set_id(r, text, &why), 0);
	}
	if (pick(4) == 0)
		assert_int_equal(policy_rule_set_reason(r, "because", &why), 0);
	r->qtypes = (uint8_t)pick(8);
}

/* Mostly few rules; at times many for few destinations, so that lists become maps. */
static struct policy *random_policy(void)
{
	bool dense = pick(6) == 0;
	size_t n = dense ? 30 + pick(90) : pick(14);
	const char *some[3] = { ONE_OF(dests), ONE_OF(dests), ONE_OF(dests) };
	struct policy *p = NULL;
	struct why why;

	assert_int_equal(policy_new((enum policy_action)pick(2), (enum policy_action)pick(2), &p), 0);
	p->strict_names = pick(4) == 0;
	while (p->n_rules < n) {
		struct policy_rule r;

		random_rule(&r, dense ? ONE_OF(some) : ONE_OF(dests), p->n_rules);
		/* What makes no sense together is refused: draw again. */
		if (policy_add(p, &r, &why) < 0)
			policy_rule_fini(&r);
	}
	assert_int_equal(policy_finish(p, &why), 0);
	assert_non_null(p->index);
	return p;
}

static struct policy_facts random_facts(void)
{
	static const enum policy_proto protos[] = { POLICY_TCP,	  POLICY_TCP, POLICY_TCP,
						    POLICY_UDP,	  POLICY_UDP, POLICY_ICMPV4,
						    POLICY_ICMPV6 };
	size_t from = pick(ARRAY_SIZE(names));
	struct policy_facts f = {
		.dir = pick(5) ? POLICY_EGRESS : POLICY_INGRESS,
		.proto = ONE_OF(protos),
		.addr = ONE_OF(addresses),
		.is_host = pick(10) == 0,
		.port = ONE_OF(ports),
		.name = (enum policy_fact)pick(3),
		.names = &names[from],
		.n_names = pick(MIN((unsigned)(ARRAY_SIZE(names) - from), 3u) + 1),
		.name_unproven = pick(6) == 0,
		.name_answered = pick(6) == 0,
		.http = (enum policy_fact)pick(3),
		.method = pick(12) ? ONE_OF(methods) : NULL,
		.path = pick(12) ? ONE_OF(paths) : NULL,
	};

	if (pick(8) == 0)
		f.addr = (struct ip_addr){ 0 };
	/* What is no direction or protocol has an answer as well. */
	if (pick(200) == 0)
		f.dir = pick(2) ? POLICY_ANY_DIR : 0;
	if (pick(200) == 0)
		f.proto = pick(32);
	return f;
}

/* ---- what must come out ------------------------------------------------------------------ */

static unsigned strictness(enum policy_answer a)
{
	return a == POLICY_ANSWER_DENY	      ? 0
	       : a == POLICY_ANSWER_NEED_NAME ? 1
	       : a == POLICY_ANSWER_NEED_HTTP ? 2
					      : 3;
}

/* Of the policy's word and the floor's, the one that lets less happen. */
static struct policy_verdict lower(struct policy_verdict own, const struct policy *floor,
				   struct policy_verdict below)
{
	if (!floor || strictness(own.answer) <= strictness(below.answer))
		return own;
	below.floor = true;
	return below;
}

static struct policy_verdict one_decides(const struct policy *p, struct policy_facts f)
{
	if (p->strict_names && f.name == POLICY_KNOWN && (f.name_unproven || f.name_answered)) {
		f.name = POLICY_NONE;
		f.n_names = 0;
	}
	return policy_linear_decide(p, &f);
}

static struct policy_verdict must_decide(const struct policy *p, const struct policy_facts *f)
{
	struct policy_verdict below = { 0 };

	if (p->floor)
		below = one_decides(p->floor, *f);
	return lower(one_decides(p, *f), p->floor, below);
}

static struct policy_verdict must_query(const struct policy *p, const struct name *n)
{
	struct policy_verdict below = { 0 };

	if (p->floor)
		below = policy_linear_query(p->floor, n);
	return lower(policy_linear_query(p, n), p->floor, below);
}

static struct policy_verdict must_alias(const struct policy *p, const struct name *n,
					const struct name *alias)
{
	struct policy_verdict below = { 0 };

	if (p->floor)
		below = policy_linear_alias(p->floor, n, alias);
	return lower(policy_linear_alias(p, n, alias), p->floor, below);
}

static bool must_answer(const struct policy *p, const struct ip_addr *a)
{
	if (policy_group_of(a) == POLICY_GROUP_PUBLIC)
		return true;
	if (a->family == 0)
		return false;
	return policy_linear_answer(p, a) && (!p->floor || policy_linear_answer(p->floor, a));
}

/* ---- comparing ----------------------------------------------------------------------------- */

static uint64_t policy_number;
static unsigned answers[4], floors;

static void differ(const struct policy *p, const struct policy_facts *f, const char *what, int want,
		   int got)
{
	char *text = printed(p), ip[IP_STRLEN] = "none";

	if (f && f->addr.family)
		ip_format(&f->addr, ip);
	print_error("%s", text);
	if (p->floor) {
		free(text);
		text = printed(p->floor);
		print_error("floor: %s", text);
	}
	free(text);
	if (f)
		print_error(
			"dir %d proto %d address %s%s port %u name %d (%zu from %s%s%s) http %d %s "
			"%s\n",
			(int)f->dir, (int)f->proto, ip, f->is_host ? " (host)" : "", f->port,
			(int)f->name, f->n_names, f->names->s, f->name_unproven ? ", unproven" : "",
			f->name_answered ? ", answered" : "", (int)f->http,
			f->method ? f->method : "-", f->path ? f->path : "-");
	fail_msg("WEIR_MATCHER_SEED=%" PRIu64 ": %s must be %d, is %d", policy_number, what, want,
		 got);
}

static void same(const struct policy *p, const struct policy_facts *f, struct policy_verdict want,
		 struct policy_verdict got, const char *what)
{
	if (want.answer != got.answer)
		differ(p, f, what, (int)want.answer, (int)got.answer);
	if (want.rule != got.rule)
		differ(p, f, "the rule", want.rule, got.rule);
	if (want.floor != got.floor)
		differ(p, f, "floor", want.floor, got.floor);
	/* Both are the rule's own texts, or NULL. */
	if (want.rule_id != got.rule_id || want.reason != got.reason)
		differ(p, f, "id or reason", 1, 0);
}

static void compare(const struct policy *p)
{
	struct policy_facts f = random_facts();
	const struct name *n = &ONE_OF(names), *alias = &ONE_OF(names);
	enum policy_qtype type = (enum policy_qtype)(1u << pick(3));
	struct policy_verdict v = must_decide(p, &f), q;
	bool answer = must_answer(p, &f.addr), exact, typed;

	same(p, &f, v, policy_decide(p, &f), "the answer");
	answers[v.answer]++;
	floors += v.floor;
	q = must_query(p, n);
	f.names = n;
	same(p, &f, q, policy_decide_query(p, n), "the query's answer");
	same(p, &f, must_alias(p, n, alias), policy_decide_alias(p, n, alias), "the alias's answer");
	if (policy_answer_ok(p, &f.addr) != answer)
		differ(p, &f, "policy_answer_ok", answer, !answer);
	typed = q.answer == POLICY_ANSWER_ALLOW && q.rule >= 0 && (p->rules[q.rule].qtypes & type);
	if (policy_query_type(p, n, type) != typed)
		differ(p, &f, "policy_query_type", typed, !typed);
	q = policy_linear_query(p, n);
	exact = q.rule >= 0 && p->rules[q.rule].dest == POLICY_DEST_NAME;
	if (policy_query_exact(p, n) != exact)
		differ(p, &f, "policy_query_exact", exact, !exact);
}
#define COMPARISONS 6

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 10) : otherwise;
}

static void test_same_as_the_walk(void **state)
{
	uint64_t first = from_environment("WEIR_MATCHER_SEED", 1);
	uint64_t count = from_environment("WEIR_MATCHER_COUNT", 0), done = 0;
	time_t end = time(NULL) + SECONDS;

	(void)state;
	for (policy_number = first; count ? done < count : time(NULL) < end; policy_number++) {
		struct policy *p;

		seed(policy_number);
		p = random_policy();
		if (pick(4) == 0)
			policy_set_floor(p, random_policy());
		for (int i = 0; i < FACTS_EACH; i++)
			compare(p);
		done += FACTS_EACH * COMPARISONS;
		policy_free(p);
	}
	print_message("%" PRIu64 " comparisons; answers %u deny, %u allow, %u name, %u http; "
		      "%u by a floor\n",
		      done, answers[0], answers[1], answers[2], answers[3], floors);
	/* Every kind of answer was among them. */
	for (int i = 0; i < 4; i++)
		assert_true(answers[i] > done / 10000);
	assert_true(floors > done / 10000);
}

/* A policy that gained a rule after it was compiled is judged by its list until compiled anew. */
static void test_added_to(void **state)
{
	struct policy *p =
		must_load("{\"rules\":[{\"action\":\"allow\",\"destination\":\"a.com\"}]}");
	struct policy_rule r = RULE_INIT;
	struct why why;

	(void)state;
	assert_non_null(p->index);
	assert_int_equal(policy_decide_query(p, &names[5]).answer, POLICY_ANSWER_DENY);
	r.action = POLICY_ALLOW;
	assert_int_equal(policy_dest_parse("d.org", DEST_HINT_GUESS, &r, &why), 0);
	assert_int_equal(policy_add(p, &r, &why), 0);
	assert_int_equal(policy_decide_query(p, &names[5]).rule, 1);
	assert_int_equal(policy_finish(p, &why), 0);
	assert_int_equal(policy_decide_query(p, &names[5]).rule, 1);
	policy_free(p);
}

/* Whatever makes a policy compiles it. */
static void test_always_compiled(void **state)
{
	static const char *const presets[] = { "none", "public_only", "non_local", "allow_all" };
	const char *tokens[] = { "deny@a.com,allow@10.0.0.0/8:tcp:80" };
	struct policy_flags flags = { .net_rules = tokens, .n_net_rules = 1 };
	struct policy *p = NULL;
	struct conf_error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(presets); i++) {
		assert_int_equal(policy_preset(presets[i], &p), 0);
		assert_non_null(p->index);
		policy_free(p);
	}
	p = must_load("{\"preset\":\"public_only\",\"deny_domains\":[\"a.com\"]}");
	assert_non_null(p->index);
	assert_int_equal(policy_compose(p, &flags, &p, &err), 0);
	assert_non_null(p->index);
	assert_int_equal(policy_decide_query(p, &names[0]).rule, 0);
	policy_free(p);
}

/* ---- explaining a long list ------------------------------------------------------------- */

/* Many rules about something else, with a few about the flow between them. */
static struct policy *long_policy(size_t n, const char *const *about, size_t n_about)
{
	struct policy *p = NULL;
	struct why why;
	char dest[64];

	assert_int_equal(policy_new(POLICY_DENY, POLICY_ALLOW, &p), 0);
	for (size_t i = 0; i < n; i++) {
		struct policy_rule r = RULE_INIT;
		bool here = i % (n / n_about) == n / n_about / 2;

		snprintf(dest, sizeof(dest), "host%zu.example.net", i);
		r.action = POLICY_ALLOW;
		assert_int_equal(policy_dest_parse(here ? about[i / (n / n_about)] : dest,
						   DEST_HINT_GUESS, &r, &why),
				 0);
		/* None decides but the last. */
		if (here && i / (n / n_about) + 1 < n_about)
			assert_int_equal(
				policy_rule_add_port(&r, (struct port_range){ 80, 80 }, &why), 0);
		assert_int_equal(policy_add(p, &r, &why), 0);
	}
	assert_int_equal(policy_finish(p, &why), 0);
	return p;
}

static void test_explain_long(void **state)
{
	static const char *const about[] = { "*", "a.com", ".a.com", "8.0.0.0/8", "public" };
	struct policy *p = long_policy(100000, about, ARRAY_SIZE(about));
	struct policy_facts f = { .dir = POLICY_EGRESS,
				  .proto = POLICY_TCP,
				  .addr = ip4(8, 8, 8, 8),
				  .port = 443,
				  .name = POLICY_KNOWN,
				  .names = &names[0],
				  .n_names = 1 };
	struct policy_step steps[16];
	struct policy_verdict v;
	size_t n;

	(void)state;
	v = policy_explain(p, &f, steps, ARRAY_SIZE(steps), &n);
	assert_int_equal(v.rule, 90000);
	assert_int_equal(n, ARRAY_SIZE(about));
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(steps[i].rule, 10000 + i * 20000);
		assert_string_equal(steps[i].outcome, i + 1 < n ? "no match" : "match");
	}
	/* Room for fewer: the one that decided is told of all the same. */
	policy_explain(p, &f, steps, 3, &n);
	assert_int_equal(n, 3);
	assert_int_equal(steps[0].rule, 10000);
	assert_int_equal(steps[1].rule, 30000);
	assert_int_equal(steps[2].rule, 90000);
	policy_explain(p, &f, steps, 0, &n);
	assert_int_equal(n, 0);
	v = policy_explain_query(p, &names[0], steps, ARRAY_SIZE(steps), &n);
	assert_int_equal(v.rule, 30000);
	assert_int_equal(n, 1);
	assert_int_equal(steps[0].rule, 30000);
	assert_string_equal(steps[0].outcome, "match");
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_the_walk),
		cmocka_unit_test(test_added_to),
		cmocka_unit_test(test_always_compiled),
		cmocka_unit_test(test_explain_long),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
