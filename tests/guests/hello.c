/* SPDX-License-Identifier: Apache-2.0 */
/* Says what it was told at its start, and powers off: status 0. */
#include "tests/guests/guest.h"

/* hvm_start_info, as far as it is looked at. */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, memmap;
	uint32_t n_memmap;
};

void main(uint32_t start_info)
{
	const struct start_info *info = (const void *)start_info;
	const uint64_t *module = (const void *)(uint32_t)info->module_list;

	check(info->magic == 0x336ec578, "magic", info->magic);
	check(info->version == 1, "version", info->version);
	check(read32((uint32_t)info->rsdp) == 0x20445352, "RSDP", read32((uint32_t)info->rsdp));
	check(info->n_memmap >= 3, "memory map", info->n_memmap);
	say("cmdline ");
	say((const char *)(uint32_t)info->cmdline);
	if (info->modules) {
		say("\ninitrd ");
		say_hex((uint32_t)module[1]);
		say_hex(read32((uint32_t)module[0]));
	}
	say("\n");
}
