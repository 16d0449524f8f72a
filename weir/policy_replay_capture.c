/* SPDX-License-Identifier: Apache-2.0 */
/* Captures. */
#include "weir/policy_cmd.h"
#include "weir/replay.h"
int replay_capture(const struct replay_input *in)
{
	return policy_cmd_complain("replay", "%s: captures are not read yet", in->path);
}
