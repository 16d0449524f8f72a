/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests: a VMM and a virtio-net driver in one, for the other end of a
 * vhost-user link. Guest memory is a memfd in three regions (the last two
 * follow each other in the guest's address space, not in the file), rings and
 * buffers are laid out in it by hand. Ring words are accessed atomically, so a
 * driver may run on a thread of its own. Needs frames.h before it.
 */
#ifndef WEIR_TEST_VHOST_DRIVER_H
#define WEIR_TEST_VHOST_DRIVER_H

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "netstack/vhost_int.h"

#define MEM_SIZE (24u << 20)
#define MEM_LOW (1u << 20) /* region 0: gpa 0; holds the rings */
#define GPA_HIGH UINT64_C(0x100000000)
#define MEM_MID (8u << 20) /* region 1: gpa GPA_HIGH; region 2 follows it */
#define UVA(i) (UINT64_C(0x7f0000000000) + ((uint64_t)(i) << 36))

#define TX_SLOTS 16u
#define TX_PIECES 8u
#define TX_BYTES 66000u
#define RX_BYTES_MAX 66000u

struct dq {
	uint32_t num;
	uint64_t desc, avail, used; /* guest-physical, below MEM_LOW */
	uint16_t avail_idx, used_seen, told;
	int kick, call;
	unsigned kicks; /* really sent */
};

struct drv {
	int vmm, mem_fd;
	uint8_t *mem;
	uint64_t features;
	struct dq q[2];
	unsigned tx_free[TX_SLOTS], tx_n_free;
	uint32_t rx_size; /* of one buffer */
	unsigned rx_bufs;
	unsigned pieces; /* descriptors of one buffer, either way */
	bool indirect;
	bool need_reply;
};

static const uint64_t drv_all =
	VHOST_F(VHOST_F_CSUM) | VHOST_F(VHOST_F_GUEST_CSUM) | VHOST_F(VHOST_F_GUEST_TSO4) |
	VHOST_F(VHOST_F_GUEST_TSO6) | VHOST_F(VHOST_F_HOST_TSO4) | VHOST_F(VHOST_F_HOST_TSO6) |
	VHOST_F(VHOST_F_MRG_RXBUF) | VHOST_F(VHOST_F_INDIRECT_DESC) | VHOST_F(VHOST_F_EVENT_IDX) |
	VHOST_F(VHOST_F_VERSION_1) | VHOST_F(VHOST_F_GUEST_USO4) | VHOST_F(VHOST_F_GUEST_USO6) |
	VHOST_F(VHOST_F_HOST_USO) | VHOST_F(VHOST_F_PROTOCOL_FEATURES);

static bool drv_has(const struct drv *d, unsigned bit)
{
	return d->features >> bit & 1;
}

/* Where a guest-physical address is in mem: file order is region 0, 2, 1. */
static uint8_t *drv_at(const struct drv *d, uint64_t gpa)
{
	const uint64_t high = MEM_SIZE - MEM_LOW - MEM_MID;

	if (gpa < MEM_LOW)
		return d->mem + gpa;
	gpa -= GPA_HIGH;
	return gpa < MEM_MID ? d->mem + MEM_LOW + high + gpa : d->mem + MEM_LOW + (gpa - MEM_MID);
}

static void drv_copy_to(const struct drv *d, uint64_t gpa, const uint8_t *p, size_t n)
{
	for (size_t i = 0, step; i < n; i += step) {
		uint64_t mid_end = GPA_HIGH + MEM_MID;

		step = gpa + i < mid_end && gpa + n > mid_end ? MIN(n - i, mid_end - gpa - i) : n - i;
		memcpy(drv_at(d, gpa + i), p + i, step);
	}
}

static void drv_copy_from(const struct drv *d, uint64_t gpa, uint8_t *p, size_t n)
{
	for (size_t i = 0, step; i < n; i += step) {
		uint64_t mid_end = GPA_HIGH + MEM_MID;

		step = gpa + i < mid_end && gpa + n > mid_end ? MIN(n - i, mid_end - gpa - i) : n - i;
		memcpy(p + i, drv_at(d, gpa + i), step);
	}
}

static void drv_set16(const struct drv *d, uint64_t gpa, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)drv_at(d, gpa), v, __ATOMIC_RELEASE);
}

static uint16_t drv_get16(const struct drv *d, uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)(void *)drv_at(d, gpa), __ATOMIC_ACQUIRE);
}

static void drv_desc(const struct drv *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	uint64_t *p = (uint64_t *)(void *)drv_at(d, table + 16 * (uint64_t)i);

	__atomic_store_n(p, addr, __ATOMIC_RELAXED);
	__atomic_store_n(p + 1, len | (uint64_t)flags << 32 | (uint64_t)next << 48, __ATOMIC_RELAXED);
}

/* ---- the VMM ------------------------------------------------------------ */

static void vmm_send(const struct drv *d, uint32_t request, uint32_t flags, const void *p,
		     uint32_t n, const int *fds, size_t n_fds)
{
	uint32_t h[3] = { request, flags, n };
	struct iovec iov[2] = { { h, sizeof(h) }, { (void *)(uintptr_t)p, n } };
	char c[CMSG_SPACE(sizeof(int) * 16)] = { 0 };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	if (n_fds) {
		struct cmsghdr *cm = (struct cmsghdr *)(void *)c;

		m.msg_control = c;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cm), fds, sizeof(int) * n_fds);
	}
	/* The other side may have had enough already; the test will see that. */
	(void)!sendmsg(d->vmm, &m, MSG_NOSIGNAL);
}

static void vmm_u64(const struct drv *d, uint32_t request, uint64_t v, int fd)
{
	vmm_send(d, request, 1, &v, 8, &fd, fd >= 0);
}

static void vmm_state(const struct drv *d, uint32_t request, uint32_t i, uint32_t v)
{
	uint32_t p[2] = { i, v };

	vmm_send(d, request, 1, p, 8, NULL, 0);
}

/* -1: closed. Else the payload's length. */
static int vmm_reply(const struct drv *d, struct loop *loop, uint32_t request, void *p, size_t size)
{
	uint8_t b[600];
	ssize_t n = -1;
	uint32_t h[3];

	for (unsigned i = 0; i < 1000 && n < 0; i++) {
		assert_int_equal(loop_step(loop, 0), 0);
		n = recv(d->vmm, b, sizeof(b), MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return -1;
	}
	if (n <= 0)
		return -1;
	assert_true(n >= 12);
	memcpy(h, b, 12);
	assert_int_equal(h[0], request);
	assert_int_equal(h[1], 5);
	assert_int_equal(h[2] + 12, n);
	memcpy(p, b + 12, MIN(size, (size_t)h[2]));
	return (int)h[2];
}

static uint64_t vmm_ask(const struct drv *d, struct loop *loop, uint32_t request)
{
	uint64_t v = 0;

	vmm_send(d, request, 1, NULL, 0, NULL, 0);
	assert_int_equal(vmm_reply(d, loop, request, &v, 8), 8);
	return v;
}

struct mem_table {
	uint32_t n, pad;
	struct vhost_region_in r[LIMIT_VHOST_REGIONS];
};

static struct mem_table drv_table(uint64_t move)
{
	const uint64_t high = MEM_SIZE - MEM_LOW - MEM_MID;

	return (struct mem_table){
		.n = 3,
		.r = { { 0, MEM_LOW, UVA(0) + move, 0 },
		       { GPA_HIGH, MEM_MID, UVA(1) + move, MEM_LOW + high },
		       { GPA_HIGH + MEM_MID, high, UVA(2) + move, MEM_LOW } },
	};
}

static void vmm_memory(const struct drv *d, uint64_t move)
{
	struct mem_table t = drv_table(move);
	int fds[3] = { d->mem_fd, d->mem_fd, d->mem_fd };

	vmm_send(d, 5, 1, &t, 8 + 3 * 32, fds, 3);
}

static void vmm_addr(const struct drv *d, unsigned i, uint64_t move)
{
	struct {
		uint32_t i, flags;
		uint64_t desc, used, avail, log;
	} a = { i,
		0,
		UVA(0) + move + d->q[i].desc,
		UVA(0) + move + d->q[i].used,
		UVA(0) + move + d->q[i].avail,
		0 };

	vmm_send(d, 9, 1, &a, 40, NULL, 0);
}

static void vmm_start_ring(const struct drv *d, unsigned i, uint16_t base)
{
	vmm_state(d, 8, i, d->q[i].num);
	vmm_state(d, 10, i, base);
	vmm_addr(d, i, 0);
	vmm_u64(d, 12, i, d->q[i].kick);
	vmm_u64(d, 13, i, d->q[i].call);
}

static uint32_t vmm_stop_ring(const struct drv *d, struct loop *loop, unsigned i)
{
	uint32_t s[2] = { 0, 0 };

	vmm_state(d, 11, i, 0);
	assert_int_equal(vmm_reply(d, loop, 11, s, 8), 8);
	assert_int_equal(s[0], i);
	return s[1];
}

/* What QEMU 7.2 sends, in its order. */
static void vmm_start(struct drv *d, struct loop *loop)
{
	assert_int_equal(vmm_ask(d, loop, 1) & d->features, d->features);
	if (drv_has(d, VHOST_F_PROTOCOL_FEATURES)) {
		assert_true(vmm_ask(d, loop, 15) & VHOST_F(VHOST_PROTO_REPLY_ACK));
		vmm_u64(d, 16, VHOST_F(VHOST_PROTO_REPLY_ACK), -1);
	}
	vmm_send(d, 3, 1, NULL, 0, NULL, 0);
	(void)vmm_ask(d, loop, 1);
	for (uint32_t i = 0; i < 2; i++) {
		vmm_u64(d, 13, i, d->q[i].call);
		vmm_u64(d, 14, i, d->q[i].call);
	}
	if (drv_has(d, VHOST_F_PROTOCOL_FEATURES))
		for (uint32_t i = 0; i < 4; i++)
			vmm_state(d, 18, i % 2, 1);
	vmm_u64(d, 2, d->features, -1);
	vmm_memory(d, 0);
	vmm_start_ring(d, 0, 0);
	vmm_start_ring(d, 1, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(loop_step(loop, 0), 0);
}

/* ---- the driver --------------------------------------------------------- */

/* A fresh driver: rings empty, memory zero where it matters. */
static void drv_reset(struct drv *d)
{
	static const uint64_t at[2] = { 0x10000, 0x40000 };

	memset(d->mem, 0, MEM_LOW);
	for (unsigned i = 0; i < 2; i++) {
		struct dq *q = &d->q[i];

		q->num = i == VHOST_TX ? TX_SLOTS * TX_PIECES : 256;
		q->desc = at[i];
		q->avail = at[i] + 0x4000;
		q->used = at[i] + 0x8000;
		q->avail_idx = q->used_seen = q->told = 0;
		q->kicks = 0;
	}
	for (d->tx_n_free = 0; d->tx_n_free < TX_SLOTS; d->tx_n_free++)
		d->tx_free[d->tx_n_free] = d->tx_n_free;
}

static void drv_init(struct drv *d, uint64_t features)
{
	memset(d, 0, sizeof(*d));
	d->vmm = -1;
	d->features = features;
	d->pieces = 1;
	d->rx_size = 2048;
	d->rx_bufs = 64;
	d->mem_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(d->mem_fd >= 0);
	assert_int_equal(ftruncate(d->mem_fd, MEM_SIZE), 0);
	d->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->mem_fd, 0);
	assert_true(d->mem != MAP_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		d->q[i].kick = eventfd(0, EFD_CLOEXEC);
		d->q[i].call = eventfd(0, EFD_CLOEXEC);
	}
	drv_reset(d);
}

static void drv_fini(struct drv *d)
{
	munmap(d->mem, MEM_SIZE);
	close(d->mem_fd);
	fd_close(d->vmm);
	for (unsigned i = 0; i < 2; i++) {
		close(d->q[i].kick);
		close(d->q[i].call);
	}
}

static void drv_kick_now(struct dq *q)
{
	uint64_t one = 1;

	__atomic_fetch_add(&q->kicks, 1, __ATOMIC_RELAXED);
	assert_int_equal(write(q->kick, &one, 8), 8);
}

/* As a driver must: publish, barrier, kick only when asked to. */
static void drv_publish(struct drv *d, struct dq *q)
{
	uint16_t old = q->told, event;

	drv_set16(d, q->avail + 2, q->avail_idx);
	q->told = q->avail_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (drv_has(d, VHOST_F_EVENT_IDX)) {
		event = drv_get16(d, q->used + 4 + 8 * (uint64_t)q->num);
		if ((uint16_t)(q->avail_idx - event - 1) < (uint16_t)(q->avail_idx - old))
			drv_kick_now(q);
	} else if (!(drv_get16(d, q->used) & 1)) {
		drv_kick_now(q);
	}
}

static void drv_offer(struct drv *d, struct dq *q, uint16_t head)
{
	drv_set16(d, q->avail + 4 + 2 * (uint64_t)(q->avail_idx & (q->num - 1)), head);
	q->avail_idx++;
}

/* len bytes at gpa as a chain of d->pieces, from descriptor `first` on, or behind an indirect one. */
static void drv_chain(struct drv *d, struct dq *q, unsigned first, uint64_t gpa, uint32_t len,
		      uint16_t flags)
{
	unsigned n = MIN(d->pieces, TX_PIECES);
	uint64_t table = q->desc;
	unsigned at = first;
	uint32_t step = len / n;

	if (d->indirect) {
		table = 0x80000 + (q == &d->q[1] ? 0x40000 : 0) + first / TX_PIECES * 256 * 4;
		drv_desc(d, q->desc, first, table, 16 * n, 4, 0);
		at = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t here = i + 1 == n ? len - step * i : step;

		drv_desc(d, table, at + i, gpa + step * i, here,
			 (uint16_t)(flags | (i + 1 < n ? 1 : 0)), (uint16_t)(at + i + 1));
	}
}

/* Of transmit slot i; slot 3's lies across the border of two regions. */
static uint64_t tx_gpa(unsigned i)
{
	return GPA_HIGH + MEM_MID - 3 * TX_BYTES - TX_BYTES / 2 + i * TX_BYTES;
}

static void drv_tx_reclaim(struct drv *d)
{
	struct dq *q = &d->q[VHOST_TX];

	while (q->used_seen != drv_get16(d, q->used + 2)) {
		uint64_t e = q->used + 4 + 8 * (uint64_t)(q->used_seen & (q->num - 1));
		uint32_t id;

		memcpy(&id, drv_at(d, e), 4);
		assert_true(id % TX_PIECES == 0 && id < q->num && d->tx_n_free < TX_SLOTS);
		d->tx_free[d->tx_n_free++] = id / TX_PIECES;
		q->used_seen++;
	}
	/* Call me for the next one. */
	drv_set16(d, q->avail + 4 + 2 * (uint64_t)q->num, q->used_seen);
}

/* A frame with its 12-byte header (10 of them go for an old driver). False: no slot. */
static bool drv_tx_more(struct drv *d, const uint8_t *p, size_t n)
{
	struct dq *q = &d->q[VHOST_TX];
	bool modern = drv_has(d, VHOST_F_VERSION_1) || drv_has(d, VHOST_F_MRG_RXBUF);
	size_t head = modern ? 12 : 10;
	unsigned s;

	drv_tx_reclaim(d);
	if (!d->tx_n_free)
		return false;
	s = d->tx_free[--d->tx_n_free];
	drv_copy_to(d, tx_gpa(s), p, head);
	drv_copy_to(d, tx_gpa(s) + head, p + 12, n - 12);
	drv_chain(d, q, s * TX_PIECES, tx_gpa(s), (uint32_t)(n - 12 + head), 0);
	drv_offer(d, q, (uint16_t)(s * TX_PIECES));
	return true;
}

static bool drv_tx(struct drv *d, const uint8_t *p, size_t n)
{
	if (!drv_tx_more(d, p, n))
		return false;
	drv_publish(d, &d->q[VHOST_TX]);
	return true;
}

static uint64_t rx_gpa(const struct drv *d, unsigned i)
{
	return GPA_HIGH + MEM_MID + 2 * 1024 * 1024 + i * (uint64_t)d->rx_size;
}

static void drv_rx_offer(struct drv *d, unsigned i)
{
	struct dq *q = &d->q[VHOST_RX];
	unsigned first = d->indirect ? i : i * MIN(d->pieces, TX_PIECES);

	if (d->indirect) {
		uint64_t table = 0x80000 + i * 256;
		unsigned n = MIN(d->pieces, TX_PIECES);

		drv_desc(d, q->desc, first, table, 16 * n, 4, 0);
		for (unsigned k = 0; k < n; k++)
			drv_desc(d, table, k, rx_gpa(d, i) + k * (d->rx_size / n), d->rx_size / n,
				 (uint16_t)(2 | (k + 1 < n)), (uint16_t)(k + 1));
	} else {
		drv_chain(d, q, first, rx_gpa(d, i), d->rx_size, 2);
	}
	drv_offer(d, q, (uint16_t)first);
}

static void drv_rx_fill(struct drv *d)
{
	for (unsigned i = 0; i < d->rx_bufs; i++)
		drv_rx_offer(d, i);
	drv_publish(d, &d->q[VHOST_RX]);
}

/* The next frame, with a 12-byte header whatever the driver; false: none. Buffers go back. */
static bool drv_rx(struct drv *d, struct frame *f)
{
	struct dq *q = &d->q[VHOST_RX];
	bool modern = drv_has(d, VHOST_F_VERSION_1) || drv_has(d, VHOST_F_MRG_RXBUF);
	uint8_t *at = f->b + (modern ? 0 : 2);
	unsigned want = 1;

	drv_set16(d, q->avail + 4 + 2 * (uint64_t)q->num, q->used_seen);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->used_seen == drv_get16(d, q->used + 2))
		return false;
	f->len = modern ? 0 : 2;
	for (unsigned i = 0; i < want; i++) {
		uint64_t e = q->used + 4 + 8 * (uint64_t)(q->used_seen & (q->num - 1));
		uint32_t u[2];
		unsigned n = d->indirect ? 1 : MIN(d->pieces, TX_PIECES);

		assert_true(q->used_seen != drv_get16(d, q->used + 2));
		memcpy(u, drv_at(d, e), 8);
		assert_true(u[0] % n == 0 && u[0] / n < d->rx_bufs && u[1] && u[1] <= d->rx_size);
		assert_true(f->len + u[1] <= sizeof(f->b));
		drv_copy_from(d, rx_gpa(d, u[0] / n), at, u[1]);
		at += u[1];
		f->len += u[1];
		q->used_seen++;
		drv_rx_offer(d, u[0] / n);
		if (i == 0 && modern)
			want = f->b[10] | f->b[11] << 8;
		assert_true(want >= 1);
	}
	if (!modern) { /* as the others have it */
		memmove(f->b, f->b + 2, 10);
		f->b[10] = f->b[11] = 0;
	}
	drv_publish(d, q);
	return true;
}

static uint64_t drv_calls(struct dq *q)
{
	uint64_t n = 0;
	struct pollfd p = { q->call, POLLIN, 0 };

	return poll(&p, 1, 0) == 1 && read(q->call, &n, 8) == 8 ? n : 0;
}

#endif
