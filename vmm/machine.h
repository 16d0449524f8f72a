/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: everything put together, and run to its end.
 *
 *   processors' threads     ports, serial: done here, under one lock
 *        | MMIO: one question at a time each, answered by
 *   device thread           base's loop; owns all devices (vmm/virtio.h)
 *
 * A virtio notification or interrupt passes through neither: KVM and the event
 * descriptors of the devices have them between themselves.
 */
#ifndef WEIR_VMM_MACHINE_H
#define WEIR_VMM_MACHINE_H

#include "vmm/options.h"

/* How it ended: the exit status of weir-vmm. */
enum machine_end {
	MACHINE_POWER_OFF = 0,
	MACHINE_RESET = 2,
	MACHINE_CRASH = 3,
	MACHINE_ERROR = 4,
};

struct machine;

/*
 * Makes the machine that the options describe, kernel in memory and processors
 * ready. kvm is /dev/kvm. What fails is told in ret_why (why_size bytes).
 */
must_check int machine_new(const struct options *o, int kvm, struct machine **ret, char *ret_why,
			   size_t why_size);
/*
 * Gives up what setting up needed, starts the processors and serves the devices
 * until the guest ends; the result is for exit(). The caller has no other thread.
 */
must_check enum machine_end machine_run(struct machine *m);
void machine_free(struct machine *m);

#endif
