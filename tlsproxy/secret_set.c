/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All secrets of a sandbox, loaded: values copied into locked memory,
 * placeholders chosen, both automata built. What contains a value (the values,
 * their escaped forms, the automaton that finds them in replies) lives in the
 * locked area; placeholders are public and live on the heap.
 */
#include "tlsproxy/secret_internal.h"
#include "tlsproxy/sign.h"

#include <stdio.h>

int tlsproxy_secret_check(const char *value, size_t len, const char **ret_why)
{
	const char *why = NULL;
	bool varied = false;

	if (len < TLSPROXY_SECRET_MIN)
		why = "a secret has at least 8 bytes: a shorter one occurs in ordinary text";
	else if (len > TLSPROXY_SECRET_MAX)
		why = "a secret has at most 4096 bytes";
	for (size_t i = 0; !why && i < len; i++) {
		unsigned char c = (unsigned char)value[i];

		varied = varied || value[i] != value[0];
		if (c == '\n' || c == '\r')
			why = "the value contains a line break (a trailing newline in a file?)";
		else if (c <= ' ' || c >= 0x7f)
			why = "the value contains a space, control or non-ASCII character: it "
			      "cannot stand in a header";
	}
	if (!why && !varied)
		why = "all characters of the value are the same";
	if (!why)
		return 0;
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

const char *secret_form_name(enum secret_form form)
{
	switch (form) {
	case SECRET_PLAIN:
		return "plain";
	case SECRET_PERCENT:
	case SECRET_ODD_PERCENT:
		return "percent";
	case SECRET_JSON:
	case SECRET_ODD_JSON:
		return "json";
	case SECRET_BASE64:
		return "base64";
	case SECRET_HEX:
		return "hex";
	}
	return "unknown";
}

bool secret_host_allowed(const struct secret *s, const struct authority *a)
{
	if (a->is_addr || a->name.len == 0)
		return false;
	for (size_t i = 0; i < s->n_hosts; i++)
		if (tlsproxy_host_matches(&s->hosts[i], &a->name))
			return true;
	return false;
}

/* ---- placeholders ------------------------------------------------------------------ */

static bool contains(const void *hay, size_t hay_len, const void *needle, size_t n)
{
	return memmem(hay, hay_len, needle, n) != NULL;
}

/* No placeholder or value may be found inside another secret's placeholder or value. */
static bool placeholder_collides(const struct secret_set *set, size_t i)
{
	const struct secret *s = &set->secrets[i];

	for (size_t j = 0; j < set->n; j++) {
		const struct secret *o = &set->secrets[j];

		if (contains(o->value, o->len, s->placeholder, s->len) ||
		    contains(s->placeholder, s->len, o->value, o->len))
			return true;
		if (j < i && (contains(o->placeholder, o->len, s->placeholder, s->len) ||
			      contains(s->placeholder, s->len, o->placeholder, o->len)))
			return true;
	}
	return false;
}

static int choose_placeholders(struct secret_set *set, char *err, size_t err_size)
{
	for (size_t i = 0; i < set->n; i++) {
		struct secret *s = &set->secrets[i];
		unsigned tries = 0;

		/* Given out by the proxy before: checked then. */
		if (s->placeholder[0])
			continue;
		do {
			if (tries++ == SECRET_MAX_TRIES) {
				snprintf(err, err_size,
					 "secret %s: no placeholder can be told apart "
					 "from the other secrets; is the value too short?",
					 s->env);
				return -EINVAL;
			}
			/* A prefix that collides (it is somebody's whole value) is given up. */
			s->shaped = secret_placeholder_make(
				s->value, s->len, tries < SECRET_MAX_TRIES / 2, s->placeholder);
		} while (placeholder_collides(set, i));
	}
	return 0;
}

/* ---- patterns ------------------------------------------------------------------------ */

/*
 * Out: a placeholder in every form; the plain and client-escaped ones become the
 * value. Back: the value in the forms that a server echoes; all become the placeholder.
 * Without `out` it only counts.
 */
struct writer {
	const struct secret_set *set;
	bool back;
	struct secret_pattern *out;
	size_t n;    /* patterns */
	size_t find; /* bytes to look for */
	size_t put;  /* bytes to write instead */
	uint8_t *find_at, *put_at;
};

typedef size_t encode_fn(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);

static size_t encode_plain(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	(void)variant;
	if (out)
		memcpy(out, p, n);
	return n;
}

static size_t encode_base64(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	return secret_encode_base64(variant / 2, variant % 2, p, n, out);
}

static size_t encode_hex(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	return secret_encode_hex(variant, p, n, out);
}

static void add_pattern(struct writer *w, size_t i, enum secret_form form, encode_fn *encode,
			unsigned variant)
{
	const struct secret *s = &w->set->secrets[i];
	const uint8_t *ph = (const uint8_t *)s->placeholder;
	const uint8_t *from = w->back ? s->value : ph, *to = w->back ? ph : s->value;
	size_t len = encode(variant, from, s->len, NULL);
	bool put = w->back || form <= SECRET_JSON;

	/* A form without anything to escape is the plain one. */
	if (form != SECRET_PLAIN && form <= SECRET_JSON && len == s->len)
		return;
	/* Same punctuation, same escapes: lengths stay true. Unshaped values have no such form. */
	if (put && encode(variant, to, s->len, NULL) != len)
		return;
	if (w->out) {
		w->out[w->n] = (struct secret_pattern){ .bytes = w->find_at,
							.put = put ? w->put_at : NULL,
							.len = (uint32_t)len,
							.secret = (uint16_t)i,
							.form = (uint8_t)form };
		w->find_at += encode(variant, from, s->len, w->find_at);
		if (put)
			w->put_at += encode(variant, to, s->len, w->put_at);
	}
	w->n++;
	w->find += len;
	w->put += put ? len : 0;
}

static void add_all(struct writer *w)
{
	for (size_t i = 0; i < w->set->n; i++) {
		add_pattern(w, i, SECRET_PLAIN, encode_plain, 0);
		for (unsigned v = 0; v < SECRET_PERCENT_VARIANTS; v++)
			add_pattern(w, i, SECRET_PERCENT, secret_encode_percent, v);
		for (unsigned v = 0; v < SECRET_JSON_VARIANTS; v++)
			add_pattern(w, i, SECRET_JSON, secret_encode_json, v);
		for (unsigned v = 0; v < 6; v++)
			add_pattern(w, i, SECRET_BASE64, encode_base64, v);
		for (unsigned v = 0; !w->back && v < 2; v++)
			add_pattern(w, i, SECRET_HEX, encode_hex, v);
	}
}

/* ---- loading --------------------------------------------------------------------------- */

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* See struct secret: what stands between letters and digits is as in the value. */
static bool same_punctuation(const struct secret *s)
{
	for (size_t i = 0; i < s->len; i++)
		if ((!is_word((char)s->value[i]) || !is_word(s->placeholder[i])) &&
		    (char)s->value[i] != s->placeholder[i])
			return false;
	return true;
}

static int load_one(struct secret_set *set, const struct tlsproxy_secret *in, struct secret *s)
{
	uint8_t *value = secret_area_take(&set->values, in->value_len);

	if (!value)
		return -ENOMEM;
	memcpy(value, in->value, in->value_len);
	s->value = value;
	s->len = in->value_len;
	s->places = in->sign ? 0 : in->places;
	s->on_violation = in->on_violation;
	s->awaited = in->awaited;
	s->env = strdup(in->env ? in->env : "");
	s->placeholder = calloc(1, in->value_len + 1);
	s->hosts = calloc(in->n_hosts + 1, sizeof(*s->hosts));
	if (!s->env || !s->placeholder || !s->hosts)
		return -ENOMEM;
	if (in->placeholder && strlen(in->placeholder) == s->len) {
		memcpy(s->placeholder, in->placeholder, s->len);
		s->shaped = same_punctuation(s);
	}
	if (in->n_hosts)
		memcpy(s->hosts, in->hosts, in->n_hosts * sizeof(*s->hosts));
	s->n_hosts = in->n_hosts;
	return 0;
}

static int check_all(const struct tlsproxy_secret *s, size_t n, char *err, size_t err_size)
{
	const char *why;

	if (n > SECRET_MAX_COUNT) {
		snprintf(err, err_size, "%zu secrets, the limit is %d", n, SECRET_MAX_COUNT);
		return -E2BIG;
	}
	for (size_t i = 0; i < n; i++) {
		if (tlsproxy_secret_check(s[i].value, s[i].value_len, &why) == 0)
			continue;
		snprintf(err, err_size, "secret %s: %s", s[i].env ? s[i].env : "?", why);
		return -EINVAL;
	}
	return 0;
}

static int build_out(struct secret_set *set, struct writer *w)
{
	size_t size;
	int r;

	add_all(w);
	r = secret_machine_size(w->out, w->n, &size);
	if (r < 0)
		return r;
	set->out_nodes = malloc(size);
	if (!set->out_nodes)
		return -ENOMEM;
	return secret_machine_build(&set->out, w->out, w->n, set->out_nodes);
}

static int build_back(struct secret_set *set, struct writer *w)
{
	struct secret_node *nodes;
	size_t size;
	int r;

	add_all(w);
	r = secret_machine_size(w->out, w->n, &size);
	if (r < 0)
		return r;
	nodes = secret_area_take(&set->derived, size);
	if (!nodes)
		return -ENOMEM;
	return secret_machine_build(&set->back, w->out, w->n, nodes);
}

/* Values in other spellings are as secret as the values: the second locked area. */
static int build_machines(struct secret_set *set)
{
	struct writer out = { .set = set }, back = { .set = set, .back = true };
	size_t locked;
	int r;

	add_all(&out);
	add_all(&back);
	locked = out.put + back.find + (back.find + 1) * sizeof(struct secret_node) + 64;
	r = secret_area_init(&set->derived, locked);
	if (r < 0)
		return r;
	set->out_patterns = calloc(out.n + 1, sizeof(*set->out_patterns));
	set->back_patterns = calloc(back.n + 1, sizeof(*set->back_patterns));
	set->out_bytes = malloc(out.find + 1);
	set->back_bytes = malloc(back.put + 1);
	out = (struct writer){ .set = set,
			       .out = set->out_patterns,
			       .find_at = set->out_bytes,
			       .put_at = secret_area_take(&set->derived, out.put) };
	back = (struct writer){ .set = set,
				.back = true,
				.out = set->back_patterns,
				.find_at = secret_area_take(&set->derived, back.find),
				.put_at = set->back_bytes };
	if (!out.out || !back.out || !out.find_at || !back.put_at || !out.put_at || !back.find_at)
		return -ENOMEM;
	r = build_out(set, &out);
	return r < 0 ? r : build_back(set, &back);
}

int secret_set_new(const struct tlsproxy_secret *in, size_t n, struct secret_set **ret, char *err,
		   size_t err_size)
{
	struct secret_set *set;
	size_t bytes = 0;
	int r = check_all(in, n, err, err_size);

	if (r < 0)
		return r;
	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->n = n;
	set->secrets = calloc(n + 1, sizeof(*set->secrets));
	for (size_t i = 0; i < n; i++)
		bytes += in[i].value_len + SECRET_AREA_ALIGN;
	r = set->secrets ? secret_area_init(&set->values, bytes) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = load_one(set, &in[i], &set->secrets[i]);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (in[i].sign)
			r = sign_rule_new(in, n, i, &set->secrets[i].sign, err, err_size);
	if (r == 0)
		r = choose_placeholders(set, err, err_size);
	if (r == 0)
		r = build_machines(set);
	if (r < 0 && r != -EINVAL)
		snprintf(err, err_size,
			 "cannot load the secrets into locked memory (%s): is the limit on "
			 "locked memory (ulimit -l) too low?",
			 strerror(-r));
	if (r < 0) {
		secret_set_free(set);
		return r;
	}
	*ret = set;
	return 0;
}

void secret_set_free(struct secret_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; set->secrets && i < set->n; i++) {
		free(set->secrets[i].env);
		free(set->secrets[i].placeholder);
		free(set->secrets[i].hosts);
		sign_rule_free(set->secrets[i].sign);
	}
	free(set->secrets);
	free(set->out_patterns);
	free(set->back_patterns);
	free(set->out_bytes);
	free(set->back_bytes);
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
