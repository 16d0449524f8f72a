/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of system calls a process may still make, what is common to all of them. Apart from base.h
 * and with a library of its own (weir_calls), because most who stand on base need no libseccomp.
 *
 * Which calls, and why, stands next to the code that needs them.
 */
#ifndef WEIR_BASE_CALLS_H
#define WEIR_BASE_CALLS_H

#include "base/base.h"

#include <seccomp.h>

#ifdef __SANITIZE_ADDRESS__
#define WEIR_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_SANITIZED 1
#endif
#endif

/* Whatever their arguments are. */
must_check int calls_allow(scmp_filter_ctx ctx, const int *calls, size_t n);
/* One call, when its argument n compares so. */
must_check int calls_when(scmp_filter_ctx ctx, uint32_t action, int call, unsigned n,
			  enum scmp_compare op, scmp_datum_t a, scmp_datum_t b);
/* Memory may be mapped and protected, but never executable. */
must_check int calls_allow_memory(scmp_filter_ctx ctx);
/*
 * What is trapped ends the process with this status and a line on standard error that names the
 * call: "WHO: system call 41 is not allowed in this PLACE". The texts are kept as they are.
 */
void calls_end_at_trap(const char *who, const char *place, int status);

#endif
