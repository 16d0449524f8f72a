/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port as drivers use it, and the ports around it. */
#include "vmm/layout.h"
#include "vmm/ports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct serial serial;

static int setup(void **state)
{
	(void)state;
	memset(&serial, 0, sizeof(serial));
	return 0;
}

static bool put(unsigned reg, uint8_t v)
{
	return serial_write(&serial, reg, v);
}

static void test_bytes_in_order(void **state)
{
	const uint8_t *p;

	(void)state;
	assert_false(put(0, 'a'));
	assert_false(put(0, 'b'));
	assert_int_equal(serial_pending(&serial, &p), 2);
	assert_memory_equal(p, "ab", 2);
	serial_taken(&serial, 1);
	assert_int_equal(serial_pending(&serial, &p), 1);
	assert_int_equal(*p, 'b');
}

/* The ring turns over: what is taken is what was written, whatever the pieces. */
static void test_ring_turns_over(void **state)
{
	uint8_t next_in = 0, next_out = 0;
	const uint8_t *p;

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 1000; i++)
			assert_false(put(0, next_in++));
		for (size_t n; (n = serial_pending(&serial, &p)) > 0;) {
			for (size_t i = 0; i < n; i++)
				assert_int_equal(p[i], next_out++);
			serial_taken(&serial, n);
		}
	}
	assert_int_equal(next_in, next_out);
	assert_int_equal(serial.dropped, 0);
}

/* lesson: serial buffers without a limit. Full is told, and what comes then is counted. */
static void test_full_is_busy(void **state)
{
	const uint8_t *p;

	(void)state;
	for (unsigned i = 0; i < SERIAL_RING; i++) {
		assert_int_equal(serial_read(&serial, 5), 0x60);
		assert_false(put(0, (uint8_t)i));
	}
	assert_int_equal(serial_read(&serial, 5), 0);
	assert_false(put(0, 'x'));
	assert_int_equal(serial.dropped, 1);
	assert_int_equal(serial_pending(&serial, &p), SERIAL_RING);
	serial_taken(&serial, 1);
	assert_int_equal(serial_read(&serial, 5), 0x60);
}

/* "Transmitter empty" is told when it is asked for and after each byte, until it is read. */
static void test_interrupt(void **state)
{
	(void)state;
	assert_int_equal(serial_read(&serial, 2), 0xc1);
	assert_true(put(1, 0x02));
	assert_int_equal(serial_read(&serial, 2), 0xc2);
	assert_int_equal(serial_read(&serial, 2), 0xc1);
	assert_false(put(1, 0x02));
	assert_true(put(0, 'a'));
	assert_int_equal(serial_read(&serial, 2), 0xc2);
	assert_false(put(1, 0));
	assert_false(put(0, 'b'));
	assert_int_equal(serial_read(&serial, 2), 0xc1);
}

static void test_divisor_is_no_data(void **state)
{
	const uint8_t *p;

	(void)state;
	assert_false(put(3, 0x83));
	assert_false(put(0, 0x12));
	assert_false(put(1, 0xff));
	assert_int_equal(serial_read(&serial, 0), 0x12);
	assert_int_equal(serial_read(&serial, 1), 0xff);
	assert_false(put(3, 0x03));
	assert_int_equal(serial_pending(&serial, &p), 0);
	assert_int_equal(serial_read(&serial, 0), 0);
	assert_int_equal(serial_read(&serial, 1), 0);
	assert_false(put(7, 0x5a));
	assert_int_equal(serial_read(&serial, 7), 0x5a);
}

/* By what drivers know a port from an empty slot. */
static void test_loopback(void **state)
{
	const uint8_t *p;

	(void)state;
	assert_int_equal(serial_read(&serial, 6), 0xb0);
	assert_false(put(4, 0x1a)); /* loop, OUT2, RTS */
	assert_int_equal(serial_read(&serial, 4), 0x1a);
	assert_int_equal(serial_read(&serial, 6), 0x90);
	assert_false(put(0, 'x'));
	assert_int_equal(serial_pending(&serial, &p), 0);
}

static enum port_event out(uint16_t port, uint32_t v, unsigned size, uint64_t *unknown)
{
	return port_write(&serial, port, (const uint8_t *)&v, size, unknown);
}

static void test_how_a_machine_ends(void **state)
{
	uint64_t unknown = 0;

	(void)state;
	assert_int_equal(out(PORT_SLEEP_CONTROL, 0x34, 1, &unknown), PORT_POWER_OFF);
	assert_int_equal(out(PORT_RESET, 1, 1, &unknown), PORT_RESET_ASKED);
	assert_int_equal(out(0x64, 0xfe, 1, &unknown), PORT_RESET_ASKED);
	assert_int_equal(unknown, 0);
	/* Nearly. */
	assert_int_equal(out(PORT_SLEEP_CONTROL, 0x14, 1, &unknown), PORT_NOTHING);
	assert_int_equal(out(PORT_SLEEP_CONTROL, 0x30, 1, &unknown), PORT_NOTHING);
	assert_int_equal(out(PORT_SLEEP_CONTROL, 0x34, 2, &unknown), PORT_NOTHING);
	assert_int_equal(out(PORT_RESET, 0, 1, &unknown), PORT_NOTHING);
	assert_int_equal(out(PORT_RESET, 1, 4, &unknown), PORT_NOTHING);
	assert_int_equal(out(0x64, 0xd1, 1, &unknown), PORT_NOTHING);
	assert_int_equal(out(0x65, 0xfe, 1, &unknown), PORT_NOTHING);
}

/* Every port in every width: where nobody is, all ones come back and nothing is written. */
static void test_empty_bus(void **state)
{
	uint8_t data[8];
	const uint8_t *p;

	(void)state;
	for (uint32_t port = 0; port < 0x10000; port++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			bool ours = size == 1 && ((port >= PORT_COM1 && port < PORT_COM1 + 8) ||
						  port == PORT_SLEEP_CONTROL ||
						  port == PORT_SLEEP_STATUS || port == PORT_KEYBOARD);
			uint64_t unknown = 0;

			memset(data, 0xab, sizeof(data));
			port_read(&serial, port, data, size, &unknown);
			assert_int_equal(unknown, ours ? 0 : 1);
			for (unsigned i = 0; i < size && !ours; i++)
				assert_int_equal(data[i], 0xff);
			for (unsigned i = size; i < sizeof(data); i++)
				assert_int_equal(data[i], 0xab);
			if (!ours)
				assert_int_equal(out((uint16_t)port, 0, size, &unknown),
						 PORT_NOTHING);
		}
	assert_int_equal(serial_pending(&serial, &p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bytes_in_order, setup),
		cmocka_unit_test_setup(test_ring_turns_over, setup),
		cmocka_unit_test_setup(test_full_is_busy, setup),
		cmocka_unit_test_setup(test_interrupt, setup),
		cmocka_unit_test_setup(test_divisor_is_no_data, setup),
		cmocka_unit_test_setup(test_loopback, setup),
		cmocka_unit_test_setup(test_how_a_machine_ends, setup),
		cmocka_unit_test_setup(test_empty_bus, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
