/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy nft */
#include "weir/policy_cmd.h"

const char policy_help_nft[] = "Usage: weir policy nft\n";

int policy_cmd_nft(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return policy_cmd_complain("nft", "not in this version");
}
