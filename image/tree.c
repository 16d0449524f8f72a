/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree. Names come from archives that may be hostile, so:
 *  - lookup is by a keyed hash, whatever names are chosen;
 *  - number, depth and sizes have limits (image_int.h);
 *  - nothing recurses: walks go by parent and sibling links;
 *  - a path can only lead to a place inside the tree, because there is no other.
 */
#include "image/tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 40

/* ---- inodes ---- */

struct tree_inode *tree_inode_new(uint32_t mode)
{
	struct tree_inode *i = calloc(1, sizeof(*i));

	if (i)
		i->mode = mode;
	return i;
}

static void xattr_free(struct tree_xattr *x)
{
	free(x->name);
	free(x->value);
	free(x);
}

void tree_inode_free(struct tree_inode *i)
{
	struct tree_xattr *next;

	if (!i)
		return;
	for (struct tree_xattr *x = i->xattrs; x; x = next) {
		next = x->next;
		xattr_free(x);
	}
	free(i->text);
	free(i->bytes);
	free(i);
}

int tree_inode_set_text(struct tree_inode *i, const char *text, size_t len)
{
	char *copy;

	if (len > TARGET_MAX || memchr(text, 0, len))
		return -ENAMETOOLONG;
	copy = strndup(text, len);
	if (!copy)
		return -ENOMEM;
	free(i->text);
	i->text = copy;
	return 0;
}

int tree_inode_set_bytes(struct tree_inode *i, const void *p, size_t len)
{
	uint8_t *copy = malloc(MAX(len, (size_t)1));

	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, p, len);
	free(i->bytes);
	i->bytes = copy;
	i->size = len;
	i->data = TREE_DATA_MEM;
	return 0;
}

int tree_inode_set_xattr(struct tree_inode *i, const char *name, const void *value, size_t len)
{
	struct tree_xattr **at = &i->xattrs, *x;
	size_t sum = len + strlen(name);

	while (*at && !str_eq((*at)->name, name))
		at = &(*at)->next;
	for (x = i->xattrs; x; x = x->next)
		if (x != *at)
			sum += x->len + strlen(x->name) + 32;
	if (len > XATTRS_MAX || sum > XATTRS_MAX)
		return -ENOSPC;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->name = strdup(name);
	x->value = malloc(MAX(len, (size_t)1));
	x->len = len;
	if (!x->name || !x->value) {
		xattr_free(x);
		return -ENOMEM;
	}
	if (len)
		memcpy(x->value, value, len);
	if (*at) {
		x->next = (*at)->next;
		xattr_free(*at);
	}
	*at = x;
	return 0;
}

/* ---- nodes ---- */

static struct tree_node *node_new(const char *name, size_t len, struct tree_inode *inode)
{
	struct tree_node *n = calloc(1, sizeof(*n) + len + 1);

	if (!n)
		return NULL;
	list_init(&n->siblings);
	list_init(&n->children);
	memcpy(n->name, name, len);
	n->name_len = len;
	n->inode = inode;
	inode->n_links++;
	return n;
}

static void node_free(struct tree_node *n)
{
	if (--n->inode->n_links == 0)
		tree_inode_free(n->inode);
	list_del(&n->siblings);
	free(n);
}

int tree_new(struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct tree_inode *i = tree_inode_new(S_IFDIR | 0755);
	int r;

	if (!t || !i) {
		free(t);
		tree_inode_free(i);
		return -ENOMEM;
	}
	t->spool = -1;
	hash_key_random(&t->key);
	t->root = node_new("", 0, i);
	r = t->root ? hmap_init(&t->names, 1024) : -ENOMEM;
	if (r < 0) {
		if (t->root)
			node_free(t->root);
		else
			tree_inode_free(i);
		free(t);
		return r;
	}
	t->n_nodes = 1;
	*ret = t;
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	while (!list_empty(&t->root->children))
		tree_remove(t, container_of(t->root->children.next, struct tree_node, siblings));
	node_free(t->root);
	hmap_fini(&t->names);
	fd_close(t->spool);
	for (unsigned i = 0; i < t->n_hosts; i++)
		fd_close(t->hosts[i]);
	free(t->hosts);
	free(t);
}

int tree_add_host(struct tree *t, int fd, unsigned *ret_number)
{
	int *hosts = reallocarray(t->hosts, t->n_hosts + 1, sizeof(*hosts));

	if (!hosts) {
		fd_close(fd);
		return -ENOMEM;
	}
	t->hosts = hosts;
	hosts[t->n_hosts] = fd;
	*ret_number = t->n_hosts++;
	return 0;
}

static uint64_t name_hash(const struct tree *t, const struct tree_node *dir, const char *name,
			  size_t len)
{
	struct {
		const struct tree_node *dir;
		char name[256];
	} k;

	k.dir = dir;
	memcpy(k.name, name, len);
	return hash_bytes(&t->key, &k, offsetof(typeof(k), name) + len);
}

struct tree_node *tree_find(const struct tree *t, const struct tree_node *dir, const char *name,
			    size_t len)
{
	if (len == 0 || len > 255)
		return NULL;
	hmap_for_hash (it, &t->names, name_hash(t, dir, name, len)) {
		struct tree_node *n = container_of(it, struct tree_node, by_name);

		if (n->parent == dir && n->name_len == len && memcmp(n->name, name, len) == 0)
			return n;
	}
	return NULL;
}

int tree_add(struct tree *t, struct tree_node *dir, const char *name, size_t len,
	     struct tree_inode *inode, struct tree_node **ret)
{
	struct tree_node *n;

	if (len > 255)
		return -ENAMETOOLONG;
	if (len == 0 || memchr(name, '/', len) || memchr(name, 0, len) ||
	    (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
		return -EINVAL;
	if (!tree_is_dir(dir))
		return -ENOTDIR;
	if (tree_find(t, dir, name, len))
		return -EEXIST;
	if (t->n_nodes >= TREE_NODES_MAX || dir->depth >= TREE_DEPTH_MAX)
		return -E2BIG;
	if (inode->n_links == 0) {
		if (inode->size > TREE_BYTES_MAX - t->bytes)
			return -E2BIG;
		t->bytes += inode->size;
	}
	n = node_new(name, len, inode);
	if (!n)
		return -ENOMEM;
	n->parent = dir;
	n->depth = dir->depth + 1;
	list_add_tail(&dir->children, &n->siblings);
	hmap_insert(&t->names, &n->by_name, name_hash(t, dir, name, len));
	t->n_nodes++;
	*ret = n;
	return 0;
}

static struct tree_node *first_child(const struct tree_node *n)
{
	return list_empty(&n->children) ? NULL
					: container_of(n->children.next, struct tree_node, siblings);
}

void tree_remove(struct tree *t, struct tree_node *n)
{
	struct tree_node *at = n, *child, *parent;

	assert(n != t->root);
	for (;;) {
		child = first_child(at);
		if (child) {
			at = child;
			continue;
		}
		parent = at->parent;
		hmap_remove(&t->names, &at->by_name);
		t->n_nodes--;
		if (at == n) {
			node_free(at);
			return;
		}
		node_free(at);
		at = parent;
	}
}

struct tree_node *tree_next(const struct tree_node *n, struct tree_node *at)
{
	struct tree_node *child = first_child(at);

	if (child)
		return child;
	while (at != n) {
		if (at->siblings.next != &at->parent->children)
			return container_of(at->siblings.next, struct tree_node, siblings);
		at = at->parent;
	}
	return NULL;
}

/* ---- paths ---- */

/* What is left to walk: the path, and in front of it the targets of links met on the way. */
struct walk {
	char text[2 * PATH_BYTES_MAX];
	size_t pos; /* text[pos..] is left */
	unsigned links;
};

static int walk_push(struct walk *w, const char *p, size_t len)
{
	if (len + 1 > w->pos)
		return -ENAMETOOLONG;
	w->text[--w->pos] = '/';
	w->pos -= len;
	memcpy(w->text + w->pos, p, len);
	return 0;
}

/* The next part, without slashes and "."; false: none is left. */
static bool walk_part(struct walk *w, const char **ret, size_t *ret_len)
{
	for (;;) {
		const char *p, *slash;

		while (w->pos < sizeof(w->text) && w->text[w->pos] == '/')
			w->pos++;
		if (w->pos == sizeof(w->text))
			return false;
		p = w->text + w->pos;
		slash = memchr(p, '/', sizeof(w->text) - w->pos);
		*ret = p;
		*ret_len = (size_t)(slash - p);
		w->pos += *ret_len;
		if (*ret_len != 1 || p[0] != '.')
			return true;
	}
}

static bool walk_done(struct walk *w)
{
	size_t pos = w->pos;
	const char *p;
	size_t len;
	bool more = walk_part(w, &p, &len);

	w->pos = pos;
	return !more;
}

static int make_dir(struct tree *t, struct tree_node *dir, const char *name, size_t len,
		    unsigned layer, struct tree_node **ret)
{
	struct tree_inode *i = tree_inode_new(S_IFDIR | 0755);
	int r;

	if (!i)
		return -ENOMEM;
	i->mtime = dir->inode->mtime;
	r = tree_add(t, dir, name, len, i, ret);
	if (r < 0)
		tree_inode_free(i);
	else
		(*ret)->layer = layer;
	return r;
}

int tree_walk(struct tree *t, const char *path, size_t len, unsigned how, unsigned layer,
	      struct tree_place *ret)
{
	struct tree_node *at = t->root, *n;
	struct tree_place place = { .node = t->root };
	struct walk w = { .pos = sizeof(w.text) };
	const char *p;
	int r;

	if (len > PATH_BYTES_MAX || memchr(path, 0, len))
		return -ENAMETOOLONG;
	r = walk_push(&w, path, len);
	if (r < 0)
		return r;
	while (walk_part(&w, &p, &len)) {
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			at = at->parent ? at->parent : at;
			place = (struct tree_place){ .dir = at->parent, .node = at };
			continue;
		}
		if (len > 255)
			return -ENAMETOOLONG;
		n = tree_find(t, at, p, len);
		if (n && S_ISLNK(n->inode->mode) && (!walk_done(&w) || (how & TREE_FOLLOW_LAST))) {
			const char *target = n->inode->text;

			if (how & TREE_NO_LINKS || ++w.links > LINKS_MAX)
				return -ELOOP;
			r = walk_push(&w, target, strlen(target));
			if (r < 0)
				return r;
			if (target[0] == '/')
				at = t->root;
			place = (struct tree_place){ .dir = at->parent, .node = at };
			continue;
		}
		place.dir = at;
		place.node = n;
		memcpy(place.name, p, len);
		place.name[len] = '\0';
		place.name_len = len;
		if (walk_done(&w))
			break;
		if (!n) {
			if (!(how & TREE_MAKE_DIRS))
				return -ENOENT;
			r = make_dir(t, at, place.name, len, layer, &n);
			if (r < 0)
				return r;
		}
		if (!tree_is_dir(n))
			return -ENOTDIR;
		at = n;
	}
	if (place.node && !place.name_len) {
		/* "..", or a link to a folder: the name is the folder's own. */
		memcpy(place.name, place.node->name, place.node->name_len + 1);
		place.name_len = place.node->name_len;
	}
	*ret = place;
	return 0;
}

const char *tree_path(const struct tree_node *n, char *out, size_t size)
{
	size_t pos = size - 1;

	assert(size >= 16);
	out[pos] = '\0';
	if (!n->parent)
		out[--pos] = '/';
	for (; n->parent; n = n->parent) {
		if (n->name_len + 1 + 3 > pos) {
			pos -= 3;
			memcpy(out + pos, "...", 3);
			break;
		}
		pos -= n->name_len;
		for (size_t i = 0; i < n->name_len; i++)
			out[pos + i] = n->name[i] < 32 || n->name[i] == 127 ? '?' : n->name[i];
		out[--pos] = '/';
	}
	return out + pos;
}

/* ---- contents ---- */

int host_open(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int tree_reader_open(const struct tree *t, const struct tree_inode *i, struct tree_reader *ret)
{
	struct stat st;

	ret->fd = -1;
	switch (i->data) {
	case TREE_DATA_NONE:
		stream_mem_init(&ret->mem, NULL, 0);
		ret->s = &ret->mem.s;
		return 0;
	case TREE_DATA_MEM:
		stream_mem_init(&ret->mem, i->bytes, (size_t)i->size);
		ret->s = &ret->mem.s;
		return 0;
	case TREE_DATA_SPOOL:
		stream_file_init(&ret->file, t->spool, i->offset, i->offset + i->size);
		ret->s = &ret->file.s;
		return 0;
	case TREE_DATA_HOST:
		break;
	}
	ret->fd = host_open(t->hosts[i->host], i->text, 0);
	if (ret->fd < 0)
		return ret->fd;
	if (fstat(ret->fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < i->size) {
		tree_reader_close(ret);
		return -ESTALE;
	}
	stream_file_init(&ret->file, ret->fd, 0, i->size);
	ret->s = &ret->file.s;
	return 0;
}

void tree_reader_close(struct tree_reader *r)
{
	fd_close(r->fd);
	r->fd = -1;
}
