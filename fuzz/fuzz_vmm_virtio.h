/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzers of the virtio devices share: a guest that does as it likes with registers of
 * any width, rings and buffers of any content, in any order with what the host does.
 *
 * Input: a byte for which form of the device, a byte of how it is brought up, then steps (see
 * step()). Memory stands between pages that nobody may touch. What may never happen: an access
 * outside of memory; a device that runs while it wants a reset; a loop that does not come to
 * rest; and what the device's own fuzzer adds.
 */
#ifndef FUZZ_VMM_VIRTIO_H
#define FUZZ_VMM_VIRTIO_H

#include "vmm/virtio_int.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM 0x20000u /* bytes of each of two pieces */
#define HIGH UINT64_C(0x100000000)
#define GUARD 0x10000u
#define QUEUE_LEN 16u
#define DESC(q) ((q)*0x400u)
#define AVAIL(q) (DESC(q) + 0x100u)
#define USED(q) (DESC(q) + 0x200u)

static struct loop *loop;
static struct gmem mem;

struct run {
	struct rd in;
	struct virtio_mmio *d;
	const struct subject *subject;
	int host, guest; /* ends of the stream, or of the vhost-user connection */
	int out[2];	 /* of what hvc0 says */
	uint16_t offered[VIRTIO_QUEUES_MAX];
};

/* A device under test. All but make() may be NULL. */
struct subject {
	/* Makes r->d in a form that the number picks. */
	int (*make)(struct run *r, uint8_t form);
	/* The driver is about to set the device up. */
	void (*before_start)(struct run *r);
	/* The host does something of its own. */
	void (*host_acts)(struct run *r);
	/* The device is gone. */
	void (*check)(uint8_t form);
};

static uint8_t *map_ram(int fd, off_t at)
{
	uint8_t *p = mmap(NULL, RAM + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mmap(p + GUARD, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				    fd, at) == MAP_FAILED)
		abort();
	return p + GUARD;
}

static void once(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct gmem_region r[2] = {
		{ .gpa = 0, .len = RAM, .fd = fd },
		{ .gpa = HIGH, .len = RAM, .fd = fd, .fd_offset = RAM },
	};

	signal(SIGPIPE, SIG_IGN);
	log_setup("fuzz", LOG_LEVEL_ERROR);
	if (fd < 0 || ftruncate(fd, 2 * RAM) < 0 || loop_new(&loop) < 0)
		abort();
	for (unsigned i = 0; i < 2; i++)
		r[i].host = map_ram(fd, (off_t)r[i].fd_offset);
	if (gmem_init(&mem, r, 2) < 0)
		abort();
}

/* ---- the input ---------------------------------------------------------- */

static uint64_t take(struct run *r, size_t n)
{
	uint64_t v = 0;

	n = MIN(n, rd_left(&r->in));
	(void)!rd_copy(&r->in, &v, n);
	return v;
}

/* An address: most are somewhere in memory, many at its edges. */
static uint64_t take_gpa(struct run *r)
{
	uint8_t where = (uint8_t)take(r, 1);
	uint64_t off = take(r, 2);

	switch (where % 8) {
	case 0:
		return off;
	case 1:
		return 0x10000 + off;
	case 2:
		return HIGH + off;
	case 3:
		return HIGH + RAM - off;
	case 4:
		return RAM - off;
	case 5:
		return 0xd0000000 + off;
	case 6:
		return take(r, 8);
	default:
		return UINT64_MAX - off;
	}
}

/* ---- the driver --------------------------------------------------------- */

static void write32(struct run *r, uint64_t reg, uint64_t v)
{
	uint32_t x = (uint32_t)v;

	virtio_mmio_write(r->d, reg, &x, sizeof(x));
}

static void bring_up(struct run *r, uint64_t features)
{
	features = (features & r->d->offered) | VIRTIO_BIT(VIRTIO_F_VERSION_1);
	if (r->subject->before_start)
		r->subject->before_start(r);
	write32(r, VIRTIO_MMIO_STATUS, 0);
	write32(r, VIRTIO_MMIO_STATUS, 3);
	write32(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write32(r, VIRTIO_MMIO_DRIVER_FEATURES, features);
	write32(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write32(r, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
	write32(r, VIRTIO_MMIO_STATUS, 11);
	memset(r->offered, 0, sizeof(r->offered));
	for (unsigned q = 0; q < r->d->n_queues; q++) {
		write32(r, VIRTIO_MMIO_QUEUE_SEL, q);
		write32(r, VIRTIO_MMIO_QUEUE_NUM, QUEUE_LEN);
		write32(r, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC(q));
		write32(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL(q));
		write32(r, VIRTIO_MMIO_QUEUE_USED_LOW, USED(q));
		write32(r, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	(void)!gmem_zero(&mem, 0, DESC(VIRTIO_QUEUES_MAX));
	write32(r, VIRTIO_MMIO_STATUS, 15);
}

static void write_desc(struct run *r, unsigned q, unsigned i, uint16_t flags, uint16_t next)
{
	struct vring_desc d = { .addr = take_gpa(r), .flags = flags, .next = next };

	d.len = (uint32_t)take(r, 2);
	if (d.len >= 0xff00) /* now and then a large one */
		d.len <<= 16;
	(void)!gmem_write(&mem, DESC(q) + 16 * i, &d, sizeof(d));
}

static void offer(struct run *r, unsigned q, uint16_t head)
{
	(void)!gmem_write(&mem, AVAIL(q) + 4 + 2 * (r->offered[q] % QUEUE_LEN), &head, 2);
	r->offered[q]++;
	(void)!gmem_write(&mem, AVAIL(q) + 2, &r->offered[q], 2);
	write32(r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
}

/* A chain of a few pieces that is one. */
static void offer_chain(struct run *r)
{
	unsigned q = (unsigned)take(r, 1) % r->d->n_queues, n = 1 + (unsigned)take(r, 1) % 8;
	uint8_t in = (uint8_t)take(r, 1);

	for (unsigned i = 0; i < n; i++)
		write_desc(r, q, i,
			   (uint16_t)((in >> i & 1 ? VRING_DESC_F_WRITE : 0) |
				      (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			   (uint16_t)(i + 1));
	offer(r, q, 0);
}

/* ---- the host ----------------------------------------------------------- */

static void host_hears(struct run *r)
{
	static uint8_t b[1 << 16];

	(void)!recv(r->host, b, 1 + take(r, 2), MSG_DONTWAIT);
	(void)!read(r->out[0], b, sizeof(b));
}

static void settle(struct run *r)
{
	/* As many turns as anything here can take, and then none is left. */
	for (unsigned i = 0; i < 100; i++)
		if (loop_step(loop, 0) < 0)
			abort();
	assert(!(r->d->active && r->d->regs.status & VIRTIO_CONFIG_S_NEEDS_RESET));
	assert(r->d->active || !r->d->regs.status || !virtq_started(&r->d->vq[0]));
}

/* The device saved, its state spoilt where the input says so, and loaded into it after a reset. */
static void save_and_load(struct run *r)
{
	uint8_t spoilt = (uint8_t)take(r, 1) % 4;
	struct virtio_state s;
	const char *why;

	if (virtio_save(r->d, &s) < 0)
		return;
	while (spoilt--)
		((uint8_t *)&s)[take(r, 2) % sizeof(s)] = (uint8_t)take(r, 1);
	write32(r, VIRTIO_MMIO_STATUS, 0);
	if (r->subject->before_start)
		r->subject->before_start(r);
	(void)!virtio_load(r->d, &s, &why);
}

static void step(struct run *r)
{
	uint8_t b[64];
	unsigned q;
	size_t n;

	switch (take(r, 1) % 13) {
	case 0:
		offer_chain(r);
		break;
	case 1: /* anything, anywhere */
		n = take(r, 1) % sizeof(b);
		memset(b, 0, sizeof(b));
		(void)!rd_copy(&r->in, b, MIN(n, rd_left(&r->in)));
		(void)!gmem_write(&mem, take_gpa(r), b, n);
		break;
	case 2:
		write32(r, take(r, 1) * 4, take(r, 4));
		break;
	case 3:
		virtio_mmio_read(r->d, take(r, 2) % VIRTIO_MMIO_SIZE, b, 4);
		break;
	case 4: /* of any width */
		memset(b, 0xa5, 8);
		n = UINT64_C(1) << take(r, 1) % 4;
		virtio_mmio_write(r->d, take(r, 2) % VIRTIO_MMIO_SIZE, b, (unsigned)n);
		virtio_mmio_read(r->d, take(r, 2) % VIRTIO_MMIO_SIZE, b, (unsigned)n);
		break;
	case 5:
		q = (unsigned)take(r, 1) % r->d->n_queues;
		n = take(r, 1) % QUEUE_LEN;
		write_desc(r, q, (unsigned)n, (uint16_t)take(r, 1), (uint16_t)take(r, 1));
		break;
	case 6:
		q = (unsigned)take(r, 1) % r->d->n_queues;
		offer(r, q, (uint16_t)take(r, 1));
		break;
	case 7:
		if (r->subject->host_acts)
			r->subject->host_acts(r);
		break;
	case 8:
		host_hears(r);
		break;
	case 9:
		bring_up(r, take(r, 8));
		break;
	case 10:
		fd_close(steal_fd(&r->host));
		break;
	case 12:
		save_and_load(r);
		break;
	default:
		settle(r);
		break;
	}
}

/* ---- one input ---------------------------------------------------------- */

/* Of the streams, where the device is one that has any. */
static int open_streams(struct run *r)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	r->host = sv[0];
	r->guest = sv[1];
	if (pipe2(r->out, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	return 0;
}

static int fuzz_subject(const struct subject *s, const uint8_t *data, size_t size)
{
	struct run r = { .in = rd_init(data, size), .subject = s };
	uint8_t form = (uint8_t)take(&r, 1);
	uint64_t features = take(&r, 1) & 1 ? ~UINT64_C(0) : VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);

	if (!loop)
		once();
	if (size > 4096 || open_streams(&r) < 0)
		return 0;
	for (unsigned i = 0; i < 2; i++)
		memset(mem.r[i].host, 0, RAM);
	if (s->make(&r, form) == 0) {
		bring_up(&r, features);
		while (rd_left(&r.in))
			step(&r);
		settle(&r);
		/* Nobody waits for an answer, or for a reader. */
		fd_close(steal_fd(&r.host));
		fd_close(steal_fd(&r.out[0]));
		virtio_free(r.d);
		if (s->check)
			s->check(form);
	}
	fd_close(r.host);
	fd_close(r.guest);
	fd_close(r.out[0]);
	fd_close(r.out[1]);
	return 0;
}

/* The driver's entry for one device. */
#define FUZZ_SUBJECT(subject)                                                                      \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);                              \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                               \
	{                                                                                          \
		return fuzz_subject(&(subject), data, size);                                       \
	}

#endif
