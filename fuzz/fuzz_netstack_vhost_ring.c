/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver may write into its rings: the input is a script that writes descriptors, ring words
 * and frames into guest memory, kicks, pauses, starts anew with other features, and makes the memory
 * shorter. Must hold: every write of ours stays inside of the guest's memory (ASan watches
 * the rest), every flow ends, work per step is bounded.
 */
#include "fuzz_netstack_vhost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NUM 64u
#define UVA 0x70000000u
#define HALF                                                                                       \
	(MEM_SIZE / 2) /* two regions, neighbours in the guest, the other way round in the file */

static int kicks[2], calls[2];

/* Queue i: descriptors, avail, used at 4 KiB steps from here. */
static uint32_t base(unsigned i)
{
	return 0x1000 + i * 0x4000;
}

/* gpa to our own mapping. */
static uint8_t *at(struct world *w, uint32_t gpa)
{
	return w->mem + (gpa + HALF) % MEM_SIZE;
}

static void put(struct world *w, uint32_t gpa, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*at(w, (gpa + (uint32_t)i) % MEM_SIZE) = ((const uint8_t *)p)[i];
}

static void put16(struct world *w, uint32_t gpa, uint16_t v)
{
	put(w, gpa, &v, 2);
}

static uint16_t peek16(struct world *w, uint32_t gpa)
{
	uint16_t v;

	memcpy(&v, at(w, gpa), 2);
	return v;
}

static void state(struct world *w, uint32_t request, uint32_t i, uint32_t v)
{
	uint32_t p[2] = { i, v };

	vmm_send(w, request, 1, p, 8, NULL, 0);
}

static void start_ring(struct world *w, uint32_t i, uint16_t from)
{
	struct {
		uint32_t i, flags;
		uint64_t desc, used, avail, log;
	} a = { i, 0, UVA + base(i), UVA + base(i) + 0x2000, UVA + base(i) + 0x1000, 0 };
	uint64_t v = i;

	state(w, 8, i, NUM);
	state(w, 10, i, from);
	vmm_send(w, 9, 1, &a, 40, NULL, 0);
	vmm_send(w, 12, 1, &v, 8, &kicks[i], 1);
	vmm_send(w, 13, 1, &v, 8, &calls[i], 1);
	state(w, 18, i, 1);
}

static void start(struct world *w, uint64_t features)
{
	struct {
		uint32_t n, pad;
		struct vhost_region_in r[2];
	} t = { .n = 2, .r = { { 0, HALF, UVA, HALF }, { HALF, HALF, UVA + HALF, 0 } } };
	int fds[2] = { w->mem_fd, w->mem_fd };

	vmm_send(w, 2, 1, &features, 8, NULL, 0);
	vmm_send(w, 5, 1, &t, 8 + 64, fds, 2);
	start_ring(w, 0, 0);
	start_ring(w, 1, 0);
	world_step(w, 2);
}

static uint64_t features(uint8_t b)
{
	static const uint8_t bits[] = {
		VHOST_F_VERSION_1,  VHOST_F_MRG_RXBUF,	VHOST_F_EVENT_IDX, VHOST_F_GUEST_CSUM,
		VHOST_F_GUEST_TSO4, VHOST_F_GUEST_TSO6, VHOST_F_HOST_TSO4, VHOST_F_INDIRECT_DESC,
	};
	uint64_t f = VHOST_F(VHOST_F_PROTOCOL_FEATURES);

	for (unsigned i = 0; i < 8; i++)
		f |= b >> i & 1 ? VHOST_F(bits[i]) : 0;
	return f;
}

static void offer(struct world *w, unsigned i, uint16_t head)
{
	uint32_t avail = base(i) + 0x1000;
	uint16_t idx = peek16(w, avail + 2);

	put16(w, avail + 4 + 2 * (idx % NUM), head);
	put16(w, avail + 2, (uint16_t)(idx + 1));
}

static void desc(struct world *w, uint32_t where, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next_desc)
{
	put(w, where, &addr, 8);
	put(w, where + 8, &len, 4);
	put16(w, where + 12, flags);
	put16(w, where + 14, next_desc);
}

/* One descriptor of the table, or of the indirect one at 0x9000. */
static void write_desc(struct world *w)
{
	uint8_t how = next(w), i = next(w);
	uint32_t table = how & 1 ? 0x9000 : base(how >> 1 & 1);
	uint64_t addr = (uint64_t)next16(w) << (how >> 5 & 7);
	uint32_t len = next16(w) << (how >> 2 & 1);
	uint16_t flags = next(w) & 7;

	if ((how & 0x18) == 0x18)
		addr = UINT64_MAX - addr;
	if (flags & 4 && how & 4) {
		addr = 0x9000;
		len = 16 * (len % 40);
	}
	desc(w, table + 16 * (i % NUM), addr, len, flags, next(w));
}

/* A frame of the right guest in one to four pieces at descriptor 8, ready to go. */
static void send_frame(struct world *w)
{
	uint8_t b[14 + 40 + 1500] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8 }, *p = b + 14;
	uint8_t h[12] = { 1 };
	uint8_t flags = next(w), pieces = 1 + next(w) % 4, head = next(w) & 3 ? 12 : 10;
	size_t n = 40 + next(w) * 5u, at_ = 0, total;
	struct csum c = { 0 };

	p[0] = 0x45;
	put_be16(p + 2, (uint16_t)n);
	p[8] = 64;
	p[9] = flags & 0x40 ? IPPROTO_UDP : IPPROTO_TCP;
	memcpy(p + 12, (uint8_t[]){ 10, 9, 0, 2, 192, 0, 2, flags & 0x80 ? 1 : 2 }, 8);
	csum_feed(&c, p, 20);
	csum_store(&c, p + 10);
	put_be16(p + 20, 2000);
	put_be16(p + 22, 443);
	put_be32(p + 24, flags & 2 ? 100 : 101 + next(w));
	p[32] = 0x50;
	p[33] = flags & 0x1f;
	put_be16(p + 34, 8000);
	h[1] = next(w) & 1;
	put(w, 0x20000, h, head);
	put(w, 0x20000 + head, b, n + 14);
	total = head + n + 14;
	for (unsigned i = 0; i < pieces; i++) {
		size_t step = i + 1 == pieces ? total - at_ : total / pieces;

		desc(w, base(1) + 16 * (8 + i), 0x20000 + at_, (uint32_t)step, i + 1 < pieces,
		     (uint16_t)(9 + i));
		at_ += step;
	}
	offer(w, 1, 8);
}

static void receive_buffers(struct world *w)
{
	uint8_t n = next(w) % 16, size = next(w);

	for (uint16_t i = 0; i < n; i++) {
		desc(w, base(0) + 16u * i, HALF - 3000 + i * 1500u, 1 + size * 8u, 2, 0);
		offer(w, 0, i);
	}
}

static void room(struct world *w)
{
	struct ns_link *l = w->ns->link;
	struct iovec iov[LINK_ROOM_MAX];
	uint8_t head[54] = { 0 };
	size_t want = next16(w), total = 0, len = next16(w);
	struct link_tx tx = { .head = head, .head_len = sizeof(head) };
	unsigned n;

	if (!l->is_up || !l->drv->room || l->drv->room(l, sizeof(head), want, iov, &n) < 0)
		return;
	MUST(n <= LINK_ROOM_MAX);
	for (unsigned i = 0; i < n; i++) {
		memset(iov[i].iov_base, 'r', iov[i].iov_len);
		total += iov[i].iov_len;
	}
	MUST(total == want);
	len = MIN(len, total);
	(void)l->drv->commit(l, len ? &tx : NULL, len);
	l->drv->flush(l);
}

static void one(struct world *w)
{
	uint8_t op = next(w);

	switch (op % 10) {
	case 0:
		put16(w, base(op >> 4 & 1) + 0x1000 + (op & 0x80 ? next(w) * 2u : 2), next16(w));
		break;
	case 1:
	case 2:
		write_desc(w);
		break;
	case 3:
		offer(w, op >> 4 & 1, next(w));
		break;
	case 4:
		send_frame(w);
		break;
	case 5:
		receive_buffers(w);
		break;
	case 6:
		room(w);
		break;
	case 7:
		state(w, 11, op >> 4 & 1, 0);
		start_ring(w, op >> 4 & 1,
			   op & 0x80 ? next(w) : peek16(w, base(op >> 4 & 1) + 0x2002));
		break;
	case 8:
		if (op == 0xf8)
			MUST(ftruncate(w->mem_fd, HALF + next(w) * 2048u) == 0);
		else
			put(w, next16(w) * 8u, w->in.p, MIN(rd_left(&w->in), (size_t)32));
		break;
	default:
		state(w, 18, op >> 4 & 1, op >> 5 & 1);
	}
	if (op & 8) {
		eventfd_write(kicks[0], 1);
		eventfd_write(kicks[1], 1);
		world_step(w, 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	world_begin(&w, data, size);
	for (unsigned i = 0; i < 2; i++) {
		kicks[i] = eventfd(0, EFD_NONBLOCK);
		calls[i] = eventfd(0, EFD_NONBLOCK);
	}
	start(&w, features(next(&w)));
	while (rd_left(&w.in) && !w.downs) {
		/* Our own mapping is as short as the file. */
		if (lseek(w.mem_fd, 0, SEEK_END) < (off_t)MEM_SIZE)
			break;
		one(&w);
	}
	world_end(&w);
	for (unsigned i = 0; i < 2; i++) {
		close(kicks[i]);
		close(calls[i]);
	}
	return 0;
}
