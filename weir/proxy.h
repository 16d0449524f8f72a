/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tlsproxy process: the only one that holds secrets and the CA's key. It
 * has no network and no files; flows arrive as pairs of descriptors.
 */
#ifndef WEIR_PROXY_H
#define WEIR_PROXY_H

#include "weir/config.h"
#include "weir/vault.h"

struct proxy_spec {
	pid_t parent;		 /* the supervisor */
	struct weir_config *cfg; /* this process's own copy, which it changes */
	const char *run;
	int supervisor;
	int gateway; /* flows in */
	struct vault vault;
	uint64_t generation; /* of cfg->policy */
	unsigned restarts;   /* 0: the first one, which reads the secrets from their sources */
	bool keylog;	     /* a capture wants the guest leg's keys */
};

/* In the forked child: sends MSG_PLACEHOLDER for each secret, MSG_CA, MSG_READY. Never returns. */
_Noreturn void proxy_main(struct proxy_spec *spec);

#endif
