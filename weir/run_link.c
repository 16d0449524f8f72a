/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir gateway` runs: nothing. It serves a link to a machine that somebody
 * else runs, until it is told to end (SIGTERM, SIGINT, SIGHUP, SIGQUIT: status
 * 0) or the link can never carry anything again. Behind a socket that listens,
 * machines come and go; each finds the flows of the one before ended.
 */
#include "weir/run.h"

#include "weir/link_open.h"
#include "weir/link_peer.h"
#include "weir/message.h"
#include "weir/notify.h"
#include "weir/run_internal.h"
#include "weir/run_link_out.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct link_run {
	struct run run;
	struct link_handle link;
	struct link_peer peer; /* of a dgram link */
};

static struct link_run *link_of(struct run *r)
{
	return container_of(r, struct link_run, run);
}

/* Our own datagram socket, not one that somebody connected for us. */
static bool is_dgram(const struct link_run *l)
{
	return l->link.kind == NETSTACK_LINK_DGRAM && l->link.made;
}

static int link_start(struct run *r, struct run_link *ret, struct conf_error *err)
{
	struct link_run *l = link_of(r);
	int rc = run_link_out(r, err);

	if (rc < 0)
		return rc;
	/* Datagrams reach the gateway once it is known whose they are. */
	*ret = (struct run_link){ .kind = NETSTACK_LINK_NONE, .fd = -1 };
	if (!is_dgram(l))
		*ret = (struct run_link){ l->link.kind, steal_fd(&l->link.fd) };
	return 0;
}

static void peer_changed(struct link_peer *p, bool there)
{
	struct link_run *l = container_of(p, struct link_run, peer);

	int32_t kind = there ? NETSTACK_LINK_DGRAM : NETSTACK_LINK_NONE;

	if (msg_send(l->run.gateway.sock, MSG_LINK, kind, NULL, 0, &p->fd, there) < 0)
		log_debug("the gateway is gone");
}

static int link_listen(struct run *r)
{
	struct link_run *l = link_of(r);

	if (!is_dgram(l))
		return 0;
	l->peer = (struct link_peer){
		.loop = r->loop, .fd = l->link.fd, .only = r->cfg->link.peer, .changed = peer_changed
	};
	return link_peer_start(&l->peer);
}

/* Scripts wait for this line, service managers for theirs. */
static void link_go(struct run *r)
{
	const struct sandbox_net *net = &r->cfg->net;
	char gw4[IP_STRLEN], gw6[IP_STRLEN], own4[IP_STRLEN], own6[IP_STRLEN];
	json_t *o;

	/* That the record can be written is part of being ready. */
	run_record_flush(&r->flush);
	if (r->ending)
		return;
	if (r->cfg->json) {
		o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:[ss], s:[ss]}", "event", "ready",
			      "run", r->id, "name", r->cfg->name, "link", r->what, "pid",
			      (int)getpid(), "record", r->audit_path, "guest",
			      ip_format(&net->guest4, own4), ip_format(&net->guest6, own6), "gateway",
			      ip_format(&net->gateway4, gw4), ip_format(&net->gateway6, gw6));
		if (json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
			putchar('\n');
		json_decref(o);
	} else if (r->cfg->log_level > LOG_LEVEL_ERROR) {
		printf("weir: ready: %s (%s) serves %s\n", r->cfg->name, r->id, r->what);
	}
	/* Whoever started us may not read it; that is no reason to end. */
	if (fflush(stdout) != 0)
		clearerr(stdout);
	notify_manager("READY=1");
}

static void link_signal(struct run *r, int sig)
{
	if (sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT)
		run_end(r);
}

static void link_lost(struct run *r)
{
	struct link_run *l = link_of(r);

	if (r->ending)
		return;
	if (l->peer.io.loop) {
		link_peer_lost(&l->peer);
		return;
	}
	if (l->link.kind == NETSTACK_LINK_TAP) {
		run_fail(r, "%s: the interface is gone; nothing can be served any more", r->what);
		return;
	}
	log_warn("%s: the machine has closed it, so this is the end", r->what);
	run_end(r);
}

static void link_ending(struct run *r)
{
	notify_manager("STOPPING=1");
	link_peer_stop(&link_of(r)->peer);
	/* Who comes now finds nobody, rather than somebody who is leaving. */
	link_close(&link_of(r)->link);
}

static void link_finish(struct run *r)
{
	link_peer_stop(&link_of(r)->peer);
	link_close(&link_of(r)->link);
}

static const struct run_subject link_subject = {
	.key = "link",
	.stopped = "the link was closed",
	.start = link_start,
	.listen = link_listen,
	.go = link_go,
	.signal = link_signal,
	.link_lost = link_lost,
	.ending = link_ending,
	.finish = link_finish,
};

int cmd_gateway(int argc, char **argv)
{
	struct link_run l = { .run = { .subject = &link_subject } };
	struct conf_error err = { { 0 } };
	int rc = weir_config_load(CONFIG_GATEWAY, argc - 1, argv + 1, &l.run.cfg, &err);

	if (rc == -ECANCELED) {
		weir_help_print(CONFIG_GATEWAY);
		return 0;
	}
	if (rc == 0) {
		log_setup("", l.run.cfg->log_level);
		rc = link_open(&l.run.cfg->link, &l.link, &err);
	}
	if (rc < 0) {
		log_error("%s", err.text);
		weir_config_free(l.run.cfg);
		return EXIT_WEIR_FAILED;
	}
	l.run.what = l.run.cfg->link.text;
	return run_main(&l.run);
}
