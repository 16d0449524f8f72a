/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The totals of a sandbox's network by name. "up" is out of the sandbox, "down"
 * into it. The link's are Ethernet frames as its interface counts them, the
 * protocols' are payload as the host's sockets do.
 */
#include "weir/stats.h"

size_t stats_list(const struct netstack_stats *s, struct stat_item ret[static STATS_MAX])
{
	const struct netstack_totals *tcp = &s->by_proto[NETSTACK_TCP];
	const struct netstack_totals *udp = &s->by_proto[NETSTACK_UDP];
	const struct netstack_totals *icmp = &s->by_proto[NETSTACK_ICMP];
	const struct stat_item all[] = {
		{ "link_frames_up", s->frames_in },
		{ "link_bytes_up", s->bytes_in },
		{ "link_frames_down", s->frames_out },
		{ "link_bytes_down", s->bytes_out },
		{ "tcp_flows", tcp->flows },
		{ "tcp_now", s->tcp_flows },
		{ "tcp_bytes_up", tcp->bytes_up },
		{ "tcp_bytes_down", tcp->bytes_down },
		{ "tcp_packets_up", tcp->packets_up },
		{ "tcp_packets_down", tcp->packets_down },
		{ "tcp_retransmits", s->retransmits },
		{ "udp_flows", udp->flows },
		{ "udp_now", s->udp_flows },
		{ "udp_bytes_up", udp->bytes_up },
		{ "udp_bytes_down", udp->bytes_down },
		{ "udp_packets_up", udp->packets_up },
		{ "udp_packets_down", udp->packets_down },
		{ "icmp_flows", icmp->flows },
		{ "icmp_now", s->icmp_flows },
		{ "icmp_bytes_up", icmp->bytes_up },
		{ "icmp_bytes_down", icmp->bytes_down },
		{ "icmp_packets_up", icmp->packets_up },
		{ "icmp_packets_down", icmp->packets_down },
		{ "dropped_malformed", s->dropped_malformed },
		{ "dropped_spoofed", s->dropped_spoofed },
		{ "dropped_link_full", s->dropped_link_full },
		{ "dropped_socket_full", s->dropped_socket_full },
		{ "dropped_unsolicited", s->dropped_unsolicited },
		{ "dropped_fragments", s->fragments_dropped },
		{ "dropped_rate", s->dropped_rate },
		{ "delayed_rate", s->delayed_rate },
		{ "refused_limit", s->refused_limit },
		{ "refused_memory", s->refused_memory },
		{ "half_open_now", s->half_open },
		{ "half_open_evicted", s->evicted_half_open },
		{ "memory_used", s->memory_used },
		{ "memory_budget", s->memory_max },
	};

	_Static_assert(ARRAY_SIZE(all) <= STATS_MAX, "room for all");
	memcpy(ret, all, sizeof(all));
	return ARRAY_SIZE(all);
}

bool stats_is_gauge(const char *key)
{
	size_t n = strlen(key);

	return str_starts(key, "memory_") || (n > 4 && str_eq(key + n - 4, "_now"));
}
