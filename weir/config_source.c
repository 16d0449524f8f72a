/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a secret's value comes from, in a file:
 *
 *   "from": "env:VAR" | "file:PATH" | "fd:N" | "command:CMD"
 *   "from": { "command": "CMD", "refresh": 300, "ttl": 900 }
 *   "from": { "command": "CMD", "output": "token" }
 *   "from": { "env": "VAR" } | { "file": "PATH", "ttl": 86400 } | { "fd": 3 }
 *
 * and absent: the variable of the same name. What stands there instead may be the
 * value itself: it is never repeated.
 */
#include "weir/config_internal.h"

#include <stdio.h>

#define FORMS                                                                                      \
	"a source is \"env:VAR\", \"file:PATH\", \"fd:N\" or \"command:CMD\"; values do not "      \
	"stand in this file (an object has one of these as its key)"

static int set_arg(struct config_builder *b, const char *text, struct secret_draft *d)
{
	/* Commands run where weir does; a path of the file starts at its folder. */
	if (d->source == SECRET_FROM_FILE)
		return config_from_dir(b, text, &d->arg);
	d->arg = strdup(text);
	return d->arg ? 0 : -ENOMEM;
}

static int read_text(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	const char *text = NULL, *arg;
	int r = conf_str(c, &text, b->err);

	if (r < 0)
		return r;
	if (!text) {
		d->source = SECRET_FROM_ENV;
		d->arg = strndup(d->env, d->env_len);
		return d->arg ? 0 : -ENOMEM;
	}
	r = config_parse_source(text, &d->source, &arg);
	if (r == -ENODATA)
		return conf_fail(c, b->err, "nothing behind \"%s\"", arg);
	return r < 0 ? conf_fail(c, b->err, FORMS) : set_arg(b, arg, d);
}

/* Seconds; *ret is 0 when there are none. */
static int read_seconds(struct config_builder *b, const struct conf *c, const char *key, uint32_t *ret)
{
	struct conf m = conf_member(c, key);
	uint64_t n = 0;
	int r = conf_uint(&m, 1, CONFIG_SOURCE_MAX_S, &n, b->err);

	if (r == 0)
		*ret = (uint32_t)n;
	return r;
}

static int read_times(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	struct conf refresh = conf_member(c, "refresh"), ttl = conf_member(c, "ttl");
	int r = read_seconds(b, c, "refresh", &d->refresh_s);

	if (r == 0)
		r = read_seconds(b, c, "ttl", &d->ttl_s);
	if (r < 0)
		return r;
	if (d->refresh_s && d->source != SECRET_FROM_COMMAND)
		return conf_fail(&refresh, b->err,
				 "only a command is run again; a file is read again by itself when "
				 "it changes");
	if (d->ttl_s && d->source != SECRET_FROM_COMMAND && d->source != SECRET_FROM_FILE)
		return conf_fail(&ttl, b->err, "no other value ever comes from there");
	if (d->source == SECRET_FROM_COMMAND && d->ttl_s && !d->refresh_s && !d->writes_token)
		return conf_fail(&ttl, b->err,
				 "the value would end and no other come: give \"refresh\" as well");
	if (d->ttl_s && d->ttl_s <= d->refresh_s)
		return conf_fail(
			&ttl, b->err,
			"a value has to be good for longer than until it is asked for again");
	return 0;
}

static int read_output(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	struct conf m = conf_member(c, "output");
	const char *text = NULL;
	int r = conf_str(&m, &text, b->err);

	if (r < 0 || !text)
		return r;
	if (d->source != SECRET_FROM_COMMAND)
		return conf_fail(&m, b->err, "only what a command writes is read for a token");
	d->writes_token = str_eq(text, "token");
	if (!d->writes_token && !str_eq(text, "value"))
		return conf_fail(&m, b->err, "expected \"value\" or \"token\"");
	return 0;
}

static int read_object(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	static const char *const keys[] = { "env",     "file", "fd",	"command",
					    "refresh", "ttl",  "output" };
	static const enum secret_source sources[] = { SECRET_FROM_ENV, SECRET_FROM_FILE,
						      SECRET_FROM_FD, SECRET_FROM_COMMAND };
	char number[24];
	uint64_t fd = 0;
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sources); i++) {
		struct conf m = conf_member(c, keys[i]);
		const char *text = NULL;

		if (!m.v)
			continue;
		if (d->arg)
			return conf_fail(&m, b->err, "two sources; a value comes from one");
		d->source = sources[i];
		if (d->source == SECRET_FROM_FD) {
			r = conf_uint(&m, 3, 1 << 20, &fd, b->err);
			snprintf(number, sizeof(number), "%llu", (unsigned long long)fd);
			text = number;
		} else {
			r = conf_str(&m, &text, b->err);
		}
		if (r == 0 && (!text || !*text))
			return conf_fail(&m, b->err, "nothing in \"%s\"", keys[i]);
		if (r == 0)
			r = set_arg(b, text, d);
	}
	if (r == 0 && !d->arg)
		return conf_fail(c, b->err, FORMS);
	if (r == 0)
		r = read_output(b, c, d);
	return r < 0 ? r : read_times(b, c, d);
}

int config_read_source(struct config_builder *b, const struct conf *c, struct secret_draft *d)
{
	if (b->live_secret) {
		if (c->v)
			return conf_fail(c, b->err, "the value of a live secret comes beside it");
		d->source = SECRET_FROM_CALLER;
		d->arg = strdup("");
		return d->arg ? 0 : -ENOMEM;
	}
	return json_is_object(c->v) ? read_object(b, c, d) : read_text(b, c, d);
}
