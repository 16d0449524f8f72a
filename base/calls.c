/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of system calls, see calls.h. */
#include "base/calls.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
	const char *who, *place;
	int status;
} trap;

int calls_allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

int calls_when(scmp_filter_ctx ctx, uint32_t action, int call, unsigned n, enum scmp_compare op,
	       scmp_datum_t a, scmp_datum_t b)
{
	struct scmp_arg_cmp cmp = { .arg = n, .op = op, .datum_a = a, .datum_b = b };

	return seccomp_rule_add_array(ctx, action, call, 1, &cmp);
}

int calls_allow_memory(scmp_filter_ctx ctx)
{
	int r = calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	return r < 0 ? r
		     : calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 2, SCMP_CMP_MASKED_EQ,
				  PROT_EXEC, 0);
}

static void on_sigsys(int sig, siginfo_t *si, void *uc)
{
	char line[128];
	int n;

	(void)sig;
	(void)uc;
	n = snprintf(line, sizeof(line), "%s: system call %d is not allowed in this %s\n", trap.who,
		     si->si_syscall, trap.place);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(trap.status);
	_exit(trap.status);
}

void calls_end_at_trap(const char *who, const char *place, int status)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };

	trap.who = who;
	trap.place = place;
	trap.status = status;
	sigaction(SIGSYS, &sa, NULL);
}
