/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as the command line and JSON files give them: read strictly, unknown keys are errors. */
#include "image/image_int.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>

static const char *const op_names[] = {
	[IMAGE_PATCH_TEXT] = "text",	     [IMAGE_PATCH_FILE] = "file",
	[IMAGE_PATCH_APPEND] = "append",     [IMAGE_PATCH_COPY_FILE] = "copy_file",
	[IMAGE_PATCH_COPY_DIR] = "copy_dir", [IMAGE_PATCH_SYMLINK] = "symlink",
	[IMAGE_PATCH_MKDIR] = "mkdir",	     [IMAGE_PATCH_REMOVE] = "remove",
};

static void patch_fini(struct image_patch *p)
{
	free(p->path);
	free(p->source);
	free(p->target);
	free(p->content);
	*p = (struct image_patch){ 0 };
}

void image_patches_fini(struct image_patches *p)
{
	for (size_t i = 0; i < p->n; i++)
		patch_fini(&p->list[i]);
	free(p->list);
	*p = (struct image_patches){ 0 };
}

static int out_of_memory(struct image_error *err)
{
	return image_fail(err, ENOMEM, "out of memory");
}

/* "copy" is told apart by what its source is. */
static bool find_op(const char *name, size_t len, const char *source, enum image_patch_op *ret)
{
	struct stat st;

	if (len == 4 && memcmp(name, "copy", 4) == 0) {
		*ret = source && stat(source, &st) == 0 && S_ISDIR(st.st_mode)
			       ? IMAGE_PATCH_COPY_DIR
			       : IMAGE_PATCH_COPY_FILE;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(op_names); i++)
		if (strlen(op_names[i]) == len && memcmp(op_names[i], name, len) == 0) {
			*ret = (enum image_patch_op)i;
			return true;
		}
	return false;
}

static int no_such_op(const char *name, size_t len, struct image_error *err)
{
	return image_fail(err, EINVAL,
			  "patch: there is no operation \"%.*s\": text, file, append, copy, "
			  "copy_file, copy_dir, symlink, mkdir, remove",
			  (int)MIN(len, (size_t)60), name);
}

/* Takes p over, also when it fails. */
static int add(struct image_patches *patches, struct image_patch *p, struct image_error *err)
{
	struct image_patch *list;

	if (!guest_path_ok(p->path)) {
		int r = image_fail(
			err, EINVAL,
			"patch: %s \"%.200s\": the path in the guest must be absolute and "
			"without \"..\"",
			op_names[p->op], p->path);

		patch_fini(p);
		return r;
	}
	list = reallocarray(patches->list, patches->n + 1, sizeof(*list));
	if (!list) {
		patch_fini(p);
		return out_of_memory(err);
	}
	patches->list = list;
	list[patches->n++] = *p;
	return 0;
}

/* ---- one on the command line ---- */

/* The content of a host's file, now: what is checked is what is used. */
static int read_content(struct image_patch *p, const char *path, struct image_error *err)
{
	struct buf b = BUF_INIT(PATCH_FILE_MAX);
	int r = file_read(path, b.cap, &b);

	if (r == 0) {
		p->content = malloc(MAX(b.len, (size_t)1));
		r = p->content ? 0 : -ENOMEM;
	}
	if (r == 0 && b.len)
		memcpy(p->content, buf_at(&b), b.len);
	p->content_len = b.len;
	buf_fini(&b);
	return r < 0 ? image_fail_sys(err, -r, "patch: cannot read %s", path) : 0;
}

static int set_content(struct image_patch *p, const void *text, size_t len)
{
	p->content = malloc(MAX(len, (size_t)1));
	if (!p->content)
		return -ENOMEM;
	if (len)
		memcpy(p->content, text, len);
	p->content_len = len;
	return 0;
}

static int parts(struct image_patch *p, char *first, const char *second, struct image_error *err)
{
	int r = 0;

	switch (p->op) {
	case IMAGE_PATCH_TEXT:
	case IMAGE_PATCH_APPEND:
		p->path = strdup(first);
		r = set_content(p, second, strlen(second));
		break;
	case IMAGE_PATCH_FILE:
		p->path = strdup(second);
		r = read_content(p, first, err);
		break;
	case IMAGE_PATCH_COPY_FILE:
	case IMAGE_PATCH_COPY_DIR:
		p->path = strdup(second);
		p->source = strdup(first);
		r = p->source ? 0 : -ENOMEM;
		break;
	case IMAGE_PATCH_SYMLINK:
		p->path = strdup(second);
		p->target = strdup(first);
		r = p->target ? 0 : -ENOMEM;
		break;
	case IMAGE_PATCH_MKDIR:
	case IMAGE_PATCH_REMOVE:
		p->path = strdup(first);
		break;
	}
	if (!p->path || r == -ENOMEM)
		return out_of_memory(err);
	return r;
}

static bool has_two(enum image_patch_op op)
{
	return op != IMAGE_PATCH_MKDIR && op != IMAGE_PATCH_REMOVE;
}

static bool has_host_first(enum image_patch_op op)
{
	return op == IMAGE_PATCH_FILE || op == IMAGE_PATCH_COPY_FILE ||
	       op == IMAGE_PATCH_COPY_DIR || op == IMAGE_PATCH_SYMLINK;
}

static int parse_token(const char *text, struct image_patches *patches, struct image_error *err)
{
	struct image_patch p = { .mode = -1 };
	const char *colon = strchr(text, ':');
	cleanup_free char *rest = NULL;
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	char *second = NULL;
	int r;

	if (len && text[len - 1] == '!') {
		p.replace = true;
		len--;
	}
	if (!find_op(text, len, NULL, &p.op))
		return no_such_op(text, len, err);
	rest = strdup(colon ? colon + 1 : "");
	if (!rest)
		return out_of_memory(err);
	if (has_two(p.op)) {
		/* A host's path may hold colons; the guest's begins with a slash. */
		second = has_host_first(p.op) ? strstr(rest, ":/") : strchr(rest, ':');
		if (second)
			*second++ = '\0';
	}
	if (!rest[0] || (has_two(p.op) && !second))
		return image_fail(err, EINVAL, "patch \"%.200s\": expected %s%s", text,
				  op_names[p.op],
				  !has_two(p.op)		? ":PATH"
				  : p.op == IMAGE_PATCH_SYMLINK ? ":TARGET:PATH"
				  : has_host_first(p.op)	? ":HOST:PATH"
								: ":PATH:CONTENT");
	if (len == 4 && memcmp(text, "copy", 4) == 0 && !find_op(text, len, rest, &p.op))
		return no_such_op(text, len, err);
	r = parts(&p, rest, second, err);
	if (r < 0) {
		patch_fini(&p);
		return r;
	}
	return add(patches, &p, err);
}

int image_patch_parse(const char *text, struct image_patches *p, struct image_error *err)
{
	struct buf b = BUF_INIT(PATCH_JSON_MAX);
	int r;

	if (text[0] != '@')
		return parse_token(text, p, err);
	r = file_read(text + 1, b.cap, &b);
	if (r < 0)
		r = image_fail_sys(err, -r, "patch: cannot read %s", text + 1);
	else
		r = image_patch_parse_json((const char *)buf_at(&b), b.len, text + 1, p, err);
	buf_fini(&b);
	return r;
}

/* ---- JSON ---- */

struct reader {
	const char *name;
	size_t index;
	struct image_error *err;
};

static int bad(const struct reader *r, const char *what)
{
	return image_fail(r->err, EINVAL, "%s: operation %zu: %s", r->name, r->index, what);
}

/* NULL when the key is absent; text without a NUL inside. */
static int get_text(const struct reader *r, const json_t *o, const char *key, char **ret)
{
	const json_t *v = json_object_get(o, key);

	if (!v)
		return 0;
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
		return bad(r, "its values are texts (and \"replace\" true or false)");
	*ret = strdup(json_string_value(v));
	return *ret ? 0 : out_of_memory(r->err);
}

static int get_base64(const struct reader *r, const char *text, struct image_patch *p)
{
	size_t len = strlen(text), pad = 0;
	int n;

	if (len % 4)
		return bad(r, "\"content_base64\" is not base64");
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	p->content = malloc(len / 4 * 3 + 1);
	if (!p->content)
		return out_of_memory(r->err);
	n = EVP_DecodeBlock(p->content, (const unsigned char *)text, (int)len);
	if (n < 0)
		return bad(r, "\"content_base64\" is not base64");
	p->content_len = (size_t)n - pad;
	return 0;
}

static int get_mode(const struct reader *r, const char *text, int *ret)
{
	size_t n = strlen(text);
	int mode = 0;

	if (n < 3 || n > 5)
		return bad(r, "\"mode\" is octal, as \"0644\"");
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '7')
			return bad(r, "\"mode\" is octal, as \"0644\"");
		mode = mode * 8 + (text[i] - '0');
	}
	if (mode > 07777)
		return bad(r, "\"mode\" is at most \"07777\"");
	*ret = mode;
	return 0;
}

static int check_keys(const struct reader *r, const json_t *o)
{
	static const char *const keys[] = { "op",     "path",	"content", "content_base64",
					    "source", "target", "mode",	   "replace" };
	const char *key;
	json_t *value;

	/* The library's macro takes a pointer that is not const and changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			known = known || str_eq(key, keys[i]);
		if (!known) {
			const char *near = str_suggest(key, keys, ARRAY_SIZE(keys));

			return image_fail(r->err, EINVAL,
					  "%s: operation %zu: unknown key \"%.60s\"%s%s%s", r->name,
					  r->index, key, near ? " (\"" : "", near ? near : "",
					  near ? "\"?)" : "");
		}
	}
	return 0;
}

/* What each operation needs, and nothing that it would ignore. */
static int check_parts(const struct reader *r, const struct image_patch *p)
{
	bool content = p->op == IMAGE_PATCH_TEXT || p->op == IMAGE_PATCH_FILE ||
		       p->op == IMAGE_PATCH_APPEND;
	bool source = p->op == IMAGE_PATCH_COPY_FILE || p->op == IMAGE_PATCH_COPY_DIR;
	bool target = p->op == IMAGE_PATCH_SYMLINK;

	if (!p->path)
		return bad(r, "\"path\" is missing");
	if (content != (p->content != NULL))
		return bad(r, content ? "\"content\" is missing" : "\"content\" has no use here");
	if (source != (p->source != NULL))
		return bad(r, source ? "\"source\" is missing" : "\"source\" has no use here");
	if (target != (p->target != NULL))
		return bad(r, target ? "\"target\" is missing" : "\"target\" has no use here");
	return 0;
}

static int read_one(const struct reader *r, const json_t *o, struct image_patch *p)
{
	cleanup_free char *op = NULL, *content = NULL, *base64 = NULL, *mode = NULL;
	const json_t *replace = json_object_get(o, "replace");
	int ret;

	if (!json_is_object(o))
		return bad(r, "is not an object");
	ret = check_keys(r, o);
	if (ret == 0)
		ret = get_text(r, o, "op", &op);
	if (ret == 0)
		ret = get_text(r, o, "path", &p->path);
	if (ret == 0)
		ret = get_text(r, o, "source", &p->source);
	if (ret == 0)
		ret = get_text(r, o, "target", &p->target);
	if (ret == 0)
		ret = get_text(r, o, "content", &content);
	if (ret == 0)
		ret = get_text(r, o, "content_base64", &base64);
	if (ret == 0)
		ret = get_text(r, o, "mode", &mode);
	if (ret == 0 && replace && !json_is_boolean(replace))
		ret = bad(r, "\"replace\" is true or false");
	if (ret == 0 && !op)
		ret = bad(r, "\"op\" is missing");
	if (ret == 0 && !find_op(op, strlen(op), p->source, &p->op))
		ret = no_such_op(op, strlen(op), r->err);
	if (ret == 0 && content && base64)
		ret = bad(r, "\"content\" or \"content_base64\", not both");
	if (ret == 0 && content && set_content(p, content, strlen(content)) < 0)
		ret = out_of_memory(r->err);
	if (ret == 0 && base64)
		ret = get_base64(r, base64, p);
	if (ret == 0 && mode)
		ret = get_mode(r, mode, &p->mode);
	p->replace = json_is_true(replace);
	return ret == 0 ? check_parts(r, p) : ret;
}

int image_patch_parse_json(const char *json, size_t len, const char *name,
			   struct image_patches *patches, struct image_error *err)
{
	json_error_t why;
	json_t *list = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
	size_t before = patches->n;
	int r = 0;

	if (!list)
		return image_fail(err, EINVAL, "%s:%d:%d: %s", name, why.line, why.column, why.text);
	if (!json_is_array(list))
		r = image_fail(err, EINVAL, "%s: expected an array of operations", name);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const struct reader reader = { name, i + 1, err };
		struct image_patch p = { .mode = -1 };

		r = read_one(&reader, json_array_get(list, i), &p);
		if (r < 0)
			patch_fini(&p);
		else
			r = add(patches, &p, err);
	}
	/* All or nothing. */
	while (r < 0 && patches->n > before)
		patch_fini(&patches->list[--patches->n]);
	json_decref(list);
	return r;
}

static int set_base64(json_t *o, const struct image_patch *p)
{
	cleanup_free char *text = malloc(p->content_len / 3 * 4 + 5);

	if (!text || p->content_len > INT_MAX)
		return -ENOMEM;
	EVP_EncodeBlock((unsigned char *)text, p->content, (int)p->content_len);
	return json_object_set_new(o, "content_base64", json_string(text));
}

static int dump_one(json_t *list, const struct image_patch *p)
{
	json_t *o = json_pack("{s:s, s:s, s:s*, s:s*, s:b}", "op", op_names[p->op], "path", p->path,
			      "source", p->source, "target", p->target, "replace", p->replace);
	char mode[8];
	int r = o ? 0 : -ENOMEM;

	snprintf(mode, sizeof(mode), "%04o", (unsigned)p->mode & 07777);
	if (r == 0 && p->mode >= 0)
		r = json_object_set_new(o, "mode", json_string(mode));
	if (r == 0 && p->content)
		r = set_base64(o, p);
	if (r < 0)
		json_decref(o);
	return r == 0 && json_array_append_new(list, o) == 0 ? 0 : -ENOMEM;
}

static int append(const char *p, size_t n, void *ret)
{
	return buf_append(ret, p, n);
}

int image_patches_json(const struct image_patches *p, struct buf *ret)
{
	json_t *list = json_array();
	int r = list ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < p->n; i++)
		r = dump_one(list, &p->list[i]);
	if (r == 0 && json_dump_callback(list, append, ret, JSON_COMPACT) < 0)
		r = -EFBIG;
	json_decref(list);
	return r;
}
