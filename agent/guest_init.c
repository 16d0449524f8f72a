/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INIT: from the initramfs to the machine that the host wants. The order matters: entropy
 * and time before anything makes keys or files; the root before what is laid over its files;
 * the network before a command could use it. The first failure ends it, and is what the host
 * is told; what cannot be had but need not be (a missing cgroup file system) is only logged.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

/* Off by less is the host's own jitter, and a step would only disturb. */
#define CLOCK_STEP_NS (100 * NS_PER_MS)
#define ENTROPY_MAX 512

static void add_entropy(const struct agent_bytes *b)
{
	union {
		struct rand_pool_info info;
		uint8_t bytes[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	} pool = { 0 };
	cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	size_t n = MIN(b->n, (size_t)ENTROPY_MAX);

	if (!n)
		return;
	pool.info.entropy_count = (int)n * 8;
	pool.info.buf_size = (int)n;
	memcpy(pool.bytes + offsetof(struct rand_pool_info, buf), b->p, n);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
		log_warn("entropy cannot be added: %s", strerror(errno));
}

void clock_set(struct guest *g, uint64_t realtime_ns)
{
	struct timespec now, wanted = {
		.tv_sec = (time_t)(realtime_ns / NS_PER_S),
		.tv_nsec = (long)(realtime_ns % NS_PER_S),
	};
	uint64_t have;

	if (!realtime_ns)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	have = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	if ((have > realtime_ns ? have - realtime_ns : realtime_ns - have) <= CLOCK_STEP_NS)
		return;
	if (clock_settime(CLOCK_REALTIME, &wanted) < 0)
		guest_log(g, AGENT_LOG_WARN, "the clock cannot be set: %s", strerror(errno));
}

static int set_hostname(const struct agent_init *init, struct failure *f)
{
	if (!init->hostname || !*init->hostname)
		return 0;
	if (sethostname(init->hostname, strlen(init->hostname)) < 0)
		return fail(f, AGENT_STAGE_FILES, errno, "host name \"%.64s\"", init->hostname);
	return 0;
}

static void link_to(const char *target, const char *path)
{
	if (symlink(target, path) < 0 && errno != EEXIST)
		log_warn("%s cannot be made: %s", path, strerror(errno));
}

static void mount_own(const char *fs, const char *target, unsigned long flags, const char *options)
{
	if (make_folders(target) < 0 || mount(fs, target, fs, flags, options) < 0)
		log_warn("%s cannot be mounted: %s", target, strerror(errno));
}

/* What programs expect of a machine and no image holds. */
static void api_mounts(void)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV;

	mount_own("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_own("tmpfs", "/dev/shm", safe, "mode=1777");
	mount_own("tmpfs", "/run", safe, "mode=0755");
	mount_own("cgroup2", "/sys/fs/cgroup", safe | MS_NOEXEC, "nsdelegate");
	link_to("/proc/self/fd", "/dev/fd");
	link_to("/proc/self/fd/0", "/dev/stdin");
	link_to("/proc/self/fd/1", "/dev/stdout");
	link_to("/proc/self/fd/2", "/dev/stderr");
	if (mkdir("/tmp", 01777) == 0 && chmod("/tmp", 01777) < 0)
		log_warn("/tmp: %s", strerror(errno));
}

int guest_init(struct guest *g, const struct agent_init *init, struct failure *f)
{
	int r;

	if (g->machine) {
		add_entropy(&init->entropy);
		clock_set(g, init->realtime_ns);
	}
	r = root_mount(init, f);
	if (r < 0)
		return r;
	if (g->machine)
		api_mounts();
	if (make_folders(GUEST_DIR) < 0)
		return fail(f, AGENT_STAGE_FILES, errno, GUEST_DIR);
	r = root_volumes(init, f);
	if (r == 0)
		r = set_hostname(init, f);
	if (r == 0)
		r = net_setup(init, f);
	if (r == 0)
		r = etc_setup(init, f);
	if (r == 0)
		r = trust_setup(init, f);
	if (r == 0 && init->handoff.n)
		r = handoff(g, f);
	return r;
}
