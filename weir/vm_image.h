/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels, archives and folders are read by weir-image, a process that can do nothing else. What comes
 * back is names in the store, which are opened and checked here, and texts, which are
 * checked as any hostile ones: the answer is that of a process that has read hostile bytes.
 */
#ifndef WEIR_VM_IMAGE_H
#define WEIR_VM_IMAGE_H

#include "image/image.h"
#include "weir/config.h"

/*
 * As image_boot_open(), image_root_open() and the steps of a volume. program: weir-image. What it
 * says is wrong is err's text. What these return is for the _fini() of image.h.
 */
must_check int vm_image_boot(const char *program, struct image_store *s,
			     const struct image_boot_options *o, struct image_boot *ret,
			     struct conf_error *err);
must_check int vm_image_root(const char *program, struct image_store *s,
			     const struct image_root_options *o, struct image_root *ret,
			     struct conf_error *err);
must_check int vm_image_volume(const char *program, struct image_store *s, struct image_volume *v,
			       struct conf_error *err);

#endif
