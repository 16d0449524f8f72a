/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk, in three forms: written in place, read-only, under a layer. Never is an image
 * written that is read-only or under a layer, and none ever changes its size.
 */
#include "fuzz_vmm_virtio.h"

#define IMAGE 70000u

enum form { WRITABLE, READ_ONLY, LAYER, FORMS };

static int image = -1, layer = -1;
static uint8_t image_bytes[IMAGE];

static void make_files(void)
{
	image = memfd_create("image", MFD_CLOEXEC);
	layer = memfd_create("layer", MFD_CLOEXEC);
	for (unsigned i = 0; i < IMAGE; i++)
		image_bytes[i] = (uint8_t)(i * 7 + (i >> 9));
	if (pwrite(image, image_bytes, IMAGE, 0) != IMAGE)
		abort();
}

static int make(struct run *r, uint8_t form)
{
	struct virtio_block_setup s = { .layer_fd = -1, .serial = "serial" };
	const char *why;

	if (image < 0)
		make_files();
	s.fd = image;
	s.read_only = form % FORMS == READ_ONLY;
	if (form % FORMS == LAYER)
		s.layer_fd = layer;
	return virtio_block_new(loop, &mem, &s, &r->d, &why);
}

static void check(uint8_t form)
{
	static uint8_t now[IMAGE + 512];

	assert(pread(image, now, sizeof(now), 0) >= (ssize_t)IMAGE);
	switch ((enum form)(form % FORMS)) {
	case WRITABLE:
		if (ftruncate(image, IMAGE) < 0 || pwrite(image, image_bytes, IMAGE, 0) != IMAGE)
			abort();
		return;
	case LAYER:
		if (ftruncate(layer, 0) < 0)
			abort();
		break;
	case READ_ONLY:
	case FORMS:
		break;
	}
	assert(pread(image, now, sizeof(now), 0) == IMAGE && memcmp(now, image_bytes, IMAGE) == 0);
}

static const struct subject block = { .make = make, .check = check };

FUZZ_SUBJECT(block)
