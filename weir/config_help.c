/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of `weir run --help` and `weir gateway --help`: 80 columns, grouped
 * as a person looks for it. What both have stands once.
 */
#include "weir/config.h"

#include <stdio.h>

static const char run_sandbox[] =
	"Usage: weir run [OPTIONS] -- COMMAND [ARGUMENT...]\n"
	"\n"
	"Run a command in a sandbox whose network goes through a policy. Every decision\n"
	"is recorded; secrets stay outside and are put in on the way to their hosts.\n"
	"\n"
	"Sandbox\n"
	"  --backend auto|kvm|qemu|netns  how to isolate; auto takes kvm, then qemu, and\n"
	"                                 never less. This version has netns only, so it\n"
	"                                 has to be asked for\n"
	"  --name NAME                    name of the sandbox (default: made up)\n"
	"  --config FILE                  JSON (or YAML, TOML: .yaml, .toml) with the\n"
	"                                 sections policy, dns, tls, secrets, limits,\n"
	"                                 publish, audit and the key policy_floor;\n"
	"                                 flags win\n"
	"\n";

static const char gateway_link[] =
	"Usage: weir gateway --link LINK [OPTIONS]\n"
	"\n"
	"Serve the network of a machine that somebody else runs (QEMU, Cloud Hypervisor,\n"
	"libkrun, Firecracker, a network namespace): all it sends goes through a policy,\n"
	"every decision is recorded. Says when it is ready, ends on SIGTERM or SIGINT.\n"
	"\n"
	"Link\n"
	"  --link stream:PATH[,connect]   a Unix socket, frames behind their length:\n"
	"                                 QEMU's -netdev stream, libkrun's passt mode.\n"
	"                                 weir listens, one machine at a time; with\n"
	"                                 connect the machine does (server=on)\n"
	"  --link vhost-user:PATH[,connect]\n"
	"                                 a Unix socket of a vhost-user device, weir\n"
	"                                 being its back end: QEMU, Cloud Hypervisor\n"
	"  --link dgram:PATH,peer=PATH    Unix sockets, a frame per datagram: weir's own\n"
	"                                 and the machine's\n"
	"  --link tap:NAME                a tap of this network namespace, made when\n"
	"                                 there is none\n"
	"  --link fd:N[,vhost-user]       a descriptor that weir is started with: a tap\n"
	"                                 (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR) or a Unix\n"
	"                                 socket, connected or listening\n"
	"                                 ,mode=0660 behind a PATH: who may connect;\n"
	"                                 0600, only the user, when it is missing\n"
	"  --ca-out FILE                  write the certificate authority's certificate,\n"
	"                                 for the machine to trust; TLS interception\n"
	"                                 needs it\n"
	"  --env-out FILE                 write the secrets' placeholders as NAME=VALUE,\n"
	"                                 for the machine's environment; secrets need it\n"
	"  --name NAME                    name of the sandbox (default: made up)\n"
	"  --config FILE                  as that of weir run, with a section gateway:\n"
	"                                 link, ca_out, env_out\n"
	"\n";

static const char both[] =
	"Policy (default: public addresses only)\n"
	"  --policy FILE|PRESET           a file (JSON, .yaml, .toml), or none,\n"
	"                                 public_only, non_local, allow_all\n"
	"  --net LIST                     profiles: public,private,host or none or all,\n"
	"                                 instead of a policy\n"
	"  --net-rule TOKENS              action[:direction]@target[:proto[:ports]],...\n"
	"                                 in front of all other rules; repeatable\n"
	"  --net-default-egress ACTION    allow or deny what no rule matches, outwards\n"
	"  --net-default-ingress ACTION   the same, inwards\n"
	"  --no-net                       nothing but what --net-rule allows\n"
	"  --net-strict                   a name allows only what proves it: a TLS name,\n"
	"                                 an HTTP host, an address for it alone\n"
	"  --policy-floor FILE|PRESET     what passes must pass this as well, whatever\n"
	"                                 policy is in force later (weir ctl)\n"
	"  --observe                      allow what the policy denies, and record it;\n"
	"                                 the floor and the secrets' rules stay, and so\n"
	"                                 does what weir cannot carry or read\n"
	"\n"
	"Secrets (values never stand on the command line)\n"
	"  --secret ENV[:PLACES]@HOST[,HOST...]\n"
	"                                 the sandbox's variable ENV holds a placeholder;\n"
	"                                 the value, from weir's own variable ENV, goes\n"
	"                                 in only to HOST (NAME, .SUFFIX, *.SUFFIX) over\n"
	"                                 verified TLS, in PLACES: header, basic, query,\n"
	"                                 path, body, with '+' or ',' between\n"
	"                                 (default header+basic); repeatable\n"
	"  --secret-file ENV[:PLACES]=PATH@HOST[,HOST...]\n"
	"                                 the same, the value from a file; repeatable\n"
	"  --secret-violation ACTION      when a placeholder is seen elsewhere: block,\n"
	"                                 block_and_log (default), block_and_terminate,\n"
	"                                 passthrough\n"
	"\n"
	"TLS\n"
	"  --tls-intercept                read TLS; on by itself when a secret or a rule\n"
	"                                 about HTTP needs it\n"
	"  --tls-intercept-port N         instead of 443; repeatable\n"
	"  --tls-bypass PATTERN           hosts whose TLS is not read; repeatable\n"
	"  --upstream-ca FILE             trust these authorities too; repeatable\n"
	"\n"
	"Names\n"
	"  --dns-server IP[:PORT]         instead of /etc/resolv.conf's, which are\n"
	"                                 followed when they change; repeatable\n"
	"  --dns-record NAME=IP           a fixed answer; repeatable\n"
	"  --dns-answers virtual|real     one address of weir's own per name (default),\n"
	"                                 or the real ones\n"
	"  --dns-budget off               no limit to the names asked below one domain\n"
	"  --dns-serve-stale SECONDS      answer from expired memory for so long when no\n"
	"                                 server answers (default 0: never)\n"
	"  --dns-doh deny|allow           DNS over HTTPS in requests that are read, and\n"
	"                                 TLS that offers DNS on ports of its own: past\n"
	"                                 the resolver, so denied (default) but for\n"
	"                                 hosts of a rule on group doh\n"
	"\n"
	"Connections\n"
	"  --publish [IP:]HOST:GUEST[/tcp|/udp]\n"
	"                                 connect a port of this machine (on 127.0.0.1\n"
	"                                 unless IP is given) to one of the sandbox;\n"
	"                                 repeatable\n"
	"  --max-connections N            TCP connections at a time (default 4096)\n"
	"\n"
	"Record\n"
	"  --audit FILE                   append the record here (default: in\n"
	"                                 ~/.local/state/weir/audit, see weir audit)\n"
	"  --capture FILE                 the sandbox's packets and TLS keys, as pcapng\n"
	"  --json                         weir's own messages as JSON\n"
	"  -v, --verbose                  say more; twice: say everything\n"
	"  -q, --quiet                    only errors\n"
	"  -h, --help                     this text\n"
	"\n";

static const char run_end[] =
	"Exit status: the command's own; 125 weir failed, 126 the command cannot be\n"
	"executed, 127 it was not found.\n"
	"\n"
	"Examples\n"
	"  weir run --backend netns -- curl https://example.com/\n"
	"  weir run --backend netns --secret GITHUB_TOKEN@api.github.com -- ./agent\n"
	"  weir run --backend netns --no-net \\\n"
	"           --net-rule allow@pypi.org:tcp:443,allow@.pythonhosted.org:tcp:443 \\\n"
	"           -- pip install requests\n"
	"  weir run --backend netns --policy agent.json --audit agent.jsonl -- ./agent\n"
	"  weir why ID        explain a refusal        weir audit    show the last record\n";

static const char gateway_end[] =
	"When ready, weir prints a line that begins with \"weir: ready\" (with --json an\n"
	"object on standard output), and tells the service manager (NOTIFY_SOCKET).\n"
	"\n"
	"Exit status: 0 told to end, or the machine closed the only connection there can\n"
	"be; 125 weir failed or the tap is gone.\n"
	"\n"
	"Examples\n"
	"  weir gateway --link stream:/run/vm.sock --policy agent.json &\n"
	"  qemu-system-x86_64 ... -device virtio-net-pci,netdev=n \\\n"
	"      -netdev stream,id=n,server=off,addr.type=unix,addr.path=/run/vm.sock\n"
	"  weir gateway --link vhost-user:/run/vm.sock --tls-intercept --ca-out ca.pem \\\n"
	"      --secret API_KEY@api.example.com --env-out guest.env\n"
	"  weir ctl NAME status     what it serves     weir audit    show the last record\n";

const char *const weir_help[][4] = {
	[CONFIG_RUN] = { run_sandbox, both, run_end },
	[CONFIG_GATEWAY] = { gateway_link, both, gateway_end },
};

void weir_help_print(enum config_command c)
{
	for (const char *const *p = weir_help[c]; *p; p++)
		fputs(*p, stdout);
}
