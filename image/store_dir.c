/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store as a folder: opening it, files without a name, what it takes up. Things in it are
 * store.c's. No byte of anybody's file is looked at here, so weir's own process has this, too.
 */
#include "image/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const char *const folders[] = { "kernel", "boot", "root", "archive" };

/* ---- opening ---- */

static int default_dir(char **ret, struct image_error *err)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	/* XDG base directories: a relative path is to be ignored. */
	if (base && base[0] == '/')
		n = asprintf(ret, "%s/weir", base);
	else if (home && home[0] == '/')
		n = asprintf(ret, "%s/.cache/weir", home);
	else
		return image_fail(err, ENOENT,
				  "no place for kernels and images: set XDG_CACHE_HOME or HOME");
	return n < 0 ? -ENOMEM : 0;
}

/* mkdir -p, 0700 for what is new. */
static int make_dirs(char *path, struct image_error *err)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return image_fail_sys(err, errno, "cannot make the folder %s", path);
		*p = c;
		if (c == '\0')
			return 0;
	}
}

static int make_inside(int dirfd, const char *dir, const char *name, struct image_error *err)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return image_fail_sys(err, errno, "cannot make the folder %s/%s", dir, name);
	return 0;
}

int image_store_open(const char *dir, struct image_store **ret, struct image_error *err)
{
	struct image_store *s = calloc(1, sizeof(*s));
	struct stat st;
	int r = 0;

	if (!s)
		return image_fail(err, ENOMEM, "out of memory");
	s->fd = -1;
	if (dir)
		s->dir = strdup(dir);
	else
		r = default_dir(&s->dir, err);
	if (r == 0 && (!s->dir || s->dir[0] != '/'))
		r = image_fail(err, EINVAL, "the store %s is not an absolute path",
			       s->dir ? s->dir : "");
	if (r == 0)
		r = make_dirs(s->dir, err);
	if (r == 0) {
		s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (s->fd < 0 || fstat(s->fd, &st) < 0)
			r = image_fail_sys(err, errno, "cannot open %s", s->dir);
		else if (st.st_uid != geteuid() || (st.st_mode & 022))
			r = image_fail(err, EPERM,
				       "%s belongs to someone else or others may write to it: "
				       "chown and chmod 700 it, or set XDG_CACHE_HOME",
				       s->dir);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++)
		r = make_inside(s->fd, s->dir, folders[i], err);
	if (r == 0)
		r = make_inside(s->fd, s->dir, "lock", err);
	if (r == 0)
		r = make_inside(s->fd, s->dir, "tmp", err);
	if (r < 0) {
		image_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void image_store_free(struct image_store *s)
{
	if (!s)
		return;
	fd_close(s->fd);
	free(s->dir);
	free(s);
}

const char *image_store_dir(const struct image_store *s)
{
	return s->dir;
}

/* ---- files without a name ---- */

int scratch_open(int dirfd, const char *dir, int *ret_fd, struct image_error *err)
{
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return image_fail(err, ENOTSUP,
				  "the file system of %s has no files without a name (O_TMPFILE): "
				  "choose a folder on ext4, xfs, btrfs or tmpfs",
				  dir);
	if (fd < 0)
		return image_fail_sys(err, errno, "cannot write in %s", dir);
	*ret_fd = fd;
	return 0;
}

int store_scratch(struct image_store *s, int *ret_fd, struct image_error *err)
{
	cleanup_close int dirfd = openat(s->fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dirfd < 0 ? image_fail_sys(err, errno, "cannot open %s/tmp", s->dir)
			 : scratch_open(dirfd, s->dir, ret_fd, err);
}

int image_layer_open(struct image_store *s, uint64_t size, int *ret_fd, struct image_error *err)
{
	cleanup_close int fd = -1;
	int r = store_scratch(s, &fd, err);

	if (r < 0)
		return r;
	if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0)
		return image_fail_sys(err, size > INT64_MAX ? EFBIG : errno,
				      "cannot make a file of %llu bytes in %s",
				      (unsigned long long)size, s->dir);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---- what another process put there ---- */

/* As store_get() makes them: letters and digits of its own. */
static bool name_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.");

	return n && n < 128 && !name[n] && name[0] != '.';
}

int image_store_take(const struct image_store *s, const char *folder, const char *name, int *ret_fd,
		     uint64_t *ret_size, char **ret_path, struct image_error *err)
{
	cleanup_close int dirfd = openat(s->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = -1;
	struct stat st;
	char *path;

	if (dirfd < 0)
		return image_fail_sys(err, errno, "cannot open %s/%s", s->dir, folder);
	if (!name_ok(name))
		return image_fail(err, EPROTO, "no name of the store's");
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot open %s/%s/%s", s->dir, folder, name);
	/* One name: what the user has elsewhere is not linked into the store. */
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 ||
	    (st.st_mode & 0222) || st.st_size <= 0)
		return image_fail(err, EPROTO, "%s/%s/%s is not as the store makes its files",
				  s->dir, folder, name);
	if (asprintf(&path, "%s/%s/%s", s->dir, folder, name) < 0)
		return image_fail(err, ENOMEM, "out of memory");
	*ret_fd = steal_fd(&fd);
	*ret_size = (uint64_t)st.st_size;
	*ret_path = path;
	return 0;
}

/* ---- size ---- */

struct kept {
	char *name; /* FOLDER/NAME */
	struct timespec used;
	uint64_t bytes;
};

struct kept_list {
	struct kept *list;
	size_t n;
	uint64_t bytes;
};

static void kept_fini(struct kept_list *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->list[i].name);
	free(k->list);
}

static int kept_add(struct kept_list *k, const char *folder, const char *name, const struct stat *st)
{
	struct kept *list = realloc(k->list, (k->n + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	k->list = list;
	if (asprintf(&list[k->n].name, "%s/%s", folder, name) < 0)
		return -ENOMEM;
	list[k->n].used = st->st_mtim;
	list[k->n].bytes = (uint64_t)st->st_blocks * 512;
	k->bytes += list[k->n++].bytes;
	return 0;
}

static int kept_read(const struct image_store *s, struct kept_list *ret)
{
	struct stat st;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++) {
		int fd = openat(s->fd, folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *e;

		if (!d) {
			fd_close(fd);
			return -errno;
		}
		while (r == 0 && (e = readdir(d)))
			if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			    S_ISREG(st.st_mode))
				r = kept_add(ret, folders[i], e->d_name, &st);
		closedir(d);
	}
	return r;
}

int image_store_usage(const struct image_store *s, uint64_t *ret_bytes, size_t *ret_files)
{
	struct kept_list k = { 0 };
	int r = kept_read(s, &k);

	if (r == 0) {
		*ret_bytes = k.bytes;
		*ret_files = k.n;
	}
	kept_fini(&k);
	return r;
}

static int by_use(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

int image_store_prune(struct image_store *s, uint64_t keep, uint64_t *ret_freed,
		      struct image_error *err)
{
	struct kept_list k = { 0 };
	uint64_t left, freed = 0;
	int r = kept_read(s, &k);

	if (r < 0)
		r = image_fail_sys(err, -r, "cannot read %s", s->dir);
	left = k.bytes;
	if (r == 0 && k.n)
		qsort(k.list, k.n, sizeof(*k.list), by_use);
	for (size_t i = 0; r == 0 && i < k.n && left > keep; i++) {
		if (unlinkat(s->fd, k.list[i].name, 0) < 0 && errno != ENOENT) {
			r = image_fail_sys(err, errno, "cannot remove %s/%s", s->dir, k.list[i].name);
			break;
		}
		left -= k.list[i].bytes;
		freed += k.list[i].bytes;
	}
	if (r == 0)
		*ret_freed = freed;
	kept_fini(&k);
	return r;
}
