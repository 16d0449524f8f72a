# SPDX-License-Identifier: Apache-2.0
"""weir policy nft: the kernel's table and weir judge the same packets alike."""

import ipaddress
import json
import random
import re
import subprocess

import pytest

PROBE = r"""
import json, socket, struct, subprocess, sys, time

# What each probe did to the counters: by itself, so that nothing else is counted.
def counters():
    t = subprocess.run(["nft", "-j", "list", "table", "inet", "weir"], capture_output=True, check=True)
    out = {}
    for o in json.loads(t.stdout)["nftables"]:
        r = o.get("rule")
        if not r or not r.get("comment", "").startswith("weir"):
            continue
        c = next(e["counter"] for e in r["expr"] if "counter" in e)
        out[r["chain"], r["handle"]] = (c["packets"], r["comment"],
                                        any("accept" in e for e in r["expr"]))
    return out

def send(dst, proto, port):
    v6 = ":" in dst
    family = socket.AF_INET6 if v6 else socket.AF_INET
    try:
        if proto == "tcp":
            s = socket.socket(family, socket.SOCK_STREAM)
            s.setblocking(False)
            s.connect_ex((dst, port))
        elif proto == "udp":
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.sendto(b"probe", (dst, port))
        else:
            s = socket.socket(family, socket.SOCK_RAW,
                              socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
            echo = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 1, 1)
            if not v6:
                total = sum(struct.unpack("!4H", echo))
                total = (total & 0xffff) + (total >> 16)
                echo = struct.pack("!BBHHH", 8, 0, ~total & 0xffff, 1, 1)
            s.sendto(echo, (dst, 0))
        s.close()
    except OSError:
        pass  # a refusal may come back at once; the counters tell

pace = float(sys.argv[2])
for line in open(sys.argv[1]):
    dst, proto, port = line.split()
    before = counters() if sys.argv[3] == "count" else {}
    send(dst, proto, int(port))
    if sys.argv[3] == "count":
        # The kernel's own multicast listener reports are not of the probe.
        hit = [(v[1], v[2]) for k, v in counters().items()
               if v[0] > before[k][0] and v[1] != "weir not carried"]
        print(json.dumps([dst, proto, int(port), sorted(set(hit))]), flush=True)
    time.sleep(pace)
"""

RULES = {"default_egress": "deny", "rules": [
    {"id": "no-db", "action": "deny", "destination": "*", "ports": [5432, "6000-6010"]},
    {"id": "meta", "action": "deny", "destination": "metadata"},
    {"id": "lan", "action": "allow", "destination": "10.1.0.0/16", "protocols": ["udp"],
     "ports": ["1000-2000"]},
    {"id": "lan-ping", "action": "allow", "destination": "10.0.0.0/8", "protocols": ["icmpv4"]},
    {"id": "one", "action": "allow", "destination": "93.184.216.34", "protocols": ["tcp"]},
    {"id": "half", "action": "deny", "destination": "93.184.216.0/23"},
    {"id": "v6", "action": "deny", "destination": "2606:2800:220::/48", "protocols": ["tcp"],
     "ports": ["443"]},
    {"id": "nat64", "action": "allow", "destination": "64:ff9b::a01:0/112"},
    {"id": "multi", "action": "allow", "destination": "multicast", "protocols": ["udp"]},
    {"id": "web", "action": "allow", "destination": "public", "ports": ["80", "443", "8000-8443"]},
    {"id": "ping", "action": "allow", "destination": "public", "protocols": ["icmpv4", "icmpv6"]}]}

# The kernel itself does not send there: no packet, no verdict.
UNSENT = [ipaddress.ip_network(n) for n in ("0.0.0.0/8", "127.0.0.0/8", "240.0.0.0/4", "::/96",
                                            "::ffff:0:0/96", "fe80::/10", "ff00::/8")]


def probes(seed, n):
    r = random.Random(seed)
    edges = ["10.1.0.0", "10.1.255.255", "10.0.255.255", "10.2.0.0", "93.184.216.34", "93.184.216.35",
             "93.184.217.255", "93.184.218.0", "169.254.169.254", "169.254.169.253", "172.15.255.255",
             "172.16.0.1", "172.31.255.255", "172.32.0.0", "192.167.255.255", "192.168.0.1",
             "100.63.255.255", "100.64.0.1", "100.127.255.255", "100.128.0.0", "100.100.100.200",
             "168.63.129.16", "168.63.129.17", "198.17.255.255", "198.20.0.0", "203.0.112.255",
             "203.0.113.0", "203.0.114.0", "224.0.1.1", "239.1.1.1", "192.88.99.1", "1.1.1.1",
             "2606:2800:220::1", "2606:2800:21f:ffff::1", "2606:2800:221::1", "64:ff9b::a01:1",
             "64:ff9b::a02:1", "64:ff9b::5db8:d822", "2002:5db8:d822::1", "2002:a01:203::1",
             "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "fd12::1", "2001:db8::1",
             "2001:4860::1", "3fff::1", "fec0::1", "64:ff9b:1::1", "100::1", "2001:0:1:2::3",
             "2606:2800:220::5efe:a01:203", "2606:4700::200:5efe:101:101"]
    ports = [22, 53, 79, 80, 81, 443, 999, 1000, 2000, 2001, 5432, 5999, 6000, 6010, 6011, 7999, 8000,
             8443, 8444, 65535]
    out = set()
    while len(out) < n:
        a = ipaddress.ip_address(r.choice(edges) if r.random() < 0.8 else
                                 r.getrandbits(32) if r.random() < 0.6 else
                                 r.getrandbits(125) | 1 << 125)
        if any(a in net for net in UNSENT if net.version == a.version):
            continue
        proto = r.choice(["tcp", "udp", "icmp"])
        out.add((str(a), proto, r.choice(ports) if proto != "icmp" else 0))
    return sorted(out)


def explained(weir, policy, dst, proto, port):
    """What weir says of the bare address: verdict and rule."""
    host = "[%s]" % dst if ":" in dst and proto != "icmp" else dst
    to = host + ("/icmp" if proto == "icmp" else ":%d/%s" % (port, proto))
    p = weir.call("policy", "explain", policy, "--to", to, "--json")
    assert p.returncode in (0, 1), p
    j = json.loads(p.stdout)
    return j["verdict"], j["rule"]


def unclear(dst):
    """Teredo and ISATAP, which the table refuses as a whole."""
    a = ipaddress.ip_address(dst)
    return a.version == 6 and (a in ipaddress.ip_network("2001::/32") or
                               (int(a) >> 32) & 0xfdffffff == 0x5efe)


def in_namespace(script):
    setup = ("ip link set lo up; ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; "
             "ip addr add 10.9.9.9/32 dev d0; ip route add default dev d0; "
             "ip -6 addr add fd99::9/128 dev d0 nodad; ip -6 route add default dev d0; ")
    return subprocess.run(["unshare", "-n", "sh", "-ec", setup + script], capture_output=True,
                          text=True, timeout=300)


def test_print_and_apply_make_one_table(weir):
    policy = weir.file("p.json", {"policy": {**RULES, "rules": [
        {"action": "allow", "destination": ".example.com", "ports": ["443"]},
        {"action": "deny", "destination": "doh"},
        {"action": "deny", "direction": "ingress", "destination": "203.0.113.0/24"},
        {"action": "allow", "destination": "host", "ports": ["53"]}, *RULES["rules"]]}})
    names = weir.file("names", "# name address seconds\napi.example.com 93.184.215.14 600\n"
                               "example.com 2606:2800::7\nother.example.net 192.0.2.1\n")
    cmd = "%s policy nft %s --gateway 192.0.0.1 --names %s" % (weir.program, policy, names)
    p = in_namespace("%s --apply 2>/dev/null; nft list ruleset; echo ======; "
                     "%s 2>/dev/null | nft -f -; nft list ruleset" % (cmd, cmd))
    assert p.returncode == 0, p.stderr
    applied, printed = [re.sub(r" expires [0-9a-z]+| packets \d+ bytes \d+", "", t).strip()
                        for t in p.stdout.split("======")]
    assert applied == printed
    assert "93.184.215.14 timeout 10m" in applied and "192.0.2.1" not in applied
    assert 'comment ".example.com"' in applied


@pytest.mark.parametrize("on_deny", ["refuse", "drop"])
def test_same_packets_same_verdicts_as_explain(weir, on_deny):
    rules = {**RULES, "on_deny": on_deny} if on_deny == "drop" else RULES
    policy = weir.file("p.json", {"policy": rules})
    some = probes(7 if on_deny == "drop" else 8, 150 if on_deny == "drop" else 400)
    table = weir.file("probes", "".join("%s %s %d\n" % p for p in some))
    probe = weir.file("probe.py", PROBE)
    p = in_namespace("%s policy nft %s --apply; exec /usr/bin/python3 %s %s 0 count" % (
        weir.program, policy, probe, table))
    assert p.returncode == 0, p.stderr
    wrong, judged = [], 0
    for line in p.stdout.splitlines():
        dst, proto, port, hit = json.loads(line)
        if unclear(dst):
            assert hit in ([["weir Teredo", False]], [["weir ISATAP", False]]), line
            continue
        if proto == "tcp" and ipaddress.ip_address(dst).is_multicast:
            assert not hit, line  # no such connection is ever tried
            continue
        verdict, rule = explained(weir, policy, dst, proto, port)
        want = ["weir default" if rule is None else
                "weir %d %s" % ([r["id"] for r in RULES["rules"]].index(rule), rule),
                verdict == "allow"]
        judged += 1
        if hit != [want]:
            wrong.append((line, want))
    assert not wrong, wrong[:5]
    assert judged > 100


def test_long_runs_of_prefixes_share_their_sets(weir):
    rules = [{"action": "deny", "destination": "10.7.%d.0/24" % i, "protocols": ["tcp"], "ports": ["443", "80-90"]}
             for i in range(70)]
    rules += [{"id": "one", "action": "allow", "destination": "10.7.3.4"}]
    rules += [{"action": "allow", "destination": "10.%d.0.0/16" % i} for i in range(64)]
    rules += [{"action": "deny", "destination": "2001:db8:%x::/48" % i} for i in range(63)]
    rules += [{"action": "allow", "destination": "2001:db8::/32"}]
    runs = {**{i: "weir 0-69" for i in range(70)}, 70: "weir 70 one", "one": "weir 70 one",
            **{i: "weir 71-134" for i in range(71, 135)}, None: "weir default"}
    policy = weir.file("p.json", {"policy": {"default_egress": "deny", "rules": rules}})
    rng = random.Random(5)
    some = [("10.7.%d.%d" % (rng.choice([3, rng.randrange(80)]), rng.choice([4, 5])),
             rng.choice(["tcp", "udp"]), rng.choice([443, 79, 80, 90, 91])) for _ in range(60)]
    some += [("10.%d.1.1" % rng.randrange(70), "tcp", 443) for _ in range(20)]
    some += [("2001:db8:%x::1" % rng.randrange(70), "udp", 443) for _ in range(20)]
    table = weir.file("probes", "".join("%s %s %d\n" % p for p in some))
    p = in_namespace("%s policy nft %s --apply; exec /usr/bin/python3 %s %s 0 count" % (
        weir.program, policy, weir.file("probe.py", PROBE), table))
    assert p.returncode == 0, p.stderr
    seen = set()
    for line in p.stdout.splitlines():
        dst, proto, port, hit = json.loads(line)
        verdict, rule = explained(weir, policy, dst, proto, port)
        # A run of 63 is not shared: each rule keeps its own counter.
        assert hit == [[runs.get(rule, "weir %s" % rule), verdict == "allow"]], (line, verdict, rule)
        seen.add(hit[0][0])
    assert {"weir 0-69", "weir 70 one", "weir 71-134", "weir default", "weir 198"} <= seen, seen
    printed = weir.call("policy", "nft", policy).stdout
    assert 'comment "weir 0-69"' in printed and "rule5_v4" not in printed


def test_same_packets_same_verdicts_as_a_run(weir):
    policy = {"policy": {**RULES, "rules": [r for r in RULES["rules"]]}}
    some = [p for p in probes(9, 240) if not unclear(p[0]) and p[2] != 53 and
            ipaddress.ip_address(p[0]) not in ipaddress.ip_network("198.18.0.0/15")]
    table = weir.file("probes", "".join("%s %s %d\n" % p for p in some))
    probe = weir.file("probe.py", PROBE)
    # Slowly: of a flood of refusals the record counts rather than tells each.
    ran = weir.run("/usr/bin/python3", probe, table, "0.02", "send", policy=policy)
    assert ran.rc == 0, ran
    told = {}
    for e in ran.find("flow"):
        if "rule" not in e:
            continue  # refused for a reason of its own: multicast is not carried
        told[e["dst"], e["proto"].replace("v4", "").replace("v6", ""), e.get("port", 0)] = (
            e["verdict"] == "deny", e.get("rule"))
    p = in_namespace("%s policy nft %s --apply; exec /usr/bin/python3 %s %s 0 count" % (
        weir.program, weir.file("p.json", policy), probe, table))
    assert p.returncode == 0, p.stderr
    compared = 0
    for line in p.stdout.splitlines():
        dst, proto, port, hit = json.loads(line)
        if (dst, proto, port) not in told or not hit:
            continue
        denied, rule = told[dst, proto, port]
        assert [not denied] == [h[1] for h in hit], (line, denied, rule)
        assert hit[0][0].split()[-1] == (rule or "default"), (line, rule)
        compared += 1
    assert compared > 150, compared


@pytest.mark.parametrize("args,said", [
    (["nope.json"], "nope.json"), ([], "which policy?"), (["public_only", "--frob"], "--frob"),
    (["public_only", "--gateway", "300.1.1.1"], "--gateway 300.1.1.1"),
    (["public_only", "--table", "a;b"], "--table a;b"),
    (["public_only", "--iface", "way-too-long-for-a-name"], "--iface"),
    (["public_only", "--netns", "1"], "--apply"),
    (["public_only", "--apply", "--netns", "/proc/1/nope"], "/proc/1/nope"),
    (["public_only", "--names", "/dev/null/x"], "/dev/null/x"),
])
def test_bad_arguments_are_told(weir, args, said):
    p = weir.call("policy", "nft", *args)
    assert p.returncode == 2 and said in p.stderr and not p.stdout, p


def test_bad_names_file(weir):
    for text, said in (("a..b 1.2.3.4", ":1:"), ("ok.example 1.2.3.4\nx 1.2.3\n", ":2:"),
                       ("ok.example 1.2.3.4 0", ":1: number out of range"), ("ok.example 1.2.3.4 5 6", "more than")):
        path = weir.file("names", text)
        p = weir.call("policy", "nft", "public_only", "--names", path)
        assert p.returncode == 2 and said in p.stderr, p


def test_what_the_kernel_cannot_read_is_told(weir):
    policy = weir.file("p.json", {"policy": {"default_egress": "allow", "rules": [
        {"id": "get", "action": "allow", "destination": "93.184.216.34", "http": {"methods": ["GET"]}},
        {"id": "no-post", "action": "deny", "destination": "93.184.216.35", "http": {"methods": ["POST"]}},
        {"id": "evil", "action": "deny", "destination": "evil.example.net"}]}})
    p = weir.call("policy", "nft", policy)
    assert p.returncode == 0, p
    assert all(x in p.stderr for x in ("(get)", "(no-post)", "(evil)")), p.stderr
    assert "weir 0 get" not in p.stdout and "weir 1 no-post" in p.stdout, p.stdout


def test_apply_without_the_right_says_so(weir):
    p = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", weir.program, "policy", "nft",
                        "public_only", "--apply"], capture_output=True, text=True, timeout=60)
    if p.returncode == 126 or "Permission denied" in p.stderr:
        pytest.skip("the sources lie where nobody may not go")
    assert p.returncode == 2 and "root" in p.stderr, p
