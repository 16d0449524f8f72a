/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet capture as a file, from libpcap's reader to the last judgement.
 * Beyond not crashing: every byte that was lent to a stream comes back, and
 * the report adds up.
 */
#include "weir/capture.h"

#include <pcap/pcap.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Rules by name, by address and by request, so that every kind of question is asked. */
static const char policy_text[] =
	"{\"default_egress\": \"deny\", \"default_ingress\": \"deny\", \"rules\": ["
	"{\"action\": \"deny\", \"destination\": \"evil.example.net\"},"
	"{\"action\": \"allow\", \"destination\": \"api.example.com\", \"http\": "
	"{\"methods\": [\"GET\"], \"paths\": [\"/v1/**\"]}},"
	"{\"action\": \"allow\", \"destination\": \".example.com\"},"
	"{\"action\": \"allow\", \"destination\": \"93.184.216.0/24\", \"ports\": [443]}]}";

static struct policy *policy(void)
{
	static struct policy *p;
	struct conf_doc *doc;
	struct conf_error err;
	struct conf root;

	if (p)
		return p;
	if (conf_doc_parse(policy_text, sizeof(policy_text) - 1, "policy", &doc, &err) < 0)
		abort();
	root = conf_root(doc);
	if (policy_load_conf(&root, &p, &err) < 0)
		abort();
	conf_doc_free(doc);
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *h;
	struct capture c;
	const u_char *frame;
	FILE *f;
	pcap_t *p;

	if (size == 0)
		return 0;
	f = fmemopen((void *)(uintptr_t)data, size, "r");
	if (!f)
		abort();
	p = pcap_fopen_offline(f, err);
	if (!p) {
		fclose(f);
		return 0;
	}
	if (capture_init(&c, policy(), NULL) < 0)
		abort();
	while (pcap_next_ex(p, &h, &frame) == 1)
		capture_frame(&c, pcap_datalink(p), frame, h->caplen);
	capture_end(&c);
	if (c.flows.count || c.pool.used || c.budget.left != CAPTURE_STREAM_BYTES)
		abort();
	if (c.report.judged != c.report.now[0] + c.report.now[1] + c.report.now[2])
		abort();
	capture_fini(&c);
	pcap_close(p);
	return 0;
}
