/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user link: we are the back end (the device), a VMM is the front end.
 * Over a socket it hands us the guest's memory and two virtqueues with event
 * descriptors; from then on frames go straight between those and the stack.
 *
 *    listening ── accept ──► connected ── both rings run ──► up
 *        ▲                       │                            │
 *        └────── down() ◄────────┴── socket ends, a rule is broken
 *
 * One guest at a time; whoever else connects is shown the door. A socket that
 * was connected when we got it is not replaced: its end is the link's.
 *
 * Rings that stop and go on where they stood are a paused guest: its flows
 * wait (-EAGAIN). Rings that begin anew, or other features, are another driver
 * (firmware, then a kernel; a reboot): down() and up(), so it inherits nothing.
 *
 * When what happens: the stack may hold pieces of guest memory until flush(), so no
 * message is acted on and no link closed before that (lent). A batch that did not
 * empty the queue is gone on with in the next round of the loop, after
 * everybody else (again). Kicks are quiet meanwhile. Used buffers are told to
 * the driver and the driver is called once, in flush().
 */
#include "netstack/vhost_int.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static const struct link_driver vhost_driver;
static const struct link_driver vhost_driver_plain;

static void run_again(struct link_vhost *v)
{
	/* Not before the next round: timers of now would come again in this one. */
	loop_timer_set(v->link.loop, &v->again, loop_now(v->link.loop) + 1);
}

void link_vhost_fault(struct link_vhost *v, const char *why)
{
	if (!v->fault)
		v->fault = why;
	run_again(v);
}

/* ---- ends --------------------------------------------------------------- */

static void mark_err(const struct vring *q)
{
	static const uint64_t one = 1;

	if (q->err >= 0)
		(void)!write(q->err, &one, sizeof(one));
}

/* The connection's end. The stack's owner may free us in down(), so that comes last. */
static void lost(struct link_vhost *v, const char *what, const char *why, bool fault)
{
	if (fault) {
		log_warn("vhost-user: link closed: %s%s%s", what, *what ? ": " : "", why);
		v->link.faults++;
		mark_err(&v->dev.q[VHOST_RX]);
		mark_err(&v->dev.q[VHOST_TX]);
	} else {
		log_info("vhost-user: the VMM has closed its connection");
	}
	snprintf(v->told, sizeof(v->told), "%s%s%s", what, *what ? ": " : "", why);
	v->link.why = v->told;
	loop_timer_del(v->link.loop, &v->again);
	loop_timer_del(v->link.loop, &v->patience);
	loop_io_del(&v->conn_io);
	vhost_wire_fini(&v->wire);
	vhost_dev_reset(&v->dev);
	vhost_net_forget_late(v);
	v->connected = v->lent = v->drained = v->msg_waiting = v->rx_wait = v->gathered = false;
	v->refused = false;
	v->fault = NULL;
	if (v->listen_fd >= 0)
		loop_io_set(&v->listen_io, EPOLLIN);
	v->link.events->down(&v->link, v->listen_fd < 0);
}

/* ---- up ----------------------------------------------------------------- */

/* False: freed meanwhile. */
static bool restart(struct link_vhost *v)
{
	bool *gone = v->gone;

	log_info("vhost-user: another driver has taken the device");
	vhost_net_forget_late(v);
	v->link.why = "another driver has taken the device";
	v->link.events->down(&v->link, false);
	return !*gone;
}

/* The driver has buffers to receive into again, or takes them again. */
static void receives_again(struct link_vhost *v)
{
	struct vring *q = &v->dev.q[VHOST_RX];
	bool all;

	if (!v->rx_wait || !q->running || !q->enabled || v->fault)
		return;
	v->rx_wait = false;
	all = vhost_net_late(v);
	if (vring_publish(q))
		vring_call(q);
	if (all)
		v->link.events->writable(&v->link);
}

/* After each message (messages() watches for our death): what has begun, what can go on. */
static void check_rings(struct link_vhost *v)
{
	struct vring *rx = &v->dev.q[VHOST_RX], *tx = &v->dev.q[VHOST_TX];

	if (!rx->running || !tx->running)
		return;
	if (v->link.is_up && v->dev.fresh && !restart(v))
		return;
	v->dev.fresh = false;
	if (!v->link.is_up) {
		v->rx_wait = false;
		vhost_net_caps(v);
		/* Room in its memory is of use only for frames that it takes as they are. */
		v->link.drv = v->link.caps.csum && v->link.caps.tso4 && v->link.caps.tso6
				      ? &vhost_driver
				      : &vhost_driver_plain;
		v->link.is_up = true;
		v->link.events->up(&v->link);
	}
	/* Kicked before we watched, or while it was disabled. */
	run_again(v);
	receives_again(v);
}

/* ---- messages ----------------------------------------------------------- */

static void be_patient(struct link_vhost *v)
{
	loop_timer_set(v->link.loop, &v->patience, loop_now(v->link.loop) + LIMIT_VHOST_PATIENCE_NS);
}

/* Whose driver works keeps nobody out who should be let in. */
static void on_patience_over(struct loop_timer *t)
{
	struct link_vhost *v = container_of(t, struct link_vhost, patience);

	if (!v->link.is_up)
		lost(v, "message", v->wire.got ? "it does not go on" : "there is none", true);
}

/* False: no more now, or the link is gone, and with it perhaps we. */
static bool one_message(struct link_vhost *v)
{
	const char *why = "its end came in the middle of a message";
	struct vhost_msg *m = &v->wire.msg;
	bool reply = false;
	char what[64];
	int r = vhost_wire_recv(&v->wire, &why);

	if (r == 0) {
		if (v->wire.got && !loop_timer_armed(&v->patience))
			be_patient(v);
		return false;
	}
	loop_timer_del(v->link.loop, &v->patience);
	if (r < 0) {
		/* Reset: it is gone and had not read all of our answers. */
		if ((r == -EPIPE && v->wire.got == 0) || r == -ECONNRESET)
			lost(v, "", "the VMM has closed its connection", false);
		else
			lost(v, "message", r == -EPROTO || r == -EPIPE ? why : strerror(-r), true);
		return false;
	}
	snprintf(what, sizeof(what), "%s (request %u)", vhost_request_name(m->request), m->request);
	r = vhost_dev_request(&v->dev, m, &reply);
	if (reply && vhost_wire_reply(&v->wire) < 0 && r == 0) {
		lost(v, what, "the VMM does not read the answer", true);
		return false;
	}
	if (r < 0) {
		lost(v, what, v->dev.why, true);
		return false;
	}
	check_rings(v);
	return true;
}

static void publish(struct link_vhost *v)
{
	for (unsigned i = 0; i < VHOST_QUEUES; i++)
		if (v->dev.q[i].running && vring_publish(&v->dev.q[i]))
			vring_call(&v->dev.q[i]);
}

static void messages(struct link_vhost *v)
{
	bool gone = false;

	v->gone = &gone;
	v->msg_waiting = false;
	/* A ring may be stopped now: what it was given is told before. */
	publish(v);
	for (unsigned i = 0; i < LIMIT_VHOST_MESSAGES && one_message(v) && !gone; i++)
		;
	if (gone)
		return;
	v->gone = NULL;
	if (v->link.is_up)
		run_again(v);
}

static void on_conn(struct loop_io *io, uint32_t revents)
{
	struct link_vhost *v = container_of(io, struct link_vhost, conn_io);

	(void)revents;
	/* read() gives nothing more until this has been done, in the next round. */
	if (v->lent)
		v->msg_waiting = true;
	else
		messages(v);
}

/* ---- the rings' turns --------------------------------------------------- */

static void turn(struct link_vhost *v)
{
	struct vring *tx = &v->dev.q[VHOST_TX];

	if (v->fault) {
		if (!v->lent)
			lost(v, "the guest's driver", v->fault, true);
		return;
	}
	if (!tx->running || !v->link.is_up || v->msg_waiting)
		return;
	/* Taken back when the queue has been found empty. */
	run_again(v);
	if (tx->enabled)
		v->link.events->readable(&v->link);
	else
		vhost_net_discard(v);
}

static void on_again(struct loop_timer *t)
{
	struct link_vhost *v = container_of(t, struct link_vhost, again);

	if (v->listen_fd >= 0)
		loop_io_set(&v->listen_io, EPOLLIN);
	turn(v);
}

static void on_kick(struct loop_io *io, uint32_t revents)
{
	struct vring *q = container_of(io, struct vring, io);
	struct link_vhost *v = container_of(q->dev, struct link_vhost, dev);

	(void)revents;
	if (q == &v->dev.q[VHOST_TX])
		turn(v);
	else
		receives_again(v);
}

static void vhost_flush(struct ns_link *l)
{
	struct link_vhost *v = link_vhost(l);

	v->lent = false;
	publish(v);
	vhost_net_rest(v);
	if (v->dev.mem_broken)
		link_vhost_fault(v, "guest memory became shorter while it was in use");
	else if (v->fault)
		run_again(v);
}

/* ---- birth and death ---------------------------------------------------- */

static int connected(struct link_vhost *v, int fd)
{
	int r = fd_set_nonblock(fd, true);

	if (r == 0)
		r = loop_io_add(v->link.loop, &v->conn_io, fd, EPOLLIN, on_conn);
	if (r < 0)
		return r;
	vhost_wire_init(&v->wire, fd);
	v->connected = true;
	return 0;
}

static void on_listen(struct loop_io *io, uint32_t revents)
{
	struct link_vhost *v = container_of(io, struct link_vhost, listen_io);
	int fd, r;

	(void)revents;
	/* The one before may be gone, and we have not been told: one round of the loop for that. */
	if (v->connected && !v->second) {
		v->second = true;
		return;
	}
	v->second = false;
	fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* No descriptor or memory left: the knock stays, and we come back to it. */
		loop_io_set(io, 0);
		loop_timer_set(v->link.loop, &v->again, loop_now(v->link.loop) + NS_PER_S);
		return;
	}
	if (v->connected) {
		if (!v->refused)
			log_warn("vhost-user: a second connection is refused: one guest at a time");
		v->refused = true;
		close(fd);
		return;
	}
	r = connected(v, fd);
	if (r < 0) {
		log_warn("vhost-user: a connection is refused: %s", strerror(-r));
		close(fd);
		return;
	}
	be_patient(v);
	log_info("vhost-user: a VMM has connected");
}

static void vhost_free(struct ns_link *l)
{
	struct link_vhost *v = link_vhost(l);

	if (v->gone)
		*v->gone = true;
	loop_timer_del(l->loop, &v->again);
	loop_timer_del(l->loop, &v->patience);
	loop_io_del(&v->conn_io);
	loop_io_del(&v->listen_io);
	vhost_wire_fini(&v->wire);
	vhost_dev_reset(&v->dev);
	vhost_net_forget_late(v);
	fd_close(v->listen_fd);
	free(v);
}

static const struct link_driver vhost_driver = {
	.name = "vhost-user",
	.read = vhost_net_read,
	.write = vhost_net_write,
	.room = vhost_net_room,
	.commit = vhost_net_commit,
	.flush = vhost_flush,
	.free = vhost_free,
};

static const struct link_driver vhost_driver_plain = {
	.name = "vhost-user",
	.read = vhost_net_read,
	.write = vhost_net_write,
	.flush = vhost_flush,
	.free = vhost_free,
};

static int open_fd(struct link_vhost *v, int fd)
{
	int listening = 0, domain = 0, type = 0, r;
	socklen_t n = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0)
		return -errno;
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return -ESOCKTNOSUPPORT;
	if (!listening)
		return connected(v, fd);
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(v->link.loop, &v->listen_io, fd, EPOLLIN, on_listen);
	if (r == 0)
		v->listen_fd = fd;
	return r;
}

int link_vhost_new(struct loop *loop, int fd, uint16_t mtu, const uint8_t *mac,
		   const struct link_events *e, void *ctx, struct ns_link **ret)
{
	struct link_vhost *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	v->link =
		(struct ns_link){ .drv = &vhost_driver_plain, .events = e, .ctx = ctx, .loop = loop };
	v->listen_fd = v->wire.fd = -1;
	v->again.cb = on_again;
	v->patience.cb = on_patience_over;
	vhost_dev_init(&v->dev, loop, mtu, mac, on_kick);
	r = open_fd(v, fd);
	if (r < 0) {
		free(v);
		return r;
	}
	*ret = &v->link;
	return 0;
}
