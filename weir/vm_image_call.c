/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of weir-image. It has read hostile bytes: how much it says, and in what time, is bounded
 * here; in what form, in vm_image_said.c. It inherits no environment, which may hold secrets, and dies
 * with us.
 */
#include "weir/vm_image_call.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPLAINT_MAX (16 << 10)

struct helper {
	pid_t pid;
	int pidfd, out, err;
	struct vm_image_said said;
	uint64_t until;
};

/* ---- its process ------------------------------------------------------------------------- */

static _Noreturn void helper_main(const struct vm_image_call *c, pid_t parent, int out, int err)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char *envp[] = { NULL };
	sigset_t empty;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(err, STDERR_FILENO) < 0)
		_exit(1);
	rights_close_others(&c->fd, c->fd >= 0);
	if (c->fd >= 0 && fcntl(c->fd, F_SETFD, 0) < 0)
		_exit(1);
	execve(c->program, c->argv, envp);
	dprintf(STDERR_FILENO, VM_IMAGE_PREFIX "%s: cannot be executed: %s\n", c->program,
		strerror(errno));
	_exit(1);
}

static int start(const struct vm_image_call *c, struct helper *h)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	pid_t parent = getpid();
	int r = 0;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0) {
		h->pid = fork();
		if (h->pid == 0)
			helper_main(c, parent, out[1], err[1]);
		if (h->pid < 0)
			r = -errno;
	}
	fd_close(out[1]);
	fd_close(err[1]);
	h->out = out[0];
	h->err = err[0];
	if (r == 0) {
		h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
		r = h->pidfd < 0 ? -errno : 0;
	}
	return r;
}

/* ---- what it says ---------------------------------------------------------------------------- */

/* 0: more may come. 1: the end. */
static int take(int fd, struct buf *b, bool drop_more)
{
	uint8_t block[16 << 10];
	ssize_t n = read(fd, block, sizeof(block));
	size_t keep = n > 0 ? MIN((size_t)n, b->cap - b->len) : 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return 1;
	if (keep < (size_t)n && !drop_more)
		return -EMSGSIZE;
	return keep ? buf_append(b, block, keep) : 0;
}

static int left_ms(uint64_t until)
{
	uint64_t now = time_mono_ns();

	return now >= until ? 0 : (int)MIN((until - now) / NS_PER_MS + 1, (uint64_t)INT32_MAX);
}

/* Both pipes to their ends, then its own. */
static int listen_to(struct helper *h)
{
	struct pollfd p[] = { { h->out, POLLIN, 0 }, { h->err, POLLIN, 0 }, { -1, POLLIN, 0 } };
	int r = 0;

	while (r == 0) {
		if (p[0].fd < 0 && p[1].fd < 0)
			p[2].fd = h->pidfd;
		r = poll(p, ARRAY_SIZE(p), left_ms(h->until));
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r < 0) {
			r = 0;
			continue;
		}
		if (p[2].revents)
			return 0;
		r = p[0].revents ? take(h->out, &h->said.answer, false) : 0;
		if (r > 0)
			p[0].fd = -1;
		if (r >= 0)
			r = p[1].revents ? take(h->err, &h->said.complaint, true) : 0;
		if (r > 0)
			p[1].fd = -1;
		r = MIN(r, 0);
	}
	return r;
}

/* ---- the whole --------------------------------------------------------------------------------- */

int vm_image_call(const struct vm_image_call *c, json_t **ret, struct conf_error *err)
{
	struct helper h = { .pid = -1,
			    .pidfd = -1,
			    .out = -1,
			    .err = -1,
			    .said = { BUF_INIT(VM_IMAGE_ANSWER_MAX), BUF_INIT(COMPLAINT_MAX) },
			    .until = time_mono_ns() + c->patience };
	int r = start(c, &h), status = 0;

	if (r == 0)
		r = listen_to(&h);
	if (r < 0 && h.pid > 0)
		kill(h.pid, SIGKILL);
	while (h.pid > 0 && waitpid(h.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == -ETIMEDOUT)
		conf_error_set(err, "%s took longer than %llu s and was ended", c->program,
			       (unsigned long long)(c->patience / NS_PER_S));
	else if (r == -EMSGSIZE)
		conf_error_set(err, "weir-image answered with more than %d bytes",
			       VM_IMAGE_ANSWER_MAX);
	else if (r < 0)
		conf_error_set(err, "cannot run %s: %s", c->program, strerror(-r));
	else
		r = vm_image_heard(&h.said, c->program, status, ret, err);
	fd_close(h.pidfd);
	fd_close(h.out);
	fd_close(h.err);
	buf_fini(&h.said.answer);
	buf_fini(&h.said.complaint);
	return r;
}
