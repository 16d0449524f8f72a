/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets as they are configured: which variable, from where, for which hosts,
 * in which places. Nothing here reads a value: a source is only checked
 * to be there. A value written into the command line, where
 * every process of the machine can read it, is refused and not repeated.
 */
#include "weir/config_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name;
	enum tlsproxy_violation action;
} violations[] = {
	{ "block", TLSPROXY_BLOCK },
	{ "block_and_log", TLSPROXY_BLOCK_AND_LOG },
	{ "block_and_terminate", TLSPROXY_BLOCK_AND_TERMINATE },
	{ "passthrough", TLSPROXY_PASSTHROUGH },
};

/*
 * Variables that decide what the sandbox runs or trusts, or that weir sets: a
 * placeholder there would break the sandbox, not serve it.
 */
static const char *const reserved[] = {
	"PATH",
	"HOME",
	"SHELL",
	"USER",
	"LOGNAME",
	"PWD",
	"OLDPWD",
	"TERM",
	"IFS",
	"ENV",
	"BASH_ENV",
	"TMPDIR",
	"GLIBC_TUNABLES",
	"SSL_CERT_FILE",
	"SSL_CERT_DIR",
	"CURL_CA_BUNDLE",
	"AWS_CA_BUNDLE",
	"REQUESTS_CA_BUNDLE",
	"GIT_SSL_CAINFO",
	"NODE_EXTRA_CA_CERTS",
	"NODE_OPTIONS",
	"CARGO_HTTP_CAINFO",
	"PIP_CERT",
	"DENO_CERT",
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
};

static bool is_reserved(const char *name, size_t len)
{
	static const char *const prefixes[] = { "LD_", "DYLD_", "WEIR_" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (strlen(reserved[i]) == len && memcmp(reserved[i], name, len) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (len >= strlen(prefixes[i]) && memcmp(prefixes[i], name, strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static bool is_env_name(const char *s, size_t len)
{
	if (len == 0 || len > CONFIG_ENV_NAME_MAX || (s[0] >= '0' && s[0] <= '9'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] != '_' && !(s[i] >= '0' && s[i] <= '9') &&
		    !((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z'))
			return false;
	return true;
}

int config_check_env_name(struct config_builder *b, const struct where *w, const char *name,
			  size_t len)
{
	if (!is_env_name(name, len))
		return where_fail(
			w,
			b->err, "the name of a variable is letters, digits and underscores, not beginning with a digit");
	if (is_reserved(name, len))
		return where_fail(w, b->err,
				  "%.*s is not for secrets: the sandbox needs it or weir sets it",
				  (int)len, name);
	return 0;
}

int config_parse_violation(struct config_builder *b, const struct where *w, const char *text,
			   enum tlsproxy_violation *ret)
{
	const char *names[ARRAY_SIZE(violations)], *near;

	for (size_t i = 0; i < ARRAY_SIZE(violations); i++) {
		names[i] = violations[i].name;
		if (str_eq(text, names[i])) {
			*ret = violations[i].action;
			return 0;
		}
	}
	near = str_suggest(text, names, ARRAY_SIZE(names));
	if (near)
		return where_fail(w, b->err, "unknown action; did you mean \"%s\"?", near);
	return where_fail(w, b->err,
			  "the action is block, block_and_log, block_and_terminate or passthrough");
}

/* ---- drafts ------------------------------------------------------------------------ */

void secret_draft_fini(struct secret_draft *d)
{
	free(d->arg);
	free(d->hosts);
	secret_terms_fini(&d->terms);
	sign_config_free(d->sign);
	token_config_free(d->token);
	mask_config_free(d->mask);
	*d = (struct secret_draft){ 0 };
}

int secret_pattern_add(struct config_builder *b, const struct where *w, const char *text,
		       size_t len, struct tlsproxy_host_pattern **list, size_t *n)
{
	const char *why = "not a host pattern";
	struct tlsproxy_host_pattern p, *slot;
	struct ip_addr addr;
	char quoted[80];

	log_quote(text, len, quoted, sizeof(quoted));
	if (len == 0)
		return where_fail(w, b->err,
				  "a host is missing: a secret needs to know where it may go");
	if (memmem(text, len, "://", 3))
		return where_fail(w, b->err, "host \"%s\": is a URL; give the host name alone",
				  quoted);
	if (ip_parse(text, len, &addr, &why) == 0)
		return where_fail(w, b->err, "host \"%s\": is an address; a secret goes to a name",
				  quoted);
	if (memchr(text, ':', len))
		return where_fail(w, b->err,
				  "host \"%s\": give the name alone; ports are the policy's", quoted);
	if (tlsproxy_host_pattern_parse(text, len, &p, &why) < 0)
		return where_fail(w, b->err, "host \"%s\": %s; a host is NAME, .SUFFIX or *.SUFFIX",
				  quoted, why);
	if (*n >= CONFIG_SECRET_HOSTS_MAX)
		return where_fail(w, b->err, "more than %d hosts", CONFIG_SECRET_HOSTS_MAX);
	for (size_t i = 0; i < *n; i++)
		if (name_equal(&(*list)[i].name, &p.name) && (*list)[i].is_suffix == p.is_suffix &&
		    (*list)[i].apex == p.apex)
			return where_fail(w, b->err, "host \"%s\" twice", quoted);
	slot = config_push(list, n, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = p;
	return 0;
}

int secret_draft_host(struct config_builder *b, const struct where *w, const char *text, size_t len,
		      struct secret_draft *d)
{
	return secret_pattern_add(b, w, text, len, &d->hosts, &d->n_hosts);
}

static int check_file(struct config_builder *b, const struct where *w, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0)
		return where_fail(w, b->err, "file \"%.200s\" cannot be read: %s", path,
				  strerror(errno));
	if (S_ISDIR(st.st_mode))
		return where_fail(w, b->err, "file \"%.200s\" is a directory", path);
	/* The sandbox would read it under the name that is not covered. */
	if (S_ISREG(st.st_mode) && st.st_nlink > 1)
		return where_fail(
			w, b->err,
			"file \"%.200s\" has other names (%lu hard links) that the sandbox "
			"could read it by; give a copy",
			path, (unsigned long)st.st_nlink);
	return 0;
}

static int check_fd(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint64_t fd;

	if (uint_parse(text, strlen(text), 3, 1 << 20, &fd, &why) < 0)
		return where_fail(w, b->err, "a descriptor is a number from 3 on: %s", why);
	if (fcntl((int)fd, F_GETFD) < 0)
		return where_fail(w, b->err, "descriptor %llu is not open", (unsigned long long)fd);
	for (size_t i = 0; i < b->c->n_secrets; i++)
		if (b->c->secrets[i].source == SECRET_FROM_FD && str_eq(b->c->secrets[i].arg, text))
			return where_fail(w, b->err, "descriptor %s is another secret's source",
					  text);
	return 0;
}

int config_check_source(struct config_builder *b, const struct where *w, enum secret_source source,
			const char *arg)
{
	switch (source) {
	case SECRET_FROM_ENV:
		if (!is_env_name(arg, strlen(arg)))
			return where_fail(
				w, b->err,
				"env: the name of a variable is letters, digits and underscores");
		if (!getenv(arg))
			return where_fail(
				w, b->err,
				"variable %s is not set in weir's own environment; export it", arg);
		return 0;
	case SECRET_FROM_FILE:
		return check_file(b, w, arg);
	case SECRET_FROM_FD:
		return check_fd(b, w, arg);
	case SECRET_FROM_CALLER:
		return 0;
	case SECRET_FROM_COMMAND:
		return arg[strspn(arg, " \t")] ? 0 : where_fail(w, b->err, "the command is empty");
	}
	return -EINVAL;
}

int config_parse_source(const char *text, enum secret_source *ret, const char **ret_arg)
{
	static const struct {
		const char *prefix;
		enum secret_source source;
	} sources[] = {
		{ "env:", SECRET_FROM_ENV },
		{ "file:", SECRET_FROM_FILE },
		{ "fd:", SECRET_FROM_FD },
		{ "command:", SECRET_FROM_COMMAND },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		size_t n = strlen(sources[i].prefix);

		if (!str_starts(text, sources[i].prefix))
			continue;
		*ret = sources[i].source;
		*ret_arg = text[n] ? text + n : sources[i].prefix;
		return text[n] ? 0 : -ENODATA;
	}
	return -EINVAL;
}

/* "FILE:LINE:COL" or "--secret NAME", for checks that come when all is read. */
static char *place_text(const struct where *w, const char *env, size_t env_len)
{
	struct conf_error e = { "" };
	char *s = NULL;
	size_t n;

	if (w->flag)
		return asprintf(&s, "%s %.*s", w->flag, (int)env_len, env) < 0 ? NULL : s;
	conf_fail(w->conf, &e, "%s", "");
	n = strlen(e.text);
	while (n && (e.text[n - 1] == ' ' || e.text[n - 1] == ':'))
		n--;
	return strndup(e.text, n);
}

int config_add_secret(struct config_builder *b, const struct where *w, struct secret_draft *d)
{
	struct weir_config *c = b->c;
	struct secret_config *s;
	size_t n_places = c->n_secrets;
	char *env, *place, **place_slot;
	int r = config_check_env_name(b, w, d->env, d->env_len);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n_secrets; i++)
		if (strlen(c->secrets[i].env) == d->env_len &&
		    memcmp(c->secrets[i].env, d->env, d->env_len) == 0)
			return where_fail(w, b->err, "%s is a secret already", c->secrets[i].env);
	if (d->n_hosts == 0)
		return where_fail(w, b->err,
				  "a host is missing: a secret needs to know where it may go");
	if (d->sign && d->token)
		return where_fail(w, b->err, "\"sign\" and \"token\" do not go together");
	if (d->mask && (d->sign || d->token))
		return where_fail(w, b->err,
				  "\"mask_tokens\" is for a value that the sandbox's own requests "
				  "carry: not with \"sign\" or \"token\"");
	if (d->sign && d->places)
		return where_fail(
			w, b->err,
			"a secret that signs stands nowhere in a request: leave out \"at\"");
	if (!d->places && !(TLSPROXY_PLACES_DEFAULT & ~d->not_places))
		return where_fail(w, b->err, "no place is left: the secret could never be used");
	if (c->n_secrets >= CONFIG_SECRETS_MAX)
		return where_fail(w, b->err, "more than %d secrets", CONFIG_SECRETS_MAX);
	r = config_check_source(b, w, d->source, d->arg);
	if (r < 0)
		return r;
	env = strndup(d->env, d->env_len);
	place = place_text(w, d->env, d->env_len);
	place_slot = env && place ? config_push(&b->secret_places, &n_places, sizeof(*place_slot))
				  : NULL;
	s = place_slot ? config_push(&c->secrets, &c->n_secrets, sizeof(*s)) : NULL;
	if (!s) {
		free(env);
		free(place);
		return -ENOMEM;
	}
	*place_slot = place;
	*s = (struct secret_config){
		.env = env,
		.source = d->source,
		.arg = d->arg,
		.refresh_s = d->refresh_s,
		.ttl_s = d->ttl_s,
		.writes_token = d->writes_token,
		.hosts = d->hosts,
		.n_hosts = d->n_hosts,
		.places = d->places ? d->places : TLSPROXY_PLACES_DEFAULT & ~d->not_places,
		.on_violation = d->has_violation ? d->on_violation : b->on_violation,
		.terms = d->terms,
		.sign = d->sign,
		.token = d->token,
		.mask = d->mask,
	};
	d->terms = (struct secret_terms){ 0 };
	d->sign = NULL;
	d->token = NULL;
	d->mask = NULL;
	d->arg = NULL;
	d->hosts = NULL;
	return 0;
}

/* ---- flags -------------------------------------------------------------------------- */

/* ENV[:OPTIONS] at [s, s+len). */
static int parse_head(struct config_builder *b, const struct where *w, const char *s, size_t len,
		      struct secret_draft *d)
{
	const char *colon = memchr(s, ':', len), *end = s + len;
	int r;

	d->env = s;
	d->env_len = colon ? (size_t)(colon - s) : len;
	r = config_check_env_name(b, w, d->env, d->env_len);
	while (r == 0 && colon) {
		const char *p = colon + 1;
		size_t n = 0;

		while (p + n < end && p[n] != ',' && p[n] != '+')
			n++;
		r = secret_draft_option(b, w, p, n, d);
		colon = p + n < end ? p + n : NULL;
	}
	return r;
}

static int parse_hosts(struct config_builder *b, const struct where *w, const char *s,
		       struct secret_draft *d)
{
	for (;;) {
		size_t n = strcspn(s, ",");
		int r = secret_draft_host(b, w, s, n, d);

		if (r < 0 || !s[n])
			return r;
		s += n + 1;
	}
}

int config_secret_flag(struct config_builder *b, const char *text)
{
	struct where w = { .flag = option_name(OPTION_SECRET) };
	const char *at = strrchr(text, '@'), *eq = strchr(text, '=');
	struct secret_draft d = { .source = SECRET_FROM_ENV };
	size_t name = strcspn(text, ":=@");
	int r;

	/* What stands behind '=' may be the value itself: never repeat it. */
	if (eq && is_env_name(text, name))
		return where_fail(&w, b->err,
				  "a value must not stand in the command line, where every process "
				  "can read it: export %.*s and write --secret %.*s@HOST",
				  (int)name, text, (int)name, text);
	if (eq)
		return where_fail(&w, b->err,
				  "'=' is not accepted: a value must not stand in the command "
				  "line; write ENV[:OPTIONS]@HOST[,HOST...]");
	/* Without '@' it is a name, or perhaps the value itself. */
	w.value = at || is_env_name(text, strlen(text)) ? text : NULL;
	if (!at)
		return where_fail(&w, b->err,
				  "a host is missing: write ENV[:OPTIONS]@HOST[,HOST...]");
	r = parse_head(b, &w, text, (size_t)(at - text), &d);
	if (r == 0)
		r = parse_hosts(b, &w, at + 1, &d);
	if (r == 0) {
		d.arg = strndup(d.env, d.env_len);
		r = d.arg ? config_add_secret(b, &w, &d) : -ENOMEM;
	}
	secret_draft_fini(&d);
	return r;
}

int config_secret_from_flag(struct config_builder *b, enum option option, enum secret_source source,
			    const char *text)
{
	/* A command may have the value in it: it is not repeated. */
	struct where w = { .flag = option_name(option),
			   .value = source == SECRET_FROM_COMMAND ? NULL : text };
	/* A path may hold '@' and '=', a host cannot: the first '=' and the last '@' divide. */
	const char *eq = strchr(text, '='), *at = strrchr(text, '@');
	struct secret_draft d = { .source = source };
	int r;

	if (!eq || !at || at < eq || at == eq + 1)
		return where_fail(&w, b->err, "write ENV[:OPTIONS]=%s@HOST[,HOST...]",
				  source == SECRET_FROM_FILE ? "PATH"
				  : source == SECRET_FROM_FD ? "N"
							     : "COMMAND");
	r = parse_head(b, &w, text, (size_t)(eq - text), &d);
	if (r == 0)
		r = parse_hosts(b, &w, at + 1, &d);
	if (r == 0) {
		d.arg = strndup(eq + 1, (size_t)(at - eq - 1));
		r = d.arg ? config_add_secret(b, &w, &d) : -ENOMEM;
	}
	secret_draft_fini(&d);
	return r;
}
