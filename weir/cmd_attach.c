/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir attach: at the main command of a sandbox in the background, as if it had been started
 * here. What it writes comes from now on, what is typed is its input where that is open (weir run
 * -i), and the terminal, where it has one (-t), is as large as ours. Others may be attached too.
 *
 * Leaving (the keys, a signal, the end of our output) leaves the sandbox as it is. Its
 * end is ours, with its status, once it is gone for good.
 */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/run_detach.h"
#include "weir/call_session.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* The command is over: until its sandbox is. Its helpers have five seconds for their last words. */
#define GONE_PATIENCE (15 * NS_PER_S)

static const char attach_help[] =
	"Usage: weir attach [OPTIONS] NAME|ID\n"
	"\n"
	"Input, output and terminal of the main command of a sandbox in the background,\n"
	"until it ends or the keys are typed that leave it: ctrl-p ctrl-q. It has a\n"
	"terminal when it was started with weir run -dt, and takes input when with -di;\n"
	"else its output is shown, from now on (before: weir logs). Several may be\n"
	"attached at a time. For another shell in there: weir shell NAME\n"
	"\n"
	"      --detach-keys KEYS  a key (ctrl-]) or several (ctrl-p,ctrl-q) that leave\n"
	"                          it, where both it and we have a terminal; none\n"
	"  -n, --no-input          only watch: standard input is not read\n"
	"      --sig-proxy         signals that weir attach gets go to the command;\n"
	"                          otherwise they end weir attach alone\n"
	"\n"
	"Exit status: the sandbox's; 0 after the keys; 125 there is none of that name, or\n"
	"weir failed; 128+N after signal N.\n";

struct words {
	const char *name;
	bool no_input, sig_proxy;
	struct detach_keys keys;
};

static int parse_keys(const char *text, struct detach_keys *ret)
{
	const char *why = "";

	if (!text)
		return ctl_complain(SESSION_FAILED, "--detach-keys: needs a value");
	if (detach_keys_parse(text, ret, &why) < 0)
		return ctl_complain(SESSION_FAILED, "--detach-keys %s: %s", text, why);
	return 0;
}

/* 0; -1: help was asked for; else a status to end with. */
static int parse(int argc, char **argv, struct words *w)
{
	int r = 0;

	for (int i = 1; i < argc && r == 0; i++) {
		const char *a = argv[i];

		if (str_eq(a, "--help") || str_eq(a, "-h"))
			return -1;
		if (str_eq(a, "--no-input") || str_eq(a, "-n") || str_eq(a, "--no-stdin"))
			w->no_input = true;
		else if (str_eq(a, "--sig-proxy") || str_eq(a, "--sig-proxy=true"))
			w->sig_proxy = true;
		else if (str_eq(a, "--sig-proxy=false"))
			w->sig_proxy = false;
		else if (str_starts(a, "--detach-keys="))
			r = parse_keys(a + strlen("--detach-keys="), &w->keys);
		else if (str_eq(a, "--detach-keys"))
			r = parse_keys(++i < argc ? argv[i] : NULL, &w->keys);
		else if (a[0] == '-')
			r = ctl_complain(SESSION_FAILED,
					 "unknown option %s; see: weir attach --help", a);
		else if (w->name)
			r = ctl_complain(SESSION_FAILED,
					 "one sandbox at a time: \"%s\" is too much", a);
		else
			w->name = a;
	}
	if (r == 0 && !w->name)
		r = ctl_complain(SESSION_FAILED, "which sandbox? weir ps lists them");
	return r;
}

/* ---- the session ------------------------------------------------------------------- */

static int begin(struct call_session *x, void *arg)
{
	struct agent_attach a = { .flags = x->stdio.no_input ? 0 : AGENT_ATTACH_INPUT };

	(void)arg;
	if (x->stdio.tty)
		vm_stdio_size(&a.rows, &a.cols);
	return agent_attach(x->call.agent, &a, loop_now_update(x->call.loop) + SESSION_PATIENCE,
			    &call_session_events, x, &x->stream);
}

/* The status it left, when it is gone; ours where nobody says. */
static int await_end(const char *name, int status)
{
	const struct timespec pause = { .tv_nsec = 20 * (long)NS_PER_MS };
	uint64_t until = time_mono_ns() + GONE_PATIENCE;
	cleanup_close int dir = -1;
	char file[RUN_DETACH_FILE];

	if (ctl_dir_open(&dir, NULL) < 0)
		return status;
	run_detach_file(file, name, "ended");
	while (faccessat(dir, file, F_OK, 0) < 0) {
		if (time_mono_ns() > until)
			return status;
		nanosleep(&pause, NULL);
	}
	return run_detach_status(dir, name);
}

static int attach_to(const struct words *w)
{
	struct call_session x = { .keys = w->keys,
				  .keep_signals = !w->sig_proxy,
				  .status = SESSION_FAILED };
	const char *name;
	json_t *o = NULL;

	if (machine_call_attach(&x.call, w->name, &o))
		return SESSION_FAILED;
	x.stdio.no_input = w->no_input || !json_is_true(json_object_get(o, "input"));
	x.stdio.tty = json_is_true(json_object_get(o, "tty")) && vm_stdio_wants_tty();
	/* Without input there are no keys to leave with, so the terminal stays as it is. */
	x.stdio.tty &= !x.stdio.no_input;
	if (call_session_run(&x, begin, NULL) < 0)
		x.status = SESSION_FAILED;
	machine_call_close(&x.call);
	name = json_string_value(json_object_get(o, "name"));
	if (x.detached) {
		fprintf(stderr, "\r\nweir: left; %s runs on\n", w->name);
		x.status = 0;
	} else if (x.ended && !x.failed) {
		x.status = await_end(name ? name : w->name, x.status);
	}
	json_decref(o);
	return x.status;
}

int cmd_attach(int argc, char **argv)
{
	struct words w = { .keys = DETACH_KEYS_DEFAULT };
	int r, status = SESSION_FAILED;

	ctl_speak_as(argv[0]);
	r = parse(argc, argv, &w);
	if (r) {
		if (r < 0)
			fputs(attach_help, stdout);
		return r < 0 ? 0 : r;
	}
	/* One that is over is shown whole. */
	if (!ctl_runs(w.name, NULL)) {
		r = logs_show_ended(w.name, &status);
		if (r == -ENOENT)
			ctl_complain(
				SESSION_FAILED,
				"%s: nothing of that name runs, or ran in the background; weir ps "
				"--all lists what does",
				w.name);
		else if (r < 0)
			ctl_complain(SESSION_FAILED, "%s: %s", w.name, strerror(-r));
		return r < 0 ? SESSION_FAILED : status;
	}
	return attach_to(&w);
}
