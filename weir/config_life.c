/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a sandbox lives and how it is found again: --detach, --interactive, --tty, --label, --max-duration,
 * --idle-timeout.
 */
#include "weir/config_internal.h"

#include <ctype.h>

/* What is asked for without end is asked for by leaving the flag out. */
#define DURATION_MAX_S (366 * UINT64_C(86400))
#define LABELS_MAX 64
#define LABEL_MAX 256

static int parse_duration(struct config_builder *b, const struct where *w, const char *text,
			  uint32_t *ret)
{
	static const struct {
		char unit;
		uint32_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	size_t n = strspn(text, "0123456789");
	uint32_t factor = text[n] ? 0 : 1;
	const char *why;
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (text[n] == units[i].unit && !text[n + 1])
			factor = units[i].seconds;
	if (!factor || uint_parse(text, n, 1, DURATION_MAX_S / factor, &v, &why) < 0)
		return where_fail(w, b->err, "a time, up to a year: 90s, 30m, 12h, 7d");
	*ret = (uint32_t)v * factor;
	return 0;
}

static int set_max(struct config_builder *b, const struct where *w, const char *text)
{
	return parse_duration(b, w, text, &b->c->life.max_s);
}

static int set_idle(struct config_builder *b, const struct where *w, const char *text)
{
	return parse_duration(b, w, text, &b->c->life.idle_s);
}

/* KEY=VALUE; the last of a key wins. */
static int add_label(struct config_builder *b, const struct where *w, const char *text)
{
	struct life_config *l = &b->c->life;
	size_t n = strcspn(text, "=");
	char **slot, *copy;

	if (!n || !text[n] || strlen(text) > LABEL_MAX)
		return where_fail(w, b->err, "write KEY=VALUE, up to %d bytes", LABEL_MAX);
	for (const char *p = text; *p; p++)
		if (!isprint((unsigned char)*p) || *p == '"' || *p == '\\')
			return where_fail(w, b->err,
					  "a label is printable ASCII without '\"' and '\\'");
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < l->n_labels; i++)
		if (strncmp(l->labels[i], text, n + 1) == 0) {
			free(l->labels[i]);
			l->labels[i] = copy;
			return 0;
		}
	slot = l->n_labels < LABELS_MAX ? config_push(&l->labels, &l->n_labels, sizeof(*slot)) : NULL;
	if (!slot) {
		free(copy);
		return l->n_labels < LABELS_MAX
			       ? -ENOMEM
			       : where_fail(w, b->err, "more than %d of them", LABELS_MAX);
	}
	*slot = copy;
	return 0;
}

int config_life_flags(struct config_builder *b)
{
	static const struct {
		enum option option;
		int (*set)(struct config_builder *b, const struct where *w, const char *text);
	} setters[] = {
		{ OPTION_MAX_DURATION, set_max },
		{ OPTION_IDLE_TIMEOUT, set_idle },
		{ OPTION_LABEL, add_label },
	};

	b->c->life.detach = b->o.of[OPTION_DETACH].n > 0;
	b->c->life.input = b->o.of[OPTION_INTERACTIVE].n > 0;
	b->c->life.tty = b->o.of[OPTION_TTY].n > 0;
	for (size_t i = 0; i < ARRAY_SIZE(setters); i++)
		for (size_t k = 0; k < b->o.of[setters[i].option].n; k++) {
			struct where w = {
				.flag = option_name(setters[i].option),
				.value = b->o.of[setters[i].option].v[k],
			};
			int r = setters[i].set(b, &w, w.value);

			if (r < 0)
				return r;
		}
	return 0;
}

void config_life_fini(struct life_config *l)
{
	for (size_t i = 0; i < l->n_labels; i++)
		free(l->labels[i]);
	free(l->labels);
}
