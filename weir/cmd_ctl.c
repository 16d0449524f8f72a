/* SPDX-License-Identifier: Apache-2.0 */
/* `weir ctl`: its words, and which of them asks for what. */
#include "weir/cmd_ctl_int.h"

#include <stdio.h>

static const char ctl_help[] =
	"Usage: weir ctl [--json]                          list running sandboxes\n"
	"       weir ctl NAME status [--json]\n"
	"       weir ctl NAME policy show\n"
	"       weir ctl NAME policy set FILE|PRESET [--json]\n"
	"       weir ctl NAME policy counters [--json]\n"
	"       weir ctl NAME ports [--json]\n"
	"       weir ctl NAME publish PORT [--json]\n"
	"       weir ctl NAME unpublish PORT [--end] [--json]\n"
	"       weir ctl NAME rate egress|ingress=RATE\n"
	"       weir ctl NAME metrics\n"
	"       weir ctl NAME secret ls [--json]\n"
	"       weir ctl NAME secret set ENV [--hosts HOST,... [--places PLACE,...]]\n"
	"                                    [--from FILE|-] [--json]\n"
	"       weir ctl NAME secret hosts ENV HOST,... [--json]\n"
	"       weir ctl NAME secret rm ENV [--json]\n"
	"\n"
	"NAME is a sandbox's name (weir run --name) or the id of its run.\n"
	"\n"
	"set       checks the policy and puts it in force: for new flows, names and\n"
	"          requests at once, and live flows that it does not allow are reset.\n"
	"          It takes the place of the whole policy, rules of --net-rule included;\n"
	"          the operator's floor and --net-strict stay. In force everywhere when\n"
	"          this returns 0, and nowhere otherwise\n"
	"show      the policy in force, expanded to plain rules\n"
	"counters  decisions and bytes per rule since it is in force; weir audit --rules\n"
	"          counts the whole record\n"
	"ports     the published ports and what came to them\n"
	"publish   one more, as with weir run --publish:\n"
	"          [IP:]HOST:GUEST[/tcp|/udp][,proxy]\n"
	"unpublish a port as it was published, or its host port: 8080, 8080/udp. Nothing\n"
	"          new comes in; connections go on, with --end they are reset\n"
	"rate      another rate of one direction, as with weir run --rate:\n"
	"          egress=10mbit,burst=64KiB,packets=5000; egress=none takes it away\n"
	"metrics   what status counts, as text for Prometheus\n"
	"secret    ls: names, hosts, places, sources and placeholders, never a value.\n"
	"          set: another value, read from FILE or standard input (a pipe or a\n"
	"          file, no terminal) by the tlsproxy alone; with --hosts a new secret,\n"
	"          or all of an old one. Its placeholder is printed: the environment of\n"
	"          what runs already cannot be changed. hosts: where it may go from now\n"
	"          on. rm: nowhere; its placeholder stays a violation. Each is in force\n"
	"          when this returns 0, for requests that begin then, and otherwise not\n"
	"          at all.\n"
	"          Needs a sandbox whose TLS is read (--tls-intercept, or a first secret)\n"
	"\n"
	"Only the user who runs the sandbox, and root, may ask; nothing inside it can.\n"
	"Exit status: 0 done, 1 refused or not found, 2 usage.\n";

/* --hosts, --places, --from */
static const char *secret_hosts, *secret_places, *secret_from;

static const struct verb {
	const char *word, *second; /* "policy" "set" */
	bool has_arg, has_json;
	int (*fn)(const struct ctl_run *run, const struct ctl_words *w);
} verbs[] = {
	{ "status", NULL, false, true, ctl_do_status },
	{ "policy", "show", false, false, ctl_do_show },
	{ "policy", "set", true, true, ctl_do_set },
	{ "policy", "counters", false, true, ctl_do_counters },
	{ "ports", NULL, false, true, ctl_do_ports },
	{ "publish", NULL, true, true, ctl_do_publish },
	{ "unpublish", NULL, true, true, ctl_do_unpublish },
	{ "rate", NULL, true, true, ctl_do_rate },
	{ "metrics", NULL, false, false, ctl_do_metrics },
};

static int unknown(char **words, size_t n)
{
	static const char *const firsts[] = { "status",	   "policy", "ports",	"publish",
					      "unpublish", "rate",   "metrics", "secret" };
	static const char *const seconds[] = { "show", "set", "counters" };
	bool second = str_eq(words[1], "policy");
	const char *word = second ? n > 2 ? words[2] : "" : words[1];
	const char *near = second ? str_suggest(word, seconds, ARRAY_SIZE(seconds))
				  : str_suggest(word, firsts, ARRAY_SIZE(firsts));
	char quoted[80];

	if (second && n == 2)
		return ctl_complain(CTL_USAGE,
				    "policy show, policy set FILE or policy counters? see: "
				    "weir ctl --help");
	log_quote(word, strlen(word), quoted, sizeof(quoted));
	return ctl_complain(CTL_USAGE, "no \"%s\"%s%s%s; see: weir ctl --help", quoted,
			    near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* A verb without its sandbox, or a sandbox and nothing about it. */
static int one_word(const char *word)
{
	struct ctl_run run;
	char quoted[80];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_eq(word, verbs[i].word))
			return ctl_complain(
				CTL_USAGE,
				"%s of which sandbox? weir ctl lists them; then weir ctl "
				"NAME %s",
				word, word);
	r = ctl_find(word, &run);
	log_quote(word, strlen(word), quoted, sizeof(quoted));
	return r ? r
		 : ctl_complain(
			   CTL_USAGE, "what of %s? status, policy, ports, publish, unpublish, rate, metrics or secret; see: weir ctl --help",
			   quoted);
}

/* words[0] is the sandbox. */
static int run_verb(char **words, size_t n, struct ctl_words *w)
{
	struct ctl_run run;
	int r;

	if (n == 1)
		return one_word(words[0]);
	if (str_eq(words[1], "secret")) {
		r = ctl_find(words[0], &run);
		return r ? r
			 : ctl_secret(&run, words + 2, n - 2, secret_hosts, secret_places,
				      secret_from, w->json);
	}
	if (secret_hosts || secret_places || secret_from)
		return ctl_complain(CTL_USAGE, "--hosts, --places and --from are for secret set");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];
		size_t used = v->second ? 3 : 2;

		if (!str_eq(words[1], v->word) ||
		    (v->second && (n < 3 || !str_eq(words[2], v->second))))
			continue;
		if (n != used + v->has_arg)
			return ctl_complain(CTL_USAGE, "%s %s: %s; see: weir ctl --help", v->word,
					    v->second ? v->second : "",
					    n > used + v->has_arg ? "one word too many"
					    : v->second		  ? "a FILE or PRESET is missing"
					    : str_eq(v->word, "rate") ? "a RATE is missing"
								      : "a PORT is missing");
		if (w->end && !str_eq(v->word, "unpublish"))
			return ctl_complain(CTL_USAGE, "--end is for unpublish");
		if (w->json && !v->has_json)
			return ctl_complain(CTL_USAGE, "--json does not go with %s",
					    v->second ? "policy show, which is JSON already"
						      : v->word);
		r = ctl_find(words[0], &run);
		w->arg = words[used];
		return r ? r : v->fn(&run, w);
	}
	return unknown(words, n);
}

static int unknown_option(const char *arg)
{
	static const char *const names[] = { "--json",	"--help",   "--end",
					     "--hosts", "--places", "--from" };
	const char *near = str_suggest(arg, names, ARRAY_SIZE(names));
	char quoted[80];

	log_quote(arg, strlen(arg), quoted, sizeof(quoted));
	return ctl_complain(CTL_USAGE, "unknown option %s%s%s%s; see: weir ctl --help", quoted,
			    near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

/* "--hosts X" or "--hosts=X": how many words it takes; 0: it is none of these. */
static int secret_option(int left, char **argv)
{
	static const struct {
		const char *name;
		const char **to;
	} options[] = {
		{ "--hosts", &secret_hosts },
		{ "--places", &secret_places },
		{ "--from", &secret_from },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		size_t n = strlen(options[i].name);

		if (strncmp(argv[0], options[i].name, n) != 0)
			continue;
		if (argv[0][n] == '=') {
			*options[i].to = argv[0] + n + 1;
			return 1;
		}
		if (!argv[0][n] && left > 1) {
			*options[i].to = argv[1];
			return 2;
		}
	}
	return 0;
}

int cmd_ctl(int argc, char **argv)
{
	bool only_words = false;
	int used;
	char *words[6] = { 0 };
	struct ctl_words w = { 0 };
	size_t n = 0;
	int r;

	for (int i = 1; i < argc; i++) {
		if (!only_words && (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))) {
			fputs(ctl_help, stdout);
			return CTL_DONE;
		}
		if (!only_words && str_eq(argv[i], "--"))
			only_words = true;
		else if (!only_words && str_eq(argv[i], "--json"))
			w.json = true;
		else if (!only_words && str_eq(argv[i], "--end"))
			w.end = true;
		else if (!only_words && (used = secret_option(argc - i, argv + i)) > 0)
			i += used - 1;
		else if (!only_words && argv[i][0] == '-' && argv[i][1])
			return unknown_option(argv[i]);
		else if (n + 1 < ARRAY_SIZE(words))
			words[n++] = argv[i];
		else
			return ctl_complain(CTL_USAGE, "too many words; see: weir ctl --help");
	}
	r = n ? run_verb(words, n, &w) : ctl_list_all(w.json);
	if (fflush(stdout) != 0 && r == CTL_DONE)
		r = ctl_complain(CTL_REFUSED, "cannot write: %s", strerror(errno));
	return r;
}
