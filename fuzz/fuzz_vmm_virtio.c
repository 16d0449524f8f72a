/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every virtio device against a guest that does as it likes: registers of any width, rings and
 * buffers of any content, in any order with what the host does.
 *
 * Input: a byte for the device, a byte of how it is brought up, then steps (see step()).
 * Memory stands between pages that nobody may touch. What may never happen: an access outside of memory; a write
 * to an image that is read-only or under a layer; a device that runs while it wants a reset;
 * more chains given back than were taken; a loop that does not come to rest.
 */
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
#define IMAGE 70000u

enum device { RNG, BLOCK, BLOCK_READ_ONLY, BLOCK_LAYER, CONSOLE, BALLOON, NET, DEVICES };

static struct loop *loop;
static struct gmem mem;
static int image, layer;
static uint8_t image_bytes[IMAGE];

struct run {
	struct rd in;
	struct virtio_mmio *d;
	int host, guest; /* ends of the stream, or of the vhost-user connection */
	int out[2];	 /* of what hvc0 says */
	uint16_t offered[VIRTIO_QUEUES_MAX];
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
	image = memfd_create("image", MFD_CLOEXEC);
	layer = memfd_create("layer", MFD_CLOEXEC);
	for (unsigned i = 0; i < IMAGE; i++)
		image_bytes[i] = (uint8_t)(i * 7 + (i >> 9));
	if (pwrite(image, image_bytes, IMAGE, 0) != IMAGE)
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

static void answer_front_end(struct run *r);

static void bring_up(struct run *r, uint64_t features)
{
	features = (features & r->d->offered) | VIRTIO_BIT(VIRTIO_F_VERSION_1);
	answer_front_end(r);
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

/* The back end's answers, each to what will be asked in this order, as long as the input says so. */
static void answer_front_end(struct run *r)
{
	static const uint8_t order[] = { 2, 5, 8, 10, 9, 13, 12, 18, 8, 10, 9, 13, 12, 18, 11, 11 };
	size_t n = r->d->kind->foreign ? take(r, 1) % (ARRAY_SIZE(order) + 1) : 0;

	for (size_t i = 0; i < n; i++) {
		struct {
			uint32_t head[3];
			uint64_t v;
		} __attribute__((packed)) m = { { order[i], 5, 8 }, 0 };

		if (write(r->host, &m, sizeof(m)) < 0)
			break;
	}
	/* Nothing more comes, so nobody waits for it. */
	if (r->d->kind->foreign)
		shutdown(r->host, SHUT_WR);
}

static void host_says(struct run *r)
{
	uint8_t b[256];
	size_t n = take(r, 1) % sizeof(b);

	memset(b, 'h', n);
	(void)!send(r->host, b, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

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

static void step(struct run *r)
{
	uint8_t b[64];
	unsigned q;
	size_t n;

	switch (take(r, 1) % 12) {
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
		host_says(r);
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
	default:
		settle(r);
		break;
	}
}

/* ---- one input ---------------------------------------------------------- */

static int make_block(struct run *r, enum device kind)
{
	struct virtio_block_setup s = {
		.fd = image,
		.layer_fd = kind == BLOCK_LAYER ? layer : -1,
		.read_only = kind == BLOCK_READ_ONLY,
		.serial = "serial",
	};
	const char *why;

	return virtio_block_new(loop, &mem, &s, &r->d, &why);
}

static int make_net(struct run *r)
{
	struct virtio_net_setup s = { .fd = r->guest, .mtu = 1500 };
	static const uint32_t order[] = { 1, 15, 3 };
	const char *why;

	for (unsigned i = 0; i < 3; i++) {
		struct {
			uint32_t head[3];
			uint64_t v;
		} __attribute__((packed))
		m = { { order[i], 5, 8 }, order[i] == 3 ? 0 : ~UINT64_C(0) };

		m.head[2] += (uint32_t)take(r, 1) >> 7; /* wrong, sometimes */
		(void)!write(r->host, &m, sizeof(m));
	}
	if (rd_left(&r->in) == 0)
		shutdown(r->host, SHUT_WR);
	return virtio_net_new(loop, &mem, &s, &r->d, &why);
}

static int make(struct run *r, enum device kind)
{
	struct virtio_console_setup s = { r->out[1], r->guest, "agent" };

	switch (kind) {
	case RNG:
		return virtio_rng_new(loop, &mem, &r->d);
	case CONSOLE:
		return virtio_console_new(loop, &mem, &s, &r->d);
	case BALLOON:
		return virtio_balloon_new(loop, &mem, &r->d);
	case NET:
		return make_net(r);
	default:
		return make_block(r, kind);
	}
}

static void check_image(enum device kind)
{
	static uint8_t now[IMAGE + 1];

	if (kind == BLOCK) {
		if (ftruncate(image, IMAGE) < 0 || pwrite(image, image_bytes, IMAGE, 0) != IMAGE)
			abort();
		return;
	}
	if (kind == BLOCK_READ_ONLY || kind == BLOCK_LAYER)
		assert(pread(image, now, sizeof(now), 0) == IMAGE &&
		       memcmp(now, image_bytes, IMAGE) == 0);
	if (kind == BLOCK_LAYER && ftruncate(layer, 0) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = { .in = rd_init(data, size) };
	enum device kind = (enum device)(take(&r, 1) % DEVICES);
	uint64_t features = take(&r, 1) & 1 ? ~UINT64_C(0) : VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);
	int sv[2];

	if (!loop)
		once();
	if (size > 4096 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	r.host = sv[0];
	r.guest = sv[1];
	if (pipe2(r.out, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	for (unsigned i = 0; i < 2; i++)
		memset(mem.r[i].host, 0, RAM);
	if (make(&r, kind) == 0) {
		bring_up(&r, features);
		while (rd_left(&r.in))
			step(&r);
		settle(&r);
		/* Nobody waits for an answer, or for a reader. */
		fd_close(steal_fd(&r.host));
		fd_close(steal_fd(&r.out[0]));
		virtio_free(r.d);
		check_image(kind);
	}
	fd_close(r.host);
	fd_close(r.guest);
	fd_close(r.out[0]);
	fd_close(r.out[1]);
	return 0;
}
