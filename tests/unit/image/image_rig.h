/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the image tests: folders that go away, tar archives, container images, checks by e2fsck. */
#ifndef WEIR_TEST_IMAGE_RIG_H
#define WEIR_TEST_IMAGE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "image/bundle.h"
#include "image/tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- folders ---- */

static int rig_remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static inline void rig_remove(const char *dir)
{
	nftw(dir, rig_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline char *rig_dir(void)
{
	char *dir = strdup("/tmp/weir-image-XXXXXX");

	assert_non_null(mkdtemp(dir));
	return dir;
}

static inline char *rig_path(const char *dir, const char *name)
{
	char *s;

	assert_true(asprintf(&s, "%s/%s", dir, name) > 0);
	return s;
}

static inline void rig_write(const char *dir, const char *name, const void *p, size_t len)
{
	char *path = rig_path(dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, p, len), 0);
	close(fd);
	free(path);
}

static inline int rig_scratch(const char *dir, int *ret_fd)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	*ret_fd = fd;
	return fd < 0 ? -errno : 0;
}

static inline struct image_store *rig_store(const char *dir)
{
	char *path = rig_path(dir, "store");
	struct image_store *s;
	struct image_error err;

	if (image_store_open(path, &s, &err) < 0)
		fail_msg("%s", err.text);
	free(path);
	return s;
}

/* ---- tar ---- */

/* One entry as ustar, whatever the name: hostile ones, too. */
static inline void rig_tar_add(struct buf *b, const char *name, char type, const char *link,
			       const void *p, size_t len)
{
	uint8_t h[512] = { 0 }, zero[512] = { 0 };
	unsigned sum = 0;

	assert_true(strlen(name) <= 100);
	memcpy(h, name, strlen(name));
	snprintf((char *)h + 100, 8, "%07o", type == '5' ? 0755u : 0644u);
	snprintf((char *)h + 108, 8, "%07o", 7u);
	snprintf((char *)h + 116, 8, "%07o", 8u);
	snprintf((char *)h + 124, 12, "%011o", (unsigned)len);
	snprintf((char *)h + 136, 12, "%011o", 1700000000u);
	h[156] = (uint8_t)type;
	if (link)
		memcpy(h + 157, link, strlen(link));
	memcpy(h + 257, "ustar", 6);
	memcpy(h + 263, "00", 2);
	if (type == '3' || type == '4') {
		snprintf((char *)h + 329, 8, "%07o", 1u);
		snprintf((char *)h + 337, 8, "%07o", 3u);
	}
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	assert_int_equal(buf_append(b, h, sizeof(h)), 0);
	assert_int_equal(buf_append(b, p, len), 0);
	assert_int_equal(buf_append(b, zero, (512 - len % 512) % 512), 0);
}

static inline void rig_tar_file(struct buf *b, const char *name, const char *text)
{
	rig_tar_add(b, name, '0', NULL, text, strlen(text));
}

static inline void rig_tar_end(struct buf *b)
{
	uint8_t zero[1024] = { 0 };

	assert_int_equal(buf_append(b, zero, sizeof(zero)), 0);
}

/* ---- digests ---- */

static inline void rig_digest(const struct buf *b, char ret[static DIGEST_HEX])
{
	struct digest d;

	assert_int_equal(digest_init(&d), 0);
	digest_add(&d, buf_at(b), b->len);
	digest_end(&d, ret);
}

/* ---- looking into trees and images ---- */

static inline struct tree_node *rig_find(struct tree *t, const char *path)
{
	struct tree_place place;

	return tree_walk(t, path, strlen(path), 0, 0, &place) == 0 ? place.node : NULL;
}

/* Content of a file of the tree as text; "" when it is not there. */
static inline const char *rig_content(struct tree *t, const char *path, struct buf *b)
{
	struct tree_reader *reader = malloc(sizeof(*reader));
	struct tree_node *n = rig_find(t, path);

	buf_reset(b);
	if (n && S_ISREG(n->inode->mode)) {
		assert_int_equal(tree_reader_open(t, n->inode, reader), 0);
		assert_int_equal(stream_read_all(reader->s, b), 0);
		tree_reader_close(reader);
	}
	free(reader);
	return buf_str(b);
}

/* What e2fsck -fn says: 0 is a file system without a fault. -1: there is no e2fsck. */
static inline int rig_fsck(const char *path)
{
	char *argv[] = { "e2fsck", "-fn", (char *)(uintptr_t)path, NULL };
	posix_spawn_file_actions_t fa;
	int status;
	pid_t pid;

	if (access("/sbin/e2fsck", X_OK) < 0)
		return -1;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawn(&pid, "/sbin/e2fsck", &fa, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&fa);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

#endif
