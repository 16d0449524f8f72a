/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a name that a client shows is one that its address stands for. The
 * gateway and the tlsproxy each ask for themselves, and must never differ.
 */
#ifndef WEIR_FLOW_NAME_H
#define WEIR_FLOW_NAME_H

#include "base/base.h"

/* certain: of a virtual address, and then the only one; NULL: any of those the address was given out for. */
static inline bool flow_name_given(const struct name *asked, const struct name *certain,
				   const struct name *candidates, size_t n)
{
	if (certain)
		return name_equal(asked, certain);
	for (size_t i = 0; i < n; i++)
		if (name_equal(asked, &candidates[i]))
			return true;
	return false;
}

#endif
