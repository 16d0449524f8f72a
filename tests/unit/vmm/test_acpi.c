/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables as bytes: sums, links, and each line that a stock kernel trips over. */
#include "vmm/acpi.h"
#include "vmm/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct tables {
	struct buf bytes;
	const uint8_t *xsdt, *fadt, *madt, *dsdt;
};

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t v = 0;

	while (n--)
		v = (uint8_t)(v + *p++);
	return v;
}

/* The table at this address: inside, of that kind, of a whole length, with a sum of zero. */
static const uint8_t *table(struct tables *t, uint64_t address, const char *signature)
{
	const uint8_t *p;

	assert_in_range(address, LAYOUT_ACPI, LAYOUT_ACPI + t->bytes.len - 36);
	assert_int_equal(address % 16, 0);
	p = buf_at(&t->bytes) + (address - LAYOUT_ACPI);
	assert_memory_equal(p, signature, 4);
	assert_in_range(le32(p + 4), 36, LAYOUT_ACPI + t->bytes.len - address);
	assert_int_equal(sum(p, le32(p + 4)), 0);
	return p;
}

static struct tables build(unsigned cpus, unsigned devices)
{
	struct tables t = { .bytes = BUF_INIT(8192) };
	const uint8_t *rsdp;

	assert_int_equal(acpi_build(cpus, devices, &t.bytes), 0);
	rsdp = buf_at(&t.bytes);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	t.xsdt = table(&t, le64(rsdp + 24), "XSDT");
	assert_int_equal(le32(t.xsdt + 4), 36 + 16);
	t.fadt = table(&t, le64(t.xsdt + 36), "FACP");
	t.madt = table(&t, le64(t.xsdt + 44), "APIC");
	t.dsdt = table(&t, le64(t.fadt + 140), "DSDT");
	return t;
}

static const uint8_t *find(const uint8_t *table, const void *what, size_t n)
{
	return memmem(table, le32(table + 4), what, n);
}

/* Without this bit the clock driver polls a register that is not there: 40,000 exits. */
static void test_no_cmos_clock(void **state)
{
	struct tables t = build(1, 0);

	(void)state;
	assert_true(t.fadt[109] & 1 << 5);
	buf_fini(&t.bytes);
}

/* Nor is there VGA or a keyboard controller to be probed. */
static void test_no_legacy_devices(void **state)
{
	struct tables t = build(1, 0);

	(void)state;
	assert_true(t.fadt[109] & 1 << 2);
	assert_false(t.fadt[109] & 1 << 1);
	assert_null(find(t.dsdt, "\x41\xd0\x03\x03", 4)); /* PNP0303 */
	buf_fini(&t.bytes);
}

static void test_hardware_reduced(void **state)
{
	struct tables t = build(1, 0);

	(void)state;
	assert_int_equal(t.fadt[8], 6);
	assert_int_equal(le32(t.fadt + 4), 276);
	assert_true(le32(t.fadt + 112) & 1U << 20);
	assert_true(le32(t.fadt + 112) & 1U << 4 && le32(t.fadt + 112) & 1U << 5);
	/* No PM timer, no event blocks, no SCI. */
	for (unsigned at = 148; at < 244; at++)
		assert_int_equal(t.fadt[at], 0);
	assert_int_equal(le32(t.fadt + 40), 0);
	buf_fini(&t.bytes);
}

/* reboot=a: the register, its value, and the flag that says they are there. */
static void test_reset_register(void **state)
{
	struct tables t = build(1, 0);

	(void)state;
	assert_true(le32(t.fadt + 112) & 1U << 10);
	assert_int_equal(t.fadt[116], 1);
	assert_int_equal(t.fadt[117], 8);
	assert_int_equal(le64(t.fadt + 120), PORT_RESET);
	assert_int_equal(t.fadt[128], RESET_VALUE);
	buf_fini(&t.bytes);
}

static void test_power_off(void **state)
{
	static const uint8_t s5[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x47, 0, 2, 0x0a, 5, 0x0a, 5 };
	struct tables t = build(1, 0);

	(void)state;
	assert_int_equal(t.fadt[244], 1);
	assert_int_equal(le64(t.fadt + 248), PORT_SLEEP_CONTROL);
	assert_int_equal(le64(t.fadt + 260), PORT_SLEEP_STATUS);
	assert_non_null(find(t.dsdt, s5, sizeof(s5)));
	buf_fini(&t.bytes);
}

/* Without the MADT a guest has one processor, and cannot power off. */
static void test_processors(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= LAYOUT_MAX_CPUS; cpus++) {
		struct tables t = build(cpus, 0);
		const uint8_t *p = t.madt + 44, *end = t.madt + le32(t.madt + 4);

		assert_int_equal(le32(t.madt + 36), LAYOUT_LAPIC);
		assert_int_equal(p[0], 1);
		assert_int_equal(p[1], 12);
		assert_int_equal(le32(p + 4), LAYOUT_IOAPIC);
		assert_int_equal(le32(p + 8), 0);
		p += 12;
		for (unsigned i = 0; i < cpus; i++, p += 8) {
			assert_int_equal(p[0], 0);
			assert_int_equal(p[1], 8);
			assert_int_equal(p[2], i);
			assert_int_equal(p[3], i);
			assert_int_equal(le32(p + 4), 1);
		}
		assert_ptr_equal(p, end);
		buf_fini(&t.bytes);
	}
}

/* Each device: its name, its number, its page of registers, its interrupt; in this order. */
static void test_virtio_devices(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= LAYOUT_MAX_DEVICES; n++) {
		struct tables t = build(1, n);
		const uint8_t *at = t.dsdt, *end = t.dsdt + le32(t.dsdt + 4);

		for (unsigned i = 0; i < n; i++) {
			at = memmem(at, (size_t)(end - at), "LNRO0005", 9);
			assert_non_null(at);
			assert_int_equal(at[9 + 6], i); /* _UID */
			at = memmem(at, (size_t)(end - at), "\x86\x09\x00\x01", 4);
			assert_non_null(at);
			assert_int_equal(le32(at + 4), LAYOUT_VIRTIO + i * LAYOUT_VIRTIO_SIZE);
			assert_int_equal(le32(at + 8), LAYOUT_VIRTIO_SIZE);
			assert_memory_equal(at + 12, "\x89\x06\x00\x03\x01", 5);
			assert_int_equal(le32(at + 17), LAYOUT_VIRTIO_GSI + i);
		}
		assert_null(memmem(at, (size_t)(end - at), "LNRO0005", 9));
		assert_non_null(find(t.dsdt, "COM1", 4));
		buf_fini(&t.bytes);
	}
}

/* Lengths of packages in AML lead from one name to the next, up to the end of the table. */
static void test_lengths_of_packages(void **state)
{
	struct tables t = build(8, LAYOUT_MAX_DEVICES);
	const uint8_t *p = t.dsdt + 36, *end;
	unsigned devices = 0;

	(void)state;
	assert_int_equal(*p++, 0x10);
	end = p + ((p[0] & 0x0f) | p[1] << 4);
	p += 2 + 4;
	while (p < end) {
		assert_memory_equal(p, "\x5b\x82", 2);
		p += 2;
		p += (p[0] & 0x0f) | p[1] << 4;
		devices++;
	}
	assert_ptr_equal(p, end);
	assert_int_equal(devices, LAYOUT_MAX_DEVICES + 1);
	assert_memory_equal(p, "\x08_S5_", 5);
	assert_ptr_equal(p + 13, t.dsdt + le32(t.dsdt + 4));
	buf_fini(&t.bytes);
}

static void test_small(void **state)
{
	struct tables t = build(1, 3);

	(void)state;
	assert_in_range(t.bytes.len, 600, 1024);
	buf_fini(&t.bytes);
}

static void test_refusals(void **state)
{
	struct buf small = BUF_INIT(64), b = BUF_INIT(8192);

	(void)state;
	assert_int_equal(acpi_build(0, 0, &b), -EINVAL);
	assert_int_equal(acpi_build(LAYOUT_MAX_CPUS + 1, 0, &b), -EINVAL);
	assert_int_equal(acpi_build(1, LAYOUT_MAX_DEVICES + 1, &b), -EINVAL);
	assert_int_equal(acpi_build(1, 0, &small), -ENOBUFS);
	buf_fini(&small);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_cmos_clock),
		cmocka_unit_test(test_no_legacy_devices),
		cmocka_unit_test(test_hardware_reduced),
		cmocka_unit_test(test_reset_register),
		cmocka_unit_test(test_power_off),
		cmocka_unit_test(test_processors),
		cmocka_unit_test(test_virtio_devices),
		cmocka_unit_test(test_lengths_of_packages),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
