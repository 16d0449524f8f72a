/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9113 and RFC 7541 sentence by sentence: frames that a peer may or may not send, and
 * what we have to answer. Each case is a line of frames, "type.flags.stream.payload":
 *
 *   12ab          bytes in hexadecimal            *N:xx    a byte N times
 *   $get $post    the four pseudo-header fields    ~a=b     a field, as a literal
 *   $deny         those of a request that is answered 403 at once, so that its stream closes
 *
 * A stream error may always be made a connection error (5.4.2), and nghttp2 does where its
 * peer cannot but be broken; the table says which of both it is.
 *
 * Expected is a stream error (RST_STREAM on stream 1), a connection error (GOAWAY and the
 * end), or that nothing happens; but for the end, a request on stream 101 works afterwards.
 */
#include "http2_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* EITHER: a connection error or nothing, by whether our answer is out yet (MAY, 5.1). */
enum expect { GOES_ON, STREAM, CONNECTION, MALFORMED, ACKED, REFUSED, EITHER };

struct conformance {
	const char *section, *what, *frames;
	enum expect expect;
	uint32_t code;
};

#define NO NGHTTP2_NO_ERROR
#define PROTO NGHTTP2_PROTOCOL_ERROR
#define FLOW NGHTTP2_FLOW_CONTROL_ERROR
#define CLOSED NGHTTP2_STREAM_CLOSED
#define FRAME_SIZE NGHTTP2_FRAME_SIZE_ERROR
#define COMPRESSION NGHTTP2_COMPRESSION_ERROR
#define CALM NGHTTP2_ENHANCE_YOUR_CALM

static const struct conformance cases[] = {
	/* 3.4: the preface; "!" stands for: no preface of ours in front */
	{ "3.4", "no preface", "!474554202f20485454502f312e310d0a0d0a0d0a0d0a0d0a0d0a", CONNECTION,
	  PROTO },
	{ "3.4", "a preface with a byte changed",
	  "!505249202a20485454502f322e300d0a0d0a534d0d0a0d0b000000040000000000", CONNECTION, PROTO },
	{ "3.4", "another frame than SETTINGS first",
	  "!505249202a20485454502f322e300d0a0d0a534d0d0a0d0a 6.0.0.3132333435363738", CONNECTION,
	  PROTO },

	/* 4.1 frame format */
	{ "4.1", "a frame of an unknown type", "22.0.0.0000 22.ff.1.00", GOES_ON, NO },
	{ "4.1", "an undefined flag", "6.fe.0.3132333435363738", ACKED, NO },
	{ "4.1", "the reserved bit of the stream identifier", "6.0.2147483648.3132333435363738",
	  ACKED, NO },
	{ "4.1", "a reserved bit before a request", "1.5.2147483649.$get", GOES_ON, NO },

	/* 4.2 frame size */
	{ "4.2", "DATA of 2^14 bytes", "1.4.1.$post 0.0.1.*16384:61", GOES_ON, NO },
	{ "4.2", "DATA of more", "1.4.1.$post 0.0.1.*16385:61", CONNECTION, FRAME_SIZE },
	{ "4.2", "HEADERS of more", "1.5.1.$get*16385:61", CONNECTION, FRAME_SIZE },
	{ "4.2", "SETTINGS of more", "4.0.0.*16386:00", CONNECTION, FRAME_SIZE },

	/* 4.3 field section compression and decompression */
	{ "4.3", "a field block that cannot be decoded", "1.5.1.40", CONNECTION, COMPRESSION },
	{ "4.3", "a representation that is cut", "1.5.1.$get00057465", CONNECTION, COMPRESSION },
	{ "4.3", "PRIORITY within a field block", "1.1.1.$get 2.0.1.0000000010 9.4.1.", CONNECTION,
	  PROTO },
	{ "4.3", "HEADERS of another stream within it", "1.1.1.$get 1.5.3.$get", CONNECTION, PROTO },
	{ "4.3", "an unknown frame within it", "1.1.1.$get 22.0.1.00 9.4.1.", CONNECTION, PROTO },

	/* 5.1 stream states */
	{ "5.1", "idle: DATA", "0.1.1.61", CONNECTION, PROTO },
	{ "5.1", "idle: RST_STREAM", "3.0.1.00000008", CONNECTION, PROTO },
	{ "5.1", "idle: WINDOW_UPDATE", "8.0.1.00000064", CONNECTION, PROTO },
	{ "5.1", "idle: CONTINUATION", "9.4.1.$get", CONNECTION, PROTO },
	{ "5.1", "idle: PRIORITY", "2.0.1.0000000010", GOES_ON, NO },
	{ "5.1", "half-closed: DATA", "1.5.1.$get 0.1.1.61", CONNECTION, CLOSED },
	{ "5.1", "half-closed: HEADERS", "1.5.1.$get 1.5.1.~a=b", CONNECTION, CLOSED },
	{ "5.1", "half-closed: CONTINUATION", "1.5.1.$get 9.4.1.~a=b", CONNECTION, PROTO },
	{ "5.1", "half-closed: WINDOW_UPDATE", "1.5.1.$get 8.0.1.00000064", GOES_ON, NO },
	{ "5.1", "half-closed: PRIORITY", "1.5.1.$get 2.0.1.0000000010", GOES_ON, NO },
	{ "5.1", "closed by both: HEADERS", "1.5.1.$deny 1.5.1.$get", EITHER, CLOSED },
	{ "5.1", "closed by both: CONTINUATION", "1.5.1.$deny 9.4.1.~a=b", CONNECTION, PROTO },
	{ "5.1", "closed by both: PRIORITY", "1.5.1.$deny 2.0.1.0000000010", GOES_ON, NO },
	{ "5.1", "closed by both: WINDOW_UPDATE", "1.5.1.$deny 8.0.1.00000064", GOES_ON, NO },
	{ "5.1", "closed by both: RST_STREAM", "1.5.1.$deny 3.0.1.00000008", GOES_ON, NO },
	{ "5.1", "closed by both: DATA", "1.5.1.$deny 0.1.1.61", EITHER, CLOSED },
	{ "5.1", "closed by RST_STREAM: CONTINUATION", "1.4.1.$post 3.0.1.00000008 9.4.1.~a=b",
	  CONNECTION, PROTO },
	{ "5.1", "closed by RST_STREAM: HEADERS", "1.4.1.$post 3.0.1.00000008 1.5.1.$get", GOES_ON,
	  NO },
	{ "5.1", "closed by RST_STREAM: PRIORITY", "1.4.1.$post 3.0.1.00000008 2.0.1.0000000010",
	  GOES_ON, NO },
	{ "5.1", "reset by us: DATA is ignored", "1.4.1.$post 8.0.1.7fffffff 0.0.1.6161", STREAM,
	  FLOW },

	/* 5.1.1 stream identifiers */
	{ "5.1.1", "an even one", "1.5.2.$get", CONNECTION, PROTO },
	{ "5.1.1", "one lower than before", "1.5.5.$get 1.5.3.$get", CONNECTION, PROTO },
	{ "5.1.1", "zero", "1.5.0.$get", CONNECTION, PROTO },
	{ "5.1.1", "some left out", "1.5.77.$get", GOES_ON, NO },

	/* 5.3: deprecated priorities */
	{ "5.3.1", "HEADERS with a priority", "1.25.1.8000000010$get", GOES_ON, NO },
	{ "6.3", "PRIORITY on itself", "2.0.1.0000000110", GOES_ON, NO },
	{ "6.2", "HEADERS that depend on themselves", "1.25.1.0000000110$get", CONNECTION, PROTO },
	{ "6.2", "HEADERS too short for its priority", "1.25.1.80000000", CONNECTION, FRAME_SIZE },

	/* 6.1 DATA */
	{ "6.1", "on stream 0", "0.0.0.61", CONNECTION, PROTO },
	{ "6.1", "padding as long as the payload", "1.4.1.$post 0.8.1.0161", GOES_ON, NO },
	{ "6.1", "padding longer than the payload", "1.4.1.$post 0.8.1.0361", CONNECTION, PROTO },
	{ "6.1", "no room for the length of the padding", "1.4.1.$post 0.8.1.", CONNECTION, PROTO },

	/* 6.2 HEADERS */
	{ "6.2", "padded", "1.d.1.02$get0000", GOES_ON, NO },
	{ "6.2", "padding longer than the payload", "1.d.1.ff$get", CONNECTION, PROTO },
	{ "6.2", "no END_HEADERS and no CONTINUATION", "1.1.1.$get 6.0.0.3132333435363738",
	  CONNECTION, PROTO },

	/* 6.3 PRIORITY */
	{ "6.3", "on stream 0", "2.0.0.0000000010", CONNECTION, PROTO },
	{ "6.3", "of another length", "1.4.1.$post 2.0.1.00000010", CONNECTION, FRAME_SIZE },

	/* 6.4 RST_STREAM */
	{ "6.4", "on stream 0", "3.0.0.00000008", CONNECTION, PROTO },
	{ "6.4", "of another length", "1.5.1.$get 3.0.1.000008", CONNECTION, FRAME_SIZE },
	{ "6.4", "an unknown code", "1.5.1.$get 3.0.1.deadbeef", GOES_ON, NO },

	/* 6.5 SETTINGS */
	{ "6.5", "it is acknowledged", "4.0.0.000300000064", ACKED, NO },
	{ "6.5", "ACK with a payload", "4.1.0.000300000064", CONNECTION, FRAME_SIZE },
	{ "6.5", "on a stream", "4.0.1.000300000064", CONNECTION, PROTO },
	{ "6.5", "a length that is no multiple of 6", "4.0.0.000300", CONNECTION, FRAME_SIZE },
	{ "6.5.2", "ENABLE_PUSH of 2", "4.0.0.000200000002", CONNECTION, PROTO },
	{ "6.5.2", "INITIAL_WINDOW_SIZE of 2^31", "4.0.0.000480000000", CONNECTION, FLOW },
	{ "6.5.2", "MAX_FRAME_SIZE below 2^14", "4.0.0.000500003fff", CONNECTION, PROTO },
	{ "6.5.2", "MAX_FRAME_SIZE of 2^24", "4.0.0.000501000000", CONNECTION, PROTO },
	{ "6.5.2", "an unknown setting", "4.0.0.00ff00000001", ACKED, NO },
	{ "6.5.3", "one setting several times", "4.0.0.000400000001000400ffffff000400000100", ACKED,
	  NO },
	{ "6.5.2", "more settings than 32", "4.0.0.*198:00", CONNECTION, CALM },

	/* 6.6 PUSH_PROMISE */
	{ "6.6", "from a client", "1.4.1.$post 5.4.1.00000002$get", CONNECTION, PROTO },

	/* 6.7 PING */
	{ "6.7", "it is answered", "6.0.0.3132333435363738", ACKED, NO },
	{ "6.7", "ACK is not", "6.1.0.3132333435363738", GOES_ON, NO },
	{ "6.7", "on a stream", "6.0.1.3132333435363738", CONNECTION, PROTO },
	{ "6.7", "of another length", "6.0.0.313233343536", CONNECTION, FRAME_SIZE },

	/* 6.8 GOAWAY */
	{ "6.8", "on a stream", "7.0.1.0000000000000000", CONNECTION, PROTO },
	{ "6.8", "too short", "7.0.0.00000000", CONNECTION, FRAME_SIZE },

	/* 6.9 WINDOW_UPDATE */
	{ "6.9", "0 on the connection", "8.0.0.00000000", CONNECTION, PROTO },
	{ "6.9", "0 on a stream", "1.5.1.$get 8.0.1.00000000", CONNECTION, PROTO },
	{ "6.9", "of another length", "8.0.0.000001", CONNECTION, FRAME_SIZE },
	{ "6.9", "the reserved bit", "8.0.0.80000001", GOES_ON, NO },
	{ "6.9.1", "a connection window over 2^31-1", "8.0.0.7fffffff", CONNECTION, FLOW },
	{ "6.9.1", "a stream window over 2^31-1", "1.5.1.$get 8.0.1.7fffffff", STREAM, FLOW },
	{ "6.9.2", "an initial window that makes one too large",
	  "1.5.1.$get 8.0.1.7fff0000 4.0.0.00047fffffff", STREAM, FLOW },

	/* 6.10 CONTINUATION */
	{ "6.10", "several", "1.1.1.$get 9.0.1.~a=b 9.0.1. 9.4.1.~c=d", GOES_ON, NO },
	{ "6.10", "on stream 0", "1.1.1.$get 9.4.0.~a=b", CONNECTION, PROTO },
	{ "6.10", "on another stream", "1.1.1.$get 9.4.3.~a=b", CONNECTION, PROTO },
	{ "6.10", "behind HEADERS that are complete", "1.4.1.$post 9.4.1.~a=b", CONNECTION, PROTO },
	{ "6.10", "behind CONTINUATION that is complete", "1.0.1.$post 9.4.1.~a=b 9.4.1.~c=d",
	  CONNECTION, PROTO },
	{ "6.10", "behind DATA", "1.4.1.$post 0.0.1.61 9.4.1.~a=b", CONNECTION, PROTO },
	{ "6.10", "more than 8",
	  "1.1.1.$get 9.0.1. 9.0.1. 9.0.1. 9.0.1. 9.0.1. 9.0.1. 9.0.1. 9.0.1. 9.4.1.", CONNECTION,
	  CALM },

	/* 8.1 messages */
	{ "8.1", "trailers", "1.4.1.$post 0.0.1.61 1.5.1.~a=b", GOES_ON, NO },
	{ "8.1", "a second section without END_STREAM", "1.4.1.$post 1.4.1.~a=b", MALFORMED, PROTO },
	{ "8.1.1", "Content-Length over the DATA", "1.4.1.$post~content-length=3 0.1.1.6161",
	  MALFORMED, PROTO },
	{ "8.1.1", "Content-Length under the DATA", "1.4.1.$post~content-length=1 0.1.1.6161",
	  MALFORMED, PROTO },
	{ "8.1.1", "under the sum of two DATA",
	  "1.4.1.$post~content-length=3 0.0.1.6161 0.1.1.6161", MALFORMED, PROTO },
	{ "8.1.1", "Content-Length without DATA", "1.5.1.$post~content-length=1", MALFORMED, PROTO },
	{ "8.1.1", "less DATA, then trailers", "1.4.1.$post~content-length=3 0.0.1.61 1.5.1.~a=b",
	  MALFORMED, PROTO },
	{ "8.1.1", "two Content-Length", "1.5.1.$post~content-length=0~content-length=0", MALFORMED,
	  PROTO },
	{ "8.1.1", "Content-Length that is no number", "1.4.1.$post~content-length=+1", MALFORMED,
	  PROTO },
	{ "8.1.1", "as long as the DATA, padding apart",
	  "1.4.1.$post~content-length=2 0.9.1.0161610a", GOES_ON, NO },

	/* 8.2 fields */
	{ "8.2", "a name in upper case", "1.5.1.$get~X-A=b", MALFORMED, PROTO },
	{ "8.2.1", "a name with a space", "1.5.1.$get~x a=b", MALFORMED, PROTO },
	{ "8.2.1", "a name with a colon inside", "1.5.1.$get~x:a=b", MALFORMED, PROTO },
	{ "8.2.1", "no name", "1.5.1.$get000001", CONNECTION, COMPRESSION },
	{ "8.2.1", "an empty name", "1.5.1.$get00000162", MALFORMED, PROTO },
	{ "8.2.1", "a name beyond ASCII", "1.5.1.$get0002c3a40162", MALFORMED, PROTO },
	{ "8.2.1", "NUL in a value", "1.5.1.$get0001780361006a", MALFORMED, PROTO },
	{ "8.2.1", "LF in a value", "1.5.1.$get00017803610a62", MALFORMED, PROTO },
	{ "8.2.1", "CR in a value", "1.5.1.$get00017803610d62", MALFORMED, PROTO },
	{ "8.2.1", "a space in front of a value", "1.5.1.$get~a= b", MALFORMED, PROTO },
	{ "8.2.1", "a tab behind a value", "1.5.1.$get~a=b\t", MALFORMED, PROTO },
	{ "8.2.2", "Connection", "1.5.1.$get~connection=keep-alive", MALFORMED, PROTO },
	{ "8.2.2", "Proxy-Connection", "1.5.1.$get~proxy-connection=keep-alive", MALFORMED, PROTO },
	{ "8.2.2", "Keep-Alive", "1.5.1.$get~keep-alive=timeout", MALFORMED, PROTO },
	{ "8.2.2", "Transfer-Encoding", "1.5.1.$get~transfer-encoding=chunked", MALFORMED, PROTO },
	{ "8.2.2", "Upgrade", "1.5.1.$get~upgrade=h2c", MALFORMED, PROTO },
	{ "8.2.2", "TE other than trailers", "1.5.1.$get~te=trailers, deflate", MALFORMED, PROTO },
	{ "8.2.2", "TE: trailers", "1.5.1.$get~te=trailers", GOES_ON, NO },
	{ "8.2.3", "Cookie in crumbs", "1.5.1.$get~cookie=a=b~cookie=c=d", GOES_ON, NO },

	/* 8.3 control data */
	{ "8.3", "an unknown pseudo-header field", "1.5.1.$get~:test=ok", MALFORMED, PROTO },
	{ "8.3", "a response's", "1.5.1.$get~:status=200", MALFORMED, PROTO },
	{ "8.3", "among the trailers", "1.4.1.$post 1.5.1.~:method=200", MALFORMED, PROTO },
	{ "8.3", "behind a field",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~a=b~:path=/", MALFORMED,
	  PROTO },
	{ "8.3.1", ":path empty",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=", MALFORMED, PROTO },
	{ "8.3.1", "no :method", "1.5.1.~:scheme=https~:authority=api.example.com~:path=/",
	  MALFORMED, PROTO },
	{ "8.3.1", "no :scheme", "1.5.1.~:method=GET~:authority=api.example.com~:path=/", MALFORMED,
	  PROTO },
	{ "8.3.1", "no :path", "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com",
	  MALFORMED, PROTO },
	{ "8.3.1", "no :authority and no Host", "1.5.1.~:method=GET~:scheme=https~:path=/",
	  MALFORMED, PROTO },
	{ "8.3.1", "Host instead of :authority",
	  "1.5.1.~:method=GET~:scheme=https~:path=/~host=api.example.com", GOES_ON, NO },
	{ "8.3.1", "Host equal to :authority", "1.5.1.$get~host=API.example.com", GOES_ON, NO },
	{ "8.3.1", "Host other than :authority", "1.5.1.$get~host=www.example.com", MALFORMED, PROTO },
	{ "8.3.1", "two Host", "1.5.1.$get~host=api.example.com~host=api.example.com", MALFORMED,
	  PROTO },
	{ "8.3.1", ":method twice", "1.5.1.$get~:method=GET", MALFORMED, PROTO },
	{ "8.3.1", ":scheme twice", "1.5.1.$get~:scheme=https", MALFORMED, PROTO },
	{ "8.3.1", ":path twice", "1.5.1.$get~:path=/", MALFORMED, PROTO },
	{ "8.3.1", ":authority twice", "1.5.1.$get~:authority=api.example.com", MALFORMED, PROTO },
	{ "8.3.1", ":path without a slash",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=a", MALFORMED, PROTO },
	{ "8.3.1", ":path with a whole URL",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=https://evil.example/",
	  MALFORMED, PROTO },
	{ "8.3.1", ":path with a space",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=/ HTTP/1.1", MALFORMED,
	  PROTO },
	{ "8.3.1", ":path with a fragment",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=/#a", MALFORMED, PROTO },
	{ "8.3.1", "* for GET",
	  "1.5.1.~:method=GET~:scheme=https~:authority=api.example.com~:path=*", MALFORMED, PROTO },
	{ "8.3.1", "* for OPTIONS",
	  "1.5.1.~:method=OPTIONS~:scheme=https~:authority=api.example.com~:path=*", GOES_ON, NO },
	{ "8.3.1", "userinfo in :authority",
	  "1.5.1.~:method=GET~:scheme=https~:authority=a@api.example.com~:path=/", MALFORMED, PROTO },
	{ "8.3.1", "a method that is no token",
	  "1.5.1.~:method=GE T~:scheme=https~:authority=api.example.com~:path=/", MALFORMED, PROTO },
	{ "8.3.1", ":scheme of plain HTTP",
	  "1.5.1.~:method=GET~:scheme=http~:authority=api.example.com~:path=/", REFUSED, 421 },
	{ "8.3.1", "another authority",
	  "1.5.1.~:method=GET~:scheme=https~:authority=evil.example.net~:path=/", REFUSED, 421 },
	{ "8.5", "CONNECT with :path",
	  "1.4.1.~:method=CONNECT~:scheme=https~:authority=api.example.com:443~:path=/", MALFORMED,
	  PROTO },
	{ "8.5", "CONNECT without :authority", "1.4.1.~:method=CONNECT", MALFORMED, PROTO },
	{ "RFC 8441 4",
	  ":protocol that was not offered", "1.4.1.~:method=CONNECT~:protocol=websocket~:scheme=https~:authority=api.example.com~:path=/",
	  MALFORMED, PROTO },
	{ "RFC 8441 4", ":protocol without CONNECT", "1.5.1.$get~:protocol=websocket", MALFORMED,
	  PROTO },
	{ "RFC 9110 9.3.8", "TRACE with DATA",
	  "1.4.1.~:method=TRACE~:scheme=https~:authority=api.example.com~:path=/ 0.1.1.61",
	  MALFORMED, PROTO },

	/* RFC 7541 */
	{ "HPACK 2.3.3", "an index beyond the tables", "1.5.1.$getbe", CONNECTION, COMPRESSION },
	{ "HPACK 2.3.3", "a name by an index beyond them", "1.5.1.$get7f000162", CONNECTION,
	  COMPRESSION },
	{ "HPACK 4.2", "a table size update at the end", "1.5.1.$get20", CONNECTION, COMPRESSION },
	{ "HPACK 4.2", "one at the beginning", "1.5.1.20$get", GOES_ON, NO },
	{ "HPACK 5.1", "an integer that overflows", "1.5.1.ffffffffffffffffffff7f", CONNECTION,
	  COMPRESSION },
	{ "HPACK 5.2", "Huffman padding of more than 7 bits", "1.5.1.$get000178831fffff",
	  CONNECTION, COMPRESSION },
	{ "HPACK 5.2", "Huffman padding that is not all ones", "1.5.1.$get0001788118", CONNECTION,
	  COMPRESSION },
	{ "HPACK 5.2", "EOS in Huffman text", "1.5.1.$get00017884ffffffff", CONNECTION, COMPRESSION },
	{ "HPACK 6.1", "index 0", "1.5.1.$get80", CONNECTION, COMPRESSION },
	{ "HPACK 6.3", "a table larger than was announced", "1.5.1.3fe21f$get", CONNECTION,
	  COMPRESSION },
};

/* ---- the frames of a case -------------------------------------------------------------- */

static const char *hex(const char *p, struct buf *out)
{
	uint8_t c = (uint8_t)(str_hex_digit(p[0]) * 16 + str_hex_digit(p[1]));

	if (str_hex_digit(p[0]) < 0 || str_hex_digit(p[1]) < 0)
		fail_msg("not hexadecimal: %s", p);
	rig_must(buf_append(out, &c, 1));
	return p + 2;
}

static const char *repeat(const char *p, struct buf *out)
{
	char *end;
	size_t n = strtoul(p + 1, &end, 10);
	struct buf one = BUF_INIT(8);

	p = hex(end + 1, &one);
	while (n--)
		rig_must(buf_append(out, buf_at(&one), 1));
	buf_fini(&one);
	return p;
}

static const char *field(const char *p, struct buf *out)
{
	const char *eq = strchr(p + 2, '='), *end = eq + 1 + strcspn(eq + 1, "~$");
	char name[64], value[256];

	snprintf(name, sizeof(name), "%.*s", (int)(eq - p - 1), p + 1);
	snprintf(value, sizeof(value), "%.*s", (int)(end - eq - 1), eq + 1);
	wire_field(out, name, value);
	return end;
}

static void payload(const char *p, struct buf *out)
{
	while (*p) {
		if (str_starts(p, "$get") || str_starts(p, "$post") || str_starts(p, "$deny")) {
			wire_request(out, p[1] == 'p' ? "POST" : "GET", p[1] == 'd' ? "/deny" : "/");
			p += p[1] == 'g' ? 4 : 5;
		} else if (*p == '*') {
			p = repeat(p, out);
		} else if (*p == '~') {
			p = field(p, out);
		} else {
			p = hex(p, out);
		}
	}
}

/* A frame begins behind a space with a digit and a dot: values may have spaces. */
static const char *frame_end(const char *p)
{
	for (; *p; p++)
		if (*p == ' ' && p[1] >= '0' && p[1] <= '9' &&
		    (p[2] == '.' || (p[2] >= '0' && p[2] <= '9' && p[3] == '.')))
			return p;
	return p;
}

static void frames(const char *p, struct buf *out)
{
	struct buf b = BUF_INIT(65536);

	if (*p == '!') {
		const char *end = frame_end(++p);

		while (p < end)
			p = hex(p, out);
		p += *p == ' ';
	} else {
		wire_begin(out);
	}
	while (*p) {
		const char *end = frame_end(p);
		char text[1024], *at;
		unsigned long type, flags, id;

		snprintf(text, sizeof(text), "%.*s", (int)(end - p), p);
		type = strtoul(text, &at, 10);
		flags = strtoul(at + 1, &at, 16);
		id = strtoul(at + 1, &at, 10);
		b.len = b.off = 0;
		payload(at + 1, &b);
		wire_frame(out, (uint8_t)type, (uint8_t)flags, (uint32_t)id, buf_at(&b), b.len);
		p = end + (*end == ' ');
	}
	buf_fini(&b);
}

/* ---- what is expected ---------------------------------------------------------------------- */

static void check_end(struct h2_rig *r, const struct conformance *c)
{
	int64_t code = wire_code(&r->g.guest, W_GOAWAY, 0);

	if (c->expect == EITHER && code < 0 && r->g.state == HTTP_OK)
		return;
	if (c->expect != CONNECTION && c->expect != EITHER) {
		if (code >= 0 || r->g.state != HTTP_OK)
			fail_msg("%s %s: GOAWAY %lld", c->section, c->what, (long long)code);
		return;
	}
	if (code != c->code || r->g.state != HTTP_CLOSE)
		fail_msg("%s %s: GOAWAY %lld, state %d", c->section, c->what, (long long)code,
			 r->g.state);
}

static void check_stream(struct h2_rig *r, const struct conformance *c)
{
	int64_t code = wire_code(&r->g.guest, W_RST, 1);
	bool stream = c->expect == STREAM || c->expect == MALFORMED;

	if (c->expect != CONNECTION && code != (stream ? (int64_t)c->code : -1))
		fail_msg("%s %s: RST_STREAM %lld", c->section, c->what, (long long)code);
	if (c->expect == MALFORMED && !h2_has(&r->g.log, "http bad_request 400"))
		fail_msg("%s %s: %s", c->section, c->what, rig_text(&r->g.log));
	if (c->expect == REFUSED && !h2_has(&r->g.log, "http misdirected 421"))
		fail_msg("%s %s: %s", c->section, c->what, rig_text(&r->g.log));
}

/* An ACK of SETTINGS for the preface's, and one more for what the case asks. */
static void check_acks(struct h2_rig *r, const struct conformance *c)
{
	struct wire_frame f;
	size_t acks = 0;

	for (size_t at = 0; wire_next(&r->g.guest, &at, &f);)
		acks += (f.type == W_SETTINGS || f.type == W_PING) && (f.flags & W_ACK);
	if (acks != (c->expect == ACKED ? 2u : 1u) && c->expect != CONNECTION && c->expect != STREAM)
		fail_msg("%s %s: %zu acks", c->section, c->what, acks);
}

static void check_goes_on(struct h2_rig *r, const struct conformance *c)
{
	struct buf b = BUF_INIT(4096);
	size_t before = r->g.up.len;

	wire_get(&b, 101, "/");
	wire_feed(r, &b);
	if ((r->g.up.len > before) != (c->expect != CONNECTION))
		fail_msg("%s %s: the next request", c->section, c->what);
	buf_fini(&b);
}

static void run_case(const struct conformance *c, uint32_t cut)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	h2_prepare(&r, true, NULL);
	r.g.buf_cap = RIG_CAP;
	snprintf(r.g.deny_path, sizeof(r.g.deny_path), "/deny");
	h2_start(&r);
	r.g.cut = cut;
	frames(c->frames, &b);
	wire_feed(&r, &b);
	check_end(&r, c);
	if (c->expect != EITHER) {
		check_stream(&r, c);
		check_acks(&r, c);
		check_goes_on(&r, c);
	}
	h2_free(&r);
	buf_fini(&b);
}

static void every_case(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (uint32_t cut = 0; cut < 3; cut++)
			run_case(&cases[i], cut * cut);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_case),
	};

	if (argc > 1) {
		run_case(&cases[strtoul(argv[1], NULL, 10)], 0);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
