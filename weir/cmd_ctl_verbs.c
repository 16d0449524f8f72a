/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir ctl NAME` can ask for, and how the answer is shown. A policy is read and checked
 * here, where its file is, and sent in the one form that policy_print() gives it; the run
 * checks it once more.
 */
#include "weir/cmd_ctl_int.h"

#include "audit/audit.h"
#include "policy/policy.h"
#include "weir/config.h"
#include "weir/publish.h"
#include "weir/sealed.h"
#include "weir/stats.h"

#include <stdio.h>

static int ask(const struct ctl_run *run, const char *verb, int fd, json_t **ret_reply, int *ret_fd)
{
	return ctl_ask_with(run, json_pack("{s:s}", "verb", verb), fd, ret_reply, ret_fd);
}

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Asks for what needs no descriptor. *ret: the answer, or NULL: there is none, or it was printed as JSON. */
static int answer(const struct ctl_run *run, json_t *request, bool json, json_t **ret)
{
	json_t *o = NULL;
	int fd = -1, r = ctl_ask_with(run, request, -1, &o, &fd);

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

int ctl_do_status(const struct ctl_run *run, const struct ctl_words *w)
{
	json_t *o;
	int r = answer(run, json_pack("{s:s}", "verb", "status"), w->json, &o);

	if (o)
		print_status(o);
	json_decref(o);
	return r;
}

int ctl_do_show(const struct ctl_run *run, const struct ctl_words *w)
{
	(void)w;
	cleanup_close int fd = -1;
	struct sealed s;
	json_t *o = NULL;
	int r = ask(run, "policy.show", -1, &o, &fd);

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

int ctl_do_counters(const struct ctl_run *run, const struct ctl_words *w)
{
	cleanup_close int fd = -1;
	struct sealed s;
	json_t *o = NULL, *counts;
	int r = ask(run, "counters", -1, &o, &fd);

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
	if (w->json)
		r = ctl_print_json(counts);
	else
		audit_rules_table(counts, stdout);
	json_decref(counts);
	json_decref(o);
	return r;
}

int ctl_do_set(const struct ctl_run *run, const struct ctl_words *w)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	cleanup_close int text = -1;
	char digest[72];
	json_t *o = NULL;
	int fd = -1, r;

	if (policy_load_file_or_preset(w->arg, &p, &err) < 0)
		return ctl_complain(CTL_REFUSED, "%s", err.text);
	r = sealed_print_policy(p, &text, digest);
	policy_free(p);
	if (r < 0)
		return ctl_complain(CTL_REFUSED, "%s: %s", w->arg, strerror(-r));
	r = ask(run, "policy.set", text, &o, &fd);
	if (r)
		return r;
	fd_close(fd);
	if (w->json)
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

int ctl_do_ports(const struct ctl_run *run, const struct ctl_words *w)
{
	json_t *o;
	int r = answer(run, json_pack("{s:s}", "verb", "ports.show"), w->json, &o);

	if (o)
		print_ports(json_object_get(o, "ports"));
	json_decref(o);
	return r;
}

static int change_ports(const struct ctl_run *run, json_t *request, const struct ctl_words *w,
			const char *done)
{
	json_t *reply, *o;
	int r = answer(run, request, w->json, &reply);
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
		       number(reply, "flows") == 1 ? "" : "s", w->end ? "reset" : "left to end");
	json_decref(reply);
	return r;
}

int ctl_do_publish(const struct ctl_run *run, const struct ctl_words *w)
{
	struct publish_config all[PUBLISH_MAX];
	const char *why = "";
	size_t n = 0;

	if (publish_parse(w->arg, all, &n, &why) < 0)
		return ctl_complain(CTL_USAGE, "publish %s: %s", w->arg, why);
	return change_ports(run, json_pack("{s:s, s:s}", "verb", "ports.publish", "port", w->arg),
			    w, "published");
}

int ctl_do_unpublish(const struct ctl_run *run, const struct ctl_words *w)
{
	return change_ports(run,
			    json_pack("{s:s, s:s, s:b}", "verb", "ports.unpublish", "port", w->arg,
				      "end_flows", w->end),
			    w, "unpublished");
}

int ctl_do_rate(const struct ctl_run *run, const struct ctl_words *w)
{
	struct netstack_rates rates = { 0 };
	struct conf_error err = { "" };
	json_t *reply;
	int r;

	if (config_rate_change(w->arg, &rates, &err) < 0)
		return ctl_complain(CTL_USAGE, "%s", err.text);
	r = answer(run, json_pack("{s:s, s:s}", "verb", "rate.set", "rate", w->arg), w->json, &reply);
	if (reply)
		printf("%s: %s\n", run->name, w->arg);
	json_decref(reply);
	return r;
}

/* Numbers only: no name of the sandbox's own making is among them. */
int ctl_do_metrics(const struct ctl_run *run, const struct ctl_words *w)
{
	(void)w;
	static const char *const decisions[] = { "allowed", "denied", "observed", "failed",
						 "violations" };
	json_t *o = NULL, *v;
	const char *key;
	int fd = -1, r = ask(run, "status", -1, &o, &fd);

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

/* ---- all of them ----------------------------------------------------------------------- */

int ctl_list_all(bool json)
{
	struct ctl_run *runs = NULL;
	json_t *all = json_array();
	size_t n = 0;
	int r = ctl_list(&runs, &n);

	if (r < 0) {
		json_decref(all);
		return ctl_list_failed(r);
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
