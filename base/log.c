/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event on stderr, written with one write(2) so that lines of several processes do not mix. */
#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

static const char *log_role = "";
static enum log_level log_max = LOG_LEVEL_WARN;
static uint64_t log_left = UINT64_MAX;

void log_setup(const char *role, enum log_level level)
{
	log_role = role;
	log_max = level;
}

void log_limit(uint64_t bytes)
{
	log_left = bytes;
}

enum log_level log_level_get(void)
{
	return log_max;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "error: ", "warning: ", "", "debug: " };
	char line[1024];
	va_list ap;
	int n, saved = errno;

	if (level > log_max || !log_left)
		return;
	n = snprintf(line, sizeof(line), "weir%s%s%s: %s", *log_role ? "[" : "", log_role,
		     *log_role ? "]" : "", names[level]);
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 1);
	line[n++] = '\n';
	if ((uint64_t)n > log_left) {
		n = snprintf(line, sizeof(line), "weir%s%s%s: no more of its own words are kept\n",
			     *log_role ? "[" : "", log_role, *log_role ? "]" : "");
		log_left = 0;
	} else if (log_left != UINT64_MAX) {
		log_left -= (uint64_t)n;
	}
	/* Nowhere to complain to if stderr is gone. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		saved = errno;
	errno = saved;
}

const char *log_quote(const void *p, size_t len, char *out, size_t size)
{
	const uint8_t *b = p;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bool plain = b[i] >= 0x20 && b[i] < 0x7f && b[i] != '\\';

		if (n + (plain ? 1 : 4) + 1 > size)
			break;
		if (plain)
			out[n++] = (char)b[i];
		else
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", b[i]);
	}
	if (size)
		out[n] = 0;
	return out;
}
