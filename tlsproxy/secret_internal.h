/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secrets engine, shared by its files and the HTTP filter.
 *
 *   values ──► secret_set ──► placeholders ──► two automata
 *                                              out: placeholders, plain and encoded
 *                                              back: values, plain and encoded (replies)
 *   bytes ──► secret_stream ──► bytes, with a decision asked for every hit
 *
 * A placeholder has the length of its value and the same punctuation in the
 * same positions (unless the value is nearly all punctuation: "unshaped").
 * So raw text stays raw, escaped text stays escaped, and no length changes.
 */
#ifndef WEIR_TLSPROXY_SECRET_INTERNAL_H
#define WEIR_TLSPROXY_SECRET_INTERNAL_H

#include "tlsproxy/http.h"

/* ---- limits -------------------------------------------------------------------- */

/* Secrets of one sandbox: bounds the automaton and the per-request marks. */
#define SECRET_MAX_COUNT 256
/* Trie nodes of one automaton: bounds memory when many long values are given. */
#define SECRET_MAX_NODES (4u << 20)
/* Random characters a placeholder should have: fewer could occur by chance. */
#define SECRET_MIN_RANDOM 8
/* Attempts to find a placeholder that collides with nothing. */
#define SECRET_MAX_TRIES 1000

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
};

struct secret_pattern {
	const uint8_t *bytes;
	const uint8_t *put; /* what it becomes, same length; NULL: never replaced */
	uint32_t len;
	uint16_t secret;
	uint8_t form;
};

struct secret_node {
	uint32_t child, sibling, fail;
	uint16_t match;	  /* pattern + 1 of the longest pattern that ends here */
	uint16_t depth;	  /* bytes from the root */
	uint16_t hold;	  /* longest suffix that begins a replaceable pattern */
	uint16_t hold_at; /* that pattern */
	uint8_t byte;
};
/* 3 * TLSPROXY_SECRET_MAX bytes and SECRET_MAX_COUNT * 19 patterns fit 16 bits. */

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

struct secret {
	char *env;
	char *placeholder; /* NUL-terminated */
	const uint8_t *value;
	size_t len;
	bool shaped; /* placeholder and value have the same punctuation */
	struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;
	unsigned places;
	enum tlsproxy_violation on_violation;
	bool awaited;		/* its value is still to come */
	struct sign_rule *sign; /* signs instead of being put in; or NULL */
};

struct secret_set {
	struct secret *secrets;
	size_t n;
	struct secret_area values;
	struct secret_area derived; /* values escaped, and the automaton that finds them */
	struct secret_pattern *out_patterns, *back_patterns;
	uint8_t *out_bytes, *back_bytes; /* placeholders in all forms */
	struct secret_node *out_nodes;
	struct secret_machine out, back;
};

const char *secret_form_name(enum secret_form form);
/* May this secret be sent to this host at all. */
bool secret_host_allowed(const struct secret *s, const struct authority *a);

/* ---- placeholders -------------------------------------------------------------------- */

/* One candidate; the caller checks it against the rest of the set. False: value unshaped. */
bool secret_placeholder_make(const uint8_t *value, size_t len, bool keep_prefix, char *ret);

/* ---- encodings: each returns the length written; NULL out only counts ---------------- */

#define SECRET_PERCENT_VARIANTS 8
#define SECRET_JSON_VARIANTS 2
size_t secret_encode_percent(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);
size_t secret_encode_json(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);
/* Characters fully determined by p when `phase` unknown bytes stand before it. */
size_t secret_encode_base64(unsigned phase, bool url, const uint8_t *p, size_t n, uint8_t *out);
size_t secret_encode_hex(bool upper, const uint8_t *p, size_t n, uint8_t *out);
/* Whole token68 of standard base64, strict and canonical; -EINVAL otherwise. */
must_check int secret_base64_decode(const char *s, size_t len, uint8_t *out, size_t *ret_len);
size_t secret_base64_encode(const uint8_t *p, size_t n, char *out);

/* ---- streams --------------------------------------------------------------------------- */

struct secret_hit {
	size_t secret;
	enum secret_form form;
};
enum secret_verdict {
	SECRET_LEAVE = 0,	/* forward as it is */
	SECRET_PUT = 1,		/* replace */
	SECRET_STOP = 2,	/* forward nothing more */
	SECRET_PUT_ESCAPED = 3, /* replace, percent-encoded: the length changes (never in bodies) */
};
typedef enum secret_verdict secret_decide(void *ctx, const struct secret_hit *hit);

/* A decoder that runs only while an escape is part of what could still match. */
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

/*
 * One text on its way: a field value, a query, a body. Output equals input but
 * for what decide() had replaced; never more bytes than came in plus what was held
 * (but for SECRET_PUT_ESCAPED). No byte that completes a refused hit gets out.
 */
struct secret_stream {
	const struct secret_machine *machine;
	const struct secret_set *set;
	secret_decide *decide;
	void *ctx;
	bool replaces; /* something may be replaced: hold back its beginning */
	bool decodes;  /* run the escape lanes */
	uint32_t state;
	struct secret_lane percent, json;
};
/* Towards the network: placeholders. */
void secret_stream_out(struct secret_stream *s, const struct secret_set *set, bool replaces,
		       secret_decide *decide, void *ctx);
/* Towards the guest: values become placeholders. */
void secret_stream_back(struct secret_stream *s, const struct secret_set *set);
/* Bytes held back now. */
size_t secret_stream_held(const struct secret_stream *s);
/*
 * 0, -EPERM (stopped), -ENOBUFS, -ENOMEM; after an error the stream is over.
 * out NULL: only look (a stream that replaces nothing).
 */
must_check int secret_stream_feed(struct secret_stream *s, const uint8_t *p, size_t n,
				  struct buf *out);
/* End of the text: what is held goes out. */
must_check int secret_stream_end(struct secret_stream *s, struct buf *out);

#endif
