/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks: requests of every shape, what is refused, read-only as the host's business, and the
 * layer: what it keeps, what it leaves alone, what is there after a crash.
 */
#include "virtio_rig.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/stat.h>

#define IN VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define SECTORS 256 /* of the image, and a bit */
#define HEADER RIG_DATA
#define STATUS (RIG_DATA + 0x100)
#define DATA (RIG_DATA + 0x1000)
#define ALL ~UINT64_C(0)

struct drive {
	struct rig r;
	int image, layer;
	const char *why;
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + (at >> 9) * 13 + 1);
}

static int file_of(size_t n)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	uint8_t b[512];

	assert_true(fd >= 0);
	for (size_t at = 0; at < n; at += sizeof(b)) {
		size_t part = MIN(sizeof(b), n - at);

		for (size_t i = 0; i < part; i++)
			b[i] = pattern(at + i);
		assert_int_equal(write(fd, b, part), (ssize_t)part);
	}
	return fd;
}

static int plug(struct drive *d, bool read_only)
{
	struct virtio_block_setup s = {
		.fd = d->image,
		.layer_fd = d->layer,
		.read_only = read_only,
		.serial = "weir-root-0123456789-and-more",
	};

	return virtio_block_new(d->r.loop, &d->r.mem, &s, &d->r.d, &d->why);
}

static void unplug(struct drive *d)
{
	virtio_free(d->r.d);
	d->r.d = NULL;
}

static int setup(void **state)
{
	struct drive *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	rig_open(&d->r);
	d->image = file_of(SECTORS * 512 + 100);
	d->layer = -1;
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct drive *d = *state;

	rig_close(&d->r);
	fd_close(d->image);
	fd_close(d->layer);
	free(d);
	return 0;
}

/* One request with its data in one piece; its status, and the used length. */
static uint8_t request(struct drive *d, uint32_t type, uint64_t sector, uint32_t len,
		       uint32_t *ret_used)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	uint32_t head = 0, used = 0;

	memcpy(rig_at(&d->r, HEADER), &h, sizeof(h));
	*rig_at(&d->r, STATUS) = 0xee;
	rig_desc(&d->r, 0, 0, HEADER, sizeof(h), NEXT, len ? 1 : 2);
	rig_desc(&d->r, 0, 1, DATA, len, in ? IN | NEXT : NEXT, 2);
	rig_desc(&d->r, 0, 2, STATUS, 1, IN, 0);
	rig_offer(&d->r, 0, 0);
	rig_kick(&d->r, 0);
	assert_true(rig_take(&d->r, 0, &head, &used));
	if (ret_used)
		*ret_used = used;
	return *rig_at(&d->r, STATUS);
}

static void reads(struct drive *d, uint64_t sector, uint32_t sectors)
{
	uint32_t used;

	memset(rig_at(&d->r, DATA), 0xaa, sectors * 512);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, sector, sectors * 512, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, sectors * 512 + 1);
}

static void holds_pattern(struct drive *d, uint64_t sector, uint32_t sectors)
{
	reads(d, sector, sectors);
	for (size_t i = 0; i < sectors * 512; i++)
		if (*rig_at(&d->r, DATA + i) != pattern(sector * 512 + i))
			fail_msg("sector %zu differs", (size_t)sector + i / 512);
}

static void writes(struct drive *d, uint64_t sector, uint32_t sectors, uint8_t with)
{
	memset(rig_at(&d->r, DATA), with, sectors * 512);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, sector, sectors * 512, NULL), VIRTIO_BLK_S_OK);
}

static void holds(struct drive *d, uint64_t sector, uint32_t sectors, uint8_t what)
{
	reads(d, sector, sectors);
	for (size_t i = 0; i < sectors * 512; i++)
		if (*rig_at(&d->r, DATA + i) != what)
			fail_msg("sector %zu is %d, not %d", (size_t)sector + i / 512,
				 *rig_at(&d->r, DATA + i), what);
}

/* ---- requests ----------------------------------------------------------- */

static void says_how_large_it_is(void **state)
{
	struct drive *d = *state;
	uint64_t capacity = 0;
	uint32_t segments = 0;

	assert_int_equal(plug(d, true), 0);
	virtio_mmio_read(d->r.d, VIRTIO_MMIO_CONFIG, &capacity, 8);
	assert_int_equal(capacity, SECTORS + 1);
	virtio_mmio_read(d->r.d, VIRTIO_MMIO_CONFIG + 12, &segments, 4);
	assert_int_equal(segments, 126);
	assert_true(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_SEG_MAX));
	assert_true(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_RO));
	assert_true(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_FLUSH));
	assert_false(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_SCSI));
}

static void reads_and_writes_an_image(void **state)
{
	struct drive *d = *state;
	uint8_t b[512];

	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	holds_pattern(d, 0, 1);
	holds_pattern(d, 3, 100);
	writes(d, 5, 3, 0x55);
	holds(d, 5, 3, 0x55);
	holds_pattern(d, 4, 1);
	holds_pattern(d, 8, 1);
	assert_int_equal(pread(d->image, b, 512, 5 * 512), 512);
	assert_int_equal(b[511], 0x55);
	/* The image ends in the last sector: zeros follow. */
	reads(d, SECTORS, 1);
	assert_int_equal(*rig_at(&d->r, DATA + 99), pattern(SECTORS * 512 + 99));
	assert_int_equal(*rig_at(&d->r, DATA + 100), 0);
	assert_int_equal(*rig_at(&d->r, DATA + 511), 0);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
}

static void the_framing_is_the_drivers_choice(void **state)
{
	struct drive *d = *state;
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = 7 };
	uint32_t head, used;

	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, ALL);
	memcpy(rig_at(&d->r, HEADER), &h, 5);
	memcpy(rig_at(&d->r, HEADER + 0x40), (uint8_t *)&h + 5, sizeof(h) - 5);
	rig_desc(&d->r, 0, 0, HEADER, 5, NEXT, 1);
	rig_desc(&d->r, 0, 1, HEADER + 0x40, sizeof(h) - 5, NEXT, 2);
	rig_desc(&d->r, 0, 2, RIG_HIGH_GPA, 500, IN | NEXT, 3);
	rig_desc(&d->r, 0, 3, DATA, 13, IN, 0); /* the rest and the status */
	rig_offer(&d->r, 0, 0);
	rig_kick(&d->r, 0);
	assert_true(rig_take(&d->r, 0, &head, &used));
	assert_int_equal(used, 513);
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(*rig_at(&d->r, RIG_HIGH_GPA + i), pattern(7 * 512 + i));
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(*rig_at(&d->r, DATA + i), pattern(7 * 512 + 500 + i));
	assert_int_equal(*rig_at(&d->r, DATA + 12), VIRTIO_BLK_S_OK);
}

static void what_is_not_on_the_disk_is_refused(void **state)
{
	struct drive *d = *state;
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS + 1, 512 },
		{ SECTORS, 1024 },
		{ 0, 100 },
		{ 0, 513 },
		{ UINT64_MAX, 512 },
		{ UINT64_MAX / 512, 512 },
		{ UINT64_C(1) << 55, 1024 },
		{ SECTORS + 2, 0 },
		{ UINT64_MAX - 1, 512 * 16 },
	};
	uint32_t used;

	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(request(d, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len, &used),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(used, 1);
		assert_int_equal(request(d, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len, NULL),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(lseek(d->image, 0, SEEK_END), SECTORS * 512 + 100);
	/* SCSI passthrough, secure erase, things to come. */
	assert_int_equal(request(d, 2, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(d, 14, 0, 16, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(d, UINT32_MAX, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_false(rig_lost(&d->r));
	assert_int_equal(d->r.d->count.errors, 2 * ARRAY_SIZE(bad) + 3);
}

/* Many pieces that are the same memory: more than any request may be. */
static void a_request_has_an_end(void **state)
{
	struct drive *d = *state;
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN };
	uint32_t head, used;

	assert_int_equal(ftruncate(d->image, UINT32_MAX), 0);
	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, ALL);
	memcpy(rig_at(&d->r, HEADER), &h, sizeof(h));
	rig_desc(&d->r, 0, 0, HEADER, sizeof(h), NEXT, 1);
	for (unsigned i = 1; i < 60; i++)
		rig_desc(&d->r, 0, i, RIG_HIGH_GPA, RIG_LOW, IN | NEXT, (uint16_t)(i + 1));
	rig_desc(&d->r, 0, 60, STATUS, 1, IN, 0);
	rig_offer(&d->r, 0, 0);
	rig_kick(&d->r, 0);
	assert_true(rig_take(&d->r, 0, &head, &used));
	assert_int_equal(*rig_at(&d->r, STATUS), VIRTIO_BLK_S_IOERR);
}

static void a_request_has_a_header_and_room_for_an_answer(void **state)
{
	struct drive *d = *state;

	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, ALL);
	rig_one(&d->r, 0, HEADER, 16, 0);
	assert_true(rig_lost(&d->r));
	rig_start(&d->r, ALL);
	rig_one(&d->r, 0, STATUS, 1, IN);
	assert_true(rig_lost(&d->r));
	rig_start(&d->r, ALL);
	rig_desc(&d->r, 0, 1, STATUS, 1, IN, 0);
	rig_desc(&d->r, 0, 0, HEADER, 15, NEXT, 1);
	rig_offer(&d->r, 0, 0);
	rig_kick(&d->r, 0);
	assert_true(rig_lost(&d->r));
}

static void says_its_name(void **state)
{
	struct drive *d = *state;
	uint32_t used;

	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, ALL);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 20, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, 21);
	assert_memory_equal(rig_at(&d->r, DATA), "weir-root-0123456789", 20);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 3, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, 4);
}

static void read_only_is_the_hosts_business(void **state)
{
	struct drive *d = *state;

	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, 0); /* a driver that has not even heard of it */
	memset(rig_at(&d->r, DATA), 0x66, 512);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	holds_pattern(d, 0, 1);
}

static void images_that_are_none(void **state)
{
	struct drive *d = *state;

	assert_int_equal(ftruncate(d->image, 0), 0);
	assert_int_equal(plug(d, true), -EINVAL);
	assert_non_null(strstr(d->why, "empty"));
}

/* ---- the layer ---------------------------------------------------------- */

static void image_is_untouched(struct drive *d)
{
	uint8_t b[512];

	for (size_t s = 0; s < SECTORS; s++) {
		assert_int_equal(pread(d->image, b, 512, (off_t)(s * 512)), 512);
		for (size_t i = 0; i < 512; i++)
			if (b[i] != pattern(s * 512 + i))
				fail_msg("sector %zu of the image was written to", s);
	}
	assert_int_equal(lseek(d->image, 0, SEEK_END), SECTORS * 512 + 100);
}

/* Every place and length against a copy in memory. */
static void the_layer_takes_all_writes(void **state)
{
	struct drive *d = *state;
	static uint8_t model[(SECTORS + 1) * 512];
	uint32_t seed = 12345;

	d->layer = memfd_create("layer", MFD_CLOEXEC);
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	for (size_t i = 0; i < SECTORS * 512 + 100; i++)
		model[i] = pattern(i);
	for (unsigned round = 0; round < 400; round++) {
		uint32_t sector, sectors;

		seed = seed * 1664525 + 1013904223;
		sector = (seed >> 8) % (SECTORS + 1);
		sectors = MIN(1 + (seed >> 20) % 24, SECTORS + 1 - sector);
		if (seed & 1) {
			memset(model + sector * 512, (uint8_t)round, sectors * 512);
			writes(d, sector, sectors, (uint8_t)round);
		}
		reads(d, sector, sectors);
		assert_memory_equal(rig_at(&d->r, DATA), model + sector * 512, sectors * 512);
	}
	reads(d, 0, SECTORS + 1);
	assert_memory_equal(rig_at(&d->r, DATA), model, (SECTORS + 1) * 512);
	image_is_untouched(d);
}

/* A layer with a name: what another process finds that opens it while, or after, we are killed. */
static void what_was_flushed_is_there_after_a_crash(void **state)
{
	struct drive *d = *state;
	char path[] = "/tmp/weir-layer-XXXXXX";
	int copy;
	uint8_t b[65536];
	ssize_t n;

	d->layer = mkstemp(path);
	assert_true(d->layer >= 0);
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	writes(d, 8, 16, 0x11);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	writes(d, 64, 8, 0x22); /* not flushed */
	copy = memfd_create("copy", MFD_CLOEXEC);
	for (off_t at = 0; (n = pread(d->layer, b, sizeof(b), at)) > 0; at += n)
		assert_int_equal(pwrite(copy, b, (size_t)n, at), n);
	unplug(d);
	/* As it was when we were "killed". */
	fd_close(d->layer);
	d->layer = copy;
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	holds(d, 8, 16, 0x11);
	holds_pattern(d, 64, 8);
	/* In the end everything was written out. */
	unplug(d);
	fd_close(d->layer);
	d->layer = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	holds(d, 64, 8, 0x22);
}

static void without_flush_every_write_is_one(void **state)
{
	struct drive *d = *state;
	char path[] = "/tmp/weir-layer-XXXXXX";
	uint8_t bits;

	d->layer = mkstemp(path);
	assert_true(d->layer >= 0);
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, 0);
	writes(d, 0, 8, 0x11);
	assert_int_equal(pread(d->layer, &bits, 1, 4096), 1);
	assert_int_equal(bits, 1);
	assert_int_equal(unlink(path), 0);
}

static void layers_that_are_none(void **state)
{
	struct drive *d = *state;
	uint8_t b = 'x';

	d->layer = memfd_create("layer", MFD_CLOEXEC);
	assert_int_equal(write(d->layer, &b, 1), 1);
	assert_int_equal(plug(d, false), -EINVAL);
	assert_non_null(strstr(d->why, "other file"));
	fd_close(d->layer);
	d->layer = memfd_create("layer", MFD_CLOEXEC);
	assert_int_equal(plug(d, false), 0);
	unplug(d);
	/* Of another image. */
	assert_int_equal(ftruncate(d->image, 4096), 0);
	assert_int_equal(plug(d, false), -EINVAL);
	assert_non_null(strstr(d->why, "another size"));
	assert_int_equal(ftruncate(d->image, SECTORS * 512 + 100), 0);
	assert_int_equal(ftruncate(d->layer, 8192), 0);
	assert_int_equal(plug(d, false), -EINVAL);
	assert_non_null(strstr(d->why, "cut short"));
}

/* ---- what is cleared ------------------------------------------------------ */

static uint8_t clears_many(struct drive *d, uint32_t type, uint64_t sector, uint32_t sectors,
			   uint32_t flags, unsigned n)
{
	struct virtio_blk_discard_write_zeroes g = { sector, sectors, flags };

	for (unsigned i = 0; i < n; i++)
		memcpy(rig_at(&d->r, DATA + i * sizeof(g)), &g, sizeof(g));
	return request(d, type, 0, n * (uint32_t)sizeof(g), NULL);
}

static uint8_t clears(struct drive *d, uint32_t type, uint64_t sector, uint32_t sectors,
		      uint32_t flags)
{
	return clears_many(d, type, sector, sectors, flags, 1);
}

static uint64_t room_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

#define DISCARD VIRTIO_BLK_T_DISCARD
#define ZEROES VIRTIO_BLK_T_WRITE_ZEROES
#define UNMAP VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP

static void the_layer_shrinks(void **state)
{
	struct drive *d = *state;
	uint64_t before, after;

	d->layer = memfd_create("layer", MFD_CLOEXEC);
	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	assert_true(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_DISCARD));
	writes(d, 0, 120, 0x11);
	before = room_of(d->layer);
	assert_int_equal(clears(d, DISCARD, 12, 100, 0), VIRTIO_BLK_S_OK);
	after = room_of(d->layer);
	/* Clusters 2 to 13, of 8 sectors, are within. */
	assert_int_equal(before - after, 12 * 4096);
	holds(d, 0, 16, 0x11);
	holds(d, 16, 96, 0);
	holds(d, 112, 8, 0x11);
	/* What the layer does not have stays the image's. */
	assert_int_equal(clears(d, DISCARD, 160, 40, 0), VIRTIO_BLK_S_OK);
	holds_pattern(d, 160, 40);
	assert_int_equal(room_of(d->layer), after);
	/* Written to again, it is there again. */
	writes(d, 24, 1, 0x22);
	holds(d, 24, 1, 0x22);
	holds(d, 25, 7, 0);
	/* The last cluster of the disk is shorter. */
	writes(d, SECTORS, 1, 0x33);
	assert_int_equal(clears(d, DISCARD, SECTORS, 1, 0), VIRTIO_BLK_S_OK);
	holds(d, SECTORS, 1, 0);
	assert_int_equal(clears_many(d, DISCARD, 0, 8, 0, 16), VIRTIO_BLK_S_OK);
	holds(d, 0, 8, 0);
}

static void zeros_are_zeros(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors;
	} ranges[] = { { 3, 2 },      { 6, 4 }, { 5, 30 },  { 8, 8 },
		       { 0, 1 },      { 7, 1 }, { 1, 100 }, { 200, SECTORS + 1 - 200 },
		       { SECTORS, 1 } };

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(ranges); i++) {
		struct drive *d = *state;
		uint64_t s = ranges[i / 2].sector;
		uint32_t n = ranges[i / 2].sectors;

		d->layer = memfd_create("layer", MFD_CLOEXEC);
		assert_int_equal(plug(d, false), 0);
		rig_start(&d->r, ALL);
		assert_int_equal(clears(d, ZEROES, s, n, i % 2 ? UNMAP : 0), VIRTIO_BLK_S_OK);
		holds(d, s, n, 0);
		if (s)
			holds_pattern(d, 0, (uint32_t)s);
		if (s + n < SECTORS)
			holds_pattern(d, s + n, SECTORS - (uint32_t)s - n);
		unplug(d);
		fd_close(d->layer);
		d->layer = -1;
		teardown(state);
		setup(state);
	}
}

static void an_image_of_its_own(void **state)
{
	struct drive *d = *state;
	uint64_t before = room_of(d->image);

	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	assert_int_equal(clears(d, DISCARD, 8, 80, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(before - room_of(d->image), 80 * 512);
	holds(d, 8, 80, 0);
	holds_pattern(d, 88, 8);
	assert_int_equal(clears(d, ZEROES, 100, 3, 0), VIRTIO_BLK_S_OK);
	holds(d, 100, 3, 0);
	holds_pattern(d, 99, 1);
	holds_pattern(d, 103, 1);
}

static void what_cannot_be_cleared(void **state)
{
	struct drive *d = *state;

	assert_int_equal(plug(d, false), 0);
	rig_start(&d->r, ALL);
	assert_int_equal(clears(d, DISCARD, SECTORS + 1, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clears(d, DISCARD, SECTORS, 2, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clears(d, DISCARD, UINT64_MAX, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clears(d, ZEROES, UINT64_MAX / 512, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clears(d, DISCARD, 0, 1, UNMAP), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(clears(d, ZEROES, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(clears_many(d, DISCARD, 0, 1, 0, 17), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clears_many(d, ZEROES, 0, 1, 0, 2), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, DISCARD, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, DISCARD, 0, 17, NULL), VIRTIO_BLK_S_IOERR);
	holds_pattern(d, 0, 100);
	unplug(d);
	/* Neither offered nor done. */
	assert_int_equal(plug(d, true), 0);
	rig_start(&d->r, ALL);
	assert_false(rig_offers(&d->r) & VIRTIO_BIT(VIRTIO_BLK_F_DISCARD));
	assert_int_equal(clears(d, DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(clears(d, ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	holds_pattern(d, 0, 8);
}

static void one_machine_writes_to_a_disk(void **state)
{
	struct drive *d = *state;
	struct virtio_block_setup s = { .layer_fd = -1 };
	struct virtio_mmio *other;
	char path[64];

	assert_int_equal(plug(d, false), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", d->image);
	s.fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(s.fd >= 0);
	assert_int_equal(virtio_block_new(d->r.loop, &d->r.mem, &s, &other, &d->why), -EWOULDBLOCK);
	s.read_only = true;
	assert_int_equal(virtio_block_new(d->r.loop, &d->r.mem, &s, &other, &d->why), 0);
	virtio_free(other);
	close(s.fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(says_how_large_it_is),
		T(reads_and_writes_an_image),
		T(the_framing_is_the_drivers_choice),
		T(what_is_not_on_the_disk_is_refused),
		T(a_request_has_an_end),
		T(a_request_has_a_header_and_room_for_an_answer),
		T(says_its_name),
		T(read_only_is_the_hosts_business),
		T(images_that_are_none),
		T(the_layer_takes_all_writes),
		T(what_was_flushed_is_there_after_a_crash),
		T(without_flush_every_write_is_one),
		T(layers_that_are_none),
		T(one_machine_writes_to_a_disk),
		T(the_layer_shrinks),
		T(zeros_are_zeros),
		T(an_image_of_its_own),
		T(what_cannot_be_cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
