/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's fixed parts, in the order that KVM asks for: interrupt
 * controllers before processors, memory before anything runs. There is no timer
 * chip (8254), no PCI host bridge, no clock chip: what is not made cannot be
 * attacked, and the kernel thread that KVM starts for a timer is saved as well.
 */
#include "vmm/vm.h"
#include "vmm/layout.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define MIB (UINT64_C(1) << 20)
#define LARGE_PAGE (2 * MIB)
/* What a kernel, its initramfs and its first structures take, at both ends of the memory. */
#define BOOT_MEMORY (96 * MIB)
#define TOP_MEMORY (32 * MIB)
/* Processor time: a host whose memory is in pieces would look for large pages for long. */
#define LARGE_PAGES_PATIENCE (300 * NS_PER_MS)

static int failed(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -errno;
}

static int check_kvm(int kvm, const char **ret_why)
{
	static const int needed[] = {
		KVM_CAP_IRQCHIP,
		KVM_CAP_USER_MEMORY,
		KVM_CAP_SET_TSS_ADDR,
		KVM_CAP_EXT_CPUID,
		KVM_CAP_IRQFD,
		KVM_CAP_IOEVENTFD,
		KVM_CAP_TSC_DEADLINE_TIMER,
		KVM_CAP_SET_IDENTITY_MAP_ADDR,
	};

	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		errno = ENOTSUP;
		return failed("that descriptor is not /dev/kvm", ret_why);
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i]) <= 0) {
			errno = ENOTSUP;
			return failed("this kernel's KVM lacks a capability that weir needs",
				      ret_why);
		}
	return 0;
}

/*
 * Each small page costs a fault when the guest first touches it: 17,000 of them, three quarters of
 * all exits, on the way to a stock kernel's init. Hosts seldom make shared memory of large pages by
 * themselves, so that is asked for where it is certain to be used. A host that cannot, does not.
 */
static void use_large_pages(struct vm *vm)
{
	uint64_t until = time_thread_ns() + LARGE_PAGES_PATIENCE;
	size_t end = MIN(vm->map_len, LAYOUT_GAP) & ~(LARGE_PAGE - 1);

	if (madvise(vm->map, vm->map_len, MADV_HUGEPAGE) < 0)
		return;
	for (size_t at = 0; at < end && time_thread_ns() < until; at += LARGE_PAGE) {
		if (at == BOOT_MEMORY && end > BOOT_MEMORY + TOP_MEMORY)
			at = end - TOP_MEMORY;
		*(volatile uint8_t *)(vm->map + at) = 0; /* of nothing none is made */
		if (madvise(vm->map + at, LARGE_PAGE, MADV_COLLAPSE) < 0)
			return;
	}
}

/* Address space for the memory that begins where a large page can. */
static uint8_t *reserve(size_t size)
{
	uint8_t *p = mmap(NULL, size + LARGE_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)p % LARGE_PAGE;
	munmap(p, before);
	munmap(p + before + size, LARGE_PAGE - before);
	return p + before;
}

/* One file for all RAM. Its size is sealed: whoever maps it cannot make us fault. */
static int make_memory(struct vm *vm, uint64_t size, const char **ret_why)
{
	vm->memory = memfd_create("weir-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vm->memory < 0 || ftruncate(vm->memory, (off_t)size) < 0 ||
	    fcntl(vm->memory, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return failed("no memory file of that size", ret_why);
	vm->map = reserve(size);
	vm->map_len = size;
	if (!vm->map || mmap(vm->map, size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE | MAP_FIXED, vm->memory, 0) == MAP_FAILED)
		return failed("the guest's memory cannot be mapped", ret_why);
	/* A guest's secrets have no place in a core file of ours. */
	if (madvise(vm->map, size, MADV_DONTDUMP) < 0)
		return failed("the guest's memory cannot be kept out of core files", ret_why);
	use_large_pages(vm);
	return 0;
}

/* Up to the gap, and what is left above it. */
static int place_memory(struct vm *vm, const char **ret_why)
{
	uint64_t low = MIN(vm->map_len, LAYOUT_GAP);
	struct gmem_region r[] = {
		{ 0, low, vm->map, vm->memory, 0 },
		{ LAYOUT_ABOVE_GAP, vm->map_len - low, vm->map + low, vm->memory, low },
	};
	unsigned n = vm->map_len > low ? 2 : 1;

	for (unsigned i = 0; i < n; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r[i].gpa,
			.memory_size = r[i].len,
			.userspace_addr = (uintptr_t)r[i].host,
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return failed("KVM does not take the guest's memory", ret_why);
	}
	return gmem_init(&vm->mem, r, n);
}

static int make_machine(struct vm *vm, const char **ret_why)
{
	uint64_t identity = LAYOUT_IDENTITY_MAP;

	do
		vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0UL);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return failed("KVM makes no machine", ret_why);
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0 ||
	    ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return failed("KVM makes no interrupt controllers", ret_why);
	return 0;
}

int vm_init(struct vm *vm, int kvm, uint64_t mib, const char **ret_why)
{
	int r;

	*vm = (struct vm){ .kvm = kvm, .fd = -1, .memory = -1 };
	if (mib < LAYOUT_MIN_MIB || mib > LAYOUT_MAX_MIB) {
		*ret_why = "a machine has 16 MiB to 256 GiB of memory";
		return -EINVAL;
	}
	r = check_kvm(kvm, ret_why);
	if (r == 0)
		r = make_machine(vm, ret_why);
	if (r == 0)
		r = make_memory(vm, mib * MIB, ret_why);
	if (r == 0)
		r = place_memory(vm, ret_why);
	if (r < 0)
		vm_fini(vm);
	return r;
}

void vm_fini(struct vm *vm)
{
	fd_close(vm->fd);
	if (vm->map)
		munmap(vm->map, vm->map_len);
	fd_close(vm->memory);
	*vm = (struct vm){ .kvm = -1, .fd = -1, .memory = -1 };
}

int vm_bind_irq(struct vm *vm, int fd, unsigned gsi)
{
	struct kvm_irqfd irq = { .fd = (uint32_t)fd, .gsi = gsi };

	return ioctl(vm->fd, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

int vm_bind_kick(struct vm *vm, int fd, uint64_t gpa, uint32_t value)
{
	struct kvm_ioeventfd kick = {
		.datamatch = value,
		.addr = gpa,
		.len = 4,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &kick) < 0 ? -errno : 0;
}
