/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway puts on the record about flows. */
#include "weir/gateway_int.h"

static const char *proto_name(const struct netstack_tuple *t)
{
	switch (t->proto) {
	case NETSTACK_TCP:
		return "tcp";
	case NETSTACK_UDP:
		return "udp";
	case NETSTACK_ICMP:
		return t->remote.addr.family == 4 ? "icmpv4" : "icmpv6";
	}
	return NULL; /* another protocol, known by its number only */
}

static void add_tuple(struct audit_event *e, const struct netstack_tuple *t)
{
	char text[ENDPOINT_STRLEN];

	audit_str(e, "dir", t->inbound ? "ingress" : "egress");
	audit_str(e, "proto", proto_name(t));
	audit_str(e, "guest", endpoint_format(&t->guest, text));
	audit_ip(e, "dst", &t->remote.addr);
	/* Of an ingress flow the service's port is the guest's. */
	if (t->proto != NETSTACK_ICMP)
		audit_u64(e, "port", t->inbound ? t->guest.port : t->remote.port);
}

void gateway_record_flow(const struct flow *f, const char *verdict, const char *denial,
			 const char *detail)
{
	char id[DENIAL_ID_LEN], observed[DENIAL_ID_LEN], text[ENDPOINT_STRLEN];
	struct audit_event e;

	record_flow_id(&f->gw->record, f->id, id);
	audit_event_begin(&e, "flow");
	audit_str(&e, "id", id);
	add_tuple(&e, netstack_flow_tuple(f->ns));
	if (f->name.len) {
		audit_str(&e, "name", f->name.s);
		audit_str(&e, "name_from", f->name_from);
	} else if (f->n_candidates) {
		audit_str(&e, "name", f->candidates[0].s);
		audit_str(&e, "name_from", "answer");
	}
	if (f->upstream.port)
		audit_str(&e, "upstream", endpoint_format(&f->upstream, text));
	if (f->peer.port)
		audit_str(&e, "peer", endpoint_format(&f->peer, text));
	if (f->with_proxy)
		audit_bool(&e, "intercepted", true);
	record_ruling(&e, verdict, &f->ruling);
	if (f->ruling.observed && !denial) {
		record_denial_id(&f->gw->record, observed);
		denial = observed;
		detail = detail ? detail : f->doubt;
	}
	audit_str(&e, "denial", denial);
	audit_str(&e, "detail", detail);
	record_send(&f->gw->record, &e);
}

static const char *end_name(enum netstack_end how)
{
	switch (how) {
	case NETSTACK_END_CLOSED:
		return "closed";
	case NETSTACK_END_GUEST_RESET:
		return "guest_reset";
	case NETSTACK_END_REMOTE_RESET:
		return "remote_reset";
	case NETSTACK_END_REFUSED:
		return "refused";
	case NETSTACK_END_TIMEOUT:
		return "timeout";
	case NETSTACK_END_ABORTED:
		return "aborted";
	case NETSTACK_END_LIMIT:
		return "limit";
	}
	return "unknown";
}

void gateway_record_end(const struct flow *f, enum netstack_end how, const struct netstack_counts *c)
{
	char id[DENIAL_ID_LEN];
	struct audit_event e;

	/* A refusal is its own end; there was nothing to count. */
	if (!f->unpoliced && !f->cut &&
	    (how == NETSTACK_END_REFUSED || (how == NETSTACK_END_ABORTED && !c->packets_up)))
		return;
	record_flow_id(&f->gw->record, f->id, id);
	audit_event_begin(&e, "flow_end");
	audit_str(&e, "id", id);
	audit_str(&e, "end", f->unpoliced ? "policy" : end_name(how));
	audit_u64(&e, "bytes_up", c->bytes_up);
	audit_u64(&e, "bytes_down", c->bytes_down);
	audit_u64(&e, "packets_up", c->packets_up);
	audit_u64(&e, "packets_down", c->packets_down);
	audit_u64(&e, "ms", (time_mono_ns() - c->start_ns) / NS_PER_MS);
	if (f->unpoliced)
		audit_u64(&e, "generation", f->ruling.generation);
	else if (f->cut || c->error)
		audit_str(&e, "detail", f->cut ? f->cut : strerror(c->error));
	record_send(&f->gw->record, &e);
}

static struct refusal refusal_of(const struct flow *f, bool deny, const char *detail)
{
	return (struct refusal){
		.tuple = *netstack_flow_tuple(f->ns),
		.deny = deny,
		.ruling = f->ruling,
		.detail = detail,
		.name = f->name.len	  ? f->name
			: f->n_candidates ? f->candidates[0]
					  : (struct name){ 0 },
		.name_from = f->name.len ? f->name_from : "answer",
	};
}

void gateway_record_evicted(const struct flow *f)
{
	static const char why[] = "too many connections wait to be established, and this was the "
				  "oldest";
	struct refusal r = refusal_of(f, false, why);

	if (!gateway_refusal_counted(f->gw, &r))
		gateway_record_flow(f, "fail", NULL, why);
}

void gateway_record_refusal(const struct flow *f, bool deny, const char *detail)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct refusal r = refusal_of(f, deny, detail);
	char denial[DENIAL_ID_LEN];

	/* What was answered, or comes from outside, is more than a packet of the guest. */
	if (!f->early && !f->upstream.port && !t->inbound && gateway_refusal_counted(f->gw, &r))
		return;
	if (deny)
		record_denial_id(&f->gw->record, denial);
	gateway_record_flow(f, deny ? "deny" : "fail", deny ? denial : NULL, detail);
}

void gateway_record_counted(struct gateway *gw, const struct refusal *r)
{
	char denial[DENIAL_ID_LEN], ports[16];
	struct audit_event e;

	audit_event_begin(&e, "flow");
	audit_str(&e, "dir", r->tuple.inbound ? "ingress" : "egress");
	audit_str(&e, "proto", proto_name(&r->tuple));
	if (!r->wide)
		audit_ip(&e, "dst", &r->tuple.remote.addr);
	if (r->port_first != r->port_last) {
		snprintf(ports, sizeof(ports), "%u-%u", r->port_first, r->port_last);
		audit_str(&e, "ports", ports);
	} else if (r->port_first) {
		audit_u64(&e, "port", r->port_first);
	}
	if (r->name.len) {
		audit_str(&e, "name", r->name.s);
		audit_str(&e, "name_from", r->name_from);
	}
	record_ruling(&e, r->deny ? "deny" : "fail", &r->ruling);
	if (r->deny) {
		record_denial_id(&gw->record, denial);
		audit_str(&e, "denial", denial);
	}
	audit_str(&e, "detail", r->detail);
	if (r->ip_proto)
		audit_u64(&e, "ip_proto", r->ip_proto);
	audit_u64(&e, "count", r->count);
	record_send(&gw->record, &e);
}

void gateway_packet_refused(void *ctx, const struct netstack_tuple *t, uint8_t ip_proto,
			    enum netstack_refusal how)
{
	struct gateway *gw = ctx;
	struct refusal r = {
		.tuple = *t,
		.ip_proto = ip_proto,
		.deny = true,
		.ruling = judge_refusal(&gw->judge),
		.detail = t->inbound
				  ? "the sandbox has sent none there, so none is taken from there"
			  : how == NETSTACK_MEMORY ? "the memory budget is used up"
			  : how == NETSTACK_LIMIT  ? "the limit of concurrent flows is reached"
						   : "this kind of packet is not carried",
	};
	char denial[DENIAL_ID_LEN];
	struct audit_event e;

	if (gateway_refusal_counted(gw, &r))
		return;
	record_denial_id(&gw->record, denial);
	audit_event_begin(&e, "flow");
	add_tuple(&e, t);
	record_ruling(&e, "deny", &r.ruling);
	audit_str(&e, "denial", denial);
	audit_str(&e, "detail", r.detail);
	audit_u64(&e, "ip_proto", ip_proto);
	record_send(&gw->record, &e);
}
