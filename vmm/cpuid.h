/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID tells a guest's processor: what KVM can do, less what this machine
 * does not have, with a topology of its own. Engine over a list of leaves.
 */
#ifndef WEIR_VMM_CPUID_H
#define WEIR_VMM_CPUID_H

#include "base/base.h"

#include <linux/kvm.h>

#define CPUID_MAX 256

struct cpuid_list {
	uint32_t n;
	uint32_t padding; /* as in struct kvm_cpuid2, which this has the layout of */
	struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

/*
 * Turns KVM's supported leaves into those of processor `cpu` of `cpus` (1..8).
 * -ENOSPC when there is no room for the leaves of the topology, -ENOTSUP when
 * KVM offers no paravirtual clock: stock kernels then calibrate for a minute.
 */
must_check int cpuid_for_cpu(struct cpuid_list *list, unsigned cpu, unsigned cpus);

#endif
