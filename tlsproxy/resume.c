/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstream sessions kept for resumption: one per name, address, policy generation and
 * client certificate, which is what the certificate was verified for. A session is only
 * ever offered for exactly that, and not for longer than an hour after the certificate
 * was seen.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>

struct resume {
	struct hmap_node node;
	struct list lru;
	SSL_SESSION *sess;
	time_t verified; /* when the certificate behind it was last looked at */
	struct upstream_key key;
};

bool upstream_key_equal(const struct upstream_key *a, const struct upstream_key *b)
{
	return a->generation == b->generation && a->cert == b->cert && a->to.port == b->to.port &&
	       ip_equal(&a->to.addr, &b->to.addr) && str_eq(a->id.text, b->id.text);
}

uint64_t upstream_key_hash(const struct hash_key *hash, const struct upstream_key *k)
{
	return hash_bytes(hash, k->id.text, strlen(k->id.text)) ^ k->to.port;
}

int resume_cache_init(struct resume_cache *rc)
{
	*rc = (struct resume_cache){ 0 };
	list_init(&rc->lru);
	hash_key_random(&rc->hash);
	return hmap_init(&rc->map, 64);
}

static void drop(struct resume_cache *rc, struct resume *e)
{
	hmap_remove(&rc->map, &e->node);
	list_del(&e->lru);
	rc->count--;
	SSL_SESSION_free(e->sess);
	free(e);
}

void resume_cache_fini(struct resume_cache *rc)
{
	if (rc->lru.next)
		list_for_each_safe (it, tmp, &rc->lru)
			drop(rc, container_of(it, struct resume, lru));
	hmap_fini(&rc->map);
	*rc = (struct resume_cache){ 0 };
}

void resume_drop_all(struct resume_cache *rc)
{
	list_for_each_safe (it, tmp, &rc->lru)
		drop(rc, container_of(it, struct resume, lru));
}

static struct resume *find(struct resume_cache *rc, const struct upstream_key *k)
{
	hmap_for_hash (it, &rc->map, upstream_key_hash(&rc->hash, k)) {
		struct resume *e = container_of(it, struct resume, node);

		if (upstream_key_equal(&e->key, k))
			return e;
	}
	return NULL;
}

void resume_drop(struct resume_cache *rc, const struct upstream_key *k)
{
	struct resume *e = find(rc, k);

	if (e)
		drop(rc, e);
}

void resume_put(struct resume_cache *rc, const struct upstream_key *k, bool resumed, time_t now,
		SSL_SESSION *sess)
{
	struct resume *e = find(rc, k);

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e) {
			SSL_SESSION_free(sess);
			return;
		}
		e->key = *k;
		hmap_insert(&rc->map, &e->node, upstream_key_hash(&rc->hash, k));
		list_add_tail(&rc->lru, &e->lru);
		rc->count++;
		/* Its parent was dropped meanwhile: age unknown, so not for long. */
		e->verified = resumed ? now - TLSPROXY_RESUME_S / 2 : now;
	}
	/* A ticket from a resumed handshake is no newer than the certificate check. */
	if (!resumed)
		e->verified = now;
	SSL_SESSION_free(e->sess);
	e->sess = sess;
	list_del(&e->lru);
	list_add_tail(&rc->lru, &e->lru);
	if (rc->count > TLSPROXY_RESUME)
		drop(rc, container_of(rc->lru.next, struct resume, lru));
}

SSL_SESSION *resume_get(struct resume_cache *rc, const struct upstream_key *k, time_t now)
{
	struct resume *e = find(rc, k);

	if (!e)
		return NULL;
	if (now < e->verified || now - e->verified > TLSPROXY_RESUME_S ||
	    !SSL_SESSION_is_resumable(e->sess)) {
		drop(rc, e);
		return NULL;
	}
	return e->sess;
}
