/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system as a tree in memory: what folders, container layers and patches make, and what
 * the ext4 writer writes. Contents stay where they are; the tree knows where.
 */
#ifndef WEIR_IMAGE_TREE_H
#define WEIR_IMAGE_TREE_H

#include "image/stream.h"

enum tree_data {
	TREE_DATA_NONE,	 /* empty, or not a regular file */
	TREE_DATA_MEM,	 /* bytes */
	TREE_DATA_SPOOL, /* in the tree's spool, at offset */
	TREE_DATA_HOST,	 /* a file below one of the tree's host folders */
};

struct tree_xattr {
	struct tree_xattr *next;
	char *name; /* "user.x", "security.capability" */
	uint8_t *value;
	size_t len;
};

/* Shared by hard links. */
struct tree_inode {
	uint32_t mode; /* type and 07777 */
	uint32_t uid, gid;
	int64_t mtime; /* seconds */
	uint32_t mtime_nsec;
	uint32_t major, minor; /* of a device */
	unsigned n_links;      /* names in the tree */
	uint64_t size;	       /* of a regular file */
	enum tree_data data;
	uint64_t offset; /* TREE_DATA_SPOOL */
	unsigned host;	 /* TREE_DATA_HOST: number of the folder */
	char *text;	 /* target of a symlink; path below the host folder */
	uint8_t *bytes;	 /* TREE_DATA_MEM */
	struct tree_xattr *xattrs;
	uint32_t number; /* for the writer; 0: none yet */
};

struct tree_node {
	struct hmap_node by_name; /* keyed by parent and name */
	struct tree_node *parent; /* NULL: the root */
	struct list siblings;
	struct list children;
	struct tree_inode *inode;
	size_t depth;
	unsigned layer; /* that put it here, from 1; 0: not from a layer */
	size_t name_len;
	char name[]; /* NUL-terminated, never with a slash */
};

struct tree {
	struct tree_node *root;
	struct hmap names;
	struct hash_key key;
	size_t n_nodes;
	uint64_t bytes; /* of all regular files that have been put in */
	int spool;	/* owned; -1 */
	uint64_t spool_len;
	int *hosts; /* folders, owned */
	unsigned n_hosts;
};

/* With a root folder, 0755 root:root. */
must_check int tree_new(struct tree **ret);
void tree_free(struct tree *t);
/* The tree owns fd from then on, with success or not. */
must_check int tree_add_host(struct tree *t, int fd, unsigned *ret_number);

/* nlink 0; to be given to tree_add() or tree_inode_free(). NULL: out of memory. */
struct tree_inode *tree_inode_new(uint32_t mode);
void tree_inode_free(struct tree_inode *i);
must_check int tree_inode_set_text(struct tree_inode *i, const char *text, size_t len);
must_check int tree_inode_set_bytes(struct tree_inode *i, const void *p, size_t len);
/* Replaces one of that name. What all of a file hold together has a limit (-ENOSPC). */
must_check int tree_inode_set_xattr(struct tree_inode *i, const char *name, const void *value,
				    size_t len);

struct tree_node *tree_find(const struct tree *t, const struct tree_node *dir, const char *name,
			    size_t len);
/*
 * A new name in dir. Takes the inode over with success. -EEXIST, -ENAMETOOLONG, -EINVAL (".", "..",
 * "", slashes, NUL), -ENOTDIR, -E2BIG (too many or too deep), -ENOMEM.
 */
must_check int tree_add(struct tree *t, struct tree_node *dir, const char *name, size_t len,
			struct tree_inode *inode, struct tree_node **ret);
/* The name and, of a folder, all below. Not the root. */
void tree_remove(struct tree *t, struct tree_node *n);
/* n, all below it: next after `at` in an order with parents first; NULL at the end. */
struct tree_node *tree_next(const struct tree_node *n, struct tree_node *at);
static inline bool tree_is_dir(const struct tree_node *n)
{
	return S_ISDIR(n->inode->mode);
}

enum tree_walk {
	TREE_FOLLOW_LAST = 1 << 0, /* a symlink at the end is followed as well */
	TREE_MAKE_DIRS = 1 << 1,   /* missing folders on the way are made, 0755 root:root */
	TREE_NO_LINKS = 1 << 2,	   /* a symlink on the way is an error (-ELOOP) */
};

/* Where a path leads. */
struct tree_place {
	struct tree_node *dir;	/* the folder that holds it; NULL: the path is the root */
	struct tree_node *node; /* NULL: it is not there */
	char name[256];		/* its last part, after links */
	size_t name_len;
};

/*
 * Walks a path inside the tree, as a kernel whose root this is: symlinks are followed and can
 * lead nowhere else ("/" and ".." end at the root), 40 of them at most (-ELOOP). -ENOENT: a folder
 * on the way is missing; -ENOTDIR. The path may be hostile.
 */
must_check int tree_walk(struct tree *t, const char *path, size_t len, unsigned how, unsigned layer,
			 struct tree_place *ret);

/* Path from the root, "/a/b", cut at the front when it is long. For messages. */
const char *tree_path(const struct tree_node *n, char *out, size_t size);

/* Contents of a regular file, exactly inode->size bytes. */
struct tree_reader {
	struct stream *s;
	struct stream_mem mem;
	struct stream_file file;
	int fd; /* own, or -1 */
};
must_check int tree_reader_open(const struct tree *t, const struct tree_inode *i,
				struct tree_reader *ret);
void tree_reader_close(struct tree_reader *r);

/*
 * Opens a path below a folder for reading, never through a symbolic link: what was looked at is what
 * is read. Returns the descriptor or a negative errno.
 */
must_check int host_open(int dirfd, const char *path, int flags);

#endif
