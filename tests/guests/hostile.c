/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breaks the rules of a queue in all ways there are. Each time the device has to ask for a reset,
 * write nowhere, and work again after it.
 */
#include "tests/guests/guest.h"

static struct ring ring;
static uint8_t bytes[64];
static const uint32_t guard_at = 0x800000; /* nobody's memory */

static void one(uint64_t at, uint32_t len, uint16_t flags, uint16_t next)
{
	ring.desc[0].at = at;
	ring.desc[0].len = len;
	ring.desc[0].flags = flags;
	ring.desc[0].next = next;
}

static void use_well(unsigned n)
{
	virtio_start(n, &ring);
	one((uint32_t)bytes, sizeof(bytes), DESC_WRITE, 0);
	virtio_give(n, &ring, 0);
	check(virtio_wait(n, &ring, 1), "after a reset", 0);
}

/* Gives ; the device breaks, or gives the buffer back with nothing in it. */
static void expect_broken(unsigned n, const char *what, uint16_t head)
{
	virtio_give(n, &ring, head);
	if (virtio_wait(n, &ring, 1))
		check(ring.used.ring[0].len == 0, what, ring.used.ring[0].len);
	check(read32(guard_at) == 0x600d600d, what, read32(guard_at));
	use_well(n);
	virtio_start(n, &ring);
}

void main(uint32_t start_info)
{
	unsigned n = 0;

	(void)start_info;
	while (read32(DEVICE(n) + VIRTIO_DEVICE_ID) != 4)
		n++;
	write32(guard_at, 0x600d600d);
	use_well(n);
	virtio_start(n, &ring);

	one(0xd0000000, 64, DESC_WRITE, 0);
	expect_broken(n, "into a device's registers", 0);
	one(0xfffffffffffffff0ULL, 64, DESC_WRITE, 0);
	expect_broken(n, "around the end of everything", 0);
	one((uint64_t)1 << 40, 64, DESC_WRITE, 0);
	expect_broken(n, "where no memory is", 0);
	one(0, 0xffffffff, DESC_WRITE, 0);
	expect_broken(n, "longer than the memory", 0);
	one((uint32_t)bytes, 8, DESC_WRITE | DESC_NEXT, 0);
	expect_broken(n, "a chain that bites its tail", 0);
	one((uint32_t)bytes, 8, DESC_WRITE | DESC_NEXT, 777);
	expect_broken(n, "next behind the table", 0);
	one((uint32_t)bytes, 64, DESC_WRITE, 0);
	expect_broken(n, "a head behind the table", 999);
	one((uint32_t)bytes, 64, 0, 0);
	expect_broken(n, "nothing to write to", 0);
	ring.avail.idx = 5000;
	expect_broken(n, "more than the ring holds", 0);

	/* A queue that moves while it is used: what was taken at DRIVER_OK counts. */
	write32(DEVICE(n) + VIRTIO_QUEUE_SEL, 0xffffffff);
	write32(DEVICE(n) + VIRTIO_QUEUE_NUM, 0x8000);
	write32(DEVICE(n) + VIRTIO_DESC, 0xfffff000);
	one((uint32_t)bytes, sizeof(bytes), DESC_WRITE, 0);
	virtio_give(n, &ring, 0);
	virtio_wait(n, &ring, 1);

	/* Rings outside of the memory. */
	virtio_start(n, &ring);
	write32(DEVICE(n) + VIRTIO_STATUS, 0);
	write32(DEVICE(n) + VIRTIO_STATUS, 1);
	write32(DEVICE(n) + VIRTIO_STATUS, 3);
	write32(DEVICE(n) + VIRTIO_DRIVER_FEATURES_SEL, 1);
	write32(DEVICE(n) + VIRTIO_DRIVER_FEATURES, 1);
	write32(DEVICE(n) + VIRTIO_STATUS, STATUS_FEATURES_OK);
	write32(DEVICE(n) + VIRTIO_QUEUE_SEL, 0);
	write32(DEVICE(n) + VIRTIO_QUEUE_NUM, QUEUE);
	write32(DEVICE(n) + VIRTIO_DESC + 4, 0x7fffffff);
	write32(DEVICE(n) + VIRTIO_QUEUE_READY, 1);
	write32(DEVICE(n) + VIRTIO_STATUS, STATUS_DRIVER_OK);
	write32(DEVICE(n) + VIRTIO_QUEUE_NOTIFY, 0);
	use_well(n);
	say("hostile ok\n");
}
