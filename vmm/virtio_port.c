/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream of a port. Bytes move between the guest's buffers and the socket without a copy of
 * ours, so there is nothing of ours to fill up: a chain is held until the socket has taken all of
 * it, and the socket is read only into a buffer that the guest has put there. Each side
 * waits for the other, and neither loses a byte.
 *
 *     guest ── tx chain, held ──► sendmsg          EPOLLOUT while the socket is full
 *     guest ◄── rx chain, held ── recvmsg          EPOLLIN while there is a chain and the port is open
 *
 * A socket whose other end has gone away is ready at all times; it is taken out of the loop then,
 * and read to its end as the guest makes room. After the end, what the guest says goes
 * nowhere; it is told that the port is closed.
 *
 * Hostile: the guest's buffers, and how fast it fills or empties them. The bytes are nobody's
 * business here.
 */
#include "vmm/virtio_port.h"

#include <sys/epoll.h>

static void on_socket(struct loop_io *io, uint32_t revents);

static void watch(struct virtio_port *p, uint32_t bit, bool on)
{
	if (p->io.loop)
		loop_io_set(&p->io, on ? p->io.events | bit : p->io.events & ~bit);
}

static void end_of_stream(struct virtio_port *p)
{
	loop_io_del(&p->io);
	p->fd = -1;
	p->closed(p);
}

/* ---- to the guest ------------------------------------------------------- */

static ssize_t receive_into(int fd, struct virtq_chain *c)
{
	struct msghdr h = { .msg_iov = c->iov + c->n_out, .msg_iovlen = c->n_in };
	ssize_t n;

	do
		n = recvmsg(fd, &h, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* A chain to receive into; false: none, or the port is closed. */
static bool have_room(struct virtio_port *p)
{
	if (!p->guest_open || p->fd < 0)
		return false;
	if (!p->rx_held)
		p->rx_held = virtio_pop(p->dev, p->rx, &p->rx_chain);
	if (p->rx_held && p->rx_chain.in_len == 0) {
		virtio_fail(p->dev, "a buffer to receive into that has no room");
		return false;
	}
	return p->rx_held;
}

void virtio_port_receive(struct virtio_port *p)
{
	unsigned n = 0;
	bool room;

	while ((room = have_room(p)) && n < VIRTIO_TURN) {
		ssize_t got = receive_into(p->fd, &p->rx_chain);

		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			end_of_stream(p);
			break;
		}
		virtio_push(p->dev, p->rx, &p->rx_chain, (uint32_t)got);
		p->rx_held = false;
		n++;
	}
	watch(p, EPOLLIN, room);
	/* The loop comes back by itself as long as it watches the socket. */
	virtio_turn(p->dev, p->rx, p->hung_up ? n : 0);
}

/* ---- from the guest ----------------------------------------------------- */

/* As much as it takes now. True: the chain is done with. */
static bool send_on(struct virtio_port *p)
{
	struct virtq_chain *c = &p->tx_chain;
	struct iovec v[VIRTQ_CHAIN_MAX];
	struct msghdr h = { .msg_iov = v };
	ssize_t n;

	while (p->fd >= 0 && p->tx_off < c->out_len) {
		h.msg_iovlen = virtq_slice(virtq_out(c), c->n_out, p->tx_off, c->out_len, v);
		n = sendmsg(p->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			return true; /* nobody is there to hear it; its end comes with reading */
		p->tx_off += (uint64_t)n;
	}
	return true;
}

void virtio_port_send(struct virtio_port *p)
{
	unsigned n = 0;

	while (n < VIRTIO_TURN) {
		if (!p->tx_held) {
			if (!virtio_pop(p->dev, p->tx, &p->tx_chain))
				break;
			p->tx_held = true;
			p->tx_off = 0;
		}
		if (!send_on(p))
			break;
		virtio_push(p->dev, p->tx, &p->tx_chain, 0);
		p->tx_held = false;
		n++;
	}
	watch(p, EPOLLOUT, p->tx_held);
	virtio_turn(p->dev, p->tx, n);
}

/* ---- life --------------------------------------------------------------- */

static void on_socket(struct loop_io *io, uint32_t revents)
{
	struct virtio_port *p = container_of(io, struct virtio_port, io);

	if (revents & (EPOLLHUP | EPOLLERR)) {
		p->hung_up = true;
		loop_io_del(io);
	}
	if (revents & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		virtio_port_send(p);
	virtio_port_receive(p);
}

void virtio_port_set_open(struct virtio_port *p, bool open)
{
	p->guest_open = open;
	virtio_port_receive(p);
}

void virtio_port_save(const struct virtio_port *p, uint16_t *rx_next, uint16_t *tx_next,
		      uint64_t *ret_tx_off)
{
	*rx_next = (uint16_t)(*rx_next - p->rx_held);
	*tx_next = (uint16_t)(*tx_next - p->tx_held);
	*ret_tx_off = p->tx_held ? p->tx_off : 0;
}

bool virtio_port_load(struct virtio_port *p, bool open, uint64_t tx_off)
{
	p->guest_open = open;
	if (tx_off == 0)
		return true;
	p->tx_held = virtio_pop(p->dev, p->tx, &p->tx_chain);
	p->tx_off = tx_off;
	return p->tx_held && tx_off <= p->tx_chain.out_len;
}

void virtio_port_stop(struct virtio_port *p)
{
	p->guest_open = p->rx_held = p->tx_held = false;
	if (p->io.loop)
		loop_io_set(&p->io, 0);
}

int virtio_port_init(struct virtio_port *p, struct virtio_mmio *dev, unsigned rx, unsigned tx,
		     int fd, void (*closed)(struct virtio_port *p))
{
	*p = (struct virtio_port){ .dev = dev, .rx = rx, .tx = tx, .fd = fd, .closed = closed };
	return loop_io_add(dev->loop, &p->io, fd, 0, on_socket);
}

void virtio_port_fini(struct virtio_port *p)
{
	loop_io_del(&p->io);
	p->fd = -1;
}
