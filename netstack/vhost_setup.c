/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests that set up memory and rings.
 *
 * A ring runs when its memory, size, addresses and kick are known, in whatever
 * order they came; it stops at GET_VRING_BASE. Whether it is enabled is a
 * separate matter, kept while it stands still (QEMU enables long before it
 * starts). What would change under a running ring is refused.
 */
#include "netstack/vhost_int.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

/* In the payload of an event's request: no descriptor comes with it. */
#define NO_FD 0x100u

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

enum vhost_outcome vhost_set_mem_table(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vhost_region_in in[LIMIT_VHOST_REGIONS];
	uint32_t n = m->size < 8 ? 0 : vhost_u32(m, 0);
	const char *why = NULL;

	if (n == 0 || n > LIMIT_VHOST_REGIONS || m->size != 8 + sizeof(in[0]) * n)
		return vhost_fatal(d, "a memory table that is not as long as it says");
	if (m->n_fds != n)
		return vhost_fatal(d, "a memory table with another number of descriptors");
	memcpy(in, m->p + 8, sizeof(in[0]) * n);
	if (vhost_mem_map(&d->mem, in, m->fds, n, &why) < 0)
		return vhost_fatal(d, why);
	for (unsigned i = 0; i < VHOST_QUEUES; i++)
		if (d->q[i].running && vring_remap(&d->q[i], &d->mem) < 0)
			return vhost_fatal(d, "a memory table without the rings that run in it");
	if (areas_overlap(d))
		return vhost_fatal(d, "rings that overlap");
	return VHOST_DONE;
}

/* ---- rings -------------------------------------------------------------- */

static struct vring *ring(struct vhost_dev *d, uint64_t index)
{
	if (index < VHOST_QUEUES)
		return &d->q[index];
	snprintf(d->why, sizeof(d->why), "ring %u; there are two (one queue pair)", (unsigned)index);
	return NULL;
}

enum vhost_outcome vhost_set_num(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, vhost_u32(m, 0));
	uint32_t n = vhost_u32(m, 4);

	if (!q)
		return VHOST_FATAL;
	if (q->running && n != q->num)
		return vhost_fatal(d, "another size of a ring that runs");
	if (n == 0 || n & (n - 1) || n > LIMIT_VHOST_RING)
		return vhost_fatal(d, "a ring size that is no power of two up to 32768");
	q->num = n;
	return VHOST_DONE;
}

enum vhost_outcome vhost_set_addr(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, vhost_u32(m, 0));
	uint64_t desc = vhost_u64(m, 8), used = vhost_u64(m, 16), avail = vhost_u64(m, 24);

	if (!q)
		return VHOST_FATAL;
	if (vhost_u32(m, 4))
		return vhost_fatal(d, "logging of a ring, which was not offered");
	if (q->running && (desc != q->uva_desc || used != q->uva_used || avail != q->uva_avail))
		return vhost_fatal(d, "other addresses of a ring that runs");
	q->uva_desc = desc;
	q->uva_used = used;
	q->uva_avail = avail;
	q->has_addr = true;
	return VHOST_DONE;
}

enum vhost_outcome vhost_set_base(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, vhost_u32(m, 0));

	if (!q)
		return VHOST_FATAL;
	if (q->running)
		return vhost_fatal(d, "another base of a ring that runs");
	if (vhost_u32(m, 4) > UINT16_MAX)
		return vhost_fatal(d, "a ring base beyond 65535");
	/* One that goes on does so where it stood; one that was reset does not. */
	d->fresh |= q->base != vhost_u32(m, 4);
	q->base = (uint16_t)vhost_u32(m, 4);
	return VHOST_DONE;
}

/* The kick belongs to the loop first: closing it alone would leave it watched, the VMM has it too. */
void vhost_set_kick(struct vring *q, int fd)
{
	loop_io_del(&q->io);
	fd_close(q->kick);
	q->kick = fd;
}

enum vhost_outcome vhost_get_base(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, vhost_u32(m, 0));
	uint32_t base;

	if (!q)
		return VHOST_FATAL;
	if (q->running)
		vring_stop(q);
	vhost_set_kick(q, -1);
	base = q->base;
	memcpy(m->p + 4, &base, sizeof(base));
	return VHOST_ANSWER;
}

enum vhost_outcome vhost_set_enable(struct vhost_dev *d, struct vhost_msg *m)
{
	struct vring *q = ring(d, vhost_u32(m, 0));

	if (!q)
		return VHOST_FATAL;
	if (vhost_u32(m, 4) > 1)
		return vhost_fatal(d, "a ring neither enabled nor disabled");
	q->enabled = vhost_u32(m, 4);
	return VHOST_DONE;
}

/* Kick, call, err: an index, and a descriptor or the bit that says there is none. */
enum vhost_outcome vhost_set_event(struct vhost_dev *d, struct vhost_msg *m)
{
	uint64_t v = vhost_u64(m, 0);
	struct vring *q = ring(d, v & 0xff);
	int fd, *slot;

	if (!q)
		return VHOST_FATAL;
	if (v & ~(uint64_t)(NO_FD | 0xff) || m->n_fds != (v & NO_FD ? 0 : 1))
		return vhost_fatal(d, "a ring's event without its descriptor");
	if (m->request == VHOST_REQ_KICK && v & NO_FD)
		return vhost_fatal(d, "a ring to be polled; kicks are needed");
	fd = m->n_fds ? m->fds[0] : -1;
	/* Neither to write nor to read may ever wait. */
	if (fd >= 0 && fd_set_nonblock(fd, true) < 0)
		return vhost_fatal(d, "a ring's event that is no event descriptor");
	m->n_fds = 0;
	if (m->request == VHOST_REQ_KICK) {
		vhost_set_kick(q, fd);
		/*
		 * Edge-triggered and never read: each write of the guest is one
		 * event, and the system call to clear it is saved.
		 */
		if (q->running &&
		    loop_io_add(d->loop, &q->io, q->kick, EPOLLIN | EPOLLET, d->on_kick) < 0)
			return vhost_fatal(d, "a kick that cannot be watched");
		return VHOST_DONE;
	}
	slot = m->request == VHOST_REQ_CALL ? &q->call : &q->err;
	fd_close(*slot);
	*slot = fd;
	/* What was used while nobody could be called. */
	if (m->request == VHOST_REQ_CALL && q->running)
		vring_call(q);
	return VHOST_DONE;
}

void vring_call(struct vring *q)
{
	static const uint64_t one = 1;

	/* A full counter is a call that was not heard yet. */
	if (q->call >= 0)
		(void)!write(q->call, &one, sizeof(one));
}

int vhost_start_rings(struct vhost_dev *d)
{
	const char *why = NULL;

	for (unsigned i = 0; i < VHOST_QUEUES; i++) {
		struct vring *q = &d->q[i];

		if (q->running || q->kick < 0 || !q->num || !q->has_addr || !d->mem.n ||
		    !d->features_set)
			continue;
		if (vring_start(q, &d->mem, vhost_has(d, VHOST_F_EVENT_IDX),
				vhost_has(d, VHOST_F_INDIRECT_DESC), &why) < 0) {
			vhost_fatal(d, why);
			return -EPROTO;
		}
		if (areas_overlap(d)) {
			vhost_fatal(d, "rings that overlap");
			return -EPROTO;
		}
		if (loop_io_add(d->loop, &q->io, q->kick, EPOLLIN | EPOLLET, d->on_kick) < 0) {
			vhost_fatal(d, "a kick that cannot be watched");
			return -EPROTO;
		}
	}
	return 0;
}
