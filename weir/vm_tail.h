/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last lines of what a machine's console or its monitor wrote, for when something
 * goes wrong. The bytes are a hostile guest's: bounded, and quoted before they are shown.
 */
#ifndef WEIR_VM_TAIL_H
#define WEIR_VM_TAIL_H

#include "base/base.h"

#define VM_TAIL_MAX 4096

struct vm_tail {
	const char *name; /* "console" */
	int fd;		  /* ours, or -1 */
	struct loop_io io;
	char text[VM_TAIL_MAX];
	size_t len;
};

/* fd is taken over, whatever comes of it. */
must_check int vm_tail_start(struct vm_tail *t, struct loop *l, const char *name, int fd);
/* What can be read now is read, the last lines are told; nothing when there were none. */
void vm_tail_tell(struct vm_tail *t);
void vm_tail_stop(struct vm_tail *t);

#endif
