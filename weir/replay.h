/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two kinds of replay share: the names that addresses were given out
 * for, and the report of what a policy says now. Internal to weir/.
 *
 *   record.jsonl ─► policy_replay_record.c ──┐
 *                                            ├─► replay_names · replay_report
 *   capture.pcap ─► packet.c ─► capture_flow.c ─► policy_replay_capture.c ─┘
 */
#ifndef WEIR_REPLAY_H
#define WEIR_REPLAY_H

#include "policy/policy.h"

/* ---- caps: the input may come from anybody ------------------------------------ */

/* Name and address pairs that are remembered: some 300 bytes each. */
#define REPLAY_PAIRS_MAX 65536
/* Names of one address that are facts, as many as the gateway keeps. */
#define REPLAY_CANDIDATES 8
/* Addresses of one name that are tried. */
#define REPLAY_ADDRS 16
/* Groups that are told apart; the rest is counted. */
#define REPLAY_GROUPS_MAX 20000
/* Reasons why something was not judged that are told apart. */
#define REPLAY_APART_MAX 64

/* ---- names --------------------------------------------------------------------- */

/* Which name was answered with which address. Nothing expires: a replay has no clock. */
struct replay_names;
must_check int replay_names_new(struct replay_names **ret);
void replay_names_free(struct replay_names *n);
/* Full or out of memory: forgotten, and counted in replay_names_lost(). */
void replay_names_add(struct replay_names *n, const struct name *name, const struct ip_addr *a);
size_t replay_names_of(const struct replay_names *n, const struct ip_addr *a, struct name *ret,
		       size_t max);
size_t replay_addrs_of(const struct replay_names *n, const struct name *name, struct ip_addr *ret,
		       size_t max);
uint64_t replay_names_lost(const struct replay_names *n);

/* ---- the report ------------------------------------------------------------------ */

enum replay_now {
	REPLAY_DENY = 0,
	REPLAY_ALLOW = 1,
	REPLAY_DEPENDS = 2, /* on something that the input does not tell */
};

struct replay_item {
	const char *unit; /* "flow", "query", "request", "handshake" */
	char what[600];	  /* printable */
	char was_by[200]; /* printable; whose verdict it was */
	char now_by[320]; /* printable; whose verdict it is */
	enum replay_now was, now;
	uint64_t count;
};

struct replay_report {
	bool has_was; /* a capture tells no verdicts */
	bool all;     /* the unchanged, too */
	json_t *groups;
	json_t *apart;
	uint64_t judged, now[3], same;
	uint64_t ungrouped; /* decisions beyond the groups that are told apart */
};

must_check int replay_report_init(struct replay_report *r, bool has_was, bool all);
void replay_report_fini(struct replay_report *r);
void replay_report_add(struct replay_report *r, const struct replay_item *item);
/* Not judged, and why: a short text that may hold foreign bytes. */
void replay_report_apart(struct replay_report *r, const char *why, uint64_t count);
bool replay_report_differs(const struct replay_report *r);
/* Groups and summary on standard output; `input` ends the summary: what was read, in a sentence. */
void replay_report_print(const struct replay_report *r, const char *input);
/* The same as one object; the caller adds what it knows of the input. */
json_t *replay_report_json(const struct replay_report *r);

/* "rule 3 (id): reason", "default"; printable. Returns out. */
const char *replay_by(const struct policy_verdict *v, char *out, size_t size);
enum replay_now replay_now_of(const struct policy_verdict *v);

/* ---- the two inputs ---------------------------------------------------------------- */

struct replay_input {
	const char *path;
	const char *guest; /* of a capture: "ADDR" or "ADDR/LEN", NULL: not told */
	const struct policy *policy;
	bool json, all;
};
/* Exit status; complaints are printed. */
int replay_record(const struct replay_input *in);
/* Only in weir-policy-replay, which alone links libpcap. */
int replay_capture(const struct replay_input *in);

/*
 * The command of both programs; argv are its arguments. capture is for an input
 * that is a capture: reads it, or hands over to the program that can.
 */
int replay_main(int argc, char **argv, int (*capture)(const struct replay_input *in, char **argv));

#endif
