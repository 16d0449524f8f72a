/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the processes of a run, in the order in which they need each other:
 * the tlsproxy takes the secrets before anything else exists, the sandbox makes
 * the tap, the gateway gets it. Nothing of the command runs before all are ready.
 */
#include "weir/run_internal.h"

#include "weir/gateway.h"
#include "weir/message.h"
#include "weir/proxy.h"
#include "weir/run_setup.h"
#include "weir/sandbox.h"
#include "weir/secret_source.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int channel(int sv[2], struct conf_error *err)
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

/*
 * Waits for a child's first words. Blocking is fine here: nothing runs yet
 * that could wait for us, and a child that dies ends the stream.
 */
static int first_words(struct child *c, struct msg *m, enum msg_type want, int *ret_fd,
		       struct conf_error *err)
{
	size_t n_fds = 0;
	ssize_t n;
	int fd = -1;

	n = msg_recv(c->sock, m, &fd, 1, &n_fds);
	if (n >= 0 && m->head.type == MSG_FAILED) {
		conf_error_set(err, "%s", m->text);
		return -EIO;
	}
	if (n >= 0 && m->head.type == (uint32_t)want) {
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

static int start_proxy(struct run *r, int *ret_gateway_end, struct conf_error *err)
{
	struct weir_config *cfg = r->cfg;
	int sup[2], flows[2], rc;
	pid_t self = getpid();
	struct msg m;

	rc = channel(sup, err);
	if (rc < 0)
		return rc;
	rc = channel(flows, err);
	if (rc < 0)
		return rc;
	r->proxy.pid = fork();
	if (r->proxy.pid == 0) {
		struct proxy_spec spec = { .parent = self,
					   .cfg = cfg,
					   .run = r->id,
					   .supervisor = sup[1],
					   .gateway = flows[1],
					   .keylog = r->capture >= 0 };

		fd_close(sup[0]);
		fd_close(flows[0]);
		proxy_main(&spec);
	}
	fd_close(sup[1]);
	fd_close(flows[1]);
	r->proxy.sock = sup[0];
	*ret_gateway_end = flows[0];
	for (size_t i = 0; i < cfg->n_secrets; i++) {
		rc = first_words(&r->proxy, &m, MSG_PLACEHOLDER, NULL, err);
		if (rc < 0)
			return rc;
		r->placeholders[i] = strdup(m.text);
	}
	rc = first_words(&r->proxy, &m, MSG_CA, NULL, err);
	if (rc < 0)
		return rc;
	r->ca_pem = strdup(m.text);
	return first_words(&r->proxy, &m, MSG_READY, NULL, err);
}

static int start_sandbox(struct run *r, int *ret_tap, struct conf_error *err)
{
	struct sandbox_spec spec;
	struct sandbox sb;
	struct msg m;
	int rc = run_environment(r->cfg, r->placeholders, r->ca_pem != NULL, &r->envp);

	if (rc == 0)
		rc = run_hidden_paths(r->cfg, r->audit_path, &r->hidden);
	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	spec = (struct sandbox_spec){
		.argv = r->cfg->command,
		.envp = r->envp,
		.hostname = r->cfg->name,
		.net = &r->cfg->net,
		.ca_pem = r->ca_pem,
		.hidden_paths = r->hidden,
		.foreground = r->given,
		.root = geteuid() == 0,
	};
	rc = sandbox_start(&spec, &sb, err);
	if (rc < 0)
		return rc;
	r->sandbox.pid = sb.pid;
	r->sandbox.sock = sb.sock;
	return first_words(&r->sandbox, &m, MSG_LINK, ret_tap, err);
}

static int start_gateway(struct run *r, int tap, int proxy_end, struct conf_error *err)
{
	struct publish_port ports[PUBLISH_MAX];
	struct gateway_spec spec = {
		.parent = getpid(),
		.cfg = r->cfg,
		.run = r->id,
		.proxy = proxy_end,
		.capture = r->capture,
		.ports = ports,
		.n_ports = run_ports_list(r, ports),
		.resolvers = r->resolvers,
		.n_resolvers = run_resolvers(r->cfg, r->resolvers),
	};
	struct msg m;
	int sup[2], rc = channel(sup, err);

	if (rc < 0)
		return rc;
	r->n_resolvers = spec.n_resolvers;
	if (!spec.n_resolvers)
		log_warn("no resolver: /etc/resolv.conf names none; use --dns-server");
	r->gateway.pid = fork();
	if (r->gateway.pid == 0) {
		spec.supervisor = sup[1];
		gateway_main(&spec, tap);
	}
	fd_close(sup[1]);
	r->gateway.sock = sup[0];
	rc = first_words(&r->gateway, &m, MSG_READY, NULL, err);
	if (rc == 0)
		run_ports_handed_over(r);
	return rc;
}

int run_start(struct run *r, struct conf_error *err)
{
	int tap = -1, proxy_end = -1, rc = 0;

	/*
	 * Requests are read where TLS is intercepted, and on plain HTTP where rules
	 * go by name: one connection can carry requests for several hosts. A policy
	 * without names may be followed by one with some, so it always runs.
	 */
	rc = start_proxy(r, &proxy_end, err);
	if (!r->cfg->tls_intercept) {
		free(r->ca_pem);
		r->ca_pem = NULL;
	}
	/* From here on no process but the tlsproxy has a value. */
	secret_wipe_environment(r->cfg);
	if (rc == 0)
		rc = start_sandbox(r, &tap, err);
	if (rc == 0)
		rc = start_gateway(r, tap, proxy_end, err);
	fd_close(tap);
	fd_close(proxy_end);
	return rc;
}
