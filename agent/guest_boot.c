/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the kernel's first process to a port that the host listens on: the file
 * systems that everything else reads, the modules of the initramfs in the order its maker
 * gave them, and the virtio console port whose name is "agent".
 *
 * Nobody can be told of what goes wrong here but the console.
 */
#include "agent/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODULES_ORDER "/modules/order"
#define PORTS "/sys/class/virtio-ports"
/* A slow machine under emulation still has its devices by then. */
#define PORT_PATIENCE_MS 20000
#define PORT_PAUSE_MS 5

static void pause_ms(unsigned ms)
{
	struct timespec ts = { .tv_nsec = (long)(ms * NS_PER_MS) };

	nanosleep(&ts, NULL);
}

static void mount_new(const char *fs, const char *target, unsigned long flags, const char *options)
{
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		log_warn("%s cannot be made: %s", target, strerror(errno));
	/* EBUSY: the kernel did it (devtmpfs.mount) or a test's namespace has it. */
	if (mount(fs, target, fs, flags, options) < 0 && errno != EBUSY)
		log_warn("%s cannot be mounted: %s", target, strerror(errno));
}

void boot_mounts(void)
{
	int fd;

	mount_new("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_new("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_new("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	/* An initramfs need not have had a console for us. */
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; fd >= 0 && i <= STDERR_FILENO; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > STDERR_FILENO)
		close(fd);
}

static void insert(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		log_warn("module %s: %s", path, strerror(errno));
	else if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		log_warn("module %s: %s", path, strerror(errno));
	/* The initramfs is memory. */
	unlink(path);
}

void boot_modules(void)
{
	struct buf text = BUF_INIT(1 << 20);
	char *rest, *line;

	if (file_read(MODULES_ORDER, 1 << 20, &text) == 0 && buf_str(&text)) {
		rest = (char *)buf_at(&text);
		while ((line = strsep(&rest, "\n"))) {
			char path[512];

			if (!*line)
				continue;
			snprintf(path, sizeof(path), "%s%s", *line == '/' ? "" : "/modules/", line);
			insert(path);
		}
	}
	buf_fini(&text);
}

static bool is_ours(const char *port)
{
	struct buf name = BUF_INIT(64);
	char path[320];
	bool ours = false;

	snprintf(path, sizeof(path), PORTS "/%s/name", port);
	if (file_read(path, 63, &name) == 0 && buf_str(&name)) {
		char *text = (char *)buf_at(&name);

		text[strcspn(text, "\n")] = 0;
		ours = str_eq(text, AGENT_PORT_NAME);
	}
	buf_fini(&name);
	return ours;
}

/* "vport0p1", or false: there is none yet. */
static bool find_port(char *ret, size_t size)
{
	DIR *d = opendir(PORTS);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		if (e->d_name[0] != '.' && is_ours(e->d_name)) {
			snprintf(ret, size, "%s", e->d_name);
			found = true;
		}
	if (d)
		closedir(d);
	return found;
}

static int open_port(int *ret)
{
	char name[256], path[300];
	int fd;

	for (int waited = 0; !find_port(name, sizeof(name)); waited += PORT_PAUSE_MS) {
		if (waited >= PORT_PATIENCE_MS)
			return -ENODEV;
		pause_ms(PORT_PAUSE_MS);
	}
	snprintf(path, sizeof(path), "/dev/%s", name);
	/* Nobody else can open it while we have it; its node is nobody's business either. */
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	unlink(path);
	*ret = fd;
	return 0;
}

int boot_port(int *ret)
{
	struct pollfd p = { .events = POLLIN };
	int r = open_port(&p.fd);

	if (r < 0)
		return r;
	/* Until the host's end is open, reading gives an end of file and means nothing. */
	while (poll(&p, 1, PORT_PAUSE_MS) >= 0 && p.revents & POLLHUP)
		pause_ms(PORT_PAUSE_MS);
	*ret = p.fd;
	return 0;
}
