/* SPDX-License-Identifier: Apache-2.0 */
/* Resource limits as people write them; the names are Docker's and ulimit's. */
#include "base/base.h"

#include <sys/resource.h>

static const struct {
	const char *name;
	int which;
} kinds[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

static bool value(const char *s, size_t n, rlim_t *ret)
{
	uint64_t v;

	if (str_ieq(s, n, "unlimited") || str_ieq(s, n, "infinity") ||
	    (n == 2 && memcmp(s, "-1", 2) == 0)) {
		*ret = RLIM_INFINITY;
		return true;
	}
	if (uint_parse(s, n, 0, UINT64_MAX / 2, &v, NULL) < 0)
		return false;
	*ret = v;
	return true;
}

int rlimit_parse(const char *text, int *ret_which, struct rlimit *ret, const char **ret_why)
{
	const char *eq = strchrnul(text, '='), *soft = *eq ? eq + 1 : eq;
	const char *colon = strchr(soft, ':');
	struct rlimit r;
	size_t i = 0;

	while (i < ARRAY_SIZE(kinds) && !str_ieq(text, (size_t)(eq - text), kinds[i].name))
		i++;
	if (!*eq)
		*ret_why = "write NAME=SOFT or NAME=SOFT:HARD, as nofile=1024:4096";
	else if (i == ARRAY_SIZE(kinds))
		*ret_why = "there is no limit of that name: as, core, cpu, data, fsize, locks, "
			   "memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, "
			   "sigpending, stack";
	else if (!value(soft, colon ? (size_t)(colon - soft) : strlen(soft), &r.rlim_cur) ||
		 !value(colon ? colon + 1 : soft, strlen(colon ? colon + 1 : soft), &r.rlim_max))
		*ret_why = "a limit is a number, or unlimited";
	else if (r.rlim_cur > r.rlim_max)
		*ret_why = "the soft limit is above the hard one";
	else {
		*ret_which = kinds[i].which;
		*ret = r;
		return 0;
	}
	return -EINVAL;
}
