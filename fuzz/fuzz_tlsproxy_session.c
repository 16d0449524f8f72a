/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole flows over real socketpairs, driven by a script in the input: bytes,
 * half-closes and hang-ups of either end in any order, with turns of the loop
 * between them. Every flow must end once both ends are gone, exactly once, and
 * must leave nothing behind; and the loop must come to rest between steps. At any
 * point the policy may turn stricter or milder, and what is under way be judged again.
 *
 * Input: one byte of options (bit 0: TLS flow, bit 1: name known, bit 2: its TLS
 * only ends here, bit 3: to the port of a proxy), then operations: a byte whose low three bits say what, the rest
 * how long.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct tlsproxy *tp;
static int n_done;
static bool strict;

static void judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni,
		      const struct name *sni, struct tlsproxy_verdict *ret)
{
	(void)ctx;
	(void)f;
	*ret = (struct tlsproxy_verdict){ .allow = has_sni && sni->s[0] != 'x' && !strict };
}

static void judge_http(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	(void)ctx;
	*ret = (struct tlsproxy_verdict){ .allow = r->method[0] != (strict ? 'G' : 'D') };
}

static void judge_connect(void *ctx, const struct tlsproxy_flow *f, struct tlsproxy_verdict *ret)
{
	(void)ctx;
	if (!f->connect || !f->remote.port)
		abort();
	*ret = (struct tlsproxy_verdict){ .allow = f->name.s[0] != 'x' && !strict,
					  .need_http = f->remote.port == 81,
					  .intercept = f->remote.port == 443 };
}

static void denial_id(void *ctx, char ret[static 40])
{
	(void)ctx;
	snprintf(ret, 40, "d");
}

static void tls_event(void *ctx, const struct tlsproxy_tls_event *e)
{
	(void)ctx;
	if (!e->ok && !e->detail)
		abort();
}

static void http_event(void *ctx, const struct tlsproxy_http_event *e)
{
	(void)ctx;
	(void)e;
}

static void secret_event(void *ctx, const struct tlsproxy_secret_event *e)
{
	(void)ctx;
	(void)e;
}

static void flow_done(void *ctx, uint64_t id, bool reset)
{
	(void)ctx;
	(void)id;
	(void)reset;
	n_done++;
}

static void terminate(void *ctx, const char *env)
{
	(void)ctx;
	(void)env;
}

static void set_up(void)
{
	static const struct tlsproxy_ops ops = { .judge_tls = judge_tls,
						 .judge_http = judge_http,
						 .judge_connect = judge_connect,
						 .new_denial_id = denial_id,
						 .tls_event = tls_event,
						 .http_event = http_event,
						 .secret_event = secret_event,
						 .flow_done = flow_done,
						 .terminate = terminate };
	char path[] = "/tmp/weir-fuzz-XXXXXX", err[256];
	struct tlsproxy_host_pattern host = { .name = { 3, "a.b" } };
	struct tlsproxy_secret secret = { .env = "KEY",
					  .value = "0123456789abcdef",
					  .value_len = 16,
					  .hosts = &host,
					  .n_hosts = 1,
					  .places = TLSPROXY_PLACES_DEFAULT };
	struct tlsproxy_config cfg = { .secrets = &secret, .n_secrets = 1 };
	struct ca ca;
	int fd = mkstemp(path);

	if (fd < 0 || ca_init(&ca, NULL, 0, 0, time(NULL)) < 0 ||
	    fd_write_all(fd, ca.pem, strlen(ca.pem)) < 0 || loop_new(&loop) < 0)
		abort();
	setenv("SSL_CERT_FILE", path, 1);
	if (tlsproxy_new(loop, &cfg, &ops, NULL, &tp, err, sizeof(err)) < 0)
		abort();
	unlink(path);
	fd_close(fd);
	ca_fini(&ca);
}

/* Turns until nothing happens at once any more. */
static void settle(void)
{
	for (int i = 0; i < 2; i++)
		if (loop_step(loop, 0) < 0)
			abort();
}

static void drain(int fd)
{
	char b[65536];

	if (fd >= 0)
		while (recv(fd, b, sizeof(b), MSG_DONTWAIT) > 0)
			;
}

static void operate(int *end, unsigned op, struct rd *r)
{
	const uint8_t *p;
	size_t n = MIN((size_t)(op >> 3) * 8 + 1, rd_left(r));

	if (*end < 0)
		return;
	switch (op & 3) {
	case 0:
	case 1:
		if (rd_bytes(r, n, &p) && send(*end, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		break;
	case 2:
		shutdown(*end, SHUT_WR);
		break;
	case 3:
		if (op >> 3 == 5) {
			strict = !strict;
			if (tlsproxy_rejudge(tp) > 1)
				abort();
			break;
		}
		/* Hang up seldom, drain often. */
		if (op >> 3 < 24) {
			drain(*end);
			break;
		}
		fd_close(*end);
		*end = -1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tlsproxy_flow f = { .id = 1 };
	struct rd r = rd_init(data, size);
	int g[2], u[2];
	uint8_t op;

	if (!tp)
		set_up();
	if (!rd_u8(&r, &op))
		return 0;
	n_done = 0;
	strict = false;
	f.tls = op & 1;
	f.has_name = op & 2;
	f.terminate = f.tls && (op & 4);
	f.remote.addr = f.upstream.addr = ip4(192, 0, 2, 1);
	f.remote.port = f.upstream.port = f.tls ? 443 : op & 8 ? 3128 : 80;
	if (name_parse("a.b", 3, &f.name, NULL) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, g) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, u) < 0)
		abort();
	if (tlsproxy_flow_start(tp, &f, g[0], u[0]) < 0)
		abort();
	while (rd_u8(&r, &op)) {
		operate(op & 4 ? &u[1] : &g[1], op, &r);
		settle();
	}
	drain(g[1]);
	drain(u[1]);
	fd_close(g[1]);
	fd_close(u[1]);
	for (int i = 0; i < 50 && !n_done; i++)
		if (loop_step(loop, 0) < 0)
			abort();
	if (n_done != 1 || tp->n_sessions)
		abort();
	return 0;
}
