/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two halves of one promise. What the builder makes of any bytes is valid,
 * printable, accepted by the log and read back as a whole chain; and what the
 * log accepts of any text never breaks the file.
 */
#include "audit/audit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void build(const uint8_t *p, size_t size, struct audit_event *e)
{
	struct rd r = rd_init(p, size);
	const uint8_t *s;
	bool in_array = false;
	uint8_t op, len;
	char key[8];

	audit_event_begin(e, "http");
	for (unsigned i = 0; rd_u8(&r, &op) && i < 999; i++) {
		size_t n = 0;

		if (rd_u8(&r, &len))
			n = MIN((size_t)len * (op & 0x80 ? 64 : 1), rd_left(&r));
		if (!rd_bytes(&r, n, &s))
			abort();
		snprintf(key, sizeof(key), "k%u", i);
		switch (op & 7) {
		case 0:
		case 1:
		case 2:
			audit_strn(e, in_array ? NULL : key, (const char *)s, n);
			break;
		case 3:
			if (!in_array)
				audit_u64(e, key, (uint64_t)n << (op >> 2 & 63));
			break;
		case 4:
			if (!in_array)
				audit_bool(e, key, n & 1);
			break;
		case 5:
			if (!in_array)
				audit_array_begin(e, key);
			in_array = true;
			break;
		case 6:
			audit_array_end(e);
			in_array = false;
			break;
		default:
			if (!in_array)
				audit_ip(e, key,
					 n >= 4 ? &(struct ip_addr){ 4, { s[0], s[1], s[2], s[3] } }
						: NULL);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *null;
	struct audit_view v = { .width = 100 };
	struct audit_event e;
	struct audit_log *l;
	char path[64], err[256] = "";
	const char *text;
	size_t len;
	int fd = memfd_create("record", MFD_CLOEXEC);

	if (!null)
		null = fopen("/dev/null", "w");
	if (fd < 0 || audit_log_open(NULL, dup(fd), "r", "fuzz", &l) < 0)
		abort();
	build(data, size, &e);
	text = audit_event_end(&e, &len);
	if (len != strlen(text) || len >= AUDIT_EVENT_MAX)
		abort();
	if (audit_log_append(l, "gateway", text, len) < 0)
		abort();
	/* Anything may come from a process that was taken over. */
	if (audit_log_append(l, "gateway", (const char *)data, size) == 0 && size == 0)
		abort();
	if (audit_log_append(l, "gateway", text, len) < 0)
		abort();
	audit_log_close(l);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (audit_print(path, &v, null, err, sizeof(err)) != 0)
		abort();
	close(fd);
	return 0;
}
