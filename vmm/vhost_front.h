/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end of vhost-user: hands the guest's memory and its queues to another process,
 * which serves them. Messages as QEMU's vhost-user document has them, of which this is the part for
 * a split-queue device that neither migrates nor asks for its configuration.
 */
#ifndef WEIR_VMM_VHOST_FRONT_H
#define WEIR_VMM_VHOST_FRONT_H

#include "vmm/virtq.h"

struct vhost_front {
	int fd;		   /* stream socket, the caller's */
	uint64_t features; /* that the back end offers, its own bit 30 not among them */
	bool protocol;	   /* it has protocol features, and with them rings to enable */
	bool acks;	   /* it says whether what was asked is done */
	uint64_t until;	   /* when waiting for it has an end: of the step under way */
};

struct vhost_front_ring {
	struct virtq_place place;
	uint16_t base; /* index of the next chain to take */
	int kick, call;
};

/*
 * Each of these asks and waits for the answers, a few seconds at most in all, and fails with a
 * negative errno and a sentence in *ret_why. After a failure the connection is of no use.
 */
must_check int vhost_front_open(struct vhost_front *f, int fd, const char **ret_why);
must_check int vhost_front_start(struct vhost_front *f, uint64_t features, const struct gmem *mem,
				 const struct vhost_front_ring *rings, unsigned n,
				 const char **ret_why);
/* After this the back end touches neither rings nor buffers. ret_bases: of each ring, where it got to. */
must_check int vhost_front_stop(struct vhost_front *f, unsigned n, uint16_t *ret_bases,
				const char **ret_why);

#endif
