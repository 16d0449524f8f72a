/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet II and ARP (RFC 826). The link is a wire with one guest at the
 * other end: frames are taken when addressed to the gateway's MAC or to a
 * group; the guest's MAC is learned from frames whose IP source has been found
 * to be the guest's, and asked for when we have to speak first (published
 * ports). ARP answers for the gateway's address and nothing else, so a guest's
 * probe for its own address (DAD) finds it free.
 *
 * Hostile: all of it. VLAN tags are refused: nothing behind a tag would have
 * been looked at by the same rules.
 */
#include "netstack/netstack_internal.h"

#define ARP_LEN 28
#define ARP_REQUEST 1
#define ARP_REPLY 2

static bool is_group(const uint8_t mac[6])
{
	return mac[0] & 1;
}

void eth_header(const struct netstack *ns, uint8_t *p, uint16_t type)
{
	memcpy(p, ns->guest_mac, 6);
	memcpy(p + 6, ns->cfg.gateway_mac, 6);
	put_be16(p + 12, type);
}

/* The capture wants head and one payload; two pieces are joined for it. */
static void capture(struct netstack *ns, const struct link_tx *tx)
{
	const void *p = tx->n_data ? tx->data[0].iov_base : NULL;
	size_t n = tx->n_data ? tx->data[0].iov_len : 0;

	if (tx->n_data == 2 && tx->data[0].iov_len + tx->data[1].iov_len <= LIMIT_FRAME) {
		memcpy(ns->scratch, tx->data[0].iov_base, tx->data[0].iov_len);
		memcpy(ns->scratch + tx->data[0].iov_len, tx->data[1].iov_base, tx->data[1].iov_len);
		p = ns->scratch;
		n += tx->data[1].iov_len;
	}
	ns->ops->frame(ns->ctx, false, tx->head, tx->head_len, p, n);
}

bool eth_send(struct netstack *ns, struct link_tx *tx)
{
	size_t len = tx->head_len;
	int r;

	if (!ns->link || !ns->link->is_up)
		return true;
	if (ns->link_full)
		return false;
	r = ns->link->drv->write(ns->link, tx);
	if (r == -EAGAIN) {
		ns->link_full = true;
		return false;
	}
	if (r < 0) {
		ns->stats.dropped_link_full++;
		return true;
	}
	for (unsigned i = 0; i < tx->n_data; i++)
		len += tx->data[i].iov_len;
	ns_flush_later(ns);
	ns->stats.frames_out++;
	ns->stats.bytes_out += len;
	if (ns->ops->frame)
		capture(ns, tx);
	return true;
}

/* As it lies in the guest's memory; it may write there, too. */
static void capture_in_place(struct netstack *ns, const struct link_tx *tx, const struct iovec *iov,
			     unsigned n)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t take = MIN(iov[i].iov_len, LIMIT_FRAME - at);

		memcpy(ns->scratch + at, iov[i].iov_base, take);
		at += take;
	}
	ns->ops->frame(ns->ctx, false, tx->head, tx->head_len, ns->scratch, at);
}

int eth_send_in_place(struct netstack *ns, const struct link_tx *tx, size_t len,
		      const struct eth_fill *fill)
{
	struct ns_link *l = ns->link;
	struct iovec iov[LINK_ROOM_MAX];
	unsigned n;
	int r;

	if (!l || !l->is_up || !l->drv->room || ns->link_full)
		return -EOPNOTSUPP;
	r = l->drv->room(l, tx->head_len, len, iov, &n);
	if (r == -EAGAIN)
		ns->link_full = true;
	if (r < 0)
		return r;
	r = fill->fill(fill->ctx, iov, n, len);
	if (r < 0) {
		(void)l->drv->commit(l, NULL, 0);
		return r == -EAGAIN ? -EIO : r;
	}
	r = l->drv->commit(l, tx, len);
	if (r < 0)
		return r == -EAGAIN ? -EIO : r;
	ns_flush_later(ns);
	ns->stats.frames_out++;
	ns->stats.bytes_out += tx->head_len + len;
	if (ns->ops->frame)
		capture_in_place(ns, tx, iov, n);
	return 0;
}

void eth_learn(struct netstack *ns, const uint8_t mac[6])
{
	if (is_group(mac))
		return;
	memcpy(ns->guest_mac, mac, 6);
	if (ns->mac_known)
		return;
	ns->mac_known = true;
	loop_timer_del(ns->loop, &ns->resolve);
	if (!list_empty(&ns->blocked))
		loop_task_queue(ns->loop, &ns->task);
}

static void arp_send(struct netstack *ns, uint16_t op, const uint8_t mac[6],
		     const struct ip_addr *target)
{
	uint8_t p[ETH_HEAD + ARP_LEN];
	struct link_tx tx = { .head = p, .head_len = sizeof(p) };
	uint8_t *a = p + ETH_HEAD;

	memcpy(p, mac, 6);
	memcpy(p + 6, ns->cfg.gateway_mac, 6);
	put_be16(p + 12, ETH_ARP);
	put_be16(a, 1);
	put_be16(a + 2, ETH_IP4);
	a[4] = 6;
	a[5] = 4;
	put_be16(a + 6, op);
	memcpy(a + 8, ns->cfg.gateway_mac, 6);
	memcpy(a + 14, ns->cfg.gateway4.b, 4);
	if (op == ARP_REPLY)
		memcpy(a + 18, mac, 6);
	else
		memset(a + 18, 0, 6);
	memcpy(a + 24, target->b, 4);
	if (!eth_send(ns, &tx))
		ns->stats.dropped_link_full++;
}

static void arp_input(struct netstack *ns, const uint8_t *p, size_t len, const uint8_t src[6])
{
	struct ip_addr spa, tpa;
	static const uint8_t none[4];
	bool probe;

	if (len < ARP_LEN || get_be16(p) != 1 || get_be16(p + 2) != ETH_IP4 || p[4] != 6 ||
	    p[5] != 4 || memcmp(p + 8, src, 6) != 0 || is_group(src)) {
		ns->stats.dropped_malformed++;
		return;
	}
	spa = ip_from_be(4, p + 14);
	tpa = ip_from_be(4, p + 24);
	/* RFC 5227 probe: asks whether the address is taken, from nobody. */
	probe = memcmp(spa.b, none, 4) == 0;
	if (!probe && !ip_equal(&spa, &ns->cfg.guest4)) {
		ns->stats.dropped_spoofed++;
		return;
	}
	if (!probe)
		eth_learn(ns, src);
	if (get_be16(p + 6) == ARP_REQUEST && ns->cfg.gateway4.family &&
	    ip_equal(&tpa, &ns->cfg.gateway4))
		arp_send(ns, ARP_REPLY, src, &spa);
}

void eth_resolve_timer(struct loop_timer *t)
{
	static const uint8_t everyone[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct netstack *ns = container_of(t, struct netstack, resolve);

	if (ns->mac_known)
		return;
	if (ns->resolve_tries++ >= LIMIT_RESOLVE_TRIES) {
		ns->resolve_tries = 0;
		ns_enter(ns);
		flow_fail_blocked(ns);
		ns_leave(ns);
		return;
	}
	if (ns->cfg.guest4.family)
		arp_send(ns, ARP_REQUEST, everyone, &ns->cfg.guest4);
	if (ns->cfg.guest6.family)
		ndp_solicit_guest(ns);
	loop_timer_set(ns->loop, t, ns_now(ns) + LIMIT_RESOLVE_NS);
}

void eth_resolve(struct netstack *ns)
{
	if (!loop_timer_armed(&ns->resolve))
		eth_resolve_timer(&ns->resolve);
}

void eth_input(struct netstack *ns, const struct link_rx *rx)
{
	const uint8_t *p = rx->p;
	bool group;

	if (rx->len < ETH_HEAD) {
		ns->stats.dropped_malformed++;
		return;
	}
	group = is_group(p);
	if ((!group && memcmp(p, ns->cfg.gateway_mac, 6) != 0) || is_group(p + 6)) {
		ns->stats.dropped_malformed++;
		return;
	}
	switch (get_be16(p + 12)) {
	case ETH_ARP:
		arp_input(ns, p + ETH_HEAD, rx->len - ETH_HEAD, p + 6);
		break;
	case ETH_IP4:
		ip4_input(ns, p + ETH_HEAD, rx->len - ETH_HEAD, rx, group);
		break;
	case ETH_IP6:
		ip6_input(ns, p + ETH_HEAD, rx->len - ETH_HEAD, rx, group);
		break;
	default:
		/* VLAN tags, 802.3 lengths, other protocols */
		ns->stats.dropped_malformed++;
	}
}
