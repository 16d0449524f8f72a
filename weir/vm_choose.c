/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which monitor runs the machine. auto takes weir's own on KVM, then QEMU; it never
 * takes namespaces, which isolate less, and says what it took and why.
 *
 * Whether KVM is good for anything is read off the modules: a kernel in which only a
 * KVM in software is there opens /dev/kvm, makes a machine of it, and a stock
 * guest never starts.
 */
#include "weir/vm.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MONITOR "weir-vmm"
#define AGENT "weir-agent"
#define IMAGE "weir-image"
#define QEMU "qemu-system-x86_64"

bool vm_kvm_usable(char *why, size_t size)
{
	cleanup_close int fd = -1;

	if (access("/sys/module/kvm_amd", F_OK) < 0 && access("/sys/module/kvm_intel", F_OK) < 0) {
		snprintf(why, size,
			 "no KVM with hardware support (neither kvm_amd nor kvm_intel is loaded)");
		return false;
	}
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(why, size, "KVM with hardware support");
		return true;
	}
	snprintf(why, size, "/dev/kvm: %s%s", strerror(errno),
		 errno == EACCES ? "; be a member of group kvm" : "");
	return false;
}

/* Beside this program, as in the build's bin/, or where it was installed. */
static bool find_own(const char *name, char *ret, size_t size)
{
	static const char *const places[] = { "", "../" WEIR_LIBEXECDIR "/weir/" };
	char dir[2048];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	char *slash;

	if (n < 0)
		return false;
	dir[n] = 0;
	slash = strrchr(dir, '/');
	if (!slash)
		return false;
	slash[1] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int len = snprintf(ret, size, "%s%s%s", dir, places[i], name);

		if (len > 0 && (size_t)len < size && access(ret, X_OK) == 0)
			return true;
	}
	return false;
}

static bool find_qemu(char *ret, size_t size)
{
	/* Where distributions keep it; a PATH of the user's is not asked what to trust. */
	static const char *const places[] = { "/usr/bin/" QEMU, "/usr/local/bin/" QEMU,
					      "/usr/libexec/qemu-kvm",
					      "/run/current-system/sw/bin/" QEMU };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (access(places[i], X_OK) == 0 &&
		    (size_t)snprintf(ret, size, "%s", places[i]) < size)
			return true;
	return false;
}

static int no_monitor(enum weir_backend wish, const char *why_kvm, bool usable, struct conf_error *err)
{
	static const char get_qemu[] = "no " QEMU " (apt install qemu-system-x86)";

	if (wish == BACKEND_KVM && usable)
		conf_error_set(err, "--backend kvm: no " MONITOR
				    " beside weir; was all of it installed?");
	else if (wish == BACKEND_KVM)
		conf_error_set(err, "--backend kvm: %s; without it --backend qemu works, slower",
			       why_kvm);
	else if (wish == BACKEND_QEMU)
		conf_error_set(err, "--backend qemu: %s", get_qemu);
	else
		conf_error_set(err,
			       "auto takes only a microVM: %s, and %s; to isolate with namespaces, "
			       "say so: --backend netns",
			       usable ? "no " MONITOR " beside weir" : why_kvm, get_qemu);
	return -ENOTSUP;
}

static int no_own(const char *name, const char *what, struct conf_error *err)
{
	conf_error_set(err, "no %s beside weir, which %s; was all of it installed?", name, what);
	return -ENOTSUP;
}

int vm_choose(enum weir_backend wish, struct vm_choice *ret, struct conf_error *err)
{
	char why[160];
	bool usable = vm_kvm_usable(why, sizeof(why));
	struct vm_choice c = { .kvm = usable };

	if (wish != BACKEND_QEMU && usable && find_own(MONITOR, c.program, sizeof(c.program)))
		c.backend = BACKEND_KVM;
	else if (wish != BACKEND_KVM && find_qemu(c.program, sizeof(c.program)))
		c.backend = BACKEND_QEMU;
	else
		return no_monitor(wish, why, usable, err);
	if (!find_own(AGENT, c.agent, sizeof(c.agent)))
		return no_own(AGENT, "is pid 1 in a microVM", err);
	if (!find_own(IMAGE, c.image, sizeof(c.image)))
		return no_own(IMAGE, "reads kernels and images", err);
	snprintf(c.why, sizeof(c.why), "%s%s", why,
		 c.backend == BACKEND_QEMU && !usable ? ", so QEMU emulates the processor: slow"
						      : "");
	*ret = c;
	return 0;
}
