/* SPDX-License-Identifier: Apache-2.0 */
/* Container archives from file to root file system: both kinds, packed and not; what is changed, missing or ambiguous is refused. */
#include "tests/unit/image/archive_rig.h"

#include "image/ext4.h"

#include <ext2fs/ext2fs.h>

enum kind { DOCKER, OCI };

struct rig {
	char *dir, *file;
	struct image_store *store;
	struct image_error err;
};

static void setup(struct rig *r)
{
	r->dir = rig_dir();
	r->store = rig_store(r->dir);
	r->file = rig_path(r->dir, "image.tar");
}

static void teardown(struct rig *r)
{
	image_store_free(r->store);
	rig_remove(r->dir);
	free(r->dir);
	free(r->file);
}

static void write_archive(struct rig *r, enum kind kind, const struct rig_archive *how)
{
	struct buf layers[2] = { BUF_INIT(1 << 20), BUF_INIT(1 << 20) };
	struct buf out = BUF_INIT(1 << 22), packed = BUF_INIT(1 << 22);

	rig_tar_add(&layers[0], "bin/", '5', NULL, NULL, 0);
	rig_tar_file(&layers[0], "bin/sh", "shell");
	rig_tar_file(&layers[0], "etc/old", "old");
	rig_tar_end(&layers[0]);
	rig_tar_file(&layers[1], "etc/.wh.old", "");
	rig_tar_file(&layers[1], "etc/new", "new");
	rig_tar_end(&layers[1]);
	if (kind == DOCKER)
		rig_docker(how, layers, 2, &out);
	else
		rig_oci(how, layers, 2, &out);
	if (how->gzip_all)
		rig_gzip(&out, &packed);
	rig_write(r->dir, "image.tar", buf_at(how->gzip_all ? &packed : &out),
		  how->gzip_all ? packed.len : out.len);
	buf_fini(&layers[0]);
	buf_fini(&layers[1]);
	buf_fini(&out);
	buf_fini(&packed);
}

static int open_root(struct rig *r, const char *reference, struct image_root *ret)
{
	struct image_root_options o = { .archive = r->file,
					.reference = reference,
					.free_bytes = 1 << 20 };

	r->err.text[0] = '\0';
	return image_root_open(r->store, &o, ret, &r->err);
}

static void check_root(const struct image_root *root)
{
	ext2_filsys fs;
	ext2_ino_t ino;
	int r = rig_fsck(root->path);

	assert_true(r == 0 || r == -1);
	assert_int_equal(ext2fs_open(root->path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
	assert_int_equal(ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, "/bin/sh", &ino), 0);
	assert_int_equal(ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, "/etc/new", &ino), 0);
	assert_int_equal(ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, "/proc", &ino), 0);
	assert_int_not_equal(ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, "/etc/old", &ino), 0);
	ext2fs_close_free(&fs);
}

/* i06: docker's and OCI's, packed or not, are one image. */
static void test_good(void **state)
{
	static const struct {
		enum kind kind;
		struct rig_archive how;
	} all[] = {
		{ DOCKER, { 0 } },
		{ DOCKER, { .gzip_all = true } },
		{ OCI, { 0 } },
		{ OCI, { .gzip = true } },
		{ OCI, { .gzip = true, .gzip_all = true, .other_platform = true } },
	};
	struct image_root root;
	struct rig r;

	(void)state;
	setup(&r);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		write_archive(&r, all[i].kind, &all[i].how);
		if (open_root(&r, NULL, &root) < 0)
			fail_msg("archive %zu: %s", i, r.err.text);
		/* One configuration, one image, however it came. */
		assert_int_equal(root.reused, i > 0);
		check_root(&root);
		assert_string_equal(root.config.env[0], "A=b");
		assert_string_equal(root.config.env[1], "PATH=/bin");
		assert_null(root.config.env[2]);
		assert_string_equal(root.config.entrypoint[0], "/bin/sh");
		assert_string_equal(root.config.cmd[1], "id");
		assert_string_equal(root.config.working_dir, "/w");
		assert_string_equal(root.config.user, "1:2");
		assert_string_equal(root.config.stop_signal, "SIGINT");
		image_root_fini(&root);
	}
	teardown(&r);
}

static void test_names(void **state)
{
	static const struct rig_archive how;
	struct image_root root;
	struct rig r;

	(void)state;
	setup(&r);
	write_archive(&r, DOCKER, &how);
	assert_int_equal(open_root(&r, "x", &root), 0);
	image_root_fini(&root);
	assert_int_equal(open_root(&r, "x:1", &root), 0);
	image_root_fini(&root);
	assert_int_equal(open_root(&r, "y", &root), -ENOENT);
	write_archive(&r, OCI, &how);
	assert_int_equal(open_root(&r, "x", &root), 0);
	image_root_fini(&root);
	assert_int_equal(open_root(&r, "x:2", &root), -ENOENT);
	teardown(&r);
}

/* i06: what digests and diff_ids do not vouch for is refused. */
static void test_bad(void **state)
{
	static const struct {
		enum kind kind;
		struct rig_archive how;
		const char *why;
	} all[] = {
		{ DOCKER, { .change_layer = true }, "layer 2 is damaged or changed: its diff_id" },
		{ OCI, { .change_layer = true }, "layer 2 is damaged or changed: its digest" },
		{ OCI, { .change_layer = true, .gzip = true }, "layer 2" },
		{ DOCKER, { .wrong_count = true }, "disagree" },
		{ OCI, { .wrong_count = true }, "disagree" },
		{ DOCKER, { .drop = "1/layer.tar" }, "a layer is missing" },
		{ DOCKER, { .drop = "manifest" }, "neither manifest.json" },
		{ OCI, { .drop = "blobs" }, "missing" },
		{ OCI, { .twice = "index.json" }, "two members called" },
		{ DOCKER, { .twice = "0/layer.tar" }, "two members called" },
		{ DOCKER, { .arch = "arm64" }, "--platform linux/amd64" },
	};
	struct image_root root;
	uint64_t bytes;
	size_t files;
	struct rig r;

	(void)state;
	setup(&r);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		write_archive(&r, all[i].kind, &all[i].how);
		if (open_root(&r, NULL, &root) == 0 || !strstr(r.err.text, all[i].why))
			fail_msg("archive %zu: \"%s\", not \"%s\"", i, r.err.text, all[i].why);
	}
	/* Nothing of them stays. */
	assert_int_equal(image_store_usage(r.store, &bytes, &files), 0);
	assert_int_equal(files, 0);
	teardown(&r);
}

static void test_damaged(void **state)
{
	static const struct rig_archive plain, packed = { .gzip = true, .gzip_all = true };
	struct image_root root;
	struct stat st;
	struct rig r;

	(void)state;
	setup(&r);
	for (int i = 0; i < 2; i++) {
		write_archive(&r, OCI, i ? &packed : &plain);
		assert_int_equal(stat(r.file, &st), 0);
		/* The end of a tar is two empty blocks: cut off before them, something is missing. */
		for (off_t len = st.st_size - (i ? 9 : 2048); len >= 0; len -= 1 + st.st_size / 23) {
			assert_int_equal(truncate(r.file, len), 0);
			assert_true(open_root(&r, NULL, &root) < 0);
			assert_true(r.err.text[0] != '\0');
		}
	}
	rig_write(r.dir, "image.tar", "neither", 7);
	assert_true(open_root(&r, NULL, &root) < 0);
	assert_non_null(strstr(r.err.text, "docker save"));
	free(r.file);
	r.file = strdup(r.dir);
	assert_true(open_root(&r, NULL, &root) < 0);
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
