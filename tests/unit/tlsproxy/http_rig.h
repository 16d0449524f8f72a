/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter on a bench: bytes in from both ends in any pieces, bytes out
 * gathered, events written down as lines. Used by the unit tests, the scenario
 * reader and the fuzzers.
 */
#ifndef WEIR_TEST_HTTP_RIG_H
#define WEIR_TEST_HTTP_RIG_H

#include "tlsproxy/http_internal.h"

#include <stdio.h>

#define RIG_CAP ((size_t)4 * 1024 * 1024)

struct rig {
	struct http_filter *filter;
	struct http_filter_config cfg;
	struct tlsproxy_flow flow;
	struct buf up, guest, log;
	enum http_state state;
	unsigned terminated, ids, uses, violations;
	char deny_method[16], deny_path[64];
	bool deny_doh;
	/* How input is cut: 0 whole, 1 single bytes, else random by this seed. */
	uint32_t cut;
	size_t buf_cap; /* 0: RIG_CAP */
	/* Of tokens that replies bring; NULL: they cannot be kept. */
	int (*mask)(struct rig *g, const char *env, const struct tlsproxy_fresh *list, size_t n);
};

static inline void rig_judge(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	struct rig *g = ctx;

	*ret = (struct tlsproxy_verdict){ .allow = true };
	snprintf(ret->rule, sizeof(ret->rule), "default");
	if ((g->deny_method[0] && str_eq(r->method, g->deny_method)) ||
	    (g->deny_path[0] && str_starts(r->target, g->deny_path)) || (g->deny_doh && r->doh)) {
		ret->allow = false;
		snprintf(ret->rule, sizeof(ret->rule), "no-writes");
		snprintf(ret->reason, sizeof(ret->reason), "read \"only\"");
		snprintf(ret->denial_id, sizeof(ret->denial_id), "D%u", ++g->ids);
	}
}

static inline void rig_id(void *ctx, char ret[static 40])
{
	struct rig *g = ctx;

	snprintf(ret, 40, "W%u", ++g->ids);
}

static inline void rig_must(int r)
{
	if (r < 0)
		abort();
}

static inline void rig_http_event(void *ctx, const struct tlsproxy_http_event *e)
{
	static const char *const names[] = { "?",	    "forwarded", "denied",    "bad_request",
					     "misdirected", "failed",	 "violation", "cancelled" };
	struct rig *g = ctx;

	rig_must(buf_printf(&g->log, "http %s %u %s %s up=%llu down=%llu host=%s\n",
			    names[e->outcome], e->status, e->req->method,
			    e->detail ? e->detail : "-", (unsigned long long)e->bytes_up,
			    (unsigned long long)e->bytes_down, e->req->authority.name.s));
}

static inline void rig_secret_event(void *ctx, const struct tlsproxy_secret_event *e)
{
	struct rig *g = ctx;

	e->violation ? g->violations++ : g->uses++;
	rig_must(buf_printf(&g->log, "secret %s %s place=%d encoding=%s detail=%s host=%s\n",
			    e->violation ? "violation" : "used", e->env, e->place, e->encoding,
			    e->detail ? e->detail : "-", e->host));
}

static inline void rig_terminate(void *ctx, const char *env)
{
	struct rig *g = ctx;

	(void)env;
	g->terminated++;
}

static inline int rig_mask(void *ctx, const struct tlsproxy_flow *f, const char *env,
			   const struct tlsproxy_fresh *list, size_t n)
{
	struct rig *g = ctx;

	(void)f;
	return g->mask ? g->mask(g, env, list, n) : -ENOSYS;
}

/* A pattern is how the target begins; what has "//" in it can be read in two ways. */
static inline bool rig_path_matches(void *ctx, const char *pattern, const char *target)
{
	(void)ctx;
	return !strstr(target, "//") && (str_eq(pattern, "/**") || str_starts(target, pattern));
}

static inline struct name rig_name(const char *s)
{
	struct name n;

	rig_must(name_parse(s, strlen(s), &n, NULL));
	return n;
}

/* A flow to api.example.com:443 over TLS, or port 80 without. */
static inline void rig_prepare(struct rig *g, bool tls, const struct secret_set *set)
{
	static const struct tlsproxy_ops ops = {
		.judge_http = rig_judge,
		.new_denial_id = rig_id,
		.http_event = rig_http_event,
		.secret_event = rig_secret_event,
		.terminate = rig_terminate,
		.mask = rig_mask,
		.path_matches = rig_path_matches,
	};

	*g = (struct rig){ .log = BUF_INIT(RIG_CAP) };
	g->flow = (struct tlsproxy_flow){
		.id = 1,
		.tls = tls,
		.remote = { ip4(198, 18, 0, 5), tls ? 443 : 80 },
		.has_name = true,
		.name = rig_name("api.example.com"),
	};
	g->cfg = (struct http_filter_config){ .secrets = (struct secret_set *)(uintptr_t)set,
					      .ops = &ops,
					      .ctx = g,
					      .flow = &g->flow,
					      .tls = tls,
					      .has_sni = tls,
					      .sni = tls ? g->flow.name : (struct name){ 0 },
					      .judge_each = true };
}

static inline void rig_start(struct rig *g)
{
	g->up = BUF_INIT(g->buf_cap ? g->buf_cap : RIG_CAP);
	g->guest = BUF_INIT(g->buf_cap ? g->buf_cap : RIG_CAP);
	g->state = HTTP_OK;
	rig_must(http_filter_new(&g->cfg, &g->filter));
}

/* Ends the filter (which reports what is open); the buffers stay. */
static inline void rig_end(struct rig *g)
{
	http_filter_free(g->filter);
	g->filter = NULL;
}

static inline void rig_free(struct rig *g)
{
	http_filter_free(g->filter);
	buf_fini_wiped(&g->up);
	buf_fini_wiped(&g->guest);
	buf_fini(&g->log);
}

static inline size_t rig_piece(struct rig *g, size_t left)
{
	if (g->cut == 0)
		return left;
	if (g->cut == 1)
		return 1;
	g->cut = g->cut * 1664525u + 1013904223u;
	if (g->cut < 2)
		g->cut += 2;
	return MIN(left, (size_t)1 + (g->cut >> 16) % 23);
}

/* Feeds all of it; false when the filter stopped taking bytes. */
static inline bool rig_feed(struct rig *g, bool from_guest, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	unsigned stuck = 0;

	while (n && g->state != HTTP_CLOSE && g->state != HTTP_ABORT) {
		size_t piece = rig_piece(g, n), used = 0;

		if (from_guest)
			g->state = http_from_guest(g->filter, p, piece, &used, &g->up, &g->guest);
		else
			g->state = http_from_upstream(g->filter, p, piece, &used, &g->up, &g->guest);
		if (used > piece)
			abort();
		p += used;
		n -= used;
		stuck = used ? 0 : stuck + 1;
		if (stuck > 64)
			return false;
	}
	return true;
}

static inline bool rig_guest(struct rig *g, const char *s)
{
	return rig_feed(g, true, s, strlen(s));
}

static inline bool rig_upstream(struct rig *g, const char *s)
{
	return rig_feed(g, false, s, strlen(s));
}

static inline const char *rig_text(struct buf *b)
{
	const char *s = buf_str(b);

	return s ? s : "";
}

/* Status of the first answer in b, 0 when there is none. */
static inline unsigned rig_status(struct buf *b)
{
	const char *s = rig_text(b);

	return b->len > 12 && str_starts(s, "HTTP/1.1 ") ? (unsigned)strtoul(s + 9, NULL, 10) : 0;
}

#endif
