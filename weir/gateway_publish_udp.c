/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published UDP ports: one socket, a flow for each peer that was judged.
 *
 * A peer lives while either side speaks; netstack ends it when both are silent.
 * Peers are bounded, and so is the share of one address, because whoever sends
 * can take another port for each datagram. When all places are taken the one
 * that was silent longest makes room, if it was silent for a while: a flood of
 * new peers does not push out those that talk.
 *
 * Bound to a wildcard address, a peer is answered from the address that it
 * wrote to, or it would not know the answer for one.
 */
#include "weir/gateway_publish.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define DATAGRAM_BATCH 64
#define DATAGRAM_MAX 65507
#define PEERS_PER_ADDRESS (PUBLISHED_UDP_PEERS / 4)
#define MAKES_ROOM_AFTER (10 * NS_PER_S)

int published_udp_init(struct published *p)
{
	list_init(&p->by_use);
	return p->port.cfg.udp ? hmap_init(&p->peers, 16) : 0;
}

void published_udp_fini(struct published *p)
{
	if (p->port.cfg.udp)
		hmap_fini(&p->peers);
}

/* ---- peers --------------------------------------------------------------------- */

static uint64_t peer_hash(const struct published *p, const struct endpoint *peer)
{
	uint8_t key[19];

	key[0] = peer->addr.family;
	memcpy(key + 1, peer->addr.b, 16);
	put_be16(key + 17, peer->port);
	return hash_bytes(&p->gw->key, key, sizeof(key));
}

static struct flow *find_peer(struct published *p, const struct endpoint *peer, uint64_t hash)
{
	hmap_for_hash (it, &p->peers, hash) {
		struct flow *f = container_of(it, struct flow, by_peer);

		if (f->peer.port == peer->port && ip_equal(&f->peer.addr, &peer->addr))
			return f;
	}
	return NULL;
}

static void touch(struct published *p, struct flow *f)
{
	f->used = loop_now(p->gw->loop);
	list_del(&f->by_use);
	list_add_tail(&p->by_use, &f->by_use);
}

void published_forget_peer(struct published *p, struct flow *f)
{
	if (!f->is_peer)
		return;
	f->is_peer = false;
	hmap_remove(&p->peers, &f->by_peer);
	list_del(&f->by_use);
}

/* The peer that was silent longest, of one address when addr is given. */
static struct flow *oldest(struct published *p, const struct ip_addr *addr, size_t *ret_n)
{
	struct flow *first = NULL;

	*ret_n = 0;
	list_for_each (it, &p->by_use) {
		struct flow *f = container_of(it, struct flow, by_use);

		if (addr && !ip_equal(&f->peer.addr, addr))
			continue;
		first = first ? first : f;
		++*ret_n;
	}
	return first;
}

static bool make_room(struct published *p, const struct endpoint *peer)
{
	uint64_t now = loop_now(p->gw->loop);
	struct flow *f = NULL;
	size_t n;

	/* Nobody can have taken too much while most places are free. */
	if (p->peers.count >= PEERS_PER_ADDRESS) {
		f = oldest(p, &peer->addr, &n);
		if (n < PEERS_PER_ADDRESS)
			f = p->peers.count < PUBLISHED_UDP_PEERS ? NULL : oldest(p, NULL, &n);
		else if (now - f->used < MAKES_ROOM_AFTER)
			return false;
	}
	if (!f)
		return true;
	if (now - f->used < MAKES_ROOM_AFTER)
		return false;
	netstack_flow_abort(f->ns);
	return true;
}

static struct flow *new_peer(struct published *p, const struct endpoint *peer, uint64_t hash)
{
	struct flow *f = NULL;
	int r;

	if (!make_room(p, peer)) {
		published_refused(p, peer, NULL, "the published port has too many peers");
		return NULL;
	}
	r = published_open(p, peer, -1, &f);
	if (r == -ENOBUFS)
		published_refused(p, peer, NULL, "the limit of concurrent flows is reached");
	if (r < 0)
		return NULL;
	f->is_peer = true;
	hmap_insert(&p->peers, &f->by_peer, hash);
	list_add_tail(&p->by_use, &f->by_use);
	return f;
}

/* ---- datagrams ------------------------------------------------------------------- */

/* Which of our addresses the peer wrote to. */
static void learn_local(struct flow *f, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			f->local = ip_from_be(4, &i.ipi_addr);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			f->local = ip_from_be(6, &i.ipi6_addr);
			f->local_link = i.ipi6_ifindex;
		}
	}
}

void published_on_datagram(struct loop_io *io, uint32_t revents)
{
	static uint8_t payload[DATAGRAM_MAX];
	struct published *p = container_of(io, struct published, io);

	(void)revents;
	for (int i = 0; i < DATAGRAM_BATCH; i++) {
		union {
			char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
			struct cmsghdr align;
		} control;
		struct sockaddr_storage ss;
		struct iovec iov = { payload, sizeof(payload) };
		struct msghdr m = { .msg_name = &ss,
				    .msg_namelen = sizeof(ss),
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = &control,
				    .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(io->fd, &m, 0);
		struct endpoint peer;
		struct flow *f;
		uint64_t hash;

		if (n < 0)
			return;
		if (endpoint_from_sockaddr(&ss, &peer) < 0 || !peer.port)
			continue;
		hash = peer_hash(p, &peer);
		f = find_peer(p, &peer, hash);
		if (!f)
			f = new_peer(p, &peer, hash);
		if (!f)
			continue;
		touch(p, f);
		learn_local(f, &m);
		netstack_flow_send(f->ns, payload, (size_t)n);
	}
}

static void add_control(struct msghdr *m, int level, int type, const void *p, size_t len)
{
	struct cmsghdr *c;

	m->msg_controllen = CMSG_SPACE(len);
	c = CMSG_FIRSTHDR(m);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), p, len);
}

static void add_local(struct msghdr *m, const struct flow *f)
{
	struct in6_pktinfo six = { .ipi6_ifindex = 0 };
	struct in_pktinfo four = { .ipi_ifindex = 0 };

	if (f->local.family == 4) {
		memcpy(&four.ipi_spec_dst, f->local.b, 4);
		add_control(m, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
	} else if (f->local.family == 6) {
		memcpy(&six.ipi6_addr, f->local.b, 16);
		/* Of other addresses the route decides. */
		if (policy_group_of(&f->peer.addr) == POLICY_GROUP_LINK_LOCAL)
			six.ipi6_ifindex = f->local_link;
		add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof(six));
	}
}

void gateway_publish_datagram(struct flow *f, const uint8_t *p, size_t len)
{
	struct published *port = f->listener;
	union {
		char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct sockaddr_storage ss;
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr m = { .msg_name = &ss,
			    .msg_namelen = endpoint_to_sockaddr(&f->peer, &ss),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control };

	if (port->port.fd < 0)
		return;
	touch(port, f);
	add_local(&m, f);
	if (!m.msg_controllen)
		m.msg_control = NULL;
	/* UDP may lose; a peer that is gone is the peer's matter. */
	if (sendmsg(port->port.fd, &m, MSG_NOSIGNAL) < 0)
		log_debug("published port: %s", strerror(errno));
}
