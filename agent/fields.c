/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structures to fields and back, by tables. A field is u16 tag, u32 length and
 * the value; a reader takes each tag once (lists: up to their limit), passes over
 * tags it does not know, and refuses a value that is not of its field's kind.
 *
 * Shapes nest by their tables alone, so the depth is ours and never a peer's.
 */
#include "agent/agent_int.h"

#define FIELD_HEADER 6

/* TEXTS and PARTS are a pointer and a count, whatever they point to. */
struct list_place {
	void *v;
	size_t n;
};
static_assert(sizeof(struct list_place) == sizeof(struct agent_strings), "lists are alike");
static_assert(offsetof(struct agent_init, n_mounts) ==
		      offsetof(struct agent_init, mounts) + offsetof(struct list_place, n),
	      "lists are alike");

static void put_le(uint8_t *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

void scratch_fini(struct scratch *s)
{
	while (s->n)
		free(s->v[--s->n]);
}

/* ---- writing ------------------------------------------------------------------------ */

static int field_head(struct buf *to, uint16_t tag, size_t len)
{
	uint8_t head[FIELD_HEADER];

	if (len > UINT32_MAX)
		return -E2BIG;
	put_le(head, tag, 2);
	put_le(head + 2, len, 4);
	return buf_append(to, head, sizeof(head));
}

static int write_value(struct buf *to, uint16_t tag, const void *p, size_t n)
{
	int r = field_head(to, tag, n);

	return r < 0 ? r : buf_append(to, p, n);
}

static int write_number(struct buf *to, const struct field *f, uint64_t v, size_t size)
{
	uint8_t value[8];

	if (!v)
		return f->needed ? -EINVAL : 0;
	put_le(value, v, size);
	return write_value(to, f->tag, value, size);
}

/* The length is known only once the part is written. */
static int write_part(struct buf *to, const struct field *f, const void *from)
{
	size_t at = to->len;
	int r = field_head(to, f->tag, 0);

	if (r == 0)
		r = shape_write(f->part, from, to);
	if (r == 0)
		put_le(buf_at(to) + at + 2, to->len - at - FIELD_HEADER, 4);
	return r;
}

static int write_texts(struct buf *to, const struct field *f, const struct agent_strings *list)
{
	int r = f->needed && !list->n ? -EINVAL : 0;

	if (list->n > f->most)
		return -E2BIG;
	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = write_value(to, f->tag, list->v[i], strlen(list->v[i]) + 1);
	return r;
}

static int write_parts(struct buf *to, const struct field *f, const struct list_place *list)
{
	int r = 0;

	if (list->n > f->most)
		return -E2BIG;
	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = write_part(to, f, (const char *)list->v + i * f->part->size);
	return r;
}

static int write_field(struct buf *to, const struct field *f, const void *at)
{
	const struct agent_bytes *bytes = at;
	const char *text;

	switch ((enum field_kind)f->kind) {
	case FIELD_U32:
		return write_number(to, f, *(const uint32_t *)at, 4);
	case FIELD_U64:
		return write_number(to, f, *(const uint64_t *)at, 8);
	case FIELD_TEXT:
		text = *(const char *const *)at;
		if (!text)
			return f->needed ? -EINVAL : 0;
		return write_value(to, f->tag, text, strlen(text) + 1);
	case FIELD_BYTES:
		return bytes->n ? write_value(to, f->tag, bytes->p, bytes->n) : 0;
	case FIELD_TEXTS:
		return write_texts(to, f, at);
	case FIELD_PART:
		return write_part(to, f, at);
	case FIELD_PARTS:
		return write_parts(to, f, at);
	}
	return -EINVAL;
}

int shape_write(const struct shape *sh, const void *from, struct buf *to)
{
	for (size_t i = 0; i < sh->n; i++) {
		int r = write_field(to, &sh->fields[i], (const char *)from + sh->fields[i].offset);

		if (r < 0)
			return r == -ENOBUFS ? -E2BIG : r;
	}
	return 0;
}

/* ---- reading ------------------------------------------------------------------------ */

struct value {
	uint16_t tag;
	const uint8_t *p;
	size_t n;
};

static bool next_value(struct rd *r, struct value *ret)
{
	const uint8_t *head;
	size_t n;

	if (!rd_bytes(r, FIELD_HEADER, &head))
		return false;
	n = (size_t)get_le(head + 2, 4);
	if (!rd_bytes(r, n, &ret->p))
		return false;
	ret->tag = (uint16_t)get_le(head, 2);
	ret->n = n;
	return true;
}

static const char *as_text(const struct value *v)
{
	return v->n && memchr(v->p, 0, v->n) == v->p + v->n - 1 ? (const char *)v->p : NULL;
}

static int read_text(const struct value *v, const char **ret)
{
	*ret = as_text(v);
	return *ret ? 0 : -EPROTO;
}

static size_t members(const uint8_t *body, size_t len, uint16_t tag)
{
	struct rd r = rd_init(body, len);
	struct value v;
	size_t n = 0;

	while (next_value(&r, &v))
		n += v.tag == tag;
	return n;
}

/* Room for a list's members, once its first is met; n counts those that are read. */
static int list_begin(const struct field *f, const uint8_t *body, size_t len, size_t size,
		      struct list_place *list, struct scratch *s)
{
	size_t n = members(body, len, f->tag);

	if (n > f->most)
		return -EPROTO;
	if (s->n == SCRATCH_MAX)
		return -ENOMEM;
	list->v = calloc(n, size);
	if (!list->v)
		return -ENOMEM;
	s->v[s->n++] = list->v;
	return 0;
}

static int read_field(const struct field *f, const struct value *v, void *at, struct scratch *s)
{
	struct list_place *list = at;

	switch ((enum field_kind)f->kind) {
	case FIELD_U32:
		if (v->n != 4)
			return -EPROTO;
		*(uint32_t *)at = (uint32_t)get_le(v->p, 4);
		return f->needed && !*(uint32_t *)at ? -EPROTO : 0;
	case FIELD_U64:
		if (v->n != 8)
			return -EPROTO;
		*(uint64_t *)at = get_le(v->p, 8);
		return f->needed && !*(uint64_t *)at ? -EPROTO : 0;
	case FIELD_TEXT:
		return read_text(v, at);
	case FIELD_BYTES:
		*(struct agent_bytes *)at = (struct agent_bytes){ v->p, v->n };
		return 0;
	case FIELD_TEXTS:
		return read_text(v, (const char **)list->v + list->n++);
	case FIELD_PART:
		return shape_read(f->part, v->p, v->n, at, s);
	case FIELD_PARTS:
		return shape_read(f->part, v->p, v->n, (char *)list->v + list->n++ * f->part->size,
				  s);
	}
	return -EPROTO;
}

static const struct field *find(const struct shape *sh, uint16_t tag)
{
	for (size_t i = 0; i < sh->n; i++)
		if (sh->fields[i].tag == tag)
			return &sh->fields[i];
	return NULL;
}

static int read_all(const struct shape *sh, const uint8_t *body, size_t len, char *to,
		    uint64_t *ret_seen, struct scratch *s)
{
	struct rd r = rd_init(body, len);
	struct value v;

	while (next_value(&r, &v)) {
		const struct field *f = find(sh, v.tag);
		uint64_t bit = f ? UINT64_C(1) << (f - sh->fields) : 0;
		bool is_list = f && (f->kind == FIELD_TEXTS || f->kind == FIELD_PARTS);
		int rc = 0;

		if (!f)
			continue;
		if (*ret_seen & bit && !is_list)
			return -EPROTO;
		if (!(*ret_seen & bit) && is_list)
			rc = list_begin(f, body, len,
					f->kind == FIELD_TEXTS ? sizeof(char *) : f->part->size,
					(struct list_place *)(void *)(to + f->offset), s);
		*ret_seen |= bit;
		if (rc == 0)
			rc = read_field(f, &v, to + f->offset, s);
		if (rc < 0)
			return rc;
	}
	return rd_left(&r) ? -EPROTO : 0;
}

int shape_read(const struct shape *sh, const uint8_t *body, size_t len, void *ret, struct scratch *s)
{
	uint64_t seen = 0;
	int r;

	assert(sh->n <= 64);
	memset(ret, 0, sh->size);
	/* Nothing has no address that could be added to. */
	if (!len)
		body = (const uint8_t *)"";
	r = read_all(sh, body, len, ret, &seen, s);
	for (size_t i = 0; r == 0 && i < sh->n; i++)
		if (sh->fields[i].needed && !(seen & UINT64_C(1) << i))
			r = -EPROTO;
	return r;
}
