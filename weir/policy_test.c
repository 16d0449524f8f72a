/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy test */
#include "weir/policy_cmd.h"

const char policy_help_test[] = "Usage: weir policy test\n";

int policy_cmd_test(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return policy_cmd_complain("test", "not in this version");
}
