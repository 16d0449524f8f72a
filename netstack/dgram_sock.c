/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's datagram sockets behind UDP and echo flows.
 *
 *   own      one flow, connected to its remote
 *   mapping  one address and port of the guest, unconnected: every remote of
 *            one IP version sees the same host port (RFC 4787 REQ-1), which is
 *            what STUN tells a peer and what the peer then writes to
 *
 * A mapping lives as long as flows use it, so there are never more sockets than
 * flows. Which flow a datagram or an error belongs to is told by the remote's
 * real address alone; of two flows of one mapping to one real address (two
 * names, one server) the second is given a socket of its own.
 *
 * Filtering is by address and port: what comes from somewhere the guest has no
 * flow to is dropped, counted and reported. The policy has judged that flow's
 * remote and nobody else.
 */
#include "netstack/netstack_internal.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <unistd.h>

/* Hashed byte by byte: no padding. */
struct map_key {
	uint8_t guest_family, family, port[2];
	uint8_t guest[16];
};

struct remote_key {
	uint64_t sock;
	uint8_t family, pad[5], port[2];
	uint8_t addr[16];
};
_Static_assert(sizeof(struct map_key) == 20 && sizeof(struct remote_key) == 32, "no padding");

static uint64_t map_hash(const struct netstack *ns, const struct endpoint *guest, int family)
{
	struct map_key k = { .guest_family = guest->addr.family, .family = (uint8_t)family };

	put_be16(k.port, guest->port);
	memcpy(k.guest, guest->addr.b, 16);
	return hash_bytes(&ns->key, &k, sizeof(k));
}

static uint64_t remote_hash(const struct dgram_sock *s, const struct endpoint *to)
{
	struct remote_key k = { .sock = (uintptr_t)s, .family = to->addr.family };

	put_be16(k.port, to->port);
	memcpy(k.addr, to->addr.b, 16);
	return hash_bytes(&s->ns->key, &k, sizeof(k));
}

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && ip_equal(&a->addr, &b->addr);
}

static struct dgram_sock *map_find(struct netstack *ns, const struct endpoint *guest, int family)
{
	hmap_for_hash (it, &ns->maps, map_hash(ns, guest, family)) {
		struct dgram_sock *s = container_of(it, struct dgram_sock, node);

		if (s->family == family && endpoint_equal(&s->guest, guest))
			return s;
	}
	return NULL;
}

struct netstack_flow *dgram_sock_flow(struct dgram_sock *s, const struct endpoint *from)
{
	if (!s->shared)
		return s->last;
	if (s->last && endpoint_equal(&s->last->to, from))
		return s->last;
	hmap_for_hash (it, &s->ns->remotes, remote_hash(s, from)) {
		struct netstack_flow *f = container_of(it, struct netstack_flow, by_remote);

		if (f->sock == s && endpoint_equal(&f->to, from)) {
			s->last = f;
			return f;
		}
	}
	return NULL;
}

/* ---- options ---------------------------------------------------------------- */

/*
 * The guest's own hop limit, less one for us, and its leave or ban to fragment
 * go with its datagrams; the socket is told only of changes.
 */
void dgram_sock_path(struct dgram_sock *s, uint8_t hops, bool df)
{
	bool six = s->family == AF_INET6;
	int value;

	if (s->family != AF_INET && !six)
		return;
	if (hops && hops != s->hops) {
		value = hops > 1 ? hops - 1 : 1;
		(void)setsockopt(s->fd, six ? IPPROTO_IPV6 : IPPROTO_IP,
				 six ? IPV6_UNICAST_HOPS : IP_TTL, &value, sizeof(value));
		s->hops = hops;
	}
	if (s->df_told && df == s->df)
		return;
	if (six)
		value = df ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_WANT;
	else
		value = df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
	(void)setsockopt(s->fd, six ? IPPROTO_IPV6 : IPPROTO_IP,
			 six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &value, sizeof(value));
	s->df = df;
	s->df_told = true;
}

/*
 * Many datagrams at once: they may come joined, and bursts need room. Not for
 * every socket, as the kernel patches its own code for the first with UDP_GRO.
 */
void dgram_sock_busy(struct dgram_sock *s)
{
	int on = 1, size = LIMIT_DGRAM_BUFFER;

	if (s->gro_asked || s->icmp || (s->family != AF_INET && s->family != AF_INET6))
		return;
	s->gro_asked = true;
	(void)setsockopt(s->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
	(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void set_options(struct dgram_sock *s)
{
	int on = 1;

	/* Without the error queue the plain errno has to do. */
	if (s->family == AF_INET6)
		(void)setsockopt(s->fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	else if (s->family == AF_INET)
		(void)setsockopt(s->fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
}

/* ---- life ------------------------------------------------------------------- */

static struct dgram_sock *sock_new(struct netstack *ns, int fd, bool icmp, int *ret_error)
{
	struct dgram_sock *s = pool_get(&ns->socks);
	socklen_t n = sizeof(s->family);

	*ret_error = ENOMEM;
	if (!ns->dgrams)
		ns->dgrams = malloc(LIMIT_DGRAM_BATCH * LIMIT_DGRAM_SIZE + LIMIT_DGRAM_SIZE);
	if (!s || !ns->dgrams)
		goto fail;
	s->ns = ns;
	s->icmp = icmp;
	list_init(&s->blocked);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &s->family, &n) < 0)
		s->family = AF_UNSPEC;
	*ret_error = -loop_io_add(ns->loop, &s->io, fd, EPOLLIN, relay_dgram_io);
	if (*ret_error)
		goto fail;
	s->fd = fd;
	set_options(s);
	return s;
fail:
	if (s)
		pool_put(&ns->socks, s);
	fd_close(fd);
	return NULL;
}

int dgram_sock_own(struct netstack_flow *f, int fd)
{
	int error;
	struct dgram_sock *s = sock_new(f->ns, fd, f->t.proto == NETSTACK_ICMP, &error);

	if (!s)
		return -error;
	s->guest = f->t.guest;
	s->last = f;
	s->flows = 1;
	f->sock = s;
	return 0;
}

/* Whoever connected it to look for a route: a mapping's socket is anybody's. */
static int unconnect(int fd, int family)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int on = 1;

	if (connect(fd, &none, sizeof(none)) < 0)
		return -errno;
	/* The IPv4 port of the same number may be another guest port's. */
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

int dgram_sock_shared(struct netstack_flow *f, int fd, const struct endpoint *to)
{
	struct netstack *ns = f->ns;
	int family = to->addr.family == 4 ? AF_INET : AF_INET6, error;
	struct dgram_sock *s = map_find(ns, &f->t.guest, family);

	if (s && dgram_sock_flow(s, to))
		return dgram_sock_own(f, fd);
	if (s) {
		fd_close(fd);
	} else {
		error = -unconnect(fd, family);
		if (error)
			fd_close(fd);
		s = error ? NULL : sock_new(ns, fd, false, &error);
		if (!s)
			return -error;
		s->shared = true;
		s->guest = f->t.guest;
		hmap_insert(&ns->maps, &s->node, map_hash(ns, &s->guest, family));
	}
	f->sock = s;
	f->to = *to;
	s->flows++;
	hmap_insert(&ns->remotes, &f->by_remote, remote_hash(s, to));
	return 0;
}

void dgram_sock_leave(struct netstack_flow *f)
{
	struct dgram_sock *s = f->sock;

	if (!s)
		return;
	dgram_up_flush(f->ns, s);
	f->sock = NULL;
	if (s->shared)
		hmap_remove(&f->ns->remotes, &f->by_remote);
	if (s->last == f)
		s->last = NULL;
	if (--s->flows)
		return;
	if (s->shared)
		hmap_remove(&f->ns->maps, &s->node);
	loop_io_del(&s->io);
	fd_close(steal_fd(&s->fd));
	/* Its own wake may be on the stack above. */
	list_del(&s->blocked);
	list_add_tail(&f->ns->dead_socks, &s->blocked);
	loop_task_queue(f->ns->loop, &f->ns->task);
}

void dgram_sock_free_dead(struct netstack *ns)
{
	while (!list_empty(&ns->dead_socks)) {
		struct dgram_sock *s = container_of(ns->dead_socks.next, struct dgram_sock, blocked);

		list_del(&s->blocked);
		pool_put(&ns->socks, s);
	}
}
