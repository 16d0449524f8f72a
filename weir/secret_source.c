/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading secret values: environment, file, descriptor, command. The process
 * that calls this is the only one that ever holds them; the supervisor wipes
 * what it was started with as soon as that process exists.
 */
#include "weir/secret_source.h"

#include "weir/secret_token.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_WAIT_S 30

extern char **environ;

static int failed(const struct secret_config *s, struct conf_error *err, int r, const char *what)
{
	/* what never holds the value: it is a path, a variable or a command. */
	conf_error_set(err, "secret %s: %s: %s", s->env, what, strerror(-r));
	return r;
}

static int read_env(const struct secret_config *s, struct buf *ret, struct conf_error *err)
{
	const char *v = getenv(s->arg);

	if (!v) {
		conf_error_set(err, "secret %s: the variable %s is not set in weir's environment",
			       s->env, s->arg);
		return -ENOENT;
	}
	if (strlen(v) > TLSPROXY_SECRET_MAX) {
		conf_error_set(err, "secret %s: the value is longer than %d bytes", s->env,
			       TLSPROXY_SECRET_MAX);
		return -EFBIG;
	}
	return buf_append_str(ret, v);
}

int secret_read_some(int fd, struct buf *ret, bool *ret_end)
{
	uint8_t *p;
	ssize_t n;
	int r = ret->cap > ret->len ? buf_reserve(ret, ret->cap - ret->len, &p) : -EFBIG;

	if (r < 0)
		return r;
	n = read(fd, p, ret->cap - ret->len);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	buf_commit(ret, (size_t)n);
	*ret_end = n == 0;
	return 0;
}

/* To the end; straight into its place, for what is read by way of another buffer stays there. */
static int read_all(int fd, struct buf *ret)
{
	bool end = false;
	int r = 0;

	while (r == 0 && !end)
		r = secret_read_some(fd, ret, &end);
	return r;
}

static int read_file(const struct secret_config *s, struct buf *ret, struct conf_error *err)
{
	cleanup_close int fd = open(s->arg, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : read_all(fd, ret);

	return r < 0 ? failed(s, err, r, s->arg) : 0;
}

static int read_fd(const struct secret_config *s, struct buf *ret, struct conf_error *err)
{
	uint64_t fd;
	int r = uint_parse(s->arg, strlen(s->arg), 0, 1 << 20, &fd, NULL);

	if (r == 0)
		r = read_all((int)fd, ret);
	return r < 0 ? failed(s, err, r, "descriptor") : 0;
}

static void command_child(const struct secret_config *s, int out, pid_t parent)
{
	char sh[] = "sh", c[] = "-c";
	char *argv[] = { sh, c, s->arg, NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	execv("/bin/sh", argv);
	_exit(127);
}

/* Reads until the end or the deadline; a command that hangs must not hang the run. */
static int read_until(int fd, uint64_t deadline, struct buf *ret)
{
	for (;;) {
		uint64_t now = time_mono_ns();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		bool end = false;
		int r;

		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1) <= 0)
			continue;
		r = secret_read_some(fd, ret, &end);
		if (r < 0 || end)
			return r;
	}
}

static int read_command(const struct secret_config *s, struct buf *ret, struct conf_error *err)
{
	int p[2], r, status = 0;
	pid_t pid, self = getpid();

	if (pipe2(p, O_CLOEXEC) < 0)
		return failed(s, err, -errno, "pipe");
	pid = fork();
	if (pid == 0)
		command_child(s, p[1], self);
	fd_close(p[1]);
	r = pid < 0 ? -errno : read_until(p[0], time_mono_ns() + COMMAND_WAIT_S * NS_PER_S, ret);
	fd_close(p[0]);
	if (pid > 0) {
		if (r < 0)
			kill(-pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	if (r < 0)
		return failed(s, err, r, "its command");
	if (status) {
		conf_error_set(err, "secret %s: its command failed with status %d", s->env,
			       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		return -EIO;
	}
	return 0;
}

size_t secret_read_max(const struct secret_config *s)
{
	return s->writes_token ? SECRET_TOKEN_OUTPUT_MAX : SECRET_READ_MAX;
}

void secret_cut_newline(struct buf *value)
{
	if (value->len && buf_at(value)[value->len - 1] == '\n')
		value->len--;
}

int secret_read(const struct secret_config *s, struct buf *ret, struct conf_error *err)
{
	uint8_t *p;
	/* All at once: what grows leaves copies behind. */
	int r = buf_reserve(ret, ret->cap - ret->len, &p);

	if (r < 0)
		return r;
	switch (s->source) {
	case SECRET_FROM_ENV:
		r = read_env(s, ret, err);
		break;
	case SECRET_FROM_FILE:
		r = read_file(s, ret, err);
		break;
	case SECRET_FROM_FD:
		r = read_fd(s, ret, err);
		break;
	case SECRET_FROM_CALLER:
		break;
	case SECRET_FROM_COMMAND:
		r = read_command(s, ret, err);
		break;
	}
	if (r == 0 && s->source != SECRET_FROM_ENV)
		secret_cut_newline(ret);
	return r;
}

static void wipe_variable(enum secret_source source, const char *var)
{
	char *v = source == SECRET_FROM_ENV ? getenv(var) : NULL;

	if (!v)
		return;
	explicit_bzero(v, strlen(v));
	unsetenv(var);
}

void secret_wipe_environment(const struct weir_config *cfg)
{
	wipe_variable((enum secret_source)cfg->upstream.auth_source, cfg->upstream.auth_arg);
	for (size_t i = 0; i < cfg->n_secrets; i++)
		wipe_variable(cfg->secrets[i].source, cfg->secrets[i].arg);
}

void secret_close_descriptors(const struct weir_config *cfg)
{
	uint64_t fd;

	for (size_t i = 0; i < cfg->n_secrets; i++) {
		const struct secret_config *s = &cfg->secrets[i];

		if (s->source == SECRET_FROM_FD &&
		    uint_parse(s->arg, strlen(s->arg), 3, 1 << 20, &fd, NULL) == 0)
			fd_close((int)fd);
	}
}
