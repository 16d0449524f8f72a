/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CMD_CA_H
#define WEIR_CMD_CA_H

/* `weir ca`; argv[0] is "ca". Returns the exit status. */
int cmd_ca(int argc, char **argv);

#endif
