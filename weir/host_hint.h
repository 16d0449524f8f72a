/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host that a client's first HTTP request names, read from its first bytes
 * only to know whether its address may be dialled at all. The tlsproxy reads
 * the request strictly and judges it again, so a wrong hint opens nothing.
 */
#ifndef WEIR_HOST_HINT_H
#define WEIR_HOST_HINT_H

#include "base/base.h"

enum host_hint_kind {
	HOST_HINT_MORE = 0, /* the head is not complete and no Host was seen */
	HOST_HINT_NAME = 1,
	HOST_HINT_NONE = 2, /* no Host, an address, or nothing that is a host */
};
struct host_hint {
	enum host_hint_kind kind;
	struct name name;
};
void host_hint(const uint8_t *p, size_t len, struct host_hint *ret);

#endif
