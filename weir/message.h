/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of one run say to each other, over SOCK_SEQPACKET pairs.
 * All of them are the same binary of the same build, so messages are plain
 * structures; the receiver still checks every length and text, because a
 * process that parses hostile bytes may have been taken over.
 *
 *   gateway ──► tlsproxy    MSG_FLOW + 2 descriptors, or the guest's alone
 *   tlsproxy ──► gateway    MSG_FLOW_DONE, MSG_KEYLOG, MSG_KNOWN, MSG_KNOWN_ALL, MSG_PARKED,
 *                           MSG_DIAL; back: MSG_DIALLED
 *                           MSG_FLOW_DIAL; back: MSG_FLOW_DIALLED
 *   gateway, tlsproxy ──► supervisor   MSG_EVENT (record), MSG_READY, MSG_FAILED
 *   tlsproxy ──► supervisor   MSG_CA, MSG_PLACEHOLDER, MSG_TERMINATE
 *   supervisor ──► gateway, tlsproxy   MSG_POLICY + descriptor, then MSG_POLICY_COMMIT
 *                           or MSG_POLICY_ABORT; MSG_RESOLVERS (gateway)
 *   supervisor ──► gateway  MSG_PUBLISH + socket, MSG_UNPUBLISH, MSG_PORTS
 *   gateway ──► supervisor  MSG_PUBLISHED, MSG_PORTS_COUNTED
 *   supervisor ──► gateway  MSG_SUCCESSOR, when the tlsproxy has a successor
 *   supervisor ──► gateway  MSG_STATS (a number, which comes back with them), MSG_RATES
 *   gateway ──► supervisor  MSG_STATS
 *   gateway, tlsproxy ──► supervisor   MSG_POLICY_READY or _REFUSED, MSG_POLICY_DONE
 *   supervisor ──► tlsproxy  MSG_SECRET_CHANGE to MSG_SECRET_EXPIRED
 *   tlsproxy ──► supervisor  MSG_SECRET_DONE, _SAME or _REFUSED, one for each; MSG_SECRET_LIFE
 *   gateway ──► supervisor  MSG_LINK_LOST; back: MSG_LINK + its successor, or none
 *   init ──► supervisor     MSG_TERMINAL + its master, MSG_LINK + tap, MSG_FAILED, MSG_STOPPED, MSG_EXIT
 *   supervisor ──► init     MSG_GO, MSG_SIGNAL, MSG_RESUME
 */
#ifndef WEIR_MESSAGE_H
#define WEIR_MESSAGE_H

#include "audit/audit.h"
#include "base/base.h"
#include "netstack/netstack.h"
#include "tlsproxy/tlsproxy.h"
#include "weir/publish.h"

enum msg_type {
	MSG_READY = 1,
	MSG_FAILED = 2,	     /* text: why; the sender exits */
	MSG_EVENT = 3,	     /* text: audit events, a line each */
	MSG_FLOW = 4,	     /* flow; descriptors: guest, upstream */
	MSG_FLOW_DONE = 5,   /* done */
	MSG_KEYLOG = 6,	     /* text: one NSS key log line */
	MSG_CA = 7,	     /* text: PEM */
	MSG_PLACEHOLDER = 8, /* text, value = index */
	MSG_TERMINATE = 9,   /* text: name of the secret */
	MSG_LINK = 10,	     /* descriptor: the link; to a gateway: value its kind, or no link */
	MSG_GO = 11,
	MSG_SIGNAL = 12,       /* value: signal number for the command */
	MSG_STOPPED = 13,      /* the command stopped (job control); value: by which signal */
	MSG_RESUME = 14,       /* value: with the terminal */
	MSG_EXIT = 15,	       /* value: wait(2) status; or -errno of execve in text "exec" */
	MSG_TERMINAL = 17,     /* descriptor: the command's own terminal, the side that is ours */
	MSG_POLICY = 20,       /* policy.generation; descriptor: its text, sealed: load it, wait */
	MSG_POLICY_READY = 21, /* policy.generation: loaded, and not yet in force */
	MSG_POLICY_REFUSED = 22, /* text: why; the old one stays */
	MSG_POLICY_COMMIT = 23,	 /* policy.generation: in force from now on */
	MSG_POLICY_ABORT = 24,	 /* policy.generation: forget it */
	MSG_POLICY_DONE = 25,	 /* policy: in force; reset: flows that it ended here */
	MSG_RESOLVERS = 26,	 /* resolvers, value of them */
	MSG_PUBLISH = 27,	 /* publish: another port; descriptor: its socket */
	MSG_UNPUBLISH = 28,	 /* publish: ask, port.id and end_flows only */
	MSG_PUBLISHED = 29,	 /* publish: done; value: 0 or why not (-errno) */
	MSG_PORTS = 30,		 /* publish: ask only */
	MSG_PORTS_COUNTED = 31,	 /* ports, cut behind the last */
	MSG_STATS = 32,		 /* value: number of the question; the answer: stats */
	MSG_RATES = 33,		 /* rates: from now on */
	MSG_DIAL = 60,		 /* dial: a connection for the tlsproxy itself */
	MSG_DIALLED = 61,	 /* dial.id, value: 0 or errno; descriptor: connected */
	MSG_LINK_LOST = 40,	 /* nothing ever comes over it again */
	MSG_SUCCESSOR = 50,	 /* descriptor: the channel of another tlsproxy */
	MSG_SECRET_CHANGE = 51, /* value: number of the question; text: secret_change.h; descriptor */
	MSG_SECRET_VALUE = 52,	 /* value: number; text: the secret; descriptor: its file */
	MSG_SECRET_COMMAND = 53, /* the same; descriptor: what the command writes */
	MSG_SECRET_EXIT = 54,	 /* value: number; status: of that command, wait(2) */
	MSG_SECRET_EXPIRED = 55, /* value: number; text: the secret, which has no value any more */
	MSG_SECRET_DONE = 56,	 /* value: number; text: its placeholder: in force */
	MSG_SECRET_SAME = 57,	 /* value: number; text: its placeholder: the value it had */
	MSG_SECRET_REFUSED = 58, /* value: number; text: why; nothing has changed */
	MSG_SECRET_LIFE = 59,	 /* value: seconds that the token is good; text: the secret */
	/* tlsproxy to gateway: what is not to stand in names; all of them anew each time. */
	MSG_KNOWN = 62,	       /* value: the action; text: NAME=PLACEHOLDER */
	MSG_KNOWN_ALL = 63,    /* value: how many there were */
	MSG_PARKED = 70,       /* parked; value: are there any */
	MSG_FLOW_DIAL = 71,    /* done.id: a flow that was handed over undialled is to be dialled */
	MSG_FLOW_DIALLED = 72, /* dialled; value: 0 and its descriptor, or errno */
};

struct msg_head {
	uint32_t type;
	int32_t value;
};

#define MSG_RESOLVERS_MAX 8
#define MSG_TEXT_MAX (AUDIT_EVENT_MAX + 64)

struct msg_publish {
	uint32_t ask;	/* whose answer it is */
	bool end_flows; /* MSG_UNPUBLISH: its connections, too */
	struct publish_port port;
	uint64_t flows; /* answer: that it had */
};

/* Verified connections of the tlsproxy's that wait for another flow to this name. */
struct msg_parked {
	struct name host;
	struct endpoint to;
};

struct msg_dialled {
	uint64_t id;
	struct endpoint to;
};

struct msg_dial {
	uint64_t id; /* the asker's */
	struct name name;
	uint16_t port;
};

struct msg_ports {
	uint32_t ask, n;
	struct {
		uint32_t id;
		struct publish_counts counts;
	} port[PUBLISH_MAX];
};

/* head, then at most one of these, cut to its used length. */
struct msg {
	struct msg_head head;
	union {
		/* On the wire without a NUL; room for one here, behind the longest. */
		char text[MSG_TEXT_MAX + 1];
		struct tlsproxy_flow flow;
		struct {
			uint64_t id;
			uint8_t reset;
		} done;
		struct {
			uint64_t generation;
			uint64_t reset;
		} policy;
		int32_t status;
		struct endpoint resolvers[MSG_RESOLVERS_MAX];
		struct msg_publish publish;
		struct msg_ports ports;
		struct msg_parked parked;
		struct msg_dialled dialled;
		struct msg_dial dial;
		struct netstack_stats stats;
		struct netstack_rates rates;
	};
};

must_check int msg_send(int sock, enum msg_type type, int32_t value, const void *body, size_t len,
			const int *fds, size_t n_fds);
must_check int msg_send_text(int sock, enum msg_type type, int32_t value, const char *text);
/*
 * Receives one message; text is NUL-terminated here. Returns the body's
 * length, -ECONNRESET at end of stream, -EAGAIN, -EPROTO for a message that is none.
 */
must_check ssize_t msg_recv(int sock, struct msg *m, int *fds, size_t max_fds, size_t *ret_n_fds);
/* The same without waiting, whatever the socket is set to, and without descriptors. */
must_check ssize_t msg_recv_now(int sock, struct msg *m);

#endif
