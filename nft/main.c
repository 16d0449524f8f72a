/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir policy nft: the address and port part of a policy as an nftables table,
 * printed or applied. A program of its own because libnftnl is GPL.
 */
#include "nft/ruleset.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_ERROR = 2 };
/* A table of addresses is read whole. */
#define NAMES_FILE_MAX ((size_t)64 << 20)
#define GATEWAYS_MAX 16

static const char help[] =
	"Usage: weir policy nft FILE|PRESET [OPTIONS]\n"
	"\n"
	"Prints the address and port part of a policy as an nftables table, for `nft -f`.\n"
	"What the kernel cannot know (requests, names) is kept on the safe side and told.\n"
	"\n"
	"  --apply            put it in place instead, whole or not at all (as root)\n"
	"  --netns PID|PATH   ... in that network namespace\n"
	"  --table NAME       name of the inet table (weir)\n"
	"  --iface NAME       for what is forwarded from and to this interface; else the\n"
	"                     table stands in the sandbox's own namespace (output, input)\n"
	"  --gateway ADDR     an address of group host; may be given more than once\n"
	"  --names FILE       lines of NAME ADDR [SECONDS]: what the sets of names hold;\n"
	"                     later ones: nft add element inet weir name0_v4 \\\n"
	"                                   '{ ADDR timeout 60s }'\n"
	"\n"
	"A rule by name becomes a pair of sets, nameN_v4 and nameN_v6, N being the rule's\n"
	"number. Each rule has a counter and says which rule of the policy it is from.\n"
	"Stricter than weir: Teredo and ISATAP addresses are refused. Weaker: a name's\n"
	"address is anybody's who shares it.\n"
	"\n"
	"Exit status: 0 done, 2 error.\n"
	"\n"
	"Example\n"
	"  weir policy nft agent.json --gateway 192.0.0.1 --apply --netns 4711\n";

struct arguments {
	const char *policy, *netns, *table, *iface, *names;
	bool apply;
	struct ip_addr gateways[GATEWAYS_MAX];
	size_t n_gateways;
};

static int complain(const char *fmt, ...) printf_like(1, 2);

static int complain(const char *fmt, ...)
{
	va_list ap;

	fputs("weir policy nft: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_ERROR;
}

static void note(void *user, int rule, const char *id, const char *text)
{
	(void)user;
	fprintf(stderr, "weir policy nft: rule %d%s%s%s %s\n", rule, id ? " (" : "", id ? id : "",
		id ? ")" : "", text);
}

/* ---- command line --------------------------------------------------------------- */

static int add_gateway(struct arguments *a, const char *text)
{
	const char *why;

	if (a->n_gateways == GATEWAYS_MAX)
		return complain("more than %d times --gateway", GATEWAYS_MAX);
	if (ip_parse(text, strlen(text), &a->gateways[a->n_gateways], &why) < 0)
		return complain("--gateway %s: %s", text, why);
	a->n_gateways++;
	return 0;
}

/* Table and interface names go into texts and messages: letters, digits, "_", "-", ".". */
static bool is_plain(const char *s, size_t max)
{
	size_t len = strlen(s);

	return len > 0 && len < max &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == len;
}

static int unknown_option(const char *arg)
{
	static const char *const names[] = { "--apply", "--netns", "--table",  "--iface",
					     "--names", "--help",  "--gateway" };
	const char *near = str_suggest(arg, names, ARRAY_SIZE(names));

	return complain("unknown option %s%s%s%s", arg, near ? "; did you mean " : ", see --help",
			near ? near : "", near ? "?" : "");
}

static int parse_args(int argc, char **argv, struct arguments *a)
{
	const char *gateway = NULL;
	const struct {
		const char *name;
		const char **to;
	} options[] = { { "--netns", &a->netns },
			{ "--table", &a->table },
			{ "--iface", &a->iface },
			{ "--names", &a->names },
			{ "--gateway", &gateway } };

	for (int i = 1; i < argc; i++) {
		bool taken = str_eq(argv[i], "--apply");

		a->apply |= taken;
		for (size_t k = 0; k < ARRAY_SIZE(options) && !taken; k++) {
			size_t len = strlen(options[k].name);

			if (!str_starts(argv[i], options[k].name) ||
			    (argv[i][len] && argv[i][len] != '='))
				continue;
			taken = true;
			if (!argv[i][len] && i + 1 == argc)
				return complain("%s needs a value", argv[i]);
			*options[k].to = argv[i][len] ? argv[i] + len + 1 : argv[++i];
		}
		if (gateway && add_gateway(a, gateway))
			return EXIT_ERROR;
		gateway = NULL;
		if (taken)
			continue;
		if (argv[i][0] == '-' && argv[i][1])
			return unknown_option(argv[i]);
		if (a->policy)
			return complain("one argument too many: %s", argv[i]);
		a->policy = argv[i];
	}
	if (!a->policy)
		return complain("which policy? give a FILE or PRESET, see --help");
	if (!is_plain(a->table, sizeof(((struct nft_ruleset *)0)->table)))
		return complain("--table %s: 1 to 31 letters, digits, \"_\", \"-\", \".\"", a->table);
	if (a->iface && !is_plain(a->iface, sizeof(((struct nft_ruleset *)0)->iface)))
		return complain("--iface %s is no interface's name", a->iface);
	if (a->netns && !a->apply)
		return complain("--netns says where to --apply");
	return 0;
}

/* ---- names --------------------------------------------------------------------------- */

/* The next word of a line; false at its end. */
static bool next_word(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
		(*at)++;
	*ret = *at;
	while (*at < end && **at != ' ' && **at != '\t' && **at != '\r')
		(*at)++;
	*ret_len = (size_t)(*at - *ret);
	return *ret_len > 0;
}

static int parse_name_line(const char *line, const char *end, struct nft_name *ret, const char **why)
{
	const char *at = line, *word;
	uint64_t seconds = 0;
	size_t len;

	*ret = (struct nft_name){ 0 };
	*why = "expected NAME ADDR [SECONDS]";
	if (!next_word(&at, end, &word, &len) || name_parse(word, len, &ret->name, why) < 0)
		return -EINVAL;
	*why = "expected NAME ADDR [SECONDS]";
	if (!next_word(&at, end, &word, &len) || ip_parse(word, len, &ret->addr.addr, why) < 0)
		return -EINVAL;
	if (next_word(&at, end, &word, &len)) {
		*why = "SECONDS is 1 to 4294967";
		if (uint_parse(word, len, 1, 4294967, &seconds, why) < 0)
			return -EINVAL;
		ret->addr.seconds = (uint32_t)seconds;
	}
	*why = "more than NAME ADDR SECONDS";
	return next_word(&at, end, &word, &len) ? -EINVAL : 0;
}

static int read_names(const char *path, struct nft_name **ret, size_t *ret_n)
{
	struct buf text = BUF_INIT(NAMES_FILE_MAX);
	struct nft_name *names = NULL;
	size_t n = 0, size = 0, number = 0;
	int r = file_read(path, NAMES_FILE_MAX, &text);
	const char *at = NULL, *end = NULL, *why;

	if (r < 0)
		complain("%s: %s", path, strerror(-r));
	if (r == 0 && text.len) {
		at = (const char *)buf_at(&text);
		end = at + text.len;
	}
	for (; r == 0 && at < end; at++) {
		const char *eol = memchr(at, '\n', (size_t)(end - at));

		eol = eol ? eol : end;
		number++;
		if (at < eol && *at != '#') {
			if (n == size) {
				struct nft_name *more;

				size = size ? size * 2 : 64;
				more = realloc(names, size * sizeof(*names));
				r = more ? 0 : -ENOMEM;
				names = more ? more : names;
			}
			if (r == 0 && (r = parse_name_line(at, eol, &names[n], &why)) < 0)
				complain("%s:%zu: %s", path, number, why);
			n++;
		}
		at = eol;
	}
	buf_fini(&text);
	*ret = names;
	*ret_n = n;
	return r;
}

/* ---- doing it ---------------------------------------------------------------------- */

static int enter(const char *netns)
{
	char path[64];
	bool is_pid = netns[0] && strspn(netns, "0123456789") == strlen(netns);
	cleanup_close int fd = -1;

	if (is_pid)
		snprintf(path, sizeof(path), "/proc/%.20s/ns/net", netns);
	fd = open(is_pid ? path : netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain("--netns %s: %s", netns, strerror(errno));
	if (setns(fd, CLONE_NEWNET) < 0)
		return complain("--netns %s: cannot enter: %s", netns, strerror(errno));
	return 0;
}

static int run(const struct arguments *a)
{
	struct nft_ruleset rs = { 0 };
	struct nft_facts facts = { .gateways = a->gateways, .n_gateways = a->n_gateways };
	struct nft_name *names = NULL;
	struct conf_error err = { "" };
	struct policy *p = NULL;
	int r = 0, status = EXIT_ERROR;

	snprintf(rs.table, sizeof(rs.table), "%s", a->table);
	snprintf(rs.iface, sizeof(rs.iface), "%s", a->iface ? a->iface : "");
	if (policy_load_file_or_preset(a->policy, &p, &err) < 0)
		return complain("%s", err.text);
	if (a->names)
		r = read_names(a->names, &names, &facts.n_names);
	facts.names = names;
	if (r == 0) {
		r = nft_ruleset_make(p, &facts, note, NULL, &rs);
		if (r < 0)
			complain("%s", strerror(-r));
	}
	if (r == 0 && !a->apply) {
		r = nft_print(&rs, stdout);
		if (fflush(stdout) != 0 || r < 0)
			r = complain("cannot write: %s", strerror(errno));
	} else if (r == 0 && (!a->netns || enter(a->netns) == 0)) {
		r = nft_apply(&rs, &err);
		if (r < 0)
			complain("%s", err.text);
	} else {
		r = -EINVAL;
	}
	if (r == 0)
		status = EXIT_DONE;
	nft_ruleset_fini(&rs);
	free(names);
	policy_free(p);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments a = { .table = "weir" };

	for (int i = 1; i < argc; i++)
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			fputs(help, stdout);
			return EXIT_DONE;
		}
	return parse_args(argc, argv, &a) ? EXIT_ERROR : run(&a);
}
