/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcapng writer (draft-ietf-opsawg-pcapng): one section, one Ethernet
 * interface with nanosecond time stamps, one Enhanced Packet Block per frame
 * with its direction as the sandbox sees it (what it sends is outbound), and a
 * Decryption Secrets Block for each lot of TLS keys.
 *
 * Blocks are in the byte order of this machine, as the format allows. Frames
 * are hostile bytes and only copied; lengths are bounded by AUDIT_SNAPLEN. A
 * capture is a help, not the record: when it cannot be written it stops, whole
 * blocks only, and the run goes on.
 */
#include "audit/audit_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
	BLOCK_SHB = 0x0A0D0D0A,
	BLOCK_IDB = 1,
	BLOCK_EPB = 6,
	BLOCK_DSB = 10,
};

enum {
	OPT_END = 0,
	OPT_SHB_HARDWARE = 2,
	OPT_SHB_OS = 3,
	OPT_SHB_USERAPPL = 4,
	OPT_IF_NAME = 2,
	OPT_IF_DESCRIPTION = 3,
	OPT_IF_TSRESOL = 9,
	OPT_EPB_FLAGS = 2,
};

#define BYTE_ORDER_MAGIC UINT32_C(0x1A2B3C4D)
#define LINKTYPE_ETHERNET 1
#define SECRETS_TLS_KEY_LOG UINT32_C(0x544c534b)
#define EPB_INBOUND 1
#define EPB_OUTBOUND 2

struct audit_capture {
	int fd;
	int error;
	struct buf out;
};

static void put_u16(struct buf *b, uint16_t v)
{
	if (buf_append(b, &v, sizeof(v)) < 0)
		abort(); /* room was made by block_begin */
}

static void put_u32(struct buf *b, uint32_t v)
{
	if (buf_append(b, &v, sizeof(v)) < 0)
		abort();
}

static void put_padded(struct buf *b, const void *p, size_t n)
{
	static const char zero[4];

	if (buf_append(b, p, n) < 0 || buf_append(b, zero, (4 - n % 4) % 4) < 0)
		abort();
}

static void put_option(struct buf *b, uint16_t code, const void *p, size_t n)
{
	put_u16(b, code);
	put_u16(b, (uint16_t)n);
	put_padded(b, p, n);
}

static int capture_write(struct audit_capture *c)
{
	if (c->error || c->out.len == 0)
		return c->error;
	c->error = fd_write_all(c->fd, buf_at(&c->out), c->out.len);
	buf_reset(&c->out);
	return c->error;
}

/* Room for a whole block of at most `size` bytes; false: not captured. */
static bool block_begin(struct audit_capture *c, uint32_t type, size_t size, size_t *ret_start)
{
	uint8_t *room;

	if (c->error)
		return false;
	if (size > c->out.cap - c->out.len && capture_write(c) < 0)
		return false;
	if (buf_reserve(&c->out, size, &room) < 0)
		return false;
	*ret_start = c->out.len;
	put_u32(&c->out, type);
	put_u32(&c->out, 0); /* length, filled by block_end */
	return true;
}

static void block_end(struct audit_capture *c, size_t start)
{
	uint32_t total = (uint32_t)(c->out.len - start + 4);

	put_u32(&c->out, total);
	memcpy(buf_at(&c->out) + start + 4, &total, sizeof(total));
}

static void put_section(struct audit_capture *c)
{
	static const char appl[] = "weir " WEIR_VERSION;
	struct utsname u = { 0 };
	char os[sizeof(u.sysname) + sizeof(u.release) + 2];
	size_t start;

	uname(&u);
	snprintf(os, sizeof(os), "%s %s", u.sysname, u.release);
	if (!block_begin(c, BLOCK_SHB, 1024, &start))
		return;
	put_u32(&c->out, BYTE_ORDER_MAGIC);
	put_u16(&c->out, 1);
	put_u16(&c->out, 0);
	put_u32(&c->out, UINT32_MAX); /* section length: not specified (-1) */
	put_u32(&c->out, UINT32_MAX);
	put_option(&c->out, OPT_SHB_HARDWARE, u.machine, strlen(u.machine));
	put_option(&c->out, OPT_SHB_OS, os, strlen(os));
	put_option(&c->out, OPT_SHB_USERAPPL, appl, strlen(appl));
	put_option(&c->out, OPT_END, NULL, 0);
	block_end(c, start);
}

static void put_interface(struct audit_capture *c)
{
	static const char name[] = "sandbox";
	static const char text[] = "the sandbox's link, as the sandbox sees it";
	static const uint8_t tsresol = 9; /* 10^-9 s */
	size_t start;

	if (!block_begin(c, BLOCK_IDB, 256, &start))
		return;
	put_u16(&c->out, LINKTYPE_ETHERNET);
	put_u16(&c->out, 0);
	put_u32(&c->out, AUDIT_SNAPLEN);
	put_option(&c->out, OPT_IF_NAME, name, sizeof(name) - 1);
	put_option(&c->out, OPT_IF_DESCRIPTION, text, sizeof(text) - 1);
	put_option(&c->out, OPT_IF_TSRESOL, &tsresol, 1);
	put_option(&c->out, OPT_END, NULL, 0);
	block_end(c, start);
}

int audit_capture_open(int fd, struct audit_capture **ret)
{
	struct audit_capture *c;
	int r;

	if (fd < 0)
		return -EBADF;
	c = calloc(1, sizeof(*c));
	if (!c) {
		fd_close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	buf_init(&c->out, AUDIT_CAPTURE_BUF);
	put_section(c);
	put_interface(c);
	r = capture_write(c);
	if (r < 0) {
		audit_capture_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

void audit_capture_frame(struct audit_capture *c, bool from_guest, const void *head,
			 size_t head_len, const void *payload, size_t payload_len)
{
	uint64_t now = time_real_ns();
	uint32_t flags = from_guest ? EPB_OUTBOUND : EPB_INBOUND;
	size_t start, total, h, p;
	static const char zero[4];

	if (add_overflows(head_len, payload_len, &total) || total > UINT32_MAX)
		return;
	h = MIN(head_len, (size_t)AUDIT_SNAPLEN);
	p = MIN(payload_len, AUDIT_SNAPLEN - h);
	if (!block_begin(c, BLOCK_EPB, h + p + 64, &start))
		return;
	put_u32(&c->out, 0); /* interface */
	put_u32(&c->out, (uint32_t)(now >> 32));
	put_u32(&c->out, (uint32_t)now);
	put_u32(&c->out, (uint32_t)(h + p));
	put_u32(&c->out, (uint32_t)total);
	if (buf_append(&c->out, head, h) < 0 || buf_append(&c->out, payload, p) < 0 ||
	    buf_append(&c->out, zero, (4 - (h + p) % 4) % 4) < 0)
		abort();
	put_option(&c->out, OPT_EPB_FLAGS, &flags, sizeof(flags));
	put_option(&c->out, OPT_END, NULL, 0);
	block_end(c, start);
}

void audit_capture_keys(struct audit_capture *c, const char *lines, size_t len)
{
	bool newline = len && lines[len - 1] != '\n';
	size_t start, pad;

	/* A cut key line would be a wrong one: too many are left out whole. */
	if (len == 0 || len > AUDIT_KEYS_MAX || !block_begin(c, BLOCK_DSB, len + 64, &start))
		return;
	put_u32(&c->out, SECRETS_TLS_KEY_LOG);
	put_u32(&c->out, (uint32_t)(len + newline));
	pad = (4 - (len + newline) % 4) % 4;
	if (buf_append(&c->out, lines, len) < 0 || buf_append(&c->out, "\n", newline) < 0 ||
	    buf_append(&c->out, "\0\0\0", pad) < 0)
		abort();
	block_end(c, start);
}

int audit_capture_flush(struct audit_capture *c)
{
	return capture_write(c);
}

void audit_capture_close(struct audit_capture *c)
{
	if (!c)
		return;
	capture_write(c);
	fd_close(c->fd);
	buf_fini(&c->out);
	free(c);
}
