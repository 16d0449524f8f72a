/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a folder of the host. No symbolic link is followed and no ".." occurs, so what is read
 * lies below the folder, also when somebody changes it meanwhile; contents are opened once more
 * when they are written, and have to be what was seen here.
 *
 * What the caller may not read is left out and told, not an error: a file of root's in a tree of the
 * user's is no reason not to start. Sockets belong to processes of the host and stay away.
 * The host's own pseudo file systems (somebody's chroot with /proc mounted) are left out, too.
 */
#include "image/scan.h"
#include "image/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NOTES_MAX 8

/* ---- notes ---- */

void notes_add(struct notes *n, const char *fmt, ...)
{
	char **list;
	va_list ap;

	if (n->n >= NOTES_MAX) {
		n->more++;
		return;
	}
	/* Two more: the line that tells of the others, and the end. */
	list = realloc(n->list, (n->n + 3) * sizeof(*list));
	if (!list)
		return;
	n->list = list;
	va_start(ap, fmt);
	if (vasprintf(&list[n->n], fmt, ap) >= 0)
		n->n++;
	va_end(ap);
}

char **notes_take(struct notes *n)
{
	char **list = n->list ? n->list : calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	if (n->list) {
		if (n->more && asprintf(&list[n->n], "and %zu more", n->more) >= 0)
			n->n++;
		list[n->n] = NULL;
	}
	*n = (struct notes){ 0 };
	return list;
}

void notes_fini(struct notes *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->list[i]);
	free(n->list);
	*n = (struct notes){ 0 };
}

/* ---- one file ---- */

void inode_from_stat(struct tree_inode *i, const struct stat *st)
{
	i->mode = st->st_mode;
	i->uid = st->st_uid;
	i->gid = st->st_gid;
	i->mtime = st->st_mtim.tv_sec;
	i->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		i->major = major(st->st_rdev);
		i->minor = minor(st->st_rdev);
	}
}

/* One folder on the way: where it is in the tree and on the host. */
struct scan {
	struct tree *tree;
	unsigned host;
	const char *name;
	bool replace;
	struct digest *digest;
	struct notes *notes;
	struct image_error *err;
	struct hmap links; /* inodes with more than one name */
	struct hash_key key;
};

struct link {
	struct hmap_node node;
	dev_t dev;
	ino_t ino;
	struct tree_inode *inode;
};

static bool keeps_xattr(const char *name)
{
	return str_starts(name, "user.") || str_starts(name, "trusted.") ||
	       str_starts(name, "security.") || str_starts(name, "system.posix_acl_");
}

/* fd may be opened with O_PATH: then the names go by way of /proc. */
static int read_xattrs(struct scan *s, const char *path, int fd, struct tree_inode *i)
{
	char self[32], names[XATTRS_MAX], value[XATTRS_MAX];
	ssize_t n, len;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = listxattr(self, names, sizeof(names));
	if (n < 0 && errno != ENOTSUP && errno != EACCES && errno != ENOENT)
		notes_add(s->notes, "%s/%s: extended attributes are left out: %s", s->name, path,
			  strerror(errno));
	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		if (!keeps_xattr(name))
			continue;
		len = getxattr(self, name, value, sizeof(value));
		if (len < 0 || tree_inode_set_xattr(i, name, value, (size_t)len) < 0)
			notes_add(s->notes, "%s/%s: the attribute %s is left out", s->name, path,
				  name);
	}
	return 0;
}

/* Fills i with what a name stands for. 1: leave it out, and it has been told. */
static int read_inode(struct scan *s, int dirfd, const char *name, const char *path,
		      const struct stat *st, struct tree_inode *i)
{
	cleanup_close int fd = -1;
	char target[TARGET_MAX + 1];
	ssize_t n;
	int r;

	inode_from_stat(i, st);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, name, target, sizeof(target));
		if (n < 0)
			return -errno;
		return tree_inode_set_text(i, target, (size_t)n);
	}
	fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	read_xattrs(s, path, fd, i);
	if (!S_ISREG(st->st_mode))
		return 0;
	/* Asked now, so that it can be told now; opened again when it is written. */
	if (faccessat(dirfd, name, R_OK, AT_EACCESS) < 0) {
		notes_add(s->notes, "%s/%s is left out: you may not read it", s->name, path);
		return 1;
	}
	i->size = (uint64_t)st->st_size;
	if (!i->size)
		return 0;
	i->data = TREE_DATA_HOST;
	i->host = s->host;
	r = tree_inode_set_text(i, path, strlen(path));
	if (r == 0 && s->digest && stat_is_fresh(st)) {
		fd_close(fd);
		fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		r = fd < 0 ? -errno : digest_add_file(s->digest, fd, st);
	}
	return r;
}

static void add_state(struct scan *s, const char *path, const struct stat *st)
{
	digest_add_str(s->digest, path);
	digest_add_u64(s->digest, st->st_mode);
	digest_add_u64(s->digest, (uint64_t)st->st_uid << 32 | st->st_gid);
	digest_add_u64(s->digest, st->st_dev);
	digest_add_u64(s->digest, st->st_ino);
	digest_add_u64(s->digest, (uint64_t)st->st_size);
	digest_add_u64(s->digest, (uint64_t)st->st_mtim.tv_sec);
	digest_add_u64(s->digest, (uint64_t)st->st_mtim.tv_nsec);
	digest_add_u64(s->digest, (uint64_t)st->st_ctim.tv_sec);
	digest_add_u64(s->digest, (uint64_t)st->st_ctim.tv_nsec);
}

/* ---- hard links ---- */

static uint64_t link_hash(struct scan *s, const struct stat *st)
{
	uint64_t id[2] = { st->st_dev, st->st_ino };

	return hash_bytes(&s->key, id, sizeof(id));
}

static struct tree_inode *link_find(struct scan *s, const struct stat *st)
{
	hmap_for_hash (it, &s->links, link_hash(s, st)) {
		struct link *l = container_of(it, struct link, node);

		if (l->dev == st->st_dev && l->ino == st->st_ino)
			return l->inode;
	}
	return NULL;
}

static int link_remember(struct scan *s, const struct stat *st, struct tree_inode *i)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->dev = st->st_dev;
	l->ino = st->st_ino;
	l->inode = i;
	hmap_insert(&s->links, &l->node, link_hash(s, st));
	return 0;
}

static void links_fini(struct scan *s)
{
	for (size_t b = 0; s->links.buckets && b <= s->links.mask; b++)
		for (struct hmap_node *n = s->links.buckets[b], *next; n; n = next) {
			next = n->next;
			free(container_of(n, struct link, node));
		}
	hmap_fini(&s->links);
}

/* ---- folders ---- */

static bool is_pseudo(int fd)
{
	static const long magics[] = { PROC_SUPER_MAGIC,   SYSFS_MAGIC,	  DEVPTS_SUPER_MAGIC,
				       CGROUP_SUPER_MAGIC, DEBUGFS_MAGIC, CGROUP2_SUPER_MAGIC,
				       SECURITYFS_MAGIC,   TRACEFS_MAGIC, BPF_FS_MAGIC,
				       BINFMTFS_MAGIC };
	struct statfs sf;

	if (fstatfs(fd, &sf) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (sf.f_type == magics[i])
			return true;
	return false;
}

/* The new name, or what was there when it is kept (a folder). */
static int put(struct scan *s, struct tree_node *dir, const char *name, struct tree_inode *i,
	       struct tree_node **ret)
{
	struct tree_node *there = tree_find(s->tree, dir, name, strlen(name));

	if (there && tree_is_dir(there) && S_ISDIR(i->mode)) {
		tree_inode_free(i);
		*ret = there;
		return 0;
	}
	if (there && !s->replace)
		return -EEXIST;
	if (there)
		tree_remove(s->tree, there);
	return tree_add(s->tree, dir, name, strlen(name), i, ret);
}

static int scan_one(struct scan *s, struct tree_node *dir, int dirfd, const char *name,
		    const char *path, const struct stat *st)
{
	struct tree_inode *i = NULL;
	struct tree_node *n;
	int r = 0;

	if (s->digest)
		add_state(s, path, st);
	if (S_ISSOCK(st->st_mode))
		return 0;
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		i = link_find(s, st);
	if (i)
		return put(s, dir, name, i, &n);
	i = tree_inode_new(st->st_mode);
	if (!i)
		return -ENOMEM;
	r = read_inode(s, dirfd, name, path, st, i);
	if (r == 0)
		r = put(s, dir, name, i, &n);
	if (r != 0) {
		tree_inode_free(i);
		return r > 0 ? 0 : r;
	}
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		r = link_remember(s, st, i);
	return r;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int names_add(char ***list, size_t *n, size_t *size, const char *name)
{
	if (*n == *size) {
		size_t more = *size ? 2 * *size : 64;
		char **grown = reallocarray(*list, more, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		*list = grown;
		*size = more;
	}
	(*list)[*n] = strdup(name);
	return (*list)[*n] ? (++*n, 0) : -ENOMEM;
}

/* Names in order, so that equal folders give equal trees. */
static int read_names(int fd, char ***ret, size_t *ret_n)
{
	char **list = NULL;
	size_t n = 0, size = 0;
	struct dirent *e;
	DIR *d = fdopendir(fd);
	int r = 0;

	if (!d) {
		fd_close(fd);
		return -errno;
	}
	while (r == 0 && (e = readdir(d)))
		if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
			r = names_add(&list, &n, &size, e->d_name);
	closedir(d);
	if (r == 0 && n)
		qsort(list, n, sizeof(*list), compare);
	*ret = list;
	*ret_n = n;
	return r;
}

/* What is directly in one folder. path "": the folder itself. */
static int scan_level(struct scan *s, struct tree_node *dir, const char *path)
{
	cleanup_close int fd = host_open(s->tree->hosts[s->host], path[0] ? path : ".", O_DIRECTORY);
	char **names = NULL;
	size_t n = 0;
	int r = 0;

	if (fd == -EACCES) {
		notes_add(s->notes, "%s/%s is left empty: you may not read it", s->name, path);
		return 0;
	}
	if (fd < 0)
		return fd;
	if (path[0] && is_pseudo(fd))
		return 0;
	r = read_names(dup(fd), &names, &n);
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *below = NULL;
		struct stat st;

		if (r == 0 && asprintf(&below, "%s%s%s", path, path[0] ? "/" : "", names[i]) < 0) {
			below = NULL;
			r = -ENOMEM;
		}
		/* One that is gone meanwhile is gone. */
		if (r == 0 && fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			r = scan_one(s, dir, fd, names[i], below, &st);
		if (r < 0 && s->err && !s->err->text[0])
			image_fail_sys(s->err, -r, "cannot take %s/%s", s->name,
				       below ? below : names[i]);
		free(names[i]);
	}
	free(names);
	return r;
}

/* Path below `top`, as on the host. */
static int path_below(const struct tree_node *top, const struct tree_node *n,
		      char out[static PATH_BYTES_MAX])
{
	size_t pos = PATH_BYTES_MAX - 1;

	out[pos] = '\0';
	for (; n != top; n = n->parent) {
		if (n->name_len + 1 > pos)
			return -ENAMETOOLONG;
		if (out[pos])
			out[--pos] = '/';
		pos -= n->name_len;
		memcpy(out + pos, n->name, n->name_len);
	}
	memmove(out, out + pos, PATH_BYTES_MAX - pos);
	return 0;
}

int scan_folder(struct tree *t, struct tree_node *into, int dirfd, const char *name, bool replace,
		struct digest *d, struct notes *notes, struct image_error *err)
{
	struct scan s = {
		.tree = t, .name = name, .replace = replace, .digest = d, .notes = notes, .err = err
	};
	char *path = malloc(PATH_BYTES_MAX);
	int r = tree_add_host(t, dirfd, &s.host);

	if (err)
		err->text[0] = '\0';
	if (r == 0)
		r = path ? hmap_init(&s.links, 64) : -ENOMEM;
	if (r < 0) {
		free(path);
		return image_fail(err, ENOMEM, "out of memory");
	}
	hash_key_random(&s.key);
	/* Folders are read as the walk comes to them; their entries join it. */
	for (struct tree_node *n = into; n && r == 0; n = tree_next(into, n)) {
		if (!tree_is_dir(n))
			continue;
		r = path_below(into, n, path);
		if (r == 0)
			r = scan_level(&s, n, path);
		/* One that was here before and is not on the host: nothing to add. */
		if ((r == -ENOENT || r == -ENOTDIR) && n != into)
			r = 0;
	}
	links_fini(&s);
	free(path);
	if (r < 0 && err && !err->text[0])
		image_fail_sys(err, -r, "cannot read the folder %s", name);
	return r;
}

void scan_give_to_root(struct tree *t, struct notes *notes)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid == 0)
		return;
	for (struct tree_node *n = t->root; n; n = tree_next(t->root, n))
		if (n->inode->uid == 0)
			return;
	for (struct tree_node *n = t->root; n; n = tree_next(t->root, n)) {
		if (n->inode->uid == uid)
			n->inode->uid = 0;
		if (n->inode->gid == gid)
			n->inode->gid = 0;
	}
	notes_add(notes, "everything belonged to you: it is root's in the guest");
}
