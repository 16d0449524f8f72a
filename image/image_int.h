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
	/* Names of one root file system (about 200 bytes each): an archive of nothing but names. */
	TREE_NODES_MAX = 4 << 20,
	/* Folders in folders: path names that no program can use. */
	TREE_DEPTH_MAX = 512,
	/* One path of an archive or a patch; PATH_MAX. */
	PATH_BYTES_MAX = 4096,
	/* Target of a symlink; one ext4 block. */
	TARGET_MAX = 4095,
	/* A file that is copied by name into a root file system; it passes through memory. */
	PATCH_FILE_MAX = 1 << 30,
	/* A file that something is appended to, with it. */
	PATCH_APPEND_MAX = 64 << 20,
	/* A file of operations: the largest content as base64, and the rest. */
	PATCH_JSON_MAX = 1440 << 20,
	/* Members of an archive beside its layers' contents: two for each image and layer. */
	BUNDLE_MEMBERS_MAX = 4096,
	/* A manifest, an index or a configuration (the registries' own limit is 4 MiB). */
	OCI_JSON_MAX = 4 << 20,
	/* Layers of one image; overlay file systems take 128. */
	OCI_LAYERS_MAX = 512,
	/* Indexes in indexes. */
	OCI_DEPTH_MAX = 4,
	/* Extended attributes of one file; one ext4 block. */
	XATTRS_MAX = 3800,
};

/* What xz and lzma may ask for; xz -9 needs 65 MiB, kernels 32. */
#define XZ_MEMORY_MAX (UINT64_C(256) << 20)
/* Content of one root file system: packed zeros that unpack without end. */
#define TREE_BYTES_MAX (UINT64_C(64) << 30)
/* One archive or layer, unpacked: contents, headers and padding. */
#define LAYER_BYTES_MAX (UINT64_C(96) << 30)
/* Names looked at for whiteouts of whole folders: a layer of nothing but such. */
#define WHITEOUT_WORK_MAX ((uint64_t)8 * TREE_NODES_MAX)

/* ---- errors -------------------------------------------------------------- */

/* Fills err (may be NULL) and returns -code; text without the reason of the code. */
int image_fail(struct image_error *err, int code, const char *fmt, ...) printf_like(3, 4);
/* The same with ": " and strerror(code) behind the text. */
int image_fail_sys(struct image_error *err, int code, const char *fmt, ...) printf_like(3, 4);

/* ---- paths --------------------------------------------------------------- */

/* Absolute, each part a name of at most 255 bytes and none of them "..". (volume.c) */
bool guest_path_ok(const char *path);

#endif
