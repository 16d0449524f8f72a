/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the entropy device (the first that is one) for bytes, twice, and once in two pieces. */
#include "tests/guests/guest.h"

static struct ring ring;
static uint8_t bytes[64];

static unsigned find(uint32_t id)
{
	for (unsigned n = 0; n < 18; n++)
		if (read32(DEVICE(n) + VIRTIO_DEVICE_ID) == id)
			return n;
	fail("no device", id);
}

static uint32_t sum(void)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		n = n * 31 + bytes[i];
	return n;
}

void main(uint32_t start_info)
{
	unsigned n = find(4);
	uint32_t first;

	(void)start_info;
	virtio_start(n, &ring);
	ring.desc[0].at = (uint32_t)bytes;
	ring.desc[0].len = sizeof(bytes);
	ring.desc[0].flags = DESC_WRITE;
	virtio_give(n, &ring, 0);
	check(virtio_wait(n, &ring, 1), "entropy", 0);
	check(ring.used.ring[0].len == sizeof(bytes), "length", ring.used.ring[0].len);
	check(read32(DEVICE(n) + VIRTIO_ISR) & 1, "interrupt", 0);
	write32(DEVICE(n) + VIRTIO_ACK, 1);
	check(!(read32(DEVICE(n) + VIRTIO_ISR) & 1), "acknowledged", 0);
	first = sum();

	ring.desc[1] = ring.desc[0];
	ring.desc[1].len = 32;
	ring.desc[1].flags = DESC_WRITE | DESC_NEXT;
	ring.desc[1].next = 2;
	ring.desc[2] = ring.desc[0];
	ring.desc[2].at = (uint32_t)bytes + 32;
	ring.desc[2].len = 32;
	virtio_give(n, &ring, 1);
	check(virtio_wait(n, &ring, 2), "entropy in two pieces", 0);
	check(ring.used.ring[1].id == 1, "which", ring.used.ring[1].id);
	check(sum() != first, "the same twice", first);
	say("rng ok\n");
}
