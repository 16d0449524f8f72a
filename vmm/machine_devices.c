/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a machine has: entropy, console, balloon always; disks and a
 * network card when there is something behind them. Disks come in the order of
 * the command line, so that the first is /dev/vda.
 */
#include "vmm/machine_int.h"

unsigned machine_count_devices(const struct options *o)
{
	return 3 + o->n_disks + (o->net_fd >= 0 ? 1 : 0);
}

static int make(struct machine *m, const struct options *o, unsigned n, struct virtio_mmio **ret,
		const char **ret_why)
{
	struct virtio_console_setup console = { .out_fd = o->console_fd,
						.stream_fd = o->agent_fd,
						.port_name = "agent" };
	struct virtio_net_setup net = { .fd = o->net_fd, .mtu = o->mtu };
	struct virtio_block_setup block;

	if (n < o->n_disks) {
		block = (struct virtio_block_setup){ .fd = o->disks[n].fd,
						     .read_only = o->disks[n].read_only,
						     .layer_fd = o->disks[n].layer_fd };
		return virtio_block_new(m->loop, &m->vm.mem, &block, ret, ret_why);
	}
	switch (n - o->n_disks) {
	case 0:
		return virtio_rng_new(m->loop, &m->vm.mem, ret);
	case 1:
		return virtio_console_new(m->loop, &m->vm.mem, &console, ret);
	case 2:
		return virtio_balloon_new(m->loop, &m->vm.mem, ret);
	default:
		memcpy(net.mac, o->mac, sizeof(net.mac));
		return virtio_net_new(m->loop, &m->vm.mem, &net, ret, ret_why);
	}
}

static int bind_events(struct machine *m, unsigned n)
{
	struct virtio_mmio *dev = m->device[n];
	uint64_t at = LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_SIZE + VIRTIO_MMIO_NOTIFY;
	int r = vm_bind_irq(&m->vm, virtio_call_fd(dev), LAYOUT_VIRTIO_GSI + n);

	for (unsigned q = 0; r == 0 && q < virtio_queues(dev); q++)
		r = vm_bind_kick(&m->vm, virtio_kick_fd(dev, q), at, q);
	return r;
}

int machine_devices(struct machine *m, const struct options *o, const char **ret_why)
{
	unsigned wanted = machine_count_devices(o);

	while (m->n_devices < wanted) {
		unsigned n = m->n_devices;
		int r;

		*ret_why = "one of them cannot be made";
		r = make(m, o, n, &m->device[n], ret_why);
		if (r < 0)
			return r;
		m->n_devices++;
		*ret_why = "KVM does not take the events of one of them";
		r = bind_events(m, n);
		if (r < 0)
			return r;
	}
	return 0;
}
