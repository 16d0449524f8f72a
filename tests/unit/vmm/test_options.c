/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weir-vmm: what it takes, and what it says about the rest. */
#include "vmm/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct options o;
static char why[200];

static int parse(char *const *words)
{
	char *argv[32] = { (char *)(uintptr_t) "weir-vmm" };
	int argc = 1;

	for (; words[argc - 1]; argc++)
		argv[argc] = words[argc - 1];
	why[0] = 0;
	return options_parse(argc, argv, &o, why, sizeof(why));
}
#define PARSE(...) parse((char *[]){ __VA_ARGS__, NULL })
#define NEEDED "--memory", "256", "--cpus", "2", "--kernel-fd", "0"

static void test_least(void **state)
{
	(void)state;
	assert_int_equal(PARSE(NEEDED), 0);
	assert_int_equal(o.memory_mib, 256);
	assert_int_equal(o.cpus, 2);
	assert_int_equal(o.kernel_fd, 0);
	assert_int_equal(o.initrd_fd, -1);
	assert_int_equal(o.kvm_fd, -1);
	assert_int_equal(o.net_fd, -1);
	assert_null(o.cmdline);
	assert_int_equal(o.n_disks, 0);
}

static void test_all(void **state)
{
	int fds[OPTIONS_FDS];

	(void)state;
	assert_int_equal(PARSE(NEEDED, "--initrd-fd", "1", "--cmdline", "a b", "--disk-fd", "0:ro",
			       "--disk-fd", "1:cow=2", "--disk-fd", "2", "--net-fd", "1", "--mac",
			       "02:00:5e:Aa:bb:0C", "--mtu", "65520", "--agent-fd", "2"),
			 0);
	assert_int_equal(o.n_disks, 3);
	assert_true(o.disks[0].read_only && o.disks[0].fd == 0 && o.disks[0].layer_fd == -1);
	assert_true(!o.disks[1].read_only && o.disks[1].fd == 1 && o.disks[1].layer_fd == 2);
	assert_true(!o.disks[2].read_only && o.disks[2].fd == 2 && o.disks[2].layer_fd == -1);
	assert_memory_equal(o.mac, "\x02\x00\x5e\xaa\xbb\x0c", 6);
	assert_int_equal(o.mtu, 65520);
	assert_string_equal(o.cmdline, "a b");
	assert_int_equal(options_fds(&o, fds), 8);
}

static void refused(int r, const char *words)
{
	assert_int_equal(r, -EINVAL);
	if (!strstr(why, words))
		fail_msg("\"%s\" does not say \"%s\"", why, words);
}

static void test_refusals(void **state)
{
	(void)state;
	refused(PARSE("--cpus", "1", "--kernel-fd", "0"), "--memory is missing");
	refused(PARSE("--memory", "256", "--kernel-fd", "0"), "--cpus is missing");
	refused(PARSE("--memory", "256", "--cpus", "1"), "--kernel-fd is missing");
	refused(PARSE("--memory", "8", "--cpus", "1", "--kernel-fd", "0"), "--memory 8");
	refused(PARSE("--memory", "0x100", "--cpus", "1", "--kernel-fd", "0"), "--memory 0x100");
	refused(PARSE("--memory", "256", "--cpus", "9", "--kernel-fd", "0"), "--cpus 9");
	refused(PARSE("--memory", "256", "--cpus", "0", "--kernel-fd", "0"), "--cpus 0");
	refused(PARSE(NEEDED, "--cpus", "1"), "given twice");
	refused(PARSE(NEEDED, "--frobnicate", "1"), "no such option");
	refused(PARSE(NEEDED, "--initrd-fd"), "what follows is missing");
	refused(PARSE(NEEDED, "--initrd-fd", "65000"), "no such descriptor");
	refused(PARSE(NEEDED, "--initrd-fd", "-1"), "--initrd-fd -1");
	refused(PARSE(NEEDED, "--disk-fd", "0:rw"), "N:cow=M");
	refused(PARSE(NEEDED, "--disk-fd", "0:cow="), "--disk-fd 0:cow=");
	refused(PARSE(NEEDED, "--disk-fd", ":ro"), "--disk-fd :ro");
	refused(PARSE(NEEDED, "--net-fd", "0"), "belong together");
	refused(PARSE(NEEDED, "--net-fd", "0", "--mtu", "1500", "--mac", "02:00:00:00:00"),
		"--mac");
	refused(PARSE(NEEDED, "--mac", "03:00:00:00:00:01"), "the first one even");
	refused(PARSE(NEEDED, "--mac", "02-00-00-00-00-01"), "--mac");
	refused(PARSE(NEEDED, "--mtu", "10"), "--mtu");
}

static void test_too_many_disks(void **state)
{
	(void)state;
	refused(PARSE(NEEDED, "--disk-fd", "0", "--disk-fd", "0", "--disk-fd", "0", "--disk-fd",
		      "0", "--disk-fd", "0", "--disk-fd", "0", "--disk-fd", "0", "--disk-fd", "0",
		      "--disk-fd", "0"),
		"more than 8");
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--help"), 1);
	for (const char *line = options_help; *line;) {
		size_t n = strcspn(line, "\n");

		assert_in_range(n, 0, 90);
		line += n + 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least),	 cmocka_unit_test(test_all),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_too_many_disks),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
