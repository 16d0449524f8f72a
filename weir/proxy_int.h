/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the tlsproxy process share: it holds one of these, in one thread. */
#ifndef WEIR_PROXY_INT_H
#define WEIR_PROXY_INT_H

#include "weir/judge.h"
#include "weir/proxy_change.h"
#include "weir/proxy_secrets.h"
#include "weir/record.h"
#include "weir/worker.h"

struct proxy {
	const struct weir_config *cfg;
	struct loop *loop;
	struct tlsproxy *tp;
	struct proxy_secrets secrets;
	struct proxy_changes changes;
	struct record record;
	struct judge judge;
	struct worker worker; /* loads policies */
	struct loop_io gateway_io, supervisor_io;
	struct buf path;		/* scratch: a request's path, normalised */
	struct tlsproxy_finder *finder; /* of placeholders in TLS names */
};

/* ---- proxy_judge.c: struct tlsproxy_ops ------------------------------------------------ */

void proxy_judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni, const struct name *sni,
		     struct tlsproxy_verdict *ret);
void proxy_judge_connect(void *ctx, const struct tlsproxy_flow *f, struct tlsproxy_verdict *ret);
void proxy_judge_http(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret);
bool proxy_path_matches(void *ctx, const char *pattern, const char *target);
void proxy_denial_id(void *ctx, char ret[static 40]);

/* ---- proxy_record.c: the same ---------------------------------------------------------- */

void proxy_on_tls(void *ctx, const struct tlsproxy_tls_event *t);
void proxy_on_http(void *ctx, const struct tlsproxy_http_event *h);
void proxy_on_secret(void *ctx, const struct tlsproxy_secret_event *s);

/* ---- proxy_wires.c --------------------------------------------------------------------- */

void proxy_on_flow_done(void *ctx, uint64_t id, bool reset);
void proxy_on_parked(void *ctx, const struct name *host, const struct endpoint *to, bool any);
void proxy_on_dial(void *ctx, uint64_t id);
void proxy_on_terminate(void *ctx, const char *env);
void proxy_on_keylog(void *ctx, const char *line);
/* Readers of the two channels. */
void proxy_on_gateway(struct loop_io *io, uint32_t revents);
void proxy_on_supervisor(struct loop_io *io, uint32_t revents);

#endif
