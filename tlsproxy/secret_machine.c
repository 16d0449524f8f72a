/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aho-Corasick over all patterns: finds any of them in a stream in one pass,
 * whatever the pieces the stream comes in. Children hang in short lists (the
 * patterns are random after their first characters), failure links do the
 * rest; only the root has a table, because most bytes are met there.
 *
 * Every node knows how much of what was read could still become a replaceable
 * pattern ("hold"). Those bytes are a beginning of that pattern, so nobody
 * needs to store them.
 */
#include "tlsproxy/secret_internal.h"

int secret_machine_size(const struct secret_pattern *p, size_t n, size_t *ret_bytes)
{
	size_t nodes = 1;

	if (n >= UINT16_MAX)
		return -E2BIG;
	for (size_t i = 0; i < n; i++) {
		nodes += p[i].len;
		if (nodes > SECRET_MAX_NODES || p[i].len > UINT16_MAX)
			return -E2BIG;
	}
	*ret_bytes = nodes * sizeof(struct secret_node);
	return 0;
}

static uint32_t child_of(const struct secret_machine *m, uint32_t at, uint8_t c)
{
	uint32_t i;

	if (at == 0)
		return m->root[c];
	for (i = m->nodes[at].child; i && m->nodes[i].byte != c; i = m->nodes[i].sibling)
		;
	return i;
}

static void insert(struct secret_machine *m, uint32_t index)
{
	const struct secret_pattern *p = &m->patterns[index];
	uint32_t at = 0;

	for (uint32_t i = 0; i < p->len; i++) {
		uint32_t next = child_of(m, at, p->bytes[i]);

		if (!next) {
			next = m->n_nodes++;
			m->nodes[next] = (struct secret_node){
				.byte = p->bytes[i],
				.depth = (uint16_t)(i + 1),
				.sibling = m->nodes[at].child,
			};
			m->nodes[at].child = next;
			if (at == 0)
				m->root[p->bytes[i]] = next;
		}
		at = next;
		if (p->replaceable && i + 1 < p->len) {
			m->nodes[at].hold = (uint16_t)(i + 1);
			m->nodes[at].hold_at = (uint16_t)index;
		}
	}
	/* Two secrets cannot share a placeholder; equal values (replies): the first counts. */
	if (!m->nodes[at].match)
		m->nodes[at].match = (uint16_t)(index + 1);
}

/* Breadth first: a failure link leads to a smaller depth, so it is complete when needed. */
static void link_node(struct secret_machine *m, uint32_t parent, uint32_t at)
{
	struct secret_node *n = &m->nodes[at];
	const struct secret_node *f;

	n->fail = parent ? secret_machine_next(m, m->nodes[parent].fail, n->byte) : 0;
	f = &m->nodes[n->fail];
	if (!n->match)
		n->match = f->match;
	if (!n->hold) {
		n->hold = f->hold;
		n->hold_at = f->hold_at;
	}
}

int secret_machine_build(struct secret_machine *m, const struct secret_pattern *p, size_t n,
			 struct secret_node *nodes)
{
	size_t size, head = 0, tail = 0;
	uint32_t *queue;
	int r = secret_machine_size(p, n, &size);

	if (r < 0)
		return r;
	queue = calloc(size / sizeof(*nodes), sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	*m = (struct secret_machine){ .patterns = p, .n_patterns = n, .nodes = nodes, .n_nodes = 1 };
	nodes[0] = (struct secret_node){ 0 };
	for (size_t i = 0; i < n; i++)
		insert(m, (uint32_t)i);
	queue[tail++] = 0;
	while (head < tail) {
		uint32_t at = queue[head++];

		for (uint32_t c = nodes[at].child; c; c = nodes[c].sibling) {
			link_node(m, at, c);
			queue[tail++] = c;
		}
	}
	free(queue);
	return 0;
}

uint32_t secret_machine_next(const struct secret_machine *m, uint32_t state, uint8_t c)
{
	uint32_t next;

	while (state) {
		next = child_of(m, state, c);
		if (next)
			return next;
		state = m->nodes[state].fail;
	}
	return m->root[c];
}
