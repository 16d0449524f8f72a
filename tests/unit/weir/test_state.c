/* SPDX-License-Identifier: Apache-2.0 */
/* Where records are kept, how many, and the commands that read them. */
#include "audit/audit.h"
#include "weir/cmd_audit.h"
#include "weir/state.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char base[] = "/tmp/weir-state-XXXXXX";
static char records[128];

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(base));
	setenv("XDG_STATE_HOME", base, 1);
	setenv("NO_COLOR", "1", 1);
	snprintf(records, sizeof(records), "%s/weir/audit", base);
	return 0;
}

static void remove_records(void)
{
	struct state_records r;

	if (state_audit_list(&r) < 0)
		return;
	for (size_t i = 0; i < r.n; i++)
		unlink(r.paths[i]);
	state_records_fini(&r);
}

static int teardown(void **state)
{
	char weir[80];

	(void)state;
	remove_records();
	rmdir(records);
	snprintf(weir, sizeof(weir), "%s/weir", base);
	rmdir(weir);
	rmdir(base);
	return 0;
}

static void touch(const char *name, time_t when)
{
	char path[256];
	struct timespec t[2] = { { .tv_sec = when }, { .tv_sec = when } };
	int fd;

	snprintf(path, sizeof(path), "%s/%s", records, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, t), 0);
	close(fd);
}

static void test_path(void **state)
{
	char *path = NULL, want[256];
	struct stat st;

	(void)state;
	assert_int_equal(state_audit_path("r-1", &path), 0);
	snprintf(want, sizeof(want), "%s/r-1.jsonl", records);
	assert_string_equal(path, want);
	assert_int_equal(stat(records, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	free(path);
	path = NULL;
	assert_int_equal(state_audit_path("../x", &path), -EINVAL);
	assert_int_equal(state_audit_path("", &path), -EINVAL);
	assert_int_equal(state_audit_path(".x", &path), -EINVAL);
	assert_int_equal(chmod(records, 0777), 0);
	assert_int_equal(state_audit_path("r-1", &path), -EPERM);
	assert_int_equal(chmod(records, 0700), 0);
	assert_null(path);
}

static void test_prune(void **state)
{
	struct state_records r;
	char name[32], *path;
	int held, fd;

	(void)state;
	for (int i = 0; i < 210; i++) {
		snprintf(name, sizeof(name), "r-%d.jsonl", i);
		touch(name, 1000000 + i);
	}
	touch("notes.txt", 1);
	snprintf(name, sizeof(name), "r-%d.jsonl", 0);
	fd = open(records, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	held = openat(fd, name, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(held, LOCK_EX), 0);
	assert_int_equal(state_audit_path("new", &path), 0);
	free(path);
	assert_int_equal(state_audit_list(&r), 0);
	/* The newest 199, and the one that is still written. */
	assert_int_equal(r.n, 200);
	assert_non_null(strstr(r.paths[0], "/r-209.jsonl"));
	assert_non_null(strstr(r.paths[198], "/r-11.jsonl"));
	assert_non_null(strstr(r.paths[199], "/r-0.jsonl"));
	state_records_fini(&r);
	assert_int_equal(unlinkat(fd, "notes.txt", 0), 0);
	close(held);
	close(fd);
	remove_records();
}

static void write_record(const char *run, const char *denial)
{
	struct audit_log *l = NULL;
	char *path, text[256];

	assert_int_equal(state_audit_path(run, &path), 0);
	assert_int_equal(audit_log_open(path, -1, run, "box", &l), 0);
	snprintf(text, sizeof(text),
		 "{\"kind\":\"flow\",\"id\":\"%s-f1\",\"proto\":\"tcp\",\"dst\":\"192.0.2.1\","
		 "\"port\":25,"
		 "\"verdict\":\"deny\",\"rule\":\"default\",\"denial\":\"%s\"}",
		 run, denial);
	assert_int_equal(audit_log_append(l, "gateway", text, strlen(text)), 0);
	audit_log_close(l);
	free(path);
}

/* Runs a command with its output in a file; what it printed is in text. */
static int run(int (*cmd)(int, char **), const char *const *args, char text[8192])
{
	char *argv[8] = { 0 };
	int argc = 0, saved[2] = { dup(1), dup(2) }, fd[2], status;
	ssize_t n;

	for (; args[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)args[argc];
	fflush(stdout);
	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], 1);
	dup2(fd[1], 2);
	close(fd[1]);
	status = cmd(argc, argv);
	fflush(stdout);
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(saved[0]);
	close(saved[1]);
	n = read(fd[0], text, 8191);
	close(fd[0]);
	text[n > 0 ? n : 0] = 0;
	return status;
}

static void expect(int (*cmd)(int, char **), const char *const *args, int status, const char *part)
{
	char text[8192];
	int r = run(cmd, args, text);

	if (r != status || !strstr(text, part))
		fail_msg("%d instead of %d, \"%s\" in:\n%s", r, status, part, text);
}

static void test_commands(void **state)
{
#define CMD(...)                                                                                   \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
	char *path;

	(void)state;
	expect(cmd_audit, CMD("audit"), 1, "there is no record yet; name a FILE");
	expect(cmd_why, CMD("why", "d-1"), 1, "there is no record yet");
	write_record("r-1", "r-1-g1");
	write_record("r-2", "r-2-g1");
	expect(cmd_audit, CMD("audit"), 0, "record intact: 1 event");
	expect(cmd_audit, CMD("audit", "--denied"), 0, "192.0.2.1:25");
	expect(cmd_audit, CMD("audit", "--json"), 0, "{\"_schema\"");
	expect(cmd_audit, CMD("audit", "--color=always"), 0, "\033[1;31mdeny");
	expect(cmd_why, CMD("why", "r-1-g1"), 0, "--net-rule allow@192.0.2.1:tcp:25");
	expect(cmd_why, CMD("why", "r-2-f1"), 0, "r-2.jsonl");
	expect(cmd_why, CMD("why", "r-2-g1", "--json"), 0, "\"verdict\":\"deny\"");
	expect(cmd_why, CMD("why", "nope"), 1, "not in any of the 2 records");
	assert_int_equal(state_audit_path("r-1", &path), 0);
	expect(cmd_why, CMD("why", "--audit", path, "r-1-g1"), 0, "No rule matched");
	expect(cmd_why, CMD("why", "r-2-g1", "--audit", path), 1, "no decision with this id");
	free(path);
	/* usage */
	expect(cmd_audit, CMD("audit", "--help"), 0, "Usage: weir audit");
	expect(cmd_audit, CMD("audit", "--deneid"), 2, "did you mean --denied");
	expect(cmd_audit, CMD("audit", "--kind", "flw"), 2, "did you mean \"flow\"?");
	expect(cmd_audit, CMD("audit", "--kind"), 2, "needs a value");
	expect(cmd_audit, CMD("audit", "--color", "red"), 2, "auto, always or never");
	expect(cmd_audit, CMD("audit", "a", "b"), 2, "one argument too many");
	expect(cmd_audit, CMD("audit", "/nowhere"), 2, "No such file");
	expect(cmd_why, CMD("why"), 2, "Usage: weir why");
	expect(cmd_why, CMD("why", "x", "--audit", "/nowhere"), 2, "No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_prune),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
