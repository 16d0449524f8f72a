/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for readers outside of this folder: a copy without what is our own business. */
#include "base/base.h"
#include "policy/policy_internal.h"

void policy_rule_view(const struct policy *p, size_t i, struct policy_rule_view *ret)
{
	const struct policy_rule *r = &p->rules[i];

	*ret = (struct policy_rule_view){
		.action = r->action,
		.dirs = r->dirs,
		.protos = r->protos,
		.dest = r->dest,
		.group = r->group,
		.prefix = r->prefix,
		.ports = r->ports,
		.n_ports = r->n_ports,
		.http = rule_has_http(r),
		.limit = r->limit,
		.id = r->id,
		.reason = r->reason,
	};
	if (r->name)
		ret->name = policy_rule_name(r);
}

enum policy_action policy_default(const struct policy *p, enum policy_dir dir)
{
	return dir == POLICY_INGRESS ? p->ingress : p->egress;
}
