/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name that a QUIC connection asks for, as a fact for the rules.
 *
 * A new UDP flow's first datagrams wait in the stack. What begins like QUIC 1
 * or 2 is read before the flow is judged, on whatever port: its server name is
 * the client's word, as that of TLS over TCP is. It meets denials; it counts for
 * allows only where the address was given out for it. A hello that is spread
 * over several datagrams is waited for, shortly: its sender sends them at once.
 * A connection whose name cannot be read, or is encrypted, has none.
 */
#include "weir/gateway_int.h"

#include "weir/flow_name.h"

/* As many as the stack keeps for a flow that is not decided. */
#define FIRST_DATAGRAMS 8

/* Cheap, for all that is no QUIC: long header, fixed bit, a version with known keys. */
static bool begins_like_quic(const uint8_t *p, size_t len)
{
	uint32_t version = len >= 7 ? get_be32(p + 1) : 0;

	return len >= 7 && (p[0] & 0xc0) == 0xc0 && (version == 1 || version == 0x6b3343cf);
}

static void sniff(const struct flow *f, struct tlsproxy_sniff *ret)
{
	struct iovec v[FIRST_DATAGRAMS];
	size_t n = 0, len;
	const uint8_t *p;

	*ret = (struct tlsproxy_sniff){ .kind = TLSPROXY_SNIFF_OTHER };
	while (n < FIRST_DATAGRAMS && (p = netstack_flow_waiting(f->ns, n, &len)))
		v[n++] = (struct iovec){ (void *)(uintptr_t)p, len };
	if (n && begins_like_quic(v[0].iov_base, v[0].iov_len))
		tlsproxy_sniff_quic(f->gw->quic, v, n, ret);
}

/* An encrypted hello may be another's than the name in front of it says. */
static bool is_sealed(struct flow *f, const struct tlsproxy_sniff *s)
{
	const struct ip_addr *to = &netstack_flow_tuple(f->ns)->remote.addr;
	struct name certain, names[FLOW_CANDIDATES];
	bool has_name = dns_virtual_name(f->gw->dns, to, &certain);
	size_t n = has_name ? 0 : dns_names_of(f->gw->dns, to, names, FLOW_CANDIDATES);

	return s->has_ech && !flow_name_given(&s->sni, has_name ? &certain : NULL, names, n);
}

static void learn(struct flow *f, const struct tlsproxy_sniff *s)
{
	loop_timer_del(f->gw->loop, &f->deadline);
	if (s->kind == TLSPROXY_SNIFF_OTHER) {
		gateway_flow_begin(f);
		return;
	}
	if (s->kind == TLSPROXY_SNIFF_TLS && s->has_sni && !is_sealed(f, s)) {
		f->quic = QUIC_NAMED;
		f->name = s->sni;
		f->name_from = "sni";
	} else {
		f->quic = QUIC_NAMELESS;
		f->doubt = s->has_ech && s->has_sni
				   ? "the server name is encrypted, and the address was not given "
				     "out for the one in front of it"
				   : "no name could be read from the first datagrams";
	}
	gateway_flow_begin(f);
}

static void on_late(struct loop_timer *t)
{
	struct flow *f = container_of(t, struct flow, deadline);
	struct tlsproxy_sniff none = { .kind = TLSPROXY_SNIFF_BAD_TLS };

	learn(f, &none);
}

void gateway_quic_look(struct flow *f)
{
	struct tlsproxy_sniff s;

	sniff(f, &s);
	if (s.kind != TLSPROXY_SNIFF_MORE) {
		learn(f, &s);
		return;
	}
	f->deadline.cb = on_late;
	loop_timer_set(f->gw->loop, &f->deadline, loop_now(f->gw->loop) + UNDECIDED_WAIT);
}

void gateway_flow_waiting(void *ctx, struct netstack_flow *ns)
{
	struct flow *f = netstack_flow_user(ns);
	struct tlsproxy_sniff s;

	(void)ctx;
	/* Judged already, and being resolved. */
	if (!f || f->deadline.cb != on_late || !loop_timer_armed(&f->deadline))
		return;
	sniff(f, &s);
	if (s.kind != TLSPROXY_SNIFF_MORE)
		learn(f, &s);
}
