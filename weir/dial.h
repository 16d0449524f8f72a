/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling: a connected, non-blocking descriptor to the first of some
 * addresses that answers, directly or over an upstream proxy. The caller has
 * judged every address before.
 */
#ifndef WEIR_DIAL_H
#define WEIR_DIAL_H

#include "base/base.h"
#include "netstack/netstack.h"
#include "weir/upstream.h"

#define DIAL_MAX_ADDRS 8

/* fd >= 0: connected, the callee's. Else error is the last address's errno (positive). */
typedef void dial_done_fn(void *user, int fd, int error, const struct endpoint *to);

struct dial {
	struct loop *loop;
	enum netstack_proto proto;
	struct endpoint to[DIAL_MAX_ADDRS];
	size_t n, at;
	int fd;
	int error;
	const char *why; /* static text of an upstream proxy's failure, or NULL: error says it */
	/*
	 * TCP: set before dial_start() when the guest's own SYN is a probe with
	 * this hop limit (traceroute -T); the socket has its usual one once
	 * connected. heard: who stopped it and why; family 0: nobody did.
	 */
	uint8_t hops;
	struct netstack_icmp heard;
	struct loop_io io;
	struct loop_timer timer;
	const struct upstream *via; /* NULL: directly */
	const struct name *name;    /* what the proxy is told instead of an address, or NULL */
	size_t hop;		    /* which of the proxy's addresses */
	struct upstream_shake *shake;
	size_t sent; /* of its out[] */
	dial_done_fn *done;
	void *user;
};

/*
 * Starts; done is called exactly once, possibly before return, unless
 * dial_cancel() comes first; done may free it. n is 1..DIAL_MAX_ADDRS. via (TCP only) is asked
 * for those addresses that it is not bypassed for; with a name it is asked once.
 * via and name must stay as they are until the end.
 */
void dial_start(struct dial *d, struct loop *loop, enum netstack_proto proto,
		const struct endpoint *to, size_t n, const struct upstream *via,
		const struct name *name, dial_done_fn *done, void *user);
void dial_cancel(struct dial *d);
bool dial_active(const struct dial *d);

#endif
