/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bare-metal guests share: ports, registers, the console, and a virtio
 * driver of a few lines. 32-bit code without a library or paging; whatever goes
 * wrong is said on the console, and the guest resets (status 2).
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include <stdint.h>

#define PORT_CONSOLE 0x3f8
#define PORT_CONSOLE_STATUS 0x3fd
#define PORT_SLEEP 0x600
#define PORT_RESET 0x604
#define DEVICE(n) (0xd0000000U + (n)*0x1000U)

void *memcpy(void *dst, const void *src, unsigned n);
void *memset(void *dst, int c, unsigned n);
void main(uint32_t start_info);

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t read32(uint32_t at)
{
	uint32_t v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static inline void write32(uint32_t at, uint32_t v)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(at) : "memory");
}

static inline uint8_t read8(uint32_t at)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(at) : "memory");
	return v;
}

static inline void write8(uint32_t at, uint8_t v)
{
	__asm__ volatile("movb %0, (%1)" : : "q"(v), "r"(at) : "memory");
}

static inline void say(const char *text)
{
	for (; *text; text++) {
		while (!(in8(PORT_CONSOLE_STATUS) & 0x20))
			;
		out8(PORT_CONSOLE, (uint8_t)*text);
	}
}

static inline void say_hex(uint32_t v)
{
	char text[10];

	for (int i = 0; i < 8; i++)
		text[i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
	text[8] = ' ';
	text[9] = 0;
	say(text);
}

_Noreturn static inline void fail(const char *what, uint32_t got)
{
	say("FAIL ");
	say(what);
	say(" ");
	say_hex(got);
	say("\n");
	for (;;)
		out8(PORT_RESET, 1);
}

static inline void check(int ok, const char *what, uint32_t got)
{
	if (!ok)
		fail(what, got);
}

/* ---- virtio 1.2 over MMIO, one split queue of 8 ------------------------- */

#define QUEUE 8

enum {
	VIRTIO_MAGIC = 0x00,
	VIRTIO_DEVICE_ID = 0x08,
	VIRTIO_DRIVER_FEATURES = 0x20,
	VIRTIO_DRIVER_FEATURES_SEL = 0x24,
	VIRTIO_QUEUE_SEL = 0x30,
	VIRTIO_QUEUE_NUM = 0x38,
	VIRTIO_QUEUE_READY = 0x44,
	VIRTIO_QUEUE_NOTIFY = 0x50,
	VIRTIO_ISR = 0x60,
	VIRTIO_ACK = 0x64,
	VIRTIO_STATUS = 0x70,
	VIRTIO_DESC = 0x80,
	VIRTIO_AVAIL = 0x90,
	VIRTIO_USED = 0xa0,
};

enum {
	STATUS_FEATURES_OK = 0x0b, /* with acknowledge and driver */
	STATUS_DRIVER_OK = 0x0f,
	STATUS_NEEDS_RESET = 0x40,
};

enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
};

struct ring {
	struct {
		uint64_t at;
		uint32_t len;
		uint16_t flags, next;
	} desc[QUEUE];
	struct {
		uint16_t flags, idx, ring[QUEUE], event;
	} avail;
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[QUEUE];
		uint16_t event;
	} used __attribute__((aligned(4)));
} __attribute__((aligned(16)));

/* The n-th device with queue 0 at `r`, ready to be used. */
static inline void virtio_start(unsigned n, volatile struct ring *r)
{
	uint32_t at = DEVICE(n);

	memset((void *)(uintptr_t)r, 0, sizeof(*r));
	check(read32(at + VIRTIO_MAGIC) == 0x74726976, "magic", read32(at + VIRTIO_MAGIC));
	write32(at + VIRTIO_STATUS, 0);
	write32(at + VIRTIO_STATUS, 1);
	write32(at + VIRTIO_STATUS, 3);
	write32(at + VIRTIO_DRIVER_FEATURES_SEL, 1);
	write32(at + VIRTIO_DRIVER_FEATURES, 1); /* VERSION_1 */
	write32(at + VIRTIO_STATUS, STATUS_FEATURES_OK);
	check(read32(at + VIRTIO_STATUS) == STATUS_FEATURES_OK, "features",
	      read32(at + VIRTIO_STATUS));
	write32(at + VIRTIO_QUEUE_SEL, 0);
	write32(at + VIRTIO_QUEUE_NUM, QUEUE);
	write32(at + VIRTIO_DESC, (uint32_t)(uintptr_t)r->desc);
	write32(at + VIRTIO_DESC + 4, 0);
	write32(at + VIRTIO_AVAIL, (uint32_t)(uintptr_t)&r->avail);
	write32(at + VIRTIO_AVAIL + 4, 0);
	write32(at + VIRTIO_USED, (uint32_t)(uintptr_t)&r->used);
	write32(at + VIRTIO_USED + 4, 0);
	write32(at + VIRTIO_QUEUE_READY, 1);
	write32(at + VIRTIO_STATUS, STATUS_DRIVER_OK);
}

/* Hands descriptor `head` over and kicks. */
static inline void virtio_give(unsigned n, volatile struct ring *r, uint16_t head)
{
	r->avail.ring[r->avail.idx % QUEUE] = head;
	__asm__ volatile("" : : : "memory");
	r->avail.idx++;
	__asm__ volatile("lock; addl $0, (%%esp)" : : : "memory");
	write32(DEVICE(n) + VIRTIO_QUEUE_NOTIFY, 0);
}

/* Waits until `idx` buffers came back, or the device wants a reset: then false. */
static inline int virtio_wait(unsigned n, volatile struct ring *r, uint16_t idx)
{
	while (r->used.idx != idx)
		if (read32(DEVICE(n) + VIRTIO_STATUS) & STATUS_NEEDS_RESET)
			return 0;
	return 1;
}

#endif
