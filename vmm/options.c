/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the command line: strict, each option at most once (but for disks),
 * each number in its range. Whether a descriptor is of the right kind is found
 * out by those who use it; that it is open at all, here.
 */
#include "vmm/options.h"
#include "vmm/layout.h"

#include <fcntl.h>
#include <stdio.h>

const char options_help[] =
	"usage: weir-vmm --memory MIB --cpus N --kernel-fd N [OPTION...]\n"
	"\n"
	"Runs one virtual machine on KVM. Started by weir, which opens everything it needs:\n"
	"each N below is the number of an inherited descriptor.\n"
	"\n"
	"  --memory MIB         the guest's memory, 16 to 262144\n"
	"  --cpus N             its processors, 1 to 8\n"
	"  --kernel-fd N        vmlinux with a PVH note, or bzImage\n"
	"  --initrd-fd N        its initramfs\n"
	"  --cmdline TEXT       added to what the machine itself tells the kernel\n"
	"  --kvm-fd N           /dev/kvm; opened when not given\n"
	"  --disk-fd N          a raw image, the first is /dev/vda; up to 8\n"
	"            N:ro       never written\n"
	"            N:cow=M    never written; what the guest writes goes to M\n"
	"  --net-fd N           Unix stream socket to a vhost-user back end\n"
	"  --mac XX:XX:XX:XX:XX:XX, --mtu N\n"
	"  --agent-fd N         Unix stream socket: the guest's virtio port named agent\n"
	"  --console-fd N       takes what the guest writes to hvc0 and ttyS0\n"
	"  --log-fd N           takes a line about the run; errors go to stderr\n"
	"\n"
	"Exit status: 0 the guest powered off, 2 it asked for a reset, 3 it crashed (kernel "
	"panic,\n"
	"triple fault, or KVM cannot run it), 4 weir-vmm itself failed.\n";

enum option {
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_CMDLINE,
	OPTION_KERNEL,
	OPTION_INITRD,
	OPTION_KVM,
	OPTION_DISK,
	OPTION_NET,
	OPTION_MAC,
	OPTION_MTU,
	OPTION_AGENT,
	OPTION_CONSOLE,
	OPTION_LOG,
	OPTION_PROBE,
	OPTION_COUNT,
};

static const char *const names[OPTION_COUNT] = {
	[OPTION_MEMORY] = "--memory",	 [OPTION_CPUS] = "--cpus",
	[OPTION_CMDLINE] = "--cmdline",	 [OPTION_KERNEL] = "--kernel-fd",
	[OPTION_INITRD] = "--initrd-fd", [OPTION_KVM] = "--kvm-fd",
	[OPTION_DISK] = "--disk-fd",	 [OPTION_NET] = "--net-fd",
	[OPTION_MAC] = "--mac",		 [OPTION_MTU] = "--mtu",
	[OPTION_AGENT] = "--agent-fd",	 [OPTION_CONSOLE] = "--console-fd",
	[OPTION_LOG] = "--log-fd",	 [OPTION_PROBE] = "--probe",
};

static int parse_uint(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *ret,
		      const char **ret_why)
{
	return uint_parse(text, len, min, max, ret, ret_why);
}

static int parse_fd(const char *text, size_t len, int *ret, const char **ret_why)
{
	uint64_t n;
	int r = parse_uint(text, len, 0, 65535, &n, ret_why);

	if (r < 0)
		return r;
	if (fcntl((int)n, F_GETFD) < 0) {
		*ret_why = "no such descriptor was inherited";
		return -EINVAL;
	}
	*ret = (int)n;
	return 0;
}

static int parse_disk(struct options *o, const char *text, const char **ret_why)
{
	struct options_disk *d = &o->disks[o->n_disks];
	size_t len = strcspn(text, ":");
	const char *mode = text + len;
	int r;

	if (o->n_disks == OPTIONS_DISKS) {
		*ret_why = "there are more than 8 disks";
		return -EINVAL;
	}
	*d = (struct options_disk){ .fd = -1, .layer_fd = -1 };
	r = parse_fd(text, len, &d->fd, ret_why);
	if (r == 0 && strcmp(mode, ":ro") == 0)
		d->read_only = true;
	else if (r == 0 && strncmp(mode, ":cow=", 5) == 0)
		r = parse_fd(mode + 5, strlen(mode + 5), &d->layer_fd, ret_why);
	else if (r == 0 && *mode) {
		*ret_why = "a disk is N, N:ro or N:cow=M";
		r = -EINVAL;
	}
	if (r == 0)
		o->n_disks++;
	return r;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_mac(const char *text, uint8_t ret[6], const char **ret_why)
{
	bool ok = strlen(text) == 17;

	for (unsigned i = 0; ok && i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		ok = high >= 0 && low >= 0 && (i == 5 || text[3 * i + 2] == ':');
		ret[i] = (uint8_t)(high << 4 | low);
	}
	if (ok && !(ret[0] & 1))
		return 0;
	*ret_why = "six pairs of hexadecimal digits, the first one even: 02:00:00:00:00:01";
	return -EINVAL;
}

static int *fd_option(struct options *o, enum option which)
{
	switch (which) {
	case OPTION_KERNEL:
		return &o->kernel_fd;
	case OPTION_INITRD:
		return &o->initrd_fd;
	case OPTION_KVM:
		return &o->kvm_fd;
	case OPTION_NET:
		return &o->net_fd;
	case OPTION_AGENT:
		return &o->agent_fd;
	case OPTION_CONSOLE:
		return &o->console_fd;
	case OPTION_LOG:
		return &o->log_fd;
	default:
		return NULL;
	}
}

static int take(struct options *o, enum option which, const char *text, const char **ret_why)
{
	int *fd = fd_option(o, which);
	uint64_t n = 0;
	int r;

	if (fd)
		return parse_fd(text, strlen(text), fd, ret_why);
	switch (which) {
	case OPTION_MEMORY:
		return parse_uint(text, strlen(text), LAYOUT_MIN_MIB, LAYOUT_MAX_MIB,
				  &o->memory_mib, ret_why);
	case OPTION_CPUS:
		r = parse_uint(text, strlen(text), 1, LAYOUT_MAX_CPUS, &n, ret_why);
		o->cpus = (unsigned)n;
		return r;
	case OPTION_MTU:
		r = parse_uint(text, strlen(text), 68, 65521, &n, ret_why);
		o->mtu = (uint16_t)n;
		return r;
	case OPTION_DISK:
		return parse_disk(o, text, ret_why);
	case OPTION_MAC:
		return parse_mac(text, o->mac, ret_why);
	case OPTION_CMDLINE:
		o->cmdline = text;
		return 0;
	default:
		o->probe = text;
		return 0;
	}
}

static enum option find_option(const char *name)
{
	for (unsigned i = 0; i < OPTION_COUNT; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return OPTION_COUNT;
}

static int check_whole(const bool seen[OPTION_COUNT], char *ret_why, size_t why_size)
{
	static const enum option needed[] = { OPTION_MEMORY, OPTION_CPUS, OPTION_KERNEL };

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!seen[needed[i]]) {
			snprintf(ret_why, why_size, "%s is missing", names[needed[i]]);
			return -EINVAL;
		}
	if (seen[OPTION_NET] != seen[OPTION_MAC] || seen[OPTION_NET] != seen[OPTION_MTU]) {
		snprintf(ret_why, why_size, "--net-fd, --mac and --mtu belong together");
		return -EINVAL;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret, char *ret_why, size_t why_size)
{
	struct options o = { .kernel_fd = -1,
			     .initrd_fd = -1,
			     .kvm_fd = -1,
			     .net_fd = -1,
			     .agent_fd = -1,
			     .console_fd = -1,
			     .log_fd = -1 };
	bool seen[OPTION_COUNT] = { false };
	int r;

	for (int i = 1; i < argc; i += 2) {
		enum option which = find_option(argv[i]);
		const char *why = "";

		if (strcmp(argv[i], "--help") == 0)
			return 1;
		if (which == OPTION_COUNT || i + 1 >= argc) {
			snprintf(ret_why, why_size, "%s: %s", argv[i],
				 which == OPTION_COUNT ? "no such option"
						       : "what follows is missing");
			return -EINVAL;
		}
		if (seen[which] && which != OPTION_DISK) {
			snprintf(ret_why, why_size, "%s: given twice", argv[i]);
			return -EINVAL;
		}
		seen[which] = true;
		r = take(&o, which, argv[i + 1], &why);
		if (r < 0) {
			snprintf(ret_why, why_size, "%s %.100s: %s", argv[i], argv[i + 1], why);
			return r;
		}
	}
	r = check_whole(seen, ret_why, why_size);
	if (r == 0)
		*ret = o;
	return r;
}

size_t options_fds(const struct options *o, int fds[OPTIONS_FDS])
{
	const int all[] = { o->kernel_fd, o->initrd_fd,	 o->kvm_fd, o->net_fd,
			    o->agent_fd,  o->console_fd, o->log_fd };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] >= 0)
			fds[n++] = all[i];
	for (unsigned i = 0; i < o->n_disks; i++) {
		fds[n++] = o->disks[i].fd;
		if (o->disks[i].layer_fd >= 0)
			fds[n++] = o->disks[i].layer_fd;
	}
	return n;
}
