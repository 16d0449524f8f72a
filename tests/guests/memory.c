/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether all of the memory that the map promises is there, below the hole and above 4 GiB, and no
 * two addresses are one place: a word of its own is written to the beginning, middle and end of each
 * piece, and read when all are written. Says where the low memory ends and how much there is
 * above, in MiB, and powers off.
 *
 * Beyond 4 GiB leads PAE: the first GiB is mapped one to one, the second is a window.
 */
#include "tests/guests/guest.h"

#define GIB 0x40000000U
#define WINDOW GIB
#define LARGE_PAGE 0x200000U
#define ENTRY_TABLE 1
#define ENTRY_LARGE 0x83 /* present, writable, 2 MiB */
#define RAM 1

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, memmap;
	uint32_t n_memmap;
};

struct piece {
	uint64_t at, size;
	uint32_t type, reserved;
};

static uint64_t top[4] __attribute__((aligned(32)));
static uint64_t table[2][512] __attribute__((aligned(4096)));

/* The second GiB of our addresses becomes the one that `at` lies in. */
static void look_at(uint64_t at)
{
	uint64_t base = at & ~(uint64_t)(GIB - 1);

	for (uint32_t i = 0; i < 512; i++)
		table[1][i] = (base + (uint64_t)i * LARGE_PAGE) | ENTRY_LARGE;
	__asm__ volatile("movl %0, %%cr3" : : "r"(top) : "memory");
}

static void start_paging(void)
{
	uint32_t v;

	for (uint32_t i = 0; i < 512; i++)
		table[0][i] = (uint64_t)i * LARGE_PAGE | ENTRY_LARGE;
	for (uint32_t i = 0; i < 2; i++)
		top[i] = (uint32_t)table[i] | ENTRY_TABLE;
	look_at(0);
	__asm__ volatile("movl %%cr4, %0" : "=r"(v));
	__asm__ volatile("movl %0, %%cr4" : : "r"(v | 0x20) : "memory");
	__asm__ volatile("movl %%cr0, %0" : "=r"(v));
	__asm__ volatile("movl %0, %%cr0" : : "r"(v | 0x80000000U) : "memory");
}

static uint32_t window(uint64_t at)
{
	look_at(at);
	return WINDOW + (uint32_t)(at & (GIB - 1));
}

/* No two places have the same. */
static uint32_t word_for(uint64_t at)
{
	return (uint32_t)(at >> 8) ^ 0x5a000000U;
}

static void each_place(const struct piece *p, void (*each)(uint64_t at))
{
	/* Below lies what we are made of ourselves. */
	if (p->at >= 0x100000000ULL)
		each(p->at);
	each((p->at + p->size / 2) & ~7ULL);
	each(p->at + p->size - 8);
}

static void fill(uint64_t at)
{
	uint32_t p = window(at);

	check(read32(p) == 0, "memory that was not fresh", read32(p));
	write32(p, word_for(at));
}

static void verify(uint64_t at)
{
	uint32_t p = window(at);

	check(read32(p) == word_for(at), "another place's word", read32(p));
}

void main(uint32_t start_info)
{
	const struct start_info *info = (const void *)start_info;
	const struct piece *map = (const void *)(uint32_t)info->memmap;
	uint64_t low_end = 0, above = 0;

	start_paging();
	for (uint32_t pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < info->n_memmap; i++)
			if (map[i].type == RAM && map[i].at >= 0x100000)
				each_place(&map[i], pass ? verify : fill);
	for (uint32_t i = 0; i < info->n_memmap; i++) {
		if (map[i].type != RAM)
			continue;
		if (map[i].at >= 0x100000000ULL)
			above += map[i].size;
		else if (map[i].at + map[i].size > low_end)
			low_end = map[i].at + map[i].size;
	}
	say("memory ");
	say_hex((uint32_t)(low_end >> 20));
	say_hex((uint32_t)(above >> 20));
	say("\n");
}
