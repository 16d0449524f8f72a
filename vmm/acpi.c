/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest set of tables with which stock kernels boot, see all processors
 * and devices, and can power off.
 *
 *   RSDP -> XSDT -> FADT -> DSDT   devices, the sleep state S5
 *                -> MADT           interrupt controllers, processors
 *
 * The machine is a hardware-reduced one: no PM timer, no SCI, no fixed events.
 * What is absent is said to be absent, since a kernel probes for what nobody
 * denies: the missing CMOS clock alone cost 40,000 exits while its driver waited
 * for a register that reads as all ones.
 */
#include "vmm/acpi.h"
#include "vmm/layout.h"

#include <stdio.h>

enum fadt_flag {
	FADT_POWER_BUTTON_ABSENT = 1U << 4,
	FADT_SLEEP_BUTTON_ABSENT = 1U << 5,
	FADT_RESET_REGISTER = 1U << 10,
	FADT_HARDWARE_REDUCED = 1U << 20,
};

enum fadt_boot_arch {
	BOOT_ARCH_NO_VGA = 1U << 2,
	BOOT_ARCH_NO_CMOS_CLOCK = 1U << 5,
};

/* Offsets into tables, ACPI 6.4 tables 5.3, 5.4 and 5.9. */
enum {
	HEADER_SIZE = 36,
	HEADER_LENGTH = 4,
	HEADER_CHECKSUM = 9,

	RSDP_SIZE = 36,
	RSDP_CHECKSUM = 8, /* of the first 20 bytes */
	RSDP_FIRST_PART = 20,
	RSDP_XSDT = 24,
	RSDP_LONG_CHECKSUM = 32,

	FADT_SIZE = 276,
	FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_HYPERVISOR = 268,
};

/* AML, ACPI 6.4 20.2. */
enum {
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_EXT = 0x5b,
	AML_EXT_DEVICE = 0x82,
};

/*
 * A writer that remembers its first failure, so that tables read as tables. Out
 * of room is the only one there is.
 */
struct tables {
	struct buf *out;
	int failed;
};

static void put(struct tables *t, const void *p, size_t n)
{
	if (t->failed == 0)
		t->failed = buf_append(t->out, p, n);
}

static void put8(struct tables *t, unsigned v)
{
	uint8_t byte = (uint8_t)v;

	put(t, &byte, 1);
}

static void put16(struct tables *t, unsigned v)
{
	put8(t, v & 0xff);
	put8(t, v >> 8);
}

static void put32(struct tables *t, uint32_t v)
{
	put16(t, v & 0xffff);
	put16(t, v >> 16);
}

static void put_zeros(struct tables *t, size_t n)
{
	while (n--)
		put8(t, 0);
}

/* Where the next byte goes; everything starts at a multiple of 16. */
static size_t here(const struct tables *t)
{
	return t->out->len;
}

static size_t align16(struct tables *t)
{
	while (t->failed == 0 && here(t) % 16)
		put8(t, 0);
	return here(t);
}

static void set_le(struct tables *t, size_t at, uint64_t v, unsigned bytes)
{
	if (t->failed)
		return;
	assert(at + bytes <= here(t));
	for (unsigned i = 0; i < bytes; i++)
		buf_at(t->out)[at + i] = (uint8_t)(v >> (8 * i));
}

/* What makes the bytes of [from, from + n) sum to zero. */
static void set_checksum(struct tables *t, size_t at, size_t from, size_t n)
{
	uint8_t sum = 0;

	if (t->failed)
		return;
	buf_at(t->out)[at] = 0;
	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + buf_at(t->out)[from + i]);
	buf_at(t->out)[at] = (uint8_t)-sum;
}

static uint64_t address_of(size_t at)
{
	return LAYOUT_ACPI + at;
}

static size_t table_begin(struct tables *t, const char *signature, unsigned revision)
{
	size_t at = align16(t);

	put(t, signature, 4);
	put32(t, 0); /* length, see table_end */
	put8(t, revision);
	put8(t, 0); /* checksum, the same */
	put(t, "WEIR  ", 6);
	put(t, "WEIRVMM ", 8);
	put32(t, 1);
	put(t, "WEIR", 4);
	put32(t, 1);
	return at;
}

static void table_end(struct tables *t, size_t at)
{
	size_t n = here(t) - at;

	set_le(t, at + HEADER_LENGTH, n, 4);
	set_checksum(t, at + HEADER_CHECKSUM, at, n);
}

/*
 * Lengths come before what they measure: two bytes are set aside (an encoding
 * that reaches to 4095 and is legal for less) and filled in at the end.
 */
static size_t package_begin(struct tables *t)
{
	size_t at = here(t);

	put16(t, 0);
	return at;
}

static void package_end(struct tables *t, size_t at)
{
	size_t n = here(t) - at;

	assert(t->failed || n < 4096);
	set_le(t, at, 0x40 | (n & 0x0f), 1);
	set_le(t, at + 1, n >> 4, 1);
}

static void aml_name(struct tables *t, const char *name)
{
	put8(t, AML_NAME);
	put(t, name, 4);
}

static void aml_byte(struct tables *t, unsigned v)
{
	put8(t, AML_BYTE);
	put8(t, v);
}

static size_t aml_device_begin(struct tables *t, const char *name)
{
	size_t at;

	put8(t, AML_EXT);
	put8(t, AML_EXT_DEVICE);
	at = package_begin(t);
	put(t, name, 4);
	return at;
}

/* _CRS: a buffer of resource descriptors, ACPI 6.4 6.4. */
static void aml_resources(struct tables *t, const void *p, size_t n)
{
	static const uint8_t end_tag[] = { 0x79, 0 };
	size_t at;

	aml_name(t, "_CRS");
	put8(t, AML_BUFFER);
	at = package_begin(t);
	aml_byte(t, (unsigned)(n + sizeof(end_tag)));
	put(t, p, n);
	put(t, end_tag, sizeof(end_tag));
	package_end(t, at);
}

static void put_le32_at(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* One virtio-mmio device: the name that Linux and others know it by is LNRO0005. */
static void dsdt_virtio(struct tables *t, unsigned n)
{
	uint8_t resources[] = {
		0x86, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, /* Memory32Fixed, writable */
		0x89, 6, 0, 3, 1, 0, 0, 0, 0, /* Interrupt: edge, active high, not shared */
	};
	char name[8];
	size_t at;

	put_le32_at(resources + 4, (uint32_t)(LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_SIZE));
	put_le32_at(resources + 8, LAYOUT_VIRTIO_SIZE);
	put_le32_at(resources + 17, LAYOUT_VIRTIO_GSI + n);

	snprintf(name, sizeof(name), "V%03u", n % 1000);
	at = aml_device_begin(t, name);
	aml_name(t, "_HID");
	put8(t, AML_STRING);
	put(t, "LNRO0005", sizeof("LNRO0005"));
	aml_name(t, "_UID");
	aml_byte(t, n);
	aml_name(t, "_CCA"); /* what it writes to memory is coherent */
	put8(t, AML_ONE);
	aml_resources(t, resources, sizeof(resources));
	package_end(t, at);
}

static void dsdt_serial(struct tables *t)
{
	static const uint8_t resources[] = {
		0x47,
		1,
		PORT_COM1 & 0xff,
		PORT_COM1 >> 8,
		PORT_COM1 & 0xff,
		PORT_COM1 >> 8,
		1,
		8,
		0x22,
		1 << LAYOUT_COM1_GSI,
		0,
	};
	static const uint8_t pnp0501[] = { 0x41, 0xd0, 0x05, 0x01 };
	size_t at = aml_device_begin(t, "COM1");

	aml_name(t, "_HID");
	put8(t, AML_DWORD);
	put(t, pnp0501, sizeof(pnp0501));
	aml_name(t, "_UID");
	put8(t, AML_ONE);
	aml_resources(t, resources, sizeof(resources));
	package_end(t, at);
}

static size_t build_dsdt(struct tables *t, unsigned devices)
{
	size_t at = table_begin(t, "DSDT", 2), inner;

	put8(t, AML_SCOPE);
	inner = package_begin(t);
	put(t, "_SB_", 4);
	/* A kernel probes in this order: the first block device here is /dev/vda. */
	for (unsigned n = 0; n < devices; n++)
		dsdt_virtio(t, n);
	dsdt_serial(t);
	package_end(t, inner);

	aml_name(t, "_S5_");
	put8(t, AML_PACKAGE);
	inner = package_begin(t);
	put8(t, 2);
	aml_byte(t, SLEEP_TYPE_S5);
	aml_byte(t, SLEEP_TYPE_S5);
	package_end(t, inner);
	table_end(t, at);
	return at;
}

/* A generic address structure: one byte wide, in port space. */
static void set_port(struct tables *t, size_t at, unsigned port)
{
	set_le(t, at, 1, 1);	 /* system I/O */
	set_le(t, at + 1, 8, 1); /* bits */
	set_le(t, at + 3, 1, 1); /* accessed by the byte */
	set_le(t, at + 4, port, 8);
}

static size_t build_fadt(struct tables *t, size_t dsdt)
{
	size_t at = table_begin(t, "FACP", 6);

	put_zeros(t, FADT_SIZE - HEADER_SIZE);
	set_le(t, at + FADT_BOOT_ARCH, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_CLOCK, 2);
	set_le(t, at + FADT_FLAGS,
	       FADT_HARDWARE_REDUCED | FADT_RESET_REGISTER | FADT_POWER_BUTTON_ABSENT |
		       FADT_SLEEP_BUTTON_ABSENT,
	       4);
	set_port(t, at + FADT_RESET_REG, PORT_RESET);
	set_le(t, at + FADT_RESET_VALUE, RESET_VALUE, 1);
	set_le(t, at + FADT_MINOR, 4, 1);
	set_le(t, at + FADT_X_DSDT, address_of(dsdt), 8);
	set_port(t, at + FADT_SLEEP_CONTROL, PORT_SLEEP_CONTROL);
	set_port(t, at + FADT_SLEEP_STATUS, PORT_SLEEP_STATUS);
	table_end(t, at);
	return at;
}

static size_t build_madt(struct tables *t, unsigned cpus)
{
	size_t at = table_begin(t, "APIC", 5);

	put32(t, LAYOUT_LAPIC);
	put32(t, 0); /* no 8259 to silence */

	put8(t, 1); /* the I/O APIC, for interrupts 0 to 23 */
	put8(t, 12);
	put16(t, 0);
	put32(t, LAYOUT_IOAPIC);
	put32(t, 0);

	for (unsigned cpu = 0; cpu < cpus; cpu++) {
		put8(t, 0); /* a processor's APIC */
		put8(t, 8);
		put8(t, cpu);
		put8(t, cpu);
		put32(t, 1); /* usable */
	}
	table_end(t, at);
	return at;
}

static size_t build_xsdt(struct tables *t, size_t fadt, size_t madt)
{
	size_t at = table_begin(t, "XSDT", 1);

	put_zeros(t, 16);
	set_le(t, at + HEADER_SIZE, address_of(fadt), 8);
	set_le(t, at + HEADER_SIZE + 8, address_of(madt), 8);
	table_end(t, at);
	return at;
}

static void finish_rsdp(struct tables *t, size_t xsdt)
{
	set_le(t, RSDP_XSDT, address_of(xsdt), 8);
	set_checksum(t, RSDP_CHECKSUM, 0, RSDP_FIRST_PART);
	set_checksum(t, RSDP_LONG_CHECKSUM, 0, RSDP_SIZE);
}

static void begin_rsdp(struct tables *t)
{
	put(t, "RSD PTR ", 8);
	put8(t, 0);
	put(t, "WEIR  ", 6);
	put8(t, 2); /* revision: there is an XSDT */
	put32(t, 0);
	put32(t, RSDP_SIZE);
	put_zeros(t, 12);
}

int acpi_build(unsigned cpus, unsigned devices, struct buf *ret)
{
	struct tables t = { .out = ret };
	size_t dsdt, fadt, madt;

	if (cpus < 1 || cpus > LAYOUT_MAX_CPUS || devices > LAYOUT_MAX_DEVICES || ret->len)
		return -EINVAL;
	begin_rsdp(&t);
	dsdt = build_dsdt(&t, devices);
	fadt = build_fadt(&t, dsdt);
	madt = build_madt(&t, cpus);
	finish_rsdp(&t, build_xsdt(&t, fadt, madt));
	return t.failed;
}
