/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the readers of configuration files share. Each turns its text into the
 * same json_t tree; JSON finds a value's place in the text again when it is
 * needed, the others note it while they read.
 */
#ifndef WEIR_POLICY_CONF_INTERNAL_H
#define WEIR_POLICY_CONF_INTERNAL_H

#include "policy/conf_tree.h"
#include "policy/policy.h"
#include "policy/policy_limits.h"

/*
 * A value's place and its key's, in the order in which values begin. The members
 * of a value follow it, in jansson's order; `next` is behind the last of them.
 */
struct conf_mark {
	struct conf_place at, key_at; /* key_at.line 0: no key */
	uint32_t next;
};

struct conf_doc {
	char *file;
	struct buf bytes;
	const char *text; /* in them: len bytes and a NUL */
	size_t len;
	json_t *root;
	struct conf_mark *marks; /* NULL: JSON, look in the text */
	size_t n_marks, marks_size;
};

/* Sets err to "FILE:LINE:COL: ..."; returns -EINVAL. */
int conf_doc_fail(const struct conf_doc *d, struct conf_place at, struct conf_error *err,
		  const char *fmt, ...) printf_like(4, 5);
/* The place of a byte of the text. */
struct conf_place conf_doc_place(const struct conf_doc *d, size_t offset);

/* conf_json.c: d->text to d->root, and the place of c or of its key in the text. */
must_check int conf_json_read(struct conf_doc *d, struct conf_error *err);
size_t conf_json_find(const struct conf *c, bool want_key);

/* conf_tree.c: one more document from the events of a parser. */
must_check int conf_tree_read(struct conf_doc *d,
			      int (*parse)(struct conf_tree *t, const char *text, size_t len),
			      struct conf_error *err);
struct conf_place conf_marks_find(const struct conf *c, bool want_key);

#endif
