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

/* Levenshtein distance over two rows; words longer than SUGGEST_MAX never match. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t row[SUGGEST_MAX + 1];

	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t diag = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t cost = diag + (a[i - 1] != b[j - 1]);

			diag = row[j];
			row[j] = MIN(MIN(row[j], row[j - 1]) + 1, cost);
		}
	}
	return row[nb];
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
