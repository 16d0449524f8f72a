/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine behind a dgram link. Whoever sends to our socket from a path of
 * its own is the machine: we connect to that path, and the kernel lets nobody
 * else in until that socket is gone. The gateway cannot see paths, so this is
 * the supervisor's part; the gateway gets the connected socket.
 */
#ifndef WEIR_LINK_PEER_H
#define WEIR_LINK_PEER_H

#include "base/base.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct link_peer {
	struct loop *loop;
	int fd;		  /* ours, bound */
	const char *only; /* the only path that is taken, or NULL */
	/* A machine is there (connected), or gone; the socket is fd all along. */
	void (*changed)(struct link_peer *p, bool there);

	struct loop_io io; /* added while nobody is there */
	struct loop_timer alive;
	struct sockaddr_un at;
	socklen_t at_len;
	dev_t dev; /* the socket behind that path: another one is another machine */
	ino_t ino;
	bool there, warned;
};

/* The first four members are set, the rest is zero; fd stays the caller's. */
must_check int link_peer_start(struct link_peer *p);
/* The other side has heard that nobody is there any more. */
void link_peer_lost(struct link_peer *p);
void link_peer_stop(struct link_peer *p);

#endif
