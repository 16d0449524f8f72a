/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first datagrams of a QUIC connection: the input is datagrams, each behind
 * its length; odd lengths are Initial packets that the harness encrypts, so that
 * the fuzzer reaches the frames. Beyond not crashing: a name is canonical, and
 * what was read in two ways is never a name.
 */
#include <stdio.h>

#include "tests/unit/tlsproxy/quic_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATAGRAMS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tlsproxy_quic *quic;
	static uint8_t d[DATAGRAMS][4096];
	struct rd r = rd_init(data, size);
	struct iovec v[DATAGRAMS];
	struct tlsproxy_sniff s;
	struct name n;
	size_t count = 0;
	uint16_t len;
	const uint8_t *p;

	if (!quic)
		quic = tlsproxy_quic_new();
	if (!quic)
		abort();
	while (count < DATAGRAMS && rd_be16(&r, &len)) {
		size_t take = MIN((size_t)len % 2000, rd_left(&r));

		if (!rd_bytes(&r, take, &p))
			break;
		v[count].iov_base = d[count];
		if (len & 1)
			v[count].iov_len = quic_initial(len & 0x4000 ? QUIC2 : QUIC1, rfc_dcid, 8,
							(uint32_t)count, p, take, 0, d[count]);
		else
			v[count].iov_len = take;
		if (!(len & 1) && take)
			memcpy(d[count], p, take);
		count++;
	}
	tlsproxy_sniff_quic(quic, v, count, &s);
	if (s.has_sni && (s.sni_invalid || s.kind != TLSPROXY_SNIFF_TLS ||
			  name_parse(s.sni.s, s.sni.len, &n, NULL) < 0 || !name_equal(&n, &s.sni)))
		abort();
	return 0;
}
