/* SPDX-License-Identifier: Apache-2.0 */
/* `weir doctor`: what this machine can do for weir, and what to do about the rest. */
#ifndef WEIR_DOCTOR_H
#define WEIR_DOCTOR_H

/* Exit status: 0 when the netns backend works, 1 when something it needs is missing. */
int cmd_doctor(int argc, char **argv);

#endif
