/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir run --detach`: the run goes on in a process of its own session, whose output
 * goes into a file, while the one that was started waits until the command has begun
 * and then says the sandbox's name. Until then the run dies with its starter, afterwards
 * only of what every run dies of.
 *
 *   DIR/NAME.log     what command and weir wrote; DIR is where control sockets are
 *   DIR/NAME.ended   JSON, when it is over: status, times; weir ps --all, weir rm
 */
#include "weir/run_detach.h"

#include "weir/run_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a log that is shown because the start failed. */
#define TOLD_MAX 65536
#define ENDED_MAX 4096

/* The starter waits at the other end; -1: nobody does. */
static int ready_fd = -1;

void run_detach_ready(struct run *r)
{
	if (ready_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	if (dprintf(ready_fd, "%s\n", r->cfg->name) < 0)
		log_debug("nobody waits for the start");
	fd_close(ready_fd);
	ready_fd = -1;
}

void run_detach_file(char out[static RUN_DETACH_FILE], const char *name, const char *what)
{
	snprintf(out, RUN_DETACH_FILE, "%s.%s", name, what);
}

json_t *run_detach_ended(int dir, const char *file)
{
	cleanup_close int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct buf text = BUF_INIT(ENDED_MAX);
	json_t *o = NULL;

	if (fd >= 0 && fd_read_all(fd, ENDED_MAX, &text) == 0 && text.len)
		o = json_loadb((const char *)buf_at(&text), text.len, JSON_REJECT_DUPLICATES, NULL);
	buf_fini(&text);
	return o;
}

/* ---- the run ------------------------------------------------------------------------ */

static int write_end(int dir, const char *name, json_t *o)
{
	char file[RUN_DETACH_FILE], fresh[RUN_DETACH_FILE + 2];
	cleanup_close int fd = -1;
	int r = 0;

	run_detach_file(file, name, "ended");
	snprintf(fresh, sizeof(fresh), ".%s", file);
	fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(o, fd, JSON_COMPACT) < 0)
		r = -EIO;
	if (r == 0 && renameat(dir, fresh, dir, file) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir, fresh, 0);
	return r;
}

static _Noreturn void run_apart(struct weir_config *cfg, int dir, int log, int ready,
				int (*run)(struct weir_config *cfg))
{
	cleanup_free char *name = strdup(cfg->name),
			  *command = strdup(cfg->command[0] ? cfg->command[0] : "(the image's)");
	int64_t began = (int64_t)(time_real_ns() / NS_PER_S);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	json_t *o;

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
	    dup2(log, STDERR_FILENO) < 0)
		_exit(EXIT_WEIR_FAILED);
	fd_close(null);
	fd_close(log);
	ready_fd = ready;
	status = run(cfg);
	o = json_pack("{s:s?, s:s?, s:i, s:I, s:I}", "name", name, "command", command, "status",
		      status, "began", (json_int_t)began, "ended",
		      (json_int_t)(time_real_ns() / NS_PER_S));
	/* Who was told of a failed start has seen all there is. */
	if (ready_fd < 0 && (!name || write_end(dir, name, o) < 0))
		status = status ? status : EXIT_WEIR_FAILED;
	json_decref(o);
	exit(status);
}

/* ---- its starter ---------------------------------------------------------------------- */

static void tell_log(int dir, const char *file)
{
	cleanup_close int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct buf text = BUF_INIT(TOLD_MAX);

	if (fd >= 0 && fd_read_all(fd, TOLD_MAX, &text) == 0)
		(void)!write(STDERR_FILENO, buf_at(&text), text.len);
	buf_fini(&text);
	unlinkat(dir, file, 0);
}

static int await_start(pid_t pid, int ready, int dir, const char *file)
{
	char name[128];
	ssize_t n;
	int status;

	do
		n = read(ready, name, sizeof(name));
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		(void)!write(STDOUT_FILENO, name, (size_t)n);
		return 0;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	tell_log(dir, file);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_WEIR_FAILED;
}

static bool is_running(const char *name)
{
	struct ctl_run *runs = NULL;
	bool found = false;
	size_t n = 0;

	if (ctl_list(&runs, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		found |= str_eq(runs[i].name, name);
	free(runs);
	return found;
}

static int prepare(struct weir_config *cfg, int *ret_dir, int *ret_log, struct conf_error *err)
{
	char file[RUN_DETACH_FILE];
	int r;

	if (cfg->name && is_running(cfg->name)) {
		conf_error_set(err,
			       "a sandbox named \"%s\" is running; stop it (weir stop %s) or take "
			       "another name",
			       cfg->name, cfg->name);
		return -EEXIST;
	}
	if (!cfg->name) {
		char id[RUN_ID_LEN + 1];

		run_make_id(id);
		cfg->name = strdup(id);
	}
	r = cfg->name ? ctl_dir_open(ret_dir, NULL) : -ENOMEM;
	if (r < 0) {
		conf_error_set(err, "no folder for what runs in the background: %s", strerror(-r));
		return r;
	}
	run_detach_file(file, cfg->name, "ended");
	unlinkat(*ret_dir, file, 0);
	run_detach_file(file, cfg->name, "log");
	unlinkat(*ret_dir, file, 0);
	*ret_log = openat(*ret_dir, file, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (*ret_log < 0) {
		r = -errno;
		conf_error_set(err, "cannot make %s: %s", file, strerror(-r));
		return r;
	}
	return 0;
}

int run_detached(struct weir_config *cfg, int (*run)(struct weir_config *cfg))
{
	cleanup_close int dir = -1, log = -1;
	struct conf_error err = { { 0 } };
	char file[RUN_DETACH_FILE];
	int ready[2] = { -1, -1 }, r = prepare(cfg, &dir, &log, &err);
	pid_t pid = -1;

	if (r == 0 && (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)) {
		conf_error_set(&err, "%s", strerror(errno));
		r = -EAGAIN;
	}
	if (r < 0) {
		log_error("%s", err.text);
		weir_config_free(cfg);
		return EXIT_WEIR_FAILED;
	}
	if (pid == 0) {
		fd_close(ready[0]);
		run_apart(cfg, dir, log, ready[1], run);
	}
	fd_close(ready[1]);
	run_detach_file(file, cfg->name, "log");
	r = await_start(pid, ready[0], dir, file);
	fd_close(ready[0]);
	weir_config_free(cfg);
	return r;
}
