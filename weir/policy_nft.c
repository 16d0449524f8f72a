/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy nft: a program of its own, because libnftnl is GPL. */
#include "weir/policy_cmd.h"

int policy_cmd_nft(int argc, char **argv)
{
	(void)argc;
	return policy_cmd_helper("nft", "weir-policy-nft", argv);
}
