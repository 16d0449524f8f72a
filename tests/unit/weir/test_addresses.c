/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox's addresses: what may be asked for, what is chosen beside the
 * host's routes and other sandboxes, and what the record says of it.
 */
#include "weir/address_pick.h"
#include "weir/config.h"
#include "weir/record_net.h"
#include "weir/slot_lock.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/weir-addresses-XXXXXX";

static struct ip_prefix net(const char *s)
{
	struct ip_prefix p;

	if (ip_prefix_parse(s, strlen(s), &p, NULL) < 0)
		fail_msg("%s", s);
	return p;
}

/* Locks are the machine's: nobody else's test has this network. */
static struct ip_prefix own_net(const char *fmt)
{
	unsigned pid = (unsigned)getpid();
	char text[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof(text), fmt, pid >> 8 & 255, pid & 255);
#pragma GCC diagnostic pop
	return net(text);
}

static void same(const struct ip_prefix *p, const char *want)
{
	char text[PREFIX_STRLEN];

	assert_string_equal(prefix_text(p, text), want);
}

static void same_ip(const struct ip_addr *a, const char *want)
{
	char text[IP_STRLEN];

	assert_string_equal(ip_format(a, text), want);
}

/* ---- one pool ---------------------------------------------------------------- */

static struct ip_prefix picked(const char *pool, uint8_t len, const char *const *avoid, int want)
{
	struct ip_prefix p = net(pool), bad[8], ret = { { 0, { 0 } }, 0 };
	size_t n = 0;

	while (avoid && avoid[n]) {
		bad[n] = net(avoid[n]);
		n++;
	}
	assert_int_equal(slot_pick(&p, len, bad, n, NULL, NULL, &ret), want);
	return ret;
}

/* Parity: n20, lesson-25. */
static void test_pick(void **state)
{
	static const char *const first[] = { "10.0.0.0/24", "10.0.1.4/32", "172.16.0.0/12", NULL };
	static const char *const nested[] = { "10.0.0.64/26", "10.0.0.0/25", "10.0.0.128/30", NULL };
	static const char *const whole[] = { "10.0.0.0/8", NULL };
	static const char *const halves[] = { "10.0.0.128/25", "10.0.0.0/25", NULL };
	static const char *const v6[] = { "fd00:1::/64", "fd00:1:0:1::5/128", NULL };
	static const char *const top[] = { "ffff:ffff:ffff:ffff::/64", NULL };
	struct ip_prefix p;

	(void)state;
	p = picked("10.0.0.0/16", 30, NULL, 0);
	same(&p, "10.0.0.0/30");
	p = picked("10.0.0.0/16", 30, first, 0);
	same(&p, "10.0.1.0/30");
	p = picked("10.0.1.4/30", 30, first, -ENOSPC);
	p = picked("10.0.0.0/24", 30, nested, 0);
	same(&p, "10.0.0.132/30");
	picked("10.0.0.0/24", 30, whole, -ENOSPC);
	picked("10.0.0.0/24", 30, halves, -ENOSPC);
	p = picked("10.0.0.0/30", 30, NULL, 0);
	same(&p, "10.0.0.0/30");
	p = picked("255.255.255.0/24", 30, NULL, 0);
	same(&p, "255.255.255.0/30");
	p = picked("fd00:1::/48", 64, v6, 0);
	same(&p, "fd00:1:0:2::/64");
	p = picked("fd00:1::/64", 64, NULL, 0);
	same(&p, "fd00:1::/64");
	picked("fd00:1::/64", 64, v6, -ENOSPC);
	picked("ffff:ffff:ffff:ffff::/64", 64, top, -ENOSPC);
}

struct takers {
	unsigned asked, refuse;
};

static bool take_later(void *ctx, const struct ip_prefix *slot)
{
	struct takers *t = ctx;

	(void)slot;
	return ++t->asked > t->refuse;
}

/* Parity: lesson-26. */
static void test_pick_taken(void **state)
{
	struct ip_prefix p = net("10.0.0.0/24"), ret;
	struct takers t = { .refuse = 5 };

	(void)state;
	assert_int_equal(slot_pick(&p, 30, NULL, 0, take_later, &t, &ret), 0);
	same(&ret, "10.0.0.20/30");
	t = (struct takers){ .refuse = 1000 };
	assert_int_equal(slot_pick(&p, 30, NULL, 0, take_later, &t, &ret), -EBUSY);
	assert_int_equal(t.asked, 64);
	/* A pool of four billion that others hold is not walked to its end. */
	p = net("10.0.0.0/8");
	t = (struct takers){ .refuse = UINT32_MAX };
	assert_int_equal(slot_pick(&p, 30, NULL, 0, take_later, &t, &ret), -EBUSY);
	assert_true(t.asked <= 5000);
}

/* ---- a run ------------------------------------------------------------------- */

static struct host_routes routes_of(const char *const *text)
{
	struct host_routes r = { 0 };

	while (text && text[r.n]) {
		r.v = realloc(r.v, (r.n + 1) * sizeof(*r.v));
		r.v[r.n] = (struct host_route){ .to = net(text[r.n]), .dev = "wg0" };
		r.n++;
	}
	return r;
}

static int settle(const struct net_wish *wish, const char *const *text, struct sandbox_net *net_ret,
		  struct conf_error *err)
{
	struct host_routes r = routes_of(text);
	int rc = addresses_settle(wish, &r, SLOTS_LOOK, net_ret, NULL, err);

	host_routes_fini(&r);
	return rc;
}

static void test_default(void **state)
{
	static const char *const usual[] = { "192.168.1.0/24", "172.17.0.0/16", "fd00::/64", NULL };
	static const char *const in_way[] = { "192.0.0.0/9", "172.16.0.0/16", "172.17.0.0/16",
					      "fd77:6569:7200::/56", NULL };
	static const char *const all[] = { "192.0.0.0/8", "172.16.0.0/12", "10.0.0.0/8",
					   "100.64.0.0/10", NULL };
	struct net_wish wish = { .mtu = 0 };
	struct sandbox_net n;
	struct conf_error err;

	(void)state;
	assert_int_equal(settle(&wish, usual, &n, &err), 0);
	assert_memory_equal(&n.slot4, &sandbox_net_default.slot4, sizeof(n.slot4));
	same_ip(&n.gateway4, "192.0.0.1");
	same_ip(&n.guest6, "fd77:6569:7200::2");
	assert_int_equal(n.mtu, 1500);
	assert_int_equal(settle(&wish, in_way, &n, &err), 0);
	same(&n.slot4, "172.18.0.0/30");
	same_ip(&n.gateway4, "172.18.0.1");
	same_ip(&n.guest4, "172.18.0.2");
	same(&n.slot6, "fd77:6569:7200:100::/64");
	same_ip(&n.gateway6, "fd77:6569:7200:100::1");
	assert_int_equal(settle(&wish, all, &n, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "give --ipv4-pool"));
}

/* Parity: n20, n21. */
static void test_wishes(void **state)
{
	static const char *const part[] = { "10.8.0.0/24", "fd12::/64", NULL };
	static const char *const whole[] = { "10.0.0.0/8", NULL };
	struct net_wish wish = {
		.pool4 = net("10.8.0.0/16"),
		.pool6 = net("fd12::/48"),
		.virtual4 = net("10.8.1.0/24"),
		.mtu = 9000,
		.has_mac = true,
		.mac = { 2, 0, 0, 0, 0, 9 },
	};
	struct sandbox_net n;
	struct conf_error err;

	(void)state;
	assert_int_equal(settle(&wish, part, &n, &err), 0);
	same(&n.slot4, "10.8.2.0/30");
	same(&n.slot6, "fd12:0:0:1::/64");
	same(&n.virtual4, "10.8.1.0/24");
	assert_int_equal(n.mtu, 9000);
	assert_memory_equal(n.guest_mac, wish.mac, 6);
	assert_int_equal(settle(&wish, whole, &n, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "--ipv4-pool 10.8.0.0/16: the host has a route to "
					 "10.0.0.0/8 (wg0)"));
	wish.pool4 = net("10.8.1.0/24");
	assert_int_equal(settle(&wish, NULL, &n, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "stand for names"));
}

/* Nothing is counted: what was given back is the first again, however often. Parity: lesson-26. */
static void test_locks(void **state)
{
	struct net_wish wish = { .pool4 = own_net("10.%u.%u.0/29"),
				 .pool6 = own_net("fd12:%x:%x::/64") };
	struct host_routes none = { 0 };
	struct slots_held a = { 0 }, b = { 0 };
	struct sandbox_net n, m;
	struct conf_error err;
	struct slot_lock l = { 0 };
	struct ip_prefix slot = own_net("10.%u.%u.0/30"), next = own_net("10.%u.%u.4/30");

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(addresses_settle(&wish, &none, SLOTS_APART, &n, &a, &err), 0);
		assert_memory_equal(&n.slot4, &slot, sizeof(slot));
		slots_release(&a);
	}
	assert_int_equal(addresses_settle(&wish, &none, SLOTS_APART, &n, &a, &err), 0);
	assert_int_equal(slot_lock_take(&slot, &l), -EBUSY);
	/* One /64 for two that may meet: no; for two that cannot: yes, and the free /30. */
	assert_int_equal(addresses_settle(&wish, &none, SLOTS_APART, &m, &b, &err), -EBUSY);
	assert_non_null(strstr(err.text, "--ipv6-pool fd12:"));
	assert_non_null(strstr(err.text, ": every /64"));
	assert_int_equal(addresses_settle(&wish, &none, SLOTS_ALONE, &m, &b, &err), 0);
	assert_memory_equal(&m.slot4, &next, sizeof(next));
	assert_memory_equal(&m.slot6, &n.slot6, sizeof(n.slot6));
	slots_release(&b);
	slots_release(&a);
	assert_int_equal(slot_lock_take(&slot, &l), 0);
	slot_lock_release(&l);
	slot_lock_release(&l);
	/* The default one is held, too, where sandboxes meet. */
	wish = (struct net_wish){ .mtu = 0 };
	assert_int_equal(addresses_settle(&wish, &none, SLOTS_APART, &n, &a, &err), 0);
	assert_int_equal(addresses_settle(&wish, &none, SLOTS_APART, &m, &b, &err), 0);
	assert_false(prefixes_overlap(&n.slot4, &m.slot4));
	assert_false(prefixes_overlap(&n.slot6, &m.slot6));
	assert_false(prefixes_overlap(&m.slot6, &m.virtual6));
	slots_release(&a);
	slots_release(&b);
}

/* A process that dies gives its slot back without a word. */
static void test_lock_of_the_dead(void **state)
{
	struct ip_prefix slot = own_net("10.%u.%u.0/30");
	struct slot_lock l = { 0 };
	int p[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (slot_lock_take(&slot, &l) == 0 && write(p[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(slot_lock_take(&slot, &l), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(slot_lock_take(&slot, &l), 0);
	slot_lock_release(&l);
	close(p[0]);
	close(p[1]);
}

/* ---- the host's routes ------------------------------------------------------------ */

static int in_namespace(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	struct ip_prefix loop = net("127.0.0.1/32"), other = net("10.0.0.0/8");
	struct host_routes r;
	char text[HOST_ROUTE_STRLEN];
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return 77;
	if (host_routes_read(&r) < 0 || r.n != 0)
		return 1;
	host_routes_fini(&r);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifr.ifr_flags = IFF_UP;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return 2;
	if (host_routes_read(&r) < 0 || !host_routes_overlap(&r, &loop) ||
	    host_routes_overlap(&r, &other))
		return 3;
	host_route_text(host_routes_overlap(&r, &loop), text);
	return strstr(text, "(lo)") ? 0 : 4;
}

static void test_routes(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(in_namespace());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: no right to make a network namespace\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- what may be asked for ----------------------------------------------------------- */

static int load(const char *flag, const char *value, struct weir_config **ret, struct conf_error *err)
{
	static char f[64], v[128], run[] = "true";
	static char *argv[] = { f, v, run, NULL };

	snprintf(f, sizeof(f), "%s", flag);
	snprintf(v, sizeof(v), "%s", value);
	return weir_config_load(CONFIG_RUN, 3, argv, ret, err);
}

static void test_bad_wishes(void **state)
{
	static const char *const bad[][3] = {
		{ "--ipv4-pool", "10.0.0.0", "write ADDRESS/LENGTH" },
		{ "--ipv4-pool", "10.0.0.1/16", "write ADDRESS/LENGTH" },
		{ "--ipv4-pool", "10.0.0.0/31", "from /8 to /30" },
		{ "--ipv4-pool", "0.0.0.0/0", "not addresses that a machine can have" },
		{ "--ipv4-pool", "127.0.0.0/16", "not addresses that a machine can have" },
		{ "--ipv4-pool", "169.254.0.0/16", "not addresses that a machine can have" },
		{ "--ipv4-pool", "240.0.0.0/8", "not addresses that a machine can have" },
		{ "--ipv4-pool", "fd00::/48", "that is --ipv6-pool" },
		{ "--ipv6-pool", "10.0.0.0/16", "that is --ipv4-pool" },
		{ "--ipv6-pool", "fd00::/65", "from /16 to /64" },
		{ "--ipv6-pool", "fe80::/64", "not addresses that a machine can have" },
		{ "--ipv6-pool", "::ffff:0:0/96", "not addresses that a machine can have" },
		{ "--dns-pool", "10.0.0.0/25", "from /8 to /24" },
		{ "--dns-pool", "fd00::/97", "from /32 to /96" },
		{ "--mtu", "1279", "from 1280 to 65520" },
		{ "--mtu", "65521", "from 1280 to 65520" },
		{ "--mtu", "1500b", "from 1280 to 65520" },
		{ "--mac", "02:00:00:00:00", "six bytes" },
		{ "--mac", "02:00:00:00:00:0g", "six bytes" },
		{ "--mac", "02-00-00-00-00-05", "six bytes" },
		{ "--mac", "01:00:00:00:00:05", "a group address" },
		{ "--mac", "ff:ff:ff:ff:ff:ff", "a group address" },
		{ "--mac", "00:00:00:00:00:00", "all zero" },
		{ "--mac", "02:77:65:69:72:01", "the gateway's own" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weir_config *c = NULL;
		struct conf_error err = { "" };

		if (load(bad[i][0], bad[i][1], &c, &err) == 0)
			fail_msg("taken: %s %s", bad[i][0], bad[i][1]);
		if (!strstr(err.text, bad[i][2]) || !strstr(err.text, bad[i][1]))
			fail_msg("%s: no \"%s\" in \"%s\"", bad[i][0], bad[i][2], err.text);
	}
}

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

/* Parity: n20, n21. */
static void test_file(void **state)
{
	char config[] = "--config", file[] = "c.json", mtu[] = "--mtu", n[] = "1400", run[] = "true";
	char *argv[] = { config, file, mtu, n, run, NULL };
	struct weir_config *c = NULL;
	struct conf_error err = { "" };

	(void)state;
	put("c.json",
	    "{\"network\": {\"ipv4_pool\": \"10.8.0.0/16\", \"ipv6_pool\": \"fd12::/48\","
	    "\"dns_pool\": [\"100.64.0.0/16\"], \"mtu\": 9000, \"domain\": \"lab.example\","
	    "\"mac\": \"02:00:00:00:00:0A\"}}");
	if (weir_config_load(CONFIG_RUN, 5, argv, &c, &err) < 0)
		fail_msg("%s", err.text);
	same(&c->wish.pool4, "10.8.0.0/16");
	same(&c->wish.pool6, "fd12::/48");
	same(&c->wish.virtual4, "100.64.0.0/16");
	assert_int_equal(c->wish.virtual6.addr.family, 0);
	assert_int_equal(c->wish.mtu, 1400); /* the flag's */
	assert_int_equal(c->wish.mac[5], 10);
	assert_string_equal(c->wish.domain, "lab.example");
	weir_config_free(c);
	c = NULL;
	put("c.json", "{\"network\": {\n\"ipv4_pool\": \"10.8.0.0/31\"}}");
	assert_int_equal(load("--config", "c.json", &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "c.json:2:14: a pool is from /8 to /30"));
	put("c.json", "{\"network\": {\"dns_pool\": [\"10.0.0.0/16\", \"10.1.0.0/16\"]}}");
	assert_int_equal(load("--config", "c.json", &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "the second range of IPv4"));
	put("c.json", "{\"network\": {\"mtu\": 100}}");
	assert_int_equal(load("--config", "c.json", &c, &err), -EINVAL);
	put("c.json", "{\"network\": {\"ip4_pool\": \"10.8.0.0/16\"}}");
	assert_int_equal(load("--config", "c.json", &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "ipv4_pool"));
}

/* ---- the record ----------------------------------------------------------------------- */

static json_t *event(const char *run, const char *gateway)
{
	return json_pack("{s:s, s:s, s:s, s:[s]}", "kind", "run", "event", "begin", "run", run,
			 "gateway", gateway);
}

static void test_record(void **state)
{
	static struct record_nets t;
	struct ip_addr mine = { 4, { 10, 8, 0, 1 } }, usual = sandbox_net_default.gateway4;
	json_t *one = event("one", "10.8.0.1"), *two = event("two", "10.8.0.5");
	json_t *old = json_pack("{s:s, s:s, s:s}", "kind", "run", "event", "begin", "run", "old");

	(void)state;
	record_net_learn(&t, one);
	record_net_learn(&t, two);
	record_net_learn(&t, old);
	assert_true(record_net_is_gateway(&t, one, &mine));
	assert_false(record_net_is_gateway(&t, one, &usual));
	assert_false(record_net_is_gateway(&t, two, &mine));
	/* Written before addresses were on the record. */
	assert_true(record_net_is_gateway(&t, old, &usual));
	assert_false(record_net_is_gateway(&t, old, &mine));
	for (unsigned i = 0; i < 2 * RECORD_NETS_MAX; i++) {
		json_t *e = event("more", "10.9.0.1");

		record_net_learn(&t, e);
		json_decref(e);
	}
	assert_int_equal(t.n, RECORD_NETS_MAX);
	json_decref(one);
	json_decref(two);
	json_decref(old);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir) || chdir(dir) < 0)
		return -1;
	setenv("XDG_RUNTIME_DIR", dir, 1);
	setenv("XDG_STATE_HOME", dir, 1);
	return 0;
}

static int teardown(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "%s/weir", dir);
	unlink("c.json");
	rmdir(cmd);
	return chdir("/") == 0 ? rmdir(dir) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pick),	cmocka_unit_test(test_pick_taken),
		cmocka_unit_test(test_default), cmocka_unit_test(test_wishes),
		cmocka_unit_test(test_locks),	cmocka_unit_test(test_lock_of_the_dead),
		cmocka_unit_test(test_routes),	cmocka_unit_test(test_bad_wishes),
		cmocka_unit_test(test_file),	cmocka_unit_test(test_record),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
