/* SPDX-License-Identifier: Apache-2.0 */
/* Every cap of the HTTP filter, each with what it stops. */
#ifndef WEIR_TLSPROXY_HTTP_LIMITS_H
#define WEIR_TLSPROXY_HTTP_LIMITS_H

/* One head, request or response: a peer that sends fields without end. */
#define HTTP_HEAD_MAX ((size_t)64 * 1024)
/* Fields of one head: quadratic work over fields, tables sized for less upstream. */
#define HTTP_FIELDS_MAX 128
/* Connection fields of one head together: every field is looked up in them. */
#define HTTP_CONNECTION_MAX 1024
/* Method: kept per request and put in the record. */
#define HTTP_METHOD_MAX 32
/* Methods and targets a request may be taken for besides its own: each is judged with each. */
#define HTTP_OVERRIDES_MAX 8
/* Targets kept for requests that wait for their responses: pipelined memory. */
#define HTTP_TARGETS_MAX ((size_t)128 * 1024)
/* Trailer section of a chunked body: fields without end after the body. */
#define HTTP_TRAILERS_MAX ((size_t)8 * 1024)
#define HTTP_TRAILER_FIELDS_MAX 32
/* One chunk-size line, extensions included: an endless line that is no body. */
#define HTTP_CHUNK_LINE_MAX 256
/* All chunk extensions of one body: many small chunks that carry mostly extensions. */
#define HTTP_CHUNK_EXT_MAX ((size_t)16 * 1024)
/* Hex digits of a chunk size: overflow of its value. */
#define HTTP_CHUNK_DIGITS_MAX 15
/*
 * A body up to this length is read before its head goes out (when there are
 * secrets): a violation in it then leaves no half request upstream.
 */
#define HTTP_GATHER_MAX ((size_t)16 * 1024)
/* Body of a denied request that is read and dropped to keep the connection. */
#define HTTP_DRAIN_MAX ((size_t)64 * 1024)
/* Interim responses to one request: a server that never answers. */
#define HTTP_INTERIM_MAX 16
/* Body bytes handled at once: bounds scratch space and chunk sizes. */
#define HTTP_SLICE ((size_t)16 * 1024)
/* A slice rewritten: what was held back before comes with it. */
#define HTTP_SCRATCH_MAX ((size_t)64 * 1024)
/* What a local answer needs at most in to_guest. */
#define HTTP_ANSWER_MAX ((size_t)8 * 1024)
/* Texts in answers: reason, host. */
#define HTTP_TEXT_MAX 256
/* A token endpoint's reply, its codings undone: it is kept until it is whole. */
#define HTTP_MASK_MAX ((size_t)64 * 1024)
/* Tokens in one: each makes the automata anew, and one more live secret. */
#define HTTP_MASK_TOKENS_MAX 8
/* Bytes written at once by a coder: bounds scratch space. */
#define HTTP_CODING_STEP ((size_t)16 * 1024)
/* Bytes one call unfolds: a short body that unfolds without end must not hold up others. */
#define HTTP_CODING_WORK ((size_t)256 * 1024)
/*
 * Memory of all coders of the process: many bodies at once, each with a head that asks
 * for the largest window (br 16 MiB, zstd 8 MiB). New coders are refused beyond.
 */
#define HTTP_CODING_MEMORY_ALL ((size_t)512 << 20)
/* log2 of the largest zstd window (RFC 9659); br's own limit is 24. */
#define HTTP_CODING_ZSTD_WINDOW 23
/* Plain bytes between the stages of a pipe. */
#define HTTP_PIPE_STEP ((size_t)16 * 1024)
/* Filtered bytes between them: what one step may become, with what was held back. */
#define HTTP_PIPE_ROOM ((size_t)64 * 1024)
/* Payload gathered into one frame: a peer that makes a frame of any length. */
#define WS_FRAME_MAX ((size_t)32 * 1024)
/* A Sec-WebSocket-Extensions value, and offers and parameters in it: quadratic work. */
#define WS_EXTENSIONS_MAX ((size_t)1024)
#define WS_OFFERS_MAX 8
/* Keys of JSON and forms, decoded: kept to be compared. */
#define HTTP_FIELD_KEY_MAX ((size_t)256)
/* Nested values of JSON: state for each level. */
#define HTTP_FIELD_DEPTH 64
/* Header section of one part of multipart, and its boundary (RFC 2046 5.1.1). */
#define HTTP_PART_HEAD_MAX ((size_t)4096)
#define HTTP_BOUNDARY_MAX 70

/* ---- HTTP/2 ------------------------------------------------------------------------ */

/* Streams of one guest at a time, announced: work and memory that one connection asks for. */
#define HTTP2_STREAMS_MAX 100
/* An upstream connection that has come to this stream is not kept: at 2^31 it could open no more. */
#define HTTP2_STREAM_ID_LAST ((uint32_t)1 << 30)
/* Pseudo-header fields beside the others: all there are, once, and room to see one twice. */
#define HTTP2_PSEUDO_MAX 8
/*
 * Window of a stream and of the connection: what a sender may make us hold. All
 * bodies that wait on one connection together are at most the latter.
 */
#define HTTP2_WINDOW_STREAM ((size_t)256 * 1024)
#define HTTP2_WINDOW_CONNECTION ((size_t)1024 * 1024)
/*
 * Body bytes that wait for a slow reader's window: of one stream; of all of them
 * together, and what each has even then, so that one that never reads does not
 * stop the others.
 */
#define HTTP2_OUT_STREAM ((size_t)64 * 1024)
#define HTTP2_OUT_ALL ((size_t)1024 * 1024)
#define HTTP2_OUT_FLOOR ((size_t)16 * 1024)
/*
 * The same of all connections of the process, and what a stream has beyond it: a guest
 * that multiplies what one connection may have waiting by thousands that it does not read.
 */
#define HTTP2_OUT_PROCESS ((size_t)128 * 1024 * 1024)
#define HTTP2_OUT_LEAST ((size_t)256)
/* With more connections than this, new ones announce windows of the protocol's default size
 * (64 KiB): the same, of what is sent to us and cannot go on. */
#define HTTP2_CROWD 256
/*
 * Bodies that wait in the process, either way, from which on connections announce narrow
 * windows, and those: of a stream and of the connection. Windows that were announced before
 * are promises: what is under way by then still comes.
 */
#define HTTP2_BODIES_CROWD ((size_t)64 * 1024 * 1024)
#define HTTP2_NARROW_STREAM ((size_t)16 * 1024)
#define HTTP2_NARROW_CONNECTION ((size_t)64 * 1024)
/* Field sections that wait for their turn: many heads that a small HPACK table blew up. */
#define HTTP2_WAITING_MAX ((size_t)512 * 1024)
/* Bytes of a request that are still read and dropped after its answer: uploads to nobody. */
#define HTTP2_LATE_MAX HTTP2_WINDOW_STREAM
/* Room there must be for answers (acks, resets) before more frames are read: PING and
 * SETTINGS floods by a peer that does not read. */
#define HTTP2_OUT_MIN ((size_t)4 * 1024)
/* Acks in nghttp2's queue: the same flood within one piece of input. */
#define HTTP2_ACKS_MAX 2000
/* Bytes given to the parser at once: bounds the answers they cause. */
#define HTTP2_SLICE ((size_t)16 * 1024)
/* CONTINUATION frames of one section (CVE-2024-28182): sections without end. */
#define HTTP2_CONTINUATIONS_MAX 8
/* Stretches of stream identifiers that were left out: remembered to know them again. */
#define HTTP2_GAPS_MAX 8
/* Dynamic table of HPACK, either way: a table that is filled and referred to (HPACK bomb). */
#define HTTP2_TABLE_MAX 4096
/* Entries of one SETTINGS frame: work per frame. */
#define HTTP2_SETTINGS_MAX 32
/* nghttp2's memory for one connection; new heads wait above the lower mark. */
#define HTTP2_MEM_SOFT ((size_t)1024 * 1024)
#define HTTP2_MEM_MAX ((size_t)8 * 1024 * 1024)
/*
 * Streams given up before they were answered, by the guest (rapid reset, CVE-2023-44487)
 * or by us because of what it sent (CVE-2025-8671), less those that were served: each
 * costs a request upstream, and none is counted by the limit of streams.
 */
#define HTTP2_RESETS_MAX 200
/*
 * Frames that bring nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown types, empty
 * DATA): begins with, and never more than, so many; requests and body bytes earn new ones.
 */
#define HTTP2_FRAMES_MAX 5000
#define HTTP2_FRAMES_PER_STREAM 20
#define HTTP2_FRAMES_PER_DATA 4
/* What a stream costs that is given up behind its response's head: more than it earns. */
#define HTTP2_FRAMES_PER_CUT (HTTP2_FRAMES_PER_STREAM + 5)
/*
 * What a minute earns while streams are open: keepalive (PING and its ack) of streams that
 * are silent for days, where nothing else earns anything.
 */
#define HTTP2_FRAMES_PER_TICK 60
/*
 * How often streams are looked at, and how often one may be found waiting for its peer
 * without a byte since: readers that ask for much and never read, bodies that never end.
 */
#define HTTP2_TICK_S 60
#define HTTP2_STALL_TICKS 5

#endif
