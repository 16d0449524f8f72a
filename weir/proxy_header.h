/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol's header, version 2, as its sender: what tells a service
 * behind a forwarder who the client is.
 */
#ifndef WEIR_PROXY_HEADER_H
#define WEIR_PROXY_HEADER_H

#include "base/base.h"

#define PROXY_HEADER_MAX 52

/*
 * Of a TCP connection from src to dst. NULL for either, or two families: LOCAL,
 * which tells nothing of the client. Returns its length.
 */
size_t proxy_header_v2(const struct endpoint *src, const struct endpoint *dst,
		       uint8_t out[static PROXY_HEADER_MAX]);

#endif
