/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes 20,000 bytes to the console without asking whether there is room, by string
 * instructions; then reads a register many times by one, and powers off.
 */
#include "tests/guests/guest.h"

static uint8_t bytes[1000];

static void out_string(uint16_t port, const void *p, uint32_t n)
{
	__asm__ volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
}

static void in_string(uint16_t port, void *p, uint32_t n)
{
	__asm__ volatile("rep insb" : "+D"(p), "+c"(n) : "d"(port) : "memory");
}

void main(uint32_t start_info)
{
	(void)start_info;
	memset(bytes, 'x', sizeof(bytes));
	for (unsigned i = 0; i < 20; i++)
		out_string(PORT_CONSOLE, bytes, sizeof(bytes));
	in_string(PORT_CONSOLE_STATUS + 2, bytes, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		check(bytes[i] == 0, "scratch", i);
}
