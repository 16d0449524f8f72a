/* SPDX-License-Identifier: Apache-2.0 */
/* Layers as trees: whiteouts whatever the order, links inside the image, and every hostile archive refused. */
#include "tests/unit/image/image_rig.h"

#include "image/store.h"

struct rig {
	char *dir;
	struct tree *tree;
	struct layer_work work;
	struct image_error err;
	struct buf tar, text;
};

static void setup(struct rig *r)
{

	*r = (struct rig){ .dir = rig_dir() };
	assert_int_equal(tree_new(&r->tree), 0);
	assert_int_equal(rig_scratch(r->dir, &r->tree->spool), 0);
	r->work = (struct layer_work){ .tree = r->tree, .err = &r->err };
	buf_init(&r->tar, 1 << 20);
	buf_init(&r->text, 1 << 20);
}

static void teardown(struct rig *r)
{
	buf_fini(&r->tar);
	buf_fini(&r->text);
	tree_free(r->tree);
	rig_remove(r->dir);
	free(r->dir);
}

/* What was collected is the next layer. */
static int apply(struct rig *r)
{
	struct stream_mem m;
	int e;

	rig_tar_end(&r->tar);
	stream_mem_init(&m, buf_at(&r->tar), r->tar.len);
	r->work.number++;
	e = layer_apply(&r->work, &m.s);
	buf_reset(&r->tar);
	return e;
}

static void check(struct rig *r, const char *path, const char *want)
{
	const char *got = rig_content(r->tree, path, &r->text);

	if (!str_eq(got, want))
		fail_msg("%s is \"%s\", not \"%s\"", path, got, want);
}

static void base(struct rig *r)
{
	rig_tar_add(&r->tar, "etc/", '5', NULL, NULL, 0);
	rig_tar_file(&r->tar, "etc/passwd", "root");
	rig_tar_file(&r->tar, "./etc/gone", "x");
	rig_tar_file(&r->tar, "opq/a", "a");
	rig_tar_file(&r->tar, "opq/sub/b", "b");
	rig_tar_file(&r->tar, "opq/sub/keep/c", "c");
	rig_tar_add(&r->tar, "run/", '5', NULL, NULL, 0);
	rig_tar_add(&r->tar, "var/run", '2', "/run", NULL, 0);
	rig_tar_add(&r->tar, "etc/link", '1', "etc/passwd", NULL, 0);
	rig_tar_add(&r->tar, "dev/null", '3', NULL, NULL, 0);
	assert_int_equal(apply(r), 0);
}

static void test_merge(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	base(&r);
	assert_int_equal(rig_find(r.tree, "/etc/passwd")->inode->n_links, 2);
	assert_int_equal(rig_find(r.tree, "/etc/passwd")->inode->uid, 7);
	assert_int_equal(rig_find(r.tree, "/dev/null")->inode->major, 1);
	assert_int_equal(rig_find(r.tree, "/dev/null")->inode->minor, 3);

	rig_tar_file(&r.tar, "etc/.wh.gone", "");
	rig_tar_file(&r.tar, "etc/.wh.never-was", "");
	/* Before and after what the same layer puts there. */
	rig_tar_file(&r.tar, "opq/new", "new");
	rig_tar_file(&r.tar, "opq/sub/keep/d", "d");
	rig_tar_file(&r.tar, "opq/.wh..wh..opq", "");
	rig_tar_file(&r.tar, "opq/late", "late");
	/* A name below a link goes where the link leads. */
	rig_tar_file(&r.tar, "var/run/pid", "1");
	/* A link loses one name, not the file. */
	rig_tar_file(&r.tar, "etc/.wh.link", "");
	rig_tar_file(&r.tar, ".wh..wh.plnk", "");
	assert_int_equal(apply(&r), 0);
	check(&r, "/etc/passwd", "root");
	assert_null(rig_find(r.tree, "/etc/gone"));
	assert_null(rig_find(r.tree, "/etc/link"));
	assert_null(rig_find(r.tree, "/opq/a"));
	assert_null(rig_find(r.tree, "/opq/sub/b"));
	assert_null(rig_find(r.tree, "/opq/sub/keep/c"));
	assert_null(rig_find(r.tree, "/.wh..wh.plnk"));
	check(&r, "/opq/new", "new");
	check(&r, "/opq/sub/keep/d", "d");
	check(&r, "/opq/late", "late");
	check(&r, "/run/pid", "1");

	/* Kinds change: a folder becomes a file and a file a folder. */
	rig_tar_file(&r.tar, "opq", "file");
	rig_tar_file(&r.tar, "etc/passwd/below", "x");
	assert_int_equal(apply(&r), -EBADMSG);
	check(&r, "/opq", "file");
	rig_tar_add(&r.tar, "etc/passwd", '5', NULL, NULL, 0);
	rig_tar_file(&r.tar, "etc/passwd/below", "x");
	assert_int_equal(apply(&r), 0);
	check(&r, "/etc/passwd/below", "x");
	/* A whole folder goes, and what the same layer puts at its place stays. */
	rig_tar_file(&r.tar, "etc/.wh.passwd", "");
	rig_tar_add(&r.tar, "run/", '5', NULL, NULL, 0);
	rig_tar_file(&r.tar, "run/mine", "m");
	rig_tar_file(&r.tar, ".wh.run", "");
	assert_int_equal(apply(&r), 0);
	assert_null(rig_find(r.tree, "/etc/passwd"));
	assert_null(rig_find(r.tree, "/run/pid"));
	check(&r, "/run/mine", "m");
	teardown(&r);
}

static void test_hostile(void **state)
{
	static const struct {
		const char *name;
		char type;
		const char *link;
		const char *why;
	} bad[] = {
		{ "/etc/passwd", '0', NULL, "absolute" },
		{ "a/../../x", '0', NULL, "\"..\"" },
		{ "..", '5', NULL, "\"..\"" },
		{ "x/.wh.", '0', NULL, "no name" },
		{ "x/.wh..", '0', NULL, "no name" },
		{ "x/.wh...", '0', NULL, "no name" },
		{ "evil/etc/.wh.passwd", '0', NULL, "behind a symbolic link" },
		{ "evil/etc/.wh..wh..opq", '0', NULL, "behind a symbolic link" },
		{ "evil/.wh..wh..opq", '0', NULL, "behind a symbolic link" },
		{ "x", '1', "../../etc/passwd", "\"..\"" },
		{ "x", '1', "/etc/passwd", "absolute" },
		{ "x", '1', "nothing", "not in the image" },
		{ "x", '1', "etc", "to a folder" },
		{ "loop/x", '0', NULL, "symbolic links" },
		{ "etc/passwd/x", '0', NULL, "Not a directory" },
		{ "x", '2', "", "link to nothing" },
	};
	struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(&r);
		base(&r);
		rig_tar_add(&r.tar, "evil", '2', "/", NULL, 0);
		rig_tar_add(&r.tar, "loop", '2', "pool", NULL, 0);
		rig_tar_add(&r.tar, "pool", '2', "loop", NULL, 0);
		rig_tar_add(&r.tar, bad[i].name, bad[i].type, bad[i].link, NULL, 0);
		if (apply(&r) != -EBADMSG || !strstr(r.err.text, bad[i].why))
			fail_msg("\"%s\": \"%s\", not \"%s\"", bad[i].name, r.err.text, bad[i].why);
		/* Nothing of the image is gone by it. */
		check(&r, "/etc/passwd", "root");
		teardown(&r);
	}
}

static void test_links_stay_inside(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	rig_tar_add(&r.tar, "up", '2', "../../../../../../..", NULL, 0);
	rig_tar_add(&r.tar, "abs", '2', "/etc", NULL, 0);
	rig_tar_file(&r.tar, "up/etc/shadow", "s");
	rig_tar_file(&r.tar, "abs/group", "g");
	assert_int_equal(apply(&r), 0);
	check(&r, "/etc/shadow", "s");
	check(&r, "/etc/group", "g");
	/* The root itself is no name that could be replaced. */
	rig_tar_file(&r.tar, "up/", "file");
	rig_tar_file(&r.tar, "./", "file");
	(void)!apply(&r);
	assert_true(tree_is_dir(r.tree->root));
	check(&r, "/etc/shadow", "s");
	teardown(&r);
}

static void test_limits(void **state)
{
	struct rig r;
	uint8_t *h;

	(void)state;
	setup(&r);
	/* A size that nobody has data for: base-256 of 2^62. */
	rig_tar_file(&r.tar, "big", "");
	h = buf_at(&r.tar);
	memset(h + 124, 0, 12);
	h[124] = 0x80;
	h[124 + 4] = 0x40;
	memset(h + 148, ' ', 8);
	{
		unsigned sum = 0;

		for (size_t i = 0; i < 512; i++)
			sum += h[i];
		snprintf((char *)h + 148, 8, "%06o", sum);
	}
	assert_int_equal(apply(&r), -EBADMSG);
	assert_null(rig_find(r.tree, "/big"));
	assert_int_equal(r.tree->bytes, 0);
	teardown(&r);

	/* Data that ends before its size says. */
	setup(&r);
	rig_tar_add(&r.tar, "cut", '0', NULL, "0123456789", 10);
	r.tar.len = 512 + 5;
	{
		struct stream_mem m;

		stream_mem_init(&m, buf_at(&r.tar), r.tar.len);
		r.work.number++;
		assert_int_equal(layer_apply(&r.work, &m.s), -EBADMSG);
	}
	teardown(&r);

	/* Folders in folders, as deep as names can be: an error, and never deeper than the limit. */
	setup(&r);
	{
		char deep[PATH_BYTES_MAX];
		struct tree_place place;

		memset(deep, 'd', sizeof(deep));
		for (size_t i = 1; i < sizeof(deep); i += 2)
			deep[i] = '/';
		assert_int_equal(
			tree_walk(r.tree, deep, 2 * TREE_DEPTH_MAX - 1, TREE_MAKE_DIRS, 0, &place),
			0);
		assert_int_equal(
			tree_walk(r.tree, deep, 2 * TREE_DEPTH_MAX + 3, TREE_MAKE_DIRS, 0, &place),
			-E2BIG);
	}
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_links_stay_inside),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
