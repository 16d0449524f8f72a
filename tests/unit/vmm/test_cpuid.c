/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID leaves of each processor: numbers, what is absent, what has to stay. */
#include "vmm/cpuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define BIT(n) (UINT32_C(1) << (n))

static struct cpuid_list list;

/* A host that can do everything: all bits of all leaves, but where they are numbers. */
static void everything(void)
{
	static const uint32_t leaves[] = {
		0x0,	    0x1,	0x2,	    0x5,	0x6,	    0x7,	0xa,
		0xb,	    0xd,	0xf,	    0x10,	0x12,	    0x14,	0x15,
		0x1f,	    0x40000000, 0x40000001, 0x80000000, 0x80000001, 0x80000008, 0x8000000a,
		0x8000001e, 0x8000001f, 0x80000021, 0x80000022
	};

	list.n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		list.entries[list.n++] = (struct kvm_cpuid_entry2){
			.function = leaves[i], .eax = ~0U, .ebx = ~0U, .ecx = ~0U, .edx = ~0U
		};
	/* Caches, as Intel and AMD tell them: level in EAX 7:5, type in 4:0. */
	for (uint32_t level = 1; level <= 3; level++) {
		list.entries[list.n++] = (struct kvm_cpuid_entry2){
			.function = 4, .index = level, .eax = 0xfffffc00 | level << 5 | 1
		};
		list.entries[list.n++] = (struct kvm_cpuid_entry2){
			.function = 0x8000001d, .index = level, .eax = 0x03fffc00 | level << 5 | 1
		};
	}
}

static const struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < list.n; i++)
		if (list.entries[i].function == function && list.entries[i].index == index)
			return &list.entries[i];
	return NULL;
}

static void test_absent_features(void **state)
{
	static const uint32_t gone[] = { 0xf,  0x10,	   0x12,       0x14,
					 0x1f, 0x8000000a, 0x8000001f, 0x80000022 };

	(void)state;
	everything();
	assert_int_equal(cpuid_for_cpu(&list, 0, 1), 0);
	assert_int_equal(leaf(1, 0)->ecx & (BIT(3) | BIT(5) | BIT(6) | BIT(15)), 0);
	assert_int_equal(leaf(7, 0)->ebx & (BIT(2) | BIT(12) | BIT(15) | BIT(25)), 0);
	assert_int_equal(leaf(7, 0)->ecx & (BIT(5) | BIT(30)), 0);
	assert_int_equal(leaf(0x80000001, 0)->ecx & (BIT(2) | BIT(23)), 0);
	assert_int_equal(leaf(0xa, 0)->eax | leaf(0xa, 0)->edx, 0);
	assert_int_equal(leaf(6, 0)->eax, BIT(2));
	assert_int_equal(leaf(6, 0)->ecx, 0);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		assert_null(leaf(gone[i], 0));
}

/* What tells of mitigations, time and the hypervisor stays or is set. */
static void test_what_has_to_stay(void **state)
{
	(void)state;
	everything();
	leaf(1, 0);
	assert_int_equal(cpuid_for_cpu(&list, 0, 1), 0);
	assert_true(leaf(1, 0)->ecx & BIT(31) && leaf(1, 0)->ecx & BIT(24));
	/* IBRS/IBPB, STIBP, L1D flush, ARCH_CAPABILITIES, SSBD; VERW clears (MD_CLEAR). */
	assert_int_equal(leaf(7, 0)->edx, ~0U);
	assert_int_equal(leaf(0x80000008, 0)->ebx, ~0U);
	assert_int_equal(leaf(0x80000021, 0)->eax, ~0U);
	/* kvmclock and its stable bit stay, asynchronous page faults go. */
	assert_true(leaf(0x40000001, 0)->eax & BIT(3) && leaf(0x40000001, 0)->eax & BIT(24));
	assert_int_equal(leaf(0x40000001, 0)->eax & (BIT(4) | BIT(10) | BIT(14)), 0);
}

static void test_numbers_of_processors(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= 8; cpus++)
		for (unsigned cpu = 0; cpu < cpus; cpu++) {
			uint32_t bits = cpus > 4 ? 3 : cpus > 2 ? 2 : cpus > 1 ? 1 : 0;

			everything();
			assert_int_equal(cpuid_for_cpu(&list, cpu, cpus), 0);
			assert_int_equal(leaf(1, 0)->ebx >> 24, cpu);
			assert_int_equal(leaf(1, 0)->ebx >> 16 & 0xff, cpus);
			assert_int_equal(!!(leaf(1, 0)->edx & BIT(28)), cpus > 1);
			assert_int_equal(leaf(0xb, 0)->edx, cpu);
			assert_int_equal(leaf(0xb, 0)->ebx, 1);
			assert_int_equal(leaf(0xb, 0)->ecx, 0x100);
			assert_int_equal(leaf(0xb, 1)->ebx, cpus);
			assert_int_equal(leaf(0xb, 1)->eax, bits);
			assert_int_equal(leaf(0xb, 1)->ecx, 0x201);
			assert_int_equal(leaf(0xb, 2)->ecx, 2);
			assert_int_equal(leaf(0x80000008, 0)->ecx & 0xff, cpus - 1);
			assert_int_equal(leaf(0x80000008, 0)->ecx >> 12 & 0xf, bits);
			assert_int_equal(leaf(0x8000001e, 0)->eax, cpu);
			assert_int_equal(leaf(0x8000001e, 0)->ebx, cpu);
			assert_int_equal(leaf(4, 3)->eax >> 14 & 0xfff, cpus - 1);
			assert_int_equal(leaf(4, 1)->eax >> 14 & 0xfff, 0);
			assert_int_equal(leaf(4, 2)->eax >> 26, cpus - 1);
			assert_int_equal(leaf(0x8000001d, 3)->eax >> 14 & 0xfff, cpus - 1);
			assert_int_equal(leaf(0x8000001d, 1)->eax >> 14 & 0xfff, 0);
		}
}

static void test_refusals(void **state)
{
	(void)state;
	everything();
	for (uint32_t i = 0; i < list.n; i++)
		if (list.entries[i].function == 0x40000001)
			list.entries[i].eax = 0;
	assert_int_equal(cpuid_for_cpu(&list, 0, 1), -ENOTSUP);
	everything();
	while (list.n < CPUID_MAX)
		list.entries[list.n++] =
			(struct kvm_cpuid_entry2){ .function = 0xd, .index = list.n };
	while (leaf(0xf, 0) && list.n < CPUID_MAX)
		list.n++;
	for (uint32_t i = 0; i < CPUID_MAX; i++) /* nothing to drop, so no room */
		list.entries[i].function = i == 5 ? 0x40000001 : 0xd;
	list.entries[5].eax = ~0U;
	assert_int_equal(cpuid_for_cpu(&list, 0, 1), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absent_features),
		cmocka_unit_test(test_what_has_to_stay),
		cmocka_unit_test(test_numbers_of_processors),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
