/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link: frames to and from one guest, whatever carries them. The stack above
 * knows frames only; how they travel, and what the guest's side can do itself
 * (checksums, segmentation), is the driver's.
 *
 * Pull for frames of the guest, push for ours: the driver says readable(), the
 * stack calls read() until it gives nothing or the stack's share of a turn is
 * over; then readable() must come again by itself (a task will do).
 *
 * The stack always sends super-segments with partial checksums. A driver whose
 * guest cannot take them uses link_segment() (link_segment.c).
 */
#ifndef WEIR_NETSTACK_LINK_H
#define WEIR_NETSTACK_LINK_H

#include <sys/uio.h>

#include "base/base.h"

/* Segmentation, numbered as in virtio-net headers. From the guest they are claims: never an index. */
enum link_gso {
	LINK_GSO_NONE = 0,
	LINK_GSO_TCP4 = 1,
	LINK_GSO_TCP6 = 4,
	LINK_GSO_UDP = 5,
};

/* What the guest's side takes from us; may change when the link comes up (link_events.up). */
struct link_caps {
	bool csum; /* frames with partial checksums */
	bool tso4, tso6;
	bool uso;
};

#define LINK_TAIL_MAX 64

/*
 * A frame of the guest. p is private memory: what is read there stays as it is.
 * The rest of the payload may lie in the guest's own memory and change while it
 * is looked at; only TCP payload behind a vouched checksum may come that way,
 * its headers are always in p. Valid until the next read() or flush().
 */
struct link_rx {
	const uint8_t *p; /* Ethernet header on */
	size_t len;
	struct iovec tail[LINK_TAIL_MAX];
	unsigned n_tail;
	size_t tail_len;
	bool vouched; /* checksum need not be verified */
	/*
	 * Nothing on the way can have damaged the frame, and no header says who
	 * completes its checksum: one that holds the pseudo header's sum alone
	 * (libkrun's offloads without a virtio header) is as good as a right one.
	 */
	bool maybe_partial;
	uint8_t gso;
	uint16_t gso_size;
};

/* A frame that lies in one piece and about which nothing is said. (The tail is not zeroed: 1 KiB.) */
static inline void link_rx_set(struct link_rx *rx, const uint8_t *p, size_t len)
{
	rx->p = p;
	rx->len = len;
	rx->n_tail = 0;
	rx->tail_len = 0;
	rx->vouched = rx->maybe_partial = false;
	rx->gso = LINK_GSO_NONE;
	rx->gso_size = 0;
}

/* A frame to send; head holds Ethernet, IP and transport header. */
struct link_tx {
	const uint8_t *head;
	size_t head_len;
	struct iovec data[2];
	unsigned n_data;
	bool partial_csum;
	uint16_t csum_start, csum_off; /* from the Ethernet header on */
	uint8_t gso;
	uint16_t gso_size;
};

#define LINK_ROOM_MAX 64

struct ns_link;

struct link_driver {
	const char *name;
	/* One frame: 1, 0 when there is none now. A link that is lost says down() and returns 0. */
	int (*read)(struct ns_link *l, struct link_rx *ret);
	/*
	 * 0: sent or queued until flush(). -EAGAIN: all of it is refused now,
	 * writable() follows. Other errors: this frame is lost.
	 */
	int (*write)(struct ns_link *l, const struct link_tx *tx);
	/*
	 * Room for one frame with payload that is yet to be written, in the guest's
	 * own memory: want bytes (not 0) behind head_len of header, all of them.
	 * -EAGAIN as write(); other errors: write() may do better. On 0 exactly one
	 * commit() (or cancel) follows before any other call. The guest can write
	 * there meanwhile, and its VMM can take the memory away: then a system call
	 * that is given the room fails with EFAULT. NULL: nothing better than write().
	 */
	int (*room)(struct ns_link *l, size_t head_len, size_t want,
		    struct iovec iov[LINK_ROOM_MAX], unsigned *ret_n);
	/* tx as for write(), its data being the first len bytes of the room; len 0 and tx NULL: cancel. */
	int (*commit)(struct ns_link *l, const struct link_tx *tx, size_t len);
	/* The turn is over: pass on what is queued, give back what read() lent, wake the guest. */
	void (*flush)(struct ns_link *l);
	void (*free)(struct ns_link *l);
};

/* What the stack is told. Never from inside a call of the stack's own but read(). */
struct link_events {
	void (*readable)(struct ns_link *l);
	void (*writable)(struct ns_link *l);
	/* A guest is there, its caps are known: not for a tap, which is up from its birth. */
	void (*up)(struct ns_link *l);
	/*
	 * The guest is gone and with it every flow; what comes next is another
	 * machine. last: nothing ever comes again. ns_link.why says why.
	 */
	void (*down)(struct ns_link *l, bool last);
};

/* First member of a driver's own struct. */
struct ns_link {
	const struct link_driver *drv;
	const struct link_events *events;
	void *ctx; /* the stack's */
	struct loop *loop;
	struct link_caps caps;
	bool is_up;
	uint64_t faults; /* links lost because the other side broke the rules */
	const char *why; /* the last down(): text that stays as long as the link */
};

/*
 * Open a link over fd, which is taken over when 0 is returned: a tap as
 * netstack.h says; a socket that is connected, or that listens and gets one
 * guest at a time. No event comes before the loop runs.
 */
must_check int link_tap_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
			    struct ns_link **ret);
must_check int link_stream_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
			       struct ns_link **ret);
must_check int link_dgram_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
			      struct ns_link **ret);

/*
 * vhost-user-net back end. mtu and mac (NULL: the VMM's choice) are what the
 * guest is told where the VMM asks us.
 */
must_check int link_vhost_new(struct loop *loop, int fd, uint16_t mtu, const uint8_t *mac,
			      const struct link_events *e, void *ctx, struct ns_link **ret);

/*
 * Cut tx (at most 64 KiB of payload) into frames that need neither
 * segmentation nor checksum, and hand them to put() one by one; stops at its
 * first non-zero result, which is returned. What caps has is left as it is.
 */
int link_segment(const struct link_tx *tx, const struct link_caps *caps,
		 int (*put)(void *ctx, const struct link_tx *one), void *ctx);

/*
 * A frame that needs no segmentation as one piece at dst, which has room for
 * all of it; a partial checksum is completed on the way. Returns its length.
 */
size_t link_copy(const struct link_tx *tx, uint8_t *dst);

/* Where frames of a segmented super-segment are gathered: the payload stays where it is. */
#define LINK_GATHER 128
#define LINK_GATHER_HEAD 160

/* Bytes of a frame. */
static inline size_t link_tx_len(const struct link_tx *tx)
{
	size_t n = tx->head_len;

	for (unsigned i = 0; i < tx->n_data; i++)
		n += tx->data[i].iov_len;
	return n;
}

#endif
