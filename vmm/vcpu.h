/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual processor: made and set up by the thread that makes the machine,
 * run by a thread of its own that may do little else.
 */
#ifndef WEIR_VMM_VCPU_H
#define WEIR_VMM_VCPU_H

#include "vmm/boot.h"
#include "vmm/vm.h"

struct kvm_run;

struct vcpu {
	int fd; /* -1: none */
	unsigned index;
	struct kvm_run *run; /* shared with the kernel */
	size_t run_len;
};

/*
 * Processor `index` of `cpus` with its CPUID leaves, MSRs and APIC; it waits to
 * be started by another one until vcpu_enter(). *ret_why as in vm_init().
 */
must_check int vcpu_init(struct vcpu *cpu, struct vm *vm, unsigned index, unsigned cpus,
			 const char **ret_why);
void vcpu_fini(struct vcpu *cpu);

/* The state in which a kernel wants to be entered; also writes its tables to memory. */
must_check int vcpu_enter(struct vcpu *cpu, const struct gmem *mem, const struct boot_entry *entry,
			  const char **ret_why);

enum vcpu_exit {
	VCPU_AGAIN = 0,	 /* nothing of ours: run on */
	VCPU_PORT = 1,	 /* vcpu_port() says what */
	VCPU_MMIO = 2,	 /* vcpu_mmio() says what */
	VCPU_CRASH = 3,	 /* triple fault */
	VCPU_FAILED = 4, /* KVM cannot go on; vcpu_failure() says why */
};
/* Runs until the guest wants something. The only ioctl of a processor's thread. */
enum vcpu_exit vcpu_run(struct vcpu *cpu);

/* What is in the shared page is the kernel's word, and stays as it is until the next run. */
struct vcpu_access {
	uint64_t address; /* or port */
	uint8_t *data;	  /* write: what the guest gives; read: to be filled */
	unsigned size;	  /* bytes of one access: 1, 2, 4, 8 */
	unsigned count;	  /* so many in a row, for string instructions */
	bool write;
};
struct vcpu_access vcpu_port(struct vcpu *cpu);
struct vcpu_access vcpu_mmio(struct vcpu *cpu);
/* Text like "emulation failed at 0x1000", into out. Not in a processor's thread. */
const char *vcpu_failure(struct vcpu *cpu, char *out, size_t size);

#endif
