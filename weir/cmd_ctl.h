/* SPDX-License-Identifier: Apache-2.0 */
/* `weir ctl`: talking to sandboxes that run. */
#ifndef WEIR_CMD_CTL_H
#define WEIR_CMD_CTL_H

/* argv[0] is "ctl". Returns the exit status of the program. */
int cmd_ctl(int argc, char **argv);

#endif
