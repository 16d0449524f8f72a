/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's registers are a byte wide and take a byte. A reset can be asked
 * for in two ways: by the ACPI reset register, and, before ACPI is up, by the
 * keyboard controller's old command. (The third way that kernels try is a triple
 * fault, which here means what it is: a crash.)
 */
#include "vmm/ports.h"
#include "vmm/layout.h"

enum port_event port_write(struct serial *serial, uint64_t port, const uint8_t *data, unsigned size,
			   uint64_t *unknown)
{
	if (size == 1 && port >= PORT_COM1 && port < PORT_COM1 + 8)
		return serial_write(serial, (unsigned)(port - PORT_COM1), data[0]) ? PORT_INTERRUPT
										   : PORT_NOTHING;
	if (size == 1 && port == PORT_SLEEP_CONTROL) {
		if ((data[0] & SLEEP_ENABLE) &&
		    (data[0] & SLEEP_TYPE_MASK) >> SLEEP_TYPE_SHIFT == SLEEP_TYPE_S5)
			return PORT_POWER_OFF;
		return PORT_NOTHING;
	}
	if (size == 1 && port == PORT_SLEEP_STATUS)
		return PORT_NOTHING; /* clears "woken up", which it never was */
	if (size == 1 && port == PORT_RESET && data[0] == RESET_VALUE)
		return PORT_RESET_ASKED;
	if (size == 1 && port == PORT_KEYBOARD && data[0] == KEYBOARD_RESET)
		return PORT_RESET_ASKED;
	++*unknown;
	return PORT_NOTHING;
}

void port_read(struct serial *serial, uint64_t port, uint8_t *data, unsigned size, uint64_t *unknown)
{
	if (size == 1 && port >= PORT_COM1 && port < PORT_COM1 + 8) {
		data[0] = serial_read(serial, (unsigned)(port - PORT_COM1));
		return;
	}
	/* The keyboard controller is never busy: who wants to reset by it waits for that. */
	if (size == 1 &&
	    (port == PORT_SLEEP_CONTROL || port == PORT_SLEEP_STATUS || port == PORT_KEYBOARD)) {
		data[0] = 0;
		return;
	}
	memset(data, 0xff, size);
	++*unknown;
}
