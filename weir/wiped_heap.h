/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's memory in a process that holds secrets: its buffers of plaintext, parsed
 * keys and session state are overwritten when it gives them back, not only what it
 * knows to be secret.
 */
#ifndef WEIR_WIPED_HEAP_H
#define WEIR_WIPED_HEAP_H

/* Before anything of OpenSSL is used, in every process alike: changes nothing yet. */
void wiped_heap_prepare(void);
/* From now on, in this process. */
void wiped_heap_begin(void);

#endif
