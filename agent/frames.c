/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: a stream of bytes cut into messages. A message over several frames
 * may not be mixed with others: its frames follow each other, so that one
 * buffer with one cap is enough.
 */
#include "agent/agent_int.h"

struct head {
	uint32_t len, id;
	uint16_t type, flags;
};

static void head_write(uint8_t p[static AGENT_HEADER_LEN], const struct head *h)
{
	for (unsigned i = 0; i < 4; i++) {
		p[i] = (uint8_t)(h->len >> 8 * i);
		p[4 + i] = (uint8_t)(h->id >> 8 * i);
	}
	p[8] = (uint8_t)h->type;
	p[9] = (uint8_t)(h->type >> 8);
	p[10] = (uint8_t)h->flags;
	p[11] = (uint8_t)(h->flags >> 8);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static struct head head_read(const uint8_t *p)
{
	return (struct head){ le32(p), le32(p + 4), (uint16_t)(p[9] << 8 | p[8]),
			      (uint16_t)(p[11] << 8 | p[10]) };
}

void frames_init(struct frames *f, size_t message_max)
{
	*f = (struct frames){
		.in = BUF_INIT(AGENT_FRAME_MAX),
		.whole = BUF_INIT(message_max),
		.message_max = message_max,
	};
}

void frames_fini(struct frames *f)
{
	buf_fini(&f->in);
	buf_fini(&f->whole);
}

int frames_room(struct frames *f, uint8_t **ret_p, size_t *ret_n)
{
	size_t n;
	int r;

	buf_consume(&f->in, f->used);
	f->used = 0;
	n = AGENT_FRAME_MAX - f->in.len;
	r = buf_reserve(&f->in, n, ret_p);
	if (r == 0)
		*ret_n = n;
	return r;
}

void frames_filled(struct frames *f, size_t n)
{
	buf_commit(&f->in, n);
}

/* A frame that belongs to a message over several of them; 1: it was the last. */
static int join(struct frames *f, const struct head *h, const uint8_t *body)
{
	int r;

	if (f->more && (h->id != f->id || h->type != f->type))
		return -EPROTO;
	if (!f->more)
		buf_reset(&f->whole);
	f->more = h->flags & AGENT_FLAG_MORE;
	f->id = h->id;
	f->type = h->type;
	r = buf_append(&f->whole, body, h->len);
	if (r < 0)
		return r == -ENOBUFS ? -EPROTO : r;
	return !f->more;
}

int frames_next(struct frames *f, struct agent_message *ret)
{
	for (;;) {
		const uint8_t *p;
		struct head h;
		int r;

		buf_consume(&f->in, f->used);
		f->used = 0;
		if (f->in.len < AGENT_HEADER_LEN)
			return 0;
		p = buf_at(&f->in);
		h = head_read(p);
		if (h.len > AGENT_BODY_MAX || h.flags & ~AGENT_FLAG_MORE ||
		    (h.flags && !f->message_max))
			return -EPROTO;
		if (f->in.len < AGENT_HEADER_LEN + h.len)
			return 0;
		p += AGENT_HEADER_LEN;
		f->used = AGENT_HEADER_LEN + h.len;
		if (!h.flags && !f->more) {
			*ret = (struct agent_message){ h.id, h.type, p, h.len };
			return 1;
		}
		r = join(f, &h, p);
		if (r < 0)
			return r;
		if (r) {
			*ret = (struct agent_message){ h.id, h.type, buf_at(&f->whole), f->whole.len };
			return 1;
		}
	}
}

int frames_write(struct buf *out, uint32_t id, uint16_t type, const void *body, size_t len)
{
	size_t frames = len ? (len + AGENT_BODY_MAX - 1) / AGENT_BODY_MAX : 1;
	/* No body has an address, too: nothing is added to NULL. */
	const uint8_t *from = body ? body : (const uint8_t *)"";
	uint8_t *p;
	int r = buf_reserve(out, len + frames * AGENT_HEADER_LEN, &p);

	if (r < 0)
		return r;
	for (size_t i = 0; i < frames; i++) {
		size_t n = MIN(len, (size_t)AGENT_BODY_MAX);

		head_write(p, &(struct head){ (uint32_t)n, id, type,
					      i + 1 < frames ? AGENT_FLAG_MORE : 0 });
		if (n)
			memcpy(p + AGENT_HEADER_LEN, from, n);
		p += AGENT_HEADER_LEN + n;
		from += n;
		len -= n;
		buf_commit(out, AGENT_HEADER_LEN + n);
	}
	return 0;
}

int frames_write_message(struct buf *out, uint32_t id, uint16_t type, const void *from)
{
	struct buf body = BUF_INIT(AGENT_MESSAGE_MAX);
	int r = message_write(type, from, &body);

	if (r == 0)
		r = frames_write(out, id, type, buf_at(&body), body.len);
	buf_fini(&body);
	return r;
}
