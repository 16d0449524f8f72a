/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One server: a c-ares channel on our loop. c-ares sends, sends again after a
 * third of the time, falls back to TCP on truncation, and checks the peer's
 * address, the id and the question of what comes back; everything else is dropped
 * there. Messages are our own: built anew from the canonical name with a random id
 * and an OPT without options, read by answer.c.
 *
 * No file is read after dns_server_init(): servers, search list, sort list and
 * options are all given explicitly, so c-ares consults neither resolv.conf nor
 * nsswitch.conf nor the hosts file. Its key for ids comes from /dev/urandom at
 * birth (and is not used: ids are ours, from getrandom).
 *
 * System calls it needs later: socket, fcntl (F_GETFL, F_SETFL, F_SETFD),
 * connect, setsockopt (TCP_NODELAY), sendto, writev, recvfrom, close,
 * epoll_ctl, getrandom, clock_gettime.
 *
 * Hostile input: datagrams from anywhere.
 */
#include "dns/upstream.h"

#include <sys/epoll.h>
#include <sys/time.h>

/* c-ares waits twice as long the second time: a third and two thirds are the whole. */
#define SENDS 2
#define FIRST_SHARE 3

static void rearm(struct ups_server *s)
{
	struct timeval tv, *t = ares_timeout(s->ch, NULL, &tv);

	if (t)
		loop_timer_set(s->loop, &s->timeout,
			       time_mono_ns() + (uint64_t)t->tv_sec * NS_PER_S +
				       (uint64_t)t->tv_usec * 1000 + NS_PER_MS);
	else
		loop_timer_del(s->loop, &s->timeout);
}

static void process(struct ups_server *s, int rfd, int wfd)
{
	ares_process_fd(s->ch, rfd, wfd);
	rearm(s);
}

static void on_sock(struct loop_io *io, uint32_t revents)
{
	struct ups_sock *s = container_of(io, struct ups_sock, io);
	int fd = io->fd;
	/* An error is reported by the read or write that meets it. */
	bool err = revents & (EPOLLERR | EPOLLHUP);

	process(s->server, revents & EPOLLIN || err ? fd : ARES_SOCKET_BAD,
		revents & EPOLLOUT || (err && io->events & EPOLLOUT) ? fd : ARES_SOCKET_BAD);
}

static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct ups_server *s = arg;
	struct ups_sock *sock = NULL, *spare = NULL;
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);

	for (size_t i = 0; i < DNS_SERVER_SOCKS && !sock; i++) {
		if (s->socks[i].io.loop && s->socks[i].io.fd == fd)
			sock = &s->socks[i];
		else if (!s->socks[i].io.loop && !spare)
			spare = &s->socks[i];
	}
	if (sock && events) {
		loop_io_set(&sock->io, events);
	} else if (sock) {
		loop_io_del(&sock->io);
	} else if (events && spare) {
		spare->server = s;
		/* On failure nobody hears this socket, and the question times out. */
		if (loop_io_add(s->loop, &spare->io, fd, events, on_sock) < 0)
			spare->io.loop = NULL;
	}
}

static void on_timeout(struct loop_timer *t)
{
	process(container_of(t, struct ups_server, timeout), ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

int dns_server_init(struct ups_server *s, struct ups *u, struct loop *loop, uint32_t timeout_ms)
{
	char lookups[] = "b";
	struct in_addr dummy = { 0 };
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS |
			 ARES_FLAG_NOCHECKRESP,
		.timeout = (int)(MAX(MIN(timeout_ms, 600000u), 3u) / FIRST_SHARE),
		.tries = SENDS,
		.ndots = 0,
		.servers = &dummy, /* replaced later; given, so that no file is read */
		.nservers = 1,
		.lookups = lookups,
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = s,
		.ednspsz = DNS_UDP_MAX,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
		   ARES_OPT_NOROTATE | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ;

	s->u = u;
	s->loop = loop;
	s->timeout.cb = on_timeout;
	if (ares_init_options(&s->ch, &o, mask) == ARES_SUCCESS)
		return 0;
	s->ch = NULL;
	return -ENOMEM;
}

void dns_server_fini(struct ups_server *s)
{
	s->closing = true;
	if (s->ch)
		ares_destroy(s->ch); /* ends every try, closes sockets */
	loop_timer_del(s->loop, &s->timeout);
}

int dns_server_assign(struct ups_server *s, const struct endpoint *e)
{
	struct ares_addr_port_node node = { 0 };

	/* c-ares does not change servers while it has questions. */
	ares_cancel(s->ch);
	rearm(s);
	s->health = (struct dns_health){ 0 };
	s->answered_at = 0;
	s->addr = *e;
	if (!e->addr.family)
		return 0;
	node.family = e->addr.family == 4 ? AF_INET : AF_INET6;
	memcpy(&node.addr, e->addr.b, ip_size(&e->addr));
	node.udp_port = node.tcp_port = e->port;
	if (ares_set_servers_ports(s->ch, &node) == ARES_SUCCESS)
		return 0;
	s->addr = (struct endpoint){ 0 };
	return -ENOMEM;
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct ups_try *t = arg;

	(void)timeouts;
	t->server->in_flight--;
	dns_try_ended(t, status, msg, len > 0 ? (size_t)len : 0);
}

void dns_server_ask(struct ups_try *t, const struct name *n, uint16_t type)
{
	struct ups_server *s = t->server;
	uint8_t msg[DNS_REPLY_MAX];
	uint16_t id;
	size_t len;

	random_bytes(&id, sizeof(id));
	len = dns_ask_build(id, n, type, t->edns, msg);
	s->in_flight++;
	ares_send(s->ch, msg, (int)len, on_answer, t);
	rearm(s);
}
