/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM may say to the vhost-user link: the input is a script of messages, whole, short,
 * too long, with descriptors of all kinds. A message that is known has a payload that is nearly right, so
 * that the script gets to running rings. Must hold: no descriptor is left open, every flow ends.
 */
#include "fuzz_netstack_vhost.h"

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fds {
	int kick, call, null, pipe[2];
};

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 64; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static int pick_fd(const struct world *w, const struct fds *f, uint8_t b)
{
	const int all[] = { w->mem_fd, f->kick, f->call, f->null, f->pipe[0], f->pipe[1], w->vmm };

	return all[b % ARRAY_SIZE(all)];
}

static void raw(struct world *w, const struct fds *f)
{
	uint8_t p[600];
	uint8_t n_fds = next(w) % 12;
	int fds[12];
	uint32_t request = next(w), flags = next(w), n = next16(w) % 560;

	memset(p, 0, sizeof(p));
	for (unsigned i = 0; i < n && rd_left(&w->in); i++)
		p[i] = next(w);
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = pick_fd(w, f, next(w));
	vmm_send(w, request, flags, p, n, fds, n_fds);
}

/* One to three regions, with one thing off if the script says so. */
static void memory(struct world *w, const struct fds *f)
{
	struct {
		uint32_t n, pad;
		struct vhost_region_in r[8];
	} t = { .n = 1 + next(w) % 8 };
	uint8_t off = next(w), by = next(w);
	int fds[8];

	for (unsigned i = 0; i < t.n; i++) {
		t.r[i] = (struct vhost_region_in){ i * 0x10000u, 0x10000, 0x70000000 + i * 0x10000u,
						   i * 0x10000u };
		fds[i] = w->mem_fd;
	}
	if (off & 1) {
		uint64_t *field = (uint64_t *)&t.r[off / 8 % t.n] + (off >> 1 & 3);

		*field = by & 128 ? UINT64_MAX - by : *field + by * 256u;
	}
	if (off & 64)
		fds[by % t.n] = pick_fd(w, f, by);
	vmm_send(w, 5, 1 | (off & 8), &t, 8 + 32 * t.n, fds, off & 128 ? by % 9u : t.n);
}

static void address(struct world *w, uint32_t i)
{
	struct {
		uint32_t i, flags;
		uint64_t desc, used, avail, log;
	} a = { .i = i, .desc = 0x70000000 + i * 0x8000 };
	uint8_t off = next(w);

	a.used = a.desc + 0x2000;
	a.avail = a.desc + 0x1000;
	if (off & 1)
		(&a.desc)[off >> 1 & 3] += (uint64_t)next16(w) << (off >> 3 & 31);
	if (off == 0xfe)
		a.flags = 1;
	vmm_send(w, 9, 1, &a, 40, NULL, 0);
}

static void likely(struct world *w, const struct fds *f, uint8_t what)
{
	uint32_t i = next(w) % 8 ? what >> 7 : 2, num = 8u << next(w) % 6, s[2] = { i, num };
	uint64_t features = VHOST_F(VHOST_F_VERSION_1) | next16(w), v = i;

	switch (what % 9) {
	case 0:
		vmm_send(w, 2, 1, &features, 8, NULL, 0);
		break;
	case 1:
		memory(w, f);
		break;
	case 2:
		vmm_send(w, 8, 1, s, 8, NULL, 0);
		break;
	case 3:
		address(w, i);
		break;
	case 4:
		s[1] = next16(w);
		vmm_send(w, 10, 1, s, 8, NULL, 0);
		break;
	case 5:
		vmm_send(w, 12, 1, &v, 8, &f->kick, 1);
		break;
	case 6:
		vmm_send(w, 13, 1, &v, 8, &f->call, 1);
		break;
	case 7:
		s[1] = next(w) & 1;
		vmm_send(w, 18, 1, s, 8, NULL, 0);
		break;
	default:
		vmm_send(w, 11, 1, s, 8, NULL, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct fds f;
	unsigned before = open_fds();

	world_begin(&w, data, size);
	f.kick = eventfd(0, EFD_NONBLOCK);
	f.call = eventfd(0, 0);
	f.null = open("/dev/null", O_RDWR);
	MUST(pipe2(f.pipe, O_NONBLOCK) == 0);
	while (rd_left(&w.in)) {
		uint8_t op = next(&w);

		switch (op % 5) {
		case 0:
			raw(&w, &f);
			break;
		case 1:
			eventfd_write(f.kick, 1);
			break;
		case 2: /* a piece of a message, or several */
			(void)!send(w.vmm, w.in.p, MIN(rd_left(&w.in), (size_t)op), MSG_NOSIGNAL);
			(void)!rd_skip(&w.in, MIN(rd_left(&w.in), (size_t)op));
			break;
		default:
			likely(&w, &f, next(&w));
		}
		world_step(&w, 1);
	}
	world_end(&w);
	close(f.kick);
	close(f.call);
	close(f.null);
	close(f.pipe[0]);
	close(f.pipe[1]);
	MUST(open_fds() == before);
	return 0;
}
