/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vhost-user link share.
 *
 *   link_vhost.c   the socket, one guest at a time; the link's life
 *   vhost_wire.c   messages and their descriptors off a stream socket
 *   vhost_msg.c    requests: features, configuration, the device's life
 *   vhost_setup.c  requests: memory and rings
 *   vhost_mem.c    guest memory: regions, addresses
 *   vhost_guard.c  memory that is taken away while we look at it
 *   vhost_ring.h   the guest's memory and its rings, for all of these
 *   vring.c        one split virtqueue
 *   vhost_read.c   virtio-net: frames of the guest
 *   vhost_write.c  frames to the guest, gathered and segmented as its driver needs it
 *   vhost_iov.c    pieces of guest memory
 *
 * Three parties are hostile here: the VMM at the socket, the driver in the
 * guest, and whoever else can write to the shared memory. What any of them does
 * wrong ends this link and nothing else. Rules: whatever lies in shared memory
 * is read once, into private memory, before it is looked at; no length, index
 * or address of theirs is used unchecked; every loop has a bound that is ours.
 */
#ifndef WEIR_NETSTACK_VHOST_INT_H
#define WEIR_NETSTACK_VHOST_INT_H

#include "netstack/vhost_ring.h"

/* ---- the device --------------------------------------------------------- */

#define VHOST_RX 0 /* named by the driver: what it receives */
#define VHOST_TX 1
#define VHOST_QUEUES 2

struct vhost_dev {
	struct loop *loop;
	void (*on_kick)(struct loop_io *io, uint32_t revents);
	uint16_t mtu;
	bool has_mac;
	uint8_t mac[6];

	uint64_t features, proto;
	bool features_set;
	bool fresh; /* another driver than the one that ran before, or the first */
	struct vhost_mem mem;
	sig_atomic_t volatile mem_broken;
	struct vring q[VHOST_QUEUES];
	char why[160]; /* of the refusal that ends the link */
};

/* virtio 1.2 5.1.3 and 6; vhost-user's own. */
#define VHOST_F(bit) (UINT64_C(1) << (bit))
enum {
	VHOST_F_CSUM = 0,
	VHOST_F_GUEST_CSUM = 1,
	VHOST_F_MTU = 3,
	VHOST_F_MAC = 5,
	VHOST_F_GUEST_TSO4 = 7,
	VHOST_F_GUEST_TSO6 = 8,
	VHOST_F_HOST_TSO4 = 11,
	VHOST_F_HOST_TSO6 = 12,
	VHOST_F_HOST_ECN = 13,
	VHOST_F_MRG_RXBUF = 15,
	VHOST_F_STATUS = 16,
	VHOST_F_ANY_LAYOUT = 27,
	VHOST_F_INDIRECT_DESC = 28,
	VHOST_F_EVENT_IDX = 29,
	VHOST_F_PROTOCOL_FEATURES = 30,
	VHOST_F_VERSION_1 = 32,
	VHOST_F_GUEST_USO4 = 54,
	VHOST_F_GUEST_USO6 = 55,
	VHOST_F_HOST_USO = 56,

	VHOST_PROTO_REPLY_ACK = 3,
	VHOST_PROTO_MTU = 4,
	VHOST_PROTO_CONFIG = 9,
};

#define VHOST_PAYLOAD_MAX 512
#define VHOST_CONFIG_MAX 256

struct vhost_msg {
	uint32_t request, flags, size;
	uint8_t p[VHOST_PAYLOAD_MAX];
	int fds[LIMIT_VHOST_REGIONS]; /* owned; -1 when taken */
	unsigned n_fds;
};
#define VHOST_HEAD 12
#define VHOST_VERSION 1u
#define VHOST_FLAG_REPLY 4u
#define VHOST_FLAG_NEED_REPLY 8u

/* Numbers of requests that more than one file knows. */
#define VHOST_REQ_KICK 12
#define VHOST_REQ_CALL 13

enum vhost_outcome {
	VHOST_DONE,   /* acknowledged when asked for */
	VHOST_ANSWER, /* msg is the answer */
	VHOST_REFUSE, /* not done, acknowledged as such; the link stays */
	VHOST_FATAL,
};
enum vhost_outcome vhost_fatal(struct vhost_dev *d, const char *why);
enum vhost_outcome vhost_set_mem_table(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_set_num(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_set_addr(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_set_base(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_get_base(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_set_enable(struct vhost_dev *d, struct vhost_msg *m);
enum vhost_outcome vhost_set_event(struct vhost_dev *d, struct vhost_msg *m);
void vhost_set_kick(struct vring *q, int fd);
/* Those that have all they need. */
must_check int vhost_start_rings(struct vhost_dev *d);

/* Payload is checked for its length before these. */
static inline uint64_t vhost_u64(const struct vhost_msg *m, size_t at)
{
	uint64_t v;

	memcpy(&v, m->p + at, sizeof(v));
	return v;
}

static inline uint32_t vhost_u32(const struct vhost_msg *m, size_t at)
{
	uint32_t v;

	memcpy(&v, m->p + at, sizeof(v));
	return v;
}

void vhost_dev_init(struct vhost_dev *d, struct loop *loop, uint16_t mtu, const uint8_t *mac,
		    void (*on_kick)(struct loop_io *io, uint32_t revents));
/* Back to the beginning: the VMM is gone. */
void vhost_dev_reset(struct vhost_dev *d);
/*
 * Do what a message asks; takes its descriptors, all of them, always. 0, and
 * *ret_reply says whether msg has become the answer; -EPROTO: the link is to be
 * closed, d->why says why (and there may be an answer all the same).
 */
must_check int vhost_dev_request(struct vhost_dev *d, struct vhost_msg *msg, bool *ret_reply);
uint64_t vhost_dev_offers(const struct vhost_dev *d);
const char *vhost_request_name(uint32_t request);

static inline bool vhost_has(const struct vhost_dev *d, unsigned bit)
{
	return d->features >> bit & 1;
}

/* ---- messages off the socket -------------------------------------------- */

struct vhost_wire {
	int fd;
	size_t got; /* of head and payload together */
	struct vhost_msg msg;
};
void vhost_wire_init(struct vhost_wire *w, int fd);
void vhost_wire_fini(struct vhost_wire *w); /* closes what has been received and fd */
/* 1: w->msg is complete. 0: not yet. Negative errno: -EPIPE at the peer's end, -EPROTO malformed. */
int vhost_wire_recv(struct vhost_wire *w, const char **ret_why);
must_check int vhost_wire_reply(struct vhost_wire *w);
void vhost_msg_close_fds(struct vhost_msg *m);

/* ---- frames ------------------------------------------------------------- */

/* Buffers of the driver's gathered for one frame, not yet given back. */
struct vhost_gather {
	unsigned n, n_iov;
	size_t len;
	uint16_t from; /* q->next before the first of them */
	struct vring_chain buf[LIMIT_VHOST_MERGE];
	struct iovec iov[LIMIT_VHOST_CHAIN];
};

/*
 * Segments of one large frame that found no buffer when the first had one. Each: length (size_t),
 * bytes. All or nothing would wait for ever where the driver has few buffers.
 */
struct vhost_late {
	uint8_t *p;
	size_t size, len, off;
};

struct link_vhost {
	struct ns_link link;
	struct vhost_dev dev;
	int listen_fd;
	struct loop_io listen_io, conn_io;
	struct vhost_wire wire;
	bool connected, lent;
	bool drained;		    /* read() found nothing; a kick is not asked for yet */
	bool second;		    /* somebody else has knocked */
	bool msg_waiting;	    /* a message was put off until flush() */
	bool rx_wait;		    /* writable() is owed */
	const char *fault;	    /* the driver's: the link is to be closed */
	bool refused;		    /* a second VMM was, while this one is here: said once */
	char told[192];		    /* link.why */
	struct loop_timer patience; /* for a VMM that says nothing, or half of a message */
	struct loop_timer again;    /* frames were left, or the link is to be closed */
	bool *gone;		    /* set when freed while messages are worked off */
	struct vhost_gather g;
	bool gathered; /* between room() and commit() */
	struct vhost_late late;
	bool placed;	  /* a segment of the frame being written is in its buffer */
	size_t room_head; /* between room() and commit() */
	uint8_t buf[LIMIT_FRAME];
	struct iovec iov[LIMIT_VHOST_CHAIN];
};

static inline struct link_vhost *link_vhost(struct ns_link *l)
{
	return container_of(l, struct link_vhost, link);
}

static inline size_t vhost_net_head(const struct vhost_dev *d)
{
	return vhost_has(d, VHOST_F_VERSION_1) || vhost_has(d, VHOST_F_MRG_RXBUF) ? 12 : 10;
}

/* The driver's calls of link.h. */
int vhost_net_read(struct ns_link *l, struct link_rx *ret);
int vhost_net_write(struct ns_link *l, const struct link_tx *tx);
int vhost_net_room(struct ns_link *l, size_t head_len, size_t want, struct iovec iov[LINK_ROOM_MAX],
		   unsigned *ret_n);
int vhost_net_commit(struct ns_link *l, const struct link_tx *tx, size_t len);
/* What is late goes first. True: nothing is left. */
bool vhost_net_late(struct link_vhost *v);
void vhost_net_forget_late(struct link_vhost *v);
void vhost_net_caps(struct link_vhost *v);
/* At the end of a turn: when the queue was found empty, ask for the next kick. */
void vhost_net_rest(struct link_vhost *v);
/* Frames of a guest whose queue is disabled: taken and forgotten. */
void vhost_net_discard(struct link_vhost *v);
/* The driver broke its rules: the link is closed from the loop. Callable from anywhere. */
void link_vhost_fault(struct link_vhost *v, const char *why);

#endif
