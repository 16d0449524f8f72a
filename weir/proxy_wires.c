/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tlsproxy hears from gateway and supervisor, and tells them. Either may have been taken
 * over: everything is checked. What a gateway that does not keep up is not told is lost.
 */
#include "weir/proxy_int.h"

#include "weir/message.h"
#include "weir/proxy_tokens.h"

#include <stdio.h>
#include <unistd.h>

/* Of a turn: the rest of a flood waits for what is under way. */
#define GATEWAY_MESSAGES 64

void proxy_on_flow_done(void *ctx, uint64_t id, bool reset)
{
	struct proxy *px = ctx;
	struct msg m = { .done = { .id = id, .reset = reset } };

	/* An orderly end the gateway sees by itself, in the descriptor. */
	if (reset &&
	    msg_send(px->gateway_io.fd, MSG_FLOW_DONE, 0, &m.done, sizeof(m.done), NULL, 0) < 0)
		log_debug("flow end not told");
}

void proxy_on_parked(void *ctx, const struct name *host, const struct endpoint *to, bool any)
{
	struct proxy *px = ctx;
	struct msg_parked p = { .host = *host, .to = *to };

	/* Lost, it costs a connection or a question more. */
	if (msg_send(px->gateway_io.fd, MSG_PARKED, any, &p, sizeof(p), NULL, 0) < 0)
		log_debug("parked connection not told");
}

void proxy_on_dial(void *ctx, uint64_t id)
{
	struct proxy *px = ctx;
	struct msg m = { .done = { .id = id } };

	/* Lost, the flow ends with a 504 of its own. */
	if (msg_send(px->gateway_io.fd, MSG_FLOW_DIAL, 0, &m.done, sizeof(m.done), NULL, 0) < 0)
		log_debug("wish for a connection not told");
}

void proxy_on_terminate(void *ctx, const char *env)
{
	struct proxy *px = ctx;

	record_flush(&px->record);
	if (msg_send_text(px->record.sock, MSG_TERMINATE, 0, env) < 0)
		_exit(1);
}

void proxy_on_keylog(void *ctx, const char *line)
{
	struct proxy *px = ctx;
	char text[512];

	snprintf(text, sizeof(text), "%s\n", line);
	if (msg_send_text(px->gateway_io.fd, MSG_KEYLOG, 0, text) < 0)
		log_debug("key log line not told");
}

/* Everything the gateway says is checked: it may have been taken over. */
static bool flow_is_sane(const struct tlsproxy_flow *f)
{
	bool ok = f->name.len <= NAME_MAX_LEN && f->name.s[f->name.len] == 0 &&
		  f->n_candidates <= ARRAY_SIZE(f->candidates) && (f->tls || !f->terminate) &&
		  (f->remote.addr.family == 4 || f->remote.addr.family == 6) &&
		  (f->upstream.addr.family == 4 || f->upstream.addr.family == 6);

	for (size_t i = 0; ok && i < f->n_candidates; i++)
		ok = f->candidates[i].len <= NAME_MAX_LEN &&
		     f->candidates[i].s[f->candidates[i].len] == 0;
	return ok;
}

static bool is_flow(const struct msg *m, ssize_t n, size_t n_fds)
{
	return m->head.type == MSG_FLOW && (size_t)n >= sizeof(m->flow) &&
	       (n_fds == 2 ||
		(n_fds == 1 && m->flow.tls && (m->flow.has_name || m->flow.n_candidates))) &&
	       flow_is_sane(&m->flow);
}

static bool is_dialled(const struct msg *m, ssize_t n, size_t n_fds)
{
	return m->head.type == MSG_FLOW_DIALLED && (size_t)n >= sizeof(m->dialled) &&
	       n_fds == (m->head.value ? 0 : 1) &&
	       (n_fds == 0 || m->dialled.to.addr.family == 4 || m->dialled.to.addr.family == 6);
}

/* One message; false: there is none. */
static bool hear_gateway(struct proxy *px)
{
	int fds[2] = { -1, -1 };
	size_t n_fds = 0;
	struct msg m;
	ssize_t n = msg_recv(px->gateway_io.fd, &m, fds, 2, &n_fds);

	if (n == -ECONNRESET)
		loop_stop(px->loop, 0);
	if (n < 0)
		return false;
	if (m.head.type == MSG_DIALLED && (size_t)n >= sizeof(m.dial) && n_fds < 2) {
		proxy_tokens_dialled(&m, n_fds ? fds[0] : -1);
	} else if (is_dialled(&m, n, n_fds)) {
		tlsproxy_flow_dialled(px->tp, m.dialled.id, fds[0], &m.dialled.to,
				      strerror(m.head.value));
	} else if (!is_flow(&m, n, n_fds)) {
		while (n_fds)
			fd_close(fds[--n_fds]);
	} else if (tlsproxy_flow_start(px->tp, &m.flow, fds[0], fds[1]) < 0) {
		log_debug("flow not started");
	}
	return true;
}

/* Flows come in bursts; a turn of the loop for each would cost more than to begin it. */
void proxy_on_gateway(struct loop_io *io, uint32_t revents)
{
	struct proxy *px = container_of(io, struct proxy, gateway_io);

	(void)revents;
	for (unsigned i = 0; i < GATEWAY_MESSAGES && hear_gateway(px); i++)
		;
}

static size_t rejudge(void *ctx)
{
	struct proxy *px = ctx;

	return tlsproxy_rejudge(px->tp);
}

void proxy_on_supervisor(struct loop_io *io, uint32_t revents)
{
	struct proxy *px = container_of(io, struct proxy, supervisor_io);
	size_t n_fds = 0;
	struct msg m;
	int fd = -1;
	ssize_t n = msg_recv(io->fd, &m, &fd, 1, &n_fds);

	(void)revents;
	if (n == -ECONNRESET)
		loop_stop(px->loop, 0);
	else if (n >= 0 && !judge_message(&px->judge, &m, (size_t)n, fd, rejudge, px) &&
		 !proxy_change_message(&px->changes, &m, (size_t)n, fd))
		fd_close(fd);
}
