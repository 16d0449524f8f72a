/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of the first processor when the kernel gets it.
 *
 *   PVH    32-bit protected mode, flat segments, paging off, RBX: start info
 *   Linux  long mode, flat segments, one GiB mapped one to one, RSI: zero page
 *
 * Sources: Xen, docs/misc/pvh.pandoc; Linux, Documentation/arch/x86/boot.rst.
 */
#include "vmm/layout.h"
#include "vmm/vcpu.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_ET (UINT64_C(1) << 4)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PAE (UINT64_C(1) << 5)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)

#define PTE_TABLE 0x3 /* present, writable */
#define PTE_LARGE 0x83
#define LARGE_PAGE (UINT64_C(2) << 20)

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TASK 0x20
#define SEGMENT_CODE 0xb
#define SEGMENT_DATA 0x3
#define SEGMENT_TASK 0xb

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool is_64)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = !is_64,
		.l = is_64,
		.s = 1,
		.g = 1,
	};
}

/* A segment as eight bytes of a descriptor table, for base 0. */
static uint64_t descriptor(const struct kvm_segment *s)
{
	uint64_t limit = s->g ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | (uint64_t)s->type << 40 | (uint64_t)s->s << 44 |
	       (uint64_t)s->present << 47 | (limit >> 16 & 0xf) << 48 | (uint64_t)s->l << 53 |
	       (uint64_t)s->db << 54 | (uint64_t)s->g << 55;
}

static int put_descriptors(const struct gmem *mem, struct kvm_sregs *sregs)
{
	uint64_t gdt[] = { 0, 0, descriptor(&sregs->cs), descriptor(&sregs->ds),
			   descriptor(&sregs->tr) };

	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = sizeof(gdt) - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0; /* until it has its own, any fault ends the guest */
	return gmem_write(mem, LAYOUT_GDT, gdt, sizeof(gdt));
}

static int put_page_tables(const struct gmem *mem)
{
	uint64_t tables[3][512] = {
		{ (LAYOUT_PAGE_TABLES + 0x1000) | PTE_TABLE },
		{ (LAYOUT_PAGE_TABLES + 0x2000) | PTE_TABLE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tables[2]); i++)
		tables[2][i] = i * LARGE_PAGE | PTE_LARGE;
	return gmem_write(mem, LAYOUT_PAGE_TABLES, tables, sizeof(tables));
}

int vcpu_enter(struct vcpu *cpu, const struct gmem *mem, const struct boot_entry *entry,
	       const char **ret_why)
{
	bool is_64 = entry->mode == BOOT_LINUX;
	struct kvm_regs regs = { .rip = entry->rip, .rflags = 2 };
	struct kvm_sregs sregs;
	int r;

	*ret_why = "KVM does not take the processor's registers";
	if (ioctl(cpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = flat(SELECTOR_CODE, SEGMENT_CODE, is_64);
	sregs.ds = flat(SELECTOR_DATA, SEGMENT_DATA, false);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.tr = (struct kvm_segment){
		.limit = 0x67, .selector = SELECTOR_TASK, .type = SEGMENT_TASK, .present = 1
	};
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = 0;
	sregs.efer = 0;
	r = put_descriptors(mem, &sregs);
	if (is_64) {
		sregs.cr0 |= CR0_PG;
		sregs.cr3 = LAYOUT_PAGE_TABLES;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
		regs.rsi = entry->argument;
		if (r == 0)
			r = put_page_tables(mem);
	} else {
		regs.rbx = entry->argument;
	}
	if (r < 0)
		return r;
	if (ioctl(cpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(cpu->fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}
