/* SPDX-License-Identifier: Apache-2.0 */
/* Files followed by name: written in place, renamed over, by way of links. */
#include "weir/file_watch.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct loop *loop;
static struct file_watcher watcher;
static char dir[64];
static int told;

static void changed(struct file_watch *w)
{
	(void)w;
	told++;
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weir-watch-XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) < 0 || loop_new(&loop) < 0)
		return -1;
	file_watcher_init(&watcher, loop);
	told = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_watcher_fini(&watcher);
	loop_free(loop);
	return chdir("/");
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Until told `want` times, or 3 s are over; then a while in which nothing more may come. */
static void expect(int want)
{
	uint64_t end = time_mono_ns() + 3 * NS_PER_S;

	while (told < want && time_mono_ns() < end)
		assert_true(loop_step(loop, 50) >= 0);
	end = time_mono_ns() + 2 * FILE_WATCH_SETTLE_NS;
	while (time_mono_ns() < end)
		assert_true(loop_step(loop, 50) >= 0);
	assert_int_equal(told, want);
	told = 0;
}

static void follow(struct file_watch *w, const char *path)
{
	assert_int_equal(file_watch_add(&watcher, w, path, changed), 0);
	expect(0);
}

static void test_in_place_and_renamed(void **state)
{
	struct file_watch w;

	(void)state;
	put("a", "1");
	follow(&w, "a");
	put("a", "2");
	expect(1);
	put("b", "nothing of it");
	expect(0);
	put("new", "3");
	assert_int_equal(rename("new", "a"), 0);
	expect(1);
	/* Watched is what stands there now. */
	put("a", "4");
	expect(1);
	file_watch_del(&w);
	put("a", "5");
	expect(0);
}

static void test_gone_and_back(void **state)
{
	struct file_watch w;

	(void)state;
	put("a", "1");
	follow(&w, "a");
	unlink("a");
	expect(1);
	assert_false(w.is_there);
	put("a", "1");
	expect(1);
	assert_true(w.is_there);
	file_watch_del(&w);
}

static void test_made_later(void **state)
{
	struct file_watch w;

	(void)state;
	follow(&w, "later");
	assert_false(w.is_there);
	put("later", "1");
	expect(1);
	file_watch_del(&w);
}

/* dir/token -> ..data/token, ..data -> ..1; another ..data is renamed over it. */
static void test_swapped_folder(void **state)
{
	char path[128];
	struct file_watch w;

	(void)state;
	assert_int_equal(mkdir("v", 0755), 0);
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "v/..%d", i);
		assert_int_equal(mkdir(path, 0755), 0);
		snprintf(path, sizeof(path), "v/..%d/token", i);
		put(path, "x");
		snprintf(path, sizeof(path), "..%d", i);
		assert_int_equal(symlink(path, "v/..new"), 0);
		assert_int_equal(rename("v/..new", "v/..data"), 0);
		if (i == 0) {
			assert_int_equal(symlink("..data/token", "v/token"), 0);
			snprintf(path, sizeof(path), "%s/v/token", dir);
			follow(&w, path);
		} else {
			expect(1);
		}
	}
	file_watch_del(&w);
}

/* Links that lead in a circle, or nowhere, are no file, and no end of the watching. */
static void test_odd_links(void **state)
{
	struct file_watch circle, nowhere;

	(void)state;
	assert_int_equal(symlink("d", "c"), 0);
	assert_int_equal(symlink("c", "d"), 0);
	assert_int_equal(symlink("no/such/place", "n"), 0);
	follow(&circle, "c");
	follow(&nowhere, "n");
	assert_int_equal(unlink("c"), 0);
	put("c", "a file now");
	expect(1);
	file_watch_del(&circle);
	file_watch_del(&nowhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_place_and_renamed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_made_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_swapped_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_links, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
