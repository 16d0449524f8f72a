/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of audit/ share. All caps stand here, each with the attack it
 * stops. Nobody outside the folder includes this.
 */
#ifndef WEIR_AUDIT_INTERNAL_H
#define WEIR_AUDIT_INTERNAL_H

#include "audit/audit.h"

#include <jansson.h>
#include <openssl/evp.h>

/* ---- caps --------------------------------------------------------------- */

/* Escaped bytes of one string: a guest's long path must not push out the verdict beside it. */
#define AUDIT_STRING_MAX 2048
/* Room that only small members may use, so that many long strings cannot push them out either. */
#define AUDIT_RESERVE 1024
#define AUDIT_SMALL 128
/* Room for "]", ,"truncated":true, "}" and NUL: closing an event never fails. */
#define AUDIT_TAIL 32
/* One line of the record: the event and what the log adds. A longer line is not ours. */
#define AUDIT_LINE_MAX (AUDIT_EVENT_MAX + 1024)
/* Written when this much is waiting: a guest that makes events fast costs one write for many. */
#define AUDIT_WRITE_AT (64 * 1024)
#define AUDIT_PENDING_MAX (AUDIT_WRITE_AT + AUDIT_LINE_MAX)
/* A reader of the record that stops reading stops the run after this, it does not hang it. */
#define AUDIT_WRITE_WAIT_MS 5000
#define AUDIT_RUN_MAX 64
/* Reading: flows joined to their ends; a record with more is shown with separate rows. */
#define AUDIT_JOIN_MAX (1024 * 1024)
/* Reading: distinct keys of a summary list; the rest is counted as "others". */
#define AUDIT_TALLY_MAX 4096
/* Rules that are counted apart: a process that was taken over could name endless ones. */
#define AUDIT_RULES_MAX 65536
/* Reading: events of one flow that `why` keeps and shows. */
#define AUDIT_WHY_MAX 512
/* Capture: a frame with segmentation offload is at most 64 KiB and headers. */
#define AUDIT_SNAPLEN (256 * 1024)
/* Capture: one secrets block; TLS key lines are some 180 bytes each. */
#define AUDIT_KEYS_MAX (64 * 1024)
#define AUDIT_CAPTURE_BUF (512 * 1024)

#define AUDIT_HASH_HEX 64

/* ---- JSON text ------------------------------------------------------------ */

/*
 * Escapes as much of p[0..len) as fits `room` bytes into out (NULL: only count).
 * Output is printable ASCII. Returns the input bytes taken.
 */
size_t audit_escape(const char *p, size_t len, char *out, size_t room, size_t *ret_out);

bool audit_kind_known(const char *kind);
/* Members that only the log may write. */
bool audit_reserved(const char *key, size_t len);
/* What audit_log_append() takes; -EINVAL otherwise. */
struct audit_facts;
must_check int audit_event_check(const char *text, size_t len, json_t **ret_tree,
				 struct audit_facts *ret);
/* To hash with, again and again: to look SHA-256 up costs OpenSSL more than to hash a line. */
must_check int audit_sha_new(EVP_MD_CTX **ret);
must_check bool audit_sha256_hex(EVP_MD_CTX *sha, const void *p, size_t n,
				 char ret[AUDIT_HASH_HEX + 1]);

/* ---- what counting needs of an event (facts.c) ----------------------------------- */

#define AUDIT_ID_MAX 48
#define AUDIT_ROOM 512

/* Texts are "" and numbers 0 when absent or of another type, as audit_get() has it. */
struct audit_facts {
	const char *kind, *event, *verdict, *observed, *outcome, *result, *rule, *id;
	uint64_t generation, count, bytes_up, bytes_down;
	bool floor, has_denial;
	size_t room_used;
	char room[AUDIT_ROOM]; /* what the texts point to, if not into the tree */
};
/* Valid as long as the tree. */
void audit_facts_of(const json_t *event, struct audit_facts *ret);
/*
 * True: the text is an event that the log may take, and what it says. False:
 * it is not written plainly enough to tell, so ask the parser. ret keeps its own copies.
 */
bool audit_facts_scan(const char *text, size_t len, struct audit_facts *ret);
bool audit_facts_observed(const struct audit_facts *f);
uint64_t audit_facts_count(const struct audit_facts *f);
enum audit_verdict audit_facts_verdict(const struct audit_facts *f);

/* ---- reading a record -------------------------------------------------------- */

/* What the log writes, as ns since the epoch; 0: unreadable. */
uint64_t audit_time_parse(const char *s);

/* ---- showing ------------------------------------------------------------------- */

/* One event as the cells of a table; every text is printable ASCII. */
struct audit_row {
	enum audit_verdict verdict;
	char kind[12];
	char what[600];
	char rule[64];
	char note[400]; /* reason or detail */
	char denial[48];
	uint64_t up, down;
	bool has_bytes;
};
void audit_row_fill(const json_t *event, struct audit_row *ret);
/* Whom the event is about, as a key for summaries: "name:port" or "addr:port". */
void audit_row_target(const json_t *event, char *out, size_t size);
/* n as "999", "1.2k", "34.1M". Returns out. */
const char *audit_bytes(uint64_t n, char out[16]);
const char *audit_mark(enum audit_verdict v); /* for a person */
const char *audit_word(enum audit_verdict v); /* for a program */
const char *audit_color(const struct audit_view *v, enum audit_verdict verdict);
const char *audit_color_end(const struct audit_view *v);
/* One row of the table; ms < 0: no duration. offset_ns since the run's begin. */
void audit_row_print(const struct audit_row *row, uint64_t offset_ns, int64_t ms,
		     const struct audit_view *v, FILE *out);
void audit_row_head(const struct audit_view *v, FILE *out);
/* Text in exactly `width` columns, cut with dots; all texts are ASCII. */
void audit_put_cell(FILE *out, const char *text, int width);

/* Counters by text key, bounded. */
struct audit_tally_item {
	struct hmap_node node;
	char *key;
	uint64_t n, a, b;
	struct audit_tally_item *ref; /* of another tally that lives as long */
	char note[48];
};
struct audit_tally {
	struct hmap map;
	struct hash_key hash_key;
	struct audit_tally_item **items;
	size_t count, size, max;
	uint64_t others;
};
must_check int audit_tally_init(struct audit_tally *t, size_t max);
void audit_tally_fini(struct audit_tally *t);
/* The item for key, made when new; NULL when full (counted) or out of memory. */
struct audit_tally_item *audit_tally_get(struct audit_tally *t, const char *key);
struct audit_tally_item *audit_tally_find(const struct audit_tally *t, const char *key);
/* Largest n first, then largest a + b. */
void audit_tally_sort(struct audit_tally *t);

struct audit_summary;
must_check int audit_summary_new(struct audit_summary **ret);
void audit_summary_free(struct audit_summary *s);
void audit_summary_add(struct audit_summary *s, const json_t *event, uint64_t time_ns);
void audit_summary_print(struct audit_summary *s, const struct audit_chain *chain,
			 const struct audit_view *v, FILE *out);
void audit_totals_add(struct audit_totals *t, const struct audit_facts *f);

/* ---- per rule ------------------------------------------------------------------- */

struct audit_rules;
/* only: decisions of this generation; 0: all. */
must_check int audit_rules_new(uint64_t only, struct audit_rules **ret);
void audit_rules_free(struct audit_rules *s);
/* Forgets everything. */
void audit_rules_restart(struct audit_rules *s, uint64_t only);
void audit_rules_add(struct audit_rules *s, const struct audit_facts *f);
/* NULL: out of memory. */
json_t *audit_rules_json(const struct audit_rules *s);

/* ---- what would change a decision ------------------------------------------------ */

struct audit_advice {
	char text[400];	     /* one sentence */
	json_t *rule;	     /* owned; NULL when no rule would change it */
	char token[400];     /* --net-rule argument, "" when it cannot say it */
	bool token_is_wider; /* the token allows more than the rule */
	char flag[400];	     /* another flag, e.g. --secret; "" when none */
};
/* flow: the event of the same flow that has its port and address; may be NULL. */
void audit_advise(const json_t *event, const json_t *flow, struct audit_advice *ret);
void audit_advice_fini(struct audit_advice *a);

/* The one for queries (suggest_dns.c), and what the two files share. */
void audit_advise_dns(const json_t *event, struct audit_advice *ret);

#define AUDIT_SAY_FAILED "The policy allowed it; it failed on the way"
#define AUDIT_SAY_NOTHING "Nothing was refused"

struct audit_target {
	char dest[NAME_MAX_LEN + 1];
	bool v6;
	bool label;	   /* a name without a dot */
	const char *proto; /* NULL: any */
	uint16_t port;
	bool ingress;
};
/* False: neither an address nor a name. */
bool audit_target_dest(const char *s, struct audit_target *t);
/* Rule and token that allow the target. */
void audit_make_rule(const struct audit_target *t, struct audit_advice *ret);
void audit_say(struct audit_advice *ret, const char *text);
/* Did a rule, or the default, decide? */
bool audit_has_rule(const json_t *event);
/* "To allow it, put this rule in front of rule 3"; out is scratch. */
const char *audit_where(const json_t *event, char *out, size_t size);
void audit_advise_no_rule(const json_t *event, struct audit_advice *ret);

#endif
