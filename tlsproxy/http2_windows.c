/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may wait, and what is promised to whom sends it. Bodies wait for a window of their
 * reader (out), or for the other side to take them (in): both are counted for the process,
 * as a guest may multiply what one connection may have by thousands of them. With many
 * connections new ones have the protocol's own windows; while too much waits all have
 * narrow ones (RFC 9113 6.9.2, 6.9.3), and wide ones again once a tick finds that it does not.
 */
#include "tlsproxy/http2_internal.h"

/* Of the process. */
static size_t n_connections, all_in, all_out;

void http2_count_in(size_t more, size_t less)
{
	all_in += more - less;
}

void http2_count_out(struct http2 *h, size_t more, size_t less)
{
	h->out_bytes += more - less;
	all_out += more - less;
}

size_t http2_out_cap(const struct http2 *h)
{
	if (all_out >= HTTP2_OUT_PROCESS)
		return h->out_bytes < HTTP2_OUT_FLOOR ? HTTP2_OUT_FLOOR : HTTP2_OUT_LEAST;
	return h->out_bytes >= HTTP2_OUT_ALL ? HTTP2_OUT_FLOOR : HTTP2_OUT_STREAM;
}

static bool crowded(void)
{
	return all_in + all_out >= HTTP2_BODIES_CROWD;
}

/* What a stream's sender may make us hold from now on. */
static uint32_t stream_window(void)
{
	return n_connections > HTTP2_CROWD ? NGHTTP2_INITIAL_WINDOW_SIZE
					   : (uint32_t)HTTP2_WINDOW_STREAM;
}

static uint32_t connection_window(void)
{
	return n_connections > HTTP2_CROWD ? NGHTTP2_INITIAL_WINDOW_SIZE
					   : (uint32_t)HTTP2_WINDOW_CONNECTION;
}

static int set_connection_window(struct http2 *h, uint32_t size)
{
	return nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, (int32_t)size);
}

void http2_fit_windows(struct http2 *h, bool tick)
{
	bool narrow = crowded() || (h->narrow && !tick);
	nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
					 narrow ? (uint32_t)HTTP2_NARROW_STREAM : stream_window() };

	if (narrow == h->narrow || h->dead || h->ended || h->silent || h->over)
		return;
	h->narrow = narrow;
	if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &entry, 1) < 0 ||
	    set_connection_window(h, narrow ? (uint32_t)HTTP2_NARROW_CONNECTION
					    : connection_window()) < 0)
		h->over = HTTP_ABORT;
}

static int announce(struct http2 *h)
{
	uint32_t window = stream_window();
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
	};
	int r = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, h->server ? server : client,
					h->server ? ARRAY_SIZE(server) : ARRAY_SIZE(client));

	if (r == 0)
		r = set_connection_window(h, connection_window());
	return r < 0 ? -ENOMEM : 0;
}

int http2_windows_begin(struct http2 *h)
{
	n_connections++;
	h->counted = true;
	return announce(h);
}

/* Not of one that never began. */
void http2_windows_end(struct http2 *h)
{
	if (h->counted)
		n_connections--;
	h->counted = false;
}
