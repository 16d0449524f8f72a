/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir-image may still do once it knows what it has to read: see confine.c for what is possible
 * after each stage. Of the program, not of the library.
 */
#ifndef WEIR_IMAGE_CONFINE_H
#define WEIR_IMAGE_CONFINE_H

#include "image/image.h"

#define CONFINE_PATHS 1200 /* 1,024 operations have a source each */
#define CONFINE_MADE 8

struct confine {
	struct rights_path path[CONFINE_PATHS];
	size_t n;
	char *made[CONFINE_MADE]; /* those that were put together here */
	size_t n_made;
	bool folders; /* folders of anybody's are read: as root that takes a capability */
	bool archive; /* made by anybody: not to be read without Landlock */
};

/* A file or a folder; NULL: none. -E2BIG: too many of them, here and below. */
must_check int confine_read(struct confine *c, const char *path);
/* A folder of the store's. */
must_check int confine_keep(struct confine *c, const struct image_store *s, const char *folder);
/* The kernel and what else image_boot_open() looks at. */
must_check int confine_boot(struct confine *c, const struct image_boot_options *o);
/* The host's busybox, its libraries, the list of authorities. */
must_check int confine_busybox(struct confine *c);
/* Sources of operations. */
must_check int confine_patches(struct confine *c, const struct image_patches *p);
/*
 * From now on. 1: all but Landlock, which this kernel has not; -ENOTSUP: the same, and an archive was to be
 * read. Other negative errno: *ret_why says which step. probe: see confine_probe.h; NULL in every run that is not a test's.
 */
must_check int confine_process(const struct confine *c, const char *probe, const char **ret_why);
void confine_fini(struct confine *c);

#endif
