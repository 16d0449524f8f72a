/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pid 1 of the sandbox.
 *
 * States: created (waits for its id maps) → set up (link, mounts, files) →
 * MSG_LINK sent, waits for MSG_GO → command running → MSG_EXIT.
 *
 * The command gets a process group of its own and, when we were in the
 * foreground of a terminal, the terminal: ^C and ^Z then reach the command and
 * not us, and kill(0, ...) inside reaches nothing outside. In a pipeline it
 * gets the terminal only once it asks for it: what follows may be a pager.
 *
 * It trusts its supervisor and nothing that runs beside it. When the
 * supervisor goes, the parent-death signal ends it, and the kernel with it
 * ends every process of the pid namespace.
 */
#include "weir/sandbox.h"

#include "weir/harden.h"
#include "weir/message.h"
#include "weir/seccomp.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SANDBOX_FLAGS                                                                              \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)

struct init {
	const struct sandbox_spec *spec;
	int sock;
	pid_t command;
	int tty;      /* controlling terminal, or -1 */
	int stdio[3]; /* the command's own; -1: ours. A terminal: the first */
};

static void init_fail(const struct init *in, const struct conf_error *err)
{
	if (msg_send_text(in->sock, MSG_FAILED, 0, err->text) < 0)
		_exit(1);
	_exit(1);
}

static void wait_for(const struct init *in, enum msg_type type)
{
	struct msg m;

	if (msg_recv(in->sock, &m, NULL, 0, NULL) < 0 || m.head.type != type)
		_exit(1);
}

static void give_terminal(const struct init *in)
{
	if (in->tty >= 0)
		tcsetpgrp(in->tty, in->command);
}

/*
 * Searches PATH itself: execvp would try a shell on ENOEXEC, and a file that
 * is there but not executable must be told apart (126) from none (127). A
 * folder of PATH that may not be searched says nothing of either.
 */
static int exec_command(char *const *argv, char *const *envp)
{
	const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	int found = ENOENT;

	for (char *const *e = envp; *e; e++)
		if (str_starts(*e, "PATH="))
			path = *e + 5;
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, envp);
		return errno;
	}
	while (*path) {
		const char *colon = strchrnul(path, ':');
		char full[4096];
		int n = snprintf(full, sizeof(full), "%.*s%s%s", (int)(colon - path), path,
				 colon == path ? "./" : "/", argv[0]);

		if (n > 0 && (size_t)n < sizeof(full)) {
			execve(full, argv, envp);
			if (errno != EACCES && errno != ENOENT && errno != ENOTDIR)
				found = errno;
			else if (errno == EACCES && access(full, F_OK) == 0)
				found = EACCES;
		}
		if (!*colon)
			break;
		path = colon + 1;
	}
	return found;
}

/* In the command's process: pid 1 tells. */
static _Noreturn void command_fail(int status_fd, const struct conf_error *err)
{
	if (write(status_fd, err, sizeof(*err)) < 0)
		_exit(1);
	_exit(1);
}

/* A session of its own where it has a terminal of its own, else a process group. */
static void take_descriptors(const struct init *in, int status_fd)
{
	bool tty = in->spec->tty;
	struct conf_error err;
	int r = tty ? setsid() : setpgid(0, 0);

	if (tty && r >= 0)
		r = ioctl(in->stdio[0], TIOCSCTTY, 0);
	for (int i = 0; r >= 0 && i < 3; i++)
		if (in->stdio[tty ? 0 : i] >= 0)
			r = dup2(in->stdio[tty ? 0 : i], i);
	if (r >= 0)
		return;
	conf_error_set(&err, "the command's terminal and descriptors: %s", strerror(errno));
	command_fail(status_fd, &err);
}

static int set_limits(const struct sandbox_spec *spec, struct conf_error *err)
{
	for (size_t i = 0; i < spec->n_rlimits; i++) {
		const char *why = "";
		struct rlimit r;
		int which, rc = rlimit_parse(spec->rlimits[i], &which, &r, &why);

		if (rc == 0 && setrlimit((__rlimit_resource_t)which, &r) < 0) {
			rc = -errno;
			why = rc == -EPERM ? "above the hard limit that weir itself has"
					   : strerror(errno);
		}
		if (rc < 0) {
			conf_error_set(err, "--rlimit %s: %s", spec->rlimits[i], why);
			return rc;
		}
	}
	return 0;
}

static void command_main(const struct init *in, int status_fd)
{
	const struct sandbox_spec *spec = in->spec;
	struct conf_error err = { { 0 } };
	sigset_t none;
	int e;

	take_descriptors(in, status_fd);
	if (spec->foreground && in->tty >= 0)
		tcsetpgrp(in->tty, getpid());
	signal(SIGTTOU, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (set_limits(spec, &err) < 0 || harden_command(spec->root, &err) < 0 ||
	    seccomp_command(&err) < 0)
		command_fail(status_fd, &err);
	e = exec_command(spec->argv, spec->envp);
	if (write(status_fd, &e, sizeof(e)) < 0)
		_exit(1);
	_exit(127);
}

/* Returns when the command has been executed; reports and exits when it could not be. */
static void start_command(struct init *in)
{
	struct conf_error err;
	int p[2];
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0) {
		conf_error_set(&err, "pipe: %s", strerror(errno));
		init_fail(in, &err);
	}
	in->command = fork();
	if (in->command < 0) {
		conf_error_set(&err, "fork: %s", strerror(errno));
		init_fail(in, &err);
	}
	if (in->command == 0) {
		fd_close(p[0]);
		command_main(in, p[1]);
	}
	/* Whoever leads a group cannot begin a session. */
	if (!in->spec->tty)
		setpgid(in->command, in->command);
	for (size_t i = 0; i < ARRAY_SIZE(in->stdio); i++)
		fd_close(steal_fd(&in->stdio[i]));
	fd_close(p[1]);
	do
		n = read(p[0], &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	fd_close(p[0]);
	if (n == sizeof(int)) {
		int e;

		memcpy(&e, &err, sizeof(e));
		if (e == ENOENT && !strchr(in->spec->argv[0], '/'))
			conf_error_set(&err, "%s: not found in any folder of PATH",
				       in->spec->argv[0]);
		else
			conf_error_set(&err, "%s: cannot be executed: %s", in->spec->argv[0],
				       strerror(e));
		if (msg_send_text(in->sock, MSG_EXIT,
				  (e == ENOENT || e == ENOTDIR ? 127 : 126) << 8, err.text) < 0)
			_exit(1);
		_exit(0);
	}
	if (n > 0)
		init_fail(in, &err);
}

/* Reaps everything; true when the command itself has ended. */
static bool reap(const struct init *in, int *ret_status)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid != in->command)
			continue;
		if (!WIFSTOPPED(status)) {
			*ret_status = status;
			return true;
		}
		if (msg_send(in->sock, MSG_STOPPED, WSTOPSIG(status), NULL, 0, NULL, 0) < 0)
			_exit(1);
	}
	return false;
}

static void on_message(const struct init *in)
{
	struct msg m;

	if (msg_recv(in->sock, &m, NULL, 0, NULL) < 0)
		_exit(1);
	if (m.head.type == MSG_SIGNAL) {
		kill(-in->command, m.head.value);
	} else if (m.head.type == MSG_RESUME) {
		if (m.head.value)
			give_terminal(in);
		kill(-in->command, SIGCONT);
	}
}

static void init_loop(const struct init *in, int sigfd)
{
	struct pollfd fds[] = { { .fd = in->sock, .events = POLLIN },
				{ .fd = sigfd, .events = POLLIN },
				{ .fd = sandbox_lay_watch(), .events = POLLIN } };
	struct signalfd_siginfo si;
	int status = 0;

	while (!reap(in, &status)) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[1].revents && read(sigfd, &si, sizeof(si)) < 0)
			_exit(1);
		if (fds[0].revents)
			on_message(in);
		if (fds[2].revents)
			sandbox_lay_changed(fds[2].fd);
	}
	if (msg_send(in->sock, MSG_EXIT, status, NULL, 0, NULL, 0) < 0)
		_exit(1);
}

/* In /dev/pts of the sandbox, so that it has a name there. */
static int open_terminal(struct init *in, struct conf_error *err)
{
	cleanup_close int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int unlock = 0, r = 0;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 ||
	    ioctl(master, TIOCSWINSZ, &size) < 0 ||
	    (in->stdio[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		r = -errno;
		conf_error_set(err, "no terminal for the command: %s", strerror(-r));
	} else if (msg_send(in->sock, MSG_TERMINAL, 0, NULL, 0, &master, 1) < 0) {
		_exit(1);
	}
	return r;
}

static void init_main(const struct sandbox_spec *spec, int sock)
{
	struct init in = { .spec = spec, .sock = sock };
	struct conf_error err = { { 0 } };
	cleanup_close int tap = -1;
	int sigfd, r;
	sigset_t chld;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "weir-init");
	signal(SIGTTOU, SIG_IGN);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_SETMASK, &chld, NULL);
	sigfd = signalfd(-1, &chld, SFD_CLOEXEC);
	wait_for(&in, MSG_GO); /* id maps are written */
	in.tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		log_warn("cannot set the sandbox's host name: %s", strerror(errno));
	memcpy(in.stdio, spec->stdio, sizeof(in.stdio));
	r = sandbox_link_up(spec->net, &tap, &err);
	if (r == 0)
		r = sandbox_mounts(spec, &err);
	if (r == 0)
		r = sandbox_etc(spec, &err);
	if (r == 0 && spec->tty)
		r = open_terminal(&in, &err);
	if (r < 0 || sigfd < 0)
		init_fail(&in, &err);
	if (msg_send(sock, MSG_LINK, 0, NULL, 0, &tap, 1) < 0)
		_exit(1);
	fd_close(steal_fd(&tap));
	wait_for(&in, MSG_GO); /* the gateway serves the link */
	start_command(&in);
	init_loop(&in, sigfd);
	_exit(0);
}

int sandbox_start(const struct sandbox_spec *spec, struct sandbox *ret, struct conf_error *err)
{
	struct harden_ids ids;
	int sv[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		conf_error_set(err, "socketpair: %s", strerror(errno));
		return -errno;
	}
	pid = (pid_t)syscall(SYS_clone, SANDBOX_FLAGS | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0) {
		r = -errno;
		conf_error_set(err, "cannot make the sandbox's namespaces: %s; %s", strerror(-r),
			       harden_why_no_namespaces(-r));
		fd_close(sv[0]);
		fd_close(sv[1]);
		return r;
	}
	if (pid == 0) {
		const int keep[] = { sv[1], spec->stdio[0], spec->stdio[1], spec->stdio[2] };

		rights_close_others(keep, ARRAY_SIZE(keep));
		init_main(spec, sv[1]);
	}
	fd_close(sv[1]);
	*ret = (struct sandbox){ .pid = pid, .sock = sv[0] };
	ids = harden_own_ids();
	r = harden_write_id_maps(pid, &ids, spec->root, err);
	if (r == 0) {
		r = msg_send(sv[0], MSG_GO, 0, NULL, 0, NULL, 0);
		if (r < 0)
			conf_error_set(err, "the sandbox ended before it began");
	}
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		fd_close(sv[0]);
	}
	return r;
}
