/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream proxy before a run's processes exist: its name is resolved, with
 * the host's own resolver, and its credentials are read into a file without a
 * name that only the gateway gets. No other process has them in its memory: the
 * sandbox's first one is a copy of this one.
 */
#include "weir/run_internal.h"

#include "weir/secret_source.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static int resolve(const struct upstream_config *c, struct upstream *u, struct conf_error *err)
{
	struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *all = NULL;
	int r;

	if (!c->host.len) {
		u->to[u->n++] = (struct endpoint){ c->addr, c->port };
		return 0;
	}
	r = getaddrinfo(c->host.s, NULL, &want, &all);
	for (struct addrinfo *a = all; a && u->n < UPSTREAM_ADDRS_MAX; a = a->ai_next) {
		struct sockaddr_storage ss = { 0 };

		memcpy(&ss, a->ai_addr, MIN((size_t)a->ai_addrlen, sizeof(ss)));
		if (endpoint_from_sockaddr(&ss, &u->to[u->n]) == 0)
			u->to[u->n++].port = c->port;
	}
	if (all)
		freeaddrinfo(all);
	if (u->n)
		return 0;
	conf_error_set(err,
		       "--proxy: %s cannot be resolved: %s; give an address, or a name that "
		       "this machine knows",
		       c->host.s, r ? gai_strerror(r) : "it has no address");
	return -ENOENT;
}

/* Checked here, where an error is told before anything runs. */
static int read_auth(const struct upstream_config *c, const struct upstream *u, int *ret_fd,
		     struct conf_error *err)
{
	char what[] = "of --proxy-auth";
	const struct secret_config source = {
		.env = what,
		.source = (enum secret_source)c->auth_source,
		.arg = c->auth_arg,
	};
	struct buf text = BUF_INIT(TLSPROXY_SECRET_MAX + 2);
	struct upstream check = *u;
	cleanup_close int fd = -1;
	int r = secret_read(&source, &text, err);

	if (r == 0)
		r = upstream_set_auth(&check, (char *)buf_at(&text), text.len, err);
	if (r == 0) {
		fd = memfd_create("weir-proxy-auth", MFD_CLOEXEC);
		r = fd < 0 ? -errno : fd_write_all(fd, buf_at(&text), text.len);
		if (r < 0)
			conf_error_set(err, "--proxy-auth: %s", strerror(-r));
	}
	explicit_bzero(&check, sizeof(check));
	buf_fini_wiped(&text);
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

int run_upstream_prepare(struct run *r, struct conf_error *err)
{
	const struct upstream_config *c = &r->cfg->upstream;
	int rc;

	r->upstream_auth = -1;
	if (c->kind == UPSTREAM_NONE)
		return 0;
	r->upstream.cfg = c;
	/* SOCKS 4: a name without a password. */
	if (c->user[0] && !c->auth_source) {
		memcpy(r->upstream.auth.user, c->user, sizeof(c->user));
		r->upstream.has_auth = true;
	}
	rc = resolve(c, &r->upstream, err);
	if (rc == 0 && c->auth_source)
		rc = read_auth(c, &r->upstream, &r->upstream_auth, err);
	/* Who takes a proxy because nothing else may leave has to know. */
	if (rc == 0 && !r->cfg->n_dns_servers)
		log_line(LOG_LEVEL_WARN, "--proxy: names are not asked through it, but of this "
					 "machine's resolvers directly; --dns-server says of whom");
	return rc;
}

int upstream_read_auth(struct upstream *u, int fd, struct conf_error *err)
{
	struct buf text = BUF_INIT(TLSPROXY_SECRET_MAX + 2);
	int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : fd_read_all(fd, TLSPROXY_SECRET_MAX + 1, &text);

	if (r == 0)
		r = upstream_set_auth(u, (char *)buf_at(&text), text.len, err);
	buf_fini_wiped(&text);
	return r;
}
