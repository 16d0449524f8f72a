/* SPDX-License-Identifier: Apache-2.0 */
/* ext4 images by libext2fs: no rights, no mount, no helper programs. */
#ifndef WEIR_IMAGE_EXT4_H
#define WEIR_IMAGE_EXT4_H

#include "image/tree.h"

/*
 * Writes the tree as an ext4 file system into fd, an empty file; equal trees give equal bytes when
 * seed (a key) is equal. free_bytes: room beyond the content. Numbers in the tree's inodes are used up.
 */
must_check int ext4_write(int fd, struct tree *t, uint64_t free_bytes, const char *seed,
			  struct image_error *err);

/* Kind and size of a file system in a file; -EMEDIUMTYPE: none that is known here. */
must_check int fs_probe(int fd, enum image_fs *ret_fs, uint64_t *ret_size);
/* A file that a guest gets as it is: its file system and size (a multiple of 512). */
must_check int image_file_check(int fd, const char *path, enum image_fs *ret_fs, uint64_t *ret_size,
				struct image_error *err);
/* An ext4 image whose superblock is whole and says that it was unmounted cleanly. */
bool ext4_check(int fd, uint64_t size);

#endif
