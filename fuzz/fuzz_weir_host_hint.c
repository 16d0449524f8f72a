/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's first bytes. Once a hint is there, more bytes must not change it;
 * a name is always canonical.
 */
#include "weir/host_hint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host_hint whole, part;
	struct name again;

	host_hint(data, size, &whole);
	if (whole.kind == HOST_HINT_NAME &&
	    (name_parse(whole.name.s, whole.name.len, &again, NULL) < 0 ||
	     !name_equal(&again, &whole.name)))
		abort();
	for (size_t n = 0; n < size && n < 64; n++) {
		host_hint(data, size - n, &part);
		if (part.kind != HOST_HINT_MORE &&
		    (part.kind != whole.kind || !name_equal(&part.name, &whole.name)))
			abort();
	}
	return 0;
}
