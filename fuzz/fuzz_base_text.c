/* SPDX-License-Identifier: Apache-2.0 */
/* Every text parser of base: whatever is accepted must format back to text that parses to the same value. */
#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ip(const char *s, size_t n)
{
	struct ip_addr a, again;
	char out[IP_STRLEN];

	if (ip_parse(s, n, &a, NULL) < 0)
		return;
	ip_format(&a, out);
	if (ip_parse(out, strlen(out), &again, NULL) < 0 || !ip_equal(&a, &again))
		abort();
}

static void check_name(const char *s, size_t n)
{
	struct name a, again;

	if (name_parse(s, n, &a, NULL) < 0)
		return;
	if (strlen(a.s) != a.len || name_parse(a.s, a.len, &again, NULL) < 0 ||
	    !name_equal(&a, &again))
		abort();
}

static void check_endpoint(const char *s, size_t n)
{
	struct endpoint a, again;
	char out[ENDPOINT_STRLEN];

	if (endpoint_parse(s, n, 53, &a, NULL) < 0)
		return;
	endpoint_format(&a, out);
	if (endpoint_parse(out, strlen(out), 1, &again, NULL) < 0 || again.port != a.port)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data;
	struct ip_prefix p;
	struct port_range r;
	struct authority au;
	const char *why = NULL;

	check_ip(s, size);
	check_name(s, size);
	check_endpoint(s, size);
	if (ip_prefix_parse(s, size, &p, &why) < 0 && !why)
		abort();
	if (port_range_parse(s, size, &r, NULL) == 0 && r.lo > r.hi)
		abort();
	if (authority_parse(s, size, &au, NULL) == 0 && !au.is_addr && au.name.len == 0)
		abort();
	return 0;
}
