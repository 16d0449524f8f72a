/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir's own monitor, a program beside this one. All it has are descriptors: it opens
 * nothing itself, and gives up its rights itself (vmm/README.md).
 */
#include "weir/vm.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define CPUS_DEFAULT 2

static void option_fd(struct vm_args *a, struct vm_spawn_spec *s, int *fds, const char *name, int fd)
{
	fds[s->n_fds++] = fd;
	vm_args_add(a, "%s", name);
	vm_args_add(a, "%d", fd);
}

static void add_disks(struct vm_args *a, struct vm_spawn_spec *s, int *fds, const struct vm_parts *p)
{
	fds[s->n_fds++] = p->root.fd;
	vm_args_add(a, "--disk-fd");
	if (p->layer >= 0) {
		fds[s->n_fds++] = p->layer;
		vm_args_add(a, "%d:cow=%d", p->root.fd, p->layer);
	} else {
		vm_args_add(a, "%d:ro", p->root.fd);
	}
	for (size_t i = 0; i < p->n_volumes; i++) {
		fds[s->n_fds++] = p->volumes[i].fd;
		vm_args_add(a, "--disk-fd");
		vm_args_add(a, "%d%s", p->volumes[i].fd, p->volumes[i].read_only ? ":ro" : "");
	}
}

int vm_kvm_start(const struct weir_config *cfg, const struct vm_choice *choice,
		 const struct vm_parts *parts, const struct vm_wires *wires, struct vm_process *ret,
		 int *ret_link, struct conf_error *err)
{
	const uint8_t *m = cfg->net.guest_mac;
	int fds[32], net[2], r;
	struct vm_spawn_spec spec = { .program = choice->program, .fds = fds, .errors = wires->errors };
	cleanup_close int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct vm_args a = { 0 };

	if (kvm < 0) {
		r = -errno;
		conf_error_set(err, "/dev/kvm: %s", strerror(-r));
		return r;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, net) < 0) {
		r = -errno;
		conf_error_set(err, "socketpair: %s", strerror(-r));
		return r;
	}
	vm_args_add(&a, "weir-vmm");
	vm_args_add(&a, "--memory");
	vm_args_add(&a, "%llu", (unsigned long long)(cfg->machine.memory >> 20));
	vm_args_add(&a, "--cpus");
	vm_args_add(&a, "%u", cfg->machine.cpus ? cfg->machine.cpus : CPUS_DEFAULT);
	option_fd(&a, &spec, fds, "--kvm-fd", kvm);
	option_fd(&a, &spec, fds, "--kernel-fd", parts->boot.kernel_fd);
	option_fd(&a, &spec, fds, "--initrd-fd", parts->boot.initrd_fd);
	add_disks(&a, &spec, fds, parts);
	option_fd(&a, &spec, fds, "--net-fd", net[1]);
	vm_args_add(&a, "--mac");
	vm_args_add(&a, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	vm_args_add(&a, "--mtu");
	vm_args_add(&a, "%u", cfg->net.mtu);
	option_fd(&a, &spec, fds, "--agent-fd", wires->agent);
	option_fd(&a, &spec, fds, "--console-fd", wires->console);
	r = a.error;
	if (r < 0) {
		conf_error_set(err, "%s", strerror(-r));
	} else {
		spec.argv = a.v;
		r = vm_spawn(&spec, ret, err);
	}
	vm_args_fini(&a);
	fd_close(net[1]);
	if (r < 0)
		fd_close(net[0]);
	else
		*ret_link = net[0];
	return r;
}
