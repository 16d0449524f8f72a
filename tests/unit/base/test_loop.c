/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's promises: order of timers, no call after removal, tasks run once; and the containers. */
#include "base/base.h"

#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static int fired[64], n_fired;

struct test_timer {
	struct loop_timer t;
	int id;
};

static void on_timer(struct loop_timer *t)
{
	fired[n_fired++] = container_of(t, struct test_timer, t)->id;
}

static void test_timers(void **state)
{
	struct test_timer t[50] = { 0 };
	struct loop *l;
	uint64_t now;

	(void)state;
	n_fired = 0;
	assert_int_equal(loop_new(&l), 0);
	now = loop_now(l);
	for (int i = 0; i < 50; i++) {
		t[i].id = i;
		t[i].t.cb = on_timer;
		loop_timer_set(l, &t[i].t, now + 1 + (uint64_t)((i * 37) % 50));
	}
	for (int i = 0; i < 50; i += 2)
		loop_timer_del(l, &t[i].t);
	loop_timer_set(l, &t[1].t, now);
	for (int i = 0; i < 10 && n_fired < 25; i++)
		assert_int_equal(loop_step(l, 10), 0);
	assert_int_equal(n_fired, 25);
	assert_int_equal(fired[0], 1);
	for (int i = 2; i < 25; i++)
		assert_true((fired[i] * 37) % 50 > (fired[i - 1] * 37) % 50);
	loop_free(l);
}

static struct loop_io ios[2];
static int calls;

static void on_io(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	calls++;
	loop_io_del(&ios[io == &ios[0] ? 1 : 0]);
	loop_io_del(io);
}

/* Closed with it, as an owner does that keeps no copy. */
static void on_io_closing(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	calls++;
	for (int i = 0; i < 2; i++) {
		loop_io_closing(&ios[i]);
		close(ios[i].fd);
	}
	assert_null(io->loop);
}

static void removed_not_called(void (*cb)(struct loop_io *io, uint32_t revents), bool closes)
{
	struct loop *l;
	int sv[2][2];

	assert_int_equal(loop_new(&l), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv[i]), 0);
		assert_int_equal(write(sv[i][1], "x", 1), 1);
		assert_int_equal(loop_io_add(l, &ios[i], sv[i][0], EPOLLIN, cb), 0);
	}
	calls = 0;
	assert_int_equal(loop_step(l, 100), 0);
	assert_int_equal(loop_step(l, 0), 0);
	assert_int_equal(calls, 1);
	loop_free(l);
	for (int i = 0; i < 2; i++) {
		if (!closes)
			close(sv[i][0]);
		close(sv[i][1]);
	}
}

static void test_removed_not_called(void **state)
{
	(void)state;
	removed_not_called(on_io, false);
	removed_not_called(on_io_closing, true);
}

static void on_moved(struct loop_io *io, uint32_t revents)
{
	char b;

	assert_true(revents & EPOLLIN);
	assert_int_equal(read(io->fd, &b, 1), 1);
	calls += 10;
}

/* Moves the other of the two, for which there is an event in the same batch. */
static struct loop_io elsewhere;
static void on_io_moving(struct loop_io *io, uint32_t revents)
{
	struct loop_io *other = io == &ios[0] ? &ios[1] : &ios[0];

	(void)revents;
	calls++;
	loop_io_move(other, &elsewhere, on_moved);
	assert_null(other->loop);
	loop_io_set(io, 0);
}

static void test_moved(void **state)
{
	struct loop *l;
	int sv[2][2];

	(void)state;
	assert_int_equal(loop_new(&l), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv[i]), 0);
		assert_int_equal(write(sv[i][1], "x", 1), 1);
		assert_int_equal(loop_io_add(l, &ios[i], sv[i][0], EPOLLIN, on_io_moving), 0);
	}
	calls = 0;
	/* What was there is told once, to the new address. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_step(l, 0), 0);
	assert_int_equal(calls, 11);
	loop_io_del(&elsewhere);
	assert_int_equal(loop_step(l, 0), 0);
	assert_int_equal(calls, 11);
	loop_free(l);
	for (int i = 0; i < 4; i++)
		close(sv[i / 2][i % 2]);
}

static int ran;
static void on_task(struct loop_task *t)
{
	(void)t;
	ran++;
}

static void test_tasks(void **state)
{
	struct loop_task a = { .cb = on_task }, b = { .cb = on_task };
	struct loop *l;

	(void)state;
	ran = 0;
	assert_int_equal(loop_new(&l), 0);
	loop_task_queue(l, &a);
	loop_task_queue(l, &a);
	loop_task_queue(l, &b);
	loop_task_cancel(l, &b);
	assert_int_equal(loop_step(l, 0), 0);
	assert_int_equal(ran, 1);
	loop_free(l);
}

static void test_buf(void **state)
{
	struct buf b = BUF_INIT(1000);

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_printf(&b, "%09d\n", i), 0);
	assert_int_equal(b.len, 1000);
	assert_int_equal(buf_append(&b, "x", 1), -ENOBUFS);
	assert_int_equal(buf_printf(&b, "x"), -ENOBUFS);
	buf_consume(&b, 10);
	assert_memory_equal(buf_at(&b), "000000001\n", 10);
	assert_int_equal(buf_append(&b, "0123456789", 10), 0);
	assert_int_equal(b.len, 1000);
	assert_int_equal(buf_str(&b)[1000], 0);
	buf_fini(&b);
}

static void test_pool_and_map(void **state)
{
	struct item {
		struct hmap_node node;
		uint64_t key;
	};
	struct hash_key key;
	struct pool p;
	struct hmap m;
	struct item *it[5000];

	(void)state;
	hash_key_random(&key);
	pool_init(&p, sizeof(struct item), 5000);
	assert_int_equal(hmap_init(&m, 4), 0);
	for (uint64_t i = 0; i < 5000; i++) {
		it[i] = pool_get(&p);
		assert_non_null(it[i]);
		it[i]->key = i;
		hmap_insert(&m, &it[i]->node, hash_bytes(&key, &i, sizeof(i)));
	}
	assert_null(pool_get(&p));
	for (uint64_t i = 0; i < 5000; i++) {
		struct item *found = NULL;

		hmap_for_hash (n, &m, hash_bytes(&key, &i, sizeof(i)))
			if (container_of(n, struct item, node)->key == i)
				found = container_of(n, struct item, node);
		assert_ptr_equal(found, it[i]);
		if (i % 2)
			hmap_remove(&m, &it[i]->node);
	}
	assert_int_equal(m.count, 2500);
	pool_put(&p, it[1]);
	assert_non_null(pool_get(&p));
	hmap_fini(&m);
	pool_fini(&p);
}

/* Reference vector of the SipHash-2-4 paper, appendix A. */
static void test_siphash(void **state)
{
	struct hash_key key = { { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) } };
	uint8_t in[15];

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	assert_true(hash_bytes(&key, in, sizeof(in)) == UINT64_C(0xa129ca6149be45e5));
}

static void test_ipc(void **state)
{
	int sv[2], p[2], got[IPC_MAX_FDS];
	char b[8];
	size_t n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(ipc_send(sv[0], "hello", 5, p, 2), 0);
	assert_int_equal(ipc_recv(sv[1], b, sizeof(b), got, 2, &n), 5);
	assert_int_equal(n, 2);
	assert_int_equal(write(got[1], "z", 1), 1);
	assert_int_equal(read(p[0], b, 1), 1);
	assert_int_equal(ipc_send(sv[0], "too long", 8, p, 2), 0);
	assert_int_equal(ipc_recv(sv[1], b, 4, got, 2, &n), -EMSGSIZE);
	assert_int_equal(ipc_send(sv[0], "fd", 2, p, 2), 0);
	assert_int_equal(ipc_recv(sv[1], b, 8, got, 1, &n), -EMSGSIZE);
	close(sv[0]);
	assert_int_equal(ipc_recv(sv[1], b, 8, got, 1, &n), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers),	cmocka_unit_test(test_removed_not_called),
		cmocka_unit_test(test_moved),	cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_buf),	cmocka_unit_test(test_pool_and_map),
		cmocka_unit_test(test_siphash), cmocka_unit_test(test_ipc),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
