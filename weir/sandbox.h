/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The netns backend's sandbox: a command in user, mount, network, pid, ipc and
 * uts namespaces of its own, whose only network is a tap that the gateway
 * reads. Pid 1 in there is ours: it sets things up, runs the command, reaps,
 * passes signals on, and takes everything with it when it ends.
 */
#ifndef WEIR_SANDBOX_H
#define WEIR_SANDBOX_H

#include "base/base.h"
#include "policy/policy.h"
#include "weir/addresses.h"

struct sandbox_spec {
	char *const *argv;
	char *const *envp; /* complete environment of the command */
	const char *hostname;
	char *const *rlimits; /* n_rlimits, as rlimit_parse() has them */
	size_t n_rlimits;
	const struct sandbox_net *net;
	const char *ca_pem; /* NULL: no interception */
	const char *host_cas; /* roots beside its bundle, may be ""; both NULL: trust stays as it is */
	/* Absolute names of files that are empty from inside, whatever takes their place. */
	char *const *secret_paths;
	char *const *hidden_paths; /* files that look empty from inside; NULL-terminated */
	/* The command's input, output and errors; -1: those of pid 1. tty: a terminal of its own instead. */
	int stdio[3];
	bool tty;
	bool foreground; /* the command gets the terminal from the start */
	bool root;	 /* map all ids and keep a root's useful capabilities */
};

/* Directory in the sandbox that holds the files we made for it. */
#define SANDBOX_DIR "/run/weir"
#define SANDBOX_CA_BUNDLE SANDBOX_DIR "/ca-bundle.pem"
#define SANDBOX_CA_ONLY SANDBOX_DIR "/ca.pem"

struct sandbox {
	pid_t pid; /* of its pid 1, as we see it */
	int sock;  /* messages, see message.h */
};

/*
 * Starts pid 1. On success MSG_TERMINAL follows where one was asked for, then the tap as MSG_LINK (or MSG_FAILED with a
 * text); the command starts after MSG_GO. on_child runs first in the child.
 */
must_check int sandbox_start(const struct sandbox_spec *spec, struct sandbox *ret,
			     struct conf_error *err);

/* Parts of pid 1's work, each in a file of its own. */

/* The tap and the addresses of this network namespace; *ret_fd is the tap. */
must_check int sandbox_link_up(const struct sandbox_net *net, int *ret_fd, struct conf_error *err);
/* Mounts: proc, dev, run, sys, and what must not be reachable. */
must_check int sandbox_mounts(const struct sandbox_spec *spec, struct conf_error *err);
/* resolv.conf, hosts, trust bundle, laid over those of the host. */
must_check int sandbox_etc(const struct sandbox_spec *spec, struct conf_error *err);
/*
 * Lays file, one of ours, over target. Both texts stay the caller's and stay valid.
 * -ENOENT: there is nothing at target to lay it over, and no link into /run.
 */
must_check int sandbox_lay(const char *file, const char *target);
/*
 * For as long as the command runs: a descriptor (or negative errno) that is
 * readable when what was laid may have to be laid again, and what to do then.
 */
int sandbox_lay_watch(void);
void sandbox_lay_changed(int fd);

#endif
