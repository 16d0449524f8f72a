/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-agent: pid 1 of a microVM's guest. The initramfs has it as /init.
 *
 *   boot (guest_boot.c) → HELLO → INIT (guest_init.c) → requests → the end (guest_end.c)
 *
 * --port-fd N leaves the machine alone: no modules, no search for the port, no reboot at the
 * end. Tests run it so in namespaces.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static struct guest guest = { .port = -1 };

/* Pid 1 may not end: the kernel would call that a crash. */
static void machine_off(const char *why, int err)
{
	log_error("%s: %s", why, strerror(err));
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static int run(void)
{
	int r = guest_start(&guest);

	if (r == 0)
		r = loop_run(guest.loop);
	return r;
}

static int usage(void)
{
	fprintf(stderr,
		"weir-agent " WEIR_VERSION ": runs as pid 1 of weir's microVMs\n"
		"usage: weir-agent --port-fd N    speak over N and leave the machine alone\n");
	return 2;
}

int main(int argc, char **argv)
{
	int r;

	log_setup("agent", LOG_LEVEL_WARN);
	umask(022);
	guest.is_init = getpid() == 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (argc == 3 && str_eq(argv[1], "--port-fd")) {
		uint64_t fd;

		if (uint_parse(argv[2], strlen(argv[2]), 0, 65535, &fd, NULL) < 0)
			return usage();
		guest.port = (int)fd;
		if (fcntl(guest.port, F_SETFD, FD_CLOEXEC) < 0)
			return usage();
		r = run();
		return r < 0 ? 1 : r;
	}
	if (!guest.is_init)
		return usage();
	guest.machine = true;
	boot_mounts();
	boot_modules();
	r = boot_port(&guest.port);
	if (r < 0)
		machine_off("no virtio console port named \"" AGENT_PORT_NAME "\"", -r);
	r = run();
	machine_off("the loop ended", r < 0 ? -r : EINVAL);
	return 1;
}
