/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Setting a machine up, starting its threads, and seeing its end.
 */
#include "vmm/machine_int.h"
#include "vmm/machine_cmdline.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* After the guest's end: what devices still have to pass on, in rounds of the loop. */
#define LAST_ROUNDS 32

void machine_wake(int fd)
{
	uint64_t one = 1;

	/* Full means: whoever waits has been woken already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void take_wakes(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;
}

static void on_ask(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	take_wakes(io->fd);
	machine_answer(container_of(io, struct machine, ask_io));
}

static void on_serial(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	take_wakes(io->fd);
	machine_console_pump(container_of(io, struct machine, serial_io));
}

static void on_end(struct loop_io *io, uint32_t revents)
{
	struct machine *m = container_of(io, struct machine, end_io);

	(void)revents;
	take_wakes(io->fd);
	loop_stop(m->loop, atomic_load(&m->end));
}

static int add_wake(struct machine *m, int *fd, struct loop_io *io,
		    void (*cb)(struct loop_io *io, uint32_t revents))
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*fd < 0)
		return -errno;
	return loop_io_add(m->loop, io, *fd, EPOLLIN, cb);
}

static int make_loop(struct machine *m, const struct options *o)
{
	int r = loop_new(&m->loop);

	if (r == 0)
		r = add_wake(m, &m->ask_wake, &m->ask_io, on_ask);
	if (r == 0)
		r = add_wake(m, &m->serial_wake, &m->serial_io, on_serial);
	if (r == 0)
		r = add_wake(m, &m->end_wake, &m->end_io, on_end);
	if (r == 0)
		r = machine_console_open(m, o->console_fd);
	if (r < 0)
		return r;
	m->com1_irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->com1_irq < 0)
		return -errno;
	return vm_bind_irq(&m->vm, m->com1_irq, LAYOUT_COM1_GSI);
}

static int make_cpus(struct machine *m, unsigned n, const char **ret_why)
{
	for (m->n_cpus = 0; m->n_cpus < n; m->n_cpus++) {
		struct machine_cpu *cpu = &m->cpu[m->n_cpus];
		int r = vcpu_init(&cpu->vcpu, &m->vm, m->n_cpus, n, ret_why);

		if (r < 0)
			return r;
		cpu->machine = m;
		sem_init(&cpu->ask.answered, 0, 0);
	}
	return 0;
}

static int load(struct machine *m, const struct options *o, const char **ret_why)
{
	struct boot_file kernel, initrd;
	struct boot_entry entry;
	char cmdline[LAYOUT_CMDLINE_MAX + 1];
	struct boot_request q = { .kernel = &kernel,
				  .cmdline = cmdline,
				  .cpus = o->cpus,
				  .devices = machine_count_devices(o) };
	int n, r;

	n = snprintf(cmdline, sizeof(cmdline), "%s%s%s", MACHINE_CMDLINE, o->cmdline ? " " : "",
		     o->cmdline ? o->cmdline : "");
	*ret_why = "the command line is too long";
	if (n < 0 || (size_t)n >= sizeof(cmdline))
		return -E2BIG;
	*ret_why = "the kernel is not a file";
	r = boot_file_open(o->kernel_fd, &kernel);
	if (r == 0 && o->initrd_fd >= 0) {
		*ret_why = "the initramfs is not a file";
		r = boot_file_open(o->initrd_fd, &initrd);
		q.initrd = &initrd;
	}
	if (r == 0)
		r = boot_load(&m->vm.mem, &q, &entry, ret_why);
	if (r == 0)
		r = vcpu_enter(&m->cpu[0].vcpu, &m->vm.mem, &entry, ret_why);
	return r;
}

/* The parts in their order. *ret_what and *ret_why: which one failed, and how. */
static int make(struct machine *m, const struct options *o, int kvm, const char **ret_what,
		const char **ret_why)
{
	int r = vm_init(&m->vm, kvm, o->memory_mib, ret_why);

	*ret_what = "machine";
	if (r == 0) {
		*ret_why = "its events, or the console";
		r = make_loop(m, o);
	}
	if (r == 0) {
		*ret_what = "processors";
		r = make_cpus(m, o->cpus, ret_why);
	}
	if (r == 0) {
		*ret_what = "kernel";
		r = load(m, o, ret_why);
	}
	if (r == 0) {
		*ret_what = "devices";
		r = machine_devices(m, o, ret_why);
	}
	return r;
}

int machine_new(const struct options *o, int kvm, struct machine **ret, char *ret_why, size_t why_size)
{
	struct machine *m = calloc(1, sizeof(*m));
	const char *what = "machine", *why = "out of memory";
	int r = -ENOMEM;

	if (m) {
		m->began = time_mono_ns();
		m->ask_wake = m->serial_wake = m->end_wake = m->com1_irq = m->console.fd = -1;
		m->vm = (struct vm){ .fd = -1, .memory = -1 };
		m->log_fd = o->log_fd;
		m->probe = o->probe;
		atomic_init(&m->end, -1);
		pthread_mutex_init(&m->serial_lock, NULL);
		r = make(m, o, kvm, &what, &why);
	}
	if (r < 0) {
		snprintf(ret_why, why_size, "%s: %s (%s)", what, why, strerror(-r));
		machine_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

static const char *end_name(enum machine_end end)
{
	switch (end) {
	case MACHINE_POWER_OFF:
		return "power-off";
	case MACHINE_RESET:
		return "reset";
	case MACHINE_CRASH:
		return "crash";
	case MACHINE_ERROR:
		break;
	}
	return "error";
}

/* One line for whoever started us: how it ended, and what it took. */
static void report(struct machine *m, enum machine_end end)
{
	uint64_t ports = 0, mmio = 0, unknown = 0;
	char line[512], why[160] = "kernel panic";
	int n;

	for (unsigned i = 0; i < m->n_cpus; i++) {
		ports += m->cpu[i].ports;
		mmio += m->cpu[i].mmio;
		unknown += m->cpu[i].unknown;
	}
	if (m->failed)
		vcpu_failure(&m->cpu[atomic_load(&m->ended_by)].vcpu, why, sizeof(why));
	if (end == MACHINE_CRASH)
		log_error("the guest crashed: %s", why);
	if (m->log_fd < 0)
		return;
	n = snprintf(line, sizeof(line),
		     "{\"end\":\"%s\",\"why\":\"%s\",\"ms\":%llu,\"port_exits\":%llu,"
		     "\"mmio_exits\":%llu,\"unknown\":%llu,\"console_dropped\":%llu}\n",
		     end_name(end), end == MACHINE_CRASH ? why : "",
		     (unsigned long long)((time_mono_ns() - m->began) / NS_PER_MS),
		     (unsigned long long)ports, (unsigned long long)mmio,
		     (unsigned long long)unknown, (unsigned long long)m->serial.dropped);
	if (write(m->log_fd, line, (size_t)n) < 0)
		return;
}

static int start_cpus(struct machine *m)
{
	sigset_t all, old;
	int r = 0;

	if (pthread_barrier_init(&m->ready, NULL, m->n_cpus + 1) != 0)
		return -ENOMEM;
	/* Signals are for the device thread; a processor is only interrupted by the guest. */
	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < m->n_cpus && r == 0; i++) {
		const int events[] = { m->ask_wake, m->serial_wake, m->end_wake, m->com1_irq };

		r = confine_filter_cpu(m->cpu[i].vcpu.fd, events, ARRAY_SIZE(events),
				       &m->cpu[i].filter);
		if (r == 0)
			r = -pthread_create(&m->cpu[i].thread, NULL, machine_cpu_main, &m->cpu[i]);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

enum machine_end machine_run(struct machine *m)
{
	struct confine_filter filter;
	int end, r = start_cpus(m);

	if (r == 0)
		r = confine_filter_devices(&filter);
	if (r < 0) {
		log_error("no threads for the guest's processors: %s", strerror(-r));
		return MACHINE_ERROR;
	}
	confine_thread(&filter);
	confine_probe_thread(m->probe, "devices");
	pthread_barrier_wait(&m->ready);
	end = loop_run(m->loop);
	for (unsigned i = 0; i < LAST_ROUNDS && loop_step(m->loop, 0) == 0; i++)
		;
	machine_console_flush(m);
	if (end < 0) {
		log_error("waiting for events: %s", strerror(-end));
		return MACHINE_ERROR;
	}
	report(m, (enum machine_end)end);
	for (unsigned i = 0; i < m->n_devices; i++)
		virtio_free(m->device[i]);
	m->n_devices = 0;
	return (enum machine_end)end;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n_devices; i++)
		virtio_free(m->device[i]);
	for (unsigned i = 0; i < m->n_cpus; i++)
		vcpu_fini(&m->cpu[i].vcpu);
	if (m->loop)
		loop_free(m->loop);
	fd_close(m->ask_wake);
	fd_close(m->serial_wake);
	fd_close(m->end_wake);
	fd_close(m->com1_irq);
	vm_fini(&m->vm);
	pthread_mutex_destroy(&m->serial_lock);
	free(m);
}
