/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of image/ share, and every cap with what it stops. */
#ifndef WEIR_IMAGE_INT_H
#define WEIR_IMAGE_INT_H

#include "image/image.h"

#include <sys/stat.h>

/* ---- caps ---------------------------------------------------------------- */

enum {
	/* An uncompressed kernel is 50 to 70 MB; a bomb is not a kernel. */
	KERNEL_MAX = 512 << 20,
	/* The same for one module: the largest of a distribution have 10 MB. */
	MODULE_MAX = 64 << 20,
	/* A chain of `depends=` that never ends. */
	MODULES_MAX = 256,
	/* Files below a modules folder; a distribution has 5,000. */
	MODULE_FILES_MAX = 100000,
};

/* ---- errors -------------------------------------------------------------- */

/* Fills err (may be NULL) and returns -code; text without the reason of the code. */
int image_fail(struct image_error *err, int code, const char *fmt, ...) printf_like(3, 4);
/* The same with ": " and strerror(code) behind the text. */
int image_fail_sys(struct image_error *err, int code, const char *fmt, ...) printf_like(3, 4);

#endif
