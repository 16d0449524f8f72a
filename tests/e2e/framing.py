# SPDX-License-Identifier: Apache-2.0
"""Readers of HTTP/1 that disagree: each takes one way that some server in the world takes.

A stream of requests is safe to hand on when all of them count the same requests in it: then no server
behind a proxy can see a request that the proxy did not. The same for replies and clients.
"""

import itertools
import re


class Unreadable(Exception):
    """The reader would answer 400 and close: what follows is nobody's request."""


class Short(Exception):
    """More bytes are needed."""


# What a reader does; every combination is a reader.
WAYS = {
    "lf": (False, True),  # is a bare LF the end of a line?
    "both": ("te", "cl"),  # what wins when there is a length and a coding
    "coding": ("exact", "contains", "any-case"),  # when is a body chunked
    "length": ("first", "last"),  # which of two lengths
    "space": ("trim", "ignore"),  # a name with a space before its colon
    "chunk": ("strict", "c"),  # how a chunk's size is read
}


def readers():
    names = list(WAYS)
    return [dict(zip(names, values)) for values in itertools.product(*WAYS.values())]


def line(b, at, lf):
    i = b.find(b"\n" if lf else b"\r\n", at)
    if i < 0:
        raise Short
    end = i
    if lf and end > at and b[end - 1:end] == b"\r":
        end -= 1
    return b[at:end], i + (1 if lf else 2)


def head(b, at, way):
    """The first line and the fields; where the body begins."""
    first, at = line(b, at, way["lf"])
    fields = []
    while True:
        text, at = line(b, at, way["lf"])
        if not text:
            return first, fields, at
        if text[:1] in b" \t" and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + b" " + text.strip())
            continue
        name, colon, value = text.partition(b":")
        if not colon:
            continue
        if name != name.strip() and way["space"] == "ignore":
            continue
        fields.append((name.strip().lower(), value.strip(b" \t\r\x0b\x0c")))


def number(text):
    if not re.fullmatch(rb"[0-9]+", text):
        raise Unreadable
    return int(text)


def is_chunked(fields, way):
    codings = [v for k, v in fields if k == b"transfer-encoding"]
    if not codings:
        return False
    whole = b", ".join(codings)
    if way["coding"] == "exact":
        return whole == b"chunked"
    if way["coding"] == "any-case":
        return whole.split(b",")[-1].strip().lower() == b"chunked"
    return b"chunked" in whole.lower()


def chunk_size(text, way):
    if way["chunk"] == "strict":
        m = re.match(rb"([0-9a-fA-F]{1,16})[ \t]*(;|$)", text)
        if not m:
            raise Unreadable
        return int(m.group(1), 16)
    m = re.match(rb"[ \t]*[+-]?(0[xX])?([0-9a-fA-F]*)", text)  # as strtoul, into 64 bits
    return int(m.group(2) or b"0", 16) & 0xFFFFFFFFFFFFFFFF


def chunks(b, at, way):
    while True:
        text, at = line(b, at, way["lf"])
        size = chunk_size(text, way)
        if size == 0:
            while True:
                text, at = line(b, at, way["lf"])
                if not text:
                    return at
        if len(b) < at + size + 2:
            raise Short
        at += size
        if b[at:at + 2] == b"\r\n":
            at += 2
        elif b[at:at + 1] == b"\n" and way["lf"]:
            at += 1
        else:
            raise Unreadable


def body_end(b, at, fields, way):
    chunked = is_chunked(fields, way)
    lengths = [v for k, v in fields if k == b"content-length"]
    if chunked and not (lengths and way["both"] == "cl"):
        return chunks(b, at, way)
    if not lengths:
        return at
    n = number(lengths[0 if way["length"] == "first" else -1].split(b",")[0].strip())
    if len(b) < at + n:
        raise Short
    return at + n


def requests(b, way):
    """The requests of a stream: method, target, and whether it is whole: the last one may be only begun."""
    out, at = [], 0
    try:
        while at < len(b):
            while b[at:at + 2] == b"\r\n":
                at += 2
            if at >= len(b):
                break
            first, fields, at = head(b, at, way)
            parts = first.split()
            if len(parts) < 2:
                raise Unreadable
            out.append((parts[0], parts[1], False))
            at = body_end(b, at, fields, way)
            out[-1] = (parts[0], parts[1], True)
    except (Short, Unreadable):
        pass
    return out


def whole(b, way):
    return [r[:2] for r in requests(b, way) if r[2]]


def disagreement(b):
    """None when all readers see the same requests, else two of their lists."""
    seen = {}
    for way in readers():
        seen.setdefault(tuple(requests(b, way)), way)
    return None if len(seen) <= 1 else list(seen.items())[:2]


def replies(b, methods, way):
    """Status and body of each reply to requests of these methods; informational ones are left out."""
    out, at, waiting = [], 0, list(methods)
    try:
        while at < len(b) and waiting:
            first, fields, at = head(b, at, way)
            parts = first.split()
            if len(parts) < 2 or not parts[1].isdigit():
                raise Unreadable
            status = int(parts[1])
            if 100 <= status < 200 and status != 101:
                continue
            method = waiting.pop(0)
            start = at
            if method == "HEAD" or status in (204, 304):
                end = at
            elif any(k in (b"content-length", b"transfer-encoding") for k, _ in fields):
                end = body_end(b, at, fields, way)
            else:
                end = len(b)
            out.append((status, b[start:end]))
            at = end
    except (Short, Unreadable):
        out.append("unreadable")
    return out


def reply_disagreement(b, methods):
    seen = {}
    for way in readers():
        seen.setdefault(repr(replies(b, methods, way)), way)
    return None if len(seen) <= 1 else list(seen.items())[:2]
