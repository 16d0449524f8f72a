/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything stands in the guest's physical address space, and which I/O
 * ports answer. The boot loader, the ACPI tables and the run loop agree by
 * taking their numbers from here and nowhere else. Addresses in bytes.
 */
#ifndef WEIR_VMM_LAYOUT_H
#define WEIR_VMM_LAYOUT_H

/* ---- low memory: what the boot loader leaves for the kernel ------------- */

#define LAYOUT_GDT 0x500
#define LAYOUT_PVH_INFO 0x6000 /* hvm_start_info, then its module list */
#define LAYOUT_PVH_MODULES 0x6040
#define LAYOUT_ZERO_PAGE 0x7000	  /* bzImage: boot_params; PVH: the memory map */
#define LAYOUT_PAGE_TABLES 0x9000 /* three pages: one GiB, mapped one to one */
#define LAYOUT_CMDLINE 0x20000
#define LAYOUT_CMDLINE_MAX 2048 /* with its NUL: what x86 kernels read */
#define LAYOUT_LOW_RAM_END 0x9fc00
#define LAYOUT_ACPI 0xe0000 /* the RSDP, then the tables; firmware's place */
#define LAYOUT_ACPI_END 0x100000
#define LAYOUT_HIGH_RAM 0x100000

/* ---- the hole below 4 GiB ------------------------------------------------ */

#define LAYOUT_GAP 0xd0000000UL /* no RAM from here to 4 GiB */
#define LAYOUT_VIRTIO LAYOUT_GAP
#define LAYOUT_VIRTIO_SIZE 0x1000UL /* one page of registers a device */
#define LAYOUT_IOAPIC 0xfec00000UL
#define LAYOUT_LAPIC 0xfee00000UL
#define LAYOUT_IDENTITY_MAP 0xfffbc000UL /* one page for KVM on Intel */
#define LAYOUT_TSS 0xfffbd000UL		 /* three pages, the same */
#define LAYOUT_ABOVE_GAP 0x100000000UL	 /* the rest of the RAM */

/* Old kernels read an initramfs below 2 GiB only. */
#define LAYOUT_INITRD_END 0x80000000UL

/* ---- interrupts and ports ------------------------------------------------ */

#define LAYOUT_COM1_GSI 4
#define LAYOUT_VIRTIO_GSI 5 /* and up, one a device */
#define LAYOUT_MAX_DEVICES 18
#define LAYOUT_MAX_CPUS 8

#define PORT_COM1 0x3f8	   /* eight ports */
#define PORT_KEYBOARD 0x64 /* 0xfe written here is the oldest way to reset a PC */
#define PORT_SLEEP_CONTROL 0x600
#define PORT_SLEEP_STATUS 0x601
#define PORT_RESET 0x604

#define KEYBOARD_RESET 0xfe
#define RESET_VALUE 0x01
/* SLEEP_CONTROL_REG, ACPI 6.4 4.8.3.7: the type, and "now". */
#define SLEEP_TYPE_S5 5
#define SLEEP_TYPE_SHIFT 2
#define SLEEP_TYPE_MASK 0x1c
#define SLEEP_ENABLE 0x20

/* Room for a machine: sizes a user may ask for, in MiB. */
#define LAYOUT_MIN_MIB 16
#define LAYOUT_MAX_MIB (256 * 1024)

#endif
