/* SPDX-License-Identifier: Apache-2.0 */
/* The link of a gateway, opened with the rights of the user who asked for it. */
#ifndef WEIR_LINK_OPEN_H
#define WEIR_LINK_OPEN_H

#include "netstack/netstack.h"
#include "weir/config.h"

struct link_handle {
	int fd; /* what the gateway serves */
	enum netstack_link_kind kind;
	bool listens; /* machines come and go */
	char *made;   /* path of a socket that is ours to remove, or NULL */
	dev_t dev;    /* that socket, and no other that took its name since */
	ino_t ino;
};

/* err says what, where and what to do; nothing is left behind then. */
must_check int link_open(const struct link_config *l, struct link_handle *ret,
			 struct conf_error *err);
/* Closes what is still open, removes what we made. */
void link_close(struct link_handle *h);

#endif
