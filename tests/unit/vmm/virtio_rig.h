/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without processors: memory in two pieces, a loop, and a driver that sets up a device
 * through its registers and moves chains by hand, so that it can break every rule.
 */
#ifndef WEIR_TESTS_VIRTIO_RIG_H
#define WEIR_TESTS_VIRTIO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vmm/virtio_int.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <sys/mman.h>
#include <unistd.h>

#define RIG_LOW 0x100000u		   /* bytes of RAM from 0 */
#define RIG_HIGH_GPA UINT64_C(0x100000000) /* and as many from here */
#define RIG_RAM (2 * RIG_LOW)
#define RIG_QUEUE 64 /* places of a queue unless a test wants others */
/* Where queue q lies, and what is left for buffers. */
#define RIG_DESC(q) (0x1000u + (q)*0x4000u)
#define RIG_AVAIL(q) (RIG_DESC(q) + 0x1000u)
#define RIG_USED(q) (RIG_DESC(q) + 0x2000u)
#define RIG_DATA 0x40000u

struct rig {
	struct loop *loop;
	struct gmem mem;
	int memfd;
	uint8_t *ram; /* RIG_RAM bytes, low piece first */
	struct virtio_mmio *d;
	uint16_t size[VIRTIO_QUEUES_MAX], offered[VIRTIO_QUEUES_MAX], taken[VIRTIO_QUEUES_MAX];
};

static inline void rig_open(struct rig *r)
{
	struct gmem_region regions[2];

	*r = (struct rig){ .memfd = memfd_create("rig", MFD_CLOEXEC) };
	assert_true(r->memfd >= 0);
	assert_int_equal(ftruncate(r->memfd, RIG_RAM), 0);
	r->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, r->memfd, 0);
	assert_ptr_not_equal(r->ram, MAP_FAILED);
	regions[0] = (struct gmem_region){ 0, RIG_LOW, r->ram, r->memfd, 0 };
	regions[1] =
		(struct gmem_region){ RIG_HIGH_GPA, RIG_LOW, r->ram + RIG_LOW, r->memfd, RIG_LOW };
	assert_int_equal(gmem_init(&r->mem, regions, 2), 0);
	assert_int_equal(loop_new(&r->loop), 0);
}

static inline void rig_close(struct rig *r)
{
	virtio_free(r->d);
	loop_free(r->loop);
	munmap(r->ram, RIG_RAM);
	close(r->memfd);
}

static inline uint8_t *rig_at(struct rig *r, uint64_t gpa)
{
	return gmem_at(&r->mem, gpa, 1);
}

/* ---- registers ---------------------------------------------------------- */

static inline uint32_t rig_read(struct rig *r, uint64_t reg)
{
	uint32_t v = 0xdeadbeef;

	virtio_mmio_read(r->d, reg, &v, 4);
	return v;
}

static inline void rig_write(struct rig *r, uint64_t reg, uint32_t v)
{
	virtio_mmio_write(r->d, reg, &v, 4);
}

static inline uint32_t rig_status(struct rig *r)
{
	return rig_read(r, VIRTIO_MMIO_STATUS);
}

static inline uint64_t rig_offers(struct rig *r)
{
	uint64_t lo, hi;

	rig_write(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	lo = rig_read(r, VIRTIO_MMIO_DEVICE_FEATURES);
	rig_write(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	hi = rig_read(r, VIRTIO_MMIO_DEVICE_FEATURES);
	return hi << 32 | lo;
}

/* From reset to FEATURES_OK; what is asked for and not offered is left out. */
static inline void rig_features(struct rig *r, uint64_t features)
{
	uint64_t f = rig_offers(r) & (features | VIRTIO_BIT(VIRTIO_F_VERSION_1));

	rig_write(r, VIRTIO_MMIO_STATUS, 0);
	rig_write(r, VIRTIO_MMIO_STATUS, 1);
	rig_write(r, VIRTIO_MMIO_STATUS, 3);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)f);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(f >> 32));
	rig_write(r, VIRTIO_MMIO_STATUS, 11);
	assert_int_equal(rig_status(r), 11);
	memset(r->ram, 0, RIG_DATA);
	memset(r->offered, 0, sizeof(r->offered));
	memset(r->taken, 0, sizeof(r->taken));
}

static inline void rig_place(struct rig *r, unsigned q, uint32_t size, uint64_t desc,
			     uint64_t avail, uint64_t used)
{
	r->size[q] = (uint16_t)size;
	rig_write(r, VIRTIO_MMIO_QUEUE_SEL, q);
	rig_write(r, VIRTIO_MMIO_QUEUE_NUM, size);
	rig_write(r, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	rig_write(r, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	rig_write(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	rig_write(r, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	rig_write(r, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	rig_write(r, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	rig_write(r, VIRTIO_MMIO_QUEUE_READY, 1);
}

static inline void rig_queues(struct rig *r)
{
	for (unsigned q = 0; q < virtio_queues(r->d); q++)
		rig_place(r, q, RIG_QUEUE, RIG_DESC(q), RIG_AVAIL(q), RIG_USED(q));
}

static inline void rig_go(struct rig *r)
{
	rig_write(r, VIRTIO_MMIO_STATUS, 15);
}

static inline void rig_start(struct rig *r, uint64_t features)
{
	rig_features(r, features);
	rig_queues(r);
	rig_go(r);
	assert_int_equal(rig_status(r), 15);
}

/* The device's turns, until it has nothing more to do. */
static inline void rig_run(struct rig *r)
{
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(loop_step(r->loop, 0), 0);
}

/* ---- chains ------------------------------------------------------------- */

static inline void rig_desc_at(struct rig *r, uint64_t table, unsigned i, uint64_t gpa,
			       uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = { gpa, len, flags, next };

	assert_int_equal(gmem_write(&r->mem, table + 16 * i, &d, sizeof(d)), 0);
}

static inline void rig_desc(struct rig *r, unsigned q, unsigned i, uint64_t gpa, uint32_t len,
			    uint16_t flags, uint16_t next)
{
	rig_desc_at(r, RIG_DESC(q), i, gpa, len, flags, next);
}

static inline void rig_idx(struct rig *r, unsigned q, uint16_t idx)
{
	memcpy(rig_at(r, RIG_AVAIL(q) + 2), &idx, 2);
}

static inline void rig_offer(struct rig *r, unsigned q, uint16_t head)
{
	memcpy(rig_at(r, RIG_AVAIL(q) + 4 + 2u * (r->offered[q] % r->size[q])), &head, 2);
	rig_idx(r, q, ++r->offered[q]);
}

static inline void rig_kick(struct rig *r, unsigned q)
{
	rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
	rig_run(r);
}

/* One chain of one buffer, kicked. */
static inline void rig_one(struct rig *r, unsigned q, uint64_t gpa, uint32_t len, uint16_t flags)
{
	rig_desc(r, q, 0, gpa, len, flags, 0);
	rig_offer(r, q, 0);
	rig_kick(r, q);
}

static inline uint16_t rig_used_idx(struct rig *r, unsigned q)
{
	uint16_t idx;

	memcpy(&idx, rig_at(r, RIG_USED(q) + 2), 2);
	return idx;
}

/* The next chain that came back; false: none has. */
static inline bool rig_take(struct rig *r, unsigned q, uint32_t *ret_head, uint32_t *ret_len)
{
	const uint8_t *e = rig_at(r, RIG_USED(q) + 4 + 8u * (r->taken[q] % r->size[q]));

	if (rig_used_idx(r, q) == r->taken[q])
		return false;
	memcpy(ret_head, e, 4);
	memcpy(ret_len, e + 4, 4);
	r->taken[q]++;
	return true;
}

/* Calls since the last time. */
static inline uint64_t rig_calls(struct rig *r)
{
	uint64_t n = 0;

	return read(virtio_call_fd(r->d), &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static inline bool rig_lost(struct rig *r)
{
	return rig_status(r) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- as setups and teardowns ---------------------------------------------- */

static inline int rig_setup_rng(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	assert_non_null(r);
	rig_open(r);
	assert_int_equal(virtio_rng_new(r->loop, &r->mem, &r->d), 0);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	rig_close(*state);
	free(*state);
	return 0;
}

#endif
