/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports of a run, from its start and while it goes on.
 *
 * Only this process has the user's own rights on the network, so it binds, and
 * hands the socket to the gateway; it keeps none, or a closed port would go on
 * listening here. What is asked for over the control socket is bound first, all
 * of it, and then taken over by the gateway port by port; if one of them fails
 * those before it are closed again. The client is told when the gateway has done it.
 */
#include "weir/run_internal.h"

#include "weir/message.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* The gateway of a weir that was killed this moment has a moment to go, and its ports with it. */
#define PORTS_PATIENCE NS_PER_S
#define PORTS_PAUSE (20 * NS_PER_MS)

/* ---- the list -------------------------------------------------------------------- */

static struct run_port *find_port(struct run *r, uint32_t id)
{
	for (size_t i = 0; i < r->n_ports; i++)
		if (r->ports[i].port.id == id)
			return &r->ports[i];
	return NULL;
}

static void drop_port(struct run *r, struct run_port *p)
{
	fd_close(p->port.fd);
	r->n_ports--;
	memmove(p, p + 1, (size_t)(&r->ports[r->n_ports] - p) * sizeof(*p));
}

/* Binds it, last in the list. */
static int add_port(struct run *r, const struct publish_config *cfg, struct conf_error *err)
{
	struct run_port *p = &r->ports[r->n_ports];
	int rc;

	if (r->n_ports >= PUBLISH_MAX) {
		conf_error_set(err, "more published ports than a run can have (%d)", PUBLISH_MAX);
		return -E2BIG;
	}
	*p = (struct run_port){ .port = { .id = ++r->last_port, .cfg = *cfg, .fd = -1 } };
	rc = publish_bind(cfg, &p->port.fd, &p->port.bound, err);
	r->n_ports += rc == 0;
	return rc;
}

/* Nothing runs yet that could wait for us. */
static int add_port_at_start(struct run *r, const struct publish_config *cfg, uint64_t until,
			     struct conf_error *err)
{
	const struct timespec pause = { .tv_nsec = (long)PORTS_PAUSE };
	int rc;

	while ((rc = add_port(r, cfg, err)) == -EADDRINUSE && time_mono_ns() < until)
		nanosleep(&pause, NULL);
	return rc;
}

int run_ports_bind(struct run *r, struct conf_error *err)
{
	uint64_t until = time_mono_ns() + PORTS_PATIENCE;
	struct conf_error why;

	r->ports = calloc(PUBLISH_MAX, sizeof(*r->ports));
	if (!r->ports) {
		conf_error_set(err, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < r->cfg->n_publish; i++) {
		int rc = add_port_at_start(r, &r->cfg->publish[i], until, &why);

		if (rc < 0) {
			conf_error_set(err, "--publish: %s", why.text);
			return rc;
		}
	}
	return 0;
}

size_t run_ports_list(const struct run *r, struct publish_port *ret)
{
	for (size_t i = 0; i < r->n_ports; i++)
		ret[i] = r->ports[i].port;
	return r->n_ports;
}

void run_ports_handed_over(struct run *r)
{
	for (size_t i = 0; i < r->n_ports; i++) {
		struct run_port *p = &r->ports[i];
		char text[PUBLISH_STRLEN];

		fd_close(p->port.fd);
		p->port.fd = -1;
		p->open = true;
		/* Nobody else knows the number. */
		if (!p->port.cfg.bind.port)
			log_line(LOG_LEVEL_WARN, "published: %s",
				 publish_format(&p->port.cfg, &p->port.bound, text));
	}
}

void run_ports_end(struct run *r)
{
	while (r->n_ports)
		drop_port(r, &r->ports[r->n_ports - 1]);
	free(r->ports);
	r->ports = NULL;
}

/* ---- what the record and the client are told ---------------------------------------- */

static void record(struct run *r, const char *event, const struct publish_port *p, uid_t uid)
{
	char text[ENDPOINT_STRLEN];
	struct audit_event e;
	size_t len;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", event);
	audit_str(&e, "listen", endpoint_format(&p->bound, text));
	audit_str(&e, "proto", p->cfg.udp ? "udp" : "tcp");
	audit_u64(&e, "port", p->cfg.guest_port);
	if (p->cfg.proxy_header)
		audit_bool(&e, "proxy_header", true);
	audit_u64(&e, "uid", uid);
	{
		const char *line = audit_event_end(&e, &len);

		run_record_append(r, "weir", line, len);
	}
}

static json_t *describe(const struct publish_port *p)
{
	char text[ENDPOINT_STRLEN];

	return json_pack("{s:s, s:s, s:i, s:b}", "listen", endpoint_format(&p->bound, text),
			 "proto", p->cfg.udp ? "udp" : "tcp", "port", (int)p->cfg.guest_port,
			 "proxy_header", p->cfg.proxy_header);
}

/* ---- asking the gateway ---------------------------------------------------------------- */

/* Clients may have left before they were answered. */
static const char busy[] = "too many others ask about ports just now: try again";

/* One at a time for each client, and there are few of them. */
static struct ports_ask *new_ask(struct run *r, struct ctl_client *c)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (!r->port_asks[i].id) {
			r->port_asks[i] = (struct ports_ask){ .id = ++r->last_ask,
							      .client = c,
							      .uid = c->uid,
							      .ports = json_array() };
			return &r->port_asks[i];
		}
	return NULL;
}

static void end_ask(struct ports_ask *a)
{
	json_decref(a->ports);
	*a = (struct ports_ask){ 0 };
}

static int tell(struct run *r, enum msg_type type, const struct msg_publish *m, int fd)
{
	return msg_send(r->gateway.sock, type, 0, m, sizeof(*m), &fd, fd >= 0);
}

static bool is_over(struct run *r, struct ctl_client *c)
{
	if (!r->ending)
		return false;
	run_ctl_refuse(c, "the sandbox is ending");
	return true;
}

/* A new port for all of them, or for none. */
static int bind_all(struct run *r, const struct publish_config *cfg, size_t n, struct conf_error *err)
{
	size_t before = r->n_ports;

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < r->n_ports; k++) {
			struct publish_config there = r->ports[k].port.cfg;

			there.bind.port = r->ports[k].port.bound.port;
			if (!publish_clash(&there, &cfg[i]))
				continue;
			conf_error_set(err, "host port %u is published already", cfg[i].bind.port);
			goto undo;
		}
		if (add_port(r, &cfg[i], err) < 0)
			goto undo;
	}
	return 0;
undo:
	while (r->n_ports > before)
		drop_port(r, &r->ports[r->n_ports - 1]);
	return -EINVAL;
}

void run_ports_publish(struct run *r, struct ctl_client *c, const char *spec)
{
	struct publish_config cfg[PUBLISH_MAX];
	struct conf_error err = { "" };
	struct ports_ask *a;
	const char *why = "";
	size_t n = 0, before = r->n_ports;

	if (is_over(r, c))
		return;
	if (!spec || publish_parse(spec, cfg, &n, &why) < 0) {
		run_ctl_refuse(c, "publish: %s", spec ? why : "the port is missing");
		return;
	}
	a = new_ask(r, c);
	if (!a || bind_all(r, cfg, n, &err) < 0) {
		run_ctl_refuse(c, "%s", a ? err.text : busy);
		if (a)
			end_ask(a);
		return;
	}
	for (size_t i = before; i < r->n_ports; i++) {
		struct msg_publish m = { .ask = a->id, .port = r->ports[i].port };

		if (tell(r, MSG_PUBLISH, &m, m.port.fd) < 0)
			break;
		a->waits++;
		fd_close(r->ports[i].port.fd);
		r->ports[i].port.fd = -1;
	}
	if (a->waits == n)
		return;
	/* The gateway is gone or going, and the run with it. */
	run_ctl_refuse(c, "the gateway cannot be told");
	end_ask(a);
}

/* "8080", "8080/udp" or what was published. */
struct wanted {
	bool any_proto, any_address, any_guest;
	struct publish_config cfg;
	uint16_t last;
};

static int parse_wanted(const char *text, struct wanted *ret, const char **why)
{
	size_t len = strcspn(text, "/,"), n = 0;
	struct publish_config all[PUBLISH_MAX];
	struct port_range range;
	int r;

	*ret = (struct wanted){ 0 };
	if (!memchr(text, ':', len)) {
		*why = "what was published, or its host port: 8080, 8080/udp";
		if (text[len] && !str_eq(text + len, "/tcp") && !str_eq(text + len, "/udp"))
			return -EINVAL;
		r = port_parse(text, len, &ret->cfg.bind.port, why);
		ret->last = ret->cfg.bind.port;
		ret->any_address = ret->any_guest = true;
		ret->any_proto = !text[len];
		ret->cfg.udp = str_eq(text + len, "/udp");
		return r;
	}
	r = publish_parse(text, all, &n, why);
	if (r < 0)
		return r;
	ret->cfg = all[0];
	range = (struct port_range){ all[0].bind.port, all[n - 1].bind.port };
	if (!range.lo) {
		*why = "port 0 is none: say which (weir ctl NAME ports)";
		return -EINVAL;
	}
	ret->last = range.hi;
	ret->any_address = text[0] == '*';
	return 0;
}

static bool is_wanted(const struct wanted *w, const struct publish_port *p)
{
	uint16_t port = p->bound.port;

	return port >= w->cfg.bind.port && port <= w->last &&
	       (w->any_proto || p->cfg.udp == w->cfg.udp) &&
	       (w->any_address || ip_equal(&p->bound.addr, &w->cfg.bind.addr)) &&
	       (w->any_guest || p->cfg.guest_port == w->cfg.guest_port + (port - w->cfg.bind.port));
}

void run_ports_unpublish(struct run *r, struct ctl_client *c, const char *spec, bool end_flows)
{
	struct ports_ask *a;
	struct wanted w;
	const char *why = "";

	if (is_over(r, c))
		return;
	if (!spec || parse_wanted(spec, &w, &why) < 0) {
		run_ctl_refuse(c, "unpublish: %s", spec ? why : "the port is missing");
		return;
	}
	a = new_ask(r, c);
	for (size_t i = 0; a && i < r->n_ports; i++) {
		struct run_port *p = &r->ports[i];
		struct msg_publish m = { .ask = a->id, .end_flows = end_flows, .port = p->port };

		if (!p->open || !is_wanted(&w, &p->port))
			continue;
		if (tell(r, MSG_UNPUBLISH, &m, -1) < 0)
			break;
		p->open = false;
		a->waits++;
	}
	if (a && a->waits)
		return;
	run_ctl_refuse(c, a ? "no such port is published: weir ctl NAME ports" : busy);
	if (a)
		end_ask(a);
}

void run_ports_show(struct run *r, struct ctl_client *c)
{
	struct ports_ask *a = is_over(r, c) ? NULL : new_ask(r, c);
	struct msg_publish m = { .ask = a ? a->id : 0 };

	if (!a) {
		if (!r->ending)
			run_ctl_refuse(c, busy);
		return;
	}
	a->waits = 1;
	if (tell(r, MSG_PORTS, &m, -1) < 0) {
		run_ctl_refuse(c, "the gateway cannot be told");
		end_ask(a);
	}
}

/* ---- the gateway's answers ---------------------------------------------------------------- */

static struct ports_ask *find_ask(struct run *r, uint32_t id)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (id && r->port_asks[i].id == id)
			return &r->port_asks[i];
	return NULL;
}

/* All of what was published by it is taken back. */
static void undo(struct run *r, const struct ports_ask *a)
{
	json_t *o;
	size_t i;

	json_array_foreach(a->ports, i, o)
	{
		uint32_t id = (uint32_t)json_integer_value(json_object_get(o, "id"));
		struct run_port *p = find_port(r, id);
		struct msg_publish m = { .end_flows = true };

		if (!p)
			continue;
		m.port = p->port;
		if (tell(r, MSG_UNPUBLISH, &m, -1) == 0)
			record(r, "unpublished", &p->port, a->uid);
		drop_port(r, p);
	}
}

static void settle(struct run *r, struct ports_ask *a)
{
	if (a->error) {
		undo(r, a);
		if (a->client)
			run_ctl_refuse(a->client, "the gateway cannot take it: %s",
				       strerror(-a->error));
	} else {
		json_t *o;
		size_t i;

		json_array_foreach(a->ports, i, o) json_object_del(o, "id");
		if (a->client)
			run_ctl_reply(a->client,
				      json_pack("{s:b, s:O, s:I}", "ok", 1, "ports", a->ports,
						"flows", (json_int_t)a->flows),
				      -1);
	}
	end_ask(a);
}

static void on_done(struct run *r, const struct msg *m)
{
	struct run_port *p = find_port(r, m->publish.port.id);
	struct ports_ask *a = find_ask(r, m->publish.ask);
	json_t *o;

	if (!p || !a || !a->waits)
		return;
	if (m->head.value < 0 && !a->error)
		a->error = m->head.value;
	a->flows += m->publish.flows;
	o = describe(&p->port);
	json_object_set_new(o, "id", json_integer(p->port.id));
	if (m->publish.port.fd >= 0 && m->head.value == 0) {
		/* It listens there now. */
		p->open = true;
		record(r, "published", &p->port, a->uid);
		json_array_append_new(a->ports, o);
	} else {
		if (m->head.value == 0) {
			record(r, "unpublished", &p->port, a->uid);
			json_array_append(a->ports, o);
		}
		json_decref(o);
		drop_port(r, p);
	}
	if (--a->waits == 0)
		settle(r, a);
}

static void on_counted(struct run *r, const struct msg *m)
{
	struct ports_ask *a = find_ask(r, m->ports.ask);

	if (!a || a->waits != 1)
		return;
	for (size_t i = 0; i < m->ports.n; i++) {
		const struct publish_counts *c = &m->ports.port[i].counts;
		struct run_port *p = find_port(r, m->ports.port[i].id);
		json_t *o = p ? describe(&p->port) : NULL;

		if (!o)
			continue;
		json_object_set_new(o, "now", json_integer((json_int_t)c->now));
		json_object_set_new(o, "total", json_integer((json_int_t)c->total));
		json_object_set_new(o, "refused", json_integer((json_int_t)c->refused));
		json_object_set_new(o, "waited", json_integer((json_int_t)c->waited));
		json_array_append_new(a->ports, o);
	}
	a->waits = 0;
	settle(r, a);
}

void run_ports_word(struct run *r, const struct msg *m, size_t body)
{
	if (m->head.type == MSG_PUBLISHED && body >= sizeof(m->publish))
		on_done(r, m);
	else if (m->head.type == MSG_PORTS_COUNTED && body >= offsetof(struct msg_ports, port) &&
		 m->ports.n <= PUBLISH_MAX &&
		 body >= offsetof(struct msg_ports, port) + m->ports.n * sizeof(m->ports.port[0]))
		on_counted(r, m);
}

void run_ports_forget(struct run *r, const struct ctl_client *c)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (r->port_asks[i].client == c)
			r->port_asks[i].client = NULL;
}
