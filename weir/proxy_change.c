/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change, from the supervisor's message to its answer:
 *
 *   descriptor ─► read straight into locked memory: a file at once, a pipe as it
 *                 comes, a command's output until it has ended, and well
 *             ─► the secrets as they would be, built aside by the proxy
 *             ─► in force, in the vault, MSG_SECRET_DONE; or none of it, MSG_SECRET_REFUSED
 *
 * A value that is bad, late or does not come leaves the one there was.
 */
#include "weir/proxy_change.h"

#include "weir/secret_change.h"
#include "weir/secret_source.h"
#include "weir/secret_token.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct value_read {
	struct list in_all;
	struct proxy_changes *pc;
	enum msg_type type;
	int32_t number;
	char *text;
	int fd;
	struct locked memory;
	struct buf value; /* in it */
	bool ended, exited;
	int status;
	struct loop_io io;
	struct loop_timer late;
};

/* ---- answers --------------------------------------------------------------------- */

/* A supervisor that cannot be told has gone, and so do we. */
static void answer(struct proxy_changes *pc, enum msg_type type, int32_t number, const char *text)
{
	record_flush(pc->record);
	if (msg_send_text(pc->record->sock, type, number, text) < 0)
		_exit(1);
}

static void done(struct proxy_changes *pc, enum msg_type type, int32_t number, const char *env)
{
	const struct kept_secret *k = proxy_secrets_find(pc->secrets, env);

	answer(pc, type, number, k ? k->placeholder : "");
}

/* ---- changes ----------------------------------------------------------------------- */

static int change_definition(struct proxy_changes *pc, const char *text, const struct buf *value,
			     char **ret_env, struct conf_error *err)
{
	struct weir_config *cfg = pc->secrets->cfg;
	struct secret_config *next = NULL;
	struct secret_change c;
	size_t n, at;
	int r = secret_change_parse(cfg, text, strlen(text), &c, err);

	if (r < 0)
		return r;
	r = secret_change_preview(cfg, &c, &next, &n, &at);
	if (r == 0 && !value && c.op == SECRET_SET && at == cfg->n_secrets) {
		conf_error_set(err, "a new secret needs a value");
		r = -EINVAL;
	}
	if (r == 0)
		r = proxy_secrets_change(pc->secrets, pc->tp, next, n, c.env,
					 value ? VALUE_PUT : VALUE_KEPT, value, err);
	if (r < 0) {
		free(next);
	} else {
		secret_change_apply(cfg, &c, next, n);
		*ret_env = c.env;
		c.env = NULL;
	}
	secret_change_fini(&c);
	return r;
}

static int change_value(struct proxy_changes *pc, const char *env, enum value_change how,
			const struct buf *value, struct conf_error *err)
{
	const struct weir_config *cfg = pc->secrets->cfg;

	if (secret_index(cfg, env) == cfg->n_secrets) {
		conf_error_set(err, "no secret \"%.100s\" any more", env);
		return -ENOENT;
	}
	return proxy_secrets_change(pc->secrets, pc->tp, cfg->secrets, cfg->n_secrets, env, how,
				    value, err);
}

static bool is_same(const struct proxy_changes *pc, const char *env, const struct buf *value)
{
	const struct kept_secret *k = proxy_secrets_find(pc->secrets, env);

	return k && k->value && k->len == value->len && memcmp(k->value, buf_at(value), k->len) == 0;
}

/* value NULL: there is none beside it. */
static void carry_out(struct proxy_changes *pc, enum msg_type type, int32_t number,
		      const char *text, const struct buf *value)
{
	struct conf_error err = { "" };
	char *env = NULL;
	int r;

	if (type == MSG_SECRET_CHANGE) {
		r = change_definition(pc, text, value, &env, &err);
	} else if (value && is_same(pc, text, value)) {
		done(pc, MSG_SECRET_SAME, number, text);
		return;
	} else {
		r = change_value(pc, text, value ? VALUE_PUT : VALUE_DROPPED, value, &err);
	}
	if (r < 0)
		answer(pc, MSG_SECRET_REFUSED, number, err.text[0] ? err.text : strerror(-r));
	else
		done(pc, MSG_SECRET_DONE, number, env ? env : text);
	if (r == 0 && pc->changed)
		pc->changed(pc->ctx);
	free(env);
}

/* ---- reading ------------------------------------------------------------------------- */

static void forget(struct value_read *v)
{
	loop_io_del(&v->io);
	loop_timer_del(v->pc->loop, &v->late);
	fd_close(v->fd);
	locked_free(&v->memory);
	list_del(&v->in_all);
	v->pc->n--;
	free(v->text);
	free(v);
}

static void give_up(struct value_read *v, const char *why)
{
	answer(v->pc, MSG_SECRET_REFUSED, v->number, why);
	forget(v);
}

static const struct secret_config *config_of(const struct proxy_changes *pc, const char *env)
{
	const struct weir_config *cfg = pc->secrets->cfg;
	size_t i = secret_index(cfg, env);

	return i < cfg->n_secrets ? &cfg->secrets[i] : NULL;
}

/* Of a command that writes tokens; the supervisor learns how long this one is good. False: v is gone. */
static bool take_token(struct value_read *v)
{
	const struct secret_config *c = config_of(v->pc, v->text);
	const char *why;
	uint32_t life_s;

	if (!c || !c->writes_token)
		return true;
	if (secret_token_take(&v->value, &life_s, &why) < 0) {
		give_up(v, why);
		return false;
	}
	if (life_s)
		answer(v->pc, MSG_SECRET_LIFE, (int32_t)life_s, v->text);
	return true;
}

/* All is here: what was written, and of a command how it ended. */
static void finish(struct value_read *v)
{
	char why[96];

	if (v->type == MSG_SECRET_COMMAND && v->status) {
		if (WIFEXITED(v->status))
			snprintf(why, sizeof(why), "its command ended with status %d",
				 WEXITSTATUS(v->status));
		else
			snprintf(why, sizeof(why), "its command was killed by signal %d",
				 WTERMSIG(v->status));
		give_up(v, why);
		return;
	}
	secret_cut_newline(&v->value);
	if (v->type == MSG_SECRET_COMMAND && !take_token(v))
		return;
	carry_out(v->pc, v->type, v->number, v->text, &v->value);
	forget(v);
}

static const char *too_long(const struct value_read *v)
{
	return v->value.cap == SECRET_READ_MAX ? "the value is longer than 4096 bytes"
					       : "what its command wrote is too long for a token";
}

/* True: it is over, one way or the other, and v is gone. */
static bool take(struct value_read *v)
{
	bool end = false;
	int r = secret_read_some(v->fd, &v->value, &end);

	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		give_up(v, r == -EFBIG ? too_long(v) : strerror(-r));
		return true;
	}
	if (!end)
		return false;
	v->ended = true;
	loop_io_del(&v->io);
	if (v->type == MSG_SECRET_COMMAND && !v->exited)
		return true;
	finish(v);
	return true;
}

static void on_readable(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	(void)take(container_of(io, struct value_read, io));
}

static void on_late(struct loop_timer *t)
{
	give_up(container_of(t, struct value_read, late), "no value came in time");
}

/* By its kind: what is there already, or what will come. v is gone when it is over. */
static void begin(struct value_read *v)
{
	struct stat st;
	int r;

	if (fstat(v->fd, &st) < 0) {
		give_up(v, strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		while (!take(v))
			;
	} else if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
		r = loop_io_add(v->pc->loop, &v->io, v->fd, EPOLLIN, on_readable);
		if (r < 0)
			give_up(v, strerror(-r));
	} else {
		give_up(v, "a value comes from a file or a pipe, not from a device or a directory");
	}
}

static void start_reading(struct proxy_changes *pc, const struct msg *m, int fd)
{
	struct value_read *v = pc->n < PROXY_READS_MAX ? calloc(1, sizeof(*v)) : NULL;
	const struct secret_config *c = config_of(pc, m->text);
	size_t max = SECRET_READ_MAX;

	if (!v) {
		answer(pc, MSG_SECRET_REFUSED, m->head.value, "too many values are being read");
		fd_close(fd);
		return;
	}
	if (c && m->head.type == MSG_SECRET_COMMAND)
		max = secret_read_max(c);
	*v = (struct value_read){
		.pc = pc,
		.type = (enum msg_type)m->head.type,
		.number = m->head.value,
		.text = strdup(m->text),
		.fd = fd,
		.late.cb = on_late,
	};
	list_add_tail(&pc->reads, &v->in_all);
	pc->n++;
	if (!v->text || locked_new(max, &v->memory) < 0) {
		give_up(v, "no locked memory for the value: is the limit (ulimit -l) too low?");
		return;
	}
	v->value = (struct buf){ .data = v->memory.p, .size = v->memory.size, .cap = max };
	loop_timer_set(pc->loop, &v->late, loop_now_update(pc->loop) + PROXY_READ_NS);
	begin(v);
}

static void on_exit_status(struct proxy_changes *pc, const struct msg *m, size_t body)
{
	list_for_each_safe (it, next, &pc->reads) {
		struct value_read *v = container_of(it, struct value_read, in_all);

		if (v->number != m->head.value || v->type != MSG_SECRET_COMMAND ||
		    body < sizeof(m->status))
			continue;
		v->exited = true;
		v->status = m->status;
		/* One that failed may have left children that hold the pipe. */
		if (v->ended || v->status)
			finish(v);
		return;
	}
}

bool proxy_change_message(struct proxy_changes *pc, const struct msg *m, size_t body, int fd)
{
	switch (m->head.type) {
	case MSG_SECRET_CHANGE:
		if (fd < 0) {
			carry_out(pc, MSG_SECRET_CHANGE, m->head.value, m->text, NULL);
			return true;
		}
		start_reading(pc, m, fd);
		return true;
	case MSG_SECRET_VALUE:
	case MSG_SECRET_COMMAND:
		start_reading(pc, m, fd);
		return true;
	case MSG_SECRET_EXPIRED:
		fd_close(fd);
		carry_out(pc, MSG_SECRET_EXPIRED, m->head.value, m->text, NULL);
		return true;
	case MSG_SECRET_EXIT:
		fd_close(fd);
		on_exit_status(pc, m, body);
		return true;
	}
	return false;
}

void proxy_changes_init(struct proxy_changes *pc, struct proxy_secrets *ps, struct tlsproxy *tp,
			struct loop *loop, struct record *record)
{
	*pc = (struct proxy_changes){ .secrets = ps, .tp = tp, .loop = loop, .record = record };
	list_init(&pc->reads);
}

void proxy_changes_end(struct proxy_changes *pc)
{
	list_for_each_safe (it, next, &pc->reads)
		forget(container_of(it, struct value_read, in_all));
}
