/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of the host become parts of a tree. */
#ifndef WEIR_IMAGE_SCAN_H
#define WEIR_IMAGE_SCAN_H

#include "image/tree.h"

/* What was left out, for the user: the first few lines and a count. */
struct notes {
	char **list;
	size_t n, more;
};
void notes_add(struct notes *n, const char *fmt, ...) printf_like(2, 3);
/* NULL-terminated, the caller's; with a last line that tells of those not kept. NULL: no memory. */
char **notes_take(struct notes *n);
void notes_fini(struct notes *n);

/*
 * Reads what is below the folder dirfd (taken over) into `into`, an empty or not empty folder of the
 * tree; contents are read when the image is written. What is there already gives way only to
 * its like: folders are merged, others replaced if `replace`, else -EEXIST. d (may be NULL)
 * takes the state of everything. name: what messages call the folder.
 */
must_check int scan_folder(struct tree *t, struct tree_node *into, int dirfd, const char *name,
			   bool replace, struct digest *d, struct notes *notes,
			   struct image_error *err);

/*
 * Who unpacked a root file system without being root owns all of it. When root owns nothing in
 * the tree and the caller everything that matters, what is the caller's becomes root's.
 */
void scan_give_to_root(struct tree *t, struct notes *notes);

/* Owner, mode, times and device of a file. */
void inode_from_stat(struct tree_inode *i, const struct stat *st);

#endif
