/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir run` accepts and refuses: a table of bad flags, a table of bad
 * files, each with the words of its error; and good ones, member by member.
 * Runs in a directory of its own with the files the tables name.
 */
#include "weir/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-config-XXXXXX";

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("d", 0700), 0);
	put("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	put("d/ca2.pem", "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n");
	assert_int_equal(symlink("value", "link"), 0);
	put("key.pem", "-----BEGIN PRIVATE KEY-----\n");
	put("value", "abcdefgh\n");
	put("a@b=c", "abcdefgh\n");
	put("p.json",
	    "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": \"x.com\"}]}}");
	put("http.json", "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": "
			 "\"x.com\", \"http\": {\"methods\": [\"GET\"]}}]}}");
	setenv("API_KEY", "never-shown-value", 1);
	setenv("OTHER", "never-shown-value", 1);
	unsetenv("UNSET_KEY");
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = { "ca.pem", "d/ca2.pem", "key.pem", "value",	   "a@b=c",
					     "p.json", "http.json", "c.json",  "d/c.json", "link" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i]);
	rmdir("d");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
	return 0;
}

#define MAX_ARGS 24
#define PIN_HEX "sha256/0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define PIN "sha256/AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define ARGS(...)                                                                                  \
	{                                                                                          \
		__VA_ARGS__, "--", "true"                                                          \
	}

static int load(const char *const *args, struct weir_config **c, struct conf_error *err)
{
	/* The configuration points into it, as it does into main's. */
	static char *argv[MAX_ARGS + 1];
	int argc = 0;

	memset(argv, 0, sizeof(argv));
	for (; args[argc]; argc++) {
		assert_true(argc < MAX_ARGS);
		argv[argc] = (char *)(uintptr_t)args[argc];
	}
	err->text[0] = 0;
	return weir_config_load(CONFIG_RUN, argc, argv, c, err);
}

static struct weir_config *good(const char *const *args)
{
	struct weir_config *c = NULL;
	struct conf_error err;

	if (load(args, &c, &err) != 0)
		fail_msg("refused: %s", err.text);
	return c;
}

static void check_bad(const char *const *args, const char *want, const char *what)
{
	struct weir_config *const untouched = (struct weir_config *)(uintptr_t)dir;
	struct weir_config *c = untouched;
	struct conf_error err;
	int r = load(args, &c, &err);

	if (getenv("SHOW"))
		printf("%s\n", err.text);
	if (r >= 0)
		fail_msg("accepted: %s (%s)", what, want);
	if (!strstr(err.text, want))
		fail_msg("%s: no \"%s\" in \"%s\"", what, want, err.text);
	if (strstr(err.text, "never-shown-value"))
		fail_msg("a value is shown: %s", err.text);
	assert_ptr_equal(c, untouched);
}

/* ---- bad flags ---------------------------------------------------------------------- */

static const struct {
	const char *args[MAX_ARGS];
	const char *want;
} bad_flags[] = {
	/* the command line itself */
	{ { NULL }, "there is no command to run: weir run [OPTIONS] -- COMMAND" },
	{ { "--" }, "there is no command to run" },
	{ { "--", "" }, "there is no command to run" },
	{ { "--json" }, "there is no command to run" },
	{ ARGS("--polcy", "x"), "--polcy: unknown flag; did you mean --policy?" },
	{ ARGS("--polcy=x"), "--polcy: unknown flag; did you mean --policy?" },
	{ ARGS("--tls-intercpt"), "--tls-intercpt: unknown flag; did you mean --tls-intercept?" },
	{ ARGS("--no-such-thing"), "--no-such-thing: unknown flag; see weir run --help" },
	{ ARGS("-x"), "-x: unknown flag" },
	{ ARGS("-vv"), "-vv: unknown flag" },
	{ ARGS("-net", "public"), "-net: unknown flag; did you mean --net?" },
	{ ARGS("--\033[31m"), "--\\x1b[31m: unknown flag" },
	{ ARGS("--json=yes"), "--json: takes no value" },
	{ ARGS("--no-net=1"), "--no-net: takes no value" },
	{ ARGS("--name"), "--name: needs a value" },
	{ ARGS("--name="), "--name: needs a value" },
	{ ARGS("--name", ""), "--name: needs a value" },
	{ ARGS("--policy", "--json"), "--policy: needs a value, and \"--json\" looks like a flag; "
				      "if it is the value, write --policy=--json" },
	{ ARGS("--max-connections", "-5"), "\"-5\" looks like a flag" },
	{ ARGS("--name", "a", "--name", "b"), "--name: given twice; it may stand only once" },
	{ ARGS("--json", "--json"), "--json: given twice" },
	{ ARGS("--quiet", "-v"), "--quiet: contradicts --verbose" },
	/* sandbox */
	{ ARGS("--backend", "netsn"), "--backend netsn: unknown backend; did you mean \"netns\"?" },
	{ ARGS("--backend", "docker"), "--backend docker: a backend is auto, kvm, qemu or netns" },
	{ ARGS("--backend", "KVM"), "--backend KVM: " },
	{ ARGS("--name", "a/b"), "--name a/b: a name is up to 63 letters" },
	{ ARGS("--name", "a b"), "--name a b: a name is" },
	{ ARGS("--name", ".hidden"), "the first a letter or digit" },
	{ ARGS("--name=-x"), "--name -x: a name is" },
	{ ARGS("--name", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
	  "a name is up to 63" },
	{ ARGS("--name", "b\xc3\xbc"), "--name b\\xc3\\xbc: a name is" },
	{ ARGS("--max-connections", "0"),
	  "--max-connections 0: number out of range; from 1 to 1000000" },
	{ ARGS("--max-connections", "1000001"), "number out of range" },
	{ ARGS("--max-connections", "99999999999999999999999"), "number out of range" },
	{ ARGS("--max-connections", "many"), "--max-connections many: not a decimal number" },
	{ ARGS("--max-connections", "0x10"), "--max-connections 0x10: " },
	{ ARGS("--max-connections", "010"), "leading zero" },
	{ ARGS("--max-connections", " 5"), "not a decimal number" },
	/* limits */
	{ ARGS("--max-udp-flows", "0"), "--max-udp-flows 0: number out of range; from 1" },
	{ ARGS("--max-icmp-flows", "x"), "--max-icmp-flows x: not a decimal number" },
	{ ARGS("--max-connections", "5", "--max-half-open", "6"),
	  "max-half-open 6 is more than max-connections 5" },
	{ ARGS("--memory-budget", "64"), "--memory-budget 64: needs a unit: B, kB, MB" },
	{ ARGS("--memory-budget", "64mbit"), "a size is in bytes" },
	{ ARGS("--memory-budget", "1MB"), "--memory-budget 1MB: a size from 8MiB to 1024GiB" },
	{ ARGS("--memory-budget", "99999999999999GB"), "number out of range" },
	{ ARGS("--rate", "10mbit"), "--rate 10mbit: write egress|ingress=BANDWIDTH" },
	{ ARGS("--rate", "egress"), "write egress|ingress=BANDWIDTH" },
	{ ARGS("--rate", "egress=10"), "--rate egress=10: needs a unit: bit, kbit, mbit" },
	{ ARGS("--rate", "egress=10mbps"), "needs a unit" },
	{ ARGS("--rate", "egress=1.5mbit"), "needs a unit" },
	{ ARGS("--rate", "egress=-1mbit"), "not a whole number and a unit" },
	{ ARGS("--rate", "egress=1kbit"), "a bandwidth from 8kbit to 128gbit" },
	{ ARGS("--rate", "egress=10mbit,"), "write egress|ingress=BANDWIDTH" },
	{ ARGS("--rate", "egress=10mbit,burst"), "write egress|ingress=BANDWIDTH" },
	{ ARGS("--rate", "egress=10mbit,burst=1"), "needs a unit: B, kB" },
	{ ARGS("--rate", "egress=10mbit,burst=1kB"), "a size from 2KiB to 4GiB" },
	{ ARGS("--rate", "egress=10mbit,burst=4kB,burst=5kB"), "each once" },
	{ ARGS("--rate", "egress=10mbit,packets=0"), "packets: number out of range" },
	{ ARGS("--rate", "egress=packets=5,burst=4kB"), "a burst without a bandwidth" },
	{ ARGS("--rate", "egress=1mbit", "--rate", "egress=2mbit"), "has a rate already" },
	{ ARGS("--config", "nowhere.json"), "nowhere.json: cannot be read: No such file" },
	{ ARGS("--config", "d"), "d: cannot be read: Is a directory" },
	/* policy */
	{ ARGS("--policy", "publc_only"), "did you mean \"public_only\"?" },
	{ ARGS("--policy", "./nowhere.json"), "./nowhere.json: " },
	{ ARGS("--policy", "ca.pem"), "ca.pem:1:" },
	{ ARGS("--net", "pubic"), "--net: " },
	{ ARGS("--net", "public,none"), "--net: " },
	{ ARGS("--net-rule", "allow"), "--net-rule: " },
	{ ARGS("--net-rule", "alow@public"), "did you mean \"allow\"?" },
	{ ARGS("--net-rule", "allow@x.com:tcp:0"), "--net-rule: " },
	{ ARGS("--net-rule", "allow@x.com:tcp:443", "--net-rule", "deny@"),
	  "no target after \"@\"" },
	{ ARGS("--net-default-egress", "maybe"), "--net-default-egress: " },
	{ ARGS("--net-default-ingress", "maybe"), "--net-default-ingress: " },
	{ ARGS("--no-net", "--net", "public"), "--no-net contradicts --net" },
	{ ARGS("--policy", "p.json", "--net", "public"),
	  "--policy contradicts --net: give one of them; --net-rule adds to a policy" },
	{ ARGS("--no-net", "--net-default-egress", "allow"), "--no-net contradicts" },
	/* secrets */
	{ ARGS("--secret", "API_KEY"),
	  "--secret API_KEY: a host is missing: write ENV[:OPTIONS]@HOST[,HOST...]" },
	{ ARGS("--secret", "sk-never-shown-value"), "--secret: a host is missing" },
	{ ARGS("--secret", "API_KEY@"), "--secret API_KEY@: a host is missing" },
	{ ARGS("--secret", "API_KEY@a.com,"), "a host is missing" },
	{ ARGS("--secret", "API_KEY@,a.com"), "a host is missing" },
	{ ARGS("--secret", "@a.com"), "--secret @a.com: the name of a variable is" },
	{ ARGS("--secret", "API_KEY=hunter2hunter2@a.com"),
	  "--secret: a value must not stand in the command line, where every process can read it: "
	  "export API_KEY and write --secret API_KEY@HOST" },
	{ ARGS("--secret", "API_KEY=never-shown-value"), "a value must not stand" },
	{ ARGS("--secret", "API_KEY:header=never-shown-value@a.com"), "a value must not stand" },
	{ ARGS("--secret", "A B=never-shown-value@a.com"), "'=' is not accepted" },
	{ ARGS("--secret", "1KEY@a.com"), "not beginning with a digit" },
	{ ARGS("--secret", "A-B@a.com"), "the name of a variable is letters" },
	{ ARGS("--secret", "UNSET_KEY@a.com"),
	  "variable UNSET_KEY is not set in weir's own environment; export it" },
	{ ARGS("--secret", "PATH@a.com"), "PATH is not for secrets" },
	{ ARGS("--secret", "LD_PRELOAD@a.com"), "LD_PRELOAD is not for secrets" },
	{ ARGS("--secret", "SSL_CERT_FILE@a.com"), "SSL_CERT_FILE is not for secrets" },
	{ ARGS("--secret", "API_KEY:@a.com"), "unknown place \"\"" },
	{ ARGS("--secret", "API_KEY:headr@a.com"),
	  "unknown place \"headr\"; did you mean \"header\"?" },
	{ ARGS("--secret", "API_KEY:cookie@a.com"),
	  "a place is header, basic, query, path, body or websocket" },
	{ ARGS("--secret", "API_KEY:header+header@a.com"), "place \"header\" twice" },
	{ ARGS("--secret", "API_KEY:header,@a.com"), "unknown place \"\"" },
	{ ARGS("--secret", "API_KEY:path:x@a.com"), "only header, query and body take a name" },
	{ ARGS("--secret", "API_KEY:heder:x@a.com"), "unknown place \"heder\"" },
	{ ARGS("--secret", "API_KEY:header:@a.com"), "a name has 1 to 128 characters" },
	{ ARGS("--secret", "API_KEY:header:a b@a.com"), "not the name of a header field" },
	{ ARGS("--secret", "API_KEY:header:X,header:X@a.com"), "name \"X\" twice" },
	{ ARGS("--secret", "API_KEY:header,header:X@a.com"), "alone or with names, not both" },
	{ ARGS("--secret", "API_KEY:header:X,header@a.com"), "alone or with names, not both" },
	{ ARGS("--secret", "API_KEY:no-header,no-basic@a.com"), "no place is left" },
	{ ARGS("--secret", "API_KEY:query,no-basic@a.com"), "(no-PLACE), not both" },
	{ ARGS("--secret", "API_KEY:no-cookies@a.com"), "unknown place \"cookies\"" },
	{ ARGS("--secret", "API_KEY:max-uses:0@a.com"), "max-uses: " },
	{ ARGS("--secret", "API_KEY:max-uses:many@a.com"), "max-uses: " },
	{ ARGS("--secret", "API_KEY:placeholder:k-***@a.com"),
	  "placeholder: fewer than 8 random characters" },
	{ ARGS("--secret", "API_KEY:passthrough:*@a.com"), "host \"*\": " },
	{ ARGS("--secret", "API_KEY@*"), "host \"*\": " },
	{ ARGS("--secret", "API_KEY@10.0.0.1"), "host \"10.0.0.1\": " },
	{ ARGS("--secret", "API_KEY@https://a.com"),
	  "host \"https://a.com\": is a URL; give the host name alone" },
	{ ARGS("--secret", "API_KEY@192.0.2.1"), "host \"192.0.2.1\": is an address" },
	{ ARGS("--secret", "API_KEY@a.com:443"), "give the name alone; ports are the policy's" },
	{ ARGS("--secret", "API_KEY@a.com:443"), "host \"a.com:443\": " },
	{ ARGS("--secret", "API_KEY@a..com"), "a host is NAME, .SUFFIX or *.SUFFIX" },
	{ ARGS("--secret", "API_KEY@.com"), "host \".com\": " },
	{ ARGS("--secret", "API_KEY@a.com,a.com"), "host \"a.com\" twice" },
	{ ARGS("--secret", "API_KEY@a.com,A.com."), "host \"A.com.\" twice" },
	{ ARGS("--secret", "API_KEY@a.com", "--secret", "API_KEY@b.com"),
	  "API_KEY is a secret already" },
	{ ARGS("--secret", "API_KEY@a.com", "--secret-file", "API_KEY=value@b.com"),
	  "--secret-file API_KEY=value@b.com: API_KEY is a secret already" },
	{ ARGS("--secret-file", "K@a.com"),
	  "--secret-file K@a.com: write ENV[:OPTIONS]=PATH@HOST" },
	{ ARGS("--secret-file", "K=value"), "write ENV[:OPTIONS]=PATH@HOST" },
	{ ARGS("--secret-file", "K=@a.com"), "write ENV[:OPTIONS]=PATH@HOST" },
	{ ARGS("--secret-file", "K=nowhere@a.com"),
	  "file \"nowhere\" cannot be read: No such file" },
	{ ARGS("--secret-file", "K=d@a.com"), "file \"d\" is a directory" },
	{ ARGS("--secret-fd", "K=value"), "write ENV[:OPTIONS]=N@HOST" },
	{ ARGS("--secret-fd", "K=x@a.com"), "a descriptor is a number from 3 on" },
	{ ARGS("--secret-fd", "K=999@a.com"), "descriptor 999 is not open" },
	{ ARGS("--secret-command", "K=echo value"),
	  "--secret-command: write ENV[:OPTIONS]=COMMAND@HOST" },
	{ ARGS("--secret-command", "K= @a.com"), "the command is empty" },
	{ ARGS("--secret-violation", "block-and-log"), "did you mean \"block_and_log\"?" },
	{ ARGS("--secret-violation", "ignore"), "the action is block, block_and_log" },
	{ ARGS("--secret", "API_KEY@a.com", "--no-net"),
	  "--secret API_KEY: could never be used with --no-net" },
	{ ARGS("--secret", "API_KEY@a.com", "--tls-bypass", ".a.com"),
	  "--secret API_KEY: could never be used for a.com, whose TLS is bypassed" },
	{ ARGS("--secret", "API_KEY@*.b.a.com", "--tls-bypass", ".a.com"),
	  "could never be used for *.b.a.com" },
	/* the machine */
	{ ARGS("--memory", "2"), "--memory 2: " },
	{ ARGS("--memory", "64MiB"), "a machine has from 128MiB to 1TiB" },
	{ ARGS("--cpus", "0"), "from 1 to 8" },
	{ ARGS("--cpus", "9"), "from 1 to 8" },
	{ ARGS("--workdir", "work"), "an absolute path" },
	{ ARGS("--entrypoint", ""), "--entrypoint: needs a value" },
	{ ARGS("--env", "=x"), "--env: write NAME=VALUE, or NAME" },
	{ ARGS("--env", "1X=x"), "write NAME=VALUE" },
	{ ARGS("--env", "A-B=x"), "a name is letters, digits and '_'" },
	{ ARGS("--env", "WEIR_SURELY_NOT_SET"), "started without this variable" },
	{ ARGS("--rootfs", "d", "--image", "a.tar"), "--rootfs contradicts --image" },
	{ ARGS("--image-name", "debian"), "add --image FILE" },
	{ ARGS("--volume", "d"), "--volume d: " },
	{ ARGS("--patch", "nothing:/x"), "--patch nothing:/x: " },
	{ ARGS("--backend", "netns", "--memory", "1GiB"),
	  "--memory: of a microVM, and --backend netns has this machine's kernel" },
	{ ARGS("--backend", "qemo"), "did you mean \"qemu\"?" },
	/* tls */
	{ ARGS("--tls-intercept-port", "0"), "--tls-intercept-port 0: " },
	{ ARGS("--http-proxy-port", "x"), "--http-proxy-port x: " },
	{ ARGS("--http-proxy-port", "8080"), "8080 is one already" },
	{ ARGS("--http-proxy-port", "9", "--http-proxy-port", "9"), "9 is one already" },
	{ ARGS("--http-proxy-port", "853"), "port 853 is always DNS" },
	{ ARGS("--tls-intercept-port", "65536"), "--tls-intercept-port 65536: " },
	{ ARGS("--tls-intercept-port", "443x"), "--tls-intercept-port 443x: " },
	{ ARGS("--tls-intercept-port", "53"), "port 53 is always DNS" },
	{ ARGS("--tls-intercept-port", "853"), "port 853 is always DNS over TLS" },
	{ ARGS("--tls-intercept-port", "8443", "--tls-intercept-port", "8443"),
	  "the same port twice" },
	{ ARGS("--tls-intercept-port", "8443"),
	  "--tls-intercept-port: nothing is intercepted; add --tls-intercept" },
	{ ARGS("--tls-bypass", "a.com"), "--tls-bypass: nothing is intercepted" },
	{ ARGS("--tls-intercept-port", "any", "--tls-intercept-port", "8443"),
	  "--tls-intercept-port 8443: any port is read already" },
	{ ARGS("--tls-intercept-port", "8443", "--tls-intercept-port", "any"), "give one" },
	{ ARGS("--tls-intercept-port", "all"), "--tls-intercept-port all: " },
	{ ARGS("--no-http2"), "--no-http2: nothing is intercepted" },
	{ ARGS("--tls-no-verify-upstream"), "--tls-no-verify-upstream: nothing is intercepted" },
	{ ARGS("--tls-pin", "a.com=" PIN), "--tls-pin: nothing is intercepted" },
	{ ARGS("--tls-intercept", "--tls-ca-cert", "ca.pem"),
	  "--tls-ca-cert: an authority needs both --tls-ca-cert and --tls-ca-key" },
	{ ARGS("--tls-intercept", "--tls-ca-key", "key.pem"),
	  "--tls-ca-key: an authority needs both" },
	{ ARGS("--tls-ca-cert", "none.pem"), "--tls-ca-cert none.pem: cannot be read" },
	{ ARGS("--tls-ca-cert", "key.pem"), "holds no certificate" },
	{ ARGS("--tls-ca-cert", "d"), "--tls-ca-cert d: cannot be read" },
	{ ARGS("--tls-ca-key", "ca.pem"), "--tls-ca-key ca.pem: holds no private key" },
	{ ARGS("--tls-ca-key", "value"), "--tls-ca-key value: holds no private key" },
	{ ARGS("--tls-intercept", "--tls-ca-cert", "ca.pem", "--tls-ca-key", "key.pem",
	       "--tls-ca-hours", "5"),
	  "--tls-ca-hours (tls.ca_hours): the authority of ca.pem has its own" },
	{ ARGS("--tls-intercept", "--tls-ca-cert", "ca.pem", "--tls-ca-key", "key.pem",
	       "--tls-name-constraints", "policy"),
	  "--tls-name-constraints" },
	{ ARGS("--tls-ca-hours", "0"), "--tls-ca-hours 0: " },
	{ ARGS("--tls-ca-hours", "8785"), "--tls-ca-hours 8785: " },
	{ ARGS("--tls-name-constraints", "on"), "\"auto\"" },
	{ ARGS("--tls-upstream-ca-for", "a.com"), "write PATTERN=FILE" },
	{ ARGS("--tls-upstream-ca-for", "a.com="), "write PATTERN=FILE" },
	{ ARGS("--tls-upstream-ca-for", "*=ca.pem"), "a pattern is NAME, .SUFFIX or *.SUFFIX" },
	{ ARGS("--tls-upstream-ca-for", "*.com=ca.pem"), "two labels" },
	{ ARGS("--tls-upstream-ca-for", "a.com=none.pem"), "none.pem cannot be read" },
	{ ARGS("--tls-upstream-ca-for", "a.com=key.pem"), "holds no certificate" },
	{ ARGS("--tls-upstream-ca-for", "a.com=ca.pem", "--tls-upstream-ca-for", "A.com=d/ca2.pem"),
	  "said twice for the same hosts" },
	{ ARGS("--tls-no-verify-upstream-for", "a b"), "--tls-no-verify-upstream-for a b: " },
	{ ARGS("--tls-no-verify-upstream-for", "http://a.com"), "a pattern is" },
	{ ARGS("--tls-no-verify-upstream-for", ".a.com", "--tls-no-verify-upstream-for", ".a.com"),
	  "said twice" },
	{ ARGS("--tls-client-cert", "a.com"), "write PATTERN=CERT[,KEY]" },
	{ ARGS("--tls-client-cert", "a.com=ca.pem,none.pem"), "none.pem cannot be read" },
	{ ARGS("--tls-client-cert", "a.com=key.pem,key.pem"), "key.pem holds no certificate" },
	{ ARGS("--tls-client-cert", "a.com=ca.pem,value"), "value holds no private key" },
	{ ARGS("--tls-pin", "a.com=sha256/AAAA"), "a pin is sha256/BASE64" },
	{ ARGS("--tls-pin", "a.com=md5/AAAA"), "a pin is sha256/BASE64" },
	{ ARGS("--tls-pin", "a..com=" PIN), "a pattern is" },
	{ ARGS("--tls-bypass", "a b"), "--tls-bypass a b: " },
	{ ARGS("--tls-bypass", "*.*.com"), "--tls-bypass *.*.com: " },
	{ ARGS("--tls-bypass", "a.*"), "a pattern is NAME, .SUFFIX or *.SUFFIX" },
	{ ARGS("--upstream-ca", "nowhere.pem"),
	  "--upstream-ca nowhere.pem: cannot be read: No such file" },
	{ ARGS("--upstream-ca", "key.pem"), "--upstream-ca key.pem: holds no certificate" },
	{ ARGS("--upstream-ca", "d"), "--upstream-ca d: cannot be read" },
	{ ARGS("--upstream-ca", "/dev/zero"), "larger than 8 MiB" },
	/* names */
	{ ARGS("--dns-server", "localhost"), "a server is an address, not a name" },
	{ ARGS("--dns-server", "1.2.3"), "--dns-server 1.2.3: " },
	{ ARGS("--dns-server", "1.2.3.4:0"), "--dns-server 1.2.3.4:0: " },
	{ ARGS("--dns-server", "1.2.3.4:"), "a server is an address, not a name: IP or IP:PORT" },
	{ ARGS("--dns-server", "[::1"), "--dns-server [::1: " },
	{ ARGS("--dns-server", "0.0.0.0"), "not the address of a server" },
	{ ARGS("--dns-server", "224.0.0.251"), "not the address of a server" },
	{ ARGS("--dns-server", "9.9.9.9", "--dns-server", "9.9.9.9:53"), "the same server twice" },
	{ ARGS("--dns-record", "a.b"), "--dns-record a.b: write NAME=IP" },
	{ ARGS("--dns-record", "=1.2.3.4"), "--dns-record =1.2.3.4: " },
	{ ARGS("--dns-record", "a..b=1.2.3.4"), "empty label" },
	{ ARGS("--dns-record", "a.b=1.2.3"), "--dns-record a.b=1.2.3: " },
	{ ARGS("--dns-record", "a.b="), "a record is a name and an address" },
	{ ARGS("--dns-record", "a.b=0x7f000001"), "--dns-record a.b=0x7f000001: " },
	{ ARGS("--dns-record", "a.b=fe80::1%eth0"), "zone ids are not accepted" },
	{ ARGS("--dns-record", "a.b=1.1.1.1", "--dns-record", "A.b=1.1.1.1"),
	  "the same record twice" },
	{ ARGS("--dns-answers", "fake"),
	  "--dns-answers fake: answers are \"virtual\" or \"real\"" },
	{ ARGS("--dns-budget", "100"), "--dns-budget 100: only \"off\"; sizes stand in" },
	{ ARGS("--dns-serve-stale", "-1"), "--dns-serve-stale: needs a value" },
	{ ARGS("--dns-serve-stale=604801"), "--dns-serve-stale 604801: " },
	{ ARGS("--dns-serve-stale=1h"), "--dns-serve-stale 1h: " },
	{ ARGS("--policy-floor", "nowhere.json"), "nowhere.json: cannot be read" },
	{ ARGS("--policy-floor", "publc_only"), "public_only" },
	{ ARGS("--observe=yes"), "--observe: takes no value" },
	{ ARGS("--dns-doh", "no"), "--dns-doh no: DNS over HTTPS is \"deny\" or \"allow\"" },
	/* connections */
	{ ARGS("--proxy", "socks5://h"), "--proxy socks5://h: the proxy's port is missing" },
	{ ARGS("--proxy", "socks5://a:b@h:1"), "--proxy: a password does not stand here" },
	{ ARGS("--proxy", "socks5://a@h:1"), "--proxy: a user needs a password" },
	{ ARGS("--proxy", "socks4://h:1", "--proxy-auth", "env:HOME"), "SOCKS 4 knows a user" },
	{ ARGS("--proxy", "http://h:1", "--proxy-auth", "a:b"), "--proxy-auth: says where user" },
	{ ARGS("--proxy", "http://h:1", "--proxy-udp", "allow"), "--proxy-udp allow: UDP, which" },
	{ ARGS("--proxy", "http://h:1", "--proxy-bypass", "a b"), "--proxy-bypass a b: " },
	{ ARGS("--proxy-names"), "--proxy: there is no upstream proxy" },
	{ ARGS("--publish", "80"),
	  "--publish 80: a published port is [IP:]HOST:GUEST[/tcp|/udp][,proxy]" },
	{ ARGS("--publish", "80:"), "--publish 80:: a port is a decimal number" },
	{ ARGS("--publish", ":80"), "--publish :80: a port is a decimal number" },
	{ ARGS("--publish", "*:0:80"), "name the port, or publish 0.0.0.0 and [::] one by one" },
	{ ARGS("--publish", "8080:80,proxxy"), "the only option behind a comma is" },
	{ ARGS("--publish", "8080:80/udp,proxy"), "is for TCP" },
	{ ARGS("--publish", "0-10:80"), "a port is" },
	{ ARGS("--publish", "90-80:90-80"), "--publish 90-80:90-80: " },
	{ ARGS("--publish", "1000-1300:1000-1300"), "more published ports than" },
	{ ARGS("--publish", "1.2.3.4.5:1:1"), "--publish 1.2.3.4.5:1:1: " },
	{ ARGS("--publish", "[1.2.3.4]:1:1"), "an IPv6 address in brackets" },
	{ ARGS("--publish", "80:70000"), "--publish 80:70000: a port is" },
	{ ARGS("--publish", "80-90:80"),
	  "--publish 80-90:80: a range of host ports leads to as many" },
	{ ARGS("--publish", "80:80/sctp"), "--publish 80:80/sctp: the protocol is /tcp or /udp" },
	{ ARGS("--publish", "80:80/"), "the protocol is /tcp or /udp" },
	{ ARGS("--publish", "1.2.3:80:80"), "--publish 1.2.3:80:80: an IPv4 address is" },
	{ ARGS("--publish", "::1:80:80"), "--publish ::1:80:80: " },
	{ ARGS("--publish", "[::1]:80"), "the host's port is missing" },
	{ ARGS("--publish", "224.0.0.1:80:80"), "not an address of this machine" },
	{ ARGS("--publish", "8080:80", "--publish", "8080:81"),
	  "host port 8080 is published twice" },
	{ ARGS("--publish", "8080:80", "--publish", "0.0.0.0:8080:81"),
	  "host port 8080 is published twice" },
	/* record */
	{ ARGS("--audit", "nowhere/a.jsonl"),
	  "--audit nowhere/a.jsonl: its directory: No such file" },
	{ ARGS("--audit", "value/a.jsonl"), "its directory is not a directory" },
	{ ARGS("--audit", "d"), "--audit d: is a directory; name a file" },
	{ ARGS("--audit", "d/"), "--audit d/: is a directory" },
	{ ARGS("--audit", "link"), "--audit link: is a symbolic link; name the file itself" },
	{ ARGS("--capture", "nowhere/c.pcapng"), "--capture nowhere/c.pcapng: its directory" },
	{ ARGS("--capture", "x", "--audit", "x"), "record and capture cannot be the same file" },
};

static void test_bad_flags(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_flags); i++) {
		char what[64];

		snprintf(what, sizeof(what), "flags %zu", i);
		check_bad(bad_flags[i].args, bad_flags[i].want, what);
	}
	printf("%zu bad command lines refused\n", ARRAY_SIZE(bad_flags));
}

/* ---- bad files ------------------------------------------------------------------------ */

static const struct {
	const char *text;
	const char *want;
} bad_files[] = {
	{ "", "c.json:1:1: " },
	{ "{", "c.json:1:2: " },
	{ "[]", "c.json:1:1: expected an object" },
	{ "\xef\xbb\xbf{}", "c.json:1:1: begins with a byte order mark" },
	{ "null", "c.json:1:1: expected an object" },
	{ "{} x", "c.json:1:4: text after the end" },
	{ "{\"dns\": {},\n \"dns\": {}}", "the same key twice" },
	{ "{\"polcy\": {}}", "c.json:1:2: unknown key \"polcy\"; did you mean \"policy\"?" },
	{ "{\n \"limits\": {},\n \"frobnicate\": 1\n}", "c.json:3:2: unknown key \"frobnicate\"" },
	{ "{\"policy\": {\"ruls\": []}}",
	  "c.json:1:13: unknown key \"ruls\"; did you mean \"rules\"?" },
	{ "{\"policy\": 5}", "c.json:1:12: " },
	{ "{\"policy\": \"publc\"}", "c.json:1:12: " },
	/* dns */
	{ "{\"dns\": []}", "c.json:1:9: expected an object" },
	{ "{\"dns\": {\"server\": []}}",
	  "c.json:1:10: unknown key \"server\"; did you mean \"servers\"?" },
	{ "{\"dns\": {\"servers\": \"1.1.1.1\"}}", "c.json:1:21: expected a list" },
	{ "{\"dns\": {\"servers\": [\"nope\"]}}", "c.json:1:22: " },
	{ "{\"dns\": {\"servers\": [1]}}", "c.json:1:22: expected a string, not a number" },
	{ "{\"dns\": {\"servers\": [\"\"]}}", "c.json:1:22: an empty text" },
	{ "{\"dns\": {\"servers\":\n [\"9.9.9.9\",\n \"9.9.9.9:53\"]}}",
	  "c.json:3:2: the same server twice" },
	{ "{\"dns\": {\"records\": []}}", "c.json:1:21: expected an object" },
	{ "{\"dns\": {\"records\": {\"a..b\": [\"1.1.1.1\"]}}}", "c.json:1:31: empty label" },
	{ "{\"dns\": {\"records\": {\"a.b\": [\"1.1.1\"]}}}", "c.json:1:30: " },
	{ "{\"dns\": {\"records\": {\"a.b\": []}}}", "c.json:1:29: a record without an address" },
	{ "{\"dns\": {\"records\": {\"a.b\": 5}}}", "c.json:1:29: expected a list" },
	{ "{\"dns\": {\"answers\": \"magic\"}}",
	  "c.json:1:21: answers are \"virtual\" or \"real\"" },
	{ "{\"dns\": {\"answers\": true}}", "c.json:1:21: expected a string, not true" },
	{ "{\"dns\": {\"doh\": \"Allow\"}}",
	  "c.json:1:17: DNS over HTTPS is \"deny\" or \"allow\"" },
	{ "{\"dns\": {\"doh\": true}}", "c.json:1:17: expected a string, not true" },
	{ "{\"dns\": {\"timeout_ms\": 99}}", "c.json:1:24: 99 is not from 100 to 60000" },
	{ "{\"dns\": {\"timeout_ms\": \"5s\"}}", "c.json:1:24: expected a whole number" },
	{ "{\"dns\": {\"serve_stale\": 604801}}", "c.json:1:25: 604801 is not from 0 to 604800" },
	{ "{\"dns\": {\"serve_stale\": true}}", "c.json:1:25: expected a whole number" },
	{ "{\"dns\": {\"budget\": true}}", "c.json:1:20: expected false or an object" },
	{ "{\"dns\": {\"budget\": {\"names\": 0}}}", "c.json:1:30: 0 is not from 1 to 1000000" },
	{ "{\"dns\": {\"budget\": {\"name\": 9}}}", "did you mean \"names\"" },
	{ "{\"policy_floor\": 5}", "c.json:1:18: expected a string" },
	{ "{\"policy_floor\": \"\"}", "c.json:1:18: an empty path" },
	/* tls */
	{ "{\"tls\": {\"intercept\": \"yes\"}}",
	  "c.json:1:23: expected true or false, not a string" },
	{ "{\"tls\": {\"bypas\": []}}",
	  "c.json:1:10: unknown key \"bypas\"; did you mean \"bypass\"?" },
	{ "{\"tls\": {\"ports\": [\"443\"]}}", "c.json:1:20: expected a whole number" },
	{ "{\"tls\": {\"ports\": [0]}}", "c.json:1:20: 0 is not from 1 to 65535" },
	{ "{\"tls\": {\"ports\": [443, 443]}}", "c.json:1:25: the same port twice" },
	{ "{\"tls\": {\"bypass\": [\"a b\"]}}", "c.json:1:21: " },
	{ "{\"tls\": {\"ports\": \"all\"}}", "c.json:1:19: expected a list: [...], or \"any\"" },
	{ "{\"tls\": {\"http2\": 0}}", "c.json:1:19: " },
	{ "{\"tls\": {\"ca\": \"ca.pem\"}}", "expected an object" },
	{ "{\"tls\": {\"ca\": {\"cert\": \"ca.pem\"}}}", "both \"cert\" and \"key\"" },
	{ "{\"tls\": {\"ca\": {\"cert\": \"ca.pem\", \"key\": \"none.pem\"}}}", "cannot be read" },
	{ "{\"tls\": {\"ca\": {\"cret\": \"ca.pem\"}}}", "\"cert\"" },
	{ "{\"tls\": {\"ca_hours\": 0}}", "c.json:1:22: " },
	{ "{\"tls\": {\"name_constraints\": \"yes\"}}", "c.json:1:30: " },
	{ "{\"tls\": {\"verify_upstream\": \"no\"}}", "c.json:1:29: " },
	{ "{\"tls\": {\"upstream\": {}}}", "expected a list" },
	{ "{\"tls\": {\"upstream\": [{\"verify\": false}]}}", "\"host\" is missing" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a b\"}]}}", "a pattern is" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pin\": []}]}}", "\"pins\"" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pins\": []}]}}",
	  "expected a list of pins" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"pins\": [\"sha256/x\"]}]}}",
	  "a pin is" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"ca\": \"none.pem\"}]}}",
	  "cannot be read" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"client_key\": \"key.pem\"}]}}",
	  "without \"client_cert\"" },
	{ "{\"tls\": {\"upstream\": [{\"host\": \"a.com\", \"verify\": true}, "
	  "{\"host\": \"a.com\", \"verify\": false}]}}",
	  "said twice" },
	{ "{\"tls\": {\"upstream_ca\": \"ca.pem\"}}", "c.json:1:25: expected a list" },
	{ "{\"tls\": {\"upstream_ca\": [\"key.pem\"]}}", "c.json:1:26: holds no certificate" },
	{ "{\"tls\": {\"upstream_ca\": [\"none.pem\"]}}", "c.json:1:26: cannot be read" },
	/* secrets */
	{ "{\"secrets\": {}}", "c.json:1:13: expected a list" },
	{ "{\"secrets\": [1]}", "c.json:1:14: expected an object" },
	{ "{\"secrets\": [{}]}", "c.json:1:14: \"env\" is missing" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\"}]}", "c.json:1:14: \"hosts\" is missing" },
	{ "{\"secrets\": [{\"env\": 5, \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: expected a string" },
	{ "{\"secrets\": [{\"env\": \"\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: the name of a variable" },
	{ "{\"secrets\": [{\"env\": \"A-B\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: the name of a variable" },
	{ "{\"secrets\": [{\"env\": \"PATH\", \"hosts\": [\"a.com\"]}]}",
	  "c.json:1:22: PATH is not for secrets" },
	/* tokens */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": 1}]}",
	  "c.json:2:11: expected an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {}}]}",
	  "c.json:2:11: \"url\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"http://a.b/\"}}]}",
	  "c.json:2:19: a token endpoint is https://" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://1.2.3.4/\"}}]}",
	  "c.json:2:19: a token endpoint is https://" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://a.b/t\"}}]}",
	  "c.json:2:11: \"client_id\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"token\": {\"url\": "
	  "\"https://a.b/t\", \"grant\": \"client_credential\"}}]}",
	  "did you mean \"client_credentials\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"from\": "
	  "\"command:true\",\n \"token\": "
	  "{\"url\": \"https://a.b/t\", \"grant\": \"refresh_token\", \"client_id\": \"i\", "
	  "\"client_secret\": \"OTHER\"}}]}",
	  "\"client_secret\": \"OTHER\" is not the \"env\" of another secret" },
	/* tokens that the sandbox asks for */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": 1}]}",
	  "c.json:2:17: expected true, or an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"path\": 1}}]}",
	  "did you mean \"paths\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"paths\": []}}]}",
	  "expected a list of 1 to 64 texts" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"hosts\": [\"1.2.3.4\"]}}]}",
	  "is an address; a secret goes to a name" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": {\"at\": "
	  "[\"haeder\"]}}]}",
	  "did you mean \"header\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"mask_tokens\": "
	  "{\"fields\": [\"a b\"]}}]}",
	  "a key of the reply" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"mask_tokens\": true,\n "
	  "\"token\": {\"url\": "
	  "\"https://a.b/t\", \"client_id\": \"i\"}}]}",
	  "not with \"sign\" or \"token\"" },
	{ "{\"tls\": {\"bypass\": [\".b.com\"]}, \"secrets\": [{\"env\": \"HOME2\", \"hosts\": "
	  "[\"a.com\"],\n"
	  "\"from\": \"command:true\", \"mask_tokens\": {\"hosts\": [\"api.b.com\"]}}]}",
	  "could never be used for api.b.com, whose TLS is bypassed" },
	/* secrets that sign */
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": 1}]}",
	  "c.json:2:10: expected an object" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {}}]}",
	  "c.json:2:10: \"type\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"aws_sigv5\"}}]}",
	  "c.json:2:19: unknown type; did you mean \"aws_sigv4\"?" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"aws_sigv4\"}}]}",
	  "c.json:2:10: \"access_key_id\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"from\": "
	  "\"command:true\",\n "
	  "\"sign\": {\"type\": \"aws_sigv4\", \"access_key_id\": \"AWS_ID\"}}]}",
	  "\"access_key_id\": \"AWS_ID\" is not the \"env\" of another secret" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\", "
	  "\"haeder\": \"X\"}}]}",
	  "unknown key \"haeder\"" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\"}}]}",
	  "c.json:2:10: \"header\" is missing" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"],\n \"sign\": {\"type\": "
	  "\"hmac\", "
	  "\"header\": \"X-S\", \"signs\": \"{bdoy}\"}}]}",
	  "\"{bdoy}\" is no part of a request" },
	{ "{\"secrets\": [{\"env\": \"HOME2\", \"hosts\": [\"a.com\"], \"at\": [\"header\"], "
	  "\"from\": "
	  "\"command:true\",\n \"sign\": {\"type\": \"hmac\", \"header\": \"X-S\"}}]}",
	  "a secret that signs stands nowhere" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"methods\": "
	  "[\"get\"]}]}",
	  "c.json:2:14: not a method; methods are case-sensitive, write capitals" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"methods\": []}]}",
	  "c.json:2:13: expected a list of 1 to 64 texts" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"paths\": "
	  "[\"/a/../b\"]}]}",
	  "c.json:2:12: path \"/a/../b\" can be read in two ways" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"max_uses\": 0}]}",
	  "c.json:2:14: " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"require_tls\": 1}]}",
	  "c.json:2:17: " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"placeholder\": "
	  "\"short\"}]}",
	  "c.json:2:17: placeholder: fewer than 8 random characters" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"passthrough\": "
	  "[\"*\"]}]}",
	  "c.json:2:18: host \"*\": " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": [\"path:x\"]}]}",
	  "c.json:2:9: only header, query and body take a name" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": []}]}", "c.json:1:42: no hosts" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": \"a.com\"}]}",
	  "c.json:1:42: expected a list" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"*\"]}]}",
	  "c.json:1:43: host \"*\": " },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": [\"heder\"]}]}",
	  "c.json:2:9: unknown place \"heder\"; did you mean \"header\"?" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"at\": []}]}",
	  "c.json:2:8: no places" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"never-shown-value\"}]}",
	  "c.json:2:10: a source is \"env:VAR\", \"file:PATH\", \"fd:N\" or \"command:CMD\"; "
	  "values do not stand in this file" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"env:UNSET_KEY\"}]}",
	  "c.json:2:10: variable UNSET_KEY is not set" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"env:\"}]}",
	  "c.json:2:10: nothing behind \"env:\"" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"env:A "
	  "B\"}]}",
	  "c.json:2:10: env:" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": "
	  "\"file:none\"}]}",
	  "c.json:2:10: file \"none\" cannot be read" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"fd:1\"}]}",
	  "c.json:2:10: a descriptor is a number from 3 on" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"fd:999\"}]}",
	  "c.json:2:10: descriptor 999 is not open" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"from\": \"command: "
	  "\"}]}",
	  "c.json:2:10: the command is empty" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"], \"value\": \"x\"}]}",
	  "c.json:1:53: unknown key \"value\"" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"],\n \"on_violation\": "
	  "\"blok\"}]}",
	  "c.json:2:18: unknown action; did you mean \"block\"?" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]},\n{\"env\": \"API_KEY\", "
	  "\"hosts\": [\"b.com\"]}]}",
	  "c.json:2:1: API_KEY is a secret already" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}],\n\"tls\": {\"bypass\": "
	  "[\"a.com\"]}}",
	  "c.json:1:14: could never be used for a.com, whose TLS is bypassed" },
	{ "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}],\n\"tls\": "
	  "{\"intercept\": false}}",
	  "c.json:2:22: secrets need interception (c.json:1:14)" },
	{ "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": \"a.com\", \"http\": "
	  "{\"methods\": [\"GET\"]}}]},\n\"tls\": {\"intercept\": false}}",
	  "c.json:2:22: rules with \"http\" need interception" },
	/* the rest */
	{ "{\"limits\": {\"max_connections\": 0}}", "c.json:1:32: 0 is not from 1 to 1000000" },
	{ "{\"limits\": {\"max_connection\": 5}}",
	  "c.json:1:13: unknown key \"max_connection\"; did you mean" },
	{ "{\"limits\": {\"max_connections\": 1.5}}",
	  "c.json:1:32: expected a whole number, not a fraction" },
	{ "{\"limits\": {\"memory\": \"1kB\"}}", "c.json:1:23: a size from 8MiB" },
	{ "{\"limits\": {\"memory\": 8000000}}", "c.json:1:23: expected a string" },
	{ "{\"limits\": {\"egress\": {\"burst\": \"64KiB\"}}}", "c.json:1:23: a burst without" },
	{ "{\"limits\": {\"egress\": {}}}", "limits nothing" },
	{ "{\"limits\": {\"egress\": {\"bandwidth\": \"10\"}}}", "c.json:1:37: needs a unit" },
	{ "{\"limits\": {\"ingress\": {\"rate\": \"10\"}}}", "unknown key \"rate\"" },
	{ "{\"publish\": [\"x\"]}", "c.json:1:14: a published port is" },
	{ "{\"publish\": {\"80\": 80}}", "c.json:1:13: expected a list" },
	{ "{\"publish\": [\"80:80\",\n \"127.0.0.1:80:81\"]}",
	  "c.json:2:2: host port 80 is published twice" },
	{ "{\"audit\": 5}", "c.json:1:11: expected an object" },
	{ "{\"audit\": {\"file\": \"\"}}", "c.json:1:20: an empty path" },
	{ "{\"audit\": {\"file\": \"none/x\"}}", "c.json:1:20: its directory: No such file" },
	{ "{\"audit\": {\"capture\": \"d\"}}", "c.json:1:23: is a directory" },
	{ "{\"audit\": {\"captur\": \"x\"}}",
	  "c.json:1:12: unknown key \"captur\"; did you mean \"capture\"?" },
};

static void test_bad_files(void **state)
{
	static const char *const args[] = { "--config", "c.json", "--", "true", NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_files); i++) {
		put("c.json", bad_files[i].text);
		check_bad(args, bad_files[i].want, bad_files[i].text);
	}
	printf("%zu bad files refused\n", ARRAY_SIZE(bad_files));
}

/* A flag against the file. */
static void test_bad_together(void **state)
{
	static const char *const dup[] = { "--config", "c.json", "--secret", "API_KEY@b.com",
					   "--",       "true",	 NULL };
	static const char *const port[] = { "--publish", "80:81", "--config", "c.json",
					    "--",	 "true",  NULL };

	(void)state;
	put("c.json", "{\"secrets\": [{\"env\": \"API_KEY\", \"hosts\": [\"a.com\"]}]}");
	check_bad(dup, "c.json:1:14: API_KEY is a secret already", "flag and file");
	put("c.json", "{\"publish\": [\"80:80\"]}");
	check_bad(port, "c.json:1:14: host port 80 is published twice", "flag and file");
}

/* ---- good ------------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
	static const char *const args[] = { "curl", "-v", "--json", NULL };
	struct weir_config *c = good(args);

	(void)state;
	assert_int_equal(c->backend, BACKEND_AUTO);
	assert_null(c->name);
	assert_false(c->json);
	assert_int_equal(c->log_level, LOG_LEVEL_WARN);
	assert_non_null(c->policy);
	assert_int_equal(c->dns_mode, DNS_VIRTUAL);
	assert_int_equal(c->n_dns_servers, 0);
	assert_int_equal(c->n_dns_records, 0);
	assert_int_equal(c->dns_timeout_ms, 5000);
	assert_false(c->tls_intercept);
	assert_int_equal(c->n_tls_ports, 1);
	assert_int_equal(c->tls_ports[0], 443);
	assert_int_equal(c->n_secrets, 0);
	assert_int_equal(c->max_connections, 4096);
	assert_null(c->audit_path);
	assert_null(c->capture_path);
	assert_string_equal(c->command[0], "curl");
	assert_string_equal(c->command[1], "-v");
	assert_string_equal(c->command[2], "--json");
	assert_null(c->command[3]);
	weir_config_free(c);
}

/* Parity: d3.1-servers. */
static void test_flags(void **state)
{
	static const char *const args[] = {
		"--backend=netns", "--name",	 "agent-1.a_b",		"--json", "-v",	  "-v",
		"--no-net",	   "--net-rule", "allow@x.com:tcp:443", "--",	  "-cmd", NULL
	};
	struct weir_config *c = good(args);

	(void)state;
	assert_int_equal(c->backend, BACKEND_NETNS);
	assert_string_equal(c->name, "agent-1.a_b");
	assert_true(c->json);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(policy_rule_count(c->policy), 1);
	assert_string_equal(c->command[0], "-cmd");
	weir_config_free(c);
}

/* Parity: S12. */
static void test_secret_sources(void **state)
{
	static const struct {
		const char *from;
		enum secret_source source;
		const char *arg;
		uint32_t refresh_s, ttl_s;
		const char *why; /* refused */
	} table[] = {
		{ "{\"env\": \"API_KEY\"}", SECRET_FROM_ENV, "API_KEY", 0, 0, NULL },
		{ "{\"file\": \"/etc/hostname\", \"ttl\": 60}", SECRET_FROM_FILE, "/etc/hostname",
		  0, 60, NULL },
		{ "{\"command\": \"x y\", \"refresh\": 60}", SECRET_FROM_COMMAND, "x y", 60, 0, NULL },
		{ "{\"command\": \"x\", \"refresh\": 60, \"ttl\": 61}", SECRET_FROM_COMMAND, "x",
		  60, 61, NULL },
		{ .from = "{}", .why = "a source is" },
		{ .from = "{\"refresh\": 5}", .why = "a source is" },
		{ .from = "{\"env\": \"API_KEY\", \"file\": \"value\"}", .why = "two sources" },
		{ .from = "{\"env\": \"\"}", .why = "nothing in \"env\"" },
		{ .from = "{\"comand\": \"x\"}", .why = "did you mean" },
		{ .from = "{\"env\": \"API_KEY\", \"refresh\": 5}", .why = "only a command" },
		{ .from = "{\"env\": \"API_KEY\", \"ttl\": 5}", .why = "no other value" },
		{ .from = "{\"command\": \"x\", \"ttl\": 5}", .why = "\"refresh\" as well" },
		{ .from = "{\"env\": \"K\", \"output\": \"token\"}", .why = "only what a command" },
		{ .from = "{\"command\": \"x\", \"output\": \"json\"}", .why = "expected \"value\"" },
		{ .from = "{\"command\": \"x\", \"refresh\": 5, \"ttl\": 5}", .why = "longer than" },
		{ .from = "{\"command\": \"x\", \"refresh\": 0}", .why = "not from 1 to" },
		{ .from = "{\"fd\": 1}", .why = "not from 3 to" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *args[] = { "--config", "c.json", "--", "true", NULL };
		struct weir_config *c = NULL;
		struct conf_error err = { "" };
		char text[256];
		int r;

		snprintf(text, sizeof(text),
			 "{\"secrets\": [{\"env\": \"K\", \"hosts\": [\"a.com\"], \"from\": %s}]}",
			 table[i].from);
		put("c.json", text);
		r = load(args, &c, &err);
		if (table[i].why) {
			assert_int_equal(r, -EINVAL);
			if (!strstr(err.text, table[i].why))
				fail_msg("%s: %s", text, err.text);
			continue;
		}
		if (r < 0)
			fail_msg("%s: %s", text, err.text);
		assert_int_equal(c->secrets[0].source, table[i].source);
		assert_string_equal(c->secrets[0].arg, table[i].arg);
		assert_int_equal(c->secrets[0].refresh_s, table[i].refresh_s);
		assert_int_equal(c->secrets[0].ttl_s, table[i].ttl_s);
		weir_config_free(c);
	}
}

static void test_secret_flags(void **state)
{
	static const char *const args[] = { "--secret",
					    "API_KEY:header+query@api.a.com,.b.com,*.c.com",
					    "--secret-file",
					    "FILE_KEY=a@b=c@d.com",
					    "--secret-violation",
					    "block_and_terminate",
					    "--secret",
					    "OTHER@e.com",
					    "true",
					    NULL };
	struct weir_config *c = good(args);

	(void)state;
	assert_true(c->tls_intercept);
	assert_int_equal(c->n_secrets, 3);
	assert_string_equal(c->secrets[0].env, "API_KEY");
	assert_int_equal(c->secrets[0].source, SECRET_FROM_ENV);
	assert_string_equal(c->secrets[0].arg, "API_KEY");
	assert_int_equal(c->secrets[0].places, TLSPROXY_IN_HEADER | TLSPROXY_IN_QUERY);
	assert_int_equal(c->secrets[0].n_hosts, 3);
	assert_string_equal(c->secrets[0].hosts[0].name.s, "api.a.com");
	assert_false(c->secrets[0].hosts[0].is_suffix);
	assert_true(c->secrets[0].hosts[1].is_suffix && c->secrets[0].hosts[1].apex);
	assert_true(c->secrets[0].hosts[2].is_suffix && !c->secrets[0].hosts[2].apex);
	assert_int_equal(c->secrets[0].on_violation, TLSPROXY_BLOCK_AND_TERMINATE);
	assert_string_equal(c->secrets[1].env, "OTHER");
	assert_int_equal(c->secrets[1].places, TLSPROXY_PLACES_DEFAULT);
	assert_string_equal(c->secrets[2].env, "FILE_KEY");
	assert_int_equal(c->secrets[2].source, SECRET_FROM_FILE);
	assert_string_equal(c->secrets[2].arg, "a@b=c");
	weir_config_free(c);
}

/* T03 to T06: what is said of hosts, from flags and the file together; a flag wins. */
static void check_tls(void)
{
	static const char *const args[] = { "--config",
					    "c.json",
					    "--tls-intercept-port=any",
					    "--no-http2",
					    "--trust-host-cas",
					    "--tls-client-cert=.a.com=ca.pem,key.pem",
					    "--tls-no-verify-upstream-for=a.com",
					    "--tls-no-verify-upstream-for=192.0.2.1",
					    "--tls-pin=.a.com=" PIN,
					    "--tls-name-constraints=off",
					    "true",
					    NULL };
	const struct tls_upstream_config *u;
	struct weir_config *c;

	put("c.json",
	    "{\"tls\": {\"intercept\": true, \"ports\": [8443], \"verify_upstream\": false, "
	    "\"name_constraints\": \"policy\", \"ca\": {\"cert\": \"ca.pem\", \"key\": "
	    "\"key.pem\"}, \"upstream\": [{\"host\": \"a.com\", \"verify\": true, \"ca\": "
	    "\"d/ca2.pem\"}, {\"host\": \".a.com\", \"pins\": [\"cert-" PIN_HEX "\"]}]}}");
	c = good(args);
	assert_true(c->tls_any_port);
	assert_true(c->tls_no_http2);
	assert_true(c->trust_host_cas);
	assert_true(c->tls_no_verify);
	assert_int_equal(c->tls_constrain, TLS_CONSTRAIN_OFF);
	assert_string_equal(c->tls_ca_cert, "ca.pem");
	assert_string_equal(c->tls_ca_key, "key.pem");
	assert_int_equal(c->n_tls_upstreams, 3);
	u = c->tls_upstreams;
	for (size_t i = 0; i < 3; i++, u++) {
		if (u->is_addr) {
			assert_int_equal(u->verify, TLSPROXY_NO_VERIFY);
		} else if (u->host.is_suffix) {
			assert_int_equal(u->verify, TLSPROXY_VERIFY_DEFAULT);
			assert_string_equal(u->cert, "ca.pem");
			assert_string_equal(u->key, "key.pem");
			assert_int_equal(u->n_pins, 2);
			assert_true(u->pins[1].whole);
		} else {
			assert_int_equal(u->verify, TLSPROXY_NO_VERIFY);
			assert_string_equal(u->ca, "d/ca2.pem");
		}
	}
	weir_config_free(c);
}

/* Parity: p1.9-flags. */
static void test_net_flags(void **state)
{
	static const char *const dns[] = { "--dns-server",
					   "9.9.9.9",
					   "--dns-server",
					   "[2620:fe::fe]:5353",
					   "--dns-record",
					   "Db.Internal.=10.0.0.5",
					   "--dns-record",
					   "db.internal=fd00::5",
					   "--dns-answers=real",
					   "--dns-doh",
					   "allow",
					   "true",
					   NULL };
	static const char *const tls[] = { "--tls-intercept",
					   "--tls-intercept-port",
					   "8443",
					   "--tls-intercept-port",
					   "443",
					   "--tls-bypass=.pinned.com",
					   "--upstream-ca",
					   "ca.pem",
					   "true",
					   NULL };
	static const char *const pub[] = { "--publish",
					   "8080:80",
					   "--publish",
					   "0.0.0.0:53:5353/udp",
					   "--publish",
					   "[::1]:8080:80/tcp",
					   "--max-connections",
					   "7",
					   "--max-half-open=3",
					   "--max-udp-flows=8",
					   "--max-icmp-flows=9",
					   "--memory-budget=16MiB",
					   "--rate=egress=10mbit,burst=64kib,packets=100",
					   "--rate=ingress=packets=7",
					   "true",
					   NULL };
	struct weir_config *c = good(dns);

	(void)state;
	assert_int_equal(c->n_dns_servers, 2);
	assert_int_equal(c->dns_servers[0].port, 53);
	assert_int_equal(c->dns_servers[1].port, 5353);
	assert_int_equal(c->dns_servers[1].addr.family, 6);
	assert_int_equal(c->n_dns_records, 2);
	assert_string_equal(c->dns_records[0].name.s, "db.internal");
	assert_int_equal(c->dns_records[1].addr.family, 6);
	assert_int_equal(c->dns_mode, DNS_REAL);
	assert_true(c->dns_doh);
	weir_config_free(c);
	c = good(tls);
	assert_false(c->dns_doh);
	assert_true(c->tls_intercept);
	assert_int_equal(c->n_tls_ports, 2);
	assert_int_equal(c->tls_ports[0], 8443);
	assert_int_equal(c->n_tls_bypass, 1);
	assert_int_equal(c->n_upstream_cas, 1);
	assert_string_equal(c->upstream_cas[0], "ca.pem");
	weir_config_free(c);
	check_tls();
	c = good(pub);
	assert_int_equal(c->n_publish, 3);
	assert_int_equal(c->publish[0].bind.addr.b[0], 127);
	assert_int_equal(c->publish[0].bind.port, 8080);
	assert_int_equal(c->publish[0].guest_port, 80);
	assert_true(c->publish[1].udp);
	assert_int_equal(c->publish[1].guest_port, 5353);
	assert_int_equal(c->publish[2].bind.addr.family, 6);
	assert_int_equal(c->max_connections, 7);
	assert_int_equal(c->max_half_open, 3);
	assert_int_equal(c->max_udp_flows, 8);
	assert_int_equal(c->max_icmp_flows, 9);
	assert_int_equal(c->memory, 16 << 20);
	assert_int_equal(c->rates.up.bytes, 1250000);
	assert_int_equal(c->rates.up.burst, 65536);
	assert_int_equal(c->rates.up.packets, 100);
	assert_int_equal(c->rates.down.bytes, 0);
	assert_int_equal(c->rates.down.packets, 7);
	weir_config_free(c);
}

static void test_http_rule_needs_interception(void **state)
{
	static const char *const with[] = { "--policy", "http.json", "true", NULL };
	static const char *const without[] = { "--policy", "p.json", "true", NULL };
	struct weir_config *c = good(with);

	(void)state;
	assert_true(c->tls_intercept);
	weir_config_free(c);
	c = good(without);
	assert_false(c->tls_intercept);
	weir_config_free(c);
}

static void test_file(void **state)
{
	static const char *const args[] = { "--config",
					    "d/c.json",
					    "--dns-server",
					    "1.1.1.1",
					    "--dns-answers",
					    "virtual",
					    "--dns-doh=deny",
					    "--max-connections",
					    "9",
					    "--audit",
					    "mine.jsonl",
					    "--rate=ingress=1gbit",
					    "true",
					    NULL };
	struct weir_config *c;

	(void)state;
	put("d/c.json",
	    "{ \"policy\": { \"default_egress\": \"deny\", \"rules\": [\n"
	    "    { \"action\": \"allow\", \"destination\": \"a.com\" } ] },\n"
	    "  \"dns\": { \"servers\": [\"9.9.9.9:5353\"], \"answers\": \"real\",\n"
	    "    \"records\": { \"x.test\": [\"10.0.0.1\", \"fd00::1\"], \"y.test\": \"10.0.0.2\" "
	    "},\n"
	    "    \"doh\": \"allow\", \"timeout_ms\": 750, \"serve_stale\": 60,\n"
	    "    \"budget\": { \"names\": 9 } },\n"
	    "  \"policy_floor\": \"../floor.json\",\n"
	    "  \"tls\": { \"intercept\": true, \"ports\": [443, 8443], \"bypass\": [\"*.b.com\"],\n"
	    "    \"upstream_ca\": [\"ca2.pem\"] },\n"
	    "  \"secrets\": [\n"
	    "    { \"env\": \"API_KEY\", \"hosts\": [\"a.com\"] },\n"
	    "    { \"env\": \"B_KEY\", \"from\": \"file:../value\", \"hosts\": [\".a.com\"],\n"
	    "      \"at\": [\"body\", \"path\"], \"on_violation\": \"passthrough\" },\n"
	    "    { \"env\": \"C_KEY\", \"from\": \"command:pass show c\", \"hosts\": [\"a.com\"] } "
	    "],\n"
	    "  \"limits\": { \"max_connections\": 100, \"max_udp_flows\": 50, \"memory\": "
	    "\"32MiB\",\n"
	    "    \"egress\": { \"bandwidth\": \"8mbit\", \"burst\": \"1MB\" },\n"
	    "    \"ingress\": { \"packets\": 500 } },\n"
	    "  \"publish\": [\"8080:80\"],\n"
	    "  \"audit\": { \"file\": \"theirs.jsonl\", \"capture\": \"c.pcapng\" } }\n");
	put("floor.json", "{ \"default_egress\": \"allow\", \"rules\": [\n"
			  "  { \"action\": \"deny\", \"destination\": \"metadata\" } ] }\n");
	c = good(args);
	assert_non_null(policy_floor(c->policy));
	assert_int_equal(policy_rule_count(policy_floor(c->policy)), 1);
	assert_int_equal(c->dns_stale_s, 60);
	assert_int_equal(c->dns_budget.names, 9);
	assert_int_equal(c->dns_budget.bytes, 0); /* as the resolver has it */
	assert_false(c->observe);
	assert_int_equal(c->n_dns_servers, 2); /* flags add to lists */
	assert_int_equal(c->dns_servers[0].port, 53);
	assert_int_equal(c->dns_servers[1].port, 5353);
	assert_int_equal(c->dns_mode, DNS_VIRTUAL); /* and win over values */
	assert_false(c->dns_doh);
	assert_int_equal(c->n_dns_records, 3);
	assert_int_equal(c->dns_timeout_ms, 750);
	assert_true(c->tls_intercept);
	assert_int_equal(c->n_tls_ports, 2);
	assert_int_equal(c->n_tls_bypass, 1);
	assert_string_equal(c->upstream_cas[0], "d/ca2.pem");
	assert_int_equal(c->n_secrets, 3);
	assert_int_equal(c->secrets[0].source, SECRET_FROM_ENV);
	assert_string_equal(c->secrets[0].arg, "API_KEY");
	assert_int_equal(c->secrets[0].on_violation, TLSPROXY_BLOCK_AND_LOG);
	assert_string_equal(c->secrets[1].arg, "d/../value");
	assert_int_equal(c->secrets[1].places, TLSPROXY_IN_BODY | TLSPROXY_IN_PATH);
	assert_int_equal(c->secrets[1].on_violation, TLSPROXY_PASSTHROUGH);
	assert_int_equal(c->secrets[2].source, SECRET_FROM_COMMAND);
	assert_string_equal(c->secrets[2].arg, "pass show c");
	assert_int_equal(c->max_connections, 9);
	assert_int_equal(c->max_udp_flows, 50);
	assert_int_equal(c->memory, 32 << 20);
	assert_int_equal(c->rates.up.bytes, 1000000);
	assert_int_equal(c->rates.up.burst, 1000000);
	assert_int_equal(c->rates.down.bytes, 125000000); /* the flag's, as a whole */
	assert_int_equal(c->rates.down.packets, 0);
	assert_int_equal(c->n_publish, 1);
	assert_string_equal(c->audit_path, "mine.jsonl");
	assert_string_equal(c->capture_path, "d/c.pcapng");
	weir_config_free(c);
}

static void test_fd_source(void **state)
{
	static const char *const args[] = { "--config", "c.json", "true", NULL };
	char text[160];
	int fd = open("value", O_RDONLY | O_CLOEXEC);
	struct weir_config *c;

	(void)state;
	snprintf(text, sizeof(text),
		 "{\"secrets\": [{\"env\": \"K\", \"from\": \"fd:%d\", \"hosts\": [\"a.com\"]}]}",
		 fd);
	put("c.json", text);
	c = good(args);
	assert_int_equal(c->secrets[0].source, SECRET_FROM_FD);
	/* Not read, not moved. */
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	weir_config_free(c);
	close(fd);
}

static void check_columns(enum config_command command)
{
	for (const char *const *part = weir_help[command]; *part; part++)
		for (const char *p = *part; *p;) {
			size_t n = strcspn(p, "\n");

			if (n > 80)
				fail_msg("%zu columns: %.*s", n, (int)n, p);
			p += n + (p[n] == '\n');
		}
}

static void test_help(void **state)
{
	static const char *const args[] = { "--help", NULL };
	static const char *const before[] = { "-v", "-h", "--bogus", NULL };
	static const char *const after[] = { "true", "--help", NULL };
	struct weir_config *c = NULL;
	struct conf_error err;

	(void)state;
	assert_int_equal(load(args, &c, &err), -ECANCELED);
	assert_int_equal(load(before, &c, &err), -ECANCELED);
	assert_null(c);
	c = good(after);
	assert_string_equal(c->command[1], "--help");
	weir_config_free(c);
	check_columns(CONFIG_RUN);
	check_columns(CONFIG_GATEWAY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_flags),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_bad_together),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_secret_sources),
		cmocka_unit_test(test_secret_flags),
		cmocka_unit_test(test_net_flags),
		cmocka_unit_test(test_http_rule_needs_interception),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_fd_source),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
