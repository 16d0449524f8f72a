/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel and an initramfs into 32 MiB of memory. Input: two bytes for the size of the
 * initramfs in 8 KiB, one for the processors, one for the devices, then the kernel. Whatever
 * the files say: nothing outside of the memory is touched, and what is accepted has an entry
 * point in what was loaded and leaves the first MiB as the loader wants it.
 */
#include "vmm/boot.h"
#include "vmm/layout.h"

#include <sys/mman.h>

#define RAM (32UL << 20)
#define INITRD_MAX (33UL << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *map(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *ram, *zeros;
	struct gmem_region region = { 0, RAM, NULL, -1, 0 };
	struct boot_file kernel, initrd;
	struct boot_request q = { .kernel = &kernel, .initrd = &initrd, .cmdline = "quiet" };
	struct boot_entry entry = { 0 };
	const char *why = NULL;
	struct gmem mem;
	int r;

	if (size < 4)
		return 0;
	if (!ram) {
		/* Behind the memory there is nothing: who writes there, crashes. */
		ram = map(RAM + 4096);
		assert(mprotect(ram + RAM, 4096, PROT_NONE) == 0);
		zeros = map(INITRD_MAX);
	}
	assert(madvise(ram, RAM, MADV_DONTNEED) == 0);
	region.host = ram;
	assert(gmem_init(&mem, &region, 1) == 0);
	initrd = boot_file_bytes(zeros, MIN(get_be16(data) * 8192UL, INITRD_MAX));
	q.cpus = data[2];
	q.devices = data[3];
	kernel = boot_file_bytes(data + 4, size - 4);
	r = boot_load(&mem, &q, &entry, &why);
	if (r < 0) {
		assert(why && entry.mode == 0);
		return 0;
	}
	assert(entry.rip >= LAYOUT_HIGH_RAM && entry.rip < RAM);
	assert(memcmp(ram + LAYOUT_ACPI, "RSD PTR ", 8) == 0);
	assert(memcmp(ram + LAYOUT_CMDLINE, "quiet", 6) == 0);
	return 0;
}
