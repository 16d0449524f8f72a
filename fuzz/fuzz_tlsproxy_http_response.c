/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile upstream. The first byte chooses which requests are waiting, the
 * rest is what the upstream sends; byte 0xf0 stands for the secret's value.
 *
 * Oracles: what the guest reads does not depend on the pieces; a value never
 * reaches the guest in an identity-coded response.
 */
#include "tests/unit/tlsproxy/http_rig.h"
#include "tests/unit/tlsproxy/secret_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
#define H " HTTP/1.1\r\nHost: api.example.com\r\n"

static const char *const waiting[] = {
	"GET /" H "\r\nGET /" H "\r\nGET /" H "\r\n",
	"HEAD /" H "\r\nGET /" H "\r\n",
	"GET /" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
	"POST /" H "Content-Length: 5\r\n\r\nhel",
	"POST /" H "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
	"GET /" H "Connection: close\r\n\r\n",
	"GET /" H "\r\nBAD\r\n\r\n",
};

static struct secret_set *the_set(void)
{
	static struct secret_set *set;
	struct secret_spec spec = { "T", VALUE, "api.example.com", 31, 1 };

	if (!set)
		set = secret_rig(&spec, 1);
	return set;
}

/* Chunk sizes depend on the pieces: digits, CRLF and data are compared without structure. */
static void without_chunks(struct buf *in, struct buf *out)
{
	const char *t = rig_text(in), *end_all = t + in->len, *end;

	while ((end = memmem(t, (size_t)(end_all - t), "\r\n\r\n", 4))) {
		size_t head = (size_t)(end + 4 - t), left;
		bool te = memmem(t, head, "\r\nTransfer-Encoding: chunked\r\n", 30) != NULL;
		struct http_chunks c = { 0 };

		rig_must(buf_append(out, t, head));
		t += head;
		left = (size_t)(end_all - t);
		while (te && left) {
			const uint8_t *data = NULL;
			size_t used, len;
			const char *why;
			bool last;

			if (http_chunks_feed(&c, (const uint8_t *)t, left, &used, &data, &len,
					     &last, &why) < 0)
				break;
			rig_must(buf_append(out, data, len));
			t += used;
			left -= used;
			if (last)
				break;
		}
	}
	rig_must(buf_append(out, t, (size_t)(end_all - t)));
}

/* Frames of a WebSocket are cut anew as they come; fuzz_tlsproxy_ws looks into them. */
static void without_tunnel(struct buf *b)
{
	static const char line[] = "HTTP/1.1 101 ";
	char *t = b->len ? memmem(rig_text(b), b->len, line, sizeof(line) - 1) : NULL;
	char *end = t ? memmem(t, b->len - (size_t)(t - (char *)buf_at(b)), "\r\n\r\n", 4) : NULL;

	if (end)
		b->len = (size_t)(end + 4 - (char *)buf_at(b));
}

static void run(unsigned which, const struct buf *in, uint32_t cut, struct buf *ret_guest,
		enum http_state *ret_state)
{
	struct rig g;

	rig_prepare(&g, true, the_set());
	g.cut = cut;
	rig_start(&g);
	rig_guest(&g, waiting[which]);
	rig_feed(&g, false, buf_at(in), in->len);
	if (g.state != HTTP_CLOSE && g.state != HTTP_ABORT)
		g.state = http_upstream_eof(g.filter, &g.up, &g.guest);
	rig_end(&g);
	if (g.guest.len && !strcasestr(rig_text(&g.guest), "content-encoding") &&
	    !memmem(rig_text(&g.guest), g.guest.len, " 101 ", 5) &&
	    memmem(rig_text(&g.guest), g.guest.len, VALUE, strlen(VALUE)))
		abort();
	without_chunks(&g.guest, ret_guest);
	without_tunnel(ret_guest);
	*ret_state = g.state;
	rig_free(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf in = BUF_INIT(RIG_CAP), whole = BUF_INIT(RIG_CAP), again = BUF_INIT(RIG_CAP);
	enum http_state st, st2;
	unsigned which;

	if (size < 2 || size > 8192)
		return 0;
	which = data[0] % ARRAY_SIZE(waiting);
	for (size_t i = 1; i < size; i++)
		rig_must(data[i] == 0xf0 ? buf_append_str(&in, VALUE) : buf_append(&in, data + i, 1));
	run(which, &in, 0, &whole, &st);
	for (uint32_t cut = 1; cut < 4; cut++) {
		size_t n;

		buf_reset(&again);
		run(which, &in, cut == 1 ? 1 : cut * 7919, &again, &st2);
		n = MIN(whole.len, again.len);
		/* Cut in the middle of a body: more or less of it may be out. */
		if (st != st2 || (st != HTTP_ABORT && whole.len != again.len) ||
		    (n && memcmp(buf_at(&whole), buf_at(&again), n) != 0))
			abort();
	}
	buf_fini(&in);
	buf_fini(&whole);
	buf_fini(&again);
	return 0;
}
