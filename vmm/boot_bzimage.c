/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage by its 64-bit entry (Linux, Documentation/arch/x86/boot.rst): the
 * part behind the real-mode sectors goes to the address that it prefers, the
 * setup header into the zero page. It unpacks and relocates itself, and so needs
 * more room than the file has: init_size.
 */
#include "vmm/boot_int.h"

#include <asm/bootparam.h>

#define HEADER_AT 0x1f1
#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define OLDEST_VERSION 0x20c	/* the first that tells of a 64-bit entry */
#define ENTRY_64 0x200
#define SECTOR 512
#define LOADER_UNKNOWN 0xff
#define VIDEO_NORMAL 0xffff

/* The header as far as the file and its own length say; what is beyond reads as zero. */
static bool read_header(const uint8_t *head, size_t len, struct setup_header *ret)
{
	struct rd r = rd_init(head, len);
	size_t n;

	memset(ret, 0, sizeof(*ret));
	/* Its length is what the jump behind the first fields leaps over (0x201). */
	if (!rd_skip(&r, HEADER_AT) || len < 0x202)
		return false;
	n = MIN((size_t)head[0x201] + 0x202 - HEADER_AT, sizeof(*ret));
	return rd_copy(&r, ret, n);
}

bool boot_is_bzimage(const uint8_t *head, size_t len)
{
	struct setup_header h;

	return read_header(head, len, &h) && h.boot_flag == BOOT_FLAG && h.header == HEADER_MAGIC;
}

static int wrong(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EINVAL;
}

int boot_bzimage_load(const struct gmem *mem, const struct boot_file *f, const uint8_t *head,
		      size_t head_len, struct boot_place *place, struct boot_entry *ret,
		      const char **ret_why)
{
	struct setup_header h;
	uint64_t offset, at, end;
	int r;

	if (!read_header(head, head_len, &h))
		return wrong("a bzImage that ends within its header", ret_why);
	if (h.version < OLDEST_VERSION || !(h.xloadflags & XLF_KERNEL_64))
		return wrong("a bzImage without a 64-bit entry", ret_why);
	offset = ((h.setup_sects ? h.setup_sects : 4) + UINT64_C(1)) * SECTOR;
	at = h.pref_address;
	if (offset >= f->size)
		return wrong("a bzImage that ends before its kernel", ret_why);
	if (f->size - offset <= ENTRY_64 || f->size - offset > h.init_size)
		return wrong("a bzImage whose sizes disagree", ret_why);
	if (__builtin_add_overflow(at, h.init_size, &end) || at < LAYOUT_HIGH_RAM ||
	    end > place->low_end) {
		*ret_why = "the kernel unpacks itself to outside of the memory: more --memory";
		return -ENOSPC;
	}
	r = boot_copy(mem, f, offset, at, f->size - offset, ret_why);
	if (r < 0)
		return r;
	place->kernel_end = end;
	*ret = (struct boot_entry){ BOOT_LINUX, at + ENTRY_64, LAYOUT_ZERO_PAGE };
	return 0;
}

int boot_zero_page(const struct gmem *mem, const uint8_t *head, size_t head_len,
		   const struct boot_place *place)
{
	cleanup_free struct boot_params *p = calloc(1, sizeof(*p));
	struct boot_range ranges[BOOT_RANGES];
	unsigned n = boot_ranges(mem, ranges);

	_Static_assert(sizeof(*p) == 4096, "one page");
	if (!p)
		return -ENOMEM;
	if (!read_header(head, head_len, &p->hdr))
		return -EINVAL;
	p->hdr.type_of_loader = LOADER_UNKNOWN;
	p->hdr.vid_mode = VIDEO_NORMAL;
	p->hdr.loadflags &= (uint8_t)~CAN_USE_HEAP;
	p->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	p->hdr.ramdisk_image = (uint32_t)place->initrd;
	p->hdr.ramdisk_size = (uint32_t)place->initrd_len;
	p->hdr.setup_data = 0;
	p->acpi_rsdp_addr = LAYOUT_ACPI;
	p->e820_entries = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		p->e820_table[i].addr = ranges[i].at;
		p->e820_table[i].size = ranges[i].len;
		p->e820_table[i].type = ranges[i].ram ? 1 : 2;
	}
	return gmem_write(mem, LAYOUT_ZERO_PAGE, p, sizeof(*p));
}
