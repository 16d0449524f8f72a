/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each check tries the thing itself, in a child where that is needed, rather
 * than reading versions: a kernel may have a feature and a policy forbid it.
 */
#include "weir/doctor.h"

#include "policy/policy.h"
#include "weir/harden.h"
#include "weir/message.h"
#include "weir/run_addresses.h"
#include "weir/sandbox.h"
#include "weir/vm.h"
#include "weir/vm_image.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum outcome { GOOD, MISSING, OPTIONAL };

static bool color, any_missing;

static const char help_text[] =
	"Usage: weir doctor\n"
	"Tells what this machine can do for weir, and how to get the rest.\n"
	"\n"
	"Exit status: 0 weir can run here, 1 something it needs is MISSING, 2 usage.\n";

static void say(enum outcome o, const char *what, const char *detail)
{
	static const char *const marks[] = { "ok", "MISSING", "absent" };
	static const char *const colors[] = { "\033[32m", "\033[31m", "\033[33m" };

	any_missing |= o == MISSING;
	printf("  %s%-8s%s ", color ? colors[o] : "", marks[o], color ? "\033[0m" : "");
	if (detail[0])
		printf("%-21s %s\n", what, detail);
	else
		puts(what);
}

/* Runs fn in a child; its return value, 0 to 125, is the child's exit status. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int try_namespaces(void)
{
	struct conf_error err;
	bool root = geteuid() == 0;
	struct harden_ids ids = harden_own_ids();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC |
		    CLONE_NEWUTS | CLONE_NEWCGROUP) < 0)
		return errno;
	return harden_write_id_maps(getpid(), &ids, false, &err) < 0 && !root ? EPERM : 0;
}

static int try_tap(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	struct harden_ids ids = harden_own_ids();
	struct conf_error err;
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return errno;
	(void)!harden_write_id_maps(getpid(), &ids, false, &err);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? errno : 0;
}

static int try_proc(void)
{
	struct harden_ids ids = harden_own_ids();
	struct conf_error err;
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0)
		return errno;
	(void)!harden_write_id_maps(getpid(), &ids, false, &err);
	pid = fork();
	if (pid == 0) {
		if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
		    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
			_exit(errno);
		_exit(0);
	}
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? ECHILD : WEXITSTATUS(status);
}

static bool check_child(const char *what, int (*fn)(void), const char *fix)
{
	int e = in_child(fn);
	char text[512];

	if (e == 0) {
		say(GOOD, what, "");
		return true;
	}
	snprintf(text, sizeof(text), "%s; %s", e > 0 ? strerror(e) : "child failed",
		 fix ? fix : harden_why_no_namespaces(e));
	say(MISSING, what, text);
	return false;
}

/* What the gateway and the tlsproxy do to themselves, to the last step. */
static int isolate(enum harden_role role, struct conf_error *err)
{
	int r = harden_isolate(role, err);

	return r < 0 ? r : harden_seccomp(role, err);
}

static void check_helper(const char *what, enum harden_role role)
{
	struct conf_error err = { { 0 } };
	ssize_t n = -1;
	pid_t pid;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0) {
		say(MISSING, what, strerror(errno));
		return;
	}
	pid = fork();
	if (pid == 0) {
		if (isolate(role, &err) < 0)
			n = write(p[1], &err, sizeof(err));
		_exit(n < 0 ? 0 : 1);
	}
	fd_close(p[1]);
	if (pid > 0)
		n = read(p[0], &err, sizeof(err));
	fd_close(p[0]);
	if (pid > 0 && waitpid(pid, NULL, 0) == pid && n == 0)
		say(GOOD, what, "");
	else
		say(MISSING, what, n == sizeof(err) ? err.text : "the child failed");
}

/* A sandbox as a run makes it, up to the moment when the command would start. */
static void check_sandbox(void)
{
	static char *const nothing[] = { NULL };
	struct sandbox_spec spec = {
		.argv = nothing,
		.envp = nothing,
		.hostname = "doctor",
		.stdio = { -1, -1, -1 },
		.net = &sandbox_net_default,
		.root = geteuid() == 0,
	};
	struct conf_error err = { { 0 } };
	struct sandbox sb;
	struct msg m;
	int link = -1;
	size_t n_fds;

	if (sandbox_start(&spec, &sb, &err) < 0) {
		say(MISSING, "a whole sandbox", err.text);
		return;
	}
	if (msg_recv(sb.sock, &m, &link, 1, &n_fds) < 0)
		say(MISSING, "a whole sandbox", "its first process died");
	else
		say(m.head.type == MSG_LINK ? GOOD : MISSING, "a whole sandbox",
		    m.head.type == MSG_LINK ? "" : m.text);
	fd_close(link);
	kill(sb.pid, SIGKILL);
	(void)!waitpid(sb.pid, NULL, 0);
	fd_close(sb.sock);
}

/* Each needs what came before: where that is missing, more advice would only mislead. */
static void check_netns(void)
{
	bool ok;

	if (!check_child("namespaces", try_namespaces, NULL))
		return;
	ok = check_child("tap device", try_tap, "as root: chmod 0666 /dev/net/tun; modprobe tun");
	ok &= check_child("/proc of its own", try_proc,
			  "a container that masks /proc has to be started with it unmasked");
	check_helper("isolated gateway", HARDEN_GATEWAY);
	check_helper("isolated tlsproxy", HARDEN_TLSPROXY);
	if (ok)
		check_sandbox();
}

static void check_ping(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);

	say(fd >= 0 ? GOOD : OPTIONAL, "ping sockets",
	    fd >= 0 ? "" : "ping to the outside needs: sysctl -w net.ipv4.ping_group_range='0 2147483647'");
	fd_close(fd);
}

static void check_resolver(void)
{
	struct buf text = BUF_INIT(65536);
	bool has = file_read("/etc/resolv.conf", 65536, &text) == 0 && buf_str(&text) &&
		   strstr((const char *)buf_at(&text), "nameserver");

	say(has ? GOOD : OPTIONAL, "resolver",
	    has ? "" : "/etc/resolv.conf names none; give --dns-server");
	buf_fini(&text);
}

static void check_bundle(void)
{
	bool has = access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0;

	say(has ? GOOD : OPTIONAL, "certificate store",
	    has ? "" : "apt-get install ca-certificates, or give --upstream-ca");
}

/* Those that a sandbox would get now, and what of the host's is in the way. */
static void check_addresses(void)
{
	struct sandbox_net net = sandbox_net_default;
	struct host_routes routes = { 0 };
	const struct host_route *in_way;
	struct conf_error err = { { 0 } };
	char text[512], slot[PREFIX_STRLEN], route[HOST_ROUTE_STRLEN], a[IP_STRLEN];
	int r = host_routes_read(&routes);

	if (r < 0)
		say(OPTIONAL, "the host's routes", strerror(-r));
	r = addresses_settle(&(struct net_wish){ .mtu = 0 }, &routes, SLOTS_LOOK, &net, NULL, &err);
	if (r < 0) {
		say(MISSING, "sandbox addresses", err.text);
		host_routes_fini(&routes);
		return;
	}
	for (int four = 1; four >= 0; four--) {
		const struct ip_prefix *now = four ? &net.slot4 : &net.slot6;
		const struct ip_prefix *usual =
			four ? &sandbox_net_default.slot4 : &sandbox_net_default.slot6;

		snprintf(text, sizeof(text), "%s", ip_format(four ? &net.guest4 : &net.guest6, a));
		in_way = host_routes_overlap(&routes, usual);
		if (in_way)
			snprintf(text + strlen(text), sizeof(text) - strlen(text),
				 ", of %s: the host has a route to %s", prefix_text(now, slot),
				 host_route_text(in_way, route));
		say(GOOD, four ? "IPv4 of a sandbox" : "IPv6 of a sandbox", text);
	}
	if (addresses_hidden(&net, &routes, NULL, text, sizeof(text))) {
		say(OPTIONAL, "addresses of names", text);
	} else {
		snprintf(text, sizeof(text), "%s, ", prefix_text(&net.virtual4, slot));
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s",
			 prefix_text(&net.virtual6, slot));
		say(GOOD, "addresses of names", text);
	}
	host_routes_fini(&routes);
}

/* The choice of auto, and a kernel for it: what a run would find out first. */
static void check_microvm(void)
{
	struct image_boot_options o = { 0 };
	struct image_error why = { { 0 } };
	struct conf_error err = { { 0 } };
	struct image_boot boot;
	struct image_store *store = NULL;
	struct vm_choice choice;
	char kvm[160], text[512];

	say(vm_kvm_usable(kvm, sizeof(kvm)) ? GOOD : OPTIONAL, "KVM", kvm);
	if (vm_choose(BACKEND_AUTO, &choice, &err) < 0) {
		say(OPTIONAL, "monitor", err.text);
		return;
	}
	say(GOOD, choice.backend == BACKEND_KVM ? "weir-vmm" : "QEMU", choice.program);
	o.agent = choice.agent;
	if (image_store_open(NULL, &store, &why) < 0) {
		say(OPTIONAL, "kernel", why.text);
	} else if (vm_image_boot(choice.image, store, &o, &boot, &err) < 0) {
		say(OPTIONAL, "kernel", err.text);
	} else {
		snprintf(text, sizeof(text), "%s", boot.source_path);
		say(GOOD, "kernel", text);
		image_boot_fini(&boot);
	}
	image_store_free(store);
}

int cmd_doctor(int argc, char **argv)
{
	struct utsname u;

	if (argc > 1) {
		bool help = str_eq(argv[1], "--help") || str_eq(argv[1], "-h");

		fputs(help_text, help ? stdout : stderr);
		return help ? 0 : 2;
	}
	color = isatty(STDOUT_FILENO);
	if (uname(&u) == 0)
		printf("%s %s, %s\n", u.sysname, u.release,
		       geteuid() == 0 ? "as root" : "as an ordinary user");
	printf("backend netns:\n");
	check_netns();
	printf("addresses:\n");
	check_addresses();
	printf("on the way out:\n");
	check_resolver();
	check_bundle();
	check_ping();
	printf("microVM backends:\n");
	check_microvm();
	return any_missing ? 1 : 0;
}
