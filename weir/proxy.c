/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tlsproxy process: reads the secrets, gives up its rights, serves flows.
 * It has its own copy of the policy and asks it for every TLS name and every
 * request; the gateway's word that a flow may be dialled is not enough.
 *
 * It never waits for the gateway, which waits for it: what it sends there is
 * dropped when the gateway does not keep up.
 */
#include "weir/proxy.h"

#include "weir/harden.h"
#include "weir/message.h"
#include "weir/proxy_int.h"
#include "weir/proxy_masks.h"
#include "weir/proxy_tokens.h"
#include "weir/secret_source.h"
#include "weir/tls_setup.h"
#include "weir/wiped_heap.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static _Noreturn void fail(const struct proxy_spec *spec, const struct conf_error *err)
{
	if (msg_send_text(spec->supervisor, MSG_FAILED, 0, err->text) < 0)
		_exit(1);
	_exit(1);
}

/* Descriptor secrets are read first, then everything that is not ours is closed. */
static void keep_only_ours(struct proxy_spec *spec)
{
	const int keep[] = { spec->supervisor, spec->gateway, spec->vault.fd };
	/* Two for each flow, and some to spare. */
	size_t above = 3 * (size_t)spec->cfg->max_connections + 1024;
	struct rlimit l = { .rlim_cur = 1024 };
	int high;

	rights_close_others(keep, ARRAY_SIZE(keep));
	/*
	 * A process that is killed closes its descriptors from the highest number on (the
	 * kernel works them off last in, first out). The channel goes above all others,
	 * so that the gateway has learned of the death when it sees a flow's end.
	 */
	(void)getrlimit(RLIMIT_NOFILE, &l);
	high = fcntl(spec->gateway, F_DUPFD_CLOEXEC, (int)MIN(above, (size_t)l.rlim_cur - 1));
	if (high >= 0) {
		fd_close(spec->gateway);
		spec->gateway = high;
	}
}

/*
 * Where the limit on locked memory can be lifted (by root, before it becomes
 * nobody), nothing of this process is ever written to swap: neither values, which
 * are locked in any case, nor what passes through its buffers.
 */
static void lock_memory(void)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_MEMLOCK, &l) < 0 && getrlimit(RLIMIT_MEMLOCK, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_MEMLOCK, &l);
	}
	if (l.rlim_cur != RLIM_INFINITY || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_info("only keys and values are locked in memory, not what passes through "
			 "(ulimit -l unlimited would let all of it be)");
}

static int start_tlsproxy(struct proxy *px, struct proxy_spec *spec, struct conf_error *err)
{
	static const struct tlsproxy_ops plain = {
		.judge_tls = proxy_judge_tls,
		.judge_http = proxy_judge_http,
		.judge_connect = proxy_judge_connect,
		.new_denial_id = proxy_denial_id,
		.tls_event = proxy_on_tls,
		.http_event = proxy_on_http,
		.secret_event = proxy_on_secret,
		.flow_done = proxy_on_flow_done,
		.terminate = proxy_on_terminate,
		.await = proxy_token_want,
		.mask = proxy_mask,
		.path_matches = proxy_path_matches,
		.parked = proxy_on_parked,
		.dial = proxy_on_dial,
	};
	static struct tlsproxy_ops ops;
	const struct weir_config *cfg = px->cfg;
	struct secret_config *all = NULL;
	struct secret_list list = { 0 };
	size_t n = 0;
	struct tlsproxy_config tc = {
		.max_flows = cfg->max_connections,
	};
	struct tls_setup tls = { 0 };
	char why[512] = "";
	int r;

	ops = plain;
	if (spec->keylog)
		ops.keylog = proxy_on_keylog;
	r = proxy_secrets_open(&px->secrets, !spec->restarts, err);
	keep_only_ours(spec);
	px->secrets.vault.fd = spec->vault.fd;
	if (r == 0)
		r = tls_setup(cfg, &tc, &tls);
	if (r == 0)
		r = loop_new(&px->loop);
	if (r == 0)
		r = proxy_secrets_removed(&px->secrets, &all, &n);
	if (r == 0)
		r = secret_list_new(all, n, &px->secrets.kept, &list);
	if (r == 0) {
		tc.secrets = list.v;
		tc.n_secrets = list.n;
		if (spec->restarts) {
			tc.ca_pem = px->secrets.kept.ca_pem;
			tc.ca_key = px->secrets.kept.ca_key;
			tc.ca_key_len = px->secrets.kept.ca_key_len;
		}
		r = tlsproxy_new(px->loop, &tc, &ops, px, &px->tp, why, sizeof(why));
		if (r < 0)
			conf_error_set(err, "the tlsproxy cannot start: %s",
				       *why ? why : strerror(-r));
	}
	/* What only its predecessors had is removed again, and remembered as that. */
	if (r == 0 && n > cfg->n_secrets)
		r = proxy_secrets_begin(&px->secrets, px->tp, err);
	secret_list_free(&list);
	free(all);
	tls_setup_fini(&tls);
	secret_wipe_environment(cfg);
	return r;
}

/* Names are looked through here and by the gateway, which is told what for. */
static void tell_known(void *ctx)
{
	struct proxy *px = ctx;
	const char *placeholders[2 * CONFIG_SECRETS_MAX];
	struct tlsproxy_known k;
	char text[KEPT_TOKEN_NAME_MAX + TLSPROXY_SECRET_MAX + 2];
	size_t n = 0;
	int r = 0;

	for (; n < ARRAY_SIZE(placeholders) && tlsproxy_known(px->tp, n, &k); n++) {
		placeholders[n] = k.placeholder;
		snprintf(text, sizeof(text), "%s=%s", k.env, k.placeholder);
		if (r == 0)
			r = msg_send_text(px->gateway_io.fd, MSG_KNOWN, k.on_violation, text);
	}
	if (r == 0)
		r = msg_send(px->gateway_io.fd, MSG_KNOWN_ALL, (int32_t)n, NULL, 0, NULL, 0);
	tlsproxy_finder_free(px->finder);
	px->finder = NULL;
	if (r < 0 || tlsproxy_finder_new(placeholders, n, &px->finder) < 0)
		log_warn("names are not looked through for placeholders: %s", strerror(-r));
}

static int announce(const struct proxy *px, const struct proxy_spec *spec)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < px->cfg->n_secrets; i++)
		r = msg_send_text(spec->supervisor, MSG_PLACEHOLDER, (int32_t)i,
				  tlsproxy_placeholder(px->tp, i));
	if (r == 0)
		r = msg_send_text(spec->supervisor, MSG_CA, 0, tlsproxy_ca_pem(px->tp));
	if (r == 0)
		r = msg_send(spec->supervisor, MSG_READY, 0, NULL, 0, NULL, 0);
	for (size_t i = 0; r == 0 && i < px->cfg->n_secrets; i++)
		if (px->secrets.lives[i])
			r = msg_send_text(spec->supervisor, MSG_SECRET_LIFE,
					  (int32_t)px->secrets.lives[i], px->cfg->secrets[i].env);
	return r;
}

_Noreturn void proxy_main(struct proxy_spec *spec)
{
	static struct proxy px;
	struct conf_error err = { { 0 } };
	int r;

	harden_begin("weir-tlsproxy", spec->parent);
	log_setup("tlsproxy", log_level_get());
	px.cfg = spec->cfg;
	judge_init(&px.judge, spec->cfg->policy, spec->cfg->observe);
	judge_listen(&px.judge, &px.worker, &px.record);
	px.judge.generation = spec->generation;
	px.secrets.cfg = spec->cfg;
	px.secrets.vault = spec->vault;
	buf_init(&px.path, 1 << 17);
	lock_memory();
	wiped_heap_begin();
	r = start_tlsproxy(&px, spec, &err);
	/* Ids of its denials and those of its predecessors are not to be mistaken. */
	px.record = (struct record){ .sock = spec->supervisor,
				     .tag = 't',
				     .next_denial = (uint64_t)spec->restarts << 32 };
	snprintf(px.record.run, sizeof(px.record.run), "%s", spec->run);
	if (r < 0) {
		if (!err.text[0])
			conf_error_set(&err, "the tlsproxy cannot start: %s", strerror(-r));
		fail(spec, &err);
	}
	if (harden_isolate(HARDEN_TLSPROXY, &err) < 0)
		fail(spec, &err);
	loop_give_way(px.loop);
	record_batch(&px.record, px.loop);
	proxy_tokens_init(&px.secrets, px.tp, px.loop, &px.record, &px.gateway_io);
	proxy_masks_init(&px.secrets, px.tp, px.loop, &px.record, tell_known, &px);
	proxy_changes_init(&px.changes, &px.secrets, px.tp, px.loop, &px.record);
	r = loop_io_add(px.loop, &px.gateway_io, spec->gateway, EPOLLIN, proxy_on_gateway);
	if (r == 0)
		r = loop_io_add(px.loop, &px.supervisor_io, spec->supervisor, EPOLLIN,
				proxy_on_supervisor);
	if (r == 0)
		r = worker_start(&px.worker, px.loop);
	if (r == 0)
		r = fd_set_nonblock(spec->gateway, true);
	if (r == 0)
		r = proxy_secrets_keep(&px.secrets, px.tp, &err);
	if (r < 0 && err.text[0])
		fail(spec, &err);
	if (r < 0) {
		conf_error_set(&err, "the tlsproxy cannot start: %s", strerror(-r));
		fail(spec, &err);
	}
	if (harden_seccomp(HARDEN_TLSPROXY, &err) < 0)
		fail(spec, &err);
	tell_known(&px);
	px.changes.changed = tell_known;
	px.changes.ctx = &px;
	if (announce(&px, spec) < 0)
		_exit(1);
	r = loop_run(px.loop);
	proxy_changes_end(&px.changes);
	tlsproxy_free(px.tp);
	record_flush(&px.record);
	proxy_secrets_close(&px.secrets);
	_exit(r < 0 ? 1 : r);
}
