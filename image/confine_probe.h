/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking from inside what is still possible: weir-image --probe WHAT, for tests. Never part of a run
 * that reads anything: the process ends with the answer.
 *
 *   files    after stages 1 to 3: one line "NAME: what came of it" for each attempt
 *   NAME     behind the list of system calls: tries this one. Status 0: it was let through
 */
#ifndef WEIR_IMAGE_CONFINE_PROBE_H
#define WEIR_IMAGE_CONFINE_PROBE_H

#include "base/base.h"

/* "files": all attempts, then the end. Anything else, NULL too: returns. */
void confine_probe_files(const char *probe);
/* Tries what is named and ends the process; NULL: returns. */
void confine_probe_call(const char *probe);

#endif
