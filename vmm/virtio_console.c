/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console device with ports (virtio 1.2 5.3). Queues, in this order: port 0 in and out,
 * control in and out, port 1 in and out.
 *
 * Port 0 is hvc0 and has no input. Port 1 is a stream with a name (virtio_port.c).
 *
 * What we have to tell the driver of a port is kept as a bit each, not as a list of messages:
 * a driver that asks again and again without reading has at most a few bits set. They are
 * told in the order in which a driver needs them: that there is the port, that it is the
 * console, its name, whether our side is open.
 *
 * Hostile: control messages of any content; port numbers above all.
 */
#include "vmm/virtio_port.h"

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#define PORTS 2
#define PORT_NAME_MAX 32

enum queue { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 };

/* Of one port, in the order of telling. */
enum news { NEWS_ADD, NEWS_CONSOLE, NEWS_NAME, NEWS_OPEN, NEWS_N };

struct console {
	struct virtio_mmio dev;
	struct virtio_sink sink;
	struct virtio_port stream;
	unsigned n_ports;
	uint8_t news[PORTS];
	char name[PORT_NAME_MAX + 1];
};

static struct console *console(struct virtio_mmio *d)
{
	return container_of(d, struct console, dev);
}

/* ---- control ------------------------------------------------------------ */

static uint16_t is_open(const struct console *c, uint32_t port)
{
	return port == 0 || c->stream.fd >= 0;
}

/* The message for one piece of news, to msg; its length. */
static size_t compose(const struct console *c, uint32_t port, enum news what, uint8_t *msg)
{
	struct virtio_console_control m = { .id = port, .value = 1 };
	size_t n = sizeof(m);

	switch (what) {
	case NEWS_ADD:
		m.event = VIRTIO_CONSOLE_PORT_ADD;
		break;
	case NEWS_CONSOLE:
		m.event = VIRTIO_CONSOLE_CONSOLE_PORT;
		break;
	case NEWS_NAME:
		m.event = VIRTIO_CONSOLE_PORT_NAME;
		memcpy(msg + n, c->name, strlen(c->name));
		n += strlen(c->name);
		break;
	case NEWS_OPEN:
	case NEWS_N:
		m.event = VIRTIO_CONSOLE_PORT_OPEN;
		m.value = is_open(c, port);
		break;
	}
	memcpy(msg, &m, sizeof(m));
	return n;
}

/* The first piece of news of any port, taken off; false: there is none. */
static bool next_news(struct console *c, uint32_t *ret_port, enum news *ret_what)
{
	for (uint32_t port = 0; port < c->n_ports; port++) {
		if (!c->news[port])
			continue;
		*ret_port = port;
		*ret_what = (enum news)__builtin_ctz(c->news[port]);
		c->news[port] &= (uint8_t) ~(1u << *ret_what);
		return true;
	}
	return false;
}

static void tell(struct console *c)
{
	uint8_t msg[sizeof(struct virtio_console_control) + PORT_NAME_MAX];
	struct virtq_chain chain;
	enum news what;
	uint32_t port;
	size_t n;

	while ((c->news[0] || c->news[1]) && virtio_pop(&c->dev, CONTROL_RX, &chain)) {
		if (!next_news(c, &port, &what))
			break;
		n = compose(c, port, what, msg);
		if (!virtq_copy_in(&chain, 0, msg, n)) {
			virtio_fail(&c->dev, "a control buffer that is too small for its message");
			return;
		}
		virtio_push(&c->dev, CONTROL_RX, &chain, (uint32_t)n);
	}
	virtio_turn(&c->dev, CONTROL_RX, 0);
}

static void port_ready(struct console *c, uint32_t port)
{
	c->news[port] |= 1u << NEWS_OPEN;
	c->news[port] |= port == 0 ? 1u << NEWS_CONSOLE : 1u << NEWS_NAME;
}

static void obey(struct console *c, const struct virtio_console_control *m)
{
	if (m->event == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned i = 0; m->value == 1 && i < c->n_ports; i++)
			c->news[i] |= 1u << NEWS_ADD;
		return;
	}
	if (m->id >= c->n_ports)
		return;
	if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1)
		port_ready(c, m->id);
	else if (m->event == VIRTIO_CONSOLE_PORT_OPEN && m->id == 1)
		virtio_port_set_open(&c->stream, m->value == 1);
}

static void hear(struct console *c)
{
	struct virtio_console_control m;
	struct virtq_chain chain;
	unsigned n = 0;

	while (n < VIRTIO_TURN && virtio_pop(&c->dev, CONTROL_TX, &chain)) {
		if (!virtq_copy_out(&chain, 0, &m, sizeof(m))) {
			virtio_fail(&c->dev, "a control message that is too short");
			return;
		}
		virtio_push(&c->dev, CONTROL_TX, &chain, 0);
		obey(c, &m);
		n++;
	}
	virtio_turn(&c->dev, CONTROL_TX, n);
	tell(c);
}

static void stream_closed(struct virtio_port *p)
{
	struct console *c = container_of(p, struct console, stream);

	c->news[1] |= 1u << NEWS_OPEN;
	tell(c);
}

/* ---- hvc0 --------------------------------------------------------------- */

static void put_all(struct console *c, const struct virtq_chain *chain)
{
	const struct iovec *v = virtq_out(chain);

	for (unsigned i = 0; i < chain->n_out; i++)
		virtio_sink_put(&c->sink, v[i].iov_base, v[i].iov_len);
}

static void write_out(struct console *c)
{
	struct virtq_chain chain;
	unsigned n = 0;

	while (n < VIRTIO_TURN && virtio_pop(&c->dev, TX0, &chain)) {
		put_all(c, &chain);
		virtio_push(&c->dev, TX0, &chain, 0);
		n++;
	}
	c->dev.count.dropped = c->sink.dropped;
	virtio_turn(&c->dev, TX0, n);
}

/* ---- the device --------------------------------------------------------- */

static void kick(struct virtio_mmio *d, unsigned queue)
{
	struct console *c = console(d);

	switch ((enum queue)queue) {
	case RX0: /* there is nothing to type */
		break;
	case TX0:
		write_out(c);
		break;
	case CONTROL_RX:
		tell(c);
		break;
	case CONTROL_TX:
		hear(c);
		break;
	case RX1:
		virtio_port_receive(&c->stream);
		break;
	case TX1:
		virtio_port_send(&c->stream);
		break;
	}
}

static void stop(struct virtio_mmio *d)
{
	struct console *c = console(d);

	memset(c->news, 0, sizeof(c->news));
	virtio_port_stop(&c->stream);
}

static const char *save(struct virtio_mmio *d, struct virtio_state *s)
{
	struct console *c = console(d);

	if (c->n_ports > 1)
		virtio_port_save(&c->stream, &s->q[RX1].next_avail, &s->q[TX1].next_avail,
				 &s->own.console.tx_off);
	s->own.console.guest_open = c->stream.guest_open;
	memcpy(s->own.console.news, c->news, sizeof(c->news));
	return NULL;
}

static const char *load(struct virtio_mmio *d, const struct virtio_state *s)
{
	struct console *c = console(d);

	for (unsigned i = 0; i < c->n_ports; i++)
		c->news[i] = s->own.console.news[i] & ((1u << NEWS_N) - 1);
	if (c->n_ports > 1 &&
	    !virtio_port_load(&c->stream, s->own.console.guest_open, s->own.console.tx_off))
		return "a stream in the middle of a chain that is not there";
	return NULL;
}

static void fini(struct virtio_mmio *d)
{
	struct console *c = console(d);

	virtio_port_fini(&c->stream);
	virtio_sink_fini(&c->sink);
}

static const struct virtio_kind kind = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.queue_max = 64,
	.stop = stop,
	.kick = kick,
	.save = save,
	.load = load,
	.fini = fini,
};

int virtio_console_new(struct loop *loop, const struct gmem *mem,
		       const struct virtio_console_setup *s, struct virtio_mmio **ret)
{
	struct console *c = calloc(1, sizeof(*c));
	struct virtio_console_config config = { 0 };
	int r;

	if (!c)
		return -ENOMEM;
	c->n_ports = s->stream_fd < 0 ? 1 : 2;
	c->stream.fd = -1;
	r = virtio_init(&c->dev, &kind, 2 * (c->n_ports + 1), loop, mem);
	if (r < 0) {
		free(c);
		return r;
	}
	c->dev.offered |= VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	config.max_nr_ports = c->n_ports;
	memcpy(c->dev.config, &config, sizeof(config));
	c->dev.config_len = sizeof(config);
	r = virtio_sink_init(&c->sink, loop, s->out_fd);
	if (r == 0 && s->stream_fd >= 0) {
		snprintf(c->name, sizeof(c->name), "%s", s->port_name);
		r = virtio_port_init(&c->stream, &c->dev, RX1, TX1, s->stream_fd, stream_closed);
	}
	if (r < 0) {
		virtio_free(&c->dev);
		return r;
	}
	*ret = &c->dev;
	return 0;
}
