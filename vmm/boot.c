/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot loader: decides which kind of kernel it is, and puts in what all
 * kinds need. The order is the kernel, the initramfs at the top of low memory,
 * then the texts and tables in the first MiB.
 *
 * Nothing in a file moves a write outside of its place: what the files say about
 * addresses is compared with the RAM there is, above the first MiB and below the
 * gap, before a byte is read.
 */
#include "vmm/boot_int.h"
#include "vmm/acpi.h"

#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL

static int read_fd(const struct boot_file *f, uint64_t offset, void *dst, size_t len)
{
	uint8_t *p = dst;

	if (offset > f->size || len > f->size - offset)
		return -EIO;
	while (len) {
		ssize_t n = pread(f->fd, p, MIN(len, (size_t)1 << 30), (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		offset += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_bytes(const struct boot_file *f, uint64_t offset, void *dst, size_t len)
{
	if (offset > f->size || len > f->size - offset)
		return -EIO;
	if (len)
		memcpy(dst, f->at + offset, len);
	return 0;
}

int boot_file_open(int fd, struct boot_file *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0)
		return -EINVAL;
	*ret = (struct boot_file){ .read = read_fd, .size = (uint64_t)st.st_size, .fd = fd };
	return 0;
}

struct boot_file boot_file_bytes(const void *p, size_t len)
{
	return (struct boot_file){ .read = read_bytes, .size = len, .fd = -1, .at = p };
}

/* The end of the RAM that begins at address 0; the machine's first region. */
static uint64_t low_ram_end(const struct gmem *mem)
{
	for (unsigned i = 0; i < mem->n; i++)
		if (mem->r[i].gpa == 0)
			return MIN(mem->r[i].len, LAYOUT_GAP);
	return 0;
}

unsigned boot_ranges(const struct gmem *mem, struct boot_range ret[BOOT_RANGES])
{
	unsigned n = 0;

	ret[n++] = (struct boot_range){ 0, LAYOUT_LOW_RAM_END, true };
	ret[n++] = (struct boot_range){ LAYOUT_ACPI, LAYOUT_ACPI_END - LAYOUT_ACPI, false };
	ret[n++] = (struct boot_range){ LAYOUT_HIGH_RAM, low_ram_end(mem) - LAYOUT_HIGH_RAM, true };
	for (unsigned i = 0; i < mem->n; i++)
		if (mem->r[i].gpa == LAYOUT_ABOVE_GAP)
			ret[n++] = (struct boot_range){ LAYOUT_ABOVE_GAP, mem->r[i].len, true };
	return n;
}

int boot_copy(const struct gmem *mem, const struct boot_file *f, uint64_t offset, uint64_t gpa,
	      uint64_t len, const char **ret_why)
{
	uint8_t *dst = gpa >= LAYOUT_HIGH_RAM ? gmem_at(mem, gpa, len) : NULL;
	int r;

	if (!dst) {
		*ret_why = "there is no memory where it has to be: more --memory, or not a kernel";
		return -ENOSPC;
	}
	r = f->read(f, offset, dst, len);
	if (r < 0)
		*ret_why = "it ends before what its header promises";
	return r;
}

static int put_cmdline(const struct gmem *mem, const char *cmdline, struct boot_place *place,
		       const char **ret_why)
{
	size_t n = strlen(cmdline);

	if (n >= LAYOUT_CMDLINE_MAX) {
		*ret_why = "the command line has more than 2047 bytes";
		return -E2BIG;
	}
	place->cmdline_len = (uint32_t)n;
	return gmem_write(mem, LAYOUT_CMDLINE, cmdline, n + 1);
}

static int put_initrd(const struct gmem *mem, const struct boot_file *f, struct boot_place *place,
		      const char **ret_why)
{
	uint64_t end = MIN(place->low_end, LAYOUT_INITRD_END) & ~(PAGE - 1);

	if (!f || f->size == 0)
		return 0;
	if (place->kernel_end > end || f->size > end - place->kernel_end) {
		*ret_why = "the initramfs does not fit behind the kernel: more --memory";
		return -ENOSPC;
	}
	place->initrd = (end - f->size) & ~(PAGE - 1);
	place->initrd_len = f->size;
	if (place->initrd < place->kernel_end) {
		*ret_why = "the initramfs does not fit behind the kernel: more --memory";
		return -ENOSPC;
	}
	return boot_copy(mem, f, 0, place->initrd, f->size, ret_why);
}

static int put_acpi(const struct gmem *mem, const struct boot_request *q, const char **ret_why)
{
	struct buf tables = BUF_INIT(LAYOUT_ACPI_END - LAYOUT_ACPI);
	int r = acpi_build(q->cpus, q->devices, &tables);

	if (r == 0)
		r = gmem_write(mem, LAYOUT_ACPI, buf_at(&tables), tables.len);
	if (r < 0)
		*ret_why = "the ACPI tables cannot describe this machine";
	buf_fini(&tables);
	return r;
}

int boot_load(const struct gmem *mem, const struct boot_request *q, struct boot_entry *ret,
	      const char **ret_why)
{
	struct boot_place place = { .low_end = low_ram_end(mem) };
	struct boot_entry entry = { 0 };
	uint8_t head[BOOT_HEAD];
	size_t head_len = MIN(q->kernel->size, sizeof(head));
	int r;

	*ret_why = "it cannot be read";
	if (place.low_end <= LAYOUT_HIGH_RAM) {
		*ret_why = "no memory above the first MiB";
		return -ENOSPC;
	}
	r = q->kernel->read(q->kernel, 0, head, head_len);
	if (r < 0)
		return r;
	if (boot_is_elf(head, head_len)) {
		r = boot_elf_load(mem, q->kernel, &place, &entry, ret_why);
	} else if (boot_is_bzimage(head, head_len)) {
		r = boot_bzimage_load(mem, q->kernel, head, head_len, &place, &entry, ret_why);
	} else {
		*ret_why = "neither an ELF file (vmlinux) nor a bzImage";
		r = -EINVAL;
	}
	if (r == 0)
		r = put_initrd(mem, q->initrd, &place, ret_why);
	if (r == 0)
		r = put_cmdline(mem, q->cmdline, &place, ret_why);
	if (r == 0)
		r = put_acpi(mem, q, ret_why);
	if (r == 0)
		r = entry.mode == BOOT_PVH ? boot_pvh_info(mem, &place)
					   : boot_zero_page(mem, head, head_len, &place);
	if (r == 0)
		*ret = entry;
	return r;
}
