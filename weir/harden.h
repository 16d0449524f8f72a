/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each process of a run may still do. Every role gives up its rights in
 * the same named stages; the seccomp list of a role stands in harden.c next to
 * the reasons for it.
 */
#ifndef WEIR_HARDEN_H
#define WEIR_HARDEN_H

#include "base/base.h"
#include "policy/policy.h"

enum harden_role {
	HARDEN_GATEWAY = 1,  /* parses hostile frames; keeps the host's network */
	HARDEN_TLSPROXY = 2, /* holds secrets; has no network and no files */
};

/*
 * Stage 1, before descriptors arrive: own session, no core dumps, as many
 * descriptors as the hard limit gives, no life without the parent (its pid as
 * it was before the fork). Still possible: everything the user may.
 */
void harden_begin(const char *name, pid_t parent);
/*
 * Stages 2 to 4: unprivileged user, own namespaces, empty root, no
 * capabilities. Still possible: the system calls themselves, on what is open
 * (and, for the gateway, new internet sockets). err says which step failed.
 */
must_check int harden_isolate(enum harden_role role, struct conf_error *err);
/* Stage 5: only the listed system calls. Still possible: the process's job. */
must_check int harden_seccomp(enum harden_role role, struct conf_error *err);

/* Why new namespaces were refused with this errno, and what would allow them. */
const char *harden_why_no_namespaces(int e);

/* The sandboxed command itself: its capabilities and what no namespace covers. */
must_check int harden_command(bool keep_root_caps, struct conf_error *err);

/*
 * A program of this machine's that is executed next, in namespaces of its own: no
 * capability, none to be gained, no life without the parent.
 */
must_check int harden_program(struct conf_error *err);

/*
 * Identity or single-id maps of a new user namespace, as far as we may. The ids
 * are asked for before the namespace is entered: inside, until they are
 * mapped, everybody reads as nobody.
 */
struct harden_ids {
	uid_t uid;
	gid_t gid;
};
struct harden_ids harden_own_ids(void);
must_check int harden_write_id_maps(pid_t pid, const struct harden_ids *ids, bool all_ids,
				    struct conf_error *err);

#endif
