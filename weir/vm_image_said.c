/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir-image has said, which has read hostile bytes: lines for a person, of which nothing gets
 * to a terminal as it is, and an answer, which is one object of JSON or none.
 */
#include "weir/vm_image_call.h"

#include <sys/wait.h>

/* ---- lines ------------------------------------------------------------------------------- */

/* Length of the character of UTF-8 at p that a terminal shows; 0: none. */
static size_t shown(const uint8_t *p)
{
	uint32_t c = p[0] & 0x1f;
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (n <= 1)
		return n && p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] > 0xf4)
		return 0;
	c = n == 2 ? c : n == 3 ? c & 0xf : c & 0x7;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	/* Controls of the second block, too long a form, surrogates, what turns the direction around. */
	if (c < 0xa0 || (n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c < 0xe000) || (c >= 0x202a && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069))
		return 0;
	return n;
}

void vm_image_clean(char *text)
{
	for (uint8_t *p = (uint8_t *)text; *p;) {
		size_t n = shown(p);

		if (!n)
			*p = '?';
		p += n ? n : 1;
	}
}

/* The next line without our program's name; NULL: no more. */
static char *next_line(char **at)
{
	char *line = *at, *end;

	if (!line || !*line)
		return NULL;
	end = strchr(line, '\n');
	*at = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	if (str_starts(line, VM_IMAGE_PREFIX))
		line += strlen(VM_IMAGE_PREFIX);
	vm_image_clean(line);
	return line;
}

/* ---- the answer ---------------------------------------------------------------------------- */

static int failed(struct vm_image_said *s, const char *program, int status, struct conf_error *err)
{
	char *at = (char *)(uintptr_t)buf_str(&s->complaint), *last = NULL, *line;

	/* What it says last is why it ended. */
	while ((line = next_line(&at)))
		if (line[0])
			last = line;
	if (WIFSIGNALED(status))
		conf_error_set(err, "%s was killed by signal %d", program, WTERMSIG(status));
	else if (!last)
		conf_error_set(err, "weir-image failed and did not say why");
	else
		/* Status 1 is a sentence about what it was asked; others are about itself. */
		conf_error_set(err, "%s%s", WEXITSTATUS(status) == 1 ? "" : VM_IMAGE_PREFIX, last);
	return -EIO;
}

static int succeeded(struct vm_image_said *s, json_t **ret, struct conf_error *err)
{
	char *at = (char *)(uintptr_t)buf_str(&s->complaint), *line;
	json_t *o = json_loadb((const char *)buf_at(&s->answer), s->answer.len,
			       JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(o)) {
		json_decref(o);
		conf_error_set(err, "weir-image answered with something that is no JSON object");
		return -EPROTO;
	}
	while ((line = next_line(&at)))
		log_warn("%s", line);
	*ret = o;
	return 0;
}

int vm_image_heard(struct vm_image_said *s, const char *program, int status, json_t **ret,
		   struct conf_error *err)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return failed(s, program, status, err);
	return succeeded(s, ret, err);
}
