/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One parser for each kind of item of a configuration, whether it comes from a
 * flag or from the file: servers, records, published ports, paths. Every refusal names the place, the reason and what to do.
 */
#include "weir/config_internal.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int where_fail(const struct where *w, struct conf_error *err, const char *fmt, ...)
{
	char text[512], value[160] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!w->flag)
		return conf_fail(w->conf, err, "%s", text);
	if (w->value)
		log_quote(w->value, strlen(w->value), value, sizeof(value));
	conf_error_set(err, "%s%s%s: %s", w->flag, value[0] ? " " : "", value, text);
	return -EINVAL;
}

int config_read_text(struct config_builder *b, const struct conf *c, const char *key, char **ret)
{
	struct conf m = conf_member(c, key);
	const char *text = NULL;
	int r = conf_str(&m, &text, b->err);

	if (r < 0 || !text)
		return r;
	if (!text[0])
		return conf_fail(&m, b->err, "an empty text");
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

int config_replace_text(char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

void *config_push(void *array, size_t *n, size_t elem_size)
{
	void **at = array;
	char *more = reallocarray(*at, *n + 1, elem_size);

	if (!more)
		return NULL;
	*at = more;
	more += *n * elem_size;
	memset(more, 0, elem_size);
	++*n;
	return more;
}

int config_too_many(const struct config_builder *b, const struct where *w, size_t max)
{
	return where_fail(w, b->err, "more than %zu of them", max);
}

static bool addr_is_zero(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, sizeof(zero)) == 0;
}

static bool addr_is_multicast(const struct ip_addr *a)
{
	return a->family == 4 ? a->b[0] >= 224 : a->b[0] == 0xff;
}

/* ---- dns ---------------------------------------------------------------------------- */

int config_add_dns_server(struct config_builder *b, const struct where *w, const char *text)
{
	struct weir_config *c = b->c;
	struct endpoint e, *slot;
	const char *why;

	if (endpoint_parse(text, strlen(text), 53, &e, &why) < 0)
		return where_fail(w, b->err,
				  "%s; a server is an address, not a name: IP or IP:PORT", why);
	if (addr_is_zero(&e.addr) || addr_is_multicast(&e.addr))
		return where_fail(w, b->err, "not the address of a server");
	for (size_t i = 0; i < c->n_dns_servers; i++)
		if (ip_equal(&c->dns_servers[i].addr, &e.addr) && c->dns_servers[i].port == e.port)
			return where_fail(w, b->err, "the same server twice");
	if (c->n_dns_servers >= CONFIG_DNS_SERVERS_MAX)
		return config_too_many(b, w, CONFIG_DNS_SERVERS_MAX);
	slot = config_push(&c->dns_servers, &c->n_dns_servers, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = e;
	return 0;
}

int config_add_dns_record(struct config_builder *b, const struct where *w, const char *name,
			  size_t name_len, const char *addr)
{
	struct weir_config *c = b->c;
	struct dns_record rec = { 0 }, *slot;
	const char *why;

	if (name_parse(name, name_len, &rec.name, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (ip_parse(addr, strlen(addr), &rec.addr, &why) < 0)
		return where_fail(w, b->err, "%s; a record is a name and an address", why);
	for (size_t i = 0; i < c->n_dns_records; i++)
		if (name_equal(&c->dns_records[i].name, &rec.name) &&
		    ip_equal(&c->dns_records[i].addr, &rec.addr))
			return where_fail(w, b->err, "the same record twice");
	if (c->n_dns_records >= CONFIG_DNS_RECORDS_MAX)
		return config_too_many(b, w, CONFIG_DNS_RECORDS_MAX);
	slot = config_push(&c->dns_records, &c->n_dns_records, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = rec;
	return 0;
}

int config_set_budget(struct config_builder *b, const struct where *w, const char *text)
{
	if (!str_eq(text, "off"))
		return where_fail(w, b->err,
				  "only \"off\"; sizes stand in the configuration's "
				  "dns section: \"budget\": {\"names\": 256}");
	b->c->dns_budget = (struct dns_budget){ .off = true };
	return 0;
}

int config_set_stale(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint64_t s;

	if (uint_parse(text, strlen(text), 0, CONFIG_DNS_STALE_MAX_S, &s, &why) < 0)
		return where_fail(w, b->err, "%s; seconds, from 0 (off) to %d", why,
				  CONFIG_DNS_STALE_MAX_S);
	b->c->dns_stale_s = (uint32_t)s;
	return 0;
}

int config_set_answers(struct config_builder *b, const struct where *w, const char *text)
{
	if (str_eq(text, "virtual"))
		b->c->dns_mode = DNS_VIRTUAL;
	else if (str_eq(text, "real"))
		b->c->dns_mode = DNS_REAL;
	else
		return where_fail(w, b->err, "answers are \"virtual\" or \"real\"");
	return 0;
}

int config_set_doh(struct config_builder *b, const struct where *w, const char *text)
{
	if (!str_eq(text, "deny") && !str_eq(text, "allow"))
		return where_fail(w, b->err, "DNS over HTTPS is \"deny\" or \"allow\"");
	b->c->dns_doh = str_eq(text, "allow");
	return 0;
}

/* ---- publish ------------------------------------------------------------------------- */

int config_add_publish(struct config_builder *b, const struct where *w, const char *text)
{
	struct weir_config *c = b->c;
	struct publish_config *all;
	const char *why = "";
	size_t n = c->n_publish;

	all = reallocarray(c->publish, PUBLISH_MAX, sizeof(*all));
	if (!all)
		return -ENOMEM;
	c->publish = all;
	if (publish_parse(text, all, &n, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	for (size_t i = c->n_publish; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (publish_clash(&all[k], &all[i]))
				return where_fail(w, b->err, "host port %u is published twice",
						  all[i].bind.port);
	c->n_publish = n;
	return 0;
}

/* ---- paths that will be written -------------------------------------------------------- */

int config_set_path(struct config_builder *b, const struct where *w, char **path, const char *text)
{
	const char *slash = strrchr(text, '/');
	cleanup_free char *dir = NULL;
	struct stat st;
	char *copy;

	dir = slash ? strndup(text, slash == text ? 1 : (size_t)(slash - text)) : strdup(".");
	if (!dir)
		return -ENOMEM;
	if (stat(dir, &st) < 0)
		return where_fail(w, b->err, "its directory: %s", strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return where_fail(w, b->err, "its directory is not a directory");
	/* The record is not written through a link that somebody else may have laid. */
	if (lstat(text, &st) == 0 && S_ISLNK(st.st_mode))
		return where_fail(w, b->err, "is a symbolic link; name the file itself");
	if (stat(text, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return where_fail(w, b->err, "is a directory; name a file");
		if (access(text, W_OK) < 0)
			return where_fail(w, b->err, "cannot be written: %s", strerror(errno));
	} else if (access(dir, W_OK | X_OK) < 0) {
		return where_fail(w, b->err, "its directory cannot be written: %s", strerror(errno));
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*path);
	*path = copy;
	return 0;
}
