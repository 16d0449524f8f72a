/* SPDX-License-Identifier: Apache-2.0 */
/* Control sockets: their names, who is alive, what a dead run left. */
#include "weir/ctl_socket.h"
#include "weir/ctl_tidy.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weir-ctl-XXXXXX");
	assert_non_null(mkdtemp(dir));
	setenv("XDG_RUNTIME_DIR", dir, 1);
	setenv("XDG_STATE_HOME", dir, 1);
	return 0;
}

static int teardown(void **state)
{
	char cmd[100];

	(void)state;
	snprintf(cmd, sizeof(cmd), "%s/weir/run", dir);
	rmdir(cmd);
	snprintf(cmd, sizeof(cmd), "%s/weir", dir);
	rmdir(cmd);
	return rmdir(dir);
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"",
		"k3v9qd2m.sock",
		"k3v9qd2m@.sock",
		"k3v9qd2@name.sock",
		"k3v9qd2m@n.socks",
		".k3v9qd2m@n.sock",
		"k3v9qd2m@n",
		"k3v9qd2mm@n.sock",
		"k3v9qd2m@0123456789012345678901234567890123456789012345678901234567890123.sock",
	};
	struct ctl_run r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (ctl_file_parse(bad[i], &r))
			fail_msg("taken: %s", bad[i]);
	assert_true(ctl_file_parse("k3v9qd2m@my.box-1.sock", &r));
	assert_string_equal(r.id, "k3v9qd2m");
	assert_string_equal(r.name, "my.box-1");
}

static bool listed(const char *id)
{
	struct ctl_run *runs = NULL;
	size_t n = 0;
	bool found = false;

	assert_int_equal(ctl_list(&runs, &n), 0);
	for (size_t i = 0; i < n; i++)
		found |= str_eq(runs[i].id, id);
	free(runs);
	return found;
}

static void test_alive_and_dead(void **state)
{
	struct ctl_listener l;
	struct ctl_run run = { .id = "t3stt3st", .name = "unit" };
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(ctl_listen(run.id, run.name, &l), 0);
	assert_int_equal(fstatat(l.dir, l.file, &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(listed(run.id));
	/* As after a kill: the socket is there, and nobody behind it. */
	fd_close(l.fd);
	assert_int_equal(fstatat(l.dir, l.file, &st, 0), 0);
	assert_false(listed(run.id));
	assert_int_equal(fstatat(l.dir, l.file, &st, 0), -1);
	fd = l.dir;
	l.fd = -1;
	ctl_unlisten(&l);
	fd_close(fd);
	assert_int_equal(ctl_listen(run.id, run.name, &l), 0);
	ctl_unlisten(&l);
	assert_false(listed(run.id));
}

static int make(int at, const char *name)
{
	int fd = openat(at, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static bool is_there(int at, const char *name)
{
	return faccessat(at, name, F_OK, 0) == 0;
}

static void test_what_dead_runs_left(void **state)
{
	static const char *const goes[] = { ".t3stt3st@unit.sock", ".unit.ended",
					    "slot-192.0.2.8_30" };
	static const char *const stays[] = { "unit.log", "unit.ended", ".hidden", "sock",
					     "slot-192.0.2.0_30" };
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int other = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), slot = -1;

	(void)state;
	assert_true(at >= 0 && other >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(goes); i++)
		fd_close(make(at, goes[i]));
	for (size_t i = 0; i < ARRAY_SIZE(stays); i++) {
		fd_close(slot);
		slot = make(at, stays[i]);
	}
	/* A slot that somebody has. */
	ctl_hold(slot, true);
	/* While somebody makes something, that looks like what was left. */
	ctl_hold(other, false);
	ctl_tidy(at);
	for (size_t i = 0; i < ARRAY_SIZE(goes); i++)
		assert_true(is_there(at, goes[i]));
	ctl_release(other);
	ctl_tidy(at);
	for (size_t i = 0; i < ARRAY_SIZE(goes); i++)
		assert_false(is_there(at, goes[i]));
	for (size_t i = 0; i < ARRAY_SIZE(stays); i++)
		assert_true(is_there(at, stays[i]));
	fd_close(slot);
	ctl_tidy(at);
	assert_false(is_there(at, stays[4]));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(unlinkat(at, stays[i], 0), 0);
	fd_close(other);
	fd_close(at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_alive_and_dead),
		cmocka_unit_test(test_what_dead_runs_left),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
