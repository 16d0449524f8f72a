/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a run: flows at a time, memory, rates. The same items as flags and
 * in the section "limits" of a file; a flag wins over the file.
 *
 *   --rate egress=10mbit,burst=64KiB,packets=5000
 *   "limits": { "egress": { "bandwidth": "10mbit", "burst": "64KiB", "packets": 5000 } }
 */
#include "weir/config_internal.h"

#define DEFAULT_CONNECTIONS 4096
#define DEFAULT_UDP_FLOWS 4096
#define DEFAULT_ICMP_FLOWS 256
#define DEFAULT_PROXY_RESTARTS 5
#define RATE_FORM "egress|ingress=BANDWIDTH[,burst=SIZE][,packets=N]"

void config_limits_default(struct weir_config *c)
{
	c->max_connections = DEFAULT_CONNECTIONS;
	c->max_udp_flows = DEFAULT_UDP_FLOWS;
	c->max_icmp_flows = DEFAULT_ICMP_FLOWS;
	c->proxy_restarts = DEFAULT_PROXY_RESTARTS;
}

/* ---- items -------------------------------------------------------------------- */

static int parse_size(struct config_builder *b, const struct where *w, const char *text, size_t len,
		      uint64_t min, uint64_t max, uint64_t *ret)
{
	char lo[SIZE_STRLEN], hi[SIZE_STRLEN];
	const char *why;
	uint64_t n;

	if (size_parse(text, len, &n, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (n < min || n > max)
		return where_fail(w, b->err, "a size from %s to %s", size_format(min, lo),
				  size_format(max, hi));
	*ret = n;
	return 0;
}

static int parse_bandwidth(struct config_builder *b, const struct where *w, const char *text,
			   size_t len, uint64_t *ret)
{
	const char *why;
	uint64_t n;

	if (bandwidth_parse(text, len, &n, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (n < CONFIG_BANDWIDTH_MIN || n > CONFIG_BANDWIDTH_MAX)
		return where_fail(w, b->err, "a bandwidth from 8kbit to 128gbit");
	*ret = n;
	return 0;
}

static int parse_burst(struct config_builder *b, const struct where *w, const char *text,
		       size_t len, uint64_t *ret)
{
	return parse_size(b, w, text, len, CONFIG_BURST_MIN, CONFIG_BURST_MAX, ret);
}

static int check_rate(struct config_builder *b, const struct where *w, const struct netstack_rate *r)
{
	if (r->burst && !r->bytes)
		return where_fail(w, b->err, "a burst without a bandwidth limits nothing");
	if (!r->bytes && !r->packets)
		return where_fail(w, b->err, "neither bandwidth nor packets: limits nothing");
	return 0;
}

/* ---- flags -------------------------------------------------------------------- */

static const struct {
	enum option option;
	const char *key;
	size_t at; /* in struct weir_config */
} counts[] = {
	{ OPTION_MAX_CONNECTIONS, "max_connections", offsetof(struct weir_config, max_connections) },
	{ OPTION_MAX_HALF_OPEN, "max_half_open", offsetof(struct weir_config, max_half_open) },
	{ OPTION_MAX_UDP_FLOWS, "max_udp_flows", offsetof(struct weir_config, max_udp_flows) },
	{ OPTION_MAX_ICMP_FLOWS, "max_icmp_flows", offsetof(struct weir_config, max_icmp_flows) },
};

static uint32_t *count_at(struct weir_config *c, size_t i)
{
	return (uint32_t *)(void *)((char *)c + counts[i].at);
}

static int count_flags(struct config_builder *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		const char *text = option_value(&b->o, counts[i].option), *why;
		struct where w = { .flag = option_name(counts[i].option), .value = text };
		uint64_t n;

		if (!text)
			continue;
		if (uint_parse(text, strlen(text), 1, CONFIG_CONNECTIONS_MAX, &n, &why) < 0)
			return where_fail(&w, b->err, "%s; from 1 to %d", why,
					  CONFIG_CONNECTIONS_MAX);
		*count_at(b->c, i) = (uint32_t)n;
	}
	return 0;
}

/* "egress=10mbit", "burst=64KiB", "packets=100", each of len bytes. */
static int rate_item(struct config_builder *b, const struct where *w, const char *item, size_t len,
		     struct netstack_rate *r)
{
	const char *eq = memchr(item, '=', len), *value, *why;
	size_t key, n;

	if (!eq)
		return where_fail(w, b->err, "write " RATE_FORM);
	key = (size_t)(eq - item);
	value = eq + 1;
	n = len - key - 1;
	if (key == 5 && memcmp(item, "burst", 5) == 0 && !r->burst)
		return parse_burst(b, w, value, n, &r->burst);
	if (key == 7 && memcmp(item, "packets", 7) == 0 && !r->packets) {
		if (uint_parse(value, n, 1, CONFIG_PACKETS_MAX, &r->packets, &why) < 0)
			return where_fail(w, b->err, "packets: %s; from 1 to %llu", why,
					  (unsigned long long)CONFIG_PACKETS_MAX);
		return 0;
	}
	return where_fail(w, b->err,
			  "\"%.*s\": behind the bandwidth may stand burst=SIZE and "
			  "packets=N, each once",
			  (int)MIN(len, (size_t)32), item);
}

static int parse_rate(struct config_builder *b, const struct where *w, const char *text,
		      struct netstack_rate *ret)
{
	struct netstack_rate r = { 0 };
	size_t len = strcspn(text, ",");
	/* "egress=packets=100": packets alone */
	int e = memchr(text, '=', len) ? rate_item(b, w, text, len, &r)
				       : parse_bandwidth(b, w, text, len, &r.bytes);

	for (text += len; e == 0 && *text; text += len) {
		len = strcspn(++text, ",");
		e = rate_item(b, w, text, len, &r);
	}
	if (e == 0)
		e = check_rate(b, w, &r);
	if (e == 0)
		*ret = r;
	return e;
}

static int rate_direction(struct config_builder *b, const struct where *w, const char *text,
			  struct netstack_rates *rates, struct netstack_rate **ret)
{
	if (str_starts(text, "egress="))
		*ret = &rates->up;
	else if (str_starts(text, "ingress="))
		*ret = &rates->down;
	else
		return where_fail(w, b->err, "write " RATE_FORM);
	return 0;
}

static int rate_flag(struct config_builder *b, const char *text)
{
	struct where w = { .flag = option_name(OPTION_RATE), .value = text };
	struct netstack_rate *to = NULL;
	int e = rate_direction(b, &w, text, &b->c->rates, &to);

	if (e < 0)
		return e;
	if (to->bytes || to->packets)
		return where_fail(&w, b->err, "this direction has a rate already");
	return parse_rate(b, &w, strchr(text, '=') + 1, to);
}

int config_rate_change(const char *text, struct netstack_rates *rates, struct conf_error *err)
{
	struct config_builder b = { .err = err };
	struct where w = { .flag = "rate", .value = text };
	struct netstack_rate *to = NULL;
	int e = rate_direction(&b, &w, text, rates, &to);

	if (e < 0)
		return e;
	text = strchr(text, '=') + 1;
	if (str_eq(text, "none"))
		*to = (struct netstack_rate){ 0 };
	else
		e = parse_rate(&b, &w, text, to);
	return e;
}

int config_limit_flags(struct config_builder *b)
{
	const char *memory = option_value(&b->o, OPTION_MEMORY_BUDGET);
	struct where w = { .flag = option_name(OPTION_MEMORY_BUDGET), .value = memory };
	int r = count_flags(b);

	if (r == 0 && memory)
		r = parse_size(b, &w, memory, strlen(memory), CONFIG_MEMORY_MIN, CONFIG_MEMORY_MAX,
			       &b->c->memory);
	for (size_t i = 0; r == 0 && i < b->o.of[OPTION_RATE].n; i++)
		r = rate_flag(b, b->o.of[OPTION_RATE].v[i]);
	return r;
}

/* ---- the file ------------------------------------------------------------------ */

static int read_memory(struct config_builder *b, const struct conf *c)
{
	struct where w = { .conf = c };
	const char *text = NULL;
	uint64_t n;
	int r = conf_str(c, &text, b->err);

	if (r < 0 || !text)
		return r;
	r = parse_size(b, &w, text, strlen(text), CONFIG_MEMORY_MIN, CONFIG_MEMORY_MAX, &n);
	if (r == 0 && !option_value(&b->o, OPTION_MEMORY_BUDGET))
		b->c->memory = n;
	return r;
}

/* *to is what a flag set, which wins. */
static int read_rate(struct config_builder *b, const struct conf *c, struct netstack_rate *to)
{
	static const char *const keys[] = { "bandwidth", "burst", "packets" };
	struct conf bandwidth = conf_member(c, "bandwidth"), burst = conf_member(c, "burst");
	struct conf packets = conf_member(c, "packets");
	struct where w = { .conf = c }, w_bandwidth = { .conf = &bandwidth },
		     w_burst = { .conf = &burst };
	const char *text = NULL;
	struct netstack_rate r = { 0 };
	int e;

	if (!c->v)
		return 0;
	e = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);
	if (e == 0)
		e = conf_str(&bandwidth, &text, b->err);
	if (e == 0 && text)
		e = parse_bandwidth(b, &w_bandwidth, text, strlen(text), &r.bytes);
	text = NULL;
	if (e == 0)
		e = conf_str(&burst, &text, b->err);
	if (e == 0 && text)
		e = parse_burst(b, &w_burst, text, strlen(text), &r.burst);
	if (e == 0)
		e = conf_uint(&packets, 1, CONFIG_PACKETS_MAX, &r.packets, b->err);
	if (e == 0)
		e = check_rate(b, &w, &r);
	if (e == 0 && !to->bytes && !to->packets)
		*to = r;
	return e;
}

static int read_restarts(struct config_builder *b, const struct conf *c)
{
	uint64_t n = b->c->proxy_restarts;
	int r = conf_uint(c, 0, CONFIG_PROXY_RESTARTS_MAX, &n, b->err);

	if (r == 0)
		b->c->proxy_restarts = (uint32_t)n;
	return r;
}

int config_read_limits(struct config_builder *b, const struct conf *c)
{
	static const char *const keys[] = { "max_connections", "max_half_open",	   "max_udp_flows",
					    "max_icmp_flows",  "memory",	   "egress",
					    "ingress",	       "tlsproxy_restarts" };
	struct conf memory = conf_member(c, "memory");
	struct conf restarts = conf_member(c, "tlsproxy_restarts");
	struct conf egress = conf_member(c, "egress"), ingress = conf_member(c, "ingress");
	int r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counts); i++) {
		struct conf m = conf_member(c, counts[i].key);
		uint64_t n = *count_at(b->c, i);

		r = conf_uint(&m, 1, CONFIG_CONNECTIONS_MAX, &n, b->err);
		if (r == 0 && !option_value(&b->o, counts[i].option))
			*count_at(b->c, i) = (uint32_t)n;
	}
	if (r == 0)
		r = read_memory(b, &memory);
	if (r == 0)
		r = read_restarts(b, &restarts);
	if (r == 0)
		r = read_rate(b, &egress, &b->c->rates.up);
	return r < 0 ? r : read_rate(b, &ingress, &b->c->rates.down);
}

int config_check_limits(struct config_builder *b)
{
	struct weir_config *c = b->c;

	if (c->max_half_open > c->max_connections) {
		conf_error_set(b->err,
			       "max-half-open %u is more than max-connections %u, of which they "
			       "are a part",
			       c->max_half_open, c->max_connections);
		return -EINVAL;
	}
	return 0;
}
