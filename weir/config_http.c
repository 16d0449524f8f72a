/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section "http" of a configuration, and its flag: on which ports, beside the usual
 * ones, a client's first bytes are looked at for what is asked of an explicit proxy.
 */
#include "weir/config_internal.h"

static const uint16_t usual[] = { 3128, 8080, 8888 };

bool config_is_proxy_port(const struct weir_config *c, uint16_t port)
{
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		if (usual[i] == port)
			return true;
	for (size_t i = 0; i < c->n_proxy_ports; i++)
		if (c->proxy_ports[i] == port)
			return true;
	return false;
}

static int add(struct config_builder *b, const struct where *w, uint16_t port)
{
	struct weir_config *c = b->c;

	if (config_is_proxy_port(c, port))
		return where_fail(w, b->err, "%u is one already", port);
	if (port == 53 || port == 853)
		return where_fail(w, b->err, "port %u is always DNS", port);
	if (c->n_proxy_ports >= ARRAY_SIZE(c->proxy_ports))
		return where_fail(w, b->err, "more than %zu of them", ARRAY_SIZE(c->proxy_ports));
	c->proxy_ports[c->n_proxy_ports++] = port;
	return 0;
}

int config_add_proxy_port(struct config_builder *b, const struct where *w, const char *text)
{
	const char *why;
	uint16_t port;

	if (port_parse(text, strlen(text), &port, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	return add(b, w, port);
}

int config_read_http(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "proxy_ports" };
	struct conf ports = conf_member(c, "proxy_ports");
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	if (r < 0 || !ports.v)
		return r;
	if (!json_is_array(ports.v))
		return conf_fail(&ports, b->err, "expected a list: [...]");
	for (size_t i = 0; r == 0 && i < json_array_size(ports.v); i++) {
		struct conf e = conf_element(&ports, i);
		struct where w = { .conf = &e };
		uint64_t port = 0;

		r = conf_uint(&e, 1, 65535, &port, b->err);
		if (r == 0)
			r = add(b, &w, (uint16_t)port);
	}
	return r;
}
