/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's microvm machine: no firmware menu, no PCI, no disks but virtio over MMIO, its
 * network by vhost-user, so that frames go from the guest's memory to the gateway and QEMU
 * never sees one.
 *
 * Without KVM the guest would measure its time stamp counter against a timer that a busy
 * machine serves too late, and hang; it is told the frequency, which is the host's.
 */
#include "weir/vm.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Slots of virtio devices; what sits in the first has no interrupt that arrives. */
#define LAST_BUS 23
#define LISTEN_NAME "weir-net"
#define KERNEL_NAME "/vm/kernel"
#define INITRD_NAME "/vm/initrd"
/* Headers, and tables that are moved when they grow: bytes. */
#define LAYER_ROOM ((uint64_t)16 << 20)

/* ---- the guest's clock ------------------------------------------------------------------ */

/* Of the host's time stamp counter, kHz; 0: not known here. */
static uint64_t tsc_khz(void)
{
#if defined(__x86_64__)
	struct timespec pause = { .tv_nsec = (long)(5 * NS_PER_MS) };
	uint64_t best = 0, shortest = UINT64_MAX;

	/* The one with the shortest pause was disturbed least. */
	for (int i = 0; i < 4; i++) {
		uint64_t t0 = time_mono_ns(), c0 = __rdtsc(), t1, c1;

		nanosleep(&pause, NULL);
		c1 = __rdtsc();
		t1 = time_mono_ns();
		if (t1 - t0 < shortest) {
			shortest = t1 - t0;
			best = (c1 - c0) * 1000000 / (t1 - t0);
		}
	}
	return best;
#else
	return 0;
#endif
}

/* ---- the command line ---------------------------------------------------------------------- */

static void add_machine(struct vm_args *a, const struct weir_config *cfg, bool kvm)
{
	unsigned long long mib = cfg->machine.memory >> 20;

	vm_args_add(a, "qemu-weir");
	vm_args_add(a, "-name");
	vm_args_add(a, "%s", cfg->name);
	vm_args_add(a, "-nodefaults");
	vm_args_add(a, "-no-user-config");
	vm_args_add(a, "-global");
	vm_args_add(a, "virtio-mmio.force-legacy=off");
	vm_args_add(a, "-no-reboot");
	vm_args_add(a, "-display");
	vm_args_add(a, "none");
	vm_args_add(a, "-sandbox");
	vm_args_add(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	vm_args_add(a, "-M");
	vm_args_add(a, "microvm,accel=%s,acpi=on,rtc=on,pcie=off,memory-backend=mem",
		    kvm ? "kvm" : "tcg");
	vm_args_add(a, "-cpu");
	vm_args_add(a, kvm ? "host" : "max");
	vm_args_add(a, "-smp");
	vm_args_add(a, "%u", cfg->machine.cpus ? cfg->machine.cpus : kvm ? 2 : 1);
	vm_args_add(a, "-m");
	vm_args_add(a, "%lluM", mib);
	vm_args_add(a, "-object");
	vm_args_add(a, "memory-backend-memfd,id=mem,size=%lluM,share=on", mib);
}

static void add_boot(struct vm_args *a, bool kvm)
{
	uint64_t khz = kvm ? 0 : tsc_khz();
	char clock[64] = "";

	if (khz)
		snprintf(clock, sizeof(clock), " tsc_early_khz=%llu tsc=reliable",
			 (unsigned long long)khz);
	vm_args_add(a, "-kernel");
	vm_args_add(a, KERNEL_NAME);
	vm_args_add(a, "-initrd");
	vm_args_add(a, INITRD_NAME);
	vm_args_add(a, "-append");
	vm_args_add(a,
		    "console=ttyS0 quiet panic=-1 reboot=t pci=off 8250.nr_uarts=1 "
		    "random.trust_cpu=on cryptomgr.notests%s%s",
		    kvm ? "" : " mitigations=off", clock);
}

static void add_devices(struct vm_args *a, const struct weir_config *cfg, const struct vm_wires *w)
{
	const uint8_t *m = cfg->net.guest_mac;

	vm_args_add(a, "-chardev");
	vm_args_add(a, "socket,id=console,fd=%d", w->console);
	vm_args_add(a, "-serial");
	vm_args_add(a, "chardev:console");
	vm_args_add(a, "-chardev");
	vm_args_add(a, "socket,id=net,path=" LISTEN_NAME ",abstract=on,tight=on");
	vm_args_add(a, "-netdev");
	vm_args_add(a, "vhost-user,id=n,chardev=net");
	vm_args_add(a, "-device");
	vm_args_add(
		a, "virtio-net-device,bus=virtio-mmio-bus.4,netdev=n,mac=%02x:%02x:%02x:%02x:%02x:%02x",
		m[0], m[1], m[2], m[3], m[4], m[5]);
	vm_args_add(a, "-device");
	vm_args_add(a, "virtio-serial-device,bus=virtio-mmio-bus.5,max_ports=2");
	vm_args_add(a, "-chardev");
	vm_args_add(a, "socket,id=agent,fd=%d", w->agent);
	vm_args_add(a, "-device");
	vm_args_add(a, "virtserialport,chardev=agent,name=" AGENT_PORT_NAME);
	vm_args_add(a, "-device");
	vm_args_add(a, "virtio-rng-device,bus=virtio-mmio-bus.6");
	vm_args_add(a, "-device");
	vm_args_add(a, "virtio-balloon-device,bus=virtio-mmio-bus.7,free-page-reporting=on");
}

/* The guest looks at the last slot first, and calls what it finds /dev/vda, vdb, ... */
static void add_disk(struct vm_args *a, unsigned number, const char *node)
{
	vm_args_add(a, "-device");
	vm_args_add(a, "virtio-blk-device,bus=virtio-mmio-bus.%u,drive=%s", LAST_BUS - number, node);
}

static void add_fd(struct vm_args *a, unsigned set, int fd)
{
	vm_args_add(a, "-add-fd");
	vm_args_add(a, "set=%u,fd=%d", set, fd);
}

static void add_raw(struct vm_args *a, const char *node, unsigned set, bool read_only)
{
	vm_args_add(a, "-blockdev");
	vm_args_add(a,
		    "driver=raw,node-name=%s,read-only=%s,file.driver=file,file.locking=off,"
		    "file.filename=/dev/fdset/%u",
		    node, read_only ? "on" : "off", set);
}

static void add_disks(struct vm_args *a, const struct vm_parts *p)
{
	bool layered = p->layer >= 0;
	unsigned set = 1;

	add_fd(a, set, p->root.fd);
	add_raw(a, layered ? "base" : "root", set++, true);
	if (layered) {
		add_fd(a, set, p->layer);
		vm_args_add(a, "-blockdev");
		vm_args_add(a,
			    "driver=qcow2,node-name=root,discard=unmap,file.driver=file,"
			    "file.discard=unmap,file.locking=off,"
			    "file.filename=/dev/fdset/%u,backing=base",
			    set++);
	}
	add_disk(a, 0, "root");
	for (size_t i = 0; i < p->n_volumes; i++) {
		char node[32];

		snprintf(node, sizeof(node), "volume%zu", i);
		add_fd(a, set, p->volumes[i].fd);
		add_raw(a, node, set++, p->volumes[i].read_only);
		add_disk(a, (unsigned)i + 1, node);
	}
}

/*
 * What QEMU may make of any file, a hostile one too: its memory is one, and the root's layer
 * grows by what is written and by qcow2's tables.
 */
static uint64_t file_max(const struct weir_config *cfg, const struct vm_parts *p)
{
	uint64_t most = cfg->machine.memory;

	if (p->layer >= 0)
		most = MAX(most, p->root.size + p->root.size / 1024 + LAYER_ROOM);
	for (size_t i = 0; i < p->n_volumes; i++)
		most = MAX(most, p->volumes[i].size);
	return most;
}

int vm_qemu_start(const struct weir_config *cfg, const struct vm_choice *choice,
		  const struct vm_parts *parts, const struct vm_wires *wires,
		  struct vm_process *ret, struct conf_error *err)
{
	const struct vm_bind binds[] = {
		{ parts->boot.kernel_path, KERNEL_NAME },
		{ parts->boot.initrd_path, INITRD_NAME },
	};
	int fds[32] = { wires->agent, wires->console, parts->root.fd };
	struct vm_spawn_spec spec = {
		.program = choice->program,
		.fds = fds,
		.n_fds = 3,
		.errors = wires->errors,
		.isolate = true,
		.kvm = choice->kvm,
		.binds = binds,
		.n_binds = ARRAY_SIZE(binds),
		.listen = LISTEN_NAME,
		.file_max = file_max(cfg, parts),
	};
	struct vm_args a = { 0 };
	int r;

	if (parts->layer >= 0)
		fds[spec.n_fds++] = parts->layer;
	for (size_t i = 0; i < parts->n_volumes; i++)
		fds[spec.n_fds++] = parts->volumes[i].fd;
	add_machine(&a, cfg, choice->kvm);
	add_boot(&a, choice->kvm);
	add_devices(&a, cfg, wires);
	add_disks(&a, parts);
	r = a.error;
	if (r < 0) {
		conf_error_set(err, "%s", strerror(-r));
	} else {
		spec.argv = a.v;
		r = vm_spawn(&spec, ret, err);
	}
	vm_args_fini(&a);
	return r;
}
