/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refusals on the record, also when the guest makes a flood of them.
 *
 * A refusal costs the guest one packet and the record some 700 bytes: a port
 * scan would write 25 MB a second to the host's disk. So the first few of a
 * second stand on lines of their own, and those beyond are counted: one line a
 * second for each destination and reason, with how many and which ports. A
 * guest that also changes the destination gets one line a second for each
 * protocol. So do peers of a published port that the rules refuse. Every refusal is in exactly one line's count, and none waits
 * longer than that second, or than the end of the gateway.
 *
 * The guest is told no denial id for a packet, so none is lost by counting.
 */
#include "weir/gateway_int.h"

static bool same(const struct refusal *a, const struct refusal *b)
{
	return a->tuple.proto == b->tuple.proto && a->tuple.inbound == b->tuple.inbound &&
	       a->ip_proto == b->ip_proto && a->deny == b->deny &&
	       a->ruling.by.rule == b->ruling.by.rule && a->ruling.ruled == b->ruling.ruled &&
	       a->ruling.by.floor == b->ruling.by.floor &&
	       a->ruling.generation == b->ruling.generation && a->detail == b->detail &&
	       ip_equal(&a->tuple.remote.addr, &b->tuple.remote.addr) &&
	       name_equal(&a->name, &b->name);
}

/* What is left of one when its destination is not told apart any more. */
static struct refusal widened(const struct refusal *r)
{
	struct refusal w = {
		.tuple = { .proto = r->tuple.proto,
			   .remote.addr.family = r->tuple.remote.addr.family,
			   .inbound = r->tuple.inbound },
		.deny = r->deny,
		.wide = true,
		.ruling = { .generation = r->ruling.generation },
		.detail = "various destinations, too many to tell apart",
	};

	return w;
}

static struct refusal *find(struct refusals *all, const struct refusal *r)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->kinds[i].wide == r->wide && same(&all->kinds[i], r))
			return &all->kinds[i];
	return NULL;
}

static void count(struct refusals *all, const struct refusal *r)
{
	struct refusal w, *k = find(all, r);
	uint16_t port = r->tuple.inbound ? r->tuple.guest.port : r->tuple.remote.port;

	if (!k && all->n >= REFUSAL_KINDS) {
		w = widened(r);
		r = &w;
		k = find(all, r);
	}
	if (!k) {
		assert(all->n < ARRAY_SIZE(all->kinds));
		k = &all->kinds[all->n++];
		*k = *r;
		k->port_first = k->port_last = port;
	}
	k->count++;
	k->port_first = MIN(k->port_first, port);
	k->port_last = MAX(k->port_last, port);
}

void gateway_refusals_flush(struct gateway *gw)
{
	struct refusals *all = &gw->refusals;

	for (size_t i = 0; i < all->n; i++)
		gateway_record_counted(gw, &all->kinds[i]);
	all->n = 0;
	loop_timer_del(gw->loop, &all->timer);
}

static void on_timer(struct loop_timer *t)
{
	gateway_refusals_flush(container_of(t, struct gateway, refusals.timer));
}

bool gateway_refusal_counted(struct gateway *gw, const struct refusal *r)
{
	struct refusals *all = &gw->refusals;
	uint64_t now = loop_now(gw->loop);

	if (!line_allowance_used(&all->lines, now, REFUSED_EVENTS_PER_S)) {
		line_allowance_take(&all->lines);
		return false;
	}
	if (all->n == 0) {
		all->timer.cb = on_timer;
		loop_timer_set(gw->loop, &all->timer, now + NS_PER_S);
	}
	count(all, r);
	return true;
}
