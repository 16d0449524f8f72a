/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INIT in namespaces that begin as an initramfs does: a file system in memory with the agent in
 * it. The root is switched, files are laid over, commands run in there. What needs devices of
 * a machine is the end-to-end tests'.
 */
#include "tests/unit/agent/guest_rig.h"

#include <sys/utsname.h>

#define OUT(t) (buf_str(&(t)->out) ? buf_str(&(t)->out) : "")

static int host_sh(const char *script)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/bin/sh", "sh", "-ec", script, (char *)NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

/* A tree that a command can run in: busybox with its libraries, and files as an image has them. */
static void make_tree(const struct rig *r)
{
	char script[1500];

	snprintf(script, sizeof(script),
		 "t=%s/tree; b=$(command -v busybox) || exit 77\n"
		 "mkdir -p $t/bin $t/etc/ssl/certs $t/usr/local/share/ca-certificates $t/proc "
		 "$t/sys $t/dev "
		 "$t/run $t/tmp $t/home/ann\n"
		 "cp -L $b $t/bin/busybox\n"
		 "for f in $(ldd $b 2>/dev/null | grep -oE '/[^ )]+'); do mkdir -p $t$(dirname "
		 "$f); cp -L $f $t$f; done\n"
		 "for a in sh cat id ls mount touch hostname grep wc; do ln -s busybox $t/bin/$a; "
		 "done\n"
		 "printf 'root:x:0:0::/root:/bin/sh\\nann:x:1000:1000::/home/ann:/bin/sh\\n' > "
		 "$t/etc/passwd\n"
		 "printf 'staff:x:50:ann,bob\\nann:x:1000:\\n' > $t/etc/group\n"
		 "echo image > $t/etc/hostname; echo image > $t/etc/hosts\n"
		 "ln -s ../run/systemd/resolve/stub-resolv.conf $t/etc/resolv.conf\n"
		 "printf 'ROOTS' > $t/etc/ssl/certs/ca-certificates.crt\n"
		 "printf 'OTHER\\n' > $t/etc/ssl/cert.pem\n",
		 r->dir);
	if (host_sh(script) == 77)
		skip();
}

/* In the child, its namespaces made: a root of its own, as small as an initramfs. */
static void initramfs(const char *dir)
{
	char script[600];

	snprintf(script, sizeof(script),
		 "i=%s/init; mkdir $i; mount -t tmpfs tmpfs $i\n"
		 "mkdir -p $i/usr $i/proc $i/sys $i/dev $i/run $i/tree\n"
		 "mount --rbind /usr $i/usr; for l in bin lib lib64; do ln -s usr/$l $i/$l; done\n"
		 "mount --rbind /dev $i/dev; mount --rbind /proc $i/proc; mount --rbind /sys "
		 "$i/sys\n"
		 "mount --bind %s/tree $i/tree; touch $i/agent; mount --bind %s $i/agent\n"
		 "ip link add w0 type veth peer name w1; ip link set w1 up\n",
		 dir, dir, WEIR_AGENT);
	if (host_sh(script) != 0 || snprintf(script, sizeof(script), "%s/init", dir) < 0 ||
	    chroot(script) < 0 || chdir("/") < 0)
		_exit(95);
}

static void start(struct rig *r)
{
	if (geteuid() != 0)
		skip();
	rig_make(r);
	make_tree(r);
	rig_boot(r, initramfs, "/agent");
}

static void run(struct rig *r, struct told *t, const char *user, const char *script)
{
	struct agent_exec x = { .argv = ARGV("/bin/sh", "-c", script), .user = user };

	*t = told_new();
	rig_exec(r, &x, t);
	rig_until(r, t->ended);
	if (t->end.kind == AGENT_ENDED_FAILED)
		fail_msg("%s: %s", script, t->end_text);
}

static void expect(struct rig *r, const char *user, const char *script, const char *out)
{
	struct told t;

	run(r, &t, user, script);
	assert_string_equal(OUT(&t), out);
	told_fini(&t);
}

/* V23, V21: the whole of it, on a root that is written to. */
static void v23_the_machine(void **state)
{
	struct agent_init init = {
		.root = { .source = "/tree", .flags = AGENT_MOUNT_BIND },
		.hostname = "box",
		.resolvers = ARGV("10.0.0.1", "fd00::1"),
		.hosts = ARGV("127.0.0.1 localhost", "10.0.0.1 gateway"),
		.ca_pem = "OURS\n",
		.ca_hash = "1a2b3c4d",
		.roots_pem = "MORE\n",
		.env = ARGV("A=init", "B=init", "SSL_CERT_FILE=/run/weir/ca-bundle.pem"),
		.user = "ann",
		.cwd = "/home",
		.rlimits = ARGV("nofile=77"),
		.flags = AGENT_INIT_RESTRICTED,
	};
	struct agent_exec x = { .argv = ARGV("sh", "-c", "echo $A $B $C"),
				.env = ARGV("B=exec", "C=exec") };
	struct told t = told_new();
	struct rig r;

	(void)state;
	start(&r);
	rig_init(&r, &init);
	if (!r.ready)
		fail_msg("INIT: %s", r.failed_text);
	expect(&r, NULL, "id -u; id -G; pwd; echo $HOME; ulimit -n",
	       "1000\n1000 50\n/home\n/home/ann\n77\n");
	expect(&r, "ann:staff", "id -g; id -G", "50\n50\n");
	expect(&r, "root", "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf",
	       "box\nbox\n127.0.0.1 localhost\n10.0.0.1 gateway\nnameserver 10.0.0.1\n"
	       "nameserver fd00::1\n");
	expect(&r, NULL, "cat $SSL_CERT_FILE", "ROOTS\nMORE\nOURS\n");
	expect(&r, NULL, "cat /etc/ssl/certs/ca-certificates.crt", "ROOTS\nMORE\nOURS\n");
	expect(&r, NULL, "cat /etc/ssl/cert.pem", "ROOTS\nMORE\nOURS\n");
	expect(&r, NULL,
	       "cat /run/weir/ca.pem /usr/local/share/ca-certificates/* /etc/ssl/certs/1a2b3c4d.0",
	       "OURS\nOURS\nOURS\n");
	expect(&r, "root", "ls -d /tree /agent /newroot 2>&1 | grep -c 'No such'; ls / | wc -w",
	       "3\n11\n");
	/* The restricted profile: a root that cannot mount, and gains nothing by exec. */
	expect(&r,
	       "root", "mount -t tmpfs x /tmp 2>/dev/null || echo refused; grep NoNewPrivs /proc/self/status",
	       "refused\nNoNewPrivs:\t1\n");
	rig_exec(&r, &x, &t);
	rig_until(&r, t.ended);
	assert_string_equal(OUT(&t), "init exec exec\n");
	told_fini(&t);
	rig_end(&r);
}

/* A root that nobody may write to, with a layer in memory; volumes in it. */
static void read_only_root_and_volumes(void **state)
{
	const struct agent_mount volumes[] = {
		{ .source = "/home",
		  .target = "/data/in",
		  .flags = AGENT_MOUNT_BIND | AGENT_MOUNT_READONLY },
		{ .source = "tmpfs", .target = "/data/out", .fs = "tmpfs", .flags = AGENT_MOUNT_NODEV },
	};
	struct agent_init init = {
		.root = { .source = "/tree", .flags = AGENT_MOUNT_BIND | AGENT_MOUNT_READONLY },
		.upper_fs = "tmpfs",
		.mounts = volumes,
		.n_mounts = 2,
		.hostname = "layered",
	};
	char path[128];
	struct stat st;
	struct rig r;

	(void)state;
	start(&r);
	rig_init(&r, &init);
	if (!r.ready)
		fail_msg("INIT: %s", r.failed_text);
	expect(&r, NULL, "echo x > /etc/new && cat /etc/new; cat /etc/hosts", "x\nimage\n");
	expect(&r, NULL,
	       "ls /data/in; touch /data/in/x 2>/dev/null || echo ro; touch /data/out/y && echo rw",
	       "ann\nro\nrw\n");
	snprintf(path, sizeof(path), "%s/tree/etc/new", r.dir);
	assert_int_equal(stat(path, &st), -1);
	rig_end(&r);
}

static void expect_failed(const struct agent_init *init, uint32_t stage, int err)
{
	struct told t = told_new();
	struct rig r;

	start(&r);
	rig_init(&r, init);
	assert_true(r.init_failed);
	assert_int_equal(r.failed.stage, stage);
	assert_int_equal(r.failed.err, err);
	assert_true(*r.failed_text);
	assert_int_equal(agent_ping(r.agent, 0, &told_events, &t, &t.s), -ENOTCONN);
	told_fini(&t);
	rig_end(&r);
}

/* V28: what cannot be had is told by stage and errno, and the agent lives to tell it. */
static void v28_failures(void **state)
{
	(void)state;
	expect_failed(&(struct agent_init){ .root = { .source = "/none", .flags = AGENT_MOUNT_BIND } },
		      AGENT_STAGE_ROOT, ENOENT);
	expect_failed(&(struct agent_init){ .root = { .source = "/tree", .fs = "no-such-fs" } },
		      AGENT_STAGE_ROOT, ENODEV);
	expect_failed(&(struct agent_init){ .root = { .source = "/tree", .flags = AGENT_MOUNT_BIND },
					    .mounts = &(const struct agent_mount){ .source = "x" },
					    .n_mounts = 1 },
		      AGENT_STAGE_MOUNT, EINVAL);
	expect_failed(&(struct agent_init){ .root = { .source = "/tree", .flags = AGENT_MOUNT_BIND },
					    .interface = "lo",
					    .addresses = ARGV("10.0.0.300/24") },
		      AGENT_STAGE_NETWORK, EINVAL);
	expect_failed(&(struct agent_init){ .root = { .source = "/tree", .flags = AGENT_MOUNT_BIND },
					    .handoff = ARGV("/sbin/no-init") },
		      AGENT_STAGE_HANDOFF, ENOENT);
}

/* An interface as INIT says it: addresses, routes and MTU of both families. */
static void network(void **state)
{
	struct agent_init init = {
		.root = { .source = "/tree", .flags = AGENT_MOUNT_BIND },
		.interface = "w0",
		.mtu = 9000,
		.addresses = ARGV("10.9.0.2/30", "fd09::2/64"),
		.gateways = ARGV("10.9.0.1", "fd09::1"),
	};
	struct told t;
	struct rig r;

	(void)state;
	start(&r);
	rig_init(&r, &init);
	if (!r.ready)
		fail_msg("INIT: %s", r.failed_text);
	run(&r, &t, NULL,
	    "/bin/busybox ip addr show w0; /bin/busybox ip route; /bin/busybox ip -6 route");
	assert_non_null(strstr(OUT(&t), "mtu 9000"));
	assert_non_null(strstr(OUT(&t), "10.9.0.2/30"));
	assert_non_null(strstr(OUT(&t), "default via 10.9.0.1"));
	assert_non_null(strstr(OUT(&t), "default via fd09::1"));
	told_fini(&t);
	rig_end(&r);
}

/* V27: asked to end, it asks its commands first, and kills who does not go. */
static void v27_shutdown(void **state)
{
	struct agent_exec polite = {
		.argv = ARGV("sh",
			     "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
	};
	struct agent_exec stubborn = {
		.argv = ARGV("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
	};
	struct agent_shutdown how = { .grace_ms = 2000 };
	struct told a = told_new(), b = told_new(), end = told_new();
	uint64_t began;
	struct rig r;

	(void)state;
	rig_start(&r);
	rig_init(&r, &(struct agent_init){ 0 });
	rig_exec(&r, &polite, &a);
	rig_exec(&r, &stubborn, &b);
	rig_until(&r, a.out.len && b.out.len);
	began = time_mono_ns();
	assert_int_equal(agent_shutdown(r.agent, &how, 0, &told_events, &end, &end.s), 0);
	rig_until(&r, end.ended);
	assert_int_equal(end.end.kind, AGENT_ENDED_DONE);
	rig_until(&r, a.ended);
	assert_int_equal(agent_end_status(&a.end), 0);
	assert_string_equal(OUT(&a), "up\nbye\n");
	rig_until(&r, r.lost);
	assert_true(time_mono_ns() - began >= 1900 * NS_PER_MS);
	assert_true(b.ended);
	told_fini(&a);
	told_fini(&b);
	told_fini(&end);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v23_the_machine), cmocka_unit_test(read_only_root_and_volumes),
		cmocka_unit_test(v28_failures),	   cmocka_unit_test(network),
		cmocka_unit_test(v27_shutdown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
