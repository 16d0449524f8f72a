/* SPDX-License-Identifier: Apache-2.0 */
/* A light reading of the first Host field; hostile input, bounded by what the stack holds. */
#include "weir/host_hint.h"

static bool is_host_field(const char *line, size_t len)
{
	return len > 5 && str_ieq(line, 5, "host:");
}

static struct host_hint read_value(const char *s, const char *end)
{
	struct host_hint h = { .kind = HOST_HINT_NONE };
	struct authority a;

	while (s < end && (*s == ' ' || *s == '\t'))
		s++;
	while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (authority_parse(s, (size_t)(end - s), &a, NULL) == 0 && !a.is_addr) {
		h.kind = HOST_HINT_NAME;
		h.name = a.name;
	}
	return h;
}

void host_hint(const uint8_t *p, size_t len, struct host_hint *ret)
{
	const char *line = (const char *)p, *end = line + len, *nl;
	bool started = false;

	*ret = (struct host_hint){ .kind = HOST_HINT_MORE };
	for (; line < end && (nl = memchr(line, '\n', (size_t)(end - line))); line = nl + 1) {
		const char *stop = nl > line && nl[-1] == '\r' ? nl - 1 : nl;

		if (is_host_field(line, (size_t)(stop - line))) {
			*ret = read_value(line + 5, stop);
			return;
		}
		/* Empty lines before the request line do not end its head. */
		if (stop == line && started) {
			ret->kind = HOST_HINT_NONE;
			return;
		}
		started |= stop != line;
	}
}
