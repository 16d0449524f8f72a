/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names with addresses of weir's own, and names with addresses of the operator's.
 *
 * Virtual: names are numbered in the order of their first answer, and a number
 * is one address in each range: hosts .1 to .254 of consecutive /24s (no
 * .0 or .255, which some stacks treat as broadcast), the same host part in IPv6.
 * Numbers are never used again: an address means one name for the sandbox's
 * life, so there is no moment at which an old flow could carry a new name.
 *
 * Static records: sorted, from the operator, never filtered.
 */
#include "dns/dns_int.h"

struct dns_virt {
	struct hmap_node node;
	size_t number;
	uint8_t len;
	char s[];
};

/* ---- virtual addresses ----------------------------------------------------- */

/* How many names fit in a range. */
static size_t range_names(const struct ip_prefix *p)
{
	unsigned bits;

	if (!p->addr.family)
		return SIZE_MAX;
	bits = (p->addr.family == 4 ? 32u : 128u) - p->len;
	if (bits < 2)
		return 0;
	if (bits < 8)
		return ((size_t)1 << bits) - 2;
	return ((size_t)1 << (MIN(bits, 32u) - 8)) * 254;
}

static struct ip_addr number_to_addr(const struct ip_prefix *p, size_t number)
{
	struct ip_addr a = p->addr;
	uint8_t *low = a.b + ip_size(&a) - 4;

	put_be32(low, get_be32(low) | (uint32_t)(number / 254 * 256 + number % 254 + 1));
	return a;
}

/* The number whose address this is, if any; one past every table otherwise. */
static size_t addr_to_number(const struct ip_prefix *p, const struct ip_addr *a)
{
	size_t low_at = ip_size(a) - 4;
	uint32_t host = get_be32(a->b + low_at) & ~get_be32(p->addr.b + low_at);
	size_t number = (size_t)(host >> 8) * 254 + (host & 0xff) - 1;
	struct ip_addr back;

	if ((host & 0xff) == 0 || (host & 0xff) == 255)
		return SIZE_MAX;
	back = number_to_addr(p, number);
	return ip_equal(&back, a) ? number : SIZE_MAX;
}

static const struct ip_prefix *range_of(const struct dns *d, const struct ip_addr *a)
{
	const struct ip_prefix *p = a->family == 4 ? &d->names.virt4 : &d->names.virt6;

	if (!a->family || p->addr.family != a->family || !ip_in_prefix(a, p))
		return NULL;
	return p;
}

bool dns_is_virtual(const struct dns *d, const struct ip_addr *a)
{
	return range_of(d, a) != NULL;
}

bool dns_virtual_name(const struct dns *d, const struct ip_addr *a, struct name *ret)
{
	const struct ip_prefix *p = range_of(d, a);
	struct name n = { 0 };
	size_t number;

	if (!p)
		return false;
	number = addr_to_number(p, a);
	if (number >= d->names.n_virt)
		return false;
	n.len = d->names.virt[number]->len;
	memcpy(n.s, d->names.virt[number]->s, n.len);
	*ret = n;
	return true;
}

static int virt_add(struct dns_names *t, const struct name *n, uint64_t hash, struct dns_virt **ret)
{
	struct dns_virt *v;

	if (t->n_virt >= t->virt_limit)
		return -ENOSPC;
	if (t->n_virt == t->virt_size) {
		size_t size = t->virt_size ? t->virt_size * 2 : 64;
		struct dns_virt **p = reallocarray(t->virt, size, sizeof(struct dns_virt *));

		if (!p)
			return -ENOMEM;
		t->virt = p;
		t->virt_size = size;
	}
	v = malloc(sizeof(*v) + n->len);
	if (!v)
		return -ENOMEM;
	v->number = t->n_virt;
	v->len = n->len;
	memcpy(v->s, n->s, n->len);
	t->virt[t->n_virt++] = v;
	hmap_insert(&t->virt_by_name, &v->node, hash);
	*ret = v;
	return 0;
}

int dns_virtual_get(struct dns *d, const struct name *n, int family, struct ip_addr *ret)
{
	const struct ip_prefix *p = family == 4 ? &d->names.virt4 : &d->names.virt6;
	uint64_t hash = hash_bytes(&d->key, n->s, n->len);
	struct dns_virt *v = NULL;
	int r;

	hmap_for_hash (it, &d->names.virt_by_name, hash) {
		struct dns_virt *have = container_of(it, struct dns_virt, node);

		if (have->len == n->len && memcmp(have->s, n->s, n->len) == 0) {
			v = have;
			break;
		}
	}
	if (!p->addr.family)
		return -ENODATA;
	if (!v) {
		r = virt_add(&d->names, n, hash, &v);
		if (r < 0)
			return r;
	}
	*ret = number_to_addr(p, v->number);
	return 0;
}

/* ---- static records -------------------------------------------------------- */

static int name_order(const struct name *a, const struct name *b)
{
	int r = memcmp(a->s, b->s, MIN(a->len, b->len));

	return r ? r : (int)a->len - (int)b->len;
}

static int record_order(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	return name_order(&x->name, &y->name);
}

size_t dns_records_of(const struct dns *d, const struct name *n, const struct dns_record **ret)
{
	size_t lo = 0, hi = d->names.n_records, end;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (name_order(&d->names.records[mid].name, n) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < d->names.n_records; end++)
		if (!name_equal(&d->names.records[end].name, n))
			break;
	if (end == lo)
		return 0;
	*ret = d->names.records + lo;
	return end - lo;
}

/* ---- life ------------------------------------------------------------------- */

static int records_init(struct dns *d, const struct dns_config *cfg)
{
	struct dns_names *t = &d->names;

	if (!cfg->n_records)
		return 0;
	t->records = calloc(cfg->n_records, sizeof(*t->records));
	if (!t->records)
		return -ENOMEM;
	memcpy(t->records, cfg->records, cfg->n_records * sizeof(*t->records));
	t->n_records = cfg->n_records;
	qsort(t->records, t->n_records, sizeof(*t->records), record_order);
	for (size_t i = 0; i < t->n_records; i++) {
		const struct ip_addr *a = &t->records[i].addr;

		/* An address must not mean a record's name and a virtual one. */
		if (!a->family || dns_is_virtual(d, a))
			return -EINVAL;
		if (i >= DNS_MAX_ADDRS &&
		    name_equal(&t->records[i].name, &t->records[i - DNS_MAX_ADDRS].name))
			return -E2BIG;
	}
	return 0;
}

int dns_names_init(struct dns *d, const struct dns_config *cfg)
{
	struct dns_names *t = &d->names;
	size_t limit = cfg->max_names ? cfg->max_names : DNS_DEFAULT_NAMES;
	int r;

	if (cfg->mode == DNS_VIRTUAL) {
		t->virt4 = cfg->virtual4;
		t->virt6 = cfg->virtual6;
		if ((t->virt4.addr.family && (t->virt4.addr.family != 4 || t->virt4.len > 32)) ||
		    (t->virt6.addr.family && (t->virt6.addr.family != 6 || t->virt6.len > 128)) ||
		    (!t->virt4.addr.family && !t->virt6.addr.family))
			return -EINVAL;
		limit = MIN(limit, range_names(&t->virt4));
		t->virt_limit = MIN(limit, range_names(&t->virt6));
	}
	if (cfg->n_own > ARRAY_SIZE(t->own))
		return -E2BIG;
	if (cfg->n_own)
		memcpy(t->own, cfg->own, cfg->n_own * sizeof(*t->own));
	t->n_own = cfg->n_own;
	memcpy(t->own_nets, cfg->own_nets, sizeof(t->own_nets));
	r = hmap_init(&t->virt_by_name, 64);
	if (r == 0)
		r = records_init(d, cfg);
	return r;
}

void dns_names_fini(struct dns *d)
{
	struct dns_names *t = &d->names;

	for (size_t i = 0; i < t->n_virt; i++)
		free(t->virt[i]);
	free(t->virt);
	free(t->records);
	hmap_fini(&t->virt_by_name);
}
