/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of HTTP requests: one form, then patterns over it.
 *
 * The path is hostile: it is chosen by the guest so that weir and the server
 * read two different things. Every shape with two readings is refused, so that
 * what is matched is what any server serves: encoded slash, backslash, NUL,
 * malformed escape, empty segment ("//", merged by some), "..;" (a dot segment
 * to some), a dot segment above the root.
 *
 * Patterns: segments between slashes; "*" inside a segment is any run of
 * characters, a segment "*" is one segment that is not empty, a segment "**" is
 * any number of segments, none included. Both levels keep only the last star to
 * go back to, so matching is bounded by pattern times path, never exponential.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#include <stdio.h>

static bool is_unreserved(unsigned c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && c < 0x80 && strchr("-._~", (int)c));
}

/* One character of a path, escapes resolved, appended in its only form. */
static int append_char(const char *s, size_t len, size_t *at, struct buf *out)
{
	unsigned c = (unsigned char)s[*at];

	if (c == '%') {
		int hi, lo;

		if (len - *at < 3)
			return -EINVAL;
		hi = str_hex_digit(s[*at + 1]);
		lo = str_hex_digit(s[*at + 2]);
		if (hi < 0 || lo < 0)
			return -EINVAL;
		*at += 3;
		c = (unsigned)(hi << 4 | lo);
		if (c == 0 || c == '/' || c == '\\')
			return -EINVAL;
		return is_unreserved(c) ? buf_append(out, &(char){ (char)c }, 1)
					: buf_printf(out, "%%%02X", c);
	}
	if (c <= 0x20 || c == 0x7f || c == '\\')
		return -EINVAL;
	(*at)++;
	return c >= 0x80 ? buf_printf(out, "%%%02X", c) : buf_append(out, &(char){ (char)c }, 1);
}

/* Where the last segment of what is in out begins (behind its slash). */
static size_t last_segment(const struct buf *out, size_t from)
{
	size_t at = out->len;

	while (at > from && buf_at(out)[at - 1] != '/')
		at--;
	return at;
}

/*
 * The segment behind the last slash of out is complete. RFC 3986 5.2.4, on
 * decoded dots. `last`: no slash follows.
 */
static int end_segment(struct buf *out, size_t from, bool last)
{
	size_t start = last_segment(out, from), n = out->len - start;
	const char *seg = (const char *)buf_at(out) + start;

	if (n == 0)
		return last ? 0 : -EINVAL; /* "//" */
	if (seg[0] == '.' && ((n > 1 && seg[1] == ';') || (n > 2 && seg[1] == '.' && seg[2] == ';')))
		return -EINVAL; /* "..;x" is ".." to servers with path parameters */
	if (n == 1 && seg[0] == '.') {
		out->len = start;
	} else if (n == 2 && seg[0] == '.' && seg[1] == '.') {
		if (start - from <= 1)
			return -EINVAL;
		out->len = start - 1;
		out->len = last_segment(out, from);
	} else if (!last) {
		return buf_append(out, "/", 1);
	}
	return 0;
}

static int normalise(const char *s, size_t len, struct buf *out)
{
	size_t from = out->len, at = 1;
	int r;

	if (len == 0 || len > POLICY_PATH_MAX || s[0] != '/')
		return -EINVAL;
	r = buf_append(out, "/", 1);
	while (r == 0 && at < len) {
		if (s[at] == '/') {
			r = end_segment(out, from, false);
			at++;
		} else {
			r = append_char(s, len, &at, out);
		}
	}
	if (r == 0)
		r = end_segment(out, from, true);
	return r == 0 && out->len - from > POLICY_PATH_MAX ? -EINVAL : r;
}

int policy_path_normalise(const char *s, size_t len, struct buf *ret)
{
	size_t path_len = 0, had = ret->len;
	int r;

	while (path_len < len && s[path_len] != '?' && s[path_len] != '#')
		path_len++;
	if (len == 1 && s[0] == '*')
		return buf_append(ret, "*", 1); /* OPTIONS * */
	r = normalise(s, path_len, ret);
	if (r < 0)
		ret->len = had;
	return r;
}

static size_t count_slashes(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += s[i] == '/';
	return n;
}

int policy_pattern_normalise(const char *s, size_t len, struct buf *ret, struct why *why)
{
	size_t had;
	int r;

	if (len == 0 || s[0] != '/')
		return why_set(why, "path \"%.100s\" does not begin with \"/\"", s);
	if (strpbrk(s, "?#"))
		return why_set(
			why, "path \"%.100s\": query and fragment are not part of what is matched",
			s);
	for (const char *p = s; (p = strstr(p, "**")); p += 2)
		if (p[-1] != '/' || (p[2] && p[2] != '/'))
			return why_set(why,
				       "path \"%.100s\": \"**\" is a whole segment: \"/a/**\", "
				       "\"/a/**/b\"",
				       s);
	had = ret->len;
	r = len > POLICY_PATH_MAX ? -ENOBUFS : normalise(s, len, ret);
	/* A dot segment took slashes away; what its author meant is a guess. */
	if (r == 0 &&
	    count_slashes(s, len) != count_slashes((const char *)buf_at(ret) + had, ret->len - had))
		r = -EINVAL;
	/* The normal form counts: it is what is printed, loaded again and matched. */
	if (r == 0 && ret->len - had > POLICY_PATTERN_MAX)
		r = -ENOBUFS;
	if (r < 0)
		ret->len = had;
	if (r == -EINVAL)
		return why_set(why,
			       "path \"%.100s\" can be read in two ways (empty or dot segment, bad "
			       "escape, backslash, encoded slash): write it plainly",
			       s);
	if (r == -ENOBUFS)
		why_set(why, "a path pattern is at most %d bytes, escapes written out",
			POLICY_PATTERN_MAX);
	else if (r < 0)
		why_set(why, "out of memory");
	return r;
}

int policy_path_pattern(const char *s, struct buf *ret, char *why, size_t why_size)
{
	struct why w = { "" };
	int r = policy_pattern_normalise(s, strlen(s), ret, &w);

	if (r < 0)
		snprintf(why, why_size, "%s", w.text);
	return r;
}

/* ---- matching ---------------------------------------------------------------- */

struct segment {
	const char *p;
	size_t n;
};

static struct segment segment_at(const char *p)
{
	return (struct segment){ p, strcspn(p, "/") };
}

/* The one behind; p NULL when there is none. */
static struct segment segment_next(struct segment s)
{
	if (s.p[s.n] != '/')
		return (struct segment){ NULL, 0 };
	return segment_at(s.p + s.n + 1);
}

static bool is_any_depth(struct segment s)
{
	return s.n == 2 && s.p[0] == '*' && s.p[1] == '*';
}

static bool segment_match(struct segment pat, struct segment s)
{
	size_t i = 0, j = 0, star = SIZE_MAX, retry = 0;

	if (pat.n == 1 && pat.p[0] == '*')
		return s.n > 0;
	while (j < s.n) {
		if (i < pat.n && pat.p[i] == '*') {
			star = i++;
			retry = j;
		} else if (i < pat.n && pat.p[i] == s.p[j]) {
			i++;
			j++;
		} else if (star != SIZE_MAX) {
			i = star + 1;
			j = ++retry;
		} else {
			return false;
		}
	}
	while (i < pat.n && pat.p[i] == '*')
		i++;
	return i == pat.n;
}

bool policy_path_match(const char *pattern, const char *path)
{
	struct segment pat, seg, star = { NULL, 0 }, retry = { NULL, 0 };

	if (pattern[0] != '/' || path[0] != '/')
		return false;
	pat = segment_at(pattern + 1);
	seg = segment_at(path + 1);
	while (seg.p) {
		if (pat.p && is_any_depth(pat)) {
			star = segment_next(pat);
			if (!star.p)
				return true;
			pat = star;
			retry = seg;
		} else if (pat.p && segment_match(pat, seg)) {
			pat = segment_next(pat);
			seg = segment_next(seg);
		} else if (star.p) {
			pat = star;
			seg = retry = segment_next(retry);
		} else {
			return false;
		}
	}
	while (pat.p && is_any_depth(pat))
		pat = segment_next(pat);
	return !pat.p;
}
