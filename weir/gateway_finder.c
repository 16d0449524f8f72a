/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placeholders of secrets in names that go out: what is asked of the resolver, and
 * TLS names. Such a name is a violation as it is in a request: refused and recorded,
 * and the sandbox ended, or let pass, as the secret says.
 *
 * The tlsproxy tells all placeholders, which are no secrets, at its start and
 * whenever they change. A list that did not come whole is not used: the one before
 * stays.
 */
#include "weir/gateway_int.h"

#include "weir/message.h"

#include <stdio.h>

static void list_fini(struct known_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].env);
		free(l->v[i].placeholder);
	}
	free(l->v);
	*l = (struct known_list){ 0 };
}

static int list_add(struct known_list *l, const char *text, int32_t action)
{
	const char *eq = strchr(text, '=');
	struct known_name *k;

	if (!eq || eq == text || l->n >= GATEWAY_KNOWN_MAX || action < TLSPROXY_BLOCK ||
	    action > TLSPROXY_PASSTHROUGH)
		return -EPROTO;
	k = reallocarray(l->v, l->n + 1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	l->v = k;
	k += l->n;
	*k = (struct known_name){ .env = strndup(text, (size_t)(eq - text)),
				  .placeholder = strdup(eq + 1),
				  .action = (enum tlsproxy_violation)action };
	l->n++;
	return k->env && k->placeholder ? 0 : -ENOMEM;
}

static int adopt(struct name_finder *f)
{
	const char *placeholders[GATEWAY_KNOWN_MAX];
	struct tlsproxy_finder *finder;
	int r;

	for (size_t i = 0; i < f->next.n; i++)
		placeholders[i] = f->next.v[i].placeholder;
	r = tlsproxy_finder_new(placeholders, f->next.n, &finder);
	if (r < 0)
		return r;
	tlsproxy_finder_free(f->finder);
	list_fini(&f->now);
	f->finder = finder;
	f->now = f->next;
	f->next = (struct known_list){ 0 };
	return 0;
}

void gateway_finder_word(struct gateway *gw, const struct msg *m)
{
	struct name_finder *f = &gw->finder;
	int r = 0;

	if (m->head.type == MSG_KNOWN) {
		if (!f->broken)
			r = list_add(&f->next, m->text, m->head.value);
		f->broken |= r < 0;
		return;
	}
	if (!f->broken && (size_t)m->head.value == f->next.n)
		r = adopt(f);
	if (f->broken || r < 0)
		log_warn("names are looked through for the placeholders of before");
	list_fini(&f->next);
	f->broken = false;
}

const struct known_name *gateway_find(const struct gateway *gw, const struct name *n,
				      const char **ret_encoding)
{
	size_t i;

	if (!tlsproxy_finder_name(gw->finder.finder, n, &i, ret_encoding))
		return NULL;
	return &gw->finder.now.v[i];
}

static const char *action_name(enum tlsproxy_violation a)
{
	static const char *const names[] = { "block", "block_and_log", "block_and_terminate",
					     "passthrough" };

	return names[a];
}

bool gateway_name_violates(struct gateway *gw, const struct name *n, const char *protocol,
			   uint64_t flow, char ret_denial[static DENIAL_ID_LEN])
{
	const char *encoding;
	const struct known_name *k = gateway_find(gw, n, &encoding);
	bool passes = k && k->action == TLSPROXY_PASSTHROUGH;
	char id[DENIAL_ID_LEN];
	struct audit_event e;

	if (!k)
		return false;
	if (!passes)
		record_denial_id(&gw->record, ret_denial);
	if (k->action != TLSPROXY_BLOCK) {
		audit_event_begin(&e, "secret");
		if (flow) {
			record_flow_id(&gw->record, flow, id);
			audit_str(&e, "id", id);
		}
		audit_str(&e, "secret", k->env);
		audit_str(&e, "event", "violation");
		audit_str(&e, "verdict", passes ? "allow" : "deny");
		audit_str(&e, "place", "name");
		audit_str(&e, "name", n->s);
		audit_str(&e, "encoding", encoding);
		audit_str(&e, "protocol", protocol);
		audit_str(&e, "action", action_name(k->action));
		if (!passes)
			audit_str(&e, "denial", ret_denial);
		record_send(&gw->record, &e);
	}
	if (k->action == TLSPROXY_BLOCK_AND_TERMINATE &&
	    msg_send_text(gw->record.sock, MSG_TERMINATE, 0, k->env) < 0)
		loop_stop(gw->loop, 1);
	return !passes;
}
