/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML, as far as it spells what JSON can: one document of mappings, sequences
 * and scalars. libyaml reads the text into events and tells the place of each;
 * its parser keeps its own stack and so does conf_tree.c, nothing here recurses.
 *
 * Refused: anchors, aliases, tags and merge keys (what is written is what is
 * meant, and nothing grows), directives, several documents, keys that are no
 * texts, scalars that readers disagree about (conf_yaml_plain.c), ends of lines
 * that not every reader sees.
 */
#include "base/base.h"
#include "policy/conf_tree.h"
#include "policy/conf_yaml.h"

#include <yaml.h>

static struct conf_place place(const yaml_mark_t *m)
{
	return (struct conf_place){ (uint32_t)m->line + 1, (uint32_t)m->column + 1 };
}

/* What libyaml says helps little with the two mistakes that policies invite. */
static int syntax_error(struct conf_tree *t, const yaml_parser_t *p)
{
	const char *problem = p->problem ? p->problem : "cannot be read";
	const char *context = p->context ? p->context : "";

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR)
		return conf_tree_fail_byte(t, p->problem_offset, "not valid YAML: %s", problem);
	if (strstr(context, "an alias") || strstr(context, "an anchor"))
		return conf_tree_fail(
			t, place(&p->context_mark),
			"a text that starts with \"*\" or \"&\" is written in quotes: "
			"'*.example.com'");
	if (strstr(problem, "cannot start any token"))
		return conf_tree_fail(
			t, place(&p->problem_mark),
			"not valid YAML: no value starts like this; indent with spaces, "
			"and put a text with this character in quotes");
	return conf_tree_fail(t, place(&p->problem_mark), "not valid YAML: %s%s%s", context,
			      *context ? ": " : "", problem);
}

/* Anchors and tags, which may stand at any value. */
static int check_node(struct conf_tree *t, const yaml_event_t *e, const yaml_char_t *anchor,
		      const yaml_char_t *tag)
{
	struct conf_place at = place(&e->start_mark);

	if (anchor)
		return conf_tree_fail(
			t, at,
			"an anchor (\"&\"): write the value where it is needed, or in "
			"quotes if a text is meant");
	if (tag)
		return conf_tree_fail(
			t, at,
			"a tag (\"!\"): values are texts, numbers, true or false; put a "
			"text that starts with \"!\" in quotes");
	return 0;
}

static int ambiguous(struct conf_tree *t, struct conf_place at, const char *s, const char *what)
{
	return conf_tree_fail(t, at,
			      "%.40s without quotes may be read as %s: quote it (\"%.40s\"), or "
			      "write what is meant",
			      s, what, s);
}

static int read_key(struct conf_tree *t, const yaml_event_t *e)
{
	const char *s = (const char *)e->data.scalar.value, *what = "something else";
	struct conf_place at = place(&e->start_mark);
	size_t len = e->data.scalar.length;
	int64_t n;

	if (e->data.scalar.plain_implicit && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		if (str_eq(s, "<<"))
			return conf_tree_fail(
				t, at, "a merge key (\"<<\"): write the keys out one by one");
		if (len == 0)
			return conf_tree_fail(t, at, "a key is missing before \":\"");
		if (conf_yaml_plain(s, len, &n, &what) != YAML_PLAIN_TEXT)
			return ambiguous(t, at, s, what);
	}
	return conf_tree_key(t, at, s, len);
}

static int read_value(struct conf_tree *t, const yaml_event_t *e)
{
	const char *s = (const char *)e->data.scalar.value, *what = NULL;
	struct conf_place at = place(&e->start_mark);
	size_t len = e->data.scalar.length;
	int64_t n = 0;

	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return conf_tree_text(t, at, s, len);
	if (!e->data.scalar.plain_implicit)
		return conf_tree_fail(t, at, "a tag (\"!\"): put a text in quotes instead");
	switch (conf_yaml_plain(s, len, &n, &what)) {
	case YAML_PLAIN_NULL:
		return conf_tree_null(t, at);
	case YAML_PLAIN_TRUE:
	case YAML_PLAIN_FALSE:
		return conf_tree_boolean(t, at, s[0] == 't');
	case YAML_PLAIN_INTEGER:
		return conf_tree_integer(t, at, n);
	case YAML_PLAIN_AMBIGUOUS:
		return ambiguous(t, at, s, what);
	case YAML_PLAIN_TEXT:
		break;
	}
	return conf_tree_text(t, at, s, len);
}

static int read_scalar(struct conf_tree *t, const yaml_event_t *e)
{
	int r = check_node(t, e, e->data.scalar.anchor, e->data.scalar.tag);

	if (r < 0)
		return r;
	return conf_tree_wants_key(t) ? read_key(t, e) : read_value(t, e);
}

static int open_value(struct conf_tree *t, const yaml_event_t *e, bool object,
		      const yaml_char_t *anchor, const yaml_char_t *tag)
{
	int r = check_node(t, e, anchor, tag);

	if (r < 0)
		return r;
	if (conf_tree_wants_key(t))
		return conf_tree_fail(t, place(&e->start_mark), "a key is a text, not a %s",
				      object ? "mapping" : "list");
	return conf_tree_open(t, place(&e->start_mark), object);
}

static int start_document(struct conf_tree *t, const yaml_event_t *e)
{
	struct conf_place at = place(&e->start_mark);

	if (conf_tree_complete(t))
		return conf_tree_fail(t, at, "a second document: a file holds one");
	if (e->data.document_start.version_directive ||
	    e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
		return conf_tree_fail(t, at, "a directive (\"%%\"): leave it out");
	return 0;
}

/* *ret_end: the text is over. */
static int read_event(struct conf_tree *t, const yaml_event_t *e, bool *ret_end)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return start_document(t, e);
	case YAML_ALIAS_EVENT:
		return conf_tree_fail(t, place(&e->start_mark),
				      "an alias (\"*\"): write the value where it is needed, or in "
				      "quotes if a text is meant");
	case YAML_SCALAR_EVENT:
		return read_scalar(t, e);
	case YAML_MAPPING_START_EVENT:
		return open_value(t, e, true, e->data.mapping_start.anchor,
				  e->data.mapping_start.tag);
	case YAML_SEQUENCE_START_EVENT:
		return open_value(t, e, false, e->data.sequence_start.anchor,
				  e->data.sequence_start.tag);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		return conf_tree_close(t);
	case YAML_STREAM_END_EVENT:
		*ret_end = true;
		if (!conf_tree_complete(t))
			return conf_tree_fail(t, place(&e->start_mark), "the file is empty");
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	return 0;
}

/*
 * Ends of lines to libyaml, which reads YAML 1.1, and to other readers or to the
 * eye none: a comment would go on where a rule begins.
 */
static int check_line_ends(struct conf_tree *t, const char *text, size_t len)
{
	static const char *const breaks[] = { "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9" };

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\r' && (len - i < 2 || text[i + 1] != '\n'))
			return conf_tree_fail_byte(
				t, i, "a carriage return without a line feed: end lines with \\n");
		for (size_t k = 0; k < ARRAY_SIZE(breaks); k++)
			if (len - i >= strlen(breaks[k]) &&
			    memcmp(text + i, breaks[k], strlen(breaks[k])) == 0)
				return conf_tree_fail_byte(
					t, i,
					"a Unicode line separator (U+0085, U+2028, U+2029), which "
					"not every reader sees: end lines with \\n");
	}
	return 0;
}

int conf_yaml_parse(struct conf_tree *t, const char *text, size_t len)
{
	yaml_parser_t p;
	yaml_event_t e;
	bool end = false;
	int r = check_line_ends(t, text, len);

	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&p))
		return -ENOMEM;
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	while (r == 0 && !end) {
		if (!yaml_parser_parse(&p, &e)) {
			r = syntax_error(t, &p);
			break;
		}
		r = read_event(t, &e, &end);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
	return r;
}
