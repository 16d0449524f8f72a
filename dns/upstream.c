/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge to the network: c-ares sends, retries, fails over and falls back to
 * TCP; our loop waits for it. The messages are our own: built anew from the
 * canonical name with a random id and an OPT without options, read by
 * answer.c. c-ares checks the peer's address, the id and the question.
 *
 * The next server is tried when one is silent or cannot be reached. What a
 * server says is final, be it SERVFAIL or REFUSED: another that knows more or less
 * would make answers depend on luck.
 *
 * No file is read after dns_cares_new(): servers, search list, sort list and
 * options are all given explicitly, so c-ares consults neither resolv.conf nor
 * nsswitch.conf nor the hosts file. Its key for ids comes from /dev/urandom at
 * birth (and is not used: ids are ours, from getrandom).
 *
 * System calls it needs later: socket, fcntl (F_GETFL, F_SETFL, F_SETFD),
 * connect, setsockopt (TCP_NODELAY), sendto, writev, recvfrom, close,
 * epoll_ctl, getrandom, clock_gettime.
 *
 * Hostile input: datagrams from anywhere. Limits: DNS_MAX_ASKS questions
 * under way (cache.c), two sockets per server.
 */
#include "dns/dns_int.h"

#include <ares.h>
#include <sys/epoll.h>
#include <sys/time.h>

/* One UDP and one TCP socket per server; the rest is slack for sockets being replaced. */
#define SOCKS (4 * DNS_MAX_UPSTREAMS)
#define TRIES 2

struct ups_sock {
	struct ups *u;
	struct loop_io io;
};

struct ups {
	struct dns *d;
	struct loop *loop;
	ares_channel ch;
	size_t n_servers;
	bool closing;
	struct loop_timer timeout, wake;
	struct loop_task task; /* delivers what failed or came at once */
	struct list ready;     /* struct ups_ask */
	struct ups_sock socks[SOCKS];
};

/* One question, from ask to done. */
struct ups_ask {
	struct list link; /* in ups.ready, once it has ended */
	struct ups *u;
	struct dns_ask *a;
	bool edns;
	int error;
	uint8_t *msg;
	size_t len;
};

static void rearm(struct ups *u)
{
	struct timeval tv, *t = ares_timeout(u->ch, NULL, &tv);

	if (t)
		loop_timer_set(u->loop, &u->timeout,
			       time_mono_ns() + (uint64_t)t->tv_sec * NS_PER_S +
				       (uint64_t)t->tv_usec * 1000 + NS_PER_MS);
	else
		loop_timer_del(u->loop, &u->timeout);
}

static void process(struct ups *u, int rfd, int wfd)
{
	ares_process_fd(u->ch, rfd, wfd);
	rearm(u);
}

static void on_sock(struct loop_io *io, uint32_t revents)
{
	struct ups_sock *s = container_of(io, struct ups_sock, io);
	int fd = io->fd;
	/* An error is reported by the read or write that meets it. */
	bool err = revents & (EPOLLERR | EPOLLHUP);

	process(s->u, revents & EPOLLIN || err ? fd : ARES_SOCKET_BAD,
		revents & EPOLLOUT || (err && io->events & EPOLLOUT) ? fd : ARES_SOCKET_BAD);
}

static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct ups *u = arg;
	struct ups_sock *s = NULL, *spare = NULL;
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);

	for (size_t i = 0; i < SOCKS && !s; i++) {
		if (u->socks[i].io.loop && u->socks[i].io.fd == fd)
			s = &u->socks[i];
		else if (!u->socks[i].io.loop && !spare)
			spare = &u->socks[i];
	}
	if (s && events) {
		loop_io_set(&s->io, events);
	} else if (s) {
		loop_io_del(&s->io);
	} else if (events && spare) {
		spare->u = u;
		/* On failure nobody hears this socket, and the question times out. */
		if (loop_io_add(u->loop, &spare->io, fd, events, on_sock) < 0)
			spare->io.loop = NULL;
	}
}

static void on_timeout(struct loop_timer *t)
{
	process(container_of(t, struct ups, timeout), ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_wake(struct loop_timer *t)
{
	dns_tick(container_of(t, struct ups, wake)->d);
}

static void deliver(struct loop_task *t)
{
	struct ups *u = container_of(t, struct ups, task);

	while (!list_empty(&u->ready)) {
		struct ups_ask *q = container_of(u->ready.next, struct ups_ask, link);

		list_del(&q->link);
		dns_upstream_done(u->d, q->a, q->error, q->msg, q->len);
		free(q->msg);
		free(q);
	}
}

static void send_ask(struct ups_ask *q);

static int status_error(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

/* c-ares calls this while it walks its own tables: only note it, deliver from a task. */
static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct ups_ask *q = arg;
	struct ups *u = q->u;

	(void)timeouts;
	if (u->closing) {
		free(q);
		return;
	}
	q->error = status_error(status);
	/* A server from before 1999 that takes OPT for an error: once more without. */
	if (!q->error && q->edns && len >= DNS_HEADER_LEN &&
	    (msg[3] & DNS_FLAG_RCODE) == DNS_RCODE_FORMERR) {
		q->edns = false;
		send_ask(q);
		return;
	}
	if (!q->error) {
		q->msg = len > 0 ? malloc((size_t)len) : NULL;
		if (q->msg) {
			memcpy(q->msg, msg, (size_t)len);
			q->len = (size_t)len;
		} else {
			q->error = -EIO;
		}
	}
	list_add_tail(&u->ready, &q->link);
	loop_task_queue(u->loop, &u->task);
}

static void send_ask(struct ups_ask *q)
{
	uint8_t msg[DNS_REPLY_MAX];
	uint16_t id;
	size_t len;

	random_bytes(&id, sizeof(id));
	len = dns_ask_build(id, &q->a->name, q->a->type, q->edns, msg);
	ares_send(q->u->ch, msg, (int)len, on_answer, q);
}

static int ups_ask(void *up, struct dns_ask *a)
{
	struct ups *u = up;
	struct ups_ask *q;

	if (!u->n_servers)
		return -EIO;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -EIO;
	list_init(&q->link);
	q->u = u;
	q->a = a;
	q->edns = true;
	send_ask(q);
	rearm(u);
	return 0;
}

static uint64_t ups_now(void *up)
{
	return loop_now(((struct ups *)up)->loop);
}

static void ups_wake(void *up, uint64_t when)
{
	struct ups *u = up;

	if (when)
		loop_timer_set(u->loop, &u->wake, when);
	else
		loop_timer_del(u->loop, &u->wake);
}

static void ups_free(void *up)
{
	struct ups *u = up;

	u->closing = true;
	if (u->ch)
		ares_destroy(u->ch); /* ends every question with on_answer, closes sockets */
	loop_task_cancel(u->loop, &u->task);
	loop_timer_del(u->loop, &u->timeout);
	loop_timer_del(u->loop, &u->wake);
	list_for_each_safe (it, next, &u->ready) {
		struct ups_ask *q = container_of(it, struct ups_ask, link);

		free(q->msg);
		free(q);
	}
	ares_library_cleanup();
	free(u);
}

const struct dns_upstream dns_cares = {
	.ask = ups_ask,
	.now = ups_now,
	.wake = ups_wake,
	.free = ups_free,
};

static int set_servers(struct ups *u, const struct dns_config *cfg)
{
	struct ares_addr_port_node node[DNS_MAX_UPSTREAMS] = { 0 };

	for (size_t i = 0; i < cfg->n_upstreams; i++) {
		const struct endpoint *e = &cfg->upstreams[i];

		if (!e->addr.family || !e->port)
			return -EINVAL;
		node[i].family = e->addr.family == 4 ? AF_INET : AF_INET6;
		memcpy(&node[i].addr, e->addr.b, ip_size(&e->addr));
		node[i].udp_port = node[i].tcp_port = e->port;
		node[i].next = i + 1 < cfg->n_upstreams ? &node[i + 1] : NULL;
	}
	return ares_set_servers_ports(u->ch, node) == ARES_SUCCESS ? 0 : -ENOMEM;
}

static int channel_new(struct ups *u, const struct dns_config *cfg)
{
	char lookups[] = "b";
	struct in_addr dummy = { 0 };
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS |
			 ARES_FLAG_NOCHECKRESP,
		.timeout = (int)MIN(cfg->timeout_ms, 600000u),
		.tries = TRIES,
		.ndots = 0,
		.servers = &dummy, /* replaced below; given, so that no file is read */
		.nservers = 1,
		.lookups = lookups,
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = u,
		.ednspsz = DNS_UDP_MAX,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
		   ARES_OPT_NOROTATE | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ;

	if (ares_init_options(&u->ch, &o, mask) != ARES_SUCCESS) {
		u->ch = NULL;
		return -ENOMEM;
	}
	return cfg->n_upstreams ? set_servers(u, cfg) : 0;
}

int dns_cares_new(struct loop *loop, struct dns *d, const struct dns_config *cfg, void **ret_up)
{
	struct ups *u;
	int r;

	if (cfg->n_upstreams > DNS_MAX_UPSTREAMS)
		return -EINVAL;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	u = calloc(1, sizeof(*u));
	if (!u) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	u->d = d;
	u->loop = loop;
	u->n_servers = cfg->n_upstreams;
	u->timeout.cb = on_timeout;
	u->wake.cb = on_wake;
	u->task.cb = deliver;
	list_init(&u->ready);
	r = channel_new(u, cfg);
	if (r < 0) {
		ups_free(u);
		return r;
	}
	*ret_up = u;
	return 0;
}
