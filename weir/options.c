/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `weir run` and `weir gateway`: which flags, which values, where the command
 * starts. "--flag value" and "--flag=value" are the same; a value that begins
 * with '-' needs the second form, so that a forgotten value is noticed. What a value
 * means is not judged here.
 */
#include "weir/config_internal.h"

enum { FLAG_VALUE = 1, FLAG_REPEAT = 2, FLAG_RUN = 4, FLAG_GATEWAY = 8, FLAG_EMPTY = 16 };

static const struct {
	const char *name;
	unsigned how;
} flags[OPTIONS] = {
	[OPTION_BACKEND] = { "--backend", FLAG_VALUE | FLAG_RUN },
	[OPTION_CONFIG] = { "--config", FLAG_VALUE },
	[OPTION_POLICY] = { "--policy", FLAG_VALUE },
	[OPTION_NET] = { "--net", FLAG_VALUE },
	[OPTION_NET_RULE] = { "--net-rule", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_NET_DEFAULT_EGRESS] = { "--net-default-egress", FLAG_VALUE },
	[OPTION_NET_DEFAULT_INGRESS] = { "--net-default-ingress", FLAG_VALUE },
	[OPTION_NO_NET] = { "--no-net", 0 },
	[OPTION_NET_STRICT] = { "--net-strict", 0 },
	[OPTION_POLICY_FLOOR] = { "--policy-floor", FLAG_VALUE },
	[OPTION_OBSERVE] = { "--observe", 0 },
	[OPTION_SECRET] = { "--secret", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_SECRET_FILE] = { "--secret-file", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_SECRET_FD] = { "--secret-fd", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_SECRET_COMMAND] = { "--secret-command", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_SECRET_VIOLATION] = { "--secret-violation", FLAG_VALUE },
	[OPTION_TLS_INTERCEPT] = { "--tls-intercept", 0 },
	[OPTION_TLS_INTERCEPT_PORT] = { "--tls-intercept-port", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_HTTP_PROXY_PORT] = { "--http-proxy-port", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_TLS_BYPASS] = { "--tls-bypass", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_UPSTREAM_CA] = { "--upstream-ca", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_NO_HTTP2] = { "--no-http2", 0 },
	[OPTION_TLS_CA_CERT] = { "--tls-ca-cert", FLAG_VALUE },
	[OPTION_TLS_CA_KEY] = { "--tls-ca-key", FLAG_VALUE },
	[OPTION_TLS_CA_HOURS] = { "--tls-ca-hours", FLAG_VALUE },
	[OPTION_TLS_NAME_CONSTRAINTS] = { "--tls-name-constraints", FLAG_VALUE },
	[OPTION_TLS_NO_VERIFY] = { "--tls-no-verify-upstream", 0 },
	[OPTION_TLS_NO_VERIFY_FOR] = { "--tls-no-verify-upstream-for", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_TLS_UPSTREAM_CA_FOR] = { "--tls-upstream-ca-for", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_TLS_CLIENT_CERT] = { "--tls-client-cert", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_TLS_PIN] = { "--tls-pin", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_TRUST_HOST_CAS] = { "--trust-host-cas", 0 },
	[OPTION_DNS_SERVER] = { "--dns-server", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_DNS_RECORD] = { "--dns-record", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_DNS_ANSWERS] = { "--dns-answers", FLAG_VALUE },
	[OPTION_DNS_BUDGET] = { "--dns-budget", FLAG_VALUE },
	[OPTION_DNS_SERVE_STALE] = { "--dns-serve-stale", FLAG_VALUE },
	[OPTION_DNS_DOH] = { "--dns-doh", FLAG_VALUE },
	[OPTION_PUBLISH] = { "--publish", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_PROXY] = { "--proxy", FLAG_VALUE },
	[OPTION_PROXY_AUTH] = { "--proxy-auth", FLAG_VALUE },
	[OPTION_PROXY_BYPASS] = { "--proxy-bypass", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_PROXY_NAMES] = { "--proxy-names", 0 },
	[OPTION_PROXY_UDP] = { "--proxy-udp", FLAG_VALUE },
	[OPTION_IPV4_POOL] = { "--ipv4-pool", FLAG_VALUE },
	[OPTION_IPV6_POOL] = { "--ipv6-pool", FLAG_VALUE },
	[OPTION_DNS_POOL] = { "--dns-pool", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_MTU] = { "--mtu", FLAG_VALUE },
	[OPTION_MAC] = { "--mac", FLAG_VALUE | FLAG_RUN },
	[OPTION_NO_DHCP] = { "--no-dhcp", FLAG_GATEWAY },
	[OPTION_AUDIT] = { "--audit", FLAG_VALUE },
	[OPTION_CAPTURE] = { "--capture", FLAG_VALUE },
	[OPTION_MAX_CONNECTIONS] = { "--max-connections", FLAG_VALUE },
	[OPTION_MAX_UDP_FLOWS] = { "--max-udp-flows", FLAG_VALUE },
	[OPTION_MAX_ICMP_FLOWS] = { "--max-icmp-flows", FLAG_VALUE },
	[OPTION_MAX_HALF_OPEN] = { "--max-half-open", FLAG_VALUE },
	[OPTION_MEMORY_BUDGET] = { "--memory-budget", FLAG_VALUE },
	[OPTION_RATE] = { "--rate", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_NAME] = { "--name", FLAG_VALUE },
	[OPTION_DETACH] = { "--detach", FLAG_RUN },
	[OPTION_INTERACTIVE] = { "--interactive", FLAG_RUN },
	[OPTION_TTY] = { "--tty", FLAG_RUN },
	[OPTION_LABEL] = { "--label", FLAG_VALUE | FLAG_REPEAT },
	[OPTION_MAX_DURATION] = { "--max-duration", FLAG_VALUE },
	[OPTION_IDLE_TIMEOUT] = { "--idle-timeout", FLAG_VALUE },
	[OPTION_KERNEL] = { "--kernel", FLAG_VALUE | FLAG_RUN },
	[OPTION_MODULES] = { "--modules", FLAG_VALUE | FLAG_RUN },
	[OPTION_ROOTFS] = { "--rootfs", FLAG_VALUE | FLAG_RUN },
	[OPTION_IMAGE] = { "--image", FLAG_VALUE | FLAG_RUN },
	[OPTION_IMAGE_NAME] = { "--image-name", FLAG_VALUE | FLAG_RUN },
	[OPTION_ENTRYPOINT] = { "--entrypoint", FLAG_VALUE | FLAG_RUN | FLAG_EMPTY },
	[OPTION_VOLUME] = { "--volume", FLAG_VALUE | FLAG_REPEAT | FLAG_RUN },
	[OPTION_PATCH] = { "--patch", FLAG_VALUE | FLAG_REPEAT | FLAG_RUN },
	[OPTION_MEMORY] = { "--memory", FLAG_VALUE | FLAG_RUN },
	[OPTION_CPUS] = { "--cpus", FLAG_VALUE | FLAG_RUN },
	[OPTION_ENV] = { "--env", FLAG_VALUE | FLAG_REPEAT | FLAG_RUN },
	[OPTION_USER] = { "--user", FLAG_VALUE | FLAG_RUN },
	[OPTION_WORKDIR] = { "--workdir", FLAG_VALUE | FLAG_RUN },
	[OPTION_HOSTNAME] = { "--hostname", FLAG_VALUE | FLAG_RUN },
	[OPTION_RLIMIT] = { "--rlimit", FLAG_VALUE | FLAG_REPEAT | FLAG_RUN },
	[OPTION_LINK] = { "--link", FLAG_VALUE | FLAG_GATEWAY },
	[OPTION_CA_OUT] = { "--ca-out", FLAG_VALUE | FLAG_GATEWAY },
	[OPTION_ENV_OUT] = { "--env-out", FLAG_VALUE | FLAG_GATEWAY },
	[OPTION_JSON] = { "--json", 0 },
	[OPTION_VERBOSE] = { "--verbose", FLAG_REPEAT },
	[OPTION_QUIET] = { "--quiet", 0 },
	[OPTION_HELP] = { "--help", FLAG_REPEAT },
};

const char *option_name(enum option o)
{
	return flags[o].name;
}

void options_fini(struct options *o)
{
	for (size_t i = 0; i < OPTIONS; i++)
		free(o->of[i].v);
	*o = (struct options){ 0 };
}

static const char *command_name(enum config_command c)
{
	return c == CONFIG_GATEWAY ? "gateway" : "run";
}

static bool belongs(enum option o, enum config_command c)
{
	unsigned only = flags[o].how & (FLAG_RUN | FLAG_GATEWAY);

	return !only || only == (c == CONFIG_GATEWAY ? FLAG_GATEWAY : FLAG_RUN);
}

static int unknown(enum config_command c, const char *arg, size_t len, struct conf_error *err)
{
	const char *names[OPTIONS], *near;
	char word[64], quoted[128];
	size_t n = 0;

	for (size_t i = 0; i < OPTIONS; i++)
		if (belongs((enum option)i, c))
			names[n++] = flags[i].name;
	log_quote(arg, len, quoted, sizeof(quoted));
	memcpy(word, arg, MIN(len, sizeof(word) - 1));
	word[MIN(len, sizeof(word) - 1)] = 0;
	near = str_suggest(word, names, n);
	if (near)
		conf_error_set(err, "%s: unknown flag; did you mean %s?", quoted, near);
	else
		conf_error_set(err, "%s: unknown flag; see weir %s --help", quoted, command_name(c));
	return -EINVAL;
}

/* OPTIONS: none of ours. None of them takes a value. */
static enum option letter(char c)
{
	static const struct {
		char letter;
		enum option option;
	} letters[] = {
		{ 'd', OPTION_DETACH },	 { 'i', OPTION_INTERACTIVE }, { 't', OPTION_TTY },
		{ 'v', OPTION_VERBOSE }, { 'q', OPTION_QUIET },	      { 'h', OPTION_HELP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
		if (letters[i].letter == c)
			return letters[i].option;
	return OPTIONS;
}

/* "-dit" */
static bool are_letters(const char *arg)
{
	if (arg[0] != '-' || !arg[1] || !arg[2])
		return false;
	while (*++arg)
		if (letter(*arg) == OPTIONS)
			return false;
	return true;
}

/* OPTIONS: none of ours. */
static enum option find(const char *arg, size_t len)
{
	if (len == 2 && arg[1] != '-')
		return letter(arg[1]);
	for (size_t i = 0; i < OPTIONS; i++)
		if (strlen(flags[i].name) == len && memcmp(arg, flags[i].name, len) == 0)
			return (enum option)i;
	return OPTIONS;
}

static int add(struct options *o, enum option i, const char *value, struct conf_error *err)
{
	const char **more;

	if (o->of[i].n && !(flags[i].how & FLAG_REPEAT)) {
		conf_error_set(err, "%s: given twice; it may stand only once", flags[i].name);
		return -EINVAL;
	}
	more = reallocarray(o->of[i].v, o->of[i].n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	o->of[i].v = more;
	o->of[i].v[o->of[i].n++] = value;
	return 0;
}

static int looks_like_flag(const char *flag, const char *value, struct conf_error *err)
{
	char quoted[80];

	log_quote(value, strlen(value), quoted, sizeof(quoted));
	conf_error_set(
		err,
		"%s: needs a value, and \"%s\" looks like a flag; if it is the value, write %s=%s",
		flag, quoted, flag, quoted);
	return -EINVAL;
}

/* One flag at argv[*at]; leaves *at on its last word. */
static int parse_one(struct options *o, enum config_command c, int argc, char **argv, int *at,
		     struct conf_error *err)
{
	const char *arg = argv[*at], *value = "";
	size_t len = strcspn(arg, "=");
	enum option i = find(arg, len);

	if (are_letters(arg)) {
		char one[] = "-x", *word = one;
		int r = 0, none = 0;

		for (const char *p = arg + 1; r == 0 && *p; p++) {
			one[1] = *p;
			r = parse_one(o, c, 1, &word, &none, err);
		}
		return r;
	}
	if (i == OPTIONS)
		return unknown(c, arg, len, err);
	if (!belongs(i, c)) {
		conf_error_set(err, "%s: a flag of weir %s, not of weir %s", flags[i].name,
			       command_name(c == CONFIG_RUN ? CONFIG_GATEWAY : CONFIG_RUN),
			       command_name(c));
		return -EINVAL;
	}
	if (!(flags[i].how & FLAG_VALUE)) {
		if (arg[len] == '=') {
			conf_error_set(err, "%s: takes no value", flags[i].name);
			return -EINVAL;
		}
		return add(o, i, value, err);
	}
	if (arg[len] == '=')
		value = arg + len + 1;
	else if (*at + 1 < argc && argv[*at + 1][0] != '-')
		value = argv[++*at];
	else if (*at + 1 < argc && !str_eq(argv[*at + 1], "--"))
		return looks_like_flag(flags[i].name, argv[*at + 1], err);
	if (!value[0] && !((flags[i].how & FLAG_EMPTY) && arg[len] == '=')) {
		conf_error_set(err, "%s: needs a value", flags[i].name);
		return -EINVAL;
	}
	return add(o, i, value, err);
}

int options_no_command(struct conf_error *err)
{
	conf_error_set(err,
		       "there is no command to run: weir run [OPTIONS] -- COMMAND [ARGUMENT...]");
	return -EINVAL;
}

/*
 * What stands behind the flags: a command for `run`, unless an image has one
 * (config_check_machine()), nothing for `gateway`.
 */
static int check_rest(enum config_command c, int argc, char **argv, int at, struct conf_error *err)
{
	char quoted[80];

	if (c == CONFIG_RUN && at < argc && !argv[at][0])
		return options_no_command(err);
	if (c == CONFIG_GATEWAY && at < argc) {
		log_quote(argv[at], strlen(argv[at]), quoted, sizeof(quoted));
		conf_error_set(err,
			       "\"%s\": nothing belongs behind the flags: weir gateway --link LINK "
			       "[OPTIONS]; weir run is for commands",
			       quoted);
		return -EINVAL;
	}
	return 0;
}

int options_parse(enum config_command command, int argc, char **argv, struct options *ret,
		  struct conf_error *err)
{
	struct options o = { 0 };
	int r = 0, i;

	for (i = 0; i < argc && r == 0; i++) {
		if (str_eq(argv[i], "--")) {
			i++;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1])
			break;
		r = parse_one(&o, command, argc, argv, &i, err);
		/* Whoever asks for help may not know the rest of the line either. */
		if (r == 0 && o.of[OPTION_HELP].n)
			r = -ECANCELED;
	}
	if (r == 0)
		r = check_rest(command, argc, argv, i, err);
	if (r < 0) {
		options_fini(&o);
		return r;
	}
	o.command = command == CONFIG_RUN ? argv + i : NULL;
	*ret = o;
	return 0;
}
