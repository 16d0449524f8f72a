/* SPDX-License-Identifier: Apache-2.0 */
/* Runs `weir policy ...` inside the test, with its output caught. */
#ifndef WEIR_CMD_RUN_H
#define WEIR_CMD_RUN_H

#include "tests/unit/policy/policy_test.h"
#include "weir/cmd_policy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static char out[65536], err_out[65536];
static char file[] = "/tmp/weir-test-cmd-XXXXXX";
static char file2[] = "/tmp/weir-test-cmd-XXXXXX";

static void slurp(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	close(fd);
}

/* Words apart by one blank; FILE and FILE2 stand for the test's files. */
static int run(const char *line)
{
	char copy[1024], *argv[32];
	int argc = 0, status, o = memfd_create("out", 0), e = memfd_create("err", 0);
	int old_o, old_e;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = copy; w; argc++) {
		char *space = strchr(w, ' ');

		if (space)
			*space++ = 0;
		argv[argc] = str_eq(w, "FILE") ? file : str_eq(w, "FILE2") ? file2 : w;
		w = space;
	}
	argv[argc] = NULL;
	fflush(stdout);
	fflush(stderr);
	old_o = dup(1);
	old_e = dup(2);
	dup2(o, 1);
	dup2(e, 2);
	status = cmd_policy(argc, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(old_o, 1);
	dup2(old_e, 2);
	close(old_o);
	close(old_e);
	slurp(o, out, sizeof(out));
	slurp(e, err_out, sizeof(err_out));
	return status;
}

/* Puts text into one of the files, made when it is not there yet. */
static inline int put_file(char *path, const void *text, size_t len)
{
	int fd = strstr(path, "XXXXXX") ? mkstemp(path) : open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || fd_write_all(fd, text, len) < 0)
		return -1;
	return close(fd);
}

#endif
