/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States: nobody (bound, everybody may send; the first datagram is looked at,
 * not taken) ⇄ there (connected). That a machine has gone shows in no event of
 * the kernel's, so its path is looked at every second: a socket that refuses,
 * or is another than before, is another machine's or nobody's.
 */
#include "weir/link_peer.h"

#include <sys/epoll.h>
#include <unistd.h>

#define ALIVE_NS NS_PER_S

static int connect_peer(struct link_peer *p)
{
	return connect(p->fd, (struct sockaddr *)&p->at, p->at_len) < 0 ? -errno : 0;
}

/* Zeros for a socket without a file (abstract). */
static void identity(const struct link_peer *p, dev_t *ret_dev, ino_t *ret_ino)
{
	struct stat st = { 0 };

	if (p->at.sun_path[0] && stat(p->at.sun_path, &st) < 0)
		st = (struct stat){ 0 };
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
}

static void nobody(struct link_peer *p)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	p->there = false;
	loop_timer_del(p->loop, &p->alive);
	(void)connect(p->fd, &none, sizeof(none));
	loop_io_set(&p->io, EPOLLIN);
}

static void on_alive(struct loop_timer *t)
{
	struct link_peer *p = container_of(t, struct link_peer, alive);
	dev_t dev;
	ino_t ino;

	identity(p, &dev, &ino);
	if (dev == p->dev && ino == p->ino && connect_peer(p) == 0) {
		loop_timer_set(p->loop, t, loop_now(p->loop) + ALIVE_NS);
		return;
	}
	nobody(p);
	p->changed(p, false);
}

/* False: this datagram is from nobody who can be answered. */
static bool adopt(struct link_peer *p)
{
	const char *why = NULL;

	if (p->at_len <= offsetof(struct sockaddr_un, sun_path))
		why = "it has no path (QEMU: local.path=)";
	else if (p->only && !str_eq(p->at.sun_path, p->only))
		why = "it is not the one of peer=";
	else if (connect_peer(p) < 0)
		why = strerror(errno);
	if (why && !p->warned)
		log_warn("dgram link: a sender's socket%s%.107s cannot be answered: %s",
			 p->at.sun_path[0] ? " " : "", p->at.sun_path, why);
	p->warned = why != NULL;
	return !why;
}

static void on_datagram(struct loop_io *io, uint32_t revents)
{
	struct link_peer *p = container_of(io, struct link_peer, io);
	socklen_t n = sizeof(int);
	uint8_t b;
	int e;

	(void)revents;
	/* Errors are told without being asked for: the machine has turned to somebody else. */
	if (p->there) {
		(void)getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &e, &n);
		return;
	}
	memset(&p->at, 0, sizeof(p->at));
	/* One byte less than there is: the path ends in NUL, however long it was sent. */
	p->at_len = sizeof(p->at) - 1;
	if (recvfrom(p->fd, &b, 1, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&p->at, &p->at_len) < 0)
		return;
	p->at_len = MIN(p->at_len, (socklen_t)sizeof(p->at) - 1);
	if (!adopt(p)) {
		(void)recv(p->fd, &b, 1, MSG_DONTWAIT);
		return;
	}
	identity(p, &p->dev, &p->ino);
	p->there = true;
	loop_io_set(&p->io, 0);
	loop_timer_set(p->loop, &p->alive, loop_now(p->loop) + ALIVE_NS);
	p->changed(p, true);
}

void link_peer_lost(struct link_peer *p)
{
	if (p->there)
		nobody(p);
}

int link_peer_start(struct link_peer *p)
{
	p->alive.cb = on_alive;
	return loop_io_add(p->loop, &p->io, p->fd, EPOLLIN, on_datagram);
}

void link_peer_stop(struct link_peer *p)
{
	if (!p->io.loop)
		return;
	loop_io_del(&p->io);
	loop_timer_del(p->loop, &p->alive);
}
