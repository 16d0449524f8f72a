/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports: what a person writes, and the socket that it means. Used
 * for flags, for the configuration file and for changes while a run goes on.
 */
#ifndef WEIR_PUBLISH_H
#define WEIR_PUBLISH_H

#include "base/base.h"
#include "policy/policy.h"

/* One run's ports at a time; a range counts each of its ports. */
#define PUBLISH_MAX 256

struct publish_config {
	bool udp;
	bool proxy_header;    /* TCP: the guest reads a PROXY v2 header first */
	struct endpoint bind; /* 127.0.0.1 unless given; port 0: the kernel chooses */
	uint16_t guest_port;
};

/*
 * [IP:]HOST[-HOST]:GUEST[-GUEST][/tcp|/udp][,proxy]. IP is an address, an IPv6
 * one in brackets, or "*": all of both families. Appends to ret, which has
 * room for PUBLISH_MAX and holds *n. On failure -EINVAL or -E2BIG, *ret_why a
 * static text, and ret and *n as they were.
 */
must_check int publish_parse(const char *text, struct publish_config *ret, size_t *n,
			     const char **ret_why);

/* The same host port twice; of one family the wildcard address stands for every address. */
bool publish_clash(const struct publish_config *a, const struct publish_config *b);

/* A port that is listened on. */
struct publish_port {
	uint32_t id; /* of this run's ports, never used twice */
	struct publish_config cfg;
	struct endpoint bound; /* cfg.bind with the port that was got */
	int fd;
};

/* Since it is published. */
struct publish_counts {
	uint32_t now;	  /* connections or peers */
	uint32_t waited;  /* connections that found no room at first */
	uint64_t total;	  /* all that were let in */
	uint64_t refused; /* by a rule or a limit */
};

/*
 * The socket: bound, non-blocking, listening when it is TCP. *ret_bound is its
 * address with the port that it got. err says what is in the way and what to do.
 */
must_check int publish_bind(const struct publish_config *p, int *ret_fd, struct endpoint *ret_bound,
			    struct conf_error *err);

/* "127.0.0.1:8080:80/tcp", with the bound address when bound is not NULL. Returns out. */
#define PUBLISH_STRLEN (ENDPOINT_STRLEN + 24)
const char *publish_format(const struct publish_config *p, const struct endpoint *bound,
			   char out[static PUBLISH_STRLEN]);

#endif
