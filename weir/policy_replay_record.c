/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recorded run judged again under another policy.
 *
 * Every decision of the record that a policy made is turned back into the facts
 * it rested on: the flow events' own members, and the addresses that the record's
 * dns events say were handed out for a name. What a policy did not decide (a
 * limit, a failure, a packet that is never carried) and what the record does not
 * tell is counted apart, never guessed.
 *
 * The record may come from anybody; see record_read.h.
 */
#include "weir/policy_cmd.h"
#include "weir/replay.h"

#include "base/base.h"
#include "weir/addresses.h"
#include "weir/policy_ask.h"
#include "weir/record_read.h"

#include <stdio.h>

struct replay {
	const struct policy *policy;
	struct record_names names;
	struct record_flows flows;
	struct replay_report report;
	uint64_t assumed; /* decisions on an address that the record does not tell */
};

/* ---- what an event says ------------------------------------------------------------- */

/* Whose verdict the recorded one was; printable. */
static void was_by(const json_t *e, char *out, size_t size)
{
	const char *rule = audit_get(e, "rule");
	bool observed = str_eq(audit_get(e, "observed"), "deny");
	char text[300];

	snprintf(text, sizeof(text), "%s%s%s", str_eq(rule, "default") ? "" : "rule ", rule,
		 observed ? ", which would have denied it (observed)" : "");
	log_quote(text, strlen(text), out, size);
}

/*
 * Did a policy decide this, and can it be judged again? Else it is counted apart,
 * and *ret is untouched.
 */
static bool is_decision(struct replay *r, const json_t *e, const char *unit, struct replay_item *ret)
{
	enum audit_verdict v = audit_verdict_of(e);
	const char *detail = audit_get(e, "detail");
	char why[160];

	if (v == AUDIT_V_FAIL) {
		snprintf(why, sizeof(why), "%s: failed on the way, whatever the policy", unit);
		replay_report_apart(&r->report, why, audit_count_of(e));
		return false;
	}
	if (v != AUDIT_V_ALLOW && v != AUDIT_V_DENY)
		return false;
	if (!audit_get(e, "rule")[0]) {
		snprintf(why, sizeof(why), "%s: %s by no rule%s%.80s", unit,
			 v == AUDIT_V_ALLOW ? "answered" : "refused", detail[0] ? ": " : "", detail);
		replay_report_apart(&r->report, why, audit_count_of(e));
		return false;
	}
	*ret = (struct replay_item){
		.unit = unit,
		.was = v == AUDIT_V_ALLOW ? REPLAY_ALLOW : REPLAY_DENY,
		.count = audit_count_of(e),
	};
	was_by(e, ret->was_by, sizeof(ret->was_by));
	return true;
}

static void apart(struct replay *r, const char *unit, const char *why, const json_t *e)
{
	char text[160];

	snprintf(text, sizeof(text), "%s: %s", unit, why);
	replay_report_apart(&r->report, text, audit_count_of(e));
}

static void done(struct replay *r, struct replay_item *item, const struct policy_verdict *v)
{
	item->now = replay_now_of(v);
	replay_by(v, item->now_by, sizeof(item->now_by));
	replay_report_add(&r->report, item);
}

static void done_depends(struct replay *r, struct replay_item *item, const char *on)
{
	item->now = REPLAY_DEPENDS;
	snprintf(item->now_by, sizeof(item->now_by), "%s", on);
	replay_report_add(&r->report, item);
}

/* ---- dns -------------------------------------------------------------------------------- */

/* Would some of the addresses be accepted as an answer? No address at all: yes. */
struct answers {
	const struct policy *policy;
	bool any, ok;
};

static void look_at_answer(void *ctx, const struct ip_addr *a)
{
	struct answers *s = ctx;

	s->any = true;
	s->ok |= policy_answer_ok(s->policy, a);
}

static bool some_answer_ok(const struct policy *p, const json_t *e)
{
	struct answers s = { .policy = p };

	record_each_ip(e, "answers", look_at_answer, &s);
	return s.ok || !s.any;
}

static void judge_rebind(struct replay *r, const json_t *e, struct replay_item *item,
			 const struct policy_verdict *v)
{
	struct policy_verdict now = *v;

	snprintf(item->was_by, sizeof(item->was_by), "the filter of internal answers");
	item->count = 1;
	item->unit = "query";
	item->was = REPLAY_DENY;
	if (v->answer == POLICY_ANSWER_ALLOW && !some_answer_ok(r->policy, e)) {
		item->now = REPLAY_DENY;
		snprintf(item->now_by, sizeof(item->now_by), "the filter of internal answers");
		replay_report_add(&r->report, item);
		return;
	}
	done(r, item, &now);
}

static void take_dns(struct replay *r, const json_t *e)
{
	bool rebind = str_eq(audit_get(e, "result"), "rebind");
	bool reverse = str_eq(audit_get(e, "detail"), "virtual address");
	struct replay_item item = { 0 };
	struct policy_verdict v;
	struct name name;

	if (reverse) {
		apart(r, "query", "answered by weir itself: its own addresses", e);
		return;
	}
	if (!rebind && !is_decision(r, e, "query", &item))
		return;
	if (!record_get_name(e, "name", &name)) {
		apart(r, "query", "the name is not one", e);
		return;
	}
	if (audit_verdict_of(e) == AUDIT_V_ALLOW)
		record_names_learn(&r->names, e, &name);
	snprintf(item.what, sizeof(item.what), "%s", name.s);
	v = policy_decide_query(r->policy, &name);
	if (rebind) {
		judge_rebind(r, e, &item, &v);
	} else if (item.was == REPLAY_ALLOW && v.answer == POLICY_ANSWER_ALLOW &&
		   !record_is_own_answer(e) && !some_answer_ok(r->policy, e)) {
		item.now = REPLAY_DENY;
		snprintf(item.now_by, sizeof(item.now_by), "the filter of internal answers");
		replay_report_add(&r->report, &item);
	} else {
		done(r, &item, &v);
	}
}

/* ---- flows -------------------------------------------------------------------------------- */

/* The facts of one flow event; names point into candidates. */
struct flow_facts {
	struct policy_facts f;
	struct record_flow flow;
	struct name names[1 + REPLAY_CANDIDATES];
	struct ip_addr addrs[REPLAY_ADDRS];
	size_t n_addrs;
	bool assumed;
	struct port_range ports; /* of counted refusals; else just the one */
};

/* A real address: what it was given out for, and what the client showed. */
static void name_facts(struct replay *r, const json_t *e, struct flow_facts *ff)
{
	struct policy_facts *f = &ff->f;
	const char *from = audit_get(e, "name_from");
	bool shown = str_eq(from, "sni") || str_eq(from, "http"), named;
	struct name name;

	named = record_get_name(e, "name", &name);
	f->names = ff->names;
	f->n_names = replay_names_of(r->names.given, &ff->flow.dst, ff->names, REPLAY_CANDIDATES);
	if (named && shown) {
		f->name = POLICY_KNOWN;
		f->name_unproven = !record_has_name(ff->names, f->n_names, &name);
		if (!f->name_unproven)
			f->n_names = 0;
		ff->names[f->n_names++] = name;
		return;
	}
	/* The record may begin in the middle: what it says was given out was. */
	if (named && !record_has_name(ff->names, f->n_names, &name))
		ff->names[f->n_names++] = name;
	if (f->proto == POLICY_TCP && f->dir == POLICY_EGRESS) {
		f->name = POLICY_UNKNOWN;
		return;
	}
	f->name = f->n_names ? POLICY_KNOWN : POLICY_NONE;
	f->name_answered = f->n_names > 0;
}

static void address_facts(struct replay *r, const json_t *e, struct flow_facts *ff)
{
	struct endpoint up;
	bool dialled = record_get_endpoint(e, "upstream", &up);

	ff->n_addrs = 1;
	ff->addrs[0] = ff->flow.dst;
	if (!ff->flow.is_virtual)
		return;
	if (dialled) {
		ff->addrs[0] = ff->flow.upstream = up.addr;
		return;
	}
	ff->n_addrs = replay_addrs_of(r->names.real, &ff->flow.name, ff->addrs, REPLAY_ADDRS);
	if (ff->n_addrs == 0) {
		ff->addrs[ff->n_addrs++] = policy_public_sample(r->policy);
		ff->assumed = true;
	}
}

/* False: the event does not say enough. */
static bool read_flow(struct replay *r, const json_t *e, struct flow_facts *ff)
{
	struct endpoint peer;

	*ff = (struct flow_facts){ .f.dir = POLICY_EGRESS };
	if (str_eq(audit_get(e, "dir"), "ingress"))
		ff->f.dir = POLICY_INGRESS;
	if (!record_get_proto(e, &ff->f.proto) || !record_get_ip(e, "dst", &ff->flow.dst) ||
	    !record_get_ports(e, &ff->ports))
		return false;
	ff->flow.port = ff->ports.lo;
	if (ff->f.dir == POLICY_INGRESS) {
		/* What the sandbox saw of a peer on this machine was its gateway. */
		if (record_get_endpoint(e, "peer", &peer))
			ff->flow.dst = peer.addr;
		name_facts(r, e, ff);
		ff->addrs[0] = ff->flow.dst;
		ff->n_addrs = 1;
		ff->f.http = POLICY_NONE;
		return true;
	}
	ff->f.is_host = is_gateway(&ff->flow.dst);
	ff->flow.is_virtual = str_eq(audit_get(e, "name_from"), "virtual") &&
			      record_get_name(e, "name", &ff->flow.name);
	if (ff->flow.is_virtual) {
		ff->f.name = POLICY_KNOWN;
		ff->f.names = &ff->flow.name;
		ff->f.n_names = 1;
	} else {
		name_facts(r, e, ff);
	}
	ff->f.http = ff->f.proto == POLICY_TCP ? POLICY_UNKNOWN : POLICY_NONE;
	address_facts(r, e, ff);
	return true;
}

/* As the gateway does: the first address that passes decides, else the first. */
static struct policy_verdict judge_addresses(struct replay *r, struct flow_facts *ff, uint16_t port)
{
	struct policy_verdict first = { 0 };

	ff->f.port = port;
	for (size_t i = 0; i < ff->n_addrs; i++) {
		struct policy_verdict v;

		ff->f.addr = ff->addrs[i];
		v = policy_decide(r->policy, &ff->f);
		if (v.answer != POLICY_ANSWER_DENY)
			return v;
		if (i == 0)
			first = v;
	}
	return first;
}

/* Refused after its first bytes: then there was no more to learn from it. */
static bool was_read(const json_t *e)
{
	return audit_verdict_of(e) == AUDIT_V_DENY && audit_get(e, "detail")[0];
}

static struct policy_verdict judge_flow(struct replay *r, const json_t *e, struct flow_facts *ff,
					uint16_t port)
{
	struct policy_verdict v = judge_addresses(r, ff, port);

	if (v.answer == POLICY_ANSWER_NEED_NAME && was_read(e)) {
		ff->f.name = POLICY_NONE;
		ff->f.n_names = 0;
		v = judge_addresses(r, ff, port);
	}
	if (v.answer == POLICY_ANSWER_NEED_HTTP && was_read(e)) {
		ff->f.http = POLICY_NONE;
		v = judge_addresses(r, ff, port);
	}
	/* It goes on to its reader, and each request has an event of its own. */
	if (v.answer == POLICY_ANSWER_NEED_HTTP && json_is_true(json_object_get(e, "intercepted")))
		v.answer = POLICY_ANSWER_ALLOW;
	return v;
}

static void flow_what(const struct flow_facts *ff, struct replay_item *item)
{
	bool shown = !ff->flow.is_virtual && ff->f.name == POLICY_KNOWN && ff->f.n_names;
	const struct name *name = shown ? &ff->f.names[ff->f.n_names - 1] : &ff->flow.name;
	const char *proto = policy_proto_text(ff->f.proto);
	char ip[IP_STRLEN], host[NAME_MAX_LEN + 3], ports[16] = "";
	bool bracket;

	ip_format(&ff->flow.dst, ip);
	bracket = strchr(ip, ':') && ff->ports.lo;
	if (name->len && !ff->f.name_unproven)
		snprintf(host, sizeof(host), "%s", name->s);
	else
		snprintf(host, sizeof(host), "%s%s%s", bracket ? "[" : "", ip, bracket ? "]" : "");
	if (ff->ports.lo != ff->ports.hi)
		snprintf(ports, sizeof(ports), ":%u-%u", ff->ports.lo, ff->ports.hi);
	else if (ff->ports.lo)
		snprintf(ports, sizeof(ports), ":%u", ff->ports.lo);
	if (ff->f.dir == POLICY_INGRESS)
		snprintf(item->what, sizeof(item->what), "ingress %s port %u from %s", proto,
			 ff->ports.lo, ip);
	else
		snprintf(item->what, sizeof(item->what), "%s %s%s%s%s", proto, host, ports,
			 ff->f.name_unproven ? " that shows " : "",
			 ff->f.name_unproven ? name->s : "");
}

static void take_flow(struct replay *r, const json_t *e)
{
	struct replay_item item;
	struct flow_facts ff;
	struct policy_verdict v;

	if (!is_decision(r, e, "flow", &item))
		return;
	if (!audit_get(e, "dst")[0]) {
		apart(r, "flow", "of various destinations that the record does not tell apart", e);
		return;
	}
	if (!read_flow(r, e, &ff)) {
		apart(r, "flow", "the record does not say enough of it", e);
		return;
	}
	if (item.was == REPLAY_ALLOW && ff.f.dir == POLICY_EGRESS) {
		/* What the client showed is a fact of this flow, not its certain name. */
		if (!ff.flow.is_virtual && ff.f.name == POLICY_KNOWN)
			ff.flow.sni = ff.f.names[ff.f.n_names - 1];
		record_flow_keep(&r->flows, e, &ff.flow);
	}
	flow_what(&ff, &item);
	r->assumed += ff.assumed;
	v = judge_flow(r, e, &ff, ff.ports.lo);
	for (unsigned port = ff.ports.lo + 1U; port <= ff.ports.hi; port++)
		if (judge_flow(r, e, &ff, (uint16_t)port).answer != v.answer) {
			done_depends(r, &item, "which of the ports it was");
			return;
		}
	if (v.answer == POLICY_ANSWER_NEED_NAME)
		done_depends(r, &item, "a name that was not read");
	else if (v.answer == POLICY_ANSWER_NEED_HTTP)
		done_depends(r, &item, "requests that were not read");
	else
		done(r, &item, &v);
}

/* ---- what was read inside flows ------------------------------------------------------------ */

/* What the tlsproxy knows of a flow that shows this name (NULL: none); see its facts_of(). */
static void proxy_facts(struct replay *r, const struct record_flow *f, const struct name *shown,
			struct flow_facts *ff)
{
	struct name candidates[REPLAY_CANDIDATES];
	size_t n;
	bool given;

	*ff = (struct flow_facts){
		.f = { .dir = POLICY_EGRESS,
		       .proto = POLICY_TCP,
		       .port = f->port,
		       .is_host = is_gateway(&f->dst),
		       .name = POLICY_NONE,
		       .names = ff->names },
	};
	ff->f.addr = f->upstream.family && !ff->f.is_host ? f->upstream : f->dst;
	if (!shown && f->is_virtual)
		shown = &f->name;
	if (!shown)
		return;
	given = record_flow_given(f, &r->names, shown, candidates, &n);
	ff->f.name = POLICY_KNOWN;
	ff->f.name_unproven = !given;
	ff->names[ff->f.n_names++] = *shown;
	for (size_t i = 0; !given && i < n; i++)
		ff->names[ff->f.n_names++] = candidates[i];
}

static void take_tls(struct replay *r, const json_t *e)
{
	struct record_flow *f = record_flow_find(&r->flows, e);
	char where[ENDPOINT_STRLEN];
	struct replay_item item;
	struct flow_facts ff;
	struct policy_verdict v;
	struct endpoint to;
	struct name sni;
	bool has_sni = record_get_name(e, "sni", &sni);

	if (f && has_sni)
		f->sni = sni;
	if (!is_decision(r, e, "handshake", &item))
		return;
	if (!f) {
		apart(r, "handshake", "its flow is not in the record", e);
		return;
	}
	proxy_facts(r, f, has_sni ? &sni : NULL, &ff);
	to = (struct endpoint){ f->dst, f->port };
	if (has_sni)
		snprintf(item.what, sizeof(item.what), "tls %s:%u", sni.s, f->port);
	else
		snprintf(item.what, sizeof(item.what), "tls %s", endpoint_format(&to, where));
	v = policy_decide(r->policy, &ff.f);
	if (v.answer == POLICY_ANSWER_NEED_HTTP)
		v.answer = POLICY_ANSWER_ALLOW;
	done(r, &item, &v);
}

/* The path as it was judged: -EINVAL: it can be read in two ways. */
static int request_facts(const json_t *e, struct buf *path, struct policy_facts *f)
{
	const char *target = audit_get(e, "path");
	int err = 0;

	f->method = audit_get(e, "method");
	f->http = POLICY_KNOWN;
	if (target[0] == '/')
		err = policy_path_normalise(target, strlen(target), path);
	f->path = err == 0 ? buf_str(path) : NULL;
	if (!f->path)
		f->http = POLICY_NONE;
	return err;
}

static void judge_request(struct replay *r, const json_t *e, struct policy_facts *f,
			  struct replay_item *item)
{
	struct buf path = BUF_INIT(64 * 1024);
	struct policy_verdict v;
	int err = request_facts(e, &path, f);

	v = policy_decide(r->policy, f);
	if (err < 0 && policy_has_http(r->policy)) {
		item->now = REPLAY_DENY;
		snprintf(item->now_by, sizeof(item->now_by), "the path can be read in two ways");
		replay_report_add(&r->report, item);
	} else {
		done(r, item, &v);
	}
	buf_fini(&path);
}

static void take_http(struct replay *r, const json_t *e)
{
	struct record_flow *f = record_flow_find(&r->flows, e);
	const struct name *shown;
	struct replay_item item;
	struct flow_facts ff;
	struct name host;
	char text[560];

	/* Malformed, misdirected or with a secret in a wrong place: no rule would change that. */
	if (!str_eq(audit_get(e, "outcome"), "forwarded") &&
	    !str_eq(audit_get(e, "outcome"), "denied") && audit_verdict_of(e) == AUDIT_V_DENY) {
		apart(r, "request", "refused for what it is, not by a rule", e);
		return;
	}
	if (!is_decision(r, e, "request", &item))
		return;
	if (!f || json_is_true(json_object_get(e, "truncated"))) {
		apart(r, "request", f ? "cut in the record" : "its flow is not in the record", e);
		return;
	}
	shown = record_request_name(f, e, &host);
	proxy_facts(r, f, shown, &ff);
	snprintf(text, sizeof(text), "%.20s %.255s:%u%.200s", audit_get(e, "method"),
		 audit_get(e, "host"), f->port, audit_get(e, "path"));
	log_quote(text, strlen(text), item.what, sizeof(item.what));
	judge_request(r, e, &ff.f, &item);
}

/* ---- the whole record ----------------------------------------------------------------------- */

static void take_event(struct replay *r, const json_t *e)
{
	static const struct {
		const char *kind;
		void (*take)(struct replay *r, const json_t *e);
	} kinds[] = {
		{ "flow", take_flow }, { "dns", take_dns }, { "tls", take_tls }, { "http", take_http }
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(audit_get(e, "kind"), kinds[i].kind))
			kinds[i].take(r, e);
}

static json_t *chain_json(const struct audit_chain *c)
{
	json_t *breaks = json_array();

	for (size_t i = 0; i < MIN(c->breaks, (uint64_t)AUDIT_BREAKS_MAX); i++)
		json_array_append_new(breaks, json_string(c->text[i]));
	return json_pack("{s:I, s:I, s:b, s:o, s:I}", "events", (json_int_t)c->events, "runs",
			 (json_int_t)c->runs, "intact", c->breaks == 0, "breaks", breaks,
			 "runs_without_end", (json_int_t)c->open_runs);
}

static int show(const struct replay *r, const struct replay_input *in, const struct audit_chain *c)
{
	char input[300], assumed[100] = "";
	json_t *o;
	int e = 0;

	if (in->json) {
		o = replay_report_json(&r->report);
		json_object_set_new(o, "record", chain_json(c));
		json_object_set_new(o, "address_assumed", json_integer((json_int_t)r->assumed));
		e = policy_cmd_json("replay", o);
		json_decref(o);
	} else {
		if (r->assumed)
			snprintf(assumed, sizeof(assumed),
				 "; of %llu flows it does not tell the address: judged with some "
				 "public one",
				 (unsigned long long)r->assumed);
		snprintf(input, sizeof(input), "record      %llu event%s of %llu run%s, %s%s",
			 (unsigned long long)c->events, c->events == 1 ? "" : "s",
			 (unsigned long long)c->runs, c->runs == 1 ? "" : "s",
			 c->breaks ? "BROKEN: what it says cannot be trusted" : "intact", assumed);
		replay_report_print(&r->report, input);
	}
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("replay", "cannot write: %s", strerror(errno));
	for (size_t i = 0; i < MIN(c->breaks, (uint64_t)AUDIT_BREAKS_MAX); i++)
		policy_cmd_complain("replay", "%s: %s", in->path, c->text[i]);
	if (e == 0 && c->breaks)
		e = EXIT_ERROR;
	return e ? e : replay_report_differs(&r->report) ? EXIT_DENY : EXIT_ALLOW;
}

static int init(struct replay *r, const struct replay_input *in)
{
	*r = (struct replay){ .policy = in->policy };
	if (record_names_init(&r->names) < 0 || record_flows_init(&r->flows) < 0)
		return -ENOMEM;
	return replay_report_init(&r->report, true, in->all);
}

static void fini(struct replay *r)
{
	record_names_fini(&r->names);
	record_flows_fini(&r->flows);
	replay_report_fini(&r->report);
}

int replay_record(const struct replay_input *in)
{
	struct audit_record *rec = NULL;
	struct audit_line line;
	char err[256] = "";
	struct replay r;
	int rc, status;

	if (init(&r, in) < 0) {
		fini(&r);
		return policy_cmd_complain("replay", "out of memory");
	}
	rc = audit_record_open(in->path, &rec, err, sizeof(err));
	while (rc >= 0 && (rc = audit_record_next(rec, &line, err, sizeof(err))) > 0)
		take_event(&r, line.event);
	if (rc < 0)
		status = policy_cmd_complain("replay", "%s: %s", in->path,
					     err[0] ? err : strerror(-rc));
	else
		status = show(&r, in, audit_record_chain(rec));
	audit_record_close(rec);
	fini(&r);
	return status;
}
