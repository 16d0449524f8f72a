/* SPDX-License-Identifier: Apache-2.0 */
/* The capture: block by block here, and as tshark reads it where it is installed. */
#include "audit/audit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[] = "/tmp/weir-capture-XXXXXX";

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Ethernet, IPv4 and UDP headers; the payload is the caller's. */
static const uint8_t head[42] = {
	0x02, 0,    0,	  0,	0, 1,  0x02, 0, 0,  0,	0, 2, 0x08, 0x00, /* Ethernet */
	0x45, 0,    0,	  33,	0, 0,  0,    0, 64, 17, 0, 0, 10,   0,
	2,    15,   10,	  0,	2, 2,		/* IPv4 */
	0x9c, 0x40, 0x11, 0x5c, 0, 13, 0,    0, /* UDP to 4444 */
};

static int make(void **state)
{
	static uint8_t big[300000];
	struct audit_capture *c = NULL;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(audit_capture_open(fd, &c), 0);
	audit_capture_frame(c, true, head, sizeof(head), "hello", 5);
	audit_capture_keys(c, "CLIENT_RANDOM 00 11", 19);
	audit_capture_frame(c, false, head, sizeof(head), NULL, 0);
	audit_capture_frame(c, true, head, 14, "x", 1);
	audit_capture_frame(c, true, head, sizeof(head), big, sizeof(big)); /* cut at the snap length */
	audit_capture_keys(c, (const char *)big, sizeof(big));		    /* left out */
	audit_capture_keys(c, "", 0);
	for (int i = 0; i < 3000; i++)
		audit_capture_frame(c, i % 2, head, sizeof(head), big, 700);
	assert_int_equal(audit_capture_flush(c), 0);
	audit_capture_close(c);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void test_blocks(void **state)
{
	struct buf b = BUF_INIT(1 << 24);
	size_t at = 0, n = 0, frames = 0;
	const uint8_t *p;

	(void)state;
	assert_int_equal(file_read(path, 1 << 24, &b), 0);
	p = buf_at(&b);
	while (at < b.len) {
		uint32_t type = u32(p + at), len = u32(p + at + 4);

		assert_int_equal(len % 4, 0);
		assert_true(len >= 12 && len <= b.len - at);
		assert_int_equal(u32(p + at + len - 4), len);
		switch (n++) {
		case 0:
			assert_int_equal(type, 0x0A0D0D0A);
			assert_int_equal(u32(p + at + 8), 0x1A2B3C4D);
			break;
		case 1:
			assert_int_equal(type, 1);
			assert_int_equal(u32(p + at + 8), 1); /* Ethernet, reserved 0 */
			break;
		case 3:
			assert_int_equal(type, 10);
			assert_int_equal(u32(p + at + 8), 0x544c534b);
			assert_int_equal(u32(p + at + 12), 20);
			assert_memory_equal(p + at + 16, "CLIENT_RANDOM 00 11\n", 20);
			break;
		default:
			assert_int_equal(type, 6);
			frames++;
			if (n == 3) {
				assert_int_equal(u32(p + at + 20), 47);
				assert_int_equal(u32(p + at + 24), 47);
				assert_memory_equal(p + at + 28 + 42, "hello\0", 6);
				assert_int_equal(u32(p + at + 28 + 48), 2 | 4 << 16);
				assert_int_equal(u32(p + at + 28 + 52), 2); /* outbound */
			}
			if (u32(p + at + 24) == 300042)
				assert_int_equal(u32(p + at + 20), 256 * 1024);
		}
		at += len;
	}
	assert_int_equal(at, b.len);
	assert_int_equal(frames, 3004);
	buf_fini(&b);
}

/* Output of tshark with these arguments, or NULL when there is none. */
static char *tshark(const char *args)
{
	struct buf b = BUF_INIT(1 << 20);
	char cmd[512], *out;
	int fd[2], status;
	pid_t pid;

	snprintf(cmd, sizeof(cmd), "tshark -n -r %s %s 2>/dev/null", path, args);
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	assert_int_equal(fd_read_all(fd[0], 1 << 20, &b), 0);
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return buf_fini(&b), NULL;
	assert_int_equal(status, 0);
	out = strdup(buf_str(&b));
	buf_fini(&b);
	return out;
}

static void test_tshark(void **state)
{
	char *out =
		tshark("-c 3 -T fields -e frame.len -e frame.packet_flags_direction -e udp.dstport "
		       "-e frame.time_epoch -e data");

	(void)state;
	if (!out) {
		print_message("SKIPPED: tshark is not installed; the capture is not read by "
			      "another program\n");
		skip();
	}
	for (char *p = out; *p; p++)
		if (*p == '\t')
			*p = ' ';
	if (strncmp(out, "47 ", 3) != 0 || !strstr(out, " 4444 ") || !strstr(out, "68656c6c6f") ||
	    !strstr(out, "0x00000002") || !strstr(out, "0x00000001"))
		fail_msg("tshark reads: %s", out);
	free(out);
	/* All of it, to the end. */
	out = tshark("-T fields -e frame.number | tail -1");
	assert_string_equal(out, "3004\n");
	free(out);
}

static void test_write_error_stops_quietly(void **state)
{
	struct audit_capture *c = NULL;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(audit_capture_open(fd, &c), -ENOSPC);
	assert_null(c);
	assert_int_equal(audit_capture_open(-1, &c), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_tshark),
		cmocka_unit_test(test_write_error_stops_quietly),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
