/* SPDX-License-Identifier: Apache-2.0 */
/* `weir run`: the supervisor of one sandbox. */
#ifndef WEIR_RUN_H
#define WEIR_RUN_H

/* argv[0] is "run". Returns the exit status of the program. */
int cmd_run(int argc, char **argv);

#endif
