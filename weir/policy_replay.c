/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy replay */
#include "weir/policy_cmd.h"

const char policy_help_replay[] = "Usage: weir policy replay\n";

int policy_cmd_replay(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return policy_cmd_complain("replay", "not in this version");
}
