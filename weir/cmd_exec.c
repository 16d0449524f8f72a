/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command, or a shell, beside the one that a machine was started with. Standard input,
 * output and a terminal are carried as for weir run (vm_stdio.c); the exit status is the command's,
 * 125 when weir itself failed, 126 and 127 as shells have them.
 */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/call_session.h"

#include <stdio.h>
#include <sys/resource.h>

#define LIST_MAX 256
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
	bool shell;
	char *owned[LIST_MAX]; /* variables taken from our own environment */
	size_t n_owned;
};

static const char exec_help[] =
	"Usage: weir exec [OPTIONS] NAME|ID [--] COMMAND [ARGUMENT...]\n"
	"       weir shell [OPTIONS] NAME|ID [-- ARGUMENT...]\n"
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
	"  -i, --interactive         has our standard input: so it is without saying\n"
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
		return ctl_complain(SESSION_FAILED, "more than %d of %s", LIST_MAX, what);
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
		return ctl_complain(SESSION_FAILED, "--env %s: too many", value);
	w->owned[w->n_owned++] = entry;
	return add(w->env, &w->n_env, entry, "--env");
}

static int add_rlimit(struct words *w, const char *value)
{
	const char *why = "";
	struct rlimit r;
	int which;

	if (rlimit_parse(value, &which, &r, &why) < 0)
		return ctl_complain(SESSION_FAILED, "--rlimit %s: %s", value, why);
	return add(w->rlimits, &w->n_rlimits, value, "--rlimit");
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
		return add_rlimit(w, value);
	else if (str_eq(option, "--detach-keys")) {
		if (detach_keys_parse(value, &w->keys, &why) < 0)
			return ctl_complain(SESSION_FAILED, "--detach-keys %s: %s", value, why);
	} else if (uint_parse(value, strlen(value), 1, TIMEOUT_MAX_S, &w->timeout_s, &why) < 0)
		return ctl_complain(SESSION_FAILED, "--timeout %s: %s", value, why);
	return 0;
}

static const struct option {
	const char *name;
	char letter;
	bool value;
} options[] = {
	{ "--user", 'u', true },	 { "--workdir", 'w', true }, { "--env", 'e', true },
	{ "--rlimit", 0, true },	 { "--timeout", 0, true },   { "--detach-keys", 0, true },
	{ "--interactive", 'i', false }, { "--tty", 't', false },    { "--no-tty", 'T', false },
	{ "--no-input", 'n', false },	 { "--help", 'h', false },
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
		w->no_input = o->letter == 'n';
}

/* "-it": letters without values. */
static bool set_letters(struct words *w, const char *word)
{
	if (strlen(word) < 3 || word[1] == '-')
		return false;
	for (int set = 0; set < 2; set++)
		for (const char *p = word + 1; *p; p++) {
			const char one[] = { '-', *p, 0 };
			const struct option *o = option_of(one, 2);

			if (!o || o->value || o->letter == 'h')
				return false;
			if (set)
				set_flag(w, o);
		}
	return true;
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
		if (set_letters(w, argv[i]))
			continue;
		if (!o)
			return ctl_complain(SESSION_FAILED, "unknown option %s; see: weir %s --help",
					    argv[i], argv[0]);
		if (o->letter == 'h')
			return 1;
		if (!o->value) {
			set_flag(w, o);
			continue;
		}
		value = argv[i][len] ? argv[i] + len + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			return ctl_complain(SESSION_FAILED, "%s needs a value", o->name);
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
		       : ctl_complain(SESSION_FAILED, "which sandbox? weir ps lists them");
}

/* ---- the session ------------------------------------------------------------------- */

/* Its variables, after TERM as the user's terminal understands it, unless another was asked for. */
static const char **variables(const struct words *w, const char *term)
{
	const char **env = calloc(w->n_env + 1, sizeof(*env));

	if (!env)
		return NULL;
	env[0] = term;
	memcpy(env + 1, w->env, w->n_env * sizeof(*env));
	return env;
}

static int begin(struct call_session *x, void *arg)
{
	const struct words *w = arg;
	const char *own = getenv("TERM"), **env;
	char term[128];
	struct agent_exec e = {
		.argv = { (const char *const *)w->argv, w->argc },
		.rlimits = { w->rlimits, w->n_rlimits },
		.cwd = w->cwd,
		.user = w->user,
		.timeout_ms = w->timeout_s * 1000,
		.flags = (w->no_input ? 0 : AGENT_EXEC_INPUT) |
			 (x->stdio.tty ? AGENT_EXEC_TTY : 0) | (w->shell ? AGENT_EXEC_SHELL : 0),
	};
	int r;

	snprintf(term, sizeof(term), "TERM=%s", own ? own : "xterm");
	env = variables(w, term);
	if (!env)
		return -ENOMEM;
	e.env = x->stdio.tty ? (struct agent_strings){ env, w->n_env + 1 }
			     : (struct agent_strings){ w->env, w->n_env };
	vm_stdio_size(&e.rows, &e.cols);
	r = agent_exec(x->call.agent, &e, loop_now_update(x->call.loop) + SESSION_PATIENCE,
		       &call_session_events, x, &x->stream);
	free(env);
	return r;
}

static int session(struct words *w)
{
	struct call_session x = { .keys = w->keys, .status = SESSION_FAILED };
	bool ours = !w->no_input && vm_stdio_wants_tty();

	if (machine_call_open(&x.call, w->name))
		return SESSION_FAILED;
	x.stdio.tty = w->tty == TTY_AUTO ? ours : w->tty == TTY_YES;
	x.stdio.no_input = w->no_input;
	if (call_session_run(&x, begin, w) < 0)
		x.status = SESSION_FAILED;
	if (x.detached) {
		fputs("\r\nweir: the session is over\n", stderr);
		x.status = 0;
	}
	machine_call_close(&x.call);
	return x.status;
}

static int start(int argc, char **argv, bool shell)
{
	struct words w = { .keys = DETACH_KEYS_DEFAULT, .shell = shell };
	int r;

	ctl_speak_as(argv[0]);
	r = parse(argc, argv, &w);
	if (r == 1) {
		fputs(exec_help, stdout);
		r = 0;
	} else if (r == 0 && !w.argc && !shell) {
		r = ctl_complain(SESSION_FAILED, "which command? See: weir exec --help");
	} else if (r == 0) {
		r = session(&w);
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
