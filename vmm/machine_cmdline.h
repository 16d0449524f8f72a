/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine itself tells every kernel; the user's words follow, and for
 * most parameters the last one counts.
 */
#ifndef WEIR_VMM_MACHINE_CMDLINE_H
#define WEIR_VMM_MACHINE_CMDLINE_H

/*
 * console, quiet    each byte costs an exit or two; panics are still told
 * panic, reboot     a panic ends the machine, by the ACPI reset register. panic_warm
 *                   leaves a mark in memory by which it is told from a reset
 * pci=off           no 33,000 exits looking for a bus that is not there
 * nr_uarts          no looking for three more serial ports
 * random.trust_cpu  no waiting for entropy: the host's processor has it
 * cryptomgr.notests no self-tests of ciphers: half of all instructions on the way to init
 */
#define MACHINE_CMDLINE                                                                            \
	"console=ttyS0 quiet panic=-1 reboot=a,panic_warm pci=off 8250.nr_uarts=1 "                \
	"random.trust_cpu=on cryptomgr.notests"

#endif
