/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway and the tlsproxy would say of a captured flow, request or
 * query; the facts are built as gateway_first.c and proxy.c build them. Names
 * are those that the capture's own DNS answers gave for an address, as far as
 * the policy would have let them through; none expires.
 */
#include "weir/capture.h"

#include "base/base.h"
#include "tlsproxy/tlsproxy.h"
#include "weir/addresses.h"
#include "weir/host_hint.h"
#include "weir/policy_ask.h"

#include <stdio.h>

/* A request's target that is looked at. */
#define TARGET_MAX 16384

/* What is known of a flow before its first bytes. */
struct known {
	struct policy_facts f;
	struct name names[1 + REPLAY_CANDIDATES];
	struct name candidates[REPLAY_CANDIDATES];
	size_t n_candidates;
	bool is_virtual;
};

static bool in_virtual(const struct capture *c, const struct ip_addr *a)
{
	return ip_in_prefix(a, &c->net.virtual4) || ip_in_prefix(a, &c->net.virtual6);
}

static void know(struct capture *c, const struct capture_flow *f, struct known *k)
{
	const struct ip_addr *far = f->ingress ? &f->client.addr : &f->server.addr;

	*k = (struct known){ .f = {
				     .dir = f->ingress ? POLICY_INGRESS : POLICY_EGRESS,
				     .proto = f->proto,
				     .addr = *far,
				     .is_host = !f->ingress && is_gateway(&c->net, far),
				     .port = f->server.port,
			     } };
	k->n_candidates = replay_names_of(c->given, far, k->candidates, REPLAY_CANDIDATES);
	k->is_virtual = !f->ingress && in_virtual(c, far) && k->n_candidates;
	k->f.names = k->candidates;
	k->f.n_names = k->n_candidates;
	k->f.http = f->proto == POLICY_TCP && !f->ingress ? POLICY_UNKNOWN : POLICY_NONE;
	if (k->is_virtual) {
		/* One name has one virtual address; what is behind it is not in the capture. */
		k->n_candidates = k->f.n_names = 1;
		k->f.name = POLICY_KNOWN;
		k->f.addr = policy_public_sample(c->policy);
		c->assumed++;
	} else if (f->proto == POLICY_TCP && !f->ingress) {
		k->f.name = POLICY_UNKNOWN;
	} else {
		k->f.name = k->n_candidates ? POLICY_KNOWN : POLICY_NONE;
		k->f.name_answered = k->n_candidates > 0;
	}
}

static bool was_given(const struct known *k, const struct name *n)
{
	for (size_t i = 0; i < k->n_candidates; i++)
		if (name_equal(&k->candidates[i], n))
			return true;
	return false;
}

/* The client shows this name (NULL: none, and there will be none). */
static void show_name(struct known *k, const struct name *shown)
{
	bool given = shown && was_given(k, shown);
	size_t n = 0;

	if (!shown && k->is_virtual)
		return;
	k->f.name = shown ? POLICY_KNOWN : POLICY_NONE;
	k->f.name_unproven = shown && !given;
	k->f.names = k->names;
	if (shown)
		k->names[n++] = *shown;
	/* A name that is only claimed does not hide those that the address is known by. */
	for (size_t i = 0; shown && !given && i < k->n_candidates; i++)
		k->names[n++] = k->candidates[i];
	k->f.n_names = n;
}

/* ---- words ------------------------------------------------------------------------------- */

static void what_flow(const struct capture_flow *f, const struct known *k, struct replay_item *item)
{
	bool proved = k->f.name == POLICY_KNOWN && k->f.n_names && !k->f.name_unproven;
	const struct name *name = proved ? &k->f.names[0] : NULL;
	const char *proto = policy_proto_text(f->proto);
	char where[ENDPOINT_STRLEN], ip[IP_STRLEN];

	if (f->ingress)
		snprintf(item->what, sizeof(item->what), "ingress %s port %u from %s", proto,
			 f->server.port, ip_format(&f->client.addr, ip));
	else if (name && f->server.port)
		snprintf(item->what, sizeof(item->what), "%s %s:%u", proto, name->s, f->server.port);
	else if (name)
		snprintf(item->what, sizeof(item->what), "%s %s", proto, name->s);
	else
		snprintf(item->what, sizeof(item->what), "%s %s%s%s", proto,
			 f->server.port ? endpoint_format(&f->server, where)
					: ip_format(&f->server.addr, ip),
			 k->f.name_unproven ? " that shows " : "",
			 k->f.name_unproven ? k->f.names[0].s : "");
}

static void report(struct capture *c, struct replay_item *item, const struct policy_verdict *v)
{
	item->count = 1;
	item->now = replay_now_of(v);
	replay_by(v, item->now_by, sizeof(item->now_by));
	replay_report_add(&c->report, item);
}

/* Not by a rule. */
static void report_own(struct capture *c, struct replay_item *item, enum replay_now now,
		       const char *why)
{
	item->count = 1;
	item->now = now;
	snprintf(item->now_by, sizeof(item->now_by), "%s", why);
	replay_report_add(&c->report, item);
}

/* ---- flows -------------------------------------------------------------------------------- */

/* What the gateway refuses whatever the rules say. */
static const char *refused_anyway(const struct capture_flow *f)
{
	uint16_t port = f->server.port;

	if (f->ingress)
		return NULL;
	if (f->proto == POLICY_UDP && port == 853)
		return "weir itself: DNS over QUIC is refused";
	if (f->proto == POLICY_UDP && (port == 5353 || port == 5355 || port == 137))
		return "weir itself: multicast DNS, LLMNR and NetBIOS names are refused";
	return NULL;
}

void capture_judge_flow(struct capture *c, const struct capture_flow *f)
{
	struct replay_item item = { .unit = "flow" };
	struct policy_verdict v;
	struct known k;

	know(c, f, &k);
	what_flow(f, &k, &item);
	if (refused_anyway(f)) {
		report_own(c, &item, REPLAY_DENY, refused_anyway(f));
		return;
	}
	v = policy_decide(c->policy, &k.f);
	report(c, &item, &v);
}

/* Would the flow have been let through without its certain name? Else its client must agree. */
static bool name_matters(struct capture *c, const struct known *k)
{
	struct policy_facts f = k->f;

	f.name = POLICY_UNKNOWN;
	return policy_decide(c->policy, &f).answer != POLICY_ANSWER_ALLOW;
}

/* Why the first bytes alone refuse the flow; NULL: they do not. */
static const char *bad_first(const struct known *k, const struct tlsproxy_sniff *s, bool looked)
{
	if (!looked)
		return NULL;
	if (s->kind == TLSPROXY_SNIFF_BAD_TLS)
		return "weir itself: a TLS handshake that cannot be read";
	if (s->sni_invalid)
		return "weir itself: the TLS server name is not a host name";
	if (k->is_virtual && s->has_sni && !was_given(k, &s->sni))
		return "weir itself: the TLS server name is not the name of the address";
	return NULL;
}

static void judge_read(struct capture *c, struct capture_flow *f, const struct tlsproxy_sniff *s,
		       const struct name *shown)
{
	bool tls = s->kind == TLSPROXY_SNIFF_TLS, http = s->kind == TLSPROXY_SNIFF_HTTP;
	struct replay_item item = { .unit = "flow" };
	struct policy_verdict v;
	struct known k;
	bool looked;

	know(c, f, &k);
	if (f->server.port == 853) {
		what_flow(f, &k, &item);
		report_own(
			c, &item,
			REPLAY_DEPENDS, "--tls-intercept: with it weir answers DNS over TLS itself, else refuses it");
		f->state = CAPTURE_DONE;
		return;
	}
	v = policy_decide(c->policy, &k.f);
	looked = v.answer != POLICY_ANSWER_ALLOW || (k.is_virtual && name_matters(c, &k));
	if (v.answer == POLICY_ANSWER_NEED_NAME) {
		/* As the gateway: a name in front of an encrypted one counts where it was given out. */
		show_name(&k, s->has_ech && shown && !was_given(&k, shown) ? NULL : shown);
		if (!tls && !http)
			k.f.http = POLICY_NONE;
		v = policy_decide(c->policy, &k.f);
	}
	if (v.answer == POLICY_ANSWER_NEED_HTTP && !tls && !http) {
		k.f.http = POLICY_NONE;
		v = policy_decide(c->policy, &k.f);
	}
	/* For the reader: what the client calls it, whether or not that decided. */
	if (shown && !k.is_virtual)
		show_name(&k, shown);
	what_flow(f, &k, &item);
	f->state = http ? CAPTURE_REQUESTS : CAPTURE_DONE;
	if (v.answer == POLICY_ANSWER_DENY)
		f->state = CAPTURE_DONE;
	if (v.answer != POLICY_ANSWER_DENY && bad_first(&k, s, looked)) {
		report_own(c, &item, REPLAY_DENY, bad_first(&k, s, looked));
		f->state = CAPTURE_DONE;
	} else if (v.answer == POLICY_ANSWER_NEED_HTTP && tls) {
		report_own(c, &item, REPLAY_DEPENDS, "requests inside TLS (--tls-intercept)");
	} else {
		/* Plain HTTP goes on to its reader, and each request is judged. */
		if (v.answer == POLICY_ANSWER_NEED_HTTP)
			v.answer = POLICY_ANSWER_ALLOW;
		report(c, &item, &v);
	}
}

/* No first byte is in the capture: only what is certain without one. */
static void judge_unread(struct capture *c, struct capture_flow *f, const char *why)
{
	struct replay_item item = { .unit = "flow" };
	struct policy_verdict v;
	struct known k;

	know(c, f, &k);
	what_flow(f, &k, &item);
	v = policy_decide(c->policy, &k.f);
	if (v.answer == POLICY_ANSWER_NEED_NAME || v.answer == POLICY_ANSWER_NEED_HTTP)
		report_own(c, &item, REPLAY_DEPENDS, why);
	else
		report(c, &item, &v);
	f->state = CAPTURE_DONE;
}

bool capture_judge_first(struct capture *c, struct capture_flow *f, bool eof)
{
	const struct buf *b = &f->up.data;
	struct tlsproxy_sniff s;
	struct host_hint host = { .kind = HOST_HINT_NONE };

	if (f->midway || b->len == 0) {
		if (eof || f->midway)
			judge_unread(c, f,
				     f->midway ? "first bytes that are not in the capture"
					       : "first bytes that were not sent");
		return eof || f->midway;
	}
	/* A gap is no end: what would have come cannot be told. */
	tlsproxy_sniff(buf_at(b), b->len, (eof && !f->up.lost) || b->len >= STREAM_MAX / 2, &s);
	if (s.kind == TLSPROXY_SNIFF_MORE && eof)
		judge_unread(c, f, "first bytes that are not in the capture");
	if (s.kind == TLSPROXY_SNIFF_MORE)
		return eof;
	if (s.kind == TLSPROXY_SNIFF_HTTP) {
		host_hint(buf_at(b), b->len, &host);
		if (host.kind == HOST_HINT_MORE && eof && f->up.lost)
			judge_unread(c, f, "a request that is not whole in the capture");
		if (host.kind == HOST_HINT_MORE && (!eof || f->up.lost))
			return eof;
	}
	judge_read(c, f, &s, s.has_sni ? &s.sni : host.kind == HOST_HINT_NAME ? &host.name : NULL);
	return true;
}

/* ---- requests ------------------------------------------------------------------------------- */

struct request {
	char method[40];
	char target[TARGET_MAX];
	struct host_hint host;
	bool has_body; /* or could have: the next head is not where this one ends */
};

/* Length of the head with its empty line; 0: not whole. */
static size_t head_length(const uint8_t *p, size_t len)
{
	const uint8_t *end = memmem(p, len, "\r\n\r\n", 4);

	return end ? (size_t)(end - p) + 4 : 0;
}

static bool has_field(const char *head, size_t len, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = head; (p = memchr(p, '\n', len - (size_t)(p - head)));) {
		p++;
		if (len - (size_t)(p - head) < n)
			return false;
		if (str_ieq(p, n, name))
			return true;
	}
	return false;
}

/* The words of the request line; false: there are not three, or one is too long. */
static bool read_line(const char *p, size_t len, struct request *ret)
{
	const char *end, *sp1, *sp2;

	while (len && (*p == '\r' || *p == '\n')) {
		p++;
		len--;
	}
	end = memchr(p, '\r', len);
	sp1 = end ? memchr(p, ' ', (size_t)(end - p)) : NULL;
	sp2 = sp1 ? memchr(sp1 + 1, ' ', (size_t)(end - sp1 - 1)) : NULL;
	if (!sp2 || (size_t)(sp1 - p) >= sizeof(ret->method) ||
	    (size_t)(sp2 - sp1) > sizeof(ret->target))
		return false;
	memcpy(ret->method, p, (size_t)(sp1 - p));
	ret->method[sp1 - p] = 0;
	memcpy(ret->target, sp1 + 1, (size_t)(sp2 - sp1 - 1));
	ret->target[sp2 - sp1 - 1] = 0;
	return strlen(ret->method) == (size_t)(sp1 - p) &&
	       strlen(ret->target) == (size_t)(sp2 - sp1 - 1);
}

static bool read_request(const uint8_t *p, size_t len, struct request *ret)
{
	const char *head = (const char *)p;

	if (!read_line(head, len, ret))
		return false;
	host_hint(p, len, &ret->host);
	ret->has_body = has_field(head, len, "content-length:") ||
			has_field(head, len, "transfer-encoding:") ||
			has_field(head, len, "upgrade:") || str_eq(ret->method, "CONNECT");
	return true;
}

static void judge_request(struct capture *c, struct capture_flow *f, const struct request *r)
{
	struct replay_item item = { .unit = "request" };
	struct buf path = BUF_INIT(64 * 1024);
	struct policy_verdict v;
	char text[700];
	struct known k;
	int err = 0;

	know(c, f, &k);
	show_name(&k, r->host.kind == HOST_HINT_NAME ? &r->host.name : NULL);
	if (r->target[0] == '/')
		err = policy_path_normalise(r->target, strlen(r->target), &path);
	k.f.path = err == 0 ? buf_str(&path) : NULL;
	k.f.method = r->method;
	k.f.http = k.f.path ? POLICY_KNOWN : POLICY_NONE;
	snprintf(text, sizeof(text), "%s %.253s:%u%.200s", r->method,
		 r->host.kind == HOST_HINT_NAME ? r->host.name.s : "(no host)", f->server.port,
		 r->target);
	log_quote(text, strlen(text), item.what, sizeof(item.what));
	if (k.is_virtual && r->host.kind == HOST_HINT_NAME && !was_given(&k, &r->host.name)) {
		report_own(c, &item, REPLAY_DENY, "weir itself: Host is not the name of the address");
	} else if (err < 0 && policy_has_http(c->policy)) {
		report_own(c, &item, REPLAY_DENY, "weir itself: the path can be read in two ways");
	} else {
		v = policy_decide(c->policy, &k.f);
		report(c, &item, &v);
	}
	buf_fini(&path);
}

void capture_judge_requests(struct capture *c, struct capture_flow *f)
{
	static struct request r; /* 16 KiB; one at a time, in one thread */
	size_t len;

	while (f->state == CAPTURE_REQUESTS &&
	       (len = head_length(buf_at(&f->up.data), f->up.data.len))) {
		r = (struct request){ 0 };
		if (!read_request(buf_at(&f->up.data), len, &r)) {
			replay_report_apart(&c->report,
					    "request: malformed, refused by weir itself", 1);
			f->state = CAPTURE_DONE;
			return;
		}
		judge_request(c, f, &r);
		stream_consume(&f->up, len);
		if (r.has_body) {
			replay_report_apart(&c->report,
					    "connection: what follows a request's body is not read",
					    1);
			f->state = CAPTURE_DONE;
		}
	}
}

/* ---- queries --------------------------------------------------------------------------------- */

static void judge_query(struct capture *c, const struct dns_peek *m)
{
	struct replay_item item = { .unit = "query" };
	struct policy_verdict v;
	struct name subject;

	if (!m->has_name) {
		replay_report_apart(&c->report,
				    "query: not for a host name, refused by weir itself", 1);
		return;
	}
	if (m->reverse.family && in_virtual(c, &m->reverse)) {
		replay_report_apart(&c->report, "query: answered by weir itself: its own addresses",
				    1);
		return;
	}
	snprintf(item.what, sizeof(item.what), "%s", m->name.s);
	(void)policy_query_subject(c->policy, &m->name, m->type, &subject);
	v = policy_decide_query(c->policy, &subject);
	report(c, &item, &v);
}

/* What the resolver would have let through is known from now on. */
static void learn(struct capture *c, const struct dns_peek *m)
{
	struct replay_item item = { .unit = "answer" };
	struct policy_verdict v;
	char ip[IP_STRLEN];

	if (!m->has_name || policy_decide_query(c->policy, &m->name).answer != POLICY_ANSWER_ALLOW)
		return;
	for (size_t i = 0; i < m->n_aliases; i++) {
		v = policy_decide_alias(c->policy, &m->name, &m->aliases[i]);
		if (v.answer != POLICY_ANSWER_DENY)
			continue;
		snprintf(item.what, sizeof(item.what), "%s, an alias of %s", m->name.s,
			 m->aliases[i].s);
		report(c, &item, &v);
		return;
	}
	for (size_t i = 0; i < m->n_addrs; i++) {
		if (in_virtual(c, &m->addrs[i]) || policy_answer_ok(c->policy, &m->addrs[i])) {
			replay_names_add(c->given, &m->name, &m->addrs[i]);
			continue;
		}
		snprintf(item.what, sizeof(item.what), "%s = %s", m->name.s,
			 ip_format(&m->addrs[i], ip));
		report_own(c, &item, REPLAY_DENY, "the filter of internal answers");
	}
}

void capture_judge_dns(struct capture *c, bool from_client, const uint8_t *p, size_t len)
{
	struct dns_peek m;

	if (!dns_peek(p, len, &m) || m.response == from_client)
		replay_report_apart(&c->report, "query: a message on port 53 that cannot be read", 1);
	else if (from_client)
		judge_query(c, &m);
	else
		learn(c, &m);
}
