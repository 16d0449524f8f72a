/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that is taken away. The file behind a mapping belongs to the VMM,
 * which may make it shorter at any time (QEMU does not seal its memory files);
 * an access behind the new end is then a SIGBUS, which would end the process
 * and with it whatever else it serves. Checking the size before each access
 * would race with the next truncation.
 *
 * So: every mapping has a slot here. The handler puts zeros (private, anonymous
 * memory) in place of the whole mapping, sets the slot's flag and returns; the
 * access is done again and finds zeros. The link sees the flag at its next step
 * and goes down. A fault at any other address goes to whoever had the handler
 * before us, by default to the process's end.
 *
 * In the handler: atomics and mmap, which is a plain system call. Slots are
 * filled in before they are switched on and switched off before the mapping is
 * removed, so a handler on any thread sees a complete slot or none.
 */
#include "netstack/vhost_int.h"

#include <sys/mman.h>

struct guard {
	uintptr_t start; /* 0: free */
	size_t len;
	sig_atomic_t volatile *flag;
};

static struct guard guards[LIMIT_VHOST_GUARDS];
static struct sigaction before;

static bool cover(const struct guard *g, uintptr_t at)
{
	uintptr_t start = __atomic_load_n(&g->start, __ATOMIC_ACQUIRE);

	if (!start || at < start || at - start >= g->len)
		return false;
	*g->flag = 1;
	return mmap((void *)start, g->len, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

static void on_sigbus(int sig, siginfo_t *si, void *uc)
{
	int e = errno;

	for (unsigned i = 0; si->si_code > 0 && i < LIMIT_VHOST_GUARDS; i++)
		if (cover(&guards[i], (uintptr_t)si->si_addr)) {
			errno = e;
			return;
		}
	if (before.sa_flags & SA_SIGINFO && before.sa_sigaction) {
		before.sa_sigaction(sig, si, uc);
		return;
	}
	/* Done again without us: what would have happened, happens. */
	sigaction(SIGBUS, &before, NULL);
	if (si->si_code <= 0)
		raise(SIGBUS);
}

/* Looked at each time: a program may have set a handler of its own since. */
static int install(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO }, now;

	if (sigaction(SIGBUS, NULL, &now) < 0)
		return -errno;
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
		return 0;
	before = now;
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

int vhost_guard_add(void *p, size_t len, sig_atomic_t volatile *flag)
{
	int r = install();

	if (r < 0)
		return r;
	for (unsigned i = 0; i < LIMIT_VHOST_GUARDS; i++) {
		if (guards[i].start)
			continue;
		guards[i].len = len;
		guards[i].flag = flag;
		__atomic_store_n(&guards[i].start, (uintptr_t)p, __ATOMIC_RELEASE);
		return (int)i;
	}
	return -ENOSPC;
}

void vhost_guard_del(unsigned slot)
{
	__atomic_store_n(&guards[slot].start, 0, __ATOMIC_RELEASE);
}
