/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages, front end: a head of three 32-bit words in machine order, a payload,
 * descriptors beside it. Everything is asked and answered in turn, so a message is written whole and, where it
 * has an answer, that is read whole before the next.
 *
 * The back end speaks of our memory in addresses of our process. It needs them only to find a
 * ring in a region, so it is told the guest's addresses for both: what we are mapped to is nobody
 * else's business.
 *
 * Hostile: the other end is a process that parses what a guest sends. It may answer anything, late, or never:
 * lengths and numbers are checked, waiting has an end, descriptors it sends are not taken.
 */
#include "vmm/vhost_front.h"

#include <poll.h>
#include <sys/socket.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u
#define F_PROTOCOL (UINT64_C(1) << 30)
#define PROTO_REPLY_ACK (UINT64_C(1) << 3)

/* For all answers of one step. The gateway answers between two batches of frames. */
#define PATIENCE_NS (5 * NS_PER_S)

struct head {
	uint32_t request, flags, size;
};

struct mem_region {
	uint64_t gpa, size, user, offset;
};

struct mem_table {
	uint32_t n, padding;
	struct mem_region r[GMEM_REGIONS];
};

struct ring_state {
	uint32_t index, num;
};

struct ring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

static int lost(const char **ret_why, int err)
{
	*ret_why = err == -ETIMEDOUT ? "the back end of the network does not answer"
				     : "the back end of the network is gone";
	return err;
}

static int wait_for(int fd, short event, uint64_t until)
{
	struct pollfd p = { .fd = fd, .events = event };
	uint64_t now = time_mono_ns();
	int r;

	if (now >= until)
		return -ETIMEDOUT;
	r = poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1);
	return r < 0 && errno != EINTR ? -errno : 0;
}

static int send_all(int fd, struct iovec *iov, const int *fds, unsigned n_fds, uint64_t until)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * GMEM_REGIONS)];
		struct cmsghdr align;
	} control = { .b = { 0 } };
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };
	int r = 0;

	if (n_fds) {
		struct cmsghdr *c;

		h.msg_control = control.b;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	while (r == 0 && iov[0].iov_len + iov[1].iov_len) {
		ssize_t n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0) {
			r = wait_for(fd, POLLOUT, until);
			continue;
		}
		/* The descriptors went with the first byte. */
		h.msg_control = NULL;
		h.msg_controllen = 0;
		for (unsigned i = 0; n && i < 2; i++) {
			size_t part = MIN((size_t)n, iov[i].iov_len);

			iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return r;
}

static int recv_all(int fd, void *p, size_t size, uint64_t until)
{
	uint8_t *to = p;
	int r = 0;

	while (r == 0 && size) {
		ssize_t n = recv(fd, to, size, MSG_DONTWAIT);

		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0) {
			r = wait_for(fd, POLLIN, until);
			continue;
		}
		to += n;
		size -= (size_t)n;
	}
	return r;
}

static int send_message(struct vhost_front *f, enum request request, uint32_t flags,
			const void *payload, size_t size, const int *fds, unsigned n_fds)
{
	struct head head = { request, VERSION | flags, (uint32_t)size };
	struct iovec iov[2] = { { &head, sizeof(head) }, { NULL, size } };

	/* sendmsg() only reads it. */
	memcpy(&iov[1].iov_base, &payload, sizeof(payload));
	return send_all(f->fd, iov, fds, n_fds, f->until);
}

static int recv_answer(struct vhost_front *f, enum request request, void *payload, size_t size,
		       const char **ret_why)
{
	struct head head = { 0 };
	int r = recv_all(f->fd, &head, sizeof(head), f->until);

	if (r < 0)
		return lost(ret_why, r);
	if (head.request != request || head.size != size || !(head.flags & FLAG_REPLY)) {
		*ret_why = "the back end of the network answers something else";
		return -EPROTO;
	}
	r = recv_all(f->fd, payload, size, f->until);
	return r < 0 ? lost(ret_why, r) : 0;
}

/* A request without an answer of its own: done, if the back end can say so. */
static int tell(struct vhost_front *f, enum request request, const void *payload, size_t size,
		const int *fds, unsigned n_fds, const char **ret_why)
{
	uint64_t refused = 0;
	int r = send_message(f, request, f->acks ? FLAG_NEED_REPLY : 0, payload, size, fds, n_fds);

	if (r < 0)
		return lost(ret_why, r);
	if (!f->acks)
		return 0;
	r = recv_answer(f, request, &refused, sizeof(refused), ret_why);
	if (r == 0 && refused) {
		*ret_why = "the back end of the network refuses what the driver has set up";
		r = -EPROTO;
	}
	return r;
}

static int tell_u64(struct vhost_front *f, enum request request, uint64_t v, const char **ret_why)
{
	return tell(f, request, &v, sizeof(v), NULL, 0, ret_why);
}

static int ask_u64(struct vhost_front *f, enum request request, uint64_t *ret, const char **ret_why)
{
	int r = send_message(f, request, 0, NULL, 0, NULL, 0);

	return r < 0 ? lost(ret_why, r) : recv_answer(f, request, ret, sizeof(*ret), ret_why);
}

/* ---- the three steps ---------------------------------------------------- */

int vhost_front_open(struct vhost_front *f, int fd, const char **ret_why)
{
	struct vhost_front fresh = { .fd = fd, .until = time_mono_ns() + PATIENCE_NS };
	uint64_t proto = 0;
	int r = ask_u64(&fresh, GET_FEATURES, &fresh.features, ret_why);

	fresh.protocol = fresh.features & F_PROTOCOL;
	fresh.features &= ~F_PROTOCOL;
	if (r == 0 && fresh.protocol)
		r = ask_u64(&fresh, GET_PROTOCOL_FEATURES, &proto, ret_why);
	if (r == 0 && fresh.protocol)
		r = tell_u64(&fresh, SET_PROTOCOL_FEATURES, proto & PROTO_REPLY_ACK, ret_why);
	fresh.acks = proto & PROTO_REPLY_ACK;
	if (r == 0)
		r = tell(&fresh, SET_OWNER, NULL, 0, NULL, 0, ret_why);
	if (r == 0)
		*f = fresh;
	return r;
}

static int tell_memory(struct vhost_front *f, const struct gmem *mem, const char **ret_why)
{
	struct mem_table t = { .n = mem->n };
	int fds[GMEM_REGIONS];

	for (unsigned i = 0; i < mem->n; i++) {
		const struct gmem_region *r = &mem->r[i];

		t.r[i] = (struct mem_region){ r->gpa, r->len, r->gpa, r->fd_offset };
		fds[i] = r->fd;
	}
	return tell(f, SET_MEM_TABLE, &t, offsetof(struct mem_table, r) + mem->n * sizeof(t.r[0]),
		    fds, mem->n, ret_why);
}

static int tell_number(struct vhost_front *f, enum request request, unsigned ring, uint32_t num,
		       const char **ret_why)
{
	struct ring_state s = { ring, num };

	return tell(f, request, &s, sizeof(s), NULL, 0, ret_why);
}

static int tell_event(struct vhost_front *f, enum request request, unsigned ring, int fd,
		      const char **ret_why)
{
	uint64_t index = ring;

	return tell(f, request, &index, sizeof(index), &fd, 1, ret_why);
}

static int tell_ring(struct vhost_front *f, unsigned ring, const struct vhost_front_ring *v,
		     const char **ret_why)
{
	struct ring_addr a = {
		.index = ring,
		.desc = v->place.desc,
		.used = v->place.used,
		.avail = v->place.avail,
	};
	int r = tell_number(f, SET_VRING_NUM, ring, v->place.size, ret_why);

	if (r == 0)
		r = tell_number(f, SET_VRING_BASE, ring, v->base, ret_why);
	if (r == 0)
		r = tell(f, SET_VRING_ADDR, &a, sizeof(a), NULL, 0, ret_why);
	if (r == 0)
		r = tell_event(f, SET_VRING_CALL, ring, v->call, ret_why);
	if (r == 0)
		r = tell_event(f, SET_VRING_KICK, ring, v->kick, ret_why);
	if (r == 0 && f->protocol)
		r = tell_number(f, SET_VRING_ENABLE, ring, 1, ret_why);
	return r;
}

int vhost_front_start(struct vhost_front *f, uint64_t features, const struct gmem *mem,
		      const struct vhost_front_ring *rings, unsigned n, const char **ret_why)
{
	int r;

	f->until = time_mono_ns() + PATIENCE_NS;
	r = tell_u64(f, SET_FEATURES, features | (f->protocol ? F_PROTOCOL : 0), ret_why);
	if (r == 0)
		r = tell_memory(f, mem, ret_why);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = tell_ring(f, i, &rings[i], ret_why);
	return r;
}

int vhost_front_stop(struct vhost_front *f, unsigned n, uint16_t *ret_bases, const char **ret_why)
{
	struct ring_state s;
	int r = 0;

	f->until = time_mono_ns() + PATIENCE_NS;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		s = (struct ring_state){ .index = i };
		r = send_message(f, GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
		r = r < 0 ? lost(ret_why, r) : recv_answer(f, GET_VRING_BASE, &s, sizeof(s), ret_why);
		ret_bases[i] = (uint16_t)s.num;
	}
	return r;
}
