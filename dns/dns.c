/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the resolver: limits from the configuration, the parts in order
 * of their dependence. dns_new() reads whatever files c-ares wants; afterwards
 * nothing in this folder opens a file (see upstream.c for the system calls left).
 */
#include "dns/dns_int.h"

static void defaults(struct dns_config *c)
{
	if (!c->timeout_ms)
		c->timeout_ms = DNS_DEFAULT_TIMEOUT_MS;
	if (!c->max_names)
		c->max_names = DNS_DEFAULT_NAMES;
	if (!c->max_pending)
		c->max_pending = DNS_DEFAULT_PENDING;
	if (!c->pin_grace_s)
		c->pin_grace_s = DNS_DEFAULT_GRACE_S;
}

/* Everything but the upstream. */
static int engine_new(struct loop *loop, const struct dns_config *cfg, const struct dns_ops *ops,
		      void *ctx, struct dns **ret)
{
	struct dns *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->loop = loop;
	d->ops = *ops;
	d->ctx = ctx;
	d->mode = cfg->mode;
	d->pin_grace_s = cfg->pin_grace_s;
	d->no_quic = cfg->no_quic;
	d->stale_s = MIN(cfg->stale_s, (uint32_t)DNS_STALE_MAX_S);
	d->tcp_idle_ns = DNS_TCP_IDLE_NS;
	hash_key_random(&d->key);
	list_init(&d->grace);
	list_init(&d->conns);
	d->max_pending = cfg->max_pending;
	/* Those that wait, and the one in hand. */
	pool_init(&d->query_pool, sizeof(struct dns_query), d->max_pending + 1);
	pool_init(&d->lookup_pool, sizeof(struct dns_lookup), DNS_MAX_LOOKUPS);
	list_init(&d->pins.all);
	list_init(&d->cache.lru);
	list_init(&d->cache.replaced);
	list_init(&d->cache.slow);
	r = dns_names_init(d, cfg);
	if (r == 0)
		r = dns_pins_init(d, cfg->max_names);
	if (r == 0)
		r = dns_cache_init(d);
	if (r == 0)
		r = dns_budget_init(d, &cfg->budget);
	if (r < 0) {
		dns_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int dns_new_with(struct loop *loop, const struct dns_config *cfg, const struct dns_ops *ops,
		 void *ctx, const struct dns_upstream *up_ops, void *up, struct dns **ret)
{
	struct dns_config c = *cfg;
	struct dns *d;
	int r;

	defaults(&c);
	r = engine_new(loop, &c, ops, ctx, &d);
	if (r < 0) {
		up_ops->free(up);
		return r;
	}
	d->up_ops = up_ops;
	d->up = up;
	*ret = d;
	return 0;
}

static int upstreams_check(const struct endpoint *e, size_t n)
{
	if (n > DNS_MAX_UPSTREAMS)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!e[i].addr.family || !e[i].port)
			return -EINVAL;
	return 0;
}

int dns_new(struct loop *loop, const struct dns_config *cfg, const struct dns_ops *ops, void *ctx,
	    struct dns **ret)
{
	struct dns_config c = *cfg;
	struct dns *d;
	int r;

	defaults(&c);
	r = upstreams_check(c.upstreams, c.n_upstreams);
	if (r == 0)
		r = engine_new(loop, &c, ops, ctx, &d);
	if (r < 0)
		return r;
	r = dns_cares_new(loop, d, &c, &d->up);
	if (r < 0) {
		dns_free(d);
		return r;
	}
	d->up_ops = &dns_cares;
	*ret = d;
	return 0;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	dns_tcp_close_all(d);
	/* From here on nobody calls in, and nobody is called back. */
	if (d->up_ops)
		d->up_ops->free(d->up);
	dns_cache_fini(d);
	dns_names_fini(d);
	dns_pins_fini(d);
	dns_budget_fini(d);
	pool_fini(&d->query_pool);
	pool_fini(&d->lookup_pool);
	free(d);
}

int dns_set_upstreams(struct dns *d, const struct endpoint *upstreams, size_t n)
{
	int r = upstreams_check(upstreams, n);

	if (r < 0)
		return r;
	if (!d->up_ops->set)
		return -ENOTSUP;
	r = d->up_ops->set(d->up, upstreams, n);
	dns_cache_forget_failures(d);
	return r;
}
