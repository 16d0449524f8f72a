/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway process: start, isolation, loop, end.
 *
 * It ends when its supervisor does, or with the signal that ends everything. A
 * link that is lost ends the flows; what that means is the supervisor's to say. Ending closes every flow first, so that each
 * has its end on the record.
 */
#include "weir/gateway_int.h"

#include "weir/harden.h"
#include "weir/message.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static _Noreturn void fail(const struct gateway_spec *spec, const struct conf_error *err)
{
	if (msg_send_text(spec->supervisor, MSG_FAILED, 0, err->text) < 0)
		_exit(1);
	_exit(1);
}

static void on_datagram(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len)
{
	struct flow *f = netstack_flow_user(ns);

	(void)ctx;
	if (f->kind == FLOW_DNS)
		gateway_dns_udp(f, p, len);
	else if (f->kind == FLOW_PUBLISHED_UDP)
		gateway_publish_datagram(f, p, len);
	else if (f->kind == FLOW_ECHO)
		netstack_flow_send(ns, p, len);
}

static void on_frame(void *ctx, bool from_guest, const void *head, size_t head_len,
		     const void *payload, size_t payload_len)
{
	struct gateway *gw = ctx;

	audit_capture_frame(gw->capture, from_guest, head, head_len, payload, payload_len);
}

static void send_stats(struct gateway *gw, int32_t number)
{
	struct netstack_stats s;

	netstack_stats_get(gw->ns, &s);
	if (msg_send(gw->record.sock, MSG_STATS, number, &s, sizeof(s), NULL, 0) < 0)
		log_debug("the supervisor is gone");
}

static void on_supervisor(struct loop_io *io, uint32_t revents)
{
	struct gateway *gw = container_of(io, struct gateway, supervisor_io);
	size_t n_fds = 0;
	struct msg m;
	int fd = -1;
	ssize_t n = msg_recv(io->fd, &m, &fd, 1, &n_fds);

	(void)revents;
	if (n == -ECONNRESET) {
		loop_stop(gw->loop, 0);
		return;
	}
	if (n >= 0 && m.head.type == MSG_LINK && gw->cfg->link.kind) {
		/* Another machine, or none: what the one before had ends. */
		if (netstack_relink(gw->ns, (enum netstack_link_kind)m.head.value, fd) < 0)
			loop_stop(gw->loop, 1);
		return;
	}
	if (n >= 0 && m.head.type == MSG_SUCCESSOR) {
		gateway_proxy_back(gw, fd);
		return;
	}
	if (n < 0 || judge_message(&gw->judge, &m, (size_t)n, fd, gateway_rejudge, gw))
		return;
	if (gateway_publish_message(gw, &m, (size_t)n, fd))
		return;
	fd_close(fd);
	if (m.head.type == MSG_RESOLVERS)
		gateway_dns_resolvers(gw, m.resolvers, (size_t)n / sizeof(m.resolvers[0]));
	else if (m.head.type == MSG_STATS)
		send_stats(gw, m.head.value);
	else if (m.head.type == MSG_RATES && (size_t)n >= sizeof(m.rates))
		netstack_set_rates(gw->ns, &m.rates);
}

/* Its flows have ended, each with its own line. */
static void on_link_down(void *ctx, const char *why, bool last)
{
	struct gateway *gw = ctx;

	record_run_event(&gw->record, "link_down", why);
	if (last && msg_send(gw->record.sock, MSG_LINK_LOST, 0, NULL, 0, NULL, 0) < 0)
		loop_stop(gw->loop, 0);
}

/*
 * A machine of our own takes its link along, and its end is told. What broke the link's
 * rules (memory, rings) leaves it running without a network: its monitor does not come again,
 * whatever the guest's driver does with its card.
 */
static void on_own_link_down(void *ctx, const char *why, bool last)
{
	struct gateway *gw = ctx;
	struct netstack_stats s;
	char text[512];

	(void)last;
	netstack_stats_get(gw->ns, &s);
	if (s.link_faults == gw->link_faults)
		return;
	gw->link_faults = s.link_faults;
	snprintf(text, sizeof(text), "%s; the machine has no network any more", why);
	record_run_event(&gw->record, "link_down", text);
}

static void on_link_up(void *ctx)
{
	struct gateway *gw = ctx;

	record_run_event(&gw->record, "link_up", NULL);
}

/* What a machine that somebody else runs is told of its addresses; a sandbox has them already. */
static struct netstack_autoconf autoconf(const struct weir_config *cfg)
{
	struct netstack_autoconf a = { .prefix4 = cfg->net.slot4.len };
	struct name n;

	if (!cfg->link.kind || cfg->wish.no_dhcp)
		return a;
	a.dhcp4 = a.ra = a.dhcp6 = true;
	memcpy(a.domain, cfg->wish.domain, sizeof(a.domain));
	if (name_parse(cfg->name, strlen(cfg->name), &n, NULL) == 0 && n.len < sizeof(a.hostname))
		memcpy(a.hostname, n.s, n.len);
	return a;
}

static int start_netstack(struct gateway *gw, enum netstack_link_kind kind, int link)
{
	static const struct netstack_ops plain = {
		.flow_new = gateway_flow_new,
		.flow_bytes = gateway_flow_bytes,
		.flow_server_first = gateway_flow_server_first,
		.flow_cut = gateway_flow_cut,
		.flow_datagram = on_datagram,
		.flow_waiting = gateway_flow_waiting,
		.flow_passes = gateway_quic_passes,
		.flow_end = gateway_flow_end,
		.packet_refused = gateway_packet_refused,
	};
	static struct netstack_ops ops;
	const struct sandbox_net *net = &gw->cfg->net;
	struct netstack_config cfg = {
		.gateway4 = net->gateway4,
		.gateway6 = net->gateway6,
		.guest4 = net->guest4,
		.guest6 = net->guest6,
		.mtu = net->mtu,
		.max_tcp = gw->cfg->max_connections,
		.max_udp = gw->cfg->max_udp_flows,
		.max_icmp = gw->cfg->max_icmp_flows,
		.max_half_open = gw->cfg->max_half_open,
		.memory = gw->cfg->memory,
		.autoconf = autoconf(gw->cfg),
	};
	int r;

	ops = plain;
	/* In a sandbox the link goes with the command, whose end is told. */
	if (gw->cfg->link.kind) {
		ops.link_up = on_link_up;
		ops.link_down = on_link_down;
	} else if (kind == NETSTACK_LINK_VHOST_USER) {
		ops.link_down = on_own_link_down;
	}
	if (gw->capture)
		ops.frame = on_frame;
	memcpy(cfg.gateway_mac, net->gateway_mac, sizeof(cfg.gateway_mac));
	memcpy(cfg.guest_mac, net->guest_mac, sizeof(cfg.guest_mac));
	pool_init(&gw->flow_pool, sizeof(struct flow),
		  (size_t)cfg.max_tcp + cfg.max_udp + cfg.max_icmp);
	r = netstack_new(gw->loop, kind, link, &cfg, &ops, gw, &gw->ns);
	if (r == 0)
		netstack_set_rates(gw->ns, &gw->cfg->rates);
	return r;
}

static int start(struct gateway *gw, const struct gateway_spec *spec, int link)
{
	int r = loop_new(&gw->loop);

	hash_key_random(&gw->key);
	gw->quic = tlsproxy_quic_new();
	if (r == 0 && !gw->quic)
		r = -ENOMEM;
	if (r == 0) {
		loop_give_way(gw->loop);
		record_batch(&gw->record, gw->loop);
	}
	if (r == 0)
		r = hmap_init(&gw->flows, 256);
	if (r == 0)
		r = hmap_init(&gw->rule_limits, 16);
	if (r == 0)
		r = gateway_parked_start(gw);
	if (r == 0 && spec->capture >= 0)
		r = audit_capture_open(spec->capture, &gw->capture);
	if (r == 0)
		r = gateway_dns_start(gw, spec);
	if (r == 0)
		r = start_netstack(gw, spec->link_kind, link);
	if (r == 0)
		r = gateway_publish_start(gw, spec);
	if (r == 0)
		r = loop_io_add(gw->loop, &gw->supervisor_io, spec->supervisor, EPOLLIN,
				on_supervisor);
	if (r == 0)
		r = worker_start(&gw->worker, gw->loop);
	if (r == 0 && spec->proxy >= 0)
		r = gateway_proxy_start(gw, spec->proxy);
	return r;
}

static void keep_only_ours(const struct gateway_spec *spec, int link)
{
	cleanup_free int *keep = calloc(spec->n_ports + 5, sizeof(*keep));
	size_t n = 0;

	if (!keep)
		_exit(1);
	keep[n++] = spec->supervisor;
	keep[n++] = link;
	keep[n++] = spec->proxy;
	keep[n++] = spec->capture;
	keep[n++] = spec->proxy_auth;
	for (size_t i = 0; i < spec->n_ports; i++)
		keep[n++] = spec->ports[i].fd;
	rights_close_others(keep, n);
}

_Noreturn void gateway_main(const struct gateway_spec *spec, int link)
{
	static struct gateway gw;
	struct conf_error err;
	int r;

	harden_begin("weir-gateway", spec->parent);
	log_setup("gateway", log_level_get());
	keep_only_ours(spec, link);
	gw.cfg = spec->cfg;
	judge_init(&gw.judge, spec->cfg->policy, spec->cfg->observe);
	judge_listen(&gw.judge, &gw.worker, &gw.record);
	list_init(&gw.all);
	list_init(&gw.all_limits);
	list_init(&gw.proxy_waiting);
	list_init(&gw.fetches);
	gw.proxy = -1;
	gw.upstream = spec->upstream;
	if (spec->proxy_auth >= 0 && upstream_read_auth(spec->upstream, spec->proxy_auth, &err) < 0)
		fail(spec, &err);
	fd_close(spec->proxy_auth);
	gw.record = (struct record){ .sock = spec->supervisor, .tag = 'g' };
	snprintf(gw.record.run, sizeof(gw.record.run), "%s", spec->run);
	if (harden_isolate(HARDEN_GATEWAY, &err) < 0)
		fail(spec, &err);
	r = start(&gw, spec, link);
	if (r < 0) {
		conf_error_set(&err, "the gateway cannot start: %s", strerror(-r));
		fail(spec, &err);
	}
	if (harden_seccomp(HARDEN_GATEWAY, &err) < 0)
		fail(spec, &err);
	if (msg_send(spec->supervisor, MSG_READY, 0, NULL, 0, NULL, 0) < 0)
		_exit(1);
	r = loop_run(gw.loop);
	send_stats(&gw, 0);
	netstack_free(gw.ns);
	tlsproxy_quic_free(gw.quic);
	gateway_refusals_flush(&gw);
	dns_free(gw.dns);
	gateway_dns_repeats_flush(&gw);
	record_flush(&gw.record);
	audit_capture_close(gw.capture);
	_exit(r < 0 ? 1 : r);
}
