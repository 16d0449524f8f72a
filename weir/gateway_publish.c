/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports: sockets of the host's that lead into the sandbox, each
 * connection (TCP) or peer (UDP) judged by the ingress rules. The sandbox sees
 * the true peer, or its gateway when the peer is on this machine.
 */
#include "weir/gateway_int.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections taken per wake-up, so that a flood does not starve the rest. */
#define ACCEPT_BATCH 32
#define DATAGRAM_BATCH 32
#define DATAGRAM_MAX 65507

struct published {
	struct gateway *gw;
	const struct publish_config *cfg;
	struct loop_io io;
	struct hmap peers; /* UDP */
};

static bool is_loopback(const struct ip_addr *a)
{
	return policy_group_of(a) == POLICY_GROUP_LOOPBACK;
}

/* Whom the sandbox sees: an address of this machine's loopback would never be answered. */
static struct endpoint seen_peer(const struct sandbox_net *net, const struct endpoint *peer)
{
	struct endpoint e = *peer;

	if (is_loopback(&peer->addr))
		e.addr = peer->addr.family == 4 ? net->gateway4 : net->gateway6;
	return e;
}

static struct ruling judge(const struct published *p, const struct endpoint *peer)
{
	struct gateway *gw = p->gw;
	struct name names[FLOW_CANDIDATES];
	struct policy_facts facts = {
		.dir = POLICY_INGRESS,
		.proto = p->cfg->udp ? POLICY_UDP : POLICY_TCP,
		.addr = peer->addr,
		.port = p->cfg->guest_port,
		.http = POLICY_NONE,
		.names = names,
	};

	facts.n_names = dns_names_of(gw->dns, &peer->addr, names, FLOW_CANDIDATES);
	facts.name = facts.n_names ? POLICY_KNOWN : POLICY_NONE;
	return judge_facts(&gw->judge, &facts);
}

struct ruling gateway_publish_judge(const struct flow *f)
{
	return judge(f->listener, &f->peer);
}

/* Before there is a flow, its record is written by hand; a flood of them is counted. */
static void record_denied(struct published *p, const struct endpoint *peer, const struct ruling *r,
			  const char *detail)
{
	const struct refusal refusal = {
		.tuple = { .proto = p->cfg->udp ? NETSTACK_UDP : NETSTACK_TCP,
			   .guest.port = p->cfg->guest_port,
			   .remote = *peer,
			   .inbound = true },
		.deny = r != NULL,
		.ruling = r ? *r : judge_refusal(&p->gw->judge),
		.detail = detail,
	};
	char denial[DENIAL_ID_LEN];
	struct audit_event e;

	if (gateway_refusal_counted(p->gw, &refusal))
		return;
	record_denial_id(&p->gw->record, denial);
	audit_event_begin(&e, "flow");
	audit_str(&e, "dir", "ingress");
	audit_str(&e, "proto", p->cfg->udp ? "udp" : "tcp");
	audit_ip(&e, "dst", &peer->addr);
	audit_u64(&e, "port", p->cfg->guest_port);
	record_ruling(&e, r ? "deny" : "fail", r);
	audit_str(&e, "denial", r ? denial : NULL);
	audit_str(&e, "detail", detail);
	record_send(&p->gw->record, &e);
}

/* A reset, not an orderly end: the peer should know that it was refused. */
static void reset_and_close(int fd)
{
	struct linger now = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	fd_close(fd);
}

static struct flow *open_flow(struct published *p, const struct endpoint *peer, int fd)
{
	struct gateway *gw = p->gw;
	const struct sandbox_net *net = &gw->cfg->net;
	struct endpoint from = seen_peer(net, peer);
	struct endpoint guest = { peer->addr.family == 4 ? net->guest4 : net->guest6,
				  p->cfg->guest_port };
	struct ruling ruling = judge(p, peer);
	const char *full;
	struct flow *f;
	int r;

	if (ruling.answer != POLICY_ANSWER_ALLOW) {
		record_denied(p, peer, &ruling, NULL);
		if (fd >= 0)
			reset_and_close(fd);
		return NULL;
	}
	full = gateway_limit_full(gw, &ruling, NULL);
	if (full) {
		record_denied(p, peer, NULL, full);
		if (fd >= 0)
			reset_and_close(fd);
		return NULL;
	}
	f = gateway_flow_alloc(gw, p->cfg->udp ? FLOW_PUBLISHED_UDP : FLOW_PUBLISHED, NULL);
	if (f) {
		f->ruling = ruling;
		f->peer = *peer;
		f->listener = p;
		f->recorded = true;
		r = netstack_connect(gw->ns, p->cfg->udp ? NETSTACK_UDP : NETSTACK_TCP, &from,
				     &guest, fd, f, &f->ns);
		if (r == 0) {
			gateway_limit_join(f, NULL);
			gateway_record_flow(f, "allow", NULL, NULL);
			return f;
		}
		f->listener = NULL;
		gateway_flow_free(f);
	}
	record_denied(p, peer, NULL, "the limit of concurrent flows is reached");
	if (fd >= 0)
		reset_and_close(fd);
	return NULL;
}

static void on_accept(struct loop_io *io, uint32_t revents)
{
	struct published *p = container_of(io, struct published, io);

	(void)revents;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct endpoint peer;
		int fd = accept4(io->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (endpoint_from_sockaddr(&ss, &peer) < 0)
			fd_close(fd);
		else
			open_flow(p, &peer, fd);
	}
}

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

static void on_datagram(struct loop_io *io, uint32_t revents)
{
	static uint8_t payload[DATAGRAM_MAX];
	struct published *p = container_of(io, struct published, io);

	(void)revents;
	for (int i = 0; i < DATAGRAM_BATCH; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct endpoint peer;
		struct flow *f;
		uint64_t hash;
		ssize_t n =
			recvfrom(io->fd, payload, sizeof(payload), 0, (struct sockaddr *)&ss, &len);

		if (n < 0)
			return;
		if (endpoint_from_sockaddr(&ss, &peer) < 0)
			continue;
		hash = peer_hash(p, &peer);
		f = find_peer(p, &peer, hash);
		if (!f && p->peers.count < PUBLISHED_UDP_PEERS) {
			f = open_flow(p, &peer, -1);
			if (f)
				hmap_insert(&p->peers, &f->by_peer, hash);
		}
		if (f)
			netstack_flow_send(f->ns, payload, (size_t)n);
	}
}

void gateway_publish_datagram(struct flow *f, const uint8_t *p, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t n = endpoint_to_sockaddr(&f->peer, &ss);

	/* UDP may lose; a peer that is gone is the peer's matter. */
	if (sendto(f->listener->io.fd, p, len, MSG_NOSIGNAL, (struct sockaddr *)&ss, n) < 0)
		log_debug("published port: %s", strerror(errno));
}

void gateway_publish_forget(struct flow *f)
{
	struct published *p = f->listener;

	if (p && p->cfg->udp && find_peer(p, &f->peer, peer_hash(p, &f->peer)) == f)
		hmap_remove(&p->peers, &f->by_peer);
}

int gateway_publish_start(struct gateway *gw, const struct gateway_spec *spec)
{
	int r = 0;

	gw->n_published = gw->cfg->n_publish;
	gw->published = calloc(gw->n_published + 1, sizeof(*gw->published));
	if (!gw->published)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < gw->n_published; i++) {
		struct published *p = &gw->published[i];

		p->gw = gw;
		p->cfg = &gw->cfg->publish[i];
		r = hmap_init(&p->peers, 16);
		if (r == 0)
			r = loop_io_add(gw->loop, &p->io, spec->published[i], EPOLLIN,
					p->cfg->udp ? on_datagram : on_accept);
	}
	return r;
}
