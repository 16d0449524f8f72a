/* SPDX-License-Identifier: Apache-2.0 */
/* Trees as ext4: what was put in is read back by libext2fs, e2fsck finds no fault, equal trees are equal bytes. */
#include "tests/unit/image/image_rig.h"

#include "image/ext4.h"
#include "image/store.h"

#include <ext2fs/ext2fs.h>

#define SEED "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define BIG_NAMES 3000

static struct tree_node *add(struct tree *t, const char *path, struct tree_inode *i)
{
	struct tree_place place;
	struct tree_node *n;

	assert_int_equal(tree_walk(t, path, strlen(path), TREE_MAKE_DIRS, 0, &place), 0);
	assert_int_equal(tree_add(t, place.dir, place.name, place.name_len, i, &n), 0);
	return n;
}

static struct tree_inode *inode(uint32_t mode, const void *p, size_t len)
{
	struct tree_inode *i = tree_inode_new(mode);

	if (S_ISREG(mode))
		assert_int_equal(tree_inode_set_bytes(i, p, len), 0);
	if (S_ISLNK(mode))
		assert_int_equal(tree_inode_set_text(i, p, len), 0);
	return i;
}

/* A megabyte with a hole in the middle, ending inside a block. */
static uint8_t *sparse_bytes(size_t *ret_len)
{
	size_t len = (1 << 20) + 100;
	uint8_t *p = calloc(1, len);

	for (size_t i = 0; i < 10000; i++)
		p[i] = (uint8_t)(i * 7 + 1);
	memset(p + len - 200, 'z', 200);
	*ret_len = len;
	return p;
}

static struct tree *make_tree(void)
{
	char target[TARGET_MAX], name[64];
	struct tree_inode *i, *shared;
	struct tree *t;
	size_t len;
	uint8_t *p = sparse_bytes(&len);

	assert_int_equal(tree_new(&t), 0);
	shared = inode(S_IFREG | 04755, "hello", 5);
	shared->uid = 70000;
	shared->gid = 80000;
	shared->mtime = INT64_C(5000000000);
	shared->mtime_nsec = 123456789;
	add(t, "/bin/one", shared);
	add(t, "/two", shared);
	add(t, "/empty", inode(S_IFREG | 0600, "", 0));
	add(t, "/sparse", inode(S_IFREG | 0644, p, len));
	free(p);
	memset(target, 'x', sizeof(target));
	add(t, "/short", inode(S_IFLNK | 0777, "bin/one", 7));
	add(t, "/long", inode(S_IFLNK | 0777, target, sizeof(target)));
	add(t, "/pipe", inode(S_IFIFO | 0644, NULL, 0));
	i = inode(S_IFBLK | 0660, NULL, 0);
	i->major = 259;
	i->minor = 70000;
	add(t, "/disk", i);
	i = inode(S_IFREG | 0644, "x", 1);
	assert_int_equal(tree_inode_set_xattr(i, "user.small", "value", 5), 0);
	memset(target, 'y', sizeof(target));
	assert_int_equal(tree_inode_set_xattr(i, "user.large", target, 3000), 0);
	assert_int_equal(tree_inode_set_xattr(i, "user.more", target, 3000), -ENOSPC);
	add(t, "/attributes", i);
	for (int k = 0; k < BIG_NAMES; k++) {
		snprintf(name, sizeof(name), "/many/a-name-of-some-length-%d", k);
		add(t, name, k % 100 ? inode(S_IFREG | 0644, "", 0) : inode(S_IFDIR | 0711, NULL, 0));
	}
	return t;
}

static int make_image(const char *dir, int *ret_fd)
{
	struct tree *t = make_tree();
	struct image_error err;
	int fd, r;

	assert_int_equal(rig_scratch(dir, &fd), 0);
	r = ext4_write(fd, t, 1 << 20, SEED, &err);
	if (r < 0)
		print_error("%s\n", err.text);
	tree_free(t);
	*ret_fd = fd;
	return r;
}

static ext2_ino_t find(ext2_filsys fs, const char *path)
{
	ext2_ino_t ino;

	if (ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino))
		fail_msg("%s is not there", path);
	return ino;
}

static void check_content(ext2_filsys fs, const char *path, const void *want, size_t len)
{
	uint8_t *got = malloc(len + 1);
	ext2_file_t f;
	unsigned n;

	assert_int_equal(ext2fs_file_open(fs, find(fs, path), 0, &f), 0);
	assert_int_equal(ext2fs_file_read(f, got, (unsigned)len + 1, &n), 0);
	assert_int_equal(n, len);
	assert_memory_equal(got, want, len);
	ext2fs_file_close(f);
	free(got);
}

static void check_attributes(ext2_filsys fs)
{
	struct ext2_xattr_handle *h;
	size_t len, n;
	void *value;

	assert_int_equal(ext2fs_xattrs_open(fs, find(fs, "/attributes"), &h), 0);
	assert_int_equal(ext2fs_xattrs_read(h), 0);
	assert_int_equal(ext2fs_xattrs_count(h, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(ext2fs_xattr_get(h, "user.small", &value, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(value, "value", 5);
	ext2fs_free_mem(&value);
	assert_int_equal(ext2fs_xattr_get(h, "user.large", &value, &len), 0);
	assert_int_equal(len, 3000);
	ext2fs_free_mem(&value);
	ext2fs_xattrs_close(&h);
}

static void test_round_trip(void **state)
{
	char *dir = rig_dir(), path[64], name[64];
	struct ext2_inode_large large;
	struct ext2_inode *small = (struct ext2_inode *)(void *)&large;
	ext2_filsys fs;
	uint8_t *p;
	size_t len;
	int fd, r;

	(void)state;
	assert_int_equal(make_image(dir, &fd), 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	r = rig_fsck(path);
	assert_true(r == 0 || r == -1);
	assert_int_equal(ext2fs_open(path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);

	assert_int_equal(find(fs, "/bin/one"), find(fs, "/two"));
	assert_int_equal(ext2fs_read_inode_full(fs, find(fs, "/two"), small, sizeof(large)), 0);
	assert_int_equal(large.i_mode, S_IFREG | 04755);
	assert_int_equal(large.i_links_count, 2);
	assert_int_equal(inode_uid(large), 70000);
	assert_int_equal(inode_gid(large), 80000);
	assert_int_equal(large.i_mtime, (uint32_t)INT64_C(5000000000));
	assert_int_equal(large.i_mtime_extra, 123456789u << 2 | 1);
	check_content(fs, "/bin/one", "hello", 5);
	check_content(fs, "/empty", "", 0);
	p = sparse_bytes(&len);
	check_content(fs, "/sparse", p, len);
	free(p);
	/* Holes take no room. */
	assert_int_equal(ext2fs_read_inode(fs, find(fs, "/sparse"), small), 0);
	assert_true(small->i_blocks < len / 512);
	assert_int_equal(ext2fs_read_inode(fs, find(fs, "/disk"), small), 0);
	assert_int_equal(small->i_block[0], 0);
	assert_int_equal(small->i_block[1], (70000 & 0xff) | 259 << 8 | (70000 & ~0xff) << 12);
	assert_int_equal(ext2fs_read_inode(fs, find(fs, "/many"), small), 0);
	assert_int_equal(small->i_links_count, 2 + BIG_NAMES / 100);
	snprintf(name, sizeof(name), "/many/a-name-of-some-length-%d", BIG_NAMES - 1);
	find(fs, name);
	find(fs, "/lost+found");
	check_attributes(fs);
	ext2fs_close_free(&fs);
	close(fd);
	rig_remove(dir);
	free(dir);
}

static void file_digest(int fd, char ret[static DIGEST_HEX])
{
	struct stream_file *f = malloc(sizeof(*f));
	struct stream_digest d;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	stream_file_init(f, fd, 0, (uint64_t)st.st_size);
	assert_int_equal(stream_digest_init(&d, &f->s, UINT64_MAX), 0);
	assert_int_equal(stream_drain(&d.s), 0);
	digest_end(&d.digest, ret);
	free(f);
}

static void test_equal(void **state)
{
	char *dir = rig_dir(), a[DIGEST_HEX], b[DIGEST_HEX];
	int one, two;

	(void)state;
	assert_int_equal(make_image(dir, &one), 0);
	assert_int_equal(make_image(dir, &two), 0);
	file_digest(one, a);
	file_digest(two, b);
	assert_string_equal(a, b);
	close(one);
	close(two);
	rig_remove(dir);
	free(dir);
}

static void test_probe(void **state)
{
	char *dir = rig_dir();
	enum image_fs fs;
	uint64_t size;
	struct stat st;
	uint8_t byte;
	int fd;

	(void)state;
	assert_int_equal(make_image(dir, &fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(fs_probe(fd, &fs, &size), 0);
	assert_int_equal(fs, IMAGE_EXT4);
	assert_int_equal(size, st.st_size);
	assert_true(ext4_check(fd, size));
	/* Cut off, or with a superblock that is not what was written. */
	assert_false(ext4_check(fd, size - 512));
	assert_int_equal(pread(fd, &byte, 1, 1024 + 0x78), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 1024 + 0x78), 1);
	assert_int_equal(fs_probe(fd, &fs, &size), -EMEDIUMTYPE);
	close(fd);
	rig_remove(dir);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
