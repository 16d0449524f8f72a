/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the processes of a run, in the order in which they need each other:
 * the tlsproxy takes the secrets before anything else exists, what is run brings
 * the link, the gateway gets it. Nothing of a command runs before all are ready.
 */
#include "weir/run_internal.h"

#include "weir/gateway.h"
#include "weir/message.h"
#include "weir/run_setup.h"
#include "weir/secret_source.h"
#include "weir/tls_setup.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int run_channel(int sv[2], struct conf_error *err)
{
	int size = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		int r = -errno;

		conf_error_set(err, "socketpair: %s", strerror(errno));
		return r;
	}
	for (int i = 0; i < 2; i++)
		(void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

/* Blocking is fine here: nothing runs yet that could wait for us. */
int run_first_words(struct child *c, struct msg *m, uint32_t want, int *ret_fd, struct conf_error *err)
{
	size_t n_fds = 0;
	ssize_t n;
	int fd = -1;

	n = msg_recv(c->sock, m, &fd, 1, &n_fds);
	if (n >= 0 && m->head.type == MSG_FAILED) {
		conf_error_set(err, "%s", m->text);
		return -EIO;
	}
	if (n >= 0 && m->head.type == want) {
		if (ret_fd)
			*ret_fd = fd;
		else
			fd_close(fd);
		return 0;
	}
	fd_close(fd);
	conf_error_set(err, "the %s did not start", c->name);
	return -EIO;
}

static int start_gateway(struct run *r, const struct run_link *link, int proxy_end,
			 struct conf_error *err)
{
	struct publish_port ports[PUBLISH_MAX];
	struct gateway_spec spec = {
		.parent = getpid(),
		.cfg = r->cfg,
		.run = r->id,
		.link_kind = link->kind,
		.proxy = proxy_end,
		.capture = r->capture,
		.ports = ports,
		.n_ports = run_ports_list(r, ports),
		.upstream = r->upstream.cfg ? &r->upstream : NULL,
		.proxy_auth = r->upstream_auth,
		.resolvers = r->resolvers,
		.n_resolvers = run_resolvers(r->cfg, r->resolvers),
	};
	struct msg m;
	int sup[2], rc = run_channel(sup, err);

	if (rc < 0)
		return rc;
	r->n_resolvers = spec.n_resolvers;
	if (!spec.n_resolvers)
		log_warn("no resolver: /etc/resolv.conf names none; use --dns-server");
	r->gateway.pid = fork();
	if (r->gateway.pid == 0) {
		spec.supervisor = sup[1];
		gateway_main(&spec, link->fd);
	}
	fd_close(sup[1]);
	r->gateway.sock = sup[0];
	rc = run_first_words(&r->gateway, &m, MSG_READY, NULL, err);
	fd_close(r->upstream_auth);
	r->upstream_auth = -1;
	if (rc == 0)
		run_ports_handed_over(r);
	return rc;
}

/*
 * A sandbox that has this machine's files has its bundle; what another one than that is
 * trusted here (SSL_CERT_FILE), and a machine of its own, are to be given it.
 */
static int load_host_cas(struct run *r, struct conf_error *err)
{
	struct buf text = BUF_INIT(TLS_HOST_CAS_MAX + 2);
	const char *own = getenv("SSL_CERT_FILE");
	int rc = 0;

	if (r->cfg->ca_out || (own && *own))
		rc = tls_host_cas(&text, err);
	if (rc == 0)
		r->host_cas = strdup(text.len ? buf_str(&text) : "");
	buf_fini(&text);
	return rc == 0 && !r->host_cas ? -ENOMEM : rc;
}

int run_start(struct run *r, struct conf_error *err)
{
	struct run_link link = { .fd = -1 };
	int rc;

	/*
	 * Requests are read where TLS is intercepted, and on plain HTTP where rules
	 * go by name: one connection can carry requests for several hosts. A policy
	 * without names may be followed by one with some, so it always runs.
	 */
	rc = run_upstream_prepare(r, err);
	if (rc == 0)
		rc = run_proxy_first(r, err);
	if (!r->cfg->tls_intercept) {
		free(r->ca_pem);
		r->ca_pem = NULL;
	}
	if (rc == 0 && r->cfg->trust_host_cas)
		rc = load_host_cas(r, err);
	/* From here on no process but the tlsproxy has a value. */
	secret_wipe_environment(r->cfg);
	secret_close_descriptors(r->cfg);
	if (rc == 0)
		rc = r->subject->start(r, &link, err);
	if (rc == 0)
		rc = start_gateway(r, &link, r->life.gateway_end, err);
	fd_close(link.fd);
	fd_close(r->life.gateway_end);
	r->life.gateway_end = -1;
	return rc;
}
