/* SPDX-License-Identifier: Apache-2.0 */
/* The system call filter of the sandboxed command; the helpers' are behind harden.h. */
#ifndef WEIR_SECCOMP_H
#define WEIR_SECCOMP_H

#include "policy/policy.h"

must_check int seccomp_command(struct conf_error *err);

#endif
