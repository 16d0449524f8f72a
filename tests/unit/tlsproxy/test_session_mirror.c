/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's leg takes over from the upstream's: the protocol inside, how long
 * the certificate is good for; and what a guest may come back with.
 */
#include "tests/unit/tlsproxy/session_rig.h"

#define H1 "\x08http/1.1"
#define H2 "\x02h2"
#define OTHER "else.example.org"

static void client_leave(struct flow_case *c, struct end *e)
{
	(void)c;
	SSL_shutdown(e->ssl);
}

/* ---- ALPN ------------------------------------------------------------------------ */

/* Parity: weak-10, weak-12. */
static void test_alpn(void **state)
{
	static const struct {
		const char *guest, *server; /* wire form */
		bool h2;		    /* the filter reads it */
		const char *offered;	    /* to the server */
		const char *given;	    /* to the guest; NULL: no_application_protocol */
	} t[] = {
		{ NULL, H1, false, "", "" },
		{ NULL, H2 H1, true, "", "" },
		{ H1, H1, false, H1, "http/1.1" },
		{ H1, NULL, false, H1, "" },
		{ H2 H1, H2 H1, false, H1, "http/1.1" },
		{ H2 H1, H2 H1, true, H2 H1, "h2" },
		{ H1 H2, H1 H2, true, H2 H1, "http/1.1" },
		{ H2 H1, H1, true, H2 H1, "http/1.1" },
		{ H2 H1, NULL, true, H2 H1, "" },
		{ H2, H2 H1, true, H2, "h2" },
		{ H2, NULL, true, H2, "" },
		{ "\x03"
		  "foo" H1,
		  H1, true, H1, "http/1.1" },
		/* Nothing in common: told as the server would tell it. */
		{ H2, H1, true, H2, NULL },
		{ H2, H2, false, "", NULL },
		{ "\x03"
		  "foo",
		  H1, true, "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(t); i++) {
		struct flow_case c = { .client = client_leave,
				       .server = server_hello,
				       .sni = HOST,
				       .alpn = t[i / 2].guest,
				       .server_alpn = t[i / 2].server,
				       .server_tls12 = i & 1,
				       .client_tls12 = i & 1 };
		struct tlsproxy_config cfg = { 0 };
		struct rig rig;

		rig_up(&rig, &cfg);
		rig.tp->offer_h2 = t[i / 2].h2;
		run_on(&rig, &c);
		if (strcmp(c.server_offered, t[i / 2].offered) != 0)
			fail_msg("case %zu: offered \"%s\"", i / 2, c.server_offered);
		if (!t[i / 2].given) {
			assert_int_equal(c.client_alert, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
			assert_false(c.tls_ok);
			expect_detail(&c, "client offers");
		} else if (!c.client_tls_up || strcmp(c.client_alpn, t[i / 2].given) != 0) {
			fail_msg("case %zu: given \"%s\", %s", i / 2, c.client_alpn, c.detail);
		}
		rig_down(&rig);
	}
}

/* The refusal of a name is read in whatever the client speaks, without any upstream. */
static void test_alpn_refused(void **state)
{
	struct flow_case c = {
		.client = client_get, .sni = HOST, .alpn = H2 H1, .server_alpn = H2, .deny = true
	};

	(void)state;
	run(&c);
	assert_string_equal(c.client_alpn, "http/1.1");
	expect_reply(&c, "HTTP/1.1 403");
}

/* RFC 9113 9.2.2 */
static void test_h2_ciphers(void **state)
{
	struct flow_case c = { .client = client_leave,
			       .sni = HOST,
			       .alpn = H2 H1,
			       .server_alpn = H2 H1,
			       .server_tls12 = true };
	struct tlsproxy_config cfg = { 0 };
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	rig.tp->offer_h2 = true;
	c.server_ctx = server_ctx(&c);
	assert_int_equal(SSL_CTX_set_cipher_list(c.server_ctx, "ECDHE-ECDSA-AES128-SHA"), 1);
	run_on(&rig, &c);
	expect_detail(&c, "forbids");
	assert_string_equal(c.client_alpn, "http/1.1");
	SSL_CTX_free(c.server_ctx);
	rig_down(&rig);
}

/* ---- validity -------------------------------------------------------------------- */

/* Parity: weak-12, T07, lesson-32: a leaf that was cached for a longer one is not shown any more. */
static void test_validity(void **state)
{
	struct identity id = { .text = HOST };
	struct tlsproxy_config cfg = { 0 };
	time_t now = time(NULL);
	struct leaf_cache lc;
	struct rig rig;
	X509 *cert;

	(void)state;
	assert_int_equal(leaf_cache_init(&lc, &world_ca), 0);
	rig_up(&rig, &cfg);
	for (int i = 3; i > 0; i--) {
		struct flow_case c = { .client = client_get, .server = server_hello, .sni = HOST };

		assert_int_equal(leaf_get(&lc, &id, now, now + i * 600, &cert), 0);
		c.server_ctx = server_ctx(&c);
		SSL_CTX_use_certificate(c.server_ctx, cert);
		SSL_CTX_use_PrivateKey(c.server_ctx, lc.key);
		tlsproxy_rejudge(rig.tp); /* no session to resume */
		run_on(&rig, &c);
		expect_reply(&c, "hello");
		assert_int_equal(c.leaf_expires, now + i * 600);
		SSL_CTX_free(c.server_ctx);
	}
	leaf_cache_fini(&lc);
	rig_down(&rig);
}

/* ---- tickets --------------------------------------------------------------------- */

enum change { SAME, SNI, ALPN, GENERATION, SANDBOX, PORT, LEAF, CHANGES };

static struct flow_case ticket_case(bool tls12)
{
	return (struct flow_case){ .client = client_get,
				   .server = server_hello,
				   .sni = HOST,
				   .alpn = H1,
				   .server_alpn = H1,
				   .client_tls12 = tls12 };
}

static void change_world(struct rig *rig, struct flow_case *c, enum change how)
{
	struct identity id = { .text = HOST };
	X509 *cert;

	if (how == SNI)
		c->sni = c->server_cert = OTHER;
	if (how == ALPN)
		c->server_alpn = NULL;
	if (how == PORT)
		c->port = 8443;
	if (how == GENERATION)
		assert_int_equal(tlsproxy_rejudge(rig->tp), 0);
	if (how == LEAF) /* minted anew */
		assert_int_equal(leaf_get(&rig->tp->leaves, &id, time(NULL), time(NULL) + 60, &cert),
				 0);
	if (how == SANDBOX) {
		struct tlsproxy_config cfg = { 0 };

		rig_down(rig);
		rig_up(rig, &cfg);
	}
}

/* Parity: weak-14. */
static void test_tickets(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * CHANGES; i++) {
		enum change how = (enum change)(i / 2);
		struct flow_case first = ticket_case(i & 1), second = ticket_case(i & 1);
		struct tlsproxy_config cfg = { 0 };
		struct rig rig;

		rig_up(&rig, &cfg);
		first.keep = true;
		run_on(&rig, &first);
		expect_reply(&first, "hello");
		assert_false(first.client_resumed);
		assert_non_null(first.session);
		assert_true(SSL_SESSION_is_resumable(first.session));
		assert_int_equal(SSL_SESSION_get_max_early_data(first.session), 0);
		change_world(&rig, &second, how);
		second.ticket = first.session;
		run_on(&rig, &second);
		/* Never a failure either: what is not resumed is a full handshake. */
		expect_reply(&second, "hello");
		if (second.client_resumed != (how == SAME))
			fail_msg("change %d: resumed %d", how, second.client_resumed);
		SSL_SESSION_free(first.session);
		rig_down(&rig);
	}
}

static void test_no_ticket_of_a_refusal(void **state)
{
	struct flow_case c = ticket_case(false);

	(void)state;
	c.deny = c.keep = true;
	run(&c);
	expect_reply(&c, "HTTP/1.1 403");
	assert_false(SSL_SESSION_is_resumable(c.session));
	SSL_SESSION_free(c.session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alpn),	   cmocka_unit_test(test_alpn_refused),
		cmocka_unit_test(test_h2_ciphers), cmocka_unit_test(test_validity),
		cmocka_unit_test(test_tickets),	   cmocka_unit_test(test_no_ticket_of_a_refusal),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
