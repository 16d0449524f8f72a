/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placeholders in names. A name has no case and few characters (RFC 1035 2.3.1), so
 * what a client writes into one is folded: letters in any case, punctuation left out or
 * replaced, labels cut where they get too long. Both sides are folded here: the
 * placeholder in each encoding and the name to their letters and digits in lower
 * case, and the one is looked for in the other.
 *
 * Only whole placeholders are found. That is no loss: a placeholder is worth nothing
 * outside, and who asks for one as a name shows what else it would send.
 */
#include "tlsproxy/secret_internal.h"

struct tlsproxy_finder {
	struct secret_pattern *patterns;
	size_t n;
	uint8_t *bytes;
	struct secret_node *nodes;
	struct secret_machine machine;
};

/* Of the longest encoding: hex. */
#define FOLDED_MAX ((size_t)2 * SECRET_PLACEHOLDER_MAX)
/* No name has more. */
#define NAME_FOLDED_MAX NAME_MAX_LEN
#define VARIANTS 15

static size_t fold(const uint8_t *p, size_t n, uint8_t *out)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = p[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			out[at++] = c;
	}
	return at;
}

/* Characters fully determined by p when `phase` unknown bytes stand before it. */
static size_t encode_base32(unsigned phase, bool hex, const uint8_t *p, size_t n, uint8_t *out)
{
	const char *alphabet =
		hex ? "0123456789abcdefghijklmnopqrstuv" : "abcdefghijklmnopqrstuvwxyz234567";
	size_t first = (8 * phase + 4) / 5, last = 8 * (phase + n) / 5, at = 0;

	for (size_t i = first; i < last; i++) {
		size_t bit = 5 * i - 8 * phase;
		unsigned two = (unsigned)p[bit / 8] << 8;

		if (bit / 8 + 1 < n)
			two |= p[bit / 8 + 1];
		out[at++] = (uint8_t)alphabet[two >> (11 - bit % 8) & 31];
	}
	return at;
}

/* One of the encodings, folded; `tmp` has room for any. */
static size_t encode(unsigned variant, const uint8_t *p, size_t n, uint8_t *tmp, uint8_t *out,
		     enum secret_form *ret_form)
{
	*ret_form = variant == 0   ? SECRET_PLAIN
		    : variant == 1 ? SECRET_HEX
		    : variant < 12 ? SECRET_BASE32
				   : SECRET_BASE64;
	if (variant == 0)
		return fold(p, n, out);
	if (variant == 1)
		return secret_encode_hex(false, p, n, out);
	if (variant < 12)
		return encode_base32((variant - 2) / 2, (variant - 2) % 2, p, n, out);
	return fold(tmp, secret_encode_base64(variant - 12, true, p, n, tmp), out);
}

static void add_one(struct tlsproxy_finder *f, size_t index, const char *placeholder, uint8_t *tmp,
		    size_t *at)
{
	const uint8_t *p = (const uint8_t *)placeholder;

	for (unsigned v = 0; v < VARIANTS; v++) {
		enum secret_form form;
		size_t len = encode(v, p, strlen(placeholder), tmp, f->bytes + *at, &form);

		/* Too short is chance, too long is in no name. */
		if (len < SECRET_MIN_RANDOM || len > NAME_FOLDED_MAX)
			continue;
		f->patterns[f->n++] = (struct secret_pattern){ .bytes = f->bytes + *at,
							       .len = (uint32_t)len,
							       .secret = (uint16_t)index,
							       .form = (uint8_t)form };
		*at += len;
	}
}

static int build(struct tlsproxy_finder *f, const char *const *placeholders, size_t n)
{
	cleanup_free uint8_t *tmp = malloc(FOLDED_MAX);
	size_t at = 0, size;
	int r;

	f->patterns = calloc(n * VARIANTS + 1, sizeof(*f->patterns));
	/* What does not fit a name is written and given up: room for one such. */
	f->bytes = malloc(n * VARIANTS * NAME_FOLDED_MAX + FOLDED_MAX);
	if (!tmp || !f->patterns || !f->bytes)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (strlen(placeholders[i]) <= NAME_FOLDED_MAX)
			add_one(f, i, placeholders[i], tmp, &at);
	r = secret_machine_size(f->patterns, f->n, &size);
	if (r < 0)
		return r;
	f->nodes = malloc(size);
	return f->nodes ? secret_machine_build(&f->machine, f->patterns, f->n, f->nodes) : -ENOMEM;
}

int tlsproxy_finder_new(const char *const *placeholders, size_t n, struct tlsproxy_finder **ret)
{
	struct tlsproxy_finder *f;
	int r;

	if (n > SECRET_MAX_COUNT + SECRET_MAX_REMOVED)
		return -E2BIG;
	f = calloc(1, sizeof(*f));
	r = f ? build(f, placeholders, n) : -ENOMEM;
	if (r < 0) {
		tlsproxy_finder_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void tlsproxy_finder_free(struct tlsproxy_finder *f)
{
	if (!f)
		return;
	free(f->patterns);
	free(f->bytes);
	free(f->nodes);
	free(f);
}

bool tlsproxy_finder_name(const struct tlsproxy_finder *f, const struct name *n, size_t *ret_index,
			  const char **ret_encoding)
{
	uint8_t folded[NAME_MAX_LEN + 1];
	size_t len;
	uint32_t state = 0;

	if (!f || !f->n)
		return false;
	len = fold((const uint8_t *)n->s, n->len, folded);
	for (size_t i = 0; i < len; i++) {
		const struct secret_pattern *p;

		state = secret_machine_next(&f->machine, state, folded[i]);
		if (!f->machine.nodes[state].match)
			continue;
		p = &f->patterns[f->machine.nodes[state].match - 1];
		*ret_index = p->secret;
		*ret_encoding = secret_form_name(p->form);
		return true;
	}
	return false;
}
