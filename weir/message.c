/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between the processes of one run. */
#include "weir/message.h"

int msg_send(int sock, enum msg_type type, int32_t value, const void *body, size_t len,
	     const int *fds, size_t n_fds)
{
	struct msg m; /* 8 KiB that are not worth clearing */

	static_assert(sizeof(struct msg_ports) <= MSG_TEXT_MAX, "text is the longest body");
	/* No longer than what msg_recv() takes. */
	if (len > MSG_TEXT_MAX)
		return -EMSGSIZE;
	m.head = (struct msg_head){ .type = type, .value = value };
	if (len)
		memcpy(m.text, body, len);
	return ipc_send(sock, &m, offsetof(struct msg, text) + len, fds, n_fds);
}

int msg_send_text(int sock, enum msg_type type, int32_t value, const char *text)
{
	return msg_send(sock, type, value, text, strlen(text), NULL, 0);
}

#define MSG_SIZE_MAX (offsetof(struct msg, text) + MSG_TEXT_MAX)

/* n: what receiving said. */
static ssize_t check(struct msg *m, ssize_t n)
{
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return n;
	if ((size_t)n < offsetof(struct msg, text))
		return -EPROTO;
	n -= (ssize_t)offsetof(struct msg, text);
	m->text[n] = 0;
	return n;
}

ssize_t msg_recv(int sock, struct msg *m, int *fds, size_t max_fds, size_t *ret_n_fds)
{
	size_t n_fds = 0;
	ssize_t n = check(m, ipc_recv(sock, m, MSG_SIZE_MAX, fds, max_fds, &n_fds));

	while (n == -EPROTO && n_fds)
		fd_close(fds[--n_fds]);
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return n;
}

ssize_t msg_recv_now(int sock, struct msg *m)
{
	return check(m, ipc_recv_now(sock, m, MSG_SIZE_MAX));
}
