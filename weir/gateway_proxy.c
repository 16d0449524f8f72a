/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channel to the tlsproxy, and what becomes of flows when that dies.
 *
 * Its flows are reset, never ended in order: a reader must not take a cut
 * reply for a whole one. The kernel closes a dead process's descriptors from the
 * highest on, and the channel is its highest (proxy.c); so when a flow's end is seen,
 * a channel that has ended as well tells what it was.
 *
 * New flows that have to be read are taken and wait, with their two descriptors,
 * until the successor's channel comes; beyond GATEWAY_PROXY_WAIT_NS they
 * are reset, and the next ones refused at once. How many wait is bounded by the
 * flows there may be. Nothing goes on unread.
 */
#include "weir/gateway_int.h"

#include "weir/message.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char died[] = "the tlsproxy died, and with it what it carried";
static const char ended[] = "the sandbox ended";
static const char not_back[] = "the tlsproxy died and has no successor yet: try again";

/* Descriptors that are for the next tlsproxy. */
struct proxy_wait {
	struct list in_waiting;
	struct flow *flow;
	int guest, upstream;
};

/* ---- a flow to the tlsproxy ---------------------------------------------------- */

static int send_flow(const struct flow *f, int guest_fd, int upstream_fd)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct tlsproxy_flow tf = {
		.id = f->id,
		.tls = f->proxy_tls,
		.terminate = f->terminate,
		.remote = t->remote,
		.upstream = f->terminate ? t->remote : f->upstream,
		.has_name = f->has_name,
		.name = f->name,
		.n_candidates = f->n_candidates,
	};
	int fds[] = { guest_fd, upstream_fd };
	size_t n_fds = upstream_fd < 0 ? 1 : 2;

	if (f->n_candidates)
		memcpy(tf.candidates, f->candidates, f->n_candidates * sizeof(*f->candidates));
	/* The flow is on the record before anything that comes of it. */
	record_flush(&f->gw->record);
	return msg_send(f->gw->proxy, MSG_FLOW, 0, &tf, sizeof(tf), fds, n_fds);
}

/* Takes over both on success. */
static int wait_for_successor(struct flow *f, int guest_fd, int upstream_fd)
{
	struct gateway *gw = f->gw;
	struct proxy_wait *w;

	/* Too late for patience: see on_wait_over(). */
	if (!loop_timer_armed(&gw->proxy_back))
		return -ETIMEDOUT;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct proxy_wait){ .flow = f, .guest = guest_fd, .upstream = upstream_fd };
	list_add_tail(&gw->proxy_waiting, &w->in_waiting);
	f->waits_for_proxy = w;
	return 0;
}

int gateway_proxy_send(struct flow *f, int guest_fd, int upstream_fd)
{
	struct gateway *gw = f->gw;
	int r = gw->proxy_gone ? -EPIPE : send_flow(f, guest_fd, upstream_fd);

	if (r == -EPIPE || r == -ECONNRESET) {
		gateway_proxy_died(gw);
		r = wait_for_successor(f, guest_fd, upstream_fd);
		if (r == 0)
			return 0;
	}
	fd_close(guest_fd);
	fd_close(upstream_fd);
	return r;
}

void gateway_proxy_forget(struct flow *f)
{
	struct proxy_wait *w = f->waits_for_proxy;

	if (!w)
		return;
	f->waits_for_proxy = NULL;
	list_del(&w->in_waiting);
	fd_close(w->guest);
	fd_close(w->upstream);
	free(w);
}

/* ---- its death ------------------------------------------------------------------ */

static void cut(struct flow *f, const char *why)
{
	f->cut = why;
	netstack_flow_abort(f->ns);
}

static void on_wait_over(struct loop_timer *t)
{
	struct gateway *gw = container_of(t, struct gateway, proxy_back);

	while (!list_empty(&gw->proxy_waiting))
		cut(container_of(gw->proxy_waiting.next, struct proxy_wait, in_waiting)->flow,
		    not_back);
}

/*
 * Whoever ends the run tells us first (run_end()), so that what the tlsproxy does then is
 * never taken for its death.
 */
static const char *why_gone(const struct gateway *gw)
{
	struct pollfd p = { .fd = gw->supervisor_io.fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && p.revents ? ended : died;
}

/* From the loop: the stack may be in the midst of one of them when it is learned. */
static void cut_all(struct loop_task *t)
{
	struct gateway *gw = container_of(t, struct gateway, proxy_cut);
	const char *why = why_gone(gw);

	list_for_each_safe (it, next, &gw->all) {
		struct flow *f = container_of(it, struct flow, in_all);

		if (f->with_proxy && !f->waits_for_proxy)
			cut(f, why);
	}
}

void gateway_proxy_died(struct gateway *gw)
{
	if (gw->proxy_gone)
		return;
	gw->proxy_gone = true;
	gateway_parked_forget(gw);
	gateway_fetch_forget(gw);
	loop_io_del(&gw->proxy_io);
	fd_close(gw->proxy);
	gw->proxy = -1;
	gw->proxy_back.cb = on_wait_over;
	loop_timer_set(gw->loop, &gw->proxy_back, loop_now(gw->loop) + GATEWAY_PROXY_WAIT_NS);
	gw->proxy_cut.cb = cut_all;
	loop_task_queue(gw->loop, &gw->proxy_cut);
}

bool gateway_flow_cut(void *ctx, struct netstack_flow *ns)
{
	struct gateway *gw = ctx;
	struct flow *f = netstack_flow_user(ns);
	struct pollfd p = { .fd = gw->proxy, .events = 0 };

	if (!f || !f->with_proxy)
		return false;
	if (!gw->proxy_gone && (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLHUP | POLLERR))))
		return false;
	f->cut = why_gone(gw);
	return true;
}

/* ---- its messages ---------------------------------------------------------------- */

static struct flow *find_flow(const struct gateway *gw, uint64_t id)
{
	hmap_for_hash (it, &gw->flows, hash_bytes(&gw->key, &id, sizeof(id))) {
		struct flow *f = container_of(it, struct flow, by_id);

		if (f->id == id)
			return f;
	}
	return NULL;
}

static void on_done(struct gateway *gw, const struct msg *m)
{
	struct flow *f = find_flow(gw, m->done.id);

	if (f && m->done.reset)
		netstack_flow_abort(f->ns);
}

static void on_dial_wish(struct gateway *gw, const struct msg *m)
{
	struct flow *f = find_flow(gw, m->done.id);

	/* Once: what is under way answers it. */
	if (f && f->shaken && !f->lookup && !flow_dialling(f))
		gateway_parked_late(f);
}

static void on_proxy(struct loop_io *io, uint32_t revents)
{
	struct gateway *gw = container_of(io, struct gateway, proxy_io);
	struct msg m;
	ssize_t n = msg_recv(io->fd, &m, NULL, 0, NULL);

	(void)revents;
	if (n == -ECONNRESET) {
		gateway_proxy_died(gw);
		return;
	}
	if (n < 0)
		return;
	if (m.head.type == MSG_FLOW_DONE && (size_t)n >= sizeof(m.done))
		on_done(gw, &m);
	else if (m.head.type == MSG_FLOW_DIAL && (size_t)n >= sizeof(m.done))
		on_dial_wish(gw, &m);
	else if (m.head.type == MSG_PARKED)
		gateway_parked_word(gw, &m, (size_t)n);
	else if (m.head.type == MSG_DIAL && (size_t)n >= sizeof(m.dial))
		gateway_fetch_dial(gw, &m.dial);
	else if (m.head.type == MSG_KEYLOG && gw->capture)
		audit_capture_keys(gw->capture, m.text, (size_t)n);
	else if (m.head.type == MSG_KNOWN || m.head.type == MSG_KNOWN_ALL)
		gateway_finder_word(gw, &m);
}

int gateway_proxy_start(struct gateway *gw, int fd)
{
	gw->proxy = fd;
	return loop_io_add(gw->loop, &gw->proxy_io, fd, EPOLLIN, on_proxy);
}

/* What waited goes on, in the order it came. */
void gateway_proxy_back(struct gateway *gw, int fd)
{
	/* The word of the death may come behind that of the successor. */
	gateway_proxy_died(gw);
	loop_task_cancel(gw->loop, &gw->proxy_cut);
	cut_all(&gw->proxy_cut);
	gw->proxy = fd;
	if (fd < 0 || loop_io_add(gw->loop, &gw->proxy_io, fd, EPOLLIN, on_proxy) < 0) {
		loop_stop(gw->loop, 1);
		return;
	}
	gw->proxy_gone = false;
	while (!gw->proxy_gone && !list_empty(&gw->proxy_waiting)) {
		struct proxy_wait *w =
			container_of(gw->proxy_waiting.next, struct proxy_wait, in_waiting);
		struct flow *f = w->flow;
		int guest = steal_fd(&w->guest), upstream = steal_fd(&w->upstream);

		gateway_proxy_forget(f);
		if (gateway_proxy_send(f, guest, upstream) < 0)
			cut(f, not_back);
	}
	if (!gw->proxy_gone)
		loop_timer_del(gw->loop, &gw->proxy_back);
}
