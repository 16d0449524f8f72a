/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends as the last letter of its command line says: r by the ACPI reset register, k
 * by the keyboard controller, w as a kernel that panicked, t by a triple fault, l never.
 */
#include "tests/guests/guest.h"

static const char *last_of(const char *text)
{
	while (text[1])
		text++;
	return text;
}

void main(uint32_t start_info)
{
	const char *how = last_of((const char *)read32(start_info + 24));

	say("end by ");
	say(how);
	say("\n");
	switch (*how) {
	case 'r':
		out8(PORT_RESET, 1);
		break;
	case 'k':
		out8(0x64, 0xfe);
		break;
	case 'w':
		write32(0x472, 0x1234);
		out8(PORT_RESET, 1);
		break;
	case 't':
		__asm__ volatile("ud2"); /* there is no table of handlers */
		break;
	case 'l':
		for (;;)
			;
	default:
		break;
	}
}
