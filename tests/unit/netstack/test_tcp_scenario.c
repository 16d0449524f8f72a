/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays tests/scenario/tcp/NAME.txt: one connection, one fake clock. The
 * language is described in tests/scenario/tcp/README.md. Everything the engine
 * sends must be named in the file, in order: a line that does something fails
 * while output waits that no line has named.
 *
 * Sequence numbers in the files count from each side's SYN (0). The real ones
 * wrap around within the first bytes: both sides start at 2^32-8 (the start of
 * time is chosen so that our ISN is that one).
 */
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "netstack/tcp.h"

#define DIR_NAME "tests/scenario/tcp"
#define PEER_ISN UINT32_C(0xfffffff8)
#define WORDS_MAX 32
#define OUT_MAX 256

struct sent {
	struct tcp_seg seg;
	uint16_t gso;
	size_t len;
	bool data_ok;
};

struct run {
	const char *file;
	unsigned line;
	struct tcp_stack stack;
	struct tcp *t;
	uint64_t now, timer;
	uint32_t iss, ts_base; /* our timestamp clock at time 0 */
	bool link_full, closed, auto_read;
	uint64_t written, read;
	struct sent out[OUT_MAX];
	unsigned n_out, next_out;
	enum tcp_note notes[32];
	unsigned n_notes;
	char *w[WORDS_MAX];
	unsigned n;
	uint8_t buf[65536];
};

static const char *const note_names[] = {
	[TCP_ESTABLISHED] = "ESTABLISHED", [TCP_READABLE] = "READABLE",
	[TCP_WRITABLE] = "WRITABLE",	   [TCP_RESET_BY_PEER] = "RESET",
	[TCP_TIMED_OUT] = "TIMED-OUT",	   [TCP_CLOSED] = "CLOSED",
};

#define BAD(r, ...)                                                                                \
	do {                                                                                       \
		print_error("%s:%u: ", (r)->file, (r)->line);                                      \
		print_error(__VA_ARGS__);                                                          \
		print_error(" [%s]\n", (r)->t ? tcp_state_name((r)->t) : "-");                     \
		fail();                                                                            \
	} while (0)

/* Streams are recognisable: the byte with relative sequence number s is s*7. */
static uint8_t pattern(uint32_t rel_seq)
{
	return (uint8_t)(rel_seq * 7);
}

/* ---- what the engine sees ------------------------------------------------ */

static bool on_emit(struct tcp *t, const struct tcp_out *o)
{
	struct run *r = tcp_owner(t);
	struct sent *s = &r->out[r->n_out];

	if (r->link_full)
		return false;
	assert_true(r->n_out < OUT_MAX);
	assert_int_equal(tcp_seg_parse(o->head, o->head_len, &s->seg), 0);
	s->len = o->data_len;
	s->gso = o->gso_size;
	s->data_ok = o->data_len == o->data[0].len + o->data[1].len;
	if (s->seg.flags & TCP_SYN)
		r->iss = s->seg.seq;
	r->ts_base = s->seg.ts_val - (uint32_t)(r->now / NS_PER_MS);
	for (size_t i = 0; i < o->data_len; i++) {
		uint8_t b = i < o->data[0].len ? o->data[0].p[i] : o->data[1].p[i - o->data[0].len];

		s->data_ok &= b == pattern(s->seg.seq - r->iss + (uint32_t)i);
	}
	r->n_out++;
	return true;
}

static void on_note(struct tcp *t, enum tcp_note n)
{
	struct run *r = tcp_owner(t);

	r->notes[r->n_notes++ % 32] = n;
	r->closed |= n == TCP_CLOSED;
}

static void on_timer(struct tcp *t, uint64_t when)
{
	struct run *r = tcp_owner(t);

	r->timer = when;
}

static const struct tcp_ops ops = { .emit = on_emit, .note = on_note, .set_timer = on_timer };

static struct tcp *new_connection(struct run *r)
{
	struct endpoint us = { ip4(192, 0, 2, 1), 80 }, peer = { ip4(10, 0, 0, 2), 40000 };
	struct tcp *t;

	assert_int_equal(tcp_new(&r->stack, &us, &peer, r, &t), 0);
	return t;
}

/* A start of time at which our initial sequence number is just below 2^32. */
static void choose_epoch(struct run *r)
{
	struct tcp *t = new_connection(r);

	r->now = 1000 * NS_PER_S;
	tcp_connect(t, r->now);
	r->now += (uint64_t)(UINT32_C(0xfffffff8) - r->iss) * 4000;
	tcp_free(t);
	r->n_out = 0;
	r->timer = 0;
}

/* ---- words ---------------------------------------------------------------- */

static void split(struct run *r, char *line)
{
	r->n = 0;
	line[strcspn(line, "#\n")] = 0;
	for (char *p = line; *(p += strspn(p, " \t"));) {
		assert_true(r->n < WORDS_MAX);
		r->w[r->n++] = p;
		p += strcspn(p, " \t");
		if (*p)
			*p++ = 0;
	}
}

static uint64_t number(struct run *r, const char *s)
{
	char *end;
	uint64_t v = strtoull(s, &end, 10);

	if (*end || end == s)
		BAD(r, "not a number: %s", s);
	return v;
}

static uint64_t seconds(struct run *r, const char *s)
{
	char *end;
	double v = strtod(s, &end);

	if (*end || end == s)
		BAD(r, "not a time: %s", s);
	return (uint64_t)(v * 1e9 + 0.5);
}

static uint8_t flags_of(struct run *r, const char *s)
{
	static const char letters[] = "FSRPAU";
	uint8_t f = 0;

	for (; *s && strcmp(s, "-"); s++) {
		const char *at = strchr(letters, *s);

		if (!at)
			BAD(r, "unknown flag %c", *s);
		f |= (uint8_t)(1 << (at - letters));
	}
	return f;
}

/* ---- segments ------------------------------------------------------------- */

/* LO-HI, relative to base. */
static bool range_of(const char *s, uint32_t base, uint32_t *ret_lo, uint32_t *ret_hi)
{
	char *end;
	uint64_t lo = strtoull(s, &end, 10), hi;

	if (end == s || *end != '-')
		return false;
	hi = strtoull(end + 1, &end, 10);
	if (*end)
		return false;
	*ret_lo = base + (uint32_t)lo;
	*ret_hi = base + (uint32_t)hi;
	return true;
}

static unsigned sack_words(struct run *r, struct tcp_seg *s, unsigned i, uint32_t base)
{
	s->n_sack = 0;
	while (i + 1 < r->n && s->n_sack < TCP_SACK_MAX &&
	       range_of(r->w[i + 1], base, &s->sack[s->n_sack].lo, &s->sack[s->n_sack].hi)) {
		s->n_sack++;
		i++;
	}
	return i;
}

static struct tcp_seg segment_of(struct run *r)
{
	struct tcp_seg s = { .src_port = 40000, .dst_port = 80, .seq = PEER_ISN, .wnd = 65535 };

	s.flags = flags_of(r, r->w[1]);
	for (unsigned i = 2; i < r->n; i++) {
		const char *k = r->w[i];
		uint32_t v = 0;

		if (!strcmp(k, "sackok")) {
			s.sack_ok = true;
			continue;
		}
		if (!strcmp(k, "sack")) {
			i = sack_words(r, &s, i, r->iss);
			continue;
		}
		if (i + 1 >= r->n)
			BAD(r, "%s needs a value", k);
		v = (uint32_t)number(r, r->w[++i]);
		if (!strcmp(k, "seq")) {
			s.seq = PEER_ISN + v;
		} else if (!strcmp(k, "ack")) {
			s.ack = r->iss + v;
		} else if (!strcmp(k, "len")) {
			s.len = v;
		} else if (!strcmp(k, "wnd")) {
			s.wnd = (uint16_t)v;
		} else if (!strcmp(k, "mss")) {
			s.has_mss = true;
			s.mss = (uint16_t)v;
		} else if (!strcmp(k, "scale")) {
			s.has_wscale = true;
			s.wscale = (uint8_t)v;
		} else if (!strcmp(k, "ts")) {
			s.has_ts = true;
			s.ts_val = v;
		} else if (!strcmp(k, "echo")) {
			s.ts_ecr = r->ts_base + (uint32_t)(r->now / NS_PER_MS) - v;
		} else {
			BAD(r, "unknown word %s", k);
		}
	}
	for (size_t i = 0; i < s.len; i++)
		r->buf[i] = pattern(s.seq - PEER_ISN + !!(s.flags & TCP_SYN) + (uint32_t)i);
	s.data = r->buf;
	return s;
}

static void inject(struct run *r)
{
	struct tcp_seg s = segment_of(r);

	if (!strcmp(tcp_state_name(r->t), "NEW") && s.flags == TCP_SYN)
		tcp_syn_received(r->t, &s, r->now);
	else
		tcp_input(r->t, &s, r->now);
}

static void same(struct run *r, const char *what, uint64_t got, uint64_t want)
{
	if (got != want)
		BAD(r, "%s is %llu, expected %llu", what, (unsigned long long)got,
		    (unsigned long long)want);
}

static void describe(const struct run *r, const struct sent *s, char out[160])
{
	snprintf(out, 160, "flags %02x seq %u len %zu ack %u wnd %u", s->seg.flags,
		 s->seg.seq - r->iss, s->len, s->seg.ack - PEER_ISN, s->seg.wnd);
}

static void compare_sack(struct run *r, const struct sent *s, unsigned *i)
{
	struct tcp_seg want = { 0 };

	*i = sack_words(r, &want, *i, PEER_ISN);
	same(r, "number of SACK blocks", s->seg.n_sack, want.n_sack);
	for (unsigned k = 0; k < want.n_sack; k++) {
		same(r, "SACK lo", s->seg.sack[k].lo - PEER_ISN, want.sack[k].lo - PEER_ISN);
		same(r, "SACK hi", s->seg.sack[k].hi - PEER_ISN, want.sack[k].hi - PEER_ISN);
	}
}

static void compare_word(struct run *r, const struct sent *s, const char *k, uint64_t v)
{
	if (!strcmp(k, "seq"))
		same(r, "seq", (uint32_t)(s->seg.seq - r->iss), v);
	else if (!strcmp(k, "rawseq"))
		same(r, "seq", s->seg.seq, v);
	else if (!strcmp(k, "ack"))
		same(r, "ack", (uint32_t)(s->seg.ack - PEER_ISN), v);
	else if (!strcmp(k, "len"))
		same(r, "len", s->len, v);
	else if (!strcmp(k, "wnd"))
		same(r, "wnd", s->seg.wnd, v);
	else if (!strcmp(k, "mss"))
		same(r, "mss", s->seg.has_mss ? s->seg.mss : 0, v);
	else if (!strcmp(k, "scale"))
		same(r, "scale", s->seg.has_wscale ? s->seg.wscale : 99, v);
	else if (!strcmp(k, "ecr"))
		same(r, "ts_ecr", s->seg.ts_ecr, v);
	else if (!strcmp(k, "gso"))
		same(r, "gso_size", s->gso, v);
	else
		BAD(r, "unknown word %s", k);
}

static void expect_one(struct run *r, const struct sent *s)
{
	same(r, "flags", s->seg.flags, flags_of(r, r->w[1]));
	for (unsigned i = 2; i < r->n; i++) {
		const char *k = r->w[i];

		if (!strcmp(k, "sackok"))
			same(r, "sackok", s->seg.sack_ok, 1);
		else if (!strcmp(k, "ts"))
			same(r, "ts", s->seg.has_ts, 1);
		else if (!strcmp(k, "noopts"))
			same(r, "options", s->seg.has_ts + s->seg.has_wscale + s->seg.sack_ok, 0);
		else if (!strcmp(k, "sack"))
			compare_sack(r, s, &i);
		else if (i + 1 < r->n)
			compare_word(r, s, k, number(r, r->w[i + 1])), i++;
		else
			BAD(r, "%s needs a value", k);
	}
	if (!s->data_ok)
		BAD(r, "payload is not the one written");
}

static void expect_segment(struct run *r)
{
	char text[160];

	if (r->next_out == r->n_out)
		BAD(r, "nothing was sent");
	describe(r, &r->out[r->next_out], text);
	print_message("    %s:%u: > %s\n", r->file, r->line, text);
	expect_one(r, &r->out[r->next_out]);
	if (++r->next_out == r->n_out)
		r->next_out = r->n_out = 0;
}

static void expect_notes(struct run *r)
{
	for (unsigned i = 1; i < r->n; i++) {
		if (i > r->n_notes)
			BAD(r, "no note %s", r->w[i]);
		if (strcmp(note_names[r->notes[i - 1]], r->w[i]))
			BAD(r, "note %s, expected %s", note_names[r->notes[i - 1]], r->w[i]);
	}
	if (r->n_notes > r->n - 1)
		BAD(r, "unexpected note %s", note_names[r->notes[r->n - 1]]);
	r->n_notes = 0;
}

/* ---- the owner's side ------------------------------------------------------ */

static void advance(struct run *r, uint64_t by)
{
	uint64_t to = r->now + by;

	while (r->timer && r->timer <= to) {
		r->now = MAX(r->now, r->timer);
		r->timer = 0;
		tcp_timer(r->t, r->now);
	}
	r->now = to;
}

static void do_write(struct run *r, uint64_t n)
{
	uint8_t *p[2];
	size_t len[2], room;

	while (n) {
		room = MIN(tcp_tx_space(r->t, p, len), n);
		if (room == 0)
			BAD(r, "no room for %llu more bytes", (unsigned long long)n);
		for (size_t i = 0; i < room; i++)
			*(i < len[0] ? p[0] + i : p[1] + i - len[0]) =
				pattern((uint32_t)(1 + r->written + i));
		r->written += room;
		n -= room;
		tcp_tx_commit(r->t, room, r->now);
	}
}

static void do_read(struct run *r, uint64_t n)
{
	const uint8_t *p[2];
	size_t len[2];

	if (tcp_rx_peek(r->t, p, len) < n)
		BAD(r, "only %zu bytes to read", len[0] + len[1]);
	for (size_t i = 0; i < n; i++)
		if ((i < len[0] ? p[0][i] : p[1][i - len[0]]) != pattern((uint32_t)(1 + r->read + i)))
			BAD(r, "byte %llu is wrong", (unsigned long long)(r->read + i));
	r->read += n;
	tcp_rx_consume(r->t, n, r->now);
}

static size_t readable(struct run *r)
{
	const uint8_t *p[2];
	size_t len[2];

	return tcp_rx_peek(r->t, p, len);
}

static void link_word(struct run *r)
{
	r->link_full = !strcmp(r->w[1], "full");
	if (!r->link_full)
		tcp_link_ready(r->t, r->now);
}

/* open WORDS: a passive handshake in one line; the words are those of the SYN. */
static void open_words(struct run *r)
{
	struct tcp_seg s;

	memmove(&r->w[2], &r->w[1], (r->n - 1) * sizeof(r->w[0]));
	r->n++;
	r->w[1] = (char[]){ "S" };
	s = segment_of(r);
	tcp_syn_received(r->t, &s, r->now);
	tcp_accept(r->t, r->now);
	if (r->n_out != 1)
		BAD(r, "no SYN-ACK");
	r->n_out = 0;
	s.flags = TCP_ACK;
	s.seq++;
	s.ack = r->iss + 1;
	s.ts_ecr = r->out[0].seg.ts_val;
	s.sack_ok = s.has_mss = s.has_wscale = false;
	tcp_input(r->t, &s, r->now);
	if (r->n_notes != 1 || r->notes[0] != TCP_ESTABLISHED)
		BAD(r, "not established");
	r->n_notes = 0;
}

static void config_words(struct run *r)
{
	for (unsigned i = 1; i + 1 < r->n; i += 2) {
		uint64_t v = number(r, r->w[i + 1]);

		if (!strcmp(r->w[i], "mss"))
			r->stack.mss4 = (uint16_t)v;
		else if (!strcmp(r->w[i], "tso"))
			r->stack.tso_max = v;
		else if (!strcmp(r->w[i], "rx"))
			r->stack.rx_max = v;
		else if (!strcmp(r->w[i], "tx"))
			r->stack.tx_max = v;
		else if (!strcmp(r->w[i], "mem"))
			r->stack.mem_max = v;
		else if (!strcmp(r->w[i], "keep"))
			r->stack.keep_idle = v * NS_PER_S;
		else
			BAD(r, "unknown setting %s", r->w[i]);
	}
	tcp_free(r->t);
	r->t = new_connection(r);
}

static void call_word(struct run *r, const char *k)
{
	if (!strcmp(k, "accept"))
		tcp_accept(r->t, r->now);
	else if (!strcmp(k, "connect"))
		tcp_connect(r->t, r->now);
	else if (!strcmp(k, "shutdown"))
		tcp_shutdown(r->t, r->now);
	else if (!strcmp(k, "close"))
		tcp_close(r->t, r->now);
	else if (!strcmp(k, "abort"))
		tcp_abort(r->t, r->now);
	else if (!strcmp(k, "hold"))
		tcp_hold_output(r->t, r->now);
	else if (!strcmp(k, "release"))
		tcp_release_output(r->t);
	else
		BAD(r, "unknown word %s", k);
}

/* Lines about what has happened already: allowed while output waits. */
static bool question(struct run *r)
{
	const char *k = r->w[0];

	if (!strcmp(k, ">")) {
		expect_segment(r);
	} else if (!strcmp(k, "note")) {
		expect_notes(r);
	} else if (!strcmp(k, "state") && r->n == 2) {
		if (strcmp(tcp_state_name(r->t), r->w[1]))
			BAD(r, "state is not %s", r->w[1]);
	} else if (!strcmp(k, "readable") && r->n == 2) {
		same(r, "readable", readable(r), number(r, r->w[1]));
	} else if (!strcmp(k, "eof") && r->n == 2) {
		same(r, "eof", tcp_rx_eof(r->t), !strcmp(r->w[1], "yes"));
	} else if (!strcmp(k, "acked") && r->n == 2) {
		same(r, "acked", tcp_acked_bytes(r->t), number(r, r->w[1]));
	} else if (!strcmp(k, "retransmits") && r->n == 2) {
		same(r, "retransmits", r->stack.retransmits, number(r, r->w[1]));
	} else if (!strcmp(k, "memory") && r->n == 2) {
		same(r, "memory", r->stack.mem_used, number(r, r->w[1]));
	} else {
		return false;
	}
	return true;
}

static void nothing_waits(struct run *r)
{
	char text[160];

	if (r->next_out == r->n_out)
		return;
	describe(r, &r->out[r->next_out], text);
	BAD(r, "not expected: > %s", text);
}

static void action(struct run *r)
{
	const char *k = r->w[0];

	nothing_waits(r);
	if (k[0] == '+') {
		advance(r, seconds(r, k + 1));
	} else if (!strcmp(k, "<") && r->n >= 2) {
		inject(r);
	} else if (!strcmp(k, "open")) {
		open_words(r);
	} else if (!strcmp(k, "config")) {
		config_words(r);
	} else if (!strcmp(k, "write") && r->n == 2) {
		do_write(r, number(r, r->w[1]));
	} else if (!strcmp(k, "read") && r->n == 2) {
		do_read(r, number(r, r->w[1]));
	} else if (!strcmp(k, "toobig") && r->n == 3) {
		tcp_too_big(r->t, r->iss + (uint32_t)number(r, r->w[1]),
			    (uint32_t)number(r, r->w[2]), r->now);
	} else if (!strcmp(k, "link") && r->n == 2) {
		link_word(r);
	} else if (!strcmp(k, "batch") && r->n == 2) {
		r->stack.batching = !strcmp(r->w[1], "begin");
		if (!r->stack.batching)
			tcp_batch_done(r->t, r->now);
	} else if (!strcmp(k, "reusable") && r->n >= 3) {
		struct tcp_seg s;

		r->w[0] = r->w[1];
		memmove(&r->w[1], &r->w[2], (r->n - 2) * sizeof(r->w[0]));
		r->n--;
		s = segment_of(r);
		same(r, "reusable", tcp_time_wait_reusable(r->t, &s), !strcmp(r->w[0], "yes"));
	} else {
		call_word(r, k);
	}
}

static void replay(void **state)
{
	struct run *r = calloc(1, sizeof(*r));
	char path[512], line[512];
	FILE *f;

	assert_non_null(r);
	r->file = *state;
	r->stack = (struct tcp_stack){ .ops = &ops,
				       .mss4 = 1460,
				       .mss6 = 1440,
				       .tso_max = 65535,
				       .rx_max = 65536,
				       .tx_max = 65536,
				       .mem_max = 1 << 24,
				       .isn_key = { { 1, 2 } } };
	choose_epoch(r);
	r->t = new_connection(r);
	snprintf(path, sizeof(path), "%s/%s", DIR_NAME, r->file);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		r->line++;
		split(r, line);
		if (r->n && !question(r))
			action(r);
	}
	fclose(f);
	r->line++;
	nothing_waits(r);
	tcp_free(r->t);
	assert_int_equal(r->stack.mem_used, 0);
	free(r);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

/* With arguments: only the files named. */
int main(int argc, char **argv)
{
	static struct CMUnitTest tests[256];
	size_t n = 0;
	struct dirent *e;
	DIR *d = opendir(DIR_NAME);

	if (!d) {
		print_error("run me in the source directory: no %s\n", DIR_NAME);
		return 1;
	}
	while ((e = readdir(d)) && n < ARRAY_SIZE(tests)) {
		bool wanted = argc == 1;

		for (int i = 1; i < argc; i++)
			wanted |= !strcmp(argv[i], e->d_name);
		if (!wanted || !strstr(e->d_name, ".txt"))
			continue;
		tests[n].name = strdup(e->d_name);
		tests[n].initial_state = strdup(e->d_name);
		tests[n++].test_func = replay;
	}
	closedir(d);
	qsort(tests, n, sizeof(tests[0]), by_name);
	if (n == 0)
		return 1;
	return _cmocka_run_group_tests("tcp scenarios", tests, n, NULL, NULL);
}
