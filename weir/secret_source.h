/* SPDX-License-Identifier: Apache-2.0 */
/* Where a secret's value comes from. Only the tlsproxy process calls this. */
#ifndef WEIR_SECRET_SOURCE_H
#define WEIR_SECRET_SOURCE_H

#include "weir/config.h"

/* What a value is read into: one byte more than it may have, and its newline. */
#define SECRET_READ_MAX (TLSPROXY_SECRET_MAX + 2)
/* The same, of any kind of secret. */
size_t secret_read_max(const struct secret_config *s);

/*
 * Appends what its source has; one trailing newline is cut. ret's cap is secret_read_max(). Wipe
 * it with buf_fini_wiped, or give it storage of that size that is locked.
 */
must_check int secret_read(const struct secret_config *s, struct buf *ret, struct conf_error *err);

/* One read, straight into ret; -EFBIG when that is full. */
must_check int secret_read_some(int fd, struct buf *ret, bool *ret_end);
/* A trailing newline, which editors and echo leave, is no part of a value. */
void secret_cut_newline(struct buf *value);

/* Overwrites the values of environment secrets in this process's own memory. */
void secret_wipe_environment(const struct weir_config *cfg);
/* Closes the descriptors that secrets were read from: who holds one can read it again. */
void secret_close_descriptors(const struct weir_config *cfg);

#endif
