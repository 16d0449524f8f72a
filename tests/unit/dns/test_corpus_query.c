/* SPDX-License-Identifier: Apache-2.0 */
/* The corpus of fuzz_dns_query as an ordinary test. */
#include "fuzz/fuzz_dns_query.c"
#include "tests/unit/dns/corpus.h"

int main(void)
{
	return replay_corpus("fuzz/corpus/dns_query");
}
