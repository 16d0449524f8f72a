/* SPDX-License-Identifier: Apache-2.0 */
/* Thin wrappers over system calls: clocks, randomness, whole-file reads, descriptor passing. */
#include "base/base.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

void cleanup_closep(int *fd)
{
	fd_close(*fd);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t time_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t time_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t time_thread_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void random_bytes(void *p, size_t n)
{
	uint8_t *b = p;

	while (n) {
		ssize_t r = getrandom(b, n, 0);

		if (r < 0 && errno == EINTR)
			continue;
		/* Guessable placeholders or ISNs would be worse than stopping. */
		if (r <= 0)
			abort();
		b += r;
		n -= (size_t)r;
	}
}

int fd_read_all(int fd, size_t max, struct buf *ret)
{
	size_t total = 0;
	char chunk[16384];
	int rc;

	for (;;) {
		ssize_t r = read(fd, chunk, sizeof(chunk));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return 0;
		total += (size_t)r;
		if (total > max)
			return -EFBIG;
		rc = buf_append(ret, chunk, (size_t)r);
		if (rc < 0)
			return rc;
	}
}

int file_read(const char *path, size_t max, struct buf *ret)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_read_all(fd, max, ret);
}

int fd_write_all(int fd, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n) {
		ssize_t r = write(fd, b, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		b += r;
		n -= (size_t)r;
	}
	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int ipc_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
		struct cmsghdr align;
	} ctl = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	assert(n_fds <= IPC_MAX_FDS);
	if (n_fds) {
		struct cmsghdr *c;

		m.msg_control = ctl.b;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EMSGSIZE;
}

/* Moves the descriptors of one control message into fds; closes what has no place. */
static bool take_fds(const struct cmsghdr *c, int *fds, size_t max, size_t *n)
{
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	bool fits = true;

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		if (*n < max) {
			fds[(*n)++] = fd;
		} else {
			fd_close(fd);
			fits = false;
		}
	}
	return fits;
}

static ssize_t receive(int sock, void *p, size_t size, int flags, int *ret_fds, size_t max_fds,
		       size_t *ret_n_fds)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = p, .iov_len = size };
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.b,
		.msg_controllen = sizeof(ctl.b),
	};
	int fds[IPC_MAX_FDS];
	size_t n = 0;
	bool fits = true;
	ssize_t r;

	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | flags);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			fits &= take_fds(c, fds, MIN(max_fds, ARRAY_SIZE(fds)), &n);
	if (!fits || m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (n)
			fd_close(fds[--n]);
		return -EMSGSIZE;
	}
	for (size_t i = 0; i < n; i++)
		ret_fds[i] = fds[i];
	if (ret_n_fds)
		*ret_n_fds = n;
	return r;
}

ssize_t ipc_recv(int sock, void *p, size_t size, int *ret_fds, size_t max_fds, size_t *ret_n_fds)
{
	return receive(sock, p, size, 0, ret_fds, max_fds, ret_n_fds);
}

ssize_t ipc_recv_now(int sock, void *p, size_t size)
{
	return receive(sock, p, size, MSG_DONTWAIT, NULL, 0, NULL);
}
