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

#include "base/base.h"
#include "weir/policy_ask.h"
#include "weir/replay_record.h"

#include <stdio.h>

/* ---- what an event says ------------------------------------------------------------- */

/* Whose verdict the recorded one was; printable. */
static void was_by(const json_t *e, char *out, size_t size)
{
	const char *rule = audit_get(e, "rule");
	bool floor = json_is_true(json_object_get(e, "floor"));
	char text[300];

	snprintf(text, sizeof(text), "%s%s%s%s", floor ? "the floor's " : "",
		 str_eq(rule, "default") || !rule[0] ? "" : "rule ", rule[0] ? rule : "weir itself",
		 record_is_observed(e) ? ", which would have denied it (observed)" : "");
	log_quote(text, strlen(text), out, size);
}

bool replay_is_decision(struct replay *r, const json_t *e, const char *unit, struct replay_item *ret)
{
	enum audit_verdict v = record_verdict_of(e);
	const char *detail = audit_get(e, "detail");
	char why[160];

	if (v == AUDIT_V_FAIL) {
		snprintf(why, sizeof(why), "%s: failed on the way, whatever the policy", unit);
		replay_report_apart(&r->report, why, audit_count_of(e));
		return false;
	}
	if (v != AUDIT_V_ALLOW && v != AUDIT_V_DENY)
		return false;
	/* An answer that is only observed has no rule, and is judged like any. */
	if (!audit_get(e, "rule")[0] && !(record_is_observed(e) && str_eq(unit, "query"))) {
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

void replay_apart(struct replay *r, const char *unit, const char *why, const json_t *e)
{
	char text[160];

	snprintf(text, sizeof(text), "%s: %s", unit, why);
	replay_report_apart(&r->report, text, audit_count_of(e));
}

void replay_done(struct replay *r, struct replay_item *item, const struct policy_verdict *v)
{
	item->now = replay_now_of(v);
	replay_by(v, item->now_by, sizeof(item->now_by));
	replay_report_add(&r->report, item);
}

void replay_done_depends(struct replay *r, struct replay_item *item, const char *on)
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
	replay_done(r, item, &now);
}

static void take_dns(struct replay *r, const json_t *e)
{
	bool rebind = str_eq(audit_get(e, "result"), "rebind");
	bool own = record_is_own_network(e);
	const char *type = audit_get(e, "qtype");
	struct replay_item item = { 0 };
	struct policy_verdict v;
	struct name name, subject;
	uint16_t number;

	if (own) {
		replay_apart(r, "query", "answered by weir itself: its own addresses", e);
		return;
	}
	if (!rebind && !replay_is_decision(r, e, "query", &item))
		return;
	if (!record_get_name(e, "name", &name)) {
		replay_apart(r, "query", "the name is not one", e);
		return;
	}
	if (record_verdict_of(e) == AUDIT_V_ALLOW)
		record_names_learn(&r->names, e, &name);
	snprintf(item.what, sizeof(item.what), "%s", name.s);
	subject = name;
	if (type && policy_ask_read_type(type, &number))
		(void)policy_query_subject(r->policy, &name, number, &subject);
	v = policy_decide_query(r->policy, &subject);
	if (rebind) {
		judge_rebind(r, e, &item, &v);
	} else if (item.was == REPLAY_ALLOW && v.answer == POLICY_ANSWER_ALLOW &&
		   !record_is_own_answer(e) && !some_answer_ok(r->policy, e)) {
		item.now = REPLAY_DENY;
		snprintf(item.now_by, sizeof(item.now_by), "the filter of internal answers");
		replay_report_add(&r->report, &item);
	} else {
		replay_done(r, &item, &v);
	}
}

/* ---- the whole record ----------------------------------------------------------------------- */

static void take_event(struct replay *r, const json_t *e)
{
	static const struct {
		const char *kind;
		void (*take)(struct replay *r, const json_t *e);
	} kinds[] = { { "flow", replay_take_flow },
		      { "dns", take_dns },
		      { "tls", replay_take_tls },
		      { "http", replay_take_http } };

	record_net_learn(&r->nets, e);
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
	else if (audit_record_chain(rec)->events == 0 && audit_record_chain(rec)->breaks == 0)
		status = policy_cmd_complain("replay",
					     "%s: no event is on record: nothing ran, or "
					     "it was emptied",
					     in->path);
	else
		status = show(&r, in, audit_record_chain(rec));
	audit_record_close(rec);
	fini(&r);
	return status;
}
