/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy replay of a packet capture: libpcap reads the file, capture.c its frames. */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "weir/capture.h"

#include <pcap/pcap.h>
#include <stdio.h>

_Static_assert(DLT_EN10MB == PACKET_LINK_ETHERNET && DLT_RAW == PACKET_LINK_RAW &&
		       DLT_LINUX_SLL == PACKET_LINK_SLL && DLT_LINUX_SLL2 == PACKET_LINK_SLL2 &&
		       DLT_NULL == PACKET_LINK_NULL && DLT_LOOP == PACKET_LINK_LOOP &&
		       DLT_IPV4 == PACKET_LINK_IPV4 && DLT_IPV6 == PACKET_LINK_IPV6,
	       "link types are libpcap's");

/* ADDR or ADDR/LEN; 1: told, 0: not, else EXIT_ERROR. */
static int parse_guest(const char *s, struct ip_prefix *ret)
{
	const char *why = NULL;
	int r;

	if (!s)
		return 0;
	if (strchr(s, '/')) {
		r = ip_prefix_parse(s, strlen(s), ret, &why);
	} else {
		r = ip_parse(s, strlen(s), &ret->addr, &why);
		ret->len = (uint8_t)(8 * ip_size(&ret->addr));
	}
	if (r < 0)
		return policy_cmd_complain("replay", "--guest %s: %s", s, why);
	return 1;
}

static int show(struct capture *c, const struct replay_input *in, const char *broken)
{
	char input[400];
	json_t *o;
	int e = 0;

	if (in->json) {
		o = replay_report_json(&c->report);
		json_object_set_new(o, "packets", json_integer((json_int_t)c->packets));
		json_object_set_new(o, "address_assumed", json_integer((json_int_t)c->assumed));
		json_object_set_new(o, "names_forgotten",
				    json_integer((json_int_t)replay_names_lost(c->given)));
		e = policy_cmd_json("replay", o);
		json_decref(o);
	} else {
		size_t n = (size_t)snprintf(input, sizeof(input), "capture     %llu packets",
					    (unsigned long long)c->packets);

		if (c->assumed)
			n += (size_t)snprintf(input + n, sizeof(input) - n,
					      "; %llu judgements on a virtual address, with some "
					      "public address behind it",
					      (unsigned long long)c->assumed);
		if (replay_names_lost(c->given))
			snprintf(input + n, sizeof(input) - n, "; %llu answers beyond what is kept",
				 (unsigned long long)replay_names_lost(c->given));
		replay_report_print(&c->report, input);
	}
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("replay", "cannot write: %s", strerror(errno));
	if (e == 0 && broken)
		e = policy_cmd_complain("replay", "%s: breaks off after packet %llu: %s", in->path,
					(unsigned long long)c->packets, broken);
	if (e)
		return e;
	return c->report.judged == c->report.now[REPLAY_ALLOW] ? EXIT_ALLOW : EXIT_DENY;
}

static int read_packets(struct capture *c, pcap_t *p, const struct replay_input *in)
{
	int link = pcap_datalink(p), r;
	struct pcap_pkthdr *h;
	const u_char *bytes;

	if (!packet_link_known(link))
		return policy_cmd_complain(
			"replay",
			"%s: frames of type %s; Ethernet, Linux cooked and raw IP "
			"are read",
			in->path,
			pcap_datalink_val_to_name(link) ? pcap_datalink_val_to_name(link)
							: "unknown");
	while ((r = pcap_next_ex(p, &h, &bytes)) == 1)
		capture_frame(c, link, bytes, h->caplen);
	capture_end(c);
	return show(c, in, r == PCAP_ERROR ? pcap_geterr(p) : NULL);
}

int replay_capture(const struct replay_input *in)
{
	char err[PCAP_ERRBUF_SIZE] = "";
	struct ip_prefix guest = { 0 };
	struct capture c;
	pcap_t *p;
	int e = parse_guest(in->guest, &guest);

	if (e == EXIT_ERROR)
		return e;
	p = pcap_open_offline(in->path, err);
	if (!p)
		return policy_cmd_complain("replay", "%s: %s", in->path, err);
	if (capture_init(&c, in->policy, e ? &guest : NULL) < 0)
		e = policy_cmd_complain("replay", "out of memory");
	else
		e = read_packets(&c, p, in);
	capture_fini(&c);
	pcap_close(p);
	return e;
}
