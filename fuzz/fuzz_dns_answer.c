/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream's bytes through the answer reader, for a fixed question. The
 * first byte picks the type, whether the name is a service's, and whether a well-formed
 * header and question are put in front, so that the fuzzer need not find them. What is kept of a record reads
 * back as itself.
 */
#include "dns/dns_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A record as it was kept; whatever reads it must agree with whoever rebuilt it. */
static void check_record(const struct dns_wname *asked, uint16_t type, const uint8_t *p, size_t len)
{
	static const struct dns_wname root = { .len = 1 };
	struct dns_msg m = { .p = p, .len = len };
	struct dns_rr rr = { .type = type, .owner = root, .rdlen = (uint16_t)len };
	uint8_t again[DNS_MAX_DATA];
	struct dns_out o = { .p = again, .cap = sizeof(again) };

	if (dns_rdata_read(&m, &rr, asked, &o) != DNS_RDATA_KEPT || o.full || o.len != len ||
	    memcmp(again, p, len) != 0)
		abort();
}

static void check_data(const struct dns_wname *asked, const struct dns_data *data)
{
	size_t at = 0;

	for (unsigned i = 0; i < data->n; i++) {
		size_t len;

		if (data->len - at < 2)
			abort();
		len = get_be16(data->p + at);
		if (data->len - at - 2 < len)
			abort();
		check_record(asked, data->type, data->p + at + 2, len);
		at += 2 + len;
	}
	if (at != data->len || data->len > DNS_MAX_DATA ||
	    data->n > (dns_type_is_service(data->type) ? DNS_MAX_SERVICES : DNS_MAX_DATA_RECORDS))
		abort();
}

static void check(const struct dns_wname *asked, const struct dns_rrset *rr, uint16_t type)
{
	switch (rr->found) {
	case DNS_FOUND_ADDRS:
		if (!!rr->n_addrs == !!rr->data.n || rr->n_addrs > DNS_MAX_ADDRS || rr->error)
			abort();
		break;
	case DNS_FOUND_NODATA:
	case DNS_FOUND_NXDOMAIN:
		if (rr->n_addrs || rr->data.n || rr->error)
			abort();
		break;
	case DNS_FOUND_FAILED:
		if (rr->n_addrs || rr->data.n || rr->error >= 0)
			abort();
		break;
	default:
		abort();
	}
	if (rr->data.n && rr->data.type != type)
		abort();
	check_data(asked, &rr->data);
	for (unsigned i = 0; i < rr->n_addrs; i++)
		if (rr->addrs[i].family != (type == DNS_TYPE_A ? 4 : 6))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const asked[] = { "www.example.com", "_8443._https.www.example.com" };
	static const uint16_t types[8] = { DNS_TYPE_A,	 DNS_TYPE_AAAA, DNS_TYPE_HTTPS, DNS_TYPE_MX,
					   DNS_TYPE_SRV, DNS_TYPE_TXT,	DNS_TYPE_SVCB,	DNS_TYPE_A };
	uint8_t head[DNS_ASK_MAX], *msg;
	uint16_t type;
	size_t n_head = 0, at = 0;
	struct dns_rrset rr;
	struct dns_wname w;
	const char *text;
	struct name n;

	if (size < 3)
		return 0;
	text = asked[data[0] >> 5 & 1];
	if (name_parse(text, strlen(text), &n, NULL) < 0)
		abort();
	dns_wname_from(&n, &w);
	type = types[(data[0] & 1) | (data[0] >> 2 & 6)];
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
	check(&w, &rr, type);
	dns_rrset_fini(&rr);
	free(msg);
	return 0;
}
