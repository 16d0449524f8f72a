/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a query. Each is a reply and an event, and dns_finish() is the only place
 * that replies.
 */
#include "dns/dns_int.h"

/* Its last moment: nothing of it is in use any more. */
void dns_query_put(struct dns_query *q)
{
	if (q->waiting)
		--q->d->n_waiting[dns_query_share(q)];
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
	dns_query_put(q);
	reply(user, out, len);
}

struct dns_ending dns_ending(enum dns_result result, uint16_t rcode, int ede, const char *text)
{
	return (struct dns_ending){
		.result = result,
		.reply = { .rcode = rcode, .ede = ede, .ede_text = text },
	};
}

void dns_finish_refused(struct dns_query *q, uint16_t rcode, int ede, const char *why)
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

void dns_finish_denied(struct dns_query *q, enum dns_result result, int ede,
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

void dns_finish_failed(struct dns_query *q, int error)
{
	struct dns_ending e = dns_ending(DNS_FAILED, DNS_RCODE_SERVFAIL, DNS_EDE_NETWORK_ERROR,
					 "upstream cannot be reached");

	if (error == -ENOBUFS) {
		dns_finish_refused(q, DNS_RCODE_SERVFAIL, DNS_EDE_NOT_READY,
				   "too many names under way");
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
