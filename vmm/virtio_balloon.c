/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the guest does not need (virtio 1.2 5.5). Two ways:
 *
 *   reports    the guest names free pages, in pieces of some MiB, as they lie idle. Their
 *              contents are of no use to it; it may take them back by touching them.
 *   inflation  we ask for a number of pages; the guest names those it has set aside, by
 *              page number. With DEFLATE_ON_OOM it takes them back when it runs out.
 *
 * Either way the pages become holes in the memory file. All of that is a hint about memory of the guest's own: a
 * guest that lies about it loses what it has said is free, and nobody else anything.
 *
 * A driver that numbers queues as the specification has it reports on queue 4; Linux leaves queues out whose
 * feature is missing, and reports on queue 2. Both are listened to.
 *
 * Hostile: page numbers, lengths, and how many of them there are.
 */
#include "vmm/virtio_int.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

enum queue { INFLATE, DEFLATE, REPORT_FIRST, REPORT_LAST = 4, QUEUES };

/* Page numbers in one chain; Linux sends 256. */
#define PFNS_MAX 4096
#define PFNS_STEP 256

struct balloon {
	struct virtio_mmio dev; /* first */
	uint64_t reported;	/* bytes */
};

static struct balloon *balloon(struct virtio_mmio *d)
{
	return container_of(d, struct balloon, dev);
}

static const struct balloon *balloon_const(const struct virtio_mmio *d)
{
	return (const struct balloon *)(const void *)d;
}

/* ---- reports ------------------------------------------------------------ */

static void report(struct virtio_mmio *d, unsigned queue)
{
	struct virtq_chain c;
	unsigned n = 0;

	while (n < VIRTIO_TURN && virtio_pop(d, queue, &c)) {
		const struct iovec *v = virtq_in(&c);

		for (unsigned i = 0; i < c.n_in; i++) {
			uint64_t given = 0;

			if (gmem_discard_at(d->mem, v[i].iov_base, v[i].iov_len, &given) < 0)
				d->count.errors++;
			balloon(d)->reported += given;
		}
		virtio_push(d, queue, &c, 0);
		n++;
	}
	virtio_turn(d, queue, n);
}

/* ---- inflation ---------------------------------------------------------- */

/* Neighbours go in one call. */
static void give_up_pages(struct virtio_mmio *d, const uint32_t *pfn, size_t n)
{
	for (size_t i = 0, k; i < n; i += k) {
		uint64_t given;

		for (k = 1; i + k < n && pfn[i + k] == pfn[i] + k && pfn[i + k] > pfn[i]; k++)
			;
		if (gmem_discard(d->mem, (uint64_t)pfn[i] << VIRTIO_BALLOON_PFN_SHIFT,
				 (uint64_t)k << VIRTIO_BALLOON_PFN_SHIFT, &given) < 0)
			d->count.errors++;
	}
}

static void take_pages(struct virtio_mmio *d, unsigned queue)
{
	uint32_t pfn[PFNS_STEP];
	struct virtq_chain c;
	unsigned n = 0;

	while (n < VIRTIO_TURN && virtio_pop(d, queue, &c)) {
		if (c.out_len % sizeof(pfn[0]) || c.out_len > PFNS_MAX * sizeof(pfn[0])) {
			virtio_fail(d, "a list of pages of a length that it cannot have");
			return;
		}
		/* What is given back to the guest comes back by being touched. */
		for (uint64_t off = 0; queue == INFLATE && off < c.out_len; off += sizeof(pfn)) {
			size_t part = (size_t)MIN(sizeof(pfn), c.out_len - off);

			if (!virtq_copy_out(&c, off, pfn, part))
				break;
			give_up_pages(d, pfn, part / sizeof(pfn[0]));
		}
		virtio_push(d, queue, &c, 0);
		n++;
	}
	virtio_turn(d, queue, n);
}

/* ---- the device --------------------------------------------------------- */

static void kick(struct virtio_mmio *d, unsigned queue)
{
	if (queue >= REPORT_FIRST)
		report(d, queue);
	else
		take_pages(d, queue);
}

/* How much is set aside is read when somebody asks. */
static void config_written(struct virtio_mmio *d)
{
	(void)d;
}

static const struct virtio_kind kind = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.queue_max = 64,
	.kick = kick,
	.config_written = config_written,
	.config_writable = UINT64_C(0xf) << offsetof(struct virtio_balloon_config, actual),
};

int virtio_balloon_new(struct loop *loop, const struct gmem *mem, struct virtio_mmio **ret)
{
	struct balloon *b = calloc(1, sizeof(*b));
	int r = b ? virtio_init(&b->dev, &kind, QUEUES, loop, mem) : -ENOMEM;

	if (r < 0) {
		free(b);
		return r;
	}
	b->dev.offered |= VIRTIO_BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
			  VIRTIO_BIT(VIRTIO_BALLOON_F_REPORTING);
	b->dev.config_len = offsetof(struct virtio_balloon_config, actual) + sizeof(uint32_t);
	*ret = &b->dev;
	return 0;
}

void virtio_balloon_target(struct virtio_mmio *d, uint64_t bytes)
{
	uint32_t pages = (uint32_t)MIN(bytes >> VIRTIO_BALLOON_PFN_SHIFT, UINT32_MAX);

	memcpy(d->config + offsetof(struct virtio_balloon_config, num_pages), &pages, sizeof(pages));
	virtio_config_changed(d);
}

void virtio_balloon_state(const struct virtio_mmio *d, uint64_t *ret_inflated, uint64_t *ret_reported)
{
	uint32_t pages;

	memcpy(&pages, d->config + offsetof(struct virtio_balloon_config, actual), sizeof(pages));
	*ret_inflated = (uint64_t)pages << VIRTIO_BALLOON_PFN_SHIFT;
	*ret_reported = balloon_const(d)->reported;
}
