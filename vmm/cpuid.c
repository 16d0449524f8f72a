/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves are edited in place, by one table of bits to clear and a few functions
 * for leaves that hold a processor's number. Bits that tell of mitigations
 * (ARCH_CAPABILITIES, SPEC_CTRL, IBPB, ...) stay as KVM gives them, so that a
 * guest protects itself as it would on the host.
 */
#include "vmm/cpuid.h"

#include <asm/kvm_para.h>

#define BIT(n) (UINT32_C(1) << (n))

enum cpuid_reg {
	CPUID_EAX,
	CPUID_EBX,
	CPUID_ECX,
	CPUID_EDX,
};

/*
 * What this machine has no part of: performance counters, nested
 * virtualization, MONITOR, thermal control, enclaves, tracing, resource control.
 */
static const struct {
	uint32_t leaf;
	enum cpuid_reg reg;
	uint32_t clear;
} absent[] = {
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM */
	{ 0x1, CPUID_ECX, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15) },
	/* DS, ACPI thermal, HTT (set again below), TM */
	{ 0x1, CPUID_EDX, BIT(21) | BIT(22) | BIT(28) | BIT(29) },
	{ 0x5, CPUID_EAX, ~0U }, /* MONITOR's sizes */
	{ 0x5, CPUID_EBX, ~0U },
	{ 0x5, CPUID_ECX, ~0U },
	{ 0x5, CPUID_EDX, ~0U },
	{ 0x6, CPUID_EAX, ~BIT(2) }, /* power: only that the APIC timer never stops */
	{ 0x6, CPUID_EBX, ~0U },
	{ 0x6, CPUID_ECX, ~0U },				  /* APERF/MPERF, the energy hint */
	{ 0x7, CPUID_EBX, BIT(2) | BIT(12) | BIT(15) | BIT(25) }, /* SGX, RDT, RDT, PT */
	{ 0x7, CPUID_ECX, BIT(5) | BIT(29) | BIT(30) },		  /* WAITPKG, ENQCMD, SGX_LC */
	{ 0xa, CPUID_EAX, ~0U }, /* performance counters, Intel's */
	{ 0xa, CPUID_EBX, ~0U },
	{ 0xa, CPUID_ECX, ~0U },
	{ 0xa, CPUID_EDX, ~0U },
	/* SVM, IBS, SKINIT, and three kinds of performance counters, AMD's */
	{ 0x80000001, CPUID_ECX, BIT(2) | BIT(10) | BIT(12) | BIT(23) | BIT(24) | BIT(28) },
};

/* Whole leaves, with all their subleaves: RDT, SGX, PT, SVM, SEV, PMU; topologies are made anew. */
static const uint32_t dropped[] = {
	0xb, 0xf, 0x10, 0x12, 0x14, 0x1f, 0x8000000a, 0x8000001f, 0x80000022, 0x80000026,
};

/* Of KVM's own features none that a snapshot could not carry (asynchronous page faults). */
static const uint32_t kept_features =
	BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
	BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_PV_EOI) |
	BIT(KVM_FEATURE_PV_UNHALT) | BIT(KVM_FEATURE_PV_TLB_FLUSH) | BIT(KVM_FEATURE_PV_SEND_IPI) |
	BIT(KVM_FEATURE_POLL_CONTROL) | BIT(KVM_FEATURE_PV_SCHED_YIELD) |
	BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, enum cpuid_reg reg)
{
	switch (reg) {
	case CPUID_EAX:
		return &e->eax;
	case CPUID_EBX:
		return &e->ebx;
	case CPUID_ECX:
		return &e->ecx;
	case CPUID_EDX:
		break;
	}
	return &e->edx;
}

static bool is_dropped(uint32_t leaf)
{
	for (size_t i = 0; i < ARRAY_SIZE(dropped); i++)
		if (dropped[i] == leaf)
			return true;
	return false;
}

static void drop_leaves(struct cpuid_list *list)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < list->n; i++)
		if (!is_dropped(list->entries[i].function))
			list->entries[n++] = list->entries[i];
	list->n = n;
}

static void clear_absent(struct kvm_cpuid_entry2 *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
		if (absent[i].leaf == e->function && (e->function != 0x7 || e->index == 0))
			*reg_of(e, absent[i].reg) &= ~absent[i].clear;
}

/* Bits that hold the numbers 0 .. cpus-1. */
static uint32_t id_bits(unsigned cpus)
{
	uint32_t bits = 0;

	while (1U << bits < cpus)
		bits++;
	return bits;
}

static uint32_t with_field(uint32_t v, unsigned at, unsigned width, uint32_t field)
{
	uint32_t mask = (BIT(width) - 1) << at;

	return (v & ~mask) | (field << at & mask);
}

/* Caches, leaf 4 and its twin at AMD: the last level is everybody's, the others a core's own. */
static void share_cache(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
	unsigned level = e->eax >> 5 & 7;

	e->eax = with_field(e->eax, 14, 12, level >= 3 ? cpus - 1 : 0);
	if (e->function == 0x4 && (e->eax & 0x1f))
		e->eax = with_field(e->eax, 26, 6, cpus - 1);
}

static void number_leaf(struct kvm_cpuid_entry2 *e, unsigned cpu, unsigned cpus)
{
	switch (e->function) {
	case 0x1:
		e->ebx = with_field(e->ebx, 24, 8, cpu);
		e->ebx = with_field(e->ebx, 16, 8, cpus);
		e->ecx |= BIT(24) | BIT(31); /* the APIC's TSC deadline; a hypervisor is here */
		if (cpus > 1)
			e->edx |= BIT(28);
		break;
	case 0x4:
	case 0x8000001d:
		share_cache(e, cpus);
		break;
	case KVM_CPUID_FEATURES:
		e->eax &= kept_features;
		break;
	case 0x80000008:
		e->ecx = with_field(e->ecx, 0, 8, cpus - 1);
		e->ecx = with_field(e->ecx, 12, 4, id_bits(cpus));
		break;
	case 0x8000001e:
		e->eax = cpu;
		e->ebx = cpu; /* the core, which has one thread */
		e->ecx = 0;
		break;
	default:
		break;
	}
}

/* Leaf 0xb: one thread a core (level 1), all cores in one package (level 2), the end. */
static int add_topology(struct cpuid_list *list, unsigned cpu, unsigned cpus)
{
	static const uint32_t kinds[] = { 1, 2, 0 };

	if (list->n + ARRAY_SIZE(kinds) > CPUID_MAX)
		return -ENOSPC;
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++)
		list->entries[list->n++] = (struct kvm_cpuid_entry2){
			.function = 0xb,
			.index = i,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = i == 1 ? id_bits(cpus) : 0,
			.ebx = i == 0	? 1
			       : i == 1 ? cpus
					: 0,
			.ecx = i | kinds[i] << 8,
			.edx = cpu,
		};
	return 0;
}

int cpuid_for_cpu(struct cpuid_list *list, unsigned cpu, unsigned cpus)
{
	bool clock = false;

	if (list->n > CPUID_MAX)
		return -ENOSPC;
	drop_leaves(list);
	for (uint32_t i = 0; i < list->n; i++) {
		struct kvm_cpuid_entry2 *e = &list->entries[i];

		clear_absent(e);
		number_leaf(e, cpu, cpus);
		if (e->function == KVM_CPUID_FEATURES)
			clock = e->eax & BIT(KVM_FEATURE_CLOCKSOURCE2);
	}
	return clock ? add_topology(list, cpu, cpus) : -ENOTSUP;
}
