/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to a token endpoint: TLS, verified as for any upstream (authorities,
 * pins, client certificates of that host), the request, the reply, the end.
 *
 *   SHAKE ─► TALK ─► over, told from the loop
 *
 * It has the upstream half of a session and no other: a session that is on no list and
 * has no guest. The endpoint is hostile in what it answers and when.
 */
#include "tlsproxy/tlsproxy_int.h"
#include "tlsproxy/token.h"

#include <stdio.h>

struct tlsproxy_fetch {
	struct session s; /* tp, key, terms; its upstream leg is ours */
	struct buf request;
	struct token_reader reader;
	struct tlsproxy_token token;
	bool talking, over, got;
	struct loop_timer late;
	struct loop_task done;
	tlsproxy_fetched_fn *cb;
	void *ctx;
	char why[160];
};

static struct leg *leg_of(struct tlsproxy_fetch *f)
{
	return &f->s.upstream;
}

void tlsproxy_fetch_cancel(struct tlsproxy_fetch *f)
{
	if (!f)
		return;
	loop_timer_del(f->s.tp->loop, &f->late);
	loop_task_cancel(f->s.tp->loop, &f->done);
	leg_close(leg_of(f), false);
	buf_fini_wiped(&f->request);
	token_reader_fini(&f->reader);
	token_wipe(&f->token);
	free(f);
}

static void on_done(struct loop_task *t)
{
	struct tlsproxy_fetch *f = container_of(t, struct tlsproxy_fetch, done);

	f->cb(f->ctx, f->got ? &f->token : NULL, f->why);
	tlsproxy_fetch_cancel(f);
}

/* Told later: whoever started it may not expect it yet. */
static void finish(struct tlsproxy_fetch *f, const char *why)
{
	if (f->over)
		return;
	f->over = true;
	f->got = !why;
	if (why)
		snprintf(f->why, sizeof(f->why), "%s", why);
	loop_timer_del(f->s.tp->loop, &f->late);
	leg_close(leg_of(f), false);
	loop_task_queue(f->s.tp->loop, &f->done);
}

static void on_late(struct loop_timer *t)
{
	struct tlsproxy_fetch *f = container_of(t, struct tlsproxy_fetch, late);

	finish(f, f->talking ? "the token endpoint does not answer"
			     : "the TLS handshake with the token endpoint takes too long");
}

/* ---- steps ------------------------------------------------------------------------------- */

static void shake(struct tlsproxy_fetch *f)
{
	struct leg *leg = leg_of(f);
	int r = leg_handshake(leg);
	const char *why, *token;
	char text[128], said[160];
	enum alpn alpn;

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		snprintf(said, sizeof(said), "the token endpoint: %s",
			 tls_error_text(text, sizeof(text)));
		finish(f, said);
		return;
	}
	why = tls_upstream_refused(&f->s, leg->ssl, &alpn, &token);
	if (!why &&
	    (leg_reserve(leg) < 0 || buf_append(&leg->out, buf_at(&f->request), f->request.len) < 0))
		why = "out of memory";
	if (why) {
		finish(f, why);
		return;
	}
	buf_fini_wiped(&f->request);
	f->talking = true;
}

static void hear(struct tlsproxy_fetch *f)
{
	uint8_t *room = f->s.tp->scratch;
	enum leg_status st = LEG_OK;

	while (!f->over && st == LEG_OK) {
		size_t n = 0;
		int r;

		st = leg_read(leg_of(f), room, TLSPROXY_READ, &n);
		if (st == LEG_AGAIN)
			return;
		r = token_reader_feed(&f->reader, room, n, st != LEG_OK, time_real_ns() / NS_PER_S,
				      &f->token);
		explicit_bzero(room, n);
		/* Cut short, even a whole reply is not to be believed. */
		if (r == 1 && st == LEG_CUT)
			finish(f, "the token endpoint's connection was cut");
		else if (r != 0)
			finish(f, r == 1 ? NULL : f->reader.why);
	}
}

static void run(struct tlsproxy_fetch *f)
{
	struct leg *leg = leg_of(f);

	leg->budget = TLSPROXY_BUDGET;
	if (!f->talking)
		shake(f);
	if (f->talking && !f->over) {
		leg_flush(leg);
		hear(f);
	}
	if (!f->over)
		leg_arm(leg, true);
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct leg *leg = container_of(io, struct leg, io);
	struct tlsproxy_fetch *f = container_of(leg->session, struct tlsproxy_fetch, s);

	leg_note(leg, revents);
	run(f);
}

/* ---- start --------------------------------------------------------------------------------- */

static int open_tls(struct tlsproxy_fetch *f, const struct tlsproxy_token_request *q)
{
	struct session *s = &f->s;
	struct name n;
	SSL *ssl;
	int r = name_parse(q->host, strlen(q->host), &n, NULL);

	if (r < 0)
		return r;
	identity_from_name(&s->key.id, &n);
	s->key.to.port = q->port;
	s->key.generation = s->tp->generation;
	s->terms = upstream_terms_of(&s->tp->trust, &s->key.id);
	s->offer = ALPN_HTTP1;
	/* What it is sent is worth more than what it protects. */
	if (!s->terms.verify)
		return -EPERM;
	s->key.cert = s->terms.cert;
	r = tls_upstream_new(s, &ssl);
	return r < 0 ? r : leg_start_tls(leg_of(f), ssl);
}

int tlsproxy_fetch_token(struct tlsproxy *tp, const struct tlsproxy_token_request *q, int fd,
			 tlsproxy_fetched_fn *cb, void *ctx, struct tlsproxy_fetch **ret)
{
	struct tlsproxy_fetch *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		fd_close(fd);
		return -ENOMEM;
	}
	f->s.tp = tp;
	f->cb = cb;
	f->ctx = ctx;
	f->done.cb = on_done;
	f->late.cb = on_late;
	f->request = BUF_INIT(TOKEN_REQUEST_MAX);
	leg_init(leg_of(f), &f->s, fd);
	leg_no_delay(leg_of(f));
	r = token_reader_init(&f->reader);
	if (r == 0)
		r = token_request_write(q, &f->request);
	if (r == 0)
		r = open_tls(f, q);
	if (r == 0)
		r = leg_watch(leg_of(f), tp->loop, on_io);
	if (r < 0) {
		tlsproxy_fetch_cancel(f);
		return r;
	}
	loop_timer_set(tp->loop, &f->late, loop_now_update(tp->loop) + TOKEN_FETCH_NS);
	*ret = f;
	run(f);
	return 0;
}
