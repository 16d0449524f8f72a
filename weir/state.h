/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where weir keeps the records of runs when it is not told: a directory of the
 * user's own, one file per run, the newest 200 kept. Internal to weir/.
 */
#ifndef WEIR_STATE_H
#define WEIR_STATE_H

#include "base/base.h"

/*
 * Makes the directory (0700) when absent, removes all but the newest records,
 * and returns "DIR/<run>.jsonl", which does not have to exist; the caller
 * frees it. -EINVAL for a run id that is no file name, -EPERM when the directory
 * is not the user's own.
 */
must_check int state_audit_path(const char *run, char **ret);

/* That directory's path, whether or not it exists; -ENOENT when the user has none. */
must_check int state_audit_dir(char **ret);

/*
 * Opens an absolute directory that must be this user's and nobody else's to
 * write (-EPERM); makes it (0700) when asked to.
 */
must_check int state_own_dir(const char *path, bool make, int *ret_fd);

/* The records there are, newest first; -ENOENT when there is none. */
struct state_records {
	char **paths;
	size_t n;
};
must_check int state_audit_list(struct state_records *ret);
void state_records_fini(struct state_records *r);

#endif
