/* SPDX-License-Identifier: Apache-2.0 */
/* Values and placeholders of the tlsproxy process, and their way into the vault and out of it. */
#include "weir/proxy_secrets.h"

#include "weir/secret_change.h"
#include "weir/secret_source.h"
#include "weir/secret_token.h"

#include <unistd.h>

const struct kept_secret *proxy_secrets_find(const struct proxy_secrets *ps, const char *env)
{
	return kept_find(&ps->kept, env);
}

/* ---- the image ----------------------------------------------------------------- */

/* Takes over image. */
static int adopt(struct proxy_secrets *ps, struct locked image, size_t len)
{
	struct kept k = { .secrets = ps->list, .tokens = ps->tokens };
	int r = image_get(image.p, len, &k);

	if (r < 0) {
		locked_free(&image);
		return r;
	}
	locked_free(&ps->image);
	ps->image = image;
	ps->kept = k;
	return 0;
}

/* Another content of the vault; on failure nothing has changed. */
static int put(struct proxy_secrets *ps, const struct kept *next)
{
	size_t len = image_size(next);
	struct locked image;
	int r = len > VAULT_IMAGE_MAX ? -EFBIG : locked_new(len, &image);

	if (r < 0)
		return r;
	image_put(next, image.p);
	r = vault_write(&ps->vault, image.p, len);
	if (r < 0) {
		locked_free(&image);
		return r;
	}
	return adopt(ps, image, len);
}

/* ---- at the start ----------------------------------------------------------------- */

/* What the source has, which may be more than the value, becomes it. */
static int read_value(const struct secret_config *s, const struct locked *at, size_t *ret_len,
		      uint32_t *ret_life_s, struct conf_error *err)
{
	struct buf b = { .data = at->p, .size = at->size, .cap = secret_read_max(s) };
	const char *why;
	int r = secret_read(s, &b, err);

	if (r == 0 && s->writes_token && secret_token_take(&b, ret_life_s, &why) < 0) {
		conf_error_set(err, "secret %s: what its command wrote: %s", s->env, why);
		r = -EINVAL;
	}
	if (r == 0 &&
	    tlsproxy_secret_check_at((char *)buf_at(&b), b.len, s->sign ? 0 : s->places, &why) < 0) {
		conf_error_set(err, "secret %s: %s", s->env, why);
		r = -EINVAL;
	}
	*ret_len = b.len;
	return r;
}

/* Without placeholders and authority yet: a proxy that is to make them is not there. */
static int read_sources(struct proxy_secrets *ps, struct conf_error *err)
{
	struct kept k = { .ca_pem = "", .secrets = calloc(CONFIG_SECRETS_MAX, sizeof(*k.secrets)) };
	size_t n = ps->cfg->n_secrets, len;
	struct locked values = { 0 }, image, raw = { 0 };
	int r = k.secrets ? locked_new(n * SECRET_READ_MAX, &values) : -ENOMEM;

	if (r == 0)
		r = locked_new(MAX(SECRET_READ_MAX, SECRET_TOKEN_OUTPUT_MAX), &raw);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct kept_secret *s = &k.secrets[k.n++];

		*s = (struct kept_secret){ .env = ps->cfg->secrets[i].env,
					   .placeholder = "",
					   .value = values.p + i * SECRET_READ_MAX };
		r = read_value(&ps->cfg->secrets[i], &raw, &s->len, &ps->lives[i], err);
		if (r == 0)
			memcpy(values.p + i * SECRET_READ_MAX, raw.p, s->len);
	}
	len = r == 0 ? image_size(&k) : 0;
	if (r == 0)
		r = locked_new(len, &image);
	if (r == 0) {
		image_put(&k, image.p);
		r = adopt(ps, image, len);
	}
	locked_free(&raw);
	locked_free(&values);
	free(k.secrets);
	return r;
}

static bool is_masked(const struct secret_config *defs, size_t n, const char *env)
{
	for (size_t i = 0; i < n; i++)
		if (defs[i].mask && str_eq(defs[i].env, env))
			return true;
	return false;
}

/* A process before this may have died before the supervisor heard of a secret's change. */
static void drop_orphans(struct proxy_secrets *ps)
{
	struct kept *k = &ps->kept;
	size_t n = 0;

	for (size_t i = 0; i < k->n_tokens; i++)
		if (is_masked(ps->cfg->secrets, ps->cfg->n_secrets, k->tokens[i].of))
			k->tokens[n++] = k->tokens[i];
	k->n_tokens = n;
}

int proxy_secrets_open(struct proxy_secrets *ps, bool first, struct conf_error *err)
{
	struct locked image;
	size_t len;
	int r = vault_own_key(&ps->vault);

	if (r == 0 && first) {
		r = read_sources(ps, err);
	} else if (r == 0) {
		r = vault_read(&ps->vault, &image, &len);
		if (r == 0)
			r = adopt(ps, image, len);
		if (r == 0)
			drop_orphans(ps);
	}
	if (r < 0 && !err->text[0])
		conf_error_set(err,
			       "the tlsproxy cannot hold its keys in locked memory (%s): is the "
			       "limit on locked memory (ulimit -l) too low?",
			       strerror(-r));
	return r;
}

/* ---- what a successor is to know ----------------------------------------------------- */

/*
 * Secrets that are gone keep their placeholders, which the sandbox has and which stay
 * violations; the oldest first, as far as there is room.
 */
static void keep_removed(const struct proxy_secrets *ps, struct kept *next)
{
	for (size_t i = 0; i < ps->kept.n && next->n < CONFIG_SECRETS_MAX; i++) {
		struct kept_secret gone = ps->kept.secrets[i];

		if (kept_find(next, gone.env))
			continue;
		gone.value = NULL;
		gone.len = 0;
		next->secrets[next->n++] = gone;
	}
}

int proxy_secrets_removed(const struct proxy_secrets *ps, struct secret_config **ret, size_t *ret_n)
{
	const struct weir_config *cfg = ps->cfg;
	struct secret_config *all = calloc(CONFIG_SECRETS_MAX + 1, sizeof(*all));
	size_t n = cfg->n_secrets;

	if (!all)
		return -ENOMEM;
	if (n)
		memcpy(all, cfg->secrets, n * sizeof(*all));
	for (size_t i = 0; i < ps->kept.n && n < CONFIG_SECRETS_MAX; i++)
		if (secret_index(cfg, ps->kept.secrets[i].env) == cfg->n_secrets)
			all[n++] = (struct secret_config){
				.env = (char *)(uintptr_t)ps->kept.secrets[i].env,
				.places = TLSPROXY_PLACES_DEFAULT,
				.on_violation = TLSPROXY_BLOCK_AND_LOG,
			};
	*ret = all;
	*ret_n = n;
	return 0;
}

int proxy_secrets_keep(struct proxy_secrets *ps, const struct tlsproxy *tp, struct conf_error *err)
{
	struct kept_secret list[CONFIG_SECRETS_MAX];
	struct kept next = { .ca_pem = tlsproxy_ca_pem(tp), .secrets = list };
	struct locked key;
	int r = locked_new(TLSPROXY_CA_KEY_MAX, &key);

	if (r == 0) {
		next.ca_key = key.p;
		r = tlsproxy_ca_key(tp, key.p, TLSPROXY_CA_KEY_MAX, &next.ca_key_len);
		for (size_t i = 0; r == 0 && i < ps->cfg->n_secrets; i++) {
			list[next.n] = *proxy_secrets_find(ps, ps->cfg->secrets[i].env);
			list[next.n++].placeholder = tlsproxy_placeholder(tp, i);
		}
		keep_removed(ps, &next);
		next.tokens = ps->kept.tokens;
		next.n_tokens = ps->kept.n_tokens;
		if (r == 0)
			r = put(ps, &next);
		locked_free(&key);
	}
	if (r < 0)
		conf_error_set(err, "the tlsproxy cannot keep its keys for a successor: %s%s",
			       strerror(-r),
			       r == -ENOMEM || r == -EAGAIN || r == -EPERM
				       ? "; is the limit on locked memory (ulimit -l) too low?"
				       : "");
	return r;
}

/* ---- while it runs ---------------------------------------------------------------- */

/* Tokens go with the secret that they came for. */
static void keep_tokens(const struct proxy_secrets *ps, const struct secret_config *defs, size_t n,
			struct kept *next)
{
	for (size_t i = 0; i < ps->kept.n_tokens; i++)
		if (is_masked(defs, n, ps->kept.tokens[i].of))
			next->tokens[next->n_tokens++] = ps->kept.tokens[i];
}

static void next_kept(const struct proxy_secrets *ps, const struct secret_config *defs, size_t n,
		      const char *env, enum value_change how, const struct buf *value,
		      struct kept *ret)
{
	ret->ca_pem = ps->kept.ca_pem;
	ret->ca_key = ps->kept.ca_key;
	ret->ca_key_len = ps->kept.ca_key_len;
	for (ret->n = 0; ret->n < n; ret->n++) {
		struct kept_secret *s = &ret->secrets[ret->n];
		const struct kept_secret *was = kept_find(&ps->kept, defs[ret->n].env);

		*s = was ? *was : (struct kept_secret){ .env = defs[ret->n].env, .placeholder = "" };
		if (!str_eq(s->env, env) || how == VALUE_KEPT)
			continue;
		s->value = how == VALUE_PUT ? buf_at(value) : NULL;
		s->len = how == VALUE_PUT ? value->len : 0;
	}
	keep_removed(ps, ret);
	keep_tokens(ps, defs, n, ret);
}

void proxy_secrets_used(struct proxy_secrets *ps, const char *env, uint64_t uses)
{
	size_t at = secret_index(ps->cfg, env);
	struct kept next = ps->kept;
	struct kept_secret list[CONFIG_SECRETS_MAX];

	/* Only where it counts: this is written for each of them. */
	if (at == ps->cfg->n_secrets || !ps->cfg->secrets[at].terms.max_uses)
		return;
	memcpy(list, ps->kept.secrets, ps->kept.n * sizeof(*list));
	next.secrets = list;
	for (size_t i = 0; i < next.n; i++)
		if (str_eq(list[i].env, env) && list[i].uses < uses)
			list[i].uses = uses;
	if (put(ps, &next) < 0)
		log_warn("secret %s: a successor would not know of this use", env);
}

static int replace(struct tlsproxy *tp, const struct secret_config *defs, size_t n,
		   const struct kept *kept, struct conf_error *err)
{
	struct secret_list list;
	int r = secret_list_new(defs, n, kept, &list);

	if (r < 0) {
		conf_error_set(err, "%s", strerror(-r));
		return r;
	}
	r = tlsproxy_secrets_replace(tp, list.v, list.n, err->text, sizeof(err->text));
	secret_list_free(&list);
	return r;
}

int proxy_secrets_begin(struct proxy_secrets *ps, struct tlsproxy *tp, struct conf_error *err)
{
	return replace(tp, ps->cfg->secrets, ps->cfg->n_secrets, &ps->kept, err);
}

/* What the proxy has taken goes into the vault as well; or it is taken back. */
static int keep(struct proxy_secrets *ps, struct tlsproxy *tp, const struct kept *next,
		struct conf_error *err)
{
	struct conf_error ignored;
	int r = put(ps, next);

	if (r == 0)
		return 0;
	/* A successor would not know it: then it is not in force here either. */
	conf_error_set(err, "cannot be kept for a successor of the tlsproxy: %s", strerror(-r));
	if (replace(tp, ps->cfg->secrets, ps->cfg->n_secrets, &ps->kept, &ignored) < 0)
		_exit(1);
	return r;
}

int proxy_secrets_tokens(struct proxy_secrets *ps, struct tlsproxy *tp, struct kept_token *tokens,
			 size_t n, struct conf_error *err)
{
	struct kept next = ps->kept;
	size_t at = ps->cfg->n_secrets;
	int r;

	next.tokens = tokens;
	next.n_tokens = n;
	r = replace(tp, ps->cfg->secrets, at, &next, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		tokens[i].placeholder = tlsproxy_placeholder(tp, at + i);
	return keep(ps, tp, &next, err);
}

int proxy_secrets_change(struct proxy_secrets *ps, struct tlsproxy *tp,
			 const struct secret_config *defs, size_t n, const char *env,
			 enum value_change how, const struct buf *value, struct conf_error *err)
{
	struct kept_secret list[CONFIG_SECRETS_MAX];
	struct kept_token tokens[KEPT_TOKENS_MAX];
	struct kept next = { .secrets = list, .tokens = tokens };
	int r;

	next_kept(ps, defs, n, env, how, value, &next);
	r = replace(tp, defs, n, &next, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		list[i].placeholder = tlsproxy_placeholder(tp, i);
	return keep(ps, tp, &next, err);
}

void proxy_secrets_close(struct proxy_secrets *ps)
{
	locked_free(&ps->image);
	ps->kept = (struct kept){ 0 };
	vault_free(&ps->vault);
}
