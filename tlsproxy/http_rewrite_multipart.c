/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multipart/form-data (RFC 7578, RFC 2046 5.1): parts between delimiters, each with a
 * header section that names it.
 *
 *     PREAMBLE ─► TAIL ─► HEAD ─► BODY ─► TAIL ... ─► TAIL "--" ─► EPILOGUE
 *
 * What could be a delimiter is held back until it is one or not; what is held is always
 * a part of the delimiter's own text, so it is not stored. Readers differ in lines that
 * end in a bare LF or CR, and in a boundary that begins a body: where a delimiter stands
 * so, or a line is not ended by CRLF in a head, nothing is named from there on.
 */
#include "tlsproxy/http_rewrite_int.h"

enum multipart_state {
	MULTIPART_PREAMBLE = 0,
	MULTIPART_TAIL = 1, /* behind a boundary, up to the line's end */
	MULTIPART_HEAD = 2,
	MULTIPART_BODY = 3,
	MULTIPART_EPILOGUE = 4,
	MULTIPART_INVALID = 5,
};

#define DELIM_MAX (4 + HTTP_BOUNDARY_MAX)

struct multipart_scan {
	enum multipart_state state;
	char delim[DELIM_MAX]; /* CR LF - - boundary */
	size_t delim_len;
	size_t from, held; /* delim[from..from+held) was read and not yielded */
	bool line_start;   /* the first byte of a body, or behind a bare CR */
	char head[HTTP_PART_HEAD_MAX];
	size_t head_len;
	uint8_t tail[2]; /* the last bytes behind the boundary */
	size_t n_tail;
};

int multipart_scan_new(struct http_rewrite *r, const char *boundary, size_t len)
{
	struct multipart_scan *m;

	if (len == 0 || len > HTTP_BOUNDARY_MAX)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	memcpy(m->delim, "\r\n--", 4);
	memcpy(m->delim + 4, boundary, len);
	m->delim_len = 4 + len;
	m->line_start = true;
	r->multipart = m;
	return 0;
}

size_t multipart_scan_held(const struct http_rewrite *r)
{
	return r->multipart->held;
}

static void invalid(struct http_rewrite *r)
{
	r->valid = false;
	r->multipart->state = MULTIPART_INVALID;
}

/* ---- a part's head ---------------------------------------------------------------------- */

struct part {
	bool odd; /* readers could differ in what it is */
	bool has_disposition, has_name;
	struct part_text name;
};

static void disposition(struct part *p, struct part_text v)
{
	struct part_text name, value, kind = part_head(&v);
	int r;

	p->odd |= p->has_disposition || !str_ieq(kind.s, kind.len, "form-data");
	p->has_disposition = true;
	while ((r = part_param_next(&v, &name, &value)) > 0) {
		if (str_ieq(name.s, name.len, "name")) {
			p->odd |= p->has_name;
			p->has_name = true;
			p->name = value;
		}
		p->odd |= str_ieq(name.s, name.len, "name*");
	}
	p->odd |= r < 0;
}

static void head_line(struct part *p, struct part_text line)
{
	const char *colon = memchr(line.s, ':', line.len);
	struct part_text v, rest;
	size_t n;

	if (!colon || line.s[0] == ' ' || line.s[0] == '\t') {
		p->odd = true;
		return;
	}
	n = (size_t)(colon - line.s);
	v = rest = (struct part_text){ colon + 1, line.len - n - 1 };
	if (str_ieq(line.s, n, "Content-Disposition"))
		disposition(p, v);
	if (!str_ieq(line.s, n, "Content-Transfer-Encoding"))
		return;
	v = part_head(&rest);
	p->odd |= !str_ieq(v.s, v.len, "7bit") && !str_ieq(v.s, v.len, "8bit") &&
		  !str_ieq(v.s, v.len, "binary");
}

/* The head is complete: lines, each with its CRLF. */
static void begin_body(struct http_rewrite *r)
{
	struct multipart_scan *m = r->multipart;
	struct part p = { 0 };

	for (size_t at = 0; at < m->head_len;) {
		const char *lf = memchr(m->head + at, '\n', m->head_len - at);
		size_t end = (size_t)(lf - m->head) - 1;

		head_line(&p, (struct part_text){ m->head + at, end - at });
		at = end + 2;
	}
	r->value = p.odd || !p.has_name || p.name.len > HTTP_FIELD_KEY_MAX
			   ? 0
			   : field_names_of_key(r->names, p.name.s, p.name.len);
	r->at = 0;
	m->state = MULTIPART_BODY;
	m->line_start = true;
}

static bool head_ends_with(const struct multipart_scan *m, const char *s, size_t n)
{
	return m->head_len >= n && memcmp(m->head + m->head_len - n, s, n) == 0;
}

static void head_byte(struct http_rewrite *r, uint8_t c)
{
	struct multipart_scan *m = r->multipart;
	bool behind_cr = head_ends_with(m, "\r", 1);

	if (m->head_len == sizeof(m->head) || c == 0 || (c == '\n') != behind_cr) {
		invalid(r);
		return;
	}
	m->head[m->head_len++] = (char)c;
	if (head_ends_with(m, "\r\n\r\n", 4) || (m->head_len == 2 && c == '\n')) {
		m->head_len -= 2; /* the empty line */
		begin_body(r);
	}
}

/* Behind the boundary: "--", or white space up to the line's end. */
static void tail_byte(struct http_rewrite *r, uint8_t c)
{
	struct multipart_scan *m = r->multipart;
	uint8_t before = m->n_tail ? m->tail[0] : 0;

	if (c == '-' && m->n_tail == 1 && before == '-') {
		m->state = MULTIPART_EPILOGUE;
	} else if (c == '\n' && before == '\r') {
		m->state = MULTIPART_HEAD;
		m->head_len = 0;
	} else if (before == '\r' || before == '-' ||
		   (c != ' ' && c != '\t' && c != '\r' && !(c == '-' && m->n_tail == 0))) {
		invalid(r);
	} else {
		m->tail[0] = c;
		m->n_tail = 1;
	}
}

/* ---- delimiters --------------------------------------------------------------------------------- */

/* A whole delimiter is held: it is one, or one only for some readers. */
static void delimiter(struct http_rewrite *r)
{
	struct multipart_scan *m = r->multipart;

	if (m->from == 0 || (m->state == MULTIPART_PREAMBLE && m->from == 2)) {
		m->state = MULTIPART_TAIL;
		m->n_tail = 0;
	} else {
		invalid(r);
	}
}

/* What a delimiter may begin with here. */
static bool may_begin(const struct multipart_scan *m, uint8_t c)
{
	return c == '\r' || c == '\n' || (m->line_start && c == '-');
}

/* What is held is yielded from the delimiter's text. */
static bool yield_held(struct http_rewrite *r, bool in_value, struct http_segment *ret)
{
	struct multipart_scan *m = r->multipart;
	struct rd in = rd_init(m->delim + m->from, m->held);

	m->held = 0;
	rewrite_run(r, &in, in.end, in_value, ret);
	return true;
}

/* Another byte for what is held; true: *ret, as it is a delimiter or it is none. */
static bool held_byte(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	struct multipart_scan *m = r->multipart;
	bool in_body = m->state == MULTIPART_BODY;

	if (*in->p != (uint8_t)m->delim[m->from + m->held]) {
		/* Behind a bare CR a line begins for some readers. */
		m->line_start = in_body && m->from == 0 && m->held == 1;
		return yield_held(r, in_body, ret);
	}
	in->p++;
	m->held++;
	if (m->from + m->held < m->delim_len)
		return false;
	delimiter(r);
	return yield_held(r, false, ret);
}

/* Preamble or body. */
static bool text_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	struct multipart_scan *m = r->multipart;
	const uint8_t *p;

	while (in->p < in->end) {
		if (m->held) {
			if (held_byte(r, in, ret))
				return true;
			continue;
		}
		for (p = in->p; p < in->end && !may_begin(m, *p); p++)
			m->line_start = false;
		if (p > in->p) {
			rewrite_run(r, in, p, m->state == MULTIPART_BODY, ret);
			return true;
		}
		m->from = *p == '\r' ? 0 : *p == '\n' ? 1 : 2;
		m->held = 1;
		m->line_start = false;
		in->p++;
	}
	return false;
}

bool multipart_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	struct multipart_scan *m = r->multipart;
	const uint8_t *p = in->p;

	if (m->state == MULTIPART_PREAMBLE || m->state == MULTIPART_BODY)
		return text_next(r, in, ret);
	while (p < in->end && (m->state == MULTIPART_TAIL || m->state == MULTIPART_HEAD)) {
		if (m->state == MULTIPART_TAIL)
			tail_byte(r, *p++);
		else
			head_byte(r, *p++);
	}
	if (m->state == MULTIPART_EPILOGUE || m->state == MULTIPART_INVALID)
		p = in->end;
	rewrite_run(r, in, p, false, ret);
	return true;
}

bool multipart_scan_end(struct http_rewrite *r, struct http_segment *ret)
{
	return r->multipart->held && yield_held(r, r->multipart->state == MULTIPART_BODY, ret);
}
