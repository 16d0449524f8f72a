/* SPDX-License-Identifier: Apache-2.0 */
/* The archive a kernel unpacks into its first root: newc, no packing, no times (equal input, equal bytes). */
#include "image/kernel.h"

#include <stdio.h>

#define HEADER_LEN 110

static int pad(struct buf *out)
{
	static const uint8_t zero[4];

	return buf_append(out, zero, (4 - out->len % 4) % 4);
}

static int header(struct cpio *c, const char *name, uint32_t mode, uint32_t major, uint32_t minor,
		  size_t len)
{
	char h[HEADER_LEN + 1];
	size_t name_size = strlen(name) + 1;
	int r;

	if (len > UINT32_MAX)
		return -EFBIG;
	/* magic ino mode uid gid nlink mtime size dev:2 rdev:2 namesize check */
	snprintf(h, sizeof(h), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++c->ino,
		 mode, 0, 0, 1, 0, (uint32_t)len, 0, 0, major, minor, (uint32_t)name_size, 0);
	r = buf_append(c->out, h, HEADER_LEN);
	if (r == 0)
		r = buf_append(c->out, name, name_size);
	return r == 0 ? pad(c->out) : r;
}

int cpio_add(struct cpio *c, const char *name, uint32_t mode, uint32_t rdev_major,
	     uint32_t rdev_minor, const void *p, size_t len)
{
	int r = header(c, name, mode, rdev_major, rdev_minor, len);

	if (r == 0)
		r = buf_append(c->out, p, len);
	return r == 0 ? pad(c->out) : r;
}

int cpio_end(struct cpio *c)
{
	return header(c, "TRAILER!!!", 0, 0, 0, 0);
}
