/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy suggest */
#include "weir/policy_cmd.h"

const char policy_help_suggest[] = "Usage: weir policy suggest\n";

int policy_cmd_suggest(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return policy_cmd_complain("suggest", "not in this version");
}
