/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the supervisor share.
 *
 *   run_start.c   the processes, one after the other, until each is ready
 *   run.c         what they say, who may die when, how it ends
 *   run_command.c, run_vm.c, run_link.c  what is run: a sandboxed command, one in a
 *                 microVM, or a link
 *   run_stdio.c, run_attach.c  its input and output in the background, and who is attached
 *   run_ctl.c     the control socket
 *   run_proxy.c   the tlsproxy: started, and started again when it dies
 *   run_secrets.c, run_sources.c  secrets that are changed, or change by themselves
 *   run_policy.c  another policy while it runs
 *   run_ports.c   published ports, from the start and while it goes on
 *   run_upstream.c   the upstream proxy's address and credentials
 *   run_resolvers.c  /etc/resolv.conf, when it changes
 *   run_report.c  the record that it owns, and what it tells the person
 */
#ifndef WEIR_RUN_INTERNAL_H
#define WEIR_RUN_INTERNAL_H

#include "agent/agent.h"
#include "audit/audit.h"
#include "netstack/netstack.h"
#include "weir/config.h"
#include "weir/ctl_socket.h"
#include "weir/file_watch.h"
#include "weir/record.h"
#include "weir/run_log.h"
#include "weir/run_setup.h"
#include "weir/secret_change.h"
#include "weir/vault.h"
#include "weir/worker.h"

#include <jansson.h>

#include <sys/stat.h>

#define EXIT_WEIR_FAILED 125

struct child {
	struct run *run;
	const char *name;
	pid_t pid; /* 0: not started or reaped */
	int status;
	struct loop_io io;
	int sock;
	uint32_t policy_said; /* its last word on the policy that is under way */
};

/* Control clients at a time: a person and some scripts. */
#define CTL_CLIENTS 8

struct ctl_client {
	struct run *run;
	int fd; /* -1: free */
	uid_t uid;
	bool asked;
	/* Waits for totals: what is then done, and the number of its question. */
	void (*stats_then)(struct run *r, struct ctl_client *c, bool heard);
	uint64_t stats_number;
	struct loop_io io;
	struct loop_timer deadline;
};

struct policy_swap;
struct msg;

/* The link that the gateway serves; fd is taken over. */
struct run_link {
	enum netstack_link_kind kind;
	int fd;
};

/* What is run, and all that depends on it. Members without a word may be NULL. */
struct run_subject {
	const char *key;     /* what the record calls it: "command", "link" */
	const char *backend; /* how it is isolated, or NULL where that is somebody else's */
	const char *stopped; /* "the sandbox was stopped" */
	/* The tlsproxy is ready, secrets are wiped: the link. Never NULL. */
	int (*start)(struct run *r, struct run_link *ret, struct conf_error *err);
	/* The loop is there. Never NULL. */
	int (*listen)(struct run *r);
	/* Everything is ready and the record begun. Never NULL. */
	void (*go)(struct run *r);
	/* A signal to us, and the run is not ending. Never NULL. */
	void (*signal)(struct run *r, int sig);
	/* The gateway says that its link is gone for good. */
	void (*link_lost)(struct run *r);
	/* A control client asks for something of the subject's own; false: it knows no such verb. */
	bool (*ask)(struct run *r, struct ctl_client *c, const char *verb, const json_t *request);
	/* Whether somebody is at work in it, so that it is not idle. */
	bool (*busy)(struct run *r);
	/* The process of r->sandbox is gone, with its status. */
	void (*reaped)(struct run *r);
	/* From here on nothing new begins. */
	void (*ending)(struct run *r);
	/* Nothing of the run is left. */
	void (*finish)(struct run *r);
};

struct run_port {
	struct publish_port port; /* fd: until the gateway has it */
	bool open;		  /* the gateway listens on it */
};

/* What a client asked about ports and the gateway has not answered yet. */
struct ports_ask {
	uint32_t id; /* 0: free */
	struct ctl_client *client;
	uid_t uid;
	unsigned waits; /* for so many answers */
	int error;
	json_t *ports; /* as they will be told */
	uint64_t flows;
};

/* Of the tlsproxy process. */
struct proxy_life {
	bool up;	   /* the one there is has said that it is ready */
	unsigned restarts; /* successors that were started */
	unsigned deaths;   /* since `since` */
	uint64_t since;
	int gateway_end; /* of its channel, until the gateway gets it; or -1 */
	struct loop_timer late;
};

/* A change of a secret that somebody asked for. */
struct secret_ask {
	int32_t number;		   /* 0: none is under way */
	struct ctl_client *client; /* NULL: it left */
	uid_t uid;
	struct secret_change change;
	struct loop_timer deadline;
};

/* What ends a run that does not end by itself. */
struct run_clock {
	struct loop_timer max, idle, grace;
	uint64_t bytes;	 /* of all flows, when last looked at */
	uint64_t active; /* when something last happened; loop time */
	bool expired;	 /* --max-duration, --idle-timeout: status 124 */
};

struct run_secrets {
	uint64_t generation; /* of all of them: 1 is what the run began with */
	int32_t last_number; /* of questions to the tlsproxy */
	uint64_t *uses;	     /* how often each was put in */
	struct secret_ask ask;
	struct list sources; /* struct secret_source_state */
	struct file_watcher files;
};

struct run_stdio;

/* A run in the background: who watches its command, and types. */
struct run_attach {
	struct agent_hub *hub; /* NULL: in the foreground, or not listening yet */
	struct run_log log;
	struct run_stdio *stdio; /* run_stdio.c's */
};

struct run {
	const struct run_subject *subject;
	const char *what; /* the command's first word, the link's text */
	struct weir_config *cfg;
	char id[RUN_ID_LEN + 1];
	struct loop *loop;
	struct audit_log *log;
	char *audit_path;
	struct stat audit_stat;
	char policy_digest[72]; /* "sha256:HEX" of `weir policy show` */
	int policy_fd;		/* that text, sealed */
	uint64_t generation, last_generation;
	struct policy_swap *change; /* under way, or NULL */
	struct worker worker;	    /* loads them */
	uint64_t began;
	struct netstack_stats stats; /* as last told */
	uint64_t stats_asked;
	struct endpoint resolvers[RUN_MAX_RESOLVERS]; /* those in use */
	size_t n_resolvers;
	struct loop_io resolvers_io;
	struct loop_timer resolvers_settle;
	struct upstream upstream; /* without its credentials; cfg NULL: none */
	int upstream_auth;	  /* they, for the gateway; or -1 */
	struct slots_held slots;
	struct ctl_listener ctl;
	struct loop_io ctl_io;
	struct ctl_client clients[CTL_CLIENTS];
	struct child gateway, proxy, sandbox;
	struct proxy_life life;
	struct run_clock clock;
	struct run_attach attach;
	struct vault vault;
	struct run_secrets secrets;
	struct loop_io signals;
	struct loop_timer deadline;
	struct loop_task flush;
	char **placeholders, **envp, **hidden, **secret_paths;
	char *ca_pem;
	char *host_cas; /* --trust-host-cas: what is not in the sandbox's bundle anyway; NULL: off */
	int capture;
	struct run_port *ports; /* room for PUBLISH_MAX */
	size_t n_ports;
	uint32_t last_port, last_ask;
	struct ports_ask port_asks[CTL_CLIENTS];
	int tty;	 /* the controlling terminal or -1 */
	bool foreground; /* we were started in its foreground */
	bool given;	 /* the command's group is its foreground now */
	bool ending, failed;
	int status; /* exit status */
};

/* ---- run.c ------------------------------------------------------------------------- */

/* The life of a run; subject, what and cfg (taken over) are set. Returns the exit status. */
int run_main(struct run *r);
void run_make_id(char ret[static RUN_ID_LEN + 1]);
/* What is run is over, one way or another: the helpers may finish. */
void run_end(struct run *r);
/* A child of the subject's own is gone. */
void run_check_end(struct run *r);
must_check int run_listen_to(struct run *r, struct child *c,
			     void (*cb)(struct loop_io *io, uint32_t revents));
/* What the gateway or the tlsproxy says. */
void run_on_helper(struct loop_io *io, uint32_t revents);
/* Ends the run: the message is shown and recorded; the status becomes 125. */
void run_fail(struct run *r, const char *fmt, ...) printf_like(2, 3);

/* ---- run_proxy.c -------------------------------------------------------------------- */

/*
 * The first one, until it is ready: placeholders and ca_pem are set. What was started
 * when it fails is the caller's to end.
 */
must_check int run_proxy_first(struct run *r, struct conf_error *err);
/* Its channel has ended. False: the run is ending anyway. */
bool run_proxy_lost(struct run *r);
/* Its process has. */
void run_proxy_reaped(struct run *r);
/* The worker has loaded a policy. */
void run_proxy_loaded(struct run *r);
/* False: not about its start. */
bool run_proxy_word(struct run *r, const struct msg *m);

/* ---- run_secrets.c, run_sources.c (see run_secrets.h) ------------------------------- */

must_check int run_secrets_start(struct run *r);
void run_secrets_end(struct run *r);
/* Replies when it is in force, or why it is not. fd: the value's, or -1; not taken over. */
void run_secrets_change(struct run *r, struct ctl_client *c, const json_t *request, int fd);
void run_secrets_list(struct run *r, struct ctl_client *c);
/* The tlsproxy's word; false: not about secrets. */
bool run_secrets_word(struct run *r, const struct msg *m);
/* One of the tlsproxy's events, on its way to the record. */
void run_secrets_event(struct run *r, const char *text, size_t len);
void run_secrets_proxy_died(struct run *r);
void run_sources_proxy_up(struct run *r);
/* A child of ours has ended; false: none of a secret's. */
bool run_source_reaped(struct run *r, pid_t pid, int status);
/* The client has left; what it asked for goes on. */
void run_secrets_forget(struct run *r, const struct ctl_client *c);

/* ---- run_ctl.c --------------------------------------------------------------------- */

/* Without a place for its socket a run goes on, and cannot be controlled. */
must_check int run_ctl_start(struct run *r);
void run_ctl_end(struct run *r);
/* Sends o (taken over) and fd (not; -1: none), and closes. */
void run_ctl_reply(struct ctl_client *c, json_t *o, int fd);
void run_ctl_refuse(struct ctl_client *c, const char *fmt, ...) printf_like(2, 3);

/* Replies with o (taken over) and one end of a stream socket; add() takes the other on success. */
void run_ctl_hand_out(struct ctl_client *c, int (*add)(void *to, int fd), void *to, json_t *o);

/* ---- run_attach.c ------------------------------------------------------------------- */

/* ev: as agent_hub_new() has it, but for drained and signal; arg: r. */
must_check int run_attach_start(struct run *r, const struct agent_hub_events *ev, void *arg);
/* The command wrote this. False: no more of it, please, until ev.room(). */
bool run_attach_output(struct run *r, enum agent_type type, const uint8_t *p, size_t n);
/* The command takes input again. */
void run_attach_pump(struct run *r);
/* "attach", of a control client. */
void run_attach_client(struct run *r, struct ctl_client *c);
/* Tells r->status to all of them; run_check_end() is called when they know. */
void run_attach_end(struct run *r);
/* How many are attached. */
size_t run_attach_count(const struct run *r);
void run_attach_free(struct run *r);

/* ---- run_detach.c ------------------------------------------------------------------- */

/* The command has begun: whoever started us in the background need not wait any more. */
void run_detach_ready(struct run *r);
/* Nothing is left of the run but its socket: people are told its status, if it had begun. */
must_check int run_detach_end(const struct run *r);

/* ---- run_life.c -------------------------------------------------------------------- */

void run_life_start(struct run *r);
void run_life_end(struct run *r);
/* Something happened in it, beside what goes over its link. */
void run_life_active(struct run *r);
/* SIGTERM, and when that was not enough within grace (ns), the end. */
void run_life_stop(struct run *r, uint64_t grace);
/* "stop" and "signal"; false: another verb. */
bool run_life_ask(struct run *r, struct ctl_client *c, const char *verb, const json_t *request);
/* Adds what the configuration says of its life. */
void run_life_json(const struct run *r, json_t *o);

/* ---- run_policy.c ------------------------------------------------------------------ */

/* Replies when the policy is in force in every process, or why it is not. fd is taken over. */
void run_policy_set(struct run *r, struct ctl_client *c, int fd);
/* A helper's word about the policy under way. */
void run_policy_word(struct child *c, const struct msg *m, size_t body);
/* The client has left; what it asked for goes on. */
void run_policy_forget(struct run *r, const struct ctl_client *c);
/* The worker is at it: nobody may be forked. */
bool run_policy_loading(const struct run *r);
/* It died: what has not begun is refused; a change that is in force is in force in its successor. */
void run_policy_helper_gone(struct child *c);
void run_policy_end(struct run *r);

/* ---- run_resolvers.c ---------------------------------------------------------------- */

/* Tells the gateway when /etc/resolv.conf names others; nothing when servers were given. */
must_check int run_resolvers_follow(struct run *r);
void run_resolvers_end(struct run *r);

/* ---- run_ports.c --------------------------------------------------------------------- */

/* All of the configuration's, bound; what fails is told in err, and the rest is run_ports_end()'s. */
must_check int run_ports_bind(struct run *r, struct conf_error *err);
/* For the gateway's start: ret has room for PUBLISH_MAX. */
size_t run_ports_list(const struct run *r, struct publish_port *ret);
/* The gateway has them: they are closed here, and ports of the kernel's choice are told. */
void run_ports_handed_over(struct run *r);
void run_ports_publish(struct run *r, struct ctl_client *c, const char *spec);
void run_ports_unpublish(struct run *r, struct ctl_client *c, const char *spec, bool end_flows);
void run_ports_show(struct run *r, struct ctl_client *c);
/* The gateway's word. */
void run_ports_word(struct run *r, const struct msg *m, size_t body);
/* The client has left; what it asked for goes on. */
void run_ports_forget(struct run *r, const struct ctl_client *c);
void run_ports_end(struct run *r);

/* ---- run_upstream.c ------------------------------------------------------------------ */

/* Address and credentials of the upstream proxy, if there is one. */
must_check int run_upstream_prepare(struct run *r, struct conf_error *err);

/* ---- run_start.c -------------------------------------------------------------------- */

/*
 * tlsproxy, what is run and gateway, each until it is ready; a command waits for
 * MSG_GO. Wipes the secrets' values from this process. What was started when
 * it fails is the caller's to end.
 */
must_check int run_start(struct run *r, struct conf_error *err);
/* A pair of sockets for messages. */
must_check int run_channel(int sv[2], struct conf_error *err);
/* Waits for a child's message of this type; one that dies ends the stream. */
must_check int run_first_words(struct child *c, struct msg *m, uint32_t want, int *ret_fd,
			       struct conf_error *err);

/* ---- run_stats.c -------------------------------------------------------------------- */

/* heard: r->stats are of now; else the gateway did not answer in time. */
typedef void run_stats_fn(struct run *r, struct ctl_client *c, bool heard);
/* then is called with r->stats of now; at once, with those there are, when nobody counts any more. */
void run_stats_ask(struct run *r, struct ctl_client *c, run_stats_fn *then);
/* The gateway's answer. */
void run_stats_word(struct run *r, const struct msg *m, size_t body);
/* The client's deadline is over: true when it waited for an answer, and was told that none came. */
bool run_stats_late(struct run *r, struct ctl_client *c);
/* Adds the member "network"; null when nothing was heard. */
void run_stats_json(const struct run *r, bool heard, json_t *o);
void run_stats_record(const struct run *r, struct audit_event *e);
/* text: as behind --rate. */
void run_rates_set(struct run *r, struct ctl_client *c, const char *text);

/* ---- run_report.c ------------------------------------------------------------------- */

/* Record, capture and published ports, before any process exists. */
must_check int run_record_open(struct run *r, struct conf_error *err);
/* An event as a helper or we ourselves built it; what cannot be written ends the run. */
void run_record_append(struct run *r, const char *from, const char *text, size_t len);
/* A loop task. */
void run_record_flush(struct loop_task *t);
/* event: begin, failed or end; detail may be NULL. */
void run_record_event(struct run *r, const char *event, const char *detail);
/* Adds the members of totals. */
void run_totals_json(json_t *o, const struct audit_totals *t);
/* After the end: what was denied and where to read of it, or the totals as JSON. */
void run_report(const struct run *r);

#endif
