/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each vhost-user request does to the device. One queue pair: a stack is
 * one thread, so a second pair would move work, not share it. That feature (MQ) is
 * not offered, which also avoids GET_QUEUE_NUM, whose answer QEMU takes for
 * pairs and Cloud Hypervisor for rings.
 *
 * A ring runs when its memory, size, addresses and kick are known, in whatever
 * order they came; it stops at GET_VRING_BASE. Whether it is enabled is a
 * separate matter, kept while it stands still (QEMU enables long before it
 * starts). What would change under a running ring is refused.
 *
 * Hostile: every number. Anything not understood ends the link: an answer
 * guessed wrong would leave two views of the same memory.
 */
#include "netstack/vhost_int.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	NET_SET_MTU = 20,
	GET_CONFIG = 24,
	SET_CONFIG = 25,
};

#define PROTO_OFFERED                                                                              \
	(VHOST_F(VHOST_PROTO_REPLY_ACK) | VHOST_F(VHOST_PROTO_MTU) | VHOST_F(VHOST_PROTO_CONFIG))

#define NO_FD 0x100u

enum outcome {
	DONE,	/* acknowledged when asked for */
	ANSWER, /* msg is the answer */
	REFUSE, /* not done, acknowledged as such; the link stays */
	FATAL,
};

uint64_t vhost_dev_offers(const struct vhost_dev *d)
{
	static const uint8_t bits[] = {
		VHOST_F_CSUM,	    VHOST_F_GUEST_CSUM, VHOST_F_MTU,
		VHOST_F_GUEST_TSO4, VHOST_F_GUEST_TSO6, VHOST_F_HOST_TSO4,
		VHOST_F_HOST_TSO6,  VHOST_F_HOST_ECN,	VHOST_F_MRG_RXBUF,
		VHOST_F_STATUS,	    VHOST_F_ANY_LAYOUT, VHOST_F_INDIRECT_DESC,
		VHOST_F_EVENT_IDX,  VHOST_F_VERSION_1,	VHOST_F_PROTOCOL_FEATURES,
		VHOST_F_GUEST_USO4, VHOST_F_GUEST_USO6, VHOST_F_HOST_USO,
	};
	uint64_t f = d->has_mac ? VHOST_F(VHOST_F_MAC) : 0;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		f |= VHOST_F(bits[i]);
	return f;
}

static enum outcome fatal(struct vhost_dev *d, const char *why)
{
	snprintf(d->why, sizeof(d->why), "%s", why);
	return FATAL;
}

static uint64_t get_u64(const struct vhost_msg *m, size_t at)
{
	uint64_t v;

	memcpy(&v, m->p + at, sizeof(v));
	return v;
}

static uint32_t get_u32(const struct vhost_msg *m, size_t at)
{
	uint32_t v;

	memcpy(&v, m->p + at, sizeof(v));
	return v;
}

static enum outcome answer_u64(struct vhost_msg *m, uint64_t v)
{
	memcpy(m->p, &v, sizeof(v));
	m->size = sizeof(v);
	return ANSWER;
}

/* ---- features ----------------------------------------------------------- */

static bool any_running(const struct vhost_dev *d)
{
	return d->q[VHOST_RX].running || d->q[VHOST_TX].running;
}

static enum outcome set_features(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t f = get_u64(m, 0);

	if (f & ~vhost_dev_offers(d))
		return fatal(d, "features that were not offered");
	if (any_running(d) && f != d->features)
		return fatal(d, "other features while a ring runs");
	d->fresh |= f != d->features;
	d->features = f;
	d->features_set = true;
	/* An old VMM knows of no enabling. */
	if (!vhost_has(d, VHOST_F_PROTOCOL_FEATURES))
		d->q[VHOST_RX].enabled = d->q[VHOST_TX].enabled = true;
	return DONE;
}

static enum outcome set_protocol_features(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t f = get_u64(m, 0);

	if (f & ~PROTO_OFFERED)
		return fatal(d, "protocol features that were not offered");
	d->proto = f;
	return DONE;
}

static enum outcome reset_owner(struct vhost_dev *d)
{
	d->q[VHOST_RX].enabled = d->q[VHOST_TX].enabled = false;
	return DONE;
}

static enum outcome set_mtu(struct vhost_dev *d, struct vhost_msg *m)
{
	return get_u64(m, 0) == d->mtu ? DONE : REFUSE;
}

/* virtio 1.2 5.1.4: mac, status (link up), one pair, mtu; the rest is zero. */
static enum outcome get_config(struct vhost_dev *d, struct vhost_msg *m)
{
	uint8_t space[VHOST_CONFIG_MAX] = { 0 };
	uint32_t off, n;

	if (m->size < 12)
		return fatal(d, "a configuration request without its head");
	off = get_u32(m, 0);
	n = get_u32(m, 4);
	if (n != m->size - 12 || n > VHOST_CONFIG_MAX || off > VHOST_CONFIG_MAX - n)
		return fatal(d, "a configuration request beyond the configuration");
	memcpy(space, d->mac, sizeof(d->mac));
	space[6] = 1;
	space[8] = 1;
	space[10] = (uint8_t)d->mtu;
	space[11] = (uint8_t)(d->mtu >> 8);
	memcpy(m->p + 12, space + off, n);
	return ANSWER;
}

/* ---- memory ------------------------------------------------------------- */

static bool areas_overlap(struct vhost_dev *d)
{
	struct iovec a[3 * VHOST_QUEUES];
	unsigned n = 0;

	for (unsigned i = 0; i < VHOST_QUEUES; i++) {
		if (!d->q[i].running)
			continue;
		vring_areas(&d->q[i], a + n);
		n += 3;
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			if ((uint8_t *)a[i].iov_base < (uint8_t *)a[j].iov_base + a[j].iov_len &&
			    (uint8_t *)a[j].iov_base < (uint8_t *)a[i].iov_base + a[i].iov_len)
				return true;
	return false;
}

static enum outcome set_mem_table(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vhost_region_in in[LIMIT_VHOST_REGIONS];
	uint32_t n = m->size < 8 ? 0 : get_u32(m, 0);
	const char *why = NULL;

	if (n == 0 || n > LIMIT_VHOST_REGIONS || m->size != 8 + sizeof(in[0]) * n)
		return fatal(d, "a memory table that is not as long as it says");
	if (m->n_fds != n)
		return fatal(d, "a memory table with another number of descriptors");
	memcpy(in, m->p + 8, sizeof(in[0]) * n);
	if (vhost_mem_map(&d->mem, in, m->fds, n, &why) < 0)
		return fatal(d, why);
	for (unsigned i = 0; i < VHOST_QUEUES; i++)
		if (d->q[i].running && vring_remap(&d->q[i], &d->mem) < 0)
			return fatal(d, "a memory table without the rings that run in it");
	if (areas_overlap(d))
		return fatal(d, "rings that overlap");
	return DONE;
}

/* ---- rings -------------------------------------------------------------- */

static struct vring *ring(struct vhost_dev *d, uint64_t index)
{
	if (index < VHOST_QUEUES)
		return &d->q[index];
	snprintf(d->why, sizeof(d->why), "ring %u; there are two (one queue pair)", (unsigned)index);
	return NULL;
}

static enum outcome set_num(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, get_u32(m, 0));
	uint32_t n = get_u32(m, 4);

	if (!q)
		return FATAL;
	if (q->running && n != q->num)
		return fatal(d, "another size of a ring that runs");
	if (n == 0 || n & (n - 1) || n > LIMIT_VHOST_RING)
		return fatal(d, "a ring size that is no power of two up to 32768");
	q->num = n;
	return DONE;
}

static enum outcome set_addr(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, get_u32(m, 0));
	uint64_t desc = get_u64(m, 8), used = get_u64(m, 16), avail = get_u64(m, 24);

	if (!q)
		return FATAL;
	if (get_u32(m, 4))
		return fatal(d, "logging of a ring, which was not offered");
	if (q->running && (desc != q->uva_desc || used != q->uva_used || avail != q->uva_avail))
		return fatal(d, "other addresses of a ring that runs");
	q->uva_desc = desc;
	q->uva_used = used;
	q->uva_avail = avail;
	q->has_addr = true;
	return DONE;
}

static enum outcome set_base(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, get_u32(m, 0));

	if (!q)
		return FATAL;
	if (q->running)
		return fatal(d, "another base of a ring that runs");
	if (get_u32(m, 4) > UINT16_MAX)
		return fatal(d, "a ring base beyond 65535");
	/* One that goes on does so where it stood; one that was reset does not. */
	d->fresh |= q->base != get_u32(m, 4);
	q->base = (uint16_t)get_u32(m, 4);
	return DONE;
}

/* The kick belongs to the loop first: closing it alone would leave it watched, the VMM has it too. */
static void set_kick(struct vring *q, int fd)
{
	loop_io_del(&q->io);
	fd_close(q->kick);
	q->kick = fd;
}

static enum outcome get_base(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, get_u32(m, 0));
	uint32_t base;

	if (!q)
		return FATAL;
	if (q->running)
		vring_stop(q);
	set_kick(q, -1);
	base = q->base;
	memcpy(m->p + 4, &base, sizeof(base));
	return ANSWER;
}

static enum outcome set_enable(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, get_u32(m, 0));

	if (!q)
		return FATAL;
	if (get_u32(m, 4) > 1)
		return fatal(d, "a ring neither enabled nor disabled");
	q->enabled = get_u32(m, 4);
	return DONE;
}

/* Kick, call, err: an index, and a descriptor or the bit that says there is none. */
static enum outcome set_event(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t v = get_u64(m, 0);
	struct vring *q = ring(d, v & 0xff);
	int fd, *slot;

	if (!q)
		return FATAL;
	if (v & ~(uint64_t)(NO_FD | 0xff) || m->n_fds != (v & NO_FD ? 0 : 1))
		return fatal(d, "a ring's event without its descriptor");
	if (m->request == SET_VRING_KICK && v & NO_FD)
		return fatal(d, "a ring to be polled; kicks are needed");
	fd = m->n_fds ? m->fds[0] : -1;
	/* Neither to write nor to read may ever wait. */
	if (fd >= 0 && fd_set_nonblock(fd, true) < 0)
		return fatal(d, "a ring's event that is no event descriptor");
	m->n_fds = 0;
	if (m->request == SET_VRING_KICK) {
		set_kick(q, fd);
		/*
		 * Edge-triggered and never read: each write of the guest is one
		 * event, and the system call to clear it is saved.
		 */
		if (q->running &&
		    loop_io_add(d->loop, &q->io, q->kick, EPOLLIN | EPOLLET, d->on_kick) < 0)
			return fatal(d, "a kick that cannot be watched");
		return DONE;
	}
	slot = m->request == SET_VRING_CALL ? &q->call : &q->err;
	fd_close(*slot);
	*slot = fd;
	/* What was used while nobody could be called. */
	if (m->request == SET_VRING_CALL && q->running)
		vring_call(q);
	return DONE;
}

void vring_call(struct vring *q)
{
	static const uint64_t one = 1;

	/* A full counter is a call that was not heard yet. */
	if (q->call >= 0)
		(void)!write(q->call, &one, sizeof(one));
}

static int start_rings(struct vhost_dev *d)
{
	const char *why = NULL;

	for (unsigned i = 0; i < VHOST_QUEUES; i++) {
		struct vring *q = &d->q[i];

		if (q->running || q->kick < 0 || !q->num || !q->has_addr || !d->mem.n ||
		    !d->features_set)
			continue;
		if (vring_start(q, &d->mem, vhost_has(d, VHOST_F_EVENT_IDX),
				vhost_has(d, VHOST_F_INDIRECT_DESC), &why) < 0) {
			fatal(d, why);
			return -EPROTO;
		}
		if (areas_overlap(d)) {
			fatal(d, "rings that overlap");
			return -EPROTO;
		}
		if (loop_io_add(d->loop, &q->io, q->kick, EPOLLIN | EPOLLET, d->on_kick) < 0) {
			fatal(d, "a kick that cannot be watched");
			return -EPROTO;
		}
	}
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

#define ANY_SIZE UINT32_MAX

static const struct {
	const char *name;
	uint32_t size;
	bool fds;
} requests[] = {
	[GET_FEATURES] = { "GET_FEATURES", 0, false },
	[SET_FEATURES] = { "SET_FEATURES", 8, false },
	[SET_OWNER] = { "SET_OWNER", 0, false },
	[RESET_OWNER] = { "RESET_OWNER", 0, false },
	[SET_MEM_TABLE] = { "SET_MEM_TABLE", ANY_SIZE, true },
	[SET_VRING_NUM] = { "SET_VRING_NUM", 8, false },
	[SET_VRING_ADDR] = { "SET_VRING_ADDR", 40, false },
	[SET_VRING_BASE] = { "SET_VRING_BASE", 8, false },
	[GET_VRING_BASE] = { "GET_VRING_BASE", 8, false },
	[SET_VRING_KICK] = { "SET_VRING_KICK", 8, true },
	[SET_VRING_CALL] = { "SET_VRING_CALL", 8, true },
	[SET_VRING_ERR] = { "SET_VRING_ERR", 8, true },
	[GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, false },
	[SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", 8, false },
	[GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, false },
	[SET_VRING_ENABLE] = { "SET_VRING_ENABLE", 8, false },
	[NET_SET_MTU] = { "NET_SET_MTU", 8, false },
	[GET_CONFIG] = { "GET_CONFIG", ANY_SIZE, false },
	[SET_CONFIG] = { "SET_CONFIG", ANY_SIZE, false },
};

const char *vhost_request_name(uint32_t r)
{
	return r < ARRAY_SIZE(requests) && requests[r].name ? requests[r].name : "unknown request";
}

static enum outcome run(struct vhost_dev *d, struct vhost_msg *m)
{
	if (m->request >= ARRAY_SIZE(requests) || !requests[m->request].name)
		return fatal(d, "not known here");
	if (requests[m->request].size != ANY_SIZE && m->size != requests[m->request].size)
		return fatal(d, "of a length that it does not have");
	if (m->n_fds && !requests[m->request].fds)
		return fatal(d, "with descriptors, which it does not have");
	switch ((enum request)m->request) {
	case GET_FEATURES:
		return answer_u64(m, vhost_dev_offers(d));
	case SET_FEATURES:
		return set_features(d, m);
	case SET_OWNER:
		return DONE;
	case RESET_OWNER:
		return reset_owner(d);
	case SET_MEM_TABLE:
		return set_mem_table(d, m);
	case SET_VRING_NUM:
		return set_num(d, m);
	case SET_VRING_ADDR:
		return set_addr(d, m);
	case SET_VRING_BASE:
		return set_base(d, m);
	case GET_VRING_BASE:
		return get_base(d, m);
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		return set_event(d, m);
	case GET_PROTOCOL_FEATURES:
		return answer_u64(m, PROTO_OFFERED);
	case SET_PROTOCOL_FEATURES:
		return set_protocol_features(d, m);
	case GET_QUEUE_NUM:
		return answer_u64(m, 1);
	case SET_VRING_ENABLE:
		return set_enable(d, m);
	case NET_SET_MTU:
		return set_mtu(d, m);
	case GET_CONFIG:
		return get_config(d, m);
	case SET_CONFIG:
		/* A driver of old may write its MAC; nothing there can be written. */
		return REFUSE;
	}
	return fatal(d, "not known here");
}

int vhost_dev_request(struct vhost_dev *d, struct vhost_msg *m, bool *ret_reply)
{
	bool asked = m->flags & VHOST_FLAG_NEED_REPLY && d->proto >> VHOST_PROTO_REPLY_ACK & 1;
	enum outcome o = run(d, m);

	vhost_msg_close_fds(m);
	if (o == DONE && start_rings(d) < 0)
		o = FATAL;
	*ret_reply = o == ANSWER || asked;
	if (o != ANSWER && asked)
		(void)answer_u64(m, o != DONE);
	return o == FATAL ? -EPROTO : 0;
}

void vhost_dev_init(struct vhost_dev *d, struct loop *loop, uint16_t mtu, const uint8_t *mac,
		    void (*on_kick)(struct loop_io *io, uint32_t revents))
{
	memset(d, 0, sizeof(*d));
	d->loop = loop;
	d->mtu = mtu;
	d->on_kick = on_kick;
	if (mac) {
		d->has_mac = true;
		memcpy(d->mac, mac, 6);
	}
	for (unsigned i = 0; i < VHOST_QUEUES; i++)
		d->q[i] = (struct vring){ .kick = -1, .call = -1, .err = -1, .dev = d };
	d->mem.broken = &d->mem_broken;
}

void vhost_dev_reset(struct vhost_dev *d)
{
	for (unsigned i = 0; i < VHOST_QUEUES; i++) {
		set_kick(&d->q[i], -1);
		fd_close(d->q[i].call);
		fd_close(d->q[i].err);
		d->q[i] = (struct vring){ .kick = -1, .call = -1, .err = -1, .dev = d };
	}
	vhost_mem_unmap(&d->mem);
	d->mem_broken = 0;
	d->features = d->proto = 0;
	d->features_set = d->fresh = false;
}
