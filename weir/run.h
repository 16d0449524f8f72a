/* SPDX-License-Identifier: Apache-2.0 */
/* `weir run`: the supervisor of one sandbox. `weir gateway`: that of one link. */
#ifndef WEIR_RUN_H
#define WEIR_RUN_H

/* argv[0] is "run" or "gateway". Each returns the exit status of the program. */
int cmd_run(int argc, char **argv);
int cmd_gateway(int argc, char **argv);

struct weir_config;
/* What `weir run` does with a microVM backend; cfg is taken over. Returns the exit status. */
int run_machine(struct weir_config *cfg);

#endif
