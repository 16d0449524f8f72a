/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir audit` and `weir why`: what a run did, and why something was refused.
 * The record that is read may come from anybody; audit/ prints it safely.
 */
#include "weir/cmd_audit.h"

#include "audit/audit.h"
#include "weir/state.h"
#include "weir/wrap.h"

#include <stdio.h>
#include <unistd.h>

enum { EXIT_FINE = 0, EXIT_NOT_FOUND = 1, EXIT_USAGE = 2 };

static const char audit_help[] =
	"Usage: weir audit [FILE] [OPTIONS]\n"
	"Show the record of a run as a table, and whether it is intact.\n"
	"Without FILE: the newest record of this user's runs.\n"
	"\n"
	"  --denied         only what was refused, or would have been (--observe)\n"
	"  --rules          decisions and bytes per rule, instead of the table\n"
	"  --kind KIND      only run, policy, flow, dns, tls, http or secret events\n"
	"  --json           the events as they are, one per line\n"
	"  --color WHEN     auto (default), always, never\n"
	"  -h, --help       this text\n"
	"\n"
	"Exit status: 0 intact, 1 broken or no record, 2 usage or unreadable.\n"
	"\n"
	"Examples\n"
	"  weir audit --denied            what the last run was refused\n"
	"  weir audit agent.jsonl --kind http\n";

static const char why_help[] =
	"Usage: weir why ID [--audit FILE] [--json] [--color WHEN]\n"
	"Explain a refusal: ID is the denial id of an error message, the number of a\n"
	"flow, or a name that was asked for. Says which rule decided and the smallest\n"
	"rule that would allow it.\n"
	"\n"
	"  --audit FILE     look in this record (default: in all of this user's records,\n"
	"                   newest first)\n"
	"  --json           one JSON object\n"
	"  --color WHEN     auto (default), always, never\n"
	"  -h, --help       this text\n"
	"\n"
	"Exit status: 0 found, 1 not found or record broken, 2 usage or unreadable.\n";

struct view_args {
	struct audit_view view;
	const char *color;
	const char *file;
	const char *positional;
	bool rules;
};

static int usage(const char *cmd, const char *text, const char *word)
{
	char quoted[120];

	fprintf(stderr, "weir %s: %s: %s\n", cmd,
		log_quote(word, strlen(word), quoted, sizeof(quoted)), text);
	return -EINVAL;
}

/* The value of "--flag value" or "--flag=value"; NULL with a message when there is none. */
static const char *flag_value(const char *cmd, const char *name, int argc, char **argv, int *i)
{
	const char *arg = argv[*i];
	size_t n = strlen(name);

	if (arg[n] == '=')
		return arg + n + 1;
	if (*i + 1 < argc)
		return argv[++*i];
	usage(cmd, "needs a value", name);
	return NULL;
}

static bool is_flag(const char *arg, const char *name)
{
	size_t n = strlen(name);

	return strncmp(arg, name, n) == 0 && (arg[n] == 0 || arg[n] == '=');
}

static int check_kind(const char *cmd, const char *kind)
{
	static const char *const kinds[] = { "run", "policy", "flow", "flow_end",
					     "dns", "tls",    "http", "secret" };
	const char *near = str_suggest(kind, kinds, ARRAY_SIZE(kinds));

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kind, kinds[i]))
			return 0;
	if (near)
		fprintf(stderr, "weir %s: --kind: did you mean \"%s\"?\n", cmd, near);
	else
		fprintf(stderr, "weir %s: --kind is run, policy, flow, dns, tls, http or secret\n",
			cmd);
	return -EINVAL;
}

static int parse_flag(const char *cmd, int argc, char **argv, int *i, struct view_args *a)
{
	static const char *const audit_flags[] = { "--denied", "--rules", "--kind",
						   "--json",   "--color", "--help" };
	static const char *const why_flags[] = { "--audit", "--json", "--color", "--help" };
	bool why = str_eq(cmd, "why");
	const char *arg = argv[*i], *near;
	char text[80];

	if (str_eq(arg, "--json")) {
		a->view.json = true;
		return 0;
	}
	if (is_flag(arg, "--color")) {
		a->color = flag_value(cmd, "--color", argc, argv, i);
		if (!a->color)
			return -EINVAL;
		if (str_eq(a->color, "auto") || str_eq(a->color, "always") ||
		    str_eq(a->color, "never"))
			return 0;
		return usage(cmd, "--color is auto, always or never", a->color);
	}
	if (!why && str_eq(arg, "--denied")) {
		a->view.only_denied = true;
		return 0;
	}
	if (!why && str_eq(arg, "--rules")) {
		a->rules = true;
		return 0;
	}
	if (!why && is_flag(arg, "--kind")) {
		a->view.kind = flag_value(cmd, "--kind", argc, argv, i);
		return a->view.kind ? check_kind(cmd, a->view.kind) : -EINVAL;
	}
	if (why && is_flag(arg, "--audit")) {
		a->file = flag_value(cmd, "--audit", argc, argv, i);
		return a->file ? 0 : -EINVAL;
	}
	near = why ? str_suggest(arg, why_flags, ARRAY_SIZE(why_flags))
		   : str_suggest(arg, audit_flags, ARRAY_SIZE(audit_flags));
	snprintf(text, sizeof(text), "unknown flag; %s%s%s", near ? "did you mean " : "see --help",
		 near ? near : "", near ? "?" : "");
	return usage(cmd, text, arg);
}

/* 1: help was printed. */
static int parse_args(const char *cmd, int argc, char **argv, struct view_args *ret)
{
	struct view_args a = { .color = "auto" };
	bool only_words = false;
	int r;

	for (int i = 1; i < argc; i++) {
		if (!only_words && (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))) {
			fputs(str_eq(cmd, "why") ? why_help : audit_help, stdout);
			return 1;
		}
		if (!only_words && str_eq(argv[i], "--")) {
			only_words = true;
		} else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
			r = parse_flag(cmd, argc, argv, &i, &a);
			if (r < 0)
				return r;
		} else if (a.positional) {
			return usage(cmd, "one argument too many", argv[i]);
		} else {
			a.positional = argv[i];
		}
	}
	a.view.color = str_eq(a.color, "always") ||
		       (str_eq(a.color, "auto") && isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
	a.view.width = wrap_columns(stdout);
	*ret = a;
	return 0;
}

static int no_records(const char *cmd, int error)
{
	if (error == -ENOENT)
		fprintf(stderr, "weir %s: there is no record yet; name a FILE\n", cmd);
	else
		fprintf(stderr, "weir %s: the records cannot be listed: %s\n", cmd, strerror(-error));
	return error == -ENOENT ? EXIT_NOT_FOUND : EXIT_USAGE;
}

static int report(const char *cmd, const char *path, int r, const char *err)
{
	/* The table may be larger than what a full disk or a closed pipe takes. */
	if (fflush(stdout) != 0 && r == 0) {
		fprintf(stderr, "weir %s: output: %s\n", cmd, strerror(errno));
		return EXIT_USAGE;
	}
	if (r == 0)
		return EXIT_FINE;
	fprintf(stderr, "weir %s: %s: %s\n", cmd, path, err[0] ? err : strerror(-r));
	return r == -EBADMSG || r == -ENOENT ? EXIT_NOT_FOUND : EXIT_USAGE;
}

int cmd_audit(int argc, char **argv)
{
	struct state_records records = { 0 };
	struct view_args a;
	char err[256] = "";
	int r = parse_args("audit", argc, argv, &a);

	if (r != 0)
		return r > 0 ? EXIT_FINE : EXIT_USAGE;
	if (!a.positional) {
		r = state_audit_list(&records);
		if (r < 0)
			return no_records("audit", r);
		a.positional = records.paths[0];
	}
	r = a.rules ? audit_rules_print(a.positional, &a.view, stdout, err, sizeof(err))
		    : audit_print(a.positional, &a.view, stdout, err, sizeof(err));
	/* A file that is not there is unreadable, not a record without the event. */
	r = report("audit", a.positional, r == -ENOENT ? -EIO : r, err);
	state_records_fini(&records);
	return r;
}

/* Newest record first; unreadable ones are told and passed over. */
static int why_all(const struct view_args *a)
{
	struct state_records records;
	char err[256] = "", quoted[80];
	int r = state_audit_list(&records), found = EXIT_NOT_FOUND;

	if (r < 0)
		return no_records("why", r);
	for (size_t i = 0; i < records.n && found == EXIT_NOT_FOUND; i++) {
		r = audit_why(records.paths[i], a->positional, &a->view, stdout, err, sizeof(err));
		if (r == -ENOENT)
			continue;
		if (r != 0 && r != -EBADMSG) {
			fprintf(stderr, "weir why: %s: %s\n", records.paths[i], err);
			continue;
		}
		found = report("why", records.paths[i], r, err);
		if (!a->view.json)
			printf("\nrecord: %s\n", records.paths[i]);
		goto out;
	}
	fprintf(stderr, "weir why: %s: not in any of the %zu records\n",
		log_quote(a->positional, strlen(a->positional), quoted, sizeof(quoted)), records.n);
out:
	state_records_fini(&records);
	return found;
}

int cmd_why(int argc, char **argv)
{
	struct view_args a;
	char err[256] = "";
	int r = parse_args("why", argc, argv, &a);

	if (r != 0)
		return r > 0 ? EXIT_FINE : EXIT_USAGE;
	if (!a.positional) {
		fputs(why_help, stderr);
		return EXIT_USAGE;
	}
	if (!a.file)
		return why_all(&a);
	if (access(a.file, R_OK) < 0) {
		fprintf(stderr, "weir why: %s: %s\n", a.file, strerror(errno));
		return EXIT_USAGE;
	}
	r = audit_why(a.file, a.positional, &a.view, stdout, err, sizeof(err));
	return report("why", a.file, r, err);
}
