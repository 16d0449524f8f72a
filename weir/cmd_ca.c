/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir ca show`: the certificate authority of a running sandbox, asked of the run over its
 * control socket. Only the certificate: the key is in the tlsproxy, which gives it to nobody.
 */
#include "weir/cmd_ca.h"

#include "weir/ctl_socket.h"
#include "weir/sealed.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };
enum form { FORM_PEM, FORM_TEXT, FORM_JSON };

static const char ca_help[] =
	"Usage: weir ca show [NAME] [--text|--json]\n"
	"\n"
	"The certificate of the authority that signs what a running sandbox is shown\n"
	"where its TLS is read, as PEM; with those above it when it is the user's own\n"
	"(weir run --tls-ca-cert). NAME is a sandbox's name or the id of its run, and may\n"
	"be left out while only one runs. The key never leaves the process that signs.\n"
	"\n"
	"--text  whose it is, until when, for which names, its SHA-256\n"
	"--json  the same as an object, with the PEM\n"
	"\n"
	"Only the user who runs the sandbox, and root, may ask.\n"
	"Exit status: 0 done, 1 refused or not found, 2 usage.\n";

static int complain(int status, const char *fmt, ...) printf_like(2, 3);
static int complain(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("weir ca: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* ---- asking ---------------------------------------------------------------------- */

/* NAME NULL: the only one there is. */
static int choose(const char *name, struct ctl_run *ret)
{
	struct ctl_run *runs = NULL;
	size_t n = 0, found = 0;
	char quoted[80];
	int r = ctl_list(&runs, &n);

	if (r < 0)
		return complain(EXIT_REFUSED, "the control sockets cannot be read: %s", strerror(-r));
	for (size_t i = 0; i < n; i++) {
		if (name && str_eq(runs[i].id, name)) {
			*ret = runs[i];
			found = 1;
			break;
		}
		if (!name || str_eq(runs[i].name, name)) {
			*ret = runs[i];
			found++;
		}
	}
	free(runs);
	if (found == 1)
		return 0;
	if (!name)
		return complain(EXIT_REFUSED,
				found ? "several sandboxes run: which? weir ctl lists "
					"them"
				      : "no sandbox runs");
	log_quote(name, strlen(name), quoted, sizeof(quoted));
	return complain(EXIT_REFUSED, "%s: %s", quoted,
			found ? "several sandboxes have this name: give the id (weir ctl)"
			      : "no such sandbox runs (weir ctl lists those that do)");
}

static int explain(const struct ctl_run *run, const json_t *reply)
{
	const char *why = json_string_value(json_object_get(reply, "error"));
	char quoted[512];

	return complain(EXIT_REFUSED, "%s: %s", run->name,
			why ? log_quote(why, strlen(why), quoted, sizeof(quoted))
			    : "an answer that cannot be read");
}

/* *ret_fd: the PEM, sealed. */
static int ask(const struct ctl_run *run, int *ret_fd)
{
	static const char request[] = "{\"verb\":\"ca.show\"}";
	cleanup_close int sock = -1, fd = -1;
	char text[CTL_MESSAGE_MAX];
	size_t n_fds = 0;
	json_t *o;
	ssize_t n;
	int r = ctl_connect(run, &sock);

	if (r == 0)
		r = ipc_send(sock, request, sizeof(request) - 1, NULL, 0);
	n = r < 0 && r != -EPIPE ? r : ipc_recv(sock, text, sizeof(text), &fd, 1, &n_fds);
	if (n <= 0)
		return complain(EXIT_REFUSED, "%s: %s", run->name,
				n == -EAGAIN ? "does not answer"
				: n < 0	     ? strerror((int)-n)
					     : "ended before it answered");
	o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	r = json_is_true(json_object_get(o, "ok")) && fd >= 0 ? 0 : explain(run, o);
	json_decref(o);
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

/* ---- showing --------------------------------------------------------------------- */

static json_t *time_json(const ASN1_TIME *t)
{
	char text[32];
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *digest_json(const X509 *cert)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char text[2 * EVP_MAX_MD_SIZE + 1] = "";

	if (!X509_digest(cert, EVP_sha256(), md, &len))
		return json_null();
	for (unsigned i = 0; i < len; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", md[i]);
	return json_string(text);
}

static json_t *name_json(const X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	json_t *o = NULL;
	char *text;
	long len;

	/* RFC 2253 escapes whatever is not printable. */
	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
		len = BIO_get_mem_data(bio, &text);
		o = json_stringn(text, (size_t)len);
	}
	BIO_free(bio);
	return o ? o : json_null();
}

static json_t *trees_json(const STACK_OF(GENERAL_SUBTREE) * trees)
{
	json_t *list = json_array();

	for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
		const GENERAL_NAME *gn = sk_GENERAL_SUBTREE_value(trees, i)->base;
		const char *text = gn->type == GEN_DNS
					   ? (const char *)ASN1_STRING_get0_data(gn->d.dNSName)
					   : NULL;
		int len = text ? ASN1_STRING_length(gn->d.dNSName) : 0;
		json_t *name = text ? json_stringn(text, (size_t)len) : NULL;

		json_array_append_new(list, name ? name : json_string("(not a DNS name)"));
	}
	return list;
}

static json_t *describe(X509 *cert)
{
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(cert, NID_name_constraints, NULL, NULL);
	const EVP_PKEY *key = X509_get0_pubkey(cert);
	json_t *o = json_object();

	json_object_set_new(o, "subject", name_json(X509_get_subject_name(cert)));
	json_object_set_new(o, "issuer", name_json(X509_get_issuer_name(cert)));
	json_object_set_new(o, "not_before", time_json(X509_get0_notBefore(cert)));
	json_object_set_new(o, "not_after", time_json(X509_get0_notAfter(cert)));
	json_object_set_new(o, "sha256", digest_json(cert));
	json_object_set_new(o, "key",
			    json_sprintf("%s %d", OBJ_nid2sn(EVP_PKEY_get_base_id(key)),
					 EVP_PKEY_get_bits(key)));
	json_object_set_new(o, "permitted", nc ? trees_json(nc->permittedSubtrees) : json_null());
	json_object_set_new(o, "excluded", nc ? trees_json(nc->excludedSubtrees) : json_null());
	NAME_CONSTRAINTS_free(nc);
	return o;
}

/* Printable, whatever stands in a certificate of the user's. */
static void line(const char *label, const char *text)
{
	char quoted[512];

	printf("  %-12s %s\n", label, log_quote(text, strlen(text), quoted, sizeof(quoted)));
}

static void names_line(const char *label, const json_t *list)
{
	const json_t *name;
	size_t i;

	json_array_foreach(list, i, name) line(i ? "" : label, json_string_value(name));
}

static void print_text(const struct ctl_run *run, const json_t *o)
{
	static const char *const lines[][2] = {
		{ "subject", "subject" }, { "issuer", "issuer" },  { "from", "not_before" },
		{ "until", "not_after" }, { "sha-256", "sha256" }, { "key", "key" },
	};

	printf("%s (%s)\n", run->name, run->id);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *text = json_string_value(json_object_get(o, lines[i][1]));

		line(lines[i][0], text ? text : "?");
	}
	if (json_is_null(json_object_get(o, "permitted")))
		line("names", "any (no name constraints)");
	names_line("names", json_object_get(o, "permitted"));
	names_line("but not", json_object_get(o, "excluded"));
}

static int show_parsed(const struct ctl_run *run, const struct sealed *pem, enum form form)
{
	BIO *bio = BIO_new_mem_buf(pem->text, (int)pem->len);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	json_t *o = cert ? describe(cert) : NULL;
	int r = EXIT_DONE;

	if (!o) {
		r = complain(EXIT_REFUSED, "%s: its certificate cannot be read", run->name);
	} else if (form == FORM_TEXT) {
		print_text(run, o);
	} else {
		json_object_set_new(o, "name", json_string(run->name));
		json_object_set_new(o, "run", json_string(run->id));
		json_object_set_new(o, "pem", json_stringn(pem->text, pem->len));
		if (json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_ENSURE_ASCII) <
		    0)
			r = complain(EXIT_REFUSED, "cannot write the answer");
		putchar('\n');
	}
	json_decref(o);
	X509_free(cert);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

static int show(const char *name, enum form form)
{
	cleanup_close int fd = -1;
	struct ctl_run run;
	struct sealed pem;
	int r = choose(name, &run);

	if (r == 0)
		r = ask(&run, &fd);
	if (r)
		return r;
	if (sealed_map(fd, &pem) < 0)
		return complain(EXIT_REFUSED, "%s: its certificate cannot be read", run.name);
	if (form != FORM_PEM)
		r = show_parsed(&run, &pem, form);
	else if (fwrite(pem.text, 1, pem.len, stdout) != pem.len)
		r = complain(EXIT_REFUSED, "cannot write: %s", strerror(errno));
	sealed_unmap(&pem);
	if (fflush(stdout) != 0 && r == EXIT_DONE)
		r = complain(EXIT_REFUSED, "cannot write: %s", strerror(errno));
	return r;
}

int cmd_ca(int argc, char **argv)
{
	enum form form = FORM_PEM;
	const char *words[2] = { NULL, NULL };
	char quoted[80];
	size_t n = 0;

	for (int i = 1; i < argc; i++) {
		log_quote(argv[i], strlen(argv[i]), quoted, sizeof(quoted));
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			fputs(ca_help, stdout);
			return EXIT_DONE;
		}
		if (str_eq(argv[i], "--text") || str_eq(argv[i], "--json")) {
			if (form != FORM_PEM)
				return complain(EXIT_USAGE, "--text or --json, once");
			form = str_eq(argv[i], "--text") ? FORM_TEXT : FORM_JSON;
		} else if (argv[i][0] == '-') {
			return complain(EXIT_USAGE, "unknown option %s; see: weir ca --help", quoted);
		} else if (n == ARRAY_SIZE(words)) {
			return complain(EXIT_USAGE, "too many words; see: weir ca --help");
		} else {
			words[n++] = argv[i];
		}
	}
	if (n == 0 || !str_eq(words[0], "show"))
		return complain(EXIT_USAGE, "weir ca show [NAME]; see: weir ca --help");
	return show(words[1], form);
}
