/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages off a stream socket: a head of three 32-bit words in
 * machine order, a payload, descriptors beside the first bytes.
 *
 * Hostile: all of it. A message may come in any pieces; its head is checked
 * before a byte of payload is waited for; descriptors are counted as they come,
 * and whatever goes wrong closes every one of them. Replies are small and go
 * out at once: a VMM that does not read them loses its link.
 */
#include "netstack/vhost_int.h"

#include <unistd.h>

void vhost_msg_close_fds(struct vhost_msg *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		fd_close(m->fds[i]);
	m->n_fds = 0;
}

void vhost_wire_init(struct vhost_wire *w, int fd)
{
	w->fd = fd;
	w->got = 0;
	w->msg.n_fds = 0;
}

void vhost_wire_fini(struct vhost_wire *w)
{
	vhost_msg_close_fds(&w->msg);
	fd_close(steal_fd(&w->fd));
	w->got = 0;
}

static bool keep_fds(struct vhost_msg *m, struct msghdr *h)
{
	bool ok = !(h->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (m->n_fds == ARRAY_SIZE(m->fds)) {
				close(fd);
				ok = false;
			} else {
				m->fds[m->n_fds++] = fd;
			}
		}
	}
	return ok;
}

/* Up to n bytes to p and what comes with them; like read(2), but negative errno. */
static ssize_t take(struct vhost_wire *w, void *p, size_t n, const char **ret_why)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * LIMIT_VHOST_REGIONS)];
		struct cmsghdr align;
	} c;
	struct iovec iov = { p, n };
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = c.b,
		.msg_controllen = sizeof(c.b),
	};
	ssize_t r;

	do
		r = recvmsg(w->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (!keep_fds(&w->msg, &h)) {
		*ret_why = "more descriptors than any message has";
		return -EPROTO;
	}
	return r;
}

static int head_ok(const struct vhost_msg *m, const char **ret_why)
{
	if ((m->flags & 3) != VHOST_VERSION || m->flags & ~(VHOST_VERSION | VHOST_FLAG_NEED_REPLY)) {
		*ret_why = "a message of another version of the protocol";
		return -EPROTO;
	}
	if (m->size > VHOST_PAYLOAD_MAX) {
		*ret_why = "a message that is longer than any";
		return -EPROTO;
	}
	return 0;
}

int vhost_wire_recv(struct vhost_wire *w, const char **ret_why)
{
	struct vhost_msg *m = &w->msg;
	ssize_t n;
	int r;

	while (w->got < VHOST_HEAD || w->got < VHOST_HEAD + m->size) {
		/* request, flags and size stand together, as on the wire. */
		if (w->got < VHOST_HEAD)
			n = take(w, (uint8_t *)m + w->got, VHOST_HEAD - w->got, ret_why);
		else
			n = take(w, m->p + (w->got - VHOST_HEAD), m->size - (w->got - VHOST_HEAD),
				 ret_why);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		w->got += (size_t)n;
		if (w->got == VHOST_HEAD) {
			r = head_ok(m, ret_why);
			if (r < 0)
				return r;
		}
	}
	w->got = 0;
	return 1;
}

int vhost_wire_reply(struct vhost_wire *w)
{
	struct vhost_msg *m = &w->msg;
	struct iovec iov[2] = { { m, VHOST_HEAD }, { m->p, m->size } };
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	m->flags = VHOST_VERSION | VHOST_FLAG_REPLY;
	do
		n = sendmsg(w->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == VHOST_HEAD + m->size ? 0 : -EAGAIN;
}

_Static_assert(offsetof(struct vhost_msg, size) == 8 && offsetof(struct vhost_msg, p) == VHOST_HEAD,
	       "the head as on the wire");
