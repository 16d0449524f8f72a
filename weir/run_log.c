/* SPDX-License-Identifier: Apache-2.0 */
#include "weir/run_log.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

/* Of one line; each byte may become two. */
#define LINE_BYTES 4096

/* Length of the UTF-8 sequence at p (RFC 3629), or 0. */
static size_t sequence(const uint8_t *p, size_t left)
{
	size_t n = p[0] < 0x80			 ? 1
		   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		   : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0;

	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static size_t as_text(const uint8_t *p, size_t n, char out[static 2 * LINE_BYTES])
{
	size_t len = 0;

	for (size_t i = 0; i < n;) {
		size_t k = sequence(p + i, n - i);

		if (k) {
			memcpy(out + len, p + i, k);
			len += k;
			i += k;
		} else {
			out[len++] = (char)(0xc0 | p[i] >> 6);
			out[len++] = (char)(0x80 | (p[i] & 0x3f));
			i++;
		}
	}
	return len;
}

static void put_time(char out[static 32])
{
	uint64_t now = time_real_ns();
	time_t s = (time_t)(now / NS_PER_S);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(now % NS_PER_S / NS_PER_MS));
}

static void write_line(struct run_log *l, const char *source, const uint8_t *p, size_t n)
{
	char text[2 * LINE_BYTES], when[32], *line;
	size_t len = as_text(p, n, text);
	json_t *o;

	put_time(when);
	o = json_pack("{s:s, s:s, s:s%}", "t", when, "s", source, "d", text, len);
	line = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	json_decref(o);
	if (!line)
		return;
	len = strlen(line);
	line[len] = '\n'; /* in the place of its end */
	if (fd_write_all(l->fd, line, len + 1) < 0)
		log_debug("the output's file takes no more");
	l->written += len + 1;
	free(line);
}

void run_log_write(struct run_log *l, const char *source, const uint8_t *p, size_t n)
{
	static const uint8_t full[] = "weir: no more of it is kept\n";

	while (n && l->written < RUN_LOG_MAX) {
		size_t part = MIN(n, (size_t)LINE_BYTES);

		write_line(l, source, p, part);
		p += part;
		n -= part;
		if (l->written >= RUN_LOG_MAX)
			write_line(l, "system", full, sizeof(full) - 1);
	}
}
