/* SPDX-License-Identifier: Apache-2.0 */
/* The store from inside: something is looked up by key, and made under a lock when it is not there. */
#ifndef WEIR_IMAGE_STORE_H
#define WEIR_IMAGE_STORE_H

#include "image/stream.h"

#include <jansson.h>

struct image_store {
	char *dir;
	int fd;
};

/* One thing of the store, open for reading. */
struct store_item {
	int fd;
	char *path;
	uint64_t size;
	bool reused;
	json_t *record; /* what make() noted; never NULL */
};

/*
 * How a thing is made: fd is a new empty file, opened for reading and writing; record an
 * empty object that takes what has to be known later. Returns 0, or an error with its text in err.
 */
struct store_maker {
	int (*make)(void *ctx, int fd, json_t *record, struct image_error *err);
	/* May be NULL: what is in the store fits its record; is it still what it should be? */
	bool (*check)(int fd, uint64_t size);
	void *ctx;
};

/*
 * folder: "kernel", "boot", "root", "archive"; suffix: ".elf", ".cpio", ".ext4". What is there but does not
 * fit its record is made again.
 */
must_check int store_get(struct image_store *s, const char *folder, const char key[static DIGEST_HEX],
			 const char *suffix, const struct store_maker *maker,
			 struct store_item *ret, struct image_error *err);
void store_item_fini(struct store_item *item);

/* A file for scratch data in the store's tmp that has no name. */
must_check int store_scratch(struct image_store *s, int *ret_fd, struct image_error *err);
/* The same in any folder; dir is what errors call it. */
must_check int scratch_open(int dirfd, const char *dir, int *ret_fd, struct image_error *err);

/*
 * Puts what tells one state of a file from another into a key: device, inode, size and times,
 * or the content where the times are too fresh to tell (written within the last two seconds).
 */
must_check int digest_add_file(struct digest *d, int fd, const struct stat *st);
/* True: a change in this very moment would not be seen by the times. */
bool stat_is_fresh(const struct stat *st);

#endif
