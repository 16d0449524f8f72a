/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One split virtqueue, seen from the device (virtio 1.2 2.7).
 *
 *    descriptors ◄─ available ring (driver writes: idx, heads, used_event)
 *                ◄─ used ring      (we write: idx, {head, length}, avail_event)
 *
 * The driver may write anything anywhere at any time, another processor of the
 * guest may do so between two reads of ours. So each word is read once, into a
 * local, and only that is checked and used. A chain is bounded by its table and
 * by LIMIT_VHOST_CHAIN, so a loop of descriptors ends; an index that runs
 * further ahead than the ring is long, a direction that is not the queue's, an
 * indirect table inside of another, an address outside of memory: -EPROTO.
 *
 * No wake-up is lost, in either direction, for the same reason (Dekker's): each
 * side first writes what it has to say, then a full barrier, then reads what
 * the other wants.
 *
 *    driver                           we
 *    avail.idx = n                    avail_event = seen   (vring_wait)
 *    barrier                          barrier
 *    read avail_event: kick?          read avail.idx: more?
 *
 *    read used.idx: more?             read used_event: call?
 *    barrier                          barrier
 *    used_event = seen                used.idx = n         (vring_publish, bottom up)
 *
 * If the driver does not see our wish, its idx was written before our barrier
 * and we see it. Between two waits the wish stands where it was, so a driver
 * that adds while we drain kicks at most once in 65,536 buffers. Without
 * EVENT_IDX the flags words say the same, coarser.
 *
 * idx is stored with release (the used elements first) and loaded with acquire
 * (heads and descriptors after it).
 */
#include "netstack/vhost_int.h"

#define DESC_SIZE 16u
#define RING_HEAD 4u /* flags, idx */

/* Flags of descriptors and rings, virtio 1.2 2.7.5, 2.7.6, 2.7.8. */
#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u
#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
}

static uint16_t load16_acquire(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELAXED);
}

static void store32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}

/* ---- life --------------------------------------------------------------- */

static size_t avail_size(const struct vring *q, bool event)
{
	return RING_HEAD + 2 * (size_t)q->num + (event ? 2 : 0);
}

static size_t used_size(const struct vring *q, bool event)
{
	return RING_HEAD + 8 * (size_t)q->num + (event ? 2 : 0);
}

static bool aligned(const uint8_t *p, uintptr_t to)
{
	return p && ((uintptr_t)p & (to - 1)) == 0;
}

static int place(struct vring *q, const struct vhost_mem *m, bool event)
{
	uint8_t *desc = vhost_mem_uva(m, q->uva_desc, DESC_SIZE * (uint64_t)q->num);
	uint8_t *avail = vhost_mem_uva(m, q->uva_avail, avail_size(q, event));
	uint8_t *used = vhost_mem_uva(m, q->uva_used, used_size(q, event));

	/* virtio 1.2 2.7: 16, 2, 4. Also what our atomics need. */
	if (!aligned(desc, 16) || !aligned(avail, 2) || !aligned(used, 4))
		return -EPROTO;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	return 0;
}

int vring_start(struct vring *q, const struct vhost_mem *m, bool event_idx, bool indirect,
		const char **ret_why)
{
	if (place(q, m, event_idx) < 0) {
		*ret_why = "a ring outside of the guest's memory, or not aligned";
		return -EPROTO;
	}
	q->event_idx = event_idx;
	q->indirect = indirect;
	q->quiet = false;
	q->next = q->seen = q->base;
	q->used_next = q->used_idx = load16(q->used + 2);
	q->running = true;
	return 0;
}

int vring_remap(struct vring *q, const struct vhost_mem *m)
{
	return place(q, m, q->event_idx);
}

void vring_stop(struct vring *q)
{
	q->running = false;
	q->base = q->next;
	q->desc = q->avail = q->used = NULL;
}

void vring_areas(const struct vring *q, struct iovec ret[3])
{
	ret[0] = (struct iovec){ q->desc, DESC_SIZE * (size_t)q->num };
	ret[1] = (struct iovec){ q->avail, avail_size(q, q->event_idx) };
	ret[2] = (struct iovec){ q->used, used_size(q, q->event_idx) };
}

/* ---- from the driver ---------------------------------------------------- */

struct walk {
	struct vring *q;
	struct vhost_mem *m;
	struct iovec *iov;
	unsigned max;
	struct vring_chain *chain;
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static int broken(struct vring *q, const char *why)
{
	q->why = why;
	return -EPROTO;
}

static inline struct desc read_desc(const uint8_t *p)
{
	uint64_t w[2];

	if (((uintptr_t)p & 7) == 0) {
		w[0] = __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
		w[1] = __atomic_load_n((const uint64_t *)(const void *)(p + 8), __ATOMIC_RELAXED);
	} else {
		vhost_copy_in(w, p, sizeof(w));
	}
	return (struct desc){
		.addr = w[0],
		.len = (uint32_t)w[1],
		.flags = (uint16_t)(w[1] >> 32),
		.next = (uint16_t)(w[1] >> 48),
	};
}

/* A buffer may go on from one region into the next. */
static int add_buffer(struct walk *w, uint64_t addr, uint64_t len)
{
	struct vring_chain *c = w->chain;

	if (!len)
		return broken(w->q, "a descriptor of no length");
	c->len += len;
	while (len) {
		uint64_t n;
		uint8_t *p = vhost_mem_gpa(w->m, addr, len, &n);

		if (!p)
			return broken(w->q, "a buffer outside of the guest's memory");
		if (c->n == w->max)
			return broken(w->q, "a chain of too many buffers");
		w->iov[c->n++] = (struct iovec){ p, n };
		addr += n;
		len -= n;
	}
	return 0;
}

struct table {
	const uint8_t *p;
	uint32_t entries;
	bool indirect;
};

static int enter_indirect(struct walk *w, struct table *t, const struct desc *d)
{
	uint64_t n;
	const uint8_t *p;

	if (!w->q->indirect)
		return broken(w->q, "an indirect descriptor, which was not negotiated");
	if (t->indirect)
		return broken(w->q, "an indirect descriptor inside of an indirect table");
	if (d->flags & DESC_NEXT)
		return broken(w->q, "an indirect descriptor with a successor");
	if (!d->len || d->len % DESC_SIZE || d->len > DESC_SIZE * LIMIT_VHOST_CHAIN)
		return broken(w->q, "an indirect table of a length that cannot be");
	p = vhost_mem_gpa(w->m, d->addr, d->len, &n);
	if (!p || n < d->len)
		return broken(w->q, "an indirect table outside of the guest's memory");
	*t = (struct table){ p, d->len / DESC_SIZE, true };
	return 0;
}

static int walk(struct walk *w, uint16_t head, bool writable)
{
	struct table t = { w->q->desc, w->q->num, false };
	uint32_t at = head, steps = 0;
	int r;

	for (;;) {
		struct desc d = read_desc(t.p + DESC_SIZE * (size_t)at);

		if (++steps > MIN(t.entries, (uint32_t)LIMIT_VHOST_CHAIN))
			return broken(w->q, "a loop of descriptors, or too many of them");
		if (d.flags & DESC_INDIRECT) {
			r = enter_indirect(w, &t, &d);
			if (r < 0)
				return r;
			at = steps = 0;
			continue;
		}
		if (!!(d.flags & DESC_WRITE) != writable)
			return broken(w->q, writable ? "a buffer to receive into that is read-only"
						     : "a buffer to send that is write-only");
		r = add_buffer(w, d.addr, d.len);
		if (r < 0 || !(d.flags & DESC_NEXT))
			return r;
		if (d.next >= t.entries)
			return broken(w->q, "a descriptor that does not exist");
		at = d.next;
	}
}

/* False: none, or an error in *ret. */
static bool available(struct vring *q, int *ret)
{
	*ret = 0;
	if (q->seen != q->next)
		return true;
	q->seen = load16_acquire(q->avail + 2);
	if ((uint16_t)(q->seen - q->next) <= q->num)
		return q->seen != q->next;
	q->seen = q->next;
	*ret = broken(q, "an available index ahead of the ring");
	return false;
}

/*
 * Chains of one descriptor in one region, which is what nearly all drivers give: no
 * walk. The first that is not like that is left where it is.
 */
static inline unsigned pop_plain(struct vring *q, const struct vhost_mem *m, uint16_t flags,
				 size_t need, struct iovec *iov, struct vring_chain *ret,
				 unsigned max, size_t *ret_len)
{
	const uint8_t *avail = q->avail + RING_HEAD, *table = q->desc;
	const struct vhost_region in = m->r[m->last];
	uint32_t num = q->num, at = q->next;
	unsigned n = 0, most = m->n ? MIN(max, (unsigned)(uint16_t)(q->seen - q->next)) : 0;
	size_t len = 0;

	for (; n < most && len < need; n++, at++) {
		uint16_t head = load16(avail + 2 * (size_t)(at & (num - 1)));
		struct desc d;
		uint64_t off;

		if (head >= num)
			break;
		d = read_desc(table + DESC_SIZE * (size_t)head);
		off = d.addr - in.gpa;
		/* Below the region, off is huge. */
		if (d.flags != flags || !d.len || off >= in.size || d.len > in.size - off)
			break;
		iov[n] = (struct iovec){ in.host + off, d.len };
		ret[n] = (struct vring_chain){ head, 1, d.len };
		len += d.len;
	}
	q->next = (uint16_t)at;
	*ret_len = len;
	return n;
}

static int pop_walk(struct vring *q, struct vhost_mem *m, bool writable, struct iovec *iov,
		    unsigned max, struct vring_chain *ret)
{
	struct walk w = { q, m, iov, max, ret };
	int r;

	*ret = (struct vring_chain){
		.head = load16(q->avail + RING_HEAD + 2 * (size_t)(q->next & (q->num - 1))),
	};
	if (ret->head >= q->num)
		return broken(q, "a head that is no descriptor");
	r = walk(&w, ret->head, writable);
	if (r < 0)
		return r;
	q->next++;
	return 1;
}

int vring_pop(struct vring *q, struct vhost_mem *m, bool writable, struct iovec *iov, unsigned max,
	      struct vring_chain *ret)
{
	size_t len;
	int r;

	if (!available(q, &r))
		return r;
	if (pop_plain(q, m, writable ? DESC_WRITE : 0, 1, iov, ret, max ? 1 : 0, &len))
		return 1;
	return pop_walk(q, m, writable, iov, max, ret);
}

unsigned vring_pop_plain(struct vring *q, const struct vhost_mem *m, size_t need, struct iovec *iov,
			 struct vring_chain *ret, unsigned max, size_t *ret_len)
{
	return pop_plain(q, m, DESC_WRITE, need, iov, ret, max, ret_len);
}

/* ---- to the driver ------------------------------------------------------ */

static inline void give(uint8_t *used, uint32_t at, uint16_t head, uint32_t len)
{
	uint8_t *e = used + RING_HEAD + 8 * (size_t)at;

	store32(e, head);
	store32(e + 4, len);
}

void vring_give(struct vring *q, uint16_t head, uint32_t len)
{
	give(q->used, q->used_next++ & (q->num - 1), head, len);
}

unsigned vring_give_run(struct vring *q, const struct vring_chain *c, size_t len)
{
	uint8_t *used = q->used;
	uint16_t at = q->used_next, mask = (uint16_t)(q->num - 1);
	unsigned n = 0;

	for (; len; n++) {
		size_t here = MIN(len, c[n].len);

		give(used, at++ & mask, c[n].head, (uint32_t)here);
		len -= here;
	}
	q->used_next = at;
	return n;
}

bool vring_publish(struct vring *q)
{
	uint16_t old = q->used_idx, event;

	if (q->used_next == old)
		return false;
	__atomic_store_n((uint16_t *)(void *)(q->used + 2), q->used_next, __ATOMIC_RELEASE);
	q->used_idx = q->used_next;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(load16(q->avail) & AVAIL_NO_INTERRUPT);
	event = load16(q->avail + avail_size(q, false));
	return (uint16_t)(q->used_idx - event - 1) < (uint16_t)(q->used_idx - old);
}

void vring_quiet(struct vring *q)
{
	if (!q->quiet && !q->event_idx)
		store16(q->used, USED_NO_NOTIFY);
	q->quiet = true;
}

bool vring_wait(struct vring *q)
{
	if (q->event_idx)
		store16(q->used + used_size(q, false), q->seen);
	else
		store16(q->used, 0);
	q->quiet = false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load16_acquire(q->avail + 2) != q->seen;
}
