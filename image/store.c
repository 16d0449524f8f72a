/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Things of the store: DIR/FOLDER/KEY.SUFFIX with a record KEY.json beside it.
 *
 * A thing is made in a file without a name, synced, and given its name by a link, record
 * first: whatever is killed when, a name stands for whole content or is not there. The file is
 * made in the folder it will be named in: a process behind Landlock may not link across folders.
 * Makers of one thing wait for each other on one of 256 lock files (by the key's first two
 * digits: a bounded number that never has to be removed). A reader takes no lock: it
 * opens the thing, and what it has open stays whole even when the name is taken away.
 *
 * The folder is the user's own (checked at opening), so names in it are not hostile; but
 * disks fill up and machines stop, so size and kind are checked at every use.
 */
#include "image/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

/* A change of how things are made makes new names. */
#define STORE_FORMAT 2

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
	int r = scratch_open(dirfd, s->dir, &fd, err);

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
	r = scratch_open(dirfd, s->dir, &fd, err);
	if (r == 0)
		r = maker->make(maker->ctx, fd, record, err);
	/* For all to read who get into the folder, which is the user's: QEMU runs as nobody. */
	if (r == 0 && (fsync(fd) < 0 || fchmod(fd, 0444) < 0 || fstat(fd, &st) < 0))
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
