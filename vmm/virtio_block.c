/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's requests (virtio 1.2 5.2.6): a header that is read, data either way, a status byte
 * that is written last. Where one of the three ends within the buffers is the driver's choice.
 *
 * A request is done when it is taken; the file behind it is the host's page cache most of the time.
 * So that the other devices have their turn, one turn moves a bounded number of bytes,
 * and so does one request: SEG_MAX and SIZE_MAX tell the driver, and a longer one is an error.
 *
 * Hostile: every field. Sectors and lengths are compared in 64 bits with room to spare. Wrong
 * requests are answered with an error; a request without a header, or without room for an
 * answer, loses the device.
 */
#include "vmm/virtio_disk.h"
#include "vmm/virtio_int.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#define SEGMENTS (VIRTQ_CHAIN_MAX - 2)
#define SEGMENT_MAX (128u << 10)
#define REQUEST_MAX ((uint64_t)SEGMENTS * SEGMENT_MAX)
#define TURN_BYTES (8u << 20)
/* Of one request that discards; of one that writes zeros, which a file system may have to write out. */
#define DISCARDS_MAX 16
#define DISCARD_MAX ((256u << 20) / DISK_SECTOR)
#define ZEROES_MAX (TURN_BYTES / DISK_SECTOR)

struct block {
	struct virtio_mmio dev;
	struct virtio_disk disk;
	char serial[VIRTIO_BLK_ID_BYTES];
};

static struct block *block(struct virtio_mmio *d)
{
	return container_of(d, struct block, dev);
}

/* Whole sectors, all of them on the disk. */
static bool on_disk(const struct block *b, uint64_t sector, uint64_t len)
{
	uint64_t sectors = b->disk.size / DISK_SECTOR;

	return len % DISK_SECTOR == 0 && len <= REQUEST_MAX && sector <= sectors &&
	       len / DISK_SECTOR <= sectors - sector;
}

static int read_data(struct block *b, uint64_t sector, const struct virtq_chain *c, uint64_t len)
{
	if (!on_disk(b, sector, len))
		return -EINVAL;
	return virtio_disk_read(&b->disk, sector * DISK_SECTOR, len, virtq_in(c), c->n_in);
}

static int write_data(struct block *b, uint64_t sector, const struct virtq_chain *c, uint64_t len)
{
	struct iovec v[VIRTQ_CHAIN_MAX];
	unsigned n;
	int r;

	if (!on_disk(b, sector, len))
		return -EINVAL;
	n = virtq_slice(virtq_out(c), c->n_out, sizeof(struct virtio_blk_outhdr), len, v);
	r = virtio_disk_write(&b->disk, sector * DISK_SECTOR, len, v, n);
	/* A driver that cannot flush has been promised that what is answered is there (5.2.6.2). */
	if (r == 0 && !virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH))
		r = virtio_disk_flush(&b->disk);
	return r;
}

/*
 * Ranges that are discarded or zeroed (5.2.6.2): each on the disk, none longer than the driver was
 * told, no flag that means nothing. What one that is refused comes behind has been done.
 */
static uint8_t clear(struct block *b, uint32_t type, const struct virtq_chain *c)
{
	uint64_t n = (c->out_len - sizeof(struct virtio_blk_outhdr)) / 16;
	bool zeroes = type == VIRTIO_BLK_T_WRITE_ZEROES;
	int r = 0;

	static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "as on the wire");
	if ((c->out_len - sizeof(struct virtio_blk_outhdr)) % 16 || !n ||
	    n > (zeroes ? 1 : DISCARDS_MAX))
		return VIRTIO_BLK_S_IOERR;
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		struct virtio_blk_discard_write_zeroes g;
		uint64_t sectors = b->disk.size / DISK_SECTOR;

		if (!virtq_copy_out(c, sizeof(struct virtio_blk_outhdr) + i * 16, &g, sizeof(g)))
			return VIRTIO_BLK_S_IOERR;
		if (g.flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
			return VIRTIO_BLK_S_UNSUPP;
		if (g.num_sectors > (zeroes ? ZEROES_MAX : DISCARD_MAX) || g.sector > sectors ||
		    g.num_sectors > sectors - g.sector)
			return VIRTIO_BLK_S_IOERR;
		if (zeroes)
			r = virtio_disk_zero(&b->disk, g.sector * DISK_SECTOR,
					     (uint64_t)g.num_sectors * DISK_SECTOR, g.flags != 0);
		else
			r = virtio_disk_discard(&b->disk, g.sector * DISK_SECTOR,
						(uint64_t)g.num_sectors * DISK_SECTOR);
	}
	if (r == 0 && zeroes && !virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH))
		r = virtio_disk_flush(&b->disk);
	return r < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* Does what the request asks. *ret_written: bytes of data for the driver. */
static uint8_t serve(struct block *b, const struct virtio_blk_outhdr *h,
		     const struct virtq_chain *c, uint64_t *ret_written)
{
	uint64_t in = c->in_len - 1, out = c->out_len - sizeof(*h);
	size_t id = (size_t)MIN(in, sizeof(b->serial));
	int r;

	*ret_written = 0;
	switch (h->type) {
	case VIRTIO_BLK_T_IN:
		r = read_data(b, h->sector, c, in);
		*ret_written = r < 0 ? 0 : in;
		break;
	case VIRTIO_BLK_T_OUT:
		r = write_data(b, h->sector, c, out);
		break;
	case VIRTIO_BLK_T_FLUSH:
		r = virtio_disk_flush(&b->disk);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (!virtio_has(&b->dev, h->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD
									 : VIRTIO_BLK_F_WRITE_ZEROES))
			return VIRTIO_BLK_S_UNSUPP;
		return clear(b, h->type, c);
	case VIRTIO_BLK_T_GET_ID:
		r = virtq_copy_in(c, 0, b->serial, id) ? 0 : -EINVAL;
		*ret_written = id;
		break;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
	return r < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static void kick(struct virtio_mmio *d, unsigned queue)
{
	struct block *b = block(d);
	struct virtio_blk_outhdr h;
	struct virtq_chain c;
	uint64_t written, moved = 0;
	unsigned n = 0;
	uint8_t status;

	while (n < VIRTIO_TURN && moved < TURN_BYTES && virtio_pop(d, queue, &c)) {
		if (!virtq_copy_out(&c, 0, &h, sizeof(h)) || c.in_len == 0) {
			virtio_fail(d, "a disk request without a header, or room for an answer");
			return;
		}
		status = serve(b, &h, &c, &written);
		d->count.errors += status != VIRTIO_BLK_S_OK;
		(void)!virtq_copy_in(&c, c.in_len - 1, &status, 1);
		/* All of a good answer is written; of another one, only the status is sure. */
		virtio_push(d, queue, &c, (uint32_t)MIN(written + 1, UINT32_MAX));
		/* A range may be as much work as a turn's bytes. */
		moved += h.type == VIRTIO_BLK_T_DISCARD || h.type == VIRTIO_BLK_T_WRITE_ZEROES
				 ? TURN_BYTES
				 : c.in_len + c.out_len;
		n++;
	}
	virtio_turn(d, queue, moved < TURN_BYTES ? n : VIRTIO_TURN);
}

/* Requests are answered when they are taken: all there is to keep is on the disk. */
static const char *save(struct virtio_mmio *d, struct virtio_state *s)
{
	(void)s;
	return virtio_disk_flush(&block(d)->disk) < 0 ? "a disk that cannot be flushed" : NULL;
}

static void fini(struct virtio_mmio *d)
{
	virtio_disk_close(&block(d)->disk);
}

static const struct virtio_kind kind = {
	.name = "block",
	.id = VIRTIO_ID_BLOCK,
	.queue_max = 256,
	.kick = kick,
	.save = save,
	.fini = fini,
};

static void configure(struct block *b, const struct virtio_block_setup *s)
{
	struct virtio_blk_config c = {
		.capacity = b->disk.size / DISK_SECTOR,
		.size_max = SEGMENT_MAX,
		.seg_max = SEGMENTS,
		.blk_size = DISK_SECTOR,
		.max_discard_sectors = DISCARD_MAX,
		.max_discard_seg = DISCARDS_MAX,
		.discard_sector_alignment = 4096 / DISK_SECTOR,
		.max_write_zeroes_sectors = ZEROES_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	size_t n = s->serial ? strnlen(s->serial, sizeof(b->serial)) : 0;

	if (n)
		memcpy(b->serial, s->serial, n);
	b->dev.config_len = offsetof(struct virtio_blk_config, unused1);
	memcpy(b->dev.config, &c, b->dev.config_len);
	b->dev.offered |= VIRTIO_BIT(VIRTIO_BLK_F_SIZE_MAX) | VIRTIO_BIT(VIRTIO_BLK_F_SEG_MAX) |
			  VIRTIO_BIT(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_BIT(VIRTIO_BLK_F_FLUSH);
	if (s->read_only)
		b->dev.offered |= VIRTIO_BIT(VIRTIO_BLK_F_RO);
	else
		b->dev.offered |=
			VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) | VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
}

int virtio_block_new(struct loop *loop, const struct gmem *mem, const struct virtio_block_setup *s,
		     struct virtio_mmio **ret, const char **ret_why)
{
	struct block *b = calloc(1, sizeof(*b));
	int r;

	*ret_why = "a disk cannot be made";
	if (!b)
		return -ENOMEM;
	r = virtio_disk_open(&b->disk, s, ret_why);
	if (r < 0) {
		free(b);
		return r;
	}
	r = virtio_init(&b->dev, &kind, 1, loop, mem);
	if (r < 0) {
		virtio_disk_close(&b->disk);
		free(b);
		return r;
	}
	configure(b, s);
	*ret = &b->dev;
	return 0;
}
