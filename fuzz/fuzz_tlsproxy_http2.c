/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile HTTP/2 peer. The first byte chooses which side it is at and what the other
 * side speaks, the rest are its bytes (behind the preface, where that is wanted); with TIME
 * a minute passes in their midst, and as many behind them as a stream may stand still.
 *
 * Oracles: the outcome does not depend on the pieces; every request is reported once and
 * nothing stays open; memory stays within its bounds; what goes to an upstream in HTTP/1
 * is accepted by a filter that reads it.
 */
#include "tests/unit/tlsproxy/http2_wire.h"
#include "tlsproxy/http2_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NO_GOAWAY "goaway -1" /* of the guest's side */
#define CONNECTION_ERROR "broke the rules of HTTP/2"
enum { AT_UPSTREAM = 1, OTHER_H1 = 2, NO_PREFACE = 4, PLAIN = 8, TIME = 16 };

static void check_memory(const struct http_side *s)
{
	const struct http2 *h = http2_of(s);
	size_t in = 0;

	list_for_each (it, &h->streams)
		in += container_of(it, struct http2_stream, node)->in.len;
	if (h->mem.used > HTTP2_MEM_MAX || in > HTTP2_WINDOW_CONNECTION ||
	    h->out_bytes > HTTP2_OUT_ALL + HTTP2_STREAMS_MAX * HTTP2_OUT_FLOOR ||
	    h->waiting_bytes > HTTP2_WAITING_MAX + 2 * HTTP_HEAD_MAX)
		abort();
}

static void prepare(struct h2_rig *r, unsigned flags, uint32_t cut)
{
	h2_prepare(r, !(flags & PLAIN), NULL);
	r->g.cfg.guest_h2 = !(flags & PLAIN) && !((flags & AT_UPSTREAM) && (flags & OTHER_H1));
	r->g.cfg.upstream_h2 = (flags & AT_UPSTREAM) || (r->g.cfg.guest_h2 && !(flags & OTHER_H1));
	r->g.buf_cap = RIG_CAP;
	snprintf(r->g.deny_path, sizeof(r->g.deny_path), "/deny");
	r->h1 = true; /* the upstream's bytes are the input, or there are none */
	h2_start(r);
	r->g.cut = cut;
}

/* What is written in HTTP/1 is what we would take. */
static void check_h1(const struct buf *up, bool tls)
{
	struct rig g;

	rig_prepare(&g, tls, NULL);
	rig_start(&g);
	if (up->len)
		rig_feed(&g, true, buf_at(up), up->len);
	if (g.guest.len)
		abort();
	rig_free(&g);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * The http lines of the record without their counts, in the order of their texts: which
 * of two streams ends first may depend on what came at once.
 */
static void outcomes(struct buf *log, struct buf *out)
{
	char *t = strdup(rig_text(log)), *lines[H2_STREAMS], *up, *save = NULL;
	size_t n = 0;

	for (char *l = strtok_r(t, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (n == H2_STREAMS)
			abort();
		up = strstr(l, " up=");
		if (up)
			*up = 0;
		lines[n++] = l;
	}
	qsort(lines, n, sizeof(lines[0]), by_text);
	for (size_t i = 0; i < n; i++)
		rig_must(buf_printf(out, "%s\n", lines[i]));
	free(t);
}

static void minutes(struct h2_rig *r, unsigned n)
{
	size_t used;

	for (; n; n--) {
		http_filter_tick(r->g.filter, &r->g.up, &r->g.guest);
		r->g.state = http_from_guest(r->g.filter, NULL, 0, &used, &r->g.up, &r->g.guest);
	}
}

/* The peer's bytes. */
static void feed(struct h2_rig *r, unsigned flags, bool guest, const uint8_t *p, size_t n)
{
	size_t half = flags & TIME ? n / 2 : n;

	rig_feed(&r->g, guest, p, half);
	if (!(flags & TIME))
		return;
	minutes(r, 1);
	rig_feed(&r->g, guest, p + half, n - half);
	minutes(r, HTTP2_STALL_TICKS + 1);
}

static void hostile_guest(unsigned flags, const uint8_t *p, size_t n, uint32_t cut, struct buf *ret)
{
	struct buf in = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	prepare(&r, flags, cut);
	if (!(flags & NO_PREFACE))
		wire_begin(&in);
	rig_must(buf_append(&in, p, n));
	feed(&r, flags, true, buf_at(&in), in.len);
	if (r.g.cfg.guest_h2)
		check_memory(r.g.filter->guest);
	if (r.g.cfg.guest_h2 && !r.g.cfg.upstream_h2)
		check_h1(&r.g.up, r.g.cfg.tls);
	rig_end(&r.g);
	outcomes(&r.g.log, ret);
	rig_must(buf_printf(ret, "state %d goaway %lld\n", r.g.state,
			    (long long)wire_code(&r.g.guest, W_GOAWAY, 0)));
	h2_free(&r);
	buf_fini(&in);
}

/* The requests that wait for what the hostile upstream says. */
static void requests(struct h2_rig *r)
{
	if (!r->g.cfg.guest_h2) {
		rig_guest(&r->g, "GET /a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
				 "POST /b HTTP/1.1\r\nHost: api.example.com\r\n"
				 "Content-Length: 5\r\n\r\nhello");
		return;
	}
	h2_get(r, "/a");
	h2_request(r, "POST", "/b", 100, true);
	h2_request(r, "HEAD", "/c", 0, false);
	h2_request(r, "POST", "/d", 100, false)->held = true;
	h2_run(r);
}

static void hostile_upstream(unsigned flags, const uint8_t *p, size_t n, uint32_t cut, struct buf *ret)
{
	struct h2_rig r;

	prepare(&r, flags, 0);
	requests(&r);
	r.g.cut = cut;
	if (!(flags & NO_PREFACE)) {
		struct buf b = BUF_INIT(64);

		wire_frame(&b, W_SETTINGS, 0, 0, NULL, 0);
		rig_feed(&r.g, false, buf_at(&b), b.len);
		buf_fini(&b);
	}
	feed(&r, flags, false, p, n);
	if (r.g.state == HTTP_OK && r.g.cfg.guest_h2)
		h2_run(&r);
	else if (r.g.cfg.guest_h2)
		h2_out(r.client, &r.g.guest, false);
	check_memory(r.g.filter->upstream);
	rig_end(&r.g);
	outcomes(&r.g.log, ret);
	for (size_t i = 0; i < r.n_c; i++)
		/* How much came of what breaks off depends on the pieces. */
		rig_must(buf_printf(ret, "%zu: %u %llu %d %u\n", i, r.c[i]->status,
				    (unsigned long long)(r.c[i]->ended ? r.c[i]->got : 0),
				    r.c[i]->ended, r.c[i]->code));
	if (h2_events(&r) > 4)
		abort();
	h2_free(&r);
}

static void run(unsigned flags, const uint8_t *p, size_t n, uint32_t cut, struct buf *ret)
{
	*ret = BUF_INIT(RIG_CAP);
	if (flags & AT_UPSTREAM)
		hostile_upstream(flags, p, n, cut, ret);
	else
		hostile_guest(flags, p, n, cut, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t cuts[] = { 1, 7919, 15838 };
	struct buf whole, again;

	if (size < 2 || size > 16384)
		return 0;
	run(data[0], data + 1, size - 1, 0, &whole);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		run(data[0], data + 1, size - 1, cuts[i], &again);
		/*
		 * The end of an HTTP/1 connection takes along what had not arrived by then, a
		 * connection error streams that had failed on their own; and a frame too many
		 * for a stream comes before or behind the stream's end: ignored, or an error.
		 */
		if (((data[0] & AT_UPSTREAM) ||
		     (strstr(rig_text(&whole), NO_GOAWAY) && strstr(rig_text(&again), NO_GOAWAY))) &&
		    !strstr(rig_text(&whole), CONNECTION_ERROR) &&
		    !strstr(rig_text(&again), CONNECTION_ERROR) &&
		    !(data[0] & AT_UPSTREAM ? data[0] & (OTHER_H1 | PLAIN)
					    : strstr(rig_text(&again), "state 1") != NULL) &&
		    !str_eq(rig_text(&whole), rig_text(&again))) {
			fprintf(stderr, "whole:\n%s\ncut %u:\n%s\n", rig_text(&whole), cuts[i],
				rig_text(&again));
			abort();
		}
		buf_fini(&again);
	}
	buf_fini(&whole);
	return 0;
}
