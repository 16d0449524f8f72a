/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A leg: one end of a flow, a non-blocking stream socket with or without TLS.
 *
 * OpenSSL reads and writes through a BIO of our own, which
 *  - plays back the ClientHello that was read before TLS began;
 *  - counts against the leg's budget, so that OpenSSL's own loops (it goes on
 *    over records without payload) cannot be kept running by a flood;
 *  - gathers the short records of a turn (a ticket, the answer, the goodbye), so that
 *    they go with one system call and reach the peer in one piece;
 *  - never raises SIGPIPE, and swallows what a peer no longer reads, so that
 *    what it sent before can still be read.
 *
 * After HUP or ERR the descriptor leaves epoll, which would report nothing
 * else from then on; reads and writes alone tell the rest.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

/* Storage up to this is kept while a leg is idle. */
#define LEG_KEEP 4096
/* Records gathered in a turn; what is longer goes by itself, behind them. */
#define LEG_WIRE 4096

void leg_init(struct leg *leg, struct session *s, int fd)
{
	*leg = (struct leg){ .session = s, .fd = fd, .readable = true, .writable = true };
	buf_init(&leg->head, TLSPROXY_HELLO_RAW_MAX + TLSPROXY_HELLO_MAX + 5);
	buf_init(&leg->in, TLSPROXY_READ);
	buf_init(&leg->out, TLSPROXY_OUT_MAX);
	buf_init(&leg->wire, LEG_WIRE);
}

void leg_no_delay(const struct leg *leg)
{
	int on = 1;

	setsockopt(leg->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void leg_close(struct leg *leg, bool abort_it)
{
	struct linger rst = { .l_onoff = 1, .l_linger = 0 };

	/* An alert, as a rule. */
	if (leg->wire.len && leg->fd >= 0 && !abort_it)
		(void)leg_uncork(leg);
	loop_io_del(&leg->io);
	SSL_free(leg->ssl);
	leg->ssl = NULL;
	buf_fini(&leg->wire);
	/* What was sent up or came down may hold secrets. */
	buf_fini_wiped(&leg->head);
	buf_fini_wiped(&leg->in);
	buf_fini_wiped(&leg->out);
	if (leg->fd >= 0 && abort_it)
		setsockopt(leg->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	fd_close(leg->fd);
	leg->fd = -1;
	leg->readable = leg->throttled = false;
	leg->wr_dead = leg->ended = leg->shut = true;
}

void leg_move(struct leg *from, struct leg *to, struct session *s,
	      void (*cb)(struct loop_io *io, uint32_t revents))
{
	*to = *from;
	loop_io_move(&from->io, &to->io, cb);
	to->session = s;
	if (to->ssl) {
		BIO_set_data(SSL_get_rbio(to->ssl), to);
		SSL_set_app_data(to->ssl, to);
	}
	/* What it held is the other's; closing it closes nothing. */
	from->ssl = NULL;
	from->fd = -1;
	buf_init(&from->head, from->head.cap);
	buf_init(&from->in, from->in.cap);
	buf_init(&from->out, from->out.cap);
	buf_init(&from->wire, from->wire.cap);
	leg_close(from, false);
}

int leg_take_fd(struct leg *leg)
{
	loop_io_del(&leg->io);
	return steal_fd(&leg->fd);
}

int leg_watch(struct leg *leg, struct loop *l, void (*cb)(struct loop_io *io, uint32_t revents))
{
	return loop_io_add(l, &leg->io, leg->fd, EPOLLIN, cb);
}

void leg_note(struct leg *leg, uint32_t revents)
{
	if (revents & (EPOLLHUP | EPOLLERR)) {
		loop_io_del(&leg->io);
		leg->gone = true;
	}
	if (leg->gone || (revents & EPOLLIN))
		leg->readable = true;
	if (leg->gone || (revents & EPOLLOUT))
		leg->writable = true;
}

static void trim_in(struct leg *leg)
{
	if (leg->in.len == 0 && leg->in.size > LEG_KEEP)
		buf_fini_wiped(&leg->in);
}

/* Where secrets are it is large, and made for every request: of it as much is wiped as was used. */
static void trim_out(struct leg *leg)
{
	struct buf *b = &leg->out;

	if (b->len || b->size <= LEG_KEEP)
		return;
	explicit_bzero(b->data, MIN(leg->out_used, b->size));
	leg->out_used = 0;
	buf_fini(b);
}

int leg_reserve(struct leg *leg)
{
	uint8_t *p;

	return leg->out.size < leg->out.cap ? buf_reserve(&leg->out, leg->out.cap - leg->out.len, &p)
					    : 0;
}

void leg_arm(struct leg *leg, bool want_in)
{
	uint32_t in;

	trim_in(leg);
	trim_out(leg);
	if (!leg->io.loop)
		return;
	/* What epoll was asked before stays asked until something comes: mostly it is wanted
	 * again by then, and two system calls are saved. */
	in = leg->readable ? 0 : want_in ? (uint32_t)EPOLLIN : leg->io.events & EPOLLIN;
	loop_io_set(&leg->io, in | (leg->writable ? 0 : (uint32_t)EPOLLOUT));
}

/* ---- the wire -------------------------------------------------------------------- */

ssize_t leg_recv(struct leg *leg, void *p, size_t n)
{
	ssize_t r;

	if (leg->fd_eof)
		return leg->error ? -leg->error : 0;
	if (leg->fd < 0 || !leg->readable)
		return -EAGAIN;
	if (leg->budget == 0) {
		leg->throttled = true;
		return -EAGAIN;
	}
	n = MIN(n, leg->budget);
	do
		r = recv(leg->fd, p, n, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r > 0) {
		leg->budget -= (size_t)r;
		/* Short: nothing more for now; epoll is level-triggered if we err. */
		if ((size_t)r < n && !leg->gone)
			leg->readable = false;
		return r;
	}
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && !leg->gone) {
		leg->readable = false;
		return -EAGAIN;
	}
	leg->fd_eof = true;
	if (r < 0)
		leg->error = errno == EAGAIN ? ECONNRESET : errno;
	return -leg->error;
}

static ssize_t leg_raw_read(struct leg *leg, void *p, size_t n)
{
	if (!leg->head.len)
		return leg_recv(leg, p, n);
	n = MIN(n, leg->head.len);
	memcpy(p, buf_at(&leg->head), n);
	buf_consume(&leg->head, n);
	if (!leg->head.len)
		buf_fini(&leg->head);
	return (ssize_t)n;
}

/* What was gathered and then these, as far as they go: how many of these. */
static ssize_t leg_send(struct leg *leg, const void *p, size_t n)
{
	struct iovec iov[] = { { buf_at(&leg->wire), leg->wire.len }, { (void *)(uintptr_t)p, n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t before = leg->wire.len, sent;
	ssize_t r;

	if (leg->wr_dead)
		return (ssize_t)n;
	if (!leg->writable)
		return -EAGAIN;
	do
		r = sendmsg(leg->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		leg->wr_dead = true;
	sent = (size_t)MAX(r, 0);
	/* Short: no more room for now, or, without events, for ever. */
	if (sent < before + n) {
		leg->wr_dead |= leg->gone;
		leg->writable = false;
	}
	if (leg->wr_dead)
		return (ssize_t)n;
	buf_consume(&leg->wire, MIN(sent, before));
	return sent > before ? (ssize_t)(sent - before) : n ? -EAGAIN : 0;
}

static ssize_t leg_raw_write(struct leg *leg, const void *p, size_t n)
{
	if (leg->corked && !leg->wr_dead && n <= leg->wire.cap - leg->wire.len &&
	    buf_append(&leg->wire, p, n) == 0)
		return (ssize_t)n;
	return leg_send(leg, p, n);
}

void leg_cork(struct leg *leg)
{
	leg->corked = leg->ssl != NULL;
}

bool leg_uncork(struct leg *leg)
{
	bool dead = leg->wr_dead;

	leg->corked = false;
	if (leg->wire.len)
		(void)leg_send(leg, NULL, 0);
	if (leg->wr_dead || !leg->wire.len)
		buf_fini(&leg->wire);
	return leg->wr_dead && !dead;
}

/* ---- BIO --------------------------------------------------------------------------- */

static int bio_result(BIO *bio, ssize_t r, size_t *ret_n, int retry)
{
	BIO_clear_retry_flags(bio);
	if (r > 0) {
		*ret_n = (size_t)r;
		return 1;
	}
	if (r == -EAGAIN)
		BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
	return 0;
}

static int leg_bio_read(BIO *bio, char *p, size_t n, size_t *ret_n)
{
	return bio_result(bio, leg_raw_read(BIO_get_data(bio), p, n), ret_n, BIO_FLAGS_READ);
}

static int leg_bio_write(BIO *bio, const char *p, size_t n, size_t *ret_n)
{
	return bio_result(bio, leg_raw_write(BIO_get_data(bio), p, n), ret_n, BIO_FLAGS_WRITE);
}

static long leg_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	const struct leg *leg = BIO_get_data(bio);

	(void)num;
	(void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH:
	case BIO_CTRL_DUP:
		return 1;
	case BIO_CTRL_EOF:
		return leg->fd_eof && !leg->error;
	default:
		return 0;
	}
}

/* One for the process; OpenSSL's own are static too. */
static BIO_METHOD *leg_bio_method(void)
{
	static BIO_METHOD *m;

	if (m)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir leg");
	if (m && !(BIO_meth_set_read_ex(m, leg_bio_read) &&
		   BIO_meth_set_write_ex(m, leg_bio_write) && BIO_meth_set_ctrl(m, leg_bio_ctrl))) {
		BIO_meth_free(m);
		m = NULL;
	}
	return m;
}

/* ---- TLS --------------------------------------------------------------------------- */

int leg_start_tls(struct leg *leg, SSL *ssl)
{
	BIO_METHOD *m = leg_bio_method();
	BIO *bio = m ? BIO_new(m) : NULL;

	if (!bio) {
		SSL_free(ssl);
		return -ENOMEM;
	}
	BIO_set_data(bio, leg);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, leg);
	leg->ssl = ssl;
	return 0;
}

/* Its queue is empty nearly always, which is known sooner than it is cleared. */
static void clear_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

/* What the error of a call means: wait, or the end (noted in the leg). */
static bool tls_would_block(struct leg *leg, int error)
{
	unsigned long e;

	switch (error) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return true;
	default:
		e = ERR_peek_error();
		leg->tls_dead = true;
		leg->tls_reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
		return false;
	}
}

int leg_handshake(struct leg *leg)
{
	int r;

	clear_errors();
	r = SSL_do_handshake(leg->ssl);
	if (r == 1)
		return 0;
	return tls_would_block(leg, SSL_get_error(leg->ssl, r)) ? -EAGAIN : -EPROTO;
}

/*
 * OpenSSL's buffer is made when something comes, and wiped and freed when it is empty: it is
 * as long as one record, and longer only while records come that are full.
 */
static void size_reads(struct leg *leg, size_t got)
{
	bool bulk = got >= SSL3_RT_MAX_PLAIN_LENGTH;

	if (bulk != leg->bulk)
		SSL_set_default_read_buffer_len(leg->ssl, bulk ? TLSPROXY_READ : 0);
	leg->bulk = bulk;
}

/*
 * To ask OpenSSL for what is not there makes it take, wipe and give back a buffer: it is
 * asked when the wire has something, or when it holds some itself.
 */
static enum leg_status read_tls(struct leg *leg, void *p, size_t n, size_t *ret_n)
{
	int r;

	if (leg->tls_dead)
		return LEG_CUT;
	if (leg->dry && !leg->readable)
		return LEG_AGAIN;
	clear_errors();
	r = SSL_read_ex(leg->ssl, p, n, ret_n);
	if (r == 1) {
		leg->dry = !leg->head.len && !SSL_has_pending(leg->ssl);
		size_reads(leg, *ret_n);
		return LEG_OK;
	}
	r = SSL_get_error(leg->ssl, r);
	leg->dry = r == SSL_ERROR_WANT_READ;
	if (r == SSL_ERROR_ZERO_RETURN)
		return LEG_EOF;
	return tls_would_block(leg, r) ? LEG_AGAIN : LEG_CUT;
}

enum leg_status leg_read(struct leg *leg, void *p, size_t n, size_t *ret_n)
{
	enum leg_status st = LEG_OK;
	ssize_t r;

	if (leg->ssl) {
		st = read_tls(leg, p, n, ret_n);
	} else {
		r = leg_raw_read(leg, p, n);
		if (r > 0)
			*ret_n = (size_t)r;
		else
			st = r == 0 ? LEG_EOF : r == -EAGAIN ? LEG_AGAIN : LEG_CUT;
	}
	if (st == LEG_EOF || st == LEG_CUT)
		leg->ended = true;
	return st;
}

/* It is written by the next SSL_write. Without one the client only cannot come back. */
static void give_ticket(struct leg *leg)
{
	leg->owes_ticket = false;
	if (SSL_version(leg->ssl) >= TLS1_3_VERSION && !SSL_new_session_ticket(leg->ssl))
		ERR_clear_error();
}

/*
 * To write one, OpenSSL makes a buffer for reading as well, which it would keep until something
 * has been read: of a client that is silent from then on, for ever.
 */
static void free_buffers(struct leg *leg)
{
	if (!leg->tls_dead && !SSL_has_pending(leg->ssl))
		(void)SSL_free_buffers(leg->ssl);
}

static bool write_out(struct leg *leg)
{
	bool moved = false;
	size_t n = 0;
	ssize_t r;

	while (leg->out.len && !leg->wr_dead && !leg->tls_dead) {
		if (leg->ssl) {
			clear_errors();
			r = SSL_write_ex(leg->ssl, buf_at(&leg->out), leg->out.len, &n);
			if (r != 1 && tls_would_block(leg, SSL_get_error(leg->ssl, (int)r)))
				return moved;
			if (r != 1)
				break;
		} else {
			r = leg_raw_write(leg, buf_at(&leg->out), leg->out.len);
			if (r < 0)
				return moved;
			n = (size_t)r;
		}
		buf_consume(&leg->out, n);
		moved = true;
	}
	if (leg->out.len) {
		/* Nobody reads it any more. */
		leg->wr_dead = true;
		buf_consume(&leg->out, leg->out.len);
		moved = true;
	}
	return moved;
}

bool leg_flush(struct leg *leg)
{
	bool ticket = leg->owes_ticket && leg->out.len, moved;

	if (ticket)
		give_ticket(leg);
	leg->out_used = MAX(leg->out_used, leg->out.off + leg->out.len);
	moved = write_out(leg);
	if (ticket)
		free_buffers(leg);
	/* What is left is moved to the front when more is written: how far it had reached is lost. */
	if (leg->out.len)
		leg->out_used = SIZE_MAX;
	return moved;
}

bool leg_shutdown(struct leg *leg)
{
	int r;

	if (leg->shut)
		return true;
	if (leg->out.len && !leg->wr_dead)
		return false;
	if (leg->ssl && !leg->tls_dead && !leg->wr_dead && SSL_is_init_finished(leg->ssl) &&
	    !(SSL_get_shutdown(leg->ssl) & SSL_SENT_SHUTDOWN)) {
		ERR_clear_error();
		r = SSL_shutdown(leg->ssl);
		if (r < 0 && tls_would_block(leg, SSL_get_error(leg->ssl, r)) && !leg->writable)
			return false;
	}
	(void)leg_uncork(leg);
	if (leg->wire.len)
		return false;
	shutdown(leg->fd, SHUT_WR);
	leg->shut = true;
	return true;
}
