/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of tlsproxy (all but HTTP and secrets) share. First the caps,
 * each with what it stops.
 */
#ifndef WEIR_TLSPROXY_INT_H
#define WEIR_TLSPROXY_INT_H

#include "tlsproxy/tlsproxy.h"

/* ---- caps ------------------------------------------------------------------ */

/* A ClientHello; a post-quantum one has 2 KiB. Stops a guest from making the
 * gateway hold a hello that never ends. */
#define TLSPROXY_HELLO_MAX 16384
/* The same with record headers. Stops a hello cut into one-byte records, which
 * is six times as long on the wire and read again with every segment. */
#define TLSPROXY_HELLO_RAW_MAX 32768
/* Before an HTTP request (RFC 9112 2.2 asks for one). Stops an endless prefix. */
#define TLSPROXY_SNIFF_EMPTY_LINES 4
/* A method; the longest registered one has 17 bytes. Stops an endless token. */
#define TLSPROXY_SNIFF_METHOD_MAX 32

#endif
