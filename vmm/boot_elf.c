/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ELF kernel through PVH: segments go where their physical addresses say,
 * and the entry point stands in a note of Xen's. What the kernel is told is
 * hvm_start_info (Xen, public/arch-x86/hvm/start_info.h): a list of modules, of
 * which the initramfs is the only one, the memory map and the command line.
 */
#include "vmm/boot_int.h"

#include <elf.h>

#define ELF_MAX_SEGMENTS 64
#define ELF_MAX_NOTES (64 * 1024) /* bytes of a note segment that are looked at */
#define XEN_NOTE_PHYS32_ENTRY 18

#define PVH_MAGIC 0x336ec578
#define PVH_VERSION 1 /* the one with a memory map */

struct pvh_start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

struct pvh_module {
	uint64_t at, len, cmdline, reserved;
};

struct pvh_range {
	uint64_t at, len;
	uint32_t type, reserved; /* of E820: 1 RAM, 2 reserved */
};

bool boot_is_elf(const uint8_t *head, size_t len)
{
	return len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int wrong(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EINVAL;
}

static int check_header(const Elf64_Ehdr *h, const char **ret_why)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_machine != EM_X86_64)
		return wrong("an ELF file, but not for x86-64", ret_why);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > ELF_MAX_SEGMENTS)
		return wrong("an ELF file without a usable list of segments", ret_why);
	return 0;
}

static uint64_t align4(uint64_t n)
{
	return (n + 3) & ~UINT64_C(3);
}

/* The notes are a sequence of {name size, content size, type, name, content}, padded to 4. */
static int find_entry(const uint8_t *notes, size_t len, uint64_t *ret_entry)
{
	struct rd r = rd_init(notes, len);
	Elf64_Nhdr note;

	while (rd_copy(&r, &note, sizeof(note))) {
		const uint8_t *name, *content;

		if (!rd_bytes(&r, align4(note.n_namesz), &name) ||
		    !rd_bytes(&r, align4(note.n_descsz), &content))
			break;
		if (note.n_type != XEN_NOTE_PHYS32_ENTRY || note.n_namesz != 4 ||
		    memcmp(name, "Xen", 4) != 0)
			continue;
		if (note.n_descsz != 4 && note.n_descsz != 8)
			break;
		/* Entered in 32-bit mode: the rest of a long form has to be zero. */
		*ret_entry = 0;
		memcpy(ret_entry, content, note.n_descsz);
		return *ret_entry <= UINT32_MAX ? 0 : -EINVAL;
	}
	return -ENOENT;
}

static int read_notes(const struct boot_file *f, const Elf64_Phdr *ph, uint64_t *ret_entry)
{
	size_t len = MIN(ph->p_filesz, (uint64_t)ELF_MAX_NOTES);
	cleanup_free uint8_t *notes = malloc(len ? len : 1);
	int r;

	if (!notes)
		return -ENOMEM;
	r = f->read(f, ph->p_offset, notes, len);
	return r < 0 ? r : find_entry(notes, len, ret_entry);
}

static int load_segment(const struct gmem *mem, const struct boot_file *f, const Elf64_Phdr *ph,
			struct boot_place *place, const char **ret_why)
{
	uint64_t end;

	if (ph->p_filesz > ph->p_memsz || __builtin_add_overflow(ph->p_paddr, ph->p_memsz, &end))
		return wrong("an ELF segment is larger in the file than in memory, or wraps",
			     ret_why);
	if (ph->p_paddr < LAYOUT_HIGH_RAM || end > place->low_end) {
		*ret_why = "a part of the kernel is outside of the memory: more --memory";
		return -ENOSPC;
	}
	place->kernel_end = MAX(place->kernel_end, end);
	/* What the file does not fill is zero: nobody wrote to this memory before. */
	return boot_copy(mem, f, ph->p_offset, ph->p_paddr, ph->p_filesz, ret_why);
}

static bool is_loaded(const Elf64_Phdr *ph, unsigned n, uint64_t at)
{
	for (unsigned i = 0; i < n; i++)
		if (ph[i].p_type == PT_LOAD && at >= ph[i].p_paddr &&
		    at - ph[i].p_paddr < ph[i].p_filesz)
			return true;
	return false;
}

int boot_elf_load(const struct gmem *mem, const struct boot_file *f, struct boot_place *place,
		  struct boot_entry *ret, const char **ret_why)
{
	Elf64_Ehdr h;
	Elf64_Phdr ph[ELF_MAX_SEGMENTS];
	uint64_t entry = 0;
	int r = f->read(f, 0, &h, sizeof(h)), found = -ENOENT;

	if (r < 0)
		return wrong("an ELF file that ends within its header", ret_why);
	r = check_header(&h, ret_why);
	if (r < 0)
		return r;
	if (f->read(f, h.e_phoff, ph, h.e_phnum * sizeof(ph[0])) < 0)
		return wrong("an ELF file that ends before its list of segments", ret_why);
	for (unsigned i = 0; i < h.e_phnum && r == 0; i++) {
		if (ph[i].p_type == PT_LOAD && (ph[i].p_memsz || ph[i].p_filesz))
			r = load_segment(mem, f, &ph[i], place, ret_why);
		else if (ph[i].p_type == PT_NOTE && found < 0)
			found = read_notes(f, &ph[i], &entry);
	}
	if (r < 0)
		return r;
	if (found < 0 || !is_loaded(ph, h.e_phnum, entry))
		return wrong("an ELF file without the PVH note of a kernel (CONFIG_PVH)", ret_why);
	*ret = (struct boot_entry){ BOOT_PVH, entry, LAYOUT_PVH_INFO };
	return 0;
}

int boot_pvh_info(const struct gmem *mem, const struct boot_place *place)
{
	struct boot_range ranges[BOOT_RANGES];
	struct pvh_range map[BOOT_RANGES] = { 0 };
	unsigned n = boot_ranges(mem, ranges);
	struct pvh_module initrd = { .at = place->initrd, .len = place->initrd_len };
	struct pvh_start_info info = {
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.n_modules = place->initrd_len ? 1 : 0,
		.modules = place->initrd_len ? LAYOUT_PVH_MODULES : 0,
		.cmdline = LAYOUT_CMDLINE,
		.rsdp = LAYOUT_ACPI,
		.memmap = LAYOUT_ZERO_PAGE,
		.n_memmap = n,
	};
	int r = gmem_write(mem, LAYOUT_PVH_INFO, &info, sizeof(info));

	for (unsigned i = 0; i < n; i++)
		map[i] = (struct pvh_range){ ranges[i].at, ranges[i].len, ranges[i].ram ? 1 : 2, 0 };
	if (r == 0)
		r = gmem_write(mem, LAYOUT_PVH_MODULES, &initrd, sizeof(initrd));
	if (r == 0)
		r = gmem_write(mem, LAYOUT_ZERO_PAGE, map, n * sizeof(map[0]));
	return r;
}
