/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding of long lines, see wrap.h. Texts are printable before they get here;
 * a word longer than a line is left whole, for a person to copy.
 */
#include "weir/wrap.h"

#include <stdarg.h>
#include <sys/ioctl.h>

/* A narrower terminal folds by itself. */
#define COLUMNS_MIN 40

unsigned wrap_columns(FILE *f)
{
	struct winsize w;

	return ioctl(fileno(f), TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}

/* Characters, not bytes, of UTF-8. */
static unsigned width_of(const char *s, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

void wrap_put(FILE *f, unsigned columns, unsigned indent, const char *text)
{
	unsigned at = 0;

	if (columns < COLUMNS_MIN || columns <= indent) {
		fprintf(f, "%s\n", text);
		return;
	}
	while (*text) {
		size_t blanks = strspn(text, " "), word = strcspn(text + blanks, " ");
		unsigned width = width_of(text + blanks, word);

		if (at > indent && at + blanks + width > columns) {
			fprintf(f, "\n%*s", (int)indent, "");
			at = indent;
			blanks = 0;
			text += strspn(text, " ");
		}
		fwrite(text, 1, blanks + word, f);
		at += (unsigned)blanks + width;
		text += blanks + word;
	}
	fputc('\n', f);
}

void wrap_printf(FILE *f, unsigned indent, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	wrap_put(f, wrap_columns(f), indent, text);
	free(text);
}
