/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may send its host. The first byte says how the rest is cut; the host has INIT sent
 * and several requests open as soon as it may. Beyond not crashing: a stream ends once and
 * is silent afterwards, no more than its window is ever held for it, every name of an entry
 * is one component, and the connection is lost at the end, once.
 */
#include "agent/agent.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAMS 6

struct stream {
	bool ended;
	size_t held;
};

struct world {
	struct agent *a;
	struct stream s[STREAMS];
	unsigned lost;
	bool ready;
};

static void on_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		    void *arg)
{
	struct stream *t = arg;

	(void)p;
	t->held += n;
	if (t->ended || !n || t->held > AGENT_WINDOW ||
	    (type != AGENT_OUTPUT && type != AGENT_ERRORS))
		abort();
	/* Every other byte finds its place at once. */
	if (n % 2) {
		agent_stream_taken(s, t->held);
		t->held = 0;
	}
}

static void on_entry(struct agent_stream *s, const struct agent_entry *e, void *arg)
{
	(void)s;
	if (((struct stream *)arg)->ended || !agent_name_ok(e->name))
		abort();
}

static void on_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct stream *t = arg;
	int status = agent_end_status(e);

	(void)s;
	if (t->ended || status < 0 || status > 255)
		abort();
	t->ended = true;
}

static void on_room(struct agent_stream *s, void *arg)
{
	if (((struct stream *)arg)->ended || agent_stream_room(s) > AGENT_WINDOW)
		abort();
	if (agent_stream_room(s) && agent_stream_write(s, "x", 1) < 0)
		abort();
}

static const struct agent_stream_events stream_events = {
	.data = on_data,
	.entry = on_entry,
	.ended = on_ended,
	.room = on_room,
};

static void on_hello(struct agent *a, const struct agent_hello *h, void *arg)
{
	(void)arg;
	if (!h->protocol || agent_send_init(a, &(struct agent_init){ .hostname = "x" }) < 0)
		abort();
}

static void on_ready(struct agent *a, void *arg)
{
	const char *const argv[] = { "sh" };
	struct agent_exec x = { .argv = { argv, 1 }, .flags = AGENT_EXEC_INPUT };
	struct agent_file f = { .path = "/x" };
	struct world *w = arg;
	struct agent_stream *s;

	if (w->ready)
		abort();
	w->ready = true;
	if (agent_exec(a, &x, 0, &stream_events, &w->s[0], &s) < 0 ||
	    agent_stream_write(s, "input", 5) < 0 ||
	    agent_file(a, AGENT_GET, &f, 0, &stream_events, &w->s[1], &s) < 0 ||
	    agent_file(a, AGENT_LIST, &f, 0, &stream_events, &w->s[2], &s) < 0 ||
	    agent_file(a, AGENT_PUT, &f, 0, &stream_events, &w->s[3], &s) < 0 ||
	    agent_metrics(a, 0, 0, &stream_events, &w->s[4], &s) < 0 ||
	    agent_connect(a, 80, 0, &stream_events, &w->s[5], &s) < 0)
		abort();
}

static void on_lost(struct agent *a, int err, const char *why, void *arg)
{
	struct world *w = arg;

	(void)a;
	if (w->lost++ || !err || !why)
		abort();
	for (size_t i = 0; w->ready && i < STREAMS; i++)
		if (!w->s[i].ended)
			abort();
}

static const struct agent_events events = {
	.hello = on_hello,
	.ready = on_ready,
	.lost = on_lost,
};

/* What the host sent is of no interest, but its socket must not fill. */
static void drain(int fd)
{
	char sink[65536];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = size ? 1 + data[0] * 17 : 1;
	struct world w = { 0 };
	struct loop *l;
	int pair[2];

	if (!size || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    loop_new(&l) < 0 || agent_new(l, pair[0], &events, &w, &w.a) < 0)
		return 0;
	for (size_t at = 1; at < size && !w.lost; at += cut) {
		if (send(pair[1], data + at, MIN(cut, size - at), MSG_NOSIGNAL) < 0)
			break;
		if (loop_step(l, 0) < 0 || loop_step(l, 0) < 0)
			abort();
		drain(pair[1]);
	}
	shutdown(pair[1], SHUT_RDWR);
	while (!w.lost)
		if (loop_step(l, 1000) < 0)
			abort();
	agent_free(w.a);
	loop_free(l);
	close(pair[1]);
	return 0;
}
