/* SPDX-License-Identifier: Apache-2.0 */
/* Root file systems by where they come from; root.c puts them together. */
#ifndef WEIR_IMAGE_ROOT_H
#define WEIR_IMAGE_ROOT_H

#include "image/scan.h"
#include "image/store.h"

/* ---- the host's busybox (busybox.c) ---- */

struct busybox {
	char *path;
	int fd;
	struct stat st;
};
must_check int busybox_find(struct busybox *ret, struct image_error *err);
/* A system of nothing but busybox and the libraries it needs. names: as image_root_options has them. */
must_check int busybox_tree(const struct busybox *b, const struct buf *names, struct tree *t,
			    struct image_error *err);
void busybox_fini(struct busybox *b);

/* ---- operations (patch_apply.c) ---- */

must_check int patches_apply(const struct image_patches *p, struct tree *t, struct notes *notes,
			     struct image_error *err);
/* What the operations are and the state of their sources, into a key. */
must_check int patches_digest(const struct image_patches *p, struct digest *d,
			      struct image_error *err);

#endif
