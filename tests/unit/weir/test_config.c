/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir run` accepts, member by member; what it refuses is in test_config_bad_*.c. */
#include "tests/unit/weir/config_rig.h"

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
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_net_flags),
		cmocka_unit_test(test_http_rule_needs_interception),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
