/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring ends for tests/bench over UDP. Trusts its peer: a bench, not a product.
 *
 *   udp sink ADDR PORT                       counts what arrives; answers below
 *   udp up ADDR PORT SECONDS SIZE [RUN]      as many datagrams of SIZE as go out; prints what the sink counted
 *   udp down ADDR PORT SECONDS SIZE [RUN]    asks the sink for as many as go out; prints what arrived
 *   udp rr ADDR PORT SECONDS                 one byte there and back, over and over
 *
 * RUN: datagrams handed over in one send with UDP_SEGMENT (as QUIC senders do); 1: sendmmsg of 64.
 * Prints "pps=ARRIVED_PER_SECOND sent=N arrived=N", rr as bench.c does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define SAMPLES_MAX (1u << 20)

/* What a client asks of the sink. */
enum { ASK_COUNT = 'n', ASK_RESET = 'z', ASK_FLOOD = 'f', ASK_ECHO = 'e', DATA = 'd' };
struct ask {
	char what;
	char pad[7];
	double seconds;
	uint64_t size, run;
};
struct answer {
	uint64_t arrived, sent;
	double first, last; /* us */
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(const char *host, const char *port, bool server)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	struct timeval limit = { 0, 300000 };
	int big = 4 << 20, on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die(host);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
	if (!server)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (server ? bind(fd, (struct sockaddr *)&a, sizeof(a))
		   : connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("bind or connect");
	return fd;
}

static uint64_t flood(int fd, const struct sockaddr_in *to, double seconds, size_t size, size_t run)
{
	static char b[65536] = { DATA };
	struct iovec iov = { b, size * run };
	struct mmsghdr m[BATCH];
	double end = now_us() + seconds * 1e6;
	uint64_t sent = 0;
	int seg = run > 1 ? (int)size : 0;

	if (size * run > 65000) {
		fprintf(stderr, "udp: too long a run\n");
		exit(2);
	}
	setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &seg, sizeof(seg));
	memset(m, 0, sizeof(m));
	for (int i = 0; i < BATCH; i++) {
		m[i].msg_hdr.msg_iov = &iov;
		m[i].msg_hdr.msg_iovlen = 1;
		m[i].msg_hdr.msg_name = (void *)(uintptr_t)to;
		m[i].msg_hdr.msg_namelen = to ? sizeof(*to) : 0;
	}
	for (size_t i = 0; i < run; i++)
		b[i * size] = DATA;
	while (now_us() < end) {
		int n = sendmmsg(fd, m, run > 1 ? 4 : BATCH, 0);

		if (n > 0)
			sent += (uint64_t)n * run;
	}
	seg = 0;
	setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &seg, sizeof(seg));
	return sent;
}

/* One datagram or a run of them: how many, from the GRO control message. */
static uint64_t count(const struct msghdr *m, size_t len)
{
	uint16_t seg = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&seg, CMSG_DATA(c), sizeof(seg));
	return seg ? (len + seg - 1) / seg : 1;
}

struct inbox {
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in from[BATCH];
	char control[BATCH][64];
	char b[BATCH][65536];
};

static int collect(int fd, struct inbox *in)
{
	for (int i = 0; i < BATCH; i++) {
		in->iov[i] = (struct iovec){ in->b[i], sizeof(in->b[i]) };
		in->m[i].msg_hdr = (struct msghdr){
			.msg_name = &in->from[i],
			.msg_namelen = sizeof(in->from[i]),
			.msg_iov = &in->iov[i],
			.msg_iovlen = 1,
			.msg_control = in->control[i],
			.msg_controllen = sizeof(in->control[i]),
		};
	}
	return recvmmsg(fd, in->m, BATCH, MSG_WAITFORONE, NULL);
}

static void note(struct answer *a, uint64_t n)
{
	a->last = now_us();
	if (!a->first)
		a->first = a->last;
	a->arrived += n;
}

static void obey(int fd, const struct sockaddr_in *who, const struct ask *q, struct answer *a)
{
	if (q->what == ASK_RESET)
		*a = (struct answer){ 0 };
	if (q->what == ASK_FLOOD)
		a->sent = flood(fd, who, q->seconds, q->size, q->run);
	sendto(fd, a, sizeof(*a), 0, (const struct sockaddr *)who, sizeof(*who));
}

static _Noreturn void sink(int fd)
{
	static struct inbox in;
	struct answer a = { 0 };

	for (;;) {
		int n = collect(fd, &in);

		for (int i = 0; i < n; i++) {
			struct ask q;

			if (in.b[i][0] == DATA) {
				note(&a, count(&in.m[i].msg_hdr, in.m[i].msg_len));
			} else if (in.b[i][0] == ASK_ECHO) {
				sendto(fd, in.b[i], in.m[i].msg_len, 0,
				       (struct sockaddr *)&in.from[i], sizeof(in.from[i]));
			} else if (in.m[i].msg_len == sizeof(q)) {
				memcpy(&q, in.b[i], sizeof(q));
				obey(fd, &in.from[i], &q, &a);
			}
		}
	}
}

/* Asks until it is answered: the way may still be full of data. */
static struct answer ask(int fd, struct ask q)
{
	struct answer a = { 0 };

	for (int i = 0; i < 20; i++) {
		if (send(fd, &q, sizeof(q), 0) < 0)
			continue;
		for (int j = 0; j < 4; j++) {
			ssize_t n = recv(fd, &a, sizeof(a), 0);

			if (n == sizeof(a))
				return a;
		}
	}
	fprintf(stderr, "udp: the sink does not answer\n");
	exit(1);
}

static int report(const struct answer *a, uint64_t sent)
{
	double us = a->last - a->first;

	printf("pps=%.0f sent=%llu arrived=%llu\n", us > 0 ? (double)a->arrived / us * 1e6 : 0,
	       (unsigned long long)sent, (unsigned long long)a->arrived);
	return a->arrived ? 0 : 1;
}

static int up(int fd, double seconds, size_t size, size_t run)
{
	struct answer a;
	uint64_t sent;

	ask(fd, (struct ask){ .what = ASK_RESET });
	sent = flood(fd, NULL, seconds, size, run);
	usleep(100000);
	a = ask(fd, (struct ask){ .what = ASK_COUNT });
	return report(&a, sent);
}

static int down(int fd, double seconds, size_t size, size_t run)
{
	static struct inbox in;
	struct ask q = { .what = ASK_FLOOD, .seconds = seconds, .size = size, .run = run };
	struct answer a = { 0 };
	double end = now_us() + (seconds + 2) * 1e6;

	if (send(fd, &q, sizeof(q), 0) < 0)
		die("send");
	while (now_us() < end) {
		int n = collect(fd, &in);

		if (n < 0 && a.arrived)
			break;
		for (int i = 0; i < n; i++) {
			if (in.b[i][0] == DATA)
				note(&a, count(&in.m[i].msg_hdr, in.m[i].msg_len));
			else if (in.m[i].msg_len == sizeof(struct answer))
				memcpy(&a.sent, in.b[i] + offsetof(struct answer, sent),
				       sizeof(a.sent));
		}
	}
	return report(&a, a.sent);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int rr(int fd, double seconds)
{
	static double us[SAMPLES_MAX];
	double begin = now_us(), end = begin + seconds * 1e6, took;
	size_t n = 0, failed = 0;
	char c = ASK_ECHO;

	while (now_us() < end && n < SAMPLES_MAX && failed < 50) {
		double t = now_us();

		if (send(fd, &c, 1, 0) == 1 && recv(fd, &c, 1, 0) == 1)
			us[n++] = now_us() - t;
		else
			failed++;
	}
	took = now_us() - begin;
	if (n == 0)
		return 1;
	qsort(us, n, sizeof(us[0]), by_value);
	printf("rate=%.1f p50=%.1f p99=%.1f failed=%zu\n", (double)n / took * 1e6, us[n / 2],
	       us[n * 99 / 100], failed);
	return 0;
}

int main(int argc, char **argv)
{
	double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;
	size_t size = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
	size_t run = argc > 6 ? strtoul(argv[6], NULL, 10) : 1;
	bool server = argc > 1 && strcmp(argv[1], "sink") == 0;
	int fd;

	if (argc < (server ? 4 : 5)) {
		fprintf(stderr, "usage: udp sink|up|down|rr ADDR PORT [SECONDS [SIZE [RUN]]]\n");
		return 2;
	}
	fd = open_socket(argv[2], argv[3], server);
	if (server)
		sink(fd);
	if (strcmp(argv[1], "rr") == 0)
		return rr(fd, seconds);
	if (size == 0 || run == 0)
		return 2;
	return argv[1][0] == 'u' ? up(fd, seconds, size, run) : down(fd, seconds, size, run);
}
