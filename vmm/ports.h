/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's I/O ports do: the serial port, the sleep and reset registers
 * that the ACPI tables name, and nothing. Engine.
 */
#ifndef WEIR_VMM_PORTS_H
#define WEIR_VMM_PORTS_H

#include "vmm/serial.h"

enum port_event {
	PORT_NOTHING = 0,
	PORT_INTERRUPT = 1, /* one edge on LAYOUT_COM1_GSI */
	PORT_POWER_OFF = 2,
	PORT_RESET_ASKED = 3,
};

/*
 * One access of 1, 2 or 4 bytes. Where nobody answers, reads are all ones and
 * writes are nothing, as on a PC's empty bus; *unknown counts them.
 */
must_check enum port_event port_write(struct serial *serial, uint64_t port, const uint8_t *data,
				      unsigned size, uint64_t *unknown);
void port_read(struct serial *serial, uint64_t port, uint8_t *data, unsigned size, uint64_t *unknown);

#endif
