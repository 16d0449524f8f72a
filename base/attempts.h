/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an attacker who runs code in a confined process would try, for the probes by which tests
 * ask from inside (image/confine_probe.c, vmm/confine_probe.c). In the library weir_calls.
 *
 * Each returns what a system call would: negative is failure, errno says which.
 */
#ifndef WEIR_BASE_ATTEMPTS_H
#define WEIR_BASE_ATTEMPTS_H

#include "base/base.h"

long attempt_more_files(void);
long attempt_trace(void);
long attempt_fork(void);
long attempt_executable_memory(void);
long attempt_memory_file(void);
long attempt_read_process(void);
long attempt_uring(void);
long attempt_namespace(void);
long attempt_dumpable(void);

#endif
