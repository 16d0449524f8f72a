/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of weir's own: the tlsproxy has no network and asks for one to a
 * token endpoint. Only endpoints of the configuration are dialled, whatever the
 * tlsproxy says, as it parses what strangers send. No rule of the sandbox's policy has to
 * allow them; addresses are held against the rebinding filter as any answer.
 */
#include "weir/gateway_int.h"

#include "weir/message.h"

struct fetch_dial {
	struct list in_all;
	struct gateway *gw;
	uint64_t id; /* the tlsproxy's */
	struct name name;
	uint16_t port;
	struct dns_lookup *lookup;
	struct dial dial;
};

static bool is_endpoint(const struct gateway *gw, const struct name *n, uint16_t port)
{
	for (size_t i = 0; i < gw->cfg->n_secrets; i++) {
		const struct token_config *t = gw->cfg->secrets[i].token;

		if (t && t->port == port && str_eq(t->host, n->s))
			return true;
	}
	return false;
}

static void forget(struct fetch_dial *d)
{
	if (d->lookup)
		dns_resolve_cancel(d->lookup);
	if (dial_active(&d->dial))
		dial_cancel(&d->dial);
	list_del(&d->in_all);
	d->gw->n_fetches--;
	free(d);
}

/* fd is not taken over. */
static void answer(struct gateway *gw, uint64_t id, int fd, int error)
{
	struct msg_dial m = { .id = id };

	if (gw->proxy >= 0 && msg_send(gw->proxy, MSG_DIALLED, error, &m, sizeof(m), &fd, fd >= 0) < 0)
		log_debug("the tlsproxy was not told of its connection");
}

static void on_dialled(void *user, int fd, int error, const struct endpoint *to)
{
	struct fetch_dial *d = user;

	(void)to;
	answer(d->gw, d->id, fd, fd >= 0 ? 0 : error);
	fd_close(fd);
	forget(d);
}

static void on_addresses(void *user, int error, const struct ip_addr *addrs, size_t n)
{
	struct fetch_dial *d = user;
	struct endpoint to[DIAL_MAX_ADDRS];

	d->lookup = NULL;
	n = MIN(n, (size_t)DIAL_MAX_ADDRS);
	if (n == 0) {
		answer(d->gw, d->id, -1, error ? -error : ENOENT);
		forget(d);
		return;
	}
	for (size_t i = 0; i < n; i++)
		to[i] = (struct endpoint){ addrs[i], d->port };
	dial_start(&d->dial, d->gw->loop, NETSTACK_TCP, to, n, d->gw->upstream, NULL, on_dialled, d);
}

void gateway_fetch_dial(struct gateway *gw, const struct msg_dial *m)
{
	struct fetch_dial *d;
	struct dns_lookup *l;

	if (m->name.len > NAME_MAX_LEN || m->name.s[m->name.len] ||
	    !is_endpoint(gw, &m->name, m->port)) {
		answer(gw, m->id, -1, EACCES);
		return;
	}
	d = gw->n_fetches < GATEWAY_FETCHES ? calloc(1, sizeof(*d)) : NULL;
	if (!d) {
		answer(gw, m->id, -1, ENOBUFS);
		return;
	}
	*d = (struct fetch_dial){ .gw = gw, .id = m->id, .name = m->name, .port = m->port };
	d->dial.fd = -1;
	list_add_tail(&gw->fetches, &d->in_all);
	gw->n_fetches++;
	/* on_addresses() may have been called, and d be gone, when there is no lookup. */
	l = dns_resolve(gw->dns, &m->name, on_addresses, d);
	if (l)
		d->lookup = l;
}

void gateway_fetch_forget(struct gateway *gw)
{
	list_for_each_safe (it, next, &gw->fetches)
		forget(container_of(it, struct fetch_dial, in_all));
}
