/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor's thread. It enters the guest, and comes back for accesses that
 * KVM does not serve itself:
 *
 *   a port           done here, the serial port under its lock
 *   a device's ISR   read or acknowledged here: once for every interrupt
 *   another register asked of the device thread, which owns the devices
 *   anything else    all ones, or nothing
 *
 * It holds no right but to go on doing this: see confine_seccomp.c.
 */
#include "vmm/machine_int.h"

#include <unistd.h>

/* How BIOSes used to be told "do not test the memory again"; see machine_cmdline.h. */
#define BIOS_RESET_FLAG 0x472
#define BIOS_WARM_RESET 0x1234

static void end_machine(struct machine_cpu *cpu, enum machine_end how, bool failed)
{
	struct machine *m = cpu->machine;
	int running = -1;

	if (atomic_compare_exchange_strong(&m->end, &running, (int)how)) {
		m->failed = failed;
		atomic_store(&m->ended_by, cpu->vcpu.index);
		machine_wake(m->end_wake);
	}
	/* The process ends soon, and this thread with it. */
	for (;;)
		pause();
}

/* A kernel that panics asks for a reset as well, but as the command line has it: a warm one. */
static bool has_panicked(struct machine *m)
{
	uint16_t flag;

	return gmem_read(&m->vm.mem, BIOS_RESET_FLAG, &flag, sizeof(flag)) == 0 &&
	       flag == BIOS_WARM_RESET;
}

static enum port_event access_port(struct machine_cpu *cpu, const struct vcpu_access *a,
				   bool *ret_wake)
{
	struct serial *serial = &cpu->machine->serial;
	enum port_event event = PORT_NOTHING;
	uint32_t waiting = serial->len;

	for (unsigned i = 0; i < a->count && event < PORT_POWER_OFF; i++) {
		uint8_t *data = a->data + (size_t)i * a->size;
		enum port_event now = PORT_NOTHING;

		if (a->write)
			now = port_write(serial, a->address, data, a->size, &cpu->unknown);
		else
			port_read(serial, a->address, data, a->size, &cpu->unknown);
		event = MAX(event, now);
	}
	*ret_wake = waiting == 0 && serial->len;
	return event;
}

static void do_port(struct machine_cpu *cpu)
{
	struct vcpu_access a = vcpu_port(&cpu->vcpu);
	struct machine *m = cpu->machine;
	enum port_event event;
	bool wake;

	cpu->ports++;
	pthread_mutex_lock(&m->serial_lock);
	event = access_port(cpu, &a, &wake);
	pthread_mutex_unlock(&m->serial_lock);
	if (wake)
		machine_wake(m->serial_wake);
	switch (event) {
	case PORT_NOTHING:
		return;
	case PORT_INTERRUPT:
		machine_wake(m->com1_irq);
		return;
	case PORT_POWER_OFF:
		end_machine(cpu, MACHINE_POWER_OFF, false);
		return;
	case PORT_RESET_ASKED:
		end_machine(cpu, has_panicked(m) ? MACHINE_CRASH : MACHINE_RESET, false);
		return;
	}
}

static void ask(struct machine_cpu *cpu, const struct vcpu_access *a)
{
	cpu->ask.access = *a;
	atomic_store(&cpu->ask.waiting, true);
	machine_wake(cpu->machine->ask_wake);
	while (sem_wait(&cpu->ask.answered) < 0)
		;
}

static struct virtio_mmio *device_at(struct machine *m, uint64_t address)
{
	uint64_t n = (address - LAYOUT_VIRTIO) / LAYOUT_VIRTIO_SIZE;

	return address >= LAYOUT_VIRTIO && n < m->n_devices ? m->device[n] : NULL;
}

static void do_mmio(struct machine_cpu *cpu)
{
	struct vcpu_access a = vcpu_mmio(&cpu->vcpu);
	struct virtio_mmio *dev = device_at(cpu->machine, a.address);
	uint64_t offset = a.address % LAYOUT_VIRTIO_SIZE;
	uint32_t bits;

	cpu->mmio++;
	if (!dev) {
		cpu->unknown++;
		if (!a.write)
			memset(a.data, 0xff, a.size);
	} else if (!a.write && offset == VIRTIO_MMIO_ISR && a.size == sizeof(bits)) {
		bits = virtio_mmio_isr(dev);
		memcpy(a.data, &bits, sizeof(bits));
	} else if (a.write && offset == VIRTIO_MMIO_ACK && a.size == sizeof(bits)) {
		memcpy(&bits, a.data, sizeof(bits));
		virtio_mmio_ack(dev, bits);
	} else {
		ask(cpu, &a);
	}
}

void machine_answer(struct machine *m)
{
	for (unsigned i = 0; i < m->n_cpus; i++) {
		struct machine_ask *q = &m->cpu[i].ask;
		struct virtio_mmio *dev;

		if (!atomic_load(&q->waiting))
			continue;
		dev = device_at(m, q->access.address);
		if (dev && q->access.write)
			virtio_mmio_write(dev, q->access.address % LAYOUT_VIRTIO_SIZE,
					  q->access.data, q->access.size);
		else if (dev)
			virtio_mmio_read(dev, q->access.address % LAYOUT_VIRTIO_SIZE,
					 q->access.data, q->access.size);
		atomic_store(&q->waiting, false);
		sem_post(&q->answered);
	}
}

void *machine_cpu_main(void *p)
{
	struct machine_cpu *cpu = p;

	confine_thread(&cpu->filter);
	confine_probe_thread(cpu->machine->probe, "cpu");
	pthread_barrier_wait(&cpu->machine->ready);
	for (;;) {
		switch (vcpu_run(&cpu->vcpu)) {
		case VCPU_AGAIN:
			break;
		case VCPU_PORT:
			do_port(cpu);
			break;
		case VCPU_MMIO:
			do_mmio(cpu);
			break;
		case VCPU_CRASH:
		case VCPU_FAILED:
			end_machine(cpu, MACHINE_CRASH, true);
			break;
		}
	}
	return NULL;
}
