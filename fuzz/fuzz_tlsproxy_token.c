/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token endpoint's reply. How it is cut does not matter: token or not, and which,
 * is decided by the bytes. What comes out may stand in a header. A command's
 * output is read by the same rules. In a reply to the sandbox no token is left once
 * each has its placeholder, and what is written is read as the same reply.
 */
#include "tlsproxy/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW UINT64_C(1700000000)

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check(const struct tlsproxy_token *t)
{
	const char *why;

	must(tlsproxy_secret_check(t->access, t->access_len, &why) == 0);
	must(!t->refresh_len || tlsproxy_secret_check(t->refresh, t->refresh_len, &why) == 0);
	must(t->life_s > 0 && t->life_s <= TOKEN_LIFE_MAX_S);
}

static int read_all(const uint8_t *p, size_t n, size_t piece, struct tlsproxy_token *t)
{
	struct token_reader r;
	int e = 0;

	must(token_reader_init(&r) == 0);
	for (size_t i = 0; i < n && e == 0; i += piece)
		e = token_reader_feed(&r, p + i, MIN(piece, n - i), false, NOW, t);
	if (e == 0)
		e = token_reader_feed(&r, NULL, 0, true, NOW, t);
	must(e == 1 || (e == -EBADMSG && memchr(r.why, 0, sizeof(r.why))));
	token_reader_fini(&r);
	return e;
}

static void mask(const uint8_t *p, size_t n)
{
	static const char *const fields[] = { "access_token", "refresh_token" };
	const struct tlsproxy_fresh *list;
	struct token_reply *t, *again;
	struct buf out = BUF_INIT(1 << 20);
	const char *why = NULL, *ignored;
	size_t n_list, n_again;

	if (token_reply_read(p, n, fields, ARRAY_SIZE(fields), &t, &why) < 0) {
		must(why != NULL);
		return;
	}
	list = token_reply_list(t, &n_list);
	must(n_list <= HTTP_MASK_TOKENS_MAX);
	for (size_t i = 0; i < n_list; i++) {
		must(tlsproxy_secret_check(list[i].value, list[i].len, &ignored) == 0);
		must(list[i].life_s <= TLSPROXY_TOKEN_LIFE_MAX_S);
		must(token_reply_put(t, i, "a-placeholder") == 0);
	}
	must(token_reply_write(t, &out) == 0);
	must(token_reply_read(buf_at(&out), out.len, fields, ARRAY_SIZE(fields), &again, &why) == 0);
	list = token_reply_list(again, &n_again);
	must(n_again == n_list);
	for (size_t i = 0; i < n_again; i++)
		must(str_eq(list[i].value, "a-placeholder"));
	token_reply_free(t);
	token_reply_free(again);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tlsproxy_token a, b;
	const char *why = NULL;

	token_wipe(&a);
	token_wipe(&b);
	must(read_all(data, size, size ? size : 1, &a) == read_all(data, size, 1, &b));
	must(memcmp(&a, &b, sizeof(a)) == 0);
	if (a.access_len)
		check(&a);
	if (tlsproxy_token_read(data, size, NOW, &a, &why) == 0)
		check(&a);
	else
		must(why != NULL);
	mask(data, size);
	return 0;
}
