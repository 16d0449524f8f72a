/* SPDX-License-Identifier: Apache-2.0 */
/* A policy file in JSON: see fuzz_policy_spelling.h. */
#include "fuzz_policy_spelling.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_policy_spelling(CONF_JSON, data, size);
}
