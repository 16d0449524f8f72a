/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a record, and finding out that it was changed. */
#include "audit/audit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-audit-log-XXXXXX";
static char path[80];

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.jsonl", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	rmdir(dir);
	return 0;
}

static int begin(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static int append(struct audit_log *l, const char *text)
{
	return audit_log_append(l, "gateway", text, strlen(text));
}

static struct audit_log *open_log(const char *run)
{
	struct audit_log *l = NULL;

	assert_int_equal(audit_log_open(path, -1, run, "box", &l), 0);
	return l;
}

static void write_run(const char *run, int events)
{
	struct audit_log *l = open_log(run);

	assert_int_equal(append(l, "{\"kind\":\"run\",\"event\":\"begin\"}"), 0);
	for (int i = 0; i < events; i++)
		assert_int_equal(
			append(l, "{\"kind\":\"dns\",\"name\":\"a.com\",\"verdict\":\"allow\"}"), 0);
	assert_int_equal(append(l, "{\"kind\":\"run\",\"event\":\"end\"}"), 0);
	assert_int_equal(audit_log_flush(l), 0);
	audit_log_close(l);
}

static char *read_file(size_t *ret_n)
{
	struct buf b = BUF_INIT(1 << 24);
	char *s;

	assert_int_equal(file_read(path, 1 << 24, &b), 0);
	*ret_n = b.len;
	s = calloc(1, b.len + 1);
	memcpy(s, buf_at(&b), b.len);
	buf_fini(&b);
	return s;
}

static void write_file(const char *s, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, s, n), 0);
	close(fd);
}

/* What the reader says of the file; err as it is told. */
static int check(char err[256])
{
	struct audit_view v = { .width = 100 };
	FILE *f = fopen("/dev/null", "w");
	int r;

	err[0] = 0;
	r = audit_print(path, &v, f, err, 256);
	fclose(f);
	return r;
}

static void expect(int want, const char *part)
{
	char err[256];
	int r = check(err);

	if (r != want || (part && !strstr(err, part)))
		fail_msg("%d (%s) instead of %d (%s)", r, err, want, part ? part : "");
}

static void test_format(void **state)
{
	struct stat st;
	size_t n;
	char *s;

	(void)state;
	write_run("r-1", 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	s = read_file(&n);
	assert_ptr_equal(strstr(s, "{\"_schema\":\"weir.audit/v1\",\"seq\":1,\"time\":\"20"), s);
	assert_non_null(
		strstr(s, "\",\"run\":\"r-1\",\"sandbox\":\"box\",\"from\":\"gateway\",\"kind\":"
			  "\"run\",\"event\":\"begin\",\"prev\":\"00000000"));
	assert_int_equal(strncmp(s + n - 3, "\"}\n", 3), 0);
	free(s);
	expect(0, NULL);
}

static void test_refused_events(void **state)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"null",
		"5",
		"{\"kind\":\"flow\"",
		"{\"kind\":\"flow\"}}",
		" {\"kind\":\"flow\"}",
		"{\"kind\":\"flow\"}\n",
		"{\"kind\":\n\"flow\"}",
		"{\"kind\":\"flow\"},{\"kind\":\"flow\"}",
		"{\"kind\":\"flw\"}",
		"{\"kind\":5}",
		"{\"name\":\"flow\"}",
		"{\"kind\":\"flow\",\"kind\":\"dns\"}",
		"{\"kind\":\"flow\",\"seq\":1}",
		"{\"kind\":\"flow\",\"_schema\":\"x\"}",
		"{\"kind\":\"flow\",\"time\":\"x\"}",
		"{\"kind\":\"flow\",\"run\":\"x\"}",
		"{\"kind\":\"flow\",\"sandbox\":\"x\"}",
		"{\"kind\":\"flow\",\"from\":\"weir\"}",
		"{\"kind\":\"flow\",\"prev\":\"x\"}",
		"{\"kind\":\"flow\",\"hash\":\"x\"}",
		"{\"kind\":\"flow\",\"h\\u0061sh\":\"x\"}",
		"{\"kind\":\"flow\",\"x\":{}}",
		"{\"kind\":\"flow\",\"x\":[[]]}",
		"{\"kind\":\"flow\",\"x\":[{\"y\":1}]}",
		"{\"kind\":\"flow\",\"x\":\"\x7f\"}",
		"{\"kind\":\"flow\",\"x\":\"\xc3\xbc\"}",
		"{\"kind\":\"flow\",\"x\":\"\x1b\"}",
		"{\"kind\":\"flow\",\"x\":\"\\ud800\"}",
	};
	struct audit_log *l = open_log("r");
	static char big[AUDIT_EVENT_MAX + 64];
	struct audit_totals t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (append(l, bad[i]) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(audit_log_append(l, "gateway", "{\"kind\":\"flow\",\"x\":\"\0\"}", 23),
			 -EINVAL);
	memset(big, ' ', sizeof(big));
	memcpy(big, "{\"kind\":\"flow\"", 14);
	big[sizeof(big) - 2] = '}';
	big[sizeof(big) - 1] = 0;
	assert_int_equal(append(l, big), -EINVAL);
	/* None of them left a trace. */
	assert_int_equal(append(l, "{\"kind\":\"run\",\"event\":\"end\"}"), 0);
	audit_log_totals(l, &t);
	assert_int_equal(t.events, 1);
	audit_log_close(l);
	expect(0, NULL);
}

static void test_largest_event(void **state)
{
	static char value[AUDIT_EVENT_MAX];
	struct audit_event e;
	struct audit_log *l =
		open_log("0123456789012345678901234567890123456789012345678901234567890123");
	const char *text;
	size_t n;

	(void)state;
	memset(value, 1, sizeof(value));
	audit_event_begin(&e, "http");
	for (int i = 0; i < 8; i++) {
		char key[3] = { 'k', (char)('0' + i), 0 };

		audit_strn(&e, key, value, sizeof(value));
	}
	for (int i = 0; i < 100; i++) {
		char key[4] = { 'n', (char)('0' + i / 10), (char)('0' + i % 10), 0 };

		audit_u64(&e, key, UINT64_MAX);
	}
	text = audit_event_end(&e, &n);
	assert_true(n > AUDIT_EVENT_MAX - 200);
	assert_int_equal(audit_log_append(l, "gateway", text, n), 0);
	audit_log_close(l);
	expect(0, NULL);
}

static void test_totals(void **state)
{
	struct audit_log *l = open_log("r");
	struct audit_totals t;

	(void)state;
	assert_int_equal(append(l, "{\"kind\":\"flow\",\"id\":1,\"verdict\":\"allow\"}"), 0);
	assert_int_equal(append(l, "{\"kind\":\"flow\",\"id\":2,\"verdict\":\"deny\"}"), 0);
	assert_int_equal(append(l, "{\"kind\":\"flow\",\"id\":3,\"verdict\":\"fail\"}"), 0);
	assert_int_equal(append(l, "{\"kind\":\"http\",\"outcome\":\"misdirected\"}"), 0);
	assert_int_equal(append(l, "{\"kind\":\"dns\",\"result\":\"rebind\"}"), 0);
	assert_int_equal(
		append(l, "{\"kind\":\"secret\",\"event\":\"used\",\"verdict\":\"allow\"}"), 0);
	assert_int_equal(
		append(l, "{\"kind\":\"secret\",\"event\":\"violation\",\"verdict\":\"deny\"}"), 0);
	assert_int_equal(
		append(l, "{\"kind\":\"flow_end\",\"id\":1,\"bytes_up\":5,\"bytes_down\":7}"), 0);
	assert_int_equal(
		append(l, "{\"kind\":\"flow_end\",\"id\":2,\"bytes_up\":-5,\"bytes_down\":\"x\"}"),
		0);
	audit_log_totals(l, &t);
	assert_int_equal(t.events, 9);
	assert_int_equal(t.allowed, 1);
	assert_int_equal(t.denied, 3);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.secrets_used, 1);
	assert_int_equal(t.violations, 1);
	assert_int_equal(t.bytes_up, 5);
	assert_int_equal(t.bytes_down, 7);
	audit_log_close(l);
}

static void test_second_run_appends(void **state)
{
	char err[256];

	(void)state;
	write_run("r-1", 3);
	write_run("r-2", 3);
	assert_int_equal(check(err), 0);
}

static void test_one_writer(void **state)
{
	struct audit_log *l = open_log("r-1"), *other = NULL;

	(void)state;
	assert_int_equal(audit_log_open(path, -1, "r-2", NULL, &other), -EBUSY);
	audit_log_close(l);
	assert_int_equal(audit_log_open(path, -1, "r-2", NULL, &other), 0);
	audit_log_close(other);
}

static void test_what_is_not_opened(void **state)
{
	struct audit_log *l = NULL;
	char link[96];
	size_t n;
	char *s;

	(void)state;
	write_file("precious\n", 9);
	assert_int_equal(audit_log_open(path, -1, "r", NULL, &l), -EEXIST);
	assert_non_null(strstr(audit_log_why(-EEXIST), "no record"));
	s = read_file(&n);
	assert_string_equal(s, "precious\n");
	free(s);
	unlink(path);
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(audit_log_open(link, -1, "r", NULL, &l), -ELOOP);
	unlink(link);
	assert_int_equal(audit_log_open(dir, -1, "r", NULL, &l), -EISDIR);
	assert_int_equal(audit_log_open("/nowhere/x", -1, "r", NULL, &l), -ENOENT);
	assert_int_equal(audit_log_open(NULL, -1, "r", NULL, &l), -EBADF);
	assert_int_equal(audit_log_open(path, -1, "", NULL, &l), -EINVAL);
	assert_int_equal(audit_log_open(path, -1, "a\"b", NULL, &l), -EINVAL);
	assert_null(l);
}

static void test_hostile_name(void **state)
{
	struct audit_log *l = NULL;

	(void)state;
	assert_int_equal(audit_log_open(path, -1, "r", "\"},{\n\xff", &l), 0);
	assert_int_equal(append(l, "{\"kind\":\"run\",\"event\":\"end\"}"), 0);
	audit_log_close(l);
	expect(0, NULL);
}

static void test_full_disk_is_an_error_that_stays(void **state)
{
	struct audit_log *l = NULL;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(audit_log_open(NULL, fd, "r", NULL, &l), 0);
	assert_int_equal(append(l, "{\"kind\":\"run\"}"), 0); /* buffered */
	assert_int_equal(audit_log_flush(l), -ENOSPC);
	assert_int_equal(audit_log_flush(l), -ENOSPC);
	assert_int_equal(append(l, "{\"kind\":\"run\"}"), -ENOSPC);
	audit_log_close(l);
	/* Without a flush the buffer ends by itself, and with it the silence. */
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(audit_log_open(NULL, fd, "r", NULL, &l), 0);
	for (int i = 0;; i++) {
		int r = append(l, "{\"kind\":\"run\"}");

		if (r == -ENOSPC)
			break;
		if (r != 0 || i > 10000)
			fail_msg("%d after %d events", r, i);
	}
	audit_log_close(l);
}

/* A write that stops in the middle of a line leaves whole lines. */
static void test_file_limit_leaves_whole_lines(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit lim = { 5000, 5000 };
		struct audit_log *l = NULL;

		signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &lim) < 0 || audit_log_open(path, -1, "r", NULL, &l) < 0)
			_exit(2);
		for (int i = 0; i < 40; i++)
			if (append(l, "{\"kind\":\"dns\",\"verdict\":\"allow\"}") < 0)
				_exit(3);
		_exit(audit_log_flush(l) == -EFBIG ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	expect(0, NULL);
	/* The next run goes on behind it. */
	write_run("r-2", 2);
	expect(0, NULL);
}

static void test_torn_line_is_told(void **state)
{
	size_t n;
	char *s;

	(void)state;
	write_run("r-1", 3);
	s = read_file(&n);
	write_file(s, n - 40);
	expect(-EBADMSG, "line 5 is cut off");
	/* A later run still starts on a line of its own. */
	write_run("r-2", 1);
	expect(-EBADMSG, "line 5 is not a line of the record");
	free(s);
}

static void test_tampering(void **state)
{
	size_t n, at[8], lines = 0;
	char *s, *copy;

	(void)state;
	write_run("r-1", 4);
	s = read_file(&n);
	copy = malloc(n);
	at[lines++] = 0;
	for (size_t i = 0; i + 1 < n; i++)
		if (s[i] == '\n')
			at[lines++] = i + 1;
	at[lines] = n;
	assert_int_equal(lines, 6);
	/* Every byte matters. */
	for (size_t i = 0; i + 1 < n; i += 3) {
		char err[256];

		memcpy(copy, s, n);
		copy[i] ^= 1;
		write_file(copy, n);
		if (check(err) == 0)
			fail_msg("byte %zu may be changed", i);
	}
	/* So does every line, but for the last ones: a missing end is told apart. */
	for (size_t i = 0; i + 1 < lines; i++) {
		memcpy(copy, s, at[i]);
		memcpy(copy + at[i], s + at[i + 1], n - at[i + 1]);
		write_file(copy, n - (at[i + 1] - at[i]));
		expect(-EBADMSG, "lines are missing or moved");
	}
	/* Two lines swapped. */
	for (size_t i = 0; i + 2 < lines; i++) {
		size_t a = at[i + 1] - at[i], b = at[i + 2] - at[i + 1];

		memcpy(copy, s, n);
		memcpy(copy + at[i], s + at[i + 1], b);
		memcpy(copy + at[i] + b, s + at[i], a);
		write_file(copy, n);
		expect(-EBADMSG, NULL);
	}
	free(copy);
	free(s);
}

static void test_not_a_record(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{ "hello\n", "line 1: not a record of weir" },
		{ "{}\n", "line 1: not a record of weir" },
		{ "[1]\n", "line 1: not a record of weir" },
		{ "\n", "line 1: not a record of weir" },
		{ "{\"_schema\":\"weir.audit/v2\",\"kind\":\"flow\"}\n",
		  "line 1: written by another version" },
	};
	static char big[64 * 1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_file(cases[i].text, strlen(cases[i].text));
		expect(-EINVAL, cases[i].part);
	}
	memset(big, 'x', sizeof(big));
	write_file(big, sizeof(big));
	expect(-EINVAL, "line 1");
	unlink(path);
	expect(-ENOENT, "No such file");
	/* Emptied, it must not pass for intact. */
	write_file("", 0);
	expect(-EBADMSG, "no event is on record");
}

/* The verifier that the README prints agrees, without any of our code. */
static int python_verify(void)
{
	char cmd[256];
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	snprintf(cmd, sizeof(cmd), "exec python3 audit/verify.py %s >/dev/null 2>&1", path);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_independent_verifier(void **state)
{
	size_t n;
	char *s;
	int r;

	(void)state;
	write_run("r-1", 5);
	write_run("r-2", 5);
	r = python_verify();
	if (r == 127) {
		print_message("SKIPPED: no python3 to run audit/verify.py\n");
		skip();
	}
	assert_int_equal(r, 0);
	s = read_file(&n);
	*strstr(s, "a.com") = 'b';
	write_file(s, n);
	assert_int_equal(python_verify(), 1);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_format, begin),
		cmocka_unit_test_setup(test_refused_events, begin),
		cmocka_unit_test_setup(test_largest_event, begin),
		cmocka_unit_test_setup(test_totals, begin),
		cmocka_unit_test_setup(test_second_run_appends, begin),
		cmocka_unit_test_setup(test_one_writer, begin),
		cmocka_unit_test_setup(test_what_is_not_opened, begin),
		cmocka_unit_test_setup(test_hostile_name, begin),
		cmocka_unit_test_setup(test_full_disk_is_an_error_that_stays, begin),
		cmocka_unit_test_setup(test_file_limit_leaves_whole_lines, begin),
		cmocka_unit_test_setup(test_torn_line_is_told, begin),
		cmocka_unit_test_setup(test_tampering, begin),
		cmocka_unit_test_setup(test_not_a_record, begin),
		cmocka_unit_test_setup(test_independent_verifier, begin),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
