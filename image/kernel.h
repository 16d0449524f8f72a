/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels: found, opened, unpacked; and the modules that go with them. */
#ifndef WEIR_IMAGE_KERNEL_H
#define WEIR_IMAGE_KERNEL_H

#include "image/stream.h"

/* ---- images ---- */

#define RELEASE_MAX 128

/*
 * The ELF file inside a bzImage (boot protocol 2.08 and later, Documentation/arch/x86/boot.rst),
 * or the bytes themselves when they are an ELF kernel. -EBADMSG with its text in err when they are
 * neither. release: "" when it is not told. ret: at most KERNEL_MAX bytes are appended.
 */
must_check int kernel_extract(const uint8_t *p, size_t len, struct buf *ret,
			      char ret_release[static RELEASE_MAX], bool *ret_pvh,
			      struct image_error *err);
/* The release alone, without unpacking; "" when it is not told. */
void kernel_release(const uint8_t *p, size_t len, char ret[static RELEASE_MAX]);

/* ---- where kernels and modules are ---- */

struct kernel_place {
	char *image;
	char *modules; /* NULL: there are none, everything is taken to be built in */
};

/*
 * image and modules as in image_boot_options. root: "" for this machine, else what stands
 * before /boot and /lib/modules.
 */
must_check int kernel_find(const char *root, const char *image, const char *modules,
			   struct kernel_place *ret, struct image_error *err);
void kernel_place_fini(struct kernel_place *p);

/* ---- modules ---- */

/* What lies below one modules folder. */
struct module_index;
must_check int module_index_new(const char *dir, struct module_index **ret, struct image_error *err);
void module_index_free(struct module_index *x);
/* Names and states of its files, into a key. */
void module_index_digest(const struct module_index *x, struct digest *d);

struct module {
	char *name;	 /* "virtio_net": hyphens are underscores */
	struct buf data; /* ELF, unpacked */
};

struct module_set {
	struct module *list; /* in the order of insertion */
	size_t n;
};

/*
 * Adds a module and before it all it depends on, unless it is built in or there already.
 * x NULL: everything is built in. required false: one that is nowhere is no error.
 * release "": modules are not compared with the kernel.
 */
must_check int module_add(const struct module_index *x, const char *name, bool required,
			  const char *release, struct module_set *set, struct image_error *err);
void module_set_fini(struct module_set *set);
/* Value of the first KEY=VALUE in .modinfo, NUL-terminated inside the file; -ENOENT. */
must_check int module_info(const uint8_t *p, size_t len, const char *key, const char **ret);

/* ---- initial file system ---- */

/* newc cpio (kernel: Documentation/driver-api/early-userspace/buffer-format.rst). */
struct cpio {
	struct buf *out;
	uint32_t ino;
};
must_check int cpio_add(struct cpio *c, const char *name, uint32_t mode, uint32_t rdev_major,
			uint32_t rdev_minor, const void *p, size_t len);
must_check int cpio_end(struct cpio *c);

#endif
