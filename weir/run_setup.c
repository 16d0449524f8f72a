/* SPDX-License-Identifier: Apache-2.0 */
/* Preparations of a run that need files and the host's network. */
#include "weir/run_setup.h"

#include "weir/ctl_socket.h"
#include "weir/record.h"
#include "weir/sandbox.h"
#include "weir/state.h"

#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

/* Bind-mounts cost time; a host with more sockets than this hides the first ones. */
#define HIDDEN_MAX 4096

/* ---- growing string vectors ------------------------------------------------ */

struct strv {
	char **v;
	size_t n, size;
};

static int strv_add(struct strv *s, char *text)
{
	if (!text)
		return -ENOMEM;
	if (s->n + 1 >= s->size) {
		size_t size = s->size ? s->size * 2 : 64;
		char **v = reallocarray(s->v, size, sizeof(*v));

		if (!v) {
			free(text);
			return -ENOMEM;
		}
		s->v = v;
		s->size = size;
	}
	s->v[s->n++] = text;
	s->v[s->n] = NULL;
	return 0;
}

void run_strv_free(char **v)
{
	for (char **p = v; p && *p; p++)
		free(*p);
	free(v);
}

/* ---- resolvers -------------------------------------------------------------- */

static size_t resolv_conf(struct endpoint ret[static RUN_MAX_RESOLVERS])
{
	struct buf text = BUF_INIT(65536);
	size_t n = 0;
	char *rest = NULL, *line;

	if (file_read("/etc/resolv.conf", 65536, &text) == 0 && buf_str(&text))
		rest = (char *)buf_at(&text);
	while (n < RUN_MAX_RESOLVERS && (line = strsep(&rest, "\n"))) {
		char *addr;

		/* As resolv.conf(5) has it: the keyword, then a blank. */
		if (!str_starts(line, "nameserver ") && !str_starts(line, "nameserver\t"))
			continue;
		addr = line + strlen("nameserver");
		addr += strspn(addr, " \t");
		addr[strcspn(addr, " \t\r#;")] = 0;
		if (ip_parse(addr, strlen(addr), &ret[n].addr, NULL) == 0)
			ret[n++].port = 53;
	}
	buf_fini(&text);
	return n;
}

size_t run_resolvers(const struct weir_config *cfg, struct endpoint ret[static RUN_MAX_RESOLVERS])
{
	size_t n = MIN(cfg->n_dns_servers, (size_t)RUN_MAX_RESOLVERS);

	if (!n)
		return resolv_conf(ret);
	memcpy(ret, cfg->dns_servers, n * sizeof(*ret));
	return n;
}

/* ---- environment ---------------------------------------------------------------- */

/* Variables whose programs replace their roots by the file, or add it to them. */
static const char *const bundle_vars[] = {
	"SSL_CERT_FILE",
	"CURL_CA_BUNDLE",
	"REQUESTS_CA_BUNDLE",
	"PIP_CERT",
	"GIT_SSL_CAINFO",
	"AWS_CA_BUNDLE",
	"CARGO_HTTP_CAINFO",
	"HTTPLIB2_CA_CERTS",
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
	"NIX_SSL_CERT_FILE",
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
	"BUNDLE_SSL_CA_CERT",
	"NPM_CONFIG_CAFILE",
	"YARN_HTTPS_CA_FILE_PATH",
	"PERL_LWP_SSL_CA_FILE",
	"HEX_CACERTS_PATH",
	"JULIA_SSL_CA_ROOTS_PATH",
	"SYSTEM_CERTIFICATE_PATH",
};
static const char *const own_ca_vars[] = { "NODE_EXTRA_CA_CERTS", "DENO_CERT" };

static bool names_var(const char *entry, const char *var)
{
	size_t n = strlen(var);

	return strncmp(entry, var, n) == 0 && entry[n] == '=';
}

static bool is_replaced(const struct weir_config *cfg, bool has_ca, const char *entry)
{
	for (size_t i = 0; i < cfg->n_secrets; i++)
		if (names_var(entry, cfg->secrets[i].env) ||
		    (cfg->secrets[i].source == SECRET_FROM_ENV &&
		     names_var(entry, cfg->secrets[i].arg)))
			return true;
	if (cfg->upstream.auth_source == SECRET_FROM_ENV && names_var(entry, cfg->upstream.auth_arg))
		return true;
	if (!has_ca)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(bundle_vars); i++)
		if (names_var(entry, bundle_vars[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(own_ca_vars); i++)
		if (names_var(entry, own_ca_vars[i]))
			return true;
	/* A directory of roots would win over the file in some programs. */
	return names_var(entry, "SSL_CERT_DIR");
}

static int add_var(struct strv *s, const char *var, const char *value)
{
	char *text = NULL;

	return strv_add(s, asprintf(&text, "%s=%s", var, value) < 0 ? NULL : text);
}

int run_environment(const struct weir_config *cfg, char *const *from, char *const *placeholders,
		    bool has_ca, char ***ret)
{
	struct strv s = { 0 };
	int r = 0;

	for (char *const *e = from ? from : environ; r == 0 && *e; e++)
		if (!is_replaced(cfg, has_ca, *e))
			r = strv_add(&s, strdup(*e));
	for (size_t i = 0; r == 0 && i < cfg->n_secrets; i++)
		r = add_var(&s, cfg->secrets[i].env, placeholders[i]);
	for (size_t i = 0; r == 0 && has_ca && i < ARRAY_SIZE(bundle_vars); i++)
		r = add_var(&s, bundle_vars[i], SANDBOX_CA_BUNDLE);
	for (size_t i = 0; r == 0 && has_ca && i < ARRAY_SIZE(own_ca_vars); i++)
		r = add_var(&s, own_ca_vars[i],
			    cfg->trust_host_cas ? SANDBOX_CA_BUNDLE : SANDBOX_CA_ONLY);
	if (r == 0 && has_ca)
		r = add_var(&s, "UV_NATIVE_TLS", "1");
	if (r == 0)
		r = add_var(&s, "WEIR_SANDBOX", cfg->name);
	if (r < 0) {
		run_strv_free(s.v);
		return r;
	}
	*ret = s.v;
	return 0;
}

/* ---- hidden paths ----------------------------------------------------------------- */

static int add_real(struct strv *s, const char *path)
{
	char real[PATH_MAX];

	if (!path || !realpath(path, real))
		return 0;
	return strv_add(s, strdup(real));
}

/* Below /run nothing of the host's is left, and a directory of the sandbox's own has the same name. */
static int add_control(struct strv *s)
{
	char *dirs[CTL_DIRS], real[PATH_MAX];
	size_t n = ctl_dirs(dirs);
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		cleanup_close int fd = -1;

		/* Made now, so that there is something to cover before the first socket is. */
		if (state_own_dir(dirs[i], true, &fd) < 0)
			log_debug("%s: no place for control sockets", dirs[i]);
		if (r == 0 && realpath(dirs[i], real) && !str_starts(real, "/run/"))
			r = strv_add(s, strdup(real));
		free(dirs[i]);
	}
	return r;
}

/* Sockets of our network namespace that are bound to a path: whoever can reach the path can connect. */
static int add_unix_sockets(struct strv *s)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL;
	size_t size = 0;
	int r = 0;

	while (f && r == 0 && s->n < HIDDEN_MAX && getline(&line, &size, f) > 0) {
		char *path = strchr(line, '/');

		if (!path || path[-1] != ' ')
			continue;
		path[strcspn(path, "\n")] = 0;
		r = add_real(s, path);
	}
	free(line);
	if (f)
		fclose(f);
	return r;
}

int run_hidden_paths(const struct weir_config *cfg, const char *audit_path, char ***ret)
{
	struct strv s = { 0 };
	cleanup_free char *records = NULL;
	int r = add_real(&s, audit_path);

	/* Earlier records tell what other sandboxes did, and are nobody's to change. */
	if (r == 0 && state_audit_dir(&records) == 0)
		r = add_real(&s, records);
	/* Nothing in there may ask for another policy. */
	if (r == 0)
		r = add_control(&s);
	if (r == 0)
		r = add_real(&s, cfg->capture_path);
	for (size_t i = 0; r == 0 && i < cfg->n_secrets; i++)
		if (cfg->secrets[i].source == SECRET_FROM_FILE)
			r = add_real(&s, cfg->secrets[i].arg);
	if (r == 0 && cfg->upstream.auth_source == SECRET_FROM_FILE)
		r = add_real(&s, cfg->upstream.auth_arg);
	/* Whoever has the key of an authority signs for any host; a client's key is a secret, too. */
	if (r == 0)
		r = add_real(&s, cfg->tls_ca_key);
	for (size_t i = 0; r == 0 && i < cfg->n_tls_upstreams; i++)
		r = add_real(&s, cfg->tls_upstreams[i].key ? cfg->tls_upstreams[i].key
							   : cfg->tls_upstreams[i].cert);
	if (r == 0)
		r = add_unix_sockets(&s);
	if (r < 0) {
		run_strv_free(s.v);
		return r;
	}
	*ret = s.v;
	return 0;
}

int run_secret_paths(const struct weir_config *cfg, char ***ret)
{
	cleanup_free char *cwd = getcwd(NULL, 0);
	struct strv s = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < cfg->n_secrets; i++) {
		const char *arg = cfg->secrets[i].arg;
		char *text = NULL;

		if (cfg->secrets[i].source != SECRET_FROM_FILE)
			continue;
		if (asprintf(&text, "%s%s%s",
			     arg[0] == '/' ? ""
			     : cwd	   ? cwd
					   : "",
			     arg[0] == '/' ? "" : "/", arg) < 0)
			text = NULL;
		r = strv_add(&s, text);
	}
	if (r < 0) {
		run_strv_free(s.v);
		return r;
	}
	*ret = s.v;
	return 0;
}

/* ---- what is probably not meant ---------------------------------------------------- */

/* A pattern's hosts are judged one by one; what all of them would get is not known here. */
void run_warn_useless_secrets(const struct weir_config *cfg)
{
	for (size_t i = 0; i < cfg->n_secrets; i++)
		for (size_t h = 0; h < cfg->secrets[i].n_hosts; h++) {
			const struct tlsproxy_host_pattern *p = &cfg->secrets[i].hosts[h];
			struct policy_verdict v;
			char rule[24];

			if (p->is_suffix)
				continue;
			v = policy_decide_query(cfg->policy, &p->name);
			if (v.answer != POLICY_ANSWER_DENY)
				continue;
			log_warn("secret %s can never be used for %s: %s%s denies that name",
				 cfg->secrets[i].env, p->name.s,
				 v.rule < 0 ? "no rule allows it and the " : "rule ",
				 record_rule_name(&v, rule));
		}
}
