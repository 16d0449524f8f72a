/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of the machine: the only description of it that a stock
 * kernel reads. Engine: bytes out, nothing else.
 */
#ifndef WEIR_VMM_ACPI_H
#define WEIR_VMM_ACPI_H

#include "base/base.h"

/*
 * RSDP, XSDT, FADT, MADT and DSDT for so many processors (1..8) and virtio-mmio
 * devices (0..18), to be placed at LAYOUT_ACPI as they are; the RSDP comes
 * first. ACPI 6.4, 5.2. -EINVAL for a machine that the tables cannot describe.
 * ret must be empty, with a cap of at least 8 KiB.
 */
must_check int acpi_build(unsigned cpus, unsigned devices, struct buf *ret);

#endif
