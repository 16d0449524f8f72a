/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy diff */
#include "weir/policy_cmd.h"

const char policy_help_diff[] = "Usage: weir policy diff\n";

int policy_cmd_diff(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return policy_cmd_complain("diff", "not in this version");
}
