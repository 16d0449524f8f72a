/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of one direction of a captured TCP connection, in order.
 * Bounded by itself and by a budget that all share. Internal to weir/.
 */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include "base/base.h"

/* Bytes in order that wait for their reader: a ClientHello with post-quantum keys, a head. */
#define STREAM_MAX ((size_t)32 * 1024)
/* Segments ahead of a gap. */
#define STREAM_HELD 8

struct stream_budget {
	size_t left; /* bytes of all streams together */
};

struct stream {
	struct stream_budget *budget;
	struct buf data; /* in order, not yet consumed */
	uint32_t next;	 /* sequence number behind data */
	bool started;
	bool lost; /* beyond a bound, or a gap that was not filled: later bytes are not read */
	struct {
		uint8_t *p;
		size_t len;
		uint32_t seq;
	} held[STREAM_HELD];
};

void stream_init(struct stream *s, struct stream_budget *b);
void stream_fini(struct stream *s);
/* The sequence number of the first byte; a later word is not heard. */
void stream_start(struct stream *s, uint32_t seq);
void stream_add(struct stream *s, uint32_t seq, const uint8_t *p, size_t len);
void stream_consume(struct stream *s, size_t n);

#endif
