/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call lists. The gateway and the tlsproxy may use only what is listed
 * here; anything else ends the process with a line that names the call. The
 * sandboxed command is the other way round: everything but the few calls that
 * reach around its namespaces.
 */
#include "weir/seccomp.h"

#include "base/calls.h"
#include "weir/harden.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Memory, time, randomness, leaving: what any process of ours needs. */
static const int common_calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(lseek),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(fcntl),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(getrandom),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(tgkill),
#ifdef WEIR_SANITIZED
	/* What the sanitizers' own runtime needs to watch and to report. */
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_yield),
	SCMP_SYS(prctl),
	SCMP_SYS(readlink),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(getuid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(prlimit64),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getcwd),
	SCMP_SYS(dup),
	SCMP_SYS(pipe),
	SCMP_SYS(pipe2),
	SCMP_SYS(ioctl),
#endif
};

/*
 * The gateway dials and accepts; internet sockets only (see add_gateway_rules). It
 * asks with poll whether the tlsproxy is still there (gateway_proxy.c).
 */
static const int gateway_calls[] = {
#ifdef __NR_poll
	SCMP_SYS(poll),
#endif
	SCMP_SYS(ppoll), SCMP_SYS(connect),  SCMP_SYS(accept4),
	SCMP_SYS(bind),	 SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg),
};

/* The tlsproxy keeps its secrets in memory that is never paged out. */
static const int tlsproxy_calls[] = { SCMP_SYS(mlock), SCMP_SYS(munlock) };

static int add_gateway_rules(scmp_filter_ctx ctx)
{
	static const unsigned long ioctls[] = { FIONBIO, FIONREAD };
	static const int domains[] = { AF_INET, AF_INET6 };
	int r = calls_allow(ctx, gateway_calls, ARRAY_SIZE(gateway_calls));

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(domains); i++)
		r = calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 0, SCMP_CMP_EQ,
			       (scmp_datum_t)domains[i], 0);
	/* Pairs to the tlsproxy and the resolver; no other local socket can be reached. */
	if (r == 0)
		r = calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 0, SCMP_CMP_EQ, AF_UNIX, 0);
#ifndef WEIR_SANITIZED
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ioctls); i++)
		r = calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_CMP_EQ, ioctls[i], 0);
#else
	(void)ioctls;
#endif
	return r;
}

/* A busy loop gives way (base/busy.c): its own thread, and between these two policies. */
static int add_busy_rules(scmp_filter_ctx ctx)
{
	static const int policies[] = { SCHED_OTHER, SCHED_BATCH };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(policies); i++) {
		struct scmp_arg_cmp args[] = {
			{ 0, SCMP_CMP_MASKED_EQ, 0xffffffff, 0 },
			{ 1, SCMP_CMP_MASKED_EQ, 0xffffffff, (scmp_datum_t)policies[i] },
		};

		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sched_setscheduler),
					   ARRAY_SIZE(args), args);
	}
	return r;
}

static int load_filter(scmp_filter_ctx ctx, int r, struct conf_error *err)
{
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	if (r < 0)
		conf_error_set(err, "cannot install the system call filter: %s", strerror(-r));
	return r;
}

int harden_seccomp(enum harden_role role, struct conf_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int r = ctx ? 0 : -ENOMEM;

	calls_end_at_trap("weir", "process", 124);
	/* For all threads, or none of this were worth anything. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = calls_allow(ctx, common_calls, ARRAY_SIZE(common_calls));
	if (r == 0)
		r = calls_allow_memory(ctx);
	if (r == 0)
		r = add_busy_rules(ctx);
	if (r == 0 && role == HARDEN_GATEWAY)
		r = add_gateway_rules(ctx);
	if (r == 0 && role == HARDEN_TLSPROXY)
		r = calls_allow(ctx, tlsproxy_calls, ARRAY_SIZE(tlsproxy_calls));
	return load_filter(ctx, r, err);
}

/*
 * Sockets that a network namespace does not confine (AF_VSOCK reaches the
 * hypervisor's host) or that we have no rules for do not exist in the sandbox.
 */
static int deny_socket_families(scmp_filter_ctx ctx)
{
	static const int allowed[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET };
	int r = 0;

	for (int family = 0; r == 0 && family < 64; family++) {
		bool ok = false;

		for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
			ok |= allowed[i] == family;
		if (!ok)
			r = calls_when(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0,
				       SCMP_CMP_MASKED_EQ, 0xffffffff, (scmp_datum_t)family);
	}
	if (r == 0)
		r = calls_when(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0, SCMP_CMP_GE,
			       64, 0);
	return r;
}

int seccomp_command(struct conf_error *err)
{
	/*
	 * Calls that make sockets or filters unseen by the rules above, or open
	 * files past what is mounted over them.
	 */
	static const int denied[] = {
		SCMP_SYS(io_uring_setup),    SCMP_SYS(io_uring_enter),
		SCMP_SYS(io_uring_register), SCMP_SYS(bpf),
		SCMP_SYS(perf_event_open),   SCMP_SYS(kexec_load),
		SCMP_SYS(kexec_file_load),   SCMP_SYS(add_key),
		SCMP_SYS(request_key),	     SCMP_SYS(keyctl),
		SCMP_SYS(open_by_handle_at),
	};
	static const unsigned long terminal[] = { TIOCSTI, 0x541c /* TIOCLINUX */ };
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? 0 : -ENOMEM;

	/* Other instruction sets number their calls differently: none of them here. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	if (r == 0)
		r = deny_socket_families(ctx);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(denied); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), denied[i], 0);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(terminal); i++)
		r = calls_when(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, SCMP_CMP_MASKED_EQ,
			       0xffffffff, terminal[i]);
	return load_filter(ctx, r, err);
}
