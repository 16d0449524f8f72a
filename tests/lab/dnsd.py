# SPDX-License-Identifier: Apache-2.0
"""Authoritative DNS of the lab, UDP and TCP, that writes down every query.

The log is what tests look at when they claim that a name never left the
sandbox: one JSON object per query with name, type, transport and the address
it was sent to.
"""

import socket
import struct
import threading
import time

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

import world


class Names:
    """Answers from world.ZONE."""

    def lookup(self, name):
        if name in world.ZONE:
            return world.ZONE[name]
        labels = name.split(".")
        for i in range(1, len(labels) - 1):
            wild = "*." + ".".join(labels[i:])
            if wild in world.ZONE:
                return world.ZONE[wild]
        return None

    def exists(self, name):
        """An empty non-terminal or apex exists without records."""
        if name in world.APEXES:
            return True
        return any(n.endswith("." + name) for n in world.ZONE)

    def answer(self, q):
        r = dns.message.make_response(q, recursion_available=True)
        r.flags |= dns.flags.AA
        question = q.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        if not any(name == a or name.endswith("." + a) for a in world.APEXES):
            r.set_rcode(dns.rcode.NXDOMAIN)
            return r
        fault = world.DNS_FAULTS.get(name)
        if fault == "servfail":
            r.set_rcode(dns.rcode.SERVFAIL)
            return r
        if fault == "refused":
            r.set_rcode(dns.rcode.REFUSED)
            return r
        if fault == "silence":
            return None
        if fault == "late":
            time.sleep(2)
            return self.records(r, "api.example.com", question, as_name=name)
        return self.records(r, name, question)

    def records(self, r, name, question, as_name=None):
        rtype = dns.rdatatype.to_text(question.rdtype)
        for _ in range(8):
            owner = (as_name or name) + "."
            found = self.lookup(name)
            if found is None:
                if not r.answer and not self.exists(name):
                    r.set_rcode(dns.rcode.NXDOMAIN)
                elif r.answer:
                    r.set_rcode(dns.rcode.NXDOMAIN)
                break
            ttl = world.TTL.get(name, 300)
            if "CNAME" in found and rtype != "CNAME":
                target = found["CNAME"][0]
                r.answer.append(dns.rrset.from_text(owner, ttl, "IN", "CNAME", target + "."))
                name, as_name = target, None
                continue
            values = found.get(rtype, [])
            if rtype == "TXT":
                values = ['"%s"' % v for v in values]
            if values:
                r.answer.append(dns.rrset.from_text(owner, ttl, "IN", rtype, *values))
            break
        if not r.answer or r.rcode() == dns.rcode.NXDOMAIN:
            apex = "example.net." if name.endswith("example.net") else "example.com."
            r.authority.append(dns.rrset.from_text(
                apex, 60, "IN", "SOA", "ns.example.com. root.example.com. 1 3600 600 86400 60"))
        return r


class Server:
    def __init__(self, log):
        self.log = log
        self.names = Names()

    def reply(self, wire, transport, server, client):
        try:
            q = dns.message.from_wire(wire)
            question = q.question[0]
        except Exception as e:  # anything at all may arrive here
            self.log("dns", transport=transport, server=server, client=client,
                     malformed=repr(e), wire=wire.hex())
            return None
        self.log("dns", transport=transport, server=server, client=client,
                 name=question.name.to_text(omit_final_dot=True),
                 type=dns.rdatatype.to_text(question.rdtype),
                 wire=wire[2:].hex())  # without its id
        r = self.names.answer(q)
        if r is None:
            return None
        if transport != "udp":
            return r.to_wire(max_size=65535)
        room = max(512, q.payload) if q.edns >= 0 else 512
        try:
            return r.to_wire(max_size=room)
        except dns.exception.TooBig:
            short = dns.message.make_response(q, recursion_available=True)
            short.flags |= dns.flags.AA | dns.flags.TC
            return short.to_wire(max_size=room)

    def udp(self, s, server):
        while True:
            wire, peer = s.recvfrom(65535)
            # A late answer must not hold up the others.
            threading.Thread(target=self.one_udp, args=(s, wire, peer, server),
                             daemon=True).start()

    def one_udp(self, s, wire, peer, server):
        out = self.reply(wire, "udp", server, peer[0])
        if out:
            try:
                s.sendto(out, peer)
            except OSError:
                pass  # the asker is gone

    def tcp(self, s, server):
        while True:
            c, peer = s.accept()
            threading.Thread(target=self.one_tcp, args=(c, peer, server), daemon=True).start()

    def one_tcp(self, c, peer, server):
        f = c.makefile("rb")
        try:
            while True:
                head = f.read(2)
                if len(head) < 2:
                    break
                wire = f.read(struct.unpack(">H", head)[0])
                out = self.reply(wire, "tcp", server, peer[0])
                if out:
                    c.sendall(struct.pack(">H", len(out)) + out)
        except OSError:
            pass
        finally:
            f.close()
            c.close()


def start(log):
    """Bind every address; the threads serve from then on."""
    server = Server(log)
    for addr in (world.DNS4, world.DNS6, world.FOREIGN_DNS):
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        u = socket.socket(family, socket.SOCK_DGRAM)
        u.bind((addr, 53))
        t = socket.socket(family, socket.SOCK_STREAM)
        t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        t.bind((addr, 53))
        t.listen(64)
        threading.Thread(target=server.udp, args=(u, addr), daemon=True).start()
        threading.Thread(target=server.tcp, args=(t, addr), daemon=True).start()
