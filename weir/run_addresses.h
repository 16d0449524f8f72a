/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a run, beside the host's. Internal to weir/. */
#ifndef WEIR_RUN_ADDRESSES_H
#define WEIR_RUN_ADDRESSES_H

#include "weir/config.h"

/* Fills cfg->net from cfg->wish and the host's routes; warns of networks that are hidden. */
must_check int run_addresses(struct weir_config *cfg, enum slots_how how, struct slots_held *held,
			     struct conf_error *err);

/*
 * True: the ranges of names hide a network that the host has a route to; out says
 * which. policy NULL: any, else only one that it would let the sandbox speak with.
 */
bool addresses_hidden(const struct sandbox_net *net, const struct host_routes *routes,
		      const struct policy *policy, char *out, size_t size);

#endif
