/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ELF. Every table is taken by offset and count from the file itself, so each
 * is checked to lie inside it before the first entry is read, and entries are
 * copied out (a table need not be aligned). Counts are 16 bits wide; loops are bounded by them.
 */
#include "image/elf.h"

#include <elf.h>

/* Bytes [off, off + len) of the file. */
static bool part(const struct elf *e, uint64_t off, uint64_t len, const uint8_t **ret)
{
	if (off > e->len || len > e->len - off)
		return false;
	*ret = e->p + off;
	return true;
}

static bool copy(const struct elf *e, uint64_t off, void *dst, size_t n)
{
	const uint8_t *p;

	if (!part(e, off, n, &p))
		return false;
	memcpy(dst, p, n);
	return true;
}

static const char *text_at(const struct elf *e, uint64_t off)
{
	/* Names are short; a table of names without an end costs no more than this each. */
	if (off >= e->len || !memchr(e->p + off, 0, MIN(e->len - off, (size_t)4096)))
		return NULL;
	return (const char *)e->p + off;
}

int elf_open(const void *p, size_t len, struct elf *ret)
{
	Elf64_Ehdr h;

	if (len < sizeof(h))
		return -ENOEXEC;
	memcpy(&h, p, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64)
		return -ENOEXEC;
	*ret = (struct elf){ .p = p, .len = len, .type = h.e_type };
	return 0;
}

bool elf_is_program(const struct elf *e)
{
	return e->type == ET_EXEC || e->type == ET_DYN;
}

static Elf64_Ehdr header(const struct elf *e)
{
	Elf64_Ehdr h;

	memcpy(&h, e->p, sizeof(h));
	return h;
}

static bool section(const struct elf *e, const Elf64_Ehdr *h, unsigned i, Elf64_Shdr *ret)
{
	uint64_t off;

	return h->e_shentsize == sizeof(*ret) && i < h->e_shnum &&
	       !__builtin_add_overflow(h->e_shoff, (uint64_t)i * sizeof(*ret), &off) &&
	       copy(e, off, ret, sizeof(*ret));
}

static bool segment(const struct elf *e, const Elf64_Ehdr *h, unsigned i, Elf64_Phdr *ret)
{
	uint64_t off;

	return h->e_phentsize == sizeof(*ret) && i < h->e_phnum &&
	       !__builtin_add_overflow(h->e_phoff, (uint64_t)i * sizeof(*ret), &off) &&
	       copy(e, off, ret, sizeof(*ret));
}

int elf_section(const struct elf *e, const char *name, struct rd *ret)
{
	Elf64_Ehdr h = header(e);
	Elf64_Shdr names, s;
	const uint8_t *p;

	if (!section(e, &h, h.e_shstrndx, &names))
		return -ENOENT;
	for (unsigned i = 0; section(e, &h, i, &s); i++) {
		const char *text;

		if (s.sh_name >= names.sh_size || names.sh_offset > e->len)
			continue;
		text = text_at(e, names.sh_offset + s.sh_name);
		if (!text || !str_eq(text, name) || s.sh_type == SHT_NOBITS)
			continue;
		if (!part(e, s.sh_offset, s.sh_size, &p))
			return -EBADMSG;
		*ret = rd_init(p, (size_t)s.sh_size);
		return 0;
	}
	return -ENOENT;
}

/* Fields of a note are padded to 4 bytes (gABI; what Linux writes for x86-64 as well). */
static bool notes_have_pvh(struct rd notes)
{
	const uint8_t *name, *desc;
	Elf64_Nhdr n;

	while (rd_copy(&notes, &n, sizeof(n))) {
		size_t name_len = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		size_t desc_len = ((size_t)n.n_descsz + 3) & ~(size_t)3;

		if (!rd_bytes(&notes, name_len, &name) || !rd_bytes(&notes, desc_len, &desc))
			return false;
		if (n.n_namesz == 4 && memcmp(name, "Xen", 4) == 0 && n.n_type == 18 &&
		    (n.n_descsz == 4 || n.n_descsz == 8))
			return true;
	}
	return false;
}

bool elf_has_pvh(const struct elf *e)
{
	Elf64_Ehdr h = header(e);
	const uint8_t *p;
	Elf64_Phdr ph;

	for (unsigned i = 0; segment(e, &h, i, &ph); i++)
		if (ph.p_type == PT_NOTE && part(e, ph.p_offset, ph.p_filesz, &p) &&
		    notes_have_pvh(rd_init(p, (size_t)ph.p_filesz)))
			return true;
	return false;
}

int elf_interp(const struct elf *e, const char **ret)
{
	Elf64_Ehdr h = header(e);
	const uint8_t *p;
	Elf64_Phdr ph;

	for (unsigned i = 0; segment(e, &h, i, &ph); i++) {
		if (ph.p_type != PT_INTERP)
			continue;
		if (!part(e, ph.p_offset, ph.p_filesz, &p) || !memchr(p, 0, (size_t)ph.p_filesz))
			return -EBADMSG;
		*ret = (const char *)p;
		return 0;
	}
	return -ENOENT;
}

/* Where in the file an address of the loaded program is. */
static bool file_offset(const struct elf *e, const Elf64_Ehdr *h, uint64_t addr, uint64_t *ret)
{
	Elf64_Phdr ph;

	for (unsigned i = 0; segment(e, h, i, &ph); i++)
		if (ph.p_type == PT_LOAD && addr >= ph.p_vaddr && addr - ph.p_vaddr < ph.p_filesz)
			return !__builtin_add_overflow(ph.p_offset, addr - ph.p_vaddr, ret);
	return false;
}

static bool dynamic(const struct elf *e, const Elf64_Ehdr *h, struct rd *ret)
{
	const uint8_t *p;
	Elf64_Phdr ph;

	for (unsigned i = 0; segment(e, h, i, &ph); i++)
		if (ph.p_type == PT_DYNAMIC && part(e, ph.p_offset, ph.p_filesz, &p)) {
			*ret = rd_init(p, (size_t)ph.p_filesz);
			return true;
		}
	return false;
}

int elf_needed(const struct elf *e, int (*each)(void *ctx, const char *name), void *ctx,
	       const char **ret_search)
{
	Elf64_Ehdr h = header(e);
	struct rd all, r;
	uint64_t strings = 0;
	const char *search = NULL;
	Elf64_Dyn d;
	int err;

	if (!dynamic(e, &h, &all)) {
		*ret_search = NULL;
		return 0;
	}
	for (r = all; rd_copy(&r, &d, sizeof(d)) && d.d_tag != DT_NULL;)
		if (d.d_tag == DT_STRTAB && !file_offset(e, &h, d.d_un.d_ptr, &strings))
			return -EBADMSG;
	for (r = all; rd_copy(&r, &d, sizeof(d)) && d.d_tag != DT_NULL;) {
		const char *text;

		if (d.d_tag != DT_NEEDED && d.d_tag != DT_RUNPATH && d.d_tag != DT_RPATH)
			continue;
		if (!strings || d.d_un.d_val > e->len)
			return -EBADMSG;
		text = text_at(e, strings + d.d_un.d_val);
		if (!text)
			return -EBADMSG;
		if (d.d_tag != DT_NEEDED) {
			search = text;
			continue;
		}
		err = each(ctx, text);
		if (err < 0)
			return err;
	}
	*ret_search = search;
	return 0;
}
