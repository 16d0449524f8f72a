/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream's bytes through the answer reader, for a fixed question. The
 * first byte picks the type and whether a well-formed header and question are put
 * in front, so that the fuzzer need not find them.
 */
#include "dns/dns_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dns_rrset *rr, uint16_t type)
{
	switch (rr->found) {
	case DNS_FOUND_ADDRS:
		if (rr->n_addrs == 0 || rr->n_addrs > DNS_MAX_ADDRS || rr->error)
			abort();
		break;
	case DNS_FOUND_NODATA:
	case DNS_FOUND_NXDOMAIN:
		if (rr->n_addrs || rr->error)
			abort();
		break;
	case DNS_FOUND_FAILED:
		if (rr->n_addrs || rr->error >= 0)
			abort();
		break;
	default:
		abort();
	}
	for (unsigned i = 0; i < rr->n_addrs; i++)
		if (rr->addrs[i].family != (type == DNS_TYPE_A ? 4 : 6))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char asked[] = "www.example.com";
	uint8_t head[DNS_REPLY_MAX], *msg;
	uint16_t type;
	size_t n_head = 0, at = 0;
	struct dns_rrset rr;
	struct name n;

	if (size < 3 || name_parse(asked, sizeof(asked) - 1, &n, NULL) < 0)
		return 0;
	type = data[0] & 1 ? DNS_TYPE_AAAA : DNS_TYPE_A;
	if (data[0] & 2) {
		n_head = dns_ask_build(7, &n, type, false, head);
		head[2] |= 0x80;
		head[3] = data[0] & 4 ? DNS_RCODE_NXDOMAIN : 0;
		head[7] = data[1];
		head[9] = data[2];
		at = 3;
	} else {
		at = 1;
	}
	msg = malloc(n_head + size - at);
	memcpy(msg, head, n_head);
	memcpy(msg + n_head, data + at, size - at);
	dns_answer_read(msg, n_head + size - at, &n, type, &rr);
	check(&rr, type);
	free(msg);
	return 0;
}
