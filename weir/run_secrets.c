/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets while the sandbox runs, the supervisor's side: `weir ctl NAME secret ...`.
 * What a secret may do is known here, its value never is: the client's descriptor
 * goes on to the tlsproxy as it came.
 *
 *   request ─► read as a change of our configuration (secret_change.h)
 *           ─► MSG_SECRET_CHANGE + descriptor to the tlsproxy, which reads and builds
 *           ─► MSG_SECRET_DONE: in force there and in the vault ─► in our copy, on
 *              the record, told to the client; or MSG_SECRET_REFUSED, and nothing changed
 *
 * One change at a time. If the tlsproxy dies in its midst the client is told so; the
 * successor has the definitions that we have.
 *
 * The first secret of a sandbox whose TLS is not read would never be put in, and
 * nothing would say so: it is refused.
 */
#include "weir/run_internal.h"

#include "weir/config_internal.h"
#include "weir/message.h"
#include "weir/run_secrets.h"
#include "weir/secret_change.h"

#include <stdio.h>
#include <unistd.h>

/* Above the time that the tlsproxy gives a value to come. */
#define CHANGE_DEADLINE (90 * NS_PER_S)

static const char not_up[] = "the tlsproxy died and is being started again: try again";

/* ---- the record ------------------------------------------------------------------ */

void run_secret_record(struct run *r, const char *env, const char *event, const uid_t *uid,
		       const char *detail)
{
	struct audit_event e;
	const char *text;
	size_t len;

	audit_event_begin(&e, "secret");
	audit_str(&e, "secret", env);
	audit_str(&e, "event", event);
	audit_u64(&e, "secrets", r->secrets.generation);
	if (uid)
		audit_u64(&e, "uid", *uid);
	audit_str(&e, "detail", detail);
	text = audit_event_end(&e, &len);
	run_record_append(r, "weir", text, len);
}

/* ---- a change -------------------------------------------------------------------- */

static void end_change(struct run *r)
{
	struct secret_ask *a = &r->secrets.ask;

	loop_timer_del(r->loop, &a->deadline);
	secret_change_fini(&a->change);
	*a = (struct secret_ask){ 0 };
}

static void refuse(struct run *r, const char *why)
{
	struct secret_ask *a = &r->secrets.ask;

	run_secret_record(r, a->change.env, "refused", &a->uid, why);
	if (a->client)
		run_ctl_refuse(a->client, "secret %s: %s", a->change.env, why);
	end_change(r);
}

static void on_deadline(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, secrets.ask.deadline);

	refuse(r, "the tlsproxy did not answer in time");
}

static const char *event_of(enum secret_op op)
{
	switch (op) {
	case SECRET_SET:
		return "set";
	case SECRET_VALUE:
		return "rotated";
	case SECRET_HOSTS:
		return "hosts";
	case SECRET_REMOVE:
		return "removed";
	}
	return "set";
}

/* In force: our own copy follows, which cannot fail. */
static int adopt(struct run *r, const char *placeholder)
{
	struct secret_ask *a = &r->secrets.ask;
	struct weir_config *cfg = r->cfg;
	struct secret_config *next;
	size_t n, at;
	char *text = strdup(placeholder);
	int rc = text ? secret_change_preview(cfg, &a->change, &next, &n, &at) : -ENOMEM;

	if (rc < 0) {
		free(text);
		return rc;
	}
	free(r->placeholders[at]);
	r->placeholders[at] = text;
	if (a->change.op == SECRET_REMOVE) {
		free(text);
		memmove(r->placeholders + at, r->placeholders + at + 1,
			(cfg->n_secrets - at) * sizeof(*r->placeholders));
		memmove(r->secrets.uses + at, r->secrets.uses + at + 1,
			(cfg->n_secrets - at) * sizeof(*r->secrets.uses));
	}
	/* What it was re-read from is no longer its source. */
	if (a->change.op != SECRET_HOSTS)
		run_source_forget(r, a->change.env);
	if (a->change.op == SECRET_VALUE)
		next[at].source = SECRET_FROM_CALLER;
	secret_change_apply(cfg, &a->change, next, n);
	r->secrets.generation++;
	return 0;
}

static void done(struct run *r, const char *placeholder)
{
	struct secret_ask *a = &r->secrets.ask;

	if (adopt(r, placeholder) < 0) {
		run_fail(r, "out of memory for a secret; %s", r->subject->stopped);
		end_change(r);
		return;
	}
	run_secret_record(r, a->change.env, event_of(a->change.op), &a->uid, NULL);
	if (a->client)
		run_ctl_reply(a->client,
			      json_pack("{s:b, s:I, s:s, s:s}", "ok", 1, "secrets",
					(json_int_t)r->secrets.generation, "secret", a->change.env,
					"placeholder", placeholder),
			      -1);
	end_change(r);
}

/* Why no change can begin now; NULL: it can. */
static const char *busy(const struct run *r)
{
	if (r->ending)
		return "the sandbox is ending";
	if (!r->life.up)
		return not_up;
	if (r->secrets.ask.number)
		return "another secret is being changed: try again";
	return NULL;
}

static void begin(struct run *r, struct ctl_client *c, struct secret_change *change,
		  const char *text, int fd)
{
	struct secret_ask *a = &r->secrets.ask;

	*a = (struct secret_ask){ .number = ++r->secrets.last_number,
				  .client = c,
				  .uid = c->uid,
				  .change = *change,
				  .deadline.cb = on_deadline };
	if (msg_send(r->proxy.sock, MSG_SECRET_CHANGE, a->number, text, strlen(text), &fd, fd >= 0) <
	    0) {
		refuse(r, not_up);
		return;
	}
	loop_timer_set(r->loop, &a->deadline, loop_now_update(r->loop) + CHANGE_DEADLINE);
}

/* request: as in secret_change.h, with the verb. */
void run_secrets_change(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	const json_t *body = json_object_get(request, "change");
	cleanup_free char *text = json_dumps(body, JSON_COMPACT | JSON_ENSURE_ASCII);
	struct conf_error err = { "" };
	struct secret_change change;
	const char *why = busy(r);

	if (why) {
		run_ctl_refuse(c, "%s", why);
		return;
	}
	if (!text || strlen(text) >= MSG_TEXT_MAX) {
		run_ctl_refuse(c, "a change of a secret is a JSON object of at most %d bytes",
			       MSG_TEXT_MAX);
		return;
	}
	if (secret_change_parse(r->cfg, text, strlen(text), &change, &err) < 0) {
		run_ctl_refuse(c, "%s", err.text[0] ? err.text : "out of memory");
		return;
	}
	if (!r->cfg->tls_intercept)
		why = "this sandbox was started without TLS interception, so nothing could be put "
		      "in: start it with --tls-intercept";
	else if (fd < 0 && (change.op == SECRET_SET || change.op == SECRET_VALUE))
		why = "the value's descriptor is missing beside the request";
	if (why) {
		run_ctl_refuse(c, "secret %s: %s", change.env, why);
		secret_change_fini(&change);
		return;
	}
	begin(r, c, &change, text, fd);
}

/* ---- what there is ---------------------------------------------------------------------- */

static const char *source_of(const struct secret_config *s)
{
	switch (s->source) {
	case SECRET_FROM_ENV:
		return "env";
	case SECRET_FROM_FILE:
		return "file";
	case SECRET_FROM_FD:
		return "fd";
	case SECRET_FROM_COMMAND:
		return "command";
	case SECRET_FROM_CALLER:
		return "ctl";
	}
	return "?";
}

static json_t *hosts_of(const struct secret_config *s)
{
	json_t *a = json_array();

	for (size_t i = 0; a && i < s->n_hosts; i++) {
		const struct tlsproxy_host_pattern *p = &s->hosts[i];

		json_array_append_new(a, json_sprintf("%s%s",
						      !p->is_suffix ? ""
						      : p->apex	    ? "."
								    : "*.",
						      p->name.s));
	}
	return a;
}

static json_t *places_of(const struct secret_config *s)
{
	json_t *a = json_array();

	for (unsigned bit = 1; a && bit; bit <<= 1)
		if ((s->places & bit) && config_place_name(bit))
			json_array_append_new(a, json_string(config_place_name(bit)));
	return a;
}

void run_secrets_list(struct run *r, struct ctl_client *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->cfg->n_secrets; i++) {
		const struct secret_config *s = &r->cfg->secrets[i];
		json_t *o = json_pack("{s:s, s:o, s:o, s:s, s:I, s:s?}", "secret", s->env, "hosts",
				      hosts_of(s), "at", places_of(s), "from", source_of(s), "uses",
				      (json_int_t)r->secrets.uses[i], "placeholder",
				      r->placeholders[i]);

		run_source_tell(r, s->env, o);
		json_array_append_new(list, o);
	}
	run_ctl_reply(c,
		      json_pack("{s:b, s:I, s:o}", "ok", 1, "secrets",
				(json_int_t)r->secrets.generation, "list", list),
		      -1);
}

/*
 * Uses, counted from what goes on the record: {"kind":"secret",...,"secret":"ENV",
 * "event":"used",...}. No text of a request can look like a member: its quotes are escaped.
 */
void run_secrets_event(struct run *r, const char *text, size_t len)
{
	static const char kind[] = "{\"kind\":\"secret\",", name[] = ",\"secret\":\"";
	static const char used[] = ",\"event\":\"used\"";
	const char *env, *end;

	if (len < sizeof(kind) || memcmp(text, kind, sizeof(kind) - 1) != 0 ||
	    !memmem(text, len, used, sizeof(used) - 1))
		return;
	env = memmem(text, len, name, sizeof(name) - 1);
	env = env ? env + sizeof(name) - 1 : NULL;
	end = env ? memchr(env, '"', (size_t)(text + len - env)) : NULL;
	for (size_t i = 0; end && i < r->cfg->n_secrets; i++)
		if (strlen(r->cfg->secrets[i].env) == (size_t)(end - env) &&
		    memcmp(r->cfg->secrets[i].env, env, (size_t)(end - env)) == 0)
			r->secrets.uses[i]++;
}

/* ---- words of others ------------------------------------------------------------------------ */

bool run_secrets_word(struct run *r, const struct msg *m)
{
	if (m->head.type == MSG_SECRET_LIFE) {
		run_source_life(r, m);
		return true;
	}
	if (m->head.type != MSG_SECRET_DONE && m->head.type != MSG_SECRET_SAME &&
	    m->head.type != MSG_SECRET_REFUSED)
		return false;
	if (!r->secrets.ask.number || m->head.value != r->secrets.ask.number)
		run_source_word(r, m);
	else if (m->head.type == MSG_SECRET_REFUSED)
		refuse(r, m->text);
	else
		done(r, m->text);
	return true;
}

void run_secrets_proxy_died(struct run *r)
{
	if (r->secrets.ask.number)
		refuse(r,
		       "the tlsproxy died meanwhile; nothing is known to have changed: try again");
	run_sources_proxy_died(r);
}

void run_secrets_forget(struct run *r, const struct ctl_client *c)
{
	if (r->secrets.ask.client == c)
		r->secrets.ask.client = NULL;
}

int run_secrets_start(struct run *r)
{
	r->secrets.generation = 1;
	r->secrets.uses = calloc(CONFIG_SECRETS_MAX + 1, sizeof(*r->secrets.uses));
	return r->secrets.uses ? run_sources_start(r) : -ENOMEM;
}

void run_secrets_end(struct run *r)
{
	if (r->loop)
		end_change(r);
	run_sources_end(r);
	free(r->secrets.uses);
	r->secrets.uses = NULL;
}
