/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interceptor: from one query message to one reply and one event.
 *
 *	read -> judge -> local answer (record, PTR, type not served)
 *		      -> gather (cache, upstream) -> judge answers -> reply
 *
 * A query ends in exactly one of these, and finish() is the only place that
 * replies. Nothing a guest wrote goes any further than this file but the
 * canonical name and, of the types, A or AAAA.
 *
 * Virtual answers ask upstream for both families, because the family that the
 * guest asks for says nothing about the one the gateway will dial.
 */
#include "dns/dns_int.h"

struct ending {
	enum dns_result result;
	struct dns_reply reply;
	const struct ip_addr *answers; /* for the event */
	size_t n_answers;
	const struct ip_addr *given;
	const char *denial_id;
	const char *detail;
};

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
static void finish(struct dns_query *q, const struct ending *ending)
{
	struct ending copy = *ending, *e = &copy;
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
	dns_gather_end(&q->g);
	pool_put(&d->query_pool, q);
	reply(user, out, len);
}

static struct ending ending(enum dns_result result, uint16_t rcode, int ede, const char *text)
{
	return (struct ending){
		.result = result,
		.reply = { .rcode = rcode, .ede = ede, .ede_text = text },
	};
}

static void finish_refused(struct dns_query *q, uint16_t rcode, int ede, const char *why)
{
	struct ending e = ending(DNS_REFUSED, rcode, ede, why);

	e.detail = why;
	finish(q, &e);
}

static void finish_empty(struct dns_query *q, uint32_t ttl, int ede, const char *why)
{
	struct ending e = ending(DNS_EMPTY, DNS_RCODE_NOERROR, ede, why);

	e.reply.soa = true;
	e.reply.soa_ttl = ttl;
	e.detail = why;
	finish(q, &e);
}

static void finish_nxdomain(struct dns_query *q, uint32_t ttl, const char *why)
{
	struct ending e = ending(DNS_NXDOMAIN, DNS_RCODE_NXDOMAIN, DNS_EDE_NONE, NULL);

	e.reply.soa = true;
	e.reply.soa_ttl = ttl;
	e.detail = why;
	finish(q, &e);
}

static void finish_denied(struct dns_query *q, enum dns_result result, int ede,
			  struct dns_denial *denial, const struct ip_addr *addrs, size_t n)
{
	struct ending e = ending(result, DNS_RCODE_NXDOMAIN, ede, denial->text);

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
	finish(q, &e);
}

static void finish_failed(struct dns_query *q, int error)
{
	struct ending e = ending(DNS_FAILED, DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR,
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
	}
	e.detail = e.reply.ede_text;
	finish(q, &e);
}

static int family_of(const struct dns_query *q)
{
	return q->q.type == DNS_TYPE_A ? 4 : 6;
}

static void finish_virtual(struct dns_query *q, const struct dns_sum *s)
{
	struct ending e = ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr given;
	int r = dns_virtual_get(q->d, &q->q.name, family_of(q), &given);

	if (r == -ENODATA) {
		finish_empty(q, DNS_VIRTUAL_TTL_S, DNS_EDE_NONE, "no virtual range of this family");
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
	finish(q, &e);
}

static void finish_real(struct dns_query *q, const struct dns_sum *s)
{
	struct ending e = ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);

	for (size_t i = 0; i < s->n_addrs; i++)
		dns_pin(q->d, &q->q.name, &s->addrs[i], s->ttl);
	e.reply.addrs = e.answers = s->addrs;
	e.reply.n_addrs = e.n_answers = s->n_addrs;
	e.reply.ttl = s->ttl;
	e.detail = s->n_filtered ? "some answers were filtered" : NULL;
	finish(q, &e);
}

static void gathered(struct dns_gather *g)
{
	struct dns_query *q = container_of(g, struct dns_query, g);
	struct dns_sum s;

	dns_sum_up(q->d, g, &q->q, &s);
	if (s.alias_denied) {
		finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &s.denial, NULL, 0);
	} else if (s.n_addrs && q->d->mode == DNS_VIRTUAL) {
		finish_virtual(q, &s);
	} else if (s.n_addrs) {
		finish_real(q, &s);
	} else if (s.n_filtered) {
		finish_denied(q, DNS_REBIND, DNS_EDE_FILTERED, &s.denial, s.filtered, s.n_filtered);
	} else if (s.nxdomain) {
		finish_nxdomain(q, s.ttl, NULL);
	} else if (s.error) {
		finish_failed(q, s.error);
	} else {
		finish_empty(q, s.ttl, DNS_EDE_NONE, NULL);
	}
}

/* The operator's own addresses: handed out as they are, and remembered as this name's. */
static void finish_records(struct dns_query *q, const struct dns_record *rec, size_t n)
{
	struct ending e = ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr addrs[DNS_MAX_ADDRS];
	size_t k = 0;

	for (size_t i = 0; i < n && k < ARRAY_SIZE(addrs); i++)
		if (rec[i].addr.family == family_of(q))
			addrs[k++] = rec[i].addr;
	if (!k) {
		finish_empty(q, DNS_RECORD_TTL_S, DNS_EDE_NONE, "static record without this family");
		return;
	}
	for (size_t i = 0; i < k; i++)
		dns_pin(q->d, &q->q.name, &addrs[i], DNS_RECORD_TTL_S);
	e.reply.addrs = e.answers = addrs;
	e.reply.n_addrs = e.n_answers = k;
	e.reply.ttl = DNS_RECORD_TTL_S;
	e.detail = "static record";
	finish(q, &e);
}

static void finish_special(struct dns_query *q)
{
	struct ending e = ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr loopback = ip4(127, 0, 0, 1);

	if (dns_special_of(&q->q.name) == DNS_SPECIAL_NXDOMAIN) {
		finish_nxdomain(q, DNS_LOCAL_EMPTY_TTL_S, "special-use name");
		return;
	}
	if (family_of(q) == 6)
		loopback = (struct ip_addr){ 6, { [15] = 1 } };
	e.reply.addrs = e.answers = &loopback;
	e.reply.n_addrs = e.n_answers = 1;
	e.reply.ttl = DNS_RECORD_TTL_S;
	e.detail = "special-use name";
	finish(q, &e);
}

/* Reverse of weir's own addresses: known here, of no interest to anyone else. */
static bool finish_reverse(struct dns_query *q)
{
	struct ending e = ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr a;
	struct name n;

	if (q->q.type != DNS_TYPE_PTR || !dns_arpa_addr(&q->q.name, &a) || !dns_is_virtual(q->d, &a))
		return false;
	e.detail = "virtual address";
	if (!dns_virtual_name(q->d, &a, &n)) {
		/* It may be handed out any moment. */
		finish_nxdomain(q, DNS_DENIED_TTL_S, e.detail);
		return true;
	}
	e.reply.ptr = &n;
	e.reply.ttl = DNS_VIRTUAL_TTL_S;
	finish(q, &e);
	return true;
}

/* What the cache has is free; what would leave has a budget, unless the policy spells the name out. */
static void ask_upstream(struct dns_query *q, const uint16_t *types, unsigned n_types, bool exact)
{
	struct dns *d = q->d;
	struct dns_denial denial = { 0 };

	q->g.exact = exact;
	if (exact || !dns_gather_asks(d, &q->q.name, types, n_types) ||
	    dns_budget_take(d, &q->q.name, false, &denial)) {
		dns_gather_start(d, &q->g, &q->q.name, types, n_types, gathered);
		return;
	}
	if (d->ops.new_denial_id)
		d->ops.new_denial_id(d->ctx, denial.id);
	finish_denied(q, DNS_BUDGET, DNS_EDE_BLOCKED, &denial, NULL, 0);
}

static void answer(struct dns_query *q)
{
	static const uint16_t both[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	const struct dns_record *rec = NULL;
	struct dns_denial denial = { 0 };
	bool exact = false;
	size_t n_rec;

	if (finish_reverse(q))
		return;
	if (!q->d->ops.judge_query(q->d->ctx, &q->q, &exact, &denial)) {
		finish_denied(q, DNS_DENIED, DNS_EDE_BLOCKED, &denial, NULL, 0);
		return;
	}
	if (q->q.type != DNS_TYPE_A && q->q.type != DNS_TYPE_AAAA) {
		finish_empty(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_NOT_SUPPORTED,
			     "only A and AAAA are resolved");
		return;
	}
	n_rec = dns_records_of(q->d, &q->q.name, &rec);
	if (n_rec)
		finish_records(q, rec, n_rec);
	else if (dns_special_of(&q->q.name))
		finish_special(q);
	else if (q->d->mode == DNS_VIRTUAL)
		ask_upstream(q, both, 2, exact);
	else
		ask_upstream(q, &q->q.type, 1, exact);
}

static void read_and_answer(struct dns_query *q, int rcode, const char *why)
{
	if (rcode) {
		finish_refused(q, (uint16_t)rcode, DNS_EDE_OTHER, why);
		return;
	}
	/*
	 * No policy names it and no host has it. NXDOMAIN ends a client's search;
	 * of the root, that would deny everything below, so the root is empty.
	 */
	if (!q->q.name.len) {
		bool root = q->rq.qname.len == 1;
		struct ending e = ending(
			DNS_REFUSED, root ? DNS_RCODE_NOERROR : DNS_RCODE_NXDOMAIN, DNS_EDE_BLOCKED,
			root ? "the root is not resolved" : "not a canonical host name");

		e.reply.soa = true;
		e.reply.soa_ttl = DNS_LOCAL_EMPTY_TTL_S;
		e.detail = e.reply.ede_text;
		finish(q, &e);
		return;
	}
	answer(q);
}

/* Over the limit of queries: no object to keep, so the reply is made on the spot. */
static void refuse_at_limit(struct dns *d, const struct dns_request *rq,
			    const struct dns_question *question, dns_reply_fn *reply, void *user)
{
	uint8_t out[DNS_REPLY_MAX];
	struct dns_reply r = {
		.rcode = DNS_RCODE_SERVFAIL,
		.ede = DNS_EDE_NOT_READY,
		.ede_text = "too many queries under way",
	};
	struct dns_event ev = { .q = question, .result = DNS_REFUSED, .detail = r.ede_text };
	size_t len = dns_reply_build(rq, &r, DNS_UDP_MIN, out);

	d->ops.event(d->ctx, &ev);
	reply(user, out, len);
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

	if (r < 0) {
		struct dns_event ev = { .q = &question, .result = DNS_REFUSED, .detail = why };

		d->ops.event(d->ctx, &ev);
		reply(user, NULL, 0);
		return NULL;
	}
	/* As far as it could be read: a refusal's record says what was asked. */
	question.type = rq.qtype;
	if (!rq.question_len || dns_wname_to(&rq.qname, &question.name) < 0)
		question.name.len = 0;
	q = pool_get(&d->query_pool);
	if (!q) {
		refuse_at_limit(d, &rq, &question, reply, user);
		return NULL;
	}
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
	dns_gather_end(&q->g);
	pool_put(&q->d->query_pool, q);
}
