/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the words of a question to facts, and from facts to what the gateway
 * would do: a name that may not be asked cannot be reached, and an internal
 * address that the policy does not open is not accepted as an answer. What the
 * user did not tell (address, request) is assumed openly, never guessed.
 */
#include "weir/policy_ask.h"

#include "base/base.h"

#include <stdio.h>

void policy_ask_fini(struct policy_ask *q)
{
	buf_fini(&q->path_norm);
}

void policy_reply_fini(struct policy_reply *r)
{
	free(r->steps);
	r->steps = NULL;
}

/* ---- the question --------------------------------------------------------------- */

static int bad(struct policy_ask_error *err, const char *field, const char *fmt, ...)
	printf_like(3, 4);

static int bad(struct policy_ask_error *err, const char *field, const char *fmt, ...)
{
	va_list ap;

	err->field = field;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool is_icmp(const struct policy_ask *q)
{
	return q->proto == POLICY_ICMPV4 || q->proto == POLICY_ICMPV6;
}

/* The part behind "/", cut off; the host's family decides between the two ICMPs. */
static int read_to(struct policy_ask *q, struct policy_ask_error *err)
{
	const char *slash = strrchr(q->to, '/'), *why = NULL;
	size_t len = slash ? (size_t)(slash - q->to) : strlen(q->to);
	bool icmp = slash && str_eq(slash, "/icmp");

	if (slash && !icmp && !str_eq(slash, "/tcp") && !str_eq(slash, "/udp"))
		return bad(err, "to",
			   "HOST:PORT[/tcp|udp] or HOST/icmp; a URL's path is told on its own");
	q->proto = slash && str_eq(slash, "/udp") ? POLICY_UDP : POLICY_TCP;
	if (ip_parse(q->to, len, &q->host.addr, NULL) == 0)
		q->host.is_addr = true;
	else if (authority_parse(q->to, len, &q->host, &why) < 0)
		return bad(err, "to", "%s", why);
	if (!icmp && !q->host.port)
		return bad(err, "to", "a port is missing%s",
			   q->host.is_addr && q->host.addr.family == 6 && q->to[0] != '['
				   ? ": [ADDR]:PORT"
				   : ": HOST:PORT");
	if (icmp && q->host.port)
		return bad(err, "to", "ICMP has no port");
	if (icmp)
		q->proto = POLICY_ICMPV4;
	return 0;
}

static int read_direction(struct policy_ask *q, struct policy_ask_error *err)
{
	if (!q->ingress)
		return 0;
	if (!q->host.is_addr)
		return bad(
			err, "to",
			"the peer of an ingress flow is an address; its name is told on its own");
	if (is_icmp(q))
		return bad(err, "to", "an ingress flow is tcp or udp");
	if (q->method || q->path)
		return bad(err, q->method ? "method" : "path",
			   "requests into the sandbox are not read");
	return 0;
}

static int read_address(struct policy_ask *q, const struct policy *p, struct policy_ask_error *err)
{
	const char *why = NULL;

	if (q->host.is_addr && q->ip)
		return bad(err, "ip", "beside an address: give one of them");
	if (q->name && !q->host.is_addr)
		return bad(err, "name", "beside a name: give one of them");
	if (q->gateway && !q->host.is_addr)
		return bad(err, "gateway", "needs an address to go with");
	if (q->ip && ip_parse(q->ip, strlen(q->ip), &q->addr, &why) < 0)
		return bad(err, "ip", "%s", why);
	if (q->name && name_parse(q->name, strlen(q->name), &q->shown, &why) < 0)
		return bad(err, "name", "%s", why);
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

static int read_request(struct policy_ask *q, struct policy_ask_error *err)
{
	if (!q->method && !q->path)
		return 0;
	if (q->proto != POLICY_TCP)
		return bad(err, q->method ? "method" : "path", "a request needs tcp");
	q->path = q->path ? q->path : "/";
	q->method = q->method ? q->method : "GET";
	buf_reset(&q->path_norm);
	if (policy_path_normalise(q->path, strlen(q->path), &q->path_norm) < 0)
		return bad(err, "path", "can be read in two ways (such a request is refused)");
	return 0;
}

static int read_query(struct policy_ask *q, struct policy_ask_error *err)
{
	const char *why = NULL;

	if (q->ip || q->name || q->method || q->path || q->gateway || q->ingress)
		return bad(err, NULL, "a query has a name and a type, nothing else");
	if (name_parse(q->to, strlen(q->to), &q->host.name, &why) < 0)
		return bad(err, "to", "%s (of a query the name alone is told)", why);
	q->type = q->type ? q->type : "A";
	if (!policy_ask_is_type(q->type))
		return bad(err, "type",
			   "no type of a query; A, AAAA, HTTPS, SVCB, MX, SRV, TXT, PTR, TYPEn");
	return 0;
}

int policy_ask_read(struct policy_ask *q, const struct policy *p, struct policy_ask_error *err)
{
	int e;

	*err = (struct policy_ask_error){ 0 };
	if (q->query)
		return read_query(q, err);
	e = read_to(q, err);
	if (e == 0)
		e = read_direction(q, err);
	if (e == 0)
		e = read_address(q, p, err);
	if (e == 0)
		e = read_request(q, err);
	return e;
}

/* ---- types of queries ------------------------------------------------------------- */

static const struct {
	const char *word;
	uint16_t number;
	enum policy_qtype by_rule; /* asked only where a rule says so */
	bool always;
} types[] = {
	{ "A", 1, 0, true },
	{ "AAAA", 28, 0, true },
	{ "HTTPS", 65, 0, true },
	{ "SVCB", 64, 0, true },
	{ "MX", 15, POLICY_QTYPE_MX, false },
	{ "SRV", 33, POLICY_QTYPE_SRV, false },
	{ "TXT", 16, POLICY_QTYPE_TXT, false },
	{ "PTR", 12, 0, false },
	{ "ANY", 255, 0, false },
	{ "CNAME", 5, 0, false },
	{ "NS", 2, 0, false },
	{ "SOA", 6, 0, false },
	{ "CAA", 257, 0, false },
	{ "NULL", 10, 0, false },
	{ "DNSKEY", 48, 0, false },
	{ "DS", 43, 0, false },
};

bool policy_ask_read_type(const char *word, uint16_t *ret)
{
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(word, types[i].word)) {
			*ret = types[i].number;
			return true;
		}
	if (!str_starts(word, "TYPE") ||
	    uint_parse(word + 4, strlen(word + 4), 0, UINT16_MAX, &n, NULL) < 0)
		return false;
	*ret = (uint16_t)n;
	return true;
}

bool policy_ask_is_type(const char *word)
{
	uint16_t number;

	return policy_ask_read_type(word, &number);
}

bool policy_ask_type_served(const struct policy *p, const struct name *n, const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(type, types[i].word))
			return types[i].always ||
			       (types[i].by_rule && policy_query_type(p, n, types[i].by_rule));
	return false;
}

/* ---- the answer --------------------------------------------------------------------- */

/* The rule that would let a request pass, when it depends on the request. */
static void conditional_rule(struct policy_reply *r)
{
	for (size_t i = 0; i < r->n_steps; i++) {
		const struct policy_step *s = &r->steps[i];

		if (str_eq(s->outcome, "no match") || s->action != POLICY_ALLOW)
			continue;
		r->v.rule = s->rule;
		r->v.rule_id = s->rule_id;
		r->v.floor = s->floor;
		r->v.reason = NULL;
		return;
	}
	r->v.rule = -1;
	r->v.rule_id = r->v.reason = NULL;
}

static struct policy_facts facts_of(const struct policy_ask *q, const char *path)
{
	const struct name *name = !q->host.is_addr ? &q->host.name
				  : q->shown.len   ? &q->shown
						   : NULL;

	return (struct policy_facts){
		.dir = q->ingress ? POLICY_INGRESS : POLICY_EGRESS,
		.proto = q->proto,
		.addr = q->addr,
		.is_host = q->gateway,
		.port = q->host.port,
		.name = name ? POLICY_KNOWN : POLICY_NONE,
		.names = name,
		.n_names = name != NULL,
		.http = q->proto != POLICY_TCP || q->ingress ? POLICY_NONE
			: q->method			     ? POLICY_KNOWN
							     : POLICY_UNKNOWN,
		.method = q->method,
		.path = path,
	};
}

static void answer_flow(const struct policy_ask *q, const struct policy *p, struct policy_facts *f,
			size_t max, struct policy_reply *r)
{
	if (f->name == POLICY_NONE && q->proto == POLICY_TCP && !q->ingress) {
		f->name = POLICY_UNKNOWN;
		r->by_no_name = policy_decide(p, f).answer == POLICY_ANSWER_NEED_NAME;
		f->name = POLICY_NONE;
	}
	r->intercepted = !q->ingress && q->host.port == 53 && !is_icmp(q);
	r->v = policy_explain(p, f, r->steps, max, &r->n_steps);
	r->allow = r->v.answer != POLICY_ANSWER_DENY;
	if (r->v.answer == POLICY_ANSWER_NEED_HTTP) {
		r->conditional = true;
		conditional_rule(r);
	}
	if (q->host.is_addr)
		return;
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
}

int policy_ask_answer(struct policy_ask *q, const struct policy *p, struct policy_reply *ret)
{
	const struct policy *floor = policy_floor(p);
	size_t rules = policy_rule_count(p) + (floor ? policy_rule_count(floor) : 0);
	size_t max = MIN(rules + 1, (size_t)POLICY_EXPLAIN_ENOUGH);
	struct policy_reply r = { 0 };
	struct policy_facts f;
	const char *path = NULL;

	if (q->method && !(path = buf_str(&q->path_norm)))
		return -ENOMEM;
	r.steps = calloc(max, sizeof(*r.steps));
	if (!r.steps)
		return -ENOMEM;
	if (q->query) {
		uint16_t type = 0;

		(void)policy_ask_read_type(q->type, &type);
		r.by_host = policy_query_subject(p, &q->host.name, type, &r.subject);
		r.v = r.dns = policy_explain_query(p, &r.subject, r.steps, max, &r.n_steps);
		r.allow = r.v.answer == POLICY_ANSWER_ALLOW;
		r.type_refused = r.allow && !policy_ask_type_served(p, &r.subject, q->type);
		r.allow = r.allow && !r.type_refused;
	} else {
		f = facts_of(q, path);
		answer_flow(q, p, &f, max, &r);
	}
	*ret = r;
	return 0;
}

/* ---- texts ----------------------------------------------------------------------------- */

const char *policy_proto_text(enum policy_proto p)
{
	return p == POLICY_TCP ? "tcp" : p == POLICY_UDP ? "udp" : "icmp";
}

const char *policy_rule_text(bool floor, int rule, const char *id, char *out, size_t size)
{
	const char *whose = floor ? "the floor's " : "";

	if (rule < 0)
		snprintf(out, size, "%sdefault", whose);
	else if (id)
		snprintf(out, size, "%s%d (%s)", whose, rule, id);
	else
		snprintf(out, size, "%s%d", whose, rule);
	return out;
}

/* The step of the rule that decided says it best. */
static const char *deciding_why(const struct policy_reply *r)
{
	for (size_t i = r->n_steps; i-- > 0;)
		if (r->steps[i].rule == r->v.rule && r->steps[i].floor == r->v.floor)
			return r->steps[i].why;
	return "";
}

const char *policy_reply_why(const struct policy_ask *q, const struct policy_reply *r, char *out,
			     size_t size)
{
	const char *why = deciding_why(r);

	if (r->type_refused)
		snprintf(out, size, "the name may be asked, but not for type %s", q->type);
	else if (!q->query && !q->host.is_addr && r->dns.answer == POLICY_ANSWER_DENY)
		snprintf(out, size, "the name may not be asked");
	else if (r->answer_refused)
		snprintf(out, size, "no rule opens the address, so it is no answer for a name");
	else if (r->conditional)
		snprintf(out, size, "depends on the HTTP request");
	else if (r->v.rule < 0)
		snprintf(out, size, "no rule matched");
	else
		snprintf(out, size, "%s%s%s", why, r->v.reason && why[0] ? "; " : "",
			 r->v.reason ? r->v.reason : "");
	return out;
}
