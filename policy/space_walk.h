/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sets of patterns can match one word together? A walk over the product of
 * their automata that only keeps the positions still alive. Used twice: letters
 * to path segments, segments to paths. Internal to policy/.
 */
#ifndef WEIR_POLICY_SPACE_WALK_H
#define WEIR_POLICY_SPACE_WALK_H

#include "base/base.h"

/* What stands at a position of a pattern: a symbol, or one of these. */
#define WALK_LOOP UINT32_MAX	  /* any run of letters */
#define WALK_END (UINT32_MAX - 1) /* the pattern is through */

/* Patterns one behind another; pattern_of[] says whose position one is. */
struct walk_patterns {
	uint32_t *sym, *pattern_of;
	size_t n, size;
	uint32_t *starts;
	size_t n_patterns, starts_size;
};
must_check int walk_pattern_begin(struct walk_patterns *p);
must_check int walk_pattern_add(struct walk_patterns *p, uint32_t sym);
void walk_patterns_fini(struct walk_patterns *p);

/* A word, by its letters, and the patterns it matches (sorted). */
struct walk_class {
	uint32_t *letters;
	size_t n_letters;
	uint32_t *matches;
	size_t n_matches;
};
struct walk_classes {
	struct walk_class *v;
	size_t n, size;
};
void walk_classes_fini(struct walk_classes *c);

struct walk_ops {
	/* Does this letter fit the symbol? */
	bool (*fits)(void *ctx, uint32_t sym, uint32_t letter);
	/*
	 * Letters worth trying from here: calls try() for each. live: positions;
	 * memo: what form() returned for the word so far.
	 */
	int (*letters)(void *ctx, const uint32_t *live, size_t n, uint32_t memo,
		       int (*try)(void *arg, uint32_t letter), void *arg);
	/* The word's form after one more letter; WALK_REFUSED: no word begins so. */
	uint32_t (*form)(void *ctx, uint32_t memo, uint32_t letter);
	/* May a word of this form end here? */
	bool (*whole)(void *ctx, uint32_t memo);
};
#define WALK_REFUSED UINT32_MAX

/* One class per set of patterns that some word matches. -E2BIG beyond max states. */
must_check int walk_run(const struct walk_patterns *p, const struct walk_ops *ops, void *ctx,
			size_t max_states, struct walk_classes *ret);

#endif
