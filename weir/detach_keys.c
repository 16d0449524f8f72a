/* SPDX-License-Identifier: Apache-2.0 */
/* See detach_keys.h. */
#include "weir/detach_keys.h"

/* ctrl-@ to ctrl-_ are the letters' codes without the upper bits. */
static int key_of(const char *s, size_t n)
{
	char c;

	if (n == 1)
		return (unsigned char)s[0] < 0x80 && s[0] > ' ' ? s[0] : -1;
	if (n != 6 || memcmp(s, "ctrl-", 5) != 0)
		return -1;
	c = s[5];
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 1;
	return c >= '@' && c <= '_' ? c - '@' : -1;
}

int detach_keys_parse(const char *text, struct detach_keys *ret, const char **ret_why)
{
	struct detach_keys k = { 0 };
	const char *why = NULL;

	if (str_eq(text, "none"))
		text = "";
	while (*text && !why) {
		size_t n = strcspn(text, ",");
		int key = key_of(text, n);

		if (key < 0)
			why = "a key is one character, or ctrl- and a to z, @, [, \\, ], ^ or _";
		else if (k.n == DETACH_KEYS_MAX)
			why = "more than 8 keys";
		else
			k.key[k.n++] = (uint8_t)key;
		text += n;
		if (*text == ',' && !*++text && !why)
			why = "no key behind the last comma";
	}
	if (why) {
		*ret_why = why;
		return -EINVAL;
	}
	*ret = k;
	return 0;
}

size_t detach_keys_filter(struct detach_keys *k, const uint8_t *in, size_t n, uint8_t *out,
			  bool *ret_whole)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		/* As much of what is held back as no longer fits goes on, oldest first. */
		while (k->typed && in[i] != k->key[k->typed]) {
			size_t fits = k->typed;

			do
				fits--;
			while (fits && memcmp(k->key, k->key + k->typed - fits, fits) != 0);
			memcpy(out + kept, k->key, k->typed - fits);
			kept += k->typed - fits;
			k->typed = fits;
		}
		if (k->n && in[i] == k->key[k->typed])
			k->typed++;
		else
			out[kept++] = in[i];
		if (k->n && k->typed == k->n) {
			*ret_whole = true;
			return kept;
		}
	}
	return kept;
}
