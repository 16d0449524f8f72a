/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-vmm: one virtual machine. A program of its own, so that it inherits
 * nothing from weir but the descriptors on its command line.
 */
#include "vmm/confine.h"
#include "vmm/confine_probe.h"
#include "vmm/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a guest may say into a file: more than a person reads. */
#define OUTPUT_ROOM (UINT64_C(64) << 20)
/* The lists of system calls are put together in memory files. */
#define OWN_FILES (UINT64_C(1) << 20)

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "weir-vmm: %s\n", what);
	_exit(MACHINE_ERROR);
}

static int open_kvm(const struct options *o)
{
	int fd = o->kvm_fd >= 0 ? o->kvm_fd : open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr,
			"weir-vmm: /dev/kvm: %s: is KVM there, and are you in its group? "
			"--backend qemu needs neither\n",
			strerror(errno));
		_exit(MACHINE_ERROR);
	}
	return fd;
}

static void confine(const struct options *o, int kvm)
{
	int keep[OPTIONS_FDS + 1];
	size_t n = options_fds(o, keep);
	char line[160];
	const char *why;
	int r;

	keep[n++] = kvm;
	r = confine_process(keep, n, o->probe, &why);
	if (r == 0) {
		why = "a limit of memory";
		r = confine_memory(o->memory_mib << 20);
	}
	if (r < 0) {
		snprintf(line, sizeof(line), "cannot isolate the monitor: %s: %s", why, strerror(-r));
		give_up(line);
	}
	confine_probe_process(o->probe);
}

/* Whether it is a file, and how long. */
static bool is_file(int fd, uint64_t *ret_size)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	*ret_size = (uint64_t)st.st_size;
	return true;
}

/* Disks and layers have their sizes by now. Where a file takes what the guest says, that has a bound, too. */
static void confine_to_sizes(const struct options *o)
{
	const int outputs[] = { o->console_fd, o->log_fd, o->agent_fd, STDOUT_FILENO, STDERR_FILENO };
	uint64_t largest = OWN_FILES, size;

	for (unsigned i = 0; i < o->n_disks; i++) {
		if (is_file(o->disks[i].fd, &size))
			largest = MAX(largest, size);
		if (is_file(o->disks[i].layer_fd, &size))
			largest = MAX(largest, size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(outputs); i++)
		if (is_file(outputs[i], &size))
			largest = MAX(largest, size + OUTPUT_ROOM);
	if (confine_files(largest) < 0)
		give_up("cannot isolate the monitor: a limit of files");
}

int main(int argc, char **argv)
{
	struct options o;
	struct machine *m;
	char why[256];
	int kvm, r;

	log_setup("vmm", LOG_LEVEL_INFO);
	r = options_parse(argc, argv, &o, why, sizeof(why));
	if (r > 0) {
		fputs(options_help, stdout);
		return 0;
	}
	if (r < 0)
		give_up(why);
	kvm = open_kvm(&o);
	confine(&o, kvm);
	r = machine_new(&o, kvm, &m, why, sizeof(why));
	if (r < 0)
		give_up(why);
	confine_to_sizes(&o);
	/* Without destructors: threads of processors are still in the guest. */
	_exit(machine_run(m));
}
