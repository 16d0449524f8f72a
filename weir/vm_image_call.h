/* SPDX-License-Identifier: Apache-2.0 */
/* One run of weir-image: started, listened to with bounds, ended. */
#ifndef WEIR_VM_IMAGE_CALL_H
#define WEIR_VM_IMAGE_CALL_H

#include "weir/config.h"

#include <jansson.h>

struct vm_image_call {
	const char *program;
	char *const *argv;
	int fd;		   /* inherited under its number, or -1 */
	uint64_t patience; /* ns; it is killed then */
};
/*
 * Its answer, an object (the caller's), when it succeeded. What it complained about is err's text then
 * it failed, and a warning when it did not. It is gone in any case.
 */
must_check int vm_image_call(const struct vm_image_call *c, json_t **ret, struct conf_error *err);

/* What complaints begin with. */
#define VM_IMAGE_PREFIX "weir-image: "
/* A configuration of 4 MiB (image_int.h), each byte of it escaped. */
#define VM_IMAGE_ANSWER_MAX (32 << 20)

struct vm_image_said {
	struct buf answer, complaint; /* standard output and error, to their ends */
};
/* The last step of vm_image_call(); status: of wait(2). What was said is not of use any more. */
must_check int vm_image_heard(struct vm_image_said *s, const char *program, int status,
			      json_t **ret, struct conf_error *err);
/* Bytes that a terminal would take for a command become '?'; what is not UTF-8, too. */
void vm_image_clean(char *text);

#endif
