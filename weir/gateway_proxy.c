/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The channel to the tlsproxy, and what becomes of flows when that dies.
 *
 * Flows are handed over at the end of a turn of the loop: clients connect in bursts, and so
 * their lines are one message to the supervisor, and both processes wake up once.
 *
 * Its flows are reset, never ended in order: a reader must not take a cut
 * reply for a whole one. The kernel closes a dead process's descriptors from the
 * highest on, and the channel is its highest (proxy.c); so when a flow's end is seen,
 * a channel that has ended as well tells what it was.
 *
 * New flows that have to be read then wait for the successor's channel instead of the turn's
 * end; beyond GATEWAY_PROXY_WAIT_NS they are reset, and the next ones refused at once. How
 * many wait is bounded by the flows there may be. Nothing goes on unread.
 */
#include "weir/gateway_int.h"

#include "weir/message.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char died[] = "the tlsproxy died, and with it what it carried";
static const char ended[] = "the sandbox ended";
static const char not_back[] = "the tlsproxy died and has no successor yet: try again";
static const char not_taken[] = "it could not be handed to the tlsproxy: try again";

/* A flow that is to be handed over, and the tlsproxy's ends of it. */
struct proxy_wait {
	struct list in_waiting;
	struct flow *flow;
	int guest, upstream;
};

/* ---- a flow to the tlsproxy ---------------------------------------------------- */

static int send_flow(const struct proxy_wait *w)
{
	const struct flow *f = w->flow;
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
	int fds[] = { w->guest, w->upstream };
	size_t n_fds = w->upstream < 0 ? 1 : 2;

	if (f->n_candidates)
		memcpy(tf.candidates, f->candidates, f->n_candidates * sizeof(*f->candidates));
	return msg_send(f->gw->proxy, MSG_FLOW, 0, &tf, sizeof(tf), fds, n_fds);
}

int gateway_proxy_send(struct flow *f, int guest_fd, int upstream_fd)
{
	struct gateway *gw = f->gw;
	/* Too late for patience: see on_wait_over(). */
	bool refused = gw->proxy_gone && !loop_timer_armed(&gw->proxy_back);
	struct proxy_wait *w = refused ? NULL : malloc(sizeof(*w));

	if (!w) {
		fd_close(guest_fd);
		fd_close(upstream_fd);
		return refused ? -ETIMEDOUT : -ENOMEM;
	}
	*w = (struct proxy_wait){ .flow = f, .guest = guest_fd, .upstream = upstream_fd };
	list_add_tail(&gw->proxy_waiting, &w->in_waiting);
	f->waits_for_proxy = w;
	loop_task_queue(gw->loop, &gw->proxy_task);
	return 0;
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

static void cut(struct flow *f, const char *why)
{
	f->cut = why;
	netstack_flow_abort(f->ns);
}

static struct flow *first_waiting(const struct gateway *gw)
{
	return container_of(gw->proxy_waiting.next, struct proxy_wait, in_waiting)->flow;
}

/* In the order they came. */
static void hand_over(struct gateway *gw)
{
	/* Each flow is on the record before anything that comes of it. */
	record_flush(&gw->record);
	while (!gw->proxy_gone && !list_empty(&gw->proxy_waiting)) {
		struct flow *f = first_waiting(gw);
		int r = send_flow(f->waits_for_proxy);

		if (r == -EPIPE || r == -ECONNRESET)
			gateway_proxy_died(gw); /* and it waits on */
		else if (r < 0)
			cut(f, not_taken);
		else
			gateway_proxy_forget(f);
	}
}

static void on_turn_over(struct loop_task *t)
{
	hand_over(container_of(t, struct gateway, proxy_task));
}

/* ---- its death ------------------------------------------------------------------ */

static void on_wait_over(struct loop_timer *t)
{
	struct gateway *gw = container_of(t, struct gateway, proxy_back);

	while (!list_empty(&gw->proxy_waiting))
		cut(first_waiting(gw), not_back);
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
	gw->proxy_task.cb = on_turn_over;
	return loop_io_add(gw->loop, &gw->proxy_io, fd, EPOLLIN, on_proxy);
}

/* What waited goes on. */
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
	hand_over(gw);
	if (!gw->proxy_gone)
		loop_timer_del(gw->loop, &gw->proxy_back);
}
