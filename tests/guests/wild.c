/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches every port and much of the space that has no memory, in all widths, and has to find an
 * empty bus: all ones, and nothing happens.
 */
#include "tests/guests/guest.h"

static int ends_machine(uint32_t port)
{
	return port == 0x64 || port == PORT_SLEEP || port == PORT_RESET;
}

/* What KVM itself answers (interrupt controllers), and the machine's registers. */
static int is_ours(uint32_t port)
{
	return (port >= PORT_CONSOLE - 3 && port < PORT_CONSOLE + 8) || (port & ~0x83U) == 0x20 ||
	       (port >= 0x4cd && port <= 0x4d1) || (port >= 0x61 && port <= 0x64) ||
	       (port >= PORT_SLEEP - 3 && port <= PORT_RESET) || (port >= 0x1d && port <= 0x23) ||
	       (port >= 0x9d && port <= 0xa3) || (port >= 0x3d && port <= 0x43);
}

static void ports(void)
{
	for (uint32_t port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 61) {
		if (is_ours(port))
			continue;
		check(in8((uint16_t)port) == 0xff, "byte at port", port);
		check(in32((uint16_t)port) == 0xffffffff, "word at port", port);
		if (!ends_machine(port)) {
			out8((uint16_t)port, 0xfe);
			out16((uint16_t)port, 0xfefe);
			out32((uint16_t)port, 0xfefefefe);
		}
	}
	/* The registers take a byte, and the right one. */
	out8(PORT_RESET, 2);
	out16(PORT_RESET, 1);
	out8(PORT_SLEEP, 0x14);
	out8(PORT_SLEEP, 0x20);
	out32(PORT_SLEEP, 0x34);
	out8(0x64, 0xd1);
}

static void holes(void)
{
	/* Behind the devices, up to the interrupt controllers. */
	for (uint32_t at = 0xd0100000; at < 0xfe000000; at += 0x123000) {
		check(read32(at) == 0xffffffff, "word at", at);
		check(read8(at + 3) == 0xff, "byte at", at + 3);
		write32(at, 0);
		write8(at + 1, 0);
	}
}

/* A device's window, read at every address, written where no driver may write. */
static void windows(void)
{
	for (uint32_t at = DEVICE(0); at < DEVICE(1); at += 1)
		read8(at);
	for (uint32_t at = DEVICE(0); at < DEVICE(1) - 3; at += 7)
		read32(at);
	for (uint32_t at = DEVICE(0); at < DEVICE(1); at += 4) {
		write8(at + 1, 0xff);
		if ((at & 0xfff) != VIRTIO_STATUS)
			write32(at, 0xffffffff);
	}
}

void main(uint32_t start_info)
{
	(void)start_info;
	ports();
	holes();
	windows();
	say("wild ok\n");
}
