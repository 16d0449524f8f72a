/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy: the list of its subcommands, and the smallest: show. */
#include "weir/cmd_policy.h"

#include "base/base.h"
#include "policy/policy.h"
#include "weir/policy_cmd.h"

#include <stdio.h>

static const char help_policy[] =
	"Usage: weir policy check FILE|PRESET [OPTIONS]\n"
	"       weir policy show FILE|PRESET\n"
	"       weir policy explain FILE|PRESET --to HOST:PORT[/tcp|udp] [OPTIONS]\n"
	"       weir policy diff OLD NEW [OPTIONS]\n"
	"       weir policy test FILE|PRESET CASES [OPTIONS]\n"
	"       weir policy replay FILE|PRESET RECORD|CAPTURE [OPTIONS]\n"
	"       weir policy suggest RECORD [OPTIONS]\n"
	"       weir policy nft FILE|PRESET [OPTIONS]\n"
	"\n"
	"check    is the file valid, and does it say what it seems to say?\n"
	"show     the policy expanded to plain rules\n"
	"explain  would this be allowed, by which rule, and why not by an earlier one?\n"
	"diff     what one policy allows and another does not, as sets with examples\n"
	"test     does it still decide a table of cases as expected?\n"
	"replay   what of a recorded run, or a packet capture, would it decide how?\n"
	"suggest  the smallest policy that allows what a recorded run used\n"
	"nft      its address and port part as an nftables table, printed or applied\n"
	"\n"
	"FILE is a policy or a configuration with a \"policy\" section.\n"
	"Presets: none, public_only, non_local, allow_all.\n"
	"Each has --help.\n"
	"\n"
	"Exit status: 0 valid, allowed, equivalent or as before; 1 not so (check: only with\n"
	"--strict); 2 error.\n";

static const char help_show[] =
	"Usage: weir policy show FILE|PRESET\n"
	"\n"
	"Prints the policy expanded to plain rules, in the order they are tried, as JSON\n"
	"that can be used as a policy file.\n"
	"\n"
	"Exit status: 0 shown, 2 error.\n";

int policy_cmd_complain(const char *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weir policy%s%s: ", *cmd ? " " : "", cmd);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_ERROR;
}

int policy_cmd_unknown(const char *cmd, const char *option, const char *const *names, size_t n)
{
	const char *like = str_suggest(option, names, n);

	return policy_cmd_complain(cmd, "unknown option %s%s%s%s", option,
				   like ? "; did you mean " : ", see --help", like ? like : "",
				   like ? "?" : "");
}

int policy_cmd_value(int argc, char **argv, int *i, const char *opt, const char **ret)
{
	size_t n = strlen(opt);

	if (!str_starts(argv[*i], opt) || (argv[*i][n] && argv[*i][n] != '='))
		return 0;
	if (argv[*i][n] == '=') {
		*ret = argv[*i] + n + 1;
		return 1;
	}
	if (*i + 1 >= argc)
		return -1;
	*ret = argv[++*i];
	return 1;
}

int policy_cmd_load(const char *cmd, const char *arg, const char *floor, struct policy **ret)
{
	struct policy *p = NULL, *below = NULL;
	struct conf_error err = { "" };

	if (policy_load_file_or_preset(arg, &p, &err) < 0)
		return policy_cmd_complain(cmd, "%s", err.text);
	if (floor && policy_load_file_or_preset(floor, &below, &err) < 0) {
		policy_free(p);
		return policy_cmd_complain(cmd, "--floor: %s", err.text);
	}
	if (below)
		policy_set_floor(p, below);
	*ret = p;
	return 0;
}

int policy_cmd_two(int argc, char **argv, const char *first, const char *second,
		   struct policy_cmd_args *ret)
{
	static const char *const names[] = { "--json", "--floor", "--all", "--guest" };
	const char *cmd = argv[0];
	bool replay = str_eq(cmd, "replay");
	size_t n_names = replay ? ARRAY_SIZE(names) : 2;

	for (int i = 1; i < argc; i++) {
		int r = policy_cmd_value(argc, argv, &i, "--floor", &ret->floor);

		if (r == 0 && replay)
			r = policy_cmd_value(argc, argv, &i, "--guest", &ret->guest);
		if (r < 0)
			return policy_cmd_complain(cmd, "%s needs a value", argv[i]);
		if (r)
			continue;
		if (str_eq(argv[i], "--json")) {
			ret->json = true;
		} else if (replay && str_eq(argv[i], "--all")) {
			ret->all = true;
		} else if (argv[i][0] == '-' && argv[i][1]) {
			return policy_cmd_unknown(cmd, argv[i], names, n_names);
		} else if (ret->second) {
			return policy_cmd_complain(cmd, "one argument too many: %s", argv[i]);
		} else if (ret->first) {
			ret->second = argv[i];
		} else {
			ret->first = argv[i];
		}
	}
	if (!ret->second)
		return policy_cmd_complain(cmd, "expected %s and %s, see --help", first, second);
	return 0;
}

int policy_cmd_json(const char *cmd, const json_t *o)
{
	char *text = o ? json_dumps(o, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;

	if (!text)
		return policy_cmd_complain(cmd, "cannot write the answer as JSON");
	/* jansson leaves DEL as it is; a terminal would not. */
	for (const char *s = text; *s; s++)
		if (*s == 0x7f)
			fputs("\\u007f", stdout);
		else
			putchar(*s);
	putchar('\n');
	free(text);
	return 0;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))
			return true;
	return false;
}

/* ---- show --------------------------------------------------------------------- */

static int one_operand(const char *cmd, int argc, char **argv, const char **ret)
{
	int at = 1;

	if (argc > 1 && str_eq(argv[1], "--"))
		at++;
	else if (argc > 1 && argv[1][0] == '-' && argv[1][1])
		return policy_cmd_unknown(cmd, argv[1], NULL, 0);
	if (argc != at + 1)
		return policy_cmd_complain(cmd, "expected one FILE or PRESET, see --help");
	*ret = argv[at];
	return 0;
}

static int cmd_show(int argc, char **argv)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	const char *arg = NULL;
	int r = one_operand("show", argc, argv, &arg);

	if (r)
		return r;
	if (policy_load_file_or_preset(arg, &p, &err) < 0)
		return policy_cmd_complain("show", "%s", err.text);
	r = policy_print(p, stdout);
	policy_free(p);
	if (r < 0 || fflush(stdout) != 0)
		return policy_cmd_complain("show", "cannot write: %s", strerror(r < 0 ? -r : errno));
	return 0;
}

/* ---- the command ------------------------------------------------------------------- */

int cmd_policy(int argc, char **argv)
{
	static const struct {
		const char *name, *help;
		int (*run)(int argc, char **argv);
	} cmds[] = {
		{ "check", policy_help_check, policy_cmd_check },
		{ "show", help_show, cmd_show },
		{ "explain", policy_help_explain, policy_cmd_explain },
		{ "diff", policy_help_diff, policy_cmd_diff },
		{ "test", policy_help_test, policy_cmd_test },
		{ "replay", policy_help_replay, policy_cmd_replay },
		{ "suggest", policy_help_suggest, policy_cmd_suggest },
		{ "nft", NULL, policy_cmd_nft }, /* has its own help */
	};
	const char *words[ARRAY_SIZE(cmds)], *like;

	if (argc < 2) {
		fputs(help_policy, stderr);
		return EXIT_ERROR;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++) {
		if (!str_eq(argv[1], cmds[i].name))
			continue;
		if (cmds[i].help && wants_help(argc - 1, argv + 1)) {
			fputs(cmds[i].help, stdout);
			return 0;
		}
		return cmds[i].run(argc - 1, argv + 1);
	}
	if (str_eq(argv[1], "--help") || str_eq(argv[1], "-h") || str_eq(argv[1], "help")) {
		fputs(help_policy, stdout);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++)
		words[i] = cmds[i].name;
	like = str_suggest(argv[1], words, ARRAY_SIZE(words));
	return policy_cmd_complain("", "unknown command %s%s%s%s; see: weir policy --help", argv[1],
				   like ? ", did you mean " : "", like ? like : "", like ? "?" : "");
}
