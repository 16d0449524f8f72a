/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandboxes there are: which run, what is known of one, ending it, and what is left
 * of those that ran in the background (run_detach.c).
 */
#include "weir/cmd_ps.h"

#include "weir/cmd_ctl.h"
#include "weir/ctl_tidy.h"
#include "weir/run_detach.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMES_MAX 64
#define LABELS_MAX 16
/* Until a sandbox that was stopped is gone, beyond its grace: its helpers' last words, and more. */
#define GONE_S 15
#define GRACE_DEFAULT_S 10

struct words {
	const char *names[NAMES_MAX];
	size_t n;
	const char *labels[LABELS_MAX];
	size_t n_labels;
	bool json, all, force, quiet;
	const char *signal, *timeout;
};

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* ---- words ------------------------------------------------------------------------ */

enum {
	TAKES_JSON = 1,
	TAKES_ALL = 2,
	TAKES_FORCE = 4,
	TAKES_SIGNAL = 8,
	TAKES_TIMEOUT = 16,
	TAKES_LABEL = 32
};

static const struct word_option {
	const char *name;
	char letter;
	unsigned takes;
	bool value;
} word_options[] = {
	{ "--json", 0, TAKES_JSON, false },	 { "--all", 'a', TAKES_ALL, false },
	{ "--quiet", 'q', TAKES_LABEL, false },	 { "--force", 'f', TAKES_FORCE, false },
	{ "--signal", 's', TAKES_SIGNAL, true }, { "--timeout", 't', TAKES_TIMEOUT, true },
	{ "--label", 'l', TAKES_LABEL, true },
};

static bool set_option(struct words *w, const struct word_option *o, const char *value)
{
	switch (o->takes == TAKES_LABEL && !o->value ? 0 : o->takes) {
	case 0:
		w->quiet = true;
		break;
	case TAKES_JSON:
		w->json = true;
		break;
	case TAKES_ALL:
		w->all = true;
		break;
	case TAKES_FORCE:
		w->force = true;
		break;
	case TAKES_SIGNAL:
		w->signal = value;
		break;
	case TAKES_TIMEOUT:
		w->timeout = value;
		break;
	default:
		if (w->n_labels == LABELS_MAX)
			return false;
		w->labels[w->n_labels++] = value;
	}
	return true;
}

/* 0, CTL_DONE after help as 1, or a status to end with, as 1 + it. */
static int parse(int argc, char **argv, const char *help, unsigned takes, struct words *w)
{
	ctl_speak_as(argv[0]);
	for (int i = 1; i < argc; i++) {
		const struct word_option *o = NULL;
		size_t len = strcspn(argv[i], "=");
		const char *value;

		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			fputs(help, stdout);
			return 1 + CTL_DONE;
		}
		if (argv[i][0] != '-') {
			if (w->n == NAMES_MAX)
				return 1 + ctl_complain(CTL_USAGE, "more than %d names", NAMES_MAX);
			w->names[w->n++] = argv[i];
			continue;
		}
		for (size_t k = 0; k < ARRAY_SIZE(word_options) && !o; k++)
			if (takes & word_options[k].takes &&
			    ((strlen(word_options[k].name) == len &&
			      memcmp(argv[i], word_options[k].name, len) == 0) ||
			     (argv[i][1] == word_options[k].letter && !argv[i][2])))
				o = &word_options[k];
		if (!o)
			return 1 + ctl_complain(CTL_USAGE, "unknown option %s; see: weir %s --help",
						argv[i], argv[0]);
		value = !o->value      ? ""
			: argv[i][len] ? argv[i] + len + 1
			: i + 1 < argc ? argv[++i]
				       : NULL;
		if (!value || !set_option(w, o, value))
			return 1 + ctl_complain(CTL_USAGE, "%s: needs a value", o->name);
	}
	return 0;
}

static int end(int status)
{
	return fflush(stdout) != 0 && status == CTL_DONE
		       ? ctl_complain(CTL_REFUSED, "cannot write: %s", strerror(errno))
		       : status;
}

/* ---- those that are over ------------------------------------------------------------ */

static void print_over(const json_t *o)
{
	if (json_is_integer(json_object_get(o, "status")))
		printf("%-20s %-8s %-7s ended %-4lld %9llds  %s\n", ctl_text(o, "name"),
		       json_object_get(o, "id") ? ctl_text(o, "id") : "-", "-", number(o, "status"),
		       number(o, "ended") - number(o, "began"), ctl_text(o, "command"));
	else
		printf("%-20s %-8s %-7s %-10s %10s\n", ctl_text(o, "name"), "-", "-",
		       ctl_text(o, "state"), "-");
}

static bool is_listed(const struct ctl_run *runs, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(runs[i].name, name))
			return true;
	return false;
}

/* But for those that were shown as running, and have ended since. */
static void list_ended(const struct words *w, const struct ctl_run *shown, size_t n_shown, json_t *all)
{
	int dir = -1;
	struct dirent *de;
	DIR *d;

	if (ctl_dir_open(&dir, NULL) < 0)
		return;
	d = fdopendir(dir);
	if (!d) {
		fd_close(dir);
		return;
	}
	while ((de = readdir(d))) {
		json_t *o;

		if (!run_detach_file_name(de->d_name, "log") || is_listed(shown, n_shown, de->d_name))
			continue;
		o = run_detach_over(dirfd(d), de->d_name);
		if (!o)
			continue;
		if (w->json)
			(void)json_array_append(all, o);
		else if (w->quiet)
			printf("%s\n", ctl_text(o, "name"));
		else
			print_over(o);
		json_decref(o);
	}
	closedir(d);
}

/* ---- ps --------------------------------------------------------------------------------- */

static const char ps_help[] =
	"Usage: weir ps [--all] [--label KEY[=VALUE]]... [--quiet] [--json]\n"
	"\n"
	"The sandboxes of this user that run; with --all also those that ran in the\n"
	"background (weir run --detach) and are over, until weir rm: with their status,\n"
	"or as killed when weir itself was. --label: only those that have it. --quiet:\n"
	"names alone. Commands that take a NAME take the ID as well.\n"
	"\n"
	"Exit status: 0; 2 usage.\n";

static bool has_labels(const struct words *w, const json_t *o)
{
	const json_t *labels = json_object_get(o, "labels");

	for (size_t i = 0; i < w->n_labels; i++) {
		size_t n = strcspn(w->labels[i], "=");
		char key[256];
		const char *value;

		snprintf(key, sizeof(key), "%.*s", (int)n, w->labels[i]);
		value = json_string_value(json_object_get(labels, key));
		if (!value || (w->labels[i][n] && !str_eq(value, w->labels[i] + n + 1)))
			return false;
	}
	return true;
}

static void print_running(const json_t *o)
{
	printf("%-20s %-8s %-7s running    %9llds  %s\n", ctl_text(o, "name"), ctl_text(o, "id"),
	       ctl_text(o, "backend"), number(o, "uptime_ms") / 1000,
	       ctl_text(o, json_object_get(o, "link") ? "link" : "command"));
}

int cmd_ps(int argc, char **argv)
{
	struct words w = { 0 };
	struct ctl_run *runs = NULL;
	json_t *all = json_array();
	size_t n = 0;
	int r = parse(argc, argv, ps_help, TAKES_JSON | TAKES_ALL | TAKES_LABEL, &w);

	if (r || w.n) {
		json_decref(all);
		return r ? r - 1 : ctl_complain(CTL_USAGE, "no name belongs here; see: weir inspect");
	}
	if (ctl_list(&runs, &n) < 0)
		n = 0;
	if (!w.json && !w.quiet)
		printf("%-20s %-8s %-7s %-10s %10s  %s\n", "NAME", "ID", "BACKEND", "STATE", "TIME",
		       "COMMAND");
	for (size_t i = 0; i < n; i++) {
		json_t *o = NULL;

		if (ctl_ask(&runs[i], json_pack("{s:s}", "verb", "status"), -1, &o) != 0) {
			runs[i].name[0] = 0;
			continue;
		}
		json_object_del(o, "ok");
		if (!has_labels(&w, o))
			;
		else if (w.json)
			(void)json_array_append(all, o);
		else if (w.quiet)
			printf("%s\n", ctl_text(o, "name"));
		else
			print_running(o);
		json_decref(o);
	}
	if (w.all && !w.n_labels)
		list_ended(&w, runs, n, all);
	free(runs);
	if (w.json &&
	    json_dumpf(all, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_ENSURE_ASCII) == 0)
		putchar('\n');
	json_decref(all);
	return end(CTL_DONE);
}

/* ---- inspect -------------------------------------------------------------------------------- */

static const char inspect_help[] =
	"Usage: weir inspect NAME|ID...\n"
	"\n"
	"What is known of sandboxes, as JSON: what they run, how they are isolated,\n"
	"policy, labels, totals, where the record is; of one that ran in the background\n"
	"and is over, its status.\n"
	"\n"
	"Exit status: 0; 1 there is none of that name; 2 usage.\n";

static json_t *over_of(const char *word)
{
	cleanup_close int dir = -1;
	char name[CTL_NAME_MAX + 1];

	run_detach_name(word, name);
	if (strchr(name, '/') || ctl_dir_open(&dir, NULL) < 0)
		return NULL;
	return run_detach_over(dir, name);
}

int cmd_inspect(int argc, char **argv)
{
	struct words w = { 0 };
	int r = parse(argc, argv, inspect_help, 0, &w);

	if (r)
		return r - 1;
	if (!w.n)
		return ctl_complain(CTL_USAGE, "which sandbox? weir ps lists them");
	for (size_t i = 0; r == 0 && i < w.n; i++) {
		struct ctl_run run;
		json_t *o = NULL;

		if (ctl_runs(w.names[i], &run) || !(o = over_of(w.names[i]))) {
			r = ctl_find(w.names[i], &run);
			if (r == 0)
				r = ctl_ask(&run, json_pack("{s:s}", "verb", "status"), -1, &o);
			if (r == 0)
				(void)json_object_set_new(o, "state", json_string("running"));
		}
		if (r == 0)
			r = ctl_print_json(o);
		json_decref(o);
	}
	return end(r);
}

/* ---- stop, kill ------------------------------------------------------------------------------- */

static const char stop_help[] =
	"Usage: weir stop NAME|ID... [--timeout SECONDS]\n"
	"\n"
	"Asks the command to end (SIGTERM), and ends the sandbox when it has not within\n"
	"SECONDS (default 10; 0: at once). Returns when the sandbox is gone.\n"
	"\n"
	"Exit status: 0 gone; 1 there is none of that name; 2 usage.\n";

static const char kill_help[] =
	"Usage: weir kill NAME|ID... [--signal SIGNAL]\n"
	"\n"
	"Ends sandboxes at once, or sends SIGNAL (TERM, HUP, USR1, a number, ...) to the\n"
	"command.\n"
	"\n"
	"Exit status: 0; 1 there is none of that name; 2 usage.\n";

/*
 * Its process, not only its socket: what it leaves is written last. In a container there may be
 * nobody who reaps it, so its end counts, not that its number is free.
 */
static bool gone_within(pid_t pid, unsigned seconds)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t until = time_mono_ns() + seconds * (uint64_t)NS_PER_S, now;
	int r;

	if (fd < 0)
		return errno == ESRCH;
	do {
		now = time_mono_ns();
		r = poll(&p, 1, now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

static int stop(const char *name, unsigned grace)
{
	struct ctl_run run;
	json_t *o = NULL;
	pid_t pid;
	int r = ctl_find(name, &run);

	if (r == 0)
		r = ctl_ask(&run, json_pack("{s:s, s:i}", "verb", "stop", "grace_s", (int)grace),
			    -1, &o);
	pid = (pid_t)number(o, "pid");
	json_decref(o);
	if (r == 0 && pid > 0 && !gone_within(pid, grace + GONE_S))
		r = ctl_complain(CTL_REFUSED, "%s: is still there; weir kill %s ends it", name, name);
	return r;
}

int cmd_stop(int argc, char **argv)
{
	struct words w = { 0 };
	uint64_t grace = GRACE_DEFAULT_S;
	const char *why;
	int r = parse(argc, argv, stop_help, TAKES_TIMEOUT, &w), all = CTL_DONE;

	if (r)
		return r - 1;
	if (!w.n)
		return ctl_complain(CTL_USAGE, "which sandbox? weir ps lists them");
	if (w.timeout && uint_parse(w.timeout, strlen(w.timeout), 0, 3600, &grace, &why) < 0)
		return ctl_complain(CTL_USAGE, "--timeout %s: %s; seconds, up to 3600", w.timeout,
				    why);
	for (size_t i = 0; i < w.n; i++)
		if ((r = stop(w.names[i], (unsigned)grace)) != 0)
			all = r;
	return all;
}

static int signal_number(const char *text)
{
	uint64_t n;
	const char *why;

	if (uint_parse(text, strlen(text), 1, 64, &n, &why) == 0)
		return (int)n;
	if (str_starts(text, "SIG"))
		text += 3;
	for (int i = 1; i < 32; i++)
		if (sigabbrev_np(i) && str_eq(sigabbrev_np(i), text))
			return i;
	return 0;
}

int cmd_kill(int argc, char **argv)
{
	struct words w = { 0 };
	int r = parse(argc, argv, kill_help, TAKES_SIGNAL, &w), all = CTL_DONE, sig = SIGKILL;

	if (r)
		return r - 1;
	if (!w.n)
		return ctl_complain(CTL_USAGE, "which sandbox? weir ps lists them");
	if (w.signal)
		sig = signal_number(w.signal);
	if (!sig)
		return ctl_complain(CTL_USAGE, "--signal %s: there is no such signal", w.signal);
	for (size_t i = 0; i < w.n; i++) {
		struct ctl_run run;
		json_t *o = NULL;

		if (sig == SIGKILL) {
			r = stop(w.names[i], 0);
		} else {
			r = ctl_find(w.names[i], &run);
			if (r == 0)
				r = ctl_ask(&run,
					    json_pack("{s:s, s:i}", "verb", "signal", "signal", sig),
					    -1, &o);
			json_decref(o);
		}
		if (r)
			all = r;
	}
	return all;
}

/* ---- rm ------------------------------------------------------------------------------------------ */

static const char rm_help[] =
	"Usage: weir rm NAME|ID... [--force]\n"
	"\n"
	"Removes what sandboxes that ran in the background left behind: output and\n"
	"status. Records stay. --force ends those that still run.\n"
	"\n"
	"Exit status: 0; 1 there is none of that name, or it runs; 2 usage.\n";

static int remove_one(const char *word, bool force)
{
	char name[CTL_NAME_MAX + 1], file[RUN_DETACH_FILE];
	cleanup_close int dir = -1;
	bool found = false, runs;
	struct ctl_run run;
	int r = ctl_dir_open(&dir, NULL);

	/* One that ends at this moment has ended. */
	if (r == 0)
		ctl_hold(dir, true);
	runs = ctl_runs(word, &run);
	run_detach_name(word, name);
	if (r == 0)
		ctl_release(dir);
	if (runs) {
		if (!force)
			return ctl_complain(CTL_REFUSED, "%s: runs; stop it first, or --force", word);
		r = stop(word, 0);
		if (r)
			return r;
		found = true;
	}
	if (strchr(word, '/') || dir < 0)
		return ctl_complain(CTL_REFUSED, "%s: there is none of that name", word);
	run_detach_file(file, name, "ended");
	if (run_detach_lives(dir, name) && faccessat(dir, file, F_OK, 0) < 0)
		return ctl_complain(CTL_REFUSED, "%s: begins or ends at this moment; try again",
				    word);
	found |= unlinkat(dir, file, 0) == 0;
	run_detach_file(file, name, "log");
	found |= unlinkat(dir, file, 0) == 0;
	return found ? CTL_DONE : ctl_complain(CTL_REFUSED, "%s: there is none of that name", word);
}

int cmd_rm(int argc, char **argv)
{
	struct words w = { 0 };
	int r = parse(argc, argv, rm_help, TAKES_FORCE, &w), all = CTL_DONE;

	if (r)
		return r - 1;
	if (!w.n)
		return ctl_complain(CTL_USAGE, "which sandbox? weir ps --all lists them");
	for (size_t i = 0; i < w.n; i++)
		if ((r = remove_one(w.names[i], w.force)) != 0)
			all = r;
	return all;
}
