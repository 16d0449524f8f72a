/* SPDX-License-Identifier: Apache-2.0 */
/* `weir ps`, `inspect`, `stop`, `kill`, `rm`: the sandboxes there are. */
#ifndef WEIR_CMD_PS_H
#define WEIR_CMD_PS_H

/* argv[0] is the command's word. Each returns the exit status of the program. */
int cmd_ps(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_rm(int argc, char **argv);

#endif
