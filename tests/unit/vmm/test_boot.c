/* SPDX-License-Identifier: Apache-2.0 */
/* The boot loader: what a kernel finds where, and files that lie. */
#include "vmm/boot.h"
#include "vmm/layout.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define MIB (1UL << 20)
#define ENTRY 0x1000040

struct rig {
	struct gmem mem;
	uint8_t *ram;
	size_t len;
	uint8_t file[32768];
	struct boot_file kernel, initrd;
	struct boot_request q;
	struct boot_entry entry;
	const char *why;
};

/* An ELF file as small as one can be: two segments and a note. */
struct elf {
	Elf64_Ehdr h;
	Elf64_Phdr ph[3];
	struct {
		Elf64_Nhdr h;
		char name[4];
		uint64_t entry;
	} note;
	uint8_t text[256];
};

static struct elf *put_elf(struct rig *r)
{
	struct elf *e = (struct elf *)(void *)r->file;

	memset(r->file, 0, sizeof(r->file));
	memcpy(e->h.e_ident, ELFMAG, SELFMAG);
	e->h.e_ident[EI_CLASS] = ELFCLASS64;
	e->h.e_ident[EI_DATA] = ELFDATA2LSB;
	e->h.e_machine = EM_X86_64;
	e->h.e_phoff = offsetof(struct elf, ph);
	e->h.e_phentsize = sizeof(Elf64_Phdr);
	e->h.e_phnum = 3;
	e->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_offset = offsetof(struct elf, text),
				 .p_paddr = 0x1000000,
				 .p_vaddr = 0xffffffff81000000,
				 .p_filesz = 128,
				 .p_memsz = 4096 };
	e->ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_offset = offsetof(struct elf, text) + 128,
				 .p_paddr = 0x1200000,
				 .p_filesz = 128,
				 .p_memsz = 128 };
	e->ph[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				 .p_offset = offsetof(struct elf, note),
				 .p_filesz = sizeof(e->note) };
	e->note.h = (Elf64_Nhdr){ 4, 8, 18 };
	memcpy(e->note.name, "Xen", 4);
	e->note.entry = ENTRY;
	for (unsigned i = 0; i < sizeof(e->text); i++)
		e->text[i] = (uint8_t)(i + 1);
	r->kernel = boot_file_bytes(r->file, sizeof(*e));
	return e;
}

/* A bzImage with a header as current kernels have it and 4 KiB of "kernel". */
static struct setup_header *put_bzimage(struct rig *r)
{
	struct setup_header *h = (struct setup_header *)(void *)(r->file + 0x1f1);

	memset(r->file, 0, sizeof(r->file));
	h->setup_sects = 3;
	h->boot_flag = 0xaa55;
	r->file[0x201] = 0x6a; /* the header ends at 0x202 + 0x6a */
	h->header = 0x53726448;
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->xloadflags = XLF_KERNEL_64;
	h->pref_address = 0x1000000;
	h->init_size = 0x400000;
	memset(r->file + 2048, 0xcc, 4096);
	r->kernel = boot_file_bytes(r->file, 2048 + 4096);
	return h;
}

static void use_memory(struct rig *r, size_t len)
{
	struct gmem_region region[2] = { { 0, len, NULL, -1, 0 } };

	if (r->ram)
		munmap(r->ram, r->len);
	r->len = len;
	r->ram = mmap(NULL, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(r->ram != MAP_FAILED);
	region[0].len = MIN(len, LAYOUT_GAP);
	region[0].host = r->ram;
	region[1] = (struct gmem_region){ LAYOUT_ABOVE_GAP, len - region[0].len,
					  r->ram + region[0].len, -1, 0 };
	assert_int_equal(gmem_init(&r->mem, region, region[1].len ? 2 : 1), 0);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	use_memory(r, 64 * MIB);
	put_elf(r);
	r->q = (struct boot_request){ .kernel = &r->kernel, .cmdline = "a b", .cpus = 2, .devices = 3 };
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	munmap(r->ram, r->len);
	free(r);
	return 0;
}

static int load(struct rig *r)
{
	size_t n = r->len;

	use_memory(r, n);
	return boot_load(&r->mem, &r->q, &r->entry, &r->why);
}

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, p, n);
	return v;
}

static void test_elf(void **state)
{
	struct rig *r = *state;
	struct elf *e = put_elf(r);

	assert_int_equal(load(r), 0);
	assert_int_equal(r->entry.mode, BOOT_PVH);
	assert_int_equal(r->entry.rip, ENTRY);
	assert_int_equal(r->entry.argument, LAYOUT_PVH_INFO);
	assert_memory_equal(r->ram + 0x1000000, e->text, 128);
	assert_int_equal(r->ram[0x1000000 + 128], 0);
	assert_memory_equal(r->ram + 0x1200000, e->text + 128, 128);
}

/* hvm_start_info, field by field. */
static void test_pvh_information(void **state)
{
	struct rig *r = *state;
	const uint8_t *info, *map;

	r->initrd = boot_file_bytes("0123456789", 10);
	r->q.initrd = &r->initrd;
	assert_int_equal(load(r), 0);
	info = r->ram + LAYOUT_PVH_INFO;
	assert_int_equal(le(info, 4), 0x336ec578);
	assert_int_equal(le(info + 4, 4), 1);
	assert_int_equal(le(info + 12, 4), 1);
	assert_int_equal(le(info + 16, 8), LAYOUT_PVH_MODULES);
	assert_string_equal((char *)r->ram + le(info + 24, 8), "a b");
	assert_memory_equal(r->ram + le(info + 32, 8), "RSD PTR ", 8);
	assert_int_equal(le(info + 48, 4), 3);
	assert_int_equal(le(r->ram + LAYOUT_PVH_MODULES, 8), 64 * MIB - 4096);
	assert_int_equal(le(r->ram + LAYOUT_PVH_MODULES + 8, 8), 10);
	assert_memory_equal(r->ram + 64 * MIB - 4096, "0123456789", 10);
	map = r->ram + le(info + 40, 8);
	assert_int_equal(le(map, 8), 0);
	assert_int_equal(le(map + 8, 8), 0x9fc00);
	assert_int_equal(le(map + 16, 4), 1);
	assert_int_equal(le(map + 24, 8), 0xe0000);
	assert_int_equal(le(map + 40, 4), 2);
	assert_int_equal(le(map + 48, 8), MIB);
	assert_int_equal(le(map + 56, 8), 63 * MIB);
	assert_int_equal(le(map + 64, 4), 1);
}

/* Memory on both sides of the gap: the kernel is told of both, the initramfs is below 2 GiB. */
static void test_memory_above_the_gap(void **state)
{
	struct rig *r = *state;
	const uint8_t *map;

	r->initrd = boot_file_bytes("0123456789", 10);
	r->q.initrd = &r->initrd;
	use_memory(r, 5120 * MIB);
	assert_int_equal(load(r), 0);
	assert_int_equal(le(r->ram + LAYOUT_PVH_INFO + 48, 4), 4);
	map = r->ram + LAYOUT_ZERO_PAGE;
	assert_int_equal(le(map + 48, 8), MIB);
	assert_int_equal(le(map + 56, 8), LAYOUT_GAP - MIB);
	assert_int_equal(le(map + 72, 8), LAYOUT_ABOVE_GAP);
	assert_int_equal(le(map + 80, 8), 5120 * MIB - LAYOUT_GAP);
	assert_int_equal(le(r->ram + LAYOUT_PVH_MODULES, 8), LAYOUT_INITRD_END - 4096);
}

static void test_bzimage(void **state)
{
	struct rig *r = *state;
	struct boot_params *p;

	put_bzimage(r);
	r->initrd = boot_file_bytes("0123456789", 10);
	r->q.initrd = &r->initrd;
	assert_int_equal(load(r), 0);
	assert_int_equal(r->entry.mode, BOOT_LINUX);
	assert_int_equal(r->entry.rip, 0x1000200);
	assert_int_equal(r->entry.argument, LAYOUT_ZERO_PAGE);
	assert_int_equal(r->ram[0x1000000], 0xcc);
	assert_int_equal(r->ram[0x1000000 + 4095], 0xcc);
	assert_int_equal(r->ram[0x1000000 + 4096], 0);
	p = (void *)(r->ram + LAYOUT_ZERO_PAGE);
	assert_int_equal(p->hdr.header, 0x53726448);
	assert_int_equal(p->hdr.type_of_loader, 0xff);
	assert_int_equal(p->hdr.init_size, 0x400000);
	assert_string_equal((char *)r->ram + p->hdr.cmd_line_ptr, "a b");
	assert_int_equal(p->hdr.ramdisk_image, 64 * MIB - 4096);
	assert_int_equal(p->hdr.ramdisk_size, 10);
	assert_int_equal(p->acpi_rsdp_addr, LAYOUT_ACPI);
	assert_int_equal(p->e820_entries, 3);
	assert_int_equal(p->e820_table[1].type, 2);
	assert_int_equal(p->e820_table[2].size, 63 * MIB);
}

static void expect(struct rig *r, int error, const char *words)
{
	int got = load(r);

	if (got != error || !strstr(r->why, words))
		fail_msg("%d (%s) instead of %d (%s)", got, got ? r->why : "", error, words);
}

static void test_not_a_kernel(void **state)
{
	struct rig *r = *state;

	r->kernel = boot_file_bytes("", 0);
	expect(r, -EINVAL, "neither");
	r->kernel = boot_file_bytes("#!/bin/sh\n", 10);
	expect(r, -EINVAL, "neither");
	memset(r->file, 0, sizeof(r->file));
	r->kernel = boot_file_bytes(r->file, sizeof(r->file));
	expect(r, -EINVAL, "neither");
}

/* Cut anywhere, a file is refused, or loads as what is left of it says; never read past its end. */
static void test_files_cut_short(void **state)
{
	struct rig *r = *state;

	for (size_t n = 0; n < sizeof(struct elf); n++) {
		uint8_t *cut;

		put_elf(r);
		cut = malloc(n ? n : 1); /* its own block: the sanitizer sees what is behind it */
		assert_non_null(cut);
		memcpy(cut, r->file, n);
		r->kernel = boot_file_bytes(cut, n);
		assert_true(load(r) < 0);
		free(cut);
	}
	put_bzimage(r);
	for (size_t n = 0; n < 2048 + 0x200; n += n < 0x300 ? 1 : 64) {
		r->kernel = boot_file_bytes(r->file, n);
		assert_true(load(r) < 0);
	}
}

static void test_elf_that_lies(void **state)
{
	struct rig *r = *state;

	put_elf(r)->h.e_machine = EM_AARCH64;
	expect(r, -EINVAL, "x86-64");
	put_elf(r)->h.e_ident[EI_CLASS] = ELFCLASS32;
	expect(r, -EINVAL, "x86-64");
	put_elf(r)->h.e_phnum = 0;
	expect(r, -EINVAL, "segments");
	put_elf(r)->h.e_phnum = 65535;
	expect(r, -EINVAL, "segments");
	put_elf(r)->h.e_phoff = UINT64_MAX - 8;
	expect(r, -EINVAL, "list of segments");
	put_elf(r)->ph[0].p_paddr = 0xff000;
	expect(r, -ENOSPC, "memory");
	put_elf(r)->ph[0].p_paddr = 64 * MIB - 64;
	expect(r, -ENOSPC, "memory");
	put_elf(r)->ph[0].p_paddr = UINT64_MAX - 64;
	expect(r, -EINVAL, "wraps");
	put_elf(r)->ph[0].p_memsz = UINT64_MAX;
	expect(r, -EINVAL, "wraps");
	put_elf(r)->ph[0].p_filesz = 5000;
	expect(r, -EINVAL, "larger");
	/* Nothing in memory, much in the file: an entry point there would be in nothing. */
	put_elf(r)->ph[0].p_memsz = 0;
	expect(r, -EINVAL, "larger");
	put_elf(r)->ph[0].p_offset = UINT64_MAX;
	expect(r, -EIO, "ends");
	put_elf(r)->ph[0].p_offset = sizeof(struct elf) - 64;
	expect(r, -EIO, "ends");
}

static void test_notes_that_lie(void **state)
{
	struct rig *r = *state;

	put_elf(r)->note.h.n_type = 17;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.h.n_namesz = UINT32_MAX;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.h.n_descsz = UINT32_MAX;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.h.n_descsz = 2;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.name[0] = 'Y';
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.entry = 0x100001000040;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->note.entry = 0x2000000; /* nothing was loaded there */
	expect(r, -EINVAL, "PVH");
	put_elf(r)->ph[2].p_type = PT_NULL;
	expect(r, -EINVAL, "PVH");
	put_elf(r)->ph[2].p_offset = UINT64_MAX;
	expect(r, -EINVAL, "PVH");
}

static void test_bzimage_that_lies(void **state)
{
	struct rig *r = *state;

	put_bzimage(r)->version = 0x20b;
	expect(r, -EINVAL, "64-bit");
	put_bzimage(r)->xloadflags = 0;
	expect(r, -EINVAL, "64-bit");
	put_bzimage(r)->setup_sects = 255;
	expect(r, -EINVAL, "before its kernel");
	put_bzimage(r)->init_size = 100;
	expect(r, -EINVAL, "disagree");
	put_bzimage(r)->init_size = UINT32_MAX;
	expect(r, -ENOSPC, "--memory");
	put_bzimage(r)->pref_address = 0x1000;
	expect(r, -ENOSPC, "--memory");
	put_bzimage(r)->pref_address = UINT64_MAX - 10;
	expect(r, -ENOSPC, "--memory");
	put_bzimage(r)->pref_address = LAYOUT_ABOVE_GAP;
	expect(r, -ENOSPC, "--memory");
}

static void test_sizes_of_the_initramfs(void **state)
{
	struct rig *r = *state;
	size_t room = 64 * MIB - 0x1200080, n = room & ~4095UL;
	uint8_t *bytes = calloc(1, 64 * MIB);

	assert_non_null(bytes);
	r->q.initrd = &r->initrd;
	r->initrd = boot_file_bytes(bytes, n);
	assert_int_equal(load(r), 0);
	assert_int_equal(le(r->ram + LAYOUT_PVH_MODULES + 8, 8), n);
	r->initrd = boot_file_bytes(bytes, n + 1);
	expect(r, -ENOSPC, "initramfs");
	r->initrd = boot_file_bytes(bytes, 64 * MIB);
	expect(r, -ENOSPC, "initramfs");
	r->initrd = boot_file_bytes(bytes, UINT64_MAX);
	expect(r, -ENOSPC, "initramfs");
	r->initrd = boot_file_bytes(bytes, 0);
	assert_int_equal(load(r), 0);
	assert_int_equal(le(r->ram + LAYOUT_PVH_INFO + 12, 4), 0);
	free(bytes);
}

static void test_command_line(void **state)
{
	struct rig *r = *state;
	char line[LAYOUT_CMDLINE_MAX + 1];

	memset(line, 'x', sizeof(line));
	line[LAYOUT_CMDLINE_MAX - 1] = 0;
	r->q.cmdline = line;
	assert_int_equal(load(r), 0);
	assert_string_equal((char *)r->ram + LAYOUT_CMDLINE, line);
	line[LAYOUT_CMDLINE_MAX - 1] = 'x';
	line[LAYOUT_CMDLINE_MAX] = 0;
	expect(r, -E2BIG, "2047");
}

static void test_file_that_shrinks(void **state)
{
	struct rig *r = *state;
	FILE *f = tmpfile();

	assert_non_null(f);
	put_elf(r);
	assert_int_equal(fwrite(r->file, 1, sizeof(struct elf), f), sizeof(struct elf));
	assert_int_equal(fflush(f), 0);
	assert_int_equal(boot_file_open(fileno(f), &r->kernel), 0);
	assert_int_equal(load(r), 0);
	assert_int_equal(ftruncate(fileno(f), (off_t)sizeof(struct elf) - 1), 0);
	expect(r, -EIO, "cannot be read");
	fclose(f);
	assert_int_equal(boot_file_open(-1, &r->kernel), -EBADF);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_elf),
		T(test_pvh_information),
		T(test_memory_above_the_gap),
		T(test_bzimage),
		T(test_not_a_kernel),
		T(test_files_cut_short),
		T(test_elf_that_lies),
		T(test_notes_that_lie),
		T(test_bzimage_that_lies),
		T(test_sizes_of_the_initramfs),
		T(test_command_line),
		T(test_file_that_shrinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
