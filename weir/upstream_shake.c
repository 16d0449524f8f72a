/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshakes, one after the other: SOCKS reads answers of a known length
 * (need), HTTP reads lines. A field that two readers could take differently is
 * an error; texts of the proxy's own never leave this file.
 */
#include "weir/upstream_shake.h"

#include <stdio.h>

enum { STEP_METHOD, STEP_AUTH, STEP_REPLY, STEP_REPLY_REST, STEP_STATUS, STEP_FIELDS };
enum { SOCKS5_NO_AUTH = 0, SOCKS5_PASSWORD = 2, SOCKS5_NONE_FITS = 0xff };
enum { ATYP_IP4 = 1, ATYP_NAME = 3, ATYP_IP6 = 4 };

static void put(struct upstream_shake *s, const void *p, size_t n)
{
	assert(n <= sizeof(s->out) - s->out_len);
	if (n)
		memcpy(s->out + s->out_len, p, n);
	s->out_len += n;
}

static void put_byte(struct upstream_shake *s, unsigned b)
{
	uint8_t one = (uint8_t)b;

	put(s, &one, 1);
}

static void put_text(struct upstream_shake *s, const char *text)
{
	put(s, text, strlen(text));
}

static void put_port(struct upstream_shake *s)
{
	uint8_t port[2];

	put_be16(port, s->to.port);
	put(s, port, 2);
}

static void fail(struct upstream_shake *s, int error, bool of_target, const char *why)
{
	s->state = UPSTREAM_FAILED;
	s->error = error;
	s->of_target = of_target;
	s->why = why;
}

static void garbage(struct upstream_shake *s)
{
	fail(s, EPROTO, false, "the upstream proxy's answer cannot be read");
}

/* The next answer is so long. */
static void expect(struct upstream_shake *s, int step, size_t need)
{
	s->step = step;
	s->need = need;
	s->in_len = 0;
}

/* ---- SOCKS 4 ------------------------------------------------------------------- */

/* VN 4, CD 1, DSTPORT, DSTIP, USERID NUL; 4A: DSTIP 0.0.0.x, and the name with a NUL behind. */
static void ask_socks4(struct upstream_shake *s)
{
	static const uint8_t by_name[4] = { 0, 0, 0, 1 };

	put_byte(s, 4);
	put_byte(s, 1);
	put_port(s);
	put(s, s->name.len ? by_name : s->to.addr.b, 4);
	if (s->auth)
		put_text(s, s->auth->user);
	put_byte(s, 0);
	if (s->name.len) {
		put(s, s->name.s, s->name.len);
		put_byte(s, 0);
	}
	expect(s, STEP_REPLY, 8);
}

static void answer_socks4(struct upstream_shake *s)
{
	if (s->in[0] != 0)
		garbage(s);
	else if (s->in[1] == 90)
		s->state = UPSTREAM_DONE;
	else if (s->in[1] == 91)
		fail(s, EHOSTUNREACH, true, "the upstream proxy rejected the request or it failed");
	else if (s->in[1] == 92 || s->in[1] == 93)
		fail(s, EACCES, false, "the upstream proxy does not accept the user id");
	else
		garbage(s);
}

/* ---- SOCKS 5 ------------------------------------------------------------------- */

static void greet_socks5(struct upstream_shake *s)
{
	put_byte(s, 5);
	put_byte(s, s->auth ? 2 : 1);
	put_byte(s, SOCKS5_NO_AUTH);
	if (s->auth)
		put_byte(s, SOCKS5_PASSWORD);
	expect(s, STEP_METHOD, 2);
}

static void ask_socks5(struct upstream_shake *s)
{
	put_byte(s, 5);
	put_byte(s, 1);
	put_byte(s, 0);
	if (s->name.len) {
		put_byte(s, ATYP_NAME);
		put_byte(s, s->name.len);
		put(s, s->name.s, s->name.len);
	} else {
		put_byte(s, s->to.addr.family == 4 ? ATYP_IP4 : ATYP_IP6);
		put(s, s->to.addr.b, ip_size(&s->to.addr));
	}
	put_port(s);
	/* VER REP RSV ATYP and one byte more, which a name's length may be. */
	expect(s, STEP_REPLY, 5);
}

static void send_password(struct upstream_shake *s)
{
	put_byte(s, 1);
	put_byte(s, (unsigned)strlen(s->auth->user));
	put_text(s, s->auth->user);
	put_byte(s, (unsigned)strlen(s->auth->password));
	put_text(s, s->auth->password);
	expect(s, STEP_AUTH, 2);
}

static void answer_method(struct upstream_shake *s)
{
	if (s->in[0] != 5)
		garbage(s);
	else if (s->in[1] == SOCKS5_NO_AUTH)
		ask_socks5(s);
	else if (s->in[1] == SOCKS5_PASSWORD && s->auth)
		send_password(s);
	else if (s->in[1] == SOCKS5_NONE_FITS || s->in[1] == SOCKS5_PASSWORD)
		fail(s, EACCES, false,
		     s->auth ? "the upstream proxy accepts no password"
			     : "the upstream proxy asks for a user and a password");
	else
		garbage(s);
}

static void answer_auth(struct upstream_shake *s)
{
	if (s->in[0] != 1)
		garbage(s);
	else if (s->in[1] != 0)
		fail(s, EACCES, false, "the upstream proxy does not accept user and password");
	else
		ask_socks5(s);
}

/* RFC 1928 6. */
static void refused_socks5(struct upstream_shake *s, uint8_t rep)
{
	static const struct {
		int error;
		bool of_target;
		const char *why;
	} reps[] = {
		[1] = { EHOSTUNREACH, true, "the upstream proxy failed" },
		[2] = { EACCES, true, "the upstream proxy's rules refuse this destination" },
		[3] = { ENETUNREACH, true, "the upstream proxy: network unreachable" },
		[4] = { EHOSTUNREACH, true, "the upstream proxy: host unreachable" },
		[5] = { ECONNREFUSED, true, "the upstream proxy: connection refused" },
		[6] = { EHOSTUNREACH, true, "the upstream proxy: TTL expired" },
		[7] = { EPROTO, false, "the upstream proxy makes no connections" },
		[8] = { EAFNOSUPPORT, true,
			"the upstream proxy cannot be asked for this kind of address" },
	};

	if (rep < ARRAY_SIZE(reps))
		fail(s, reps[rep].error, reps[rep].of_target, reps[rep].why);
	else
		garbage(s);
}

static void answer_socks5(struct upstream_shake *s)
{
	size_t more;

	if (s->in[0] != 5) {
		garbage(s);
		return;
	}
	if (s->in[1] != 0) {
		refused_socks5(s, s->in[1]);
		return;
	}
	/* BND.ADDR and BND.PORT, which are of no use here; one byte of them is read. */
	switch (s->in[3]) {
	case ATYP_IP4:
		more = 4 + 2 - 1;
		break;
	case ATYP_IP6:
		more = 16 + 2 - 1;
		break;
	case ATYP_NAME:
		more = (size_t)s->in[4] + 2;
		break;
	default:
		garbage(s);
		return;
	}
	expect(s, STEP_REPLY_REST, more);
}

/* ---- HTTP ------------------------------------------------------------------------ */

static void put_base64(struct upstream_shake *s, const char *text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = (const uint8_t *)text;
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		put_byte(s, (unsigned char)digits[v >> 18]);
		put_byte(s, (unsigned char)digits[v >> 12 & 63]);
		put_byte(s, i + 1 < n ? (unsigned char)digits[v >> 6 & 63] : '=');
		put_byte(s, i + 2 < n ? (unsigned char)digits[v & 63] : '=');
	}
}

static void ask_http(struct upstream_shake *s)
{
	char host[NAME_MAX_LEN + 16], both[2 * UPSTREAM_AUTH_MAX + 2];

	if (s->name.len)
		snprintf(host, sizeof(host), "%s:%u", s->name.s, s->to.port);
	else
		endpoint_format(&s->to, host);
	put_text(s, "CONNECT ");
	put_text(s, host);
	put_text(s, " HTTP/1.1\r\nHost: ");
	put_text(s, host);
	if (s->auth) {
		put_text(s, "\r\nProxy-Authorization: Basic ");
		snprintf(both, sizeof(both), "%s:%s", s->auth->user, s->auth->password);
		put_base64(s, both);
		explicit_bzero(both, sizeof(both));
	}
	put_text(s, "\r\n\r\n");
	s->step = STEP_STATUS;
}

static void refused_http(struct upstream_shake *s)
{
	switch (s->status) {
	case 401:
	case 407:
		fail(s, EACCES, false,
		     s->auth ? "the upstream proxy does not accept user and password"
			     : "the upstream proxy asks for a user and a password");
		break;
	case 403:
	case 451:
		fail(s, EACCES, true, "the upstream proxy refuses this destination");
		break;
	case 429:
		fail(s, EHOSTUNREACH, false, "the upstream proxy has had too many requests");
		break;
	case 404:
	case 500:
	case 502:
	case 503:
		fail(s, EHOSTUNREACH, true, "the upstream proxy cannot reach the destination");
		break;
	case 408:
	case 504:
		fail(s, EHOSTUNREACH, true, "the upstream proxy: the destination does not answer");
		break;
	default:
		fail(s, EPROTO, false, "the upstream proxy does not make connections (CONNECT)");
		break;
	}
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.x DDD", then nothing or a blank and a text (RFC 9112 4). */
static void status_line(struct upstream_shake *s)
{
	const uint8_t *p = s->in;
	size_t n = s->in_len;

	if (n && p[n - 1] == '\r')
		n--;
	if (n < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ' ||
	    !is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || (n > 12 && p[12] != ' ')) {
		garbage(s);
		return;
	}
	s->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	if (s->status < 100 || s->status == 101)
		garbage(s);
	else if (s->status >= 300)
		refused_http(s);
	s->step = STEP_FIELDS;
}

/* The head is over: of an interim answer (RFC 9110 15.2), or of the one. */
static void head_end(struct upstream_shake *s)
{
	if (s->status >= 200) {
		s->state = UPSTREAM_DONE;
		return;
	}
	s->step = STEP_STATUS;
	s->in_len = 0;
}

static void line_end(struct upstream_shake *s)
{
	bool empty = s->line == 0;

	s->line = 0;
	if (s->step == STEP_STATUS)
		status_line(s);
	else if (empty)
		head_end(s);
}

static size_t input_http(struct upstream_shake *s, const uint8_t *p, size_t len)
{
	size_t i = 0;

	while (i < len && s->state == UPSTREAM_MORE) {
		uint8_t c = p[i++];

		if (++s->head > UPSTREAM_HEAD_MAX) {
			garbage(s);
		} else if (c == '\n') {
			line_end(s);
		} else if (c == 0 || s->cr) {
			garbage(s);
		} else {
			if (s->step == STEP_STATUS && s->in_len == sizeof(s->in))
				garbage(s);
			else if (s->step == STEP_STATUS)
				s->in[s->in_len++] = c;
			s->line += c != '\r';
		}
		s->cr = c == '\r';
	}
	return i;
}

/* ---- all --------------------------------------------------------------------------- */

int upstream_shake_begin(struct upstream_shake *s, enum upstream_kind kind,
			 const struct upstream_auth *auth, const struct endpoint *to,
			 const struct name *name)
{
	*s = (struct upstream_shake){ .kind = kind, .auth = auth, .to = *to };
	if (name)
		s->name = *name;
	switch (kind) {
	case UPSTREAM_SOCKS4:
		if (!s->name.len && to->addr.family != 4)
			return -EAFNOSUPPORT;
		ask_socks4(s);
		return 0;
	case UPSTREAM_SOCKS5:
		greet_socks5(s);
		return 0;
	case UPSTREAM_HTTP:
		ask_http(s);
		return 0;
	case UPSTREAM_NONE:
		break;
	}
	return -EINVAL;
}

static void answered(struct upstream_shake *s)
{
	switch (s->step) {
	case STEP_METHOD:
		answer_method(s);
		break;
	case STEP_AUTH:
		answer_auth(s);
		break;
	case STEP_REPLY:
		if (s->kind == UPSTREAM_SOCKS4)
			answer_socks4(s);
		else
			answer_socks5(s);
		break;
	default:
		s->state = UPSTREAM_DONE;
		break;
	}
}

size_t upstream_shake_input(struct upstream_shake *s, const uint8_t *p, size_t len)
{
	size_t at = 0;

	if (s->state != UPSTREAM_MORE || !len)
		return 0;
	explicit_bzero(s->out, s->out_len);
	s->out_len = 0;
	if (s->kind == UPSTREAM_HTTP)
		return input_http(s, p, len);
	/* What it says before it was asked is no answer. */
	while (at < len && s->state == UPSTREAM_MORE && !s->out_len) {
		size_t n = MIN(len - at, s->need - s->in_len);

		memcpy(s->in + s->in_len, p + at, n);
		s->in_len += n;
		at += n;
		if (s->in_len == s->need)
			answered(s);
	}
	if (at < len && s->out_len)
		garbage(s);
	return at;
}

void upstream_shake_fini(struct upstream_shake *s)
{
	explicit_bzero(s, sizeof(*s));
}
