/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest. The first byte chooses the surroundings, the rest is what the
 * guest sends; bytes 0xf0..0xf7 stand for the placeholder in some spelling.
 *
 * Oracles: the outcome does not depend on the pieces; the value goes upstream
 * only over TLS, to its host, in an allowed place; but for the value what goes
 * upstream is what a filter without secrets sends; all of it is accepted by a
 * second filter, so where DNS over HTTPS is denied none that is recognised gets out.
 */
#include "tests/unit/tlsproxy/http_rig.h"
#include "tests/unit/tlsproxy/secret_rig.h"

#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
enum { PLAIN_HTTP = 1, OTHER_HOST = 2, PASS = 4, NARROW = 8, DENY_DOH = 16 };

static struct secret_set *the_set(unsigned flags)
{
	static struct secret_set *sets[16];
	struct secret_spec spec = { "T", VALUE,
				    flags & OTHER_HOST ? "other.example.com" : "api.example.com",
				    flags & NARROW ? 3 : 31,
				    flags & PASS ? TLSPROXY_PASSTHROUGH : TLSPROXY_BLOCK_AND_LOG };

	if (!sets[flags & 15])
		sets[flags & 15] = secret_rig(&spec, 1);
	return sets[flags & 15];
}

static void expand(const struct secret *s, const uint8_t *p, size_t n, struct buf *out)
{
	const uint8_t *ph = (const uint8_t *)s->placeholder;
	uint8_t tmp[256];
	char text[256];

	for (size_t i = 0; i < n; i++) {
		switch (p[i]) {
		case 0xf0:
			rig_must(buf_append(out, ph, s->len));
			break;
		case 0xf1:
			rig_must(buf_append(out, ph, s->len / 2));
			break;
		case 0xf2:
			rig_must(buf_append(out, ph + s->len / 2, s->len - s->len / 2));
			break;
		case 0xf3:
			for (size_t j = 0; j < s->len; j++)
				rig_must(buf_printf(out, "%%%02x", ph[j]));
			break;
		case 0xf4:
			rig_must(buf_append(out, text, secret_base64_encode(ph, s->len, text)));
			break;
		case 0xf5:
			rig_must(buf_append(out, tmp, secret_encode_hex(false, ph, s->len, tmp)));
			break;
		case 0xf6:
			rig_must(buf_append_str(out, "Host: api.example.com\r\n"));
			break;
		case 0xf7:
			rig_must(buf_append_str(out, "\r\n"));
			break;
		default:
			rig_must(buf_append(out, p + i, 1));
		}
	}
}

/* Our own output, so canonical: requests with their chunks taken out. */
static void plain_requests(struct buf *in, struct buf *out)
{
	const char *t = rig_text(in), *end_all = t + in->len, *end;

	while ((end = memmem(t, (size_t)(end_all - t), "\r\n\r\n", 4))) {
		size_t head = (size_t)(end + 4 - t), left;
		const char *cl = memmem(t, head, "\r\nContent-Length: ", 18);
		const char *te = memmem(t, head, "\r\nTransfer-Encoding: chunked\r\n", 30);
		struct http_chunks c = { 0 };

		rig_must(buf_append(out, t, head));
		t += head;
		left = (size_t)(end_all - t);
		if (cl) {
			left = MIN(left, (size_t)strtoull(cl + 18, NULL, 10));
			rig_must(buf_append(out, t, left));
			t += left;
		}
		while (te && left) {
			const uint8_t *data = NULL;
			size_t used, len;
			const char *why;
			bool last;

			if (http_chunks_feed(&c, (const uint8_t *)t, left, &used, &data, &len,
					     &last, &why) < 0)
				abort();
			rig_must(buf_append(out, data, len));
			t += used;
			left -= used;
			if (!last)
				continue;
			/* Trailers end with an empty line, also when there are none. */
			end = left >= 2 && memcmp(t, "\r\n", 2) == 0
				      ? t - 2
				      : memmem(t, left, "\r\n\r\n", 4);
			if (!end)
				return;
			rig_must(buf_append(out, t, (size_t)(end + 4 - t)));
			t = end + 4;
			break;
		}
	}
	rig_must(buf_append(out, t, (size_t)(end_all - t)));
}

/* The http lines of the record without their counts. */
static void outcomes(struct buf *log, struct buf *out)
{
	const char *t = rig_text(log), *nl;

	for (; (nl = strchr(t, '\n')); t = nl + 1) {
		const char *up = memmem(t, (size_t)(nl - t), " up=", 4);

		if (str_starts(t, "http "))
			rig_must(buf_append(out, t, (size_t)((up ? up : nl) - t)));
	}
}

/* What we write is what we would take. */
static void check_output(unsigned flags, const struct buf *raw)
{
	struct rig g;

	rig_prepare(&g, !(flags & PLAIN_HTTP), NULL);
	g.deny_doh = flags & DENY_DOH;
	rig_start(&g);
	if (raw->len && !rig_feed(&g, true, buf_at(raw), raw->len))
		rig_must(0); /* more requests than may wait */
	if (g.guest.len)
		abort();
	rig_free(&g);
}

struct result {
	struct buf up, guest, log;
	enum http_state state;
};

static void run(unsigned flags, const struct buf *in, uint32_t cut, bool secrets, struct result *ret)
{
	struct rig g;

	rig_prepare(&g, !(flags & PLAIN_HTTP), secrets ? the_set(flags) : NULL);
	g.cut = cut;
	g.deny_doh = flags & DENY_DOH;
	rig_start(&g);
	rig_feed(&g, true, buf_at(in), in->len);
	if (g.state != HTTP_CLOSE && g.state != HTTP_ABORT)
		g.state = http_guest_eof(g.filter, &g.up, &g.guest);
	rig_end(&g);
	*ret = (struct result){ BUF_INIT(RIG_CAP), BUF_INIT(RIG_CAP), BUF_INIT(RIG_CAP), g.state };
	check_output(flags, &g.up);
	plain_requests(&g.up, &ret->up);
	rig_must(buf_append(&ret->guest, rig_text(&g.guest), g.guest.len));
	outcomes(&g.log, &ret->log);
	if (g.up.len && ((flags & (PLAIN_HTTP | OTHER_HOST)) || !secrets) &&
	    memmem(buf_at(&g.up), g.up.len, VALUE, strlen(VALUE)))
		abort();
	if (g.guest.len && memmem(buf_at(&g.guest), g.guest.len, VALUE, strlen(VALUE)))
		abort();
	if (memmem(rig_text(&g.log), g.log.len, VALUE, strlen(VALUE)))
		abort();
	rig_free(&g);
}

static void done(struct result *r)
{
	buf_fini(&r->up);
	buf_fini(&r->guest);
	buf_fini(&r->log);
}

static bool prefix_equal(struct buf *a, struct buf *b, bool whole)
{
	size_t n = MIN(a->len, b->len);

	return (!whole || a->len == b->len) && (n == 0 || memcmp(buf_at(a), buf_at(b), n) == 0);
}

/*
 * Value back to placeholder: then it is what a filter without secrets sends, but
 * for Accept-Encoding, which both are compared without.
 */
static void unput(const struct secret *s, struct buf *b)
{
	size_t at = 0;

	while (b->len - at >= s->len) {
		if (memcmp(buf_at(b) + at, s->value, s->len) == 0)
			memcpy(buf_at(b) + at, s->placeholder, s->len);
		at++;
	}
}

/* Ours is written only where a secret may go, in one line for all that the guest sent. */
static void drop_accept_encoding(struct buf *b)
{
	static const char name[] = "\r\nAccept-Encoding:";
	size_t at = 0, n;
	const uint8_t *end;

	while (b->len - at >= sizeof(name) - 1) {
		if (strncasecmp((char *)buf_at(b) + at, name, sizeof(name) - 1) != 0) {
			at++;
			continue;
		}
		end = memmem(buf_at(b) + at + 2, b->len - at - 2, "\r\n", 2);
		n = end ? (size_t)(end - buf_at(b)) - at : b->len - at;
		memmove(buf_at(b) + at, buf_at(b) + at + n, b->len - at - n);
		b->len -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf in = BUF_INIT(RIG_CAP);
	struct result whole, bare, again;
	bool finished;
	unsigned flags;

	if (size < 2 || size > 8192)
		return 0;
	flags = data[0] & 31;
	expand(&the_set(flags)->secrets[0], data + 1, size - 1, &in);
	if (memmem(buf_at(&in), in.len, VALUE, strlen(VALUE))) {
		buf_fini(&in);
		return 0;
	}
	run(flags, &in, 0, true, &whole);
	for (uint32_t cut = 1; cut < 4; cut++) {
		run(flags, &in, cut == 1 ? 1 : cut * 7919, true, &again);
		/* A violation within a body: how much of it went before depends on the cut. */
		finished =
			whole.state == HTTP_OK && !strstr(rig_text(&whole.log), "http violation");
		if (again.state != whole.state || !prefix_equal(&again.log, &whole.log, true) ||
		    !prefix_equal(&again.guest, &whole.guest, true) ||
		    !prefix_equal(&again.up, &whole.up, finished))
			abort();
		done(&again);
	}
	run(flags, &in, 0, false, &bare);
	if (!memchr(data, 0xf4, size)) { /* Basic changes what is around a value */
		unput(&the_set(flags)->secrets[0], &whole.up);
		drop_accept_encoding(&whole.up);
		drop_accept_encoding(&bare.up);
		if (!prefix_equal(&whole.up, &bare.up, false))
			abort();
	}
	done(&whole);
	done(&bare);
	buf_fini(&in);
	return 0;
}
