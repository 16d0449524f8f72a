/* SPDX-License-Identifier: Apache-2.0 */
/* `weir exec`, `shell`, `cp`, `logs`, `attach`, `metrics`: in and out of a machine that runs. */
#ifndef WEIR_CMD_EXEC_H
#define WEIR_CMD_EXEC_H

/* argv[0] is the command's word. Each returns the exit status of the program. */
int cmd_exec(int argc, char **argv);
int cmd_shell(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_attach(int argc, char **argv);
int cmd_metrics(int argc, char **argv);

/* Shows the log of one that is over, whole; -ENOENT: there is none. */
int logs_show_ended(const char *name, int *ret_status);

#endif
