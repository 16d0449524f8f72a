/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the agent's protocol that carry who sent them: bytes begin with a stamp, fields have it in one
 * that is passed over. Its sum is over the whole input, so that no input holds one that is right.
 */
#ifndef FUZZ_AGENT_STAMP_H
#define FUZZ_AGENT_STAMP_H

#include "agent/agent_int.h"

#include "fuzz_must.h"

#define TAG_STAMP 777
#define TAG_PAD 778

struct stamp {
	uint32_t who; /* a client, or an id that the guest was given */
	uint32_t id;
	uint32_t n; /* how many went before */
	uint32_t sum;
};

static struct hash_key stamp_key;

static void stamp_begin(const uint8_t *p, size_t n)
{
	stamp_key.k[0] = hash_bytes(&(struct hash_key){ { 0 } }, p, n);
}

static uint32_t sum_of(const struct stamp *s)
{
	return (uint32_t)hash_bytes(&stamp_key, s, offsetof(struct stamp, sum));
}

static void field_append(struct buf *b, uint16_t tag, const void *p, uint32_t n)
{
	uint8_t head[6] = { (uint8_t)tag,      (uint8_t)(tag >> 8), (uint8_t)n,
			    (uint8_t)(n >> 8), (uint8_t)(n >> 16),  (uint8_t)(n >> 24) };

	MUST(buf_append(b, head, sizeof(head)) == 0 && buf_append(b, p, n) == 0);
}

/* False: none of ours. */
static bool stamp_read(const struct agent_message *m, struct stamp *ret)
{
	const uint8_t *p = m->body;
	size_t left = m->len;

	/* Fields were checked by now. */
	while (!message_is_bytes(m->type) && left >= 6) {
		size_t n = p[2] | (size_t)p[3] << 8 | (size_t)p[4] << 16;
		bool here = (p[0] | p[1] << 8) == TAG_STAMP;

		p += 6;
		left -= 6;
		if (here)
			break;
		p += n;
		left -= n;
	}
	if (left < sizeof(*ret))
		return false;
	memcpy(ret, p, sizeof(*ret));
	return ret->sum == sum_of(ret);
}

static union agent_body body_of(uint16_t type, uint32_t v)
{
	static const char *const argv[] = { "sh" };

	switch (type) {
	case AGENT_EXEC:
		return (union agent_body){ .exec = { .argv = { argv, 1 }, .flags = v % 8 } };
	case AGENT_PUT ... AGENT_COPY:
		return (union agent_body){ .file = { .path = "/x" } };
	case AGENT_METRICS:
		return (union agent_body){ .every = { v % 2 } };
	case AGENT_CLOCK:
		return (union agent_body){ .clock = { 1 + v } };
	case AGENT_CONNECT:
		return (union agent_body){ .connect = { 1 + v } };
	case AGENT_ATTACH:
		return (union agent_body){ .attach = { .flags = v % 2, .rows = v } };
	case AGENT_RESIZE:
		return (union agent_body){ .resize = { v, 80 } };
	case AGENT_SIGNAL:
		return (union agent_body){ .signal = { 1 + v % 65 } };
	case AGENT_CREDIT:
		return (union agent_body){ .credit = { MAX(v, 1u) } };
	case AGENT_ENTRY:
		return (union agent_body){ .entry = { .name = v % 16 == 15 ? ".." : "name" } };
	case AGENT_SAMPLE:
		return (union agent_body){ .sample = { .uptime_ns = v } };
	case AGENT_FAILED:
		return (union agent_body){ .failed = { AGENT_STAGE_OPEN, v, "no" } };
	case AGENT_EXITED:
		return (union agent_body){ .exited = { .code = v } };
	case AGENT_LOG:
		return (union agent_body){ .log = { .text = "said" } };
	case AGENT_STARTED:
		return (union agent_body){ .started = { v } };
	}
	return (union agent_body){ 0 };
}

/* Appends the body of a message with its stamp, and as many bytes that mean nothing. */
static void body_write(struct buf *to, uint16_t type, uint32_t value, size_t pad, struct stamp *s)
{
	static const uint8_t none[AGENT_MESSAGE_MAX];
	union agent_body b = body_of(type, value);

	s->sum = sum_of(s);
	if (message_is_bytes(type)) {
		MUST(buf_append(to, s, sizeof(*s)) == 0 && buf_append(to, none, pad) == 0);
		return;
	}
	MUST(message_write(type, &b, to) == 0);
	field_append(to, TAG_STAMP, s, sizeof(*s));
	if (pad)
		field_append(to, TAG_PAD, none, (uint32_t)pad);
}

#endif
