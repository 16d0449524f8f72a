/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a sandbox that runs: finding it, one request, one reply, and what is said of either. */
#include "weir/cmd_ctl_int.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Above what the run gives itself, which then says why. */
#define SET_TIMEOUT_S 900

static const char *speaker = "ctl";

void ctl_speak_as(const char *command)
{
	speaker = command;
}

int ctl_complain(int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weir %s: ", speaker);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* ---- asking --------------------------------------------------------------------- */

/* One request (taken over), one reply: *ret_reply is the caller's, *ret_fd too (-1: none). */
int ctl_ask_with(const struct ctl_run *run, json_t *request, int fd, json_t **ret_reply, int *ret_fd)
{
	const struct timeval loading = { .tv_sec = SET_TIMEOUT_S };
	cleanup_close int sock = -1, out = -1;
	cleanup_free char *words = json_dumps(request, JSON_COMPACT);
	char text[CTL_MESSAGE_MAX];
	json_t *o;
	size_t n_fds = 0;
	ssize_t n;
	int r;

	json_decref(request);
	if (!words)
		return ctl_complain(CTL_REFUSED, "the request is not text");
	r = ctl_connect(run, &sock);

	if (r < 0)
		return ctl_complain(CTL_REFUSED, "%s: cannot be reached: %s", run->name,
				    strerror(-r));
	/* A policy is loaded by three processes before there is an answer. */
	if (fd >= 0)
		(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &loading, sizeof(loading));
	r = ipc_send(sock, words, strlen(words), &fd, fd >= 0);
	/* It may have said why it does not listen before we were done. */
	n = r < 0 && r != -EPIPE ? r : ipc_recv(sock, text, sizeof(text), &out, 1, &n_fds);
	if (n <= 0)
		return ctl_complain(CTL_REFUSED, "%s: %s", run->name,
				    n == -EAGAIN ? "does not answer"
				    : n < 0	 ? strerror((int)-n)
						 : "ended before it answered");
	o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_true(json_object_get(o, "ok"))) {
		const char *why = json_string_value(json_object_get(o, "error"));
		char quoted[1024];

		r = ctl_complain(CTL_REFUSED, "%s: %s", run->name,
				 why ? log_quote(why, strlen(why), quoted, sizeof(quoted))
				     : "an answer that cannot be read");
		json_decref(o);
		return r;
	}
	*ret_reply = o;
	*ret_fd = steal_fd(&out);
	return 0;
}

int ctl_ask(const struct ctl_run *run, json_t *request, int fd, json_t **ret)
{
	int out = -1, r = ctl_ask_with(run, request, fd, ret, &out);

	if (r == 0)
		fd_close(out);
	return r;
}

int ctl_ask_for(const struct ctl_run *run, json_t *request, json_t **ret, int *ret_fd)
{
	return ctl_ask_with(run, request, -1, ret, ret_fd);
}

/* Printable, whatever the other side sent; in one of a few buffers. */
const char *ctl_text(const json_t *o, const char *key)
{
	static char out[4][256];
	static unsigned at;
	const char *s = json_string_value(json_object_get(o, key));
	char *buf = out[at++ % ARRAY_SIZE(out)];

	return log_quote(s ? s : "", s ? strlen(s) : 0, buf, sizeof(out[0]));
}

int ctl_print_json(json_t *o)
{
	json_object_del(o, "ok");
	if (json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return ctl_complain(CTL_REFUSED, "cannot write the answer");
	putchar('\n');
	return CTL_DONE;
}

/* ---- which sandbox ----------------------------------------------------------------- */

int ctl_list_failed(int r)
{
	return ctl_complain(CTL_REFUSED, "running sandboxes cannot be listed: %s", strerror(-r));
}

/* By id, which is one run's, or by name, which several may have. */
int ctl_find(const char *name, struct ctl_run *ret)
{
	struct ctl_run *runs = NULL;
	char ids[256] = "", quoted[80];
	size_t n = 0, found = 0;
	int r = ctl_list(&runs, &n);

	if (r < 0)
		return ctl_list_failed(r);
	for (size_t i = 0; i < n && found != SIZE_MAX; i++) {
		size_t len = strlen(ids);

		if (str_eq(runs[i].id, name)) {
			*ret = runs[i];
			found = SIZE_MAX;
		} else if (str_eq(runs[i].name, name)) {
			*ret = runs[i];
			found++;
			snprintf(ids + len, sizeof(ids) - len, "%s%s", len ? ", " : "", runs[i].id);
		}
	}
	free(runs);
	log_quote(name, strlen(name), quoted, sizeof(quoted));
	if (found == 0)
		return ctl_complain(
			CTL_REFUSED,
			"no sandbox named \"%s\" is running; weir ps lists those that are", quoted);
	if (found > 1 && found != SIZE_MAX)
		return ctl_complain(CTL_REFUSED,
				    "several sandboxes are named \"%s\": say which by id: %s",
				    quoted, ids);
	return 0;
}
