/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers become one tree (OCI image specification 1.1, layer.md).
 *
 * Nothing is unpacked onto the host: names go into the tree, contents behind one another into one
 * file without a name. What an archive could do to a host by names it can therefore not do here at
 * all; what it could do to the image is limited to what an image may do to itself:
 *  - absolute names, ".." and NUL in names are refused;
 *  - a name below a symlink of the image goes where the link leads inside the image, as in a
 *    container; a whiteout below a symlink is refused (nobody writes such);
 *  - a hard link has to name a file that is in the image already;
 *  - device 0:0 is an overlay's own whiteout and refused; other devices are the guest's matter;
 *  - contents, names, depth, and the work of opaque whiteouts have limits.
 *
 * Whiteouts (.wh.NAME, .wh..wh..opq) take away what layers below have put there, never what the
 * same layer puts there, whatever the order: each name knows its layer.
 */
#include "image/bundle.h"
#include "image/tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"

static int refuse(struct layer_work *w, const char *name, const char *why)
{
	char quoted[160];

	return image_fail(w->err, EBADMSG, "layer %u: \"%s\": %s", w->number,
			  log_quote(name, strlen(name), quoted, sizeof(quoted)), why);
}

static int refuse_code(struct layer_work *w, const char *name, int r)
{
	if (r == -ELOOP)
		return refuse(w, name, "it leads through too many symbolic links");
	if (r == -E2BIG)
		return refuse(w, name,
			      "the image has too many files, too deep folders or too much "
			      "content");
	if (r == -ENOMEM)
		return image_fail(w->err, ENOMEM, "out of memory");
	return refuse(w, name, strerror(-r));
}

/* Relative, and without "..": what only hostile or broken archives have is not interpreted. */
static int check_name(struct layer_work *w, const char *name)
{
	if (name[0] == '/')
		return refuse(w, name, "an absolute name");
	if (strlen(name) >= PATH_BYTES_MAX)
		return refuse(w, name, "a name that is too long");
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return refuse(w, name, "a name with \"..\"");
		if (n > 255)
			return refuse(w, name, "a name that is too long");
		p += n;
		p += strspn(p, "/");
	}
	return 0;
}

/* ---- taking away ---- */

/* All below n that is not of this layer, children first. */
static int remove_lower(struct layer_work *w, struct tree_node *n)
{
	struct tree_node **list = NULL;
	size_t len = 0, size = 0;

	for (struct tree_node *at = tree_next(n, n); at; at = tree_next(n, at)) {
		if (++w->whiteouts > WHITEOUT_WORK_MAX) {
			free(list);
			return -E2BIG;
		}
		if (len == size) {
			struct tree_node **more;

			size = size ? 2 * size : 64;
			more = reallocarray(list, size, sizeof(*list));
			if (!more) {
				free(list);
				return -ENOMEM;
			}
			list = more;
		}
		list[len++] = at;
	}
	while (len > 0) {
		struct tree_node *at = list[--len];

		if (at->layer != w->number && (!tree_is_dir(at) || list_empty(&at->children)))
			tree_remove(w->tree, at);
	}
	free(list);
	return 0;
}

static int opaque(struct layer_work *w, const char *name, const char *dir, size_t len)
{
	struct tree_place place;
	int r = tree_walk(w->tree, dir, len, TREE_NO_LINKS, 0, &place);

	if (r == -ENOENT || (r == 0 && !place.node))
		return 0;
	if (r == -ELOOP || (r == 0 && S_ISLNK(place.node->inode->mode)))
		return refuse(w, name, "a whiteout behind a symbolic link");
	if (r == 0 && tree_is_dir(place.node))
		r = remove_lower(w, place.node);
	return r < 0 ? refuse_code(w, name, r) : 0;
}

static int whiteout(struct layer_work *w, const char *name, const char *dir, size_t dir_len,
		    const char *gone)
{
	struct tree_place place;
	struct tree_node *n;
	int r = tree_walk(w->tree, dir, dir_len, TREE_NO_LINKS, 0, &place);

	if (gone[0] == '\0' || str_eq(gone, ".") || str_eq(gone, ".."))
		return refuse(w, name, "a whiteout of no name");
	if (r == -ENOENT || (r == 0 && !place.node))
		return 0;
	if (r == -ELOOP || (r == 0 && S_ISLNK(place.node->inode->mode)))
		return refuse(w, name, "a whiteout behind a symbolic link");
	if (r < 0)
		return refuse_code(w, name, r);
	n = tree_find(w->tree, place.node, gone, strlen(gone));
	if (!n)
		return 0;
	if (tree_is_dir(n))
		r = remove_lower(w, n);
	if (r == 0 && n->layer != w->number && (!tree_is_dir(n) || list_empty(&n->children)))
		tree_remove(w->tree, n);
	return r < 0 ? refuse_code(w, name, r) : 0;
}

/* ---- putting ---- */

static int read_data(struct layer_work *w, struct archive *a, const char *name, uint64_t size)
{
	struct tree *t = w->tree;
	uint64_t end = 0;
	const void *p;
	size_t n;
	la_int64_t off;
	int e;

	if (size > TREE_BYTES_MAX - t->spool_len)
		return refuse_code(w, name, -E2BIG);
	while ((e = archive_read_data_block(a, &p, &n, &off)) == ARCHIVE_OK) {
		if (off < 0 || (uint64_t)off < end || (uint64_t)off > size || n > size - (uint64_t)off)
			return refuse(w, name, "its data does not fit its size");
		end = (uint64_t)off + n;
		for (size_t done = 0; done < n;) {
			ssize_t k = pwrite(t->spool, (const uint8_t *)p + done, n - done,
					   (off_t)(t->spool_len + (uint64_t)off + done));

			if (k < 0 && errno == EINTR)
				continue;
			if (k <= 0)
				return image_fail_sys(
					w->err, k < 0 ? errno : EIO,
					"cannot write the content of a layer to the store");
			done += (size_t)k;
		}
	}
	if (e != ARCHIVE_EOF)
		return refuse(w, name, "its data is cut off or damaged");
	t->spool_len += size;
	/* Also where the end is a hole. */
	if (ftruncate(t->spool, (off_t)t->spool_len) < 0)
		return image_fail_sys(w->err, errno, "cannot write to the store");
	return 0;
}

static void take_xattrs(struct archive_entry *entry, struct tree_inode *i)
{
	const char *name;
	const void *value;
	size_t len;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &len) == ARCHIVE_OK)
		/* One that an ext4 image has no room for is left out. */
		if (name &&
		    (str_starts(name, "user.") || str_starts(name, "security.") ||
		     str_starts(name, "trusted.")) &&
		    !str_starts(name, "trusted.overlay.") && strlen(name) < 250)
			if (tree_inode_set_xattr(i, name, value, len) < 0)
				continue;
}

static uint32_t take_id(la_int64_t id)
{
	return id < 0 || id > UINT32_MAX - 1 ? 65534 : (uint32_t)id;
}

static int take_type(struct layer_work *w, struct archive_entry *entry, const char *name,
		     struct tree_inode *i)
{
	const char *target;

	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		i->mode |= S_IFREG;
		return 0;
	case AE_IFDIR:
		i->mode |= S_IFDIR;
		return 0;
	case AE_IFIFO:
		i->mode |= S_IFIFO;
		return 0;
	case AE_IFLNK:
		i->mode = S_IFLNK | 0777;
		target = archive_entry_symlink(entry);
		if (!target)
			target = archive_entry_symlink_utf8(entry);
		if (!target || !target[0])
			return refuse(w, name, "a symbolic link to nothing");
		return tree_inode_set_text(i, target, strlen(target)) < 0
			       ? refuse(w, name, "the target of a symbolic link is too long")
			       : 0;
	case AE_IFCHR:
	case AE_IFBLK:
		i->mode |= archive_entry_filetype(entry) == AE_IFCHR ? S_IFCHR : S_IFBLK;
		i->major = (uint32_t)archive_entry_rdevmajor(entry);
		i->minor = (uint32_t)archive_entry_rdevminor(entry);
		if ((i->major == 0 && i->minor == 0) || i->major > 0xfff || i->minor > 0xfffff)
			return refuse(w, name, "a device that cannot be");
		return 0;
	default:
		return refuse(w, name, "a kind of file that layers do not have");
	}
}

static int take_inode(struct layer_work *w, struct archive *a, struct archive_entry *entry,
		      const char *name, struct tree_inode **ret)
{
	struct tree_inode *i = tree_inode_new((uint32_t)archive_entry_perm(entry) & 07777);
	int r;

	if (!i)
		return image_fail(w->err, ENOMEM, "out of memory");
	i->uid = take_id(archive_entry_uid(entry));
	i->gid = take_id(archive_entry_gid(entry));
	i->mtime = MAX(archive_entry_mtime(entry), (time_t)0);
	i->mtime_nsec = (uint32_t)archive_entry_mtime_nsec(entry) % 1000000000;
	r = take_type(w, entry, name, i);
	if (r == 0)
		take_xattrs(entry, i);
	if (r == 0 && S_ISREG(i->mode) && archive_entry_size(entry) > 0) {
		i->size = (uint64_t)archive_entry_size(entry);
		i->data = TREE_DATA_SPOOL;
		i->offset = w->tree->spool_len;
		r = read_data(w, a, name, i->size);
	}
	if (r < 0)
		tree_inode_free(i);
	else
		*ret = i;
	return r;
}

/* A folder that is there is not made anew: it gets the layer's attributes. */
static void update_folder(struct tree_inode *old, struct tree_inode *from)
{
	struct tree_xattr *x = old->xattrs;

	old->mode = from->mode;
	old->uid = from->uid;
	old->gid = from->gid;
	old->mtime = from->mtime;
	old->mtime_nsec = from->mtime_nsec;
	old->xattrs = from->xattrs;
	from->xattrs = x;
	tree_inode_free(from);
}

/* A link's target, which is named from the image's root. */
static int link_inode(struct layer_work *w, const char *name, const char *target,
		      struct tree_inode **ret)
{
	struct tree_place place;
	int r = check_name(w, target);

	if (r < 0)
		return r;
	r = tree_walk(w->tree, target, strlen(target), 0, 0, &place);
	if (r < 0 || !place.node)
		return refuse(w, name, "a hard link to a file that is not in the image");
	if (tree_is_dir(place.node))
		return refuse(w, name, "a hard link to a folder");
	*ret = place.node->inode;
	return 0;
}

static int put(struct layer_work *w, struct archive *a, struct archive_entry *entry,
	       const char *name, size_t len)
{
	const char *target = archive_entry_hardlink(entry);
	struct tree_inode *i = NULL;
	struct tree_place place;
	struct tree_node *n;
	bool fresh;
	int r;

	if (!target)
		target = archive_entry_hardlink_utf8(entry);
	r = target ? link_inode(w, name, target, &i) : take_inode(w, a, entry, name, &i);
	if (r < 0)
		return r;
	fresh = !target;
	r = tree_walk(w->tree, name, len, TREE_MAKE_DIRS, w->number, &place);
	if (r == 0 && place.node && tree_is_dir(place.node) && S_ISDIR(i->mode)) {
		update_folder(place.node->inode, i);
		place.node->layer = w->number;
		return 0;
	}
	if (r == 0 && !place.dir)
		r = -EBUSY;
	/* A link to itself is what is there. */
	if (r == 0 && place.node && place.node->inode == i)
		return 0;
	if (r == 0) {
		/* The last name of a file may go when its new name comes: hold it. */
		i->n_links += !fresh;
		if (place.node)
			tree_remove(w->tree, place.node);
		r = tree_add(w->tree, place.dir, place.name, place.name_len, i, &n);
		i->n_links -= !fresh;
	}
	if (r == 0) {
		n->layer = w->number;
		return 0;
	}
	if (fresh || i->n_links == 0)
		tree_inode_free(i);
	return refuse_code(w, name, r);
}

/* ---- entries ---- */

static int add_entry(struct layer_work *w, struct archive *a, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry), *last;
	size_t len;
	int r;

	/* Names that are UTF-8 by their header, in a locale that is not. */
	if (!name)
		name = archive_entry_pathname_utf8(entry);
	if (!name)
		return refuse(w, "?", "a name that cannot be read");
	r = check_name(w, name);
	if (r < 0)
		return r;
	len = strlen(name);
	while (len && name[len - 1] == '/')
		len--;
	last = memrchr(name, '/', len);
	last = last ? last + 1 : name;
	if (str_starts(last, WHITEOUT)) {
		char gone[256] = "";
		size_t n = len - (size_t)(last - name);

		if (n == strlen(OPAQUE) && memcmp(last, OPAQUE, n) == 0)
			return opaque(w, name, name, (size_t)(last - name));
		/* What else begins with .wh..wh. is aufs' own. */
		if (str_starts(last, WHITEOUT WHITEOUT))
			return 0;
		memcpy(gone, last + strlen(WHITEOUT), n - strlen(WHITEOUT));
		return whiteout(w, name, name, (size_t)(last - name), gone);
	}
	return put(w, a, entry, name, len);
}

static int read_error(struct layer_work *w, int r)
{
	if (r == -EFBIG)
		return image_fail(w->err, EBADMSG, "layer %u unpacks to more than %llu GiB",
				  w->number, (unsigned long long)(LAYER_BYTES_MAX >> 30));
	if (r == -EBADMSG)
		return image_fail(w->err, EBADMSG, "layer %u is damaged: it cannot be unpacked",
				  w->number);
	return image_fail_sys(w->err, -r, "layer %u cannot be read", w->number);
}

int layer_apply(struct layer_work *w, struct stream *tar)
{
	struct stream_source src = { .from = tar };
	struct archive *a = tar_reader_new();
	struct archive_entry *entry;
	int r = 0, e;

	if (!a)
		return image_fail(w->err, ENOMEM, "out of memory");
	e = stream_source_open(a, &src);
	while (r == 0 && (e == ARCHIVE_OK || e == ARCHIVE_WARN)) {
		e = archive_read_next_header(a, &entry);
		if (e == ARCHIVE_OK || e == ARCHIVE_WARN)
			r = add_entry(w, a, entry);
	}
	if (src.error)
		r = read_error(w, src.error);
	else if (r == 0 && e != ARCHIVE_EOF)
		r = image_fail(w->err, EBADMSG, "layer %u is no tar archive, or a damaged one",
			       w->number);
	archive_read_free(a);
	return r;
}

/* ---- the image ---- */

/* The chain that one layer is read through. */
struct chain {
	struct bundle_reader member;
	struct stream_digest stored, meant;
	struct stream_peek peek;
	struct stream_unpack unpack;
};

static int check_digest(struct layer_work *w, struct stream_digest *d, const char *want,
			const char *what)
{
	char got[DIGEST_HEX];

	digest_end(&d->digest, got);
	if (want[0] && !str_eq(got, want))
		return image_fail(
			w->err, EBADMSG,
			"layer %u is damaged or changed: its %s is sha256:%s and should be "
			"sha256:%s",
			w->number, what, got, want);
	return 0;
}

static int run_chain(struct layer_work *w, struct chain *c, const struct oci_layer *l)
{
	int r = layer_apply(w, &c->meant.s);

	/* What is behind the end of the archive belongs to the digests as well. */
	if (r == 0) {
		r = stream_drain(&c->meant.s);
		if (r == 0)
			r = stream_drain(&c->stored.s);
		if (r < 0)
			r = read_error(w, r);
	}
	if (r == 0)
		r = check_digest(w, &c->stored, l->digest, "digest");
	return r == 0 ? check_digest(w, &c->meant, l->diff_id, "diff_id") : r;
}

static int apply_one(struct layer_work *w, const struct bundle *b, const struct oci_layer *l)
{
	struct chain *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return image_fail(w->err, ENOMEM, "out of memory");
	r = bundle_reader_open(b, l->member, &c->member);
	if (r == 0)
		r = stream_digest_init(&c->stored, &c->member.entry.s, LAYER_BYTES_MAX);
	if (r == 0)
		r = stream_peek_init(&c->peek, &c->stored.s);
	if (r == 0)
		r = stream_unpack_init(&c->unpack, &c->peek.s,
				       packing_of(c->peek.first, c->peek.first_len));
	if (r == 0)
		r = stream_digest_init(&c->meant, &c->unpack.s, LAYER_BYTES_MAX);
	r = r < 0 ? read_error(w, r) : run_chain(w, c, l);
	stream_digest_fini(&c->meant);
	stream_unpack_fini(&c->unpack);
	stream_digest_fini(&c->stored);
	bundle_reader_close(&c->member);
	free(c);
	return r;
}

int oci_apply(const struct bundle *b, const struct oci_image *i, struct tree *t,
	      struct image_error *err)
{
	struct layer_work w = { .tree = t, .err = err };
	struct image_error why;
	int r = 0;

	w.err = &why;
	for (size_t n = 0; r == 0 && n < i->n_layers; n++) {
		w.number = (unsigned)n + 1;
		r = apply_one(&w, b, &i->layers[n]);
	}
	return r < 0 ? image_fail(err, -r, "the image %s: %s", b->path, why.text) : 0;
}
