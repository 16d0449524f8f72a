/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Amounts as people write them: sizes in bytes ("64KiB", "10MB"), bandwidths in
 * bits or bytes a second ("10mbit", "2MB"). The unit has to be there: a bare
 * number would be bits to one reader and bytes to the next.
 */
#include "base/base.h"

#include <stdio.h>
#include <strings.h>

static const struct unit {
	const char *name;
	uint64_t of;
	bool bits;
} units[] = {
	{ "B", 1, false },
	{ "kB", 1000, false },
	{ "MB", 1000000, false },
	{ "GB", 1000000000, false },
	{ "KiB", UINT64_C(1) << 10, false },
	{ "MiB", UINT64_C(1) << 20, false },
	{ "GiB", UINT64_C(1) << 30, false },
	{ "bit", 1, true },
	{ "kbit", 1000, true },
	{ "mbit", 1000000, true },
	{ "gbit", 1000000000, true },
};

static int fail(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int parse(const char *s, size_t len, bool bits, uint64_t *ret, const char **ret_why)
{
	size_t digits = 0;
	const char *why;
	uint64_t n;

	while (digits < len && s[digits] >= '0' && s[digits] <= '9')
		digits++;
	if (uint_parse(s, digits, 1, UINT64_MAX, &n, &why) < 0)
		return fail(ret_why, digits ? why : "not a whole number and a unit");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		const struct unit *u = &units[i];

		if (strlen(u->name) != len - digits ||
		    strncasecmp(u->name, s + digits, len - digits) != 0)
			continue;
		if (u->bits && !bits)
			return fail(ret_why, "a size is in bytes: B, kB, MB, GB, KiB, MiB, GiB");
		if (n > UINT64_MAX / u->of)
			return fail(ret_why, "number out of range");
		n *= u->of;
		if (u->bits && n < 8)
			return fail(ret_why, "less than a byte");
		*ret = u->bits ? n / 8 : n;
		return 0;
	}
	return fail(ret_why, bits ? "needs a unit: bit, kbit, mbit, gbit, or bytes: B, kB, MB, GB, "
				    "KiB, MiB, GiB"
				  : "needs a unit: B, kB, MB, GB, KiB, MiB, GiB");
}

int size_parse(const char *s, size_t len, uint64_t *ret, const char **ret_why)
{
	return parse(s, len, false, ret, ret_why);
}

int bandwidth_parse(const char *s, size_t len, uint64_t *ret, const char **ret_why)
{
	return parse(s, len, true, ret, ret_why);
}

static const char *format(uint64_t n, bool bits, char out[static SIZE_STRLEN])
{
	const struct unit *best = bits ? &units[7] : &units[0];

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (units[i].bits == bits && n % units[i].of == 0 && units[i].of > best->of)
			best = &units[i];
	snprintf(out, SIZE_STRLEN, "%llu%s", (unsigned long long)(n / best->of), best->name);
	return out;
}

const char *size_format(uint64_t n, char out[static SIZE_STRLEN])
{
	return format(n, false, out);
}

const char *bandwidth_format(uint64_t n, char out[static SIZE_STRLEN])
{
	return n > UINT64_MAX / 8 ? format(n, false, out) : format(n * 8, true, out);
}
