/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a secret's definition says of replies that bring tokens, and the tokens that came of
 * it: each a secret of its own, told apart by the name of the one it came for.
 */
#include "tlsproxy/secret_internal.h"

/* ---- lists ------------------------------------------------------------------------------ */

void secret_texts_free(char **texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
	free(texts);
}

int secret_texts_copy(char ***ret, size_t *ret_n, const char *const *p, size_t n)
{
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (; *ret_n < n; ++*ret_n) {
		(*ret)[*ret_n] = strdup(p[*ret_n]);
		if (!(*ret)[*ret_n])
			return -ENOMEM;
	}
	return 0;
}

int secret_hosts_copy(struct tlsproxy_host_pattern **ret, size_t *ret_n,
		      const struct tlsproxy_host_pattern *p, size_t n)
{
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	if (n)
		memcpy(*ret, p, n * sizeof(**ret));
	*ret_n = n;
	return 0;
}

/* ---- definitions --------------------------------------------------------------------------- */

void secret_mask_free(struct secret_mask *m)
{
	if (!m)
		return;
	free(m->at);
	secret_texts_free(m->paths, m->n_paths);
	secret_texts_free(m->fields, m->n_fields);
	free(m);
}

int secret_mask_copy(const struct tlsproxy_mask *in, struct secret_mask **ret)
{
	struct secret_mask *m;
	int r;

	if (!in)
		return 0;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = secret_hosts_copy(&m->at, &m->n_at, in->at, in->n_at);
	if (r == 0)
		r = secret_texts_copy(&m->paths, &m->n_paths, in->paths, in->n_paths);
	if (r == 0)
		r = secret_texts_copy(&m->fields, &m->n_fields, in->fields, in->n_fields);
	if (r < 0) {
		secret_mask_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

bool secret_mask_at(const struct secret_mask *m, const struct authority *a)
{
	return m && !a->is_addr && a->name.len && tlsproxy_host_matches_any(m->at, m->n_at, &a->name);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool has(const struct secret *s, const void *value, size_t len)
{
	for (size_t i = 0; i < s->n_values; i++)
		if (s->values[i].len == len && memcmp(s->values[i].bytes, value, len) == 0)
			return true;
	return false;
}

const struct secret *secret_of_value(const struct secret_set *set, const char *of,
				     const void *value, size_t len)
{
	const struct secret *other = NULL;

	for (size_t i = 0; set && i < set->n; i++) {
		const struct secret *s = &set->secrets[i];

		if (!has(s, value, len))
			continue;
		if (s->of && str_eq(s->of, of) && s->len == len && s->value &&
		    memcmp(s->value, value, len) == 0)
			return s;
		other = s;
	}
	return other;
}
