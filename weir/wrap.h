/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for a person: folded between words on a terminal, whole where a program reads them. */
#ifndef WEIR_WRAP_H
#define WEIR_WRAP_H

#include "base/base.h"

#include <stdio.h>

/* Columns of the terminal behind f; 0: it is none, or does not say. */
unsigned wrap_columns(FILE *f);
/* Text without an end of line, folded to columns (0: not), further lines indented. Then a newline. */
void wrap_put(FILE *f, unsigned columns, unsigned indent, const char *text);
/* The same of a formatted text, to what is behind f. */
void wrap_printf(FILE *f, unsigned indent, const char *fmt, ...) printf_like(3, 4);

#endif
