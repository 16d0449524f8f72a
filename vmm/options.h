/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weir-vmm. Every resource is a descriptor that was inherited. */
#ifndef WEIR_VMM_OPTIONS_H
#define WEIR_VMM_OPTIONS_H

#include "base/base.h"

#define OPTIONS_DISKS 8

struct options_disk {
	int fd;
	int layer_fd; /* -1: none */
	bool read_only;
};

struct options {
	uint64_t memory_mib;
	unsigned cpus;
	const char *cmdline; /* NULL: only what the machine itself needs */
	/* Descriptors, or -1. */
	int kernel_fd, initrd_fd, kvm_fd, net_fd, agent_fd, console_fd, log_fd;
	struct options_disk disks[OPTIONS_DISKS];
	unsigned n_disks;
	uint8_t mac[6];
	uint16_t mtu;
	const char *probe; /* NULL, or see confine_probe.h */
};

/*
 * -EINVAL for a line that says not enough, too much, or nonsense; ret_why then is
 * a sentence that names the argument. 1: help was asked for.
 */
must_check int options_parse(int argc, char **argv, struct options *ret, char *ret_why,
			     size_t why_size);
extern const char options_help[];

/* Every descriptor that the line names goes into fds (room for OPTIONS_FDS); how many. */
#define OPTIONS_FDS (7 + 2 * OPTIONS_DISKS)
size_t options_fds(const struct options *o, int fds[OPTIONS_FDS]);

#endif
