/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for readers outside of this folder: a copy without what is our own business. */
#include "base/base.h"
#include "policy/policy_internal.h"

static_assert((int)POLICY_DEST_ANY == DEST_ANY && (int)POLICY_DEST_GROUP == DEST_GROUP &&
		      (int)POLICY_DEST_PREFIX == DEST_PREFIX &&
		      (int)POLICY_DEST_NAME == DEST_NAME && (int)POLICY_DEST_SUFFIX == DEST_SUFFIX &&
		      (int)POLICY_DEST_BELOW == DEST_BELOW && (int)POLICY_DEST_DOH == DEST_DOH,
	      "one numbering");

void policy_rule_view(const struct policy *p, size_t i, struct policy_rule_view *ret)
{
	const struct policy_rule *r = &p->rules[i];

	*ret = (struct policy_rule_view){
		.action = r->action,
		.dirs = r->dirs,
		.protos = r->protos,
		.dest = (enum policy_dest)r->dest,
		.group = r->group,
		.prefix = r->prefix,
		.ports = r->ports,
		.n_ports = r->n_ports,
		.http = rule_has_http(r),
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
