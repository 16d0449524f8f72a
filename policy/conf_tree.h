/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a parser of YAML or TOML hands over what it reads: as events, each with its
 * place. Keys that stand twice, NUL characters and too deep nesting are refused
 * here, once for all. Plain C types only: one of the parsers is C++.
 */
#ifndef WEIR_POLICY_CONF_TREE_H
#define WEIR_POLICY_CONF_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Both count from 1, columns in characters. */
struct conf_place {
	uint32_t line, col;
};

struct conf_tree;

/* Each returns 0, or a negative errno after which the parser gives up: the error is set. */
int conf_tree_open(struct conf_tree *t, struct conf_place at, bool object);
int conf_tree_close(struct conf_tree *t);
int conf_tree_key(struct conf_tree *t, struct conf_place at, const char *s, size_t len);
int conf_tree_text(struct conf_tree *t, struct conf_place at, const char *s, size_t len);
int conf_tree_integer(struct conf_tree *t, struct conf_place at, int64_t n);
int conf_tree_boolean(struct conf_tree *t, struct conf_place at, bool b);
int conf_tree_null(struct conf_tree *t, struct conf_place at);
/* In an object, before a key. */
bool conf_tree_wants_key(const struct conf_tree *t);
/* The whole document has been handed over. */
bool conf_tree_complete(const struct conf_tree *t);
/* Sets the error; returns -EINVAL. */
int conf_tree_fail(struct conf_tree *t, struct conf_place at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same at a byte of the text. */
int conf_tree_fail_byte(struct conf_tree *t, size_t offset, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The parsers. */
int conf_yaml_parse(struct conf_tree *t, const char *text, size_t len);
int conf_toml_parse(struct conf_tree *t, const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
