/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of control sockets: what is made in it, and what dead runs left. Internal to weir/. */
#ifndef WEIR_CTL_TIDY_H
#define WEIR_CTL_TIDY_H

#include "base/base.h"

/*
 * A lock on the folder, or a file in it: while something is made in the folder nobody tidies
 * it; alone: nobody else makes anything either. Waits a second at most and then goes on
 * without: somebody who stands still must not stop others. fd is of the caller's own opening.
 */
void ctl_hold(int fd, bool alone);
void ctl_release(int fd);

/* Removes files that no process has any more; nothing while somebody holds the folder. */
void ctl_tidy(int dir);

#endif
