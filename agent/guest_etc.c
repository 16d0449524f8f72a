/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in /etc that are the machine's and not the image's: hostname, hosts, resolv.conf. Ours
 * stand in a tmpfs and are laid over the image's by bind mounts, which works on read-only
 * roots and leaves the image as it was. A link is followed to where it leads, made when
 * nothing is there (resolv.conf into /run).
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX (1 << 20)

int write_file(const char *path, const void *p, size_t n, mode_t mode)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		return -errno;
	return fd_write_all(fd, p, n);
}

/* The folder that a file, or what a dangling link leads to, would be in. */
static void make_place(const char *target)
{
	char link[PATH_MAX], folder[2 * PATH_MAX];
	ssize_t n = readlink(target, link, sizeof(link) - 1);
	char *slash;

	if (n > 0) {
		link[n] = 0;
		slash = strrchr(target, '/');
		snprintf(folder, sizeof(folder), "%.*s%s",
			 *link == '/' ? 0 : (int)(slash - target + 1), target, link);
	} else {
		snprintf(folder, sizeof(folder), "%s", target);
	}
	slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = 0;
		if (make_folders(folder) < 0)
			log_warn("%.200s cannot be made: %s", folder, strerror(errno));
	}
}

int lay_file(const char *file, const char *target)
{
	cleanup_close int fd = open(target, O_PATH | O_CLOEXEC);
	char path[64];

	if (fd < 0 && errno == ENOENT) {
		make_place(target);
		fd = open(target, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
	}
	if (fd < 0)
		return -errno;
	/* By its descriptor: a name could lead elsewhere by now. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return mount(file, path, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int lay_text(const char *name, struct buf *text, const char *target, struct failure *f)
{
	char path[128];
	int r;

	snprintf(path, sizeof(path), GUEST_DIR "/%s", name);
	r = write_file(path, buf_at(text), text->len, 0644);
	if (r == 0)
		r = lay_file(path, target);
	buf_fini(text);
	return r < 0 ? fail(f, AGENT_STAGE_FILES, -r, "%s", target) : 0;
}

static int lay_hostname(const struct agent_init *init, struct failure *f)
{
	struct buf text = BUF_INIT(TEXT_MAX);

	if (!init->hostname || !*init->hostname)
		return 0;
	if (buf_printf(&text, "%s\n", init->hostname) < 0)
		return fail(f, AGENT_STAGE_FILES, ENOMEM, "/etc/hostname");
	return lay_text("hostname", &text, "/etc/hostname", f);
}

static int lay_hosts(const struct agent_init *init, struct failure *f)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	int r = 0;

	if (!init->hosts.n)
		return 0;
	for (size_t i = 0; r == 0 && i < init->hosts.n; i++)
		r = buf_printf(&text, "%s\n", init->hosts.v[i]);
	if (r < 0) {
		buf_fini(&text);
		return fail(f, AGENT_STAGE_FILES, -r, "/etc/hosts");
	}
	return lay_text("hosts", &text, "/etc/hosts", f);
}

static int lay_resolv_conf(const struct agent_init *init, struct failure *f)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	int r = 0;

	if (!init->resolvers.n)
		return 0;
	for (size_t i = 0; r == 0 && i < init->resolvers.n; i++)
		r = buf_printf(&text, "nameserver %s\n", init->resolvers.v[i]);
	if (r < 0) {
		buf_fini(&text);
		return fail(f, AGENT_STAGE_FILES, -r, "/etc/resolv.conf");
	}
	return lay_text("resolv.conf", &text, "/etc/resolv.conf", f);
}

int etc_setup(const struct agent_init *init, struct failure *f)
{
	int r = lay_hostname(init, f);

	if (r == 0)
		r = lay_hosts(init, f);
	return r < 0 ? r : lay_resolv_conf(init, f);
}
