/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on a root file system, done on its tree. Paths are walked inside the tree (links of the
 * image included), so no operation reaches anything of the host but the sources it names.
 */
#include "image/root.h"

#include <fcntl.h>
#include <unistd.h>

struct patcher {
	const struct image_patch *patch;
	struct tree *tree;
	struct notes *notes;
	struct image_error *err;
};

static int fail(struct patcher *p, int r, const char *what)
{
	return image_fail_sys(p->err, -r, "patch: %s %s", what, p->patch->path);
}

/* Where the operation's path is, with its parents made. */
static int find(struct patcher *p, unsigned how, struct tree_place *ret)
{
	int r = tree_walk(p->tree, p->patch->path, strlen(p->patch->path), how, 0, ret);

	if (r == 0 && !ret->dir)
		r = -EBUSY;
	return r < 0 ? fail(p, r, "cannot get to") : 0;
}

/* Takes i over, also when it fails. */
static int put(struct patcher *p, struct tree_inode *i)
{
	struct tree_place place;
	struct tree_node *n;
	int r = find(p, TREE_MAKE_DIRS, &place);

	if (r == 0 && place.node) {
		if (!p->patch->replace)
			r = image_fail(p->err, EEXIST,
				       "patch: %s is there already: say replace (\"!\" behind the "
				       "operation) if it may go",
				       p->patch->path);
		else
			tree_remove(p->tree, place.node);
	}
	if (r == 0) {
		r = tree_add(p->tree, place.dir, place.name, place.name_len, i, &n);
		if (r < 0)
			r = fail(p, r, "cannot make");
	}
	if (r < 0)
		tree_inode_free(i);
	return r;
}

static struct tree_inode *new_inode(const struct patcher *p, uint32_t type, int mode)
{
	struct tree_inode *i;

	if (p->patch->mode >= 0)
		mode = p->patch->mode;
	i = tree_inode_new(type | (uint32_t)mode);
	if (i)
		i->mtime = (int64_t)(time_real_ns() / NS_PER_S);
	return i;
}

static int put_content(struct patcher *p)
{
	struct tree_inode *i = new_inode(p, S_IFREG, 0644);

	if (!i || tree_inode_set_bytes(i, p->patch->content, p->patch->content_len) < 0) {
		tree_inode_free(i);
		return image_fail(p->err, ENOMEM, "out of memory");
	}
	return put(p, i);
}

/* What is there is read into memory: such files are configuration. */
static int append(struct patcher *p)
{
	struct tree_reader *reader = malloc(sizeof(*reader));
	struct buf b = BUF_INIT(PATCH_APPEND_MAX);
	struct tree_place place;
	int r = reader ? 0 : -ENOMEM;

	if (r == 0)
		r = find(p, TREE_FOLLOW_LAST, &place);
	if (r == 0 && (!place.node || !S_ISREG(place.node->inode->mode)))
		r = fail(p, place.node ? -EINVAL : -ENOENT, "cannot append to");
	else if (r == 0) {
		r = tree_reader_open(p->tree, place.node->inode, reader);
		if (r == 0) {
			r = stream_read_all(reader->s, &b);
			tree_reader_close(reader);
		}
		if (r == 0)
			r = buf_append(&b, p->patch->content, p->patch->content_len);
		if (r == 0)
			r = tree_inode_set_bytes(place.node->inode, buf_at(&b), b.len);
		if (r < 0)
			r = fail(p, r, "cannot append to");
	}
	free(reader);
	buf_fini(&b);
	return r;
}

static int copy_file(struct patcher *p)
{
	cleanup_close int fd = open(p->patch->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct tree_inode *i;
	struct buf b = BUF_INIT(PATCH_FILE_MAX);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(p->err, errno, "patch: cannot read %s", p->patch->source);
	if (!S_ISREG(st.st_mode))
		return image_fail(p->err, EINVAL, "patch: %s is no file%s", p->patch->source,
				  S_ISDIR(st.st_mode) ? ": use copy_dir" : "");
	r = fd_read_all(fd, b.cap, &b);
	if (r < 0) {
		buf_fini(&b);
		return image_fail_sys(p->err, -r, "patch: cannot read %s", p->patch->source);
	}
	/* Root's in the guest, as with cp by root; who needs more uses copy_dir. */
	i = new_inode(p, S_IFREG, (int)(st.st_mode & 0777));
	if (i)
		i->mtime = st.st_mtim.tv_sec;
	if (!i || tree_inode_set_bytes(i, buf_at(&b), b.len) < 0) {
		tree_inode_free(i);
		buf_fini(&b);
		return image_fail(p->err, ENOMEM, "out of memory");
	}
	buf_fini(&b);
	return put(p, i);
}

/* The folder itself: made, or kept when it is there. */
static int make_dir(struct patcher *p, struct tree_node **ret)
{
	struct tree_place place;
	struct tree_inode *i;
	int r = tree_walk(p->tree, p->patch->path, strlen(p->patch->path),
			  TREE_MAKE_DIRS | TREE_FOLLOW_LAST, 0, &place);

	if (r < 0)
		return fail(p, r, "cannot get to");
	if (place.node && tree_is_dir(place.node)) {
		*ret = place.node;
		return 0;
	}
	if (place.node)
		return fail(p, -EEXIST, "cannot make the folder");
	i = new_inode(p, S_IFDIR, 0755);
	r = i ? tree_add(p->tree, place.dir, place.name, place.name_len, i, ret) : -ENOMEM;
	if (r < 0) {
		tree_inode_free(i);
		return fail(p, r, "cannot make the folder");
	}
	return 0;
}

static int copy_dir(struct patcher *p)
{
	int fd = open(p->patch->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tree_node *into;
	int r;

	if (fd < 0)
		return image_fail_sys(p->err, errno, "patch: cannot read the folder %s",
				      p->patch->source);
	r = make_dir(p, &into);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	return scan_folder(p->tree, into, fd, p->patch->source, p->patch->replace, NULL, p->notes,
			   p->err);
}

static int make_symlink(struct patcher *p)
{
	struct tree_inode *i = tree_inode_new(S_IFLNK | 0777);

	if (!i || tree_inode_set_text(i, p->patch->target, strlen(p->patch->target)) < 0) {
		tree_inode_free(i);
		return image_fail(p->err, ENOMEM, "out of memory");
	}
	return put(p, i);
}

static int remove_path(struct patcher *p)
{
	struct tree_place place;
	int r = find(p, 0, &place);

	if (r < 0)
		return r;
	if (!place.node)
		return fail(p, -ENOENT, "cannot remove");
	tree_remove(p->tree, place.node);
	return 0;
}

static int apply(struct patcher *p)
{
	struct tree_node *n;

	switch (p->patch->op) {
	case IMAGE_PATCH_TEXT:
	case IMAGE_PATCH_FILE:
		return put_content(p);
	case IMAGE_PATCH_APPEND:
		return append(p);
	case IMAGE_PATCH_COPY_FILE:
		return copy_file(p);
	case IMAGE_PATCH_COPY_DIR:
		return copy_dir(p);
	case IMAGE_PATCH_SYMLINK:
		return make_symlink(p);
	case IMAGE_PATCH_MKDIR:
		return make_dir(p, &n);
	case IMAGE_PATCH_REMOVE:
		return remove_path(p);
	}
	return -EINVAL;
}

int patches_apply(const struct image_patches *patches, struct tree *t, struct notes *notes,
		  struct image_error *err)
{
	int r = 0;

	for (size_t i = 0; patches && r == 0 && i < patches->n; i++) {
		struct patcher p = { .patch = &patches->list[i], .tree = t, .notes = notes, .err = err };

		r = apply(&p);
	}
	return r;
}

/* ---- keys ---- */

/* The folder is read as it will be, only for its state. */
static int digest_folder(const char *path, struct digest *d, struct image_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	struct notes ignored = { 0 };
	struct tree *t;

	if (fd < 0)
		return image_fail_sys(err, errno, "patch: cannot read the folder %s", path);
	r = tree_new(&t);
	if (r < 0) {
		fd_close(fd);
		return image_fail(err, ENOMEM, "out of memory");
	}
	r = scan_folder(t, t->root, fd, path, false, d, &ignored, err);
	notes_fini(&ignored);
	tree_free(t);
	return r;
}

static int digest_file(const char *path, struct digest *d, struct image_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "patch: cannot read %s", path);
	digest_add_u64(d, st.st_mode);
	r = digest_add_file(d, fd, &st);
	return r < 0 ? image_fail_sys(err, -r, "patch: cannot read %s", path) : 0;
}

int patches_digest(const struct image_patches *patches, struct digest *d, struct image_error *err)
{
	int r = 0;

	digest_add_u64(d, patches ? patches->n : 0);
	for (size_t i = 0; patches && r == 0 && i < patches->n; i++) {
		const struct image_patch *p = &patches->list[i];

		digest_add_u64(d, p->op);
		digest_add_str(d, p->path);
		digest_add_str(d, p->target ? p->target : "");
		digest_add_u64(d, (uint64_t)(p->mode + 1));
		digest_add_u64(d, p->replace);
		digest_add_u64(d, p->content_len);
		digest_add(d, p->content, p->content_len);
		if (p->op == IMAGE_PATCH_COPY_DIR)
			r = digest_folder(p->source, d, err);
		else if (p->op == IMAGE_PATCH_COPY_FILE)
			r = digest_file(p->source, d, err);
	}
	return r;
}
