/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows of a record judged again, and the handshakes and requests that were read
 * inside them: the facts are those that gateway_flow.c, gateway_first.c and
 * proxy.c build, as far as the record tells them.
 */
#include "weir/replay_record.h"

#include "base/base.h"
#include "weir/addresses.h"
#include "weir/policy_ask.h"

#include <stdio.h>

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
	ff->f.is_host = ff->flow.is_host = record_net_is_gateway(&r->nets, e, &ff->flow.dst);
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
	return record_verdict_of(e) == AUDIT_V_DENY && audit_get(e, "detail")[0];
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

void replay_take_flow(struct replay *r, const json_t *e)
{
	struct replay_item item;
	struct flow_facts ff;
	struct policy_verdict v;

	if (!replay_is_decision(r, e, "flow", &item))
		return;
	if (!audit_get(e, "dst")[0]) {
		replay_apart(r, "flow",
			     "of various destinations that the record does not tell apart", e);
		return;
	}
	if (!read_flow(r, e, &ff)) {
		replay_apart(r, "flow", "the record does not say enough of it", e);
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
			replay_done_depends(r, &item, "which of the ports it was");
			return;
		}
	if (v.answer == POLICY_ANSWER_NEED_NAME)
		replay_done_depends(r, &item, "a name that was not read");
	else if (v.answer == POLICY_ANSWER_NEED_HTTP)
		replay_done_depends(r, &item, "requests that were not read");
	else
		replay_done(r, &item, &v);
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
		       .is_host = f->is_host,
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

void replay_take_tls(struct replay *r, const json_t *e)
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
	if (!replay_is_decision(r, e, "handshake", &item))
		return;
	if (!f) {
		replay_apart(r, "handshake", "its flow is not in the record", e);
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
	replay_done(r, &item, &v);
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
		replay_done(r, item, &v);
	}
	buf_fini(&path);
}

void replay_take_http(struct replay *r, const json_t *e)
{
	struct record_flow *f = record_flow_find(&r->flows, e);
	const struct name *shown;
	struct replay_item item;
	struct flow_facts ff;
	struct name host;
	char text[560];

	/* Malformed, misdirected or with a secret in a wrong place: no rule would change that. */
	if (!str_eq(audit_get(e, "outcome"), "forwarded") &&
	    !str_eq(audit_get(e, "outcome"), "denied") && record_verdict_of(e) == AUDIT_V_DENY) {
		replay_apart(r, "request", "refused for what it is, not by a rule", e);
		return;
	}
	if (!replay_is_decision(r, e, "request", &item))
		return;
	if (!f || json_is_true(json_object_get(e, "truncated"))) {
		replay_apart(r, "request",
			     f ? "cut in the record" : "its flow is not in the record", e);
		return;
	}
	shown = record_request_name(f, e, &host);
	proxy_facts(r, f, shown, &ff);
	snprintf(text, sizeof(text), "%.20s %.255s:%u%.200s", audit_get(e, "method"),
		 audit_get(e, "host"), f->port, audit_get(e, "path"));
	log_quote(text, strlen(text), item.what, sizeof(item.what));
	judge_request(r, e, &ff.f, &item);
}
