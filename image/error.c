/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as sentences: what, where, what to do. Text that an archive chose is quoted by the caller. */
#include "image/image_int.h"

#include <stdio.h>

static void fill(struct image_error *err, const char *fmt, va_list ap) printf_like(2, 0);
static void fill(struct image_error *err, const char *fmt, va_list ap)
{
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
}

int image_fail(struct image_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		fill(err, fmt, ap);
		va_end(ap);
	}
	return -code;
}

int image_fail_sys(struct image_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (err) {
		va_start(ap, fmt);
		fill(err, fmt, ap);
		va_end(ap);
		len = strlen(err->text);
		snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(code));
	}
	return -code;
}
