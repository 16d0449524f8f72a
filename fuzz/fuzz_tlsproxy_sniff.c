/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of a flow. Beyond not crashing: a decision is the same
 * however the bytes are cut, it is final, and a name it reports is canonical.
 */
#include "tlsproxy/tlsproxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct tlsproxy_sniff *a, const struct tlsproxy_sniff *b)
{
	if (a->kind != b->kind || a->has_sni != b->has_sni || a->sni_invalid != b->sni_invalid ||
	    a->has_ech != b->has_ech || !name_equal(&a->sni, &b->sni) ||
	    strcmp(a->alpn, b->alpn) != 0 || a->has_alpn != b->has_alpn ||
	    a->offers_h2 != b->offers_h2 || a->offers_http1 != b->offers_http1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tlsproxy_sniff whole, part, end;
	struct name n;
	size_t i;

	tlsproxy_sniff(data, size, false, &whole);
	for (i = 0; i < MIN(size, (size_t)2048); i++) {
		tlsproxy_sniff(data, i, false, &part);
		if (part.kind != TLSPROXY_SNIFF_MORE) {
			same(&part, &whole);
			break;
		}
	}
	if (whole.has_sni &&
	    (whole.sni_invalid || whole.kind != TLSPROXY_SNIFF_TLS ||
	     name_parse(whole.sni.s, whole.sni.len, &n, NULL) < 0 || !name_equal(&n, &whole.sni)))
		abort();
	tlsproxy_sniff(data, size, true, &end);
	if (end.kind == TLSPROXY_SNIFF_MORE)
		abort();
	if (whole.kind != TLSPROXY_SNIFF_MORE)
		same(&whole, &end);
	return 0;
}
