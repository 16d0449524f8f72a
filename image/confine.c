/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights, in stages, before the first byte of an archive, a kernel or a folder is looked
 * at. Whoever takes this process over through one of them can write wrong images into the folder
 * of the store that is this command's, and read what this command was told to read.
 *
 * No namespaces: in a user namespace of an ordinary user's, files of all others would seem to be
 * nobody's, and a folder's owners are what is copied. Landlock does the same for files.
 */
#include "image/confine.h"
#include "image/confine_probe.h"

#include "base/calls.h"

#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define STATUS_TRAPPED 2
#define MAX_FILES 256
/* Names of the largest tree, a kernel twice, what xz may ask for, contents of operations. */
#define MAX_MEMORY (UINT64_C(8) << 30)
/* The largest tree and the room in it; a layer's contents on the way. */
#define MAX_FILE (UINT64_C(4) << 40)

/* ---- what may be read -------------------------------------------------------------------- */

static int add(struct confine *c, const char *path, bool write)
{
	if (c->n == ARRAY_SIZE(c->path))
		return -E2BIG;
	c->path[c->n++] = (struct rights_path){ path, write };
	return 0;
}

/* Takes path over; NULL: no memory for it. */
static int add_made(struct confine *c, char *path, bool write)
{
	if (!path || c->n_made == ARRAY_SIZE(c->made)) {
		free(path);
		return path ? -E2BIG : -ENOMEM;
	}
	c->made[c->n_made++] = path;
	return add(c, path, write);
}

static char *join(const char *a, const char *b)
{
	char *s;

	return asprintf(&s, "%s/%s", a, b) < 0 ? NULL : s;
}

int confine_read(struct confine *c, const char *path)
{
	return path ? add(c, path, false) : 0;
}

int confine_keep(struct confine *c, const struct image_store *s, const char *folder)
{
	return add_made(c, join(image_store_dir(s), folder), true);
}

int confine_boot(struct confine *c, const struct image_boot_options *o)
{
	static const char *const beside[] = { "../lib/modules", "../usr/lib/modules" };
	char real[PATH_MAX], *slash;
	int r = confine_read(c, o->agent);

	if (r == 0)
		r = confine_read(c, o->kernel ? o->kernel : "/boot");
	if (r == 0)
		r = confine_read(c, o->modules ? o->modules : "/lib/modules");
	/* Modules of an unpacked package lie beside its kernel. */
	if (o->kernel && !o->modules && realpath(o->kernel, real)) {
		slash = strrchr(real, '/');
		*slash = '\0';
		for (size_t i = 0; r == 0 && i < ARRAY_SIZE(beside); i++)
			r = add_made(c, join(real, beside[i]), false);
	}
	return r;
}

int confine_busybox(struct confine *c)
{
	static const char *const paths[] = { "/usr/bin/busybox",
					     "/bin/busybox",
					     "/usr/sbin/busybox",
					     "/sbin/busybox",
					     "/usr/local/bin/busybox",
					     "/lib",
					     "/lib64",
					     "/usr/lib",
					     "/usr/lib64",
					     "/etc/ssl/certs/ca-certificates.crt" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(paths); i++)
		r = confine_read(c, paths[i]);
	return r;
}

int confine_patches(struct confine *c, const struct image_patches *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		r = confine_read(c, p->list[i].source);
		c->folders |= p->list[i].op == IMAGE_PATCH_COPY_DIR;
	}
	return r;
}

void confine_fini(struct confine *c)
{
	for (size_t i = 0; i < c->n_made; i++)
		free(c->made[i]);
	*c = (struct confine){ 0 };
}

/* ---- system calls ------------------------------------------------------------------------- */

/*
 * Files are opened, read, written, listed, locked; new ones get a name and lose it again (Landlock
 * says which). No process, no program, no socket, no change of anybody's identity.
 */
static const int calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(listxattr),
	SCMP_SYS(getxattr),
	SCMP_SYS(linkat),
	SCMP_SYS(unlinkat),
	SCMP_SYS(fchmod),
	SCMP_SYS(utimensat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(flock),
	SCMP_SYS(fcntl),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(getrandom),
	SCMP_SYS(sysinfo), /* how much memory there is to sort in */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(tgkill),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
#if defined(__x86_64__)
	/* The same by their old numbers, which libraries still use. */
	SCMP_SYS(open),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(access),
	SCMP_SYS(readlink),
	SCMP_SYS(unlink),
#endif
#ifdef WEIR_SANITIZED
	/* What the sanitizers' own runtime needs to watch and to report. */
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_yield),
	SCMP_SYS(prctl),
	SCMP_SYS(getrlimit),
	SCMP_SYS(prlimit64),
	SCMP_SYS(getcwd),
	SCMP_SYS(getppid),
	SCMP_SYS(pipe2),
#endif
};

#ifdef WEIR_SANITIZED
/*
 * weir starts this program without an environment, so what its runtime would be told there stands
 * here: a search for leaks traces the process, which is not on the list.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static int list_calls(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int r = ctx ? calls_allow(ctx, calls, ARRAY_SIZE(calls)) : -ENOMEM;

	calls_end_at_trap("weir-image", "process", STATUS_TRAPPED);
	if (r == 0)
		r = calls_allow_memory(ctx);
#ifndef WEIR_SANITIZED /* whose list has it */
	/* libext2fs asks before it believes the environment. */
	if (r == 0)
		r = calls_when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0, SCMP_CMP_EQ,
			       PR_GET_DUMPABLE, 0);
#endif
	/* Is it a terminal, how large is it: nobody needs to know. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

/* ---- the stages ----------------------------------------------------------------------------- */

static int limits(void)
{
	int r = rights_limit(RLIMIT_CORE, 0);

	if (r == 0)
		r = rights_limit(RLIMIT_NOFILE, MAX_FILES);
	if (r == 0)
		r = rights_limit(RLIMIT_FSIZE, MAX_FILE);
#ifndef WEIR_SANITIZED /* the sanitizer maps terabytes */
	if (r == 0)
		r = rights_limit(RLIMIT_AS, MAX_MEMORY);
#endif
	return r;
}

/* Root's that read a folder of others' keep the right to; in the bounding set is none. */
static int drop_capabilities(const struct confine *c)
{
	int r = rights_bound_capabilities(0);

	if (r < 0 && r != -EPERM)
		return r;
	return rights_keep_capabilities(
		c->folders && geteuid() == 0 ? UINT64_C(1) << CAP_DAC_READ_SEARCH : 0);
}

int confine_process(const struct confine *c, const char *probe, const char **ret_why)
{
	int landlock, r;

	/* Stage 1: bounds. A file that grows too long is an error, not an end. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	*ret_why = "limits of memory and files";
	r = limits();
	if (r < 0)
		return r;
	/* Still possible: everything the user may. */

	/* Stage 2: no capability but to read, none to be gained, no debugger. */
	*ret_why = "dropping capabilities";
	r = drop_capabilities(c);
	if (r < 0)
		return r;
	*ret_why = "no_new_privs";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	prctl(PR_SET_DUMPABLE, 0);
	/* Still possible: what the user may to files and processes; the network. */

	/* Stage 3: only the files that are this command's. */
	*ret_why = "Landlock";
	landlock = rights_forbid_files(c->path, c->n);
	/* The list of system calls cannot tell one path from another: nothing else keeps the user's files. */
	if (landlock < 0 && (landlock != -ENOTSUP || c->archive))
		return landlock;
	confine_probe_files(probe);
	/* Still possible: UDP, processes. */

	/* Stage 4: only the listed system calls. Still possible: the job. */
	*ret_why = "the list of system calls";
	r = list_calls();
	confine_probe_call(probe);
	return r < 0 ? r : landlock == -ENOTSUP;
}
