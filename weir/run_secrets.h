/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's part in secrets that change: run_secrets.c asks for changes that
 * somebody wants, run_sources.c for those of their sources.
 */
#ifndef WEIR_RUN_SECRETS_H
#define WEIR_RUN_SECRETS_H

#include "weir/run_internal.h"

/* Generation, and who asked for it (or NULL), with the event. Never a value. */
void run_secret_record(struct run *r, const char *env, const char *event, const uid_t *uid,
		       const char *detail);

/* run_sources.c: files that are followed, commands that are run again */
must_check int run_sources_start(struct run *r);
void run_sources_end(struct run *r);
/* The secret is gone, or has its value from elsewhere now. */
void run_source_forget(struct run *r, const char *env);
/* Adds when its value came, and when it is asked for again. */
void run_source_tell(const struct run *r, const char *env, json_t *o);
/* How long the token is good that the tlsproxy has, or is about to have. */
void run_source_life(struct run *r, const struct msg *m);
/* The tlsproxy's answer to a question of a source. */
void run_source_word(struct run *r, const struct msg *m);
void run_sources_proxy_died(struct run *r);

#endif
