/* SPDX-License-Identifier: Apache-2.0 */
/* A command line that grows. */
#include "weir/vm.h"

#include <stdarg.h>
#include <stdio.h>

void vm_args_add(struct vm_args *a, const char *fmt, ...)
{
	char **more, *text = NULL;
	va_list ap;

	if (a->error)
		return;
	more = reallocarray(a->v, a->n + 2, sizeof(*more));
	if (more)
		a->v = more;
	va_start(ap, fmt);
	if (!more || vasprintf(&text, fmt, ap) < 0)
		a->error = -ENOMEM;
	va_end(ap);
	if (a->error)
		return;
	a->v[a->n++] = text;
	a->v[a->n] = NULL;
}

void vm_args_fini(struct vm_args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct vm_args){ 0 };
}
