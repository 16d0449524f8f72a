/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream link's framing, both ways. The input is a script: bytes from the
 * guest in chunks of any size, frames and super-segments to it, a guest that
 * reads as little as it likes.
 *
 * What must hold: the frames read are those a second, simpler parser finds in
 * the same bytes, up to the first length that cannot be; what the guest reads
 * are whole frames that fit the link, as many as were accepted, whatever was
 * refused in between.
 */
#include "netstack/netstack_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FED_MAX (1u << 20)
#define GSO 1000

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

struct world {
	struct loop *loop;
	struct ns_link *link;
	int guest;
	struct rd in;
	bool down;
	/* from the guest: everything fed, and how far the frames read have come in it */
	uint8_t *fed;
	size_t fed_len, fed_at;
	/* to the guest */
	size_t accepted, seen;
	uint8_t head[4];
	size_t head_n, left;
	bool waiting; /* refused: writable() is owed */
};

static uint8_t next(struct world *w)
{
	uint8_t b = 0;

	return rd_u8(&w->in, &b) ? b : 0;
}

/* ---- the stack's side -------------------------------------------------------- */

static void on_readable(struct ns_link *l)
{
	struct world *w = l->ctx;

	for (unsigned i = 0; i < LIMIT_LINK_BATCH; i++) {
		struct link_rx rx;
		size_t n;

		if (l->drv->read(l, &rx) == 0)
			return;
		MUST(w->fed_len - w->fed_at >= 4);
		n = get_be32(w->fed + w->fed_at);
		MUST(n <= LIMIT_STREAM_FRAME && w->fed_len - w->fed_at - 4 >= n);
		MUST(rx.len == n && rx.n_tail == 0 && !rx.vouched && rx.gso == 0);
		MUST(n == 0 || memcmp(rx.p, w->fed + w->fed_at + 4, n) == 0);
		w->fed_at += 4 + n;
	}
}

static void on_writable(struct ns_link *l)
{
	struct world *w = l->ctx;

	w->waiting = false;
}

static void on_up(struct ns_link *l)
{
	(void)l;
	abort();
}

static void on_down(struct ns_link *l, bool last)
{
	struct world *w = l->ctx;

	MUST(last && !w->down);
	w->down = true;
	l->is_up = false;
}

static const struct link_events events = { on_readable, on_writable, on_up, on_down };

/* ---- the script ------------------------------------------------------------------ */

static void step(struct world *w)
{
	for (unsigned i = 0; i < 4; i++)
		MUST(loop_step(w->loop, 0) == 0);
}

/* A frame, or a length that cannot be, that was fed and not seen yet. */
static bool whole_left(const struct world *w)
{
	size_t left = w->fed_len - w->fed_at, n;

	if (left < 4)
		return false;
	n = get_be32(w->fed + w->fed_at);
	return n > LIMIT_STREAM_FRAME || n <= left - 4;
}

/* Until what was fed has been looked at: the link may have put that off for a moment. */
static void settle(struct world *w)
{
	step(w);
	for (unsigned i = 0; i < 1000 && !w->down && whole_left(w); i++)
		MUST(loop_step(w->loop, 1) == 0);
}

static void feed(struct world *w, const uint8_t *p, size_t n)
{
	while (n && !w->down && w->fed_len + n <= FED_MAX) {
		ssize_t k = write(w->guest, p, n);

		if (k > 0) {
			memcpy(w->fed + w->fed_len, p, (size_t)k);
			w->fed_len += (size_t)k;
			p += k;
			n -= (size_t)k;
		}
		step(w);
	}
}

static void feed_frame(struct world *w, size_t n)
{
	static uint8_t b[4 + LIMIT_STREAM_FRAME];

	n = MIN(n, (size_t)LIMIT_STREAM_FRAME);
	put_be32(b, (uint32_t)n);
	feed(w, b, 4 + n);
}

static void result(struct world *w, int r, size_t frames)
{
	if (r == 0)
		w->accepted += frames;
	else if (r == -EAGAIN)
		w->waiting = true;
	else
		MUST(r == -EPIPE);
}

static void write_small(struct world *w, size_t n)
{
	static const uint8_t b[LINK_GATHER_HEAD];
	struct link_tx tx = { .head = b, .head_len = MIN(n, (size_t)100) };

	result(w, w->link->drv->write(w->link, &tx), 1);
}

static void write_super(struct world *w, size_t n)
{
	static const uint8_t payload[65535];
	uint8_t h[ETH_HEAD + 20 + 20] = { [12] = 8, [14] = 0x45, [23] = IPPROTO_TCP, [46] = 0x50 };
	struct link_tx tx = { .head = h,
			      .head_len = sizeof(h),
			      .partial_csum = true,
			      .csum_start = ETH_HEAD + 20,
			      .csum_off = 16,
			      .gso = LINK_GSO_TCP4,
			      .gso_size = GSO,
			      .n_data = 2 };

	n = MIN(n, (size_t)LIMIT_TSO);
	tx.data[0] = (struct iovec){ (void *)(uintptr_t)payload, n / 3 };
	tx.data[1] = (struct iovec){ (void *)(uintptr_t)payload, n - n / 3 };
	result(w, w->link->drv->write(w->link, &tx), MAX((n + GSO - 1) / GSO, (size_t)1));
}

/* The guest reads up to n bytes and checks what they are. False: there was nothing. */
static bool guest_reads(struct world *w, size_t n)
{
	static uint8_t b[65536];
	ssize_t got = read(w->guest, b, MIN(n, sizeof(b)));

	for (ssize_t i = 0; i < got;) {
		if (w->left) {
			size_t k = MIN(w->left, (size_t)(got - i));

			w->left -= k;
			i += (ssize_t)k;
			continue;
		}
		w->head[w->head_n++] = b[i++];
		if (w->head_n < 4)
			continue;
		w->head_n = 0;
		w->left = get_be32(w->head);
		MUST(w->left <= ETH_HEAD + 40 + GSO);
		w->seen++;
	}
	return got > 0;
}

static void one(struct world *w)
{
	uint8_t op = next(w);
	size_t n = next(w);
	const uint8_t *p;

	switch (op & 7) {
	case 0:
		n = MIN(n, rd_left(&w->in));
		if (rd_bytes(&w->in, n, &p))
			feed(w, p, n);
		break;
	case 1:
		feed_frame(w, n | (size_t)(op >> 3) << 12);
		break;
	case 2:
	case 3:
		for (size_t i = 0; i < (op & 8 ? n : 1); i++)
			write_small(w, n);
		break;
	case 4:
		write_super(w, n << 8 | op);
		break;
	case 5:
		guest_reads(w, n << (op >> 5));
		break;
	case 6:
		w->link->drv->flush(w->link);
		break;
	default:
		step(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .in = rd_init(data, size), .fed = malloc(FED_MAX) };
	int sv[2], least = 1;

	signal(SIGPIPE, SIG_IGN);
	log_setup("fuzz", LOG_LEVEL_ERROR);
	MUST(w.fed && loop_new(&w.loop) == 0);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	w.guest = sv[0];
	MUST(link_stream_new(w.loop, sv[1], &events, &w, &w.link) == 0);
	if (next(&w) & 1)
		MUST(setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)) == 0);
	while (rd_left(&w.in) && !w.down)
		one(&w);
	settle(&w);
	if (w.down) { /* only for a length that cannot be */
		MUST(w.fed_len - w.fed_at >= 4 && get_be32(w.fed + w.fed_at) > LIMIT_STREAM_FRAME);
	} else { /* nothing whole is left, either way */
		MUST(!whole_left(&w));
		w.link->drv->flush(w.link);
		do
			step(&w);
		while (guest_reads(&w, 65536));
		MUST(w.seen == w.accepted && !w.left && !w.head_n && !w.waiting);
	}
	w.link->drv->free(w.link);
	loop_free(w.loop);
	close(w.guest);
	free(w.fed);
	return 0;
}
