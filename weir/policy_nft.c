/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir policy nft: hands over to weir-policy-nft, which stands beside this
 * program or, installed, in the libexec directory. It is a program of its own
 * because libnftnl is GPL.
 */
#include "weir/policy_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HELPER "weir-policy-nft"

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

int policy_cmd_nft(int argc, char **argv)
{
	static const char *const places[] = { HELPER, "../" WEIR_LIBEXECDIR "/weir/" HELPER };
	char dir[4096 - 128], path[4096];

	(void)argc;
	if (own_directory(dir, sizeof(dir)) < 0)
		return policy_cmd_complain("nft", "cannot tell where weir itself is: %s",
					   strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, places[i]);
		execv(path, argv);
	}
	return policy_cmd_complain("nft", "%s is not beside %sweir (%s)", HELPER, dir,
				   strerror(errno));
}
