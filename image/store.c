/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: DIR/FOLDER/KEY.SUFFIX with a record KEY.json beside it.
 *
 * A thing is made in a file without a name, synced, and given its name by a link, record
 * first: whatever is killed when, a name stands for whole content or is not there.
 * Makers of one thing wait for each other on one of 256 lock files (by the key's first two
 * digits: a bounded number that never has to be removed). A reader takes no lock: it
 * opens the thing, and what it has open stays whole even when the name is taken away.
 *
 * The folder is the user's own (checked at opening), so names in it are not hostile; but
 * disks fill up and machines stop, so size and kind are checked at every use.
 */
#include "image/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* A change of how things are made makes new names. */
#define STORE_FORMAT 1

struct image_store {
	char *dir;
	int fd;
};

static const char *const folders[] = { "kernel", "boot", "root" };

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

int scratch_open(const char *dir, int *ret_fd, struct image_error *err)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

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
	cleanup_free char *tmp = NULL;

	if (asprintf(&tmp, "%s/tmp", s->dir) < 0) {
		tmp = NULL;
		return image_fail(err, ENOMEM, "out of memory");
	}
	return scratch_open(tmp, ret_fd, err);
}

int image_layer_open(const char *dir, uint64_t size, int *ret_fd, struct image_error *err)
{
	cleanup_close int fd = -1;
	int r = scratch_open(dir, &fd, err);

	if (r < 0)
		return r;
	if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0)
		return image_fail_sys(err, size > INT64_MAX ? EFBIG : errno,
				      "cannot make a file of %llu bytes in %s",
				      (unsigned long long)size, dir);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The file gets its name, in place of another of that name. */
static int give_name(int fd, int dirfd, const char *name)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	return linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* ---- keys ---- */

bool stat_is_fresh(const struct stat *st)
{
	uint64_t changed = (uint64_t)st->st_ctim.tv_sec * NS_PER_S + (uint64_t)st->st_ctim.tv_nsec;

	return changed + 2 * NS_PER_S > time_real_ns();
}

int digest_add_file(struct digest *d, int fd, const struct stat *st)
{
	struct stream_file *f;
	const uint8_t *p;
	size_t n;
	int r;

	if (!S_ISREG(st->st_mode) || !stat_is_fresh(st)) {
		digest_add_u64(d, st->st_dev);
		digest_add_u64(d, st->st_ino);
		digest_add_u64(d, (uint64_t)st->st_ctim.tv_sec);
		digest_add_u64(d, (uint64_t)st->st_ctim.tv_nsec);
		digest_add_u64(d, (uint64_t)st->st_size);
		return 0;
	}
	digest_add_str(d, "content");
	digest_add_u64(d, (uint64_t)st->st_size);
	f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	stream_file_init(f, fd, 0, (uint64_t)st->st_size);
	do {
		r = stream_next(&f->s, &p, &n);
		if (r == 0)
			digest_add(d, p, n);
	} while (r == 0 && n);
	free(f);
	return r;
}

/* ---- getting and making ---- */

void store_item_fini(struct store_item *item)
{
	fd_close(item->fd);
	free(item->path);
	if (item->record)
		json_decref(item->record);
	*item = (struct store_item){ .fd = -1 };
}

/* 1: there and whole; 0: to be made. */
static int look(int dirfd, const char *name, const char *record_name,
		const struct store_maker *maker, struct store_item *item)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int record_fd = openat(dirfd, record_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	json_t *record, *size;
	struct stat st;

	if (fd < 0 || record_fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	record = json_loadfd(record_fd, JSON_REJECT_DUPLICATES, NULL);
	if (!record)
		return 0;
	size = json_object_get(record, "size");
	if (!json_is_integer(size) || json_integer_value(size) != st.st_size ||
	    (maker->check && !maker->check(fd, (uint64_t)st.st_size))) {
		json_decref(record);
		return 0;
	}
	/* When it was used last, for pruning; a read-only store is as good. */
	(void)futimens(fd, NULL);
	(void)futimens(record_fd, NULL);
	item->fd = steal_fd(&fd);
	item->size = (uint64_t)st.st_size;
	item->record = record;
	return 1;
}

static int write_record(struct image_store *s, int dirfd, const char *name, json_t *record,
			struct image_error *err)
{
	cleanup_close int fd = -1;
	int r = store_scratch(s, &fd, err);

	if (r < 0)
		return r;
	if (json_dumpfd(record, fd, JSON_INDENT(1) | JSON_SORT_KEYS) < 0 || fsync(fd) < 0)
		return image_fail_sys(err, EIO, "cannot write %s", name);
	r = give_name(fd, dirfd, name);
	return r < 0 ? image_fail_sys(err, -r, "cannot name %s in %s", name, s->dir) : 0;
}

static int make(struct image_store *s, int dirfd, const char *name, const char *record_name,
		const struct store_maker *maker, struct image_error *err)
{
	cleanup_close int fd = -1;
	json_t *record = json_object();
	struct stat st;
	int r;

	if (!record)
		return image_fail(err, ENOMEM, "out of memory");
	r = store_scratch(s, &fd, err);
	if (r == 0)
		r = maker->make(maker->ctx, fd, record, err);
	if (r == 0 && (fsync(fd) < 0 || fchmod(fd, 0400) < 0 || fstat(fd, &st) < 0))
		r = image_fail_sys(err, errno, "cannot keep %s/%s", s->dir, name);
	if (r == 0 && json_object_set_new(record, "size", json_integer(st.st_size)) < 0)
		r = image_fail(err, ENOMEM, "out of memory");
	/* What is broken goes before its record is replaced: never old content under a new record. */
	if (r == 0 && unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		r = image_fail_sys(err, errno, "cannot replace %s/%s", s->dir, name);
	if (r == 0)
		r = write_record(s, dirfd, record_name, record, err);
	if (r == 0) {
		r = give_name(fd, dirfd, name);
		if (r < 0)
			r = image_fail_sys(err, -r, "cannot name %s in %s", name, s->dir);
	}
	json_decref(record);
	return r;
}

static int lock(struct image_store *s, const char *key, int *ret_fd, struct image_error *err)
{
	char name[16];
	cleanup_close int fd = -1;
	int r;

	snprintf(name, sizeof(name), "lock/%.2s", key);
	fd = openat(s->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return image_fail_sys(err, errno, "cannot open %s/%s", s->dir, name);
	do {
		r = flock(fd, LOCK_EX);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return image_fail_sys(err, errno, "cannot lock %s/%s", s->dir, name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int store_get(struct image_store *s, const char *folder, const char key[static DIGEST_HEX],
	      const char *suffix, const struct store_maker *maker, struct store_item *ret,
	      struct image_error *err)
{
	struct store_item item = { .fd = -1, .reused = true };
	cleanup_close int dirfd = -1, lock_fd = -1;
	char name[DIGEST_HEX + 24], record_name[DIGEST_HEX + 24];
	int r;

	snprintf(name, sizeof(name), "%s-%d%s", key, STORE_FORMAT, suffix);
	snprintf(record_name, sizeof(record_name), "%s-%d%s.json", key, STORE_FORMAT, suffix);
	dirfd = openat(s->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return image_fail_sys(err, errno, "cannot open %s/%s", s->dir, folder);
	if (!look(dirfd, name, record_name, maker, &item)) {
		r = lock(s, key, &lock_fd, err);
		if (r < 0)
			return r;
		if (!look(dirfd, name, record_name, maker, &item)) {
			r = make(s, dirfd, name, record_name, maker, err);
			if (r < 0)
				return r;
			if (!look(dirfd, name, record_name, maker, &item))
				return image_fail(err, EIO,
						  "%s/%s/%s is broken right after it was made",
						  s->dir, folder, name);
			item.reused = false;
		}
	}
	if (asprintf(&item.path, "%s/%s/%s", s->dir, folder, name) < 0) {
		item.path = NULL;
		store_item_fini(&item);
		return image_fail(err, ENOMEM, "out of memory");
	}
	*ret = item;
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
