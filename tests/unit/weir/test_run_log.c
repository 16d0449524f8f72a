/* SPDX-License-Identifier: Apache-2.0 */
/* What a command in the background writes, as lines of JSON, whatever bytes they are. */
#include "weir/run_log.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static struct run_log log_file;
static char text[65536];

static int setup(void **state)
{
	(void)state;
	log_file = (struct run_log){ .fd = memfd_create("log", MFD_CLOEXEC) };
	return log_file.fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return close(log_file.fd);
}

static void write_bytes(const char *p, size_t n)
{
	run_log_write(&log_file, "stdout", (const uint8_t *)p, n);
}

/* Line `number` of the file, parsed; its "d". */
static json_t *line(size_t number)
{
	ssize_t n = pread(log_file.fd, text, sizeof(text) - 1, 0);
	char *at = text, *end;
	json_t *o;

	assert_true(n > 0);
	text[n] = 0;
	while (number--)
		at = strchr(at, '\n') + 1;
	end = strchr(at, '\n');
	assert_non_null(end);
	o = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	return o;
}

static void expect(size_t number, const char *d)
{
	json_t *o = line(number);

	assert_string_equal(json_string_value(json_object_get(o, "d")), d);
	assert_string_equal(json_string_value(json_object_get(o, "s")), "stdout");
	assert_int_equal(strlen(json_string_value(json_object_get(o, "t"))), 24);
	json_decref(o);
}

static void test_text(void **state)
{
	(void)state;
	write_bytes("hello\n", 6);
	write_bytes("\"quoted\\\" \x1b[0m", 14);
	expect(0, "hello\n");
	expect(1, "\"quoted\\\" \x1b[0m");
}

static void test_other_bytes(void **state)
{
	(void)state;
	write_bytes("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 15);
	write_bytes("\xff|\xc0\x80|\xed\xa0\x80|\xe2\x82", 11);
	expect(0, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
	expect(1, "\xc3\xbf|\xc3\x80\xc2\x80|\xc3\xad\xc2\xa0\xc2\x80|\xc3\xa2\xc2\x82");
}

static void test_end(void **state)
{
	(void)state;
	log_file.written = RUN_LOG_MAX - 1;
	write_bytes("last", 4);
	write_bytes("never", 5);
	expect(0, "last");
	assert_non_null(strstr(text, "no more of it is kept"));
	assert_null(strstr(text, "never"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
