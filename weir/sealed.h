/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts that are too long for a message travel in memory files which nobody can
 * change any more: what was checked is what is used.
 */
#ifndef WEIR_SEALED_H
#define WEIR_SEALED_H

#include "base/base.h"
#include "policy/policy.h"

/* A policy's text: as large as a policy file may be, and the form it is printed in is wider. */
#define SEALED_MAX ((size_t)128 << 20)

must_check int sealed_new(const void *text, size_t len, int *ret_fd);
/* A mapping of fd, which must be sealed and at most SEALED_MAX long (-EINVAL, -EFBIG). */
struct sealed {
	const char *text; /* not NUL-terminated */
	size_t len;
};
must_check int sealed_map(int fd, struct sealed *ret);
void sealed_unmap(struct sealed *s);

/* The policy printed in its one form. *ret_digest: "sha256:HEX" of the text. */
must_check int sealed_print_policy(const struct policy *p, int *ret_fd, char ret_digest[static 72]);
/* And read again; errors are in `name`. */
must_check int sealed_policy(int fd, const char *name, struct policy **ret, struct conf_error *err);

#endif
