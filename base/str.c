/* SPDX-License-Identifier: Apache-2.0 */
/* Small string helpers, and the "did you mean" of every error message. */
#include "base/base.h"

#include <strings.h>

bool str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ieq(const char *s, size_t len, const char *b)
{
	return strlen(b) == len && strncasecmp(s, b, len) == 0;
}

#define SUGGEST_MAX 48

/*
 * How many slips of a typist apart: a letter too many, too few, another one, or two
 * neighbours swapped (optimal string alignment). Longer words than SUGGEST_MAX never match.
 */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t rows[3][SUGGEST_MAX + 1];

	for (size_t i = 0; i <= na; i++) {
		size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			if (i == 0) {
				row[j] = j;
				continue;
			}
			row[j] = MIN(MIN(up[j], row[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], up2[j - 2] + 1);
		}
	}
	return rows[na % 3][nb];
}

const char *str_suggest(const char *word, const char *const *candidates, size_t n)
{
	size_t len = strlen(word), best = 3;
	const char *found = NULL;

	if (len > SUGGEST_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t clen = strlen(candidates[i]), d;

		if (clen > SUGGEST_MAX)
			continue;
		d = edit_distance(word, len, candidates[i], clen);
		if (d < best && d * 2 < MAX(clen, len)) {
			best = d;
			found = candidates[i];
		}
	}
	return found;
}
