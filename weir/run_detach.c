/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir run --detach`: the run goes on in a process of its own session, whose output
 * goes into a file, while the one that was started waits until the command has begun
 * and then says the sandbox's name. Until then the run dies with its starter, afterwards
 * only of what every run dies of.
 *
 *   DIR/NAME.log     what command and weir wrote; DIR is where control sockets are. Its lock is
 *                    held from the first moment on for as long as weir's processes live
 *   DIR/NAME.ended   JSON, when it is over: status, times; weir ps --all, weir rm
 *
 * A log that nobody locks and beside which nothing says how it ended is of a run that was killed.
 */
#include "weir/run_detach.h"

#include "weir/ctl_tidy.h"
#include "weir/run_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a log that is shown because the start failed. */
#define TOLD_MAX 65536
#define ENDED_MAX 4096
/* Of each process of weir's own words in the log, which may lie in memory: a guest can cause some. */
#define WORDS_MAX (UINT64_C(4) << 20)

/* The starter waits at the other end; -1: nobody does. */
static int ready_fd = -1;
/* What is said at the end, and where; dir -1: this is no run in the background. */
static struct {
	int dir;
	const char *name, *command;
	int64_t began;
} at_end = { .dir = -1 };

void run_detach_ready(struct run *r)
{
	if (ready_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	/* It may have died before its death could end us. */
	if (dprintf(ready_fd, "%s\n", r->cfg->name) < 0)
		run_fail(r, "whoever started the run in the background is gone");
	fd_close(ready_fd);
	ready_fd = -1;
}

void run_detach_file(char out[static RUN_DETACH_FILE], const char *name, const char *what)
{
	snprintf(out, RUN_DETACH_FILE, "%s.%s", name, what);
}

bool run_detach_file_name(char *file, const char *what)
{
	char *dot = strrchr(file, '.');

	if (!dot || file[0] == '.' || strlen(file) >= RUN_DETACH_FILE || !str_eq(dot + 1, what))
		return false;
	*dot = 0;
	return true;
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

int run_detach_status(int dir, const char *name)
{
	char file[RUN_DETACH_FILE];
	int status = EXIT_WEIR_FAILED;
	json_t *o;

	run_detach_file(file, name, "ended");
	o = run_detach_ended(dir, file);
	if (json_is_integer(json_object_get(o, "status")))
		status = (int)json_integer_value(json_object_get(o, "status")) & 255;
	json_decref(o);
	return status;
}

bool run_detach_lives(int dir, const char *name)
{
	char file[RUN_DETACH_FILE];
	cleanup_close int fd = -1;

	run_detach_file(file, name, "log");
	fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

json_t *run_detach_over(int dir, const char *name)
{
	bool lives = run_detach_lives(dir, name); /* asked first: who ends says so before */
	char file[RUN_DETACH_FILE];
	struct stat st;
	json_t *o;

	run_detach_file(file, name, "ended");
	o = run_detach_ended(dir, file);
	if (o) {
		(void)json_object_set_new(o, "state", json_string("ended"));
		return o;
	}
	run_detach_file(file, name, "log");
	if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || lives)
		return NULL;
	return json_pack("{s:s, s:n, s:s}", "name", name, "status", "state", "killed");
}

/* ---- by id ---------------------------------------------------------------------------- */

static bool has_id(int dir, const char *name, const char *id)
{
	char file[RUN_DETACH_FILE];
	const char *its;
	bool has;
	json_t *o;

	run_detach_file(file, name, "ended");
	o = run_detach_ended(dir, file);
	its = json_string_value(json_object_get(o, "id"));
	has = its && str_eq(its, id);
	json_decref(o);
	return has;
}

static bool find_ended(const char *id, char ret[static CTL_NAME_MAX + 1])
{
	bool found = false;
	struct dirent *de;
	int dir = -1;
	DIR *d;

	if (strlen(id) != RUN_ID_LEN || ctl_dir_open(&dir, NULL) < 0)
		return false;
	d = fdopendir(dir);
	if (!d) {
		fd_close(dir);
		return false;
	}
	while (!found && (de = readdir(d))) {
		found = run_detach_file_name(de->d_name, "ended") &&
			strlen(de->d_name) <= CTL_NAME_MAX && has_id(dirfd(d), de->d_name, id);
		if (found)
			snprintf(ret, CTL_NAME_MAX + 1, "%s", de->d_name);
	}
	closedir(d);
	return found;
}

static bool has_log(const char *name)
{
	cleanup_close int dir = -1;
	char file[RUN_DETACH_FILE];

	run_detach_file(file, name, "log");
	return !strchr(name, '/') && ctl_dir_open(&dir, NULL) == 0 &&
	       faccessat(dir, file, F_OK, 0) == 0;
}

void run_detach_name(const char *word, char ret[static CTL_NAME_MAX + 1])
{
	struct ctl_run run;

	if (ctl_runs(word, &run))
		snprintf(ret, CTL_NAME_MAX + 1, "%s", run.name);
	else if (has_log(word) || !find_ended(word, ret))
		snprintf(ret, CTL_NAME_MAX + 1, "%.*s", CTL_NAME_MAX, word);
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

/* Who was told of a failed start has seen all there is. */
int run_detach_end(const struct run *r)
{
	json_t *o;
	int rc;

	if (at_end.dir < 0 || ready_fd >= 0)
		return 0;
	o = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I}", "name", at_end.name, "id", r->id, "command",
		      at_end.command, "status", r->status, "began", (json_int_t)at_end.began,
		      "ended", (json_int_t)(time_real_ns() / NS_PER_S));
	/* Until we are gone, so that nobody finds us over and listening. */
	ctl_hold(at_end.dir, false);
	rc = o ? write_end(at_end.dir, at_end.name, o) : -EINVAL;
	json_decref(o);
	return rc;
}

static _Noreturn void run_apart(struct weir_config *cfg, int dir, int log, int ready,
				int (*run)(struct weir_config *cfg))
{
	cleanup_free char *name = strdup(cfg->name),
			  *command = strdup(cfg->command[0] ? cfg->command[0] : "(the image's)");
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!name || !command || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(EXIT_WEIR_FAILED);
	fd_close(null);
	fd_close(log);
	log_limit(WORDS_MAX);
	ready_fd = ready;
	at_end.dir = dir;
	at_end.name = name;
	at_end.command = command;
	at_end.began = (int64_t)(time_real_ns() / NS_PER_S);
	exit(run(cfg));
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

static int is_taken(const char *name, struct conf_error *err)
{
	conf_error_set(err,
		       "a sandbox named \"%s\" is running; stop it (weir stop %s) or take another "
		       "name",
		       name, name);
	return -EEXIST;
}

/* The log of a run that begins, locked; what an earlier one left goes. */
static int make_log(const char *name, int dir, int *ret, struct conf_error *err)
{
	char file[RUN_DETACH_FILE];
	cleanup_close int fd = -1;

	run_detach_file(file, name, "ended");
	/* One that is over may have left a program of its user's that has its log open. */
	if (run_detach_lives(dir, name) && faccessat(dir, file, F_OK, 0) < 0)
		return is_taken(name, err);
	unlinkat(dir, file, 0);
	run_detach_file(file, name, "log");
	unlinkat(dir, file, 0);
	fd = openat(dir, file, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		int r = -errno;

		conf_error_set(err, "cannot make %s: %s", file, strerror(-r));
		return r;
	}
	ctl_hold(fd, true);
	*ret = steal_fd(&fd);
	return 0;
}

static int prepare(struct weir_config *cfg, int *ret_dir, int *ret_log, struct conf_error *err)
{
	bool runs;
	int r;

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
	/* Two that take one name at one moment: one of them has it. One that ends has ended. */
	ctl_hold(*ret_dir, true);
	runs = ctl_runs(cfg->name, NULL);
	r = runs ? is_taken(cfg->name, err) : make_log(cfg->name, *ret_dir, ret_log, err);
	ctl_release(*ret_dir);
	return r;
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
