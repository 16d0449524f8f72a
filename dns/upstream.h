/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between upstream.c, which decides whom to ask, and server.c, which asks one
 * server. Nobody else includes this.
 */
#ifndef WEIR_DNS_UPSTREAM_H
#define WEIR_DNS_UPSTREAM_H

#include "dns/dns_int.h"

#include <ares.h>

/* One UDP and one TCP socket; the rest is slack for those being replaced. */
#define DNS_SERVER_SOCKS 4

struct ups;

struct ups_sock {
	struct ups_server *server;
	struct loop_io io;
};

/* A c-ares channel of its own, made at birth because making one reads a file. */
struct ups_server {
	struct ups *u;
	struct loop *loop;
	ares_channel ch;
	struct endpoint addr; /* family 0: the channel is free */
	bool current;	      /* else it only ends what it was asked */
	bool closing;
	unsigned in_flight;
	uint64_t answered_at; /* the last time, about anything */
	struct dns_health health;
	struct loop_timer timeout;
	struct ups_sock socks[DNS_SERVER_SOCKS];
};

/* One question at one server. q NULL: nobody waits for it. */
struct ups_try {
	struct list link; /* in ups_ask.tries */
	struct ups_ask *q;
	struct ups_server *server;
	bool edns;
	uint64_t sent;
};

must_check int dns_server_init(struct ups_server *s, struct ups *u, struct loop *loop,
			       uint32_t timeout_ms);
void dns_server_fini(struct ups_server *s);
/* Gives the channel to another server, or to none (family 0); what was under way is ended. */
must_check int dns_server_assign(struct ups_server *s, const struct endpoint *e);
/* dns_try_ended() follows, maybe at once. */
void dns_server_ask(struct ups_try *t, const struct name *n, uint16_t type);

/* upstream.c. Takes over t. Called while c-ares walks its tables: must not ask. */
void dns_try_ended(struct ups_try *t, int status, const uint8_t *msg, size_t len);

#endif
