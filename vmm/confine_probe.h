/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking from inside what is still possible: weir-vmm --probe WHAT, for tests. Never part of a
 * run of a guest: the process ends with the answer.
 *
 *   process          after stages 1 to 3 and its limits: one line "NAME: what came of it" for each attempt
 *   ROLE:NAME        ROLE is waiter, devices or cpu: that thread tries one forbidden call behind its
 *                    list of system calls. Status 0: it was let through
 */
#ifndef WEIR_VMM_CONFINE_PROBE_H
#define WEIR_VMM_CONFINE_PROBE_H

#include "base/base.h"

/* "process": all attempts, then the end. Anything else, NULL too: returns. */
void confine_probe_process(const char *probe);
/* "ROLE:NAME" of this role: tries, and ends the process if that is survived. Else returns. */
void confine_probe_thread(const char *probe, const char *role);

#endif
