/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system, and volumes in it.
 *
 *   device ──► /newroot                            writable
 *   device ──► /lower (read-only) ┐
 *   upper  ──► /upper             ┴► overlay at /newroot
 *
 * Then /newroot takes the initramfs's place. pivot_root(2) cannot do that to the first root of
 * all, so it is moved over it, and we with it; what is below can no longer be named.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEW_ROOT "/newroot"
#define DEVICE_PATIENCE_MS 10000

int make_folders(const char *path)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		/* A read-only file system says so of what is there, too. */
		if (mkdir(part, 0755) < 0 && errno != EEXIST && access(part, F_OK) < 0)
			return -errno;
	}
	return 0;
}

static unsigned long mount_flags(uint32_t flags)
{
	return (flags & AGENT_MOUNT_READONLY ? MS_RDONLY : 0) |
	       (flags & AGENT_MOUNT_NOSUID ? MS_NOSUID : 0) |
	       (flags & AGENT_MOUNT_NODEV ? MS_NODEV : 0) |
	       (flags & AGENT_MOUNT_NOEXEC ? MS_NOEXEC : 0);
}

/* A device that its driver has yet to find. */
static void wait_for(const char *path)
{
	const struct timespec pause = { .tv_nsec = 5 * (long)NS_PER_MS };

	for (int ms = 0; str_starts(path, "/dev/") && ms < DEVICE_PATIENCE_MS; ms += 5) {
		if (access(path, F_OK) == 0)
			return;
		nanosleep(&pause, NULL);
	}
}

static int mount_one(const struct agent_mount *m, const char *target, enum agent_stage stage,
		     struct failure *f)
{
	unsigned long flags = mount_flags(m->flags);
	int r = make_folders(target);

	if (r < 0)
		return fail(f, stage, -r, "%.150s cannot be made", target);
	if (m->flags & AGENT_MOUNT_BIND) {
		if (mount(m->source, target, NULL, MS_BIND, NULL) < 0)
			return fail(f, stage, errno, "%.150s at %.150s", m->source, target);
		if (flags && mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0)
			return fail(f, stage, errno, "the flags of %.150s", target);
		return 0;
	}
	wait_for(m->source);
	if (mount(m->source, target, m->fs, flags, m->options) < 0)
		return fail(f, stage, errno, "%.120s (%.40s) at %.120s", m->source,
			    m->fs ? m->fs : "no type", target);
	return 0;
}

/* ---- the root ----------------------------------------------------------------------- */

static int mount_overlay(const struct agent_init *init, struct failure *f)
{
	const struct agent_mount upper = {
		.source = init->upper_device ? init->upper_device : "tmpfs",
		.fs = init->upper_fs,
	};
	int r = mount_one(&init->root, "/lower", AGENT_STAGE_ROOT, f);

	if (r == 0)
		r = mount_one(&upper, "/upper", AGENT_STAGE_ROOT, f);
	if (r == 0 && (make_folders("/upper/up") < 0 || make_folders("/upper/work") < 0 ||
		       make_folders(NEW_ROOT) < 0))
		r = fail(f, AGENT_STAGE_ROOT, errno, "the writable layer");
	if (r == 0 && mount("overlay", NEW_ROOT, "overlay", 0,
			    "lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work") < 0)
		r = fail(f, AGENT_STAGE_ROOT, errno, "overlay of the root");
	return r;
}

/* /dev, /proc and /sys come along; a namespace that may not move its own gets a second view. */
static int carry(const char *from, struct failure *f)
{
	char to[64];

	snprintf(to, sizeof(to), NEW_ROOT "%s", from);
	if (make_folders(to) < 0)
		return fail(f, AGENT_STAGE_ROOT, errno, "%s cannot be made in the root", from);
	if (mount(from, to, NULL, MS_MOVE, NULL) < 0 &&
	    mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return fail(f, AGENT_STAGE_ROOT, errno, "%s in the root", from);
	return 0;
}

static int switch_root(struct failure *f)
{
	int r = carry("/dev", f);

	if (r == 0)
		r = carry("/proc", f);
	if (r == 0)
		r = carry("/sys", f);
	if (r < 0)
		return r;
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return fail(f, AGENT_STAGE_ROOT, errno, "the root cannot be switched");
	return 0;
}

int root_mount(const struct agent_init *init, struct failure *f)
{
	int r;

	if (!init->root.source)
		return 0;
	/* In a namespace mounts may still be those of its parent, too. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(f, AGENT_STAGE_ROOT, errno, "mounts cannot be made private");
	if (init->upper_fs)
		r = mount_overlay(init, f);
	else
		r = mount_one(&init->root, NEW_ROOT, AGENT_STAGE_ROOT, f);
	return r < 0 ? r : switch_root(f);
}

int root_volumes(const struct agent_init *init, struct failure *f)
{
	for (size_t i = 0; i < init->n_mounts; i++) {
		const struct agent_mount *m = &init->mounts[i];
		int r;

		if (!m->source || !m->target || *m->target != '/')
			return fail(f, AGENT_STAGE_MOUNT, EINVAL,
				    "a volume needs a source and an absolute target");
		r = mount_one(m, m->target, AGENT_STAGE_MOUNT, f);
		if (r < 0)
			return r;
	}
	return 0;
}
