/* SPDX-License-Identifier: Apache-2.0 */
/* An empty qcow2 layer: what the format asks for, and, where it is installed, what qemu-img says. */
#include "weir/vm.h"

#include <setjmp.h>
#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static char path[] = "/tmp/weir-layer-XXXXXX";

static int make(uint64_t size)
{
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC), r;

	assert_true(fd >= 0);
	r = vm_layer_qcow2(fd, size);
	close(fd);
	return r;
}

static uint64_t field(size_t at, size_t width)
{
	uint8_t b[8] = { 0 };
	uint64_t v;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, b + 8 - width, width, (off_t)at), (ssize_t)width);
	close(fd);
	memcpy(&v, b, 8);
	return be64toh(v);
}

static void test_header(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(make(512 * MIB + 512), 0);
	assert_int_equal(field(0, 4), 0x514649fb);
	assert_int_equal(field(4, 4), 3);
	assert_int_equal(field(8, 8), 0); /* no base named in it */
	assert_int_equal(field(24, 8), 512 * MIB + 512);
	assert_int_equal(field(36, 4), 2); /* first level: 512 MiB an entry */
	assert_int_equal(field(40, 8), 3 * 65536);
	assert_int_equal(field(48, 8), 65536);
	assert_int_equal(field(65536, 8), 2 * 65536);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(field(2 * 65536 + 2 * i, 2), 1);
	assert_int_equal(field(2 * 65536 + 8, 2), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4 * 65536);
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(make(512), 0);
	assert_int_equal(field(36, 4), 1);
	assert_int_equal(make(511), -EFBIG);
	/* A first level of one cluster: 4 TiB. */
	assert_int_equal(make(UINT64_C(4) << 40), 0);
	assert_int_equal(make((UINT64_C(4) << 40) + 512), -EFBIG);
}

static void test_qemu_img(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(make(64 * MIB), 0);
	if (access("/usr/bin/qemu-img", X_OK) < 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/usr/bin/qemu-img", "qemu-img", "check", "-q", "-f", "qcow2", path,
		      (char *)NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	return fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_qemu_img),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
