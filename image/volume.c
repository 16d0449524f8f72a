/* SPDX-License-Identifier: Apache-2.0 */
/* Disks beside the root: a copy of a folder of the host, or an image as it is. */
#include "image/ext4.h"
#include "image/root.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FREE_BYTES (UINT64_C(1) << 30)

int image_volume_fill(const char *source, int fd, uint64_t free_bytes, struct image_error *err)
{
	int dirfd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	struct notes notes = { 0 };
	uint8_t random[DIGEST_LEN];
	char seed[DIGEST_HEX];
	struct tree *t;
	struct stat dir;

	if (dirfd < 0)
		return image_fail_sys(err, errno, "cannot open the volume %s", source);
	if (tree_new(&t) < 0) {
		fd_close(dirfd);
		return image_fail(err, ENOMEM, "out of memory");
	}
	/* A disk of its own each time: nothing refers to it by its name. */
	random_bytes(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(seed + 2 * i, 3, "%02x", random[i]);
	if (fstat(dirfd, &dir) == 0) {
		inode_from_stat(t->root->inode, &dir);
		t->root->inode->mode = S_IFDIR | (dir.st_mode & 07777);
	}
	r = scan_folder(t, t->root, dirfd, source, false, NULL, &notes, err);
	if (r == 0) {
		scan_give_to_root(t, &notes);
		r = ext4_write(fd, t, free_bytes ? free_bytes : FREE_BYTES, seed, err);
	}
	notes_fini(&notes);
	tree_free(t);
	return r;
}

int image_volume_probe(const char *source, int fd, enum image_fs *ret, struct image_error *err)
{
	uint64_t size;

	return image_file_check(fd, source, ret, &size, err);
}
