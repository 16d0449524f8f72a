/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550 serial port for the guest's early console: output only. Engine: the
 * bytes a guest writes are kept in a bounded ring until somebody takes them.
 */
#ifndef WEIR_VMM_SERIAL_H
#define WEIR_VMM_SERIAL_H

#include "base/base.h"

#define SERIAL_RING 16384

/* Flat, so that a snapshot can copy it. Zeroed is a port after power-on. */
struct serial {
	uint8_t ier, lcr, mcr, scratch, divisor[2];
	bool thr_interrupt; /* "transmitter empty" is to be told */
	uint32_t head, len; /* of ring */
	uint64_t dropped;   /* bytes that a guest wrote without waiting for room */
	uint8_t ring[SERIAL_RING];
};

/*
 * One access to register 0..7. True: the interrupt line goes up once (edge).
 * A full ring reads as "transmitter busy"; what is written nevertheless is
 * dropped and counted, as on a real line without flow control.
 */
must_check bool serial_write(struct serial *s, unsigned reg, uint8_t value);
uint8_t serial_read(struct serial *s, unsigned reg);

/* Bytes that wait, in one piece; serial_taken() says how many of them are gone. */
size_t serial_pending(const struct serial *s, const uint8_t **ret_p);
void serial_taken(struct serial *s, size_t n);

#endif
