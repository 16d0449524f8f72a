/* SPDX-License-Identifier: Apache-2.0 */
/* weir: the program. Each command is a function of its own file. */
#include "base/base.h"
#include "weir/cmd_audit.h"
#include "weir/cmd_ca.h"
#include "weir/cmd_ctl.h"
#include "weir/cmd_exec.h"
#include "weir/cmd_policy.h"
#include "weir/cmd_ps.h"
#include "weir/doctor.h"
#include "weir/run.h"
#include "weir/wiped_heap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char usage[] =
	"weir - run a command behind a network policy, with secrets it never sees\n"
	"\n"
	"  weir run [OPTIONS] -- COMMAND...  run a command in a sandbox; exits as it does\n"
	"  weir gateway --link LINK          serve the link of a machine that others run\n"
	"  weir ps, inspect, stop, kill, rm  the sandboxes there are, and their end\n"
	"  weir exec, shell, cp, metrics     into a microVM that runs, and out of it\n"
	"  weir logs, attach                 what one in the background writes; at its\n"
	"                                    input, output and terminal\n"
	"  weir audit [FILE]                 the record of a run, as a table\n"
	"  weir why ID                       what was denied, and what would change it\n"
	"  weir ctl [NAME ...]               sandboxes that run: status, policy, secrets\n"
	"  weir ca show [NAME]               the authority that a sandbox is to trust\n"
	"  weir policy COMMAND               write, try policies: check, show, explain,\n"
	"                                    diff, test, replay, suggest, nft\n"
	"  weir doctor                       what this machine can do\n"
	"  weir version                      which weir this is\n"
	"\n"
	"weir help COMMAND tells more, and so does --help after each. A first try:\n"
	"\n"
	"  weir run --backend netns --net public -- curl -sI https://example.com\n"
	"  weir audit\n";

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("weir " WEIR_VERSION);
	return 0;
}

static int cmd_help(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "run", cmd_run },	    { "gateway", cmd_gateway }, { "policy", cmd_policy },
	{ "audit", cmd_audit },	    { "ctl", cmd_ctl },		{ "why", cmd_why },
	{ "ca", cmd_ca },	    { "doctor", cmd_doctor },	{ "ps", cmd_ps },
	{ "inspect", cmd_inspect }, { "stop", cmd_stop },	{ "kill", cmd_kill },
	{ "rm", cmd_rm },	    { "exec", cmd_exec },	{ "shell", cmd_shell },
	{ "cp", cmd_cp },	    { "logs", cmd_logs },	{ "attach", cmd_attach },
	{ "metrics", cmd_metrics }, { "version", cmd_version }, { "--version", cmd_version },
	{ "help", cmd_help },	    { "--help", cmd_help },	{ "-h", cmd_help },
};

/*
 * A caller may have closed 0, 1 or 2. What we open next would then take their
 * place, and the sandbox inherits those three.
 */
static int open_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

static int unknown(const char *word)
{
	const char *names[ARRAY_SIZE(commands)], *near;
	char quoted[80];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i].name;
	near = str_suggest(word, names, ARRAY_SIZE(names));
	log_quote(word, strlen(word), quoted, sizeof(quoted));
	log_error("no command \"%s\"%s%s%s; see: weir --help", quoted,
		  near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return 2;
}

/* "weir help policy check" is "weir policy check --help". */
static int cmd_help(int argc, char **argv)
{
	char help[] = "--help";
	char *words[] = { argv[argc > 1 ? 1 : 0], argc > 2 ? argv[2] : help, help, NULL };

	if (argc == 1 || argv[1][0] == '-') {
		fputs(usage, stdout);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (str_eq(argv[1], commands[i].name) && commands[i].run != cmd_help)
			return commands[i].run(argc > 2 ? 3 : 2, words);
	return str_eq(argv[1], "help") ? cmd_help(1, argv) : unknown(argv[1]);
}

int main(int argc, char **argv)
{
	log_setup("", LOG_LEVEL_WARN);
	wiped_heap_prepare();
	if (open_standard_descriptors() < 0) {
		log_error("a standard descriptor is closed and /dev/null cannot be opened");
		return 125;
	}
	/* Who started us may ignore the end of children; we and ours wait for them. */
	signal(SIGCHLD, SIG_DFL);
	if (argc < 2) {
		fputs(usage, stderr);
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (str_eq(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	return unknown(argv[1]);
}
