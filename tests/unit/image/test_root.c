/* SPDX-License-Identifier: Apache-2.0 */
/* Root file systems of folders and of busybox, the store that keeps them, operations before the start, volumes. */
#include "tests/unit/image/image_rig.h"

#include "image/ext4.h"

#include <ext2fs/ext2fs.h>

struct rig {
	char *dir, *rootfs;
	struct image_store *store;
	struct image_error err;
	struct image_patches patches;
};

static void setup(struct rig *r)
{
	char *path;

	*r = (struct rig){ .dir = rig_dir() };
	r->store = rig_store(r->dir);
	r->rootfs = rig_path(r->dir, "root");
	assert_int_equal(mkdir(r->rootfs, 0700), 0);
	path = rig_path(r->rootfs, "etc");
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	rig_write(r->rootfs, "etc/file", "content", 7);
	path = rig_path(r->rootfs, "link");
	assert_int_equal(symlink("etc/file", path), 0);
	free(path);
}

static void teardown(struct rig *r)
{
	image_patches_fini(&r->patches);
	image_store_free(r->store);
	rig_remove(r->dir);
	free(r->rootfs);
	free(r->dir);
}

static int open_folder(struct rig *r, struct image_root *ret)
{
	struct image_root_options o = { .rootfs = r->rootfs,
					.free_bytes = 1 << 20,
					.patches = &r->patches };

	r->err.text[0] = '\0';
	return image_root_open(r->store, &o, ret, &r->err);
}

/* Content of a file of an image; false: it is not there. */
static bool read_file(const char *image, const char *path, char *out, size_t size)
{
	ext2_filsys fs;
	ext2_file_t f;
	ext2_ino_t ino;
	struct ext2_inode inode;
	unsigned n = 0;
	bool found, regular = false;

	assert_int_equal(ext2fs_open(image, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
	found = ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino) == 0;
	if (found) {
		assert_int_equal(ext2fs_read_inode(fs, ino, &inode), 0);
		regular = LINUX_S_ISREG(inode.i_mode);
	}
	if (regular) {
		assert_int_equal(ext2fs_file_open(fs, ino, 0, &f), 0);
		assert_int_equal(ext2fs_file_read(f, out, (unsigned)size - 1, &n), 0);
		ext2fs_file_close(f);
	}
	out[n] = '\0';
	ext2fs_close_free(&fs);
	return found;
}

/* i09: a folder becomes an image, kept until something in it changes. */
static void test_folder(void **state)
{
	struct image_root root;
	char text[64];
	struct rig r;
	char *path;

	(void)state;
	setup(&r);
	assert_int_equal(open_folder(&r, &root), 0);
	assert_false(root.reused);
	assert_int_equal(root.fs, IMAGE_EXT4);
	assert_int_equal(root.size % 512, 0);
	assert_int_equal(fcntl(root.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(rig_fsck(root.path) <= 0);
	assert_true(read_file(root.path, "/etc/file", text, sizeof(text)));
	assert_string_equal(text, "content");
	image_root_fini(&root);
	assert_int_equal(open_folder(&r, &root), 0);
	assert_true(root.reused);
	image_root_fini(&root);
	/* The same length within the same moment: seen by its content. */
	rig_write(r.rootfs, "etc/file", "CONTENT", 7);
	assert_int_equal(open_folder(&r, &root), 0);
	assert_false(root.reused);
	assert_true(read_file(root.path, "/etc/file", text, sizeof(text)));
	assert_string_equal(text, "CONTENT");
	image_root_fini(&root);
	/* What is not a file or may not be read is left out, and told. */
	path = rig_path(r.rootfs, "secret");
	rig_write(r.rootfs, "secret", "x", 1);
	assert_int_equal(chmod(path, 0), 0);
	free(path);
	if (geteuid() != 0) {
		assert_int_equal(open_folder(&r, &root), 0);
		assert_non_null(root.notes[0]);
		assert_non_null(strstr(root.notes[0], "secret"));
		assert_false(read_file(root.path, "/secret", text, sizeof(text)));
		image_root_fini(&root);
	}
	teardown(&r);
}

static void test_broken_is_made_again(void **state)
{
	struct image_root root;
	struct rig r;
	char *path;
	int fd;

	(void)state;
	setup(&r);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open_folder(&r, &root), 0);
		/* i 0: fresh; 1: its superblock was damaged; 2: it was cut off. */
		assert_false(root.reused);
		assert_true(rig_fsck(root.path) <= 0);
		path = strdup(root.path);
		image_root_fini(&root);
		assert_int_equal(chmod(path, 0600), 0);
		fd = open(path, O_RDWR);
		assert_true(fd >= 0);
		if (i == 0)
			assert_int_equal(pwrite(fd, "xxxx", 4, 1024 + 0x68), 4);
		if (i == 1)
			assert_int_equal(ftruncate(fd, 1 << 20), 0);
		close(fd);
		free(path);
	}
	teardown(&r);
}

/* Two processes at once: one makes it, the other waits and takes it. */
static void test_two_makers(void **state)
{
	struct image_root root;
	int status, reused = 0;
	struct rig r;

	(void)state;
	setup(&r);
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(open_folder(&r, &root) < 0 ? 2 : root.reused);
		assert_true(pid > 0);
	}
	for (int i = 0; i < 4; i++) {
		assert_true(wait(&status) > 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		reused += WEXITSTATUS(status);
	}
	assert_int_equal(reused, 3);
	teardown(&r);
}

static void test_prune(void **state)
{
	struct image_root root;
	uint64_t before, freed, after;
	size_t files;
	struct rig r;

	(void)state;
	setup(&r);
	assert_int_equal(open_folder(&r, &root), 0);
	assert_int_equal(image_store_usage(r.store, &before, &files), 0);
	assert_int_equal(files, 2);
	assert_int_equal(image_store_prune(r.store, before, &freed, &r.err), 0);
	assert_int_equal(freed, 0);
	assert_int_equal(image_store_prune(r.store, 0, &freed, &r.err), 0);
	assert_int_equal(freed, before);
	assert_int_equal(image_store_usage(r.store, &after, &files), 0);
	assert_int_equal(files, 0);
	/* Who has it open goes on. */
	assert_true(ext4_check(root.fd, root.size));
	image_root_fini(&root);
	teardown(&r);
}

static void test_store_of_others(void **state)
{
	struct image_store *s;
	struct image_error err;
	char *dir = rig_dir();

	(void)state;
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(image_store_open(dir, &s, &err), -EPERM);
	assert_int_equal(image_store_open("relative", &s, &err), -EINVAL);
	rig_remove(dir);
	free(dir);
}

/* ---- operations ---- */

static void patch(struct rig *r, const char *text)
{
	if (image_patch_parse(text, &r->patches, &r->err) < 0)
		fail_msg("%s: %s", text, r->err.text);
}

/* f05: all eight kinds, in order, on the tree. */
static void test_patches(void **state)
{
	struct image_root root;
	char text[64], *copy;
	struct rig r;

	(void)state;
	setup(&r);
	rig_write(r.dir, "source", "from the host", 13);
	patch(&r, "text:/new/deep/file:a:b:c");
	patch(&r, "append:/link: and more");
	patch(&r, "text!:/etc/file2:first");
	patch(&r, "text!:/etc/file2:second");
	patch(&r, "mkdir:/made/folder");
	patch(&r, "symlink:../etc:/made/link");
	patch(&r, "text:/made/link/through:link");
	assert_true(asprintf(&copy, "copy:%s/source:/copied", r.dir) > 0);
	patch(&r, copy);
	free(copy);
	assert_true(asprintf(&copy, "copy:%s/root:/tree", r.dir) > 0);
	patch(&r, copy);
	free(copy);
	assert_true(asprintf(&copy, "file:%s/source:/read", r.dir) > 0);
	patch(&r, copy);
	free(copy);
	patch(&r, "remove:/tree/link");
	if (open_folder(&r, &root) < 0)
		fail_msg("%s", r.err.text);
	assert_true(rig_fsck(root.path) <= 0);
	read_file(root.path, "/new/deep/file", text, sizeof(text));
	assert_string_equal(text, "a:b:c");
	read_file(root.path, "/etc/file", text, sizeof(text));
	assert_string_equal(text, "content and more");
	read_file(root.path, "/etc/file2", text, sizeof(text));
	assert_string_equal(text, "second");
	read_file(root.path, "/etc/through", text, sizeof(text));
	assert_string_equal(text, "link");
	read_file(root.path, "/copied", text, sizeof(text));
	assert_string_equal(text, "from the host");
	read_file(root.path, "/read", text, sizeof(text));
	assert_string_equal(text, "from the host");
	read_file(root.path, "/tree/etc/file", text, sizeof(text));
	assert_string_equal(text, "content");
	assert_true(read_file(root.path, "/made/folder", text, sizeof(text)));
	assert_false(read_file(root.path, "/tree/link", text, sizeof(text)));
	image_root_fini(&root);
	/* The source's content belongs to the key. */
	rig_write(r.dir, "source", "FROM THE HOST", 13);
	assert_int_equal(open_folder(&r, &root), 0);
	assert_false(root.reused);
	image_root_fini(&root);
	teardown(&r);
}

static void test_patches_refused(void **state)
{
	static const char *const syntax[] = {
		"text:relative:x", "text:/a/../b:x",	"foo:/x",      "mkdir",	   "mkdir:",
		"text:/x",	   "symlink:/only-one", "copy:host",   "",	   ":",
		"remove:..",	   "file:/none:/x",	"@/none.json", "append:x",
	};
	static const char *const apply[] = { "text:/etc/file:x",   "append:/none:x",
					     "remove:/none",	   "mkdir:/etc/file",
					     "copy_file:/none:/x", "copy_dir:/none:/x",
					     "remove:/",	   "text!:/:x" };
	struct image_root root;
	struct rig r;

	(void)state;
	setup(&r);
	for (size_t i = 0; i < ARRAY_SIZE(syntax); i++) {
		if (image_patch_parse(syntax[i], &r.patches, &r.err) == 0)
			fail_msg("\"%s\" was taken", syntax[i]);
		assert_int_equal(r.patches.n, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(apply); i++) {
		patch(&r, apply[i]);
		if (open_folder(&r, &root) == 0)
			fail_msg("\"%s\" was done", apply[i]);
		assert_true(str_starts(r.err.text, "patch:"));
		image_patches_fini(&r.patches);
	}
	teardown(&r);
}

static int parse_json(struct rig *r, const char *text)
{
	return image_patch_parse_json(text, strlen(text), "p.json", &r->patches, &r->err);
}

static void test_json(void **state)
{
	static const char *const bad[] = {
		"{}",
		"[",
		"[1]",
		"[{}]",
		"[{\"op\": \"text\", \"path\": \"/x\"}]",
		"[{\"op\":\"text\",\"path\":\"/x\",\"content\":\"\",\"content_base64\":\"\"}]",
		"[{\"op\": \"text\", \"path\": \"/x\", \"content_base64\": \"???\"}]",
		"[{\"op\": \"text\", \"path\": \"/x\", \"content\": \"\", \"mode\": \"999\"}]",
		"[{\"op\": \"text\", \"path\": \"/x\", \"content\": \"\", \"mode\": \"77777\"}]",
		"[{\"op\": \"text\", \"path\": \"/x\", \"content\": \"\", \"replace\": 1}]",
		"[{\"op\": \"mkdir\", \"path\": \"/x\", \"content\": \"\"}]",
		"[{\"op\": \"mkdir\", \"path\": \"/x\", \"path\": \"/y\"}]",
		"[{\"op\": \"mkdir\", \"path\": \"/x\\u0000y\"}]",
		"[{\"op\": \"mkdir\", \"path\": \"x\"}]",
		"[{\"op\": \"mkdir\", \"path\": \"/good\"}, {\"op\": \"mkdir\"}]",
	};
	struct rig r;

	(void)state;
	setup(&r);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse_json(&r, bad[i]) == 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(r.patches.n, 0);
		assert_true(r.err.text[0] != '\0');
	}
	assert_int_equal(parse_json(&r, "[{\"op\": \"mkdir\", \"paht\": \"/x\"}]"), -EINVAL);
	assert_non_null(strstr(r.err.text, "(\"path\"?)"));
	assert_int_equal(parse_json(&r,
				    "[{\"op\": \"file\", \"path\": \"/x\", \"content_base64\": "
				    "\"AAEC/w==\", \"mode\": \"0755\", \"replace\": true},"
				    "{\"op\": \"symlink\", \"path\": \"/y\", \"target\": \"x\"}]"),
			 0);
	assert_int_equal(r.patches.n, 2);
	assert_int_equal(r.patches.list[0].content_len, 4);
	assert_memory_equal(r.patches.list[0].content, "\0\1\2\xff", 4);
	assert_int_equal(r.patches.list[0].mode, 0755);
	assert_true(r.patches.list[0].replace);
	teardown(&r);
}

/* ---- the other kinds ---- */

static void test_minimal(void **state)
{
	struct image_root_options o = { .free_bytes = 1 << 20 };
	struct image_root root;
	char text[256];
	struct rig r;

	(void)state;
	setup(&r);
	if (image_root_open(r.store, &o, &root, &r.err) == -ENOENT) {
		assert_non_null(strstr(r.err.text, "busybox"));
		teardown(&r);
		skip();
	}
	assert_true(rig_fsck(root.path) <= 0);
	assert_true(read_file(root.path, "/bin/sh", text, sizeof(text)));
	assert_true(read_file(root.path, "/usr/bin/busybox", text, sizeof(text)));
	assert_memory_equal(text, "\177ELF", 4);
	assert_true(read_file(root.path, "/etc/passwd", text, sizeof(text)));
	assert_true(str_starts(text, "root:x:0:0:"));
	image_root_fini(&root);
	teardown(&r);
}

/* i09: a file that holds a file system is used as it is; what is none says what it is. */
static void test_given_images(void **state)
{
	static const struct {
		const char *name;
		size_t at;
		const char *bytes;
		const char *why;
	} bad[] = {
		{ "qcow2", 0, "QFI\xfb", "qemu-img" },
		{ "gpt", 512, "EFI PART", "partitions" },
		{ "gzip", 0, "\x1f\x8b", "packed (gzip)" },
		{ "tar", 257, "ustar", "--image" },
		{ "none", 0, "x", "no file system" },
	};
	struct image_root root, given;
	struct image_root_options o = { 0 };
	uint8_t block[4096] = { 0 };
	struct rig r;

	(void)state;
	setup(&r);
	assert_int_equal(open_folder(&r, &root), 0);
	o.rootfs = root.path;
	assert_int_equal(image_root_open(r.store, &o, &given, &r.err), 0);
	assert_int_equal(given.fs, IMAGE_EXT4);
	assert_string_equal(given.path, root.path);
	image_root_fini(&given);
	patch(&r, "mkdir:/x");
	o.patches = &r.patches;
	assert_int_equal(image_root_open(r.store, &o, &given, &r.err), -ENOTSUP);
	image_root_fini(&root);
	o.patches = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *path = rig_path(r.dir, bad[i].name);

		memset(block, 0, sizeof(block));
		memcpy(block + bad[i].at, bad[i].bytes, strlen(bad[i].bytes));
		rig_write(r.dir, bad[i].name, block, sizeof(block));
		o.rootfs = path;
		assert_int_equal(image_root_open(r.store, &o, &given, &r.err), -EMEDIUMTYPE);
		if (!strstr(r.err.text, bad[i].why))
			fail_msg("%s: %s", bad[i].name, r.err.text);
		free(path);
	}
	teardown(&r);
}

static int open_volume(struct rig *r, struct image_volume *v, uint64_t free_bytes)
{
	enum image_fs fs = IMAGE_EXT4;
	bool folder;
	int rc = image_volume_begin(r->store, v, &folder, &r->err);

	if (rc == 0)
		rc = folder ? image_volume_fill(v->source, v->fd, free_bytes, &r->err)
			    : image_volume_probe(v->source, v->fd, &fs, &r->err);
	return rc < 0 ? rc : image_volume_end(v, fs, &r->err);
}

/* m01, m03: a copy of a folder, or an image as it is. */
static void test_volumes(void **state)
{
	static const char *const bad[] = { "x", "x:y", ":/x", "x:/", "x:/..", "x:/a/../b", "" };
	struct image_volume v, image;
	char text[64], path[64];
	struct rig r;
	char *spec;

	(void)state;
	setup(&r);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (image_volume_parse(bad[i], &v, &r.err) == 0)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(image_volume_parse("a:b:/c:ro", &v, &r.err), 0);
	assert_string_equal(v.source, "a:b");
	assert_string_equal(v.target, "/c");
	assert_true(v.read_only);
	image_volume_fini(&v);

	assert_true(asprintf(&spec, "%s:/data", r.rootfs) > 0);
	assert_int_equal(image_volume_parse(spec, &v, &r.err), 0);
	free(spec);
	assert_int_equal(open_volume(&r, &v, 1 << 20), 0);
	assert_int_equal(v.fs, IMAGE_EXT4);
	assert_int_equal(fcntl(v.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), v.fd);
	assert_true(rig_fsck(path) <= 0);
	assert_true(read_file(path, "/etc/file", text, sizeof(text)));
	assert_string_equal(text, "content");

	/* An image is attached as it is: what is written stays. */
	assert_true(asprintf(&spec, "%s:/data:ro", path) > 0);
	assert_int_equal(image_volume_parse(spec, &image, &r.err), 0);
	free(spec);
	assert_int_equal(open_volume(&r, &image, 0), 0);
	assert_int_equal(fcntl(image.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(image.size, v.size);
	image_volume_fini(&image);
	image_volume_fini(&v);
	teardown(&r);
}

/* What another process says it has put into the store is a plain file of ours with one name, or refused. */
static void test_take(void **state)
{
	struct rig r;
	char *in, *path, *other;
	uint64_t size;
	int fd;

	(void)state;
	setup(&r);
	in = rig_path(image_store_dir(r.store), "root");
	rig_write(in, "aa-2.ext4", "x", 1);
	path = rig_path(in, "aa-2.ext4");
	/* Somebody could write to it yet. */
	assert_int_equal(image_store_take(r.store, "root", "aa-2.ext4", &fd, &size, &other, &r.err),
			 -EPROTO);
	assert_int_equal(chmod(path, 0444), 0);
	assert_int_equal(image_store_take(r.store, "root", "aa-2.ext4", &fd, &size, &other, &r.err),
			 0);
	assert_string_equal(other, path);
	assert_int_equal(size, 1);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	free(other);
	other = rig_path(in, "link-2.ext4");
	assert_int_equal(link(path, other), 0);
	assert_int_equal(image_store_take(r.store, "root", "aa-2.ext4", &fd, &size, &path, &r.err),
			 -EPROTO);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(image_store_take(r.store, "root", "link-2.ext4", &fd, &size, &path, &r.err),
			 -ELOOP);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkfifo(other, 0400), 0);
	assert_int_equal(image_store_take(r.store, "root", "link-2.ext4", &fd, &size, &path, &r.err),
			 -EPROTO);
	for (const char *const *name = (const char *const[]){ "", ".", "..", "../root/aa-2.ext4",
							      "a/b", "A", "-\n", NULL };
	     *name; name++)
		assert_int_equal(image_store_take(r.store, "root", *name, &fd, &size, &path, &r.err),
				 -EPROTO);
	assert_int_equal(image_store_take(r.store, "root", "bb", &fd, &size, &path, &r.err), -ENOENT);
	free(other);
	free(path);
	free(in);
	teardown(&r);
}

/* Operations as JSON say the same once more. */
static void test_patches_json(void **state)
{
	static const char *const texts[] = {
		"text!:/a:b:c\x01\xff",	   "append:/a:", "symlink:../x:/l", "mkdir:/d", "remove:/r",
		"copy_file:/etc/passwd:/p"
	};
	struct image_patches p = { 0 }, q = { 0 };
	struct buf once = BUF_INIT(1 << 16), twice = BUF_INIT(1 << 16);
	struct image_error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(image_patch_parse(texts[i], &p, &err), 0);
	p.list[3].mode = 01750;
	assert_int_equal(image_patches_json(&p, &once), 0);
	assert_int_equal(image_patch_parse_json((char *)buf_at(&once), once.len, "x", &q, &err), 0);
	assert_int_equal(q.n, p.n);
	for (size_t i = 0; i < p.n; i++) {
		assert_int_equal(q.list[i].op, p.list[i].op);
		assert_int_equal(q.list[i].mode, p.list[i].mode);
		assert_int_equal(q.list[i].replace, p.list[i].replace);
		assert_string_equal(q.list[i].path, p.list[i].path);
		assert_int_equal(q.list[i].content_len, p.list[i].content_len);
		if (p.list[i].content_len)
			assert_memory_equal(q.list[i].content, p.list[i].content,
					    p.list[i].content_len);
	}
	assert_string_equal(q.list[2].target, "../x");
	assert_string_equal(q.list[5].source, "/etc/passwd");
	assert_int_equal(image_patches_json(&q, &twice), 0);
	assert_string_equal(buf_str(&once), buf_str(&twice));
	buf_fini(&once);
	buf_fini(&twice);
	image_patches_fini(&p);
	image_patches_fini(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_patches_json),
		cmocka_unit_test(test_folder),
		cmocka_unit_test(test_broken_is_made_again),
		cmocka_unit_test(test_two_makers),
		cmocka_unit_test(test_prune),
		cmocka_unit_test(test_store_of_others),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_patches_refused),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_minimal),
		cmocka_unit_test(test_given_images),
		cmocka_unit_test(test_volumes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
