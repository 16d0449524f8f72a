/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What users of other sandboxes' network policies rely on, line by line. A test
 * is named after the feature (n04: custom rules, ...) or the matter (defaults,
 * evaluation, queries) it holds weir to. Where weir differs, it is stricter or
 * refuses, and the test says how. The address groups of test n07 are tried on both
 * sides of every boundary, with all wrappings, in test_group.c.
 */
#include "tests/unit/policy/policy_test.h"

#define RULES(r) "{\"rules\": [" r "]}"

static struct policy_facts flow(enum policy_dir dir, enum policy_proto proto, const char *ip,
				uint16_t port)
{
	return (struct policy_facts){ .dir = dir,
				      .proto = proto,
				      .addr = must_ip(ip),
				      .port = port,
				      .name = POLICY_NONE,
				      .http = POLICY_NONE };
}

static bool allows(const struct policy *p, struct policy_facts f)
{
	return policy_decide(p, &f).answer == POLICY_ANSWER_ALLOW;
}

/* TCP out to this address and port, under this policy. */
static bool out(const char *policy, const char *ip, uint16_t port)
{
	struct policy *p = must_load(policy);
	bool yes = allows(p, flow(POLICY_EGRESS, POLICY_TCP, ip, port));

	policy_free(p);
	return yes;
}

static bool in(const char *policy, const char *peer, uint16_t port)
{
	struct policy *p = must_load(policy);
	bool yes = allows(p, flow(POLICY_INGRESS, POLICY_TCP, peer, port));

	policy_free(p);
	return yes;
}

static struct policy *composed(struct policy_flags flags, const char *token)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };

	if (token) {
		flags.net_rules = &token;
		flags.n_net_rules = 1;
	}
	if (policy_compose(NULL, &flags, &p, &err) < 0)
		fail_msg("%s", err.text);
	return p;
}

/* Both print alike. Takes over both. */
static void same(struct policy *a, struct policy *b)
{
	char *x = printed(a), *y = printed(b);

	assert_string_equal(x, y);
	free(x);
	free(y);
	policy_free(a);
	policy_free(b);
}

/* ---- the form of a policy ---------------------------------------------------------- */

/*
 * A partial document is closed outwards. Inwards only what is published can arrive at all.
 * Parity: p1.1-defaults, p1.3-empty, p1.4-4.
 */
static void p11_default_of_partial_json(void **state)
{
	(void)state;
	assert_false(out("{}", "93.184.215.14", 443));
	assert_true(in("{}", "93.184.215.14", 80));
	assert_false(in("{\"default_ingress\": \"deny\"}", "93.184.215.14", 80));
	assert_true(out("{\"default_egress\": \"allow\"}", "93.184.215.14", 443));
	assert_false(out(RULES("{\"action\": \"allow\", \"destination\": \"10.0.0.1\"}"),
			 "93.184.215.14", 443));
}

/* Parity: p1.1-rule. */
static void n04_missing_means_any(void **state)
{
	static const char rule[] =
		RULES("{\"action\": \"allow\", \"destination\": \"93.184.215.14\"}");
	struct policy *p = must_load(rule);

	(void)state;
	for (unsigned proto = POLICY_TCP; proto <= POLICY_ICMPV6; proto <<= 1)
		assert_true(allows(p, flow(POLICY_EGRESS, (enum policy_proto)proto, "93.184.215.14",
					   proto < POLICY_ICMPV4 ? 77 : 0)));
	policy_free(p);
	/* Egress is the direction that is not said. */
	assert_true(in("{\"default_ingress\": \"allow\", \"rules\": [{\"action\": \"deny\", "
		       "\"destination\": \"*\"}]}",
		       "198.51.100.1", 80));
}

/* Parity: p1.1-destinations. */
static void n06_destinations(void **state)
{
	static const struct {
		const char *dest, *yes, *no;
	} table[] = {
		{ "\"any\"", "10.0.0.1", NULL },
		{ "\"*\"", "2606:4700::1111", NULL },
		{ "{\"cidr\": \"10.0.0.0/8\"}", "10.255.255.255", "11.0.0.0" },
		{ "{\"ip\": \"192.0.2.1\"}", "192.0.2.1", "192.0.2.2" },
		{ "{\"ip\": \"2001:db8::1\"}", "2001:db8::1", "2001:db8::2" },
		{ "{\"group\": \"link_local\"}", "169.254.1.1", "169.254.169.254" },
		{ "\"link-local\"", "fe80::1", "fec0::1" },
		{ "\"meta\"", "169.254.169.254", "169.254.169.253" },
		{ "\"10.0.0.1\"", "::ffff:10.0.0.1", "::ffff:10.0.0.2" },
		{ "\"10.1.0.0\", \"destination_kind\": \"ip\"", "10.1.0.0", "10.1.0.1" },
		{ "\"10.1.0.0/16\", \"destination_kind\": \"cidr\"", "10.1.9.9", "10.2.0.0" },
		{ "\"private\", \"destination_kind\": \"group\"", "192.168.1.1", "8.8.8.8" },
		{ "\"any\", \"destination_kind\": \"any\"", "8.8.8.8", NULL },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(text, sizeof(text), RULES("{\"action\": \"allow\", \"destination\": %s}"),
			 table[i].dest);
		if (!out(text, table[i].yes, 443))
			fail_msg("%s does not allow %s", table[i].dest, table[i].yes);
		if (table[i].no && out(text, table[i].no, 443))
			fail_msg("%s allows %s", table[i].dest, table[i].no);
	}
}

/* Dropping one of the two would widen the rule. (p1.1-singular) */
static void n09_singular_and_plural_merged(void **state)
{
	(void)state;
	same(must_load(RULES("{\"action\": \"allow\", \"destination\": \"*\", \"port\": 80, "
			     "\"ports\": [443, \"80-81\"], \"protocol\": \"tcp\", \"protocols\": "
			     "[\"udp\"]}")),
	     must_load(
		     RULES("{\"action\": \"allow\", \"destination\": \"*\", \"ports\": [\"80-81\", "
			   "443], \"protocols\": [\"tcp\", \"udp\"]}")));
}

/* The destination's outwards, the guest's own inwards. (p1.1-service-ports, p1.1-peer) */
static void n09_ports_are_the_services(void **state)
{
	static const char both[] =
		"{\"default_egress\": \"deny\", \"default_ingress\": \"deny\", \"rules\": ["
		"{\"action\": \"allow\", \"direction\": \"any\", \"destination\": "
		"\"93.184.215.0/24\", \"ports\": [{\"start\": 80, \"end\": 90}]}]}";

	(void)state;
	for (uint16_t port = 79; port <= 91; port++) {
		assert_int_equal(out(both, "93.184.215.14", port), port >= 80 && port <= 90);
		assert_int_equal(in(both, "93.184.215.14", port), port >= 80 && port <= 90);
	}
	/* Inwards the destination is the peer. */
	assert_false(in(both, "93.184.216.14", 80));
}

/*
 * A rule with ports says nothing of ICMP; one that lists both is refused, not skipped.
 * Parity: p1.1-icmp-ports.
 */
static void n08_icmp_has_no_ports(void **state)
{
	struct policy *p =
		must_load("{\"default_egress\": \"allow\", \"rules\": [{\"action\": "
			  "\"deny\", \"destination\": \"*\", \"ports\": [\"1-65535\"]}]}");
	struct conf_error err;
	struct policy *none = NULL;

	(void)state;
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_ICMPV4, "93.184.215.14", 0)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_UDP, "93.184.215.14", 9)));
	policy_free(p);
	assert_int_equal(load_text(RULES("{\"action\": \"deny\", \"destination\": \"*\", "
					 "\"protocols\": [\"tcp\", \"icmpv4\"], \"port\": 1}"),
				   &none, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "ICMP has no ports"));
}

/* ---- groups, as the table of the study has them --------------------------------------- */

/*
 * Parity: p1.2-unspecified, p1.2-metadata, p1.2-loopback, p1.2-private,
 * p1.2-link-local, p1.2-multicast, p1.2-public.
 */
static void n07_groups_of_the_table(void **state)
{
	/* Both sides of each prefix. */
	static const struct {
		const char *before, *first, *last, *after;
		enum policy_group group;
	} table[] = {
		{ "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", POLICY_GROUP_PRIVATE },
		{ "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0",
		  POLICY_GROUP_PRIVATE },
		{ "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0",
		  POLICY_GROUP_PRIVATE },
		{ "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0",
		  POLICY_GROUP_PRIVATE },
		{ "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0",
		  POLICY_GROUP_LOOPBACK },
		{ "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0",
		  POLICY_GROUP_LINK_LOCAL },
		{ "223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.0",
		  POLICY_GROUP_MULTICAST },
		{ "169.254.169.253", "169.254.169.254", "169.254.169.254", "169.254.169.255",
		  POLICY_GROUP_METADATA },
		{ "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::",
		  "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::", POLICY_GROUP_PRIVATE },
		{ "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::",
		  "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", POLICY_GROUP_LINK_LOCAL },
		{ "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		  "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, POLICY_GROUP_MULTICAST },
		{ "::", "::1", "::1", "::2", POLICY_GROUP_LOOPBACK },
	};
	/* What the study found to be public elsewhere, or private where it is credentials. */
	static const struct {
		const char *ip;
		enum policy_group group;
	} closed[] = {
		{ "0.0.0.0", POLICY_GROUP_RESERVED },
		{ "0.1.2.3", POLICY_GROUP_RESERVED },
		{ "192.0.0.1", POLICY_GROUP_RESERVED },
		{ "192.0.2.1", POLICY_GROUP_RESERVED },
		{ "198.18.0.1", POLICY_GROUP_RESERVED },
		{ "198.51.100.1", POLICY_GROUP_RESERVED },
		{ "203.0.113.1", POLICY_GROUP_RESERVED },
		{ "240.0.0.1", POLICY_GROUP_RESERVED },
		{ "255.255.255.255", POLICY_GROUP_RESERVED },
		{ "192.88.99.1", POLICY_GROUP_RESERVED },
		{ "64:ff9b::a00:1", POLICY_GROUP_PRIVATE },
		{ "64:ff9b:1::1", POLICY_GROUP_RESERVED },
		{ "2002:a00:1::", POLICY_GROUP_PRIVATE },
		{ "::a00:1", POLICY_GROUP_PRIVATE },
		{ "fec0::1", POLICY_GROUP_RESERVED },
		{ "2001:db8::1", POLICY_GROUP_RESERVED },
		{ "168.63.129.16", POLICY_GROUP_METADATA },
		{ "fd00:ec2::254", POLICY_GROUP_METADATA },
		{ "fd20:ce::254", POLICY_GROUP_METADATA },
		{ "100.100.100.200", POLICY_GROUP_METADATA },
		{ "::", POLICY_GROUP_RESERVED },
	};
	struct ip_addr a;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *const ips[] = { table[i].before, table[i].first, table[i].last,
					    table[i].after };

		for (size_t k = 0; k < 4 && ips[k]; k++) {
			a = must_ip(ips[k]);
			if ((policy_group_of(&a) == table[i].group) != (k == 1 || k == 2))
				fail_msg("%s is in %s", ips[k],
					 policy_group_name(policy_group_of(&a)));
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
		a = must_ip(closed[i].ip);
		if (policy_group_of(&a) != closed[i].group)
			fail_msg("%s is in %s", closed[i].ip, policy_group_name(policy_group_of(&a)));
	}
}

/* The gateway is a group of its own whatever its address. (p1.2-host) */
static void n07_host_before_all(void **state)
{
	struct policy *p = must_load(RULES("{\"action\": \"allow\", \"destination\": \"host\"}"));
	struct policy *q =
		must_load(RULES("{\"action\": \"allow\", \"destination\": \"private\"}"));
	struct policy_facts f = flow(POLICY_EGRESS, POLICY_TCP, "10.0.0.1", 22);

	(void)state;
	f.is_host = true;
	assert_true(allows(p, f));
	assert_false(allows(q, f));
	f.is_host = false;
	assert_false(allows(p, f));
	assert_true(allows(q, f));
	policy_free(p);
	policy_free(q);
}

/* ---- presets, profiles, flags ----------------------------------------------------------- */

/* Parity: p1.3-public-only, p1.3-default, p1.3-empty. */
static void n01_public_by_default(void **state)
{
	struct policy *p = composed((struct policy_flags){ 0 }, NULL);
	struct policy_facts dns = flow(POLICY_EGRESS, POLICY_UDP, "10.0.0.1", 53);

	(void)state;
	dns.is_host = true;
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 443)));
	assert_true(allows(p, dns));
	dns.port = 5353;
	assert_false(allows(p, dns));
	for (size_t i = 0; i < 6; i++) {
		static const char *const inward[] = { "10.0.0.1",    "127.0.0.1", "169.254.169.254",
						      "192.168.1.1", "fd00::1",	  "224.0.0.1" };

		assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, inward[i], 443)));
	}
	same(p, must_load("\"public_only\""));
}

/* Parity: p1.3-none, p1.4-3. */
static void n02_no_network(void **state)
{
	static const char *const words[] = { "\"none\"", "\"disabled\"", "\"airgapped\"" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		same(composed((struct policy_flags){ .no_net = true }, NULL), must_load(words[i]));
	assert_false(out("\"none\"", "93.184.215.14", 443));
	assert_false(in("\"none\"", "93.184.215.14", 443));
	/* With rules it is an allow list. */
	same(composed((struct policy_flags){ .no_net = true }, "allow@1.2.3.4"),
	     must_load("{\"default_ingress\": \"deny\", \"rules\": [{\"action\": \"allow\", "
		       "\"destination\": \"1.2.3.4\"}]}"));
}

/* Parity: p1.3-allow-all, p1.3-non-local, p1.3-profiles. */
static void n03_profiles_compose(void **state)
{
	static const struct {
		const char *net, *rules;
	} table[] = {
		{ "public", "{\"action\": \"allow\", \"destination\": \"public\"}" },
		{ "private", "{\"action\": \"allow\", \"destination\": \"private\"}" },
		{ "host", "{\"action\": \"allow\", \"destination\": \"host\"}" },
		{ "host,public", "{\"action\": \"allow\", \"destination\": \"public\"}, "
				 "{\"action\": \"allow\", \"destination\": \"host\"}" },
		{ "private,host,public", "{\"action\": \"allow\", \"destination\": \"public\"}, "
					 "{\"action\": \"allow\", \"destination\": \"private\"}, "
					 "{\"action\": \"allow\", \"destination\": \"host\"}" },
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(text, sizeof(text),
			 RULES("{\"action\": \"allow\", \"destination\": \"host\", \"protocols\": "
			       "[\"udp\", \"tcp\"], \"port\": 53}, %s"),
			 table[i].rules);
		same(composed((struct policy_flags){ .net = table[i].net }, NULL), must_load(text));
	}
	same(composed((struct policy_flags){ .net = "private,public" }, NULL),
	     must_load("\"non_local\""));
	same(composed((struct policy_flags){ .net = "all" }, NULL), must_load("\"allow_all\""));
	same(composed((struct policy_flags){ .net = "none" }, NULL), must_load("\"none\""));
	/* A private grant is no grant of credentials. */
	assert_false(out("\"non_local\"", "fd00:ec2::254", 80));
	assert_false(out("\"non_local\"", "100.100.100.200", 80));
}

/* Parity: p1.3-preset-alone. */
static void n03_presets_take_no_rules(void **state)
{
	static const char *const bad[] = { "\"rules\": []", "\"default_egress\": \"allow\"",
					   "\"default_ingress\": \"deny\"", "\"allow_domains\": []" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct policy *p = NULL;
		struct conf_error err;
		char text[128];

		snprintf(text, sizeof(text), "{\"preset\": \"public\", %s}", bad[i]);
		assert_int_equal(load_text(text, &p, &err), -EINVAL);
		assert_non_null(strstr(err.text, "a preset takes deny lists only"));
	}
}

/* Parity: p1.4-2, p1.4-3. */
static void n05_defaults_by_flag(void **state)
{
	struct policy *p = composed(
		(struct policy_flags){ .default_egress = "allow", .default_ingress = "deny" },
		"deny@10.0.0.0/8");

	(void)state;
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "127.0.0.1", 1)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "10.0.0.1", 1)));
	assert_false(allows(p, flow(POLICY_INGRESS, POLICY_TCP, "93.184.215.14", 1)));
	policy_free(p);
}

/* Parity: p1.3-deny-only, p1.3-bulk. */
static void n10_bulk_lists_prepended(void **state)
{
	static const char lists[] =
		"\"deny_domains\": [\"a.x\"], \"deny_domain_suffixes\": [\"b.x\"], "
		"\"allow_domains\": [\"c.x\"], \"allow_domain_suffixes\": [\"d.x\"]";
	char text[512];

	(void)state;
	snprintf(text, sizeof(text),
		 "{%s, \"rules\": [{\"action\": \"deny\", \"destination\": \"*\"}]}", lists);
	same(must_load(text), must_load(RULES("{\"action\": \"deny\", \"destination\": \"a.x\"},"
					      "{\"action\": \"deny\", \"destination\": \".b.x\"},"
					      "{\"action\": \"allow\", \"destination\": \"c.x\"},"
					      "{\"action\": \"allow\", \"destination\": \".d.x\"},"
					      "{\"action\": \"deny\", \"destination\": \"*\"}")));
	/* Deny lists are all there is: the rest stays open, but for what has no name. */
	assert_false(out("{\"deny_domains\": [\"a.x\"], \"on_deny\": \"drop\"}", "10.0.0.1", 80));
	struct policy *p = must_load("{\"deny_domains\": [\"a.x\"]}");
	struct name other = must_name("b.x");
	struct policy_facts f = flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 443);

	f.name = POLICY_KNOWN;
	f.names = &other;
	f.n_names = 1;
	assert_true(allows(p, f));
	policy_free(p);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

/* Parity: p1.4-1, p1.4-2. */
static void n04_first_match(void **state)
{
	static const char order[] = "{\"default_egress\": \"allow\", \"rules\": ["
				    "{\"action\": \"allow\", \"destination\": \"10.1.0.0/16\"},"
				    "{\"action\": \"deny\", \"destination\": \"10.0.0.0/8\"},"
				    "{\"action\": \"allow\", \"destination\": \"10.2.0.0/16\"}]}";

	(void)state;
	assert_true(out(order, "10.1.0.1", 80));
	assert_false(out(order, "10.2.0.1", 80));
	assert_true(out(order, "11.0.0.1", 80));
}

/* Parity: p1.4-1. */
static void n04_any_direction_in_both(void **state)
{
	static const char rule[] =
		"{\"default_egress\": \"allow\", \"rules\": [{\"action\": \"deny\", "
		"\"direction\": \"any\", \"destination\": \"198.51.100.0/24\"}]}";

	(void)state;
	assert_false(out(rule, "198.51.100.9", 80));
	assert_false(in(rule, "198.51.100.9", 80));
	assert_true(in(rule, "198.51.101.9", 80));
}

/* Parity: p1.4-3. */
static void n11_tokens_before_profiles(void **state)
{
	struct policy *p = composed((struct policy_flags){ .net = "public" },
				    "deny@93.184.215.14,allow@10.0.0.5:tcp:22");

	(void)state;
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 443)));
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "10.0.0.5", 22)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "10.0.0.5", 23)));
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "8.8.8.8", 443)));
	policy_free(p);
}

static void refused_as(enum conf_format format, const char *text, const char *says)
{
	struct conf_doc *d = NULL;
	struct policy *p = NULL;
	struct conf_error err = { "" };
	struct conf root;

	if (conf_doc_parse(text, strlen(text), "f", format, &d, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	root = conf_root(d);
	if (policy_load_conf(&root, &p, &err) == 0)
		fail_msg("taken: %s", text);
	if (!strstr(err.text, says))
		fail_msg("%s: %s", text, err.text);
	conf_doc_free(d);
}

static void refused_token(const char *token, const char *says)
{
	struct policy_flags flags = { .net_rules = &token, .n_net_rules = 1 };
	struct policy *p = NULL;
	struct conf_error err = { "" };

	if (policy_compose(NULL, &flags, &p, &err) == 0)
		fail_msg("taken: %s", token);
	if (!strstr(err.text, says))
		fail_msg("%s: got \"%s\", want \"%s\"", token, err.text, says);
}

/* One validator, whatever a rule comes from. (p1.4-7, p1.5-suffix, p1.7-icmp, weak-7) */
static void p14_validated_at_every_entry(void **state)
{
	static const char icmp[] = "ICMP never arrives from outside";
	static const char wide[] = "covers a whole top-level domain";

	(void)state;
	refused_as(CONF_JSON,
		   RULES("{\"action\": \"allow\", \"direction\": \"ingress\", "
			 "\"destination\": \"*\", \"protocol\": \"icmpv4\"}"),
		   icmp);
	refused_as(CONF_YAML,
		   "rules:\n- {action: allow, direction: any, destination: any, "
		   "protocols: [icmpv6]}\n",
		   icmp);
	refused_as(CONF_TOML,
		   "[[rules]]\naction = 'allow'\ndirection = 'ingress'\n"
		   "destination = '*'\nprotocol = 'icmpv4'\n",
		   icmp);
	refused_token("allow:ingress@any:icmpv4", icmp);
	refused_token("deny:any@any:icmpv6", icmp);
	refused_as(CONF_JSON, RULES("{\"action\": \"deny\", \"destination\": \"*.com\"}"), wide);
	refused_as(CONF_JSON,
		   RULES("{\"action\": \"deny\", \"destination\": {\"domain_suffix\": "
			 "\"com\"}}"),
		   wide);
	refused_as(CONF_JSON, RULES("{\"action\": \"deny\", \"destination\": \".com\"}"), wide);
	refused_as(CONF_YAML, "rules:\n- {action: deny, destination: '*.com'}\n", wide);
	refused_as(CONF_YAML, "rules:\n- {action: deny, destination: .com}\n", wide);
	refused_as(CONF_TOML, "[[rules]]\naction = 'deny'\ndestination = '*.com'\n", wide);
	refused_as(CONF_JSON, "{\"deny_domain_suffixes\": [\"com\"]}", wide);
	refused_as(CONF_JSON, "{\"allow_domain_suffixes\": [\".com\"]}", wide);
	refused_as(CONF_JSON, "{\"preset\": \"public\", \"deny_domain_suffixes\": [\"com\"]}", wide);
	refused_as(CONF_YAML, "deny_domain_suffixes: [com]\n", wide);
	refused_as(CONF_TOML, "allow_domain_suffixes = ['com']\n", wide);
	refused_token("allow@*.com", wide);
	refused_token("allow@.com", wide);
	refused_token("allow@suffix=com", wide);
}

/* ---- names --------------------------------------------------------------------------------------- */

/* Parity: p1.5-canonical, p1.5-suffix. */
static void n13_canonical_names(void **state)
{
	struct policy *p = must_load(RULES("{\"action\": \"allow\", \"destination\": "
					   "\"API.Example.COM.\"}, {\"action\": \"allow\", "
					   "\"destination\": {\"domain_suffix\": \"_tcp.x.y\"}}"));
	static const struct {
		const char *name;
		bool yes;
	} table[] = {
		{ "api.example.com", true },	{ "Api.Example.Com", true },
		{ "x.api.example.com", false }, { "_tcp.x.y", true },
		{ "a._tcp.x.y", true },		{ "a_tcp.x.y", false },
		{ "b-_tcp.x.y", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct name n = must_name(table[i].name);

		if ((policy_decide_query(p, &n).answer == POLICY_ANSWER_ALLOW) != table[i].yes)
			fail_msg("%s: not %d", table[i].name, table[i].yes);
	}
	policy_free(p);
}

/*
 * How a name is known, and what an allow and a deny by it then say.
 * Parity: p1.5-sni, p1.5-cache-only.
 */
static void n13_sources_of_a_name(void **state)
{
	enum { NO, YES, ASK };
	static const struct {
		const char *source;
		enum policy_fact fact;
		const char *names[2];
		bool unproven, answered;
		int allow, deny; /* does the rule for a.x match */
	} table[] = {
		{ "TLS name that agrees with the answers", POLICY_KNOWN, { "a.x" }, false, false, YES, YES },
		{ "TLS name of an address not handed out for it",
		  POLICY_KNOWN,
		  { "a.x" },
		  true,
		  false,
		  NO,
		  YES },
		{ "another TLS name", POLICY_KNOWN, { "b.x" }, false, false, NO, NO },
		{ "any of the names of a shared address",
		  POLICY_KNOWN,
		  { "b.x", "a.x" },
		  false,
		  true,
		  YES,
		  YES },
		{ "none of them", POLICY_KNOWN, { "b.x", "c.x" }, false, true, NO, NO },
		{ "no name will come", POLICY_NONE, { NULL }, false, false, NO, YES },
		{ "not known yet, handed out for it", POLICY_UNKNOWN, { "a.x" }, false, false, ASK, ASK },
		{ "not known yet, handed out for others", POLICY_UNKNOWN, { "b.x" }, false, false, NO, ASK },
		{ "not known yet, never handed out", POLICY_UNKNOWN, { NULL }, false, false, NO, ASK },
	};
	struct policy *allow =
		must_load(RULES("{\"action\": \"allow\", \"destination\": \"a.x\"}"));
	struct policy *deny = must_load("{\"default_egress\": \"allow\", \"rules\": [{\"action\": "
					"\"deny\", \"destination\": \"a.x\"}]}");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct policy_facts f = flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 443);
		struct name names[2];
		enum policy_answer a, d;

		while (f.n_names < 2 && table[i].names[f.n_names]) {
			names[f.n_names] = must_name(table[i].names[f.n_names]);
			f.n_names++;
		}
		f.names = names;
		f.name = table[i].fact;
		f.name_unproven = table[i].unproven;
		f.name_answered = table[i].answered;
		a = policy_decide(allow, &f).answer;
		d = policy_decide(deny, &f).answer;
		if (a != (table[i].allow == ASK	  ? POLICY_ANSWER_NEED_NAME
			  : table[i].allow == YES ? POLICY_ANSWER_ALLOW
						  : POLICY_ANSWER_DENY))
			fail_msg("%s: allow says %d", table[i].source, a);
		if (d != (table[i].deny == ASK	 ? POLICY_ANSWER_NEED_NAME
			  : table[i].deny == YES ? POLICY_ANSWER_DENY
						 : POLICY_ANSWER_ALLOW))
			fail_msg("%s: deny says %d", table[i].source, d);
	}
	policy_free(allow);
	policy_free(deny);
}

/*
 * Nothing that could come would allow it: refused at once, without reading a byte.
 * Parity: p1.5-deferred.
 */
static void n13_deny_without_waiting(void **state)
{
	struct policy *p =
		must_load(RULES("{\"action\": \"deny\", \"destination\": \"a.x\"}, "
				"{\"action\": \"allow\", \"destination\": \"10.0.0.1\"}"));
	struct policy_facts f = flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 443);

	(void)state;
	f.name = POLICY_UNKNOWN;
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_DENY);
	f.addr = must_ip("10.0.0.1");
	assert_int_equal(policy_decide(p, &f).answer, POLICY_ANSWER_NEED_NAME);
	policy_free(p);
}

/* Parity: p1.5-strict. */
static void n14_strict_names(void **state)
{
	struct policy *p = must_load("{\"strict_names\": true, \"rules\": [{\"action\": \"allow\", "
				     "\"destination\": \"a.x\"}]}");
	struct policy_facts f = flow(POLICY_EGRESS, POLICY_UDP, "93.184.215.14", 443);
	struct name n = must_name("a.x");

	(void)state;
	f.name = POLICY_KNOWN;
	f.names = &n;
	f.n_names = 1;
	assert_true(allows(p, f));
	f.name_answered = true;
	assert_false(allows(p, f));
	policy_free(p);
}

/* ---- queries --------------------------------------------------------------------------------------- */

/* Parity: p1.6-any, p1.6-host, p1.6-name, p1.6-address, p1.6-default. */
static void p16_queries(void **state)
{
	static const struct {
		const char *rule;
		int match; /* the rule decides the query of a.x.y; 0: the default does */
	} table[] = {
		{ "\"destination\": \"*\"", 1 },
		{ "\"destination\": \"*\", \"port\": 53", 1 },
		{ "\"destination\": \"*\", \"protocol\": \"udp\"", 1 },
		{ "\"destination\": \"*\", \"port\": 443", 0 },
		{ "\"destination\": \"*\", \"protocol\": \"icmpv4\"", 0 },
		{ "\"destination\": \"host\"", 1 },
		{ "\"destination\": \"host\", \"port\": \"50-60\"", 1 },
		{ "\"destination\": \"host\", \"port\": 80", 0 },
		{ "\"destination\": \"a.x.y\"", 1 },
		{ "\"destination\": \".x.y\"", 1 },
		{ "\"destination\": \"*.x.y\"", 1 },
		{ "\"destination\": \"b.x.y\"", 0 },
		{ "\"destination\": \"public\"", 0 },
		{ "\"destination\": \"private\"", 0 },
		{ "\"destination\": \"0.0.0.0/0\"", 0 },
		{ "\"destination\": \"*\", \"direction\": \"ingress\"", 0 },
	};
	struct name n = must_name("a.x.y");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		for (int deny = 0; deny < 2; deny++) {
			struct policy *p;
			char text[256];

			snprintf(text,
				 sizeof(text), "{\"default_egress\": \"%s\", \"rules\": [{\"action\": \"%s\", %s}]}",
				 deny ? "allow" : "deny", deny ? "deny" : "allow", table[i].rule);
			p = must_load(text);
			if ((policy_decide_query(p, &n).rule == 0) != table[i].match)
				fail_msg("%s: not %d", text, table[i].match);
			policy_free(p);
		}
	/* An allow for some ports is enough to resolve; a deny for some does not take the name away. */
	struct policy *p = must_load(RULES("{\"action\": \"allow\", \"destination\": \"a.x.y\", "
					   "\"protocol\": \"tcp\", \"port\": 443}"));

	assert_int_equal(policy_decide_query(p, &n).answer, POLICY_ANSWER_ALLOW);
	policy_free(p);
	p = must_load("{\"default_egress\": \"allow\", \"rules\": [{\"action\": \"deny\", "
		      "\"destination\": \"a.x.y\", \"port\": 443}]}");
	assert_int_equal(policy_decide_query(p, &n).answer, POLICY_ANSWER_ALLOW);
	policy_free(p);
}

/*
 * A query's name that is no host name is judged by what is there for all: the default, or "any".
 * Parity: p1.6-odd-names.
 */
static void p16_a_name_the_rules_cannot_spell(void **state)
{
	struct policy *p = must_load(RULES("{\"action\": \"allow\", \"destination\": \".x.y\"}"));
	struct name n;

	(void)state;
	for (const char *const *s = (const char *const[]){ "a b.x.y", "a..x.y", "*.x.y", ".", NULL };
	     *s; s++)
		assert_int_not_equal(name_parse(*s, strlen(*s), &n, NULL), 0);
	n = must_name("x.y");
	assert_int_equal(policy_decide_query(p, &n).answer, POLICY_ANSWER_ALLOW);
	n = must_name("ax.y");
	assert_int_equal(policy_decide_query(p, &n).answer, POLICY_ANSWER_DENY);
	policy_free(p);
}

/* ---- from outside, and echo ---------------------------------------------------------------------- */

/*
 * Peer, guest port and protocol decide; a peer proves no name, so a deny by name holds for all.
 * Parity: p1.1-peer, p1.7-published, p1.7-names.
 */
static void p17_ingress(void **state)
{
	struct policy *p = must_load(
		"{\"default_ingress\": \"deny\", \"rules\": ["
		"{\"action\": \"allow\", \"direction\": \"ingress\", \"destination\": "
		"\"198.51.100.0/24\", \"protocol\": \"udp\", \"port\": 53},"
		"{\"action\": \"allow\", \"direction\": \"ingress\", \"destination\": \"a.x\"}]}");
	static const struct {
		enum policy_proto proto;
		const char *peer;
		uint16_t port;
		bool yes;
	} table[] = {
		{ POLICY_UDP, "198.51.100.1", 53, true },
		{ POLICY_UDP, "::ffff:198.51.100.1", 53, true },
		{ POLICY_UDP, "198.51.100.1", 54, false },
		{ POLICY_TCP, "198.51.100.1", 53, false },
		{ POLICY_UDP, "198.51.101.1", 53, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_int_equal(allows(p, flow(POLICY_INGRESS, table[i].proto, table[i].peer,
						table[i].port)),
				 table[i].yes);
	policy_free(p);
	assert_false(in("{\"rules\": [{\"action\": \"deny\", \"direction\": \"ingress\", "
			"\"destination\": \"a.x\"}]}",
			"198.51.100.1", 80));
}

/* The two words are the families': neither stands for the other. (p1.8-echo) */
static void p18_echo_by_family(void **state)
{
	struct policy *p = must_load(
		RULES("{\"action\": \"allow\", \"destination\": \"*\", \"protocol\": \"icmpv4\"}"));

	(void)state;
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_ICMPV4, "93.184.215.14", 0)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_ICMPV6, "2606:4700::1111", 0)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "93.184.215.14", 7)));
	policy_free(p);
}

/* ---- tokens ------------------------------------------------------------------------------------------ */

/* Parity: p1.6-dns-macro, p1.9-macro. */
static void n12_dns_macro(void **state)
{
	struct policy *p = composed((struct policy_flags){ .no_net = true }, "allow@dns");
	struct policy *q = composed((struct policy_flags){ .net = "public" }, "deny@dns");
	struct name n = must_name("a.x");
	struct policy_facts f = flow(POLICY_EGRESS, POLICY_UDP, "10.0.0.1", 53);

	(void)state;
	f.is_host = true;
	assert_int_equal(policy_decide_query(p, &n).answer, POLICY_ANSWER_ALLOW);
	assert_true(allows(p, f));
	f.port = 853;
	assert_false(allows(p, f));
	assert_int_equal(policy_decide_query(q, &n).answer, POLICY_ANSWER_DENY);
	policy_free(p);
	policy_free(q);
	refused_token("allow:ingress@dns", "egress only");
	refused_token("allow@dns:tcp:53", "give no ports");
}

/* Parity: p1.3-local. */
static void n12_local(void **state)
{
	same(composed((struct policy_flags){ .no_net = true }, "allow@local:tcp:8080"),
	     must_load("{\"default_ingress\": \"deny\", \"rules\": ["
		       "{\"action\": \"allow\", \"destination\": \"loopback\", \"protocol\": "
		       "\"tcp\", "
		       "\"port\": 8080},"
		       "{\"action\": \"allow\", \"destination\": \"link_local\", \"protocol\": "
		       "\"tcp\", "
		       "\"port\": 8080},"
		       "{\"action\": \"allow\", \"destination\": \"host\", \"protocol\": \"tcp\", "
		       "\"port\": 8080}]}"));
	struct policy *p = composed((struct policy_flags){ .no_net = true }, "allow@local");

	(void)state;
	assert_true(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "169.254.1.1", 80)));
	assert_false(allows(p, flow(POLICY_EGRESS, POLICY_TCP, "169.254.169.254", 80)));
	policy_free(p);
	refused_token("allow:any@local", "egress only");
	refused_token("allow@local:http", "unknown protocol");
	refused_token("allow@local:icmpv4:1", "ICMP has no ports");
	refused_token("allow@locla", "did you mean \"local\"?");
}

/* A hint for every word within two slips, short ones too. (p1.9-hints) */
static void n11_hints(void **state)
{
	static const struct {
		const char *token, *hint;
	} table[] = {
		{ "alow@public", "\"allow\"" },	     { "dney@public", "\"deny\"" },
		{ "deney@public", "\"deny\"" },	     { "allow:egess@public", "\"egress\"" },
		{ "allow:ayn@public", "\"any\"" },   { "allow:ingres@public", "\"ingress\"" },
		{ "allow@pubilc", "\"public\"" },    { "allow@pulbic", "\"public\"" },
		{ "allow@hots", "\"host\"" },	     { "allow@hst", "\"host\"" },
		{ "allow@mtea", "\"meta\"" },	     { "allow@dsn", "\"dns\"" },
		{ "allow@ayn", "\"any\"" },	     { "allow@dhoh", "\"doh\"" },
		{ "allow@loopbak", "\"loopback\"" }, { "allow@metdata", "\"metadata\"" },
		{ "allow@any:tpc", "\"tcp\"" },	     { "allow@any:upd", "\"udp\"" },
		{ "allow@any:tc", "\"tcp\"" },	     { "allow@any:icmp4", "\"icmpv4\"" },
	};
	char says[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(says, sizeof(says), "did you mean %s?", table[i].hint);
		refused_token(table[i].token, says);
	}
	refused_token("allow@host:443", "ports come after a protocol: \"host:tcp:443\"");
	refused_token("allow@example.com:443", "\"example.com:tcp:443\"");
	refused_token("allow@https://example.com/", "a target is no URL");
	refused_token("allow@2001:db8::1", "in brackets");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(p11_default_of_partial_json),
		cmocka_unit_test(n01_public_by_default),
		cmocka_unit_test(n02_no_network),
		cmocka_unit_test(n03_profiles_compose),
		cmocka_unit_test(n03_presets_take_no_rules),
		cmocka_unit_test(n04_first_match),
		cmocka_unit_test(n04_missing_means_any),
		cmocka_unit_test(n04_any_direction_in_both),
		cmocka_unit_test(n05_defaults_by_flag),
		cmocka_unit_test(n06_destinations),
		cmocka_unit_test(n07_groups_of_the_table),
		cmocka_unit_test(n07_host_before_all),
		cmocka_unit_test(n08_icmp_has_no_ports),
		cmocka_unit_test(n09_ports_are_the_services),
		cmocka_unit_test(n09_singular_and_plural_merged),
		cmocka_unit_test(n10_bulk_lists_prepended),
		cmocka_unit_test(n11_tokens_before_profiles),
		cmocka_unit_test(n11_hints),
		cmocka_unit_test(n12_dns_macro),
		cmocka_unit_test(n12_local),
		cmocka_unit_test(n13_canonical_names),
		cmocka_unit_test(n13_sources_of_a_name),
		cmocka_unit_test(n13_deny_without_waiting),
		cmocka_unit_test(n14_strict_names),
		cmocka_unit_test(p14_validated_at_every_entry),
		cmocka_unit_test(p16_queries),
		cmocka_unit_test(p16_a_name_the_rules_cannot_spell),
		cmocka_unit_test(p17_ingress),
		cmocka_unit_test(p18_echo_by_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
