/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy: look at a policy without running anything. */
#ifndef WEIR_CMD_POLICY_H
#define WEIR_CMD_POLICY_H

/*
 * argv[0] is "policy". Returns the exit status: 0 done (explain: allow),
 * 1 explain: deny, 2 an error, told on standard error.
 */
int cmd_policy(int argc, char **argv);

#endif
