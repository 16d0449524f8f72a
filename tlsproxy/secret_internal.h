/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secrets engine, shared by its files and the HTTP filter.
 *
 *   values ──► secret_set ──► placeholders ──► two automata
 *                                              out: placeholders, plain and encoded
 *                                              back: values, plain and encoded (replies)
 *   bytes ──► secret_stream ──► bytes, with a decision asked for every hit
 *
 * Out: the placeholders are known texts and few, so each is looked for in every form
 * that a client gives it, and in forms that no client does ("odd") by lanes that
 * undo escapes. Only the natural forms may be replaced, with the value escaped as
 * its place needs it: the length may change.
 *
 * Back: what a server echoes may be escaped in any way. Lanes undo percent, JSON
 * and HTML escapes while they read; base64 and hex are patterns. What is found
 * becomes the placeholder in the same spelling.
 */
#ifndef WEIR_TLSPROXY_SECRET_INTERNAL_H
#define WEIR_TLSPROXY_SECRET_INTERNAL_H

#include "tlsproxy/byteset.h"
#include "tlsproxy/http.h"
#include "tlsproxy/http_rewrite.h"

/* ---- limits -------------------------------------------------------------------- */

/* Secrets of one sandbox: bounds the automaton and the per-request marks. */
#define SECRET_MAX_COUNT 256
/* Names that are gone and still recognised; the oldest go. Stops a sandbox's owner who
 * sets and removes for months from growing every automaton. */
#define SECRET_MAX_REMOVED 256
/* The same of tokens that replies brought, which come and go all day. */
#define SECRET_MAX_REMOVED_TOKENS 16
/* Former values of one name that are still scrubbed, and for how long. The same. */
#define SECRET_MAX_RETIRED 4
#define SECRET_RETIRED_S (24 * 3600)
/* Hosts a name was for before: they may hold a value and tell it. Where there are more,
 * every host is taken for one. Stops what changes hosts for months. */
#define SECRET_MAX_FORMER 64
/* Trie nodes of one automaton: bounds memory when many long values are given. */
#define SECRET_MAX_NODES (4u << 20)
/* Random characters a placeholder should have: fewer could occur by chance. */
#define SECRET_MIN_RANDOM 8
/* Random characters behind a prefix when the value is too short to tell how many. */
#define SECRET_PREFIX_RANDOM 32
/* Attempts to find a placeholder that collides with nothing. */
#define SECRET_MAX_TRIES 1000
/* Of a reply held back while escapes are undone: stops a server from making a value fill memory. */
#define SECRET_HOLD_MAX ((size_t)32 * 1024)
/* Raw bytes of one character that is escaped, "&#x0000041;": stops padding without end. */
#define SECRET_TOKEN_MAX 12
/* Raw bytes of a break of a line between two characters, "\\r\\n" in JSON inside JSON. */
#define SECRET_BREAK_MAX 6

/* ---- memory --------------------------------------------------------------------- */

#define SECRET_AREA_ALIGN 16

/* Locked, not dumped, not inherited; released wiped. */
struct secret_area {
	uint8_t *base;
	size_t size, used;
};
must_check int secret_area_init(struct secret_area *a, size_t size);
void secret_area_fini(struct secret_area *a);
/* NULL when the area was sized too small. */
void *secret_area_take(struct secret_area *a, size_t size);

/* ---- automaton -------------------------------------------------------------------- */

/* How a text was written where it was found. */
enum secret_form {
	SECRET_PLAIN = 0,
	SECRET_PERCENT = 1, /* every reserved character escaped, no other: what clients do */
	SECRET_JSON = 2,    /* the same in a JSON string */
	SECRET_BASE64 = 3,
	SECRET_HEX = 4,
	SECRET_ODD_PERCENT = 5, /* escapes no client makes */
	SECRET_ODD_JSON = 6,
	SECRET_HTML = 7,   /* replies only */
	SECRET_BASE32 = 8, /* names only */
};

struct secret_pattern {
	const uint8_t *bytes;
	uint32_t len;
	uint16_t secret;
	uint8_t form;
	uint8_t variant;  /* base64: 2 * phase + url; hex: upper */
	uint8_t value;	  /* back: which of the secret's values, 0 the present one */
	bool replaceable; /* hold its beginning back */
};

struct secret_node {
	uint32_t child, sibling, fail;
	uint16_t match;	  /* pattern + 1 of the longest pattern that ends here */
	uint16_t depth;	  /* bytes from the root */
	uint16_t hold;	  /* longest suffix that begins a replaceable pattern */
	uint16_t hold_at; /* that pattern */
	uint8_t byte;
};
/* 3 * TLSPROXY_SECRET_MAX bytes fit 16 bits; a set with more patterns is refused. */

/* Aho-Corasick with failure links: 24 bytes a node, amortised two steps a byte. */
struct secret_machine {
	const struct secret_pattern *patterns;
	size_t n_patterns;
	struct secret_node *nodes;
	uint32_t n_nodes;
	uint32_t root[256];
};
/* Bytes of nodes a machine over these patterns needs at most. */
must_check int secret_machine_size(const struct secret_pattern *p, size_t n, size_t *ret_bytes);
must_check int secret_machine_build(struct secret_machine *m, const struct secret_pattern *p,
				    size_t n, struct secret_node *nodes);
uint32_t secret_machine_next(const struct secret_machine *m, uint32_t state, uint8_t c);

/* ---- the set ---------------------------------------------------------------------- */

/* Requests that carried it; one for all sets that know the name. */
struct secret_uses {
	unsigned refs;
	uint64_t n;
};

struct secret_value {
	const uint8_t *bytes;
	size_t len;
	uint64_t retired; /* seconds; 0: the present one */
	bool fits;	  /* same length and punctuation as the placeholder */
};

/* Copies of a struct tlsproxy_mask's. */
struct secret_mask {
	struct tlsproxy_host_pattern *at;
	size_t n_at;
	char **paths, **fields;
	size_t n_paths, n_fields;
};

struct secret {
	char *env;
	char *placeholder; /* NUL-terminated */
	size_t placeholder_len;
	const uint8_t *value; /* values[0], or NULL when removed */
	size_t len;
	struct secret_value values[1 + SECRET_MAX_RETIRED];
	size_t n_values; /* values[0] may be empty: removed */
	bool removed;
	struct tlsproxy_host_pattern *hosts, *passthrough;
	size_t n_hosts, n_passthrough;
	struct tlsproxy_host_pattern *former; /* was for these */
	size_t n_former;
	bool anywhere; /* for more than these */
	unsigned places;
	struct tlsproxy_place_name *names;
	size_t n_names;
	/* For those that are of a body: their bits in the set's fields, and all of them. */
	uint64_t field_bits[TLSPROXY_SECRET_NAMES_MAX], fields;
	char **methods, **paths;
	size_t n_methods, n_paths;
	uint64_t max_uses;
	struct secret_uses *uses;
	bool plain_http;
	enum tlsproxy_violation on_violation;
	bool awaited;		  /* its value is still to come */
	struct sign_rule *sign;	  /* signs instead of being put in; or NULL */
	struct secret_mask *mask; /* replies of its token endpoints are masked; or NULL */
	char *of;		  /* a token that came so, for this secret; or NULL */
	bool renews;		  /* and is asked with for others */
};

/* Immutable once built, and counted: a request keeps the set it began with. */
struct secret_set {
	unsigned refs;
	struct secret *secrets; /* the given ones in their order, then removed ones */
	size_t n;
	size_t n_present;
	struct http_field_names *fields; /* of bodies, that any secret names; or NULL */
	struct secret_area values;
	struct secret_area derived; /* values in other spellings, and the automaton */
	struct secret_pattern *out_patterns, *back_patterns;
	uint8_t *out_bytes; /* placeholders in all forms */
	struct secret_node *out_nodes;
	struct secret_machine out, back;
	uint8_t lead[256];	  /* characters whose last bits may begin a value in base64 */
	struct byteset wakes;	  /* bytes of replies that begin something, or an escape */
	struct byteset wakes_out; /* the same of requests */
	struct byteset escapes;	  /* of those, what begins an escape, or breaks a line */
	struct byteset escapes_out;
	size_t shortest_out, shortest_back; /* pattern; SIZE_MAX: there is none */
	unsigned lanes;			    /* 1 << enum secret_lane_kind that replies need */
	bool nested;			    /* a pattern of back stands inside another */
	size_t burst_out, burst_back;	    /* the longest that one hit can write */
	size_t growth_out, growth_back; /* bytes for each that it took, at most; 1: never more */
	bool keeps_back;
};

const char *secret_form_name(enum secret_form form);
/* May this secret be sent to this host at all. */
bool secret_host_allowed(const struct secret *s, const struct authority *a);
/* May this host know a value of it: is it, or was it, one of its hosts. */
bool secret_host_knows(const struct secret *s, const struct authority *a);
/* Does its placeholder pass there as it is. */
bool secret_passes(const struct secret *s, const struct authority *a);
/* Is this name of a field or key one that the place is narrowed to; name.len 0: not known. */
bool secret_name_allowed(const struct secret *s, enum tlsproxy_place place, const char *name,
			 size_t len);
/* Is the place narrowed to names at all. */
bool secret_place_named(const struct secret *s, enum tlsproxy_place place);
/* May any text get longer: head and credentials are given more room then. */
bool secret_set_grows(const struct secret_set *set);

/* ---- tokens of replies (secret_mask.c) ------------------------------------------------- */

/* in may be NULL: *ret stays NULL. */
must_check int secret_mask_copy(const struct tlsproxy_mask *in, struct secret_mask **ret);
void secret_mask_free(struct secret_mask *m);
/* Is this a host whose replies to requests with the secret are masked. */
bool secret_mask_at(const struct secret_mask *m, const struct authority *a);
/* The token of `of` with this value now; or else any secret that has or had it; NULL: nobody. */
const struct secret *secret_of_value(const struct secret_set *set, const char *of,
				     const void *value, size_t len);
/* n texts and their array. */
void secret_texts_free(char **texts, size_t n);
must_check int secret_texts_copy(char ***ret, size_t *ret_n, const char *const *p, size_t n);
must_check int secret_hosts_copy(struct tlsproxy_host_pattern **ret, size_t *ret_n,
				 const struct tlsproxy_host_pattern *p, size_t n);

/* ---- patterns (secret_pattern.c) ---------------------------------------------------- */

must_check int secret_patterns_build(struct secret_set *set);

/* ---- placeholders -------------------------------------------------------------------- */

/*
 * By any shape, the value's included; value_len for those that follow it. The caller checks it
 * against the rest of the set. -ENOBUFS when size is too small.
 */
must_check int secret_placeholder_shape(const char *shape, const uint8_t *value, size_t value_len,
					bool keep_prefix, char *ret, size_t size);
/* Same length, and the same punctuation in the same positions. */
bool secret_placeholder_fits(const char *placeholder, size_t placeholder_len, const uint8_t *value,
			     size_t len);
/* Longest placeholder there is. */
#define SECRET_PLACEHOLDER_MAX TLSPROXY_SECRET_MAX

/* ---- encodings: each returns the length written; NULL out only counts ---------------- */

#define SECRET_PERCENT_VARIANTS 8
#define SECRET_JSON_VARIANTS 4
size_t secret_encode_percent(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);
size_t secret_encode_json(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);
/* Characters fully determined by p when `phase` unknown bytes stand before it. */
size_t secret_encode_base64(unsigned phase, bool url, const uint8_t *p, size_t n, uint8_t *out);
size_t secret_encode_hex(bool upper, const uint8_t *p, size_t n, uint8_t *out);
/* Whole token68 of standard base64, strict and canonical; -EINVAL otherwise. */
must_check int secret_base64_decode(const char *s, size_t len, uint8_t *out, size_t *ret_len);
size_t secret_base64_encode(const uint8_t *p, size_t n, char *out);
/* Six bits of either alphabet, or -1; and back. */
int secret_base64_bits(uint8_t c);
uint8_t secret_base64_char(unsigned bits, bool url);

/* How a value has to be written in its place. */
enum secret_escape {
	SECRET_RAW = 0,	    /* headers, other bodies */
	SECRET_IN_PATH = 1, /* what may stand raw in a path stays, '/' too */
	SECRET_IN_QUERY = 2,
	SECRET_ALL_PERCENT = 3, /* all but unreserved: where the client escaped too, and in forms */
	SECRET_IN_JSON = 4,	/* inside a string */
};
/* Bytes of the UTF-8 sequence at p, strict; 0: none. */
size_t secret_utf8(const uint8_t *p, size_t n, uint32_t *ret);
size_t secret_escape(enum secret_escape how, const uint8_t *p, size_t n, uint8_t *out);

/* No value that is put in is longer or shorter than its placeholder, written so. */
bool secret_set_keeps_length(const struct secret_set *set, enum secret_escape how);

/* ---- streams --------------------------------------------------------------------------- */

struct secret_hit {
	size_t secret;
	enum secret_form form;
	size_t len; /* bytes of the text it took, 0 when odd */
	size_t at;  /* bytes of this feed up to its end: len may be more */
	/* Set by decide() when it says SECRET_PUT: how the value is written. */
	enum secret_escape escape;
};
enum secret_verdict {
	SECRET_LEAVE = 0, /* forward as it is */
	SECRET_PUT = 1,	  /* replace; plain, percent and JSON forms only */
	SECRET_STOP = 2,  /* forward nothing more */
};
typedef enum secret_verdict secret_decide(void *ctx, struct secret_hit *hit);

/* Towards the network: a detector that runs while an escape is part of what could match. */
struct secret_lane {
	bool active;
	uint32_t state;
	uint32_t since;	   /* decoded bytes after the last escape */
	uint8_t phase;	   /* position inside an escape, 0: outside */
	uint8_t digits[4]; /* hex digits read of the escape */
	uint8_t n_digits;
	uint8_t want;
	uint32_t before; /* state when the escape began */
};

/* ---- replies (secret_token.c, secret_scrub.c, secret_render.c) ---------------------------- */

/* Towards the guest: which escapes a lane undoes. */
enum secret_lane_kind {
	SECRET_LANE_TEXT = 0,	   /* none */
	SECRET_LANE_PERCENT = 1,   /* %XX, %25XX, ... */
	SECRET_LANE_PERCENT_1 = 2, /* once only: values that hold a '%' */
	SECRET_LANE_FORM = 3,	   /* any, and + for a space */
	SECRET_LANE_JSON = 4,	   /* any number of backslashes */
	SECRET_LANE_JSON_1 = 5,	   /* once only: values that hold a backslash */
	SECRET_LANE_HTML = 6,
	/* Text broken into lines, as base64 often is (RFC 2045 6.8): a break is passed over, as it
	 * stands or escaped for JSON, whose other escapes are undone as well. */
	SECRET_LANE_LINES = 7,
	SECRET_LANES = 8,
};

/* What was held back, then the piece at hand; offsets begin at its front. */
struct secret_window {
	const uint8_t *held;
	size_t n_held;
	const uint8_t *p;
	size_t n;   /* of both */
	bool ended; /* nothing follows */
};
static inline uint8_t secret_window_at(const struct secret_window *w, size_t i)
{
	return i < w->n_held ? w->held[i] : w->p[i - w->n_held];
}

/* One character as it was written. */
struct secret_token {
	size_t len;    /* bytes of the text */
	size_t skip;   /* of them, a break of a line in front */
	int c;	       /* 0..255, or -1: one that is in no pattern */
	bool escaped;  /* in this lane's way; a break is one */
	bool plain;    /* the character itself is not */
	bool one_form; /* of a kind that has no escape for letters: \", &amp; */
	uint8_t raw[SECRET_BREAK_MAX + SECRET_TOKEN_MAX];
};
/* False: more is needed to tell. A lead that begins no escape is itself. */
bool secret_token_read(enum secret_lane_kind kind, const struct secret_window *w, size_t i,
		       struct secret_token *ret);
/* The first byte of this lane's escapes. */
bool secret_token_leads(enum secret_lane_kind kind, uint8_t c);
/* c written like t, in as many bytes; c is visible ASCII. Returns t->len. */
size_t secret_token_like(const struct secret_token *t, uint8_t c, uint8_t *out);
/* c as the lane's encoders write it. At most SECRET_TOKEN_WRITE bytes. */
#define SECRET_TOKEN_WRITE 6
size_t secret_token_write(enum secret_lane_kind kind, uint8_t c, uint8_t *out);
/*
 * The character of base64 that ends before `end`, however escaped, not before `from`; a break of
 * a line may stand between: *ret_end is where the character ends.
 */
bool secret_token_before(const struct secret_window *w, size_t from, size_t end,
			 struct secret_token *ret, size_t *ret_end);
/* Where the break of a line that ends at `end` begins, not before `from`; `end`: there is none. */
size_t secret_break_before(const struct secret_window *w, size_t from, size_t end);
/* The one at i. False: more is needed. c is -1 when it is not of base64. */
bool secret_token_base64(const struct secret_window *w, size_t i, struct secret_token *ret);

struct secret_back_lane {
	bool active;
	uint32_t state;
	size_t at;	   /* next character to be read */
	size_t tail;	   /* where what the state has matched begins */
	size_t escape_end; /* of the last escape read */
};

/* A match that may still turn out to be part of a longer one. */
struct secret_match {
	bool found;
	uint8_t lane;
	uint16_t pattern;
	size_t start, end;
};

/* Bits of a value in the base64 character behind it: changed when that goes out. */
struct secret_patch {
	bool set;
	size_t at;
	uint8_t mask, was, bits; /* of the six */
	bool url;
};

/* Nothing of a found value gets out, not in part either. */
struct secret_scrub {
	struct secret_back_lane lanes[SECRET_LANES];
	unsigned awake; /* 1 << kind of those that run, lane 0 aside */
	bool fixed;	/* as many bytes must come out as go in */
	struct secret_match best;
	struct secret_patch patch;
	size_t scanned; /* of what is held: lane 0 goes on there */
	uint8_t *held;	/* wiped */
	size_t n_held, held_size;
};

/* A feed: the window, and what of it has gone out. */
struct secret_piece {
	struct secret_window w;
	size_t done;
	struct buf *out;
};
/* Writes the window up to `to`, the patch included. */
must_check int secret_emit(struct secret_scrub *b, struct secret_piece *x, size_t to);
/* Writes the placeholder in the spelling of the match; x->done is its end then. */
must_check int secret_render(const struct secret_set *set, struct secret_scrub *b,
			     struct secret_piece *x, const struct secret_match *m);

/*
 * One text on its way: a field value, a query, a body. Output equals input but
 * for what decide() had replaced. No byte that completes a refused hit gets out.
 * A stream that is not fed any more is ended with secret_stream_fini().
 */
struct secret_stream {
	const struct secret_machine *machine;
	const struct secret_set *set; /* not counted: the caller keeps it */
	secret_decide *decide;
	void *ctx;
	bool back;
	bool replaces; /* something may be replaced: hold back its beginning */
	uint32_t state;
	struct secret_lane percent, json;
	struct secret_scrub scrub;
};
/* Towards the network: placeholders. */
void secret_stream_out(struct secret_stream *s, const struct secret_set *set, bool replaces,
		       secret_decide *decide, void *ctx);
/* Towards the guest: values become placeholders. */
void secret_stream_back(struct secret_stream *s, const struct secret_set *set);
/*
 * By another set from here on; what is held is read again by it. fixed: the text's length was
 * told, and feeding fails (-EMSGSIZE) where it would become another.
 */
void secret_stream_renew(struct secret_stream *s, const struct secret_set *set, bool fixed);
/* Wipes what is held. Also for a stream that is all zero. */
void secret_stream_fini(struct secret_stream *s);
/* Bytes held back now. */
size_t secret_stream_held(const struct secret_stream *s);
/*
 * How many bytes may be fed so that what they become surely fits in room; and what
 * the end writes at most, now. With SECRET_ROOM at least one byte fits.
 */
#define SECRET_ROOM ((size_t)64 * 1024)
size_t secret_stream_fits(const struct secret_stream *s, size_t room);
size_t secret_stream_end_room(const struct secret_stream *s);
/* As many bytes come out as go in, whatever they are; how: values are written so. */
bool secret_stream_keeps_length(const struct secret_stream *s, enum secret_escape how);
/*
 * 0, -EPERM (stopped), -EMSGSIZE, -ENOBUFS, -ENOMEM; after an error the stream is over.
 * out NULL: only look (a stream that replaces nothing).
 */
must_check int secret_stream_feed(struct secret_stream *s, const uint8_t *p, size_t n,
				  struct buf *out);
/* End of the text: what is held goes out. */
must_check int secret_stream_end(struct secret_stream *s, struct buf *out);

/* secret_clean.c: a stream would find nothing in the whole text p, and write it as it is. */
bool secret_clean_out(const struct secret_set *set, const void *p, size_t n);
bool secret_clean_back(const struct secret_set *set, const void *p, size_t n);

/* secret_scrub.c: the same for a stream towards the guest. */
must_check int secret_scrub_feed(struct secret_stream *s, const uint8_t *p, size_t n, bool end,
				 struct buf *out);
void secret_scrub_init(struct secret_scrub *b);
/* What is held is read from its front once more. */
void secret_scrub_again(struct secret_scrub *b);
void secret_scrub_fini(struct secret_scrub *b);

#endif
