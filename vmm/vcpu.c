/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and running virtual processors. CPUID comes before any MSR: newer
 * kernels answer zero for MSRs that the leaves do not promise.
 */
#include "vmm/vcpu.h"
#include "vmm/cpuid.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MSR_MISC_ENABLE 0x1a0
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MISC_ENABLE_FAST_STRING 1
#define MTRR_ENABLED_WRITE_BACK 0x806 /* on, and all memory is cached unless a page says else */

/* Local vector table entries of an APIC, Intel SDM 3A 11.5.1. */
#define LAPIC_LINT0 0x350
#define LAPIC_LINT1 0x360
#define LVT_DELIVERY_MASK 0x700
#define LVT_EXTINT 0x700
#define LVT_NMI 0x400

static int failed(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -errno;
}

static int set_cpuid(struct vcpu *cpu, struct vm *vm, unsigned cpus, const char **ret_why)
{
	cleanup_free struct cpuid_list *list = calloc(1, sizeof(*list));
	int r;

	_Static_assert(offsetof(struct cpuid_list, entries) == sizeof(struct kvm_cpuid2),
		       "the layout that KVM takes");
	if (!list)
		return -ENOMEM;
	list->n = CPUID_MAX;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, list) < 0)
		return failed("KVM does not say what its processors can do", ret_why);
	r = cpuid_for_cpu(list, cpu->index, cpus);
	if (r < 0) {
		*ret_why = r == -ENOTSUP ? "this KVM has no paravirtual clock (kvmclock)"
					 : "this KVM has too many CPUID leaves";
		return r;
	}
	if (ioctl(cpu->fd, KVM_SET_CPUID2, list) < 0)
		return failed("KVM does not take the processor's CPUID", ret_why);
	return 0;
}

static int set_msrs(struct vcpu *cpu, const char **ret_why)
{
	static const struct kvm_msr_entry wanted[] = {
		{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK },
	};
	/* A list of one, which ends in its entries. */
	cleanup_free struct kvm_msrs *list = calloc(1, sizeof(*list) + sizeof(wanted[0]));

	if (!list)
		return -ENOMEM;
	list->nmsrs = 1;
	/* One by one: a KVM that has no use for one of them takes the other. */
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		list->entries[0] = wanted[i];
		if (ioctl(cpu->fd, KVM_SET_MSRS, list) < 0)
			return failed("KVM does not take the processor's MSRs", ret_why);
	}
	return 0;
}

static void set_lvt(struct kvm_lapic_state *apic, unsigned at, uint32_t mode)
{
	uint32_t v;

	memcpy(&v, apic->regs + at, sizeof(v));
	v = (v & ~(uint32_t)LVT_DELIVERY_MASK) | mode;
	memcpy(apic->regs + at, &v, sizeof(v));
}

static int set_apic(struct vcpu *cpu, const char **ret_why)
{
	struct kvm_lapic_state apic;

	if (ioctl(cpu->fd, KVM_GET_LAPIC, &apic) < 0)
		return failed("KVM does not show the processor's APIC", ret_why);
	set_lvt(&apic, LAPIC_LINT0, LVT_EXTINT);
	set_lvt(&apic, LAPIC_LINT1, LVT_NMI);
	if (ioctl(cpu->fd, KVM_SET_LAPIC, &apic) < 0)
		return failed("KVM does not take the processor's APIC", ret_why);
	return 0;
}

int vcpu_init(struct vcpu *cpu, struct vm *vm, unsigned index, unsigned cpus, const char **ret_why)
{
	int len = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), r;
	void *run;

	*cpu = (struct vcpu){ .fd = -1, .index = index };
	cpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (cpu->fd < 0)
		return failed("KVM makes no more processors", ret_why);
	run = len < (int)sizeof(struct kvm_run)
		      ? MAP_FAILED
		      : mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (run == MAP_FAILED) {
		r = failed("the processor's shared page cannot be mapped", ret_why);
		vcpu_fini(cpu);
		return r;
	}
	cpu->run = run;
	cpu->run_len = (size_t)len;
	r = set_cpuid(cpu, vm, cpus, ret_why);
	if (r == 0)
		r = set_msrs(cpu, ret_why);
	if (r == 0)
		r = set_apic(cpu, ret_why);
	if (r < 0)
		vcpu_fini(cpu);
	return r;
}

void vcpu_fini(struct vcpu *cpu)
{
	if (cpu->run)
		munmap(cpu->run, cpu->run_len);
	fd_close(cpu->fd);
	*cpu = (struct vcpu){ .fd = -1 };
}

enum vcpu_exit vcpu_run(struct vcpu *cpu)
{
	if (ioctl(cpu->fd, KVM_RUN, 0) < 0)
		return errno == EINTR || errno == EAGAIN ? VCPU_AGAIN : VCPU_FAILED;
	switch (cpu->run->exit_reason) {
	case KVM_EXIT_IO:
		return VCPU_PORT;
	case KVM_EXIT_MMIO:
		return VCPU_MMIO;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return VCPU_AGAIN;
	case KVM_EXIT_SHUTDOWN:
		return VCPU_CRASH;
	default:
		return VCPU_FAILED;
	}
}

struct vcpu_access vcpu_port(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	assert(run->io.data_offset + (uint64_t)run->io.size * run->io.count <= cpu->run_len);
	return (struct vcpu_access){
		.address = run->io.port,
		.data = (uint8_t *)run + run->io.data_offset,
		.size = run->io.size,
		.count = run->io.count,
		.write = run->io.direction == KVM_EXIT_IO_OUT,
	};
}

struct vcpu_access vcpu_mmio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	return (struct vcpu_access){
		.address = run->mmio.phys_addr,
		.data = run->mmio.data,
		.size = MIN(run->mmio.len, (uint32_t)sizeof(run->mmio.data)),
		.count = 1,
		.write = run->mmio.is_write,
	};
}

const char *vcpu_failure(struct vcpu *cpu, char *out, size_t size)
{
	struct kvm_run *run = cpu->run;
	struct kvm_regs regs = { 0 };
	const char *what = "KVM cannot run the guest";
	unsigned long long detail = run->exit_reason;

	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		what = run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
			       ? "KVM cannot emulate an instruction of the guest"
			       : "KVM had an internal error";
		detail = run->internal.suberror;
	} else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		what = "the host's processor refuses the guest's state";
		detail = run->fail_entry.hardware_entry_failure_reason;
	} else if (run->exit_reason == KVM_EXIT_SHUTDOWN) {
		what = "triple fault";
		detail = 0;
	}
	if (ioctl(cpu->fd, KVM_GET_REGS, &regs) < 0)
		regs.rip = 0;
	snprintf(out, size, "%s (%llu) on processor %u at 0x%llx", what, detail, cpu->index,
		 (unsigned long long)regs.rip);
	return out;
}
