/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All secrets of a sandbox, loaded: values copied into locked memory,
 * placeholders chosen, both automata built. What contains a value (the values,
 * their encoded forms, the automaton that finds them in replies) lies in locked
 * areas; placeholders are public and live on the heap.
 *
 * A set never changes. Its successor takes over what must not be lost: the
 * placeholder of a name (the sandbox's processes hold it), the count of its uses,
 * former values (a server may still echo them), and names that are gone (their
 * placeholder is still in the sandbox).
 */
#include "tlsproxy/secret_internal.h"
#include "tlsproxy/sign.h"

#include <stdio.h>

struct builder {
	struct secret_set *set;
	const struct secret_set *old; /* or NULL */
	const struct tlsproxy_secret *in;
	size_t n;
	uint64_t now_s;
	char *err;
	size_t err_size;
};

static int refuse(const struct builder *b, const char *env, const char *why)
{
	snprintf(b->err, b->err_size, "secret %s: %s", env ? env : "?", why);
	return -EINVAL;
}

/* ---- checks ---------------------------------------------------------------------------- */

static const char *why_bad_placeholder(const char *p)
{
	size_t n = strlen(p);

	if (n < SECRET_MIN_RANDOM || n > SECRET_PLACEHOLDER_MAX)
		return "the placeholder given for it is too short or too long";
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f)
			return "the placeholder given for it is not visible ASCII";
	return NULL;
}

static int check_one(const struct builder *b, const struct tlsproxy_secret *s)
{
	const char *why = NULL;

	if (!s->env || !*s->env)
		return refuse(b, "?", "it has no name");
	if (tlsproxy_secret_check_at(s->value, s->value_len, s->places, &why) < 0)
		return refuse(b, s->env, why);
	if (s->shape && tlsproxy_shape_check(s->shape, &why) < 0)
		return refuse(b, s->env, why);
	why = s->placeholder ? why_bad_placeholder(s->placeholder) : NULL;
	return why ? refuse(b, s->env, why) : 0;
}

static int check_all(const struct builder *b)
{
	if (b->n > SECRET_MAX_COUNT) {
		snprintf(b->err, b->err_size, "%zu secrets, the limit is %d", b->n, SECRET_MAX_COUNT);
		return -E2BIG;
	}
	for (size_t i = 0; i < b->n; i++) {
		int r = check_one(b, &b->in[i]);

		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (str_eq(b->in[i].env, b->in[j].env))
				return refuse(b, b->in[i].env, "it is there twice");
	}
	return 0;
}

/* ---- values ------------------------------------------------------------------------------ */

static const struct secret *old_of(const struct builder *b, const char *env)
{
	for (size_t i = 0; b->old && i < b->old->n; i++)
		if (str_eq(b->old->secrets[i].env, env))
			return &b->old->secrets[i];
	return NULL;
}

static int add_value(struct secret_set *set, struct secret *s, const void *p, size_t len,
		     uint64_t retired)
{
	uint8_t *value = len ? secret_area_take(&set->values, len) : NULL;

	assert(s->n_values < ARRAY_SIZE(s->values));
	if (len && !value)
		return -ENOMEM;
	if (len)
		memcpy(value, p, len);
	s->values[s->n_values++] =
		(struct secret_value){ .bytes = value, .len = len, .retired = retired };
	return 0;
}

static bool has_value(const struct secret *s, const struct secret_value *v)
{
	for (size_t i = 0; i < s->n_values; i++)
		if (s->values[i].len == v->len && memcmp(s->values[i].bytes, v->bytes, v->len) == 0)
			return true;
	return false;
}

/* Newest first: the value that was present, then those before it. */
static int add_retired(const struct builder *b, struct secret *s, const struct secret *old)
{
	int r = 0;

	for (size_t i = 0; r == 0 && old && i < old->n_values; i++) {
		const struct secret_value *v = &old->values[i];
		uint64_t since = v->retired ? v->retired : MAX(b->now_s, (uint64_t)1);

		if (!v->len || has_value(s, v) || b->now_s >= since + SECRET_RETIRED_S)
			continue;
		if (s->n_values < ARRAY_SIZE(s->values))
			r = add_value(b->set, s, v->bytes, v->len, since);
	}
	return r;
}

/* ---- definitions ---------------------------------------------------------------------------- */

static bool has_pattern(const struct tlsproxy_host_pattern *p, size_t n,
			const struct tlsproxy_host_pattern *what)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].apex == what->apex && p[i].is_suffix == what->is_suffix &&
		    name_equal(&p[i].name, &what->name))
			return true;
	return false;
}

static void add_former(struct secret *s, const struct tlsproxy_host_pattern *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (has_pattern(s->hosts, s->n_hosts, &p[i]) ||
		    has_pattern(s->former, s->n_former, &p[i]))
			continue;
		if (s->n_former < SECRET_MAX_FORMER)
			s->former[s->n_former++] = p[i];
		else
			s->anywhere = true;
	}
}

/* Where the value went before it may still come from; and what it buys, from where that goes. */
static int keep_former(struct secret *s, const struct secret *old, const struct tlsproxy_mask *mask)
{
	if ((!old || old->n_hosts + old->n_former == 0) && (!mask || !mask->n_hosts))
		return 0;
	s->former = calloc(SECRET_MAX_FORMER, sizeof(*s->former));
	if (!s->former)
		return -ENOMEM;
	if (mask)
		add_former(s, mask->hosts, mask->n_hosts);
	if (!old)
		return 0;
	s->anywhere |= old->anywhere;
	add_former(s, old->hosts, old->n_hosts);
	add_former(s, old->former, old->n_former);
	return 0;
}

static int copy_names(struct secret *s, const struct tlsproxy_secret *in)
{
	s->names = calloc(in->n_names + 1, sizeof(*s->names));
	if (!s->names)
		return -ENOMEM;
	for (; s->n_names < in->n_names; s->n_names++) {
		s->names[s->n_names] = in->names[s->n_names];
		s->names[s->n_names].name = strdup(in->names[s->n_names].name);
		if (!s->names[s->n_names].name)
			return -ENOMEM;
	}
	return 0;
}

/* Names of fields stand once for the whole set: their bits say whose they are. */
static int add_fields(const struct builder *b, struct secret *s)
{
	const char *why = "too many names of fields";
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_names; i++) {
		const char *name = s->names[i].name;
		unsigned bit;

		if (s->names[i].place != TLSPROXY_IN_BODY)
			continue;
		if (!b->set->fields)
			r = http_field_names_new(&b->set->fields);
		if (r == 0)
			r = http_field_names_add(b->set->fields, name, strlen(name), &bit, &why);
		if (r == 0)
			s->fields |= s->field_bits[i] = (uint64_t)1 << bit;
	}
	return r == -EINVAL || r == -ENOSPC ? refuse(b, s->env, why) : r;
}

static int take_uses(struct secret *s, const struct secret *old)
{
	s->uses = old ? old->uses : calloc(1, sizeof(*s->uses));
	if (!s->uses)
		return -ENOMEM;
	s->uses->refs++;
	return 0;
}

static int load_one(const struct builder *b, const struct tlsproxy_secret *in, struct secret *s)
{
	const struct secret *old = old_of(b, in->env);
	const char *given = old ? old->placeholder : in->placeholder;
	int r;

	s->env = strdup(in->env);
	s->placeholder = given ? strdup(given) : NULL;
	s->places = in->sign ? 0 : in->places;
	s->max_uses = in->max_uses;
	s->plain_http = in->plain_http;
	s->on_violation = in->on_violation;
	s->awaited = in->awaited;
	s->renews = in->renews;
	s->of = in->of ? strdup(in->of) : NULL;
	if (!s->env || (given && !s->placeholder) || (in->of && !s->of))
		return -ENOMEM;
	r = add_value(b->set, s, in->value, in->value_len, 0);
	if (r == 0)
		r = add_retired(b, s, old);
	if (r == 0)
		r = take_uses(s, old);
	if (r == 0 && !old)
		s->uses->n = in->uses;
	if (r == 0)
		r = secret_hosts_copy(&s->hosts, &s->n_hosts, in->hosts, in->n_hosts);
	if (r == 0)
		r = keep_former(s, old, in->mask);
	if (r == 0)
		r = secret_mask_copy(in->mask, &s->mask);
	if (r == 0)
		r = secret_hosts_copy(&s->passthrough, &s->n_passthrough, in->passthrough,
				      in->n_passthrough);
	if (r == 0)
		r = copy_names(s, in);
	if (r == 0)
		r = add_fields(b, s);
	if (r == 0)
		r = secret_texts_copy(&s->methods, &s->n_methods, in->methods, in->n_methods);
	if (r == 0)
		r = secret_texts_copy(&s->paths, &s->n_paths, in->paths, in->n_paths);
	s->value = s->values[0].bytes;
	s->len = s->values[0].len;
	return r;
}

/* Gone, and still recognised. */
static int load_removed(const struct builder *b, const struct secret *old, struct secret *s)
{
	int r;

	s->removed = true;
	s->on_violation = old->on_violation;
	s->env = strdup(old->env);
	s->placeholder = strdup(old->placeholder);
	s->of = old->of ? strdup(old->of) : NULL;
	if (!s->env || !s->placeholder || (old->of && !s->of))
		return -ENOMEM;
	r = add_value(b->set, s, NULL, 0, 0);
	if (r == 0)
		r = add_retired(b, s, old);
	if (r == 0)
		r = keep_former(s, old, NULL);
	return r == 0 ? take_uses(s, old) : r;
}

static bool is_given(const struct builder *b, const char *env)
{
	for (size_t i = 0; i < b->n; i++)
		if (str_eq(b->in[i].env, env))
			return true;
	return false;
}

/* Just removed ones come before those that were gone already, so the oldest are left out. */
static int load_all(const struct builder *b)
{
	struct secret_set *set = b->set;
	size_t tokens = 0;
	int r = 0;

	for (; r == 0 && set->n < b->n; set->n++)
		r = load_one(b, &b->in[set->n], &set->secrets[set->n]);
	set->n_present = b->n;
	for (size_t i = 0; r == 0 && i < b->n; i++)
		if (b->in[i].sign)
			r = sign_rule_new(b->in, b->n, i, &set->secrets[i].sign, b->err, b->err_size);
	for (size_t i = 0; r == 0 && b->old && i < b->old->n; i++) {
		const struct secret *o = &b->old->secrets[i];

		if (is_given(b, o->env) || set->n >= b->n + SECRET_MAX_REMOVED ||
		    (o->of && tokens++ >= SECRET_MAX_REMOVED_TOKENS))
			continue;
		r = load_removed(b, o, &set->secrets[set->n++]);
	}
	return r;
}

static size_t bytes_of_values(const struct builder *b)
{
	size_t bytes = 0;

	for (size_t i = 0; i < b->n; i++)
		bytes += b->in[i].value_len + SECRET_AREA_ALIGN;
	for (size_t i = 0; b->old && i < b->old->n; i++)
		for (size_t k = 0; k < b->old->secrets[i].n_values; k++)
			bytes += b->old->secrets[i].values[k].len + SECRET_AREA_ALIGN;
	return bytes;
}

/* ---- placeholders ------------------------------------------------------------------ */

static bool contains(const void *hay, size_t hay_len, const void *needle, size_t n)
{
	return memmem(hay, hay_len, needle, n) != NULL;
}

static bool overlap(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return contains(a, a_len, b, b_len) || contains(b, b_len, a, a_len);
}

/* No placeholder or value may be found inside another secret's placeholder or value. */
static bool placeholder_collides(const struct secret_set *set, const struct secret *s,
				 const char *placeholder, size_t len)
{
	for (size_t j = 0; j < set->n; j++) {
		const struct secret *o = &set->secrets[j];

		for (size_t k = 0; k < o->n_values; k++)
			if (o->values[k].len &&
			    overlap(o->values[k].bytes, o->values[k].len, placeholder, len))
				return true;
		if (o != s && o->placeholder &&
		    overlap(o->placeholder, strlen(o->placeholder), placeholder, len))
			return true;
	}
	return false;
}

/* `text` has room for the longest. */
static int draw(const struct builder *b, struct secret *s, const char *shape, char *text)
{
	for (unsigned tries = 0; tries < SECRET_MAX_TRIES; tries++) {
		/* A prefix that collides (it is somebody's whole value) is given up. */
		int r = secret_placeholder_shape(shape, s->value, s->len,
						 tries < SECRET_MAX_TRIES / 2, text,
						 SECRET_PLACEHOLDER_MAX + 1);

		if (r < 0)
			return r;
		if (placeholder_collides(b->set, s, text, strlen(text)))
			continue;
		s->placeholder = strdup(text);
		return s->placeholder ? 0 : -ENOMEM;
	}
	return refuse(b, s->env,
		      "no placeholder can be told apart from the other secrets; is the value, or "
		      "the shape, too short?");
}

/* What is given stands first: the rest is drawn around it. */
static int choose_placeholders(const struct builder *b)
{
	cleanup_free char *text = malloc(SECRET_PLACEHOLDER_MAX + 1);
	struct secret_set *set = b->set;
	int r = 0;

	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < set->n; i++) {
		struct secret *s = &set->secrets[i];

		if (s->placeholder &&
		    placeholder_collides(set, s, s->placeholder, strlen(s->placeholder)))
			return refuse(b, s->env,
				      "its placeholder, which is in use, cannot be told apart from "
				      "a value or another placeholder");
	}
	for (size_t i = 0; r == 0 && i < set->n; i++) {
		struct secret *s = &set->secrets[i];

		if (!s->placeholder)
			r = draw(b, s, b->in[i].shape ? b->in[i].shape : "same", text);
		s->placeholder_len = r == 0 ? strlen(s->placeholder) : 0;
		for (size_t k = 0; k < s->n_values; k++)
			s->values[k].fits =
				secret_placeholder_fits(s->placeholder, s->placeholder_len,
							s->values[k].bytes, s->values[k].len);
	}
	return r;
}

/* ---- life ------------------------------------------------------------------------------- */

static int build(const struct builder *b)
{
	size_t removed = b->old ? MIN(b->old->n, (size_t)SECRET_MAX_REMOVED) : 0;
	int r;

	b->set->refs = 1;
	b->set->secrets = calloc(b->n + removed + 1, sizeof(*b->set->secrets));
	r = b->set->secrets ? secret_area_init(&b->set->values, bytes_of_values(b)) : -ENOMEM;
	if (r == 0)
		r = load_all(b);
	if (r == 0)
		r = choose_placeholders(b);
	return r == 0 ? secret_patterns_build(b->set) : r;
}

int secret_set_next(const struct secret_set *old, const struct tlsproxy_secret *in, size_t n,
		    uint64_t now_s, struct secret_set **ret, char *err, size_t err_size)
{
	struct builder b = {
		.old = old, .in = in, .n = n, .now_s = now_s, .err = err, .err_size = err_size
	};
	int r = check_all(&b);

	if (r < 0)
		return r;
	b.set = calloc(1, sizeof(*b.set));
	r = b.set ? build(&b) : -ENOMEM;
	if (r < 0 && r != -EINVAL)
		snprintf(err, err_size,
			 "cannot load the secrets into locked memory (%s): is the limit on "
			 "locked memory (ulimit -l) too low?",
			 strerror(-r));
	if (r < 0) {
		secret_set_unref(b.set);
		return r;
	}
	*ret = b.set;
	return 0;
}

int secret_set_new(const struct tlsproxy_secret *in, size_t n, struct secret_set **ret, char *err,
		   size_t err_size)
{
	return secret_set_next(NULL, in, n, 0, ret, err, err_size);
}

static void secret_fini(struct secret *s)
{
	free(s->env);
	free(s->placeholder);
	free(s->of);
	secret_mask_free(s->mask);
	free(s->hosts);
	free(s->former);
	free(s->passthrough);
	for (size_t i = 0; i < s->n_names; i++)
		free((char *)(uintptr_t)s->names[i].name);
	free(s->names);
	secret_texts_free(s->methods, s->n_methods);
	secret_texts_free(s->paths, s->n_paths);
	sign_rule_free(s->sign);
	if (s->uses && --s->uses->refs == 0)
		free(s->uses);
}

struct secret_set *secret_set_ref(struct secret_set *set)
{
	if (set)
		set->refs++;
	return set;
}

void secret_set_unref(struct secret_set *set)
{
	if (!set || --set->refs)
		return;
	for (size_t i = 0; set->secrets && i < set->n; i++)
		secret_fini(&set->secrets[i]);
	free(set->secrets);
	http_field_names_free(set->fields);
	free(set->out_patterns);
	free(set->back_patterns);
	free(set->out_bytes);
	free(set->out_nodes);
	secret_area_fini(&set->values);
	secret_area_fini(&set->derived);
	free(set);
}

size_t secret_set_count(const struct secret_set *set)
{
	return set ? set->n : 0;
}

const char *secret_set_placeholder(const struct secret_set *set, size_t i)
{
	assert(i < set->n);
	return set->secrets[i].placeholder;
}
