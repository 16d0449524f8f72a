/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the boot loader share. */
#ifndef WEIR_VMM_BOOT_INT_H
#define WEIR_VMM_BOOT_INT_H

#include "vmm/boot.h"
#include "vmm/layout.h"

/* Where things went; filled step by step. */
struct boot_place {
	uint64_t low_end;    /* end of the RAM below the gap */
	uint64_t kernel_end; /* first byte behind what the kernel needs */
	uint64_t initrd, initrd_len;
	uint32_t cmdline_len;
};

/* One piece of RAM or not, for the kernel's list. */
struct boot_range {
	uint64_t at, len;
	bool ram; /* else reserved */
};
#define BOOT_RANGES 4
unsigned boot_ranges(const struct gmem *mem, struct boot_range ret[BOOT_RANGES]);

/* Copies file bytes to guest memory at or above 1 MiB and below the gap. */
must_check int boot_copy(const struct gmem *mem, const struct boot_file *f, uint64_t offset,
			 uint64_t gpa, uint64_t len, const char **ret_why);

/* True when the file begins like one of these. */
bool boot_is_elf(const uint8_t *head, size_t len);
bool boot_is_bzimage(const uint8_t *head, size_t len);

/* First the kernel goes in, then, the initramfs being placed, what it is told. */
must_check int boot_elf_load(const struct gmem *mem, const struct boot_file *f,
			     struct boot_place *place, struct boot_entry *ret, const char **ret_why);
must_check int boot_pvh_info(const struct gmem *mem, const struct boot_place *place);

#define BOOT_HEAD 4096 /* of the file, for the next two; shorter is fine */
must_check int boot_bzimage_load(const struct gmem *mem, const struct boot_file *f,
				 const uint8_t *head, size_t head_len, struct boot_place *place,
				 struct boot_entry *ret, const char **ret_why);
must_check int boot_zero_page(const struct gmem *mem, const uint8_t *head, size_t head_len,
			      const struct boot_place *place);

#endif
