/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each vhost-user request does to the device. One queue pair: a stack is
 * one thread, so a second pair would move work, not share it. That feature (MQ) is
 * not offered, which also avoids GET_QUEUE_NUM, whose answer QEMU takes for
 * pairs and Cloud Hypervisor for rings.
 *
 * Hostile: every number. Anything not understood ends the link: an answer
 * guessed wrong would leave two views of the same memory.
 */
#include "netstack/vhost_int.h"

#include <stdio.h>

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
	SET_VRING_KICK = VHOST_REQ_KICK,
	SET_VRING_CALL = VHOST_REQ_CALL,
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

enum vhost_outcome vhost_fatal(struct vhost_dev *d, const char *why)
{
	snprintf(d->why, sizeof(d->why), "%s", why);
	return VHOST_FATAL;
}

static enum vhost_outcome answer_u64(struct vhost_msg *m, uint64_t v)
{
	memcpy(m->p, &v, sizeof(v));
	m->size = sizeof(v);
	return VHOST_ANSWER;
}

/* ---- features ----------------------------------------------------------- */

static bool any_running(const struct vhost_dev *d)
{
	return d->q[VHOST_RX].running || d->q[VHOST_TX].running;
}

static enum vhost_outcome set_features(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t f = vhost_u64(m, 0);

	if (f & ~vhost_dev_offers(d))
		return vhost_fatal(d, "features that were not offered");
	if (any_running(d) && f != d->features)
		return vhost_fatal(d, "other features while a ring runs");
	d->fresh |= f != d->features;
	d->features = f;
	d->features_set = true;
	/* An old VMM knows of no enabling. */
	if (!vhost_has(d, VHOST_F_PROTOCOL_FEATURES))
		d->q[VHOST_RX].enabled = d->q[VHOST_TX].enabled = true;
	return VHOST_DONE;
}

static enum vhost_outcome set_protocol_features(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t f = vhost_u64(m, 0);

	if (f & ~PROTO_OFFERED)
		return vhost_fatal(d, "protocol features that were not offered");
	d->proto = f;
	return VHOST_DONE;
}

static enum vhost_outcome reset_owner(struct vhost_dev *d)
{
	d->q[VHOST_RX].enabled = d->q[VHOST_TX].enabled = false;
	return VHOST_DONE;
}

static enum vhost_outcome set_mtu(struct vhost_dev *d, struct vhost_msg *m)
{
	return vhost_u64(m, 0) == d->mtu ? VHOST_DONE : VHOST_REFUSE;
}

/* virtio 1.2 5.1.4: mac, status (link up), one pair, mtu; the rest is zero. */
static enum vhost_outcome get_config(struct vhost_dev *d, struct vhost_msg *m)
{
	uint8_t space[VHOST_CONFIG_MAX] = { 0 };
	uint32_t off, n;

	if (m->size < 12)
		return vhost_fatal(d, "a configuration request without its head");
	off = vhost_u32(m, 0);
	n = vhost_u32(m, 4);
	if (n != m->size - 12 || n > VHOST_CONFIG_MAX || off > VHOST_CONFIG_MAX - n)
		return vhost_fatal(d, "a configuration request beyond the configuration");
	memcpy(space, d->mac, sizeof(d->mac));
	space[6] = 1;
	space[8] = 1;
	space[10] = (uint8_t)d->mtu;
	space[11] = (uint8_t)(d->mtu >> 8);
	memcpy(m->p + 12, space + off, n);
	return VHOST_ANSWER;
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

static enum vhost_outcome run(struct vhost_dev *d, struct vhost_msg *m)
{
	if (m->request >= ARRAY_SIZE(requests) || !requests[m->request].name)
		return vhost_fatal(d, "not known here");
	if (requests[m->request].size != ANY_SIZE && m->size != requests[m->request].size)
		return vhost_fatal(d, "of a length that it does not have");
	if (m->n_fds && !requests[m->request].fds)
		return vhost_fatal(d, "with descriptors, which it does not have");
	switch ((enum request)m->request) {
	case GET_FEATURES:
		return answer_u64(m, vhost_dev_offers(d));
	case SET_FEATURES:
		return set_features(d, m);
	case SET_OWNER:
		return VHOST_DONE;
	case RESET_OWNER:
		return reset_owner(d);
	case SET_MEM_TABLE:
		return vhost_set_mem_table(d, m);
	case SET_VRING_NUM:
		return vhost_set_num(d, m);
	case SET_VRING_ADDR:
		return vhost_set_addr(d, m);
	case SET_VRING_BASE:
		return vhost_set_base(d, m);
	case GET_VRING_BASE:
		return vhost_get_base(d, m);
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		return vhost_set_event(d, m);
	case GET_PROTOCOL_FEATURES:
		return answer_u64(m, PROTO_OFFERED);
	case SET_PROTOCOL_FEATURES:
		return set_protocol_features(d, m);
	case GET_QUEUE_NUM:
		return answer_u64(m, 1);
	case SET_VRING_ENABLE:
		return vhost_set_enable(d, m);
	case NET_SET_MTU:
		return set_mtu(d, m);
	case GET_CONFIG:
		return get_config(d, m);
	case SET_CONFIG:
		/* A driver of old may write its MAC; nothing there can be written. */
		return VHOST_REFUSE;
	}
	return vhost_fatal(d, "not known here");
}

int vhost_dev_request(struct vhost_dev *d, struct vhost_msg *m, bool *ret_reply)
{
	bool asked = m->flags & VHOST_FLAG_NEED_REPLY && d->proto >> VHOST_PROTO_REPLY_ACK & 1;
	enum vhost_outcome o = run(d, m);

	vhost_msg_close_fds(m);
	if (o == VHOST_DONE && vhost_start_rings(d) < 0)
		o = VHOST_FATAL;
	*ret_reply = o == VHOST_ANSWER || asked;
	if (o != VHOST_ANSWER && asked)
		(void)answer_u64(m, o != VHOST_DONE);
	return o == VHOST_FATAL ? -EPROTO : 0;
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
		vhost_set_kick(&d->q[i], -1);
		fd_close(d->q[i].call);
		fd_close(d->q[i].err);
		d->q[i] = (struct vring){ .kick = -1, .call = -1, .err = -1, .dev = d };
	}
	vhost_mem_unmap(&d->mem);
	d->mem_broken = 0;
	d->features = d->proto = 0;
	d->features_set = d->fresh = false;
}
