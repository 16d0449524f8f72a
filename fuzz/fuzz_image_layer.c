/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two layers of a container image, one over the other: two bytes say how long the first is. Whatever
 * they hold, the tree is whole afterwards: every name is one that a file system takes, every
 * content lies inside the spool, numbers agree, and an ext4 image can be made of it.
 */
#include "image/bundle.h"
#include "image/ext4.h"
#include "image/tree.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const struct tree_node *n)
{
	assert(n->name_len > 0 && n->name_len <= 255 && strlen(n->name) == n->name_len);
	assert(!strchr(n->name, '/') && !str_eq(n->name, ".") && !str_eq(n->name, ".."));
	assert(tree_is_dir(n->parent) && n->depth == n->parent->depth + 1);
	assert(n->depth <= TREE_DEPTH_MAX);
}

static void check_inode(const struct tree *t, const struct tree_inode *i)
{
	assert(i->n_links > 0);
	if (i->data == TREE_DATA_SPOOL)
		assert(S_ISREG(i->mode) && i->size <= t->spool_len &&
		       i->offset <= t->spool_len - i->size);
	if (S_ISLNK(i->mode))
		assert(i->text && i->text[0] && strlen(i->text) <= TARGET_MAX);
}

static void check_tree(struct tree *t)
{
	size_t n = 0;

	for (struct tree_node *at = t->root; at; at = tree_next(t->root, at)) {
		n++;
		check_inode(t, at->inode);
		if (at == t->root)
			continue;
		check_name(at);
		assert(tree_find(t, at->parent, at->name, at->name_len) == at);
	}
	assert(n == t->n_nodes && n == t->names.count + 1);
}

static void write_image(struct tree *t)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct image_error err;
	struct stat st;

	assert(fd >= 0);
	if (ext4_write(fd, t, 1 << 20, "00", &err) == 0)
		assert(fstat(fd, &st) == 0 && ext4_check(fd, (uint64_t)st.st_size));
	else
		assert(err.text[0]);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layer_work w = { 0 };
	struct image_error err;
	struct stream_mem m;
	struct tree *t;
	size_t first;

	if (size < 2 || tree_new(&t) < 0)
		return 0;
	t->spool = memfd_create("spool", MFD_CLOEXEC);
	assert(t->spool >= 0);
	first = MIN((size_t)get_be16(data), size - 2);
	w.tree = t;
	w.err = &err;
	for (int i = 0; i < 2; i++) {
		stream_mem_init(&m, data + 2 + (i ? first : 0), i ? size - 2 - first : first);
		w.number++;
		if (layer_apply(&w, &m.s) < 0)
			assert(memchr(err.text, 0, sizeof(err.text)) && err.text[0]);
		check_tree(t);
	}
	if (t->n_nodes < 64 && t->bytes < 1 << 20)
		write_image(t);
	tree_free(t);
	return 0;
}
