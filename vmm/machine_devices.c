/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a machine has: entropy, console, balloon always; disks and a
 * network card when there is something behind them. Disks come in the order of
 * the command line, so that the first is /dev/vda.
 */
#include "vmm/machine_int.h"

#include <stdio.h>

unsigned machine_count_devices(const struct options *o)
{
	return 2 + (o->net_fd >= 0 ? 1 : 0);
}

static int make(struct machine *m, const struct options *o, unsigned n, struct virtio_mmio **ret,
		const char **ret_why)
{
	struct virtio_console_setup console = { .out_fd = o->console_fd,
						.stream_fd = o->agent_fd,
						.port_name = "agent" };
	struct virtio_net_setup net = { .fd = o->net_fd, .mtu = o->mtu };

	switch (n) {
	case 0:
		return virtio_rng_new(m->loop, &m->vm.mem, ret);
	case 1:
		return virtio_console_new(m->loop, &m->vm.mem, &console, ret);
	default:
		memcpy(net.mac, o->mac, sizeof(net.mac));
		return virtio_net_new(m->loop, &m->vm.mem, &net, ret, ret_why);
	}
}

static int bind_events(struct machine *m, unsigned n)
{
	struct virtio_mmio *dev = m->device[n].dev;
	uint64_t at = LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_SIZE + VIRTIO_MMIO_NOTIFY;
	int r = vm_bind_irq(&m->vm, virtio_call_fd(dev), LAYOUT_VIRTIO_GSI + n);

	for (unsigned q = 0; r == 0 && q < virtio_queues(dev); q++)
		r = vm_bind_kick(&m->vm, virtio_kick_fd(dev, q), at, q);
	return r;
}

int machine_devices(struct machine *m, const struct options *o, char *ret_why, size_t why_size)
{
	unsigned wanted = machine_count_devices(o);

	while (m->n_devices < wanted) {
		unsigned n = m->n_devices;
		const char *why = "it cannot be made";
		int r = make(m, o, n, &m->device[n].dev, &why);

		if (r == 0) {
			m->n_devices++;
			why = "KVM does not take its events";
			r = bind_events(m, n);
		}
		if (r < 0) {
			snprintf(ret_why, why_size, "device %u: %s: %s", n, why, strerror(-r));
			return r;
		}
	}
	return 0;
}
