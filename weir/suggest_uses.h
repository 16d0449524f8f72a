/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run used, summed up by destination, and the rules that allow just that.
 * Internal to weir/.
 *
 *   record ─► policy_suggest.c ─► suggest_uses.c (bounded sums) ─► suggest_rules.c ─► policy
 */
#ifndef WEIR_SUGGEST_USES_H
#define WEIR_SUGGEST_USES_H

#include "policy/policy.h"

/* ---- bounds: beyond them a suggestion says less exactly, and tells so ------------- */

/* Paths of one host, port and method; then what they have in common. */
#define SUGGEST_PATHS_MAX 64
/* Names below one registrable domain; then the domain and all below. */
#define SUGGEST_NAMES_MAX 1000
/* Destinations at all: beyond it there is no suggestion. */
#define SUGGEST_DESTS_MAX 60000

enum suggest_kind {
	SUGGEST_NAME = 0,
	SUGGEST_ADDRESS = 1,
	SUGGEST_HOST = 2,   /* the sandbox's gateway */
	SUGGEST_SUFFIX = 3, /* a domain and all below, by generalisation */
};

/* Sentences that are told; a guest can make one with every request. */
#define SUGGEST_NOTES_MAX 200

struct suggest_dest {
	enum suggest_kind kind;
	bool ingress;
	const char *text; /* canonical name or address */
};

/* Sums, as JSON: {DEST: {"flows": N, "plain": {PROTO: {PORTS: N}}, "read": ..., "http": ...}} */
struct suggest_uses {
	json_t *dests;
	json_t *notes; /* array of sentences: where a rule says more than was seen */
	uint64_t more_notes;
	bool full; /* SUGGEST_DESTS_MAX was reached, or memory is out */
};

must_check int suggest_uses_init(struct suggest_uses *u);
void suggest_uses_fini(struct suggest_uses *u);
/* A flow; read: its requests are on the record too, and are what was used of it. */
void suggest_flow(struct suggest_uses *u, const struct suggest_dest *d, enum policy_proto proto,
		  struct port_range ports, bool read, uint64_t count);
/* A request; path as policy_path_normalise() gives it. */
void suggest_request(struct suggest_uses *u, const struct suggest_dest *d, uint16_t port,
		     const char *method, const char *path);
/* A query; qtype NULL, "MX", "SRV" or "TXT": it was asked for that and answered. */
void suggest_query(struct suggest_uses *u, const struct name *n, const char *qtype);
/* An internal address that was accepted as the answer for a name. */
void suggest_answer(struct suggest_uses *u, const struct ip_addr *a, const struct name *n);
void suggest_note(struct suggest_uses *u, const char *fmt, ...) printf_like(2, 3);

/* Names that are too many become their registrable domain. */
void suggest_generalise(struct suggest_uses *u);
/* {"policy": ...}; NULL: out of memory. *ret_http: how many rules read requests. */
json_t *suggest_rules(struct suggest_uses *u, size_t *ret_http);

#endif
