/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `weir policy`, each in a file policy_NAME.c, and what they share. */
#ifndef WEIR_POLICY_CMD_H
#define WEIR_POLICY_CMD_H

#include "base/base.h"

#include <jansson.h>

/* Exit status of explain, diff, test, replay and check --strict; the others use 0 and 2. */
enum { EXIT_ALLOW = 0, EXIT_DENY = 1, EXIT_ERROR = 2 };

/* argv[0] is the subcommand's name. Help was looked for already. Return the exit status. */
int policy_cmd_check(int argc, char **argv);
int policy_cmd_explain(int argc, char **argv);
int policy_cmd_diff(int argc, char **argv);
int policy_cmd_test(int argc, char **argv);
int policy_cmd_replay(int argc, char **argv);
int policy_cmd_suggest(int argc, char **argv);
int policy_cmd_nft(int argc, char **argv);
extern const char policy_help_check[], policy_help_explain[], policy_help_diff[],
	policy_help_test[], policy_help_replay[], policy_help_suggest[];

/* Becomes the program that does this command's work, with the same arguments; else tells why not. */
int policy_cmd_helper(const char *cmd, const char *program, char **argv);

/* "weir policy CMD: ..." on standard error; returns EXIT_ERROR. */
int policy_cmd_complain(const char *cmd, const char *fmt, ...) printf_like(2, 3);
/* The complaint about an option that is none of these. */
int policy_cmd_unknown(const char *cmd, const char *option, const char *const *names, size_t n);
/* "--opt VALUE" and "--opt=VALUE". 1: taken, 0: not this one, -1: no value. */
int policy_cmd_value(int argc, char **argv, int *i, const char *opt, const char **ret);
/* FILE or PRESET under an operator's floor (NULL: none). 0, or EXIT_ERROR with a complaint. */
struct policy;
int policy_cmd_load(const char *cmd, const char *arg, const char *floor, struct policy **ret);
/* Two operands and the options that test and replay share. 0, or EXIT_ERROR with a complaint. */
struct policy_cmd_args {
	const char *first, *second;
	const char *floor;
	const char *guest; /* only replay's */
	bool json, all;
};
int policy_cmd_two(int argc, char **argv, const char *first, const char *second,
		   struct policy_cmd_args *ret);
/* One indented object on standard output, safe for a terminal. 0, or EXIT_ERROR with a complaint. */
int policy_cmd_json(const char *cmd, const json_t *o);

#endif
