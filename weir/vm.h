/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the microVM backends share.
 *
 *   vm_choose.c   which monitor: weir-vmm on KVM, QEMU on KVM, QEMU without
 *   vm_parts.c    kernel, initial file system, disks: what a machine has
 *   vm_image.c    these from weir-image, which reads what is hostile
 *   vm_spawn.c    a monitor's process: namespaces, an empty root, no rights
 *   vm_qemu.c, vm_kvm.c   the command line of each
 *   vm_layer.c    QEMU's form of a writable layer over a base that stays as it is
 *   vm_command.c  what runs in it: the user's command and the image's
 *   vm_env.c, vm_guest.c    what the agent in the machine is told before it runs anything
 *   vm_clock.c    its clock is kept right
 *   vm_stdio.c    standard input, output and the terminal of the command in there
 *   run_vm*.c     the run: which of these when
 *
 *   supervisor ──► monitor (QEMU, weir-vmm) ── guest: agent ─► command
 *       │  agent's protocol over a stream socket ──┘
 *       └─► gateway ◄── vhost-user ── monitor
 */
#ifndef WEIR_VM_H
#define WEIR_VM_H

#include "agent/agent.h"
#include "image/image.h"
#include "weir/config.h"

#include <sys/types.h>

/* ---- vm_choose.c ------------------------------------------------------------------- */

struct vm_choice {
	enum weir_backend backend; /* BACKEND_KVM or BACKEND_QEMU */
	bool kvm;		   /* QEMU with KVM */
	char program[4096];	   /* the monitor */
	char agent[4096];	   /* the program that becomes pid 1 in the machine */
	char image[4096];	   /* the program that reads kernels and images */
	char why[256];		   /* of the choice, for people: "no KVM here: ..." */
};
/* -ENOTSUP: what was asked for cannot be had here; err says what would help. */
must_check int vm_choose(enum weir_backend wish, struct vm_choice *ret, struct conf_error *err);
/*
 * Whether KVM runs stock kernels here, without trying: a KVM in software only opens, and the
 * guest never starts. why: what is missing.
 */
bool vm_kvm_usable(char *why, size_t size);

/* ---- vm_parts.c -------------------------------------------------------------------- */

struct vm_parts {
	struct image_store *store;
	struct image_boot boot;
	struct image_root root;
	bool has_boot, has_root;
	int layer;		      /* of the root, or -1: it is mounted read-only */
	struct image_volume *volumes; /* the configuration's, open */
	size_t n_volumes;
};
/* What was opened when it fails is vm_parts_fini()'s, too. */
must_check int vm_parts_open(struct weir_config *cfg, const struct vm_choice *choice,
			     struct vm_parts *ret, struct conf_error *err);
void vm_parts_fini(struct vm_parts *p);

/* ---- vm_layer.c --------------------------------------------------------------------- */

/* Writes the beginning of an empty qcow2 image of `size` bytes to an empty file. */
must_check int vm_layer_qcow2(int fd, uint64_t size);

/* ---- vm_spawn.c ---------------------------------------------------------------------- */

/* A file of the host's under a name of the monitor's own root. */
struct vm_bind {
	const char *path, *name;
};

struct vm_spawn_spec {
	const char *program;
	char *const *argv;
	const int *fds; /* inherited under their numbers */
	size_t n_fds;
	int errors; /* standard error of it */
	/*
	 * Namespaces of its own (user, mount, network, pid, ipc, uts) and a root with
	 * the programs and libraries of this machine, binds and a few devices; false: it
	 * sees to that itself.
	 */
	bool isolate;
	bool kvm; /* /dev/kvm is one of the devices */
	const struct vm_bind *binds;
	size_t n_binds;
	/* isolate: a name in its network namespace that is listened on before it starts, or NULL. */
	const char *listen;
	uint64_t file_max; /* bytes that no file it writes to may exceed; 0: it sees to that itself */
};

struct vm_process {
	pid_t pid;
	int sock; /* MSG_LINK with the listening socket, if there is one; MSG_FAILED; its end: it was executed */
};
must_check int vm_spawn(const struct vm_spawn_spec *spec, struct vm_process *ret,
			struct conf_error *err);

/* ---- vm_qemu.c, vm_kvm.c --------------------------------------------------------------- */

struct vm_wires {
	int agent;   /* the monitor's end of the agent's stream socket */
	int console; /* of the console's */
	int errors;  /* of the pipe for what the monitor itself says */
};

/*
 * Starts the monitor. *ret_link is vhost-user's socket for the gateway: one that
 * listens for QEMU, one that is connected for weir-vmm.
 */
must_check int vm_qemu_start(const struct weir_config *cfg, const struct vm_choice *choice,
			     const struct vm_parts *parts, const struct vm_wires *wires,
			     struct vm_process *ret, struct conf_error *err);
must_check int vm_kvm_start(const struct weir_config *cfg, const struct vm_choice *choice,
			    const struct vm_parts *parts, const struct vm_wires *wires,
			    struct vm_process *ret, int *ret_link, struct conf_error *err);

/* A growing list of arguments; the first error stays. */
struct vm_args {
	char **v; /* NULL-terminated */
	size_t n;
	int error;
};
void vm_args_add(struct vm_args *a, const char *fmt, ...) printf_like(2, 3);
void vm_args_fini(struct vm_args *a);

/* ---- vm_env.c ---------------------------------------------------------------------------- */

/* Before run_environment(); the caller ends it with vm_args_fini(). */
must_check int vm_environment(const struct weir_config *cfg, const struct vm_parts *parts,
			      struct vm_args *ret);

/* ---- vm_command.c ------------------------------------------------------------------------ */

/*
 * What runs in the machine, as container engines put it together: the image's Entrypoint with its
 * Cmd, or with what the user gave instead of Cmd. The array is the caller's, its texts are not.
 */
must_check int vm_command(const struct weir_config *cfg, const struct image_config *image,
			  char ***ret, struct conf_error *err);

/* ---- vm_guest.c -------------------------------------------------------------------------- */

struct vm_guest {
	char *const *env;			  /* NULL-terminated; NAME=VALUE */
	const char *ca_pem, *ca_hash, *roots_pem; /* or NULL */
};
/* Tells the agent what its machine is. */
must_check int vm_guest_init(struct agent *a, const struct weir_config *cfg,
			     const struct vm_parts *parts, const struct vm_guest *g);

#endif
