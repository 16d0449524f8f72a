/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs beside this one that do a part of it: those that need libraries which
 * this one shall not carry. In the build's bin/ they are neighbours; installed,
 * they stand in the libexec directory.
 */
#include "weir/policy_cmd.h"

#include <stdio.h>
#include <unistd.h>

/* Where the program itself is, up to and with the last slash. */
static int own_directory(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	out[n] = '\0';
	slash = strrchr(out, '/');
	if (!slash)
		return -ENOENT;
	slash[1] = '\0';
	return 0;
}

int policy_cmd_helper(const char *cmd, const char *program, char **argv)
{
	static const char *const places[] = { "", "../" WEIR_LIBEXECDIR "/weir/" };
	char dir[4096 - 128], path[4096];

	if (own_directory(dir, sizeof(dir)) < 0)
		return policy_cmd_complain(cmd, "cannot tell where weir itself is: %s",
					   strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s%s%s", dir, places[i], program);
		execv(path, argv);
	}
	return policy_cmd_complain(cmd, "%s is not beside %sweir (%s); was all of it installed?",
				   program, dir, strerror(errno));
}
