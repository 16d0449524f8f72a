/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports: sockets of the host's that lead into the sandbox, each
 * connection (TCP) or peer (UDP) judged by the ingress rules.
 *
 * The sandbox sees the true peer, address and port. It sees its gateway instead
 * where the true address would never be answered: this machine's loopback, a
 * link's own addresses, and those that the sandbox's link uses. Where two
 * connections would look the same to it, the second one's port is another.
 *
 * A connection that finds no room is not refused: it waits, and with it all
 * that are not accepted yet, in the kernel's queue, until a flow has ended.
 *
 * Closing a port ends the listening at once. Its connections go on to their own
 * end, or are reset when that is asked for; UDP peers end with their socket.
 */
#include "weir/gateway_publish.h"

#include "weir/message.h"
#include "weir/proxy_header.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections taken per wake-up, so that a flood does not starve the rest. */
#define ACCEPT_BATCH 64
/* Room also comes with memory that nobody tells us of. */
#define RETRY_AFTER (100 * NS_PER_MS)
/* Tries for a port that tells two connections apart. */
#define PORT_TRIES 16

/* ---- judging ------------------------------------------------------------------ */

static bool is_answered(const struct sandbox_net *net, const struct ip_addr *a)
{
	switch (policy_group_of(a)) {
	case POLICY_GROUP_LOOPBACK:
	case POLICY_GROUP_LINK_LOCAL:
	case POLICY_GROUP_MULTICAST:
		return false;
	default:
		return !ip_in_prefix(a, a->family == 4 ? &net->slot4 : &net->slot6);
	}
}

static struct endpoint seen_peer(const struct sandbox_net *net, const struct endpoint *peer)
{
	struct endpoint e = *peer;

	if (!is_answered(net, &peer->addr))
		e.addr = peer->addr.family == 4 ? net->gateway4 : net->gateway6;
	return e;
}

static struct ruling judge(const struct published *p, const struct endpoint *peer)
{
	struct gateway *gw = p->gw;
	struct name names[FLOW_CANDIDATES];
	struct policy_facts facts = {
		.dir = POLICY_INGRESS,
		.proto = p->port.cfg.udp ? POLICY_UDP : POLICY_TCP,
		.addr = peer->addr,
		.port = p->port.cfg.guest_port,
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

void published_refused(struct published *p, const struct endpoint *peer, const struct ruling *r,
		       const char *detail)
{
	struct gateway *gw = p->gw;
	struct refusal refusal = {
		.tuple = { .proto = p->port.cfg.udp ? NETSTACK_UDP : NETSTACK_TCP,
			   .remote = { peer->addr, p->port.cfg.guest_port },
			   .inbound = true },
		.deny = r != NULL,
		.ruling = r ? *r : judge_refusal(&gw->judge),
		.detail = detail,
	};
	char denial[DENIAL_ID_LEN];
	struct audit_event e;

	p->counts.refused++;
	if (gateway_refusal_counted(gw, &refusal))
		return;
	record_denial_id(&gw->record, denial);
	audit_event_begin(&e, "flow");
	audit_str(&e, "dir", "ingress");
	audit_str(&e, "proto", p->port.cfg.udp ? "udp" : "tcp");
	audit_ip(&e, "dst", &peer->addr);
	audit_u64(&e, "port", p->port.cfg.guest_port);
	record_ruling(&e, r ? "deny" : "fail", r);
	audit_str(&e, "denial", r ? denial : NULL);
	audit_str(&e, "detail", detail);
	record_send(&gw->record, &e);
}

/* ---- opening ---------------------------------------------------------------------- */

/* The PROXY header goes before anything that the peer sends. */
static int send_header(struct flow *f, int fd)
{
	uint8_t header[PROXY_HEADER_MAX];
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint to;
	bool known = getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
		     endpoint_from_sockaddr(&ss, &to) == 0;
	size_t n = proxy_header_v2(&f->peer, known ? &to : NULL, header);

	return netstack_flow_push(f->ns, header, n);
}

static int connect_guest(struct published *p, struct flow *f, int fd)
{
	enum netstack_proto proto = p->port.cfg.udp ? NETSTACK_UDP : NETSTACK_TCP;
	const struct sandbox_net *net = &p->gw->cfg->net;
	struct endpoint from = seen_peer(net, &f->peer);
	struct endpoint guest = { f->peer.addr.family == 4 ? net->guest4 : net->guest6,
				  p->port.cfg.guest_port };
	int r = netstack_connect(p->gw->ns, proto, &from, &guest, fd, f, &f->ns);

	for (int i = 0; r == -EADDRINUSE && i < PORT_TRIES; i++) {
		uint16_t any;

		random_bytes(&any, sizeof(any));
		from.port = (uint16_t)(49152 + any % 16384);
		r = netstack_connect(p->gw->ns, proto, &from, &guest, fd, f, &f->ns);
	}
	return r;
}

int published_open(struct published *p, const struct endpoint *peer, int fd, struct flow **ret)
{
	struct gateway *gw = p->gw;
	struct ruling ruling = judge(p, peer);
	const char *full;
	struct flow *f;
	int r;

	if (ruling.answer != POLICY_ANSWER_ALLOW) {
		published_refused(p, peer, &ruling, NULL);
		return -EACCES;
	}
	full = gateway_limit_full(gw, &ruling, NULL);
	if (full) {
		published_refused(p, peer, NULL, full);
		return -EACCES;
	}
	f = gateway_flow_alloc(gw, p->port.cfg.udp ? FLOW_PUBLISHED_UDP : FLOW_PUBLISHED, NULL);
	if (!f)
		return -ENOBUFS;
	f->ruling = ruling;
	f->peer = *peer;
	f->recorded = true;
	r = connect_guest(p, f, fd);
	if (r < 0)
		gateway_flow_free(f);
	if (r == -EINVAL || r == -EOPNOTSUPP) {
		published_refused(p, peer, NULL, "the sandbox has no address of this family");
		return -EACCES;
	}
	if (r < 0)
		return -ENOBUFS;
	f->listener = p;
	p->counts.now++;
	p->counts.total++;
	gateway_limit_join(f, NULL);
	gateway_record_flow(f, "allow", NULL, NULL);
	*ret = f;
	/* Ended by what it was just given: told by its own end. */
	if (p->port.cfg.proxy_header && send_header(f, fd) < 0)
		netstack_flow_abort(f->ns);
	return 0;
}

/* ---- TCP ---------------------------------------------------------------------------- */

/* A reset, not an orderly end: the peer should know that it was refused. */
static void reset_and_close(int fd)
{
	struct linger now = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	fd_close(fd);
}

/* False: it waits for room, and so do those behind it. */
static bool take(struct published *p, int fd, const struct endpoint *peer)
{
	struct flow *f;
	int r = published_open(p, peer, fd, &f);

	if (r == -ENOBUFS) {
		p->waiting_fd = fd;
		p->waiting_peer = *peer;
		p->counts.waited++;
		loop_io_set(&p->io, 0);
		loop_timer_set(p->gw->loop, &p->retry, loop_now(p->gw->loop) + RETRY_AFTER);
		return false;
	}
	if (r < 0)
		reset_and_close(fd);
	return true;
}

static void on_accept(struct loop_io *io, uint32_t revents)
{
	struct published *p = container_of(io, struct published, io);

	(void)revents;
	if (p->waiting_fd >= 0)
		return;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct endpoint peer;
		int fd = accept4(io->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			/* Out of descriptors: trying at once and for ever helps nobody. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			    errno == ENOBUFS) {
				loop_io_set(io, 0);
				loop_timer_set(p->gw->loop, &p->retry,
					       loop_now(p->gw->loop) + RETRY_AFTER);
			}
			return;
		}
		if (endpoint_from_sockaddr(&ss, &peer) < 0)
			fd_close(fd);
		else if (!take(p, fd, &peer))
			return;
	}
}

static void on_retry(struct loop_timer *t)
{
	struct published *p = container_of(t, struct published, retry);
	struct endpoint peer = p->waiting_peer;
	int fd = p->waiting_fd;

	p->waiting_fd = -1;
	if (fd >= 0 && !take(p, fd, &peer)) {
		p->counts.waited--;
		return;
	}
	loop_io_set(&p->io, EPOLLIN);
}

/* ---- life ---------------------------------------------------------------------------- */

static void free_unused(struct published *p)
{
	if (p->port.fd >= 0 || p->counts.now)
		return;
	loop_timer_del(p->gw->loop, &p->retry);
	published_udp_fini(p);
	list_del(&p->in_ports);
	p->gw->n_ports--;
	free(p);
}

void gateway_publish_forget(struct flow *f)
{
	struct published *p = f->listener;

	if (!p)
		return;
	f->listener = NULL;
	if (p->port.cfg.udp)
		published_forget_peer(p, f);
	p->counts.now--;
	/* Not from here: this may be the middle of another flow's end. */
	if (p->waiting_fd >= 0)
		loop_timer_set(p->gw->loop, &p->retry, loop_now(p->gw->loop));
	free_unused(p);
}

static struct published *find_port(const struct gateway *gw, uint32_t id)
{
	list_for_each (it, &gw->ports) {
		struct published *p = container_of(it, struct published, in_ports);

		if (p->port.id == id && p->port.fd >= 0)
			return p;
	}
	return NULL;
}

static int publish_add(struct gateway *gw, const struct publish_port *port)
{
	struct published *p;
	int r;

	/* Closed ones whose connections go on count as well: they are memory, too. */
	if (port->fd < 0 || find_port(gw, port->id))
		return -EINVAL;
	p = gw->n_ports < 2 * PUBLISH_MAX ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return -ENOMEM;
	p->gw = gw;
	p->port = *port;
	p->waiting_fd = -1;
	p->retry.cb = on_retry;
	r = published_udp_init(p);
	if (r == 0)
		r = loop_io_add(gw->loop, &p->io, port->fd, EPOLLIN,
				port->cfg.udp ? published_on_datagram : on_accept);
	if (r < 0) {
		published_udp_fini(p);
		free(p);
		return r;
	}
	list_add_tail(&gw->ports, &p->in_ports);
	gw->n_ports++;
	return 0;
}

static void publish_close(struct published *p, bool end_flows)
{
	struct gateway *gw = p->gw;
	uint64_t left = p->counts.now;

	loop_io_del(&p->io);
	loop_timer_del(gw->loop, &p->retry);
	fd_close(p->port.fd);
	p->port.fd = -1;
	if (p->waiting_fd >= 0)
		reset_and_close(p->waiting_fd);
	p->waiting_fd = -1;
	if (!left) {
		free_unused(p);
		return;
	}
	if (!end_flows && !p->port.cfg.udp)
		return;
	/* The last of them frees p. */
	list_for_each_safe (it, next, &gw->all) {
		struct flow *f = container_of(it, struct flow, in_all);

		if (left && f->listener == p) {
			left--;
			netstack_flow_abort(f->ns);
		}
	}
}

int gateway_publish_start(struct gateway *gw, const struct gateway_spec *spec)
{
	int r = 0;

	list_init(&gw->ports);
	for (size_t i = 0; r == 0 && i < spec->n_ports; i++)
		r = publish_add(gw, &spec->ports[i]);
	return r;
}

/* ---- changes while it runs -------------------------------------------------------------- */

static void answer(struct gateway *gw, enum msg_type type, int32_t value, const void *body, size_t len)
{
	if (msg_send(gw->record.sock, type, value, body, len, NULL, 0) < 0)
		loop_stop(gw->loop, 1);
}

static void send_counts(struct gateway *gw, uint32_t ask)
{
	struct msg_ports all = { .ask = ask };

	list_for_each (it, &gw->ports) {
		struct published *p = container_of(it, struct published, in_ports);

		if (p->port.fd < 0 || all.n >= ARRAY_SIZE(all.port))
			continue;
		all.port[all.n].id = p->port.id;
		all.port[all.n++].counts = p->counts;
	}
	answer(gw, MSG_PORTS_COUNTED, 0, &all,
	       offsetof(struct msg_ports, port) + all.n * sizeof(all.port[0]));
}

bool gateway_publish_message(struct gateway *gw, const struct msg *m, size_t len, int fd)
{
	struct msg_publish done = { .port.fd = -1 };
	struct published *p;
	int r;

	if (len < sizeof(m->publish) || m->head.type < MSG_PUBLISH || m->head.type > MSG_PORTS_COUNTED)
		return false;
	done.ask = m->publish.ask;
	switch (m->head.type) {
	case MSG_PUBLISH:
		done.port = m->publish.port;
		done.port.fd = fd;
		r = publish_add(gw, &done.port);
		if (r < 0)
			fd_close(fd);
		answer(gw, MSG_PUBLISHED, r, &done, sizeof(done));
		return true;
	case MSG_UNPUBLISH:
		p = find_port(gw, m->publish.port.id);
		done.port.id = m->publish.port.id;
		done.flows = p ? p->counts.now : 0;
		if (p)
			publish_close(p, m->publish.end_flows);
		answer(gw, MSG_PUBLISHED, p ? 0 : -ENOENT, &done, sizeof(done));
		break;
	case MSG_PORTS:
		send_counts(gw, done.ask);
		break;
	default:
		return false;
	}
	fd_close(fd);
	return true;
}
