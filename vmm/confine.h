/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir-vmm still may do, given up in stages; see confine.c for what is
 * possible after each.
 */
#ifndef WEIR_VMM_CONFINE_H
#define WEIR_VMM_CONFINE_H

#include "base/calls.h"

/*
 * Stages 1 to 3, before any byte of the guest's is looked at. Only the descriptors in
 * keep (n of them, and 0 to 2) stay open. Returns in a new process that is alone in
 * namespaces of its own; the old one waits for it and leaves with its status. Where the host
 * makes no namespaces, that is said on stderr, and the other stages are taken all the same.
 * Negative errno when one of those fails; *ret_why says which. probe: see confine_probe.h.
 */
must_check int confine_process(const int *keep, size_t n, const char *probe, const char **ret_why);
/* The address space may not grow beyond what a guest of so many bytes needs. */
must_check int confine_memory(uint64_t guest_bytes);
/* No file may be written to behind so many bytes: a disk that is written past its end fills the host's. */
must_check int confine_files(uint64_t largest);

/* Stage 4: a list of system calls, made while everything is allowed, put on by the thread itself. */
struct confine_filter {
	struct sock_filter *code;
	unsigned short len;
};

/* The device thread: reads, writes and waits on what is open; asks vCPUs for their registers. */
must_check int confine_filter_devices(struct confine_filter *ret);
/* A processor's thread: runs vcpu_fd, and counts in these event descriptors. */
must_check int confine_filter_cpu(int vcpu_fd, const int *events, size_t n,
				  struct confine_filter *ret);
/* The process that waits for the other one. */
must_check int confine_filter_waiter(struct confine_filter *ret);
/*
 * For the calling thread. What is not listed ends the process with status 4 and a line that names
 * the call. Ends the process as well when the kernel does not take the filter.
 */
void confine_thread(const struct confine_filter *f);
void confine_filter_fini(struct confine_filter *f);

#endif
