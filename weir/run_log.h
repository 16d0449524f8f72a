/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command in the background writes (weir run --detach), as JSON
 * lines: {"t": RFC 3339 time, "s": "stdout" or "stderr", "d": text}. Bytes that are
 * not UTF-8 stand there as the characters U+0080 to U+00FF.
 */
#ifndef WEIR_RUN_LOG_H
#define WEIR_RUN_LOG_H

#include "base/base.h"

struct run_log {
	int fd;		  /* a regular file; the caller's */
	uint64_t written; /* bytes; beyond RUN_LOG_MAX nothing is */
};

/* The file may lie in memory (/run); what a hostile guest writes has an end. */
#define RUN_LOG_MAX (UINT64_C(32) << 20)

void run_log_write(struct run_log *l, const char *source, const uint8_t *p, size_t n);

#endif
