/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images. A distribution ships a bzImage: real-mode setup code, then a program that
 * unpacks the payload. The guest is spared that program: the ELF inside is unpacked here, once.
 *
 * The trap of payloads: for every packing but gzip, the kernel's build puts the unpacked size
 * (4 bytes, little endian) behind the packed bytes, inside payload_length. Fed to an unpacker they
 * are garbage at the end; XZ fails over them, and zstd may lose its last block silently. So they are
 * cut off first, and what came out is compared with them.
 *
 * The image may be anybody's: offsets and lengths are checked, and unpacking has a limit.
 */
#include "image/kernel.h"
#include "image/elf.h"

#include <stdio.h>

/* Offsets in a bzImage (boot protocol). */
enum {
	SETUP_SECTS = 0x1f1,
	BOOT_MAGIC = 0x202,
	BOOT_VERSION = 0x206,
	KERNEL_VERSION = 0x20e,
	PAYLOAD_OFFSET = 0x248,
	PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x250,
};

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static bool is_bzimage(const uint8_t *p, size_t len)
{
	return len >= HEADER_END && memcmp(p + BOOT_MAGIC, "HdrS", 4) == 0;
}

/* The word at p, of letters that a release is made of. */
static void take_release(const uint8_t *p, size_t len, char ret[static RELEASE_MAX])
{
	size_t n = 0;

	while (n < len && n < RELEASE_MAX - 1 &&
	       ((p[n] >= '0' && p[n] <= '9') || (p[n] >= 'a' && p[n] <= 'z') ||
		(p[n] >= 'A' && p[n] <= 'Z') || memchr(".-+_~", p[n], 5)))
		n++;
	memcpy(ret, p, n);
	ret[n] = '\0';
}

void kernel_release(const uint8_t *p, size_t len, char ret[static RELEASE_MAX])
{
	static const char banner[] = "Linux version ";
	const uint8_t *at;
	size_t off;

	ret[0] = '\0';
	if (is_bzimage(p, len)) {
		off = (size_t)le16(p + KERNEL_VERSION) + 0x200;
		if (off > 0x200 && off < len)
			take_release(p + off, len - off, ret);
		return;
	}
	at = memmem(p, len, banner, sizeof(banner) - 1);
	if (at) {
		at += sizeof(banner) - 1;
		take_release(at, len - (size_t)(at - p), ret);
	}
}

static int unpack(const uint8_t *p, size_t len, struct buf *ret, struct image_error *err)
{
	enum packing packing = packing_of(p, len);
	struct stream_unpack u;
	struct stream_mem m;
	size_t before = ret->len;
	uint32_t size = 0;
	int r;

	if (packing == PACKING_NONE)
		return image_fail(err, EBADMSG,
				  "the kernel inside is packed in a way that is not known here: "
				  "give its uncompressed vmlinux");
	if (packing != PACKING_GZIP) {
		if (len < 4)
			return image_fail(err, EBADMSG, "the kernel inside is cut off");
		len -= 4;
		size = le32(p + len);
	}
	stream_mem_init(&m, p, len);
	r = stream_unpack_init(&u, &m.s, packing);
	if (r == 0) {
		r = stream_read_all(&u.s, ret);
		stream_unpack_fini(&u);
	}
	if (r == -EFBIG)
		return image_fail(err, EBADMSG, "the kernel inside is larger than %d MiB",
				  KERNEL_MAX >> 20);
	if (r < 0)
		return image_fail(err, EBADMSG, "the kernel inside (%s) cannot be unpacked: damaged",
				  packing_name(packing));
	if (packing != PACKING_GZIP && ret->len - before != size)
		return image_fail(err, EBADMSG,
				  "the kernel inside has %zu bytes and should have %u: damaged",
				  ret->len - before, size);
	return 0;
}

static int extract_bzimage(const uint8_t *p, size_t len, struct buf *ret, struct image_error *err)
{
	size_t sects = p[SETUP_SECTS] ? p[SETUP_SECTS] : 4;
	size_t start, size = le32(p + PAYLOAD_LENGTH);

	if (le16(p + BOOT_VERSION) < 0x208)
		return image_fail(err, EBADMSG, "its boot protocol is %u.%u, older than 2.8",
				  p[BOOT_VERSION + 1], p[BOOT_VERSION]);
	if (add_overflows((sects + 1) * 512, le32(p + PAYLOAD_OFFSET), &start) || start > len ||
	    size > len - start)
		return image_fail(err, EBADMSG, "it is cut off: %zu bytes, and %zu are needed", len,
				  start + size);
	return unpack(p + start, size, ret, err);
}

int kernel_extract(const uint8_t *p, size_t len, struct buf *ret,
		   char ret_release[static RELEASE_MAX], bool *ret_pvh, struct image_error *err)
{
	char release[RELEASE_MAX];
	struct elf elf;
	size_t before = ret->len;
	int r;

	if (is_bzimage(p, len))
		r = extract_bzimage(p, len, ret, err);
	else if (elf_open(p, len, &elf) == 0)
		r = buf_append(ret, p, len);
	else
		return image_fail(err, EBADMSG,
				  "neither a bzImage nor an ELF kernel for x86-64 (the file starts "
				  "otherwise)");
	if (r == -ENOBUFS)
		return image_fail(err, EBADMSG, "it is larger than %d MiB", KERNEL_MAX >> 20);
	if (r == -ENOMEM)
		return image_fail(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if (ret->len == before || elf_open(buf_at(ret) + before, ret->len - before, &elf) < 0 ||
	    !elf_is_program(&elf))
		return image_fail(err, EBADMSG, "what is inside is no ELF kernel for x86-64");
	kernel_release(p, len, release);
	if (!release[0])
		kernel_release(elf.p, elf.len, release);
	memcpy(ret_release, release, sizeof(release));
	*ret_pvh = elf_has_pvh(&elf);
	return 0;
}
