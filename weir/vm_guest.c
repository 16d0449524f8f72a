/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent is told before it runs anything: disks and where they belong, the
 * network, who resolves names, whom to trust, the environment. Nothing secret is
 * among it; placeholders stand in the environment.
 */
#include "weir/vm.h"

#include <stdio.h>

#define ENTROPY 64
#define DISKS_MAX 32

static size_t count(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

static void cidr(const struct ip_addr *a, const struct ip_prefix *slot,
		 char out[static IP_STRLEN + 8])
{
	char text[IP_STRLEN];

	snprintf(out, IP_STRLEN + 8, "%s/%u", ip_format(a, text), slot->len);
}

int vm_guest_init(struct agent *a, const struct weir_config *cfg, const struct vm_parts *parts,
		  const struct vm_guest *g)
{
	const char *hostname = cfg->machine.hostname ? cfg->machine.hostname : cfg->name;
	const struct sandbox_net *net = &cfg->net;
	char own4[IP_STRLEN + 8], own6[IP_STRLEN + 8], gw4[IP_STRLEN], gw6[IP_STRLEN];
	char own_name[128], host4[128], host6[128], device[DISKS_MAX][12];
	const char *addresses[] = { own4, own6 }, *gateways[] = { gw4, gw6 };
	const char *hosts[] = { "127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback",
				own_name, host4, host6 };
	struct agent_mount mounts[DISKS_MAX];
	uint8_t entropy[ENTROPY];
	bool layered = parts->layer >= 0;
	struct agent_init init = {
		.root = { .source = "/dev/vda",
			  .fs = image_fs_name(parts->root.fs),
			  /* What it deletes leaves the layer, too. */
			  .options = layered && parts->root.fs == IMAGE_EXT4 ? "discard" : NULL,
			  .flags = layered ? 0 : AGENT_MOUNT_READONLY },
		.upper_fs = layered ? NULL : "tmpfs",
		.mounts = mounts,
		.n_mounts = MIN(parts->n_volumes, (size_t)DISKS_MAX),
		.hostname = hostname,
		.mtu = net->mtu,
		.addresses = { addresses, ARRAY_SIZE(addresses) },
		.gateways = { gateways, ARRAY_SIZE(gateways) },
		.resolvers = { gateways, ARRAY_SIZE(gateways) },
		.hosts = { hosts, ARRAY_SIZE(hosts) },
		.ca_pem = g->ca_pem,
		.ca_hash = g->ca_hash,
		.roots_pem = g->roots_pem,
		.env = { (const char *const *)g->env, count(g->env) },
		.rlimits = { (const char *const *)cfg->machine.rlimits, cfg->machine.n_rlimits },
		.user = cfg->machine.user,
		.cwd = cfg->machine.workdir,
		.entropy = { entropy, sizeof(entropy) },
		.realtime_ns = time_real_ns(),
	};

	if (!init.user && parts->root.config.user && parts->root.config.user[0])
		init.user = parts->root.config.user;
	if (!init.cwd && parts->root.config.working_dir && parts->root.config.working_dir[0])
		init.cwd = parts->root.config.working_dir;
	ip_format(&net->gateway4, gw4);
	ip_format(&net->gateway6, gw6);
	cidr(&net->guest4, &net->slot4, own4);
	cidr(&net->guest6, &net->slot6, own6);
	snprintf(own_name, sizeof(own_name), "127.0.1.1 %s", hostname);
	snprintf(host4, sizeof(host4), "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB, gw4);
	snprintf(host6, sizeof(host6), "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB, gw6);
	for (size_t i = 0; i < init.n_mounts; i++) {
		const struct image_volume *v = &parts->volumes[i];

		snprintf(device[i], sizeof(device[i]), "/dev/vd%c", (char)('b' + i));
		mounts[i] = (struct agent_mount){
			.source = device[i],
			.target = v->target,
			.fs = image_fs_name(v->fs),
			.flags = AGENT_MOUNT_NOSUID | AGENT_MOUNT_NODEV |
				 (v->read_only || v->fs != IMAGE_EXT4 ? AGENT_MOUNT_READONLY : 0),
		};
	}
	random_bytes(entropy, sizeof(entropy));
	return agent_send_init(a, &init);
}
