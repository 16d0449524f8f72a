/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the secrets: read by the parser of configuration files, so that a
 * live secret is no other thing than one from the start; laid out aside, so that
 * it is in force as a whole or not at all.
 */
#include "weir/secret_change.h"

#include "weir/config_internal.h"

static const struct {
	const char *name;
	enum secret_op op;
} ops[] = {
	{ "set", SECRET_SET },
	{ "value", SECRET_VALUE },
	{ "hosts", SECRET_HOSTS },
	{ "rm", SECRET_REMOVE },
};

size_t secret_index(const struct weir_config *cfg, const char *env)
{
	size_t i = 0;

	while (i < cfg->n_secrets && !str_eq(cfg->secrets[i].env, env))
		i++;
	return i;
}

/* ---- reading --------------------------------------------------------------------- */

static int read_definition(const struct conf *c, struct secret_change *ret, struct conf_error *err)
{
	struct config_builder b = { .err = err,
				    .on_violation = TLSPROXY_BLOCK_AND_LOG,
				    .live_secret = true,
				    .c = calloc(1, sizeof(*b.c)) };
	int r = b.c ? config_read_secret(&b, c) : -ENOMEM;

	for (size_t i = 0; b.c && b.secret_places && i < b.c->n_secrets; i++)
		free(b.secret_places[i]);
	free(b.secret_places);
	if (r == 0)
		r = (ret->env = strdup(b.c->secrets[0].env)) ? 0 : -ENOMEM;
	if (r < 0)
		weir_config_free(b.c);
	else
		ret->def = b.c;
	return r;
}

static int read_env(const struct conf *c, struct secret_change *ret, struct conf_error *err)
{
	struct conf env = conf_member(c, "env");
	const char *text = NULL;
	int r = conf_str(&env, &text, err);

	if (r == 0 && !text)
		r = conf_fail(c, err, "\"env\" is missing: which secret?");
	if (r == 0)
		r = (ret->env = strdup(text)) ? 0 : -ENOMEM;
	return r;
}

/* The hosts are read as a whole definition, which has nothing else. */
static int read_hosts(const struct conf *c, struct secret_change *ret, struct conf_error *err)
{
	struct conf hosts = conf_member(c, "hosts");
	json_t *o = json_pack("{s:O*, s:O*}", "env", json_object_get(c->v, "env"), "hosts", hosts.v);
	struct conf def = *c;
	int r;

	def.v = o;
	r = o ? read_definition(&def, ret, err) : -ENOMEM;
	json_decref(o);
	return r;
}

static int read_op(const struct conf *c, struct secret_change *ret, struct conf_error *err)
{
	struct conf op = conf_member(c, "op"), secret = conf_member(c, "secret");
	const char *text = NULL;
	int r = conf_str(&op, &text, err);

	if (r < 0)
		return r;
	for (size_t i = 0; text && i < ARRAY_SIZE(ops); i++)
		if (str_eq(text, ops[i].name))
			ret->op = ops[i].op;
	switch (ret->op) {
	case SECRET_SET:
		return read_definition(&secret, ret, err);
	case SECRET_HOSTS:
		return read_hosts(c, ret, err);
	case SECRET_VALUE:
	case SECRET_REMOVE:
		return read_env(c, ret, err);
	}
	return conf_fail(c, err, "\"op\" is set, value, hosts or rm");
}

static int check(const struct weir_config *cfg, const struct secret_change *c, struct conf_error *err)
{
	bool is_there = secret_index(cfg, c->env) < cfg->n_secrets;
	char quoted[80];

	if (!is_there && c->op != SECRET_SET) {
		conf_error_set(err, "no secret \"%s\"",
			       log_quote(c->env, strlen(c->env), quoted, sizeof(quoted)));
		return -ENOENT;
	}
	if (!is_there && cfg->n_secrets >= CONFIG_SECRETS_MAX) {
		conf_error_set(err, "more than %d secrets", CONFIG_SECRETS_MAX);
		return -E2BIG;
	}
	if (c->def && c->def->secrets[0].token) {
		conf_error_set(err,
			       "\"token\" cannot be given to a running sandbox: only endpoints of "
			       "the configuration it was started with are dialled");
		return -ENOTSUP;
	}
	return c->def ? config_check_secret_hosts(cfg, &c->def->secrets[0], err) : 0;
}

int secret_change_parse(const struct weir_config *cfg, const char *text, size_t len,
			struct secret_change *ret, struct conf_error *err)
{
	struct secret_change c = { 0 };
	struct conf_doc *doc = NULL;
	struct conf root;
	int r = conf_doc_parse(text, len, "secret", CONF_JSON, &doc, err);

	if (r == 0) {
		root = conf_root(doc);
		r = read_op(&root, &c, err);
	}
	conf_doc_free(doc);
	if (r == 0)
		r = check(cfg, &c, err);
	if (r < 0) {
		secret_change_fini(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void secret_change_fini(struct secret_change *c)
{
	free(c->env);
	weir_config_free(c->def);
	*c = (struct secret_change){ 0 };
}

/* ---- applying ---------------------------------------------------------------------- */

int secret_change_preview(const struct weir_config *cfg, const struct secret_change *c,
			  struct secret_config **ret, size_t *ret_n, size_t *ret_at)
{
	size_t at = secret_index(cfg, c->env), n = cfg->n_secrets;
	struct secret_config *next = calloc(n + 1, sizeof(*next));

	if (!next)
		return -ENOMEM;
	if (n)
		memcpy(next, cfg->secrets, n * sizeof(*next));
	if (c->op == SECRET_SET) {
		next[at] = c->def->secrets[0];
		n = MAX(n, at + 1);
	} else if (c->op == SECRET_HOSTS) {
		next[at].hosts = c->def->secrets[0].hosts;
		next[at].n_hosts = c->def->secrets[0].n_hosts;
	} else if (c->op == SECRET_REMOVE) {
		memmove(next + at, next + at + 1, (n - at - 1) * sizeof(*next));
		n--;
	}
	*ret = next;
	*ret_n = n;
	*ret_at = at;
	return 0;
}

void secret_change_apply(struct weir_config *cfg, struct secret_change *c,
			 struct secret_config *next, size_t n)
{
	size_t at = secret_index(cfg, c->env);

	if (c->op == SECRET_HOSTS) {
		free(cfg->secrets[at].hosts);
		c->def->secrets[0].hosts = NULL;
	} else if (c->op == SECRET_SET || c->op == SECRET_REMOVE) {
		if (at < cfg->n_secrets)
			config_secret_fini(&cfg->secrets[at]);
		if (c->def)
			c->def->n_secrets = 0; /* is in next */
	}
	free(cfg->secrets);
	cfg->secrets = next;
	cfg->n_secrets = n;
}
