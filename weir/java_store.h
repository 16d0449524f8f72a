/* SPDX-License-Identifier: Apache-2.0 */
/* Java's own list of roots, which no environment variable replaces without noise. */
#ifndef WEIR_JAVA_STORE_H
#define WEIR_JAVA_STORE_H

#include "base/base.h"

/*
 * A copy of a key store (JKS, what Debian and Fedora make for every JDK, or PKCS 12, what
 * JDKs come with) with one more trusted certificate, given as PEM, under the usual
 * password or none, as before. -EINVAL: the file is something else or has another
 * password, or the certificate cannot be read.
 */
must_check int java_store_add(const uint8_t *store, size_t len, const char *pem, struct buf *ret);

#endif
