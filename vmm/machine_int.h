/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine's files share. */
#ifndef WEIR_VMM_MACHINE_INT_H
#define WEIR_VMM_MACHINE_INT_H

#include "vmm/confine.h"
#include "vmm/confine_probe.h"
#include "vmm/layout.h"
#include "vmm/machine.h"
#include "vmm/ports.h"
#include "vmm/vcpu.h"
#include "vmm/virtio.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* One access to a device's registers, from a processor's thread to the device thread. */
struct machine_ask {
	atomic_bool waiting; /* set by the one, cleared by the other */
	struct vcpu_access access;
	sem_t answered;
};

struct machine_cpu {
	struct machine *machine;
	struct vcpu vcpu;
	pthread_t thread;
	struct confine_filter filter;
	struct machine_ask ask;
	uint64_t ports, mmio, unknown; /* exits; its thread's own until the machine has ended */
};

/* A place where the guest's console goes; see machine_console.c. */
struct machine_console {
	int fd; /* -1: nowhere */
	bool polled;
	struct loop_io io;
};

struct machine {
	struct vm vm;
	struct loop *loop;
	struct machine_cpu cpu[LAYOUT_MAX_CPUS];
	unsigned n_cpus;
	struct virtio_mmio *device[LAYOUT_MAX_DEVICES];
	unsigned n_devices;

	pthread_mutex_t serial_lock;
	struct serial serial;
	int com1_irq;	 /* an event: one edge on its line */
	int serial_wake; /* an event: there are bytes to take */
	struct loop_io serial_io;
	struct machine_console console;

	int ask_wake; /* an event: some processor asks */
	struct loop_io ask_io;

	/* Who ends first says how; -1 until then. */
	atomic_int end;
	atomic_uint ended_by; /* index of the processor */
	bool failed;	      /* it was KVM that could not go on */
	int end_wake;
	struct loop_io end_io;

	pthread_barrier_t ready; /* all threads have given up their rights */
	int log_fd;
	const char *probe;
	uint64_t began; /* ns */
};

/* The body of a processor's thread; never returns before the process ends. */
void *machine_cpu_main(void *cpu);
/* Called on the device thread: answers who asks. */
void machine_answer(struct machine *m);

must_check int machine_console_open(struct machine *m, int fd);
/* Moves bytes from the serial port to the console as far as it takes them. */
void machine_console_pump(struct machine *m);
/* What is left, within a bounded time. */
void machine_console_flush(struct machine *m);

/* Devices as the options want them; in this order they are probed. */
must_check int machine_devices(struct machine *m, const struct options *o, const char **ret_why);
unsigned machine_count_devices(const struct options *o);

/* One count on an event descriptor; any thread. */
void machine_wake(int fd);

#endif
