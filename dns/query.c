/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interceptor: from one query message to one reply and one event.
 *
 *	read -> own network (local.c)
 *	read -> judge -> local answer (local.c: record, PTR, type not served)
 *		      -> gather (cache, upstream) -> judge answers -> reply
 *
 * A query ends in exactly one of these (ending.c). Nothing a guest wrote goes any
 * further than this file but the canonical name and, of the types, one of those that
 * are served.
 *
 * Virtual answers ask upstream for both families, because the family that the
 * guest asks for says nothing about the one the gateway will dial.
 *
 * Whoever has waited for upstream is judged again when the answer comes: the policy
 * may be another one by then. The limit of queries is for those that have to wait;
 * what is known here is answered however many do. Datagrams and connections may
 * each take three quarters of it, so that a flood of one leaves room for the other.
 */
#include "dns/dns_int.h"

/* False: as many wait as may. */
static bool wait_begin(struct dns_query *q)
{
	size_t limit = q->d->max_pending, share = limit - limit / DNS_SHARE_KEPT;
	size_t *waiting = &q->d->n_waiting[dns_query_share(q)];

	if (q->d->n_waiting[0] + q->d->n_waiting[1] >= limit || *waiting >= share)
		return false;
	++*waiting;
	q->waiting = true;
	return true;
}

static int family_of(const struct dns_query *q)
{
	return q->q.type == DNS_TYPE_A ? 4 : 6;
}

static void finish_virtual(struct dns_query *q, const struct dns_sum *s)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr given;
	int r = dns_virtual_get(q->d, &q->q.name, family_of(q), &given);

	if (r == -ENODATA) {
		dns_finish_empty(q, DNS_VIRTUAL_TTL_S, DNS_EDE_NOT_SUPPORTED,
				 "no virtual range of this family");
		return;
	}
	if (r < 0) {
		dns_finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY,
				   "no virtual address is left for another name");
		return;
	}
	e.reply.addrs = e.given = &given;
	e.reply.n_addrs = 1;
	e.reply.ttl = DNS_VIRTUAL_TTL_S;
	e.answers = s->addrs;
	e.n_answers = s->n_addrs;
	e.detail = s->n_filtered ? "some answers were filtered" : NULL;
	dns_finish(q, &e);
}

static void finish_real(struct dns_query *q, const struct dns_sum *s)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);

	for (size_t i = 0; i < s->n_addrs; i++)
		dns_pin(q->d, &q->q.name, &s->addrs[i], s->ttl);
	e.reply.addrs = e.answers = s->addrs;
	e.reply.n_addrs = e.n_answers = s->n_addrs;
	e.reply.ttl = s->ttl;
	e.detail = s->n_filtered ? "some answers were filtered" : NULL;
	dns_finish(q, &e);
}

/* Has what was gathered records that are not addresses? */
static const struct dns_data *data_of(const struct dns_gather *g)
{
	const struct dns_entry *e = g->wait[0].entry;

	return e && !e->pending && e->rr.data.n ? &e->rr.data : NULL;
}

static bool left_out(const struct dns_gather *g)
{
	const struct dns_entry *e = g->wait[0].entry;

	return e && !e->pending && e->rr.left_out;
}

/* May this type be asked of a name that may be asked? */
static bool type_served(const struct dns_query *q)
{
	switch (q->q.type) {
	case DNS_TYPE_A:
	case DNS_TYPE_AAAA:
	case DNS_TYPE_HTTPS:
	case DNS_TYPE_SVCB:
		return true;
	case DNS_TYPE_MX:
	case DNS_TYPE_SRV:
	case DNS_TYPE_TXT:
		return q->d->ops.judge_type && q->d->ops.judge_type(q->d->ctx, &q->q);
	default:
		return false;
	}
}

static void finish_type(struct dns_query *q)
{
	dns_finish_empty(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_NOT_SUPPORTED,
			 "this type is not resolved");
}

/* False: the policy says no, and that was the query's end. */
static bool permitted(struct dns_query *q, bool *ret_exact)
{
	struct dns_denial denial = { 0 };

	*ret_exact = false;
	if (q->d->ops.judge_query(q->d->ctx, &q->q, ret_exact, &denial))
		return true;
	dns_finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &denial, NULL, 0);
	return false;
}

/* The same for one that has waited. */
static bool still_permitted(struct dns_query *q)
{
	bool exact;

	if (!permitted(q, &exact))
		return false;
	if (type_served(q))
		return true;
	finish_type(q);
	return false;
}

static void gathered(struct dns_gather *g)
{
	struct dns_query *q = container_of(g, struct dns_query, g);
	bool waited = !q->ended;
	struct dns_sum s;

	if (waited && !still_permitted(q))
		return;
	dns_sum_up(q->d, g, &q->q, &s);
	if (s.alias_denied) {
		dns_finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &s.denial, NULL, 0);
	} else if (data_of(g)) {
		dns_finish_data(q, &s, data_of(g));
	} else if (s.n_addrs && q->d->mode == DNS_VIRTUAL) {
		finish_virtual(q, &s);
	} else if (s.n_addrs) {
		finish_real(q, &s);
	} else if (s.n_filtered) {
		dns_finish_denied(q, DNS_REBIND, DNS_EDE_FILTERED, &s.denial, s.filtered,
				  s.n_filtered);
	} else if (s.nxdomain) {
		dns_finish_nxdomain(q, s.ttl, DNS_EDE_NONE, NULL);
	} else if (s.error) {
		dns_finish_failed(q, s.error);
	} else if (left_out(g)) {
		dns_finish_empty(q, s.ttl, DNS_EDE_FILTERED, "no record could be kept");
	} else {
		dns_finish_empty(q, s.ttl, DNS_EDE_NONE, NULL);
	}
}

/* What the cache has is free; what would leave has a budget, unless the policy spells the name out. */
static void ask_upstream(struct dns_query *q, const uint16_t *types, unsigned n_types, bool exact)
{
	struct dns *d = q->d;
	enum dns_need need = dns_gather_needs(d, &q->q.name, types, n_types);
	struct dns_denial denial = { 0 };

	if (need != DNS_NEED_NOTHING && !wait_begin(q)) {
		dns_finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY,
				   "too many queries under way");
		return;
	}
	q->g.exact = exact;
	if (exact || need != DNS_NEED_ASK || dns_budget_take(d, &q->q.name, false, &denial)) {
		dns_gather_start(d, &q->g, &q->q.name, types, n_types, gathered);
		return;
	}
	if (d->ops.new_denial_id)
		d->ops.new_denial_id(d->ctx, denial.id);
	dns_finish_denied(q, DNS_BUDGET, DNS_EDE_BLOCKED, &denial, NULL, 0);
}

static void ask(struct dns_query *q, bool exact)
{
	static const uint16_t both[] = { DNS_TYPE_A, DNS_TYPE_AAAA };

	if (q->d->mode == DNS_VIRTUAL && !dns_type_is_data(q->q.type))
		ask_upstream(q, both, 2, exact);
	else
		ask_upstream(q, &q->q.type, 1, exact);
}

static void answer(struct dns_query *q)
{
	const struct dns_record *rec = NULL;
	enum dns_special special;
	size_t n_rec;
	bool exact;

	if (dns_finish_own(q) || dns_finish_reverse(q) || !permitted(q, &exact))
		return;
	n_rec = dns_records_of(q->d, &q->q.name, &rec);
	special = dns_special_of(&q->q.name);
	if (special == DNS_SPECIAL_LOCAL && exact)
		special = DNS_SPECIAL_NO;
	if (!n_rec && special)
		dns_finish_special(q, special);
	else if (q->q.type == DNS_TYPE_ANY)
		dns_finish_any(q);
	else if (n_rec)
		dns_finish_records(q, rec, n_rec);
	else if (!type_served(q))
		finish_type(q);
	else
		ask(q, exact);
}

static void read_and_answer(struct dns_query *q, int rcode, const char *why)
{
	if (rcode) {
		dns_finish_refused(q, (uint16_t)rcode,
				   rcode == DNS_RCODE_FORMERR ? DNS_EDE_OTHER : DNS_EDE_NOT_SUPPORTED,
				   why);
		return;
	}
	/*
	 * No policy names it and no host has it. NXDOMAIN ends a client's search;
	 * of the root, that would deny everything below, so the root is empty.
	 */
	if (!q->q.name.len) {
		bool root = q->rq.qname.len == 1;
		struct dns_ending e = dns_ending(
			DNS_REFUSED, root ? DNS_RCODE_NOERROR : DNS_RCODE_NXDOMAIN, DNS_EDE_BLOCKED,
			root ? "the root is not resolved" : "not a canonical host name");

		e.reply.soa = true;
		e.reply.soa_ttl = DNS_LOCAL_EMPTY_TTL_S;
		e.detail = e.reply.ede_text;
		dns_finish(q, &e);
		return;
	}
	answer(q);
}

/* Neither an answer nor a reason to keep: the record has it. */
static struct dns_query *no_reply(struct dns *d, const struct dns_question *question,
				  const char *why, dns_reply_fn *reply, void *user)
{
	struct dns_event ev = { .q = question, .result = DNS_REFUSED, .detail = why };

	d->ops.event(d->ctx, &ev);
	reply(user, NULL, 0);
	return NULL;
}

struct dns_query *dns_query(struct dns *d, const uint8_t *msg, size_t len, enum dns_transport t,
			    const struct endpoint *guest, const struct endpoint *server,
			    dns_reply_fn *reply, void *user)
{
	struct dns_question question = { .transport = t, .guest = *guest, .server = *server };
	struct dns_request rq;
	const char *why;
	struct dns_query *q;
	bool ended = false;
	int r = dns_request_read(msg, len, &rq, &why);

	if (r < 0)
		return no_reply(d, &question, why, reply, user);
	/* As far as it could be read: a refusal's record says what was asked. */
	question.type = rq.qtype;
	if (!rq.question_len || dns_wname_to(&rq.qname, &question.name) < 0)
		question.name.len = 0;
	q = pool_get(&d->query_pool);
	if (!q)
		return no_reply(d, &question, "out of memory", reply, user);
	q->d = d;
	q->rq = rq;
	q->q = question;
	q->reply = reply;
	q->user = user;
	q->g.d = d;
	list_init(&q->g.grace);
	q->ended = &ended;
	read_and_answer(q, r, why);
	if (ended)
		return NULL;
	q->ended = NULL;
	return q;
}

void dns_query_cancel(struct dns_query *q)
{
	struct dns_event ev;

	if (!q)
		return;
	/* The question may have left already: that belongs on the record. */
	ev = (struct dns_event){
		.q = &q->q,
		.result = DNS_FAILED,
		.detail = "the client went away before the answer",
	};
	q->d->ops.event(q->d->ctx, &ev);
	dns_query_put(q);
}
