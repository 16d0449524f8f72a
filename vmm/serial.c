/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of a 16550 as far as drivers look (National PC16550D data
 * sheet): line and modem control are remembered, nothing is ever received, a
 * byte is sent as soon as it is written. Loopback is not emulated beyond the
 * modem lines, by which drivers tell a port from an empty slot.
 */
#include "vmm/serial.h"

enum serial_reg {
	REG_DATA = 0, /* or the divisor's low byte */
	REG_IER = 1,  /* or its high byte */
	REG_IIR = 2,  /* written: FCR */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCRATCH = 7,
};

enum {
	IER_TX_EMPTY = 0x02,
	IER_MASK = 0x0f,
	IIR_NONE = 0x01,
	IIR_TX_EMPTY = 0x02,
	IIR_FIFO = 0xc0,
	LCR_DIVISOR = 0x80,
	MCR_MASK = 0x1f,
	MCR_LOOPBACK = 0x10,
	LSR_TX_READY = 0x60,  /* holding and shift register empty */
	MSR_CONNECTED = 0xb0, /* carrier, data set ready, clear to send */
};

static bool latched(const struct serial *s)
{
	return s->lcr & LCR_DIVISOR;
}

static void send_byte(struct serial *s, uint8_t value)
{
	if (s->len == SERIAL_RING) {
		s->dropped++;
		return;
	}
	s->ring[(s->head + s->len++) % SERIAL_RING] = value;
}

static bool tell_empty(struct serial *s)
{
	if (!(s->ier & IER_TX_EMPTY))
		return false;
	s->thr_interrupt = true;
	return true;
}

bool serial_write(struct serial *s, unsigned reg, uint8_t value)
{
	bool had;

	switch (reg) {
	case REG_DATA:
		if (latched(s)) {
			s->divisor[0] = value;
			return false;
		}
		if (!(s->mcr & MCR_LOOPBACK))
			send_byte(s, value);
		return tell_empty(s);
	case REG_IER:
		if (latched(s)) {
			s->divisor[1] = value;
			return false;
		}
		had = s->ier & IER_TX_EMPTY;
		s->ier = value & IER_MASK;
		return !had && tell_empty(s);
	case REG_LCR:
		s->lcr = value;
		return false;
	case REG_MCR:
		s->mcr = value & MCR_MASK;
		return false;
	case REG_SCRATCH:
		s->scratch = value;
		return false;
	default: /* FIFO control: a byte leaves at once, there is none to control */
		return false;
	}
}

/* In loopback the modem lines read as what the control lines are set to. */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOPBACK))
		return MSR_CONNECTED;
	return (uint8_t)((s->mcr & 0x02) << 3 | (s->mcr & 0x01) << 5 | (s->mcr & 0x0c) << 4);
}

uint8_t serial_read(struct serial *s, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case REG_DATA:
		return latched(s) ? s->divisor[0] : 0;
	case REG_IER:
		return latched(s) ? s->divisor[1] : s->ier;
	case REG_IIR:
		v = s->thr_interrupt && s->ier & IER_TX_EMPTY ? IIR_TX_EMPTY : IIR_NONE;
		s->thr_interrupt = false;
		return v | IIR_FIFO;
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return s->len < SERIAL_RING ? LSR_TX_READY : 0;
	case REG_MSR:
		return modem_status(s);
	default:
		return s->scratch;
	}
}

size_t serial_pending(const struct serial *s, const uint8_t **ret_p)
{
	*ret_p = s->ring + s->head;
	return MIN(s->len, SERIAL_RING - s->head);
}

void serial_taken(struct serial *s, size_t n)
{
	assert(n <= s->len);
	s->head = (uint32_t)((s->head + n) % SERIAL_RING);
	s->len -= (uint32_t)n;
}
