/* SPDX-License-Identifier: Apache-2.0 */
/* Where a secret's value comes from. Only the tlsproxy process calls this. */
#ifndef WEIR_SECRET_SOURCE_H
#define WEIR_SECRET_SOURCE_H

#include "weir/config.h"

/* Appends the value; one trailing newline is cut. Wipe ret with buf_fini_wiped. */
must_check int secret_read(const struct secret_config *s, struct buf *ret, struct conf_error *err);

/* Overwrites the values of environment secrets in this process's own memory. */
void secret_wipe_environment(const struct weir_config *cfg);

#endif
