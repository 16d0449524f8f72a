/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir ctl`: lists running sandboxes and asks one of them for something. A
 * policy is read and checked here, where its file is, and sent in the one form
 * that policy_print() gives it; the run checks it once more.
 */
#include "weir/cmd_ctl.h"

#include "audit/audit.h"
#include "policy/policy.h"
#include "weir/ctl_socket.h"
#include "weir/publish.h"
#include "weir/config.h"
#include "weir/sealed.h"
#include "weir/stats.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Above what the run gives itself, which then says why. */
#define SET_TIMEOUT_S 900

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

static const char *speaker = "ctl";

void ctl_speak_as(const char *command)
{
	speaker = command;
}

int ctl_complain(int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weir %s: ", speaker);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* --end */
static bool end_flows;
/* --hosts, --places, --from */
static const char *secret_hosts, *secret_places, *secret_from;

/* ---- asking --------------------------------------------------------------------- */

/* One request (taken over), one reply: *ret_reply is the caller's, *ret_fd too (-1: none). */
static int ask_with(const struct ctl_run *run, json_t *request, int fd, json_t **ret_reply,
		    int *ret_fd)
{
	const struct timeval loading = { .tv_sec = SET_TIMEOUT_S };
	cleanup_close int sock = -1, out = -1;
	cleanup_free char *words = json_dumps(request, JSON_COMPACT);
	char text[CTL_MESSAGE_MAX];
	json_t *o;
	size_t n_fds = 0;
	ssize_t n;
	int r;

	json_decref(request);
	if (!words)
		return ctl_complain(CTL_REFUSED, "the request is not text");
	r = ctl_connect(run, &sock);

	if (r < 0)
		return ctl_complain(CTL_REFUSED, "%s: cannot be reached: %s", run->name,
				    strerror(-r));
	/* A policy is loaded by three processes before there is an answer. */
	if (fd >= 0)
		(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &loading, sizeof(loading));
	r = ipc_send(sock, words, strlen(words), &fd, fd >= 0);
	/* It may have said why it does not listen before we were done. */
	n = r < 0 && r != -EPIPE ? r : ipc_recv(sock, text, sizeof(text), &out, 1, &n_fds);
	if (n <= 0)
		return ctl_complain(CTL_REFUSED, "%s: %s", run->name,
				    n == -EAGAIN ? "does not answer"
				    : n < 0	 ? strerror((int)-n)
						 : "ended before it answered");
	o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_true(json_object_get(o, "ok"))) {
		const char *why = json_string_value(json_object_get(o, "error"));
		char quoted[1024];

		r = ctl_complain(CTL_REFUSED, "%s: %s", run->name,
				 why ? log_quote(why, strlen(why), quoted, sizeof(quoted))
				     : "an answer that cannot be read");
		json_decref(o);
		return r;
	}
	*ret_reply = o;
	*ret_fd = steal_fd(&out);
	return 0;
}

int ctl_ask(const struct ctl_run *run, json_t *request, int fd, json_t **ret)
{
	int out = -1, r = ask_with(run, request, fd, ret, &out);

	if (r == 0)
		fd_close(out);
	return r;
}

int ctl_ask_for(const struct ctl_run *run, json_t *request, json_t **ret, int *ret_fd)
{
	return ask_with(run, request, -1, ret, ret_fd);
}

static int ask(const struct ctl_run *run, const char *verb, int fd, json_t **ret_reply, int *ret_fd)
{
	return ask_with(run, json_pack("{s:s}", "verb", verb), fd, ret_reply, ret_fd);
}

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Printable, whatever the other side sent; in one of a few buffers. */
const char *ctl_text(const json_t *o, const char *key)
{
	static char out[4][256];
	static unsigned at;
	const char *s = json_string_value(json_object_get(o, key));
	char *buf = out[at++ % ARRAY_SIZE(out)];

	return log_quote(s ? s : "", s ? strlen(s) : 0, buf, sizeof(out[0]));
}

/* ---- verbs ----------------------------------------------------------------------- */

int ctl_print_json(json_t *o)
{
	json_object_del(o, "ok");
	if (json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return ctl_complain(CTL_REFUSED, "cannot write the answer");
	putchar('\n');
	return CTL_DONE;
}

/* Asks for what needs no descriptor. *ret: the answer, or NULL: there is none, or it was printed as JSON. */
static int answer(const struct ctl_run *run, json_t *request, bool json, json_t **ret)
{
	json_t *o = NULL;
	int fd = -1, r = ask_with(run, request, -1, &o, &fd);

	*ret = NULL;
	if (r)
		return r;
	fd_close(fd);
	if (!json) {
		*ret = o;
		return CTL_DONE;
	}
	r = ctl_print_json(o);
	json_decref(o);
	return r;
}

/* What is run: a command, or a link to somebody else's machine. */
static const char *subject_of(const json_t *o)
{
	return ctl_text(o, json_object_get(o, "link") ? "link" : "command");
}

static void print_status(const json_t *o)
{
	long long s = number(o, "uptime_ms") / 1000;
	const json_t *net;

	printf("%s (%s)\n", ctl_text(o, "name"), ctl_text(o, "id"));
	printf("  %-8s %s, for %lld:%02lld:%02lld, supervised by process %lld\n",
	       json_object_get(o, "link") ? "link" : "command", subject_of(o), s / 3600,
	       s / 60 % 60, s % 60, number(o, "pid"));
	printf("  policy   generation %lld, %lld rule%s, %s%s%s\n", number(o, "generation"),
	       number(o, "rules"), number(o, "rules") == 1 ? "" : "s", ctl_text(o, "policy"),
	       json_is_true(json_object_get(o, "floor")) ? ", above the operator's floor" : "",
	       json_is_true(json_object_get(o, "observe")) ? ", only observed" : "");
	printf("  so far   %lld allowed, %lld denied, %lld failed, %lld violation%s",
	       number(o, "allowed"), number(o, "denied"), number(o, "failed"),
	       number(o, "violations"), number(o, "violations") == 1 ? "" : "s");
	if (number(o, "observed"))
		printf(", %lld would have been denied", number(o, "observed"));
	net = json_object_get(o, "network");
	if (json_is_object(net))
		printf("\n  network  %lld bytes up, %lld down; now %lld TCP, %lld UDP, %lld ICMP "
		       "flows",
		       number(net, "link_bytes_up"), number(net, "link_bytes_down"),
		       number(net, "tcp_now"), number(net, "udp_now"), number(net, "icmp_now"));
	else
		printf("\n  network  not known: the gateway does not answer");
	printf("\n  record   %s\n", ctl_text(o, "record"));
}

static int do_status(const struct ctl_run *run, const char *arg, bool json)
{
	json_t *o;
	int r = answer(run, json_pack("{s:s}", "verb", "status"), json, &o);

	(void)arg;
	if (o)
		print_status(o);
	json_decref(o);
	return r;
}

static int do_show(const struct ctl_run *run, const char *arg, bool json)
{
	cleanup_close int fd = -1;
	struct sealed s;
	json_t *o = NULL;
	int r = ask(run, "policy.show", -1, &o, &fd);

	(void)arg;
	(void)json;
	json_decref(o);
	if (r)
		return r;
	if (sealed_map(fd, &s) < 0)
		return ctl_complain(CTL_REFUSED, "%s: its policy cannot be read", run->name);
	r = fwrite(s.text, 1, s.len, stdout) == s.len
		    ? CTL_DONE
		    : ctl_complain(CTL_REFUSED, "cannot write: %s", strerror(errno));
	sealed_unmap(&s);
	return r;
}

static int do_counters(const struct ctl_run *run, const char *arg, bool json)
{
	cleanup_close int fd = -1;
	struct sealed s;
	json_t *o = NULL, *counts;
	int r = ask(run, "counters", -1, &o, &fd);

	(void)arg;
	if (r)
		return r;
	r = sealed_map(fd, &s);
	counts = r < 0 ? NULL : json_loadb(s.text, s.len, JSON_REJECT_DUPLICATES, NULL);
	if (r == 0)
		sealed_unmap(&s);
	if (!counts) {
		json_decref(o);
		return ctl_complain(CTL_REFUSED, "%s: its counters cannot be read", run->name);
	}
	json_object_set(counts, "generation", json_object_get(o, "generation"));
	r = CTL_DONE;
	if (json)
		r = ctl_print_json(counts);
	else
		audit_rules_table(counts, stdout);
	json_decref(counts);
	json_decref(o);
	return r;
}

static int do_set(const struct ctl_run *run, const char *arg, bool json)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	cleanup_close int text = -1;
	char digest[72];
	json_t *o = NULL;
	int fd = -1, r;

	if (policy_load_file_or_preset(arg, &p, &err) < 0)
		return ctl_complain(CTL_REFUSED, "%s", err.text);
	r = sealed_print_policy(p, &text, digest);
	policy_free(p);
	if (r < 0)
		return ctl_complain(CTL_REFUSED, "%s: %s", arg, strerror(-r));
	r = ask(run, "policy.set", text, &o, &fd);
	if (r)
		return r;
	fd_close(fd);
	if (json)
		r = ctl_print_json(o);
	else
		printf("%s: policy generation %lld in force, %lld rule%s; %lld flow%s reset\n",
		       run->name, number(o, "generation"), number(o, "rules"),
		       number(o, "rules") == 1 ? "" : "s", number(o, "flows_reset"),
		       number(o, "flows_reset") == 1 ? "" : "s");
	json_decref(o);
	return r;
}

static void print_ports(const json_t *ports)
{
	json_t *o;
	size_t i;

	if (json_array_size(ports) == 0) {
		puts("no port is published");
		return;
	}
	printf("%-28s %-5s %6s  %6s %10s %8s %7s\n", "LISTEN", "PROTO", "GUEST", "NOW", "TOTAL",
	       "REFUSED", "WAITED");
	json_array_foreach(ports, i, o)
	{
		printf("%-28s %-5s %6lld%s %6lld %10lld %8lld %7lld\n", ctl_text(o, "listen"),
		       ctl_text(o, "proto"), number(o, "port"),
		       json_is_true(json_object_get(o, "proxy_header")) ? "p" : " ", number(o, "now"),
		       number(o, "total"), number(o, "refused"), number(o, "waited"));
	}
}

static int do_ports(const struct ctl_run *run, const char *arg, bool json)
{
	json_t *o;
	int r = answer(run, json_pack("{s:s}", "verb", "ports.show"), json, &o);

	(void)arg;
	if (o)
		print_ports(json_object_get(o, "ports"));
	json_decref(o);
	return r;
}

static int change_ports(const struct ctl_run *run, json_t *request, bool json, const char *done)
{
	json_t *reply, *o;
	int r = answer(run, request, json, &reply);
	size_t i;

	if (!reply)
		return r;
	json_array_foreach(json_object_get(reply, "ports"), i, o)
	{
		printf("%s: %s %s/%s to port %lld\n", run->name, done, ctl_text(o, "listen"),
		       ctl_text(o, "proto"), number(o, "port"));
	}
	if (number(reply, "flows"))
		printf("%s: %lld connection%s, %s\n", run->name, number(reply, "flows"),
		       number(reply, "flows") == 1 ? "" : "s", end_flows ? "reset" : "left to end");
	json_decref(reply);
	return r;
}

static int do_publish(const struct ctl_run *run, const char *arg, bool json)
{
	struct publish_config all[PUBLISH_MAX];
	const char *why = "";
	size_t n = 0;

	if (publish_parse(arg, all, &n, &why) < 0)
		return ctl_complain(CTL_USAGE, "publish %s: %s", arg, why);
	return change_ports(run, json_pack("{s:s, s:s}", "verb", "ports.publish", "port", arg),
			    json, "published");
}

static int do_unpublish(const struct ctl_run *run, const char *arg, bool json)
{
	return change_ports(run,
			    json_pack("{s:s, s:s, s:b}", "verb", "ports.unpublish", "port", arg,
				      "end_flows", end_flows),
			    json, "unpublished");
}

static int do_rate(const struct ctl_run *run, const char *arg, bool json)
{
	struct netstack_rates rates = { 0 };
	struct conf_error err = { "" };
	json_t *reply;
	int r;

	if (config_rate_change(arg, &rates, &err) < 0)
		return ctl_complain(CTL_USAGE, "%s", err.text);
	r = answer(run, json_pack("{s:s, s:s}", "verb", "rate.set", "rate", arg), json, &reply);
	if (reply)
		printf("%s: %s\n", run->name, arg);
	json_decref(reply);
	return r;
}

/* Numbers only: no name of the sandbox's own making is among them. */
static int do_metrics(const struct ctl_run *run, const char *arg, bool json)
{
	static const char *const decisions[] = { "allowed", "denied", "observed", "failed",
						 "violations" };
	json_t *o = NULL, *v;
	const char *key;
	int fd = -1, r = ask(run, "status", -1, &o, &fd);

	(void)arg;
	(void)json;
	if (r)
		return r;
	fd_close(fd);
	if (!json_is_object(json_object_get(o, "network"))) {
		json_decref(o);
		return ctl_complain(CTL_REFUSED, "%s: the gateway does not answer", run->name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(decisions); i++)
		printf("# TYPE weir_%s_total counter\nweir_%s_total{run=\"%s\"} %lld\n",
		       decisions[i], decisions[i], run->id, number(o, decisions[i]));
	json_object_foreach(json_object_get(o, "network"), key, v)
	{
		const char *total = stats_is_gauge(key) ? "" : "_total";

		if (strspn(key, "abcdefghijklmnopqrstuvwxyz_") != strlen(key))
			continue;
		printf("# TYPE weir_%s%s %s\nweir_%s%s{run=\"%s\"} %lld\n", key, total,
		       *total ? "counter" : "gauge", key, total, run->id,
		       (long long)json_integer_value(v));
	}
	json_decref(o);
	return CTL_DONE;
}

/* ---- which sandbox ----------------------------------------------------------------- */

static int list_failed(int r)
{
	return ctl_complain(CTL_REFUSED, "running sandboxes cannot be listed: %s", strerror(-r));
}

static int list(bool json)
{
	struct ctl_run *runs = NULL;
	json_t *all = json_array();
	size_t n = 0;
	int r = ctl_list(&runs, &n);

	if (r < 0) {
		json_decref(all);
		return list_failed(r);
	}
	for (size_t i = 0; i < n; i++) {
		json_t *o = NULL;
		int fd = -1;

		if (ask(&runs[i], "status", -1, &o, &fd) != 0)
			continue;
		fd_close(fd);
		if (json) {
			json_object_del(o, "ok");
			json_array_append(all, o);
		} else if (json_array_append_new(all, json_null()) == 0) {
			if (json_array_size(all) == 1)
				printf("%-20s %-8s %10s  %-4s %s\n", "NAME", "ID", "UP", "GEN",
				       "COMMAND");
			printf("%-20s %-8s %9llds  %-4lld %s\n", ctl_text(o, "name"),
			       ctl_text(o, "id"), number(o, "uptime_ms") / 1000,
			       number(o, "generation"), subject_of(o));
		}
		json_decref(o);
	}
	if (json &&
	    json_dumpf(all, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_ENSURE_ASCII) == 0)
		putchar('\n');
	else if (!json && json_array_size(all) == 0)
		puts("no sandbox is running");
	json_decref(all);
	free(runs);
	return CTL_DONE;
}

/* By id, which is one run's, or by name, which several may have. */
int ctl_find(const char *name, struct ctl_run *ret)
{
	struct ctl_run *runs = NULL;
	char ids[256] = "", quoted[80];
	size_t n = 0, found = 0;
	int r = ctl_list(&runs, &n);

	if (r < 0)
		return list_failed(r);
	for (size_t i = 0; i < n && found != SIZE_MAX; i++) {
		size_t len = strlen(ids);

		if (str_eq(runs[i].id, name)) {
			*ret = runs[i];
			found = SIZE_MAX;
		} else if (str_eq(runs[i].name, name)) {
			*ret = runs[i];
			found++;
			snprintf(ids + len, sizeof(ids) - len, "%s%s", len ? ", " : "", runs[i].id);
		}
	}
	free(runs);
	log_quote(name, strlen(name), quoted, sizeof(quoted));
	if (found == 0)
		return ctl_complain(
			CTL_REFUSED,
			"no sandbox named \"%s\" is running; weir ctl lists those that are", quoted);
	if (found > 1 && found != SIZE_MAX)
		return ctl_complain(CTL_REFUSED,
				    "several sandboxes are named \"%s\": say which by id: %s",
				    quoted, ids);
	return 0;
}

/* ---- the command --------------------------------------------------------------------- */

static const struct verb {
	const char *word, *second; /* "policy" "set" */
	bool has_arg, has_json;
	int (*fn)(const struct ctl_run *run, const char *arg, bool json);
} verbs[] = {
	{ "status", NULL, false, true, do_status },
	{ "policy", "show", false, false, do_show },
	{ "policy", "set", true, true, do_set },
	{ "policy", "counters", false, true, do_counters },
	{ "ports", NULL, false, true, do_ports },
	{ "publish", NULL, true, true, do_publish },
	{ "unpublish", NULL, true, true, do_unpublish },
	{ "rate", NULL, true, true, do_rate },
	{ "metrics", NULL, false, false, do_metrics },
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
static int run_verb(char **words, size_t n, bool json)
{
	struct ctl_run run;
	int r;

	if (n == 1)
		return one_word(words[0]);
	if (str_eq(words[1], "secret")) {
		r = ctl_find(words[0], &run);
		return r ? r
			 : ctl_secret(&run, words + 2, n - 2, secret_hosts, secret_places,
				      secret_from, json);
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
		if (end_flows && !str_eq(v->word, "unpublish"))
			return ctl_complain(CTL_USAGE, "--end is for unpublish");
		if (json && !v->has_json)
			return ctl_complain(CTL_USAGE, "--json does not go with %s",
					    v->second ? "policy show, which is JSON already"
						      : v->word);
		r = ctl_find(words[0], &run);
		return r ? r : v->fn(&run, words[used], json);
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
	bool json = false, only_words = false;
	int used;
	char *words[6] = { 0 };
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
			json = true;
		else if (!only_words && str_eq(argv[i], "--end"))
			end_flows = true;
		else if (!only_words && (used = secret_option(argc - i, argv + i)) > 0)
			i += used - 1;
		else if (!only_words && argv[i][0] == '-' && argv[i][1])
			return unknown_option(argv[i]);
		else if (n + 1 < ARRAY_SIZE(words))
			words[n++] = argv[i];
		else
			return ctl_complain(CTL_USAGE, "too many words; see: weir ctl --help");
	}
	r = n ? run_verb(words, n, json) : list(json);
	if (fflush(stdout) != 0 && r == CTL_DONE)
		r = ctl_complain(CTL_REFUSED, "cannot write: %s", strerror(errno));
	return r;
}
