/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir ctl NAME secret ...`. A value is never read here: a descriptor that leads to
 * it goes to the run, whose tlsproxy reads it. A terminal is refused, because
 * somebody would have to read from it, and to switch its echo off, in this process.
 */
#include "weir/cmd_ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_EXAMPLE "printf %%s \"$VALUE\" | weir ctl NAME secret set ENV --from -"

/* "a,b,c" as an array; NULL is NULL. */
static json_t *split(const char *text)
{
	json_t *a = text ? json_array() : NULL;

	while (a && text) {
		size_t n = strcspn(text, ",");

		json_array_append_new(a, json_stringn(text, n));
		text = text[n] ? text + n + 1 : NULL;
	}
	return a;
}

static int open_source(const char *env, const char *from, int *ret)
{
	int fd = !from || strcmp(from, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
						 : open(from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return ctl_complain(CTL_REFUSED, "secret %s: %s: %s", env, from ? from : "-",
				    strerror(errno));
	if (isatty(fd)) {
		fd_close(fd);
		return ctl_complain(
			CTL_USAGE,
			"secret %s: a value is not typed in here, where it would pass "
			"through this process; give --from FILE, or a pipe: " PIPE_EXAMPLE,
			env);
	}
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) &&
	    !S_ISSOCK(st.st_mode)) {
		fd_close(fd);
		return ctl_complain(CTL_USAGE, "secret %s: %s is neither a file nor a pipe", env,
				    from ? from : "standard input");
	}
	*ret = fd;
	return 0;
}

static int change(const struct ctl_run *run, json_t *what, int fd, bool json, const char *done)
{
	json_t *o = NULL;
	int r = ctl_ask(run, json_pack("{s:s, s:o}", "verb", "secret.change", "change", what), fd,
			&o);

	if (r)
		return r;
	if (json)
		r = ctl_print_json(o);
	else
		printf("%s: secret %s %s (secrets %lld)\n", run->name, ctl_text(o, "secret"), done,
		       (long long)json_integer_value(json_object_get(o, "secrets")));
	if (!json && *ctl_text(o, "placeholder"))
		printf("%s=%s\n", ctl_text(o, "secret"), ctl_text(o, "placeholder"));
	json_decref(o);
	return r;
}

static int set(const struct ctl_run *run, const char *env, const char *hosts, const char *places,
	       const char *from, bool json)
{
	json_t *what;
	int fd = -1, r;

	if (places && !hosts)
		return ctl_complain(CTL_USAGE, "secret set %s: --places goes with --hosts", env);
	r = open_source(env, from, &fd);
	if (r)
		return r;
	if (hosts)
		what = json_pack("{s:s, s:{s:s, s:o, s:o*}}", "op", "set", "secret", "env", env,
				 "hosts", split(hosts), "at", split(places));
	else
		what = json_pack("{s:s, s:s}", "op", "value", "env", env);
	r = change(run, what, fd, json, "set");
	fd_close(fd);
	return r;
}

static void print_joined(const json_t *a)
{
	const json_t *v;
	size_t i;

	json_array_foreach(a, i, v)
	{
		char quoted[300];
		const char *s = json_string_value(v);

		printf("%s%s", i ? "," : "",
		       s ? log_quote(s, strlen(s), quoted, sizeof(quoted)) : "");
	}
}

static int list(const struct ctl_run *run, bool json)
{
	json_t *o = NULL, *s;
	size_t i;
	int r = ctl_ask(run, json_pack("{s:s}", "verb", "secret.list"), -1, &o);

	if (r)
		return r;
	if (json) {
		r = ctl_print_json(o);
		json_decref(o);
		return r;
	}
	json_array_foreach(json_object_get(o, "list"), i, s)
	{
		printf("%s=%s\n  hosts  ", ctl_text(s, "secret"), ctl_text(s, "placeholder"));
		print_joined(json_object_get(s, "hosts"));
		printf("\n  at     ");
		print_joined(json_object_get(s, "at"));
		printf("\n  from   %s%s\n  uses   %lld\n", ctl_text(s, "from"),
		       json_is_true(json_object_get(s, "expired")) ? ", and no valid value now" : "",
		       (long long)json_integer_value(json_object_get(s, "uses")));
	}
	if (json_array_size(json_object_get(o, "list")) == 0)
		puts("no secrets");
	json_decref(o);
	return CTL_DONE;
}

int ctl_secret(const struct ctl_run *run, char **words, size_t n, const char *hosts,
	       const char *places, const char *from, bool json)
{
	const char *verb = n ? words[0] : "";

	if ((hosts || places || from) && strcmp(verb, "set") != 0)
		return ctl_complain(CTL_USAGE, "--hosts, --places and --from are for secret set");
	if (strcmp(verb, "ls") == 0 && n == 1)
		return list(run, json);
	if (strcmp(verb, "set") == 0 && n == 2)
		return set(run, words[1], hosts, places, from, json);
	if (strcmp(verb, "rm") == 0 && n == 2)
		return change(run, json_pack("{s:s, s:s}", "op", "rm", "env", words[1]), -1, json,
			      "removed");
	if (strcmp(verb, "hosts") == 0 && n == 3)
		return change(run,
			      json_pack("{s:s, s:s, s:o}", "op", "hosts", "env", words[1], "hosts",
					split(words[2])),
			      -1, json, "has other hosts");
	return ctl_complain(CTL_USAGE, "secret ls, secret set ENV [--hosts H,...] [--places P,...] "
				       "[--from FILE|-], secret hosts ENV H,... or secret rm ENV; "
				       "see: weir ctl --help");
}
