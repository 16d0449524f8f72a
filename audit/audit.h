/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit: the record. JSON Lines, one event per decision and per flow end, each
 * chained to the one before by SHA-256, and packet capture to pcapng.
 *
 *   gateway, tlsproxy ── event text (no seq, no hash) ──► supervisor
 *   supervisor: audit_log_append() checks it, numbers it, chains it, writes it
 *
 * The process that parses hostile bytes can therefore add events but never
 * change or drop what was recorded. Never a secret, never a body.
 */
#ifndef WEIR_AUDIT_H
#define WEIR_AUDIT_H

#include "base/base.h"

#include <jansson.h>
#include <stdio.h>

#define AUDIT_SCHEMA "weir.audit/v1"
#define AUDIT_EVENT_MAX 8192 /* bytes of one event text; longer strings are cut */

/* ---- building one event ------------------------------------------------------ */

/*
 * audit_event_begin(&e, "flow"); audit_str(&e, "verdict", "deny"); ...
 * const char *text = audit_event_end(&e, &len);
 * Strings are JSON-escaped, everything beyond printable ASCII as \uNNNN; bytes that are not UTF-8
 * are written as \u00NN. A string that would overflow is cut and "truncated":true added; small
 * members have room of their own and stay. Members with NULL or empty values are left out. A
 * number above 2^63-1 is written as a string of its digits.
 */
struct audit_event {
	char text[AUDIT_EVENT_MAX];
	size_t len;
	bool truncated;
	uint8_t array; /* private */
	size_t array_at;
};
void audit_event_begin(struct audit_event *e, const char *kind);
void audit_str(struct audit_event *e, const char *key, const char *value);
void audit_strn(struct audit_event *e, const char *key, const char *value, size_t len);
void audit_u64(struct audit_event *e, const char *key, uint64_t value);
void audit_bool(struct audit_event *e, const char *key, bool value);
void audit_ip(struct audit_event *e, const char *key, const struct ip_addr *a);
/* Nested arrays of strings: begin, any number of audit_str with key NULL, end. */
void audit_array_begin(struct audit_event *e, const char *key);
void audit_array_end(struct audit_event *e);
const char *audit_event_end(struct audit_event *e, size_t *ret_len);

/*
 * Event kinds and their members (audit/schema.json is the normative text):
 *   run       event (begin|end) of a sandbox: name, backend, command[0], policy digest, status
 *   flow      decision: id, dir, proto, guest, dst, port, name, name_from
 *             (virtual|answer|sni|http), verdict (allow|deny|fail), rule, reason, denial, detail,
 *             count (of refusals that share the line)
 *   flow_end  id, end, bytes_up, bytes_down, packets_up, packets_down, ms
 *   dns       name, qtype, transport, verdict, result, rule, reason, denial, answers[], given[],
 *             count (of equal queries that share the line)
 *   tls       id, sni, verdict, detail, rule, denial
 *   http      id, method, host, path (placeholders only), status, outcome, rule, denial, bytes_*
 *   policy    event (set|applied|refused): generation, policy digest, rules, uid, flows_reset
 *   secret    id, secret (its name), event (used|violation), place, encoding, host, action, denial
 */

/* ---- writing ------------------------------------------------------------------- */

struct audit_log;
/*
 * path NULL with fd >= 0: write there (taken over). run: id of this run, [A-Za-z0-9_.-]{1,64};
 * name: the sandbox's, may be NULL. A record that is there is appended to, with a chain of its
 * own; it is locked until closed. -EEXIST: the file is no record; -EBUSY: another run writes it.
 */
must_check int audit_log_open(const char *path, int fd, const char *run, const char *name,
			      struct audit_log **ret);
/* What an error of audit_log_open() means, for a person; static text. */
const char *audit_log_why(int error);
/*
 * Takes one event text, refuses what is not one JSON object of known kind
 * (-EINVAL), adds _schema, seq, time (RFC 3339, UTC, ns), run, sandbox, from,
 * prev and hash, and writes one line. `from` is the process: "gateway", "tlsproxy", "weir".
 * Lines are buffered: flush when idle. Any other error is of writing and stays: every later
 * call returns it, and nothing that happens after it is on the record.
 */
must_check int audit_log_append(struct audit_log *l, const char *from, const char *text, size_t len);
must_check int audit_log_flush(struct audit_log *l);
/* Counts of what was written, for the summary. */
struct audit_totals {
	uint64_t events, allowed, denied, failed, violations, secrets_used;
	uint64_t observed; /* let through, and would have been denied; in allowed or failed as well */
	uint64_t bytes_up, bytes_down;
};
void audit_log_totals(const struct audit_log *l, struct audit_totals *ret);
/*
 * Decisions and bytes per rule of the policy that is in force (events "policy"
 * say when another one is), in the form of `weir audit --rules --json`; the
 * caller's. NULL: out of memory.
 */
json_t *audit_log_rules(const struct audit_log *l);
void audit_log_close(struct audit_log *l);

/* ---- reading, event by event -------------------------------------------------- */

/* Member as a string, or "" when it is absent, of another type, or has a NUL inside. */
const char *audit_get(const json_t *event, const char *key);
uint64_t audit_get_u64(const json_t *event, const char *key);
/* How many decisions one line stands for. */
uint64_t audit_count_of(const json_t *event);
/* Flow id as text whether it was written as a number or as a string; "" when absent. */
const char *audit_get_id(const json_t *event, char *out, size_t size);

enum audit_verdict {
	AUDIT_V_NONE = 0,
	AUDIT_V_ALLOW = 1,
	AUDIT_V_DENY = 2,
	AUDIT_V_FAIL = 3,
	AUDIT_V_USED = 4,      /* a secret went where it may */
	AUDIT_V_VIOLATION = 5, /* a secret was seen where it may not */
	AUDIT_V_OBSERVED = 6,  /* allowed, and would have been denied */
};
/* The one reading of an event's outcome that totals, table and summary share. */
enum audit_verdict audit_verdict_of(const json_t *event);

/*
 * Reads a record line by line, checking each: schema, order, chain. What does
 * not hold is a break: it is kept for the verdict and reading goes on.
 */
struct audit_record;
struct audit_line {
	json_t *event; /* borrowed; valid until the next call */
	const char *text;
	size_t len; /* without the newline */
	uint64_t number;
	uint64_t time_ns;  /* of the event; 0 unreadable */
	uint64_t begin_ns; /* of this run's first event */
	const char *run;
	bool first_of_run;
};
must_check int audit_record_open(const char *path, struct audit_record **ret, char *err,
				 size_t err_size);
/* 1: a line; 0: end; negative: unreadable, err set. */
must_check int audit_record_next(struct audit_record *r, struct audit_line *ret, char *err,
				 size_t err_size);
/* Once more from the start, to exactly where the first reading ended. */
must_check int audit_record_rewind(struct audit_record *r);
void audit_record_close(struct audit_record *r);

/* Reading: breaks of the chain that are spelled out; the rest is counted. */
#define AUDIT_BREAKS_MAX 8
struct audit_chain {
	uint64_t events;
	uint64_t breaks;
	uint64_t runs;
	uint64_t open_runs; /* without a run end: still going, or killed */
	char text[AUDIT_BREAKS_MAX][160];
};
const struct audit_chain *audit_record_chain(const struct audit_record *r);

/* ---- showing -------------------------------------------------------------------- */

struct audit_view {
	bool color;
	bool json; /* events as they are, filtered */
	bool only_denied;
	const char *kind; /* NULL: all */
	unsigned width;	  /* terminal columns, 0: 100 */
};
/*
 * A table a person can read, then a summary; checks schema and hash chain and
 * says where it breaks. Returns 0, -EBADMSG when the chain is broken (after
 * printing), -EINVAL for a file that is not a record (err says line and why).
 */
must_check int audit_print(const char *path, const struct audit_view *v, FILE *out, char *err,
			   size_t err_size);
/* The same file's decisions and bytes per generation and rule, as a table or as JSON. */
must_check int audit_rules_print(const char *path, const struct audit_view *v, FILE *out, char *err,
				 size_t err_size);
/* As a table, from the JSON of audit_log_rules(). */
void audit_rules_table(const json_t *counts, FILE *out);
/*
 * Everything about a denial id, a flow id, or the query for a name: the decision, the rule, what
 * would change it. -ENOENT: not in there.
 */
must_check int audit_why(const char *path, const char *id, const struct audit_view *v, FILE *out,
			 char *err, size_t err_size);

/* ---- capture -------------------------------------------------------------------- */

/* pcapng: section, one Ethernet interface with ns time stamps, enhanced packet blocks. */
struct audit_capture;
must_check int audit_capture_open(int fd, struct audit_capture **ret); /* fd taken over */
void audit_capture_frame(struct audit_capture *c, bool from_guest, const void *head,
			 size_t head_len, const void *payload, size_t payload_len);
/* Decryption Secrets Block with TLS key log lines of the guest leg. */
void audit_capture_keys(struct audit_capture *c, const char *lines, size_t len);
/* Writes what is buffered; the first error stands, and nothing is captured after it. */
must_check int audit_capture_flush(struct audit_capture *c);
void audit_capture_close(struct audit_capture *c);

#endif
