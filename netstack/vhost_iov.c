/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place in a list of pieces of guest memory. Pieces have been checked against the memory
 * table; their content is anybody's at any time.
 */
#include "netstack/vhost_int.h"

void vhost_at_skip(struct vhost_at *a, size_t n)
{
	while (n && a->i < a->n) {
		size_t step = MIN(n, a->iov[a->i].iov_len - a->off);

		a->off += step;
		n -= step;
		if (a->off == a->iov[a->i].iov_len) {
			a->i++;
			a->off = 0;
		}
	}
}

void vhost_at_get(struct vhost_at *a, void *dst, size_t n)
{
	for (uint8_t *p = dst; n && a->i < a->n;) {
		size_t step = MIN(n, a->iov[a->i].iov_len - a->off);

		vhost_copy_in(p, (uint8_t *)a->iov[a->i].iov_base + a->off, step);
		p += step;
		n -= step;
		vhost_at_skip(a, step);
	}
}

void vhost_at_put(struct vhost_at *a, const void *src, size_t n)
{
	for (const uint8_t *p = src; n && a->i < a->n;) {
		size_t step = MIN(n, a->iov[a->i].iov_len - a->off);

		vhost_copy_out((uint8_t *)a->iov[a->i].iov_base + a->off, p, step);
		p += step;
		n -= step;
		vhost_at_skip(a, step);
	}
}

size_t vhost_at_pieces(struct vhost_at *a, struct iovec *ret, unsigned max, size_t len,
		       unsigned *ret_n)
{
	const struct iovec *from = a->iov + a->i, *end = a->iov + a->n;
	size_t left = len, off = a->off;
	unsigned n = 0;

	while (left && from < end && n < max) {
		struct iovec here = { (uint8_t *)from->iov_base + off, from->iov_len - off };

		if (here.iov_len > left) { /* goes on behind it */
			here.iov_len = left;
			ret[n++] = here;
			off += left;
			left = 0;
			break;
		}
		ret[n++] = here;
		left -= here.iov_len;
		off = 0;
		from++;
	}
	a->i = (unsigned)(from - a->iov);
	a->off = off;
	*ret_n = n;
	return len - left;
}
