/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue.
 *
 * The driver offers chains in the avail ring and counts them in avail->idx; we give them
 * back in the used ring and count them in used->idx. Both run freely from 0 to 65535 and on; a place
 * in a ring is the counter modulo its size.
 *
 * Who sleeps is told before he is woken: when the avail ring is empty we write where we
 * stand to avail_event and look once more, because the driver may have offered something just before it
 * could see that. The driver does the same with used_event before it waits for a call.
 *
 * Hostile: all of the rings. idx may run ahead by more than the ring has places, a head or a
 * next may point outside of the table, a chain may run in circles, lengths and addresses are any
 * number. Each of these ends the queue. Without NEXT a descriptor's next is not looked at.
 */
#include "vmm/virtq.h"

/* Reads of what the guest writes meanwhile: once, and not torn. */
static uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->size];
}

static int broken(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EPROTO;
}

int virtq_start(struct virtq *q, const struct gmem *mem, const struct virtq_place *p,
		bool event_idx, bool indirect, const char **ret_why)
{
	struct virtq fresh = { .mem = mem, .event_idx = event_idx, .indirect = indirect };

	if (p->size == 0 || p->size > VIRTQ_SIZE_MAX || p->size & (p->size - 1))
		return broken(ret_why, "a queue size that is no power of two, or too large");
	if (p->desc % 16 || p->avail % 2 || p->used % 4)
		return broken(ret_why, "a part of a queue that is not aligned");
	fresh.size = (uint16_t)p->size;
	/* The event fields at the end are part of the rings whether they are used or not. */
	fresh.desc = (void *)gmem_at(mem, p->desc, UINT64_C(16) * p->size);
	fresh.avail = (void *)gmem_at(mem, p->avail, UINT64_C(6) + 2 * p->size);
	fresh.used = (void *)gmem_at(mem, p->used, UINT64_C(6) + 8 * p->size);
	if (!fresh.desc || !fresh.avail || !fresh.used)
		return broken(ret_why, "a part of a queue outside of memory");
	*q = fresh;
	return 0;
}

void virtq_stop(struct virtq *q)
{
	*q = (struct virtq){ .mem = NULL };
}

/* ---- chains ------------------------------------------------------------- */

/* Descriptors seen so far of the chain being taken; more than the limit are not a chain. */
struct walk {
	struct virtq *q;
	struct virtq_chain *c;
	unsigned seen;
	const char **why;
};

static void copy_once(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	/* From here on only the copy counts: the compiler may not go back to the source. */
	__asm__ __volatile__("" ::: "memory");
}

static int add_piece(struct walk *w, const struct vring_desc *d)
{
	struct virtq_chain *c = w->c;
	bool in = d->flags & VRING_DESC_F_WRITE;
	uint8_t *p;

	if (!in && c->n_in)
		return broken(w->why, "a chain with something to read behind something to write");
	if (d->len == 0)
		return 0;
	p = gmem_at(w->q->mem, d->addr, d->len);
	if (!p)
		return broken(w->why, "a buffer outside of memory");
	c->iov[c->n_out + c->n_in] = (struct iovec){ p, d->len };
	if (in) {
		c->n_in++;
		c->in_len += d->len;
	} else {
		c->n_out++;
		c->out_len += d->len;
	}
	return 0;
}

static int walk_indirect(struct walk *w, const struct vring_desc *outer);

/* table has n entries and may be the guest's own; outer: an indirect descriptor may stand in it. */
static int walk_table(struct walk *w, const struct vring_desc *table, uint32_t n, uint32_t at,
		      bool outer)
{
	struct vring_desc d;
	int r;

	for (;; at = d.next) {
		if (at >= n)
			return broken(w->why, "a descriptor outside of its table");
		if (++w->seen > VIRTQ_CHAIN_MAX)
			return broken(w->why, "a chain that is too long, or does not end");
		copy_once(&d, &table[at], sizeof(d));
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!outer || !w->q->indirect || d.flags & VRING_DESC_F_NEXT)
				return broken(w->why, "an indirect descriptor where none may be");
			return walk_indirect(w, &d);
		}
		r = add_piece(w, &d);
		if (r < 0 || !(d.flags & VRING_DESC_F_NEXT))
			return r;
	}
}

static int walk_indirect(struct walk *w, const struct vring_desc *outer)
{
	struct vring_desc table[VIRTQ_CHAIN_MAX];
	const uint8_t *p;

	if (outer->len == 0 || outer->len % sizeof(table[0]) || outer->len > sizeof(table))
		return broken(w->why, "an indirect table of a length that it cannot have");
	p = gmem_at(w->q->mem, outer->addr, outer->len);
	if (!p)
		return broken(w->why, "an indirect table outside of memory");
	copy_once(table, p, outer->len);
	w->seen--; /* it stands for what is in the table */
	return walk_table(w, table, outer->len / sizeof(table[0]), 0, false);
}

/* Chains on offer; 0 only after the driver knows that it has to kick. */
static uint16_t on_offer(struct virtq *q)
{
	uint16_t n = (uint16_t)(load16(&q->avail->idx) - q->next_avail);

	if (n || !q->event_idx)
		return n;
	__atomic_store_n(avail_event(q), q->next_avail, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (uint16_t)(load16(&q->avail->idx) - q->next_avail);
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret, const char **ret_why)
{
	struct walk w = { .q = q, .c = ret, .why = ret_why };
	uint16_t n = on_offer(q);
	int r;

	if (n == 0)
		return 0;
	if (n > q->size)
		return broken(ret_why, "more chains on offer than the queue has places");
	ret->head = load16(&q->avail->ring[q->next_avail & (q->size - 1)]);
	ret->n_out = ret->n_in = 0;
	ret->out_len = ret->in_len = 0;
	r = walk_table(&w, q->desc, q->size, ret->head, true);
	if (r < 0)
		return r;
	q->next_avail++;
	return 1;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e = &q->used->ring[q->next_used & (q->size - 1)];

	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	q->next_used++;
	__atomic_store_n(&q->used->idx, q->next_used, __ATOMIC_RELEASE);
}

bool virtq_wants_call(struct virtq *q)
{
	uint16_t news = (uint16_t)(q->next_used - q->called), since;

	if (news == 0)
		return false;
	q->called = q->next_used;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(load16(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	since = (uint16_t)(q->next_used - load16(used_event(q)) - 1);
	return since < news;
}

/* ---- bytes of a chain --------------------------------------------------- */

unsigned virtq_slice(const struct iovec *v, unsigned n, uint64_t off, uint64_t len, struct iovec *out)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && len; i++) {
		size_t part;

		if (off >= v[i].iov_len) {
			off -= v[i].iov_len;
			continue;
		}
		part = MIN(v[i].iov_len - off, len);
		out[k++] = (struct iovec){ (uint8_t *)v[i].iov_base + off, part };
		len -= part;
		off = 0;
	}
	return k;
}

bool virtq_copy_out(const struct virtq_chain *c, uint64_t off, void *dst, size_t n)
{
	struct iovec v[VIRTQ_CHAIN_MAX];
	uint8_t *to = dst;
	unsigned k;

	if (off > c->out_len || n > c->out_len - off)
		return false;
	k = virtq_slice(virtq_out(c), c->n_out, off, n, v);
	for (unsigned i = 0; i < k; i++) {
		copy_once(to, v[i].iov_base, v[i].iov_len);
		to += v[i].iov_len;
	}
	return true;
}

bool virtq_copy_in(const struct virtq_chain *c, uint64_t off, const void *src, size_t n)
{
	struct iovec v[VIRTQ_CHAIN_MAX];
	const uint8_t *from = src;
	unsigned k;

	if (off > c->in_len || n > c->in_len - off)
		return false;
	k = virtq_slice(virtq_in(c), c->n_in, off, n, v);
	for (unsigned i = 0; i < k; i++) {
		memcpy(v[i].iov_base, from, v[i].iov_len);
		from += v[i].iov_len;
	}
	return true;
}
