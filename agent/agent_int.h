/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends share: frames, fields, and what may follow what. No I/O in
 * here, so the same code runs on the host, in the guest and in the fuzzers.
 */
#ifndef WEIR_AGENT_INT_H
#define WEIR_AGENT_INT_H

#include "agent/protocol.h"

/* ---- fields (fields.c) ----------------------------------------------------------- */

enum field_kind {
	FIELD_U32,
	FIELD_U64,
	FIELD_TEXT,  /* const char *; NULL is left out */
	FIELD_BYTES, /* struct agent_bytes; empty is left out */
	FIELD_TEXTS, /* struct agent_strings */
	FIELD_PART,  /* a structure of its own */
	FIELD_PARTS, /* pointer to them, size_t how many */
};

/* Numbers that are 0 are left out, so an optional number is 0 when it is missing. */
struct field {
	uint16_t tag;
	uint8_t kind; /* enum field_kind */
	bool needed;  /* a message without it, or with 0 for it, is none */
	size_t offset;
	const struct shape *part;
	size_t most; /* TEXTS, PARTS: members */
};

struct shape {
	size_t size;
	const struct field *fields;
	size_t n;
};

/* Lists that were made room for while reading; several messages may share one. */
#define SCRATCH_MAX 16
struct scratch {
	void *v[SCRATCH_MAX];
	size_t n;
};
void scratch_fini(struct scratch *s);

must_check int shape_write(const struct shape *sh, const void *from, struct buf *to);
/*
 * Texts and bytes of *ret point into body. -EPROTO: not such a message. Fields that
 * the shape does not know are passed over: they come from a later generation.
 */
must_check int shape_read(const struct shape *sh, const uint8_t *body, size_t len, void *ret,
			  struct scratch *s);

/* ---- messages (messages.c) ------------------------------------------------------- */

struct agent_message {
	uint32_t id;
	uint16_t type; /* enum agent_type, or none of them */
	const uint8_t *body;
	size_t len;
};

/* The largest of the structures of protocol.h. */
union agent_body {
	struct agent_hello hello;
	struct agent_init init;
	struct agent_log log;
	struct agent_exec exec;
	struct agent_attach attach;
	struct agent_started started;
	struct agent_resize resize;
	struct agent_signal signal;
	struct agent_credit credit;
	struct agent_file file;
	struct agent_entry entry;
	struct agent_every every;
	struct agent_sample sample;
	struct agent_clock clock;
	struct agent_shutdown shutdown;
	struct agent_connect connect;
	struct agent_failed failed;
	struct agent_exited exited;
};

bool message_is_bytes(uint16_t type);
/* -EPROTO: no such type, or not its body. Bytes: *ret is untouched. */
must_check int message_read(const struct agent_message *m, union agent_body *ret, struct scratch *s);
/* Appends the body of a message whose type has fields; -EINVAL: what is needed is missing. */
must_check int message_write(uint16_t type, const void *from, struct buf *to);

/* ---- frames (frames.c) ------------------------------------------------------------ */

/*
 * Bytes in, whole messages out. Holds at most a frame, and of a message over
 * several frames as much as message_max (0: each frame is a message).
 */
struct frames {
	struct buf in;
	struct buf whole;
	size_t message_max;
	size_t used; /* bytes of `in` that the last message came from */
	bool more;
	uint32_t id;
	uint16_t type;
};

void frames_init(struct frames *f, size_t message_max);
void frames_fini(struct frames *f);
/* Where to read to, and how much of it there is: never 0 after frames_next() said 0. */
must_check int frames_room(struct frames *f, uint8_t **ret_p, size_t *ret_n);
void frames_filled(struct frames *f, size_t n);
/* 1: a message, whose body stays until the next call; 0: more bytes are needed; -EPROTO: these are none. */
must_check int frames_next(struct frames *f, struct agent_message *ret);
/* Appends the frames of a message, all or nothing. */
must_check int frames_write(struct buf *out, uint32_t id, uint16_t type, const void *body,
			    size_t len);
/* The same for one of protocol.h's structures, NULL where there is none. */
must_check int frames_write_message(struct buf *out, uint32_t id, uint16_t type, const void *from);

/* ---- what may follow what (rules.c) ------------------------------------------------ */

/* One id, as either end or a relay between them sees it. */
struct rules {
	uint16_t request;
	bool takes_input;
	bool once; /* METRICS: one sample */
	bool started, seen_entry, eof, closed, ended;
	uint32_t guest_may; /* bytes the guest may send yet */
	uint32_t host_may;
};

/* -EPROTO: no request. b is its body, read. */
must_check int rules_begin(struct rules *r, uint16_t type, const union agent_body *b);
/* Each accounts for the message when it is allowed; -EPROTO when not. */
must_check int rules_from_host(struct rules *r, const struct agent_message *m,
			       const union agent_body *b);
must_check int rules_from_guest(struct rules *r, const struct agent_message *m,
				const union agent_body *b);
bool rules_is_request(uint16_t type);

#endif
