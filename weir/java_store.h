/* SPDX-License-Identifier: Apache-2.0 */
/* Java's own list of roots, which no environment variable replaces without noise. */
#ifndef WEIR_JAVA_STORE_H
#define WEIR_JAVA_STORE_H

#include "base/base.h"

/*
 * A copy of a JKS file (what Debian and Fedora make for every JDK) with one more
 * trusted certificate, given as PEM, under the usual password. -EINVAL: the file is
 * something else, or the certificate cannot be read.
 */
must_check int java_store_add(const uint8_t *store, size_t len, const char *pem, struct buf *ret);

#endif
