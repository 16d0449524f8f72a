/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of each thread, and why. A list is made into a program
 * while the process may still do everything, and put on by its thread alone, so
 * that no call is in a list only because making lists needs it.
 */
#include "vmm/confine.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STATUS_ERROR 4

/* Waiting for each other, being interrupted, leaving. */
static const int common_calls[] = {
	SCMP_SYS(futex),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit_group),
	SCMP_SYS(exit),
#ifdef WEIR_SANITIZED
	/* What the sanitizers' own runtime needs to watch and to report. */
	SCMP_SYS(write),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_yield),
	SCMP_SYS(prctl),
	SCMP_SYS(readlink),
	SCMP_SYS(openat),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(munmap),
	SCMP_SYS(madvise),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(getrlimit),
	SCMP_SYS(prlimit64),
	SCMP_SYS(mmap),
#endif
};

/*
 * Devices read and write disks at places, streams and events; talk to the back end of the
 * network over one socket; give pages back (balloon); ask for randomness. Nothing is opened,
 * nothing connected.
 */
static const int device_calls[] = {
	SCMP_SYS(read),		  SCMP_SYS(write),	   SCMP_SYS(readv),
	SCMP_SYS(writev),	  SCMP_SYS(pread64),	   SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),	  SCMP_SYS(pwritev),	   SCMP_SYS(fdatasync),
	SCMP_SYS(fsync),	  SCMP_SYS(fallocate),	   SCMP_SYS(lseek),
	SCMP_SYS(fstat),	  SCMP_SYS(newfstatat),	   SCMP_SYS(close),
	SCMP_SYS(epoll_wait),	  SCMP_SYS(epoll_pwait),   SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_ctl),	  SCMP_SYS(poll),	   SCMP_SYS(ppoll),
	SCMP_SYS(recvmsg),	  SCMP_SYS(recvfrom),	   SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),	  SCMP_SYS(shutdown),	   SCMP_SYS(munmap),
	SCMP_SYS(mremap),	  SCMP_SYS(madvise),	   SCMP_SYS(brk),
	SCMP_SYS(getrandom),	  SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(getpid),	   SCMP_SYS(gettid),
};

static const int waiter_calls[] = { SCMP_SYS(wait4), SCMP_SYS(waitid) };

static int allow_write(scmp_filter_ctx ctx, int fd)
{
#ifdef WEIR_SANITIZED
	(void)ctx;
	(void)fd;
	return 0;
#else
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
				SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)fd, 0));
#endif
}

/* Every list begins so; what is not on it is trapped. */
static scmp_filter_ctx begin_list(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);

	if (ctx && calls_allow(ctx, common_calls, ARRAY_SIZE(common_calls)) < 0) {
		seccomp_release(ctx);
		return NULL;
	}
	return ctx;
}

/* The list as a program; ctx is consumed. */
static int compile(scmp_filter_ctx ctx, int r, struct confine_filter *ret)
{
	cleanup_close int fd = memfd_create("weir-filter", MFD_CLOEXEC);
	struct confine_filter f = { NULL, 0 };
	off_t size;

	if (r == 0 && fd < 0)
		r = -errno;
	if (r == 0)
		r = seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	if (r < 0)
		return r;
	size = lseek(fd, 0, SEEK_END);
	if (size <= 0 || size % (off_t)sizeof(struct sock_filter))
		return -EIO;
	f.len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
	f.code = malloc((size_t)size);
	if (!f.code)
		return -ENOMEM;
	if (pread(fd, f.code, (size_t)size, 0) != size) {
		free(f.code);
		return -EIO;
	}
	*ret = f;
	return 0;
}

int confine_filter_devices(struct confine_filter *ret)
{
	scmp_filter_ctx ctx = begin_list();
	int r = ctx ? calls_allow(ctx, device_calls, ARRAY_SIZE(device_calls)) : -ENOMEM;

	if (r == 0)
		r = calls_allow_memory(ctx);
	if (r == 0) /* for the last words about a guest that crashed */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)KVM_GET_REGS, 0));
	return ctx ? compile(ctx, r, ret) : r;
}

int confine_filter_cpu(int vcpu_fd, const int *events, size_t n, struct confine_filter *ret)
{
	scmp_filter_ctx ctx = begin_list();
	int r = ctx ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 2,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)vcpu_fd, 0),
				       SCMP_A1(SCMP_CMP_EQ, KVM_RUN, 0))
		    : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++)
		r = allow_write(ctx, events[i]);
	if (r == 0)
		r = allow_write(ctx, STDERR_FILENO);
	if (r == 0) /* what it does once the machine has ended */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(pause), 0);
	return ctx ? compile(ctx, r, ret) : r;
}

int confine_filter_waiter(struct confine_filter *ret)
{
	scmp_filter_ctx ctx = begin_list();
	int r = ctx ? calls_allow(ctx, waiter_calls, ARRAY_SIZE(waiter_calls)) : -ENOMEM;

	if (r == 0)
		r = allow_write(ctx, STDERR_FILENO);
	return ctx ? compile(ctx, r, ret) : r;
}

void confine_thread(const struct confine_filter *f)
{
	struct sock_fprog prog = { .len = f->len, .filter = f->code };

	calls_end_at_trap("weir-vmm", "thread", STATUS_ERROR);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0)
		return;
	log_error("no list of system calls for a thread: %s", strerror(errno));
	_exit(STATUS_ERROR);
}

void confine_filter_fini(struct confine_filter *f)
{
	free(f->code);
	*f = (struct confine_filter){ NULL, 0 };
}
