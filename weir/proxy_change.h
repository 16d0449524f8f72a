/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tlsproxy process's side of changes of the secrets: values are read here,
 * from descriptors that somebody else opened, and nowhere else.
 */
#ifndef WEIR_PROXY_CHANGE_H
#define WEIR_PROXY_CHANGE_H

#include "weir/message.h"
#include "weir/proxy_secrets.h"
#include "weir/record.h"

/* Values that are being read. Stops whoever may ask from making this process hold descriptors. */
#define PROXY_READS_MAX 64
/* For a value to come. Stops a pipe into which nobody writes; a command has its own, shorter time. */
#define PROXY_READ_NS (60 * NS_PER_S)

struct proxy_changes {
	struct proxy_secrets *secrets;
	struct tlsproxy *tp;
	struct loop *loop;
	struct record *record; /* its socket leads to the supervisor */
	struct list reads;
	unsigned n;
	void (*changed)(void *ctx); /* others are in force; may be NULL */
	void *ctx;
};

void proxy_changes_init(struct proxy_changes *pc, struct proxy_secrets *ps, struct tlsproxy *tp,
			struct loop *loop, struct record *record);
/* Forgets what is being read. */
void proxy_changes_end(struct proxy_changes *pc);
/* A message of the supervisor's; fd is taken over when it is about secrets. False: it is not. */
bool proxy_change_message(struct proxy_changes *pc, const struct msg *m, size_t body, int fd);

#endif
