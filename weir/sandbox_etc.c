/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the sandbox's own, laid over the host's: who resolves names, which
 * names are local, whom to trust. They live in SANDBOX_DIR, on the sandbox's
 * /run, and go with it; nothing of the host's is written.
 */
#include "weir/sandbox.h"

#include "weir/addresses.h"
#include "weir/sandbox_trust.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(struct conf_error *err, const char *path, int r)
{
	conf_error_set(err, "cannot write the sandbox's %s: %s", path, strerror(-r));
	return r;
}

static int write_resolv_conf(const struct sandbox_net *net, struct conf_error *err)
{
	static const char path[] = SANDBOX_DIR "/resolv.conf";
	char text[256], a4[IP_STRLEN], a6[IP_STRLEN];
	int r;

	snprintf(text, sizeof(text), "nameserver %s\nnameserver %s\n",
		 ip_format(&net->gateway4, a4), ip_format(&net->gateway6, a6));
	r = guest_trust_write(path, text, strlen(text));
	if (r == 0)
		r = sandbox_lay(path, "/etc/resolv.conf");
	return r < 0 ? failed(err, "/etc/resolv.conf", r) : 0;
}

static int write_hosts(const char *hostname, const struct sandbox_net *net, struct conf_error *err)
{
	static const char path[] = SANDBOX_DIR "/hosts";
	char text[512], a4[IP_STRLEN], a6[IP_STRLEN];
	int r;

	snprintf(text, sizeof(text),
		 "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
		 "127.0.1.1 %s\n"
		 "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB "\n"
		 "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB "\n",
		 hostname, ip_format(&net->gateway4, a4), ip_format(&net->gateway6, a6));
	r = guest_trust_write(path, text, strlen(text));
	if (r == 0)
		r = sandbox_lay(path, "/etc/hosts");
	return r < 0 ? failed(err, "/etc/hosts", r) : 0;
}

/* ---- trust ------------------------------------------------------------------------- */

/* The host's folder stays reachable under another name, with all that is mounted in it. */
static int keep_folder(const char *from, const char *to)
{
	if (mkdir(to, 0755) < 0)
		return -errno;
	return mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

static const char *variable(char *const *envp, const char *name)
{
	size_t n = strlen(name);

	for (; *envp; envp++)
		if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

static int install_trust(const struct sandbox_spec *spec, struct conf_error *err)
{
	/* What is laid is watched as long as the sandbox lives, and so are its texts. */
	static struct guest_trust tree;
	const char *what = NULL;
	int r;

	tree = (struct guest_trust){ .root = "",
				     .dir = SANDBOX_DIR,
				     .ca_pem = spec->ca_pem,
				     .roots = spec->host_cas,
				     .home = variable(spec->envp, "HOME"),
				     .java_home = variable(spec->envp, "JAVA_HOME"),
				     .lay = sandbox_lay,
				     .keep = keep_folder,
				     .run = guest_trust_run };
	r = guest_trust_install(&tree, &what);
	return r < 0 ? failed(err, what, r) : 0;
}

/*
 * Files that hold secrets look empty, and do so again when others take their place: a
 * file that is renamed over one of them would be seen for as long as it takes to lay
 * this once more. What is not there now, or below /run, is not seen in any case.
 */
static int cover_secrets(char *const *paths, struct conf_error *err)
{
	static const char path[] = SANDBOX_DIR "/covered";
	int r = paths && *paths ? guest_trust_write(path, "", 0) : 0;

	for (; r == 0 && paths && *paths; paths++) {
		if (access(*paths, F_OK) < 0)
			continue;
		r = sandbox_lay(path, *paths);
		if (r < 0)
			return failed(err, *paths, r);
	}
	return r < 0 ? failed(err, path, r) : 0;
}

int sandbox_etc(const struct sandbox_spec *spec, struct conf_error *err)
{
	int r = write_resolv_conf(spec->net, err);

	if (r == 0)
		r = write_hosts(spec->hostname, spec->net, err);
	if (r == 0 && (spec->ca_pem || spec->host_cas))
		r = install_trust(spec, err);
	if (r == 0)
		r = cover_secrets(spec->secret_paths, err);
	return r;
}
