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
		break;
	}
	return t->remote.addr.family == 4 ? "icmpv4" : "icmpv6";
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
	char id[DENIAL_ID_LEN], text[ENDPOINT_STRLEN];
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
	/* A rule did not decide what is refused for a reason of its own. */
	record_verdict(&e, verdict,
		       detail && str_eq(verdict, "deny") && f->verdict.answer != POLICY_ANSWER_DENY
			       ? NULL
			       : &f->verdict);
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
	if (how == NETSTACK_END_REFUSED || (how == NETSTACK_END_ABORTED && !c->packets_up))
		return;
	record_flow_id(&f->gw->record, f->id, id);
	audit_event_begin(&e, "flow_end");
	audit_str(&e, "id", id);
	audit_str(&e, "end", end_name(how));
	audit_u64(&e, "bytes_up", c->bytes_up);
	audit_u64(&e, "bytes_down", c->bytes_down);
	audit_u64(&e, "packets_up", c->packets_up);
	audit_u64(&e, "packets_down", c->packets_down);
	audit_u64(&e, "ms", (time_mono_ns() - c->start_ns) / NS_PER_MS);
	if (c->error)
		audit_str(&e, "detail", strerror(c->error));
	record_send(&f->gw->record, &e);
}

void gateway_packet_refused(void *ctx, const struct netstack_tuple *t, uint8_t ip_proto,
			    enum netstack_refusal how)
{
	struct gateway *gw = ctx;
	uint64_t second = loop_now(gw->loop) / NS_PER_S;
	char denial[DENIAL_ID_LEN];
	struct audit_event e;

	if (second != gw->refused_second) {
		gw->refused_second = second;
		gw->refused_now = 0;
	}
	if (++gw->refused_now > REFUSED_EVENTS_PER_S) {
		gw->refused_suppressed++;
		return;
	}
	record_denial_id(&gw->record, denial);
	audit_event_begin(&e, "flow");
	add_tuple(&e, t);
	audit_str(&e, "verdict", "deny");
	audit_str(&e, "denial", denial);
	audit_str(&e, "detail",
		  how == NETSTACK_LIMIT ? "the limit of concurrent flows is reached"
					: "this kind of packet is not carried");
	audit_u64(&e, "ip_proto", ip_proto);
	if (gw->refused_suppressed)
		audit_u64(&e, "unrecorded_before", gw->refused_suppressed);
	gw->refused_suppressed = 0;
	record_send(&gw->record, &e);
}
