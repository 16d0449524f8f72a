/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verified upstream connections between two flows: kept for a few seconds when a guest
 * leaves one in order with nothing owed, and given to the next flow that would get just
 * the same: name, address, policy generation, client certificate (struct upstream_key) and
 * the guest's ALPN offer.
 *
 * A parked connection is watched: whatever comes over it (an end, mostly) ends it. Kept
 * shorter than servers keep idle ones, it is rarely closed as it is taken; when it is, the
 * guest sees a kept connection end, as in relay.c. What a flow leaves is
 * between two requests, with not a byte behind the last response; with HTTP/2 every stream
 * was answered to its end, none was reset, nothing is left to be said, and what both ends know
 * of the connection (http2_upstream.c) goes along. A connection that a client has authenticated by itself (NTLM,
 * Negotiate) is its own and is never parked.
 *
 * Whoever dials is told for which name and address some wait, so that it need not: when
 * the first comes and when the last goes, and again while it lasts, as such words may get lost.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <sys/epoll.h>
#include <sys/socket.h>

struct parked {
	struct leg leg;
	struct upstream_pool *pool;
	struct hmap_node node;
	struct list lru;
	struct loop_timer end;
	struct upstream_key key;
	struct http_side *http; /* HTTP/2: what is known of it */
	bool offers_alpn;
	unsigned offer;
	enum alpn alpn;
	time_t expires;
	uint64_t told; /* when it was last said of its key that some wait */
};

int upstream_pool_init(struct upstream_pool *pool, struct loop *loop)
{
	*pool = (struct upstream_pool){ .loop = loop };
	list_init(&pool->lru);
	hash_key_random(&pool->hash);
	return hmap_init(&pool->map, 64);
}

static struct parked *find_key(struct upstream_pool *pool, const struct upstream_key *k)
{
	hmap_for_hash (it, &pool->map, upstream_key_hash(&pool->hash, k)) {
		struct parked *p = container_of(it, struct parked, node);

		if (upstream_key_equal(&p->key, k))
			return p;
	}
	return NULL;
}

static void tell(const struct upstream_pool *pool, const struct upstream_key *k, bool any)
{
	struct name host;

	if (pool->tell && !k->id.is_addr &&
	    name_parse(k->id.text, strlen(k->id.text), &host, NULL) == 0)
		pool->tell(pool->ctx, &host, &k->to, any);
}

static void drop(struct parked *p)
{
	struct upstream_pool *pool = p->pool;

	loop_timer_del(pool->loop, &p->end);
	hmap_remove(&pool->map, &p->node);
	list_del(&p->lru);
	pool->count--;
	if (!find_key(pool, &p->key))
		tell(pool, &p->key, false);
	http_side_free(p->http);
	leg_close(&p->leg, false);
	free(p);
}

void upstream_pool_drop_all(struct upstream_pool *pool)
{
	list_for_each_safe (it, tmp, &pool->lru)
		drop(container_of(it, struct parked, lru));
}

void upstream_pool_fini(struct upstream_pool *pool)
{
	if (pool->lru.next)
		upstream_pool_drop_all(pool);
	hmap_fini(&pool->map);
	*pool = (struct upstream_pool){ 0 };
}

static void on_event(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	drop(container_of(container_of(io, struct leg, io), struct parked, leg));
}

static void on_end(struct loop_timer *t)
{
	drop(container_of(t, struct parked, end));
}

/* Nothing is under way on it, in neither direction, and nothing has gone wrong. */
static bool is_quiet(const struct leg *u)
{
	return u->fd >= 0 && u->ssl && !u->ended && !u->shut && !u->gone && !u->fd_eof &&
	       !u->wr_dead && !u->tls_dead && !u->error && !u->in.len && !u->out.len &&
	       !u->wire.len && !SSL_has_pending(u->ssl) && SSL_is_init_finished(u->ssl);
}

/* Others are dialled in any case: what they leave would be of no use. */
static bool serves(const struct session *s)
{
	return s->flow.tls && (s->flow.has_name || s->flow.n_candidates) && !s->flow.terminate &&
	       !s->flow.connect;
}

bool upstream_pool_wants(const struct session *s)
{
	return s->tp->pool.max && serves(s) && s->terms.verify && !s->refused;
}

static bool may_park(const struct session *s)
{
	return upstream_pool_wants(s) && !s->tunnel && s->answered &&
	       s->answered == s->from_upstream && s->key.generation == s->tp->generation &&
	       http_filter_between(s->filter) && !http_filter_bound(s->filter) &&
	       is_quiet(&s->upstream);
}

/* The first of its kind, or not said for a while. */
static void say_parked(struct upstream_pool *pool, struct parked *p, const struct parked *other)
{
	p->told = other ? other->told : 0;
	if (other && loop_now(pool->loop) - p->told < TLSPROXY_PARKED_S * NS_PER_S / 4)
		return;
	p->told = loop_now(pool->loop);
	tell(pool, &p->key, true);
}

bool upstream_pool_park(struct session *s)
{
	struct upstream_pool *pool = &s->tp->pool;
	struct parked *p;

	if (!may_park(s))
		return false;
	p = calloc(1, sizeof(*p));
	if (!p)
		return false;
	p->pool = pool;
	p->key = s->key;
	p->offers_alpn = s->offers_alpn;
	p->offer = s->offer;
	p->alpn = s->upstream_alpn;
	p->expires = s->upstream_expires;
	p->end.cb = on_end;
	p->http = http_filter_part(s->filter);
	leg_move(&s->upstream, &p->leg, NULL, on_event);
	loop_io_set(&p->leg.io, EPOLLIN);
	loop_timer_set(pool->loop, &p->end, loop_now(pool->loop) + TLSPROXY_POOL_S * NS_PER_S);
	say_parked(pool, p, find_key(pool, &p->key));
	hmap_insert(&pool->map, &p->node, upstream_key_hash(&pool->hash, &p->key));
	list_add_tail(&pool->lru, &p->lru);
	if (++pool->count > pool->max)
		drop(container_of(pool->lru.next, struct parked, lru));
	return true;
}

/* Still silent: epoll may not have had its turn. */
static bool is_alive(const struct parked *p)
{
	char b;

	return recv(p->leg.fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EWOULDBLOCK) && p->expires > time(NULL);
}

static struct parked *find(struct upstream_pool *pool, const struct session *s)
{
	hmap_for_hash (it, &pool->map, upstream_key_hash(&pool->hash, &s->key)) {
		struct parked *p = container_of(it, struct parked, node);

		if (upstream_key_equal(&p->key, &s->key) && p->offer == s->offer &&
		    p->offers_alpn == s->offers_alpn)
			return p;
	}
	return NULL;
}

bool upstream_pool_take(struct session *s)
{
	struct upstream_pool *pool = &s->tp->pool;
	struct parked *p;

	while (serves(s) && (p = find(pool, s))) {
		if (!is_alive(p)) {
			drop(p);
			continue;
		}
		leg_close(&s->upstream, false);
		session_adopt_upstream(s, &p->leg);
		s->upstream_alpn = p->alpn;
		s->upstream_expires = p->expires;
		s->reused = true;
		s->parted = p->http;
		p->http = NULL;
		drop(p);
		return true;
	}
	return false;
}
