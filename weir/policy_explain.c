/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy explain: one question, its answer, and why no earlier rule gave another. */
#include "weir/policy_cmd.h"

#include "weir/policy_ask.h"

#include <stdio.h>

const char policy_help_explain[] =
	"Usage: weir policy explain FILE|PRESET --to HOST:PORT[/tcp|udp] [OPTIONS]\n"
	"       weir policy explain FILE|PRESET --to NAME --dns [TYPE]\n"
	"\n"
	"Says whether the flow would be allowed, by which rule, and why no earlier one;\n"
	"with --dns the same of a query for the name.\n"
	"\n"
	"  --to HOST:PORT[/tcp|udp]  where to: a name, an IPv4 address or [IPv6]\n"
	"  --to HOST/icmp            an echo request\n"
	"  --ip ADDR                 the address of the name (else: some public one)\n"
	"  --gateway                 the address is the sandbox's gateway (group host)\n"
	"  --method M --path P       the HTTP request, for rules with http conditions\n"
	"  --dns [TYPE]              the query for the name, of type A, AAAA, MX, ...\n"
	"  --floor FILE              an operator's floor: what passes must pass both\n"
	"  --json                    one JSON object\n"
	"\n"
	"Exit status: 0 allow, 1 deny, 2 error.\n"
	"\n"
	"Examples\n"
	"  weir policy explain public_only --to 169.254.169.254:80\n"
	"  weir policy explain agent.json --to mail.example.com --dns MX\n"
	"  weir policy explain agent.json --to api.example.com:443 \\\n"
	"                      --method GET --path /v1/me\n";

struct args {
	const char *policy, *floor;
	bool json;
	struct policy_ask q;
};

/* ---- the question ------------------------------------------------------------------ */

/* The type is optional: only a word that is one is taken. 1: taken, 0: not this option. */
static int dns_option(int argc, char **argv, int *i, struct policy_ask *q)
{
	const char *arg = argv[*i];

	if (!str_eq(arg, "--dns") && !str_starts(arg, "--dns="))
		return 0;
	q->query = true;
	if (arg[5] == '=')
		q->type = arg + 6;
	else if (*i + 1 < argc && policy_ask_is_type(argv[*i + 1]))
		q->type = argv[++*i];
	return 1;
}

static int parse_args(int argc, char **argv, struct args *a)
{
	static const char *const names[] = { "--to",	"--ip",	  "--method",  "--path",
					     "--floor", "--json", "--gateway", "--dns" };
	const char **values[] = { &a->q.to, &a->q.ip, &a->q.method, &a->q.path, &a->floor };

	for (int i = 1; i < argc; i++) {
		int r = dns_option(argc, argv, &i, &a->q);

		if (str_eq(argv[i], "--json"))
			r = a->json = true;
		else if (str_eq(argv[i], "--gateway"))
			r = a->q.gateway = true;
		for (size_t k = 0; k < ARRAY_SIZE(values) && r == 0; k++) {
			r = policy_cmd_value(argc, argv, &i, names[k], values[k]);
			if (r < 0)
				return policy_cmd_complain("explain", "%s needs a value", names[k]);
		}
		if (r)
			continue;
		if (argv[i][0] == '-' && argv[i][1])
			return policy_cmd_unknown("explain", argv[i], names, ARRAY_SIZE(names));
		if (a->policy)
			return policy_cmd_complain("explain", "one argument too many: %s", argv[i]);
		a->policy = argv[i];
	}
	if (!a->policy)
		return policy_cmd_complain("explain",
					   "which policy? give a FILE or PRESET, see --help");
	if (!a->q.to)
		return policy_cmd_complain("explain", "--to HOST:PORT is missing");
	return 0;
}

/* "--to x: a port is missing" */
static int complain(const struct policy_ask *q, const struct policy_ask_error *err)
{
	const struct {
		const char *field, *option, *value;
	} fields[] = {
		{ "to", "--to", q->to },
		{ "ip", "--ip", q->ip },
		{ "method", "--method", q->method },
		{ "path", "--path", q->path },
		{ "type", "--dns", q->type },
		{ "gateway", "--gateway", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (err->field && str_eq(err->field, fields[i].field))
			return policy_cmd_complain("explain", "%s%s%s: %s", fields[i].option,
						   fields[i].value ? " " : "",
						   fields[i].value ? fields[i].value : "", err->text);
	return policy_cmd_complain("explain", "%s", err->text);
}

/* ---- as text ----------------------------------------------------------------------- */

static const char *group_text(const struct policy_ask *q)
{
	return policy_group_name(q->gateway ? POLICY_GROUP_HOST : policy_group_of(&q->addr));
}

static void print_rule(const struct policy_verdict *v)
{
	char rule[160];

	printf("  rule     %s%s%s%s\n",
	       policy_rule_text(v->floor, v->rule, v->rule_id, rule, sizeof(rule)),
	       v->rule < 0 ? ": no rule matched" : "", v->reason ? ": " : "",
	       v->reason ? v->reason : "");
}

static void print_steps(const struct policy_reply *r)
{
	char rule[160];

	for (size_t i = 0; i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		printf("  %s %-8s %-5s  %-8s  %s\n", i ? "     " : "tried",
		       policy_rule_text(s->floor, s->rule, s->rule_id, rule, sizeof(rule)),
		       s->action == POLICY_ALLOW ? "allow" : "deny", s->outcome, s->why);
	}
}

static void print_query(const struct policy_ask *q, const struct policy_reply *r)
{
	printf("%s  %s %s (query)\n", r->allow ? "allow" : "deny", q->host.name.s, q->type);
	print_rule(&r->v);
	if (r->by_host)
		printf("  note     a service's name: it is judged by its host, %s\n", r->subject.s);
	if (r->type_refused)
		printf("  type     the name may be asked, but %s is answered empty: %s\n", q->type,
		       str_eq(q->type, "MX") || str_eq(q->type, "SRV") || str_eq(q->type, "TXT")
			       ? "a rule for the name may open it with \"qtypes\""
			       : "weir asks for A, AAAA, HTTPS and SVCB");
	else if (r->allow)
		printf("  note     the answer is judged too: internal addresses that no rule opens "
		       "are "
		       "left out, and so is what hides behind an alias that is denied\n");
	print_steps(r);
}

static void print_flow(const struct policy_ask *q, const struct policy_reply *r)
{
	char ip[IP_STRLEN], rule[160];

	printf("%s  %.*s/%s\n", r->allow ? "allow" : "deny", (int)strcspn(q->to, "/"), q->to,
	       policy_proto_text(q->proto));
	print_rule(&r->v);
	if (!q->host.is_addr)
		printf("  name     %s: %s (rule %s)\n", q->host.name.s,
		       r->dns.answer == POLICY_ANSWER_ALLOW ? "may be asked"
							    : "may not be asked: not reachable",
		       policy_rule_text(r->dns.floor, r->dns.rule, r->dns.rule_id, rule,
					sizeof(rule)));
	printf("  address  %s, group %s%s\n", ip_format(&q->addr, ip), group_text(q),
	       q->addr_assumed ? " (not given: stands for some public address; tell with --ip)" : "");
	if (r->answer_refused)
		printf("           no rule opens this address, so it is not accepted as the "
		       "answer for a name (rebinding)\n");
	if (r->intercepted)
		printf("  note     port 53 is intercepted: weir answers each query itself, "
		       "whatever "
		       "address it goes to, and judges the name in it (--dns); no packet reaches "
		       "the address\n");
	if (r->by_no_name)
		printf("  note     judged as a flow that shows no name (TLS, HTTP); one that shows "
		       "a name is judged by it\n");
	if (r->conditional)
		printf("  note     depends on the HTTP request: tell with --method and --path\n");
	print_steps(r);
}

/* ---- as JSON ------------------------------------------------------------------------- */

static json_t *rule_json(int rule, const char *id)
{
	return rule < 0 ? json_null() : id ? json_string(id) : json_integer(rule);
}

static json_t *trace_json(const struct policy_reply *r)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		json_array_append_new(list, json_pack("{s:o, s:i, s:b, s:s, s:s, s:s}", "rule",
						      rule_json(s->rule, s->rule_id), "index",
						      s->rule, "floor", s->floor, "action",
						      s->action == POLICY_ALLOW ? "allow" : "deny",
						      "outcome", s->outcome, "why", s->why));
	}
	return list;
}

static json_t *query_json(const struct policy_ask *q, const struct policy_reply *r)
{
	return json_pack("{s:s, s:s, s:b}", "name", q->host.name.s, "type", q->type, "type_served",
			 !r->type_refused);
}

static json_t *flow_json(const struct policy_ask *q)
{
	char ip[IP_STRLEN];

	return json_pack("{s:s, s:s, s:b, s:s, s:i, s:s}", "to", q->to, "address",
			 ip_format(&q->addr, ip), "address_assumed", q->addr_assumed, "group",
			 group_text(q), "port", q->host.port, "protocol",
			 policy_proto_text(q->proto));
}

static json_t *dns_json(const struct policy_ask *q, const struct policy_reply *r)
{
	if (q->host.is_addr)
		return json_null();
	return json_pack("{s:s, s:s, s:o, s:b}", "name", q->host.name.s, "verdict",
			 r->dns.answer == POLICY_ANSWER_ALLOW ? "allow" : "deny", "rule",
			 rule_json(r->dns.rule, r->dns.rule_id), "answer_refused", r->answer_refused);
}

static json_t *reply_json(const struct policy_ask *q, const struct policy_reply *r)
{
	json_t *o = json_pack("{s:s, s:o, s:s?, s:b, s:i}", "verdict", r->allow ? "allow" : "deny",
			      "rule", rule_json(r->v.rule, r->v.rule_id), "reason", r->v.reason,
			      "floor", r->v.floor, "generation", 1);

	if (!o)
		return NULL;
	if (q->query) {
		json_object_set_new(o, "query", query_json(q, r));
	} else {
		json_object_set_new(o, "conditional", json_boolean(r->conditional));
		json_object_set_new(o, "depends_on_name", json_boolean(r->by_no_name));
		json_object_set_new(o, "intercepted", json_boolean(r->intercepted));
		json_object_set_new(o, "flow", flow_json(q));
		json_object_set_new(o, "dns", dns_json(q, r));
	}
	json_object_set_new(o, "trace", trace_json(r));
	return o;
}

/* ---- the command ------------------------------------------------------------------------ */

static int show(const struct args *a, const struct policy_reply *r)
{
	json_t *o;
	int e = 0;

	if (a->json) {
		o = reply_json(&a->q, r);
		e = policy_cmd_json("explain", o);
		json_decref(o);
	} else if (a->q.query) {
		print_query(&a->q, r);
	} else {
		print_flow(&a->q, r);
	}
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("explain", "cannot write: %s", strerror(errno));
	return e;
}

static int explain(struct args *a)
{
	struct policy_ask_error err;
	struct policy_reply r = { 0 };
	struct policy *p = NULL;
	int e = policy_cmd_load("explain", a->policy, a->floor, &p);

	if (e)
		return e;
	if (policy_ask_read(&a->q, p, &err) < 0)
		e = complain(&a->q, &err);
	else if (policy_ask_answer(&a->q, p, &r) < 0)
		e = policy_cmd_complain("explain", "out of memory");
	else
		e = show(a, &r);
	policy_reply_fini(&r);
	policy_free(p);
	return e ? e : r.allow ? EXIT_ALLOW : EXIT_DENY;
}

int policy_cmd_explain(int argc, char **argv)
{
	struct args a = { .q = POLICY_ASK_INIT };
	int e = parse_args(argc, argv, &a);

	if (e == 0)
		e = explain(&a);
	policy_ask_fini(&a.q);
	return e;
}
