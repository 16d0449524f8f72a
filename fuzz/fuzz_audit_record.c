/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record from anybody: the table, its summary and `why` take any file. What
 * they print is printable ASCII, whatever the file holds.
 */
#include "audit/audit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_output(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] != '\n' && (text[i] < 0x20 || text[i] > 0x7e))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct audit_view v = { .width = size % 200 };
	char path[64], err[256] = "", *text = NULL;
	int fd = memfd_create("record", MFD_CLOEXEC);
	FILE *out;
	size_t n;

	if (fd < 0 || fd_write_all(fd, data, size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	out = open_memstream(&text, &n);
	if (audit_print(path, &v, out, err, sizeof(err)) < 0 && !err[0])
		abort();
	if (audit_why(path, "d", &v, out, err, sizeof(err)) < 0 && !err[0])
		abort();
	v.json = true;
	if (audit_why(path, "1", &v, out, err, sizeof(err)) < 0 && !err[0])
		abort();
	if (audit_print(path, &v, out, err, sizeof(err)) < 0 && !err[0])
		abort();
	fclose(out);
	check_output(text, n);
	free(text);
	close(fd);
	return 0;
}
