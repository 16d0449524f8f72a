# SPDX-License-Identifier: Apache-2.0
"""The small internet: who lives at which address, and what the DNS says.

One table, read by the servers, the certificates and the tests. Everything sits
on the loopback device of the lab's own network namespace; the public addresses
are ones that a policy counts as public.
"""

V4 = "93.184.216."
V6 = "2606:2800:220:1::"

# host -> last number of its address in both families.
HOSTS = {
    "echo.example.com": 7,
    "api.example.com": 10,
    "files.example.com": 11,
    "slow.example.com": 12,
    "broken.example.com": 13,
    "evil.example.net": 14,
    "git.example.com": 15,
    "deb.example.com": 16,
    "v6only.example.com": 17,
    "v4only.example.com": 18,
    "expired.example.com": 19,
    "wrong-name.example.com": 20,
    "self-signed.example.com": 21,
    "ssh.example.com": 22,
    "closed.example.com": 23,
    "doh.example.com": 24,
    "h2.example.com": 25,
    "h2only.example.com": 26,
    "h1only.example.com": 27,
    "h2ws.example.com": 28,
    "cert.example.com": 29,
    "staple.example.com": 30,
    "raw.example.com": 31,
    "ns.example.com": 53,
}
ONLY_V4 = {"v4only.example.com"}
ONLY_V6 = {"v6only.example.com"}

# Not on the loopback device: connecting fails at once, or never.
UNREACHABLE = 200  # an "unreachable" route: EHOSTUNREACH
SILENT = 201  # packets vanish: a time-out
NO_ROUTE = 202  # no route at all: ENETUNREACH

METADATA4, METADATA6 = "169.254.169.254", "fd00:ec2::254"
PRIVATE4, PRIVATE6 = "10.9.8.7", "fd12:3456:789a::7"
# A resolver that must never be asked: the gateway answers in its place.
FOREIGN_DNS = "8.8.8.8"
DNS4, DNS6 = V4 + "53", V6 + "53"


def v4(host):
    return V4 + str(HOSTS[host])


def v6(host):
    return V6 + str(HOSTS[host])


def addresses(host):
    """The addresses a host really listens on."""
    out = []
    if host not in ONLY_V6:
        out.append(v4(host))
    if host not in ONLY_V4:
        out.append(v6(host))
    return out


# The forms the tests use for "the same server, by one family only".
FAMILY = {
    "files4.example.com": ("files.example.com", 4),
    "files6.example.com": ("files.example.com", 6),
    "api4.example.com": ("api.example.com", 4),
    "api6.example.com": ("api.example.com", 6),
    "echo4.example.com": ("echo.example.com", 4),
    "echo6.example.com": ("echo.example.com", 6),
}


def _zone():
    z = {}

    def add(name, rtype, *values):
        z.setdefault(name, {}).setdefault(rtype, []).extend(values)

    for host in HOSTS:
        for a in addresses(host):
            add(host, "AAAA" if ":" in a else "A", a)
    for alias, (host, family) in FAMILY.items():
        if family == 4:
            add(alias, "A", v4(host))
        else:
            add(alias, "AAAA", v6(host))
    # Names below evil.example.net resolve, so that a tunnel would work if it were let out.
    add("*.evil.example.net", "A", v4("evil.example.net"))
    add("sub.api.example.com", "A", v4("api.example.com"))
    # A second name of one server and of its certificate: a client may think one connection serves both.
    add("h2alias.example.com", "A", v4("h2.example.com"))
    add("h2alias.example.com", "AAAA", v6("h2.example.com"))
    # Names for servers that a test starts itself.
    for host in ("cert.example.com", "staple.example.com"):
        add("*." + host, "A", v4(host))
    # Aliases.
    add("www.example.com", "CNAME", "alias1.example.com")
    add("alias1.example.com", "CNAME", "alias2.example.com")
    add("alias2.example.com", "CNAME", "api.example.com")
    add("loop1.example.com", "CNAME", "loop2.example.com")
    add("loop2.example.com", "CNAME", "loop1.example.com")
    add("dangling.example.com", "CNAME", "nowhere.example.com")
    # Rebinding: a public name with addresses that must not be handed out.
    add("rebind.example.net", "A", "127.0.0.1", PRIVATE4, METADATA4)
    add("rebind.example.net", "AAAA", "::1", PRIVATE6, "::ffff:127.0.0.1")
    add("mixed.example.net", "A", PRIVATE4, v4("api.example.com"))
    # More than fits 512, and more than fits 1232 bytes.
    add("many.example.com", "A", *["93.184.217.%d" % i for i in range(1, 41)])
    add("more.example.com", "A", *["93.184.217.%d" % i for i in range(1, 201)])
    # The first address refuses, the next one answers.
    add("retry.example.com", "A", v4("closed.example.com"), v4("files.example.com"))
    add("unreachable.example.com", "A", V4 + str(UNREACHABLE))
    add("unreachable.example.com", "AAAA", V6 + str(UNREACHABLE))
    add("silent.example.com", "A", V4 + str(SILENT))
    add("noroute.example.com", "A", V4 + str(NO_ROUTE))
    add("txt.example.com", "TXT", "a text")
    # Service records: all there is to take out of one, and one for somebody else's host.
    for svc, host in (("svc.example.com", "api.example.com"),
                      ("svc6.example.com", "v6only.example.com")):
        if host not in ONLY_V6:
            add(svc, "A", v4(host))
        add(svc, "AAAA", v6(host))
        add(svc, "HTTPS", "1 . alpn=h2,h3 port=443 ipv4hint=%s,%s ech=AAAA ipv6hint=%s key65000=x" % (
            v4("api.example.com"), PRIVATE4, v6(host)))
    add("othersvc.example.com", "HTTPS", "1 api.example.com. alpn=h2")
    add("mail.example.com", "MX", "10 api.example.com.", "20 closed.example.com.")
    add("_web._tcp.example.com", "SRV", "0 5 443 api.example.com.")
    # More than fits 1232 bytes, in text.
    add("long.example.com", "TXT", *["%02d" % i + "x" * 200 for i in range(30)])
    add("short.example.com", "A", v4("api.example.com"))
    return z


ZONE = _zone()
APEXES = ("example.com", "example.net")
TTL = {"short.example.com": 1}
# How the DNS server misbehaves for a name.
DNS_FAULTS = {
    "servfail.example.com": "servfail",
    "refused.example.com": "refused",
    "lost.example.com": "silence",
    "late.example.com": "late",
}


def all_addresses():
    """Every address the loopback device carries, with prefix lengths."""
    out = []
    for host in HOSTS:
        out += addresses(host)
    out += [V4 + str(SILENT), METADATA4, METADATA6, PRIVATE4, PRIVATE6, FOREIGN_DNS]
    return [a + ("/128" if ":" in a else "/32") for a in out]


# Plain services on echo.example.com.
ECHO, DISCARD, CHARGEN = 7, 9, 19
QUIC = 443  # UDP echo: whether a datagram gets there
DIGEST = 1007  # reads to the end, then answers "SIZE SHA256\n": half close
GREET = 1009  # speaks first, closes its side, then reads to the end
RESET = 1010  # resets after one byte
SLUGGISH = 1011  # reads 64 KiB every 50 ms, then as DIGEST
BOTH = 1012  # after one byte, closes at once, as the client does
PROXY = 3128  # an HTTP proxy: CONNECT and absolute forms, to any host of this world
PROXY_ODD = 3999  # another, where nobody expects one
CLOSED = 81  # nobody
