/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command, or a shell, beside the one that a machine was started with. Standard input,
 * output and a terminal are carried as for weir run (vm_stdio.c); the exit status is the command's,
 * 125 when weir itself failed, 126 and 127 as shells have them.
 */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/detach_keys.h"
#include "weir/machine_call.h"
#include "weir/vm_stdio.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LIST_MAX 256
#define STATUS_WEIR 125
#define START_PATIENCE (60 * NS_PER_S)
#define TIMEOUT_MAX_S (366 * 86400)

struct words {
	const char *name, *user, *cwd;
	const char *env[LIST_MAX], *rlimits[LIST_MAX];
	size_t n_env, n_rlimits;
	uint64_t timeout_s;
	enum { TTY_AUTO, TTY_YES, TTY_NO } tty;
	bool no_input;
	struct detach_keys keys;
	char **argv;
	size_t argc;
	char *owned[LIST_MAX]; /* variables taken from our own environment */
	size_t n_owned;
};

struct session {
	struct machine_call call;
	struct vm_stdio stdio;
	struct agent_stream *stream;
	struct detach_keys keys;
	struct loop_io signals;
	int status;
	bool detached, over;
};

static const char exec_help[] =
	"Usage: weir exec [OPTIONS] NAME [--] COMMAND [ARGUMENT...]\n"
	"       weir shell [OPTIONS] NAME [-- ARGUMENT...]\n"
	"\n"
	"Runs one more command, or the user's shell, in a microVM that runs. Standard\n"
	"input, output and error are the command's; it gets a terminal when ours is one.\n"
	"\n"
	"  -u, --user USER[:GROUP]   of the machine, by name or number\n"
	"  -w, --workdir DIR         instead of the machine's\n"
	"  -e, --env NAME[=VALUE]    one variable more; without a value it is ours\n"
	"      --rlimit NAME=SOFT[:HARD]   nofile, nproc, cpu, as, fsize, core, ...\n"
	"      --timeout SECONDS     then it is killed with all it started, and 124 is\n"
	"                            the status\n"
	"  -t, --tty; -T, --no-tty   a terminal, or none, whatever ours is\n"
	"  -n, --no-input            its standard input is empty\n"
	"      --detach-keys KEYS    a key (ctrl-]) or several (ctrl-p,ctrl-q) that end\n"
	"                            the session and what runs in it; none: there are\n"
	"                            none. Default: ctrl-p,ctrl-q\n"
	"\n"
	"Exit status: the command's; 124 timeout; 125 weir failed; 126 it cannot be run;\n"
	"127 there is no such command.\n";

/* ---- words ------------------------------------------------------------------------ */

static int add(const char **list, size_t *n, const char *value, const char *what)
{
	if (*n == LIST_MAX)
		return ctl_complain(STATUS_WEIR, "more than %d of %s", LIST_MAX, what);
	list[(*n)++] = value;
	return 0;
}

static int add_env(struct words *w, const char *value)
{
	const char *own;
	char *entry;

	if (strchr(value, '='))
		return add(w->env, &w->n_env, value, "--env");
	own = getenv(value);
	if (!own)
		return 0;
	if (w->n_owned == LIST_MAX || asprintf(&entry, "%s=%s", value, own) < 0)
		return ctl_complain(STATUS_WEIR, "--env %s: too many", value);
	w->owned[w->n_owned++] = entry;
	return add(w->env, &w->n_env, entry, "--env");
}

static int set_value(struct words *w, const char *option, const char *value)
{
	const char *why;

	if (str_eq(option, "--user"))
		w->user = value;
	else if (str_eq(option, "--workdir"))
		w->cwd = value;
	else if (str_eq(option, "--env"))
		return add_env(w, value);
	else if (str_eq(option, "--rlimit"))
		return add(w->rlimits, &w->n_rlimits, value, "--rlimit");
	else if (str_eq(option, "--detach-keys")) {
		if (detach_keys_parse(value, &w->keys, &why) < 0)
			return ctl_complain(STATUS_WEIR, "--detach-keys %s: %s", value, why);
	} else if (uint_parse(value, strlen(value), 1, TIMEOUT_MAX_S, &w->timeout_s, &why) < 0)
		return ctl_complain(STATUS_WEIR, "--timeout %s: %s", value, why);
	return 0;
}

static const struct option {
	const char *name;
	char letter;
	bool value;
} options[] = {
	{ "--user", 'u', true },  { "--workdir", 'w', true }, { "--env", 'e', true },
	{ "--rlimit", 0, true },  { "--timeout", 0, true },   { "--detach-keys", 0, true },
	{ "--tty", 't', false },  { "--no-tty", 'T', false }, { "--no-input", 'n', false },
	{ "--help", 'h', false },
};

static const struct option *option_of(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if ((strlen(options[i].name) == len && memcmp(word, options[i].name, len) == 0) ||
		    (options[i].letter && word[1] == options[i].letter && !word[2]))
			return &options[i];
	return NULL;
}

static void set_flag(struct words *w, const struct option *o)
{
	if (o->letter == 't')
		w->tty = TTY_YES;
	else if (o->letter == 'T')
		w->tty = TTY_NO;
	else
		w->no_input = true;
}

/* 0; 1: help was asked for; else a status to end with. */
static int parse(int argc, char **argv, struct words *w)
{
	int i = 1, r;

	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		size_t len = strcspn(argv[i], "=");
		const struct option *o = option_of(argv[i], len);
		const char *value;

		if (str_eq(argv[i], "--"))
			break;
		if (!o)
			return ctl_complain(STATUS_WEIR, "unknown option %s; see: weir %s --help",
					    argv[i], argv[0]);
		if (o->letter == 'h')
			return 1;
		if (!o->value) {
			set_flag(w, o);
			continue;
		}
		value = argv[i][len] ? argv[i] + len + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			return ctl_complain(STATUS_WEIR, "%s needs a value", o->name);
		r = set_value(w, o->name, value);
		if (r)
			return r;
	}
	if (i < argc)
		w->name = argv[i++];
	if (i < argc && str_eq(argv[i], "--"))
		i++;
	w->argv = argv + i;
	w->argc = (size_t)(argc - i);
	return w->name && !str_eq(w->name, "--")
		       ? 0
		       : ctl_complain(STATUS_WEIR, "which sandbox? weir ps lists them");
}

/* ---- the session ------------------------------------------------------------------- */

static void on_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	struct session *x = arg;

	(void)pid;
	vm_stdio_attach(&x->stdio, s);
}

static void on_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		    void *arg)
{
	(void)s;
	vm_stdio_data(&((struct session *)arg)->stdio, type, p, n);
}

static void on_room(struct agent_stream *s, void *arg)
{
	(void)s;
	vm_stdio_room(&((struct session *)arg)->stdio);
}

static void tell_failure(int status, const struct agent_failed *f)
{
	/* Their texts say it all; an errno of the search would only repeat it. */
	bool plain = f->stage == AGENT_STAGE_LOOKUP || f->stage == AGENT_STAGE_USER || !f->err;
	char text[256];

	log_quote(f->text, strlen(f->text), text, sizeof(text));
	ctl_complain(status, "%s: %s%s%s", agent_stage_text(f->stage), text, plain ? "" : ": ",
		     plain ? "" : strerror((int)MIN(f->err, 4095u)));
}

static void on_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct session *x = arg;

	(void)s;
	x->stream = NULL;
	x->status = agent_end_status(e);
	if (e->kind == AGENT_ENDED_FAILED)
		tell_failure(x->status, &e->failed);
	vm_stdio_ended(&x->stdio);
}

static const struct agent_stream_events session_events = {
	.started = on_started,
	.data = on_data,
	.room = on_room,
	.ended = on_ended,
};

static void on_drained(struct vm_stdio *s)
{
	container_of(s, struct session, stdio)->over = true;
}

/* What the user typed, without the keys that mean us. */
static size_t on_typed(struct vm_stdio *s, const uint8_t *in, size_t n, uint8_t *out)
{
	struct session *x = container_of(s, struct session, stdio);
	size_t kept = detach_keys_filter(&x->keys, in, n, out, &x->detached);

	x->over |= x->detached;
	return kept;
}

/* Ours go to the command; a terminal's keys go there as bytes. */
static void on_signal(struct loop_io *io, uint32_t revents)
{
	struct session *x = container_of(io, struct session, signals);
	struct signalfd_siginfo si;

	(void)revents;
	if (read(io->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCONT)
		vm_stdio_continued(&x->stdio);
	else if (!x->stream || agent_stream_signal(x->stream, (int)si.ssi_signo) < 0)
		x->over = true;
}

static int watch_signals(struct session *x)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		sigaddset(&set, ours[i]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	return loop_io_add(x->call.loop, &x->signals, fd, EPOLLIN, on_signal);
}

static int run_session(struct session *x, const struct words *w, bool shell)
{
	struct agent_exec e = {
		.argv = { (const char *const *)w->argv, w->argc },
		.env = { w->env, w->n_env },
		.rlimits = { w->rlimits, w->n_rlimits },
		.cwd = w->cwd,
		.user = w->user,
		.timeout_ms = w->timeout_s * 1000,
		.flags = (w->no_input ? 0 : AGENT_EXEC_INPUT) |
			 (x->stdio.tty ? AGENT_EXEC_TTY : 0) | (shell ? AGENT_EXEC_SHELL : 0),
	};
	char term[128];
	const char *own = getenv("TERM");
	int r;

	/* As the user's terminal understands it, unless another was asked for. */
	snprintf(term, sizeof(term), "TERM=%s", own ? own : "xterm");
	if (x->stdio.tty && w->n_env < LIST_MAX) {
		const char **env = calloc(w->n_env + 1, sizeof(*env));

		if (!env)
			return -ENOMEM;
		env[0] = term;
		memcpy(env + 1, w->env, w->n_env * sizeof(*env));
		e.env = (struct agent_strings){ env, w->n_env + 1 };
	}
	vm_stdio_size(&e.rows, &e.cols);
	r = vm_stdio_start(&x->stdio);
	if (r == 0)
		r = watch_signals(x);
	if (r == 0)
		r = agent_exec(x->call.agent, &e, loop_now_update(x->call.loop) + START_PATIENCE,
			       &session_events, x, &x->stream);
	while (r >= 0 && !x->over)
		r = loop_step(x->call.loop, -1);
	if (e.env.v != w->env)
		free((void *)(uintptr_t)e.env.v);
	return r;
}

static int session(const struct words *w, bool shell)
{
	struct session x = { .keys = w->keys, .status = STATUS_WEIR };
	int r = machine_call_open(&x.call, w->name);

	if (r)
		return STATUS_WEIR;
	x.stdio = (struct vm_stdio){
		.loop = x.call.loop,
		.drained = on_drained,
		.tty = w->tty == TTY_AUTO ? !w->no_input && vm_stdio_wants_tty() : w->tty == TTY_YES,
		.no_input = w->no_input,
	};
	if (x.stdio.tty && w->keys.n)
		x.stdio.filter = on_typed;
	r = run_session(&x, w, shell);
	vm_stdio_stop(&x.stdio);
	if (r < 0)
		ctl_complain(STATUS_WEIR, "%s: %s", w->name, strerror(-r));
	if (x.detached) {
		fputs("\r\nweir: the session is over\n", stderr);
		x.status = 0;
	}
	loop_io_del(&x.signals);
	machine_call_close(&x.call);
	return x.status;
}

static int start(int argc, char **argv, bool shell)
{
	struct words w = { .keys = DETACH_KEYS_DEFAULT };
	int r;

	ctl_speak_as(argv[0]);
	r = parse(argc, argv, &w);
	if (r == 1) {
		fputs(exec_help, stdout);
		r = 0;
	} else if (r == 0 && !w.argc && !shell) {
		r = ctl_complain(STATUS_WEIR, "which command? See: weir exec --help");
	} else if (r == 0) {
		r = session(&w, shell);
	}
	while (w.n_owned)
		free(w.owned[--w.n_owned]);
	return r;
}

int cmd_exec(int argc, char **argv)
{
	return start(argc, argv, false);
}

int cmd_shell(int argc, char **argv)
{
	return start(argc, argv, true);
}
