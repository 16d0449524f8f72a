/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor among a gateway and a tlsproxy that were taken over, and people who ask over the
 * control socket, hang up, or send nonsense. Its processes are the script's: it says what comes over
 * their channels, when they die, when a policy has been loaded, and what time it is. Nothing is forked,
 * killed or bound (the linker's --wrap). Beyond not crashing:
 *   - a policy is committed in a process only after that process has said that it is ready for it
 *   - each answer to a person is one JSON object that says "ok", and if it is not, why, in plain text
 *   - every secret has a placeholder, and as many uses are counted as there are secrets
 *   - the record's chain is whole, whatever the helpers wanted on it; no descriptor is left
 */
#include "weir/run_internal.h"

#include "weir/config_internal.h"
#include "weir/message.h"
#include "weir/sealed.h"

#include "fuzz_input.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t __wrap_time_mono_ns(void);
pid_t __wrap_fork(void);
int __wrap_kill(pid_t pid, int sig);
void __wrap_worker_post(struct worker *w, struct worker_job *job);
int __wrap_run_channel(int sv[2], struct conf_error *err);
int __wrap_ctl_listen(const char *id, const char *name, struct ctl_listener *ret);
int __wrap_publish_bind(const struct publish_config *p, int *ret_fd, struct endpoint *ret_bound,
			struct conf_error *err);

#define PEOPLE 12 /* more than are listened to at a time */
#define STEPS_MAX 300
#define TURNS 3
#define NOBODY_PID 0x3fffff00 /* above all that a kernel gives out */

enum op {
	OP_GATEWAY, /* a message: type, value, length, body */
	OP_PROXY,
	OP_GATEWAY_ANSWERS, /* what it was last asked, as it should, or nearly so */
	OP_PROXY_ANSWERS,
	OP_ASK,	    /* one of the requests below */
	OP_ASK_RAW, /* length, text */
	OP_READ,
	OP_HANG_UP,
	OP_LOADED,
	OP_PROXY_CLOSES,
	OP_PROXY_REAPED,
	OP_TIME,
	OPS
};

static const char *const requests[] = {
	"{\"verb\":\"status\"}",
	"{\"verb\":\"policy.set\"}",
	"{\"verb\":\"policy.show\"}",
	"{\"verb\":\"counters\"}",
	"{\"verb\":\"ports.publish\",\"port\":\"127.0.0.1:8080:80\"}",
	"{\"verb\":\"ports.publish\",\"port\":\"127.0.0.1:9000-9003:90-93/udp\"}",
	"{\"verb\":\"ports.unpublish\",\"port\":\"8080\",\"end_flows\":true}",
	"{\"verb\":\"ports.show\"}",
	"{\"verb\":\"rate.set\",\"rate\":\"egress=1mbit\"}",
	"{\"verb\":\"ca.show\"}",
	"{\"verb\":\"secret.change\",\"change\":{\"op\":\"value\",\"secret\":\"KEY\"}}",
	"{\"verb\":\"secret.change\",\"change\":{\"op\":\"set\",\"secret\":\"OTHER\",\"hosts\":"
	"[\"api.example.com\"]}}",
	"{\"verb\":\"secret.change\",\"change\":{\"op\":\"remove\",\"secret\":\"KEY\"}}",
	"{\"verb\":\"secret.change\",\"change\":{\"op\":\"hosts\",\"secret\":\"KEY\",\"hosts\":"
	"[\"b.example.com\"]}}",
	"{\"verb\":\"secret.list\"}",
	"{\"verb\":\"attach\"}",
	"{\"verb\":\"stop\",\"grace_s\":1}",
	"{\"verb\":\"signal\",\"signal\":15}",
};

/* The other ends of a helper's channel, and what it was told of the policy under way. */
struct helper {
	int fd;
	uint64_t loads, ready; /* generations; 0: none */
	struct msg asked;      /* last */
	size_t asked_len;
	bool any;
};

static struct world {
	struct run run;
	struct helper gateway, proxy;
	int people[PEOPLE];
	int next_channel; /* the proxy's end of what run_channel() makes first; -1 */
	struct worker_job *job;
	struct sockaddr_un at;
	socklen_t at_len;
	pid_t last_pid;
	uint64_t now;
} w;

static int policies[2] = { -1, -1 };

/* ---- the world ---------------------------------------------------------------------------- */

uint64_t __wrap_time_mono_ns(void)
{
	return w.now;
}

pid_t __wrap_fork(void)
{
	if (w.last_pid % 8 == 7) {
		errno = EAGAIN;
		return -1;
	}
	return ++w.last_pid;
}

int __wrap_kill(pid_t pid, int sig)
{
	(void)sig;
	MUST(pid > NOBODY_PID);
	return 0;
}

void __wrap_worker_post(struct worker *worker, struct worker_job *job)
{
	(void)worker;
	MUST(!w.job);
	w.job = job;
}

/* The child's end stays open for the script: of a tlsproxy's two channels the first is ours. */
int __wrap_run_channel(int sv[2], struct conf_error *err)
{
	(void)err;
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	if (w.next_channel < 0)
		w.next_channel = fcntl(sv[1], F_DUPFD_CLOEXEC, 3);
	return 0;
}

int __wrap_ctl_listen(const char *id, const char *name, struct ctl_listener *ret)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)id;
	(void)name;
	w.at_len = sizeof(w.at);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)) == 0);
	MUST(listen(fd, PEOPLE) == 0 && getsockname(fd, (struct sockaddr *)&w.at, &w.at_len) == 0);
	*ret = (struct ctl_listener){ .fd = fd, .dir = -1 };
	return 0;
}

int __wrap_publish_bind(const struct publish_config *p, int *ret_fd, struct endpoint *ret_bound,
			struct conf_error *err)
{
	(void)err;
	*ret_fd = fcntl(policies[0], F_DUPFD_CLOEXEC, 3);
	*ret_bound = p->bind;
	return *ret_fd < 0 ? -errno : 0;
}

/* ---- what is run --------------------------------------------------------------------------- */

static void on_signal(struct run *r, int sig)
{
	MUST(!r->ending && sig >= 1 && sig <= 64);
}

static void on_link_lost(struct run *r)
{
	run_fail(r, "the link is lost");
}

static const struct run_subject subject = {
	.key = "command",
	.backend = "netns",
	.stopped = "the sandbox was stopped",
	.signal = on_signal,
	.link_lost = on_link_lost,
};

/* ---- helpers ------------------------------------------------------------------------------- */

static void send_to(struct helper *h, enum msg_type type, int32_t value, const void *body,
		    size_t len, bool with_fd)
{
	if (h->fd < 0)
		return;
	if (type == MSG_POLICY_READY && len >= sizeof(uint64_t) && h->loads) {
		uint64_t generation;

		memcpy(&generation, body, sizeof(generation));
		if (generation == h->loads)
			h->ready = generation;
	}
	/* What does not fit was not said. */
	(void)!msg_send(h->fd, type, value, body, len, &policies[0], with_fd);
}

static void say(struct helper *h)
{
	enum msg_type type = next() % 80;
	int32_t value = (int8_t)next();
	bool with_fd = value == 7;
	size_t n;
	const uint8_t *body = some(&n);

	send_to(h, type, value, body, n, with_fd);
}

/* Ends of all that it was sent; what it is asked is kept. */
static void hear(struct helper *h)
{
	struct msg m;
	size_t n_fds;
	ssize_t n;
	int fd;

	while (h->fd >= 0 && (n = msg_recv(h->fd, &m, &fd, 1, &n_fds)) >= 0) {
		if (n_fds)
			close(fd);
		if (m.head.type == MSG_POLICY)
			h->loads = m.policy.generation;
		if (m.head.type == MSG_POLICY_COMMIT)
			MUST(h->ready == m.policy.generation);
		memcpy(&h->asked, &m, sizeof(m.head) + (size_t)n);
		h->asked_len = (size_t)n;
		h->any = true;
	}
}

static void answer(struct helper *h)
{
	static const char placeholder[] = "wad-0qsvbpmn413ecqtjlrk4y2y7z6lq74ns4w0od013";
	struct msg *m = &h->asked;
	uint8_t how = next();
	int32_t value = how & 1 ? -EADDRINUSE : 0;

	if (!h->any)
		return;
	switch (m->head.type) {
	case MSG_POLICY:
	case MSG_POLICY_COMMIT:
		send_to(h, m->head.type == MSG_POLICY ? MSG_POLICY_READY : MSG_POLICY_DONE, 0,
			&m->policy, sizeof(m->policy), false);
		break;
	case MSG_PUBLISH:
		m->publish.port.fd = 5;
		send_to(h, MSG_PUBLISHED, value, &m->publish, sizeof(m->publish), false);
		break;
	case MSG_UNPUBLISH:
		m->publish.port.fd = -1;
		send_to(h, MSG_PUBLISHED, value, &m->publish, sizeof(m->publish), false);
		break;
	case MSG_PORTS:
		m->ports.ask = m->publish.ask;
		m->ports.n = how % 4;
		for (uint32_t i = 0; i < m->ports.n; i++)
			m->ports.port[i].id = i;
		send_to(h, MSG_PORTS_COUNTED, 0, &m->ports,
			offsetof(struct msg_ports, port) + m->ports.n * sizeof(m->ports.port[0]),
			false);
		break;
	case MSG_STATS:
		memset(&m->stats, how, sizeof(m->stats));
		send_to(h, MSG_STATS, m->head.value, &m->stats, sizeof(m->stats), false);
		break;
	case MSG_SECRET_CHANGE:
		send_to(h, how & 1 ? MSG_SECRET_REFUSED : MSG_SECRET_DONE, m->head.value,
			placeholder, sizeof(placeholder) - 1, false);
		break;
	default:
		send_to(h, MSG_READY, 0, NULL, 0, false);
	}
}

static void proxy_closes(void)
{
	fd_close(w.proxy.fd);
	w.proxy = (struct helper){ .fd = -1 };
}

static void proxy_reaped(void)
{
	if (!w.run.proxy.pid)
		return;
	w.run.proxy.pid = 0;
	w.run.proxy.status = next();
	run_proxy_reaped(&w.run);
	run_check_end(&w.run);
}

/* A successor was started: its end is the script's. */
static void follow_successor(void)
{
	if (w.next_channel < 0)
		return;
	proxy_closes();
	w.proxy.fd = w.next_channel;
	w.next_channel = -1;
}

/* ---- people -------------------------------------------------------------------------------- */

static void hang_up(int *fd)
{
	fd_close(*fd);
	*fd = -1;
}

static void ask(int *person, const char *text, size_t len, int fd)
{
	if (*person < 0)
		*person = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* One that is connected already asks twice. */
	(void)!connect(*person, (struct sockaddr *)&w.at, w.at_len);
	(void)!ipc_send(*person, text, len, &fd, fd >= 0);
}

static void ask_what_is_known(int *person)
{
	const char *text = requests[next() % ARRAY_SIZE(requests)];
	uint8_t how = next();

	ask(person, text, strlen(text), how & 1 ? policies[how >> 1 & 1] : -1);
}

static void must_be_answer(const char *text, size_t len)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *why = json_string_value(json_object_get(o, "error"));

	MUST(json_is_boolean(json_object_get(o, "ok")));
	MUST(json_is_true(json_object_get(o, "ok")) || why);
	for (; why && *why; why++)
		MUST(*why >= 0x20 && *why <= 0x7e);
	json_decref(o);
}

static void read_answer(const int *person)
{
	char text[CTL_MESSAGE_MAX];
	size_t n_fds = 0;
	int fd = -1;
	ssize_t n = *person < 0 ? -1 : ipc_recv(*person, text, sizeof(text), &fd, 1, &n_fds);

	if (n_fds)
		close(fd);
	if (n > 0)
		must_be_answer(text, (size_t)n);
}

/* ---- the script ---------------------------------------------------------------------------- */

static void check(void)
{
	const struct run *r = &w.run;

	MUST(r->generation >= 1 && r->generation <= r->last_generation);
	for (size_t i = 0; i < r->cfg->n_secrets; i++)
		MUST(r->placeholders[i]);
	MUST(!r->placeholders[r->cfg->n_secrets]);
	MUST(r->n_ports <= PUBLISH_MAX);
}

static void turn(void)
{
	for (int i = 0; i < TURNS; i++)
		MUST(loop_step(w.run.loop, 0) >= 0);
	follow_successor();
	hear(&w.gateway);
	hear(&w.proxy);
	check();
}

static void loaded(void)
{
	struct worker_job *job = w.job;

	w.job = NULL;
	if (!job)
		return;
	job->work(job);
	job->done(job);
}

static void pass(uint64_t ns)
{
	w.now += ns;
	turn();
}

static void step(void)
{
	enum op op = next() % OPS;
	int *person = &w.people[op >= OP_ASK && op <= OP_HANG_UP ? next() % PEOPLE : 0];
	const uint8_t *text;
	size_t n;

	switch (op) {
	case OP_GATEWAY:
		say(&w.gateway);
		break;
	case OP_PROXY:
		say(&w.proxy);
		break;
	case OP_GATEWAY_ANSWERS:
		answer(&w.gateway);
		break;
	case OP_PROXY_ANSWERS:
		answer(&w.proxy);
		break;
	case OP_ASK:
		ask_what_is_known(person);
		break;
	case OP_ASK_RAW:
		text = some(&n);
		ask(person, (const char *)text, n, -1);
		break;
	case OP_READ:
		read_answer(person);
		break;
	case OP_HANG_UP:
		hang_up(person);
		break;
	case OP_LOADED:
		loaded();
		break;
	case OP_PROXY_CLOSES:
		proxy_closes();
		break;
	case OP_PROXY_REAPED:
		proxy_reaped();
		break;
	case OP_TIME:
		pass((uint64_t)next() * next() * 100 * NS_PER_MS);
		break;
	case OPS:
		break;
	}
	turn();
}

/* ---- begin and end --------------------------------------------------------------------------- */

static void make_policies(void)
{
	static const char *const texts[] = {
		"{\"default_egress\":\"deny\",\"rules\":[{\"id\":\"a\",\"action\":\"allow\","
		"\"destination\":\"a.example\",\"ports\":[443]}]}",
		"{\"default_egress\":\"allow\",\"rules\":[",
	};

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		MUST(sealed_new(texts[i], strlen(texts[i]), &policies[i]) == 0);
}

static void start_config(struct run *r)
{
	/* The configuration points into them. */
	static char words[][24] = { "--name",	"n",  "--secret", "KEY@api.example.com",
				    "--detach", "-i", "true" };
	char *argv[ARRAY_SIZE(words) + 1] = { NULL };
	struct conf_error err = { "" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		argv[i] = words[i];
	MUST(weir_config_load(CONFIG_RUN, (int)ARRAY_SIZE(words), argv, &r->cfg, &err) == 0);
	r->what = r->cfg->command[0];
}

static void start_helper(struct helper *h, struct child *c, const char *name)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	*h = (struct helper){ .fd = sv[1] };
	*c = (struct child){ .run = &w.run, .name = name, .sock = sv[0], .pid = ++w.last_pid };
	MUST(run_listen_to(&w.run, c, run_on_helper) == 0);
}

/* Helpers that do not end are killed then, which is the script's business. */
static void on_deadline(struct loop_timer *t)
{
	(void)t;
}

/* As run_main() and what it calls, without processes. */
static void start(int record)
{
	struct run *r = &w.run;
	struct agent_hub_events ev = { 0 };

	r->subject = &subject;
	start_config(r);
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		r->clients[i].fd = -1;
	r->began = w.now;
	list_init(&r->secrets.sources);
	run_make_id(r->id);
	r->capture = r->upstream_auth = r->life.gateway_end = r->tty = -1;
	r->vault = VAULT_NONE;
	r->generation = r->last_generation = 1;
	r->life.up = true;
	r->flush.cb = run_record_flush;
	MUST(loop_new(&r->loop) == 0);
	r->deadline.cb = on_deadline;
	start_helper(&w.gateway, &r->gateway, "gateway");
	start_helper(&w.proxy, &r->proxy, "tlsproxy");
	r->sandbox = (struct child){ .run = r, .name = "sandbox", .sock = -1 };
	r->audit_path = strdup("record");
	r->ca_pem = strdup("-----BEGIN CERTIFICATE-----\n");
	r->placeholders = calloc(CONFIG_SECRETS_MAX + 1, sizeof(*r->placeholders));
	r->ports = calloc(PUBLISH_MAX, sizeof(*r->ports));
	MUST(r->audit_path && r->ca_pem && r->placeholders && r->ports);
	r->placeholders[0] = strdup("wad-0");
	MUST(audit_log_open(NULL, record, r->id, r->cfg->name, &r->log) == 0);
	MUST(sealed_print_policy(r->cfg->policy, &r->policy_fd, r->policy_digest) == 0);
	MUST(run_attach_start(r, &ev, r) == 0);
	MUST(run_secrets_start(r) == 0 && run_ctl_start(r) == 0);
	run_record_event(r, "begin", NULL);
	run_life_start(r);
}

static void must_be_whole(int record)
{
	struct audit_view v = { .json = true };
	char path[64], err[256] = "", *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	MUST(out);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", record);
	MUST(audit_print(path, &v, out, err, sizeof(err)) == 0);
	fclose(out);
	free(text);
}

/* As finish() of run.c. */
static void finish(void)
{
	struct run *r = &w.run;

	fd_close(r->gateway.sock);
	fd_close(r->proxy.sock);
	run_attach_free(r);
	run_ctl_end(r);
	run_secrets_end(r);
	run_policy_end(r);
	for (size_t i = 0; i < r->cfg->n_secrets; i++)
		free(r->placeholders[i]);
	free(r->placeholders);
	run_ports_end(r);
	fd_close(r->life.gateway_end);
	free(r->ca_pem);
	audit_log_close(r->log);
	free(r->audit_path);
	loop_free(r->loop);
	weir_config_free(r->cfg);
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		json_decref(r->port_asks[i].ports);
}

static int lowest_fd(void)
{
	int fd = fcntl(policies[0], F_DUPFD_CLOEXEC, 3);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int first, record;

	if (policies[0] < 0) {
		make_policies();
		MUST(setenv("KEY", "value-value", 1) == 0);
		log_limit(0);
	}
	first = lowest_fd();
	record = memfd_create("record", MFD_CLOEXEC);
	input = rd_init(data, size);
	w = (struct world){ .now = NS_PER_S, .last_pid = NOBODY_PID, .next_channel = -1 };
	for (size_t i = 0; i < PEOPLE; i++)
		w.people[i] = -1;
	start(fcntl(record, F_DUPFD_CLOEXEC, 3));
	for (unsigned i = 0; rd_left(&input) && i < STEPS_MAX; i++)
		step();
	loaded();
	turn();
	for (size_t i = 0; i < PEOPLE; i++) {
		read_answer(&w.people[i]);
		hang_up(&w.people[i]);
	}
	turn();
	MUST(audit_log_flush(w.run.log) == 0);
	finish();
	must_be_whole(record);
	proxy_closes();
	fd_close(w.gateway.fd);
	fd_close(w.next_channel);
	close(record);
	MUST(lowest_fd() == first);
	return 0;
}
