/* SPDX-License-Identifier: Apache-2.0 */
/* What gateway_publish.c and gateway_publish_udp.c share. */
#ifndef WEIR_GATEWAY_PUBLISH_H
#define WEIR_GATEWAY_PUBLISH_H

#include "weir/gateway_int.h"

/* Lives until it is closed and its last flow has ended. */
struct published {
	struct list in_ports; /* of gw->ports, also when closed */
	struct gateway *gw;
	struct publish_port port; /* fd is io's; -1: closed */
	struct loop_io io;
	struct publish_counts counts;
	/* TCP: accepted, and there is no room for it yet; nothing more is accepted. */
	int waiting_fd;
	struct endpoint waiting_peer;
	struct loop_timer retry;
	/* UDP */
	struct hmap peers;
	struct list by_use; /* struct flow, the one that was silent longest first */
};

/*
 * Judges and records; fd is taken over when 0 is returned. -EACCES: denied;
 * -ENOBUFS: no room now.
 */
must_check int published_open(struct published *p, const struct endpoint *peer, int fd,
			      struct flow **ret);
/* A refusal without a flow. r NULL: no rule asked for it, detail (static) says why. */
void published_refused(struct published *p, const struct endpoint *peer, const struct ruling *r,
		       const char *detail);

/* ---- gateway_publish_udp.c ---- */
must_check int published_udp_init(struct published *p);
void published_udp_fini(struct published *p);
void published_on_datagram(struct loop_io *io, uint32_t revents);
void published_forget_peer(struct published *p, struct flow *f);

#endif
