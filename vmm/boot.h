/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting a kernel, its initramfs and its command line into a guest's memory,
 * and telling in what state the first processor has to enter it.
 *
 * The files are the user's, yet taken as foreign: they may come out of an image
 * that somebody else made.
 */
#ifndef WEIR_VMM_BOOT_H
#define WEIR_VMM_BOOT_H

#include "vmm/gmem.h"

/* A file: read at a place, whole or not at all (-EIO when it is shorter by now). */
struct boot_file {
	int (*read)(const struct boot_file *f, uint64_t offset, void *dst, size_t len);
	uint64_t size;
	int fd;		   /* boot_file_open() */
	const uint8_t *at; /* boot_file_bytes() */
};

/* A regular file by descriptor, which stays the caller's; or bytes in memory. */
must_check int boot_file_open(int fd, struct boot_file *ret);
struct boot_file boot_file_bytes(const void *p, size_t len);

enum boot_mode {
	BOOT_PVH = 1,	/* 32-bit protected mode, paging off, RBX: start info */
	BOOT_LINUX = 2, /* long mode, one GiB mapped one to one, RSI: zero page */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t argument; /* for RBX or RSI */
};

struct boot_request {
	const struct boot_file *kernel; /* ELF with a PVH note (vmlinux), or bzImage */
	const struct boot_file *initrd; /* NULL: none */
	const char *cmdline;
	unsigned cpus, devices; /* for the ACPI tables */
};

/*
 * Fills memory that is zero so far. On failure -EINVAL (not a kernel that we can
 * boot), -ENOSPC (the memory is too small), -E2BIG (the command line is too
 * long) or what reading said; *ret_why then is a static sentence.
 */
must_check int boot_load(const struct gmem *mem, const struct boot_request *q,
			 struct boot_entry *ret, const char **ret_why);

#endif
