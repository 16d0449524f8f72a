/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine as KVM knows it: its memory, its interrupt controllers, and
 * event descriptors bound to both. Processors are in vcpu.h.
 */
#ifndef WEIR_VMM_VM_H
#define WEIR_VMM_VM_H

#include "vmm/gmem.h"

struct vm {
	int kvm;    /* /dev/kvm; the caller's */
	int fd;	    /* the machine; -1 when there is none */
	int memory; /* a memory file, sealed in size: the gateway maps it as well */
	struct gmem mem;
	uint8_t *map; /* all of the file */
	size_t map_len;
};

/*
 * A machine with so many MiB of zeroed memory (LAYOUT_MIN_MIB..LAYOUT_MAX_MIB)
 * and no processor yet. On failure negative errno and *ret_why, a static
 * sentence. vm_fini() takes also one that vm_init() failed on.
 */
must_check int vm_init(struct vm *vm, int kvm, uint64_t mib, const char **ret_why);
void vm_fini(struct vm *vm);

/* From now on a write to fd is one edge on interrupt line gsi. */
must_check int vm_bind_irq(struct vm *vm, int fd, unsigned gsi);
/* From now on four bytes of `value` written to gpa count in fd, and nothing exits. */
must_check int vm_bind_kick(struct vm *vm, int fd, uint64_t gpa, uint32_t value);

#endif
