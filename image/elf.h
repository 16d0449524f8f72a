/* SPDX-License-Identifier: Apache-2.0 */
/* ELF files as far as kernels, their modules and programs need it; x86-64 only. Bytes are not trusted. */
#ifndef WEIR_IMAGE_ELF_H
#define WEIR_IMAGE_ELF_H

#include "image/image_int.h"

/* A whole file in memory, whose header has been checked. Not owned. */
struct elf {
	const uint8_t *p;
	size_t len;
	uint16_t type; /* ET_EXEC, ET_DYN, ET_REL */
};
/* Something that is started, not linked or inserted. */
bool elf_is_program(const struct elf *e);

/* -ENOEXEC: not a 64-bit little-endian ELF file for x86-64. */
must_check int elf_open(const void *p, size_t len, struct elf *ret);
/* Content of the first section of that name; -ENOENT. */
must_check int elf_section(const struct elf *e, const char *name, struct rd *ret);
/* A kernel with an entry for PVH loaders: note "Xen", type 18. */
bool elf_has_pvh(const struct elf *e);
/* The program that loads this one, NUL-terminated inside the file; -ENOENT: static. */
must_check int elf_interp(const struct elf *e, const char **ret);
/*
 * What a dynamic program needs, one call per name (NUL-terminated inside the file); stops at
 * the first negative answer. search: the folders of DT_RUNPATH or DT_RPATH, or NULL.
 */
must_check int elf_needed(const struct elf *e, int (*each)(void *ctx, const char *name), void *ctx,
			  const char **ret_search);

#endif
