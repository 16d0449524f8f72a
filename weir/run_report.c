/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's record of a run: opened before anything runs, appended to by
 * nobody else, and summed up for the person at the end.
 */
#include "weir/run_internal.h"

#include "weir/config_internal.h"
#include "weir/record_net.h"
#include "weir/run_setup.h"
#include "weir/sealed.h"
#include "weir/state.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

/* ---- opening ------------------------------------------------------------------- */

int run_record_open(struct run *r, struct conf_error *err)
{
	const struct weir_config *cfg = r->cfg;
	int rc = 0;

	if (cfg->audit_path)
		r->audit_path = strdup(cfg->audit_path);
	else
		rc = state_audit_path(r->id, &r->audit_path);
	if (rc == 0)
		rc = audit_log_open(r->audit_path, -1, r->id, cfg->name, &r->log);
	if (rc == 0 && stat(r->audit_path, &r->audit_stat) < 0)
		rc = -errno;
	if (rc < 0) {
		conf_error_set(err, "cannot open the record %s: %s",
			       r->audit_path ? r->audit_path : "", audit_log_why(rc));
		return rc;
	}
	if (r->audit_stat.st_nlink > 1) {
		conf_error_set(err,
			       "the record %s has other names (hard links) that the sandbox could "
			       "change it by; name another one",
			       r->audit_path);
		return -EMLINK;
	}
	r->capture = -1;
	if (cfg->capture_path) {
		r->capture = open(cfg->capture_path,
				  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (r->capture < 0) {
			rc = -errno;
			conf_error_set(err, "cannot open the capture %s: %s", cfg->capture_path,
				       strerror(errno));
			return rc;
		}
	}
	r->placeholders = calloc(CONFIG_SECRETS_MAX + 1, sizeof(*r->placeholders));
	/* Two runs with the same digest were judged by the same rules. */
	rc = r->placeholders ? sealed_print_policy(cfg->policy, &r->policy_fd, r->policy_digest)
			     : -ENOMEM;
	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	return run_ports_bind(r, err);
}

/* ---- events -------------------------------------------------------------------- */

void run_record_append(struct run *r, const char *from, const char *text, size_t len)
{
	int rc = audit_log_append(r->log, from, text, len);

	if (rc == -EINVAL)
		log_warn("an event of the %s was malformed and is not on the record", from);
	else if (rc < 0)
		run_fail(r, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
	loop_task_queue(r->loop, &r->flush);
}

void run_record_flush(struct loop_task *t)
{
	struct run *r = container_of(t, struct run, flush);
	int rc = audit_log_flush(r->log);

	if (rc < 0)
		run_fail(r, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
}

void run_record_event(struct run *r, const char *event, const char *detail)
{
	struct audit_event e;
	size_t len;
	const char *text;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", event);
	audit_str(&e, "name", r->cfg->name);
	audit_str(&e, "backend", r->subject->backend);
	audit_str(&e, r->subject->key, r->what);
	audit_str(&e, "policy", r->policy_digest);
	audit_u64(&e, "generation", r->generation);
	if (str_eq(event, "begin"))
		record_net_write(&e, &r->cfg->net);
	if (r->cfg->observe)
		audit_bool(&e, "observe", true);
	if (policy_floor(r->cfg->policy))
		audit_bool(&e, "floor", true);
	if (str_eq(event, "end"))
		audit_u64(&e, "status", (uint64_t)r->status);
	if (str_eq(event, "end"))
		run_stats_record(r, &e);
	audit_str(&e, "detail", detail);
	text = audit_event_end(&e, &len);
	run_record_append(r, "weir", text, len);
}

/* ---- for the person ------------------------------------------------------------ */

void run_totals_json(json_t *o, const struct audit_totals *t)
{
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {
		{ "events", t->events },
		{ "allowed", t->allowed },
		{ "denied", t->denied },
		{ "observed", t->observed },
		{ "failed", t->failed },
		{ "violations", t->violations },
		{ "secrets_used", t->secrets_used },
		{ "bytes_up", t->bytes_up },
		{ "bytes_down", t->bytes_down },
	};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		(void)json_object_set_new(o, counts[i].key,
					  json_integer((json_int_t)counts[i].value));
}

static void say_json(const struct run *r, const struct audit_totals *t)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:I}", "run", r->id, "name", r->cfg->name,
			      "status", r->status, "record", r->audit_path, "generation",
			      (json_int_t)r->generation);

	run_totals_json(o, t);
	if (json_dumpf(o, stderr, JSON_COMPACT) == 0)
		fputc('\n', stderr);
	json_decref(o);
}

/* One line, when there is something to say. */
static void say(const struct run *r, const struct audit_totals *t)
{
	if (r->cfg->observe && !t->observed)
		log_line(LOG_LEVEL_WARN, "nothing would have been denied; see: weir audit %s",
			 r->audit_path);
	else if (r->cfg->observe)
		log_line(LOG_LEVEL_WARN, "%llu would have been denied and %s not; see: weir audit %s",
			 (unsigned long long)t->observed, t->observed == 1 ? "was" : "were",
			 r->audit_path);
	if (isatty(STDERR_FILENO) && (t->denied || t->violations))
		log_line(LOG_LEVEL_WARN, "%llu denied, %llu violation%s; see: weir audit %s",
			 (unsigned long long)t->denied, (unsigned long long)t->violations,
			 t->violations == 1 ? "" : "s", r->audit_path);
}

void run_report(const struct run *r)
{
	struct audit_totals t;
	struct stat now;

	audit_log_totals(r->log, &t);
	if (r->cfg->json)
		say_json(r, &t);
	else
		say(r, &t);
	/* Who shares the directory can put another file in its place. */
	if (stat(r->audit_path, &now) < 0 || now.st_dev != r->audit_stat.st_dev ||
	    now.st_ino != r->audit_stat.st_ino)
		log_error("the record %s was replaced while the sandbox ran: do not trust it",
			  r->audit_path);
}
