/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interceptor: from one query message to one reply and one event.
 *
 *	read -> judge -> local answer (local.c: record, PTR, type not served)
 *		      -> gather (cache, upstream) -> judge answers -> reply
 *
 * A query ends in exactly one of these, and dns_finish() is the only place that
 * replies. Nothing a guest wrote goes any further than this file but the
 * canonical name and, of the types, one of those that are served.
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

static size_t *waiting_of(struct dns_query *q)
{
	return &q->d->n_waiting[q->q.transport != DNS_UDP];
}

/* False: as many wait as may. */
static bool wait_begin(struct dns_query *q)
{
	size_t limit = q->d->max_pending, share = limit - limit / DNS_SHARE_KEPT;
	size_t all = q->d->n_waiting[0] + q->d->n_waiting[1];

	if (all >= limit || *waiting_of(q) >= share)
		return false;
	++*waiting_of(q);
	q->waiting = true;
	return true;
}

/* Its last moment: nothing of it is in use any more. */
static void query_put(struct dns_query *q)
{
	if (q->waiting)
		--*waiting_of(q);
	dns_gather_end(&q->g);
	pool_put(&q->d->query_pool, q);
}

/* RFC 8767: the answer has outlived its TTL, and says so unless it has worse to say. */
static bool mark_stale(struct dns_reply *r)
{
	r->ttl = MIN(r->ttl, DNS_STALE_TTL_S);
	r->soa_ttl = MIN(r->soa_ttl, DNS_STALE_TTL_S);
	if (r->ede != DNS_EDE_NONE)
		return false;
	r->ede = r->rcode == DNS_RCODE_NXDOMAIN ? DNS_EDE_STALE_NXDOMAIN : DNS_EDE_STALE;
	r->ede_text = "upstream does not answer: from an earlier answer";
	return true;
}

/* The query as it stands on the record, its reply sent; q is invalid afterwards. */
void dns_finish(struct dns_query *q, const struct dns_ending *ending)
{
	struct dns_ending copy = *ending, *e = &copy;
	uint8_t out[DNS_REPLY_MAX];
	struct dns *d = q->d;
	dns_reply_fn *reply = q->reply;
	void *user = q->user;
	size_t limit = DNS_REPLY_MAX, len;
	struct dns_event ev = {
		.q = &q->q,
		.result = e->result,
		.answers = e->answers,
		.n_answers = e->n_answers,
		.given = e->given,
		.denial_id = e->denial_id,
		.detail = e->detail,
	};

	if (dns_gather_stale(&q->g) && mark_stale(&e->reply) && !ev.detail)
		ev.detail = e->reply.ede_text;
	if (q->q.transport == DNS_UDP) {
		limit = DNS_UDP_MIN;
		if (q->rq.edns)
			limit = MIN(MAX(q->rq.udp_size, DNS_UDP_MIN), DNS_UDP_MAX);
	}
	len = dns_reply_build(&q->rq, &e->reply, limit, out);
	d->ops.event(d->ctx, &ev);
	if (q->ended)
		*q->ended = true;
	query_put(q);
	reply(user, out, len);
}

struct dns_ending dns_ending(enum dns_result result, uint16_t rcode, int ede, const char *text)
{
	return (struct dns_ending){
		.result = result,
		.reply = { .rcode = rcode, .ede = ede, .ede_text = text },
	};
}

static void finish_refused(struct dns_query *q, uint16_t rcode, int ede, const char *why)
{
	struct dns_ending e = dns_ending(DNS_REFUSED, rcode, ede, why);

	e.detail = why;
	dns_finish(q, &e);
}

void dns_finish_empty(struct dns_query *q, uint32_t ttl, int ede, const char *why)
{
	struct dns_ending e = dns_ending(DNS_EMPTY, DNS_RCODE_NOERROR, ede, why);

	e.reply.soa = true;
	e.reply.soa_ttl = ttl;
	e.detail = why;
	dns_finish(q, &e);
}

void dns_finish_nxdomain(struct dns_query *q, uint32_t ttl, int ede, const char *why)
{
	struct dns_ending e =
		dns_ending(DNS_NXDOMAIN, DNS_RCODE_NXDOMAIN, ede, ede == DNS_EDE_NONE ? NULL : why);

	e.reply.soa = true;
	e.reply.soa_ttl = ttl;
	e.detail = why;
	dns_finish(q, &e);
}

static void finish_denied(struct dns_query *q, enum dns_result result, int ede,
			  struct dns_denial *denial, const struct ip_addr *addrs, size_t n)
{
	struct dns_ending e = dns_ending(result, DNS_RCODE_NXDOMAIN, ede, denial->text);

	denial->id[sizeof(denial->id) - 1] = '\0';
	denial->text[sizeof(denial->text) - 1] = '\0';
	e.reply.ede_id = denial->id;
	e.reply.soa = true;
	e.reply.soa_ttl = DNS_DENIED_TTL_S;
	e.denial_id = denial->id;
	/* A name's own verdict speaks for itself; what stood behind it does not. */
	e.detail =
		(result == DNS_DENIED && q->g.n_wait) || result == DNS_BUDGET ? denial->text : NULL;
	e.answers = addrs;
	e.n_answers = n;
	dns_finish(q, &e);
}

static void finish_failed(struct dns_query *q, int error)
{
	struct dns_ending e = dns_ending(DNS_FAILED, DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR,
					 "upstream cannot be reached");

	if (error == -ENOBUFS) {
		finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY, "too many names under way");
		return;
	}
	if (error == -ETIMEDOUT) {
		e.reply.ede = DNS_EDE_NO_REACHABLE_AUTHORITY;
		e.reply.ede_text = "upstream did not answer in time";
	} else if (error == -EREMOTEIO) {
		e.reply.ede = DNS_EDE_NO_REACHABLE_AUTHORITY;
		e.reply.ede_text = "upstream answered with a failure";
	} else if (error == -EPROTO) {
		e.reply.ede_text = "upstream's answer was malformed";
	} else if (error == -EMSGSIZE) {
		e.reply.ede_text = "upstream's answer was too large";
	}
	e.detail = e.reply.ede_text;
	dns_finish(q, &e);
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
		finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY,
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
	finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &denial, NULL, 0);
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
		finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &s.denial, NULL, 0);
	} else if (data_of(g)) {
		dns_finish_data(q, &s, data_of(g));
	} else if (s.n_addrs && q->d->mode == DNS_VIRTUAL) {
		finish_virtual(q, &s);
	} else if (s.n_addrs) {
		finish_real(q, &s);
	} else if (s.n_filtered) {
		finish_denied(q, DNS_REBIND, DNS_EDE_FILTERED, &s.denial, s.filtered, s.n_filtered);
	} else if (s.nxdomain) {
		dns_finish_nxdomain(q, s.ttl, DNS_EDE_NONE, NULL);
	} else if (s.error) {
		finish_failed(q, s.error);
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
		finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY,
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
	finish_denied(q, DNS_BUDGET, DNS_EDE_BLOCKED, &denial, NULL, 0);
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

	if (dns_finish_reverse(q) || !permitted(q, &exact))
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
		finish_refused(q, (uint16_t)rcode,
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
	query_put(q);
}
