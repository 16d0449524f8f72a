/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path, and a pattern behind a newline. The normal form must be its own
 * normal form and hold none of what the patterns rely on being gone.
 */
#include "policy/policy_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_form(const char *s)
{
	if (str_eq(s, "*"))
		return;
	if (s[0] != '/' || strstr(s, "//") || strstr(s, "/./") || strstr(s, "/../") ||
	    strpbrk(s, "\\?# ") || strcasestr(s, "%2f") || strcasestr(s, "%5c") ||
	    strstr(s, "%00") || strcasestr(s, "%2e"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data, *nl = memchr(data, '\n', size);
	size_t len = nl ? (size_t)(nl - s) : size;
	struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20), p = BUF_INIT(1 << 20);
	struct why why;

	if (policy_path_normalise(s, len, &a) == 0) {
		const char *text = buf_str(&a);

		if (strlen(text) != a.len)
			abort();
		check_form(text);
		if (policy_path_normalise(text, a.len, &b) < 0 || !str_eq(buf_str(&b), text))
			abort();
		if (text[0] == '/' && !policy_path_match("/**", text))
			abort();
		if (nl && !memchr(nl + 1, 0, size - len - 1)) {
			char *pattern = strndup(nl + 1, size - len - 1);

			if (policy_pattern_normalise(pattern, strlen(pattern), &p, &why) == 0)
				(void)policy_path_match(buf_str(&p), text);
			free(pattern);
		}
	} else if (a.len) {
		abort();
	}
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&p);
	return 0;
}
