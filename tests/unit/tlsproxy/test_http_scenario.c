/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays tests/scenario/http/ .txt files. Each is a conversation through
 * one filter, fed whole, byte by byte and in random pieces. One command a line:
 *
 *   flow tls|plain [noname] [nosni]   the connection (default: tls), api.example.com
 *   remote ADDR:PORT                  what the guest dialled
 *   secret NAME VALUE HOST PLACES     PLACES e.g. header,body; + "!ACTION" at the end
 *   deny METHOD | deny /PATH          what policy refuses
 *   fail STATUS TOKEN TEXT            http_filter_fail_upstream()
 *   deny-all                          http_filter_deny_all()
 *   guest> TEXT      upstream> TEXT   bytes from there, with CRLF
 *   guest| TEXT      upstream| TEXT   without
 *   guest-eof        upstream-eof
 *   to-upstream> TEXT  to-guest> TEXT expected there next, with CRLF ("|": without)
 *   frame-up| TEXT                    next upstream gets this WebSocket frame of a client: its
 *                                     first byte and its payload, whatever the masking key
 *   status NNN                        the next thing the guest reads is this
 *                                     answer, whatever it says (up to its body's end)
 *   quiet                             nothing more on either side up to here
 *   state ok|close|abort|tunnel       what the filter said last
 *   event TEXT                        how the next line of the record begins
 *   whole                             in this file chunk sizes matter: no cutting
 *
 * {NAME} is the placeholder, {=NAME} the value; \\r \\n \\t \\0 \\xNN escape.
 */
#include "http_rig.h"
#include "secret_rig.h"

#include <dirent.h>
#include <setjmp.h>
#include <cmocka.h>

#define DIR_NAME "tests/scenario/http"
#define LINE_MAX_LEN 4096

struct play {
	struct rig g;
	const char *file;
	unsigned line;
	uint32_t cut;
	struct secret_spec spec[SECRET_RIG_MAX];
	char texts[SECRET_RIG_MAX][3][256];
	size_t n_secrets;
	struct secret_set *set;
	bool tls, noname, nosni, whole, running;
	struct endpoint remote;
	struct buf pending; /* input not yet fed */
	bool pending_guest;
	size_t up_at, guest_at, log_at; /* compared so far */
};

#define WRONG(p, ...)                                                                              \
	do {                                                                                       \
		print_error("%s:%u (cut %u): ", (p)->file, (p)->line, (p)->cut);                   \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

/* ---- texts --------------------------------------------------------------------------------- */

static int hex(char c)
{
	const char *at = c ? strchr("0123456789abcdef", c) : NULL;

	return at ? (int)(at - "0123456789abcdef") : -1;
}

static const char *name_text(struct play *p, const char *t, struct buf *out)
{
	const char *end = strchr(t, '}');
	bool value = t[1] == '=';

	for (size_t i = 0; end && i < p->n_secrets; i++) {
		const char *env = p->spec[i].env, *at = t + 1 + value;

		if (strlen(env) != (size_t)(end - at) || !str_starts(at, env))
			continue;
		rig_must(buf_append_str(out, value ? p->spec[i].value
						   : secret_set_placeholder(p->set, i)));
		return end + 1;
	}
	rig_must(buf_append(out, t, 1));
	return t + 1;
}

static void text(struct play *p, const char *t, bool crlf, struct buf *out)
{
	while (*t) {
		static const char from[] = "rnt\\", to[] = "\r\n\t\\";
		const char *esc = t[0] == '\\' && t[1] ? strchr(from, t[1]) : NULL;

		if (*t == '{') {
			t = name_text(p, t, out);
		} else if (esc) {
			rig_must(buf_append(out, to + (esc - from), 1));
			t += 2;
		} else if (t[0] == '\\' && t[1] == '0') {
			rig_must(buf_append(out, "", 1));
			t += 2;
		} else if (t[0] == '\\' && t[1] == 'x' && hex(t[2]) >= 0 && hex(t[3]) >= 0) {
			uint8_t b = (uint8_t)(hex(t[2]) << 4 | hex(t[3]));

			rig_must(buf_append(out, &b, 1));
			t += 4;
		} else {
			rig_must(buf_append(out, t++, 1));
		}
	}
	if (crlf)
		rig_must(buf_append_str(out, "\r\n"));
}

/* ---- running ----------------------------------------------------------------------------------- */

static void begin(struct play *p)
{
	struct buf *log = &p->g.log;
	char method[16], path[64];

	if (p->running)
		return;
	p->running = true;
	if (p->n_secrets)
		p->set = secret_rig(p->spec, p->n_secrets);
	memcpy(method, p->g.deny_method, sizeof(method));
	memcpy(path, p->g.deny_path, sizeof(path));
	buf_fini(log);
	rig_prepare(&p->g, p->tls, p->set);
	memcpy(p->g.deny_method, method, sizeof(method));
	memcpy(p->g.deny_path, path, sizeof(path));
	p->g.cut = p->cut;
	if (p->noname)
		p->g.flow.has_name = false;
	if (p->nosni)
		p->g.cfg.has_sni = false;
	if (p->remote.addr.family)
		p->g.flow.remote = p->remote;
	rig_start(&p->g);
}

static void flush(struct play *p)
{
	begin(p);
	if (p->pending.len && !rig_feed(&p->g, p->pending_guest, buf_at(&p->pending), p->pending.len))
		WRONG(p, "the filter takes no more");
	buf_reset(&p->pending);
}

static void input(struct play *p, bool guest, const char *t, bool crlf)
{
	begin(p);
	if (p->pending_guest != guest)
		flush(p);
	p->pending_guest = guest;
	text(p, t, crlf, &p->pending);
}

static void output(struct play *p, bool guest, const char *t, bool crlf)
{
	struct buf *b = guest ? &p->g.guest : &p->g.up;
	size_t *at = guest ? &p->guest_at : &p->up_at;
	struct buf want = BUF_INIT(1 << 16);

	flush(p);
	text(p, t, crlf, &want);
	if (b->len - *at < want.len || memcmp(buf_at(b) + *at, buf_at(&want), want.len) != 0)
		WRONG(p, "%s got\n%s\nexpected\n%s", guest ? "guest" : "upstream",
		      rig_text(b) + *at, rig_text(&want));
	*at += want.len;
	buf_fini(&want);
}

static void status(struct play *p, const char *t)
{
	const char *s, *end, *cl;
	size_t n;

	flush(p);
	s = rig_text(&p->g.guest) + p->guest_at;
	end = strstr(s, "\r\n\r\n");
	if (!end || !str_starts(s, "HTTP/1.1 ") || strncmp(s + 9, t, 3) != 0)
		WRONG(p, "guest got\n%s\nexpected status %s", s, t);
	cl = strstr(s, "Content-Length: ");
	n = (size_t)(end + 4 - s) + (cl && cl < end ? strtoul(cl + 16, NULL, 10) : 0);
	if (n > p->g.guest.len - p->guest_at)
		WRONG(p, "answer %s cut short", t);
	p->guest_at += n;
}

static void frame_up(struct play *p, const char *t)
{
	struct buf want = BUF_INIT(1 << 16);
	const uint8_t *f, *key;
	size_t n, head;

	flush(p);
	text(p, t, false, &want);
	f = (const uint8_t *)rig_text(&p->g.up) + p->up_at;
	n = p->g.up.len - p->up_at;
	head = n > 1 && (f[1] & 0x7f) == 126 ? 4 : 2;
	if (n < head + 4 || f[0] != buf_at(&want)[0] || !(f[1] & 0x80))
		WRONG(p, "upstream got no such frame but %zu bytes", n);
	key = f + head;
	n = head == 2 ? f[1] & 0x7f : get_be16(f + 2);
	if (n != want.len - 1)
		WRONG(p, "a frame of %zu bytes, not %zu", n, want.len - 1);
	for (size_t i = 0; i < n; i++)
		if ((key[4 + i] ^ key[i % 4]) != buf_at(&want)[1 + i])
			WRONG(p, "byte %zu of the payload is another", i);
	p->up_at += head + 4 + n;
	buf_fini(&want);
}

static void quiet(struct play *p)
{
	flush(p);
	if (p->up_at != p->g.up.len)
		WRONG(p, "upstream got also\n%s", rig_text(&p->g.up) + p->up_at);
	if (p->guest_at != p->g.guest.len)
		WRONG(p, "guest got also\n%s", rig_text(&p->g.guest) + p->guest_at);
}

static void event(struct play *p, const char *t)
{
	struct buf want = BUF_INIT(1 << 16);
	const char *next;

	flush(p);
	text(p, t, false, &want);
	next = rig_text(&p->g.log) + p->log_at;
	if (!str_starts(next, rig_text(&want)))
		WRONG(p, "the record says\n%s\nexpected\n%s", next, rig_text(&want));
	p->log_at += strcspn(next, "\n") + 1;
	buf_fini(&want);
}

static void state_is(struct play *p, const char *t)
{
	static const char *const names[] = { "ok", "close", "abort", "tunnel" };

	flush(p);
	if (!str_eq(names[p->g.state], t))
		WRONG(p, "state is %s, expected %s", names[p->g.state], t);
}

/* ---- commands -------------------------------------------------------------------------------------- */

static unsigned places(const char *t)
{
	static const char *const names[] = { "header", "basic", "query", "path", "body", "websocket" };
	unsigned bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		bits |= strstr(t, names[i]) ? 1u << i : 0;
	return bits;
}

/* The next word of *t; the rest of the line stays in *t. */
static void word(struct play *p, const char **t, char *out, size_t size)
{
	size_t n = strcspn(*t, " ");

	if (n == 0 || n >= size)
		WRONG(p, "a word is missing or too long");
	memcpy(out, *t, n);
	out[n] = 0;
	*t += n + ((*t)[n] == ' ');
}

static void secret(struct play *p, const char *t)
{
	size_t i = p->n_secrets++;

	if (i == SECRET_RIG_MAX)
		WRONG(p, "too many secrets");
	for (size_t j = 0; j < 3; j++)
		word(p, &t, p->texts[i][j], sizeof(p->texts[i][j]));
	p->spec[i] = (struct secret_spec){
		.env = p->texts[i][0],
		.value = p->texts[i][1],
		.host = p->texts[i][2],
		.places = places(t),
		.on_violation = strstr(t, "!passthrough") ? TLSPROXY_PASSTHROUGH
				: strstr(t, "!terminate") ? TLSPROXY_BLOCK_AND_TERMINATE
				: strstr(t, "!block")	  ? TLSPROXY_BLOCK
							  : TLSPROXY_BLOCK_AND_LOG,
	};
}

static void fail_with(struct play *p, const char *t)
{
	char status_word[8], token[64];

	begin(p);
	word(p, &t, status_word, sizeof(status_word));
	word(p, &t, token, sizeof(token));
	http_filter_fail_upstream(p->g.filter, (unsigned)strtoul(status_word, NULL, 10), token, t);
}

static void setting(struct play *p, const char *t)
{
	if (str_starts(t, "flow ")) {
		p->tls = strstr(t, "tls") != NULL;
		p->noname = strstr(t, "noname") != NULL;
		p->nosni = strstr(t, "nosni") != NULL;
	} else if (str_starts(t, "remote ")) {
		rig_must(endpoint_parse(t + 7, strlen(t + 7), 443, &p->remote, NULL));
	} else if (str_starts(t, "secret ")) {
		secret(p, t + 7);
	} else if (str_starts(t, "deny /")) {
		snprintf(p->g.deny_path, sizeof(p->g.deny_path), "%.63s", t + 5);
	} else if (str_starts(t, "deny ")) {
		snprintf(p->g.deny_method, sizeof(p->g.deny_method), "%.15s", t + 5);
	} else if (str_eq(t, "whole")) {
		p->whole = true;
	} else {
		WRONG(p, "unknown command: %s", t);
	}
}

static bool io(struct play *p, const char *t, const char *word,
	       void (*f)(struct play *, bool, const char *, bool), bool guest)
{
	size_t n = strlen(word);

	if (!str_starts(t, word) || (t[n] != '>' && t[n] != '|'))
		return false;
	f(p, guest, t + n + 1 + (t[n + 1] == ' '), t[n] == '>');
	return true;
}

static void command(struct play *p, const char *t)
{
	struct tlsproxy_verdict v = { .rule = "no-such-host", .denial_id = "T1" };

	if (io(p, t, "guest", input, true) || io(p, t, "upstream", input, false) ||
	    io(p, t, "to-guest", output, true) || io(p, t, "to-upstream", output, false))
		return;
	if (str_starts(t, "frame-up| "))
		frame_up(p, t + 10);
	else if (str_starts(t, "status "))
		status(p, t + 7);
	else if (str_starts(t, "event "))
		event(p, t + 6);
	else if (str_starts(t, "state "))
		state_is(p, t + 6);
	else if (str_eq(t, "quiet"))
		quiet(p);
	else if (str_starts(t, "fail "))
		fail_with(p, t + 5);
	else if (str_eq(t, "deny-all")) {
		begin(p);
		http_filter_deny_all(p->g.filter, &v);
	} else if (str_eq(t, "guest-eof")) {
		flush(p);
		p->g.state = http_guest_eof(p->g.filter, &p->g.up, &p->g.guest);
	} else if (str_eq(t, "upstream-eof")) {
		flush(p);
		p->g.state = http_upstream_eof(p->g.filter, &p->g.up, &p->g.guest);
	} else
		setting(p, t);
}

static bool play_file(const char *path, const char *file, uint32_t cut)
{
	struct play p = { .file = file, .cut = cut, .tls = true, .pending = BUF_INIT(1 << 20) };
	char line[LINE_MAX_LEN];
	FILE *f = fopen(path, "r");
	bool whole;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		p.line++;
		line[strcspn(line, "\n")] = 0;
		if (line[0] && line[0] != '#')
			command(&p, line);
	}
	fclose(f);
	quiet(&p);
	whole = p.whole;
	buf_fini(&p.pending);
	rig_free(&p.g);
	secret_set_free(p.set);
	return whole;
}

static void test_all(void **state)
{
	DIR *d = opendir(DIR_NAME);
	struct dirent *e;
	unsigned n = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d))) {
		char path[512];

		if (!strstr(e->d_name, ".txt"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", DIR_NAME, e->d_name);
		n++;
		for (uint32_t cut = 0; cut < 8; cut++)
			if (play_file(path, e->d_name, cut < 2 ? cut : cut * 65537))
				break;
	}
	closedir(d);
	assert_true(n >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
