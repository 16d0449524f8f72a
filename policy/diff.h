/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the comparison share. Internal to policy/. */
#ifndef WEIR_POLICY_DIFF_H
#define WEIR_POLICY_DIFF_H

#include "policy/space.h"

/* A class of names: one region in one state. */
struct name_class {
	uint32_t region;
	enum name_state state;
};

/* Name classes times address regions times extents, all decided otherwise. */
struct block {
	enum policy_action now;
	uint64_t key[2];
	struct name_class *names;
	size_t n_names;
	uint32_t *addrs;
	size_t n_addrs;
	struct extent *extents;
	size_t n_extents, extents_size;
};

struct blocks {
	struct block *v;
	size_t n, size;
	bool cut; /* there are more than were worth keeping */
};

/* diff_blocks.c: all flows that are decided otherwise. -E2BIG: too many to look at. */
must_check int diff_find_blocks(struct space *s, const struct policy *before,
				const struct policy *after, struct blocks *ret);
void diff_blocks_fini(struct blocks *b);

/* diff_text.c, diff_addrs.c: what is missing in a set is named up to this many times. */
#define EXCEPT_MAX 4
/* Sets as texts; each appends. all_states: a flow's names may be answered only. */
must_check int diff_names_text(const struct space *s, const struct block *b, bool ingress,
			       struct policy_texts *ret);
must_check int diff_addrs_text(const struct space *s, const struct block *b,
			       struct policy_texts *ret);
must_check int diff_services_text(const struct space *s, struct block *b, struct policy_texts *ret);
/* in[]: by region. */
must_check int diff_name_set_text(const struct space *s, const bool *in, const char *before,
				  struct policy_texts *ret);
must_check int diff_text_add(struct policy_texts *t, const char *fmt, ...) printf_like(2, 3);

#endif
