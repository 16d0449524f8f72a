/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir policy explain: for one flow what the gateway would answer, name lookup
 * included: a name that may not be asked cannot be reached, and an internal
 * address that the policy does not open is not accepted as an answer. What the
 * user did not tell (address, request) is said to be assumed, never guessed
 * silently.
 */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "policy/policy.h"

#include <stdio.h>

const char policy_help_explain[] =
	"Usage: weir policy explain FILE|PRESET --to HOST:PORT[/tcp|udp] [OPTIONS]\n"
	"\n"
	"Says whether the flow would be allowed, by which rule, and why no earlier one.\n"
	"\n"
	"  --to HOST:PORT[/tcp|udp]  where to: a name, an IPv4 address or [IPv6]\n"
	"  --to HOST/icmp            an echo request\n"
	"  --ip ADDR                 the address of the name (else: some public one)\n"
	"  --gateway                 the address is the sandbox's gateway (group host)\n"
	"  --method M --path P       the HTTP request, for rules with http conditions\n"
	"  --json                    one JSON object\n"
	"\n"
	"Exit status: 0 allow, 1 deny, 2 error.\n"
	"\n"
	"Examples\n"
	"  weir policy explain public_only --to 169.254.169.254:80\n"
	"  weir policy explain agent.json --to api.example.com:443 \\\n"
	"                      --method GET --path /v1/me\n";

/* What is asked; texts point into argv. */
struct question {
	const char *policy;
	const char *to, *ip, *method, *path;
	bool json, gateway;

	struct authority host;
	enum policy_proto proto;
	struct ip_addr addr;
	bool addr_assumed;
	struct buf path_norm;
};

struct result {
	bool allow;
	bool conditional; /* depends on the request */
	bool by_no_name;  /* an address, and the flow could still show a name */
	struct policy_verdict v;
	struct policy_verdict dns; /* host is a name */
	bool answer_refused;	   /* --ip is internal and not opened by the policy */
	struct policy_step *steps;
	size_t n_steps;
};

/* ---- explain: the question ----------------------------------------------------- */

static int parse_args(int argc, char **argv, struct question *q)
{
	static const char *const names[] = { "--to",   "--ip",	 "--method",
					     "--path", "--json", "--gateway" };
	const char **values[] = { &q->to, &q->ip, &q->method, &q->path };

	for (int i = 1; i < argc; i++) {
		int r = 0;

		if (str_eq(argv[i], "--json")) {
			q->json = true;
			continue;
		}
		if (str_eq(argv[i], "--gateway")) {
			q->gateway = true;
			continue;
		}
		for (size_t k = 0; k < ARRAY_SIZE(values) && r == 0; k++) {
			r = policy_cmd_value(argc, argv, &i, names[k], values[k]);
			if (r < 0)
				return policy_cmd_complain("explain", "%s needs a value", names[k]);
		}
		if (r)
			continue;
		if (argv[i][0] == '-' && argv[i][1]) {
			const char *like = str_suggest(argv[i], names, ARRAY_SIZE(names));

			return policy_cmd_complain("explain", "unknown option %s%s%s%s", argv[i],
						   like ? "; did you mean " : "", like ? like : "",
						   like ? "?" : "");
		}
		if (q->policy)
			return policy_cmd_complain("explain",
						   "one FILE or PRESET only, not also %s", argv[i]);
		q->policy = argv[i];
	}
	if (!q->policy)
		return policy_cmd_complain("explain",
					   "which policy? give a FILE or PRESET, see --help");
	if (!q->to)
		return policy_cmd_complain("explain", "--to HOST:PORT is missing");
	return 0;
}

/* The part behind "/", cut off; the host's family decides between the two ICMPs. */
static int parse_to(struct question *q)
{
	const char *slash = strrchr(q->to, '/'), *why = NULL;
	size_t len = slash ? (size_t)(slash - q->to) : strlen(q->to);
	bool icmp = slash && str_eq(slash, "/icmp");

	if (slash && !icmp && !str_eq(slash, "/tcp") && !str_eq(slash, "/udp"))
		return policy_cmd_complain(
			"explain",
			"--to %s: HOST:PORT[/tcp|udp] or HOST/icmp; a URL's path goes to "
			"--path",
			q->to);
	q->proto = slash && str_eq(slash, "/udp") ? POLICY_UDP : POLICY_TCP;
	if (ip_parse(q->to, len, &q->host.addr, NULL) == 0)
		q->host.is_addr = true;
	else if (authority_parse(q->to, len, &q->host, &why) < 0)
		return policy_cmd_complain("explain", "--to %s: %s", q->to, why);
	if (!icmp && !q->host.port)
		return policy_cmd_complain("explain", "--to %s: a port is missing%s", q->to,
					   q->host.is_addr && q->host.addr.family == 6 && q->to[0] != '['
						   ? ": [ADDR]:PORT"
						   : "");
	if (icmp && q->host.port)
		return policy_cmd_complain("explain", "--to %s: ICMP has no port", q->to);
	if (icmp)
		q->proto = POLICY_ICMPV4;
	return 0;
}

static int parse_address(struct question *q, const struct policy *p)
{
	const char *why = NULL;

	if (q->host.is_addr && q->ip)
		return policy_cmd_complain("explain",
					   "--ip beside an address in --to: give one of them");
	if (q->gateway && !q->host.is_addr)
		return policy_cmd_complain("explain", "--gateway needs an address in --to");
	if (q->ip && ip_parse(q->ip, strlen(q->ip), &q->addr, &why) < 0)
		return policy_cmd_complain("explain", "--ip %s: %s", q->ip, why);
	if (q->host.is_addr)
		q->addr = q->host.addr;
	else if (!q->ip) {
		q->addr = policy_public_sample(p);
		q->addr_assumed = true;
	}
	if (q->proto == POLICY_ICMPV4 && q->addr.family == 6)
		q->proto = POLICY_ICMPV6;
	return 0;
}

static int parse_request(struct question *q)
{
	if (!q->method && !q->path)
		return 0;
	if (q->proto != POLICY_TCP)
		return policy_cmd_complain("explain", "--method and --path need /tcp");
	q->path = q->path ? q->path : "/";
	q->method = q->method ? q->method : "GET";
	if (policy_path_normalise(q->path, strlen(q->path), &q->path_norm) < 0)
		return policy_cmd_complain(
			"explain", "--path %s: can be read in two ways (such a request is refused)",
			q->path);
	return 0;
}

/* ---- explain: the answer ---------------------------------------------------------- */

/* The rule that would let a request pass, when it depends on the request. */
static void conditional_rule(struct result *r)
{
	for (size_t i = 0; i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		if (str_eq(s->outcome, "no match") || s->action != POLICY_ALLOW)
			continue;
		r->v.rule = s->rule;
		r->v.rule_id = s->rule_id;
		r->v.reason = NULL;
		return;
	}
	r->v.rule = -1;
	r->v.rule_id = r->v.reason = NULL;
}

static int answer(struct question *q, const struct policy *p, struct result *r)
{
	size_t n = policy_rule_count(p);
	struct policy_facts f = {
		.dir = POLICY_EGRESS,
		.proto = q->proto,
		.addr = q->addr,
		.is_host = q->gateway,
		.port = q->host.port,
		.name = q->host.is_addr ? POLICY_NONE : POLICY_KNOWN,
		.names = &q->host.name,
		.n_names = q->host.is_addr ? 0 : 1,
		.http = q->proto != POLICY_TCP ? POLICY_NONE
			: q->method	       ? POLICY_KNOWN
					       : POLICY_UNKNOWN,
		.method = q->method,
	};

	if (q->method) {
		f.path = buf_str(&q->path_norm);
		if (!f.path)
			return policy_cmd_complain("explain", "out of memory");
	}
	r->steps = calloc(n + 1, sizeof(*r->steps));
	if (!r->steps)
		return policy_cmd_complain("explain", "out of memory");
	if (q->host.is_addr && q->proto == POLICY_TCP) {
		f.name = POLICY_UNKNOWN;
		r->by_no_name = policy_decide(p, &f).answer == POLICY_ANSWER_NEED_NAME;
		f.name = POLICY_NONE;
	}
	r->v = policy_explain(p, &f, r->steps, n, &r->n_steps);
	r->allow = r->v.answer != POLICY_ANSWER_DENY;
	if (r->v.answer == POLICY_ANSWER_NEED_HTTP) {
		r->conditional = true;
		conditional_rule(r);
	}
	if (q->host.is_addr)
		return 0;
	r->dns = policy_decide_query(p, &q->host.name);
	r->answer_refused = !q->addr_assumed && !policy_answer_ok(p, &q->addr);
	if (r->dns.answer == POLICY_ANSWER_DENY) {
		if (r->allow)
			r->v = r->dns;
		r->allow = r->conditional = false;
	} else if (r->answer_refused && r->allow) {
		r->v = (struct policy_verdict){ .answer = POLICY_ANSWER_DENY, .rule = -1 };
		r->allow = r->conditional = false;
	}
	return 0;
}

static const char *group_text(const struct question *q)
{
	return policy_group_name(q->gateway ? POLICY_GROUP_HOST : policy_group_of(&q->addr));
}

static const char *proto_text(enum policy_proto p)
{
	return p == POLICY_TCP ? "tcp" : p == POLICY_UDP ? "udp" : "icmp";
}

/* "3 (gh-read)", "default". */
static const char *rule_text(int rule, const char *id, char *out, size_t size)
{
	if (rule < 0)
		snprintf(out, size, "default");
	else if (id)
		snprintf(out, size, "%d (%s)", rule, id);
	else
		snprintf(out, size, "%d", rule);
	return out;
}

static void print_text(const struct question *q, const struct result *r)
{
	char ip[IP_STRLEN], rule[128];

	printf("%s  %.*s/%s\n", r->allow ? "allow" : "deny", (int)strcspn(q->to, "/"), q->to,
	       proto_text(q->proto));
	printf("  rule     %s%s%s\n", rule_text(r->v.rule, r->v.rule_id, rule, sizeof(rule)),
	       r->v.reason ? ": " : "", r->v.reason ? r->v.reason : "");
	if (!q->host.is_addr)
		printf("  name     %s: %s (rule %s)\n", q->host.name.s,
		       r->dns.answer == POLICY_ANSWER_ALLOW ? "may be asked"
							    : "may not be asked: not reachable",
		       rule_text(r->dns.rule, r->dns.rule_id, rule, sizeof(rule)));
	printf("  address  %s, group %s%s\n", ip_format(&q->addr, ip), group_text(q),
	       q->addr_assumed ? " (not given: stands for some public address; tell with --ip)" : "");
	if (r->answer_refused)
		printf("           no rule opens this address, so it is not accepted as the "
		       "answer for a name (rebinding)\n");
	if (r->by_no_name)
		printf("  note     judged as a flow that shows no name (TLS, HTTP); one that shows "
		       "a name is judged by it\n");
	if (r->conditional)
		printf("  note     depends on the HTTP request: tell with --method and --path\n");
	for (size_t i = 0; i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		printf("  %s %-8s %-5s  %-8s  %s\n", i ? "     " : "tried",
		       rule_text(s->rule, s->rule_id, rule, sizeof(rule)),
		       s->action == POLICY_ALLOW ? "allow" : "deny", s->outcome, s->why);
	}
}

static json_t *rule_json(int rule, const char *id)
{
	return rule < 0 ? json_null() : id ? json_string(id) : json_integer(rule);
}

static json_t *trace_json(const struct result *r)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		json_array_append_new(list, json_pack("{s:o, s:i, s:s, s:s, s:s}", "rule",
						      rule_json(s->rule, s->rule_id), "index",
						      s->rule, "action",
						      s->action == POLICY_ALLOW ? "allow" : "deny",
						      "outcome", s->outcome, "why", s->why));
	}
	return list;
}

static json_t *result_json(const struct question *q, const struct result *r)
{
	char ip[IP_STRLEN];
	json_t *dns = json_null();

	if (!q->host.is_addr)
		dns = json_pack("{s:s, s:s, s:o, s:b}", "name", q->host.name.s, "verdict",
				r->dns.answer == POLICY_ANSWER_ALLOW ? "allow" : "deny", "rule",
				rule_json(r->dns.rule, r->dns.rule_id), "answer_refused",
				r->answer_refused);
	return json_pack(
		"{s:s, s:o, s:s?, s:i, s:b, s:b, s:{s:s, s:s, s:b, s:s, s:i, s:s}, s:o, s:o}",
		"verdict", r->allow ? "allow" : "deny", "rule", rule_json(r->v.rule, r->v.rule_id),
		"reason", r->v.reason, "generation", 1, "conditional", r->conditional,
		"depends_on_name", r->by_no_name, "flow", "to", q->to, "address",
		ip_format(&q->addr, ip), "address_assumed", q->addr_assumed, "group", group_text(q),
		"port", q->host.port, "protocol", proto_text(q->proto), "dns", dns, "trace",
		trace_json(r));
}

static int print_json(const struct question *q, const struct result *r)
{
	json_t *o = result_json(q, r);
	int err = o ? json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2)) : -1;

	json_decref(o);
	if (err < 0)
		return policy_cmd_complain("explain", "cannot write the answer as JSON");
	putchar('\n');
	return 0;
}

static int explain(struct question *q)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	struct result r = { 0 };
	int e;

	if (policy_load_file_or_preset(q->policy, &p, &err) < 0)
		return policy_cmd_complain("explain", "%s", err.text);
	e = parse_to(q);
	if (e == 0)
		e = parse_address(q, p);
	if (e == 0)
		e = parse_request(q);
	if (e == 0)
		e = answer(q, p, &r);
	if (e == 0 && q->json)
		e = print_json(q, &r);
	else if (e == 0)
		print_text(q, &r);
	free(r.steps);
	policy_free(p);
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("explain", "cannot write: %s", strerror(errno));
	return e ? e : r.allow ? EXIT_ALLOW : EXIT_DENY;
}

int policy_cmd_explain(int argc, char **argv)
{
	struct question q = { .path_norm = BUF_INIT(256 * 1024) };
	int e = parse_args(argc, argv, &q);

	if (e == 0)
		e = explain(&q);
	buf_fini(&q.path_norm);
	return e;
}
