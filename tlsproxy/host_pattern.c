/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which hosts a secret may go to: NAME, .suffix (apex and below) or *.suffix
 * (below only). A suffix has at least two labels, so that nobody hands a key
 * to a whole top-level domain by a slip of the keyboard. Addresses never match.
 */
#include "tlsproxy/tlsproxy.h"

int tlsproxy_host_pattern_parse(const char *s, size_t len, struct tlsproxy_host_pattern *ret,
				const char **ret_why)
{
	struct tlsproxy_host_pattern p = { 0 };
	int r;

	if (len >= 2 && s[0] == '*' && s[1] == '.') {
		p.is_suffix = true;
		s += 2;
		len -= 2;
	} else if (len >= 1 && s[0] == '.') {
		p.is_suffix = p.apex = true;
		s += 1;
		len -= 1;
	}
	r = name_parse(s, len, &p.name, ret_why);
	if (r < 0)
		return r;
	if (p.is_suffix && name_labels(&p.name) < 2) {
		if (ret_why)
			*ret_why = "a suffix needs at least two labels (.example.com)";
		return -EINVAL;
	}
	*ret = p;
	return 0;
}

bool tlsproxy_host_matches(const struct tlsproxy_host_pattern *p, const struct name *n)
{
	return p->is_suffix ? name_in_suffix(n, &p->name, p->apex) : name_equal(n, &p->name);
}

bool tlsproxy_host_matches_any(const struct tlsproxy_host_pattern *p, size_t n,
			       const struct name *name)
{
	for (size_t i = 0; i < n; i++)
		if (tlsproxy_host_matches(&p[i], name))
			return true;
	return false;
}
