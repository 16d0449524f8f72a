/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream proxy: what a person configures, and which flows go around it.
 *
 * The policy has judged the true destination before a proxy is asked for it.
 * Never through it: this machine's own loopback and link-local addresses,
 * which would be the proxy's machine's there.
 */
#ifndef WEIR_UPSTREAM_H
#define WEIR_UPSTREAM_H

#include "policy/policy.h"
#include "tlsproxy/tlsproxy.h"
#include "weir/upstream_shake.h"

#define UPSTREAM_BYPASS_MAX 1024
#define UPSTREAM_ADDRS_MAX 4

struct upstream_config {
	enum upstream_kind kind; /* UPSTREAM_NONE: everything is dialled directly */
	bool names;	  /* the proxy is told names where they are certain, else addresses */
	struct name host; /* len 0: addr */
	struct ip_addr addr;
	uint16_t port;
	char user[UPSTREAM_AUTH_MAX + 1]; /* of the URL */
	int auth_source;		  /* enum secret_source; 0: none */
	char *auth_arg;
	struct ip_prefix *bypass_nets;
	size_t n_bypass_nets;
	struct tlsproxy_host_pattern *bypass_names;
	size_t n_bypass_names;
	bool direct_udp; /* UDP and ICMP go directly; else they are refused */
};

/* In use: addresses and credentials are known. */
struct upstream {
	const struct upstream_config *cfg;
	struct endpoint to[UPSTREAM_ADDRS_MAX];
	size_t n;
	bool has_auth;
	struct upstream_auth auth;
};

/* KIND://[USER@]HOST:PORT; on failure -EINVAL, *ret_why a static text, ret undefined. */
must_check int upstream_parse(const char *url, struct upstream_config *ret, const char **ret_why);
/* An address, a CIDR, NAME, .SUFFIX or *.SUFFIX. -EINVAL with *ret_why, -E2BIG, -ENOMEM. */
must_check int upstream_add_bypass(struct upstream_config *c, const char *text, const char **ret_why);
void upstream_config_fini(struct upstream_config *c);

/* Is it dialled directly: by its address, by its name? */
bool upstream_bypasses(const struct upstream_config *c, const struct ip_addr *addr);
bool upstream_bypasses_name(const struct upstream_config *c, const struct name *name);
/* Is this the proxy itself, or an IPv6 address that wraps its IPv4 address? */
bool upstream_is(const struct upstream *u, const struct endpoint *to);

/* What run_upstream.c left in fd, which stays the caller's. */
must_check int upstream_read_auth(struct upstream *u, int fd, struct conf_error *err);

/* "USER:PASSWORD", or the password of the user in the URL. Checked; err says what is wrong. */
must_check int upstream_set_auth(struct upstream *u, const char *text, size_t len,
				 struct conf_error *err);

#endif
